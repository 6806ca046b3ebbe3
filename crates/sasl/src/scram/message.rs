//! SCRAM's messages (RFC 5802 §5.1, §7) as text: what a peer sent, taken apart without a copy.
//!
//! ```text
//! client first   gs2-flag , [a=authzid] , n=name , r=nonce [, extensions]
//! server first   r=nonce , s=salt , i=iterations [, extensions]
//! client final   c=header and binding , r=nonce [, extensions] , p=proof
//! server final   v=signature | e=error
//! ```
//!
//! Never: a key or a proof.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::plain;
use crate::refusal::Refusal;

/// What the client says of channel binding (RFC 5802 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flag<'m> {
    /// `n`: it cannot.
    Cannot,
    /// `y`: it can, and believes the server cannot.
    ServerCannot,
    /// `p=`: it does, in this way.
    Bound(&'m str),
}

#[derive(Debug)]
pub(crate) struct ClientFirst<'m> {
    pub(crate) flag: Flag<'m>,
    pub(crate) authzid: Option<String>,
    pub(crate) name: String,
    pub(crate) nonce: &'m str,
    /// Flag and authzid as sent: the binding repeats them.
    pub(crate) header: &'m str,
    /// The rest as sent: the proof is over it.
    pub(crate) bare: &'m str,
}

impl<'m> ClientFirst<'m> {
    pub(crate) fn parse(blob: &'m [u8]) -> Result<ClientFirst<'m>, Refusal> {
        let message = text(blob)?;
        let (flag, rest) = message.split_once(',').ok_or(Refusal::Malformed)?;
        let (authzid, bare) = rest.split_once(',').ok_or(Refusal::Malformed)?;
        let mut parts = bare.split(',');
        let name = value(parts.next(), "n=")?;
        let nonce = nonce(value(parts.next(), "r=")?)?;
        extensions(parts)?;
        let name = prepared_name(&unescaped(name)?)?;
        Ok(ClientFirst {
            flag: self::flag(flag)?,
            authzid: authorised(authzid)?.filter(|other| *other != name),
            name,
            nonce,
            header: &message[..message.len() - bare.len()],
            bare,
        })
    }
}

#[derive(Debug)]
pub(crate) struct ServerFirst<'m> {
    pub(crate) nonce: &'m str,
    pub(crate) salt: Vec<u8>,
    pub(crate) iterations: u32,
}

impl<'m> ServerFirst<'m> {
    pub(crate) fn parse(message: &'m str) -> Result<ServerFirst<'m>, Refusal> {
        let mut parts = message.split(',');
        let nonce = nonce(value(parts.next(), "r=")?)?;
        let salt = decoded(value(parts.next(), "s=")?)?;
        let iterations = value(parts.next(), "i=")?;
        extensions(parts)?;
        // `+5` would be a number to Rust.
        if salt.is_empty() || !iterations.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(Refusal::Malformed);
        }
        let iterations = iterations.parse().map_err(|_| Refusal::Iterations)?;
        Ok(ServerFirst {
            nonce,
            salt,
            iterations,
        })
    }
}

#[derive(Debug)]
pub(crate) struct ClientFinal<'m> {
    pub(crate) binding: Vec<u8>,
    pub(crate) nonce: &'m str,
    pub(crate) proof: Vec<u8>,
    /// The message up to the proof.
    pub(crate) unproven: &'m str,
}

impl<'m> ClientFinal<'m> {
    pub(crate) fn parse(blob: &'m [u8]) -> Result<ClientFinal<'m>, Refusal> {
        let message = text(blob)?;
        let (unproven, proof) = message.rsplit_once(",p=").ok_or(Refusal::Malformed)?;
        let mut parts = unproven.split(',');
        let binding = decoded(value(parts.next(), "c=")?)?;
        let nonce = nonce(value(parts.next(), "r=")?)?;
        extensions(parts)?;
        Ok(ClientFinal {
            binding,
            nonce,
            proof: decoded(proof)?,
            unproven,
        })
    }
}

/// The signature in a server's last message.
pub(crate) fn server_final(blob: &[u8]) -> Result<Vec<u8>, Refusal> {
    let message = text(blob)?;
    if message.starts_with("e=") {
        return Err(Refusal::PeerError);
    }
    let mut parts = message.split(',');
    let signature = decoded(value(parts.next(), "v=")?)?;
    extensions(parts)?;
    Ok(signature)
}

pub(crate) fn encoded(octets: &[u8]) -> String {
    STANDARD.encode(octets)
}

pub(crate) fn decoded(text: &str) -> Result<Vec<u8>, Refusal> {
    STANDARD.decode(text).map_err(|_| Refusal::Malformed)
}

/// A name as it stands in a message: `,` and `=` have a meaning there.
pub(crate) fn escaped(name: &str) -> String {
    name.replace('=', "=3D").replace(',', "=2C")
}

/// A name as it is: SASLprep'd (RFC 4013), so that however it was typed it is one account.
pub(crate) fn prepared_name(name: &str) -> Result<String, Refusal> {
    let prepared = stringprep::saslprep(name).map_err(|_| Refusal::NotText)?;
    plain::name(prepared.as_bytes()).map(str::to_owned)
}

fn unescaped(name: &str) -> Result<String, Refusal> {
    let mut parts = name.split('=');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (letter, rest) = match part.get(..2) {
            Some("2C") => (',', &part[2..]),
            Some("3D") => ('=', &part[2..]),
            _ => return Err(Refusal::Malformed),
        };
        plain.push(letter);
        plain.push_str(rest);
    }
    Ok(plain)
}

fn authorised(part: &str) -> Result<Option<String>, Refusal> {
    match part {
        // RFC 5802 §7 has no empty one; gsasl sends it for nobody.
        "" | "a=" => Ok(None),
        _ => prepared_name(&unescaped(value(Some(part), "a=")?)?).map(Some),
    }
}

fn flag(text: &str) -> Result<Flag<'_>, Refusal> {
    match text {
        "n" => Ok(Flag::Cannot),
        "y" => Ok(Flag::ServerCannot),
        _ => value(Some(text), "p=").map(Flag::Bound),
    }
}

fn text(blob: &[u8]) -> Result<&str, Refusal> {
    let text = std::str::from_utf8(blob).map_err(|_| Refusal::NotText)?;
    if text.contains('\0') {
        Err(Refusal::NotText)
    } else {
        Ok(text)
    }
}

fn value<'m>(part: Option<&'m str>, key: &str) -> Result<&'m str, Refusal> {
    part.and_then(|part| part.strip_prefix(key))
        .ok_or(Refusal::Malformed)
}

/// RFC 5802 §7: `printable`, which is ASCII without the comma.
fn nonce(text: &str) -> Result<&str, Refusal> {
    if !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_graphic()) {
        Ok(text)
    } else {
        Err(Refusal::Malformed)
    }
}

/// RFC 5802 §5.1: extensions that are not known are ignored, a mandatory one (`m=`) is refused.
fn extensions<'m>(parts: impl Iterator<Item = &'m str>) -> Result<(), Refusal> {
    for part in parts {
        let (key, value) = part.split_once('=').ok_or(Refusal::Malformed)?;
        let known = key.len() == 1 && key.bytes().all(|letter| letter.is_ascii_alphabetic());
        if !known || key == "m" || value.is_empty() {
            return Err(Refusal::Malformed);
        }
    }
    Ok(())
}

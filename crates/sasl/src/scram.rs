//! SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677): both sides prove that they know the password, and
//! nobody on the way learns it; with -PLUS the proof holds on this TLS channel only.
//!
//! ```text
//! client first ─▶ wants the account's keys ─▶ server first ─▶ client final ─▶ proof right: server final ─▶ "" ─▶ done
//!      │                                                          └▶ proof wrong: refused
//!      └▶ `y` where -PLUS was offered, `p=` of a type that is not to be had: refused
//! ```
//!
//! Whether the account exists shows nowhere: the host gives invented keys, and the proof fails.
//!
//! Never: the password, on the server's side.

pub(crate) mod client;
mod keys;
pub(crate) mod message;

pub(crate) use keys::hmac;
pub use keys::{NotScramKeys, ScramKeys};

use crate::constant;
use crate::exchange::{Identity, Step, Want};
use crate::refusal::Refusal;
use crate::surroundings::Surroundings;
use message::{ClientFinal, ClientFirst, Flag, encoded};

/// Whether the mechanism is the one that binds to the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Bare,
    Plus,
}

/// The server's half.
#[derive(Debug)]
pub(crate) enum Server {
    First(Kind, Box<Surroundings>),
    Keys(Opening),
    Final(Opening, ScramKeys, String),
    Proven(Identity),
}

/// What the client's first message said.
#[derive(Debug)]
pub(crate) struct Opening {
    identity: Identity,
    bare: String,
    nonce: String,
    /// What the client's final message may bind to: header and binding, one for each certificate.
    bindings: Vec<Vec<u8>>,
}

/// A nonce out of random octets.
pub(crate) fn nonce(random: &[u8; 32]) -> String {
    encoded(&random[..24])
}

impl Server {
    /// Takes a response; the state to go on with, where there is one.
    pub(crate) fn step(self, response: &[u8]) -> (Option<Server>, Step) {
        let stepped = match self {
            Server::First(kind, surroundings) => first(kind, &surroundings, response),
            Server::Keys(_) => Err(Refusal::Over),
            Server::Final(opening, keys, sent) => last(opening, &keys, &sent, response),
            // The client's answer to the server's signature is empty (RFC 4954 §4 has no room for it elsewhere).
            Server::Proven(identity) if response.is_empty() => Ok((None, Step::Done(identity))),
            Server::Proven(_) => Err(Refusal::Malformed),
        };
        stepped.unwrap_or_else(|why| (None, Step::Refused(why)))
    }

    /// Takes the account's keys, true or invented.
    pub(crate) fn give_keys(self, keys: ScramKeys) -> (Option<Server>, Step) {
        let Server::Keys(opening) = self else {
            return (None, Step::Refused(Refusal::Over));
        };
        let sent = format!("r={},{}", opening.nonce, keys.parameters());
        let challenge = Step::Challenge(sent.clone().into_bytes());
        (Some(Server::Final(opening, keys, sent)), challenge)
    }
}

type Stepped = Result<(Option<Server>, Step), Refusal>;

fn first(kind: Kind, surroundings: &Surroundings, response: &[u8]) -> Stepped {
    let first = ClientFirst::parse(response)?;
    let bindings = bindings(kind, surroundings, &first)?;
    let want = Want::ScramKeys {
        authzid: first.authzid.clone(),
        name: first.name.clone(),
    };
    let opening = Opening {
        bindings,
        bare: first.bare.to_owned(),
        nonce: format!("{}{}", first.nonce, nonce(&surroundings.random)),
        identity: Identity {
            authzid: first.authzid,
            bound: kind == Kind::Plus,
            ..Identity::named(first.name)
        },
    };
    Ok((Some(Server::Keys(opening)), Step::Want(want)))
}

/// What `c=` may hold; RFC 5802 §6 says which flag goes with which mechanism.
fn bindings(
    kind: Kind,
    surroundings: &Surroundings,
    first: &ClientFirst<'_>,
) -> Result<Vec<Vec<u8>>, Refusal> {
    let header = first.header.as_bytes();
    match (kind, first.flag) {
        (Kind::Bare, Flag::ServerCannot) if surroundings.plus_offered => Err(Refusal::Downgrade),
        (Kind::Bare, Flag::Cannot | Flag::ServerCannot) => Ok(vec![header.to_vec()]),
        (Kind::Plus, Flag::Bound(name)) => {
            let known = surroundings.bindings.named(name.as_bytes());
            if known.is_empty() {
                return Err(Refusal::BindingType);
            }
            let whole = |binding: &&[u8]| [header, binding].concat();
            Ok(known.iter().map(whole).collect())
        }
        (Kind::Bare, Flag::Bound(_)) | (Kind::Plus, _) => Err(Refusal::Malformed),
    }
}

fn last(opening: Opening, keys: &ScramKeys, sent: &str, response: &[u8]) -> Stepped {
    let last = ClientFinal::parse(response)?;
    if last.nonce != opening.nonce {
        return Err(Refusal::Nonce);
    }
    if !constant::among(&last.binding, &opening.bindings) {
        return Err(Refusal::ChannelBinding);
    }
    let messages = format!("{},{sent},{}", opening.bare, last.unproven);
    if !keys.proves(&messages, &last.proof) {
        return Err(Refusal::WrongPassword);
    }
    let signature = format!("v={}", encoded(keys.signature(&messages).as_slice()));
    let proven = Server::Proven(opening.identity);
    Ok((Some(proven), Step::Challenge(signature.into_bytes())))
}

#[cfg(test)]
mod tests;

//! The client's half of NTLM, for smart hosts that have nothing better, and for our own tests.
//!
//! It sends an integrity code wherever the server sends the time, and the channel binding wherever there is TLS.
//!
//! Never: LM or NTLMv1.

use super::crypto::{Key, hmac_md5, rc4};
use super::message::{self, Challenge, MIC, Writer, add, encoded, find, flags, pair, utf16, word};
use super::{NtHash, Session, Side, binding_hash, pairs};
use crate::client::{Credentials, Peer};
use crate::refusal::Refusal;

const ASKED: u32 = flags::UNICODE
    | flags::REQUEST_TARGET
    | flags::SIGN
    | flags::SEAL
    | flags::NTLM
    | flags::ALWAYS_SIGN
    | flags::EXTENDED
    | flags::KEY_128
    | flags::KEY_EXCHANGE
    | flags::KEY_56;

/// The first message.
pub(crate) fn negotiate() -> Vec<u8> {
    Writer::new(1, 32).octets(&ASKED.to_le_bytes()).finish()
}

/// The last message, and the session's keys.
pub(crate) fn authenticate(
    negotiate: &[u8],
    challenge: &[u8],
    credentials: &Credentials,
    peer: &Peer,
) -> Result<(Vec<u8>, Option<Box<Session>>), Refusal> {
    let read = Challenge::parse(challenge)?;
    let agreed = read.flags & ASKED;
    if agreed & flags::UNICODE == 0 {
        return Err(Refusal::Unsupported);
    }
    let (domain, user) = match credentials.name.split_once('\\') {
        Some(parts) => parts,
        None => ("", credentials.name.as_str()),
    };
    let password = std::str::from_utf8(credentials.password.expose());
    let hash = NtHash::of(password.map_err(|_| Refusal::NotText)?);
    let (info, time) = target_info(read.target_info, peer)?;
    let answer = respond(
        &hash.account_key(user, domain),
        read.challenge,
        std::array::from_fn(|at| peer.random[at]),
        time.unwrap_or(peer.time),
        &info,
    );
    let chosen = Key::new(std::array::from_fn(|at| peer.random[8 + at]));
    let (key, sent) = match agreed & flags::KEY_EXCHANGE {
        0 => (answer.key, None),
        _ => (chosen.clone(), Some(rc4(answer.key.as_slice(), &chosen))),
    };
    let mut message = Writer::new(3, MIC.end)
        // MS-NLMP 3.1.5.1.2: no LMv2 where the server sends the time.
        .field(&[0; 24])
        .field(&answer.nt)
        .field(&encoded(domain, agreed))
        .field(&encoded(user, agreed))
        .field(&[])
        .field(sent.as_ref().map_or(&[][..], |key| key.as_slice()))
        .octets(&agreed.to_le_bytes())
        .finish();
    if time.is_some() {
        let code = hmac_md5(key.as_slice(), &[negotiate, challenge, &message]);
        message[MIC].copy_from_slice(code.as_slice());
    }
    Ok((message, Session::new(&key, agreed, Side::Client)))
}

/// The server's pairs with ours beside them, and the server's time.
fn target_info(theirs: &[u8], peer: &Peer) -> Result<(Vec<u8>, Option<u64>), Refusal> {
    let theirs = match theirs {
        [] => Vec::new(),
        _ => pairs(theirs)?,
    };
    let time = match find(&theirs, pair::TIMESTAMP)? {
        Some(value) => Some(u64::from_le_bytes(
            value.try_into().map_err(|_| Refusal::Malformed)?,
        )),
        None => None,
    };
    let mut marks = find(&theirs, pair::FLAGS)?.map_or(Ok(0), |value| word(value, 0))?;
    if time.is_some() {
        marks |= pair::HAS_MIC;
    }
    let ours = [pair::FLAGS, pair::TARGET_NAME, pair::CHANNEL_BINDINGS];
    let mut info = Vec::new();
    for (id, value) in theirs.iter().filter(|(id, _)| !ours.contains(id)) {
        add(&mut info, *id, value);
    }
    add(&mut info, pair::FLAGS, &marks.to_le_bytes());
    let end_point = peer.bindings.end_points.first();
    let bound = end_point.map_or([0; 16], |hash| *binding_hash(hash));
    add(&mut info, pair::CHANNEL_BINDINGS, &bound);
    let target = format!("SMTP/{}", peer.host);
    add(&mut info, pair::TARGET_NAME, &utf16(&target));
    add(&mut info, pair::END, &[]);
    Ok((info, time))
}

/// A response, and the session's key that goes with it.
pub(super) struct Response {
    pub(super) nt: Vec<u8>,
    pub(super) key: Key,
}

/// MS-NLMP 3.3.2.
pub(super) fn respond(
    account: &Key,
    server: [u8; 8],
    client: [u8; 8],
    time: u64,
    info: &[u8],
) -> Response {
    let mut blob = vec![1, 1, 0, 0, 0, 0, 0, 0];
    blob.extend_from_slice(&time.to_le_bytes());
    blob.extend_from_slice(&client);
    blob.extend_from_slice(&[0; 4]);
    blob.extend_from_slice(info);
    blob.extend_from_slice(&[0; 4]);
    let proof = hmac_md5(account.as_slice(), &[&server, &blob]);
    Response {
        key: hmac_md5(account.as_slice(), &[proof.as_slice()]),
        nt: [proof.as_slice(), &blob].concat(),
    }
}

/// Whether these octets are a CHALLENGE at all.
pub(crate) fn is_challenge(message: &[u8]) -> bool {
    message::is_ntlm(message) && word(message, 8) == Ok(2)
}

//! NTLM's last message by hand (MS-NLMP 2.2.1.3), for what our own client would never send.

use hmac::{Hmac, KeyInit, Mac};
use md4::{Digest, Md4};
use md5::Md5;

/// What to send instead of what is right.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// NTLMv2 as curl sends it: no integrity code.
    Plain,
    /// A proof of nothing.
    Forged,
    /// NTLMv1: 24 octets.
    V1,
    /// LMv2 beside nothing.
    LmAlone,
    /// Nobody.
    Anonymous,
}

/// NEGOTIATE, with UNICODE and extended session security.
pub(crate) fn negotiate() -> Vec<u8> {
    let flags = 0x0008_8207_u32;
    [
        b"NTLMSSP\0\x01\0\0\0",
        flags.to_le_bytes().as_slice(),
        &[0; 16],
    ]
    .concat()
}

/// AUTHENTICATE in answer to `challenge`.
pub(crate) fn authenticate(challenge: &[u8], user: &str, password: &str, kind: Kind) -> Vec<u8> {
    let nonce = &challenge[24..32];
    let blob = [
        &[1, 1, 0, 0, 0, 0, 0, 0][..],
        &[0; 8],
        &[9; 8],
        &[0; 4],
        &[0; 8],
    ]
    .concat();
    let hash = Md4::digest(utf16(password));
    let key = hmac(&hash, &[&utf16(&user.to_uppercase()), &utf16("CORP")]);
    let proof = hmac(&key, &[nonce, &blob]);
    let (lm, nt, user) = match kind {
        Kind::Plain => (vec![0; 24], [proof, blob].concat(), user),
        Kind::Forged => (vec![0; 24], [vec![0; 16], blob].concat(), user),
        Kind::V1 => (vec![7; 24], vec![7; 24], user),
        Kind::LmAlone => (vec![7; 24], Vec::new(), user),
        Kind::Anonymous => (vec![0], Vec::new(), ""),
    };
    let fields = [lm, nt, utf16("CORP"), utf16(user), utf16("PC"), Vec::new()];
    let mut message = b"NTLMSSP\0\x03\0\0\0".to_vec();
    let mut at = 12 + 6 * 8 + 4;
    for field in &fields {
        let length = u16::try_from(field.len()).unwrap().to_le_bytes();
        message.extend([length, length].concat());
        message.extend(u32::try_from(at).unwrap().to_le_bytes());
        at += field.len();
    }
    message.extend(0x0008_8201_u32.to_le_bytes());
    fields.iter().for_each(|field| message.extend(field));
    message
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Md5>::new_from_slice(key).unwrap();
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

//! What a server keeps of a password (RFC 5802 §3), and the proofs made with it.
//!
//! ```text
//! salted    = PBKDF2(password, salt, iterations)
//! client    = HMAC(salted, "Client Key")      stored = H(client)
//! server    = HMAC(salted, "Server Key")
//! proof     = client XOR HMAC(stored, messages)
//! signature = HMAC(server, messages)
//! ```
//!
//! Whoever has these keys can try passwords, and can pretend to be the server; he cannot log in with them.
//!
//! Never: the password, once the keys are made.

use std::fmt;
use std::str::FromStr;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::message::{decoded, encoded};
use crate::constant;

/// In front of the text form, which is PostgreSQL's.
const SCHEME: &str = "SCRAM-SHA-256$";

/// A key, wiped when dropped.
pub(crate) type Key = Zeroizing<[u8; 32]>;

/// An account's keys for SCRAM-SHA-256.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramKeys {
    salt: Vec<u8>,
    iterations: u32,
    stored: Key,
    server: Key,
}

impl ScramKeys {
    /// Rounds for new accounts; the client does the work.
    pub const ITERATIONS: u32 = 65_536;
    /// Fewer rounds than a client takes (RFC 7677 §4), and more than it bears.
    pub const BOUNDS: std::ops::RangeInclusive<u32> = 4_096..=1_000_000;

    /// The keys of a password, in the normal form of RFC 4013 where it has one. Takes as long as `iterations` say.
    pub fn derive(password: &[u8], salt: &[u8], iterations: u32) -> ScramKeys {
        let salted = Salted::new(password, salt, iterations);
        ScramKeys {
            salt: salt.to_vec(),
            iterations,
            stored: stored(&salted.client_key()),
            server: salted.server_key(),
        }
    }

    /// For a name no account has: keys nobody has the password of, the same whenever the name is tried, in whatever
    /// case, so that the exchange goes its way and fails like a wrong password. `secret` is the host's and stays.
    pub fn invented(secret: &[u8], name: &str) -> ScramKeys {
        let name = name.to_lowercase();
        let made = |what: &str| hmac(secret, &[what.as_bytes(), b"\0", name.as_bytes()]);
        ScramKeys {
            salt: made("salt")[..16].to_vec(),
            iterations: ScramKeys::ITERATIONS,
            stored: made("stored key"),
            server: made("server key"),
        }
    }

    /// What the client needs for its proof: salt and rounds, as they stand in the server's first message.
    pub(crate) fn parameters(&self) -> String {
        format!("s={},i={}", encoded(&self.salt), self.iterations)
    }

    /// Whether this proof was made with the password.
    pub(crate) fn proves(&self, messages: &str, proof: &[u8]) -> bool {
        let signature = hmac(self.stored.as_slice(), &[messages.as_bytes()]);
        let Ok(mut client) = <[u8; 32]>::try_from(proof).map(Zeroizing::new) else {
            return false;
        };
        (client.iter_mut().zip(signature.iter())).for_each(|(octet, mask)| *octet ^= mask);
        constant::same(stored(&client).as_slice(), self.stored.as_slice())
    }

    /// What proves to the client that the server has the keys.
    pub(crate) fn signature(&self, messages: &str) -> Key {
        hmac(self.server.as_slice(), &[messages.as_bytes()])
    }
}

impl fmt::Debug for ScramKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// `SCRAM-SHA-256$iterations:salt$stored:server`, for the account file.
impl fmt::Display for ScramKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (stored, server) = (
            encoded(self.stored.as_slice()),
            encoded(self.server.as_slice()),
        );
        let (iterations, salt) = (self.iterations, encoded(&self.salt));
        write!(f, "{SCHEME}{iterations}:{salt}${stored}:{server}")
    }
}

/// The text is not `SCRAM-SHA-256$iterations:salt$stored:server` with iterations within [`ScramKeys::BOUNDS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotScramKeys;

impl fmt::Display for NotScramKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not SCRAM-SHA-256$iterations:salt$stored:server, iterations 4096 to 1000000")
    }
}

impl std::error::Error for NotScramKeys {}

impl FromStr for ScramKeys {
    type Err = NotScramKeys;

    fn from_str(text: &str) -> Result<ScramKeys, NotScramKeys> {
        let parts = || {
            let (how, keys) = text.strip_prefix(SCHEME)?.split_once('$')?;
            let (iterations, salt) = how.split_once(':')?;
            let (stored, server) = keys.split_once(':')?;
            Some(ScramKeys {
                salt: decoded(salt).ok()?,
                iterations: iterations.parse().ok()?,
                stored: key(stored)?,
                server: key(server)?,
            })
        };
        let sound = |keys: &ScramKeys| {
            ScramKeys::BOUNDS.contains(&keys.iterations) && (1..=255).contains(&keys.salt.len())
        };
        parts().filter(sound).ok_or(NotScramKeys)
    }
}

fn key(text: &str) -> Option<Key> {
    let octets = Zeroizing::new(decoded(text).ok()?);
    <[u8; 32]>::try_from(octets.as_slice())
        .ok()
        .map(Zeroizing::new)
}

/// The password after its rounds: what a client has.
pub(crate) struct Salted(Key);

impl Salted {
    pub(crate) fn new(password: &[u8], salt: &[u8], iterations: u32) -> Salted {
        let prepared = prepared(password);
        let mut salted = Zeroizing::new([0; 32]);
        pbkdf2::pbkdf2_hmac::<Sha256>(&prepared, salt, iterations, salted.as_mut_slice());
        Salted(salted)
    }

    pub(crate) fn server_key(&self) -> Key {
        hmac(self.0.as_slice(), &[b"Server Key"])
    }

    fn client_key(&self) -> Key {
        hmac(self.0.as_slice(), &[b"Client Key"])
    }

    /// The client's proof.
    pub(crate) fn proof(&self, messages: &str) -> Key {
        let mut proof = self.client_key();
        let signature = hmac(stored(&proof).as_slice(), &[messages.as_bytes()]);
        (proof.iter_mut().zip(signature.iter())).for_each(|(octet, mask)| *octet ^= mask);
        proof
    }
}

/// A password with a letter RFC 4013 forbids, or did not know yet in 2005, is taken as it is: PostgreSQL does so too.
fn prepared(password: &[u8]) -> Zeroizing<Vec<u8>> {
    let text = std::str::from_utf8(password).ok();
    let prepared = text.and_then(|text| stringprep::saslprep(text).ok());
    Zeroizing::new(match prepared {
        Some(prepared) => prepared.into_owned().into_bytes(),
        None => password.to_vec(),
    })
}

fn stored(client: &Key) -> Key {
    Zeroizing::new(Sha256::digest(client.as_slice()).into())
}

pub(crate) fn hmac(key: &[u8], parts: &[&[u8]]) -> Key {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    parts.iter().for_each(|part| mac.update(part));
    Zeroizing::new(mac.finalize().into_bytes().into())
}

//! Bytes that are wiped when dropped and never printed.
//!
//! Never: comparing secrets; the host hashes them.

use std::fmt;

use zeroize::Zeroizing;

/// A password or a blob that contains one. `Debug` prints `***`; there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes over; they are wiped when this is dropped.
    pub fn new(bytes: Vec<u8>) -> Secret {
        Secret(Zeroizing::new(bytes))
    }

    /// Something to know it again by, for whoever has the key: HMAC-SHA-256 over `of` (whose secret it is) and the bytes.
    pub fn mark(&self, key: &[u8; 32], of: &str) -> [u8; 32] {
        let length = (of.len() as u64).to_be_bytes();
        *crate::scram::hmac(key, &[&length, of.as_bytes(), &self.0])
    }

    /// The bytes themselves, for hashing or for the wire.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Secret {
        Secret::new(text.as_bytes().to_vec())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

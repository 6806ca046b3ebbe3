//! NTLMv2's proof (MS-NLMP 3.3.2): what a client shows, and what it is checked with.
//!
//! ```text
//! hash        = MD4(UTF-16 of the password)
//! account key = HMAC-MD5(hash, UPPER(user) + domain)
//! proof       = HMAC-MD5(account key, challenge + blob)       nt_response = proof + blob
//! session key = HMAC-MD5(account key, proof)
//! ```
//!
//! The hash has no salt, and whoever has it can log in with it: it **is** the password.
//!
//! Never: NTLMv1, whose response is 24 octets long.

use std::fmt;
use std::str::FromStr;

use zeroize::Zeroizing;

use super::crypto::{Key, hmac_md5, md4};
use super::message::utf16;
use crate::constant;
use crate::scram;
use crate::secret::Secret;

/// The proof in front of a response.
pub(super) const PROOF: usize = 16;

/// An account's NT hash, which is as good as its password.
#[derive(Clone, PartialEq, Eq)]
pub struct NtHash(Key);

impl NtHash {
    /// The hash of a password.
    pub fn of(password: &str) -> NtHash {
        NtHash(md4(&Zeroizing::new(utf16(password))))
    }

    /// For a name no account has: a hash nobody has the password of, so that the same work is done and fails.
    /// `secret` is the host's and stays.
    pub fn invented(secret: &[u8], name: &str) -> NtHash {
        let made = scram::hmac(secret, &[b"NT hash\0", name.to_lowercase().as_bytes()]);
        let mut hash = Zeroizing::new([0; 16]);
        hash.copy_from_slice(&made[..16]);
        NtHash(hash)
    }

    /// 32 hexadecimal digits, for the account file.
    pub fn to_hex(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(32));
        for octet in self.0.iter() {
            for nibble in [octet >> 4, octet & 15] {
                text.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
            }
        }
        text
    }

    /// The account's key for NTLMv2.
    pub(super) fn account_key(&self, user: &str, domain: &str) -> Key {
        let user = utf16(&upper(user));
        hmac_md5(self.0.as_slice(), &[&user, &utf16(domain)])
    }
}

impl fmt::Debug for NtHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The text is not 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnNtHash;

impl fmt::Display for NotAnNtHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not 32 hexadecimal digits")
    }
}

impl std::error::Error for NotAnNtHash {}

impl FromStr for NtHash {
    type Err = NotAnNtHash;

    fn from_str(text: &str) -> Result<NtHash, NotAnNtHash> {
        let mut hash = Zeroizing::new([0; 16]);
        if text.len() != 32 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(NotAnNtHash);
        }
        for (octet, at) in hash.iter_mut().zip((0..32).step_by(2)) {
            *octet = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| NotAnNtHash)?;
        }
        Ok(NtHash(hash))
    }
}

/// The key both sides have after a right proof: MS-NLMP's SessionBaseKey, winbind's `User-Session-Key`.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionBaseKey(Key);

impl SessionBaseKey {
    /// The key as winbind or another back end gives it.
    pub fn new(key: [u8; 16]) -> SessionBaseKey {
        SessionBaseKey(Zeroizing::new(key))
    }

    /// The key itself, to pass it from process to process.
    pub fn expose(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for SessionBaseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What a client shows for its password. Nothing of it is to be believed before a hash or a domain has said yes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NtProof {
    /// The domain as sent; empty with a name like `alice@corp.example`.
    pub domain: String,
    /// The account's name, never empty.
    pub user: String,
    /// The client's computer, as it says.
    pub workstation: String,
    /// The challenge the response answers.
    pub server_challenge: [u8; 8],
    /// Proof and blob: NTLMv2, always longer than 24 octets. A password can be guessed from it.
    pub nt_response: Secret,
}

impl NtProof {
    /// The session's key, where this account made the proof; compared in constant time.
    pub fn session_key(&self, hash: &NtHash) -> Option<SessionBaseKey> {
        let (proof, blob) = self.nt_response.expose().split_at_checked(PROOF)?;
        let account = hash.account_key(&self.user, &self.domain);
        let right = hmac_md5(account.as_slice(), &[&self.server_challenge, blob]);
        let key = hmac_md5(account.as_slice(), &[right.as_slice()]);
        constant::same(right.as_slice(), proof).then_some(SessionBaseKey(key))
    }

    /// `DOMAIN\user`, or the user alone.
    pub fn account(&self) -> String {
        match self.domain.as_str() {
            "" => self.user.clone(),
            domain => format!("{domain}\\{}", self.user),
        }
    }
}

/// As Windows does it: letter by letter, so that `ß` stays what it is.
fn upper(name: &str) -> String {
    let upper = |letter: char| {
        let mut letters = letter.to_uppercase();
        match (letters.next(), letters.next()) {
            (Some(one), None) => one,
            _ => letter,
        }
    };
    name.chars().map(upper).collect()
}

//! Accounts from a file: argon2id hashes as PHC strings.
//!
//! Never: a write. The file is `postern account`'s.

use std::sync::LazyLock;

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash};
use postern_config::{Account, AccountFile};
use postern_sasl::Secret;

use super::recent::Recent;

/// One account file, as it was when the generation was built.
pub(crate) struct FileSource {
    accounts: AccountFile,
    recent: Option<Recent>,
}

impl FileSource {
    /// These accounts.
    pub(crate) fn new(accounts: AccountFile) -> FileSource {
        FileSource {
            accounts,
            recent: Recent::new(),
        }
    }

    /// Whether this password of the account was right of late; and if not, what it is to be known by once it was.
    pub(super) fn recall(&self, account: &Account, password: &Secret) -> Recalled<'_> {
        let Some(recent) = &self.recent else {
            return Recalled::Unknown(None);
        };
        let mark = recent.mark(password, &account.name);
        match recent.holds(&mark) {
            true => Recalled::Right,
            false => Recalled::Unknown(Some((recent, mark))),
        }
    }

    /// The accounts.
    pub(crate) fn file(&self) -> &AccountFile {
        &self.accounts
    }
}

/// What is remembered of a password.
pub(super) enum Recalled<'s> {
    /// It was right of late.
    Right,
    /// Nothing; where it can be noted.
    Unknown(Option<(&'s Recent, [u8; 32])>),
}

/// Whether `password` is the one of `hash`; the parameters are those in the hash. Takes tens of milliseconds and as much
/// memory as the hash asks for. A hash that cannot be read fits no password.
pub(crate) fn verify(hash: &str, password: &[u8]) -> bool {
    PasswordHash::new(hash)
        .is_ok_and(|parsed| Argon2::default().verify_password(password, &parsed).is_ok())
}

/// A hash of the usual cost that no password is known for: made once, from random octets.
pub(crate) fn nobody() -> &'static str {
    static NOBODY: LazyLock<String> = LazyLock::new(|| {
        let mut password = [0_u8; 32];
        let filled = getrandom::fill(&mut password).is_ok();
        let hash = filled
            .then(|| Argon2::default().hash_password(&password).ok())
            .flatten();
        hash.map_or_else(String::new, |hash| hash.to_string())
    });
    &NOBODY
}

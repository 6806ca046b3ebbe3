//! Accounts from a file: argon2id hashes as PHC strings.
//!
//! Never: a write. The file is `postern account`'s.

use std::sync::LazyLock;

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash};
use postern_config::AccountFile;

/// One account file, as it was when the generation was built.
pub(crate) struct FileSource {
    accounts: AccountFile,
}

impl FileSource {
    /// These accounts.
    pub(crate) fn new(accounts: AccountFile) -> FileSource {
        FileSource { accounts }
    }

    /// The accounts.
    pub(crate) fn file(&self) -> &AccountFile {
        &self.accounts
    }
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

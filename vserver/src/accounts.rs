//! Who may log in: the sources of one generation, asked in order.
//!
//! | Source | File | Asked |
//! |---|---|---|
//! | account file | `accounts/file.rs` | on a pool of its own, a few at once, by turns: `accounts/checks.rs` |
//! | directory | `accounts/ldap.rs` | over the network, with deadlines |
//! | Dovecot | `accounts/dovecot.rs` | over its socket, with a deadline |
//! | Windows domain | `accounts/windows.rs` | over a link to postern-authd, with a deadline |
//! | keytab, NT hashes | `accounts/windows.rs` | the same, by whole exchanges: they know no passwords |
//!
//! The first source that knows the account decides. One that cannot be asked is passed over: a right password counts
//! wherever it is known, and only a refusal becomes "come back later".
//!
//! An unknown account and a wrong password look the same, and a source takes the same time for both.
//!
//! Never: a password kept or logged; a check on the runtime's own thread.

mod authd;
mod checks;
mod dovecot;
mod file;
mod ldap;
mod recent;
mod windows;

use std::net::IpAddr;
use std::sync::Arc;

use postern_access::Login;
use postern_config::{Account, AccountFile};
use postern_policy::{completed, dovecots, find_account, is_home};
use postern_sasl::{ScramKeys, Secret};

pub(crate) use authd::{Asked, Authd};
use checks::Checks;
pub(crate) use dovecot::{DovecotSource, Occasion};
pub(crate) use file::FileSource;
use file::Recalled;
pub(crate) use ldap::LdapSource;
pub(crate) use windows::Integrated;

/// Where passwords are checked, over all sessions and generations.
static CHECKS: Checks = Checks::new();

/// The sources of one generation.
#[derive(Default)]
pub(crate) struct Accounts {
    sources: Vec<Source>,
    default_domain: String,
    /// Who answers NTLM, and who takes tickets.
    ntlm: Option<Integrated>,
    kerberos: Option<Integrated>,
}

/// Where accounts come from.
pub(crate) enum Source {
    /// An account file.
    File(Arc<FileSource>),
    /// A directory.
    Ldap(Box<LdapSource>),
    /// Dovecot's authentication socket.
    Dovecot(DovecotSource),
    /// A Windows domain.
    Windows(Integrated),
    /// A keytab: asked by tickets alone.
    Kerberos,
}

/// What a source says to a name and a password.
#[derive(Debug)]
pub(crate) enum Checked {
    /// The account, and its password.
    Right(LoggedIn),
    /// The account is known, and does not log in; why is for the log.
    Wrong(String),
    /// The source does not know the account.
    Unknown,
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
#[error("the password could not be checked: {why}")]
pub(crate) struct Unavailable {
    why: String,
    /// Another source knows the account, with another password: it counts as a guess.
    pub guessed: bool,
}

impl Unavailable {
    fn because(why: impl std::fmt::Display) -> Unavailable {
        Unavailable {
            why: why.to_string(),
            guessed: false,
        }
    }
}

impl Accounts {
    /// These sources, in order; `default_domain` completes a name without a domain (empty: it stays as it is).
    pub(crate) fn new(sources: Vec<Source>, default_domain: &str) -> Accounts {
        Accounts {
            sources,
            default_domain: default_domain.to_owned(),
            ntlm: None,
            kerberos: None,
        }
    }

    /// With these to answer NTLM and to take tickets.
    pub(crate) fn integrated(
        self,
        ntlm: Option<Integrated>,
        kerberos: Option<Integrated>,
    ) -> Accounts {
        Accounts {
            ntlm,
            kerberos,
            ..self
        }
    }

    /// Whether a password can be right at all.
    pub(crate) fn know_passwords(&self) -> bool {
        let knows = |source: &Source| !matches!(source, Source::Kerberos);
        self.sources.iter().any(knows)
    }

    /// Whether a ticket can be right.
    pub(crate) fn take_tickets(&self) -> bool {
        self.kerberos.is_some()
    }

    /// Whether an NTLM response can be.
    pub(crate) fn answer_ntlm(&self) -> bool {
        self.ntlm.is_some()
    }

    /// Who this is. To a client, `Wrong` and `Unknown` are one.
    pub(crate) async fn check(
        &self,
        occasion: &Occasion,
        name: &str,
        password: Secret,
    ) -> Result<Checked, Unavailable> {
        let password = Arc::new(password);
        let mut down = None;
        let mut said = Checked::Unknown;
        for source in &self.sources {
            match self.ask(source, occasion, name, &password).await {
                Ok(Checked::Right(found)) => return Ok(Checked::Right(found)),
                Ok(Checked::Unknown) => {}
                Ok(wrong) => {
                    said = wrong;
                    break;
                }
                Err(unavailable) => down = down.or(Some(unavailable)),
            }
        }
        let guessed = matches!(said, Checked::Wrong(_));
        match down {
            // It might have been right there.
            Some(down) => Err(Unavailable { guessed, ..down }),
            None if guessed => Ok(said),
            None => self.pretend(occasion.client, &password).await,
        }
    }

    async fn ask(
        &self,
        source: &Source,
        occasion: &Occasion,
        name: &str,
        password: &Arc<Secret>,
    ) -> Result<Checked, Unavailable> {
        let whole = completed(name, &self.default_domain);
        match source {
            Source::File(source) => {
                self.check_in_file(source, occasion.client, name, password)
                    .await
            }
            Source::Ldap(source) => match (source.check(name, password).await?, whole) {
                (Checked::Unknown, Some(whole)) => source.check(&whole, password).await,
                (checked, _) => Ok(checked),
            },
            Source::Dovecot(source) => {
                let name = whole.as_deref().unwrap_or(name);
                source.check(occasion, name, password).await
            }
            Source::Windows(source) => self.check_in_domain(source, name, password).await,
            Source::Kerberos => Ok(Checked::Unknown),
        }
    }

    async fn check_in_file(
        &self,
        source: &Arc<FileSource>,
        client: IpAddr,
        name: &str,
        password: &Arc<Secret>,
    ) -> Result<Checked, Unavailable> {
        let Some(account) = find_account([source.file()], name, &self.default_domain) else {
            return Ok(Checked::Unknown);
        };
        let place = match source.recall(account, password) {
            Recalled::Right => return Ok(Checked::Right(LoggedIn::of(account))),
            Recalled::Unknown(place) => place,
        };
        match verify(client, account.password.clone(), password).await? {
            true => {
                if let Some((recent, mark)) = place {
                    recent.note(mark);
                }
                Ok(Checked::Right(LoggedIn::of(account)))
            }
            false => Ok(Checked::Wrong("wrong password".to_owned())),
        }
    }

    /// An unknown account takes the time of a wrong password: that of a hash nobody has the password of.
    async fn pretend(
        &self,
        client: IpAddr,
        password: &Arc<Secret>,
    ) -> Result<Checked, Unavailable> {
        if self.files().next().is_some() {
            verify(client, file::nobody().to_owned(), password).await?;
        }
        Ok(Checked::Unknown)
    }

    /// The account that a name at login means, without its password. Dovecot is not asked: it answers to passwords only.
    pub(crate) async fn find(&self, name: &str) -> Result<Option<LoggedIn>, Unavailable> {
        match self.find_listed(name).await? {
            Checked::Right(found) => return Ok(Some(found)),
            Checked::Wrong(_) => return Ok(None),
            Checked::Unknown => {}
        }
        for source in &self.sources {
            if let Source::Windows(source) = source
                && let Some(found) = self.find_in_domain(source, name).await?
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The same, among those of files and directories alone: a domain says whose a name is, and not whether he may log in.
    /// `Wrong`: it is there, and may not.
    pub(crate) async fn find_listed(&self, name: &str) -> Result<Checked, Unavailable> {
        let whole = completed(name, &self.default_domain);
        for source in &self.sources {
            let found = match source {
                Source::File(source) => Accounts::find_in_file(source, name, &self.default_domain),
                Source::Ldap(source) => match (source.find(name).await?, &whole) {
                    (Checked::Unknown, Some(whole)) => source.find(whole).await?,
                    (found, _) => found,
                },
                Source::Dovecot(_) | Source::Windows(_) | Source::Kerberos => Checked::Unknown,
            };
            if !matches!(found, Checked::Unknown) {
                return Ok(found);
            }
        }
        Ok(Checked::Unknown)
    }

    /// The account there of somebody whom a domain or a ticket has proved to have this name; `default_domain` completes it.
    async fn find_proved(&self, name: &str, default_domain: &str) -> Result<Checked, Unavailable> {
        let whole = completed(name, default_domain);
        for source in &self.sources {
            let found = match source {
                Source::File(source) => Accounts::find_in_file(source, name, default_domain),
                Source::Ldap(source) => match (source.find_proved(name).await?, &whole) {
                    (Checked::Unknown, Some(whole)) if source.completes_proved() => {
                        source.find_proved(whole).await?
                    }
                    (found, _) => found,
                },
                Source::Dovecot(_) | Source::Windows(_) | Source::Kerberos => Checked::Unknown,
            };
            if !matches!(found, Checked::Unknown) {
                return Ok(found);
            }
        }
        Ok(Checked::Unknown)
    }

    fn find_in_file(source: &FileSource, name: &str, default_domain: &str) -> Checked {
        let found = find_account([source.file()], name, default_domain);
        found.map_or(Checked::Unknown, |account| {
            Checked::Right(LoggedIn::of(account))
        })
    }

    /// The name that wrong guesses at an account are counted by, however the client writes it, as far as that shows without
    /// asking anybody: with the default domain, and without a Windows domain that a bare name means.
    pub(crate) fn counted_name(&self, name: &str) -> String {
        let bare = name.split_once('\\').filter(|(domain, _)| {
            let means = |by: &Integrated| is_home(Some(domain), &by.domains);
            let domains = self.sources.iter().filter_map(|source| match source {
                Source::Windows(by) => Some(by),
                _ => None,
            });
            domains.chain(&self.ntlm).any(means)
        });
        let name = bare.map_or(name, |(_, bare)| bare);
        completed(name, &self.default_domain).unwrap_or_else(|| name.to_owned())
    }

    /// What a name would be if it were an account of Dovecot's: for explanations, never for a login.
    pub(crate) fn if_dovecots(&self, name: &str) -> Option<LoggedIn> {
        let dovecot = |source: &Source| matches!(source, Source::Dovecot(_));
        let asked = self.sources.iter().any(dovecot);
        asked.then(|| LoggedIn::of(&dovecots(name, &self.default_domain)))
    }

    /// The SCRAM keys of an account in a file, if it has any that can be read, and the account. Keys are a file's alone,
    /// so a name means the file's account here, whatever a directory before it would say.
    pub(crate) fn scram_keys(&self, name: &str) -> Option<(ScramKeys, LoggedIn)> {
        let account = find_account(self.files(), name, &self.default_domain)?;
        let keys = account.scram.as_ref()?.parse().ok()?;
        Some((keys, LoggedIn::of(account)))
    }

    /// Whether any account can use SCRAM.
    pub(crate) fn has_scram_keys(&self) -> bool {
        self.all().any(|account| account.scram.is_some())
    }

    /// All accounts that are in files, by source and name.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Account> {
        self.files().flat_map(AccountFile::iter)
    }

    fn files(&self) -> impl Iterator<Item = &AccountFile> {
        self.sources.iter().filter_map(|source| match source {
            Source::File(source) => Some(source.file()),
            _ => None,
        })
    }
}

/// Whether the password is the one of the hash. Where there is no room for a check, it is no guess either.
async fn verify(client: IpAddr, hash: String, password: &Arc<Secret>) -> Result<bool, Unavailable> {
    let verified = CHECKS.verify(client, hash, password).await;
    verified.map_err(Unavailable::because)
}

impl LoggedIn {
    fn of(account: &Account) -> LoggedIn {
        LoggedIn {
            account: account.name.clone(),
            groups: account.groups.clone(),
            addresses: account.addresses.clone(),
        }
    }

    /// As access control wants it.
    pub(crate) fn as_login(&self) -> Login<'_> {
        Login {
            account: &self.account,
            groups: &self.groups,
            addresses: &self.addresses,
        }
    }
}

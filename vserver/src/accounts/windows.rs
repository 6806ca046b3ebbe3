//! Accounts of a Windows domain, of a Kerberos realm, and of a file with NT hashes: postern-authd proves who somebody is,
//! and the other sources say what addresses and groups he has.
//!
//! Never: a refusal because a directory is down: then nobody can say who it is.

use std::sync::Arc;

use postern_control::auth::{Account, Answer, Blob, Question, RefusedKind};
use postern_policy::{ByTicket, find_account, windows_account, windows_names};
use postern_sasl::{Inner, Secret};

use super::{Accounts, Asked, Authd, Checked, FileSource, LoggedIn, Unavailable};

/// What proves logins by whole exchanges.
#[derive(Clone)]
pub(crate) struct Integrated {
    /// The account file that its hashes stand beside.
    pub accounts: Option<Arc<FileSource>>,
    /// Who is asked.
    pub authd: Arc<Authd>,
    /// The domains or realms whose accounts are taken; none: the source's own, `*`: all.
    pub domains: Vec<String>,
}

/// What an authd's answer to one question comes to.
enum Said {
    Account(Box<Account>),
    Refused { why: String, kind: RefusedKind },
}

impl Accounts {
    /// Whom to ask about a client that begins with this token.
    pub(crate) fn asked_for(&self, token: &[u8], ntlm: bool) -> Option<&Integrated> {
        let serving = |inner| match inner {
            Inner::Ntlm => self.ntlm.as_ref().filter(|_| ntlm),
            Inner::Kerberos => self.kerberos.as_ref(),
        };
        serving(Inner::asked_for(token, |inner| serving(inner).is_some())?)
    }

    /// The domain of names that have none; empty where there is none.
    pub(crate) fn default_domain(&self) -> &str {
        &self.default_domain
    }

    /// Who somebody is who has proved to be this account of `by`; the error says why nobody.
    pub(crate) async fn proved(
        &self,
        by: &Integrated,
        account: &Account,
    ) -> Result<Result<LoggedIn, String>, Unavailable> {
        if let Some(file) = &by.accounts {
            let found = find_account([file.file()], &account.name, &self.default_domain);
            let none = || "an NT hash, but no account in the account file".to_owned();
            return Ok(found.map(LoggedIn::of).ok_or_else(none));
        }
        self.resolved(account).await
    }

    /// The addresses and groups of files and directories, and the groups the domain says; or why he does not log in.
    async fn resolved(&self, account: &Account) -> Result<Result<LoggedIn, String>, Unavailable> {
        let domain = account.domain.as_deref();
        let home = account.home;
        let default_domain = if home { &self.default_domain } else { "" };
        for name in windows_names(&account.name, domain, home) {
            match self.find_proved(&name, default_domain).await? {
                Checked::Right(mut found) => {
                    found.groups.extend(account.groups.iter().cloned());
                    return Ok(Ok(found));
                }
                Checked::Wrong(why) => return Ok(Err(why)),
                Checked::Unknown => {}
            }
        }
        let own = windows_account(&account.name, domain, default_domain, &account.groups);
        Ok(Ok(LoggedIn::of(&own)))
    }

    /// Whom a ticket would let in, and whether another source knows him: for explanations, never for a login. `None`: he is
    /// known, and does not log in.
    pub(crate) async fn if_a_tickets(
        &self,
        ticket: &ByTicket,
    ) -> Result<(Option<LoggedIn>, bool), Unavailable> {
        for name in &ticket.names {
            match self.find_proved(name, &ticket.default_domain).await? {
                Checked::Right(found) => return Ok((Some(found), true)),
                Checked::Wrong(_) => return Ok((None, true)),
                Checked::Unknown => {}
            }
        }
        Ok((Some(LoggedIn::of(&ticket.otherwise)), false))
    }

    pub(super) async fn check_in_domain(
        &self,
        source: &Integrated,
        name: &str,
        password: &Secret,
    ) -> Result<Checked, Unavailable> {
        if name.is_empty() || password.expose().is_empty() {
            return Ok(Checked::Wrong("an empty name or password".to_owned()));
        }
        let said = source.ask(|exchange, domains| Question::Password {
            exchange,
            name: name.to_owned(),
            password: Blob::from(password.expose()),
            domains,
        });
        Ok(match said.await? {
            Said::Account(account) => match self.resolved(&account).await? {
                Ok(found) => Checked::Right(found),
                Err(why) => Checked::Wrong(why),
            },
            Said::Refused {
                kind: RefusedKind::Unknown,
                ..
            } => Checked::Unknown,
            Said::Refused { why, .. } => Checked::Wrong(why),
        })
    }

    pub(super) async fn find_in_domain(
        &self,
        source: &Integrated,
        name: &str,
    ) -> Result<Option<LoggedIn>, Unavailable> {
        let said = source.ask(|exchange, domains| Question::Find {
            exchange,
            name: name.to_owned(),
            domains,
        });
        match said.await? {
            Said::Account(account) => Ok(self.resolved(&account).await?.ok()),
            Said::Refused { .. } => Ok(None),
        }
    }
}

impl Integrated {
    /// A new exchange with it.
    pub(crate) fn begin(&self) -> Asked {
        self.authd.begin()
    }

    async fn ask(
        &self,
        question: impl FnOnce(u32, Vec<String>) -> Question,
    ) -> Result<Said, Unavailable> {
        let mut asked = self.begin();
        let question = question(asked.exchange, self.domains.clone());
        match asked.ask(question).await.map_err(Unavailable::because)? {
            Answer::Account { account, .. } => Ok(Said::Account(account)),
            Answer::Refused { why, kind, .. } => Ok(Said::Refused { why, kind }),
            Answer::Unavailable { why, .. } => Err(Unavailable::because(why)),
            _ => Err(Unavailable::because("an answer to another question")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Source;
    use super::*;

    #[test]
    fn guesses_at_an_account_count_together_however_it_is_written() {
        let serving = |domains: &[&str]| Integrated {
            accounts: None,
            authd: Authd::new(None),
            domains: domains.iter().map(ToString::to_string).collect(),
        };
        let post = |ntlm| Accounts::new(Vec::new(), "example.test").integrated(ntlm, None);
        for (domains, written, counted) in [
            (Some(&["CORP", "LAB"][..]), "alice", "alice@example.test"),
            (Some(&["CORP", "LAB"]), r"corp\alice", "alice@example.test"),
            (
                Some(&["CORP", "LAB"]),
                "alice@example.test",
                "alice@example.test",
            ),
            // Another alice.
            (Some(&["CORP", "LAB"]), r"LAB\alice", r"LAB\alice"),
            (Some(&["*"]), r"CORP\alice", r"CORP\alice"),
            // Hashes are of no domain, whatever the client writes.
            (Some(&[]), r"ANY\alice", "alice@example.test"),
            (None, r"CORP\alice", r"CORP\alice"),
        ] {
            assert_eq!(post(domains.map(serving)).counted_name(written), counted);
        }
    }

    #[tokio::test]
    async fn a_domain_is_not_asked_for_a_certificate() {
        // It cannot be asked here, so that whoever asks it hears of that.
        let domain = Integrated {
            accounts: None,
            authd: Authd::new(None),
            domains: vec!["CORP".to_owned()],
        };
        let accounts = Accounts::new(vec![Source::Windows(domain)], "");
        let listed = accounts.find_listed("alice").await;
        assert!(matches!(listed, Ok(Checked::Unknown)), "{listed:?}");
        assert!(accounts.find("alice").await.is_err());
    }
}

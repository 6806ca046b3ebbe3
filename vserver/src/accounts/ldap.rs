//! Accounts from a directory: found by the account that searches, checked by logging in as the user.
//!
//! ```text
//! name ─▶ search ─▶ none: unknown · two: refused · one ─▶ bind as it, on another connection ─▶ groups ─▶ who it is
//! server 1 does not answer ─▶ server 2 ─▶ … ─▶ unavailable
//! ```
//!
//! | File | Holds |
//! |---|---|
//! | `pool.rs` | the servers in order, and their connections |
//! | `connection.rs` | one connection: TLS, bind, search, deadlines |
//! | `message.rs`, `ber.rs` | what is said, octet by octet |
//!
//! Why no library: ldap3 0.12 panics on messages it does not expect, recurses as deep as the server likes, and has no
//! bound on a message's length; a worker must survive its directory.
//!
//! Never: a bind without a password, which succeeds for anybody (RFC 4513 §5.1.2); a referral followed; a name in a
//! filter but as a value.

mod ber;
mod connection;
mod message;
mod pool;

use std::time::Duration;

use postern_config::{LdapFilter, LdapKind, LdapRelation, LdapSource as Settings, Template};
use postern_sasl::Secret;
use postern_tls::ClientTls;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{Checked, LoggedIn, Unavailable};
use connection::{Connection, Found, Trouble};
use message::{Entry, Outcome, Search};
use pool::{Means, Purpose, Server, order};

/// As many logins are asked about at once; the others wait their turn.
const AT_ONCE: usize = 8;
/// A login takes no longer, whatever the servers do.
const WHOLE: Duration = Duration::from_secs(15);
/// As many groups an account may be in.
const MOST_GROUPS: u32 = 1000;
/// As deep groups are looked for in groups.
const DEEPEST: usize = 10;
/// As many addresses an account may have.
const MOST_ADDRESSES: usize = 1000;

/// `alice@corp.example`, in Active Directory.
const PRINCIPAL: &str = "userPrincipalName";
/// What Active Directory says of an account, bit by bit.
const CONTROL: &str = "userAccountControl";

/// A directory.
pub(crate) struct LdapSource {
    settings: Settings,
    servers: Vec<Server>,
    means: Means,
    turns: Semaphore,
}

/// What is asked.
struct Question<'a> {
    name: &'a str,
    /// Whether a domain or a ticket has proved who it is: then it is an account's name, and nobody's address.
    proved: bool,
    /// `None`: who it is, without a password.
    password: Option<&'a Secret>,
}

impl LdapSource {
    /// A source by these settings; `password` is the one of the account that searches.
    pub(crate) fn new(settings: &Settings, password: Option<Secret>, tls: ClientTls) -> LdapSource {
        let login = settings.bind.as_ref().map(|bind| bind.dn.clone());
        LdapSource {
            servers: settings.servers.iter().cloned().map(Server::new).collect(),
            means: Means {
                tls,
                login: login.zip(password),
                limit: settings.timeout,
            },
            settings: settings.clone(),
            turns: Semaphore::new(AT_ONCE),
        }
    }

    /// What the directory says to a name and a password.
    pub(crate) async fn check(
        &self,
        name: &str,
        password: &Secret,
    ) -> Result<Checked, Unavailable> {
        // RFC 4513 §5.1.2: a bind with an empty password succeeds, and proves nothing.
        if name.is_empty() || password.expose().is_empty() {
            return Ok(Checked::Wrong("an empty name or password".to_owned()));
        }
        let question = Question {
            name,
            proved: false,
            password: Some(password),
        };
        self.ask(&question).await
    }

    /// Who an account is, without its password. `Wrong`: it is there, and may not log in.
    pub(crate) async fn find(&self, name: &str) -> Result<Checked, Unavailable> {
        let question = Question {
            name,
            proved: false,
            password: None,
        };
        self.ask(&question).await
    }

    /// The same of somebody whom a domain or a ticket has proved: found by account attributes alone, or by the definition's
    /// own filter as it is.
    pub(crate) async fn find_proved(&self, name: &str) -> Result<Checked, Unavailable> {
        // No attribute holds `CORP\alice`.
        if name.is_empty() || (!self.settings.custom_filter && name.contains('\\')) {
            return Ok(Checked::Unknown);
        }
        let question = Question {
            name,
            proved: true,
            password: None,
        };
        self.ask(&question).await
    }

    /// What completes a name is part of it in Active Directory: another's userPrincipalName may look like it.
    pub(crate) fn completes_proved(&self) -> bool {
        self.settings.custom_filter || self.settings.kind == LdapKind::OpenLdap
    }

    async fn ask(&self, question: &Question<'_>) -> Result<Checked, Unavailable> {
        let asked = timeout(WHOLE, self.ask_in_order(question)).await;
        asked.unwrap_or_else(|_| {
            let what = format!("the directory did not answer in {WHOLE:?}");
            Err(Unavailable::because(what))
        })
    }

    async fn ask_in_order(&self, question: &Question<'_>) -> Result<Checked, Unavailable> {
        let turn = self.turns.acquire().await;
        let _turn = turn.map_err(Unavailable::because)?;
        let mut why = "no server of the directory answered a moment ago".to_owned();
        for server in order(&self.servers) {
            match self.ask_one(server, question).await {
                Ok(checked) => {
                    server.answered();
                    return Ok(checked);
                }
                Err(trouble) => {
                    server.failed();
                    tracing::warn!(%server, %trouble, "the directory server is of no help");
                    why = format!("{server}: {trouble}");
                }
            }
        }
        Err(Unavailable::because(why))
    }

    async fn ask_one(&self, server: &Server, question: &Question<'_>) -> Result<Checked, Trouble> {
        let (mut searcher, found) = self.search_account(server, question).await?;
        let checked = match (found.entries.as_slice(), found.more) {
            ([entry], false) if !self.is_meant(entry, question) => Checked::Unknown,
            ([], false) => {
                self.pretend(server, question).await;
                Checked::Unknown
            }
            ([entry], false) => match self.prove(server, entry, question).await? {
                Some(reason) => Checked::Wrong(reason),
                None => Checked::Right(self.describe(&mut searcher, entry, question.name).await?),
            },
            _ => Checked::Wrong("several accounts of the directory have this name".to_owned()),
        };
        server.give_back(Purpose::Search, searcher);
        Ok(checked)
    }

    /// The entries the filter finds, two at most, and the connection they were found on. A connection that waited may
    /// have been closed on the other side, with or without a word: then a new one is tried.
    async fn search_account(
        &self,
        server: &Server,
        question: &Question<'_>,
    ) -> Result<(Connection, Found), Trouble> {
        let account = self.account_attribute();
        let mut attributes = vec![account];
        if self.settings.kind == LdapKind::ActiveDirectory {
            attributes.extend([PRINCIPAL, CONTROL]);
        }
        attributes.extend(self.settings.addresses.iter().map(String::as_str));
        let proved = self.proved_attribute(question);
        let proved = proved.map(|attribute| self.named(attribute, question.name));
        let search = Search {
            base: &self.settings.base,
            filter: proved.as_ref().unwrap_or(&self.settings.filter),
            name: question.name,
            attributes: &attributes,
            most: 2,
            seconds: self.seconds(),
        };
        if let Some(mut waited) = server.take(Purpose::Search) {
            match waited.search(&search).await {
                Ok(found) => return Ok((waited, found)),
                Err(late @ Trouble::Late { .. }) => return Err(late),
                Err(_) => {}
            }
        }
        let mut fresh = server.open(Purpose::Search, &self.means).await?;
        let found = fresh.search(&search).await?;
        Ok((fresh, found))
    }

    /// Why the password is not right, or why it would be of no use; `None`: the account logs in.
    async fn prove(
        &self,
        server: &Server,
        entry: &Entry,
        question: &Question<'_>,
    ) -> Result<Option<String>, Trouble> {
        let Some(password) = question.password else {
            return Ok(disabled(entry).then(|| "the account is disabled".to_owned()));
        };
        let dn = &*entry.dn;
        // A DN of no length is nobody in particular, who may log in with any password.
        if dn.is_empty() {
            return Ok(Some("the account has no name in the directory".to_owned()));
        }
        judge(self.bind(server, dn, password).await?)
    }

    async fn bind(&self, server: &Server, dn: &str, password: &Secret) -> Result<Outcome, Trouble> {
        if let Some(mut waited) = server.take(Purpose::Try) {
            match waited.bind(dn, password).await {
                Ok(outcome) => {
                    server.give_back(Purpose::Try, waited);
                    return Ok(outcome);
                }
                Err(late @ Trouble::Late { .. }) => return Err(late),
                Err(_) => {}
            }
        }
        let mut fresh = server.open(Purpose::Try, &self.means).await?;
        let outcome = fresh.bind(dn, password).await?;
        server.give_back(Purpose::Try, fresh);
        Ok(outcome)
    }

    /// Takes the time that a wrong password takes, by trying to be somebody who is not there.
    async fn pretend(&self, server: &Server, question: &Question<'_>) {
        if question.password.is_some() {
            let dn = format!("cn=nobody,{}", self.settings.base);
            let _ = self.bind(server, &dn, &Secret::from("nobody")).await;
        }
    }

    async fn describe(
        &self,
        searcher: &mut Connection,
        entry: &Entry,
        name: &str,
    ) -> Result<LoggedIn, Trouble> {
        let account = entry.values(self.account_attribute()).next();
        let addresses = self.settings.addresses.iter();
        let addresses = addresses.flat_map(|attribute| entry.values(attribute));
        Ok(LoggedIn {
            account: account.unwrap_or(name).to_owned(),
            addresses: addresses
                .filter_map(address)
                .take(MOST_ADDRESSES)
                .map(str::to_owned)
                .collect(),
            groups: self.groups(searcher, &entry.dn).await?,
        })
    }

    async fn groups(&self, searcher: &mut Connection, dn: &str) -> Result<Vec<String>, Trouble> {
        match self.settings.kind {
            LdapKind::ActiveDirectory => {
                let found = self.groups_with(searcher, &in_chain(dn)).await?;
                Ok(names(&found, "sAMAccountName"))
            }
            LdapKind::OpenLdap => self.groups_by_level(searcher, dn).await,
        }
    }

    /// Groups the account is in, then those these groups are in, and so on.
    async fn groups_by_level(
        &self,
        searcher: &mut Connection,
        dn: &str,
    ) -> Result<Vec<String>, Trouble> {
        let (mut level, mut seen) = (vec![dn.to_owned()], Vec::<Entry>::new());
        for _ in 0..DEEPEST {
            let found = self.groups_with(searcher, &has_member(&level)).await?;
            let new = |entry: &Entry| !seen.iter().any(|old| old.dn == entry.dn);
            let found: Vec<Entry> = found.into_iter().filter(new).collect();
            level = found.iter().map(|entry| entry.dn.clone()).collect();
            seen.extend(found);
            if level.is_empty() || seen.len() >= MOST_GROUPS as usize {
                break;
            }
        }
        Ok(names(&seen, "cn"))
    }

    async fn groups_with(
        &self,
        searcher: &mut Connection,
        filter: &LdapFilter,
    ) -> Result<Vec<Entry>, Trouble> {
        let attribute = match self.settings.kind {
            LdapKind::ActiveDirectory => "sAMAccountName",
            LdapKind::OpenLdap => "cn",
        };
        let found = searcher
            .search(&Search {
                base: &self.settings.base,
                filter,
                name: "",
                attributes: &[attribute],
                most: MOST_GROUPS,
                seconds: self.seconds(),
            })
            .await?;
        match found.more {
            false => Ok(found.entries),
            // A group left out may be one that is denied something.
            true => Err(Trouble::Refused {
                doing: "searching groups",
                code: 4,
                text: format!("more than {MOST_GROUPS} groups"),
            }),
        }
    }

    /// The attribute that has to be the name of somebody who is proved; none where the definition's filter is asked.
    fn proved_attribute(&self, question: &Question<'_>) -> Option<&'static str> {
        let is_asked = question.proved && !self.settings.custom_filter;
        is_asked.then(|| match self.settings.kind {
            LdapKind::ActiveDirectory if question.name.contains('@') => PRINCIPAL,
            LdapKind::ActiveDirectory | LdapKind::OpenLdap => self.account_attribute(),
        })
    }

    /// The account whose `attribute` is `name`.
    fn named(&self, attribute: &str, name: &str) -> LdapFilter {
        let class = match self.settings.kind {
            LdapKind::ActiveDirectory => "user",
            LdapKind::OpenLdap => "inetOrgPerson",
        };
        LdapFilter::And(vec![equal("objectClass", class), equal(attribute, name)])
    }

    /// Whether the directory's notion of equal is ours: Active Directory takes `é` for `e`.
    fn is_meant(&self, entry: &Entry, question: &Question<'_>) -> bool {
        let is_name = |value: &str| value.to_lowercase() == question.name.to_lowercase();
        self.proved_attribute(question)
            .is_none_or(|attribute| entry.values(attribute).any(is_name))
    }

    fn account_attribute(&self) -> &'static str {
        match self.settings.kind {
            LdapKind::ActiveDirectory => "sAMAccountName",
            LdapKind::OpenLdap => "uid",
        }
    }

    fn seconds(&self) -> u32 {
        u32::try_from(self.settings.timeout.as_secs()).unwrap_or(u32::MAX)
    }
}

/// Whether Active Directory says so: bit 2 of userAccountControl (MS-ADTS 2.2.16).
fn disabled(entry: &Entry) -> bool {
    const ACCOUNTDISABLE: i64 = 2;
    let flags = entry.values(CONTROL).next();
    flags
        .and_then(|flags| flags.parse::<i64>().ok())
        .is_some_and(|flags| flags & ACCOUNTDISABLE != 0)
}

/// Groups that have `dn` as a member, or as a member of a member (MS-ADTS 3.1.1.3.4.4).
fn in_chain(dn: &str) -> LdapFilter {
    LdapFilter::And(vec![
        equal("objectClass", "group"),
        LdapFilter::Matches {
            attribute: Some("member".to_owned()),
            rule: Some("1.2.840.113556.1.4.1941".to_owned()),
            dn: false,
            value: Template::exactly(dn.as_bytes()),
        },
    ])
}

/// Groups that have one of these as a member.
fn has_member(dns: &[String]) -> LdapFilter {
    let members = dns
        .iter()
        .flat_map(|dn| [equal("member", dn), equal("uniqueMember", dn)]);
    LdapFilter::And(vec![
        LdapFilter::Or(vec![
            equal("objectClass", "groupOfNames"),
            equal("objectClass", "groupOfUniqueNames"),
        ]),
        LdapFilter::Or(members.collect()),
    ])
}

fn equal(attribute: &str, value: &str) -> LdapFilter {
    let value = Template::exactly(value.as_bytes());
    LdapFilter::Compare(LdapRelation::Equal, attribute.to_owned(), value)
}

fn names(entries: &[Entry], attribute: &str) -> Vec<String> {
    let names = entries
        .iter()
        .filter_map(|entry| entry.values(attribute).next());
    names.map(str::to_owned).collect()
}

/// An address in a value: `proxyAddresses` has `smtp:` before it, and other kinds of addresses with other words.
/// What would stand for a whole domain is none: a directory's users may write their own attributes.
fn address(value: &str) -> Option<&str> {
    let bare = match value.split_once(':') {
        Some((kind, rest)) if kind.eq_ignore_ascii_case("smtp") => rest,
        Some(_) => return None,
        None => value,
    };
    let (local, domain) = bare.rsplit_once('@')?;
    (!local.is_empty() && local != "*" && !domain.is_empty()).then_some(bare)
}

/// Whether a bind's outcome is about the account (why it is refused), or about the server.
fn judge(outcome: Outcome) -> Result<Option<String>, Trouble> {
    const CONSTRAINT_VIOLATION: u32 = 19;
    const NO_SUCH_OBJECT: u32 = 32;
    const INAPPROPRIATE_AUTHENTICATION: u32 = 48;
    const INVALID_CREDENTIALS: u32 = 49;
    const INSUFFICIENT_ACCESS_RIGHTS: u32 = 50;
    const UNWILLING_TO_PERFORM: u32 = 53;
    match outcome.code {
        0 => Ok(None),
        CONSTRAINT_VIOLATION
        | NO_SUCH_OBJECT
        | INAPPROPRIATE_AUTHENTICATION
        | INVALID_CREDENTIALS
        | INSUFFICIENT_ACCESS_RIGHTS
        | UNWILLING_TO_PERFORM => Ok(Some(reason(&outcome))),
        code => Err(Trouble::Refused {
            doing: "logging in as the user",
            code,
            text: outcome.text,
        }),
    }
}

/// Why, in words; Active Directory says it as a Windows error number in hexadecimal.
fn reason(outcome: &Outcome) -> String {
    let data = outcome.text.split(" data ").nth(1).unwrap_or_default();
    let number = data.split(',').next().unwrap_or_default();
    let known = match number {
        "525" => "the account is not there",
        "52e" => "wrong password",
        "530" => "not at this hour",
        "531" => "not from this computer",
        "532" => "the password has expired",
        "533" => "the account is disabled",
        "701" => "the account has expired",
        "773" => "the password must be changed",
        "775" => "the account is locked out in the directory",
        _ if outcome.text.is_empty() => "wrong password",
        _ => return format!("the directory says {}: {:?}", outcome.code, outcome.text),
    };
    known.to_owned()
}

#[cfg(test)]
mod tests;

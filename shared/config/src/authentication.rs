//! `[access.authentication]`: who may log in, how, and what a login grants.

mod dovecot;
mod filter;
mod integrated;
mod ldap;

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use postern_access::{AnonymousLocalSender, Grants, LockoutRule};

use crate::fields::Fields;
use crate::reader::{Node, Reader};
use crate::values::{Misfit, clip};

pub use filter::{LdapFilter, LdapRelation, Template};
pub use integrated::{ChannelBinding, Ntlm};
pub use ldap::{LdapBind, LdapKind, LdapServer, LdapSource, LdapTls};

/// The section's settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Authentication {
    /// A session may send MAIL without logging in.
    pub anonymous: bool,
    /// AUTH PLAIN and LOGIN.
    pub basic: bool,
    /// Outside TLS, basic is neither offered nor accepted.
    pub basic_requires_tls: bool,
    /// AUTH GSSAPI and GSS-SPNEGO; `None`: where an account source can serve it.
    pub integrated: Option<bool>,
    /// AUTH NTLM.
    pub ntlm: Ntlm,
    /// AUTH SCRAM-SHA-256, and -PLUS inside TLS.
    pub scram: bool,
    /// Completes an account name written without a domain; empty: nothing does.
    pub default_domain: String,
    /// Where accounts come from, in order.
    pub accounts: Vec<AccountSource>,
    /// Who may send at all.
    pub submit: Grants,
    /// Who may relay.
    pub relay: Grants,
    /// A logged-in client sends only from addresses of its own account.
    pub sender_must_match: bool,
    /// What an anonymous session gets that claims a sender in a local domain.
    pub anonymous_local_sender: AnonymousLocalSender,
    /// Wrong passwords; `None`: nobody is ever locked out.
    pub lockout: Option<LockoutRule>,
}

impl Default for Authentication {
    fn default() -> Authentication {
        Authentication {
            anonymous: false,
            basic: true,
            basic_requires_tls: true,
            integrated: None,
            ntlm: Ntlm::default(),
            scram: true,
            default_domain: String::new(),
            accounts: Vec::new(),
            submit: Grants::everybody(),
            relay: Grants::everybody(),
            sender_must_match: true,
            anonymous_local_sender: AnonymousLocalSender::Reject,
            lockout: Some(LockoutRule::default()),
        }
    }
}

/// One source of accounts.
#[derive(Clone, Debug, PartialEq)]
pub enum AccountSource {
    /// `{ file = "/etc/postern/accounts/mx1.toml" }`: an account file.
    File {
        /// Its path, as written.
        path: PathBuf,
        /// The file of NT hashes for NTLM, which only root and its authd read.
        nt_hashes: Option<PathBuf>,
    },
    /// `{ ldap = { … } }`: Active Directory and others.
    Ldap(Box<LdapSource>),
    /// `{ windows = "CORP" }`: a domain, through winbind.
    Windows {
        /// The domains' NetBIOS names, one at least; `*`: all that winbind knows.
        domains: Vec<String>,
    },
    /// `{ gssapi = … }`: Kerberos tickets, by a keytab.
    Gssapi {
        /// The keytab, as written; only root and its authd read it.
        keytab: PathBuf,
        /// The realms whose tickets are taken; none: the keytab's own. `*`: all.
        realms: Vec<String>,
    },
    /// `{ dovecot = "/run/dovecot/auth-client" }`: its authentication socket.
    Dovecot {
        /// The socket's path, absolute.
        path: PathBuf,
    },
}

impl Authentication {
    pub(crate) fn read(fields: &mut Fields<'_, '_, '_>) -> Authentication {
        let mut read = Authentication::default();
        fields.set(&mut read.anonymous, "anonymous", Reader::truth);
        fields.set(&mut read.basic, "basic", Reader::truth);
        fields.set(
            &mut read.basic_requires_tls,
            "basic_requires_tls",
            Reader::truth,
        );
        fields.set_some(&mut read.integrated, "integrated", Reader::truth);
        fields.set(&mut read.ntlm, "ntlm", integrated::ntlm);
        fields.set(&mut read.scram, "scram", Reader::truth);
        fields.set(
            &mut read.default_domain,
            "default_domain",
            |reader, node| match node.get_ref().as_str() {
                Some("") => Some(String::new()),
                _ => reader.domain(node),
            },
        );
        read.account_sources(fields);
        fields.set(&mut read.submit, "submit", grants);
        fields.set(&mut read.relay, "relay", grants);
        fields.set(
            &mut read.sender_must_match,
            "sender_must_match",
            Reader::truth,
        );
        let words = [
            AnonymousLocalSender::Reject,
            AnonymousLocalSender::Mark,
            AnonymousLocalSender::Accept,
        ];
        fields.set(
            &mut read.anonymous_local_sender,
            "anonymous_local_sender",
            |reader, node| reader.word(node, &words.map(|word| (word.as_str(), word))),
        );
        fields.set(&mut read.lockout, "lockout", lockout);
        read
    }

    /// Reads `accounts`, after the settings that say how they are used.
    fn account_sources(&mut self, fields: &mut Fields<'_, '_, '_>) {
        let mut sources: Vec<(AccountSource, Range<usize>)> = Vec::new();
        let mut all_read = true;
        if let Some(node) = fields.get("accounts") {
            let read = fields.reader.list(node, ACCOUNTS, |reader, member| {
                let source = account_source(reader, member);
                all_read &= source.is_some();
                source.map(|source| (source, member.span()))
            });
            all_read &= read.is_some();
            sources = read.unwrap_or_default();
        }
        let (sources, places): (Vec<_>, Vec<_>) = sources.into_iter().unzip();
        self.accounts = sources;
        integrated::check(fields.reader, self, &places, all_read);
    }
}

const ACCOUNTS: &str = "[{ file = \"/etc/postern/accounts/mx1.toml\" }]";

fn account_source<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<AccountSource> {
    if let Some(path) = node.get_ref().as_str() {
        let remedy = format!("write {{ file = \"{}\" }}", clip(path));
        reader.error(
            node.span(),
            "an account source is a table that says of which kind it is",
            remedy,
        );
        return None;
    }
    let known = ["file", "nt_hashes", "ldap", "windows", "gssapi", "dovecot"];
    let table = reader.table(node, &known, "{ file = \"PATH\" }")?;
    let nt_hashes = table.get("nt_hashes");
    if let Some(nt_hashes) = nt_hashes.filter(|_| !table.contains_key("file")) {
        let what = "nt_hashes are for the accounts of a file, and stand beside it";
        let remedy = "write { file = \"PATH\", nt_hashes = \"PATH.nt\" }";
        reader.error(nt_hashes.span(), what, remedy);
        return None;
    }
    if table.len() != 1 + usize::from(nt_hashes.is_some()) {
        reader.error(
            node.span(),
            "an account source has one kind",
            "write { file = \"PATH\" }; several sources are several tables",
        );
        return None;
    }
    let (key, value) = table.iter().find(|(key, _)| key.get_ref() != "nt_hashes")?;
    match key.get_ref().as_ref() {
        "file" => file(reader, value, nt_hashes),
        "ldap" => {
            LdapSource::read(reader, value).map(|source| AccountSource::Ldap(Box::new(source)))
        }
        "windows" => {
            integrated::windows(reader, value).map(|domains| AccountSource::Windows { domains })
        }
        "gssapi" => integrated::gssapi(reader, value)
            .map(|(keytab, realms)| AccountSource::Gssapi { keytab, realms }),
        "dovecot" => dovecot::read(reader, value).map(|path| AccountSource::Dovecot { path }),
        _ => None,
    }
}

fn file<'t>(
    reader: &mut Reader<'t>,
    path: &Node<'t>,
    nt_hashes: Option<&Node<'t>>,
) -> Option<AccountSource> {
    let path = reader.path(path, "\"/etc/postern/accounts/mx1.toml\"");
    let nt_hashes = match nt_hashes {
        Some(node) => Some(reader.path(node, "\"/etc/postern/accounts/mx1.nt\"")?),
        None => None,
    };
    path.map(|path| AccountSource::File { path, nt_hashes })
}

fn grants<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<Grants> {
    let example = "[\"*\"], or accounts and \"@group\", with \"!\" in front to deny";
    let grants = reader.list(node, example, |reader, member| {
        reader.parsed(
            member,
            "an account, \"@group\" or \"*\" in quotes",
            |text| {
                text.parse().map_err(|error| {
                    Misfit::new(
                        format!("`{}` is {error}", clip(text)),
                        "write \"alice\", \"@staff\", \"!@interns\" or \"*\"",
                    )
                })
            },
        )
    })?;
    Some(Grants::new(grants))
}

fn lockout<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<Option<LockoutRule>> {
    const EXAMPLE: &str = "{ passwords = 10, within = \"10m\", block = \"15m\" } or false";
    match node.get_ref().as_bool() {
        Some(false) => return Some(None),
        Some(true) => {
            reader.error(
                node.span(),
                "`true` does not say when to lock out",
                format!("write {EXAMPLE}, or remove it"),
            );
            return None;
        }
        None => {}
    }
    let table = reader.table(node, &["passwords", "within", "block"], EXAMPLE)?;
    let mut rule = LockoutRule::default();
    let least = Duration::from_secs(1);
    if let Some(passwords) = table
        .get("passwords")
        .and_then(|node| reader.number(node, 1..=LockoutRule::MOST))
    {
        rule.passwords = passwords;
    }
    if let Some(within) = table
        .get("within")
        .and_then(|node| reader.time(node, least))
    {
        rule.within = within;
    }
    if let Some(block) = table.get("block").and_then(|node| reader.time(node, least)) {
        rule.block = block;
    }
    Some(Some(rule))
}

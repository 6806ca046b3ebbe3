//! `[access.authentication]`: who may log in, how, and what a login grants.

mod dovecot;
mod filter;
mod ldap;

use std::path::PathBuf;
use std::time::Duration;

use postern_access::{AnonymousLocalSender, Grants, LockoutRule};

use crate::fields::Fields;
use crate::reader::{Node, Reader};
use crate::values::{Misfit, clip};

pub use filter::{LdapFilter, LdapRelation, Template};
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
    },
    /// `{ ldap = { … } }`: Active Directory and others.
    Ldap(Box<LdapSource>),
    /// `{ windows = … }`: a domain, through winbind. Not in this build.
    Windows,
    /// `{ gssapi = … }`: a keytab. Not in this build.
    Gssapi,
    /// `{ dovecot = "/run/dovecot/auth-client" }`: its authentication socket.
    Dovecot {
        /// The socket's path, absolute.
        path: PathBuf,
    },
}

/// AUTH NTLM: `false`, `true`, or a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ntlm {
    /// Whether it is offered.
    pub enabled: bool,
    /// Inside TLS only.
    pub requires_tls: bool,
    /// What is asked of a client's channel binding.
    pub channel_binding: ChannelBinding,
}

impl Default for Ntlm {
    fn default() -> Ntlm {
        Ntlm {
            enabled: false,
            requires_tls: true,
            channel_binding: ChannelBinding::Accept,
        }
    }
}

/// What is asked of a client's channel binding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChannelBinding {
    /// Checked where it is sent.
    #[default]
    Accept,
    /// Refused where it is not sent.
    Require,
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
        fields.set_some(&mut read.integrated, "integrated", integrated);
        fields.set(&mut read.ntlm, "ntlm", ntlm);
        fields.set(&mut read.scram, "scram", Reader::truth);
        fields.set(
            &mut read.default_domain,
            "default_domain",
            |reader, node| match node.get_ref().as_str() {
                Some("") => Some(String::new()),
                _ => reader.domain(node),
            },
        );
        fields.set(&mut read.accounts, "accounts", |reader, node| {
            reader.list(node, ACCOUNTS, account_source)
        });
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
}

const ACCOUNTS: &str = "[{ file = \"/etc/postern/accounts/mx1.toml\" }]";

fn integrated<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<bool> {
    let wanted = reader.truth(node)?;
    if wanted {
        reader.not_yet(
            node.span(),
            "integrated login (GSSAPI, SPNEGO)",
            "remove it, and let clients use basic inside TLS",
        );
    }
    Some(wanted)
}

fn ntlm<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<Ntlm> {
    let ntlm = match node.get_ref().is_table() {
        true => ntlm_table(reader, node)?,
        false => Ntlm {
            enabled: reader.truth(node)?,
            ..Ntlm::default()
        },
    };
    if ntlm.enabled {
        reader.not_yet(
            node.span(),
            "NTLM",
            "write false, and let clients use basic inside TLS",
        );
    }
    Some(ntlm)
}

fn ntlm_table<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<Ntlm> {
    let table = reader.table(node, &["requires_tls", "channel_binding"], "true or false")?;
    let mut ntlm = Ntlm {
        enabled: true,
        ..Ntlm::default()
    };
    if let Some(requires_tls) = table
        .get("requires_tls")
        .and_then(|node| reader.truth(node))
    {
        ntlm.requires_tls = requires_tls;
    }
    let words = [
        ("accept", ChannelBinding::Accept),
        ("require", ChannelBinding::Require),
    ];
    if let Some(binding) = table
        .get("channel_binding")
        .and_then(|node| reader.word(node, &words))
    {
        ntlm.channel_binding = binding;
    }
    Some(ntlm)
}

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
    let table = reader.table(
        node,
        &["file", "ldap", "windows", "gssapi", "dovecot"],
        "{ file = \"PATH\" }",
    )?;
    if table.len() != 1 {
        reader.error(
            node.span(),
            "an account source has one kind",
            "write { file = \"PATH\" }; several sources are several tables",
        );
        return None;
    }
    let (key, value) = table.iter().next()?;
    let later = |reader: &mut Reader<'t>, what: &str| {
        reader.not_yet(
            key.span(),
            what,
            "write { file = \"PATH\" }, and keep the accounts with `postern account`",
        );
    };
    match key.get_ref().as_ref() {
        "file" => reader
            .path(value, "\"/etc/postern/accounts/mx1.toml\"")
            .map(|path| AccountSource::File { path }),
        "ldap" => {
            LdapSource::read(reader, value).map(|source| AccountSource::Ldap(Box::new(source)))
        }
        "windows" => {
            later(reader, "accounts of a Windows domain");
            Some(AccountSource::Windows)
        }
        "gssapi" => {
            later(reader, "accounts by Kerberos");
            Some(AccountSource::Gssapi)
        }
        "dovecot" => dovecot::read(reader, value).map(|path| AccountSource::Dovecot { path }),
        _ => None,
    }
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

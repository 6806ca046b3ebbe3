//! What Windows calls integrated: NTLM, a domain's accounts through winbind, Kerberos tickets.
//!
//! ```toml
//! ntlm = { channel_binding = "require" }                          # or true, or false
//! accounts = [
//!     { windows = "CORP" },                                       # a domain; several in a list; "*": all there are
//!     { gssapi = { keytab = "PATH", realms = ["CORP.EXAMPLE"] } },  # or only the path
//!     { file = "PATH", nt_hashes = "PATH.nt" },                   # NTLM for the accounts of a file
//! ]
//! ```
//!
//! | Offered | where | in clear, where the identity has no TLS |
//! |---|---|---|
//! | GSSAPI | there is a keytab, and `integrated` is not false | the same, unless a binding is required |
//! | GSS-SPNEGO | GSSAPI is, or NTLM is and `integrated` is not false | GSSAPI is, or NTLM is |
//! | NTLM | `ntlm` is on, and a source serves it | `requires_tls` is false, and no binding is required |
//!
//! Never: a keytab, a hash, a domain controller; only what is written of them.

mod names;

use std::ops::Range;
use std::path::PathBuf;

use super::{AccountSource, Authentication};
use crate::reader::{Node, Reader};
use crate::settings::Section;
use crate::values::{Misfit, clip};

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

impl AccountSource {
    /// Whether it can tell a right NTLM response from a wrong one.
    pub fn serves_ntlm(&self) -> bool {
        match self {
            AccountSource::File { nt_hashes, .. } => nt_hashes.is_some(),
            AccountSource::Windows { .. } => true,
            AccountSource::Ldap(_) | AccountSource::Gssapi { .. } => false,
            AccountSource::Dovecot { .. } => false,
        }
    }

    /// Whether it takes Kerberos tickets.
    pub fn serves_kerberos(&self) -> bool {
        matches!(self, AccountSource::Gssapi { .. })
    }

    /// Whether it can tell a right password from a wrong one, and whether an account is there.
    pub fn serves_passwords(&self) -> bool {
        !self.serves_kerberos()
    }
}

impl Authentication {
    /// Which source NTLM is served by: of those that could, the first. None where NTLM is off.
    pub fn ntlm_source(&self) -> Option<usize> {
        let mut sources = self.accounts.iter();
        sources
            .position(AccountSource::serves_ntlm)
            .filter(|_| self.ntlm.enabled)
    }

    /// Which source takes tickets: the first keytab.
    pub fn kerberos_source(&self) -> Option<usize> {
        let mut sources = self.accounts.iter();
        sources.position(AccountSource::serves_kerberos)
    }

    /// Whether NTLM is served inside TLS: alone, and inside GSS-SPNEGO.
    pub fn serves_ntlm(&self) -> bool {
        self.ntlm_source().is_some()
    }

    /// Whether NTLM is served outside TLS too, on an identity that has none.
    pub fn serves_ntlm_in_clear(&self) -> bool {
        self.serves_ntlm() && !self.ntlm.requires_tls && !self.binding_required()
    }

    /// Whether tickets are taken inside TLS: by GSSAPI, and inside GSS-SPNEGO.
    pub fn serves_kerberos(&self) -> bool {
        self.is_integrated() && self.kerberos_source().is_some()
    }

    /// Whether tickets are taken outside TLS too, on an identity that has none.
    pub fn serves_kerberos_in_clear(&self) -> bool {
        self.serves_kerberos() && !self.binding_required()
    }

    /// Whether GSS-SPNEGO (and GSSAPI, where there is a keytab) may be offered.
    pub fn is_integrated(&self) -> bool {
        self.integrated != Some(false)
    }

    /// Whether a login by NTLM or Kerberos must be bound to its TLS connection, so that there is none outside TLS.
    pub fn binding_required(&self) -> bool {
        self.ntlm.enabled && self.ntlm.channel_binding == ChannelBinding::Require
    }

    /// Whether a source can tell a right password from a wrong one.
    pub fn serves_passwords(&self) -> bool {
        self.accounts.iter().any(AccountSource::serves_passwords)
    }
}

pub(super) fn ntlm<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<Ntlm> {
    match node.get_ref().is_table() {
        true => ntlm_table(reader, node),
        false => Some(Ntlm {
            enabled: reader.truth(node)?,
            ..Ntlm::default()
        }),
    }
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

const DOMAIN: &str = "\"CORP\", several in a list, or \"*\" for all that winbind knows";
const KEYTAB: &str = "\"/etc/postern/mx1.keytab\"";

/// The domains of `{ windows = … }`.
pub(super) fn windows<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<Vec<String>> {
    if !node.get_ref().is_array() {
        return netbios(reader, node).map(|domain| vec![domain]);
    }
    names(reader, node, DOMAIN, "domain", netbios)
}

/// The keytab of `{ gssapi = … }`, and the realms whose tickets are taken; none: the keytab's own.
pub(super) fn gssapi<'t>(
    reader: &mut Reader<'t>,
    node: &Node<'t>,
) -> Option<(PathBuf, Vec<String>)> {
    if !node.get_ref().is_table() {
        return Some((reader.path(node, KEYTAB)?, Vec::new()));
    }
    let example = format!("{{ keytab = {KEYTAB}, realms = [\"CORP.EXAMPLE\"] }}");
    let table = reader.table(node, &["keytab", "realms"], &example)?;
    let Some(keytab) = table.get("keytab") else {
        let what = "there is no keytab, and without it no ticket can be read";
        reader.error(node.span(), what, format!("write {example}"));
        return None;
    };
    let keytab = reader.path(keytab, KEYTAB)?;
    let realms = match table.get("realms") {
        Some(realms) => names(reader, realms, "[\"CORP.EXAMPLE\"]", "realm", realm)?,
        None => Vec::new(),
    };
    Some((keytab, realms))
}

/// A list of names, of which there is one at least; `*` stands alone.
fn names<'t>(
    reader: &mut Reader<'t>,
    node: &Node<'t>,
    example: &str,
    what: &str,
    read: fn(&mut Reader<'t>, &Node<'t>) -> Option<String>,
) -> Option<Vec<String>> {
    let names = reader.list(node, example, read)?;
    if node.get_ref().as_array().is_none_or(|list| list.is_empty()) {
        let what = format!("no {what} is listed: nobody could log in");
        reader.error(node.span(), what, format!("write {example}"));
        return None;
    }
    if names.len() > 1 && names.iter().any(|name| name == "*") {
        let what = format!("\"*\" is every {what} already");
        reader.warn(node.span(), what, "write \"*\" alone, or leave it out");
    }
    Some(names)
}

/// A NetBIOS domain name, or `*`.
fn netbios<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<String> {
    reader.parsed(node, DOMAIN, |text| {
        if text == "*" || is_netbios(text) {
            return Ok(text.to_owned());
        }
        // Somebody has written the domain's DNS name.
        let first = text.split('.').next().unwrap_or_default();
        let remedy = match text.contains('.') && is_netbios(first) {
            true => format!(
                "write its NetBIOS name, perhaps \"{}\"; wbinfo --own-domain shows it",
                first.to_uppercase()
            ),
            false => format!("write {DOMAIN}; wbinfo --own-domain shows it"),
        };
        let what = format!("`{}` is not a domain's NetBIOS name", clip(text));
        Err(Misfit::new(what, remedy))
    })
}

/// 15 letters at most; a point may stand in none (MS-NBTE 2.2.1, and what Windows makes of it).
fn is_netbios(text: &str) -> bool {
    const SIGNS: &str = "-_!#$%&'(){}~^";
    (1..=15).contains(&text.chars().count())
        && text
            .chars()
            .all(|c| c.is_alphanumeric() || SIGNS.contains(c))
}

/// A Kerberos realm, or `*`.
fn realm<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<String> {
    let realm = reader.parsed(
        node,
        "a realm in quotes, such as \"CORP.EXAMPLE\"",
        |text| {
            // RFC 4120 §6.1: neither may stand in a realm's name.
            let is_odd = |c: char| c.is_whitespace() || ['/', '@', ':'].contains(&c);
            match text.is_empty() || text.len() > 255 || text.contains(is_odd) {
                false => Ok(text.to_owned()),
                true => Err(Misfit::new(
                    format!("`{}` is not a Kerberos realm", clip(text)),
                    "write it without an account's name, such as \"CORP.EXAMPLE\"",
                )),
            }
        },
    )?;
    let upper = realm.to_uppercase();
    if realm != upper {
        let what = format!("the realm {} is not in upper case", clip(&realm));
        let remedy = format!("write \"{}\", if that is what it is called", clip(&upper));
        reader.warn(node.span(), what, remedy);
    }
    Some(realm)
}

/// What is wrong with settings that are well written each; `sources` says where they stand.
pub(super) fn check(
    reader: &mut Reader<'_>,
    settings: &Authentication,
    sources: &[Range<usize>],
    all_read: bool,
) {
    if all_read {
        served(reader, settings);
    }
    ntlm_rules(reader, settings);
    names::homes(reader, settings, sources);
    let (mut ntlm, mut kerberos) = (0, 0);
    for (source, place) in settings.accounts.iter().zip(sources) {
        names::alone(reader, settings, source, place);
        names::lent(reader, settings, source, place);
        ntlm += usize::from(source.serves_ntlm());
        kerberos += usize::from(source.serves_kerberos());
        if source.serves_kerberos() {
            keytab(reader, settings, place, kerberos);
        } else if source.serves_ntlm() {
            responses(reader, settings, source, place, ntlm);
        }
    }
}

/// What is asked for must be there.
fn served(reader: &mut Reader<'_>, settings: &Authentication) {
    let written = |reader: &Reader<'_>, name| reader.span_of(Section::Authentication, name);
    let any_ntlm = settings.accounts.iter().any(AccountSource::serves_ntlm);
    let kerberos = settings.kerberos_source().is_some();
    if settings.ntlm.enabled && !any_ntlm {
        let span = written(reader, "ntlm");
        let what = "NTLM is on, and no source of accounts serves it";
        let remedy = "add { windows = \"DOMAIN\" }, or nt_hashes = \"PATH\" beside a file, or write ntlm = false";
        // A binding that it requires holds for tickets too.
        match kerberos && settings.binding_required() {
            true => reader.warn(span, what, remedy),
            false => reader.error(span, what, remedy),
        }
    }
    if settings.integrated == Some(true) && !kerberos && !settings.serves_ntlm() {
        let what = "integrated login is on, and no source of accounts serves it";
        let remedy = match any_ntlm {
            true => "write ntlm = true too, or add { gssapi = \"KEYTAB\" } to accounts",
            false => "add { gssapi = \"KEYTAB\" } to accounts, or remove it",
        };
        reader.error(written(reader, "integrated"), what, remedy);
    }
}

fn ntlm_rules(reader: &mut Reader<'_>, settings: &Authentication) {
    if !settings.ntlm.enabled || settings.ntlm.requires_tls {
        return;
    }
    let span = reader.span_of(Section::Authentication, "ntlm");
    let remedy = "remove requires_tls = false";
    if settings.binding_required() {
        let what = "NTLM outside TLS has no channel to be bound to, and a binding is required";
        reader.error(span, what, remedy);
    } else {
        let what = "NTLM outside TLS can be relayed: who is between client and server logs in as the client";
        reader.warn(span, what, remedy);
    }
}

/// The so-many-th source that takes tickets.
fn keytab(reader: &mut Reader<'_>, settings: &Authentication, place: &Range<usize>, number: usize) {
    if !settings.is_integrated() {
        let what = "this keytab lets nobody in: integrated is false";
        reader.warn(
            place.clone(),
            what,
            "write integrated = true, or remove the source",
        );
    } else if number > 1 {
        let what = "tickets go to the first gssapi source; this one is never asked";
        let remedy = "put all keys into one keytab (ktutil), and list the realms there";
        reader.warn(place.clone(), what, remedy);
    }
}

/// The so-many-th source that serves NTLM.
fn responses(
    reader: &mut Reader<'_>,
    settings: &Authentication,
    source: &AccountSource,
    place: &Range<usize>,
    number: usize,
) {
    let hashes = match source {
        AccountSource::File {
            path,
            nt_hashes: Some(hashes),
        } => Some((path, hashes)),
        _ => None,
    };
    if let Some((path, hashes)) = hashes
        && path == hashes
    {
        let what = "nt_hashes is the account file itself, which the server's worker reads";
        let remedy = format!(
            "write a file of its own, such as \"{}.nt\"",
            clip(&path.to_string_lossy())
        );
        reader.error(place.clone(), what, remedy);
    }
    if hashes.is_some() && !settings.ntlm.enabled {
        let what = "nt_hashes serves nobody: ntlm is false";
        let remedy = "write ntlm = true, or remove nt_hashes and its file, which is as good as all the passwords";
        reader.warn(place.clone(), what, remedy);
    } else if settings.ntlm.enabled && number > 1 {
        let what = "NTLM is served by the first source that can; this one is not asked for it";
        let remedy = "put the source first whose accounts use NTLM";
        reader.warn(place.clone(), what, remedy);
    }
}

#[cfg(test)]
mod tests;

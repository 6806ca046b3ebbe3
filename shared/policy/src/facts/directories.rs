//! How directories are asked, as values that can be compared.
//!
//! Never: a password, or where it stands.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use postern_config::{
    AccountSource, Definition, LdapFilter, LdapKind, LdapRelation, LdapServer, LdapSource, LdapTls,
    Template,
};

use super::{named, time};

/// A directory by its servers and its base.
pub(super) fn name(ldap: &LdapSource) -> String {
    let server = |server: &LdapServer| format!("{}:{}", server.host, server.port);
    let servers: Vec<String> = ldap.servers.iter().map(server).collect();
    format!("ldap {} below {}", servers.join(" "), ldap.base)
}

/// All directories of a definition by name, with their settings.
pub(super) fn facts(definition: &Definition) -> BTreeMap<String, BTreeMap<String, String>> {
    let sources = definition.authentication.accounts.iter();
    let directories = sources.filter_map(|source| match source {
        AccountSource::Ldap(ldap) => Some((name(ldap), settings(ldap))),
        _ => None,
    });
    directories.collect()
}

fn settings(ldap: &LdapSource) -> BTreeMap<String, String> {
    let tls = |server: &LdapServer| match server.tls {
        LdapTls::Implicit => "ldaps",
        LdapTls::StartTls => "starttls",
        LdapTls::None => "none",
    };
    let kind = match ldap.kind {
        LdapKind::ActiveDirectory => "ad",
        LdapKind::OpenLdap => "openldap",
    };
    let bind = ldap.bind.as_ref();
    let nobody = || "none".to_owned();
    named([
        ("kind", kind.to_owned()),
        (
            "tls",
            ldap.servers.iter().map(tls).collect::<Vec<_>>().join(" "),
        ),
        ("bind_dn", bind.map_or_else(nobody, |bind| bind.dn.clone())),
        ("filter", text(&ldap.filter)),
        ("addresses", format!("[{}]", ldap.addresses.join(", "))),
        (
            "ca",
            ldap.ca
                .as_ref()
                .map_or_else(|| "the system's".to_owned(), |ca| ca.display().to_string()),
        ),
        ("timeout", time(ldap.timeout)),
    ])
}

/// A filter as it is written (RFC 4515).
fn text(filter: &LdapFilter) -> String {
    let all = |parts: &[LdapFilter]| parts.iter().map(text).collect::<String>();
    match filter {
        LdapFilter::And(parts) => format!("(&{})", all(parts)),
        LdapFilter::Or(parts) => format!("(|{})", all(parts)),
        LdapFilter::Not(part) => format!("(!{})", text(part)),
        LdapFilter::Present(attribute) => format!("({attribute}=*)"),
        LdapFilter::Compare(relation, attribute, template) => {
            let sign = match relation {
                LdapRelation::Equal => "=",
                LdapRelation::AtLeast => ">=",
                LdapRelation::AtMost => "<=",
                LdapRelation::Approximately => "~=",
            };
            format!("({attribute}{sign}{})", value(template))
        }
        LdapFilter::Substrings {
            attribute,
            initial,
            any,
            last,
        } => {
            let end =
                |template: &Option<Template>| template.as_ref().map(value).unwrap_or_default();
            let within: String = any.iter().map(|part| format!("{}*", value(part))).collect();
            format!("({attribute}={}*{within}{})", end(initial), end(last))
        }
        LdapFilter::Matches {
            attribute,
            rule,
            dn,
            value: template,
        } => {
            let attribute = attribute.as_deref().unwrap_or_default();
            let dn = if *dn { ":dn" } else { "" };
            let rule = rule
                .as_ref()
                .map(|rule| format!(":{rule}"))
                .unwrap_or_default();
            format!("({attribute}{dn}{rule}:={})", value(template))
        }
    }
}

fn value(template: &Template) -> String {
    let mut text = String::new();
    for byte in template.fill("{name}") {
        match byte {
            b' '..=b'~' if !b"*()\\".contains(&byte) => text.push(char::from(byte)),
            _ => drop(write!(text, "\\{byte:02x}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_told_as_it_is_written() {
        for written in [
            "(uid={name})",
            "(&(objectClass=user)(|(mail={name})(sAMAccountName={name}))(!(cn=x\\2ay)))",
            "(mail={name}@*a*b*example)",
            "(cn=*)",
            "(n>=3)",
            "(memberOf:1.2.840.113556.1.4.1941:=cn=post)",
            "(ou:dn:=people)",
        ] {
            assert_eq!(
                LdapFilter::parse(written).map(|it| text(&it)).as_deref(),
                Ok(written)
            );
        }
    }
}

//! `{ ldap = { servers = […], … } }`: accounts from Active Directory, OpenLDAP and others.
//!
//! | Key | Default | What it is |
//! |---|---|---|
//! | `servers` | required | `ldaps://HOST` or `ldap://HOST` (by StartTLS), asked in order |
//! | `tls` | `"starttls"` | what `ldap://` servers speak; `"none"` on loopback only |
//! | `kind` | `"ad"` | `"ad"` or `"openldap"`: the default filter, and how groups are found |
//! | `base` | required | where accounts and groups are searched |
//! | `bind_dn`, `bind_password_file` | required for `"ad"` | the account that searches |
//! | `filter` | by kind | finds the account of a name; one of your own finds those whom a domain or a ticket proved, too |
//! | `addresses` | by kind | attributes with the addresses an account may send from |
//! | `ca` | the system's | whose certificates the servers bear |
//! | `timeout` | `"5s"` | for each question |
//!
//! Never: a password in a definition; a connection.

use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeTable;

use super::filter::LdapFilter;
use crate::reader::{Node, Reader};
use crate::target::{Host, SmartHost};
use crate::values::{Misfit, clip, is_domain};

/// How accounts are found in a directory, and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LdapSource {
    /// The servers, in order; at least one.
    pub servers: Vec<LdapServer>,
    /// What sort of directory it is.
    pub kind: LdapKind,
    /// Where accounts and groups are searched.
    pub base: String,
    /// Who searches; `None`: nobody in particular.
    pub bind: Option<LdapBind>,
    /// What finds the account of a name.
    pub filter: LdapFilter,
    /// Whether the definition says that filter itself.
    pub custom_filter: bool,
    /// Attributes that hold the addresses an account may send from.
    pub addresses: Vec<String>,
    /// Whose certificates the servers bear; `None`: those the system trusts.
    pub ca: Option<PathBuf>,
    /// How long a question may take.
    pub timeout: Duration,
}

/// One server of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LdapServer {
    /// The host.
    pub host: Host,
    /// The port, never 0.
    pub port: u16,
    /// What protects the connection.
    pub tls: LdapTls,
}

/// What protects the connection to a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LdapTls {
    /// `ldaps://`: TLS from the first byte.
    Implicit,
    /// `ldap://`: StartTLS before anything else, or nothing is said.
    StartTls,
    /// Nothing: on loopback only.
    None,
}

/// What sort of directory it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LdapKind {
    /// `"ad"`: Active Directory, Samba.
    ActiveDirectory,
    /// `"openldap"`: OpenLDAP and others with `inetOrgPerson`, `groupOfNames`.
    OpenLdap,
}

/// The account that searches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LdapBind {
    /// Its name: a DN, or in Active Directory `user@domain` too.
    pub dn: String,
    /// The file with its password, and nothing else.
    pub password_file: PathBuf,
}

const EXAMPLE: &str = "{ servers = [\"ldaps://dc1.corp.example\"], base = \"DC=corp,DC=example\", \
                       bind_dn = \"postern@corp.example\", bind_password_file = \"/etc/postern/ldap.password\" }";

const KEYS: [&str; 11] = [
    "servers",
    "tls",
    "kind",
    "base",
    "bind_dn",
    "bind_password_file",
    "filter",
    "addresses",
    "ca",
    "timeout",
    // Known only to be refused with the right words.
    "bind_password",
];

impl LdapSource {
    /// How long a question may take if the definition does not say.
    pub const TIMEOUT: Duration = Duration::from_secs(5);

    pub(crate) fn read<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<LdapSource> {
        let table = reader.table(node, &KEYS, EXAMPLE)?;
        let kind = kind(reader, table);
        let tls = get(reader, table, "tls", |reader, node| {
            reader.word(
                node,
                &[("starttls", LdapTls::StartTls), ("none", LdapTls::None)],
            )
        });
        let servers = required(
            reader,
            node,
            table,
            "servers",
            "servers = [\"ldaps://dc1.corp.example\"]",
        );
        let servers =
            servers.map(|node| servers_of(reader, node, tls.unwrap_or(LdapTls::StartTls)));
        let base = required(reader, node, table, "base", "base = \"DC=corp,DC=example\"");
        let base = base.and_then(|node| reader.parsed(node, "\"DC=corp,DC=example\"", base_of));
        let filter = get(reader, table, "filter", |reader, node| {
            reader.parsed(node, "an LDAP filter in quotes", filter_of)
        });
        let bind = bind(reader, node, table, kind);
        let addresses = get(reader, table, "addresses", attributes);
        let ca = get(reader, table, "ca", |reader, node| {
            reader.path(node, "\"/etc/postern/corp-ca.pem\"")
        });
        let timeout = get(reader, table, "timeout", timeout);
        Some(LdapSource {
            servers: servers??,
            kind,
            base: base?,
            bind,
            custom_filter: table.contains_key("filter"),
            filter: filter.unwrap_or_else(|| kind.filter()),
            addresses: addresses.unwrap_or_else(|| kind.addresses()),
            ca,
            timeout: timeout.unwrap_or(LdapSource::TIMEOUT),
        })
    }
}

impl LdapBind {
    /// The password in the file's content: its only line, without the end; or what is wrong with the file.
    pub fn password_in(content: &[u8]) -> Result<&[u8], &'static str> {
        let line = content.strip_suffix(b"\n").unwrap_or(content);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match line {
            [] => Err("holds no password"),
            line if line.contains(&b'\n') => Err("holds more than one line"),
            line => Ok(line),
        }
    }
}

impl LdapServer {
    /// Whether nobody else can listen on the way.
    pub fn is_loopback(&self) -> bool {
        match &self.host {
            Host::Address(address) => address.is_loopback(),
            Host::Name(name) => name == "localhost",
        }
    }

    fn parse(text: &str, plain: LdapTls) -> Result<LdapServer, Misfit> {
        let (rest, tls, usual) = if let Some(rest) = text.strip_prefix("ldaps://") {
            (rest, LdapTls::Implicit, 636)
        } else if let Some(rest) = text.strip_prefix("ldap://") {
            (rest, plain, 389)
        } else {
            return Err(Misfit::new(
                format!("`{}` begins with neither ldaps:// nor ldap://", clip(text)),
                "write \"ldaps://dc1.corp.example\", or \"ldap://dc1.corp.example\" for StartTLS",
            ));
        };
        let SmartHost { host, port } = SmartHost::parse(rest.strip_suffix('/').unwrap_or(rest))
            .map_err(|misfit| {
                Misfit::new(
                    misfit.what,
                    "write \"ldaps://dc1.corp.example\" or \"ldaps://192.0.2.5:636\"",
                )
            })?;
        let server = LdapServer {
            host,
            port: port.unwrap_or(usual),
            tls,
        };
        if tls == LdapTls::None && !server.is_loopback() {
            return Err(Misfit::new(
                format!("passwords would travel in clear to {}", clip(rest)),
                "write \"ldaps://…\", or remove tls = \"none\": it is for loopback only",
            ));
        }
        Ok(server)
    }
}

impl LdapKind {
    fn filter(self) -> LdapFilter {
        let text = match self {
            LdapKind::ActiveDirectory => {
                "(&(objectClass=user)(|(sAMAccountName={name})(userPrincipalName={name})(mail={name})))"
            }
            LdapKind::OpenLdap => "(&(objectClass=inetOrgPerson)(|(uid={name})(mail={name})))",
        };
        LdapFilter::parse(text).expect("both are well formed: a test reads them")
    }

    fn addresses(self) -> Vec<String> {
        let names: &[&str] = match self {
            LdapKind::ActiveDirectory => &["mail", "proxyAddresses"],
            LdapKind::OpenLdap => &["mail"],
        };
        names.iter().map(ToString::to_string).collect()
    }
}

fn kind<'t>(reader: &mut Reader<'t>, table: &DeTable<'t>) -> LdapKind {
    let words = [
        ("ad", LdapKind::ActiveDirectory),
        ("openldap", LdapKind::OpenLdap),
    ];
    get(reader, table, "kind", |reader, node| {
        reader.word(node, &words)
    })
    .unwrap_or(LdapKind::ActiveDirectory)
}

fn get<'t, 'd, T>(
    reader: &mut Reader<'t>,
    table: &'d DeTable<'t>,
    key: &str,
    read: impl FnOnce(&mut Reader<'t>, &'d Node<'t>) -> Option<T>,
) -> Option<T> {
    table.get(key).and_then(|node| read(reader, node))
}

fn required<'t, 'd>(
    reader: &mut Reader<'t>,
    node: &Node<'t>,
    table: &'d DeTable<'t>,
    key: &str,
    example: &str,
) -> Option<&'d Node<'t>> {
    let found = table.get(key);
    if found.is_none() {
        reader.error(
            node.span(),
            format!("an LDAP source without `{key}`"),
            format!("write {example}"),
        );
    }
    found
}

fn servers_of<'t>(
    reader: &mut Reader<'t>,
    node: &Node<'t>,
    plain: LdapTls,
) -> Option<Vec<LdapServer>> {
    let servers = reader.list(node, "[\"ldaps://dc1.corp.example\"]", |reader, member| {
        reader.parsed(member, "\"ldaps://dc1.corp.example\"", |text| {
            LdapServer::parse(text, plain)
        })
    })?;
    if node
        .get_ref()
        .as_array()
        .is_some_and(|list| list.is_empty())
    {
        reader.error(
            node.span(),
            "there is no server to ask",
            "write [\"ldaps://dc1.corp.example\"]",
        );
    }
    (!servers.is_empty()).then_some(servers)
}

fn base_of(text: &str) -> Result<String, Misfit> {
    if text.contains('=') {
        return Ok(text.to_owned());
    }
    let remedy = match is_domain(text) {
        true => {
            let parts: Vec<String> = text.split('.').map(|part| format!("DC={part}")).collect();
            format!("write \"{}\"", parts.join(","))
        }
        false => "write \"DC=corp,DC=example\"".to_owned(),
    };
    Err(Misfit::new(
        format!("`{}` is no place in a directory", clip(text)),
        remedy,
    ))
}

fn filter_of(text: &str) -> Result<LdapFilter, Misfit> {
    const REMEDY: &str = "write it like \"(&(objectClass=user)(sAMAccountName={name}))\"";
    let filter = LdapFilter::parse(text).map_err(|what| Misfit::new(what, REMEDY))?;
    if !filter.asks_for_name() {
        return Err(Misfit::new(
            "the filter has no {name}: it would find the same accounts for every name",
            REMEDY,
        ));
    }
    Ok(filter)
}

fn bind<'t>(
    reader: &mut Reader<'t>,
    node: &Node<'t>,
    table: &DeTable<'t>,
    kind: LdapKind,
) -> Option<LdapBind> {
    if let Some((key, _)) = table.get_key_value("bind_password") {
        reader.error(
            key.span(),
            "a password does not stand in a definition",
            "write it into a file only root reads, and bind_password_file = \"/etc/postern/ldap.password\"",
        );
    }
    let dn = get(reader, table, "bind_dn", |reader, node| {
        reader
            .text(node, "\"postern@corp.example\"")
            .map(str::to_owned)
    });
    let file = get(reader, table, "bind_password_file", |reader, node| {
        reader.path(node, "\"/etc/postern/ldap.password\"")
    });
    let (named, filed) = (
        table.contains_key("bind_dn"),
        table.contains_key("bind_password_file"),
    );
    let missing = match (named, filed) {
        (true, false) => Some((
            "bind_dn",
            "bind_password_file = \"/etc/postern/ldap.password\"",
        )),
        (false, true) => Some(("bind_password_file", "bind_dn = \"postern@corp.example\"")),
        _ => None,
    };
    if let Some((there, example)) = missing {
        reader.error(
            node.span(),
            format!("`{there}` alone does not log in at the directory"),
            format!("write {example} too"),
        );
    } else if !named && kind == LdapKind::ActiveDirectory {
        reader.error(
            node.span(),
            "Active Directory answers nobody who has not logged in: `bind_dn` is missing",
            "write bind_dn and bind_password_file, or kind = \"openldap\"",
        );
    }
    let dn = dn?;
    if dn.is_empty() {
        reader.error(
            node.span(),
            "`bind_dn` is empty",
            "write bind_dn = \"postern@corp.example\", or neither it nor bind_password_file",
        );
    }
    Some(LdapBind {
        dn,
        password_file: file?,
    })
}

fn attributes<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<Vec<String>> {
    reader.list(node, "[\"mail\", \"proxyAddresses\"]", |reader, member| {
        reader.parsed(member, "\"mail\"", |text| match is_attribute(text) {
            true => Ok(text.to_owned()),
            false => Err(Misfit::new(
                format!("`{}` is no attribute's name", clip(text)),
                "write \"mail\" or \"proxyAddresses\"",
            )),
        })
    })
}

/// RFC 4512 §2.5: a name or an OID; options after a semicolon.
pub(super) fn is_attribute(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.len() <= 128
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b';' | b'_'))
}

fn timeout<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<Duration> {
    let time = reader.time(node, Duration::from_secs(1))?;
    if time > Duration::from_secs(60) {
        reader.error(
            node.span(),
            "clients do not wait that long for an answer to their login",
            "write \"60s\" or less",
        );
        return None;
    }
    Some(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_filters_ask_for_the_name() {
        for kind in [LdapKind::ActiveDirectory, LdapKind::OpenLdap] {
            assert!(kind.filter().asks_for_name());
            assert!(kind.addresses().iter().all(|name| is_attribute(name)));
        }
    }

    #[test]
    fn a_password_file_holds_one_line() {
        let read = LdapBind::password_in;
        assert_eq!(read(b" pass word "), Ok(&b" pass word "[..]));
        assert_eq!(read(b"x\r\n"), Ok(&b"x"[..]));
        for bad in [&b""[..], b"\n", b"a\nb", b"a\n\n"] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn servers_are_urls() {
        let parse = |text: &str| {
            LdapServer::parse(text, LdapTls::StartTls)
                .map(|server| (server.port, server.tls, server.is_loopback()))
                .map_err(|misfit| misfit.what)
        };
        assert_eq!(
            parse("ldaps://dc1.corp.example"),
            Ok((636, LdapTls::Implicit, false))
        );
        assert_eq!(
            parse("ldap://dc1.corp.example:3268/"),
            Ok((3268, LdapTls::StartTls, false))
        );
        assert_eq!(parse("ldap://[::1]"), Ok((389, LdapTls::StartTls, true)));
        for bad in [
            "dc1",
            "http://dc1",
            "ldap://",
            "ldap://a b",
            "ldap://dc1/DC=x",
            "ldap://a:0",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(LdapServer::parse("ldap://127.0.0.1", LdapTls::None).is_ok());
        assert!(LdapServer::parse("ldap://192.0.2.1", LdapTls::None).is_err());
        assert!(LdapServer::parse("ldaps://192.0.2.1", LdapTls::None).is_ok());
    }
}

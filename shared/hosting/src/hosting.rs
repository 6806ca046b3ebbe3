//! The part of a definition that only root can carry out.
//!
//! ```text
//! [general]                 listen, user, autostart, limits, drain_timeout      read here, and checked
//! [access.tls]              certificates[].certificate, .key; client_ca          only the paths, only their text
//! [access.authentication]   accounts[].file; accounts[].ldap.bind_password_file, .ca
//!                           accounts[].nt_hashes, .windows, .gssapi               an authd each
//! [access.connection]       list[] where it is "file PATH"; so in [access.relay]
//! [delivery]                domains[].recipients where it is a path
//!                           outbound_security and routes[].security: .ca, .login.*.password_file, .token_file
//! ```
//!
//! Never: an opinion on any other setting. What is wrong elsewhere is the worker's to say, which knows what it means.

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeTable;

use crate::read::{Node, Reader, members, section};
use crate::{Finding, Identity, Place, TlsMode, parse_duration, parse_size};

/// What the supervisor reads of one definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosting {
    /// The identities, in the order written; at least one, none twice.
    pub listen: Vec<Identity>,
    /// Where each of them stands in the definition.
    pub listen_places: Vec<Place>,
    /// The user to run as; `None`: a uid of its own from the host's range.
    pub user: Option<String>,
    /// Where `user` stands in the definition.
    pub user_place: Option<Place>,
    /// Whether it runs without having been asked for, as long as nobody stopped it.
    pub autostart: bool,
    /// What its worker may use at most.
    pub limits: ProcessLimits,
    /// How long a predecessor may finish its sessions.
    pub drain_timeout: Duration,
    /// `description`, shown in lists.
    pub description: String,
    /// The files root must open for the worker, as the definition writes them, in order, none twice. A relative path
    /// is meant from the folder of the definition; [`Hosting::locate`] makes it absolute.
    pub files: Vec<PathBuf>,
    /// The processes that hold what the worker must not, in the order of their sources.
    pub authds: Vec<Authd>,
}

/// A process that holds for a source of accounts what the worker must not read: postern-authd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authd {
    /// Which of the definition's `accounts`, from 0.
    pub source: usize,
    /// What it holds.
    pub kind: AuthdKind,
    /// The file root opens for it, as the definition writes it.
    pub file: Option<PathBuf>,
}

/// What an authd holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuthdKind {
    /// NT hashes, in a file: `{ file = "…", nt_hashes = "…" }`.
    Hashes,
    /// winbind's privileged pipe: `{ windows = "CORP" }`.
    Winbind,
    /// A Kerberos keytab: `{ gssapi = "…" }` or `{ gssapi = { keytab = "…" } }`.
    Kerberos,
}

impl AuthdKind {
    /// `hashes`, `winbind` or `kerberos`: what postern-authd is called with.
    pub fn as_str(self) -> &'static str {
        match self {
            AuthdKind::Hashes => "hashes",
            AuthdKind::Winbind => "winbind",
            AuthdKind::Kerberos => "kerberos",
        }
    }
}

/// What a worker process may use at most; `None`: what the system gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessLimits {
    /// Bytes of memory of its own.
    pub memory: Option<u64>,
    /// Open files, connections included.
    pub open_files: Option<u64>,
    /// Threads.
    pub threads: Option<u32>,
}

impl Hosting {
    /// How long a predecessor may finish its sessions if the definition does not say.
    pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(600);

    /// Reads the hosting part of `text`, the definition in `path`. All errors are returned, not only the first.
    pub fn from_toml(text: &str, path: &Path) -> Result<Hosting, Vec<Finding>> {
        let mut reader = Reader::new(text, path);
        let hosting = reader.parse().and_then(|root| read(&mut reader, &root));
        match hosting {
            Some(hosting) if reader.findings.is_empty() => Ok(hosting),
            _ => Err(reader.findings),
        }
    }

    /// The path in an entry `file PATH` of a connection or relay list; `None` for every other entry.
    pub fn list_file(entry: &str) -> Option<&Path> {
        let rest = entry.trim_start().strip_prefix("file")?;
        let path = rest.strip_prefix(|c: char| c.is_ascii_whitespace())?.trim();
        (!path.is_empty() && !path.contains('\0')).then(|| Path::new(path))
    }

    /// Where the file a definition names as `written` is: relative paths are meant from the definition's folder.
    pub fn locate(definition: &Path, written: &Path) -> PathBuf {
        definition.parent().unwrap_or(Path::new("")).join(written)
    }
}

fn read<'t>(reader: &mut Reader<'t>, root: &DeTable<'t>) -> Option<Hosting> {
    let Some(general) = section(root, "general") else {
        reader.miss(
            "there is no [general] section",
            "begin with [general], fqdn = \"…\" and listen = [\"ADDRESS:25\"]",
        );
        return None;
    };
    let (listen, listen_places) = listen(reader, general).into_iter().unzip();
    Some(Hosting {
        listen,
        listen_places,
        user_place: general.get("user").map(|node| reader.place(node.span())),
        user: reader.text(
            general,
            "user",
            "write the name of a user of this host",
            |name| (!name.is_empty()).then(|| name.to_owned()),
        ),
        autostart: reader.truth(general, "autostart").unwrap_or(true),
        limits: limits(reader, general),
        drain_timeout: reader
            .text(
                general,
                "drain_timeout",
                "write a time, such as \"10m\"",
                parse_duration,
            )
            .unwrap_or(Hosting::DRAIN_TIMEOUT),
        description: general
            .get("description")
            .and_then(|node| node.get_ref().as_str())
            .unwrap_or_default()
            .to_owned(),
        files: files(root),
        authds: authds(root),
    })
}

fn listen<'t>(reader: &mut Reader<'t>, general: &DeTable<'t>) -> Vec<(Identity, Place)> {
    const REMEDY: &str =
        "write listen = [\"192.0.2.10:25\"], with an address of this host and a port";
    let mut identities: Vec<(Identity, Place)> = Vec::new();
    let Some(node) = general.get("listen") else {
        reader.miss(
            "[general] has no `listen`: the server would be reached by nobody",
            REMEDY,
        );
        return identities;
    };
    if node.get_ref().as_array().is_none_or(|list| list.is_empty()) {
        reader.complain(
            node.span(),
            "`listen` is not a list with an address",
            REMEDY,
        );
    }
    for member in members(general, "listen") {
        let Some(identity) = identity(reader, member) else {
            continue;
        };
        if let Some((other, _)) = identities
            .iter()
            .find(|(other, _)| other.clashes_with(&identity))
        {
            let what = format!(
                "{} cannot be listened on together with {}",
                identity.address, other.address
            );
            reader.complain(member.span(), what, "keep one of the two");
        } else {
            identities.push((identity, reader.place(member.span())));
        }
    }
    identities
}

fn identity<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<Identity> {
    const REMEDY: &str =
        "write \"192.0.2.10:25\" or \"[2001:db8::10]:25\": an IP address and a port";
    let value = node.get_ref();
    let (address, tls) = match value.as_table() {
        None => (Some(node), TlsMode::default()),
        Some(table) => {
            reader.only(table, &["address", "tls"]);
            let remedy = "write \"starttls\", \"implicit\" or \"none\"";
            let tls = reader.text(table, "tls", remedy, |text| text.parse().ok());
            (table.get("address"), tls.unwrap_or_default())
        }
    };
    let Some(address) = address else {
        reader.complain(
            node.span(),
            "an identity without `address`",
            "write { address = \"192.0.2.10:465\", tls = \"implicit\" }",
        );
        return None;
    };
    let parsed: Option<std::net::SocketAddr> = address
        .get_ref()
        .as_str()
        .and_then(|text| text.parse().ok());
    match parsed {
        Some(parsed) if parsed.port() == 0 => {
            reader.complain(
                address.span(),
                "port 0 cannot be listened on",
                "write the port, such as 25",
            );
            None
        }
        Some(parsed) => Some(Identity {
            address: parsed,
            tls,
        }),
        None => {
            reader.complain(address.span(), "not an address to listen on", REMEDY);
            None
        }
    }
}

fn limits<'t>(reader: &mut Reader<'t>, general: &DeTable<'t>) -> ProcessLimits {
    let Some(node) = general.get("limits") else {
        return ProcessLimits::default();
    };
    let Some(table) = node.get_ref().as_table() else {
        reader.complain(
            node.span(),
            "`limits` is not a table",
            "write limits = { memory = \"256 MB\", open_files = 20000 }",
        );
        return ProcessLimits::default();
    };
    // A share of the processor needs a control group, which the supervisor does not make yet: said, not ignored.
    if let Some(cpu) = table.get("cpu") {
        reader.complain(
            cpu.span(),
            "`cpu` cannot be limited yet",
            "remove it, or limit posternd's unit with CPUQuota=",
        );
    }
    reader.only(table, &["memory", "open_files", "threads", "cpu"]);
    ProcessLimits {
        memory: reader.text(
            table,
            "memory",
            "write a size, such as \"256 MB\"",
            parse_size,
        ),
        open_files: reader.number(table, "open_files", 64),
        threads: reader
            .number(table, "threads", 1)
            .map(|count| u32::try_from(count).unwrap_or(u32::MAX)),
    }
}

fn files(root: &DeTable<'_>) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let access = section(root, "access");
    if let Some(tls) = access.and_then(|access| section(access, "tls")) {
        for pair in members(tls, "certificates") {
            for key in ["certificate", "key"] {
                files.extend(path_in(pair, key));
            }
        }
        files.extend(tls.get("client_ca").and_then(path_of));
    }
    if let Some(authentication) = access.and_then(|access| section(access, "authentication")) {
        for source in members(authentication, "accounts") {
            files.extend(path_in(source, "file"));
            let table = source.get_ref().as_table();
            if let Some(ldap) = table.and_then(|table| table.get("ldap")) {
                files.extend(path_in(ldap, "bind_password_file"));
                files.extend(path_in(ldap, "ca"));
            }
        }
    }
    for rule in ["connection", "relay"] {
        let rule = access.and_then(|access| section(access, rule));
        let entries = rule.into_iter().flat_map(|rule| members(rule, "list"));
        let entries = entries.filter_map(|entry| entry.get_ref().as_str());
        files.extend(entries.filter_map(Hosting::list_file).map(PathBuf::from));
    }
    if let Some(delivery) = section(root, "delivery") {
        files.extend(
            members(delivery, "domains")
                .filter_map(|domain| path_in(domain, "recipients"))
                .filter(|path| looks_like_a_path(path)),
        );
        let routes = members(delivery, "routes");
        let routes = routes.filter_map(|route| route.get_ref().as_table()?.get("security"));
        let ways = delivery.get("outbound_security").into_iter().chain(routes);
        files.extend(ways.flat_map(files_of_way));
    }
    let mut seen = std::collections::HashSet::new();
    files.retain(|path| seen.insert(path.clone()));
    files
}

fn authds(root: &DeTable<'_>) -> Vec<Authd> {
    let authentication =
        section(root, "access").and_then(|access| section(access, "authentication"));
    let sources = authentication.map(|authentication| members(authentication, "accounts"));
    let sources = sources.into_iter().flatten().enumerate();
    sources
        .filter_map(|(source, node)| authd(source, node))
        .collect()
}

fn authd(source: usize, node: &Node<'_>) -> Option<Authd> {
    let table = node.get_ref().as_table()?;
    let (kind, file) = if table.contains_key("windows") {
        (AuthdKind::Winbind, None)
    } else if let Some(gssapi) = table.get("gssapi") {
        let keytab = path_of(gssapi).or_else(|| path_in(gssapi, "keytab"))?;
        (AuthdKind::Kerberos, Some(keytab))
    } else {
        (AuthdKind::Hashes, Some(path_in(node, "nt_hashes")?))
    };
    Some(Authd { source, kind, file })
}

/// What a way out is given: who vouches for the next hop, and what to log in there with.
fn files_of_way(way: &Node<'_>) -> Vec<PathBuf> {
    let table = way.get_ref().as_table();
    let login = table.and_then(|table| section(table, "login"));
    let kinds = login.into_iter().flat_map(|login| login.values());
    let secrets = kinds.flat_map(|kind| {
        let keys = ["password_file", "token_file"];
        keys.into_iter().filter_map(|key| path_in(kind, key))
    });
    path_in(way, "ca").into_iter().chain(secrets).collect()
}

fn path_in(node: &Node<'_>, key: &str) -> Option<PathBuf> {
    node.get_ref().as_table()?.get(key).and_then(path_of)
}

fn path_of(node: &Node<'_>) -> Option<PathBuf> {
    node.get_ref()
        .as_str()
        .filter(|text| !text.is_empty() && !text.contains('\0'))
        .map(PathBuf::from)
}

/// `recipients` may also be a word (`"lmtp"`: ask the LMTP server); a path has a slash or a dot.
fn looks_like_a_path(path: &Path) -> bool {
    path.to_str().is_some_and(|text| text.contains(['/', '.']))
}

#[cfg(test)]
mod tests;

//! `[general]`: what the server is called, where it listens, how much it takes.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use postern_access::EntryKind;
use postern_hosting::{Hosting, Identity, ProcessLimits, TlsMode};

use crate::connection::entry;
use crate::coverage::Coverage;
use crate::fields::Fields;
use crate::reader::{Node, Reader};
use crate::values::{Misfit, clip, is_host_name};

/// The section's settings.
#[derive(Clone, Debug, PartialEq)]
pub struct General {
    /// Shown in lists.
    pub description: String,
    /// The server's name in its greeting, EHLO, `Received:` and notices; fully qualified.
    pub fqdn: String,
    /// Where it listens; never empty, no clash inside.
    pub listen: Vec<Identity>,
    /// The user its worker runs as; `None`: a uid of its own.
    pub user: Option<String>,
    /// Balancers whose PROXY header is believed.
    pub proxy_from: Vec<IpNet>,
    /// Whether it runs without having been asked for.
    pub autostart: bool,
    /// Sessions at once.
    pub max_connections: u32,
    /// Sessions at once of one client address (IPv6: its /64).
    pub max_connections_per_ip: u32,
    /// An inactive session ends after this.
    pub idle_timeout: Duration,
    /// What the worker process may use.
    pub limits: ProcessLimits,
    /// How long a predecessor may finish its sessions.
    pub drain_timeout: Duration,
}

impl Default for General {
    /// The defaults; `fqdn` and `listen` have none and are empty.
    fn default() -> General {
        General {
            description: String::new(),
            fqdn: String::new(),
            listen: Vec::new(),
            user: None,
            proxy_from: Vec::new(),
            autostart: true,
            max_connections: 1000,
            max_connections_per_ip: 50,
            idle_timeout: Duration::from_secs(600),
            limits: ProcessLimits::default(),
            drain_timeout: Hosting::DRAIN_TIMEOUT,
        }
    }
}

impl General {
    pub(crate) fn read(fields: &mut Fields<'_, '_, '_>) -> General {
        let mut general = General::default();
        fields.set(&mut general.description, "description", |reader, node| {
            reader
                .text(node, "\"Gateway for example.com\"")
                .map(str::to_owned)
        });
        fields.set(&mut general.fqdn, "fqdn", fqdn);
        fields.set(&mut general.listen, "listen", listen);
        fields.set_some(&mut general.user, "user", |reader, node| {
            reader
                .text(node, "\"postern-mx1\"")
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
        });
        fields.set(&mut general.proxy_from, "proxy_from", proxy_from);
        fields.set(&mut general.autostart, "autostart", Reader::truth);
        fields.set(
            &mut general.max_connections,
            "max_connections",
            |reader, node| reader.number(node, 1..=1_000_000),
        );
        fields.set(
            &mut general.max_connections_per_ip,
            "max_connections_per_ip",
            |reader, node| reader.number(node, 1..=1_000_000),
        );
        fields.set(&mut general.idle_timeout, "idle_timeout", |reader, node| {
            reader.time(node, SECOND)
        });
        fields.set(&mut general.limits, "limits", limits);
        fields.set(
            &mut general.drain_timeout,
            "drain_timeout",
            |reader, node| reader.time(node, Duration::ZERO),
        );
        general
    }
}

const SECOND: Duration = Duration::from_secs(1);

fn fqdn<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<String> {
    reader.parsed(node, "\"mx1.example.com\"", |text| {
        if !is_host_name(text) {
            let shorter = text.trim().trim_end_matches('.');
            let remedy = match is_host_name(shorter) && shorter.contains('.') {
                true => format!("write \"{shorter}\""),
                false => "write the server's name in the DNS, as in \"mx1.example.com\"".to_owned(),
            };
            return Err(Misfit::new(
                format!("`{}` is not a host name", clip(text)),
                remedy,
            ));
        }
        if !text.contains('.') {
            let remedy = format!("write the whole name, as in \"{}.example.com\"", clip(text));
            return Err(Misfit::new(
                format!("`{}` is not fully qualified", clip(text)),
                remedy,
            ));
        }
        Ok(text.to_ascii_lowercase())
    })
}

fn listen<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<Vec<Identity>> {
    let mut identities: Vec<Identity> = Vec::new();
    let example = "[\"192.0.2.10:25\"], with an address of this host and a port";
    if node
        .get_ref()
        .as_array()
        .is_some_and(|list| list.is_empty())
    {
        reader.error(
            node.span(),
            "`listen` names no address",
            format!("write {example}"),
        );
    }
    let list = reader.list(node, example, |reader, member| {
        Some((member.span(), identity(reader, member)?))
    })?;
    for (span, identity) in list {
        match identities
            .iter()
            .find(|other| other.clashes_with(&identity))
        {
            Some(other) => {
                let what = format!(
                    "{} cannot be listened on together with {}",
                    identity.address, other.address
                );
                reader.error(span, what, "keep one of the two");
            }
            None => identities.push(identity),
        }
    }
    Some(identities)
}

fn identity<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<Identity> {
    const LONG: &str = "{ address = \"192.0.2.10:465\", tls = \"implicit\" }";
    if node.get_ref().as_str().is_some() {
        return Some(Identity {
            address: address(reader, node)?,
            tls: TlsMode::default(),
        });
    }
    let table = reader.table(
        node,
        &["address", "tls"],
        &format!("\"192.0.2.10:25\" or {LONG}"),
    )?;
    let words =
        [TlsMode::Starttls, TlsMode::Implicit, TlsMode::None].map(|mode| (mode.as_str(), mode));
    let tls = match table.get("tls") {
        Some(tls) => reader.word(tls, &words)?,
        None => TlsMode::default(),
    };
    let Some(written) = table.get("address") else {
        reader.error(
            node.span(),
            "an identity without `address`",
            format!("write {LONG}"),
        );
        return None;
    };
    Some(Identity {
        address: address(reader, written)?,
        tls,
    })
}

fn address<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<SocketAddr> {
    reader.parsed(node, "\"192.0.2.10:25\"", |text| match text.parse::<SocketAddr>() {
        Ok(address) if address.port() == 0 => {
            Err(Misfit::new("port 0 cannot be listened on", "write the port, such as 25"))
        }
        Ok(address) => Ok(address),
        Err(_) => {
            let remedy = match text.parse::<IpAddr>() {
                Ok(address) => format!("write the port too: \"{}\"", SocketAddr::new(address, 25)),
                Err(_) => "write an IP address and a port, as in \"192.0.2.10:25\" or \"[2001:db8::10]:25\"".to_owned(),
            };
            Err(Misfit::new(format!("`{}` is not an address to listen on", clip(text)), remedy))
        }
    })
}

fn proxy_from<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<Vec<IpNet>> {
    const EXAMPLE: &str = "\"192.0.2.80\" or \"198.51.100.0/28\"";
    reader.list(node, "[\"192.0.2.80\"]", |reader, member| {
        match entry(reader, member, EXAMPLE)?.kind {
            EntryKind::Address(address) => Some(IpNet::from(address)),
            EntryKind::Network(network) => believable(reader, member, network),
            EntryKind::Host(_) | EntryKind::Domain(_) => {
                reader.error(
                    member.span(),
                    "a balancer is known by its address only",
                    "write its address or network",
                );
                None
            }
        }
    })
}

/// A network whose PROXY headers may be believed: a balancer speaks for any client, so it must not be everybody.
fn believable<'t>(reader: &mut Reader<'t>, node: &Node<'t>, network: IpNet) -> Option<IpNet> {
    const REMEDY: &str = "write the addresses of your balancers";
    let held = Coverage::of([network]);
    // A /16 of strangers.
    const WIDE: f64 = 1.0 / 65_536.0;
    if held.most() >= 1.0 / 256.0 {
        let what = format!(
            "everybody's PROXY header would be believed: {network} holds {}, and each could claim any address",
            held.in_words()
        );
        reader.error(node.span(), what, REMEDY);
        return None;
    }
    if held.most() >= WIDE {
        let what = format!(
            "{network} is more than balancers need: each computer in it can claim any address"
        );
        reader.warn(node.span(), what, REMEDY);
    }
    Some(network)
}

fn limits<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<ProcessLimits> {
    let example = "{ memory = \"256 MB\", open_files = 20000 }";
    let table = reader.table(node, &["memory", "open_files", "threads", "cpu"], example)?;
    if let Some(cpu) = table.get("cpu") {
        reader.not_yet(
            cpu.span(),
            "a limit of processor time",
            "remove it, or limit posternd's unit with CPUQuota=",
        );
    }
    Some(ProcessLimits {
        memory: table.get("memory").and_then(|node| reader.size(node)),
        open_files: table
            .get("open_files")
            .and_then(|node| reader.number(node, 64..=u32::MAX))
            .map(u64::from),
        threads: table
            .get("threads")
            .and_then(|node| reader.number(node, 1..=u32::MAX)),
    })
}

//! TARGET: a server's name, whose definition says where it listens and what to expect, or a host and port.
//!
//! ```text
//! mx1                      servers/mx1.toml, each of its addresses
//! mx1.example.com:25       looked up by this system; the first address that answers
//! [::1]:2525   192.0.2.1   an address; port 25 where none is given
//! ```
//!
//! Never: a list of the definition opened; what they hold is proved, not read.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use postern_config::{Definition, Identity, TlsMode};
use postern_hosting::ServerName;
use postern_verify::{Channel, Expected};

use crate::commands::Places;
use crate::failure::{Error, plain};

/// An address, and what to expect there.
pub(super) struct Place {
    pub(super) address: SocketAddr,
    pub(super) expected: Expected,
}

/// All addresses that `target` means. `tls` is what the command line expects.
pub(super) fn places(
    target: &str,
    tls: Option<Channel>,
    places: &Places,
) -> Result<Vec<Place>, Error> {
    if let Ok(name) = target.parse::<ServerName>() {
        let path = places.servers().join(format!("{name}.toml"));
        if path.exists() || !target.chars().all(|c| c.is_ascii_digit()) {
            return defined(target, &path, tls);
        }
    }
    let (host, port) = split(target)?;
    let address = address(target, host, port)?;
    let named = host.parse::<IpAddr>().is_err();
    let expected = Expected {
        host: named.then(|| host.to_owned()),
        channel: tls.unwrap_or(usual(port)),
        ..Expected::default()
    };
    Ok(vec![Place { address, expected }])
}

/// What a port usually speaks (RFC 8314 §3.3).
fn usual(port: u16) -> Channel {
    match port {
        465 => Channel::Implicit,
        _ => Channel::Offered,
    }
}

fn defined(target: &str, path: &Path, tls: Option<Channel>) -> Result<Vec<Place>, Error> {
    if !path.exists() {
        return Err(Error::Usage {
            what: format!(
                "there is no server {target}: {} does not exist",
                path.display()
            ),
            remedy: format!("check the name; a host is written with its port, {target}:25"),
        });
    }
    let text = fs::read_to_string(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })?;
    let (definition, findings) = postern_config::load(&text, path);
    let definition = definition.ok_or_else(|| Error::Broken {
        path: path.to_owned(),
        findings,
    })?;
    let place = |identity: &Identity| Place {
        address: reachable(identity.address),
        expected: expected(&definition, identity, tls),
    };
    Ok(definition.general.listen.iter().map(place).collect())
}

/// Who listens on all addresses listens on loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn expected(definition: &Definition, identity: &Identity, tls: Option<Channel>) -> Expected {
    let channel = match identity.tls {
        TlsMode::Implicit => Channel::Implicit,
        TlsMode::None => Channel::None,
        TlsMode::Starttls => match (tls, definition.tls.require) {
            (Some(wanted), _) => wanted,
            (None, true) => Channel::Required,
            (None, false) if definition.tls.certificates.is_empty() => Channel::None,
            (None, false) => Channel::Offered,
        },
    };
    let domains = definition
        .delivery
        .domains
        .iter()
        .map(|domain| &domain.name);
    let (general, messages) = (&definition.general, &definition.messages);
    Expected {
        host: Some(general.fqdn.clone()),
        channel,
        local_domain: domains
            .into_iter()
            .find(|name| !name.contains('*'))
            .cloned(),
        max_message_size: Some(messages.max_message_size),
        max_errors: Some(messages.max_errors),
        max_recipients: Some(messages.max_recipients),
        max_connections_per_ip: Some(general.max_connections_per_ip),
        refuses_early_talkers: true,
        ..Expected::default()
    }
}

/// Host and port; brackets round an IPv6 address are taken off.
fn split(target: &str) -> Result<(&str, u16), Error> {
    let bad = || Error::Usage {
        what: format!("{target} is neither the name of a server nor HOST:PORT"),
        remedy: "write mx1, mx1.example.com:25, 192.0.2.1 or [2001:db8::1]:25".to_owned(),
    };
    if target.parse::<IpAddr>().is_ok() {
        return Ok((target, 25));
    }
    let (host, port) = match target.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or_else(bad)?;
            host.parse::<Ipv6Addr>().map_err(|_| bad())?;
            match port {
                "" => (host, None),
                port => (host, Some(port.strip_prefix(':').ok_or_else(bad)?)),
            }
        }
        None => match target.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (target, None),
        },
    };
    let port = match port {
        None => 25,
        Some(port) => port
            .parse::<u16>()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(bad)?,
    };
    if host.is_empty() || host.contains(['/', ' ', '@']) {
        return Err(bad());
    }
    Ok((host, port))
}

/// The first address of a host that answers, or simply the first.
fn address(target: &str, host: &str, port: u16) -> Result<SocketAddr, Error> {
    let found = (host, port)
        .to_socket_addrs()
        .map_err(|cause| Error::Usage {
            what: format!("{target} cannot be looked up: {}", plain(&cause)),
            remedy: "check the name, or write the address".to_owned(),
        })?;
    let all: Vec<SocketAddr> = found.collect();
    let answers = |address: &&SocketAddr| {
        all.len() > 1 && TcpStream::connect_timeout(address, Duration::from_secs(3)).is_ok()
    };
    let chosen = all.iter().find(answers).or(all.first());
    chosen.copied().ok_or_else(|| Error::Usage {
        what: format!("{target} has no address"),
        remedy: "check the name, or write the address".to_owned(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_read() {
        for (target, host, port) in [
            ("mx1.example.com:25", "mx1.example.com", 25),
            ("mx1.example.com", "mx1.example.com", 25),
            ("192.0.2.1", "192.0.2.1", 25),
            ("192.0.2.1:587", "192.0.2.1", 587),
            ("[::1]:2525", "::1", 2525),
            ("[2001:db8::1]", "2001:db8::1", 25),
            ("2001:db8::1", "2001:db8::1", 25),
        ] {
            assert_eq!(split(target).unwrap(), (host, port), "{target}");
        }
        for bad in [
            "", ":25", "a:b", "a:0", "a:65536", "[::1", "[a]:25", "[::1]x", "a b", "smtp://a",
            "a:25:26",
        ] {
            assert!(split(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn who_listens_everywhere_is_reached_on_loopback() {
        for (written, reached) in [
            ("0.0.0.0:25", "127.0.0.1:25"),
            ("[::]:25", "[::1]:25"),
            ("192.0.2.1:25", "192.0.2.1:25"),
        ] {
            assert_eq!(
                reachable(written.parse().unwrap()),
                reached.parse().unwrap()
            );
        }
    }
}

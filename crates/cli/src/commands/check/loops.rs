//! Mail that would go round between the servers of one host, by what their definitions say.
//!
//! ```text
//! each domain that any of them names, one below each pattern, and one nobody names
//!     ─▶ where each server would send mail for it: smart host, route, local domain, unresolved_to
//!     ─▶ is that an identity of one of these servers? ─▶ is there a way back?
//! ```
//!
//! So a gateway that hands a domain to the server which sends everything else through the gateway is no loop.
//!
//! Never: a look-up; a host is one of these servers by its address, or by being its fqdn.

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use postern_config::{Definition, Host, LocalDomain, Recipients, Target};
use postern_hosting::{Finding, Severity};

use super::at;

/// A server that can be in a loop.
pub(super) struct Server<'a> {
    /// Its definition's file.
    pub(super) path: &'a Path,
    /// Its definition's text.
    pub(super) text: &'a str,
    /// What it says.
    pub(super) definition: &'a Definition,
}

/// A hop from one server to another.
#[derive(Clone)]
struct Hop {
    to: usize,
    /// As the definition writes it.
    written: String,
}

/// The findings of each server, in their order. `own` are the addresses of this host.
pub(super) fn loops(servers: &[Server<'_>], own: &[IpAddr]) -> Vec<Vec<Finding>> {
    let classes = classes(servers);
    let mut found: Vec<Vec<Round>> = servers.iter().map(|_| Vec::new()).collect();
    for (probe, shown) in &classes {
        let hops: Vec<Vec<Hop>> = servers
            .iter()
            .map(|server| hops(server, probe, servers, own))
            .collect();
        for (start, rounds) in found.iter_mut().enumerate() {
            let Some(round) = shortest(&hops, start) else {
                continue;
            };
            match rounds.iter_mut().find(|other| other.is(&round)) {
                Some(known) => known.mail.push(shown.clone()),
                None => rounds.push(Round {
                    hops: round,
                    mail: vec![shown.clone()],
                }),
            }
        }
    }
    let tell = |(index, rounds): (usize, Vec<Round>)| {
        let tell = |round| finding(servers, index, &round);
        rounds.into_iter().map(tell).collect()
    };
    found.into_iter().enumerate().map(tell).collect()
}

/// A way from a server back to it, and whose mail goes it.
struct Round {
    hops: Vec<Hop>,
    mail: Vec<String>,
}

impl Round {
    /// Whose mail, the first few.
    fn mail(&self) -> String {
        match self.mail.as_slice() {
            [a, b, c, _, ..] => format!("{a}, {b}, {c} and {} more", self.mail.len() - 3),
            few => few.join(", "),
        }
    }

    fn is(&self, hops: &[Hop]) -> bool {
        let same = |(one, other): (&Hop, &Hop)| one.to == other.to && one.written == other.written;
        self.hops.len() == hops.len() && self.hops.iter().zip(hops).all(same)
    }
}

fn finding(servers: &[Server<'_>], start: usize, round: &Round) -> Finding {
    let here = servers.get(start);
    let (path, text) = here.map_or((Path::new(""), ""), |one| (one.path, one.text));
    let written = round.hops.first().map_or("", |hop| &hop.written);
    let mail = round.mail();
    let what = match round.hops.as_slice() {
        [_] => format!(
            "{} would deliver to itself, by {written}: mail for {mail}",
            name(servers, start)
        ),
        hops => {
            let way = hops
                .iter()
                .map(|hop| format!(" → {}", name(servers, hop.to)));
            let way: String = way.collect();
            format!(
                "mail for {mail} would go round: {}{way}",
                name(servers, start)
            )
        }
    };
    let others = round.hops.iter().filter(|hop| hop.to != start);
    let others = others.filter_map(|hop| Some(servers.get(hop.to)?.path.display().to_string()));
    let others: Vec<String> = others.collect();
    let remedy = match others.as_slice() {
        [] => "write the server that is to have the mail".to_owned(),
        others => format!(
            "let one of them deliver it elsewhere: correct this, or {}",
            others.join(", ")
        ),
    };
    let finding = Finding::error(path, what, remedy).with_severity(Severity::Warning);
    at(finding, text, written)
}

/// A server is called after its definition's file.
fn name(servers: &[Server<'_>], index: usize) -> String {
    let path = servers.get(index).map_or(Path::new("?"), |one| one.path);
    let stem = path.file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

/// A domain to ask about of each kind there is, and how it is called.
fn classes(servers: &[Server<'_>]) -> BTreeSet<(String, String)> {
    let mut classes = BTreeSet::new();
    for Server { definition, .. } in servers {
        let local = definition
            .delivery
            .domains
            .iter()
            .map(|domain| &domain.name);
        let routes = definition.delivery.routes.iter().map(|route| &route.domain);
        for name in local.chain(routes).filter(|name| *name != "*") {
            classes.insert(match name.strip_prefix("*.") {
                Some(parent) => (format!("?.{parent}"), format!("domains below {parent}")),
                None => (name.clone(), name.clone()),
            });
        }
    }
    let rest = match classes.is_empty() {
        true => "all domains",
        false => "all other domains",
    };
    classes.insert(("?".to_owned(), rest.to_owned()));
    classes
}

/// Where a server would send mail for a domain, as far as that is one of the servers.
fn hops(server: &Server<'_>, domain: &str, servers: &[Server<'_>], own: &[IpAddr]) -> Vec<Hop> {
    let places = match server.definition.delivery.local_domain(domain) {
        Some(local) => local_places(server.definition, local),
        None => foreign_places(server.definition, domain),
    };
    let mut hops = Vec::new();
    for (host, port, written) in places {
        let targets = servers
            .iter()
            .enumerate()
            .filter(|(_, other)| listens(other.definition, &host, port, own));
        hops.extend(targets.map(|(to, _)| Hop {
            to,
            written: written.clone(),
        }));
    }
    hops
}

type Place = (Host, u16, String);

fn local_places(definition: &Definition, local: &LocalDomain) -> Vec<Place> {
    let mut places = Vec::new();
    if let Target::Smtp(to) = &local.to {
        places.push((to.host.clone(), to.port, local.to.to_string()));
    }
    let unresolved = definition.messages.unresolved_to.as_ref();
    if let Some(host) = unresolved.filter(|_| local.recipients != Recipients::Any) {
        let port = host.port.unwrap_or(definition.delivery.outbound_port);
        places.push((host.host.clone(), port, host.to_string()));
    }
    places
}

/// The most exact route, or the smart hosts; by MX, nobody here is named.
fn foreign_places(definition: &Definition, domain: &str) -> Vec<Place> {
    let delivery = &definition.delivery;
    let route = |pattern: &str| delivery.routes.iter().find(|route| route.domain == pattern);
    let below = || {
        let parents = domain.match_indices('.').map(|(dot, _)| &domain[dot..]);
        parents
            .map(|parent| format!("*{parent}"))
            .find_map(|pattern| route(&pattern))
    };
    let chosen = route(domain).or_else(below).or_else(|| route("*"));
    let hosts = chosen.map_or(&delivery.smart_host, |route| &route.host);
    let place = |host: &postern_config::SmartHost| {
        let port = host.port.unwrap_or(delivery.outbound_port);
        (host.host.clone(), port, host.to_string())
    };
    hosts.iter().map(place).collect()
}

/// Whether a host and port are a server's own.
fn listens(definition: &Definition, host: &Host, port: u16, own: &[IpAddr]) -> bool {
    let here = |ip: IpAddr| {
        let is_mine = ip.is_loopback() || own.contains(&ip);
        definition.general.listen.iter().any(|identity| {
            let at = identity.address.ip();
            let everywhere = at.is_unspecified() && at.is_ipv4() == ip.is_ipv4() && is_mine;
            identity.address.port() == port && (at == ip || everywhere)
        })
    };
    match host {
        Host::Address(ip) => here(*ip),
        Host::Name(name) if name == "localhost" => {
            here(Ipv4Addr::LOCALHOST.into()) || here(Ipv6Addr::LOCALHOST.into())
        }
        Host::Name(name) => {
            let listen = &definition.general.listen;
            *name == definition.general.fqdn
                && listen
                    .iter()
                    .any(|identity| identity.address.port() == port)
        }
    }
}

/// The shortest way from `start` back to it.
fn shortest(hops: &[Vec<Hop>], start: usize) -> Option<Vec<Hop>> {
    let mut seen = BTreeSet::new();
    let mut waiting: VecDeque<Vec<Hop>> = VecDeque::from([Vec::new()]);
    while let Some(way) = waiting.pop_front() {
        let here = way.last().map_or(start, |hop| hop.to);
        for hop in hops.get(here)? {
            let mut longer = way.clone();
            longer.push(hop.clone());
            if hop.to == start {
                return Some(longer);
            }
            if seen.insert(hop.to) {
                waiting.push_back(longer);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests;

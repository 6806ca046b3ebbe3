//! Recipient → way: where a message for an address goes, by the definition in force.
//!
//! Order of decision: a local domain's own target (or, for a recipient it does not know, the host for unresolved
//! ones) · a route for the domain, the most exact first · `direct_first`: MX, then the smart hosts · the smart hosts ·
//! MX.
//!
//! A [`Way`] is named by a text that stays the same over reloads while it means the same place; the queue groups by it.
//!
//! Never: a look-up, a socket, a clock.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use crate::maildir::Template;
use crate::outcome::Answer;
use crate::security::Security;
use postern_smtp::EnhancedCode;

/// All ways of one generation.
#[derive(Debug, Default)]
pub struct Table {
    local: HashMap<Box<str>, Local>,
    exact: HashMap<Box<str>, Via>,
    below: HashMap<Box<str>, Via>,
    everything: Option<Via>,
    smart_host: Option<Arc<Way>>,
    mx: Mx,
}

/// A local domain.
#[derive(Debug)]
pub struct Local {
    /// Where its mail goes.
    pub way: Arc<Way>,
    /// Who is known there; none: everybody.
    pub known: Option<HashSet<Box<str>>>,
    /// Where mail for those goes who are not known.
    pub unresolved: Option<Arc<Way>>,
}

/// What a route says of a domain.
#[derive(Clone, Debug)]
pub enum Via {
    /// Its mail goes this way.
    Way(Arc<Way>),
    /// Its mail goes by MX, whatever the smart host.
    Mx(Mx),
}

/// How mail for domains without a way of their own is sent by MX.
#[derive(Clone, Debug)]
pub struct Mx {
    /// The port of the hosts found.
    pub port: u16,
    /// What must hold there.
    pub security: Security,
    /// Connections at once to one domain, where it has a limit of its own.
    pub limit: Option<u32>,
    /// The smart hosts to try when no host of the domain can be reached (`direct_first`).
    pub fallback: Option<Arc<Way>>,
}

impl Default for Mx {
    fn default() -> Mx {
        Mx {
            port: 25,
            security: Security::default(),
            limit: None,
            fallback: None,
        }
    }
}

/// A way out of the queue.
#[derive(Debug, PartialEq, Eq)]
pub struct Way {
    /// Its name in the queue: `example.com`, `smtp:relay.example.net:587`, `lmtp:unix:/run/lmtp`, `maildir:/var/mail/…`.
    pub name: Arc<str>,
    /// Whether the local clocks (`local_expire`, `local_delay_notice`) run for it.
    pub local: bool,
    /// Connections at once, where it has a limit of its own.
    pub limit: Option<u32>,
    /// What is at its end.
    pub end: End,
}

/// What is at the end of a way.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// Mailboxes on this host.
    Maildir(Template),
    /// An LMTP server.
    Lmtp(Endpoint),
    /// Named hosts, tried in order.
    Hosts(Vec<Hop>, Security),
    /// The hosts that DNS names for a domain.
    Mx {
        /// The domain, in lower case.
        domain: Box<str>,
        /// Port, security, fallback.
        mx: Mx,
    },
}

impl PartialEq for Mx {
    fn eq(&self, other: &Mx) -> bool {
        self.port == other.port
            && self.security == other.security
            && self.fallback == other.fallback
    }
}

impl Eq for Mx {}

/// Where an LMTP server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A socket in the file system.
    Unix(PathBuf),
    /// A host and port.
    Tcp(Hop),
}

/// A host to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// By name or address.
    pub host: Host,
    /// The port.
    pub port: u16,
}

/// A host by name or address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// Its addresses are looked up.
    Name(Box<str>),
    /// No look-up: `[192.0.2.25]`.
    Address(IpAddr),
}

/// Not a host as a definition may name one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a host: write relay.example.net, relay.example.net:587, [192.0.2.25] or [2001:db8::25]:587"
)]
pub struct NotAHost(pub String);

impl Hop {
    /// Reads `name`, `name:port`, `[address]`, `[address]:port`, `[name]` (brackets: the name's addresses, never its MX),
    /// or a bare address.
    pub fn parse(text: &str, default_port: u16) -> Result<Hop, NotAHost> {
        let wrong = || NotAHost(text.to_owned());
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Hop {
                host: Host::Address(address),
                port: default_port,
            });
        }
        let (host, rest) = match text.strip_prefix('[') {
            Some(inner) => inner.split_once(']').ok_or_else(wrong)?,
            None => text.split_at(text.find(':').unwrap_or(text.len())),
        };
        let port = match rest.strip_prefix(':') {
            Some(digits) => digits
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or_else(wrong)?,
            None if rest.is_empty() => default_port,
            None => return Err(wrong()),
        };
        Ok(Hop {
            host: Host::parse(host).ok_or_else(wrong)?,
            port,
        })
    }

    /// The hop at a socket address.
    pub fn at(address: SocketAddr) -> Hop {
        Hop {
            host: Host::Address(address.ip()),
            port: address.port(),
        }
    }
}

impl Host {
    fn parse(text: &str) -> Option<Host> {
        let address = text
            .strip_prefix("IPv6:")
            .or_else(|| text.strip_prefix("ipv6:"))
            .unwrap_or(text);
        if let Ok(address) = address.parse() {
            return Some(Host::Address(address));
        }
        let good = !text.is_empty()
            && text.len() <= 253
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_') || b >= 0x80)
            && !text.starts_with(['.', '-']);
        good.then(|| Host::Name(text.trim_end_matches('.').to_lowercase().into_boxed_str()))
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Name(name) => write!(f, "{name}:{}", self.port),
            Host::Address(address) => write!(f, "[{address}]:{}", self.port),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Unix(path) => write!(f, "unix:{}", path.display()),
            Endpoint::Tcp(hop) => hop.fmt(f),
        }
    }
}

impl Way {
    /// A way to mailboxes on this host.
    pub fn maildir(template: Template) -> Way {
        Way {
            name: Arc::from(format!("maildir:{template}")),
            local: true,
            limit: None,
            end: End::Maildir(template),
        }
    }

    /// A way to an LMTP server.
    pub fn lmtp(endpoint: Endpoint) -> Way {
        Way {
            name: Arc::from(format!("lmtp:{endpoint}")),
            local: true,
            limit: None,
            end: End::Lmtp(endpoint),
        }
    }

    /// A way to named hosts, in order.
    pub fn hosts(hops: Vec<Hop>, security: Security, local: bool) -> Way {
        let names: Vec<String> = hops.iter().map(Hop::to_string).collect();
        Way {
            name: Arc::from(format!("smtp:{}", names.join(","))),
            local,
            limit: None,
            end: End::Hosts(hops, security),
        }
    }

    /// The same way, with a limit of its own.
    pub fn limited(self, limit: Option<u32>) -> Way {
        Way { limit, ..self }
    }

    fn mx(domain: &str, mx: &Mx) -> Way {
        Way {
            name: Arc::from(domain),
            local: false,
            limit: mx.limit,
            end: End::Mx {
                domain: Box::from(domain),
                mx: mx.clone(),
            },
        }
    }
}

/// The way of one recipient: one of the table's, or by the MX of a domain.
#[derive(Clone, Debug)]
pub enum Choice<'a> {
    /// One of the table's.
    Listed(&'a Arc<Way>),
    /// By the MX of this domain.
    Domain(Cow<'a, str>, &'a Mx),
}

impl Choice<'_> {
    /// The way's name, without making the way.
    pub fn name(&self) -> &str {
        match self {
            Choice::Listed(way) => &way.name,
            Choice::Domain(domain, _) => domain,
        }
    }

    /// The way itself.
    pub fn way(&self) -> Arc<Way> {
        match self {
            Choice::Listed(way) => Arc::clone(way),
            Choice::Domain(domain, mx) => Arc::new(Way::mx(domain, mx)),
        }
    }

    /// Whether the local clocks run for it.
    pub fn is_local(&self) -> bool {
        matches!(self, Choice::Listed(way) if way.local)
    }
}

impl Table {
    /// A table in which everything goes by MX.
    pub fn new(mx: Mx) -> Table {
        Table {
            mx,
            ..Table::default()
        }
    }

    /// What must hold where nothing else is said.
    pub fn security(&self) -> &Security {
        &self.mx.security
    }

    /// Adds a local domain.
    pub fn add_local(&mut self, domain: &str, local: Local) {
        self.local.insert(lower(domain).into(), local);
    }

    /// Adds a route: `example.com`, `*.example.com` (all below it), `*` (everything that is not local).
    pub fn add_route(&mut self, pattern: &str, via: Via) {
        match (pattern, pattern.strip_prefix("*.")) {
            ("*", _) => self.everything = Some(via),
            (_, Some(parent)) => drop(self.below.insert(lower(parent).into(), via)),
            _ => drop(self.exact.insert(lower(pattern).into(), via)),
        }
    }

    /// Sets the smart hosts that take what has no route. With `direct_first` leave it and set [`Mx::fallback`].
    pub fn set_smart_host(&mut self, way: Arc<Way>) {
        self.smart_host = Some(way);
    }

    /// Whether the address lies in a local domain.
    pub fn is_local(&self, address: &str) -> bool {
        address
            .rsplit_once('@')
            .is_some_and(|(_, domain)| self.local.contains_key(&*lower(domain)))
    }

    /// The way for an address; `Err` if there is none and never will be.
    pub fn route<'a>(&'a self, address: &'a str) -> Result<Choice<'a>, Answer> {
        let (mailbox, domain) = match address.rsplit_once('@') {
            Some((mailbox, domain)) if !mailbox.is_empty() && !domain.is_empty() => {
                (mailbox, lower(domain))
            }
            _ => {
                return Err(Answer::nobody(
                    EnhancedCode(5, 1, 3),
                    "the address has no domain",
                ));
            }
        };
        if let Some(local) = self.local.get(&*domain) {
            return local.choose(mailbox);
        }
        match (self.routed(&domain), &self.smart_host) {
            (Some(Via::Way(way)), _) | (None, Some(way)) => Ok(Choice::Listed(way)),
            (Some(Via::Mx(mx)), _) => Ok(Choice::Domain(domain, mx)),
            (None, None) => Ok(Choice::Domain(domain, &self.mx)),
        }
    }

    fn routed(&self, domain: &str) -> Option<&Via> {
        let parents = || domain.match_indices('.').map(|(dot, _)| &domain[dot + 1..]);
        let below = || {
            if self.below.is_empty() {
                None
            } else {
                parents().find_map(|parent| self.below.get(parent))
            }
        };
        self.exact
            .get(domain)
            .or_else(below)
            .or(self.everything.as_ref())
    }
}

impl Local {
    fn choose(&self, mailbox: &str) -> Result<Choice<'_>, Answer> {
        let known = self.known.as_ref().is_none_or(|known| {
            let name = mailbox.to_lowercase();
            // RFC 5321 §4.5.1: there is always a postmaster.
            known.contains(&*name) || name == "postmaster"
        });
        match (known, &self.unresolved) {
            (true, _) => Ok(Choice::Listed(&self.way)),
            (false, Some(way)) => Ok(Choice::Listed(way)),
            (false, None) => Err(Answer::nobody(
                EnhancedCode(5, 1, 1),
                "there is no such mailbox here",
            )),
        }
    }
}

/// The domain in lower case, a final dot removed, without a copy where it is so already.
fn lower(domain: &str) -> Cow<'_, str> {
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    if domain
        .bytes()
        .all(|b| b.is_ascii() && !b.is_ascii_uppercase())
    {
        Cow::Borrowed(domain)
    } else {
        Cow::Owned(domain.to_lowercase())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn way(hosts: &[&str]) -> Arc<Way> {
        let hops = hosts
            .iter()
            .map(|host| Hop::parse(host, 25).unwrap())
            .collect();
        Arc::new(Way::hosts(hops, Security::default(), false))
    }

    fn table() -> Table {
        let mut table = Table::new(Mx::default());
        let maildir = Arc::new(Way::maildir(
            Template::parse("/var/mail/{domain}/{local}").unwrap(),
        ));
        let known = Some(HashSet::from([Box::from("bob")]));
        table.add_local(
            "Local.test",
            Local {
                way: Arc::clone(&maildir),
                known: None,
                unresolved: None,
            },
        );
        table.add_local(
            "some.test",
            Local {
                way: Arc::clone(&maildir),
                known: known.clone(),
                unresolved: None,
            },
        );
        table.add_local(
            "other.test",
            Local {
                way: maildir,
                known,
                unresolved: Some(way(&["[192.0.2.9]"])),
            },
        );
        table.add_route("exact.test", Via::Way(way(&["exact"])));
        table.add_route("*.exact.test", Via::Way(way(&["below"])));
        table.add_route("*.deep.exact.test", Via::Way(way(&["deep"])));
        table
    }

    #[test]
    fn an_address_finds_its_way() {
        let table = table();
        for (address, want) in [
            ("a@local.test", "maildir:/var/mail/{domain}/{local}"),
            ("a@LOCAL.test.", "maildir:/var/mail/{domain}/{local}"),
            ("Bob@some.test", "maildir:/var/mail/{domain}/{local}"),
            ("bob@other.test", "maildir:/var/mail/{domain}/{local}"),
            ("eve@other.test", "smtp:[192.0.2.9]:25"),
            ("a@exact.test", "smtp:exact:25"),
            ("a@x.exact.test", "smtp:below:25"),
            ("a@x.y.exact.test", "smtp:below:25"),
            ("a@x.deep.exact.test", "smtp:deep:25"),
            ("\"a@b\"@Foreign.TEST", "foreign.test"),
            ("a@[192.0.2.1]", "[192.0.2.1]"),
        ] {
            assert_eq!(table.route(address).unwrap().name(), want, "{address}");
        }
        assert_eq!(
            table.route("eve@some.test").unwrap_err().enhanced,
            EnhancedCode(5, 1, 1)
        );
        for bad in ["", "a", "@b", "a@"] {
            assert_eq!(
                table.route(bad).unwrap_err().enhanced,
                EnhancedCode(5, 1, 3),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_smart_host_takes_what_has_no_route() {
        let mut table = table();
        table.set_smart_host(way(&["relay.test:587", "[2001:db8::1]"]));
        assert_eq!(
            table.route("a@foreign.test").unwrap().name(),
            "smtp:relay.test:587,[2001:db8::1]:25"
        );
        assert_eq!(table.route("a@exact.test").unwrap().name(), "smtp:exact:25");
        table.add_route("*", Via::Way(way(&["all"])));
        assert_eq!(table.route("a@foreign.test").unwrap().name(), "smtp:all:25");
    }

    #[test]
    fn direct_first_keeps_the_smart_host_behind_the_mx() {
        let fallback = way(&["relay"]);
        let table = Table::new(Mx {
            fallback: Some(Arc::clone(&fallback)),
            ..Mx::default()
        });
        let way = table.route("a@foreign.test").unwrap().way();
        assert!(matches!(&way.end, End::Mx { mx, .. } if mx.fallback == Some(fallback)));
    }

    #[test]
    fn hosts_are_read_in_all_their_spellings() {
        for (text, want) in [
            ("relay.test", "relay.test:25"),
            ("Relay.test.:587", "relay.test:587"),
            ("[192.0.2.1]", "[192.0.2.1]:25"),
            ("192.0.2.1:2525", "[192.0.2.1]:2525"),
            ("[IPv6:::1]:26", "[::1]:26"),
            ("::1", "[::1]:25"),
            ("[relay.test]:26", "relay.test:26"),
        ] {
            assert_eq!(Hop::parse(text, 25).unwrap().to_string(), want, "{text}");
        }
        for bad in [
            "", ":25", "a:0", "a:b", "a:70000", "[", "[]", "[::1", "[::1]x", "a b", "-a", "::1:z",
        ] {
            assert!(Hop::parse(bad, 25).is_err(), "{bad}");
        }
    }
}

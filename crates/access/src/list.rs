//! A list of computers, groups and domains, and the fast question "is this address in it?".
//!
//! Networks are nested or apart, never overlapping in part; so, sorted by first address, each knows the one that
//! contains it (its parent), and a look-up is one binary search and at most a few steps outwards:
//!
//! ```text
//! 10.0.0.0/8 ◄── 10.1.0.0/16 ◄── 10.1.2.0/24     10.1.9.9: search lands on 10.1.2.0/24, outwards to 10.1.0.0/16: yes
//! ```
//!
//! The narrowest entry that matches is the one reported. IPv4-mapped addresses are IPv4 throughout.
//!
//! Never: a look-up of a name; what is known of names comes in as [`NameFacts`].

use std::net::IpAddr;

use ipnet::IpNet;

use crate::entry::{Entry, EntryKind, Origin};
use crate::verdict::{Reason, Trail};

/// What a list's entries mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Only what is listed.
    Only,
    /// All but what is listed.
    AllExcept,
}

impl Mode {
    /// The mode as a definition writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Only => "only",
            Mode::AllExcept => "all-except",
        }
    }
}

/// What is known about the names of a client and of the list's hosts.
#[derive(Clone, Copy, Debug)]
pub struct NameFacts<'a> {
    /// The client's names: found by reverse look-up and confirmed forwards. Empty: not asked, none, or failed, which
    /// all count as no match.
    pub client: &'a [Box<str>],
    /// The addresses of the list's `host` entries, as last looked up.
    pub hosts: &'a ResolvedHosts,
}

impl NameFacts<'static> {
    /// Nothing is known: no domain or host entry matches.
    pub const NONE: NameFacts<'static> = NameFacts {
        client: &[],
        hosts: &ResolvedHosts::EMPTY,
    };
}

/// Addresses of host names, sorted; built by the caller whenever a look-up is renewed, then shared.
#[derive(Clone, Debug, Default)]
pub struct ResolvedHosts {
    pairs: Vec<(IpAddr, Box<str>)>,
}

impl ResolvedHosts {
    /// No host is resolved.
    pub const EMPTY: ResolvedHosts = ResolvedHosts { pairs: Vec::new() };

    /// Collects the addresses of each name, names as [`List::hosts`] gives them.
    pub fn new<'n>(pairs: impl IntoIterator<Item = (&'n str, IpAddr)>) -> ResolvedHosts {
        let mut pairs: Vec<(IpAddr, Box<str>)> = pairs
            .into_iter()
            .map(|(name, address)| {
                (
                    address.to_canonical(),
                    name.to_ascii_lowercase().into_boxed_str(),
                )
            })
            .collect();
        pairs.sort();
        pairs.dedup();
        ResolvedHosts { pairs }
    }

    fn names(&self, address: IpAddr) -> impl Iterator<Item = &str> {
        let first = self.pairs.partition_point(|pair| pair.0 < address);
        self.pairs[first..]
            .iter()
            .take_while(move |pair| pair.0 == address)
            .map(|pair| &*pair.1)
    }
}

/// A part of the Internet, from 0 (nobody) to 1 (everyone).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// Of all IPv4 addresses.
    pub v4: f64,
    /// Of all global IPv6 addresses (2000::/3).
    pub v6: f64,
}

/// What an entry that was found matches; borrowed from the list where it is a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matched<'a> {
    /// An address (as a network of one) or a network.
    Network(IpNet),
    /// A host name.
    Host(&'a str),
    /// A domain.
    Domain(&'a str),
}

impl std::fmt::Display for Matched<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Matched::Network(net) if net.prefix_len() == net.max_prefix_len() => {
                net.addr().fmt(out)
            }
            Matched::Network(net) => net.fmt(out),
            Matched::Host(name) => write!(out, "host {name}"),
            Matched::Domain(name) => write!(out, "domain {name}"),
        }
    }
}

/// The entry that matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found<'a> {
    /// What it says.
    pub matched: Matched<'a>,
    /// Where it was written.
    pub origin: Origin,
}

/// A list, ready for look-ups. 100,000 IPv4 networks take 1.7 MB.
#[derive(Clone, Debug, Default)]
pub struct List {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
    hosts: Box<[(Box<str>, Origin)]>,
    domains: Box<[(Box<str>, Origin)]>,
}

impl List {
    /// Builds the list. Entries written twice count once, at the first place.
    pub fn new(entries: &[Entry]) -> List {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        let (mut hosts, mut domains) = (Vec::new(), Vec::new());
        for Entry { kind, origin } in entries {
            let network = match kind {
                EntryKind::Address(address) => IpNet::from(address.to_canonical()),
                EntryKind::Network(network) => network.trunc(),
                EntryKind::Host(name) => {
                    hosts.push((name.clone(), *origin));
                    continue;
                }
                EntryKind::Domain(name) => {
                    domains.push((name.clone(), *origin));
                    continue;
                }
            };
            match network {
                IpNet::V4(net) => v4.push((u32::from(net.addr()), net.prefix_len(), *origin)),
                IpNet::V6(net) => v6.push((u128::from(net.addr()), net.prefix_len(), *origin)),
            }
        }
        List {
            v4: Ranges::new(v4),
            v6: Ranges::new(v6),
            hosts: by_name(hosts),
            domains: by_name(domains),
        }
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many different entries there are.
    pub fn len(&self) -> usize {
        self.v4.starts.len() + self.v6.starts.len() + self.hosts.len() + self.domains.len()
    }

    /// The host names whose addresses the caller keeps looked up.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.hosts.iter().map(|(name, _)| &**name)
    }

    /// All entries: networks by address, IPv4 first, then hosts, then domains, both by name.
    pub fn entries(&self) -> impl Iterator<Item = Found<'_>> {
        let v4 = self.v4.networks(|start| IpAddr::V4(start.into()));
        let v6 = self.v6.networks(|start| IpAddr::V6(start.into()));
        let networks = v4.chain(v6).map(|(network, origin)| Found {
            matched: Matched::Network(network),
            origin,
        });
        let hosts = self.hosts.iter().map(|(name, origin)| Found {
            matched: Matched::Host(name),
            origin: *origin,
        });
        let domains = self.domains.iter().map(|(name, origin)| Found {
            matched: Matched::Domain(name),
            origin: *origin,
        });
        networks.chain(hosts).chain(domains)
    }

    /// Whether a domain entry could change the answer for `address`: the only case in which a reverse look-up is due.
    pub fn needs_names(&self, address: IpAddr, hosts: &ResolvedHosts) -> bool {
        !self.domains.is_empty()
            && self
                .find(address, &NameFacts { client: &[], hosts })
                .is_none()
    }

    /// The entry that matches `address`, the narrowest one where networks are nested. Allocates nothing.
    pub fn find(&self, address: IpAddr, facts: &NameFacts<'_>) -> Option<Found<'_>> {
        let address = address.to_canonical();
        self.find_network(address)
            .or_else(|| self.find_host(address, facts.hosts))
            .or_else(|| facts.client.iter().find_map(|name| self.find_domain(name)))
    }

    fn find_network(&self, address: IpAddr) -> Option<Found<'_>> {
        let (net, origin) = match address {
            IpAddr::V4(v4) => {
                let (start, length, origin) = self.v4.find(u32::from(v4))?;
                (IpNet::new(IpAddr::V4(start.into()), length), origin)
            }
            IpAddr::V6(v6) => {
                let (start, length, origin) = self.v6.find(u128::from(v6))?;
                (IpNet::new(IpAddr::V6(start.into()), length), origin)
            }
        };
        Some(Found {
            matched: Matched::Network(net.ok()?),
            origin,
        })
    }

    fn find_host(&self, address: IpAddr, resolved: &ResolvedHosts) -> Option<Found<'_>> {
        if self.hosts.is_empty() {
            return None;
        }
        resolved.names(address).find_map(|name| {
            let (name, origin) = named(&self.hosts, name)?;
            Some(Found {
                matched: Matched::Host(name),
                origin,
            })
        })
    }

    /// The name itself, then each parent: `a.b.example`, `b.example`, `example`.
    fn find_domain(&self, name: &str) -> Option<Found<'_>> {
        let name = name.strip_suffix('.').unwrap_or(name);
        let mut rest = Some(name).filter(|name| !name.is_empty() && !self.domains.is_empty());
        while let Some(candidate) = rest {
            if let Some((name, origin)) = named(&self.domains, candidate) {
                return Some(Found {
                    matched: Matched::Domain(name),
                    origin,
                });
            }
            rest = candidate.split_once('.').map(|(_, parent)| parent);
        }
        None
    }

    /// How much of the Internet the networks cover together, however they are written: halves add up to a whole.
    pub fn share(&self) -> Share {
        // 2000::/3 is all of the IPv6 Internet there is.
        let global = (0x2000u128 << 112, 0x3fffu128 << 112 | u128::MAX >> 16);
        Share {
            v4: self.v4.covered(0, u32::MAX) as f64 / 2f64.powi(32),
            v6: self.v6.covered(global.0, global.1) as f64 / 2f64.powi(125),
        }
    }

    /// Decides by `mode`, and reports the entry to `trail` under the name of `rule`.
    pub(crate) fn decide(
        &self,
        mode: Mode,
        rule: &str,
        address: IpAddr,
        facts: &NameFacts<'_>,
        trail: &mut impl Trail,
    ) -> (bool, Reason) {
        match self.find(address, facts) {
            Some(found) => {
                let allowed = mode == Mode::Only;
                trail.note(
                    || format!("{rule}.list: {} ({})", found.matched, mode.as_str()),
                    Some(found.origin),
                    true,
                );
                (allowed, Reason::Listed(found.origin))
            }
            None => {
                let allowed = mode == Mode::AllExcept;
                trail.note(
                    || format!("{rule}.list: no entry for {address} ({})", mode.as_str()),
                    None,
                    true,
                );
                (allowed, Reason::NotListed)
            }
        }
    }
}

fn by_name(mut names: Vec<(Box<str>, Origin)>) -> Box<[(Box<str>, Origin)]> {
    names.sort_by(|a, b| a.0.cmp(&b.0));
    names.dedup_by(|later, first| later.0 == first.0);
    names.into_boxed_slice()
}

fn named<'a>(names: &'a [(Box<str>, Origin)], name: &str) -> Option<(&'a str, Origin)> {
    let lower = || name.bytes().map(|b| b.to_ascii_lowercase());
    let at = names
        .binary_search_by(|(candidate, _)| candidate.bytes().cmp(lower()))
        .ok()?;
    names.get(at).map(|(name, origin)| (&**name, *origin))
}

/// An address as a number.
trait Key: Copy + Ord {
    const BITS: u8;
    /// The last address of the network of `length` bits that begins at `self`.
    fn last(self, length: u8) -> Self;
    /// How far `self` is beyond `from`.
    fn distance(self, from: Self) -> u128;
}

macro_rules! key {
    ($number:ty) => {
        impl Key for $number {
            const BITS: u8 = <$number>::BITS as u8;
            fn last(self, length: u8) -> $number {
                self | <$number>::MAX.checked_shr(u32::from(length)).unwrap_or(0)
            }
            fn distance(self, from: $number) -> u128 {
                u128::from(self - from)
            }
        }
    };
}
key!(u32);
key!(u128);

/// Networks of one family, sorted by first address, then wider first.
#[derive(Clone, Debug)]
struct Ranges<K> {
    starts: Box<[K]>,
    rest: Box<[Rest]>,
}

/// What belongs to the start at the same index; apart from the starts, which alone are searched.
#[derive(Clone, Debug)]
struct Rest {
    parent: u32,
    origin: Origin,
    length: u8,
}

impl Rest {
    const NO_PARENT: u32 = u32::MAX;
}

impl<K> Default for Ranges<K> {
    fn default() -> Ranges<K> {
        Ranges {
            starts: Box::default(),
            rest: Box::default(),
        }
    }
}

impl<K: Key> Ranges<K> {
    fn new(mut networks: Vec<(K, u8, Origin)>) -> Ranges<K> {
        networks.sort_by_key(|(start, length, _)| (*start, *length));
        networks.dedup_by_key(|(start, length, _)| (*start, *length));
        let mut starts = Vec::with_capacity(networks.len());
        let mut rest: Vec<Rest> = Vec::with_capacity(networks.len());
        let mut open: Vec<(u32, K)> = Vec::with_capacity(usize::from(K::BITS) + 1);
        for (index, (start, length, origin)) in (0u32..Rest::NO_PARENT).zip(networks) {
            while open.last().is_some_and(|(_, last)| *last < start) {
                open.pop();
            }
            let parent = open.last().map_or(Rest::NO_PARENT, |(index, _)| *index);
            open.push((index, start.last(length)));
            starts.push(start);
            rest.push(Rest {
                parent,
                origin,
                length,
            });
        }
        Ranges {
            starts: starts.into_boxed_slice(),
            rest: rest.into_boxed_slice(),
        }
    }

    fn networks(&self, ip: impl Fn(K) -> IpAddr) -> impl Iterator<Item = (IpNet, Origin)> {
        let all = self.starts.iter().zip(&self.rest);
        all.filter_map(move |(start, rest)| {
            Some((IpNet::new(ip(*start), rest.length).ok()?, rest.origin))
        })
    }

    fn find(&self, address: K) -> Option<(K, u8, Origin)> {
        let mut index = self
            .starts
            .partition_point(|start| *start <= address)
            .checked_sub(1)?;
        loop {
            let (start, rest) = (*self.starts.get(index)?, self.rest.get(index)?);
            if address <= start.last(rest.length) {
                return Some((start, rest.length, rest.origin));
            }
            index = rest.parent as usize;
        }
    }

    /// How many addresses from `low` to `high` are in one of the networks.
    fn covered(&self, low: K, high: K) -> u128 {
        // The outermost networks are apart; those inside them add nothing.
        let outermost = self
            .starts
            .iter()
            .zip(&self.rest)
            .filter(|(_, rest)| rest.parent == Rest::NO_PARENT);
        outermost
            .map(|(start, rest)| (low.max(*start), high.min(start.last(rest.length))))
            .filter(|(first, last)| first <= last)
            .map(|(first, last)| last.distance(first).saturating_add(1))
            .fold(0u128, u128::saturating_add)
    }
}

#[cfg(test)]
#[path = "list/tests.rs"]
mod tests;

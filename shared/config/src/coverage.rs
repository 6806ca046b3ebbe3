//! How much of the Internet a set of networks holds, however it is written: halves and thousands of small ones add up.
//!
//! ```text
//! networks ──▶ ranges, sorted and joined ──▶ cut with what is in use of each family ──▶ a share from 0 to 1
//! ```
//!
//! Only addresses that strangers can have count. In IPv6 most are not given to anybody, so the share is of those that
//! are; and what a translator or tunnel makes of every IPv4 address counts like all of IPv4.
//!
//! Never: what a share means; that is `whole.rs`'s.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use postern_access::{Entry, EntryKind};

/// A part of the Internet, from 0 (nobody) to 1 (everyone).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Coverage {
    /// Of the public IPv4 addresses.
    pub(crate) v4: f64,
    /// Of the IPv6 addresses given to registries.
    pub(crate) v6: f64,
    /// Of IPv4 as a translator or tunnel shows it.
    pub(crate) translated: f64,
}

impl Coverage {
    /// How much these networks hold together.
    pub(crate) fn of(networks: impl IntoIterator<Item = IpNet>) -> Coverage {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in networks {
            match network {
                IpNet::V4(net) => v4.push(range_v4(net.network(), net.prefix_len())),
                IpNet::V6(net) => v6.push(range_v6(net.network(), net.prefix_len())),
            }
        }
        let (v4, v6) = (joined(v4), joined(v6));
        let private: Vec<Range> = PRIVATE_V4
            .iter()
            .map(|(net, length)| range_v4(*net, *length))
            .collect();
        let all_v4 = 2f64.powi(32) - size(&private);
        let public = size(&v4)
            - private
                .iter()
                .map(|one| size_within(&v4, *one))
                .sum::<f64>();
        let windows = |table: &[([u16; 2], u8)]| -> Vec<Range> {
            let range = |([a, b], length): &([u16; 2], u8)| {
                range_v6(Ipv6Addr::new(*a, *b, 0, 0, 0, 0, 0, 0), *length)
            };
            table.iter().map(range).collect()
        };
        let in_use = windows(IN_USE_V6);
        let held: f64 = in_use.iter().map(|one| size_within(&v6, *one)).sum();
        let translated = windows(TRANSLATED)
            .into_iter()
            .map(|one| size_within(&v6, one) / size(&[one]));
        Coverage {
            v4: public / all_v4,
            v6: held / size(&in_use),
            translated: translated.fold(0.0, f64::max),
        }
    }

    /// How much the entry holds by itself; names hold nothing.
    pub(crate) fn of_entry(entry: &Entry) -> Coverage {
        Coverage::of(network(entry))
    }

    /// The largest of the shares.
    pub(crate) fn most(self) -> f64 {
        self.v4.max(self.v6).max(self.translated)
    }

    /// The largest share in words, such as "53 % of the IPv4 Internet".
    pub(crate) fn in_words(self) -> String {
        let (share, of) = if self.v4 >= self.v6 && self.v4 >= self.translated {
            (self.v4, "the IPv4 Internet")
        } else if self.v6 >= self.translated {
            (self.v6, "the IPv6 Internet")
        } else {
            (
                self.translated,
                "the IPv4 Internet as a translator shows it",
            )
        };
        match share {
            share if share >= 1.0 => format!("all of {of}"),
            share if share >= 0.01 => format!("{:.0} % of {of}", (share * 100.0).min(99.0)),
            share => format!("{:.1} % of {of}", share * 100.0),
        }
    }
}

/// The network of an entry, if it is one.
pub(crate) fn network(entry: &Entry) -> Option<IpNet> {
    match entry.kind {
        EntryKind::Address(address) => Some(IpNet::from(address.to_canonical())),
        EntryKind::Network(network) => Some(network.trunc()),
        EntryKind::Host(_) | EntryKind::Domain(_) => None,
    }
}

/// Whether both networks have an address in common.
pub(crate) fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(&other.network()) || other.contains(&one.network())
}

/// IPv4 addresses that no stranger can have (RFC 6890, RFC 5771, RFC 1112).
const PRIVATE_V4: [(Ipv4Addr, u8); 8] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(224, 0, 0, 0), 3),
];

/// IPv6 given to the regional registries, but for special uses (IANA, IPv6 Global Unicast Address Assignments).
const IN_USE_V6: &[([u16; 2], u8)] = &[
    ([0x2001, 0x0200], 23),
    ([0x2001, 0x0400], 22),
    ([0x2001, 0x0800], 21),
    ([0x2001, 0x1000], 20),
    ([0x2001, 0x2000], 19),
    ([0x2001, 0x4000], 18),
    ([0x2001, 0x8000], 17),
    ([0x2003, 0x0000], 18),
    ([0x2400, 0x0000], 11),
    ([0x2600, 0x0000], 12),
    ([0x2610, 0x0000], 23),
    ([0x2620, 0x0000], 23),
    ([0x2630, 0x0000], 12),
    ([0x2800, 0x0000], 12),
    ([0x2a00, 0x0000], 11),
    ([0x2c00, 0x0000], 12),
];

/// IPv6 networks in which everybody with an IPv4 address has one: NAT64 (RFC 6052), 6to4 (RFC 3056), Teredo (RFC 4380).
const TRANSLATED: &[([u16; 2], u8)] = &[
    ([0x0064, 0xff9b], 96),
    ([0x2002, 0x0000], 16),
    ([0x2001, 0x0000], 32),
];

/// The first and the last address, as numbers.
type Range = (u128, u128);

fn range_v4(net: Ipv4Addr, length: u8) -> Range {
    let first = u32::from(net);
    let rest = u32::MAX.checked_shr(u32::from(length)).unwrap_or(0);
    (u128::from(first), u128::from(first | rest))
}

fn range_v6(net: Ipv6Addr, length: u8) -> Range {
    let first = u128::from(net);
    (
        first,
        first | u128::MAX.checked_shr(u32::from(length)).unwrap_or(0),
    )
}

/// The same ranges, sorted, apart from each other.
fn joined(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_unstable();
    let mut apart: Vec<Range> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match apart.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => apart.push((first, last)),
        }
    }
    apart
}

/// How many addresses there are in ranges that are apart.
fn size(apart: &[Range]) -> f64 {
    apart
        .iter()
        .map(|(first, last)| (last - first) as f64 + 1.0)
        .sum()
}

/// How many of them are in the window.
fn size_within(apart: &[Range], (low, high): Range) -> f64 {
    let from = apart.partition_point(|(_, last)| *last < low);
    let inside = apart.get(from..).unwrap_or_default().iter();
    let cut: Vec<Range> = inside
        .take_while(|(first, _)| *first <= high)
        .map(|(first, last)| (*first.max(&low), *last.min(&high)))
        .collect();
    size(&cut)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn coverage(networks: &[&str]) -> Coverage {
        Coverage::of(networks.iter().map(|net| net.parse().unwrap()))
    }

    #[test]
    fn shares_are_of_what_strangers_can_have() {
        let near = |share: f64, expected: f64| (share - expected).abs() < 0.01;
        for (networks, v4, v6, translated) in [
            (&[][..], 0.0, 0.0, 0.0),
            (&["0.0.0.0/0"], 1.0, 0.0, 0.0),
            (&["::/0"], 0.0, 1.0, 1.0),
            (&["2000::/3"], 0.0, 1.0, 1.0),
            (&["0.0.0.0/1", "128.0.0.0/1"], 1.0, 0.0, 0.0),
            (&["0.0.0.0/1", "64.0.0.0/2", "1.2.3.4/32"], 0.567, 0.0, 0.0),
            (
                &["10.0.0.0/8", "192.168.0.0/16", "fc00::/7", "fe80::/10"],
                0.0,
                0.0,
                0.0,
            ),
            (&["2a00::/11"], 0.0, 0.2476, 0.0),
            (&["64:ff9b::/96"], 0.0, 0.0, 1.0),
            (&["2002::/16"], 0.0, 0.0, 1.0),
            (&["64:ff9b::8000:0/97"], 0.0, 0.0, 0.5),
        ] {
            let found = coverage(networks);
            assert!(near(found.v4, v4), "{networks:?} {found:?}");
            assert!(near(found.v6, v6), "{networks:?} {found:?}");
            assert!(near(found.translated, translated), "{networks:?} {found:?}");
        }
        let all = coverage(&["0.0.0.0/0", "::/0"]);
        assert_eq!((all.v4, all.v6, all.translated), (1.0, 1.0, 1.0));
    }

    #[test]
    fn small_networks_add_up() {
        let nets = (1..=223u32).flat_map(|a| (0..256u32).map(move |b| (a << 24) | (b << 16)));
        let found =
            Coverage::of(nets.map(|net| IpNet::new(Ipv4Addr::from(net).into(), 16).unwrap()));
        assert!(found.v4 > 0.999, "{found:?}");
    }

    #[test]
    fn shares_read_as_words() {
        assert_eq!(
            coverage(&["0.0.0.0/0"]).in_words(),
            "all of the IPv4 Internet"
        );
        assert_eq!(
            coverage(&["128.0.0.0/1"]).in_words(),
            "43 % of the IPv4 Internet"
        );
        assert_eq!(
            coverage(&["9.0.0.0/8"]).in_words(),
            "0.5 % of the IPv4 Internet"
        );
        assert_eq!(
            coverage(&["64:ff9b::/96"]).in_words(),
            "all of the IPv4 Internet as a translator shows it"
        );
    }
}

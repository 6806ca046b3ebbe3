//! Sets of addresses: what two lists have in common and what not, however they are written.
//!
//! A set is kept as ranges apart from each other, in order, so that all operations take one walk over both sets.
//!
//! ```text
//! 192.0.2.0/25 + 192.0.2.128/25  ═  192.0.2.0/24         shown again as the fewest networks that hold it
//! ```
//!
//! Never: a name; an IPv4 address written as an IPv6 one, which the lists do not have.

use std::net::IpAddr;

use ipnet::IpNet;

/// A set of addresses of both families.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Networks {
    v4: Ranges,
    v6: Ranges,
}

/// First and last, in order, with at least one address between two of them.
type Ranges = Vec<(u128, u128)>;

const LAST_V4: u128 = u32::MAX as u128;
const LAST_V6: u128 = u128::MAX;

impl Networks {
    /// All that is in one of these.
    pub(crate) fn of<'n>(networks: impl IntoIterator<Item = &'n IpNet>) -> Networks {
        let (mut v4, mut v6) = (Ranges::new(), Ranges::new());
        for network in networks {
            match network {
                IpNet::V4(net) => v4.push((
                    u32::from(net.network()).into(),
                    u32::from(net.broadcast()).into(),
                )),
                IpNet::V6(net) => v6.push((net.network().into(), net.broadcast().into())),
            }
        }
        Networks {
            v4: merged(v4),
            v6: merged(v6),
        }
    }

    /// All that is not in it.
    pub(crate) fn complement(&self) -> Networks {
        Networks {
            v4: without(&[(0, LAST_V4)], &self.v4),
            v6: without(&[(0, LAST_V6)], &self.v6),
        }
    }

    /// All that is in it and not in `other`.
    pub(crate) fn without(&self, other: &Networks) -> Networks {
        Networks {
            v4: without(&self.v4, &other.v4),
            v6: without(&self.v6, &other.v6),
        }
    }

    /// The fewest networks that hold it, IPv4 first, in order.
    pub(crate) fn cover(&self) -> impl Iterator<Item = IpNet> {
        let v4 = self.v4.iter().flat_map(|range| Cover::new(*range, 32));
        let v6 = self.v6.iter().flat_map(|range| Cover::new(*range, 128));
        let v4 = v4.filter_map(|(start, length)| {
            IpNet::new(IpAddr::V4(u32::try_from(start).ok()?.into()), length).ok()
        });
        let v6 = v6.filter_map(|(start, length)| IpNet::new(IpAddr::V6(start.into()), length).ok());
        v4.chain(v6)
    }
}

fn merged(mut ranges: Ranges) -> Ranges {
    ranges.sort_unstable();
    let mut all = Ranges::with_capacity(ranges.len());
    for (first, last) in ranges {
        match all.last_mut() {
            // Neighbours become one too.
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => all.push((first, last)),
        }
    }
    all
}

fn without(from: &[(u128, u128)], other: &[(u128, u128)]) -> Ranges {
    let mut left = Ranges::new();
    let mut holes = other.iter().peekable();
    for &(first, last) in from {
        let mut next = Some(first);
        while holes.next_if(|(_, end)| *end < first).is_some() {}
        while let (Some(start), Some(&&(hole, end))) = (next, holes.peek()) {
            if hole > last {
                break;
            }
            if hole > start {
                left.push((start, hole - 1));
            }
            next = end.checked_add(1).filter(|start| *start <= last);
            // A hole that goes on may reach into the next range too.
            if end > last {
                break;
            }
            holes.next();
        }
        if let Some(start) = next {
            left.push((start, last));
        }
    }
    left
}

/// The networks of one range, the largest that fits each time.
struct Cover {
    next: Option<u128>,
    last: u128,
    bits: u8,
}

impl Cover {
    fn new((first, last): (u128, u128), bits: u8) -> Cover {
        Cover {
            next: Some(first),
            last,
            bits,
        }
    }
}

impl Iterator for Cover {
    type Item = (u128, u8);

    fn next(&mut self) -> Option<(u128, u8)> {
        let start = self.next?;
        let aligned = start.trailing_zeros().min(u32::from(self.bits));
        // The count of addresses left may be 2^128: one less always fits.
        let rest = self.last - start;
        let fits = match rest.checked_add(1) {
            Some(count) => count.ilog2(),
            None => 128,
        };
        let size = aligned.min(fits);
        let end = match size {
            128 => self.last,
            size => start + ((1u128 << size) - 1),
        };
        self.next = end.checked_add(1).filter(|next| *next <= self.last);
        Some((start, self.bits - u8::try_from(size).unwrap_or(self.bits)))
    }
}

#[cfg(test)]
mod tests;

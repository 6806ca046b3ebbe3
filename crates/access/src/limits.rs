//! How many at once, and how many in a time; for all clients and for each address.
//!
//! An IPv6 client is its /64: whoever has one address of it has them all. Both tables are bounded: [`Occupancy`] by
//! the number of open sessions, [`RateBook`] by its capacity.
//!
//! Never: a clock; the time comes in.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::fmt;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

/// A client address as it is counted: IPv4 whole, IPv6 its /64, IPv4-mapped as IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientKey(u64, bool);

impl From<IpAddr> for ClientKey {
    fn from(address: IpAddr) -> ClientKey {
        match address.to_canonical() {
            IpAddr::V4(v4) => ClientKey(u64::from(u32::from(v4)), false),
            IpAddr::V6(v6) => ClientKey((u128::from(v6) >> 64) as u64, true),
        }
    }
}

impl fmt::Display for ClientKey {
    /// `192.0.2.7`, `2001:db8:7::/64`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            ClientKey(bits, false) => Ipv4Addr::from(bits as u32).fmt(out),
            ClientKey(bits, true) => write!(out, "{}/64", Ipv6Addr::from(u128::from(bits) << 64)),
        }
    }
}

/// How many sessions there may be at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OccupancyLimits {
    /// In all.
    pub total: u32,
    /// From one client address.
    pub per_client: u32,
}

/// Why a session is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// There are as many sessions as may be.
    Total,
    /// There are as many from this client as may be.
    Client,
}

/// The sessions that are open, counted. Limits are given at each call, so that a reload changes them at once.
#[derive(Debug, Default)]
pub struct Occupancy {
    total: u32,
    clients: HashMap<ClientKey, u32>,
}

impl Occupancy {
    /// Nobody is in.
    pub fn new() -> Occupancy {
        Occupancy::default()
    }

    /// Counts a session in, or says which limit it meets. Each success is owed one [`Occupancy::leave`].
    pub fn enter(&mut self, client: IpAddr, limits: OccupancyLimits) -> Result<(), Full> {
        if self.total >= limits.total {
            return Err(Full::Total);
        }
        match self.clients.entry(client.into()) {
            Slot::Occupied(slot) if *slot.get() >= limits.per_client => return Err(Full::Client),
            Slot::Vacant(_) if limits.per_client == 0 => return Err(Full::Client),
            slot => *slot.or_insert(0) += 1,
        }
        self.total += 1;
        Ok(())
    }

    /// Counts a session out.
    pub fn leave(&mut self, client: IpAddr) {
        let Slot::Occupied(mut slot) = self.clients.entry(client.into()) else {
            return;
        };
        self.total = self.total.saturating_sub(1);
        if *slot.get() > 1 {
            *slot.get_mut() -= 1;
        } else {
            slot.remove();
        }
    }

    /// How many sessions are open.
    pub fn total(&self) -> u32 {
        self.total
    }

    /// How many are open from this client.
    pub fn of(&self, client: IpAddr) -> u32 {
        self.clients.get(&client.into()).copied().unwrap_or(0)
    }
}

/// So many in such a time: `"100/1h"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    /// How many; also how many may come at once. At least 1.
    pub count: u32,
    /// In which time; never zero.
    pub per: Duration,
}

/// A bucket a key, filled evenly over the time of the [`Rate`]; at most `capacity` buckets are kept.
///
/// When all are in use, those that have filled up again are dropped; if none has, the fullest is. So a flood of new
/// keys costs memory up to the bound, and forgives the key that used its rate least.
#[derive(Debug)]
pub struct RateBook<K> {
    buckets: HashMap<K, Bucket>,
    capacity: usize,
}

/// When the bucket will be full again: all that has to be kept (the "virtual scheduling" form of a token bucket).
#[derive(Clone, Copy, Debug)]
struct Bucket {
    full_at: Instant,
}

impl<K: Eq + Hash + Clone> RateBook<K> {
    /// An empty book of at most `capacity` keys (at least one).
    pub fn new(capacity: usize) -> RateBook<K> {
        RateBook {
            buckets: HashMap::new(),
            capacity: capacity.max(1),
        }
    }

    /// Takes `amount` from the bucket of `key`, or takes nothing and says how long until it could be taken.
    ///
    /// An amount beyond the whole rate is taken when the bucket is full, or it could never pass.
    pub fn take<Q>(
        &mut self,
        key: &Q,
        amount: u32,
        rate: Rate,
        now: Instant,
    ) -> Result<(), Duration>
    where
        K: std::borrow::Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let cost = rate
            .per
            .mul_f64(f64::from(amount) / f64::from(rate.count.max(1)));
        let full_at = self
            .buckets
            .get(key)
            .map_or(now, |bucket| bucket.full_at.max(now));
        let debt = full_at.duration_since(now);
        let room = rate.per.saturating_sub(cost);
        if debt > room {
            return Err(debt - room);
        }
        let bucket = Bucket {
            full_at: full_at + cost,
        };
        match self.buckets.get_mut(key) {
            Some(slot) => *slot = bucket,
            None => {
                self.make_room(now);
                self.buckets.insert(key.to_owned(), bucket);
            }
        }
        Ok(())
    }

    /// How many buckets are kept.
    pub fn len(&self) -> usize {
        self.buckets.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    fn make_room(&mut self, now: Instant) {
        if self.buckets.len() < self.capacity {
            return;
        }
        self.buckets.retain(|_, bucket| bucket.full_at > now);
        if self.buckets.len() < self.capacity {
            return;
        }
        // An eighth at a time, so that the sweep's cost is spread over the keys that come next.
        let mut times: Vec<Instant> = self.buckets.values().map(|bucket| bucket.full_at).collect();
        let (_, limit, _) = times.select_nth_unstable(self.capacity / 8);
        let limit = *limit;
        self.buckets.retain(|_, bucket| bucket.full_at > limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn sessions_are_counted_by_client() {
        let limits = OccupancyLimits {
            total: 5,
            per_client: 2,
        };
        let mut occupancy = Occupancy::new();
        assert_eq!(occupancy.enter(ip("192.0.2.1"), limits), Ok(()));
        assert_eq!(occupancy.enter(ip("::ffff:192.0.2.1"), limits), Ok(()));
        assert_eq!(occupancy.enter(ip("192.0.2.1"), limits), Err(Full::Client));
        assert_eq!(occupancy.enter(ip("2001:db8::1"), limits), Ok(()));
        assert_eq!(occupancy.enter(ip("2001:db8::2:0:0:0"), limits), Ok(()));
        assert_eq!(
            occupancy.enter(ip("2001:db8::ffff"), limits),
            Err(Full::Client)
        );
        assert_eq!(occupancy.enter(ip("2001:db8:0:1::1"), limits), Ok(()));
        assert_eq!(
            occupancy.enter(ip("198.51.100.1"), limits),
            Err(Full::Total)
        );
        occupancy.leave(ip("192.0.2.1"));
        assert_eq!((occupancy.total(), occupancy.of(ip("192.0.2.1"))), (4, 1));
        occupancy.leave(ip("192.0.2.1"));
        assert_eq!(occupancy.clients.len(), 2);
        // One too many is a mistake of the caller's that must not count for others.
        occupancy.leave(ip("192.0.2.1"));
        assert_eq!(occupancy.total(), 3);
        assert_eq!(
            occupancy.enter(
                ip("192.0.2.9"),
                OccupancyLimits {
                    total: 9,
                    per_client: 0
                }
            ),
            Err(Full::Client)
        );
    }

    #[test]
    fn a_rate_refills_evenly() {
        let rate = Rate {
            count: 10,
            per: Duration::from_secs(100),
        };
        let (mut book, start) = (RateBook::<String>::new(8), Instant::now());
        for _ in 0..10 {
            assert_eq!(book.take("alice", 1, rate, start), Ok(()));
        }
        assert_eq!(
            book.take("alice", 1, rate, start),
            Err(Duration::from_secs(10))
        );
        assert_eq!(book.take("bob", 1, rate, start), Ok(()));
        assert_eq!(
            book.take("alice", 1, rate, start + Duration::from_secs(10)),
            Ok(())
        );
        assert!(
            book.take("alice", 1, rate, start + Duration::from_secs(10))
                .is_err()
        );
        assert_eq!(
            book.take("alice", 5, rate, start + Duration::from_secs(60)),
            Ok(())
        );
        assert!(
            book.take("carol", 20, rate, start).is_ok(),
            "more than the rate passes a full bucket"
        );
        assert!(book.take("carol", 1, rate, start).is_err());
    }

    #[test]
    fn a_flood_of_keys_stays_bounded() {
        let rate = Rate {
            count: 2,
            per: Duration::from_secs(60),
        };
        let (mut book, start) = (RateBook::<u32>::new(64), Instant::now());
        assert!(book.take(&0, 2, rate, start).is_ok());
        for key in 1..10_000u32 {
            let _ = book.take(&key, 1, rate, start);
            assert!(book.len() <= 64);
        }
        assert!(
            book.take(&0, 1, rate, start).is_err(),
            "the one that used its rate up is not forgiven"
        );
    }
}

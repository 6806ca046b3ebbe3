//! The names of clients, for rules that speak of domains: looked up in reverse, confirmed forwards, kept while they hold.
//!
//! ```text
//! at hand? ─▶ yes: decide at once
//!     └────▶ no: one look-up for all who wait for this address ─▶ in turn, in 5 s ─▶ kept for its TTL
//! ```
//!
//! A look-up that fails is an answer too: no names, for half a minute. One that never got its turn is none, and the next
//! client asks again. Both the table and the look-ups under way are bounded, and no network (IPv4 /24, IPv6 /48) has more
//! than a few of the turns: whoever owns a silent reverse zone holds up its own clients only.
//!
//! Never: whether a name is wanted; the rules know that. A wait for one client that holds up another.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use postern_dns::{Lookup, reverse};
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::timeout;

use crate::counters::{Counters, count};

/// definition.md, `[access.connection]`: how long a look-up may take, waiting for its turn included.
const DEADLINE: Duration = Duration::from_secs(5);
/// As many addresses are kept; one takes about 200 bytes.
const KEPT: usize = 10_000;
/// As many look-ups at once, and as many for one network.
const TURNS: usize = 256;
const TURNS_A_NETWORK: u32 = 8;
/// How long "it has no name" holds.
const NAMELESS: Duration = Duration::from_secs(300);
/// How long a failure holds: short, since the server may be back.
const FAILED: Duration = Duration::from_secs(30);
/// No answer is asked for again sooner, or later, whatever its TTL.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// What is known of clients' names.
pub(crate) struct Names {
    table: Mutex<HashMap<IpAddr, Slot>>,
    turns: Semaphore,
    /// Look-ups under way, by network.
    networks: Mutex<HashMap<IpAddr, u32>>,
}

type Slot = Arc<OnceCell<Known>>;

/// One client's names.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// Those that lead back to its address; none where it has none, or none could be found out.
    pub names: Arc<[Box<str>]>,
    until: Instant,
}

impl Known {
    fn of(names: Vec<Box<str>>, ttl: Duration) -> Known {
        Known {
            names: names.into(),
            until: Instant::now() + ttl,
        }
    }

    fn holds(&self) -> bool {
        Instant::now() < self.until
    }
}

impl Names {
    /// Nothing is known yet.
    pub(crate) fn new() -> Names {
        Names {
            table: Mutex::default(),
            turns: Semaphore::new(TURNS),
            networks: Mutex::default(),
        }
    }

    /// The names of `client`, if they need no look-up now.
    pub(crate) fn at_hand(&self, client: IpAddr) -> Option<Arc<[Box<str>]>> {
        let table = self.table();
        let known = table.get(&client)?.get()?;
        known.holds().then(|| known.names.clone())
    }

    /// The names of `client`, looked up unless they are at hand. Takes the deadline at the longest, or twice that where it
    /// waits for somebody else's look-up.
    pub(crate) async fn of<L: Lookup>(
        &self,
        lookup: &L,
        counters: &Counters,
        client: IpAddr,
    ) -> Arc<[Box<str>]> {
        let slot = self.slot(client);
        let known = slot.get_or_init(|| self.find(lookup, counters, client));
        known.await.names.clone()
    }

    async fn find<L: Lookup>(&self, lookup: &L, counters: &Counters, client: IpAddr) -> Known {
        count(&counters.reverse_lookups);
        let asked = async {
            let _turn = self.turns.acquire().await;
            reverse::confirm(lookup, client, DEADLINE).await
        };
        let asked = match self.enter(client) {
            Some(_under_way) => timeout(DEADLINE, asked).await,
            None => {
                let names = failed(
                    counters,
                    client,
                    "its network has as many look-ups under way as it may",
                );
                return Known::of(names, Duration::ZERO);
            }
        };
        let (names, ttl) = match asked {
            Ok(Ok(confirmed)) if confirmed.names.is_empty() => (Vec::new(), NAMELESS),
            Ok(Ok(confirmed)) => (confirmed.names, confirmed.ttl.clamp(SHORTEST, LONGEST)),
            Ok(Err(error)) => (failed(counters, client, &error.to_string()), FAILED),
            Err(_) => (
                failed(counters, client, "no turn, or no answer, in time"),
                FAILED,
            ),
        };
        Known::of(names, ttl)
    }

    /// Counts a look-up of the client's network, unless there are too many of it.
    fn enter(&self, client: IpAddr) -> Option<UnderWay<'_>> {
        let network = network(client);
        let mut networks = lock(&self.networks);
        let count = networks.entry(network).or_insert(0);
        if *count >= TURNS_A_NETWORK {
            return None;
        }
        *count += 1;
        Some(UnderWay {
            names: self,
            network,
        })
    }

    /// The place of `client` in the table, an empty one if it is not there or no longer holds.
    fn slot(&self, client: IpAddr) -> Slot {
        let mut table = self.table();
        let holds = |slot: &Slot| slot.get().is_none_or(Known::holds);
        if let Some(slot) = table.get(&client).filter(|slot| holds(slot)) {
            return slot.clone();
        }
        if table.len() >= KEPT {
            table.retain(|_, slot| holds(slot));
        }
        if table.len() >= KEPT {
            // All hold: every second one goes. Whoever is asked for again is looked up again.
            let mut keep = false;
            table.retain(|_, _| {
                keep = !keep;
                keep
            });
        }
        let slot = Slot::default();
        table.insert(client, slot.clone());
        slot
    }

    fn table(&self) -> MutexGuard<'_, HashMap<IpAddr, Slot>> {
        lock(&self.table)
    }
}

/// One look-up under way; dropped, its network has room for another.
struct UnderWay<'n> {
    names: &'n Names,
    network: IpAddr,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut networks = lock(&self.names.networks);
        if let Entry::Occupied(mut count) = networks.entry(self.network) {
            match *count.get() {
                0 | 1 => drop(count.remove()),
                more => *count.get_mut() = more - 1,
            }
        }
    }
}

/// The network whose owner answers for the address: an IPv4 /24, an IPv6 /48.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(v4) => Ipv4Addr::from(u32::from(v4) & 0xffff_ff00).into(),
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) & (u128::MAX << 80)).into(),
    }
}

fn failed(counters: &Counters, client: IpAddr, reason: &str) -> Vec<Box<str>> {
    count(&counters.reverse_lookups_failed);
    tracing::debug!(%client, reason, "a reverse look-up failed");
    Vec::new()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

//! The names of clients, for rules that speak of domains: looked up in reverse, confirmed forwards, kept while they hold.
//!
//! ```text
//! at hand? ─▶ yes: decide at once
//!     └────▶ no: one look-up for all who wait for this address ─▶ in turn, in 5 s ─▶ kept for its TTL
//! ```
//!
//! A look-up that fails is an answer too: no names, for half a minute. Both the table and the look-ups under way are
//! bounded, so that clients from many addresses cost no more than that.
//!
//! Never: whether a name is wanted; the rules know that. A wait for one client that holds up another.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use postern_dns::{Error, Lookup, reverse};
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::timeout;

use crate::counters::{Counters, count};

/// definition.md, `[access.connection]`: how long a look-up may take, waiting for its turn included.
const DEADLINE: Duration = Duration::from_secs(5);
/// As many addresses are kept; one takes about 200 bytes.
const KEPT: usize = 10_000;
/// As many look-ups at once.
const TURNS: usize = 256;
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
        let (names, ttl) = match timeout(DEADLINE, asked).await {
            Ok(Ok(confirmed)) if confirmed.names.is_empty() => (Vec::new(), NAMELESS),
            Ok(Ok(confirmed)) => (confirmed.names, confirmed.ttl.clamp(SHORTEST, LONGEST)),
            Ok(Err(error)) => (failed(counters, client, Some(error)), FAILED),
            Err(_) => (failed(counters, client, None), FAILED),
        };
        Known {
            names: names.into(),
            until: Instant::now() + ttl,
        }
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
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failed(counters: &Counters, client: IpAddr, error: Option<Error>) -> Vec<Box<str>> {
    count(&counters.reverse_lookups_failed);
    let reason = error.map_or_else(|| "no answer in time".to_owned(), |error| error.to_string());
    tracing::debug!(%client, reason, "a reverse look-up failed");
    Vec::new()
}

#[cfg(test)]
mod tests;

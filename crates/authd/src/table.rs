//! The exchanges under way: by number, bounded in number and in time.
//!
//! ```text
//! begin ─▶ busy ─▶ put back ─▶ waiting ─▶ take ─▶ busy …        waits 60 s: gone · table full: who waited longest is gone
//!           └── dropped meanwhile: what it comes to is nobody's ──▶ gone
//! ```
//!
//! Never: what an exchange is about; a clock.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The most exchanges that wait.
pub(crate) const MOST: usize = 1_024;

/// How long an exchange waits for its client.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Exchanges by their numbers.
#[derive(Debug)]
pub(crate) struct Table<S> {
    places: HashMap<u32, Place<S>>,
    turn: u64,
}

#[derive(Debug)]
enum Place<S> {
    /// Somebody is at work for it; the turn tells it from a later exchange of the same number.
    Busy(Turn),
    Waiting {
        since: Instant,
        exchange: S,
    },
}

/// What is given back with an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn(u64);

impl<S> Table<S> {
    /// Without any.
    pub(crate) fn new() -> Table<S> {
        Table {
            places: HashMap::new(),
            turn: 0,
        }
    }

    /// A place for an exchange that begins; none where its number is in use, and then neither exchange has it any more.
    pub(crate) fn begin(&mut self, number: u32, now: Instant) -> Option<Turn> {
        if self.places.remove(&number).is_some() {
            return None;
        }
        self.make_room(now);
        Some(self.busy(number))
    }

    /// Takes a waiting exchange out to work for it.
    pub(crate) fn take(&mut self, number: u32, now: Instant) -> Option<(S, Turn)> {
        match self.places.remove(&number)? {
            Place::Waiting { since, exchange } if now.duration_since(since) < PATIENCE => {
                Some((exchange, self.busy(number)))
            }
            Place::Waiting { .. } => None,
            // Asked about while at work: it has lost its place.
            Place::Busy(_) => None,
        }
    }

    /// Ends somebody's work: the exchange goes on, or is over. Whether its answer is still wanted.
    pub(crate) fn put_back(
        &mut self,
        number: u32,
        turn: Turn,
        exchange: Option<S>,
        now: Instant,
    ) -> bool {
        if !matches!(self.places.get(&number), Some(Place::Busy(mine)) if *mine == turn) {
            return false;
        }
        match exchange {
            Some(exchange) => {
                let since = now;
                let waiting = Place::Waiting { since, exchange };
                self.places.insert(number, waiting);
            }
            None => drop(self.places.remove(&number)),
        }
        true
    }

    /// Forgets an exchange, at work or waiting.
    pub(crate) fn forget(&mut self, number: u32) {
        self.places.remove(&number);
    }

    fn busy(&mut self, number: u32) -> Turn {
        self.turn += 1;
        let turn = Turn(self.turn);
        self.places.insert(number, Place::Busy(turn));
        turn
    }

    fn make_room(&mut self, now: Instant) {
        self.places.retain(|_, place| match place {
            Place::Waiting { since, .. } => now.duration_since(*since) < PATIENCE,
            Place::Busy(_) => true,
        });
        if self.places.len() < MOST {
            return;
        }
        let waiting = self
            .places
            .iter()
            .filter_map(|(number, place)| match place {
                Place::Waiting { since, .. } => Some((*since, *number)),
                Place::Busy(_) => None,
            });
        if let Some((_, oldest)) = waiting.min() {
            self.places.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// A table with these exchanges waiting, each a millisecond later than the one before.
    fn waiting(numbers: std::ops::Range<u32>, start: Instant) -> Table<u32> {
        let mut table = Table::new();
        for number in numbers {
            let now = start + Duration::from_millis(u64::from(number));
            let turn = table.begin(number, now).unwrap();
            assert!(table.put_back(number, turn, Some(number), now));
        }
        table
    }

    #[test]
    fn the_oldest_makes_room() {
        let start = Instant::now();
        let mut table = waiting(0..2_000, start);
        assert_eq!(table.places.len(), MOST);
        let now = start + Duration::from_secs(3);
        assert!(table.take(975, now).is_none());
        assert_eq!(table.take(976, now).unwrap().0, 976);
        assert_eq!(table.take(1_999, now).unwrap().0, 1_999);
    }

    #[test]
    fn nobody_waits_for_ever() {
        let start = Instant::now();
        let mut table = waiting(0..2, start);
        assert!(table.take(0, start + PATIENCE).is_none());
        assert!(table.take(1, start + PATIENCE).is_some());
        let mut table = waiting(0..100, start);
        table.begin(1_000, start + PATIENCE * 2).unwrap();
        assert_eq!(table.places.len(), 1);
    }

    #[test]
    fn what_was_dropped_at_work_comes_back_to_nobody() {
        let now = Instant::now();
        let mut table = waiting(7..8, now);
        let (exchange, first) = table.take(7, now).unwrap();
        table.forget(7);
        let second = table.begin(7, now).unwrap();
        assert!(!table.put_back(7, first, Some(exchange), now));
        assert!(table.put_back(7, second, None, now));
        assert!(table.take(7, now).is_none());
    }

    #[test]
    fn a_number_in_use_is_given_to_nobody() {
        let now = Instant::now();
        let mut table = waiting(7..8, now);
        assert!(table.begin(7, now).is_none());
        assert!(table.take(7, now).is_none());
        assert!(table.begin(7, now).is_some());
    }
}

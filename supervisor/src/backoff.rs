//! How long to wait after a worker's death.
//!
//! ```text
//! it had been ready      0.1 s, 0.2 s, 0.4 s … 2 s: probably one bad moment; clients wait in the backlog meanwhile
//! it never was ready     1 s, 2 s, 4 s … 60 s: structural, trying at once only burns the processor
//! ```
//!
//! A worker that was ready and lived 10 s has earned a fresh start.

use std::time::Duration;

/// The deaths of one server's workers, as far as they still count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backoff {
    deaths: u32,
}

const FORGIVEN: Duration = Duration::from_secs(10);

impl Backoff {
    /// Counts a death; `served` is how long the worker had been ready, `None` if it never was. Returns how long to wait.
    pub(crate) fn died(&mut self, served: Option<Duration>) -> Duration {
        if served.is_some_and(|served| served >= FORGIVEN) {
            self.deaths = 0;
        }
        let doublings = self.deaths.min(16);
        self.deaths = self.deaths.saturating_add(1);
        let (first, longest) = match served {
            Some(_) => (Duration::from_millis(100), Duration::from_secs(2)),
            None => (Duration::from_secs(1), Duration::from_secs(60)),
        };
        (first * (1 << doublings)).min(longest)
    }

    /// How many deaths count now.
    pub(crate) fn deaths(&self) -> u32 {
        self.deaths
    }

    /// An operator asks for another try: what was is forgotten.
    pub(crate) fn forget(&mut self) {
        self.deaths = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn milliseconds(backoff: &mut Backoff, served: Option<u64>, times: usize) -> Vec<u128> {
        let died = |_| backoff.died(served.map(Duration::from_secs)).as_millis();
        (0..times).map(died).collect()
    }

    #[test]
    fn it_doubles_to_a_bound() {
        let after_ready = milliseconds(&mut Backoff::default(), Some(1), 7);
        assert_eq!(after_ready, [100, 200, 400, 800, 1600, 2000, 2000]);
        let never_ready = milliseconds(&mut Backoff::default(), None, 8);
        assert_eq!(never_ready, [1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000]);
        assert_eq!(milliseconds(&mut Backoff { deaths: u32::MAX }, None, 1), [60000]);
    }

    #[test]
    fn a_long_life_or_an_operator_forgives() {
        let mut backoff = Backoff { deaths: 9 };
        assert_eq!(milliseconds(&mut backoff, Some(10), 2), [100, 100]);
        backoff = Backoff { deaths: 9 };
        backoff.forget();
        assert_eq!(milliseconds(&mut backoff, None, 1), [1000]);
    }
}

//! How often somebody has guessed wrong: a worker that has been taken over asks as fast as it can, and is slowed down here.
//!
//! ```text
//! 20 wrong ones of one account in a minute ─▶ nobody can say, till that minute is over
//! ```
//!
//! Never: a lockout of its own; that is the worker's, far below this bound. A clock.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Wrong guesses at one account in a [`WHILE`].
const WRONG: u32 = 20;

/// How long they count.
const WHILE: Duration = Duration::from_secs(60);

/// The most names that are remembered.
const MOST: usize = 16_384;

/// Wrong guesses by the account's name.
#[derive(Debug, Default)]
pub(crate) struct Guesses(HashMap<String, (Instant, u32)>);

impl Guesses {
    /// Whether there were too many of late.
    pub(crate) fn too_many(&self, name: &str, now: Instant) -> bool {
        let counted = self.0.get(&name.to_lowercase());
        counted.is_some_and(|(since, wrong)| *wrong >= WRONG && now.duration_since(*since) < WHILE)
    }

    /// One more.
    pub(crate) fn wrong(&mut self, name: &str, now: Instant) {
        let name = name.to_lowercase();
        if self.0.len() >= MOST && !self.0.contains_key(&name) {
            self.make_room(now);
        }
        let counted = self.0.entry(name).or_insert((now, 0));
        if now.duration_since(counted.0) >= WHILE {
            *counted = (now, 0);
        }
        counted.1 += 1;
    }

    /// Who is shut out stays so, unless nothing else is left to forget.
    fn make_room(&mut self, now: Instant) {
        let fresh = |since: Instant| now.duration_since(since) < WHILE;
        self.0.retain(|_, (since, _)| fresh(*since));
        if self.0.len() >= MOST {
            self.0.retain(|_, (_, wrong)| *wrong >= WRONG);
        }
        if self.0.len() >= MOST {
            self.0.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_wrong_ones_are_enough_for_a_minute() {
        let (mut guesses, start) = (Guesses::default(), Instant::now());
        for _ in 0..WRONG {
            assert!(!guesses.too_many("alice", start));
            guesses.wrong("Alice", start);
        }
        assert!(guesses.too_many("ALICE", start));
        assert!(!guesses.too_many("bob", start));
        assert!(!guesses.too_many("alice", start + WHILE));
        guesses.wrong("alice", start + WHILE);
        assert!(!guesses.too_many("alice", start + WHILE));
    }

    #[test]
    fn many_names_do_not_hide_one() {
        let (mut guesses, now) = (Guesses::default(), Instant::now());
        (0..WRONG).for_each(|_| guesses.wrong("alice", now));
        for at in 0..2 * MOST {
            guesses.wrong(&at.to_string(), now);
            assert!(guesses.0.len() <= MOST);
        }
        assert!(guesses.too_many("alice", now));
    }
}

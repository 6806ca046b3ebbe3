//! How many distinct wrong passwords before an account or an address has to wait.
//!
//! A device that repeats one old password for ever is no attack and locks nobody out: only passwords not seen before
//! count. They come in as digests; a keyed hash made by the caller, never the password.
//!
//! Never: a clock, a password.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// So many distinct wrong passwords in such a time lock out for such a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LockoutRule {
    /// How many, at least 1 and at most [`LockoutRule::MOST`].
    pub passwords: u32,
    /// Within which time.
    pub within: Duration,
    /// For how long.
    pub block: Duration,
}

impl LockoutRule {
    /// The largest count a rule may have: digests are kept one by one.
    pub const MOST: u32 = 100;
}

impl Default for LockoutRule {
    /// Ten within ten minutes, for fifteen.
    fn default() -> LockoutRule {
        LockoutRule {
            passwords: 10,
            within: Duration::from_secs(600),
            block: Duration::from_secs(900),
        }
    }
}

/// The wrong guesses of late, for keys of one kind (accounts, or client addresses); at most `capacity` keys are kept.
#[derive(Debug)]
pub struct Lockout<K> {
    records: HashMap<K, Guesses>,
    capacity: usize,
}

#[derive(Debug)]
struct Guesses {
    /// Digest and when it was first seen; at most `passwords` of them.
    wrong: Vec<(u64, Instant)>,
    locked_until: Option<Instant>,
    last: Instant,
}

impl<K: Eq + Hash + Clone> Lockout<K> {
    /// No guesses yet; at most `capacity` keys (at least one).
    pub fn new(capacity: usize) -> Lockout<K> {
        Lockout {
            records: HashMap::new(),
            capacity: capacity.max(1),
        }
    }

    /// Until when `key` is locked out, if it is.
    pub fn locked<Q>(&self, key: &Q, now: Instant) -> Option<Instant>
    where
        K: std::borrow::Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.records
            .get(key)?
            .locked_until
            .filter(|until| *until > now)
    }

    /// Counts a wrong password; the answer is until when `key` is locked out, if it is now.
    pub fn wrong<Q>(
        &mut self,
        key: &Q,
        digest: u64,
        rule: LockoutRule,
        now: Instant,
    ) -> Option<Instant>
    where
        K: std::borrow::Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        if !self.records.contains_key(key) {
            self.make_room(rule, now);
            self.records.insert(
                key.to_owned(),
                Guesses {
                    wrong: Vec::new(),
                    locked_until: None,
                    last: now,
                },
            );
        }
        self.records.get_mut(key)?.count(digest, rule, now)
    }

    /// A right password: the key starts anew. A lock in force stays until its time is up.
    pub fn right<Q>(&mut self, key: &Q, now: Instant)
    where
        K: std::borrow::Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        if self.locked(key, now).is_none() {
            self.records.remove(key);
        }
    }

    /// Every key with guesses that still count, or locked out now: how many wrong passwords, and until when.
    pub fn entries(
        &self,
        rule: LockoutRule,
        now: Instant,
    ) -> impl Iterator<Item = (&K, usize, Option<Instant>)> {
        self.records.iter().filter_map(move |(key, guesses)| {
            let counting = |(_, at): &&(u64, Instant)| *at + rule.within > now;
            let wrong = guesses.wrong.iter().filter(counting).count();
            let until = guesses.locked_until.filter(|until| *until > now);
            (wrong > 0 || until.is_some()).then_some((key, wrong, until))
        })
    }

    /// Forgets what was guessed at `key`, a lock in force included. Whether there was anything.
    pub fn release<Q>(&mut self, key: &Q) -> bool
    where
        K: std::borrow::Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.records.remove(key).is_some()
    }

    /// How many keys are kept.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    fn make_room(&mut self, rule: LockoutRule, now: Instant) {
        if self.records.len() < self.capacity {
            return;
        }
        let is_live = |guesses: &Guesses| {
            guesses.locked_until.is_some_and(|until| until > now)
                || guesses.last + rule.within > now
        };
        self.records.retain(|_, guesses| is_live(guesses));
        if self.records.len() < self.capacity {
            return;
        }
        // The oldest eighth goes, those locked out last of all: a flood of new keys must not open a lock.
        let age = |guesses: &Guesses| {
            (
                guesses.locked_until.is_some_and(|until| until > now),
                guesses.last,
            )
        };
        let mut ages: Vec<_> = self.records.values().map(age).collect();
        let (_, limit, _) = ages.select_nth_unstable(self.capacity / 8);
        let limit = *limit;
        self.records.retain(|_, guesses| age(guesses) > limit);
    }
}

impl Guesses {
    fn count(&mut self, digest: u64, rule: LockoutRule, now: Instant) -> Option<Instant> {
        self.last = now;
        self.wrong.retain(|(_, at)| *at + rule.within > now);
        let most = rule.passwords.clamp(1, LockoutRule::MOST) as usize;
        if self.wrong.len() < most && self.wrong.iter().all(|(seen, _)| *seen != digest) {
            self.wrong.push((digest, now));
            if self.wrong.len() == most {
                self.locked_until = Some(now + rule.block);
                self.wrong = Vec::new();
            }
        }
        self.locked_until.filter(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: LockoutRule = LockoutRule {
        passwords: 3,
        within: Duration::from_secs(600),
        block: Duration::from_secs(900),
    };

    #[test]
    fn only_distinct_passwords_count() {
        let (mut lockout, start) = (Lockout::<String>::new(10), Instant::now());
        for second in 0..1000 {
            assert_eq!(
                lockout.wrong("printer", 7, RULE, start + Duration::from_secs(second)),
                None
            );
        }
        assert_eq!(lockout.wrong("alice", 1, RULE, start), None);
        assert_eq!(lockout.wrong("alice", 2, RULE, start), None);
        assert_eq!(lockout.wrong("alice", 1, RULE, start), None);
        let until = lockout.wrong("alice", 3, RULE, start).unwrap();
        assert_eq!(until, start + RULE.block);
        assert_eq!(lockout.locked("alice", start), Some(until));
        lockout.right("alice", start);
        assert_eq!(
            lockout.locked("alice", start),
            Some(until),
            "a lock is not opened by the right guess"
        );
        assert_eq!(lockout.locked("alice", until), None);
        assert_eq!(lockout.locked("bob", start), None);
    }

    #[test]
    fn old_guesses_are_forgotten_and_a_right_one_clears() {
        let (mut lockout, start) = (Lockout::<String>::new(10), Instant::now());
        assert_eq!(lockout.wrong("alice", 1, RULE, start), None);
        assert_eq!(lockout.wrong("alice", 2, RULE, start), None);
        assert_eq!(lockout.wrong("alice", 3, RULE, start + RULE.within), None);
        lockout.right("alice", start + RULE.within);
        assert!(lockout.is_empty());
    }

    #[test]
    fn locks_are_shown_and_released_by_hand() {
        let (mut lockout, start) = (Lockout::<String>::new(10), Instant::now());
        for digest in 0..3 {
            lockout.wrong("alice", digest, RULE, start);
        }
        lockout.wrong("bob", 1, RULE, start);
        let mut shown: Vec<_> = lockout.entries(RULE, start).collect();
        shown.sort();
        let (alice, bob) = ("alice".to_owned(), "bob".to_owned());
        assert_eq!(
            shown,
            [(&alice, 0, Some(start + RULE.block)), (&bob, 1, None)]
        );
        assert_eq!(lockout.entries(RULE, start + RULE.within).count(), 1);
        assert!(lockout.release("alice") && !lockout.release("alice"));
        assert_eq!(lockout.locked("alice", start), None);
    }

    #[test]
    fn a_flood_neither_grows_nor_opens_a_lock() {
        let (mut lockout, start) = (Lockout::<u32>::new(64), Instant::now());
        for digest in 0..3 {
            lockout.wrong(&0, digest, RULE, start);
        }
        for key in 1..10_000u32 {
            lockout.wrong(&key, 1, RULE, start + Duration::from_millis(u64::from(key)));
            assert!(lockout.len() <= 64);
        }
        assert!(
            lockout
                .locked(&0, start + Duration::from_secs(10))
                .is_some()
        );
    }
}

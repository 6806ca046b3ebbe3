//! Passwords that were right of late, so that a device that logs in for each page does not cost argon2 each time.
//!
//! What is kept is a MAC under a key of this process alone, made when the generation was: neither password nor hash can be
//! had from it, and a reload, with which a changed account file comes, forgets all of it.
//!
//! Never: a password; a wrong one.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use postern_sasl::Secret;

/// How long a right password is known again.
const KEPT: Duration = Duration::from_secs(600);
/// As many are; one takes about 100 bytes.
const MOST: usize = 4096;

/// The right passwords of late of one source.
pub(crate) struct Recent {
    key: [u8; 32],
    marks: Mutex<HashMap<[u8; 32], Instant>>,
}

impl Recent {
    /// None yet. Without random octets nothing is ever kept.
    pub(super) fn new() -> Option<Recent> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).ok()?;
        Some(Recent {
            key,
            marks: Mutex::default(),
        })
    }

    /// What this password of this account is known by.
    pub(super) fn mark(&self, password: &Secret, account: &str) -> [u8; 32] {
        password.mark(&self.key, account)
    }

    /// Whether it was right of late.
    pub(super) fn holds(&self, mark: &[u8; 32]) -> bool {
        self.marks()
            .get(mark)
            .is_some_and(|since| since.elapsed() < KEPT)
    }

    /// It was right just now.
    pub(super) fn note(&self, mark: [u8; 32]) {
        let mut marks = self.marks();
        if marks.len() >= MOST {
            marks.retain(|_, since| since.elapsed() < KEPT);
        }
        if marks.len() < MOST {
            marks.insert(mark, Instant::now());
        }
    }

    fn marks(&self) -> MutexGuard<'_, HashMap<[u8; 32], Instant>> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_right_is_known_again() {
        let recent = Recent::new().unwrap();
        let mark = |password: &str, account| recent.mark(&Secret::from(password), account);
        recent.note(mark("secret", "alice"));
        assert!(recent.holds(&mark("secret", "alice")));
        for (password, account) in [("secret", "bob"), ("secre", "alicet"), ("Secret", "alice")] {
            assert!(
                !recent.holds(&mark(password, account)),
                "{password} {account}"
            );
        }
        let other = Recent::new().unwrap();
        assert_ne!(
            other.mark(&Secret::from("secret"), "alice"),
            mark("secret", "alice")
        );
    }

    #[test]
    fn the_table_is_bounded() {
        let recent = Recent::new().unwrap();
        for number in 0..(2 * MOST as u64) {
            let mut mark = [0; 32];
            mark[..8].copy_from_slice(&number.to_be_bytes());
            recent.note(mark);
        }
        assert_eq!(recent.marks().len(), MOST);
    }
}

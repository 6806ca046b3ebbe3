//! Wrong passwords of late, counted for accounts and for addresses, over all sessions and generations.
//!
//! Never: a password; only a keyed hash of one, so that the same one counts once.

use std::cmp::Reverse;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use postern_access::{ClientKey, Lockout, LockoutRule};
use postern_control::query::{Guessed, LockoutRow};
use postern_sasl::Secret;

use crate::server::unix_ms;

/// As many accounts, and as many addresses, are watched at once.
const WATCHED: usize = 20_000;

/// Wrong guesses of late.
pub(crate) struct Guesses {
    accounts: Mutex<Lockout<String>>,
    clients: Mutex<Lockout<ClientKey>>,
    key: RandomState,
    next: AtomicU64,
}

impl Guesses {
    /// Nothing guessed yet.
    pub(crate) fn new() -> Guesses {
        Guesses {
            accounts: Mutex::new(Lockout::new(WATCHED)),
            clients: Mutex::new(Lockout::new(WATCHED)),
            key: RandomState::new(),
            next: AtomicU64::new(0),
        }
    }

    /// What a guess is known again by.
    pub(super) fn digest(&self, password: &Secret) -> u64 {
        self.key.hash_one(password.expose())
    }

    /// A guess like no other.
    pub(super) fn unique(&self) -> u64 {
        self.key.hash_one(self.next.fetch_add(1, Ordering::Relaxed))
    }

    pub(super) fn locked(&self, account: &str, client: IpAddr) -> bool {
        let now = Instant::now();
        lock(&self.accounts)
            .locked(&account.to_lowercase(), now)
            .is_some()
            || lock(&self.clients)
                .locked(&ClientKey::from(client), now)
                .is_some()
    }

    /// Counts a guess; whether the account, and whether the address, is locked out now.
    pub(super) fn wrong(
        &self,
        account: &str,
        client: IpAddr,
        digest: u64,
        rule: LockoutRule,
    ) -> [bool; 2] {
        let now = Instant::now();
        let (account, client) = (account.to_lowercase(), ClientKey::from(client));
        [
            lock(&self.accounts)
                .wrong(&account, digest, rule, now)
                .is_some(),
            lock(&self.clients)
                .wrong(&client, digest, rule, now)
                .is_some(),
        ]
    }

    /// What an operator sees: those locked out first, then those with most guesses.
    pub(crate) fn rows(&self, rule: LockoutRule) -> Vec<LockoutRow> {
        let now = Instant::now();
        let seconds = |until: Instant| {
            let left = until.saturating_duration_since(now).as_secs();
            unix_ms() / 1000 + left
        };
        let row = |account, address, wrong, until: Option<Instant>| LockoutRow {
            account,
            address,
            wrong: u32::try_from(wrong).unwrap_or(u32::MAX),
            until: until.map(seconds),
        };
        let accounts = lock(&self.accounts);
        let clients = lock(&self.clients);
        let accounts = accounts.entries(rule, now);
        let accounts =
            accounts.map(|(key, wrong, until)| row(Some(key.clone()), None, wrong, until));
        let clients = clients.entries(rule, now);
        let clients =
            clients.map(|(key, wrong, until)| row(None, Some(key.to_string()), wrong, until));
        let mut rows: Vec<LockoutRow> = accounts.chain(clients).collect();
        rows.sort_by_key(|row| {
            (
                Reverse(row.until),
                Reverse(row.wrong),
                row.account.clone(),
                row.address.clone(),
            )
        });
        rows
    }

    /// Forgets guesses by an operator's word; of how many accounts and addresses.
    pub(crate) fn release(&self, which: &Guessed) -> u64 {
        match which {
            Guessed::Account(name) => u64::from(lock(&self.accounts).release(&name.to_lowercase())),
            Guessed::Address(address) => {
                u64::from(lock(&self.clients).release(&ClientKey::from(*address)))
            }
            Guessed::All => {
                let (mut accounts, mut clients) = (lock(&self.accounts), lock(&self.clients));
                let count = accounts.len() + clients.len();
                *accounts = Lockout::new(WATCHED);
                *clients = Lockout::new(WATCHED);
                count as u64
            }
        }
    }

    /// Only the account starts anew: an address that guesses many accounts must not clear itself with one it owns.
    pub(super) fn right(&self, account: &str) {
        lock(&self.accounts).right(&account.to_lowercase(), Instant::now());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! What all sessions and deliveries of one virtual server share.
//!
//! Never: policy; that is the generation's, which is found here and swapped by a reload.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use postern_access::{ClientKey, RateBook};
use postern_config::{Rate, RatePair};
use postern_hosting::ServerName;
use postern_spool::Spool;
use postern_track::Journal;

use crate::counters::Counters;
use crate::door::Door;
use crate::generation::Current;
use crate::inbound::guesses::Guesses;
use crate::names::Names;
use crate::outbound::Outbound;

/// As many addresses, and as many accounts, have their rate watched at once.
const WATCHED: usize = 20_000;

/// One virtual server at work.
pub(crate) struct Server {
    /// Its name.
    pub name: ServerName,
    /// Its policy.
    pub generation: Current,
    /// Its queue.
    pub spool: Spool,
    /// Its way out.
    pub outbound: Outbound,
    /// Who is inside.
    pub door: Arc<Door>,
    /// Its numbers.
    pub counters: Counters,
    /// What happened to each message.
    pub journal: Journal,
    /// Known to this server alone, and the same for as long as its state folder is: what is made up of it stays so.
    pub secret: [u8; 32],
    /// Wrong passwords of late.
    pub guesses: Guesses,
    /// What is known of clients' names.
    pub names: Names,
    /// How fast mail comes.
    pub rates: Rates,
}

/// What was sent of late, by address and by account.
pub(crate) struct Rates {
    clients: Books<ClientKey>,
    accounts: Books<String>,
}

struct Books<K> {
    messages: Mutex<RateBook<K>>,
    recipients: Mutex<RateBook<K>>,
}

impl<K: Eq + std::hash::Hash + Clone> Books<K> {
    fn new() -> Books<K> {
        Books {
            messages: Mutex::new(RateBook::new(WATCHED)),
            recipients: Mutex::new(RateBook::new(WATCHED)),
        }
    }
}

/// What is counted.
#[derive(Clone, Copy)]
pub(crate) enum Counted {
    /// One message.
    Message,
    /// One recipient.
    Recipient,
}

impl Rates {
    /// Nothing was sent yet.
    pub(crate) fn new() -> Rates {
        Rates {
            clients: Books::new(),
            accounts: Books::new(),
        }
    }

    /// Whether one more may come: by account for a login, by address otherwise.
    pub(crate) fn take(
        &self,
        client: IpAddr,
        account: Option<&str>,
        pair: Option<RatePair>,
        what: Counted,
    ) -> bool {
        let Some(pair) = pair else { return true };
        let rate = match what {
            Counted::Message => pair.messages,
            Counted::Recipient => pair.recipients,
        };
        rate.is_none_or(|rate| match account {
            Some(account) => take(&self.accounts, &account.to_lowercase(), rate, what),
            None => take(&self.clients, &ClientKey::from(client), rate, what),
        })
    }
}

fn take<K: Eq + std::hash::Hash + Clone>(
    books: &Books<K>,
    key: &K,
    rate: Rate,
    what: Counted,
) -> bool {
    let book = match what {
        Counted::Message => &books.messages,
        Counted::Recipient => &books.recipients,
    };
    book.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take(key, 1, rate, Instant::now())
        .is_ok()
}

/// Milliseconds since 1970.
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}

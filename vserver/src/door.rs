//! Who is inside: the sessions in progress, counted, listed, and told to leave.
//!
//! ```text
//! open ──▶ paused ──▶ open        new connections get 421, those inside go on
//!   └──▶ closing ──▶ hung up      inside: 421 at the next command; then whoever is left is cut
//! ```
//!
//! Never: whether a client may come in by the rules; only whether there is room.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use postern_access::{Full, Occupancy, OccupancyLimits};
use postern_control::query::SessionRow;
use tokio::sync::Notify;

/// The door of one server.
#[derive(Default)]
pub(crate) struct Door {
    inside: Mutex<Inside>,
    next: AtomicU64,
    phase: AtomicU8,
    /// Fires once everybody is to be cut off.
    pub hang_up: Notify,
    /// Fires whenever the number of sessions changes.
    pub changed: Notify,
}

#[derive(Default)]
struct Inside {
    occupancy: Occupancy,
    seats: BTreeMap<u64, Arc<SeatFacts>>,
}

/// How the door stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// New connections are greeted.
    Open = 0,
    /// New connections are turned away.
    Paused = 1,
    /// No new connections, and sessions are to end.
    Closing = 2,
}

/// A session's place inside. Dropped, it is free again.
pub(crate) struct Seat {
    door: Arc<Door>,
    facts: Arc<SeatFacts>,
    client: IpAddr,
}

/// What is shown of a session.
pub(crate) struct SeatFacts {
    id: u64,
    client: SocketAddr,
    local: SocketAddr,
    since: SystemTime,
    /// Messages accepted so far.
    pub messages: AtomicU32,
    /// What was learnt on the way.
    pub said: Mutex<Said>,
}

/// What a session's client has told of itself.
#[derive(Default)]
pub(crate) struct Said {
    /// EHLO or HELO.
    pub helo: Option<Box<str>>,
    /// Version and cipher.
    pub tls: Option<Box<str>>,
    /// The account.
    pub login: Option<Box<str>>,
}

impl Door {
    /// Takes a seat, or says which limit is met.
    pub(crate) fn enter(
        self: &Arc<Door>,
        client: SocketAddr,
        local: SocketAddr,
        limits: OccupancyLimits,
    ) -> Result<Seat, Full> {
        let mut inside = self.inside();
        inside.occupancy.enter(client.ip(), limits)?;
        let seat = self.seated(&mut inside, client, local);
        drop(inside);
        self.changed.notify_one();
        Ok(seat)
    }

    fn seated(
        self: &Arc<Door>,
        inside: &mut Inside,
        client: SocketAddr,
        local: SocketAddr,
    ) -> Seat {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let facts = Arc::new(SeatFacts {
            id,
            client,
            local,
            since: SystemTime::now(),
            messages: AtomicU32::new(0),
            said: Mutex::default(),
        });
        inside.seats.insert(id, facts.clone());
        Seat {
            door: self.clone(),
            facts,
            client: client.ip(),
        }
    }

    /// How many sessions there are.
    pub(crate) fn count(&self) -> u32 {
        self.inside().occupancy.total()
    }

    /// A page of them, after `after`.
    pub(crate) fn rows(&self, after: Option<u64>, limit: usize) -> Vec<SessionRow> {
        let start = after.map_or(0, |id| id.saturating_add(1));
        self.inside()
            .seats
            .range(start..)
            .take(limit)
            .map(|(_, facts)| facts.row())
            .collect()
    }

    /// How the door stands.
    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Open,
            1 => Phase::Paused,
            _ => Phase::Closing,
        }
    }

    /// Changes how the door stands; from closing there is no way back.
    pub(crate) fn set_phase(&self, phase: Phase) {
        if self.phase() != Phase::Closing {
            self.phase.store(phase as u8, Ordering::Relaxed);
        }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// The address the client came to.
    pub(crate) fn local(&self) -> IpAddr {
        self.facts.local.ip().to_canonical()
    }

    /// Gives the seat of a balancer to the client behind it, in one step: a server that drains never sees it empty.
    pub(crate) fn pass_to(self, client: SocketAddr, limits: OccupancyLimits) -> Result<Seat, Full> {
        let door = self.door.clone();
        let mut inside = door.inside();
        // The seat given up makes room for the one taken.
        let limits = OccupancyLimits {
            total: limits.total.saturating_add(1),
            ..limits
        };
        let entered = inside.occupancy.enter(client.ip(), limits);
        let seat = entered.map(|()| door.seated(&mut inside, client, self.facts.local));
        drop(inside);
        seat
    }

    /// What is shown of this session.
    pub(crate) fn facts(&self) -> &SeatFacts {
        &self.facts
    }

    /// Notes what the client told.
    pub(crate) fn note(&self, note: impl FnOnce(&mut Said)) {
        note(
            &mut self
                .facts
                .said
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut inside = self.door.inside();
        inside.occupancy.leave(self.client);
        inside.seats.remove(&self.facts.id);
        drop(inside);
        self.door.changed.notify_one();
    }
}

impl SeatFacts {
    fn row(&self) -> SessionRow {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        SessionRow {
            id: self.id,
            client: self.client,
            local: self.local,
            since: self
                .since
                .duration_since(SystemTime::UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
            helo: said.helo.as_deref().map(str::to_owned),
            tls: said.tls.as_deref().map(str::to_owned),
            login: said.login.as_deref().map(str::to_owned),
            messages: self.messages.load(Ordering::Relaxed),
            state: "connected".to_owned(),
        }
    }
}

//! One destination: its ready messages, its carriers, and when it is left alone.
//!
//! | it | then |
//! |---|---|
//! | worked until just now, and fails | shut for a second, two, four |
//! | fails | shut for the waits of the schedule, one after the other |
//! | fails, while other carriers of it are at work | not shut; one carrier fewer |
//! | is reached again | open; its failures are forgotten |
//!
//! Never: another destination.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use postern_delivery::Outcome;
use postern_delivery::route::{End, Way};
use tokio::sync::Notify;

use super::Ticket;

/// A lane whose oldest message has waited so long (ms) wants another carrier.
pub(super) const GROW_AFTER: u64 = 20;
/// A further resting carrier is called when so many messages wait for each one called before.
pub(super) const PER_CALL: usize = 8;
/// A connection that needs less than this (ms) a message is quick: more connections would not make its lane quicker.
pub(super) const QUICK: u32 = 25;
/// So many carriers suffice for a quick lane.
pub(super) const QUICK_CARRIERS: u32 = 8;
/// Threads that write mailboxes for one template; they share the disk's syncs.
pub(super) const MAILDIR_WRITERS: u32 = 4;
/// A lane that worked until just now is tried again this soon (ms, doubled each time) before the schedule begins: a next
/// hop that is restarted should not hold mail up for ten minutes.
pub(super) const GLITCH: u64 = 1000;
/// So often.
pub(super) const GLITCHES: u32 = 3;
/// After so many messages a lane whose limit was lowered may try one carrier more.
pub(super) const RECOVERY: u32 = 64;
/// A lane counts as having worked until just now if it did within this (ms).
pub(super) const JUST_NOW: u64 = 60_000;

/// A destination with messages.
#[derive(Debug)]
pub(in crate::outbound) struct Lane {
    pub(super) serial: u64,
    pub(super) way: Arc<Way>,
    pub(super) ready: VecDeque<Ticket>,
    /// Tasks that serve it.
    pub(super) carriers: u32,
    /// Of these, not connected yet.
    pub(super) opening: u32,
    /// Of these, with a connection and nothing to do; the last one to rest is called first.
    pub(super) resting: Vec<Arc<Notify>>,
    /// Called, and not yet at work.
    pub(super) called: u32,
    /// Carriers at once: as the definition says, or fewer where the other side took no more.
    pub(super) limit: u32,
    pub(super) most: u32,
    /// Messages delivered since the limit was last changed.
    pub(super) good: u32,
    /// Milliseconds a message takes on a connection, on average.
    pub(super) pace: u32,
    /// Failures in a row: those soon after it worked, and those of the schedule.
    pub(super) glitches: u32,
    pub(super) failures: u32,
    pub(super) worked: u64,
    pub(super) shut_until: u64,
    pub(super) shut_by: Option<Outcome>,
    pub(super) starved: bool,
}

/// How a lane came to be without a connection.
#[derive(Debug)]
pub(in crate::outbound) struct Fall<'a> {
    /// What it means for its messages.
    pub(in crate::outbound) outcome: &'a Outcome,
    /// Whether there had been a connection.
    pub(in crate::outbound) connected: bool,
    /// So many messages are told at once; the others wait untried.
    pub(in crate::outbound) most: usize,
}

impl Lane {
    /// An open lane without a message.
    pub(super) fn new(serial: u64, way: Arc<Way>, per_lane: u32) -> Lane {
        let most = match &way.end {
            End::Maildir(_) => MAILDIR_WRITERS,
            _ => way.limit.unwrap_or(per_lane).max(1),
        };
        Lane {
            serial,
            way,
            ready: VecDeque::new(),
            carriers: 0,
            opening: 0,
            resting: Vec::new(),
            called: 0,
            limit: most,
            most,
            good: 0,
            pace: 0,
            glitches: 0,
            failures: 0,
            worked: 0,
            shut_until: 0,
            shut_by: None,
            starved: false,
        }
    }

    /// Carriers with a connection.
    pub(super) fn at_work(&self) -> u32 {
        self.carriers.saturating_sub(self.opening)
    }

    /// Shuts it; returns for how long (ms).
    pub(super) fn shut(
        &mut self,
        outcome: &Outcome,
        glitch: bool,
        retry: &[Duration],
        now: u64,
    ) -> u64 {
        let wait = if glitch {
            self.glitches += 1;
            GLITCH << (self.glitches - 1)
        } else {
            self.failures += 1;
            interval(retry, self.failures - 1)
        };
        self.shut_until = now + wait;
        self.shut_by = Some(outcome.clone());
        wait
    }

    pub(super) fn draw(&mut self, most: usize, must: impl Fn(&Ticket) -> bool) -> Vec<Ticket> {
        let mut drawn = Vec::new();
        let mut kept = VecDeque::new();
        for ticket in self.ready.drain(..) {
            if drawn.len() < most || must(&ticket) {
                drawn.push(ticket);
            } else {
                kept.push_back(ticket);
            }
        }
        self.ready = kept;
        drawn
    }

    pub(super) fn wants_carrier(&self, now: u64) -> bool {
        if self.carriers == 0 {
            return true;
        }
        // After a failure one carrier finds out whether the destination is back.
        let cap = match (self.failures + self.glitches, self.pace < QUICK) {
            (1.., _) => 1,
            (0, true) => self.limit.min(QUICK_CARRIERS),
            (0, false) => self.limit,
        };
        let waited = self
            .ready
            .front()
            .is_some_and(|ticket| ticket.since + GROW_AFTER <= now);
        self.carriers < cap && self.opening < self.at_work().max(1) && waited
    }
}

/// The wait (ms) before the try after `tries` tries.
pub(in crate::outbound) fn interval(retry: &[Duration], tries: u32) -> u64 {
    let place = (tries as usize).min(retry.len().saturating_sub(1));
    let wait = retry
        .get(place)
        .copied()
        .unwrap_or(Duration::from_secs(600));
    u64::try_from(wait.as_millis())
        .unwrap_or(u64::MAX / 4)
        .max(1)
}

//! The one thread that writes the log: takes all that waits, writes it at once, syncs once, tells everybody.
//!
//! ```text
//! wait ─▶ take all ─▶ fill a batch ─▶ one write ─▶ one sync ─▶ publish ─▶ done(Ok) for each
//!           ▲                │ segment full: roll, and go on with the rest              │
//!           └── meanwhile the next group has gathered: no timer is needed ◀─────────────┘
//! ```
//!
//! | what fails | what follows |
//! |---|---|
//! | a write | the batch's messages get the error; the segment is cut at its last sync and used no more; outcomes wait for the next segment |
//! | beginning a segment | the messages that wait get the error; outcomes go on waiting |
//! | a sync | the spool has failed: everybody gets the error, nothing is written ever again |
//!
//! Outcomes alone are written (not synced) soon, so that a killed process forgets little, and synced within the window.
//!
//! Never: two syncs for one message but at the edge of a segment, nor an answer before the sync.

mod batch;
mod roll;

use self::batch::{Cursor, Unsynced};
use crate::Error;
use crate::evacuate::{Copy, Evacuation};
use crate::index::Settle;
use crate::segment::Cut;
use crate::shared::{Accept, Queue, Shared, Sleep, held};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Instant;

/// An outcome is written within the window's sixteenth part, and synced within the rest.
const WRITE_PART: u32 = 16;

/// The committer's own things; it runs on a thread of its own until the spool is closed.
pub(crate) struct Committer {
    shared: Arc<Shared>,
    cursor: Option<Cursor>,
    cut: Option<Cut>,
    copies: VecDeque<Copy>,
    settles: VecDeque<Settle>,
    accepts: VecDeque<Accept>,
    unsynced: Unsynced,
    /// When the oldest outcome that is not written came, and the oldest not synced.
    unwritten_since: Option<Instant>,
    unsynced_since: Option<Instant>,
    evacuation: Option<Evacuation>,
    /// No other segment could be had: nothing is copied forward until that is mended.
    stalled: bool,
    /// Copies of messages that went while they were copied: their tombstones must name these marks too.
    strays: HashMap<u64, u64>,
    scratch: Vec<u8>,
}

/// Why the committer woke.
struct Call {
    flushes: Vec<Sender<Result<(), Error>>>,
    sync: bool,
    closing: bool,
}

impl Committer {
    pub(crate) fn new(shared: Arc<Shared>) -> Committer {
        Committer {
            shared,
            cursor: None,
            cut: None,
            copies: VecDeque::new(),
            settles: VecDeque::new(),
            accepts: VecDeque::new(),
            unsynced: Unsynced::default(),
            unwritten_since: None,
            unsynced_since: None,
            evacuation: None,
            stalled: false,
            strays: HashMap::new(),
            scratch: Vec::new(),
        }
    }

    /// Works until the spool is closed.
    pub(crate) fn run(mut self) {
        loop {
            let call = self.wait();
            let result = self.round(call.sync);
            for flush in call.flushes {
                let _ = flush.send(result.clone());
            }
            if call.closing {
                return self.leave();
            }
        }
    }

    /// Sleeps until there is something to do, then takes it. No timer runs while nothing is settled.
    fn wait(&mut self) -> Call {
        let shared = self.shared.clone();
        let mut queue = held(&shared.queue);
        loop {
            queue.asleep = Sleep::Awake;
            self.take_settles(&mut queue);
            let urgent = !queue.accepts.is_empty()
                || !queue.flushes.is_empty()
                || queue.nudged
                || queue.closing
                || self.evacuation.is_some();
            let (write_at, sync_at) = self.deadlines();
            let due = [write_at, sync_at].into_iter().flatten().min();
            let now = due.map(|due| (due, Instant::now()));
            if urgent || now.is_some_and(|(due, now)| due <= now) {
                let sync_due = now.is_some_and(|(_, now)| sync_at.is_some_and(|at| at <= now));
                return self.take(&mut queue, urgent || sync_due);
            }
            queue = match now {
                None => {
                    self.slim(&mut queue);
                    queue.asleep = Sleep::Sound;
                    shared.wake.wait(queue).unwrap_or_else(|e| e.into_inner())
                }
                Some((due, now)) => {
                    queue.asleep = Sleep::Timed;
                    let woken = shared.wake.wait_timeout(queue, due - now);
                    woken.unwrap_or_else(|e| e.into_inner()).0
                }
            };
        }
    }

    fn take(&mut self, queue: &mut Queue, sync: bool) -> Call {
        queue.nudged = false;
        self.accepts.extend(queue.accepts.drain(..));
        let flushes = std::mem::take(&mut queue.flushes);
        Call {
            flushes,
            sync,
            closing: queue.closing,
        }
    }

    fn take_settles(&mut self, queue: &mut Queue) {
        if queue.settles.is_empty() {
            return;
        }
        if self.shared.trouble().is_some() {
            queue.settles.clear();
            return;
        }
        self.settles.extend(queue.settles.drain(..));
        let now = Instant::now();
        self.unwritten_since.get_or_insert(now);
        self.unsynced_since.get_or_insert(now);
    }

    /// Before a long sleep: what a burst needed is given back.
    fn slim(&mut self, queue: &mut Queue) {
        const ENOUGH: usize = 128;
        queue.accepts.shrink_to(ENOUGH);
        queue.settles.shrink_to(ENOUGH);
        self.accepts.shrink_to(ENOUGH);
        self.settles.shrink_to(ENOUGH);
        self.copies.shrink_to(ENOUGH);
        self.unsynced.accepts.shrink_to(ENOUGH);
        self.unsynced.settles.shrink_to(ENOUGH);
        self.unsynced.copies.shrink_to(ENOUGH);
        self.scratch.shrink_to(16 << 10);
    }

    fn deadlines(&self) -> (Option<Instant>, Option<Instant>) {
        let window = self.shared.settings.outcome_window;
        let part = window / WRITE_PART;
        let write = self.unwritten_since.map(|since| since + part);
        (
            write,
            self.unsynced_since.map(|since| since + (window - part)),
        )
    }

    fn round(&mut self, sync: bool) -> Result<(), Error> {
        let mut outcome = self.shared.trouble().map_or(Ok(()), Err);
        if outcome.is_ok() {
            self.evacuate();
            outcome = self.write_all(sync);
        }
        if let Err(error) = &outcome {
            self.refuse_all(error);
        } else {
            self.tidy();
        }
        outcome
    }

    /// Writes all that was taken, and syncs where somebody waits for it. After an error, messages not yet answered are
    /// still in `accepts`.
    fn write_all(&mut self, sync: bool) -> Result<(), Error> {
        self.roll_if_wanted()?;
        let mut failure = None;
        while let Some((needed, outcome)) = self.next_len() {
            if !self.fits(needed, outcome) {
                self.sync()?;
                if let Err(error) = self.roll(needed) {
                    if self.copies.is_empty() || self.shared.trouble().is_some() {
                        return Err(error);
                    }
                    self.stop_evacuation();
                    continue;
                }
            }
            let accepts = self.accepts.len();
            if let Err(error) = self.write_batch() {
                // Messages after the failed batch may have better luck in another segment; outcomes alone wait for the
                // next round.
                if accepts == self.accepts.len() || self.shared.trouble().is_some() {
                    return Err(error);
                }
                failure = Some(error);
                continue;
            }
            if !self.unsynced.accepts.is_empty() || !self.unsynced.copies.is_empty() {
                self.sync()?;
            }
        }
        self.unwritten_since = None;
        if sync {
            self.sync()?;
        }
        if self.unsynced.is_empty() {
            self.unsynced_since = None;
        }
        failure.map_or(Ok(()), Err)
    }

    /// Nobody is left without an answer; outcomes wait for a better day, unless there will be none.
    fn refuse_all(&mut self, error: &Error) {
        let failed = self.shared.trouble();
        if failed.is_some() {
            let unsynced = std::mem::take(&mut self.unsynced);
            self.accepts
                .extend(unsynced.accepts.into_iter().map(|(accept, _)| accept));
            self.settles.clear();
            self.unwritten_since = None;
            self.unsynced_since = None;
            self.stop_evacuation();
        } else if self.unwritten_since.is_some() {
            self.unwritten_since = Some(Instant::now());
            self.unsynced_since = self.unwritten_since;
        }
        self.copies.clear();
        self.stop_evacuation();
        for accept in self.accepts.drain(..) {
            let error = failed.as_ref().unwrap_or(error).clone();
            self.shared.refuse(accept, error, failed.is_none());
        }
    }

    /// Takes the next records of the segment being copied forward, unless outcomes are written that the index does not
    /// show yet: a copy of an older status must not come to lie behind a newer one.
    fn evacuate(&mut self) {
        if self.unsynced.is_empty()
            && let Some(evacuation) = &mut self.evacuation
            && !evacuation.scanned
        {
            self.copies.extend(evacuation.step(&self.shared));
        }
    }

    fn stop_evacuation(&mut self) {
        self.copies.clear();
        if let Some(evacuation) = self.evacuation.take() {
            self.shared.state().table.spare_victim(evacuation.key);
        }
    }

    /// Ends a copying that is through, begins one where space is short, and lets go of files beyond what is needed.
    fn tidy(&mut self) {
        if self
            .evacuation
            .as_ref()
            .is_some_and(|evacuation| evacuation.scanned)
            && self.copies.is_empty()
            && let Some(evacuation) = self.evacuation.take()
        {
            let lost = evacuation.finish(&self.shared);
            if !lost.is_empty() {
                self.settles.extend(lost);
                self.unwritten_since.get_or_insert_with(Instant::now);
                self.unsynced_since = self.unsynced_since.or(self.unwritten_since);
            }
        }
        let left = self
            .cursor
            .as_ref()
            .map_or(u64::MAX, |cursor| cursor.size - cursor.end);
        let mut state = self.shared.state();
        let doomed = state.table.take_doomed();
        let victim = if self.stalled {
            None
        } else {
            state.table.choose_victim(left)
        };
        drop(state);
        if let Some(key) = victim {
            match Evacuation::begin(&self.shared, key) {
                Ok(evacuation) => self.evacuation = Some(evacuation),
                Err(_) => self.shared.state().table.end_victim(key, true),
            }
        }
        self.shared.unlink_segments(doomed);
    }

    /// The last round is over: whoever comes now is refused.
    fn leave(mut self) {
        let late = {
            let mut queue = held(&self.shared.queue);
            std::mem::replace(
                &mut *queue,
                Queue {
                    closed: true,
                    ..Queue::default()
                },
            )
        };
        self.settles.extend(late.settles);
        self.accepts.extend(late.accepts);
        let result = self.round(true);
        for flush in late.flushes {
            let _ = flush.send(result.clone());
        }
        self.stop_evacuation();
        // Last of all: from here on a successor may read what we wrote.
        held(&self.shared.lock).take();
    }
}

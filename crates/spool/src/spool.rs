//! The queue's door: everything a worker can ask of it.
//!
//! Never: work of its own. It passes on to the rooms behind.

use crate::committer::Committer;
use crate::deposit::Deposit;
use crate::disk::Disk;
use crate::shared::{Folders, Shared, Sleep, held};
use crate::{
    Committed, Due, Envelope, Error, Message, QueueId, Recovered, Settings, Settlement, Summary,
    codec, epoch, recover,
};
use std::borrow::Borrow;
use std::ops::Bound;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{Builder, JoinHandle};

/// Enough for a group's file operations and the callers' `done`.
const STACK: usize = 256 << 10;
/// A segment is no smaller and no larger than this; offsets in it fit 32 bits with room to spare.
const SEGMENT_SIZES: std::ops::RangeInclusive<u64> = 4096..=1 << 30;

/// A handle to one open spool; clones share it. The last one dropped closes it.
#[derive(Clone)]
pub struct Spool {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    committer: Mutex<Option<JoinHandle<()>>>,
    /// Adoptions come one after the other.
    adopting: Mutex<()>,
}

impl Spool {
    /// Opens the spool: claims an epoch, adopts what nobody holds, and reads the queue from it.
    pub fn open(disk: Arc<dyn Disk>, settings: Settings) -> Result<(Spool, Recovered), Error> {
        let mut settings = settings;
        let (least, most) = SEGMENT_SIZES.into_inner();
        settings.segment_size = settings
            .segment_size
            .clamp(least, most)
            .next_multiple_of(least);
        settings.inline_limit = settings.inline_limit.min(most as usize);
        let folders = Folders::of(&settings);
        make_folders(&*disk, &folders)?;
        let (epoch, lock) = epoch::claim(&*disk, &folders)?;
        let taken = epoch::take_over(&*disk, &folders, epoch)?;
        if let Some(trouble) = taken.trouble {
            return Err(trouble);
        }
        let reading = recover::read(&*disk, &folders, &settings, &taken.epochs)?;
        epoch::tidy(&*disk, &folders, epoch)?;
        let messages = reading
            .state
            .index
            .iter()
            .map(|(&id, entry)| entry.due(id))
            .collect();
        let shared = Arc::new(Shared::new(disk, settings, epoch, lock));
        *shared.state() = reading.state;
        shared.foreign.store(taken.foreign, Ordering::Release);
        {
            let mut queue = shared.queue()?;
            queue.settles.extend(reading.lost);
            queue.nudged = true;
        }
        let spool = Spool::start(shared)?;
        let recovered = Recovered {
            messages,
            damaged: reading.damaged,
            orphans: reading.orphans,
        };
        Ok((spool, recovered))
    }

    fn start(shared: Arc<Shared>) -> Result<Spool, Error> {
        let committer = Committer::new(shared.clone());
        let builder = Builder::new()
            .name("spool-committer".into())
            .stack_size(STACK);
        let sentinel = Sentinel(shared.clone());
        let thread = builder
            .spawn(move || {
                let _sentinel = sentinel;
                committer.run();
            })
            .map_err(|e| Error::io("start a thread for", &shared.folders.spool, e))?;
        let committer = Mutex::new(Some(thread));
        Ok(Spool {
            inner: Arc::new(Inner {
                shared,
                committer,
                adopting: Mutex::new(()),
            }),
        })
    }

    /// Whether a message may come in now; cheap, asks the file system only now and then. `Error::Full` → 452.
    pub fn room(&self) -> Result<(), Error> {
        let shared = &self.inner.shared;
        shared.usable()?;
        shared.room.take(&*shared.disk, &shared.folders.spool, 0)
    }

    /// Begins a message. It may be committed even where `room` says no: a notice must find its place.
    pub fn deposit(&self) -> Result<Deposit, Error> {
        Deposit::new(self.inner.shared.clone())
    }

    /// Hands a message over. `done` is called once the message is on disk, or has failed: on one of the spool's threads,
    /// or on this one where that is known at once. It must not block. Nor does this, but for writing the last piece of a
    /// large body to the page cache.
    pub fn commit(
        &self,
        deposit: Deposit,
        envelope: impl Borrow<Envelope>,
        done: impl FnOnce(Result<Committed, Error>) + Send + 'static,
    ) {
        deposit.finish(envelope.borrow(), Box::new(done));
    }

    /// Reads a message; `None` where it is gone. `Error::Damaged` means that it has just left the queue because its bytes
    /// are not what they were; they are set aside.
    pub fn claim(&self, id: QueueId) -> Result<Option<Message>, Error> {
        if self.inner.shared.closed.load(Ordering::Acquire) {
            return Err(Error::Closed);
        }
        self.inner.shared.claim(id.to_u64())
    }

    /// Records what became of a message. Does not wait: on disk within `Settings::outcome_window`. A message that is gone
    /// already is left alone.
    pub fn settle(&self, id: QueueId, settlement: Settlement) {
        let shared = &self.inner.shared;
        if shared.closed.load(Ordering::Acquire) {
            return;
        }
        let id = id.to_u64();
        let settle = match settlement {
            Settlement::Gone => shared.state().remove(id),
            Settlement::Keep(status) => {
                let mut bytes = Vec::new();
                codec::write_status(&mut bytes, &status);
                bytes.shrink_to_fit();
                let peek = codec::StatusPeek {
                    next_try: status.next_try,
                    attempts: status.attempts,
                    frozen: status.frozen,
                };
                shared.state().update(id, peek, bytes)
            }
        };
        if let Some(settle) = settle {
            shared.settled(settle);
        }
    }

    /// Returns once everything settled so far is on disk.
    pub fn flush(&self) -> Result<(), Error> {
        let shared = &self.inner.shared;
        shared.usable()?;
        let (answer, wait) = mpsc::channel();
        {
            let mut queue = shared.queue()?;
            queue.flushes.push(answer);
            shared.wake(&mut queue, Sleep::Timed);
        }
        wait.recv().unwrap_or(Err(Error::Closed))
    }

    /// The queue in the order of ids, from after `after`, at most `limit` lines.
    pub fn list(&self, after: Option<QueueId>, limit: usize) -> Vec<Summary> {
        let from = after.map_or(Bound::Unbounded, |id| Bound::Excluded(id.to_u64()));
        let state = self.inner.shared.state();
        let lines = state.index.range((from, Bound::Unbounded)).take(limit);
        lines.map(|(&id, entry)| entry.summary(id)).collect()
    }

    /// One line of the list; `None` where the message is gone.
    pub fn summary(&self, id: QueueId) -> Option<Summary> {
        let id = id.to_u64();
        self.inner
            .shared
            .state()
            .index
            .get(&id)
            .map(|entry| entry.summary(id))
    }

    /// Takes over what other processes of this server have let go of, and says what came with it. Blocks for as long as
    /// reading it takes. An error after the point of no return fails the spool: a restart makes it good.
    pub fn adopt(&self) -> Result<Vec<Due>, Error> {
        let shared = &self.inner.shared;
        shared.usable()?;
        let _one = held(&self.inner.adopting);
        let taken = epoch::take_over(&*shared.disk, &shared.folders, shared.epoch)?;
        shared.foreign.store(taken.foreign, Ordering::Release);
        if let Some(trouble) = taken.trouble {
            return Err(shared.fail(&trouble));
        }
        if taken.epochs.is_empty() {
            return Ok(Vec::new());
        }
        self.take_in(&taken.epochs)
            .map_err(|error| shared.fail(&error))
    }

    fn take_in(&self, epochs: &std::collections::BTreeSet<u32>) -> Result<Vec<Due>, Error> {
        let shared = &self.inner.shared;
        let reading = recover::read(&*shared.disk, &shared.folders, &shared.settings, epochs)?;
        epoch::tidy(&*shared.disk, &shared.folders, shared.epoch)?;
        let dues = reading
            .state
            .index
            .iter()
            .map(|(&id, entry)| entry.due(id))
            .collect();
        {
            let mut state = shared.state();
            state.merge(reading.state);
            state.table.roll_wanted = true;
        }
        let mut queue = shared.queue()?;
        queue.settles.extend(reading.lost);
        queue.nudged = true;
        shared.wake(&mut queue, Sleep::Timed);
        Ok(dues)
    }

    /// Whether another process still held a part of this spool when it was last looked at, by `open` or `adopt`: then
    /// `adopt` is worth asking again.
    pub fn foreign_segments(&self) -> bool {
        self.inner.shared.foreign.load(Ordering::Acquire)
    }

    /// How many messages are queued here.
    pub fn count(&self) -> u64 {
        self.inner.shared.state().index.len() as u64
    }

    /// Whether a sync has failed: nothing more is accepted. What was acknowledged stays true.
    pub fn failed(&self) -> bool {
        self.inner.shared.trouble().is_some()
    }

    /// Writes and syncs what waits, and lets go of everything, so that a successor may adopt it. Later calls answer
    /// `Error::Closed`. Must not be called from a `done`.
    pub fn close(&self) {
        self.inner.close();
    }
}

impl Inner {
    fn close(&self) {
        self.shared.closed.store(true, Ordering::Release);
        self.shared.close_chores();
        {
            let mut queue = held(&self.shared.queue);
            queue.closing = true;
            self.shared.wake(&mut queue, Sleep::Timed);
        }
        let committer = held(&self.committer).take();
        if let Some(committer) = committer
            && committer.thread().id() != std::thread::current().id()
        {
            let _ = committer.join();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

/// A committer that died of a panic (a caller's `done` may) answers nobody any more: all are told so.
struct Sentinel(Arc<Shared>);

impl Drop for Sentinel {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(&Error::Closed);
            let late = std::mem::take(&mut *held(&self.0.queue));
            held(&self.0.queue).closed = true;
            for accept in late.accepts {
                (accept.done)(Err(Error::Closed));
            }
        }
    }
}

fn make_folders(disk: &dyn Disk, folders: &Folders) -> Result<(), Error> {
    let spool = &folders.spool;
    let make = |path| {
        disk.make_folder(path)
            .map_err(|e| Error::io("make", path, e))
    };
    make(spool)?;
    // Whether or not it was made just now: an earlier start may have failed between making and syncing.
    if let Some(parent) = spool.parent() {
        disk.sync_folder(parent)
            .map_err(|e| Error::io("sync", parent, e))?;
    }
    make(&folders.body)
}

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

use crate::disk::{DiskFile, OpenMode};
use crate::evacuate::{Copy, Evacuation};
use crate::record::{self, HEADER, Header, Kind, write_marks};
use crate::segment::{Cut, FIRST, SegmentHeader, SegmentName, new_mark};
use crate::shared::{Accept, Queue, Shared, Sleep, held};
use crate::state::{Entry, Place, Segment, Settle};
use crate::{Committed, Error, QueueId};
use std::collections::{HashMap, VecDeque};
use std::io::IoSlice;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Instant;

/// An outcome is written within the window's sixteenth part, and synced within the rest.
const WRITE_PART: u32 = 16;
/// This part of a segment is left to outcomes.
const OUTCOME_PART: u64 = 32;

/// The active segment.
struct Cursor {
    key: u32,
    file: Arc<dyn DiskFile>,
    mark: u64,
    size: u64,
    /// Messages and copies stop here; what is left is for outcomes, so that a full disk can still be emptied.
    mail_size: u64,
    /// Where the next record goes.
    end: u64,
    /// Up to here it is on disk.
    synced: u64,
}

/// What is written and waits for a sync.
#[derive(Default)]
struct Unsynced {
    copies: Vec<(Copy, Place)>,
    settles: Vec<(Settle, Place)>,
    accepts: Vec<(Accept, Place)>,
}

impl Unsynced {
    fn is_empty(&self) -> bool {
        self.copies.is_empty() && self.settles.is_empty() && self.accepts.is_empty()
    }
}

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

    // Waiting.

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

    fn deadlines(&self) -> (Option<Instant>, Option<Instant>) {
        let window = self.shared.settings.outcome_window;
        let part = window / WRITE_PART;
        let write = self.unwritten_since.map(|since| since + part);
        (
            write,
            self.unsynced_since.map(|since| since + (window - part)),
        )
    }

    // One round.

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

    /// How long the next record is, and whether it is an outcome; `None` where nothing waits.
    fn next_len(&self) -> Option<(u64, bool)> {
        let copy = self
            .copies
            .front()
            .map(|copy| (copy.record.len() as u64, false));
        let settle = || {
            self.settles
                .front()
                .map(|settle| (settle_len(settle), true))
        };
        let accept = || {
            self.accepts
                .front()
                .map(|accept| (accept.record.len() as u64, false))
        };
        copy.or_else(settle).or_else(accept)
    }

    fn fits(&self, len: u64, outcome: bool) -> bool {
        self.cursor.as_ref().is_some_and(|cursor| {
            cursor.end + len
                <= if outcome {
                    cursor.size
                } else {
                    cursor.mail_size
                }
        })
    }

    /// Fills a batch as far as the segment has room, and writes it by one call.
    fn write_batch(&mut self) -> Result<(), Error> {
        let Some(cursor) = &mut self.cursor else {
            return Ok(());
        };
        let mut filling = Filling {
            cursor,
            at: 0,
            scratch: &mut self.scratch,
        };
        filling.at = filling.cursor.end;
        filling.scratch.clear();
        let size = filling.cursor.size;
        let new_copies = self.unsynced.copies.len();
        while let Some(mut copy) =
            filling.pop_mail(&mut self.copies, |copy| copy.record.len() as u64)
        {
            let place = filling.place(&mut copy.header, Some(&mut copy.record));
            self.unsynced.copies.push((copy, place));
        }
        if self.copies.is_empty() {
            while let Some(settle) = filling.pop(&mut self.settles, size, settle_len) {
                let (settle, place) = filling.settle(settle, &mut self.strays);
                self.unsynced.settles.push((settle, place));
            }
        }
        let new_accepts = self.unsynced.accepts.len();
        if self.settles.is_empty() {
            while let Some(mut accept) =
                filling.pop_mail(&mut self.accepts, |accept| accept.record.len() as u64)
            {
                let place = filling.place(&mut accept.header, Some(&mut accept.record));
                self.unsynced.accepts.push((accept, place));
            }
        }
        let end = filling.at;
        let mut parts = Vec::with_capacity(1 + self.unsynced.accepts.len());
        let copies = &self.unsynced.copies[new_copies..];
        parts.extend(copies.iter().map(|(copy, _)| IoSlice::new(&copy.record)));
        parts.push(IoSlice::new(&self.scratch));
        let accepts = &self.unsynced.accepts[new_accepts..];
        parts.extend(
            accepts
                .iter()
                .map(|(accept, _)| IoSlice::new(&accept.record)),
        );
        match cursor.file.write_at(&mut parts, cursor.end) {
            Ok(()) => {
                cursor.end = end;
                Ok(())
            }
            Err(error) => {
                let error = Error::io("write", &self.shared.folders.spool, error);
                drop(parts);
                self.abandon(&error);
                Err(error)
            }
        }
    }

    /// A write failed. What was synced in this segment stays true; the rest of it is void, and the next segment's header
    /// will say so. The messages get the error, but only once that header is on disk (or cannot be): a message refused
    /// must not come back. Outcomes are kept for the next segment, copies are made again from the original.
    fn abandon(&mut self, error: &Error) {
        let lost = std::mem::take(&mut self.unsynced);
        for (settle, _) in lost.settles.into_iter().rev() {
            self.settles.push_front(settle);
        }
        self.unwritten_since.get_or_insert_with(Instant::now);
        self.stop_evacuation();
        if let Some(cursor) = self.cursor.take() {
            self.cut = Some(Cut {
                mark: cursor.mark,
                offset: cursor.synced,
            });
            self.shared.state().seal(cursor.key, cursor.synced, true);
            let _ = self.roll(0);
        }
        for (accept, _) in lost.accepts {
            (accept.done)(Err(error.clone()));
        }
    }

    // Sync and publish.

    /// Makes all that was written durable, and tells everybody.
    fn sync(&mut self) -> Result<(), Error> {
        if let Some(cursor) = &mut self.cursor
            && !self.unsynced.is_empty()
        {
            if let Err(error) = cursor.file.sync() {
                let error = Error::io("sync", &self.shared.folders.spool, error);
                return Err(self.shared.fail(&error));
            }
            cursor.synced = cursor.end;
            self.publish();
        }
        self.unsynced_since = self.unwritten_since;
        Ok(())
    }

    fn publish(&mut self) {
        let mut written = std::mem::take(&mut self.unsynced);
        let mut bodies = Vec::new();
        let mut state = self.shared.state();
        for (copy, place) in written.copies.drain(..) {
            match copy.header.kind {
                Kind::Accepted => {
                    let stray = state.record_copied(copy.header.id, copy.from, place);
                    self.strays.extend(stray.map(|mark| (copy.header.id, mark)));
                }
                Kind::Outcome => state.status_copied(copy.header.id, copy.from, place),
                Kind::Gone => state.tombstone_lies(place, copy.marks.iter().copied()),
            }
        }
        for (settle, place) in written.settles.drain(..) {
            match settle {
                Settle::Outcome { id, status } => state.outcome_written(id, &status, place),
                Settle::Gone(gone) => {
                    state.tombstone_written(&gone, place);
                    if gone.in_file {
                        bodies.push(self.shared.folders.body_file(gone.id));
                    }
                }
            }
        }
        for (accept, place) in &written.accepts {
            let (size, file) = (accept.header.body_len, accept.header.body_in_file);
            let entry = Entry::new(*place, accept.received, size, accept.recipients, file);
            state.insert(accept.header.id, entry);
        }
        drop(state);
        for (accept, _) in written.accepts.drain(..) {
            let Accept {
                header,
                record,
                done,
                ..
            } = accept;
            drop(record);
            done(Ok(Committed {
                id: QueueId::from_u64(header.id),
                size: header.body_len,
            }));
        }
        // The emptied vectors are used again.
        self.unsynced = written;
        self.shared.remove_bodies(bodies);
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
            (accept.done)(Err(failed.as_ref().unwrap_or(error).clone()));
        }
    }

    // Segments.

    /// After an adoption the log must go on in a segment younger than the adopted ones.
    fn roll_if_wanted(&mut self) -> Result<(), Error> {
        let wanted = std::mem::take(&mut self.shared.state().roll_wanted);
        if wanted && self.cursor.is_some() {
            self.sync()?;
            self.seal();
        }
        Ok(())
    }

    fn seal(&mut self) {
        if let Some(cursor) = self.cursor.take() {
            self.shared.state().seal(cursor.key, cursor.end, false);
        }
    }

    /// Goes on in another segment with room for a record of `needed` bytes. Its header is durable before any record, and
    /// before the old one is left: where it cannot be had, outcomes still find a place in the old one.
    fn roll(&mut self, needed: u64) -> Result<(), Error> {
        self.stalled = true;
        let shared = self.shared.clone();
        let usual = shared.settings.segment_size;
        let mail = usual - usual / OUTCOME_PART;
        let fits = FIRST + needed <= mail;
        let (size, mail_size) = if fits {
            (usual, mail)
        } else {
            (FIRST + needed, FIRST + needed)
        };
        let free = if fits {
            shared.state().take_free()
        } else {
            None
        };
        let (key, path, file) = match free {
            Some(key) => self.reopen(key)?,
            None => self.make(size)?,
        };
        let sequence = shared.state().take_sequence();
        let mark = new_mark(shared.epoch, sequence);
        let header = SegmentHeader {
            sequence,
            mark,
            epoch: shared.epoch,
            cut: self.cut,
        };
        if let Err(error) = header.write(&*file) {
            shared.state().doom(key);
            return Err(Error::io("write", &path, error));
        }
        if let Err(error) = file.sync() {
            return Err(shared.fail(&Error::io("sync", &path, error)));
        }
        let folder = &shared.folders.spool;
        if free.is_none()
            && let Err(error) = shared.disk.sync_folder(folder)
        {
            return Err(shared.fail(&Error::io("sync", folder, error)));
        }
        self.seal();
        shared.state().begin(key, sequence, mark, self.cut.take());
        self.cursor = Some(Cursor {
            key,
            file,
            mark,
            size,
            mail_size,
            end: FIRST,
            synced: FIRST,
        });
        self.stalled = false;
        Ok(())
    }

    fn reopen(&self, key: u32) -> Result<(u32, PathBuf, Arc<dyn DiskFile>), Error> {
        let mut state = self.shared.state();
        let file = state.file(key, &*self.shared.disk);
        let name = state
            .segment(key)
            .map(|segment| segment.name.to_string())
            .unwrap_or_default();
        let path = self.shared.folders.spool.join(name);
        match file {
            Ok(file) => Ok((key, path, file)),
            Err(error) => {
                state.doom(key);
                Err(error)
            }
        }
    }

    /// A new file, its blocks set aside.
    fn make(&self, size: u64) -> Result<(u32, PathBuf, Arc<dyn DiskFile>), Error> {
        let shared = &self.shared;
        let name = {
            let mut state = shared.state();
            state.next_number += 1;
            SegmentName {
                epoch: shared.epoch,
                number: state.next_number - 1,
            }
        };
        let path = shared.folders.spool.join(name.to_string());
        let file = shared
            .disk
            .open(&path, OpenMode::New)
            .map_err(|e| Error::io("make", &path, e))?;
        if let Err(error) = file.reserve(size) {
            let _ = shared.disk.remove(&path);
            return Err(Error::io("set aside blocks for", &path, error));
        }
        let file: Arc<dyn DiskFile> = Arc::from(file);
        let mut segment = Segment::blank(name, size);
        segment.phase = crate::state::Phase::Active;
        segment.file = Some(file.clone());
        let key = shared.state().add(segment);
        Ok((key, path, file))
    }

    // Space.

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
            self.shared.state().spare_victim(evacuation.key);
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
        let doomed = state.take_doomed();
        let victim = if self.stalled {
            None
        } else {
            state.choose_victim(left)
        };
        drop(state);
        if let Some(key) = victim {
            match Evacuation::begin(&self.shared, key) {
                Ok(evacuation) => self.evacuation = Some(evacuation),
                Err(_) => self.shared.state().end_victim(key, true),
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

/// A batch being laid out in the active segment.
struct Filling<'a> {
    cursor: &'a Cursor,
    at: u64,
    scratch: &'a mut Vec<u8>,
}

impl Filling<'_> {
    fn pop_mail<T>(&self, from: &mut VecDeque<T>, len: impl Fn(&T) -> u64) -> Option<T> {
        self.pop(from, self.cursor.mail_size, len)
    }

    /// The next of them, where it ends before `limit`.
    fn pop<T>(&self, from: &mut VecDeque<T>, limit: u64, len: impl Fn(&T) -> u64) -> Option<T> {
        let fits = self.at + from.front().map(len)? <= limit;
        if fits { from.pop_front() } else { None }
    }

    /// Gives a record its place, and seals it for this segment where its bytes are given.
    fn place(&mut self, header: &mut Header, record: Option<&mut Vec<u8>>) -> Place {
        header.synced = self.cursor.synced as u32;
        if let Some(record) = record {
            record::seal(record, header, self.cursor.mark);
        }
        let length = header.record_len() as u32;
        let place = Place {
            segment: self.cursor.key,
            offset: self.at as u32,
            length,
        };
        self.at += u64::from(length);
        place
    }

    /// Writes an outcome into the scratch buffer.
    fn settle(&mut self, settle: Settle, strays: &mut HashMap<u64, u64>) -> (Settle, Place) {
        let mut header = Header {
            kind: Kind::Outcome,
            body_in_file: false,
            head_len: 0,
            body_len: 0,
            id: 0,
            body_crc: 0,
            synced: 0,
        };
        match settle {
            Settle::Outcome { id, status } => {
                header.id = id;
                header.head_len = status.len() as u32;
                let place = self.place(&mut header, None);
                record::append(self.scratch, &header, &status, self.cursor.mark);
                (Settle::Outcome { id, status }, place)
            }
            Settle::Gone(mut gone) => {
                if !strays.is_empty() {
                    gone.marks.more.extend(strays.remove(&gone.id));
                }
                header.kind = Kind::Gone;
                header.id = gone.id;
                header.head_len = 8 * gone.marks.len() as u32;
                let place = self.place(&mut header, None);
                let mut head = Vec::with_capacity(8 * gone.marks.len());
                write_marks(&mut head, gone.marks.iter());
                record::append(self.scratch, &header, &head, self.cursor.mark);
                (Settle::Gone(gone), place)
            }
        }
    }
}

/// How long an outcome's record is. A tombstone may grow by one mark as it is written.
fn settle_len(settle: &Settle) -> u64 {
    let head = match settle {
        Settle::Outcome { status, .. } => status.len(),
        Settle::Gone(gone) => 8 * (gone.marks.len() + 1),
    };
    record::padded((HEADER + head) as u64)
}

//! One batch: laid out in the active segment, written by one call, synced, published.
//!
//! ```text
//! end ─▶ copies · outcomes · messages ─▶ new end        copies stand before outcomes, which are newer
//! ```
//!
//! Never: a choice of segment; that is `roll`'s.

use super::Committer;
use crate::disk::DiskFile;
use crate::evacuate::Copy;
use crate::index::{Entry, Place, Settle};
use crate::record::{self, HEADER, Header, Kind, write_marks};
use crate::segment::Cut;
use crate::shared::Accept;
use crate::{Committed, Error, QueueId};
use std::collections::{HashMap, VecDeque};
use std::io::IoSlice;
use std::sync::Arc;
use std::time::Instant;

/// The active segment.
pub(super) struct Cursor {
    pub(super) key: u32,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) mark: u64,
    pub(super) size: u64,
    /// Messages and copies stop here; what is left is for outcomes, so that a full disk can still be emptied.
    pub(super) mail_size: u64,
    /// Where the next record goes.
    pub(super) end: u64,
    /// Up to here it is on disk.
    pub(super) synced: u64,
}

/// What is written and waits for a sync.
#[derive(Default)]
pub(super) struct Unsynced {
    pub(super) copies: Vec<(Copy, Place)>,
    pub(super) settles: Vec<(Settle, Place)>,
    pub(super) accepts: Vec<(Accept, Place)>,
}

impl Unsynced {
    pub(super) fn is_empty(&self) -> bool {
        self.copies.is_empty() && self.settles.is_empty() && self.accepts.is_empty()
    }
}

impl Committer {
    /// How long the next record is, and whether it is an outcome; `None` where nothing waits.
    pub(super) fn next_len(&self) -> Option<(u64, bool)> {
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

    pub(super) fn fits(&self, len: u64, outcome: bool) -> bool {
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
    pub(super) fn write_batch(&mut self) -> Result<(), Error> {
        let (copies, accepts) = (self.unsynced.copies.len(), self.unsynced.accepts.len());
        let end = self.fill_batch();
        let Some(cursor) = &mut self.cursor else {
            return Ok(());
        };
        let (copies, accepts) = (
            &self.unsynced.copies[copies..],
            &self.unsynced.accepts[accepts..],
        );
        let mut parts = Vec::with_capacity(copies.len() + 1 + accepts.len());
        parts.extend(copies.iter().map(|(copy, _)| IoSlice::new(&copy.record)));
        parts.push(IoSlice::new(&self.scratch));
        parts.extend(
            accepts
                .iter()
                .map(|(accept, _)| IoSlice::new(&accept.record)),
        );
        let written = cursor.file.write_at(&mut parts, cursor.end);
        drop(parts);
        match written {
            Ok(()) => {
                cursor.end = end;
                Ok(())
            }
            Err(error) => {
                let error = Error::io("write", &self.shared.folders.spool, error);
                self.abandon(&error);
                Err(error)
            }
        }
    }

    /// Gives each record its place: copies first, then outcomes (whose bytes go to the scratch buffer), then messages.
    /// Returns where the batch ends.
    fn fill_batch(&mut self) -> u64 {
        let Some(cursor) = &self.cursor else { return 0 };
        self.scratch.clear();
        let mut filling = Filling {
            cursor,
            at: cursor.end,
            scratch: &mut self.scratch,
        };
        while let Some(mut copy) = filling.pop_mail(&mut self.copies, |copy| copy.record.len()) {
            let place = filling.place_record(&mut copy.header, &mut copy.record);
            self.unsynced.copies.push((copy, place));
        }
        if self.copies.is_empty() {
            while let Some(settle) = filling.pop(&mut self.settles, cursor.size, settle_len) {
                let placed = filling.place_outcome(settle, &mut self.strays);
                self.unsynced.settles.push(placed);
            }
        }
        if self.copies.is_empty() && self.settles.is_empty() {
            while let Some(mut accept) =
                filling.pop_mail(&mut self.accepts, |accept| accept.record.len())
            {
                let place = filling.place_record(&mut accept.header, &mut accept.record);
                self.unsynced.accepts.push((accept, place));
            }
        }
        filling.at
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
            self.shared
                .state()
                .table
                .seal(cursor.key, cursor.synced, true);
            let _ = self.roll(0);
        }
        // Where the cut could not be written, the records may come back with a crash; their bodies stay then.
        let void = self.cut.is_none();
        for (accept, _) in lost.accepts {
            self.shared.refuse(accept, error.clone(), void);
        }
    }

    /// Makes all that was written durable, and tells everybody.
    pub(super) fn sync(&mut self) -> Result<(), Error> {
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
                Kind::Gone => state
                    .table
                    .tombstone_lies(place, copy.marks.iter().copied()),
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
}

/// A batch being laid out in the active segment.
struct Filling<'a> {
    cursor: &'a Cursor,
    at: u64,
    scratch: &'a mut Vec<u8>,
}

impl Filling<'_> {
    fn pop_mail<T>(&self, from: &mut VecDeque<T>, len: impl Fn(&T) -> usize) -> Option<T> {
        self.pop(from, self.cursor.mail_size, |record| len(record) as u64)
    }

    /// The next of them, where it ends before `limit`.
    fn pop<T>(&self, from: &mut VecDeque<T>, limit: u64, len: impl Fn(&T) -> u64) -> Option<T> {
        let fits = self.at + from.front().map(len)? <= limit;
        if fits { from.pop_front() } else { None }
    }

    /// Gives a record its place.
    fn place(&mut self, header: &mut Header) -> Place {
        header.synced = self.cursor.synced as u32;
        let length = header.record_len() as u32;
        let place = Place {
            segment: self.cursor.key,
            offset: self.at as u32,
            length,
        };
        self.at += u64::from(length);
        place
    }

    /// The same, and seals its bytes for this segment.
    fn place_record(&mut self, header: &mut Header, record: &mut [u8]) -> Place {
        let place = self.place(header);
        record::seal(record, header, self.cursor.mark);
        place
    }

    /// Writes an outcome into the scratch buffer.
    fn place_outcome(
        &mut self,
        mut settle: Settle,
        strays: &mut HashMap<u64, u64>,
    ) -> (Settle, Place) {
        let mut one = [0u8; 8];
        let mut many = Vec::new();
        let (kind, id, head) = match &mut settle {
            Settle::Outcome { id, status } => (Kind::Outcome, *id, status.as_slice()),
            Settle::Gone(gone) => {
                if !strays.is_empty() {
                    gone.marks.more.extend(strays.remove(&gone.id));
                }
                if gone.marks.more.is_empty() {
                    one = gone.marks.first.to_le_bytes();
                } else {
                    write_marks(&mut many, gone.marks.iter());
                }
                (
                    Kind::Gone,
                    gone.id,
                    if many.is_empty() { &one[..] } else { &many[..] },
                )
            }
        };
        let mut header = Header::small(kind, id, head.len());
        let place = self.place(&mut header);
        record::append(self.scratch, &header, head, self.cursor.mark);
        (settle, place)
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

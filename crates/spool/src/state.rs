//! What the spool knows without reading: every message of the queue, and where its bytes lie.
//!
//! Never: a write to disk. The committer writes; this is its memory.

use crate::Settings;
use crate::codec::StatusPeek;
use crate::index::{Entry, Gone, Marks, Place, Settle};
use crate::table::Table;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The index, and the table of segments.
pub(crate) struct State {
    pub(crate) index: BTreeMap<u64, Entry>,
    /// Statuses that are not on disk yet; what `claim` must show meanwhile.
    pub(crate) pending: HashMap<u64, Arc<Vec<u8>>>,
    pub(crate) table: Table,
}

impl State {
    pub(crate) fn new(settings: &Settings) -> State {
        let (index, pending) = (BTreeMap::new(), HashMap::new());
        State {
            index,
            pending,
            table: Table::new(settings),
        }
    }

    /// A message is durable at this place.
    pub(crate) fn insert(&mut self, id: u64, entry: Entry) {
        self.table.gain(entry.record);
        self.index.insert(id, entry);
    }

    /// The message leaves the queue. `None` where it is not in it.
    pub(crate) fn remove(&mut self, id: u64) -> Option<Settle> {
        let entry = self.index.remove(&id)?;
        self.pending.remove(&id);
        let first = self.table.mark_of(entry.record.segment);
        let more = self.table.half_but(first);
        let (record, status) = (entry.record, entry.status);
        let marks = Marks { first, more };
        Some(Settle::Gone(Gone {
            id,
            in_file: entry.in_file(),
            record,
            status,
            marks,
        }))
    }

    /// The message's tombstone is durable at `place`: its bytes may be overwritten.
    pub(crate) fn tombstone_written(&mut self, gone: &Gone, place: Place) {
        self.table.tombstone_lies(place, gone.marks.iter());
        self.forget_message(gone);
    }

    /// Nothing asks for its bytes any more.
    pub(crate) fn forget_message(&mut self, gone: &Gone) {
        self.table.lose(gone.record);
        self.table.lose(gone.status);
    }

    /// The message has a new status. `None` where it is not in the queue.
    pub(crate) fn update(&mut self, id: u64, peek: StatusPeek, status: Vec<u8>) -> Option<Settle> {
        self.index.get_mut(&id)?.note(peek);
        let status = Arc::new(status);
        self.pending.insert(id, status.clone());
        Some(Settle::Outcome { id, status })
    }

    /// An outcome is durable at `place`.
    pub(crate) fn outcome_written(&mut self, id: u64, status: &Arc<Vec<u8>>, place: Place) {
        if self
            .pending
            .get(&id)
            .is_some_and(|pending| Arc::ptr_eq(pending, status))
        {
            self.pending.remove(&id);
            if self.pending.is_empty() && self.pending.capacity() > 1024 {
                self.pending = HashMap::new();
            }
        }
        self.move_status(id, None, place);
    }

    /// An outcome was read from the log at `place`; false where its message is not known.
    pub(crate) fn outcome_recovered(&mut self, id: u64, peek: StatusPeek, place: Place) -> bool {
        let Some(entry) = self.index.get_mut(&id) else {
            return false;
        };
        entry.note(peek);
        self.move_status(id, None, place);
        true
    }

    /// The segment of this place was being copied forward when its owner died.
    pub(crate) fn half_copied(&mut self, original: Place) {
        let mark = self.table.mark_of(original.segment);
        self.table.add_half(std::iter::once(mark));
    }

    /// A copy of a status is durable at `place`; `from` is what it is a copy of.
    pub(crate) fn status_copied(&mut self, id: u64, from: Place, place: Place) {
        self.move_status(id, Some(from), place);
    }

    fn move_status(&mut self, id: u64, from: Option<Place>, place: Place) {
        let Some(entry) = self.index.get_mut(&id) else {
            return;
        };
        if from.is_some_and(|from| from != entry.status) {
            return;
        }
        let before = std::mem::replace(&mut entry.status, place);
        self.table.gain(place);
        self.table.lose(before);
    }

    /// A copy of a message is durable at `place`; `from` is what it is a copy of. Where the message went while it was
    /// being copied, the mark is returned that its tombstone, still to be written, must name too.
    pub(crate) fn record_copied(&mut self, id: u64, from: Place, place: Place) -> Option<u64> {
        let Some(entry) = self.index.get_mut(&id) else {
            return Some(self.table.mark_of(place.segment));
        };
        if entry.record == from {
            entry.record = place;
            self.table.gain(place);
            self.table.lose(from);
        }
        None
    }

    /// Damage may have swallowed a status: the message is as if never tried.
    pub(crate) fn drop_status(&mut self, id: u64, place: Place) {
        if let Some(entry) = self.index.get_mut(&id)
            && entry.status == place
        {
            entry.status = Place::NOWHERE;
            self.table.lose(place);
        }
    }

    /// Messages with a record in this segment, found the slow way.
    pub(crate) fn held_in(&self, key: u32) -> Vec<u64> {
        let here = |entry: &Entry| entry.record.segment == key || entry.status.segment == key;
        self.index
            .iter()
            .filter(|(_, entry)| here(entry))
            .map(|(&id, _)| id)
            .collect()
    }

    /// All that is ours by adoption: a state read apart, put into this one.
    pub(crate) fn merge(&mut self, other: State) {
        let keys = self.table.merge(other.table);
        let moved = |place: Place| match keys.get(place.segment as usize) {
            Some(&segment) => Place { segment, ..place },
            None => place,
        };
        for (id, mut entry) in other.index {
            entry.record = moved(entry.record);
            entry.status = moved(entry.status);
            self.index.insert(id, entry);
        }
    }
}

#[cfg(test)]
mod tests;

//! What the index keeps of a message, and what is said about one on its way to the log.
//!
//! Never: a lookup. These are the words; `state` keeps the books.

use crate::codec::StatusPeek;
use crate::{Due, QueueId, Summary};
use std::sync::Arc;

/// Where a record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
    pub(crate) length: u32,
}

impl Place {
    /// No record: the status of a message that was never tried.
    pub(crate) const NOWHERE: Place = Place {
        segment: u32::MAX,
        offset: 0,
        length: 0,
    };

    pub(crate) fn is_nowhere(self) -> bool {
        self.segment == u32::MAX
    }
}

/// One message in the index: 56 bytes, for there may be a million.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) record: Place,
    pub(crate) status: Place,
    pub(crate) next_try: u64,
    pub(crate) received: u64,
    pub(crate) size: u64,
    /// Attempts in the low 31 bits, frozen in the highest.
    attempts_frozen: u32,
    /// Recipients in the low 31 bits, body in a file in the highest.
    recipients_file: u32,
}

const HIGHEST: u32 = 1 << 31;

impl Entry {
    pub(crate) fn new(
        record: Place,
        received: u64,
        size: u64,
        recipients: u32,
        in_file: bool,
    ) -> Entry {
        let file = if in_file { HIGHEST } else { 0 };
        Entry {
            record,
            status: Place::NOWHERE,
            next_try: 0,
            received,
            size,
            attempts_frozen: 0,
            recipients_file: recipients.min(HIGHEST - 1) | file,
        }
    }

    pub(crate) fn recipients(&self) -> u32 {
        self.recipients_file & !HIGHEST
    }

    pub(crate) fn in_file(&self) -> bool {
        self.recipients_file & HIGHEST != 0
    }

    pub(crate) fn attempts(&self) -> u32 {
        self.attempts_frozen & !HIGHEST
    }

    pub(crate) fn frozen(&self) -> bool {
        self.attempts_frozen & HIGHEST != 0
    }

    pub(crate) fn note(&mut self, status: StatusPeek) {
        let frozen = if status.frozen { HIGHEST } else { 0 };
        self.next_try = status.next_try;
        self.attempts_frozen = status.attempts.min(HIGHEST - 1) | frozen;
    }

    pub(crate) fn due(&self, id: u64) -> Due {
        Due {
            id: QueueId::from_u64(id),
            next_try: self.next_try,
            frozen: self.frozen(),
        }
    }

    pub(crate) fn summary(&self, id: u64) -> Summary {
        Summary {
            id: QueueId::from_u64(id),
            received: self.received,
            size: self.size,
            next_try: self.next_try,
            attempts: self.attempts(),
            frozen: self.frozen(),
            recipients: self.recipients(),
        }
    }
}

/// An outcome on its way to the log.
#[derive(Debug)]
pub(crate) enum Settle {
    /// The message left the queue.
    Gone(Gone),
    /// The message stays; `status` is encoded.
    Outcome { id: u64, status: Arc<Vec<u8>> },
}

/// A message that left the queue. Its bytes stay untouched until its tombstone is durable.
#[derive(Debug)]
pub(crate) struct Gone {
    pub(crate) id: u64,
    pub(crate) in_file: bool,
    pub(crate) record: Place,
    pub(crate) status: Place,
    /// The segments that hold its bytes.
    pub(crate) marks: Marks,
}

/// One mark nearly always, more while a segment is being copied forward.
#[derive(Debug, Clone)]
pub(crate) struct Marks {
    pub(crate) first: u64,
    pub(crate) more: Vec<u64>,
}

impl Marks {
    pub(crate) fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        std::iter::once(self.first).chain(self.more.iter().copied())
    }

    pub(crate) fn len(&self) -> usize {
        1 + self.more.len()
    }
}

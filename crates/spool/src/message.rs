//! What the spool hands out: a message with its body, and the short forms for lists and schedules.

use crate::{DiskFile, Envelope, QueueId, Status};
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

/// One queued message, read from disk.
#[derive(Debug)]
pub struct Message {
    /// Its name.
    pub id: QueueId,
    /// As it was accepted.
    pub envelope: Envelope,
    /// As the last settlement left it.
    pub status: Status,
    /// Its text.
    pub body: Body,
}

/// A message's text: in memory where it is small, else a file to read through.
#[derive(Debug)]
pub enum Body {
    /// The whole text, checked against its checksum.
    Inline(Vec<u8>),
    /// A reader; it checks the checksum as it reaches the end.
    File(BodyFile),
}

impl Body {
    /// How many bytes the text has.
    pub fn len(&self) -> u64 {
        match self {
            Body::Inline(bytes) => bytes.len() as u64,
            Body::File(file) => file.len(),
        }
    }

    /// Whether there is no text at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A large body, read from its own file in order. The last `read` fails with `InvalidData` where the bytes are not
/// those that were accepted; so whoever sends it on must not end the transaction before it has read to the end.
pub struct BodyFile {
    file: Arc<dyn DiskFile>,
    len: u64,
    crc: u32,
    position: u64,
    read: crc32fast::Hasher,
}

impl BodyFile {
    pub(crate) fn new(file: Arc<dyn DiskFile>, len: u64, crc: u32) -> BodyFile {
        BodyFile {
            file,
            len,
            crc,
            position: 0,
            read: crc32fast::Hasher::new(),
        }
    }

    /// How many bytes the text has.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is no text at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Starts again from the first byte, for another attempt.
    pub fn rewind(&mut self) {
        self.position = 0;
        self.read = crc32fast::Hasher::new();
    }
}

impl std::fmt::Debug for BodyFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BodyFile")
            .field("len", &self.len)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

impl Read for BodyFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.len - self.position;
        let want = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        let count = self.file.read_at(&mut buffer[..want], self.position)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.read.update(&buffer[..count]);
        self.position += count as u64;
        if self.position == self.len && self.read.clone().finalize() != self.crc {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the body does not match its checksum",
            ));
        }
        Ok(count)
    }
}

/// What a deposit became: on disk, and the spool's responsibility.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// The message's name.
    pub id: QueueId,
    /// How many bytes its text has.
    pub size: u64,
}

/// What became of a message after an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// Nothing is left to do: it leaves the queue and its bytes are free.
    Gone,
    /// It stays, with this status.
    Keep(Status),
}

/// When a message is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// Which.
    pub id: QueueId,
    /// When, in milliseconds since 1970; 0 is at once.
    pub next_try: u64,
    /// Held by the operator.
    pub frozen: bool,
}

/// One line of the queue's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Which.
    pub id: QueueId,
    /// When it was accepted, in milliseconds since 1970.
    pub received: u64,
    /// How many bytes its text has.
    pub size: u64,
    /// When it is due next, in milliseconds since 1970; 0 is at once.
    pub next_try: u64,
    /// How often delivery was tried.
    pub attempts: u32,
    /// Held by the operator.
    pub frozen: bool,
    /// How many recipients the envelope names.
    pub recipients: u32,
}

/// What `Spool::open` found.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Every message, in the order of their ids.
    pub messages: Vec<Due>,
    /// What could not be read and was set aside.
    pub damaged: Vec<Damage>,
    /// Body files nobody owned any more; they were removed.
    pub orphans: u64,
}

/// A stretch of the log, or a file, that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file it was found in.
    pub file: PathBuf,
    /// Where in it, and how many bytes.
    pub offset: u64,
    /// How many bytes were set aside.
    pub length: u64,
    /// Where those bytes are now, with a report of the same name ending in `.txt`; none where there was nothing to keep.
    pub kept: Option<PathBuf>,
    /// Which message it was, as far as it can be told.
    pub id: Option<QueueId>,
    /// It lies where the last write of a crashed process was under way: most likely a message that was never
    /// acknowledged.
    pub unfinished: bool,
}

//! A message on its way in: a buffer while it is small, a file from `Settings::inline_limit` on.
//!
//! ```text
//! buffer: [44 bytes for the record's header][text …]  ── commit ──▶  [header][text][envelope][padding]
//! file:   body/ID gets the text in pieces of 64 KiB, each MiB sent on its way to the disk at once
//! ```
//!
//! The record is built where the bytes arrive, so that nothing is copied again before the disk.
//!
//! Never: a sync. Dropped without commit, it leaves nothing behind.

use crate::chores::LargeBody;
use crate::disk::{DiskFile, OpenMode};
use crate::record::{self, HEADER, Header, Kind};
use crate::shared::{Accept, Done, Shared};
use crate::{Envelope, Error, QueueId, codec};
use std::io::IoSlice;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Text is written to a body file in pieces of this size.
const PIECE: usize = 64 << 10;
/// So much of a body file is sent on its way to the disk at once.
const WRITEBACK: u64 = 1 << 20;

/// A message on its way in. Dropped without commit, it leaves nothing behind.
pub struct Deposit {
    shared: Arc<Shared>,
    id: QueueId,
    len: u64,
    crc: crc32fast::Hasher,
    buffer: Vec<u8>,
    spill: Option<Spill>,
}

/// The body file of a large message.
struct Spill {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    written: u64,
    on_its_way: u64,
}

impl Deposit {
    pub(crate) fn new(shared: Arc<Shared>) -> Result<Deposit, Error> {
        shared.usable()?;
        let counter = shared.counter.fetch_add(1, Ordering::Relaxed);
        if counter > QueueId::LAST_COUNTER {
            return Err(Error::IdsExhausted);
        }
        let id = QueueId::new(shared.epoch, counter);
        let crc = crc32fast::Hasher::new();
        Ok(Deposit {
            shared,
            id,
            len: 0,
            crc,
            buffer: Vec::new(),
            spill: None,
        })
    }

    /// The name the message will have.
    pub fn id(&self) -> QueueId {
        self.id
    }

    /// How many bytes were written so far.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds to the text. Past `Settings::inline_limit` it goes to a file, which may block for as long as a write does.
    /// `Error::Full` means that the reserve was reached: answer 452. After any error the deposit is to be dropped.
    pub fn write(&mut self, piece: &[u8]) -> Result<(), Error> {
        let added = self.add(piece);
        if matches!(added, Err(Error::Full)) {
            self.shared.room.used_up();
        }
        added
    }

    fn add(&mut self, piece: &[u8]) -> Result<(), Error> {
        self.crc.update(piece);
        self.len += piece.len() as u64;
        if self.spill.is_none() && self.len > self.shared.settings.inline_limit as u64 {
            self.start_file()?;
        }
        if self.spill.is_some() && self.buffer.len() + piece.len() > PIECE {
            return self.write_out(piece);
        }
        if self.buffer.is_empty() && self.spill.is_none() {
            self.buffer
                .reserve(HEADER + piece.len() + piece.len() / 8 + 256);
            self.buffer.resize(HEADER, 0);
        }
        self.buffer.extend_from_slice(piece);
        Ok(())
    }

    /// Moves what came so far into a file.
    fn start_file(&mut self) -> Result<(), Error> {
        let path = self.shared.folders.body_file(self.id.to_u64());
        let opened = self.shared.disk.open(&path, OpenMode::New);
        let file = Arc::from(opened.map_err(|e| Error::io("make", &path, e))?);
        self.spill = Some(Spill {
            file,
            path,
            written: 0,
            on_its_way: 0,
        });
        let small = std::mem::take(&mut self.buffer);
        let text = small.get(HEADER..).unwrap_or_default();
        self.write_out(text)?;
        self.buffer = Vec::with_capacity(PIECE);
        Ok(())
    }

    /// Writes the buffer, and `piece` behind it, to the file.
    fn write_out(&mut self, piece: &[u8]) -> Result<(), Error> {
        let Some(spill) = &mut self.spill else {
            return Ok(());
        };
        let count = (self.buffer.len() + piece.len()) as u64;
        let before = spill.written / WRITEBACK;
        if (spill.written + count) / WRITEBACK > before {
            self.shared
                .room
                .take(&*self.shared.disk, &self.shared.folders.spool, WRITEBACK)?;
        }
        let mut parts = [IoSlice::new(&self.buffer), IoSlice::new(piece)];
        let written = spill.file.write_at(&mut parts, spill.written);
        written.map_err(|e| Error::io("write", &spill.path, e))?;
        spill.written += count;
        self.buffer.clear();
        if spill.written - spill.on_its_way >= WRITEBACK {
            spill
                .file
                .start_writeback(spill.on_its_way, spill.written - spill.on_its_way);
            spill.on_its_way = spill.written;
        }
        Ok(())
    }

    /// The message is whole: its record is built and goes its way.
    pub(crate) fn finish(mut self, envelope: &Envelope, done: Done) {
        if let Err(error) = self.shared.usable().and_then(|()| self.write_out(&[])) {
            return done(Err(error));
        }
        let header = self.build_record(envelope);
        let accept = Accept {
            header,
            record: std::mem::take(&mut self.buffer),
            received: envelope.received,
            recipients: u32::try_from(envelope.recipients.len()).unwrap_or(u32::MAX),
            done,
        };
        let shared = self.shared.clone();
        match self.spill.take() {
            None => shared.hand_over(accept),
            Some(Spill { file, path, .. }) => shared.sync_body(LargeBody { accept, file, path }),
        }
    }

    fn build_record(&mut self, envelope: &Envelope) -> Header {
        if self.buffer.is_empty() {
            self.buffer = vec![0; HEADER];
        }
        let text_end = self.buffer.len();
        codec::write_envelope(&mut self.buffer, envelope);
        let head_len = (self.buffer.len() - text_end) as u32;
        record::pad(&mut self.buffer);
        Header {
            kind: Kind::Accepted,
            body_in_file: self.spill.is_some(),
            head_len,
            body_len: self.len,
            id: self.id.to_u64(),
            body_crc: self.crc.clone().finalize(),
            synced: 0,
        }
    }
}

impl Drop for Deposit {
    fn drop(&mut self) {
        if let Some(spill) = self.spill.take() {
            let path = spill.path.clone();
            drop(spill);
            let _ = self.shared.disk.remove(&path);
        }
    }
}

impl std::fmt::Debug for Deposit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let in_file = self.spill.is_some();
        f.debug_struct("Deposit")
            .field("id", &self.id)
            .field("len", &self.len)
            .field("in_file", &in_file)
            .finish()
    }
}

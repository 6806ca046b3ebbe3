//! Walks a segment from record to record, passes over bodies, and finds its way again after damage.
//!
//! ```text
//! record good            → Found, go on behind it
//! not good, one later is → Damaged up to that one
//! not good, none later   → the end; Damaged first where the segment's mark stands at the place
//! ```
//!
//! Never: a decision about what damage means, nor a write.

use crate::disk::DiskFile;
use crate::record::{self, ALIGN, HEADER, Header};
use crate::segment::FIRST;

/// How much is read at once.
const WINDOW: usize = 64 << 10;

/// A read error may lie in one page of many: this much is given up at a time.
const PAGE: usize = 4096;

/// The next thing in a segment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A record whose header and head are right.
    Found { offset: u64, header: Header },
    /// Bytes that are no record, `length` of them.
    Damaged {
        offset: u64,
        length: u64,
        id: Option<u64>,
    },
    /// Nothing more was written here.
    End { offset: u64 },
}

/// A walk through one segment.
pub(crate) struct Scan<'a> {
    file: &'a dyn DiskFile,
    mark: u64,
    /// Where reading stops: the file's length, or a cut.
    limit: u64,
    at: u64,
    head: Vec<u8>,
    window: Vec<u8>,
    window_at: u64,
    ended: bool,
}

impl<'a> Scan<'a> {
    /// From the first record; nothing at or behind `limit` is looked at.
    pub(crate) fn new(file: &'a dyn DiskFile, mark: u64, limit: u64) -> Scan<'a> {
        Scan::from(file, mark, limit, FIRST)
    }

    /// From a place where a record begins.
    pub(crate) fn from(file: &'a dyn DiskFile, mark: u64, limit: u64, at: u64) -> Scan<'a> {
        let (head, window) = (Vec::new(), Vec::new());
        Scan {
            file,
            mark,
            limit,
            at,
            head,
            window,
            window_at: 0,
            ended: false,
        }
    }

    /// The head of the record found last.
    pub(crate) fn head(&self) -> &[u8] {
        &self.head
    }

    /// Where the next record is looked for.
    pub(crate) fn position(&self) -> u64 {
        self.at
    }

    /// Goes to the next record. After `End` it stays there.
    pub(crate) fn step(&mut self) -> Step {
        let offset = self.at;
        if self.ended {
            return Step::End { offset };
        }
        if let Some(header) = self.record_at(offset) {
            self.at += header.record_len();
            return Step::Found { offset, header };
        }
        if let Some(next) = self.next_record(offset) {
            self.at = next;
            return Step::Damaged {
                offset,
                length: next - offset,
                id: self.likely_id(offset),
            };
        }
        self.ended = true;
        self.last_traces(offset)
    }

    /// No good record follows. The segment's own mark at this place says that one was begun here in this use.
    fn last_traces(&mut self, offset: u64) -> Step {
        let mark = self.mark;
        let begun = self
            .read(offset, HEADER)
            .filter(|bytes| record::u64_at(bytes, 0) == mark);
        let Some(bytes) = begun else {
            return Step::End { offset };
        };
        let header = bytes.first_chunk::<HEADER>().and_then(Header::parse);
        let left = self.limit - offset;
        let length = header.map_or(left, |header| claimed_len(&header).min(left));
        Step::Damaged {
            offset,
            length,
            id: header.map(|header| header.id),
        }
    }

    /// The record at `offset`, its head kept; `None` where header or head is wrong.
    fn record_at(&mut self, offset: u64) -> Option<Header> {
        let bytes = *self.read(offset, HEADER)?.first_chunk::<HEADER>()?;
        let header = Header::parse(&bytes)?;
        if claimed_len(&header) > self.limit.saturating_sub(offset) {
            return None;
        }
        let head_at = offset + HEADER as u64 + header.inline_len();
        let mut head = std::mem::take(&mut self.head);
        head.clear();
        if let Some(bytes) = self.read(head_at, header.head_len as usize) {
            head.extend_from_slice(bytes);
        }
        self.head = head;
        let whole = self.head.len() == header.head_len as usize;
        (whole && record::verify(&bytes, &self.head, self.mark)).then_some(header)
    }

    /// The first place behind `offset` where a good record begins.
    fn next_record(&mut self, offset: u64) -> Option<u64> {
        let mut at = offset + ALIGN as u64;
        while let Some(found) = self.next_mark(at) {
            if self.record_at(found).is_some() {
                return Some(found);
            }
            at = found + ALIGN as u64;
        }
        None
    }

    fn next_mark(&mut self, from: u64) -> Option<u64> {
        let mark = self.mark.to_le_bytes();
        let mut at = from;
        while at + HEADER as u64 <= self.limit {
            let want = WINDOW.min((self.limit - at) as usize) / ALIGN * ALIGN;
            let bytes = self.read(at, want)?;
            if let Some(place) = bytes.chunks_exact(ALIGN).position(|chunk| chunk == mark) {
                return Some(at + (place * ALIGN) as u64);
            }
            at += bytes.len() as u64;
        }
        None
    }

    /// Which message a damaged place most likely held.
    fn likely_id(&mut self, offset: u64) -> Option<u64> {
        let bytes = self.read(offset, HEADER)?.first_chunk::<HEADER>()?;
        Header::parse(bytes).map(|header| header.id)
    }

    /// `len` bytes at `offset`; `None` where the limit comes before their end.
    fn read(&mut self, offset: u64, len: usize) -> Option<&[u8]> {
        if offset + len as u64 > self.limit {
            return None;
        }
        let inside = offset >= self.window_at
            && offset + len as u64 <= self.window_at + self.window.len() as u64;
        if !inside {
            self.fill(offset, len);
        }
        let start = (offset - self.window_at) as usize;
        self.window.get(start..start + len)
    }

    fn fill(&mut self, offset: u64, len: usize) {
        let most = usize::try_from(self.limit - offset).unwrap_or(usize::MAX);
        self.window.resize(len.max(WINDOW).min(most), 0);
        self.window_at = offset;
        let count = match self.file.read_at(&mut self.window, offset) {
            Ok(count) => count,
            Err(_) => read_what_can_be(self.file, &mut self.window, offset),
        };
        self.window.truncate(count);
    }
}

/// Reads page by page; a page that cannot be read is zeros, and so damaged.
fn read_what_can_be(file: &dyn DiskFile, buffer: &mut [u8], offset: u64) -> usize {
    let mut done = 0;
    for page in buffer.chunks_mut(PAGE) {
        match file.read_at(page, offset + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(_) => {
                page.fill(0);
                done += page.len();
            }
        }
    }
    done
}

/// What the header says, without overflow whatever it says.
fn claimed_len(header: &Header) -> u64 {
    if header.inline_len() > u64::from(u32::MAX) {
        return u64::MAX;
    }
    header.record_len()
}

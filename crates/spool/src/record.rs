//! One record of the log: how it is framed, sealed with a checksum, and known again.
//!
//! ```text
//!  0 mark      8   the segment's own magic: random, new with each use of the file
//!  8 kind      1   1 accepted · 2 outcome · 3 gone
//!  9 flags     1   1: the body has a file of its own
//! 10 zero      2
//! 12 head_len  4   envelope, status, or the marks a tombstone stands for
//! 16 body_len  8
//! 24 id        8
//! 32 body_crc  4   over the body alone, so that recovery can pass over bodies
//! 36 synced    4   how much of the segment was on disk when this was written
//! 40 crc       4   over mark, bytes 8 to 40, and the head
//! 44 body, head, zeros up to a multiple of 8
//! ```
//!
//! The head stands behind the body so that a message is built in one buffer as it arrives. The checksum covers the
//! mark the record *should* have: what an earlier use of the segment left behind never matches, a damaged mark does
//! no harm where a record is expected, and a body cannot contain a record because nobody can guess the mark.
//!
//! Never: a file. Bytes in, bytes out.

/// How many bytes stand before the body.
pub(crate) const HEADER: usize = 44;
/// Records begin at multiples of this.
pub(crate) const ALIGN: usize = 8;

const BODY_IN_FILE: u8 = 1;

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A message: body and envelope.
    Accepted,
    /// A message's new status.
    Outcome,
    /// A message is gone; the head lists the marks of the segments that hold its bytes.
    Gone,
}

/// A record's fixed part, read and checked, or about to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) body_in_file: bool,
    pub(crate) head_len: u32,
    pub(crate) body_len: u64,
    pub(crate) id: u64,
    pub(crate) body_crc: u32,
    pub(crate) synced: u32,
}

impl Header {
    /// The header of a record without a body; `synced` is filled in as it gets its place.
    pub(crate) fn small(kind: Kind, id: u64, head_len: usize) -> Header {
        Header {
            kind,
            body_in_file: false,
            head_len: head_len as u32,
            body_len: 0,
            id,
            body_crc: 0,
            synced: 0,
        }
    }

    /// How many bytes of body stand in the record itself.
    pub(crate) fn inline_len(&self) -> u64 {
        if self.body_in_file { 0 } else { self.body_len }
    }

    /// How many bytes the record takes, padding included.
    pub(crate) fn record_len(&self) -> u64 {
        padded(HEADER as u64 + self.inline_len() + u64::from(self.head_len))
    }

    /// Reads the fields, with no check but that of the kind. `None` where the kind is none.
    pub(crate) fn parse(bytes: &[u8; HEADER]) -> Option<Header> {
        let kind = match bytes[8] {
            1 => Kind::Accepted,
            2 => Kind::Outcome,
            3 => Kind::Gone,
            _ => return None,
        };
        Some(Header {
            kind,
            body_in_file: bytes[9] & BODY_IN_FILE != 0,
            head_len: u32_at(bytes, 12),
            body_len: u64_at(bytes, 16),
            id: u64_at(bytes, 24),
            body_crc: u32_at(bytes, 32),
            synced: u32_at(bytes, 36),
        })
    }

    fn fields(&self, mark: u64) -> [u8; HEADER] {
        let mut bytes = [0u8; HEADER];
        bytes[..8].copy_from_slice(&mark.to_le_bytes());
        bytes[8] = match self.kind {
            Kind::Accepted => 1,
            Kind::Outcome => 2,
            Kind::Gone => 3,
        };
        bytes[9] = if self.body_in_file { BODY_IN_FILE } else { 0 };
        bytes[12..16].copy_from_slice(&self.head_len.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.body_len.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.id.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.body_crc.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.synced.to_le_bytes());
        bytes
    }
}

/// Fills in the first `HEADER` bytes of a record for the segment it is about to be written to. `record` is header
/// space, inline body, head and padding.
pub(crate) fn seal(record: &mut [u8], header: &Header, mark: u64) {
    let mut bytes = header.fields(mark);
    let head_at = HEADER + header.inline_len() as usize;
    let head = &record[head_at..head_at + header.head_len as usize];
    let crc = checksum(&bytes, mark, head);
    bytes[40..44].copy_from_slice(&crc.to_le_bytes());
    record[..HEADER].copy_from_slice(&bytes);
}

/// Whether header and head are those that were written into the segment with this mark.
pub(crate) fn verify(bytes: &[u8; HEADER], head: &[u8], mark: u64) -> bool {
    checksum(bytes, mark, head) == u32_at(bytes, 40)
}

/// Appends the zeros that bring a record to its full length.
pub(crate) fn pad(record: &mut Vec<u8>) {
    record.resize(record.len().next_multiple_of(ALIGN), 0);
}

/// Appends a whole small record: header, head, padding.
pub(crate) fn append(out: &mut Vec<u8>, header: &Header, head: &[u8], mark: u64) {
    let start = out.len();
    out.resize(start + HEADER, 0);
    out.extend_from_slice(head);
    pad(out);
    seal(&mut out[start..], header, mark);
}

/// The length with padding.
pub(crate) fn padded(len: u64) -> u64 {
    len.next_multiple_of(ALIGN as u64)
}

/// The marks a tombstone stands for, as its head.
pub(crate) fn write_marks(out: &mut Vec<u8>, marks: impl Iterator<Item = u64>) {
    for mark in marks {
        out.extend_from_slice(&mark.to_le_bytes());
    }
}

/// The marks in a tombstone's head.
pub(crate) fn read_marks(head: &[u8]) -> impl Iterator<Item = u64> + '_ {
    head.chunks_exact(8).map(|bytes| u64_at(bytes, 0))
}

fn checksum(bytes: &[u8; HEADER], mark: u64, head: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&mark.to_le_bytes());
    crc.update(&bytes[8..40]);
    crc.update(head);
    crc.finalize()
}

/// A little-endian number; zero where the bytes end before it.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes
        .get(at..at + 8)
        .and_then(|b| b.try_into().ok())
        .map_or(0, u64::from_le_bytes)
}

/// A little-endian number; zero where the bytes end before it.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..at + 4)
        .and_then(|b| b.try_into().ok())
        .map_or(0, u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            kind: Kind::Accepted,
            body_in_file: false,
            head_len: 5,
            body_len: 3,
            id: 77,
            body_crc: 9,
            synced: 1024,
        }
    }

    fn record(mark: u64) -> Vec<u8> {
        let mut record = vec![0; HEADER];
        record.extend_from_slice(b"bodyheads"[1..9].as_ref());
        pad(&mut record);
        seal(&mut record, &header(), mark);
        record
    }

    fn first(record: &[u8]) -> [u8; HEADER] {
        record[..HEADER].try_into().unwrap()
    }

    #[test]
    fn a_record_comes_back() {
        let record = record(42);
        assert_eq!(record.len() as u64, header().record_len());
        assert_eq!(Header::parse(&first(&record)), Some(header()));
        assert!(verify(&first(&record), b"heads", 42));
    }

    #[test]
    fn another_use_of_the_segment_does_not_match() {
        assert!(!verify(&first(&record(42)), b"heads", 43));
    }

    #[test]
    fn every_flipped_bit_of_header_and_head_is_seen_but_for_the_mark() {
        let whole = record(42);
        for bit in 0..HEADER * 8 {
            let mut bytes = first(&whole);
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(verify(&bytes, b"heads", 42), bit < 64, "bit {bit}");
        }
        assert!(!verify(&first(&whole), b"headt", 42));
    }

    #[test]
    fn marks_come_back() {
        let mut head = Vec::new();
        write_marks(&mut head, [3, u64::MAX].into_iter());
        assert_eq!(read_marks(&head).collect::<Vec<_>>(), [3, u64::MAX]);
    }
}

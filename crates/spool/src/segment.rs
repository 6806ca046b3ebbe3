//! A segment file: its name, and the header that says which use of the file this is.
//!
//! ```text
//! EEEEEE-SSSSSSSS.seg   epoch of the process that made it, its own number
//! 0     header          magic · sequence · mark · cut_mark · cut_offset · epoch · crc
//! 512   the same header again: a sector is written whole or not at all, and one flipped byte spoils one copy
//! 1024  records
//! ```
//!
//! The sequence orders all segments of one owner. A *cut* voids the end of an earlier segment where a write failed.
//! A header is on disk before the first record under it is written, so header and records never tear apart.
//!
//! Never: a record's contents.

use crate::disk::DiskFile;
use crate::record::{u32_at, u64_at};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, IoSlice};

/// Where records begin.
pub(crate) const FIRST: u64 = 1024;

const COPY: usize = 512;
const USED: usize = 48;
const MAGIC: &[u8; 8] = b"PSTNSEG1";

/// The void end of an earlier segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Which segment.
    pub(crate) mark: u64,
    /// From where on.
    pub(crate) offset: u64,
}

/// What a segment says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) sequence: u64,
    pub(crate) mark: u64,
    pub(crate) epoch: u32,
    pub(crate) cut: Option<Cut>,
}

/// What reading a header found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderState {
    /// In use.
    Good(SegmentHeader),
    /// Made, and never used.
    Blank,
    /// Neither copy can be read.
    Bad,
}

impl SegmentHeader {
    /// Writes both copies; durable after the file's sync.
    pub(crate) fn write(&self, file: &dyn DiskFile) -> io::Result<()> {
        let mut bytes = [0u8; 2 * COPY];
        let copy = self.encode();
        bytes[..USED].copy_from_slice(&copy);
        bytes[COPY..COPY + USED].copy_from_slice(&copy);
        file.write_at(&mut [IoSlice::new(&bytes)], 0)
    }

    /// Reads the better copy. Two good ones differ only where a crash tore the header of a new use: the later use
    /// wins, for the earlier one had nothing left in it.
    pub(crate) fn read(file: &dyn DiskFile) -> io::Result<HeaderState> {
        let mut bytes = [0u8; 2 * COPY];
        file.read_at(&mut bytes, 0)?;
        let copies = [
            SegmentHeader::decode(&bytes),
            SegmentHeader::decode(&bytes[COPY..]),
        ];
        Ok(
            match copies
                .into_iter()
                .flatten()
                .max_by_key(|header| header.sequence)
            {
                Some(header) => HeaderState::Good(header),
                None if bytes.iter().all(|&byte| byte == 0) => HeaderState::Blank,
                None => HeaderState::Bad,
            },
        )
    }

    fn encode(&self) -> [u8; USED] {
        let cut = self.cut.unwrap_or(Cut { mark: 0, offset: 0 });
        let mut bytes = [0u8; USED];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.mark.to_le_bytes());
        bytes[24..32].copy_from_slice(&cut.mark.to_le_bytes());
        bytes[32..40].copy_from_slice(&cut.offset.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.epoch.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..44]);
        bytes[44..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<SegmentHeader> {
        if !bytes.starts_with(MAGIC) || u32_at(bytes, 44) != crc32fast::hash(&bytes[..44]) {
            return None;
        }
        let cut = Cut {
            mark: u64_at(bytes, 24),
            offset: u64_at(bytes, 32),
        };
        Some(SegmentHeader {
            sequence: u64_at(bytes, 8),
            mark: u64_at(bytes, 16),
            epoch: u32_at(bytes, 40),
            cut: (cut.mark != 0).then_some(cut),
        })
    }
}

/// A mark nobody can guess, so that no body can be mistaken for a record. Never zero.
pub(crate) fn new_mark(epoch: u32, sequence: u64) -> u64 {
    RandomState::new().hash_one((epoch, sequence)) | 1
}

/// The name of a segment file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SegmentName {
    /// Whose: decides whose lock guards it.
    pub(crate) epoch: u32,
    /// Which of that process.
    pub(crate) number: u32,
}

impl std::fmt::Display for SegmentName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:06X}-{:08X}.seg", self.epoch, self.number)
    }
}

impl SegmentName {
    /// The name a file has, where it is a segment's.
    pub(crate) fn parse(name: &str) -> Option<SegmentName> {
        let (epoch, number) = name.strip_suffix(".seg")?.split_once('-')?;
        let found = SegmentName {
            epoch: u32::from_str_radix(epoch, 16).ok()?,
            number: u32::from_str_radix(number, 16).ok()?,
        };
        (found.to_string() == name).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_comes_back() {
        for cut in [
            None,
            Some(Cut {
                mark: 3,
                offset: 4096,
            }),
        ] {
            let header = SegmentHeader {
                sequence: 9,
                mark: 1 << 60,
                epoch: 7,
                cut,
            };
            assert_eq!(SegmentHeader::decode(&header.encode()), Some(header));
        }
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_seen() {
        let header = SegmentHeader {
            sequence: 9,
            mark: 11,
            epoch: 7,
            cut: None,
        };
        for bit in 0..USED * 8 {
            let mut bytes = header.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&bytes), None, "bit {bit}");
        }
    }

    #[test]
    fn names_come_back_and_strangers_are_left_alone() {
        let name = SegmentName {
            epoch: 0xAB,
            number: 3,
        };
        assert_eq!(name.to_string(), "0000AB-00000003.seg");
        assert_eq!(SegmentName::parse(&name.to_string()), Some(name));
        for other in [
            "0000AB-3.seg",
            "0000ab-00000003.seg",
            "x.seg",
            "0000AB-00000003.seg~",
        ] {
            assert_eq!(SegmentName::parse(other), None, "{other}");
        }
    }
}

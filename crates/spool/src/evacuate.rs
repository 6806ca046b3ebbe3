//! Copies what is left in a segment to the end of the log, a little with each group, so that the file may be used anew.
//!
//! ```text
//! accepted or outcome, still here in the index → copied
//! gone, its message still readable in a segment → copied
//! anything else                                → left behind
//! ```
//!
//! The victim's mark counts as half copied until the file is wiped: every tombstone written meanwhile names it too.
//!
//! Never: a write. What is to be copied is handed to the committer, who puts it before the outcomes of its group.

use crate::disk::DiskFile;
use crate::index::{Place, Settle};
use crate::record::{self, Header, Kind, read_marks, write_marks};
use crate::scan::{Scan, Step};
use crate::shared::Shared;
use crate::{Error, damaged};
use std::sync::Arc;

/// This part of a segment is copied with one group (256 KiB of 16 MiB); more only where one record is larger.
const STEP_PART: u64 = 64;

/// One record on its way forward.
pub(crate) struct Copy {
    pub(crate) header: Header,
    pub(crate) record: Vec<u8>,
    pub(crate) from: Place,
    /// A tombstone's marks.
    pub(crate) marks: Vec<u64>,
}

/// A segment being copied forward.
pub(crate) struct Evacuation {
    pub(crate) key: u32,
    file: Arc<dyn DiskFile>,
    mark: u64,
    end: u64,
    at: u64,
    pub(crate) scanned: bool,
}

impl Evacuation {
    pub(crate) fn begin(shared: &Shared, key: u32) -> Result<Evacuation, Error> {
        let mut state = shared.state();
        let file = state.table.file(key, &*shared.disk)?;
        let (mark, end) = state
            .table
            .segment(key)
            .map_or((0, 0), |segment| (segment.mark, segment.end));
        Ok(Evacuation {
            key,
            file,
            mark,
            end,
            at: crate::segment::FIRST,
            scanned: false,
        })
    }

    /// The next records to copy; sets `scanned` once there are no more.
    pub(crate) fn step(&mut self, shared: &Shared) -> Vec<Copy> {
        let file = self.file.clone();
        let mut scan = Scan::from(&*file, self.mark, self.end, self.at);
        let mut copies = Vec::new();
        let most = (shared.settings.segment_size / STEP_PART) as usize;
        let mut size = 0;
        while size < most {
            match scan.step() {
                Step::Found { offset, header } => {
                    let before = copies.len();
                    self.consider(shared, offset, header, scan.head(), &mut copies);
                    size += copies[before..]
                        .iter()
                        .map(|copy| copy.record.len())
                        .sum::<usize>();
                }
                Step::Damaged { .. } => {}
                Step::End { .. } => {
                    self.scanned = true;
                    break;
                }
            }
        }
        self.at = scan.position();
        copies
    }

    fn consider(
        &self,
        shared: &Shared,
        offset: u64,
        header: Header,
        head: &[u8],
        copies: &mut Vec<Copy>,
    ) {
        let from = Place {
            segment: self.key,
            offset: offset as u32,
            length: header.record_len() as u32,
        };
        if header.kind == Kind::Gone {
            copies.extend(tombstone(shared, header, head, from));
            return;
        }
        let here = shared.state().index.get(&header.id).is_some_and(|entry| {
            (if header.kind == Kind::Accepted {
                entry.record
            } else {
                entry.status
            }) == from
        });
        if here && let Some(record) = self.whole(&header, from) {
            copies.push(Copy {
                header,
                record,
                from,
                marks: Vec::new(),
            });
        }
    }

    /// The record's bytes, where they are all right.
    fn whole(&self, header: &Header, from: Place) -> Option<Vec<u8>> {
        let mut record = vec![0u8; from.length as usize];
        let count = self
            .file
            .read_at(&mut record, u64::from(from.offset))
            .ok()?;
        let body = record::HEADER..record::HEADER + header.inline_len() as usize;
        let right = count == record.len()
            && (header.body_in_file
                || header.kind != Kind::Accepted
                || crc32fast::hash(&record[body]) == header.body_crc);
        right.then_some(record)
    }

    /// All copies are durable. What could not be copied is looked at one by one: a damaged message is set aside and
    /// leaves the queue, its tombstone in the result.
    pub(crate) fn finish(self, shared: &Shared) -> Vec<Settle> {
        let state = shared.state();
        let left = match state.table.segment(self.key) {
            Some(segment) if segment.live > 0 => state.held_in(self.key),
            _ => Vec::new(),
        };
        drop(state);
        let mut lost = Vec::new();
        let mut stuck = false;
        for id in left {
            let Some(entry) = shared.state().index.get(&id).copied() else {
                continue;
            };
            for (place, is_status) in [(entry.status, true), (entry.record, false)] {
                if place.segment != self.key {
                    continue;
                }
                match self.is_damaged(id, place) {
                    Some(true) if is_status => shared.state().drop_status(id, place),
                    Some(true) => lost.extend(self.give_up(shared, id, place)),
                    _ => stuck = true,
                }
            }
        }
        shared.state().table.end_victim(self.key, stuck);
        lost
    }

    /// Whether the record is there and wrong; `None` where it cannot be read, which may pass.
    fn is_damaged(&self, id: u64, place: Place) -> Option<bool> {
        let mut bytes = vec![0u8; place.length as usize];
        self.file
            .read_at(&mut bytes, u64::from(place.offset))
            .ok()?;
        let whole = bytes.first_chunk::<{ record::HEADER }>().and_then(|fixed| {
            let header = Header::parse(fixed)?;
            let body = record::HEADER + usize::try_from(header.inline_len()).ok()?;
            let head = bytes.get(body..body.checked_add(header.head_len as usize)?)?;
            let right = header.id == id
                && record::verify(fixed, head, self.mark)
                && (header.kind != Kind::Accepted
                    || header.body_in_file
                    || crc32fast::hash(&bytes[record::HEADER..body]) == header.body_crc);
            right.then_some(())
        });
        Some(whole.is_none())
    }

    fn give_up(&self, shared: &Shared, id: u64, place: Place) -> Option<Settle> {
        let (offset, length) = (u64::from(place.offset), u64::from(place.length));
        let stretch = damaged::Stretch {
            mark: self.mark,
            offset,
            length,
            id: Some(id),
        };
        let why = "its checksum did not match when its segment was to be used anew";
        damaged::set_aside(&*shared.disk, &shared.folders, &*self.file, &stretch, why);
        shared.state().remove(id)
    }
}

/// A tombstone goes along while some segment still shows its message.
fn tombstone(shared: &Shared, header: Header, head: &[u8], from: Place) -> Option<Copy> {
    let state = shared.state();
    let marks: Vec<u64> = read_marks(head)
        .filter(|&mark| state.table.unwiped(mark))
        .collect();
    drop(state);
    if marks.is_empty() {
        return None;
    }
    let mut record = vec![0u8; record::HEADER];
    write_marks(&mut record, marks.iter().copied());
    let head_len = (record.len() - record::HEADER) as u32;
    record::pad(&mut record);
    Some(Copy {
        header: Header { head_len, ..header },
        record,
        from,
        marks,
    })
}

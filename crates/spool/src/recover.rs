//! Rebuilds the queue from segments, when a spool is opened and when a predecessor's part is adopted.
//!
//! ```text
//! headers, in the order of sequences ─▶ records, bodies passed over ─▶ index
//! the last group of each segment is the only one a crash can have torn: its bodies are read and checked
//! damage ─▶ damaged/ and a report, never a message more than the one it struck
//! ```
//!
//! A record is held back until a later one says that the disk had it (`synced`); what is still held back at the end
//! is that last group.
//!
//! Never: an acknowledgement, nor a write to a segment.

use crate::codec::{EnvelopePeek, StatusPeek, peek_envelope, peek_status};
use crate::damaged::{self, Stretch};
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::epoch::Listing;
use crate::index::{Entry, Place, Settle};
use crate::record::{HEADER, Header, Kind, read_marks};
use crate::scan::{Scan, Step};
use crate::segment::{Cut, HeaderState, SegmentHeader, SegmentName};
use crate::shared::Folders;
use crate::state::State;
use crate::table::{Phase, Segment};
use crate::{Damage, Error, QueueId, Settings};
use std::collections::{BTreeSet, HashMap, HashSet};

/// What was read.
pub(crate) struct Reading {
    pub(crate) state: State,
    pub(crate) damaged: Vec<Damage>,
    pub(crate) orphans: u64,
    /// Messages that cannot be kept: their tombstones are still to be written.
    pub(crate) lost: Vec<Settle>,
}

/// Reads all that these epochs left. They must be ours alone.
pub(crate) fn read(
    disk: &dyn Disk,
    folders: &Folders,
    settings: &Settings,
    epochs: &BTreeSet<u32>,
) -> Result<Reading, Error> {
    let listing = Listing::read(disk, folders)?;
    let mut reader = Reader {
        disk,
        folders,
        state: State::new(settings),
        damaged: Vec::new(),
        lost: Vec::new(),
        cuts: Vec::new(),
        ahead: HashMap::new(),
    };
    let mut opened = Vec::new();
    for &name in listing
        .segments
        .iter()
        .filter(|name| epochs.contains(&name.epoch))
    {
        opened.extend(reader.open(name)?);
    }
    opened.sort_by_key(|(_, header)| header.map(|header| header.sequence));
    let mut keys = Vec::with_capacity(opened.len());
    for (segment, header) in opened {
        keys.push((reader.state.table.add(segment), header));
    }
    reader.state.table.keep_cuts();
    for (key, header) in &keys {
        if let Some(header) = header {
            reader.read_segment(*key, header)?;
        }
    }
    for (key, _) in keys {
        let end = reader
            .state
            .table
            .segment(key)
            .map_or(0, |segment| segment.end);
        reader.state.table.seal(key, end, false);
    }
    let orphans = reader.match_bodies(&listing, epochs);
    Ok(Reading {
        state: reader.state,
        damaged: reader.damaged,
        orphans,
        lost: reader.lost,
    })
}

struct Reader<'a> {
    disk: &'a dyn Disk,
    folders: &'a Folders,
    state: State,
    damaged: Vec<Damage>,
    lost: Vec<Settle>,
    cuts: Vec<Cut>,
    /// Statuses whose message has not been met yet: it was copied forward past them.
    ahead: HashMap<u64, (StatusPeek, Place)>,
}

/// A record that waits for a proof that the disk had it.
struct HeldBack {
    place: Place,
    header: Header,
    what: What,
}

enum What {
    Accepted(EnvelopePeek),
    Outcome(StatusPeek),
    Gone(Vec<u64>),
}

impl Reader<'_> {
    fn open(
        &mut self,
        name: SegmentName,
    ) -> Result<Option<(Segment, Option<SegmentHeader>)>, Error> {
        let path = self.folders.spool.join(name.to_string());
        let fail = |operation, error| Error::io(operation, &path, error);
        let file = self
            .disk
            .open(&path, OpenMode::Write)
            .map_err(|e| fail("open", e))?;
        let size = file.size().map_err(|e| fail("measure", e))?;
        let state = SegmentHeader::read(&*file).map_err(|e| fail("read", e))?;
        let mut segment = Segment::blank(name, size);
        segment.phase = Phase::Active;
        let header = match state {
            HeaderState::Good(header) => Some(header),
            HeaderState::Blank => None,
            HeaderState::Bad => {
                self.set_segment_aside(name, size);
                return Ok(None);
            }
        };
        if let Some(header) = header {
            segment.sequence = header.sequence;
            segment.mark = header.mark;
            segment.cut = header.cut;
            self.cuts.extend(header.cut);
            self.state.table.saw(header.sequence);
        }
        Ok(Some((segment, header)))
    }

    fn set_segment_aside(&mut self, name: SegmentName, size: u64) {
        let name = name.to_string();
        let file = self.folders.spool.join(&name);
        let kept = damaged::keep_segment(self.disk, self.folders, &name);
        let damage = Damage {
            file,
            offset: 0,
            length: size,
            kept,
            id: None,
            unfinished: false,
        };
        self.damaged.push(damage);
    }

    fn read_segment(&mut self, key: u32, header: &SegmentHeader) -> Result<(), Error> {
        let path = self.path_of(key);
        let opened = self.disk.open(&path, OpenMode::Write);
        let file = opened.map_err(|error| Error::io("open", &path, error))?;
        let end = self.scan(key, header, &*file);
        if let Some(segment) = self.state.table.segment_mut(key) {
            segment.end = end;
        }
        // A killed process leaves records in the page cache only. Nothing may be built on them (a copy's original
        // overwritten, a gone message's body removed) before they are on disk.
        file.sync().map_err(|error| Error::io("sync", &path, error))
    }

    /// Reads one segment into the state; says where its records end.
    fn scan(&mut self, key: u32, header: &SegmentHeader, file: &dyn DiskFile) -> u64 {
        let cut = self
            .cuts
            .iter()
            .filter(|cut| cut.mark == header.mark)
            .map(|cut| cut.offset)
            .min();
        let size = self
            .state
            .table
            .segment(key)
            .map_or(0, |segment| segment.size);
        let mut scan = Scan::new(file, header.mark, cut.unwrap_or(size).min(size));
        let mut held_back: Vec<HeldBack> = Vec::new();
        let mut synced = 0u64;
        let mut stretches = Vec::new();
        loop {
            match scan.step() {
                Step::Found {
                    offset,
                    header: found,
                } => {
                    if u64::from(found.synced) > synced {
                        synced = u64::from(found.synced);
                        let proven = |held: &HeldBack| u64::from(held.place.offset) < synced;
                        let count = held_back.iter().take_while(|held| proven(held)).count();
                        for held in held_back.drain(..count) {
                            self.apply(held);
                        }
                    }
                    match understand(key, offset, found, scan.head()) {
                        Some(held) => held_back.push(held),
                        None => stretches.push((offset, found.record_len(), Some(found.id))),
                    }
                }
                Step::Damaged { offset, length, id } => stretches.push((offset, length, id)),
                Step::End { .. } => break,
            }
        }
        for held in held_back {
            if body_is_whole(file, &held) {
                self.apply(held);
            } else {
                let place = held.place;
                let (offset, length) = (u64::from(place.offset), u64::from(place.length));
                stretches.push((offset, length, Some(held.header.id)));
            }
        }
        for (offset, length, id) in stretches {
            let stretch = Stretch {
                mark: header.mark,
                offset,
                length,
                id,
            };
            self.set_aside(key, file, &stretch, offset >= synced);
        }
        scan.position()
    }

    fn apply(&mut self, held: HeldBack) {
        let id = held.header.id;
        match held.what {
            What::Accepted(peek) => self.accepted(id, &held.header, held.place, peek),
            What::Outcome(peek) => {
                if !self.state.outcome_recovered(id, peek, held.place) {
                    self.ahead.insert(id, (peek, held.place));
                }
            }
            What::Gone(marks) => {
                self.ahead.remove(&id);
                self.state
                    .table
                    .tombstone_lies(held.place, marks.into_iter());
                if let Some(Settle::Gone(gone)) = self.state.remove(id) {
                    self.state.forget_message(&gone);
                }
            }
        }
    }

    fn accepted(&mut self, id: u64, header: &Header, place: Place, peek: EnvelopePeek) {
        match self.state.index.get(&id).map(|entry| entry.record) {
            // Copied forward by somebody who did not come to overwrite the original.
            Some(original) => {
                self.state.half_copied(original);
                let _ = self.state.record_copied(id, original, place);
            }
            None => {
                let (size, file) = (header.body_len, header.body_in_file);
                let entry = Entry::new(place, peek.received, size, peek.recipients, file);
                self.state.insert(id, entry);
                if let Some((peek, place)) = self.ahead.remove(&id) {
                    self.state.outcome_recovered(id, peek, place);
                }
            }
        }
    }

    /// Sets a stretch aside, and reports it unless an earlier start did.
    fn set_aside(&mut self, key: u32, file: &dyn DiskFile, stretch: &Stretch, unfinished: bool) {
        let kept = stretch.kept_as(self.folders);
        if self.disk.exists(&kept).unwrap_or(false) {
            return;
        }
        let why = if unfinished {
            "the last write before a crash did not reach the disk whole; most likely these messages were never acknowledged"
        } else {
            "it does not match its checksum"
        };
        let kept = damaged::set_aside(self.disk, self.folders, file, stretch, why);
        self.damaged.push(Damage {
            file: self.path_of(key),
            offset: stretch.offset,
            length: stretch.length,
            kept,
            id: stretch.id.map(QueueId::from_u64),
            unfinished,
        });
    }

    fn path_of(&self, key: u32) -> std::path::PathBuf {
        let name = self
            .state
            .table
            .segment(key)
            .map(|segment| segment.name.to_string());
        self.folders.spool.join(name.unwrap_or_default())
    }

    /// Body files without a message go; messages without their body file are damaged. Where a record was damaged, its
    /// body may be one of the orphans: those are kept aside then. Returns how many orphans there were.
    fn match_bodies(&mut self, listing: &Listing, epochs: &BTreeSet<u32>) -> u64 {
        let mut orphans = 0;
        let mut there = HashSet::new();
        for &id in &listing.bodies {
            if self.state.index.get(&id).is_some_and(Entry::in_file) {
                there.insert(id);
            } else if epochs.contains(&QueueId::from_u64(id).epoch()) {
                orphans += 1;
                if self.damaged.is_empty() {
                    let _ = self.disk.remove(&self.folders.body_file(id));
                } else {
                    damaged::keep_body(self.disk, self.folders, id);
                }
            }
        }
        let missing = |(id, entry): &(&u64, &Entry)| entry.in_file() && !there.contains(*id);
        let lost: Vec<u64> = self
            .state
            .index
            .iter()
            .filter(missing)
            .map(|(&id, _)| id)
            .collect();
        for id in lost {
            self.lose(id);
        }
        orphans
    }

    /// A message whose body file is not there any more.
    fn lose(&mut self, id: u64) {
        let Some(place) = self.state.index.get(&id).map(|entry| entry.record) else {
            return;
        };
        let mark = self
            .state
            .table
            .segment(place.segment)
            .map_or(0, |segment| segment.mark);
        let (offset, length) = (u64::from(place.offset), u64::from(place.length));
        let stretch = Stretch {
            mark,
            offset,
            length,
            id: Some(id),
        };
        let path = self.path_of(place.segment);
        let kept = self.disk.open(&path, OpenMode::Read).ok().and_then(|file| {
            let why = "its body file is missing";
            damaged::set_aside(self.disk, self.folders, &*file, &stretch, why)
        });
        let file = self.folders.body_file(id);
        let id_ = Some(QueueId::from_u64(id));
        let damage = Damage {
            file,
            offset: 0,
            length: 0,
            kept,
            id: id_,
            unfinished: false,
        };
        self.damaged.push(damage);
        self.lost.extend(self.state.remove(id));
    }
}

fn understand(key: u32, offset: u64, header: Header, head: &[u8]) -> Option<HeldBack> {
    let place = Place {
        segment: key,
        offset: u32::try_from(offset).ok()?,
        length: u32::try_from(header.record_len()).ok()?,
    };
    let what = match header.kind {
        Kind::Accepted => What::Accepted(peek_envelope(head)?),
        Kind::Outcome => What::Outcome(peek_status(head)?),
        Kind::Gone => What::Gone(read_marks(head).collect()),
    };
    Some(HeldBack {
        place,
        header,
        what,
    })
}

/// Whether the body in the record is the one that was accepted.
fn body_is_whole(file: &dyn DiskFile, held: &HeldBack) -> bool {
    let length = held.header.inline_len() as usize;
    if length == 0 {
        return true;
    }
    let mut body = vec![0u8; length];
    let at = u64::from(held.place.offset) + HEADER as u64;
    // Asked twice: an error that passes must not cost a message.
    let read = file
        .read_at(&mut body, at)
        .or_else(|_| file.read_at(&mut body, at));
    read.is_ok_and(|count| count == length) && crc32fast::hash(&body) == held.header.body_crc
}

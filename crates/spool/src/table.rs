//! The table of segments: what each file still holds, and when it may be used anew.
//!
//! ```text
//! Active ─ full ─▶ Sealed ─ drained ─▶ Free ─ header of a new use written ─▶ Active
//!                    │                  └─ more than is needed ─▶ Doomed ─▶ unlinked
//!                    └─ few left: its records are copied forward, then it is drained
//! drained = nothing live in it, and no earlier segment still shows a message whose tombstone lies in it
//! ```
//!
//! The last half of that rule is what keeps the gone from rising: a tombstone may be overwritten only once every
//! segment that holds bytes of its message (named by mark) has itself been overwritten or unlinked: *wiped*.
//!
//! Never: a message's name. A segment counts bytes.

use crate::disk::{Disk, DiskFile, OpenMode};
use crate::index::Place;
use crate::segment::{Cut, SegmentName};
use crate::{Error, Settings};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

/// So many sealed segments are kept open for reading.
const MOST_OPEN: usize = 64;

/// Where a segment is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Active,
    Sealed,
    Free,
    Doomed,
}

/// One segment file of ours.
pub(crate) struct Segment {
    pub(crate) name: SegmentName,
    pub(crate) size: u64,
    pub(crate) sequence: u64,
    /// Zero where the file was never used.
    pub(crate) mark: u64,
    pub(crate) cut: Option<Cut>,
    pub(crate) phase: Phase,
    /// Where its records end.
    pub(crate) end: u64,
    /// Bytes of records that are still wanted.
    pub(crate) live: u64,
    /// Bytes of tombstones, needed or not.
    pub(crate) tombstones: u64,
    /// Marks of segments whose messages have their tombstones here.
    pub(crate) waits_for: BTreeSet<u64>,
    /// A write to it failed: used no more.
    pub(crate) retired: bool,
    /// Copying it forward did not empty it: not tried again.
    pub(crate) stuck: bool,
    pub(crate) file: Option<Arc<dyn DiskFile>>,
}

impl Segment {
    /// A file that was never used.
    pub(crate) fn blank(name: SegmentName, size: u64) -> Segment {
        Segment {
            name,
            size,
            sequence: 0,
            mark: 0,
            cut: None,
            phase: Phase::Sealed,
            end: 0,
            live: 0,
            tombstones: 0,
            waits_for: BTreeSet::new(),
            retired: false,
            stuck: false,
            file: None,
        }
    }
}

/// All segments of ours.
pub(crate) struct Table {
    segments: Vec<Option<Segment>>,
    free: VecDeque<u32>,
    doomed: Vec<u32>,
    marks: HashMap<u64, u32>,
    /// Segments whose messages may lie elsewhere as well: copied forward, and not yet wiped.
    half: Vec<u64>,
    victim: Option<u32>,
    next_sequence: u64,
    next_number: u32,
    /// Adopted segments are younger than the active one: the next record goes to a new one.
    pub(crate) roll_wanted: bool,
    live: u64,
    /// Bytes of all segment files, but for those about to be unlinked.
    space: u64,
    segment_size: u64,
    opened: VecDeque<u32>,
    folder: PathBuf,
}

impl Table {
    pub(crate) fn new(settings: &Settings) -> Table {
        Table {
            segments: Vec::new(),
            free: VecDeque::new(),
            doomed: Vec::new(),
            marks: HashMap::new(),
            half: Vec::new(),
            victim: None,
            next_sequence: 1,
            next_number: 1,
            roll_wanted: false,
            live: 0,
            space: 0,
            segment_size: settings.segment_size,
            opened: VecDeque::new(),
            folder: settings.folder.clone(),
        }
    }

    /// A segment with this sequence exists: ours come after it.
    pub(crate) fn saw(&mut self, sequence: u64) {
        self.next_sequence = self.next_sequence.max(sequence + 1);
    }

    /// The number for a new file's name.
    pub(crate) fn take_number(&mut self) -> u32 {
        self.next_number += 1;
        self.next_number - 1
    }

    /// Marks that must be named by every tombstone, but for `known`, which is named anyway.
    pub(crate) fn half_but(&self, known: u64) -> Vec<u64> {
        self.half
            .iter()
            .copied()
            .filter(|&mark| mark != known)
            .collect()
    }

    /// Takes in another table. Returns the new key of each of its keys.
    pub(crate) fn merge(&mut self, other: Table) -> Vec<u32> {
        self.next_sequence = self.next_sequence.max(other.next_sequence);
        let keys = other.segments.into_iter().map(|segment| match segment {
            Some(segment) => self.add(segment),
            None => u32::MAX,
        });
        let keys = keys.collect();
        self.add_half(other.half.into_iter());
        keys
    }

    /// Takes in a segment and counts it; the key is a forgotten one's, where there is one.
    pub(crate) fn add(&mut self, mut segment: Segment) -> u32 {
        if segment.phase != Phase::Active {
            // Free and doomed ones are listed again below.
            segment.phase = Phase::Sealed;
        }
        let vacant = self.segments.iter().position(Option::is_none);
        let key = vacant.unwrap_or(self.segments.len()) as u32;
        self.space += segment.size;
        self.live += segment.live;
        if segment.mark != 0 {
            self.marks.insert(segment.mark, key);
        }
        let file = segment.file.take();
        match vacant {
            Some(at) => self.segments[at] = Some(segment),
            None => self.segments.push(Some(segment)),
        }
        if let Some(file) = file {
            self.keep_open(key, file);
        }
        self.release_if_drained(key);
        key
    }

    pub(crate) fn segment(&self, key: u32) -> Option<&Segment> {
        self.segments.get(key as usize)?.as_ref()
    }

    pub(crate) fn segment_mut(&mut self, key: u32) -> Option<&mut Segment> {
        self.segments.get_mut(key as usize)?.as_mut()
    }

    pub(crate) fn mark_of(&self, key: u32) -> u64 {
        self.segment(key).map_or(0, |segment| segment.mark)
    }

    /// Whether a segment with this mark is still readable on disk.
    pub(crate) fn unwiped(&self, mark: u64) -> bool {
        self.marks.contains_key(&mark)
    }

    /// The next file to write to, where one is free.
    pub(crate) fn take_free(&mut self) -> Option<u32> {
        self.free.pop_front()
    }

    /// The place of the next segment in the order of all.
    pub(crate) fn take_sequence(&mut self) -> u64 {
        self.next_sequence += 1;
        self.next_sequence - 1
    }

    /// No record goes to this segment any more; its records end at `end`.
    pub(crate) fn seal(&mut self, key: u32, end: u64, retired: bool) {
        if let Some(segment) = self.segment_mut(key) {
            segment.phase = Phase::Sealed;
            segment.end = end;
            segment.retired |= retired;
        }
        self.release_if_drained(key);
    }

    /// A free segment could not be begun anew: it is used no more.
    pub(crate) fn doom(&mut self, key: u32) {
        if let Some(segment) = self.segment_mut(key) {
            segment.phase = Phase::Doomed;
            let size = segment.size;
            self.space -= size;
            self.doomed.push(key);
        }
    }

    /// A new use of the file began, its header durable: what it held before is wiped.
    pub(crate) fn begin(&mut self, key: u32, sequence: u64, mark: u64, cut: Option<Cut>) {
        let before = self.mark_of(key);
        if before != 0 {
            self.wiped(before);
        }
        self.marks.insert(mark, key);
        let waits_for = cut.map(|cut| cut.mark).filter(|&mark| self.unwiped(mark));
        if let Some(segment) = self.segment_mut(key) {
            segment.sequence = sequence;
            segment.mark = mark;
            segment.cut = cut;
            segment.phase = Phase::Active;
            segment.end = crate::segment::FIRST;
            segment.live = 0;
            segment.tombstones = 0;
            segment.stuck = false;
            segment.waits_for = waits_for.into_iter().collect();
        }
    }

    /// The file is unlinked, and the folder synced.
    pub(crate) fn forget(&mut self, key: u32) {
        let Some(segment) = self.segments.get_mut(key as usize).and_then(Option::take) else {
            return;
        };
        self.opened.retain(|&open| open != key);
        if segment.mark != 0 {
            self.wiped(segment.mark);
        }
    }

    /// After reading headers: a segment that carries a cut waits for the segment it cuts, where that is still there.
    pub(crate) fn keep_cuts(&mut self) {
        for segment in self.segments.iter_mut().flatten() {
            let cut = segment.cut.map(|cut| cut.mark);
            segment
                .waits_for
                .extend(cut.filter(|mark| self.marks.contains_key(mark)));
        }
    }

    /// No reader can find this use of a segment on disk again.
    fn wiped(&mut self, mark: u64) {
        self.marks.remove(&mark);
        self.half.retain(|&half| half != mark);
        for key in 0..self.segments.len() as u32 {
            let waited = self
                .segment_mut(key)
                .is_some_and(|s| s.waits_for.remove(&mark));
            if waited {
                self.release_if_drained(key);
            }
        }
    }

    /// A tombstone for a message of these segments lies at `place`.
    pub(crate) fn tombstone_lies(&mut self, place: Place, marks: impl Iterator<Item = u64>) {
        let own = self.mark_of(place.segment);
        for mark in marks {
            if mark != own
                && self.unwiped(mark)
                && let Some(segment) = self.segment_mut(place.segment)
            {
                segment.waits_for.insert(mark);
            }
        }
        if let Some(segment) = self.segment_mut(place.segment) {
            segment.tombstones += u64::from(place.length);
        }
    }

    fn release_if_drained(&mut self, key: u32) {
        let segment_size = self.segment_size;
        let victim = self.victim;
        let Some(segment) = self.segment_mut(key) else {
            return;
        };
        let drained = segment.phase == Phase::Sealed
            && segment.live == 0
            && segment.waits_for.is_empty()
            && victim != Some(key);
        if !drained {
            return;
        }
        if segment.retired || segment.size != segment_size {
            self.doom(key);
        } else {
            segment.phase = Phase::Free;
            self.free.push_back(key);
        }
    }

    pub(crate) fn gain(&mut self, place: Place) {
        if let Some(segment) = self.segment_mut(place.segment) {
            segment.live += u64::from(place.length);
            self.live += u64::from(place.length);
        }
    }

    pub(crate) fn lose(&mut self, place: Place) {
        if place.is_nowhere() {
            return;
        }
        if let Some(segment) = self.segment_mut(place.segment) {
            segment.live -= u64::from(place.length);
            self.live -= u64::from(place.length);
            self.release_if_drained(place.segment);
        }
    }

    /// The open file of a segment; opened again where it was closed to spare descriptors.
    pub(crate) fn file(&mut self, key: u32, disk: &dyn Disk) -> Result<Arc<dyn DiskFile>, Error> {
        if let Some(file) = self.segment(key).and_then(|segment| segment.file.clone()) {
            return Ok(file);
        }
        let name = self
            .segment(key)
            .map(|segment| segment.name.to_string())
            .unwrap_or_default();
        let path = self.folder.join(name);
        let file = disk
            .open(&path, OpenMode::Write)
            .map_err(|e| Error::io("open", &path, e))?;
        let file: Arc<dyn DiskFile> = Arc::from(file);
        self.keep_open(key, file.clone());
        Ok(file)
    }

    fn keep_open(&mut self, key: u32, file: Arc<dyn DiskFile>) {
        if self.opened.len() >= MOST_OPEN
            && let Some(oldest) = self.opened.pop_front()
            && let Some(segment) = self.segment_mut(oldest)
        {
            segment.file = None;
        }
        self.opened.push_back(key);
        if let Some(segment) = self.segment_mut(key) {
            segment.file = Some(file);
        }
    }

    /// What the law allows: twice what is live, and two segments.
    fn allowed(&self) -> u64 {
        2 * self.live + 2 * self.segment_size
    }

    /// Segments to unlink: those doomed, and free ones beyond what is allowed.
    pub(crate) fn take_doomed(&mut self) -> Vec<(u32, SegmentName)> {
        while self.space > self.allowed()
            && let Some(key) = self.free.pop_back()
        {
            self.doom(key);
        }
        let doomed = std::mem::take(&mut self.doomed);
        doomed
            .into_iter()
            .filter_map(|key| Some((key, self.segment(key)?.name)))
            .collect()
    }

    /// The segment to copy forward next, where space is short; `left` is what the active one still has room for.
    ///
    /// Short is: more than allowed; or more than allowed once the active segment is full, while a quarter of it is left to
    /// copy to. The cheapest is taken, and none that would not give back an eighth, so that copying comes to an end.
    pub(crate) fn choose_victim(&mut self, left: u64) -> Option<u32> {
        let over = self.space > self.allowed();
        let soon = left < self.segment_size / 4
            && self.free.is_empty()
            && self.space + self.segment_size > self.allowed();
        if self.victim.is_some() || !(over || soon) {
            return None;
        }
        let part = if over { 7 } else { 1 };
        let key = (0..self.segments.len() as u32)
            .filter(|&key| {
                self.segment(key)
                    .is_some_and(|s| self.may_be_victim(s, part))
            })
            .min_by_key(|&key| {
                self.segment(key)
                    .map(|s| (s.live + s.tombstones, s.sequence))
            })?;
        self.victim = Some(key);
        let mark = self.mark_of(key);
        if !self.half.contains(&mark) {
            self.half.push(mark);
        }
        Some(key)
    }

    /// Whether at most `part` eighths of it would have to be copied.
    fn may_be_victim(&self, segment: &Segment, part: u64) -> bool {
        // The cut it carries is still needed while the segment it cuts can be read.
        let cut_needed = segment.cut.is_some_and(|cut| self.unwiped(cut.mark));
        segment.phase == Phase::Sealed
            && !segment.stuck
            && !cut_needed
            && segment.live + segment.tombstones <= segment.size / 8 * part
    }

    /// All that was wanted of the victim is durable elsewhere; `stuck`: but for what could not be read.
    pub(crate) fn end_victim(&mut self, key: u32, stuck: bool) {
        self.victim = None;
        if let Some(segment) = self.segment_mut(key) {
            segment.stuck = stuck;
            if !stuck {
                segment.waits_for.clear();
            }
        }
        self.release_if_drained(key);
    }

    /// Copying the victim was given up.
    pub(crate) fn spare_victim(&mut self, key: u32) {
        self.victim = None;
        self.release_if_drained(key);
    }

    /// Marks segments found half copied, so that later tombstones cover both copies.
    pub(crate) fn add_half(&mut self, marks: impl Iterator<Item = u64>) {
        for mark in marks {
            if self.unwiped(mark) && !self.half.contains(&mark) {
                self.half.push(mark);
            }
        }
    }
}

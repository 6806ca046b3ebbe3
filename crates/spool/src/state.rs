//! What the spool knows without reading: where each message lies, and what each segment still holds.
//!
//! ```text
//! segment:  Active ─ full ─▶ Sealed ─ drained ─▶ Free ─ header of a new use written ─▶ Active
//!                               │                  └─ more than is needed ─▶ Doomed ─▶ unlinked
//!                               └─ few left: its records are copied forward, then it is drained
//! drained = nothing live in it, and no earlier segment still shows a message whose tombstone lies in it
//! ```
//!
//! The last half of that rule is what keeps the gone from rising: a tombstone may be overwritten only once every
//! segment that holds bytes of its message (named by mark) has itself been overwritten or unlinked: *wiped*.
//!
//! Never: a write to disk. The committer writes; this is its memory.

use crate::codec::StatusPeek;
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::segment::{Cut, SegmentName};
use crate::{Due, Error, QueueId, Settings, Summary};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

/// So many sealed segments are kept open for reading.
const MOST_OPEN: usize = 64;

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

/// The index, and the table of segments.
pub(crate) struct State {
    pub(crate) index: BTreeMap<u64, Entry>,
    /// Statuses that are not on disk yet; what `claim` must show meanwhile.
    pub(crate) pending: HashMap<u64, Arc<Vec<u8>>>,
    segments: Vec<Option<Segment>>,
    free: VecDeque<u32>,
    doomed: Vec<u32>,
    marks: HashMap<u64, u32>,
    /// Segments whose messages may lie elsewhere as well: copied forward, and not yet wiped.
    half: Vec<u64>,
    pub(crate) victim: Option<u32>,
    pub(crate) next_sequence: u64,
    pub(crate) next_number: u32,
    /// Adopted segments are younger than the active one: the next record goes to a new one.
    pub(crate) roll_wanted: bool,
    live: u64,
    /// Bytes of all segment files, but for those about to be unlinked.
    space: u64,
    segment_size: u64,
    opened: VecDeque<u32>,
    folder: PathBuf,
}

impl State {
    pub(crate) fn new(settings: &Settings) -> State {
        State {
            index: BTreeMap::new(),
            pending: HashMap::new(),
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

    // Segments.

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

    fn mark_of(&self, key: u32) -> u64 {
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

    fn gain(&mut self, place: Place) {
        if let Some(segment) = self.segment_mut(place.segment) {
            segment.live += u64::from(place.length);
            self.live += u64::from(place.length);
        }
    }

    fn lose(&mut self, place: Place) {
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

    // Space.

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

    // Messages.

    /// A message is durable at this place.
    pub(crate) fn insert(&mut self, id: u64, entry: Entry) {
        self.gain(entry.record);
        self.index.insert(id, entry);
    }

    /// The message leaves the queue. `None` where it is not in it.
    pub(crate) fn remove(&mut self, id: u64) -> Option<Settle> {
        let entry = self.index.remove(&id)?;
        self.pending.remove(&id);
        let first = self.mark_of(entry.record.segment);
        let more = self
            .half
            .iter()
            .copied()
            .filter(|&mark| mark != first)
            .collect();
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
        self.tombstone_lies(place, gone.marks.iter());
        self.forget_message(gone);
    }

    /// Nothing asks for its bytes any more.
    pub(crate) fn forget_message(&mut self, gone: &Gone) {
        self.lose(gone.record);
        self.lose(gone.status);
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
        let mark = self.mark_of(original.segment);
        self.add_half(std::iter::once(mark));
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
        self.gain(place);
        self.lose(before);
    }

    /// A copy of a message is durable at `place`; `from` is what it is a copy of. Where the message went while it was
    /// being copied, the mark is returned that its tombstone, still to be written, must name too.
    pub(crate) fn record_copied(&mut self, id: u64, from: Place, place: Place) -> Option<u64> {
        let Some(entry) = self.index.get_mut(&id) else {
            return Some(self.mark_of(place.segment));
        };
        if entry.record == from {
            entry.record = place;
            self.gain(place);
            self.lose(from);
        }
        None
    }

    /// Damage may have swallowed a status: the message is as if never tried.
    pub(crate) fn drop_status(&mut self, id: u64, place: Place) {
        if let Some(entry) = self.index.get_mut(&id)
            && entry.status == place
        {
            entry.status = Place::NOWHERE;
            self.lose(place);
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

    /// Marks segments found half copied, so that later tombstones cover both copies.
    pub(crate) fn add_half(&mut self, marks: impl Iterator<Item = u64>) {
        for mark in marks {
            if self.unwiped(mark) && !self.half.contains(&mark) {
                self.half.push(mark);
            }
        }
    }

    /// All that is ours by adoption: a state read apart, put into this one.
    pub(crate) fn merge(&mut self, other: State) {
        self.next_sequence = self.next_sequence.max(other.next_sequence);
        let mut keys = Vec::with_capacity(other.segments.len());
        for segment in other.segments {
            keys.push(segment.map_or(u32::MAX, |segment| self.add(segment)));
        }
        let moved = |place: Place| match keys.get(place.segment as usize) {
            Some(&segment) => Place { segment, ..place },
            None => place,
        };
        for (id, entry) in other.index {
            let (record, status) = (moved(entry.record), moved(entry.status));
            self.index.insert(
                id,
                Entry {
                    record,
                    status,
                    ..entry
                },
            );
        }
        self.add_half(other.half.into_iter());
    }
}

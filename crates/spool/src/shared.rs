//! What all threads of one open spool share.
//!
//! Lock order: `queue` and `state` are never held together, and neither across a disk operation but for opening a
//! segment to read from it.

use crate::chores::Chores;
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::index::{Entry, Place, Settle};
use crate::record::{self, HEADER, Header, Kind};
use crate::room::Room;
use crate::state::State;
use crate::{Body, BodyFile, Committed, Error, Message, QueueId, Settings, Status, codec, damaged};
use std::io::IoSliceMut;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

/// What is called once a message is on disk, or is not.
pub(crate) type Done = Box<dyn FnOnce(Result<Committed, Error>) + Send>;

/// A message on its way to the log: its record is whole but for what the segment adds.
pub(crate) struct Accept {
    pub(crate) header: Header,
    pub(crate) record: Vec<u8>,
    pub(crate) received: u64,
    pub(crate) recipients: u32,
    pub(crate) done: Done,
}

/// How soundly the committer sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Sleep {
    #[default]
    Awake,
    /// It will look at what is settled in time by itself.
    Timed,
    /// Until something comes.
    Sound,
}

/// What waits for the committer.
#[derive(Default)]
pub(crate) struct Queue {
    pub(crate) accepts: Vec<Accept>,
    pub(crate) settles: Vec<Settle>,
    pub(crate) flushes: Vec<Sender<Result<(), Error>>>,
    /// Space may be won: look.
    pub(crate) nudged: bool,
    /// Finish, and let go.
    pub(crate) closing: bool,
    /// The committer has gone.
    pub(crate) closed: bool,
    pub(crate) asleep: Sleep,
}

/// Where things are.
pub(crate) struct Folders {
    pub(crate) spool: PathBuf,
    pub(crate) body: PathBuf,
    pub(crate) damaged: PathBuf,
}

impl Folders {
    pub(crate) fn of(settings: &Settings) -> Folders {
        let spool = settings.folder.clone();
        Folders {
            body: spool.join("body"),
            damaged: spool.join("damaged"),
            spool,
        }
    }

    pub(crate) fn body_file(&self, id: u64) -> PathBuf {
        self.body.join(QueueId::from_u64(id).to_string())
    }
}

/// The insides of an open spool.
pub(crate) struct Shared {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) settings: Settings,
    pub(crate) folders: Folders,
    pub(crate) epoch: u32,
    pub(crate) counter: AtomicU64,
    pub(crate) queue: Mutex<Queue>,
    pub(crate) wake: Condvar,
    pub(crate) state: Mutex<State>,
    pub(crate) room: Room,
    pub(crate) chores: Chores,
    pub(crate) foreign: AtomicBool,
    pub(crate) closed: AtomicBool,
    /// The epoch file, locked as long as it is open.
    pub(crate) lock: Mutex<Option<Box<dyn DiskFile>>>,
    trouble: OnceLock<Arc<str>>,
}

impl Shared {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        settings: Settings,
        epoch: u32,
        lock: Box<dyn DiskFile>,
    ) -> Shared {
        Shared {
            folders: Folders::of(&settings),
            state: Mutex::new(State::new(&settings)),
            room: Room::new(settings.reserve),
            disk,
            settings,
            epoch,
            counter: AtomicU64::new(0),
            queue: Mutex::default(),
            wake: Condvar::new(),
            chores: Chores::default(),
            foreign: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            lock: Mutex::new(Some(lock)),
            trouble: OnceLock::new(),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        held(&self.state)
    }

    /// The queue, unless nobody will look at it any more.
    pub(crate) fn queue(&self) -> Result<MutexGuard<'_, Queue>, Error> {
        let queue = held(&self.queue);
        if queue.closed {
            Err(Error::Closed)
        } else {
            Ok(queue)
        }
    }

    /// Wakes the committer where it sleeps as soundly as that, or more.
    pub(crate) fn wake(&self, queue: &mut Queue, from: Sleep) {
        let wakes = match from {
            Sleep::Awake => false,
            Sleep::Timed => queue.asleep != Sleep::Awake,
            Sleep::Sound => queue.asleep == Sleep::Sound,
        };
        if wakes {
            queue.asleep = Sleep::Awake;
            self.wake.notify_one();
        }
    }

    // Failure.

    /// Nothing can be trusted to reach the disk any more. The first reason stays.
    pub(crate) fn fail(&self, reason: &Error) -> Error {
        let reason = self.trouble.get_or_init(|| Arc::from(reason.to_string()));
        Error::Failed {
            reason: reason.clone(),
        }
    }

    pub(crate) fn trouble(&self) -> Option<Error> {
        self.trouble.get().map(|reason| Error::Failed {
            reason: reason.clone(),
        })
    }

    /// Whether mail may still be taken.
    pub(crate) fn usable(&self) -> Result<(), Error> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::Closed);
        }
        self.trouble().map_or(Ok(()), Err)
    }

    // Incoming.

    /// Puts a message before the committer.
    pub(crate) fn hand_over(self: &Arc<Self>, accept: Accept) {
        let refused = match self.queue() {
            Ok(mut queue) => {
                queue.accepts.push(accept);
                self.wake(&mut queue, Sleep::Timed);
                return;
            }
            Err(error) => error,
        };
        self.refuse(accept, refused, true);
    }

    /// Answers with an error. Where no record of the message can be on disk (`void`), its body file goes too.
    pub(crate) fn refuse(self: &Arc<Self>, accept: Accept, error: Error, void: bool) {
        if void && accept.header.body_in_file {
            self.remove_bodies(vec![self.folders.body_file(accept.header.id)]);
        }
        (accept.done)(Err(error));
    }

    /// Puts an outcome before the committer.
    pub(crate) fn settled(&self, settle: Settle) {
        if let Ok(mut queue) = self.queue() {
            queue.settles.push(settle);
            self.wake(&mut queue, Sleep::Sound);
        }
    }

    // Outgoing.

    /// Reads a message. A record that moved while it was being read is looked for again; one that lies still and is
    /// wrong is damaged: it is set aside, and leaves the queue.
    pub(crate) fn claim(&self, id: u64) -> Result<Option<Message>, Error> {
        loop {
            let Some(found) = self.look_up(id)? else {
                return Ok(None);
            };
            if let Some((header, head, body)) = self.read_record(id, &found)?
                && let Some(envelope) = codec::read_envelope(&head)
            {
                let status = match self.read_status(id, &found)? {
                    Some(status) => status,
                    None if self.moved(id, &found) => continue,
                    None => Status::new(envelope.recipients.len()),
                };
                let body = match body {
                    Some(bytes) => Body::Inline(bytes),
                    None => Body::File(self.open_body(id, &header)?),
                };
                return Ok(Some(Message {
                    id: QueueId::from_u64(id),
                    envelope,
                    status,
                    body,
                }));
            }
            if !self.moved(id, &found) {
                return Err(self.give_up(id, &found));
            }
        }
    }

    fn look_up(&self, id: u64) -> Result<Option<Found>, Error> {
        let mut state = self.state();
        let Some(entry) = state.index.get(&id).copied() else {
            return Ok(None);
        };
        let pending = state.pending.get(&id).cloned();
        let record = state.table.file(entry.record.segment, &*self.disk)?;
        let status = if pending.is_some() || entry.status.is_nowhere() {
            None
        } else {
            Some(state.table.file(entry.status.segment, &*self.disk)?)
        };
        let mark = |place: Place| {
            state
                .table
                .segment(place.segment)
                .map_or(0, |segment| segment.mark)
        };
        let (record_mark, status_mark) = (mark(entry.record), mark(entry.status));
        Ok(Some(Found {
            entry,
            pending,
            record,
            record_mark,
            status,
            status_mark,
        }))
    }

    fn moved(&self, id: u64, found: &Found) -> bool {
        let state = self.state();
        state.index.get(&id).is_none_or(|entry| {
            entry.record != found.entry.record || entry.status != found.entry.status
        })
    }

    /// Header, head and inline body, by one call; `None` where they are not what they should be.
    #[expect(
        clippy::type_complexity,
        reason = "three parts of one record, taken apart at once"
    )]
    fn read_record(
        &self,
        id: u64,
        found: &Found,
    ) -> Result<Option<(Header, Vec<u8>, Option<Vec<u8>>)>, Error> {
        let entry = &found.entry;
        let length = entry.record.length as usize;
        let inline = if entry.in_file() {
            0
        } else {
            entry.size as usize
        };
        let mut header = [0u8; HEADER];
        let mut body = vec![0u8; inline];
        let mut head = vec![0u8; length.saturating_sub(HEADER + inline)];
        let mut parts = [&mut header[..], &mut body, &mut head].map(IoSliceMut::new);
        let at = u64::from(entry.record.offset);
        let count = found.record.read_vectored_at(&mut parts, at);
        if count.map_err(|e| Error::io("read", &self.folders.spool, e))? != length {
            return Ok(None);
        }
        let Some(parsed) = Header::parse(&header) else {
            return Ok(None);
        };
        let fits = parsed.kind == Kind::Accepted
            && parsed.id == id
            && parsed.body_in_file == entry.in_file()
            && parsed.body_len == entry.size
            && parsed.record_len() == length as u64;
        if !fits {
            return Ok(None);
        }
        head.truncate(parsed.head_len as usize);
        let whole = record::verify(&header, &head, found.record_mark)
            && (parsed.body_in_file || crc32fast::hash(&body) == parsed.body_crc);
        Ok(whole.then_some((parsed, head, (!parsed.body_in_file).then_some(body))))
    }

    /// The status as last settled; `None` where its record is not what it should be.
    fn read_status(&self, id: u64, found: &Found) -> Result<Option<Status>, Error> {
        if let Some(pending) = &found.pending {
            return Ok(codec::read_status(pending));
        }
        let Some(file) = &found.status else {
            return Ok(Some(Status::new(found.entry.recipients() as usize)));
        };
        let place = found.entry.status;
        let mut bytes = vec![0u8; place.length as usize];
        file.read_at(&mut bytes, u64::from(place.offset))
            .map_err(|e| Error::io("read", &self.folders.spool, e))?;
        Ok(status_in(&bytes, id, found.status_mark).and_then(codec::read_status))
    }

    fn open_body(&self, id: u64, header: &Header) -> Result<BodyFile, Error> {
        let path = self.folders.body_file(id);
        let file = self
            .disk
            .open(&path, OpenMode::Read)
            .map_err(|e| Error::io("open", &path, e))?;
        Ok(BodyFile::new(
            Arc::from(file),
            header.body_len,
            header.body_crc,
        ))
    }

    /// Sets a damaged message aside and takes it out of the queue.
    fn give_up(&self, id: u64, found: &Found) -> Error {
        let place = found.entry.record;
        let kept = damaged::set_aside(
            &*self.disk,
            &self.folders,
            &*found.record,
            &damaged::Stretch {
                mark: found.record_mark,
                offset: u64::from(place.offset),
                length: u64::from(place.length),
                id: Some(id),
            },
            "its checksum did not match when it was to be delivered",
        );
        if found.entry.in_file() {
            damaged::keep_body(&*self.disk, &self.folders, id);
        }
        let settle = self.state().remove(id);
        if let Some(settle) = settle {
            self.settled(settle);
        }
        Error::Damaged {
            id: QueueId::from_u64(id),
            kept: kept.unwrap_or_default(),
        }
    }
}

/// All that is needed to read a message without a lock.
struct Found {
    entry: Entry,
    pending: Option<Arc<Vec<u8>>>,
    record: Arc<dyn DiskFile>,
    record_mark: u64,
    status: Option<Arc<dyn DiskFile>>,
    status_mark: u64,
}

/// The encoded status in an outcome record, where that is what the bytes are.
pub(crate) fn status_in(bytes: &[u8], id: u64, mark: u64) -> Option<&[u8]> {
    let fixed = bytes.first_chunk::<HEADER>()?;
    let header = Header::parse(fixed)?;
    let head = bytes.get(HEADER..HEADER + header.head_len as usize)?;
    let right = header.kind == Kind::Outcome && header.id == id;
    (right && record::verify(fixed, head, mark)).then_some(head)
}

/// A lock that a panic elsewhere does not close for ever: what it guards is changed in steps that leave it whole.
pub(crate) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

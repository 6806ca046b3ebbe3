//! A second thread for what would hold up the committer: syncing large bodies, and unlinking.
//!
//! It starts with the first chore, for most spools never have one. Bodies come before unlinking, and all that wait are
//! synced file by file, with one sync of their folder.
//!
//! Never: a byte of the log.

use crate::Error;
use crate::disk::DiskFile;
use crate::error::is_full;
use crate::segment::SegmentName;
use crate::shared::{Accept, Shared, held};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{Builder, JoinHandle};

/// Enough for a few file operations and the caller's `done`.
const STACK: usize = 128 << 10;

/// A message whose body must be on disk before its record may be.
pub(crate) struct LargeBody {
    pub(crate) accept: Accept,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) path: PathBuf,
}

/// What waits for the second thread.
#[derive(Default)]
struct Waiting {
    bodies: Vec<LargeBody>,
    paths: Vec<PathBuf>,
    segments: Vec<(u32, SegmentName)>,
    closing: bool,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.bodies.is_empty() && self.paths.is_empty() && self.segments.is_empty()
    }
}

/// The second thread, where it was needed.
#[derive(Default)]
pub(crate) struct Chores {
    waiting: Mutex<Waiting>,
    wake: Condvar,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Shared {
    /// Syncs a large body, then hands its message to the committer.
    pub(crate) fn sync_body(self: &Arc<Self>, body: LargeBody) {
        self.chore(|waiting| waiting.bodies.push(body));
    }

    /// Removes body files nobody needs any more. They may come back with a crash: the next start clears orphans.
    pub(crate) fn remove_bodies(self: &Arc<Self>, mut paths: Vec<PathBuf>) {
        if !paths.is_empty() {
            self.chore(|waiting| waiting.paths.append(&mut paths));
        }
    }

    /// Unlinks segments, then forgets them.
    pub(crate) fn unlink_segments(self: &Arc<Self>, mut segments: Vec<(u32, SegmentName)>) {
        if !segments.is_empty() {
            self.chore(|waiting| waiting.segments.append(&mut segments));
        }
    }

    /// Does what waits, and ends the thread. What comes later is done on the spot.
    pub(crate) fn close_chores(self: &Arc<Self>) {
        held(&self.chores.waiting).closing = true;
        self.chores.wake.notify_one();
        let thread = held(&self.chores.thread).take();
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }

    fn chore(self: &Arc<Self>, add: impl FnOnce(&mut Waiting)) {
        let mut waiting = held(&self.chores.waiting);
        add(&mut waiting);
        let on_the_spot = waiting.closing || !self.second_thread();
        if on_the_spot {
            let taken = take(&mut waiting);
            drop(waiting);
            self.do_chores(taken);
        } else {
            drop(waiting);
            self.chores.wake.notify_one();
        }
    }

    /// Whether the thread is there, starting it where it is not.
    fn second_thread(self: &Arc<Self>) -> bool {
        let mut thread = held(&self.chores.thread);
        if thread.is_none() {
            let shared = self.clone();
            let builder = Builder::new().name("spool-chores".into()).stack_size(STACK);
            *thread = builder.spawn(move || shared.chores_thread()).ok();
        }
        thread.is_some()
    }

    fn chores_thread(self: Arc<Self>) {
        loop {
            let mut waiting = held(&self.chores.waiting);
            while waiting.is_empty() && !waiting.closing {
                waiting = self
                    .chores
                    .wake
                    .wait(waiting)
                    .unwrap_or_else(|e| e.into_inner());
            }
            if waiting.is_empty() {
                return;
            }
            let taken = take(&mut waiting);
            drop(waiting);
            self.do_chores(taken);
        }
    }

    fn do_chores(self: &Arc<Self>, taken: Waiting) {
        if !taken.bodies.is_empty() {
            self.sync_bodies(taken.bodies);
        }
        for path in taken.paths {
            let _ = self.disk.remove(&path);
        }
        if !taken.segments.is_empty() {
            self.unlink(taken.segments);
        }
    }

    /// Each file, then the folder once, then all their records may join a group.
    fn sync_bodies(self: &Arc<Self>, bodies: Vec<LargeBody>) {
        let mut synced = Vec::with_capacity(bodies.len());
        for body in bodies {
            match self.sync_one(&body) {
                Ok(()) => synced.push(body),
                Err(error) => self.refuse_body(body, error),
            }
        }
        if synced.is_empty() {
            return;
        }
        let folder = &self.folders.body;
        let named = self
            .disk
            .sync_folder(folder)
            .map_err(|e| Error::io("sync", folder, e));
        for body in synced {
            match &named {
                Ok(()) => self.hand_over(body.accept),
                Err(error) => self.refuse_body(body, self.fail(error)),
            }
        }
    }

    /// A full disk shows here where blocks are given late: that costs this message alone, for nothing else was said to
    /// be in this file. Any other failure means that the disk cannot be trusted.
    fn sync_one(&self, body: &LargeBody) -> Result<(), Error> {
        if let Some(trouble) = self.trouble() {
            return Err(trouble);
        }
        body.file.sync().map_err(|error| {
            let full = is_full(&error);
            let error = Error::io("sync", &body.path, error);
            if full { error } else { self.fail(&error) }
        })
    }

    fn refuse_body(&self, body: LargeBody, error: Error) {
        drop(body.file);
        let _ = self.disk.remove(&body.path);
        (body.accept.done)(Err(error));
    }

    /// The folder's sync is what makes the tombstones elsewhere superfluous; only then are the segments forgotten.
    fn unlink(self: &Arc<Self>, segments: Vec<(u32, SegmentName)>) {
        if self.trouble().is_some() {
            return;
        }
        let mut removed = Vec::with_capacity(segments.len());
        for (key, name) in segments {
            if self
                .disk
                .remove(&self.folders.spool.join(name.to_string()))
                .is_ok()
            {
                removed.push(key);
            }
        }
        let folder = &self.folders.spool;
        if let Err(error) = self.disk.sync_folder(folder) {
            self.fail(&Error::io("sync", folder, error));
            return;
        }
        let mut state = self.state();
        for key in removed {
            state.table.forget(key);
        }
        drop(state);
        if let Ok(mut queue) = self.queue() {
            queue.nudged = true;
            self.wake(&mut queue, crate::shared::Sleep::Timed);
        }
    }
}

fn take(waiting: &mut Waiting) -> Waiting {
    let closing = waiting.closing;
    std::mem::replace(
        waiting,
        Waiting {
            closing,
            ..Waiting::default()
        },
    )
}

//! The log as it is written.
//!
//! ```text
//! note() ──► buffer, bounded ──► a thread of its own: at 64 KiB, or a second after the first line ──► track.jsonl
//!                                                                 full: .1 → .2 …, track.jsonl → .1 ──┘
//! ```
//!
//! A session only ever copies a line into memory. When the disk does not keep up, lines are counted instead of kept,
//! and a `dropped` line says how many. Two processes of a server (a restart) may write the same file: each write is
//! whole lines, appended.
//!
//! Never: a wait for the disk in [`Journal::note`]; an fsync (what must survive is in the spool).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::record::{Event, write_line};

/// How large the log may grow, in memory and on disk.
#[derive(Clone, Copy, Debug)]
pub struct JournalSettings {
    /// A file is rotated when it has this many bytes.
    pub rotate_at: u64,
    /// How many rotated files are kept beside the current one.
    pub keep: u32,
    /// Bytes waiting in memory at most; beyond it lines are dropped and counted.
    pub buffer: usize,
}

impl Default for JournalSettings {
    /// 64 MiB a file, 10 kept, 1 MiB waiting.
    fn default() -> JournalSettings {
        JournalSettings {
            rotate_at: 64 << 20,
            keep: 10,
            buffer: 1 << 20,
        }
    }
}

/// Why the log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum TrackError {
    /// The file could not be opened for appending.
    #[error("cannot open the tracking log {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The thread that writes could not be started.
    #[error("cannot start the tracking log's thread: {0}")]
    Thread(io::Error),
}

/// The log of one server. A handle: clones write to the same log; when the last is dropped, what waits is written.
#[derive(Clone)]
pub struct Journal {
    owner: Arc<Owner>,
}

struct Owner {
    shared: Arc<Shared>,
    server: Box<str>,
    thread: Option<thread::JoinHandle<()>>,
}

struct Shared {
    waiting: Mutex<Waiting>,
    /// The thread is told: the first line came, much came, flush, or close.
    work: Condvar,
    /// Whoever flushes is told: a write is done.
    written: Condvar,
    limit: usize,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    /// Lines dropped and not yet reported in the log.
    untold: u64,
    dropped: u64,
    /// Bytes ever put in, and bytes ever dealt with.
    noted: u64,
    settled: u64,
    /// Somebody waits: write at once.
    hurry: bool,
    closing: bool,
}

impl Journal {
    /// A write is made as soon as this many bytes wait.
    const BATCH: usize = 64 << 10;
    /// A line waits this long at most for company.
    const PATIENCE: Duration = Duration::from_secs(1);

    /// Opens (or creates, mode 0640) the log `path` of `server`.
    pub fn open(
        path: &Path,
        server: &str,
        settings: JournalSettings,
    ) -> Result<Journal, TrackError> {
        let paper = Paper::open(path, settings).map_err(|source| TrackError::Open {
            path: path.to_owned(),
            source,
        })?;
        let shared = Arc::new(Shared {
            waiting: Mutex::default(),
            work: Condvar::new(),
            written: Condvar::new(),
            limit: settings.buffer,
        });
        let server: Box<str> = server.into();
        let (theirs, name) = (Arc::clone(&shared), server.clone());
        let thread = thread::Builder::new()
            .name("track".to_owned())
            .stack_size(128 << 10)
            .spawn(move || theirs.run(paper, &name))
            .map_err(TrackError::Thread)?;
        Ok(Journal {
            owner: Arc::new(Owner {
                shared,
                server,
                thread: Some(thread),
            }),
        })
    }

    /// Notes an event at `time` (unix milliseconds). Copies one line into memory; never waits for the disk.
    pub fn note(&self, time: u64, event: &Event<'_>) {
        let shared = &self.owner.shared;
        let mut waiting = shared.lock();
        let before = waiting.lines.len();
        write_line(&mut waiting.lines, time, &self.owner.server, event);
        let after = waiting.lines.len();
        if after > shared.limit {
            waiting.lines.truncate(before);
            waiting.untold += 1;
            waiting.dropped += 1;
            return;
        }
        waiting.noted += (after - before) as u64;
        let wake = before == 0 || (before < Journal::BATCH && after >= Journal::BATCH);
        drop(waiting);
        if wake {
            shared.work.notify_one();
        }
    }

    /// How many lines were dropped since the log was opened.
    pub fn dropped(&self) -> u64 {
        self.owner.shared.lock().dropped
    }

    /// Waits until all that was noted so far is written (or has been dropped because it could not be). Blocks: call it
    /// at the end of a process, not on a runtime's thread.
    pub fn flush(&self) {
        let shared = &self.owner.shared;
        let mut waiting = shared.lock();
        let noted = waiting.noted;
        while waiting.settled < noted {
            waiting.hurry = true;
            shared.work.notify_one();
            waiting = shared
                .written
                .wait(waiting)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.work.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic over there is reported there; there is nothing left to save here.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, mut paper: Paper, server: &str) {
        let mut batch = Vec::new();
        loop {
            let (dropped, closing) = self.next(&mut batch);
            let (noted, mut unwritten) = (batch.len() as u64, 0);
            if dropped > 0 {
                write_line(
                    &mut batch,
                    now(),
                    server,
                    &Event::Dropped { count: dropped },
                );
            }
            if let Err(lines) = paper.write(&batch) {
                unwritten = lines;
            }
            batch.clear();
            // A burst's memory is not kept for quiet times.
            batch.shrink_to(4 << 10);
            let mut waiting = self.lock();
            waiting.settled += noted;
            waiting.untold += unwritten;
            waiting.dropped += unwritten;
            drop(waiting);
            self.written.notify_all();
            if closing {
                return;
            }
        }
    }

    /// Waits for lines, then a little for company, and takes all there are.
    fn next(&self, batch: &mut Vec<u8>) -> (u64, bool) {
        let mut waiting = self.lock();
        while waiting.lines.is_empty() && !waiting.closing {
            waiting.hurry = false;
            waiting = self
                .work
                .wait(waiting)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let until = Instant::now() + Journal::PATIENCE;
        while waiting.lines.len() < Journal::BATCH && !waiting.hurry && !waiting.closing {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            waiting = self
                .work
                .wait_timeout(waiting, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        std::mem::swap(&mut waiting.lines, batch);
        waiting.hurry = false;
        (std::mem::take(&mut waiting.untold), waiting.closing)
    }
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis().try_into().unwrap_or(u64::MAX))
}

/// The file being written.
struct Paper {
    path: PathBuf,
    settings: JournalSettings,
    file: Option<File>,
    size: u64,
    /// The last write stopped within a line.
    torn: bool,
}

impl Paper {
    fn open(path: &Path, settings: JournalSettings) -> io::Result<Paper> {
        let mut paper = Paper {
            path: path.to_owned(),
            settings,
            file: None,
            size: 0,
            torn: false,
        };
        paper.reopen()?;
        Ok(paper)
    }

    fn reopen(&mut self) -> io::Result<()> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o640)
            .open(&self.path)?;
        self.size = file.metadata()?.len();
        self.file = Some(file);
        Ok(())
    }

    /// Appends whole lines; an error is how many were lost.
    fn write(&mut self, lines: &[u8]) -> Result<(), u64> {
        if lines.is_empty() {
            return Ok(());
        }
        let done = self.append(lines);
        self.size += done as u64;
        let rest = lines.get(done..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(());
        }
        self.torn |= done > 0 && lines.get(done - 1) != Some(&b'\n');
        // Opened anew next time: the file may have been moved to a place that is full, or the folder made again.
        self.file = None;
        Err(rest.iter().filter(|byte| **byte == b'\n').count() as u64)
    }

    /// How many bytes were written.
    fn append(&mut self, lines: &[u8]) -> usize {
        if self.file.is_none() && self.reopen().is_err() {
            return 0;
        }
        // A log that cannot be rotated goes on growing: better than one that stops.
        if self.size >= self.settings.rotate_at && self.rotate().is_err() && self.file.is_none() {
            return 0;
        }
        let Some(file) = self.file.as_mut() else {
            return 0;
        };
        if self.torn && file.write_all(b"\n").is_ok() {
            self.torn = false;
            self.size += 1;
        }
        let mut done = 0;
        while let Some(rest) = lines.get(done..).filter(|rest| !rest.is_empty()) {
            match file.write(rest) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        done
    }

    fn rotate(&mut self) -> io::Result<()> {
        // Another process of this server may have rotated already: then ours is not the file of that name any more.
        let ours = self
            .file
            .as_ref()
            .map(File::metadata)
            .transpose()?
            .map(|file| (file.dev(), file.ino()));
        let named = fs::metadata(&self.path)
            .ok()
            .map(|file| (file.dev(), file.ino()));
        if ours == named {
            for number in (1..self.settings.keep).rev() {
                let _ = fs::rename(
                    numbered(&self.path, number),
                    numbered(&self.path, number + 1),
                );
            }
            match self.settings.keep {
                0 => fs::remove_file(&self.path)?,
                _ => fs::rename(&self.path, numbered(&self.path, 1))?,
            }
        }
        self.reopen()
    }
}

/// `track.jsonl` → `track.jsonl.3`.
pub(crate) fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: &str) -> Event<'_> {
        Event::Frozen { id }
    }

    fn text(path: &Path) -> String {
        fs::read_to_string(path).unwrap_or_default()
    }

    #[test]
    fn what_was_noted_is_written_at_flush_and_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("track.jsonl");
        let journal = Journal::open(&path, "mx1", JournalSettings::default()).unwrap();
        journal.flush();
        journal.note(0, &event("A"));
        journal.note(0, &event("B"));
        journal.flush();
        assert_eq!(text(&path).lines().count(), 2);
        journal.clone().note(0, &event("C"));
        drop(journal);
        assert_eq!(text(&path).lines().count(), 3);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
    }

    #[test]
    fn a_lone_line_is_written_without_being_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("track.jsonl");
        let journal = Journal::open(&path, "mx1", JournalSettings::default()).unwrap();
        journal.note(0, &event("A"));
        let deadline = Instant::now() + Duration::from_secs(20);
        while text(&path).is_empty() {
            assert!(Instant::now() < deadline);
            thread::yield_now();
        }
    }

    #[test]
    fn beyond_the_buffer_lines_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("track.jsonl");
        let settings = JournalSettings {
            buffer: 300,
            ..JournalSettings::default()
        };
        let journal = Journal::open(&path, "mx1", settings).unwrap();
        for _ in 0..1000 {
            journal.note(0, &event("A"));
        }
        journal.flush();
        let dropped = journal.dropped();
        assert!(dropped > 0);
        drop(journal);
        let text = text(&path);
        let told: u64 = text
            .lines()
            .filter_map(|line| {
                serde_json::from_str::<serde_json::Value>(line).unwrap()["count"].as_u64()
            })
            .sum();
        assert_eq!(told, dropped);
        assert_eq!(
            text.lines().filter(|line| line.contains("frozen")).count() as u64,
            1000 - dropped
        );
    }

    #[test]
    fn files_are_rotated_by_size() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("track.jsonl");
        let settings = JournalSettings {
            rotate_at: 100,
            keep: 2,
            ..JournalSettings::default()
        };
        let journal = Journal::open(&path, "mx1", settings).unwrap();
        for id in ["A", "B", "C", "D", "E", "F", "G", "H"] {
            journal.note(0, &event(id));
            journal.flush();
        }
        let count = |path: &Path| text(path).lines().count();
        assert_eq!(
            (
                count(&path),
                count(&numbered(&path, 1)),
                count(&numbered(&path, 2))
            ),
            (2, 2, 2)
        );
        assert!(text(&path).contains("\"H\""));
        assert!(!numbered(&path, 3).exists());
    }

    #[test]
    fn two_processes_rotate_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("track.jsonl");
        let settings = JournalSettings {
            rotate_at: 100,
            keep: 5,
            ..JournalSettings::default()
        };
        let mut first = Paper::open(&path, settings).unwrap();
        let mut second = Paper::open(&path, settings).unwrap();
        let line = [b"x".repeat(99), b"\n".to_vec()].concat();
        first.write(&line).unwrap();
        first.write(b"a\n").unwrap();
        second.size = 200;
        second.write(b"b\n").unwrap();
        assert_eq!(text(&path), "a\nb\n");
        assert!(!numbered(&path, 2).exists());
    }

    #[test]
    fn a_refused_write_is_counted_and_told_later() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log").join("track.jsonl");
        fs::create_dir(path.parent().unwrap()).unwrap();
        let mut paper = Paper::open(&path, JournalSettings::default()).unwrap();
        paper.file = Some(OpenOptions::new().append(true).open("/dev/full").unwrap());
        assert_eq!(paper.write(b"a\nb\n"), Err(2));
        assert_eq!(paper.write(b"c\n"), Ok(()));
        assert_eq!(text(&path), "c\n");
    }
}

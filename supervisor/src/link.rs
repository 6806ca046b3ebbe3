//! One worker process: orders out, reports in.
//!
//! What it says is foreign input. The first packet is a `Hello` of our version, files never come with a report, it is
//! ready once, and it does not chatter; anything else is nonsense, and who talks nonsense is ended.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use postern_control::worker::{Order, Report};
use postern_control::{Error, Link, Received, VERSION};
use postern_hosting::ServerName;

/// More reports than this in a second are chatter.
const CHATTER: u32 = 1000;
/// As much of its note is shown, in letters.
const NOTE: usize = 300;

/// A worker process that has been executed and not yet been reaped.
pub(crate) struct Worker {
    pub(crate) server: ServerName,
    pub(crate) pid: Pid,
    pub(crate) uid: u32,
    link: Link,
    said_hello: bool,
    /// When it said that it was ready.
    pub(crate) ready: Option<Instant>,
    /// When it last said anything.
    pub(crate) heard: Instant,
    /// When it is killed, if it is to end, and why.
    pub(crate) deadline: Option<(Instant, &'static str)>,
    /// Whether it has been reaped: its number may be another's now.
    pub(crate) reaped: bool,
    pub(crate) sessions: u32,
    pub(crate) queued: u64,
    /// What it says an administrator should know.
    pub(crate) note: String,
    /// Why it was killed.
    pub(crate) condemned: Option<String>,
    window: (Instant, u32),
}

/// What came from a worker.
pub(crate) enum Heard {
    Report(Report),
    Nothing,
    Closed,
    Nonsense(String),
}

impl Worker {
    pub(crate) fn new(server: ServerName, pid: Pid, uid: u32, link: Link, now: Instant) -> Worker {
        Worker {
            server,
            pid,
            uid,
            link,
            said_hello: false,
            ready: None,
            heard: now,
            deadline: None,
            reaped: false,
            sessions: 0,
            queued: 0,
            note: String::new(),
            condemned: None,
            window: (now, 0),
        }
    }

    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    /// Sends an order; a worker that does not read its orders is an error, in a sentence, and never a wait.
    pub(crate) fn order(&self, order: &Order, files: &[BorrowedFd<'_>]) -> Result<(), String> {
        self.link.send(order, files).map_err(|error| format!("the worker does not take orders: {error}"))
    }

    /// The next report, if one is there.
    pub(crate) fn hear(&mut self, now: Instant) -> Heard {
        let report = match self.link.receive::<Report>() {
            Ok(Received::Packet(report, files)) if files.is_empty() => report,
            Ok(Received::Packet(..)) => return Heard::Nonsense("a report with files".to_owned()),
            Ok(Received::Closed) | Err(Error::Closed) => return Heard::Closed,
            Err(Error::WouldBlock) => return Heard::Nothing,
            Err(error) => return Heard::Nonsense(error.to_string()),
        };
        self.heard = now;
        match self.weigh(&report, now) {
            Ok(()) => Heard::Report(report),
            Err(why) => Heard::Nonsense(why),
        }
    }

    fn weigh(&mut self, report: &Report, now: Instant) -> Result<(), String> {
        if now.duration_since(self.window.0) >= Duration::from_secs(1) {
            self.window = (now, 0);
        }
        self.window.1 += 1;
        if self.window.1 > CHATTER {
            return Err(format!("more than {CHATTER} reports in a second"));
        }
        match (report, self.said_hello) {
            (Report::Hello { version }, false) if *version == VERSION => self.said_hello = true,
            (Report::Hello { version }, false) => {
                return Err(format!("it speaks version {version} of the protocol, not {VERSION}"));
            }
            (Report::Hello { .. }, true) => return Err("a second hello".to_owned()),
            (_, false) => return Err("a report before its hello".to_owned()),
            (Report::Ready, true) if self.ready.is_some() => return Err("ready twice".to_owned()),
            (Report::Ready, true) => self.ready = Some(now),
            (Report::Alive { sessions, queued, note }, true) => {
                (self.sessions, self.queued, self.note) = (*sessions, *queued, note.chars().take(NOTE).collect());
            }
            _ => {}
        }
        Ok(())
    }

    /// Ends it at once.
    pub(crate) fn kill(&self) {
        if self.reaped {
            return;
        }
        if let Err(error) = kill(self.pid, Signal::SIGKILL) {
            tracing::warn!("{}: cannot kill process {}: {error}", self.server, self.pid);
        }
    }
}

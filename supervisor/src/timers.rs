//! What is to happen when. An entry is never taken out: who it wakes looks whether it still means anything.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use nix::unistd::Pid;
use postern_hosting::ServerName;

/// Whom a timer wakes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wake {
    /// The deadline of a server's state.
    Server(ServerName),
    /// The deadline of a process, or its next sign of life.
    Worker(Pid),
    /// Files are looked at that may have changed.
    Files,
    /// systemd wants a sign of life.
    Watchdog,
}

/// All timers.
#[derive(Default)]
pub(crate) struct Timers(BinaryHeap<Reverse<(Instant, Wake)>>);

impl Timers {
    pub(crate) fn set(&mut self, at: Instant, wake: Wake) {
        self.0.push(Reverse((at, wake)));
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.0.peek().map(|Reverse((at, _))| *at)
    }

    /// The next one that is due.
    pub(crate) fn due(&mut self, now: Instant) -> Option<Wake> {
        if self.next()? > now {
            return None;
        }
        self.0.pop().map(|Reverse((_, wake))| wake)
    }
}

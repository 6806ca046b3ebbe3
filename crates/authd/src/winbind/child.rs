//! A program as a child: its input and output by lines, with a deadline for each answer and a bound on its length.
//!
//! One that is being asked when the whole process ends is left: it ends as its pipe breaks, or when winbind answers it.
//!
//! Never: a child that outlives its value; a wait without an end.

use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use thiserror::Error;

/// The most a program may say before it is stopped.
const LONGEST: usize = 256 * 1024;

/// An answer takes milliseconds: after this long there will be none.
const ENOUGH: Duration = Duration::from_secs(5);

/// Why a child gave no answer.
#[derive(Debug, Error)]
pub(super) enum Error {
    /// It could not be started.
    #[error("cannot start {program}: {source}; install the package winbind")]
    Start {
        /// Which program.
        program: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// It ended before it answered.
    #[error("{program} ended before it answered")]
    Gone {
        /// Which program.
        program: String,
    },
    /// The deadline came first.
    #[error(
        "{program} did not answer in time: winbindd is slow, or hangs; `wbinfo --ping` says whether it answers"
    )]
    Late {
        /// Which program.
        program: String,
        /// Whether it had time enough itself: then others need not wait for it too. Else those before it took too long.
        hangs: bool,
    },
    /// It says what it should not.
    #[error("{program} answered what nobody understands: {said:?}; is it Samba's?")]
    Nonsense {
        /// Which program.
        program: String,
        /// The beginning of what it said.
        said: String,
    },
}

/// A running program.
#[derive(Debug)]
pub(super) struct Running {
    program: String,
    child: Child,
    output: ChildStdout,
    /// What was read and not yet taken.
    waiting: Vec<u8>,
    /// Since when it is at work on a question.
    since: Instant,
}

impl Running {
    /// Starts a program; what it says to standard error is thrown away, or comes with the rest.
    pub(super) fn start(program: &Path, arguments: &[&str]) -> Result<Running, Error> {
        let name = program.display().to_string();
        let mut command = Command::new(program);
        command.args(arguments).env("LC_ALL", "C.UTF-8");
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let started = command.spawn().and_then(|mut child| {
            let output = child.stdout.take().ok_or(ErrorKind::BrokenPipe)?;
            Ok((child, output))
        });
        let (child, output) = started.map_err(|source| Error::Start {
            program: name.clone(),
            source,
        })?;
        Ok(Running {
            program: name,
            child,
            output,
            waiting: Vec::new(),
            since: Instant::now(),
        })
    }

    /// Gives it input. Never more than a pipe holds, and never before the last has been answered: so this cannot block.
    pub(super) fn write(&mut self, input: &[u8]) -> Result<(), Error> {
        self.since = Instant::now();
        let pipe = self.child.stdin.as_mut();
        match pipe.map(|pipe| pipe.write_all(input)) {
            Some(Ok(())) => Ok(()),
            _ => Err(self.gone()),
        }
    }

    /// Ends its input.
    pub(super) fn finish_input(&mut self) {
        self.child.stdin = None;
    }

    /// The next line, without its end; `None` at the end of the output.
    pub(super) fn line(&mut self, deadline: Instant) -> Result<Option<String>, Error> {
        loop {
            if let Some(end) = self.waiting.iter().position(|&octet| octet == b'\n') {
                let line: Vec<u8> = self.waiting.drain(..=end).collect();
                return self.text(&line[..end]).map(Some);
            }
            if self.waiting.len() > LONGEST {
                return Err(self.nonsense(&self.waiting));
            }
            if self.read(deadline)? == 0 {
                let rest = std::mem::take(&mut self.waiting);
                return match rest.is_empty() {
                    true => Ok(None),
                    false => self.text(&rest).map(Some),
                };
            }
        }
    }

    /// Reads on to the end; whether the program was content, and all its lines.
    pub(super) fn finish(mut self, deadline: Instant) -> Result<(bool, Vec<String>), Error> {
        self.finish_input();
        let (mut lines, mut length) = (Vec::new(), 0);
        while let Some(line) = self.line(deadline)? {
            length += line.len() + 1;
            if length > LONGEST {
                return Err(self.nonsense(line.as_bytes()));
            }
            lines.push(line);
        }
        // Its output has ended, and so will it; if not, it is killed.
        while Instant::now() < deadline {
            match self.child.try_wait() {
                Ok(Some(status)) => return Ok((status.success(), lines)),
                Ok(None) => std::thread::sleep(Duration::from_millis(1)),
                Err(_) => break,
            }
        }
        Err(self.late())
    }

    /// What it has said unasked.
    pub(super) fn unasked(&mut self) -> Result<Vec<u8>, Error> {
        match self.read(Instant::now()) {
            Ok(0) => Err(self.gone()),
            Ok(_) | Err(Error::Late { .. }) => Ok(std::mem::take(&mut self.waiting)),
            Err(error) => Err(error),
        }
    }

    fn read(&mut self, deadline: Instant) -> Result<usize, Error> {
        self.readable(deadline)?;
        let mut piece = [0; 4096];
        let read = self.output.read(&mut piece).unwrap_or(0);
        self.waiting.extend_from_slice(&piece[..read]);
        Ok(read)
    }

    fn readable(&self, deadline: Instant) -> Result<(), Error> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).map_err(|_| self.late())?;
            let mut watched = [PollFd::new(&self.output, PollFlags::IN)];
            match poll(&mut watched, Some(&left)) {
                Ok(0) => return Err(self.late()),
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return Err(self.gone()),
            }
        }
    }

    fn text(&self, line: &[u8]) -> Result<String, Error> {
        String::from_utf8(line.to_vec()).map_err(|_| self.nonsense(line))
    }

    /// It ended.
    pub(super) fn gone(&self) -> Error {
        Error::Gone {
            program: self.program.clone(),
        }
    }

    fn late(&self) -> Error {
        Error::Late {
            program: self.program.clone(),
            hangs: self.since.elapsed() >= ENOUGH,
        }
    }

    /// What it said makes no sense.
    pub(super) fn nonsense(&self, said: &[u8]) -> Error {
        let start = said.get(..80).unwrap_or(said);
        Error::Nonsense {
            program: self.program.clone(),
            said: String::from_utf8_lossy(start).into_owned(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended long ago.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

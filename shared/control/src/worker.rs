//! posternd ↔ worker, over the worker's stdin.
//!
//! ```text
//! posternd                        worker
//! Hello ─────────────────────────►
//! Begin + files ─────────────────►
//!                  ◄───────────── Hello
//!                  ◄───────────── Ready | Refused           (a worker that refuses its Begin exits)
//! Pause, Resume, Reload, Meet ───►
//!                  ◄───────────── Paused, Resumed, Reloaded | Refused, Alive
//! Drain ─────────────────────────►
//!                  ◄───────────── Drained, and it exits 0
//! ```
//!
//! Orders are trusted. Reports are foreign input: posternd stops a worker that talks nonsense.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use postern_hosting::{Finding, Identity, ServerName};
use serde::{Deserialize, Serialize};

use crate::{Error, MOST_FILES, bounded_findings};

/// What posternd tells a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Order {
    /// The first packet.
    Hello {
        /// See [`crate::VERSION`].
        version: u32,
    },
    /// The second packet: all that a worker needs to be a server. Carries one file for each item of the manifest.
    Begin {
        /// Which server.
        server: ServerName,
        /// Its state folder, which is also the working directory.
        state: PathBuf,
        /// What the files are.
        manifest: Manifest,
        /// Whether it begins paused.
        paused: bool,
    },
    /// Answer new connections with 421; go on with sessions and deliveries.
    Pause,
    /// Accept again.
    Resume,
    /// Build a new generation from this, or keep the old one. Carries one file for each item of the manifest.
    Reload {
        /// What the files are.
        manifest: Manifest,
    },
    /// Accept no more; end sessions; flush; say `Drained`; exit 0.
    Drain {
        /// After this long the worker is killed.
        deadline: Duration,
        /// `true`: sessions finish in their own time, and the queue is delivered until the deadline. `false`: sessions
        /// end with 421 at their next command; a message being received is finished first.
        gently: bool,
    },
    /// Answer the client at the other end of the one file carried, see [`crate::query`].
    Meet {
        /// The client's user.
        uid: u32,
    },
}

/// What the files of a packet are: one item a file, in the same order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// One for each file carried.
    pub items: Vec<Item>,
    /// What the definition names and root could not open. The worker knows the line, and words the finding.
    pub missing: Vec<MissingFile>,
}

/// What one file of a packet is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Item {
    /// The definition, open for reading.
    Definition {
        /// Where it is, for findings.
        path: PathBuf,
    },
    /// A file the definition names, open for reading.
    File {
        /// As the definition writes it.
        path: PathBuf,
    },
    /// A listening socket that does not block.
    Listener {
        /// What it is bound to, and how TLS is spoken there.
        identity: Identity,
    },
    /// A link to the authd that holds what a source of accounts needs, see [`crate::auth`].
    Authd {
        /// Which of the definition's `accounts`, from 0.
        source: usize,
    },
}

/// A file root could not open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MissingFile {
    /// As the definition writes it.
    pub path: PathBuf,
    /// Why not, in words.
    pub error: String,
}

/// What a worker says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Report {
    /// The first packet.
    Hello {
        /// See [`crate::VERSION`].
        version: u32,
    },
    /// The order to begin is carried out: it accepts connections (or answers 421, if it began paused).
    Ready,
    /// The order to begin or to reload is refused; after a refused reload the old generation stands.
    Refused {
        /// What is wrong in the definition.
        findings: Vec<Finding>,
    },
    /// The new generation is in force.
    Reloaded {
        /// What is doubtful in the definition.
        findings: Vec<Finding>,
    },
    /// Paused, as ordered.
    Paused,
    /// Accepting again, as ordered.
    Resumed,
    /// Nothing is left to do or the time is over; the spool is flushed; exit follows.
    Drained,
    /// Said every 5 s, and when `sessions` changes, at most once a second.
    Alive {
        /// Sessions now.
        sessions: u32,
        /// Messages in the queue now.
        queued: u64,
        /// What an administrator should know, or nothing.
        note: String,
    },
}

impl Report {
    /// A refusal with as many findings as a packet holds.
    pub fn refused(findings: Vec<Finding>) -> Report {
        Report::Refused {
            findings: bounded_findings(findings),
        }
    }

    /// A success with as many findings as a packet holds.
    pub fn reloaded(findings: Vec<Finding>) -> Report {
        Report::Reloaded {
            findings: bounded_findings(findings),
        }
    }
}

impl Manifest {
    /// The most items a manifest may have.
    pub const MOST: usize = MOST_FILES;

    /// Puts each file with its item; [`Error::Malformed`] if their numbers differ.
    pub fn with(&self, files: Vec<OwnedFd>) -> Result<Vec<(Item, OwnedFd)>, Error> {
        if self.items.len() != files.len() {
            let what = format!(
                "{} files for a manifest of {} items",
                files.len(),
                self.items.len()
            );
            return Err(Error::Malformed(what));
        }
        Ok(self.items.iter().cloned().zip(files).collect())
    }
}

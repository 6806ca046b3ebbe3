//! What the owner of a spool may choose.

use std::path::PathBuf;
use std::time::Duration;

/// How a spool is laid out and how far it may go.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its folder; made where it does not exist (its parent must).
    pub folder: PathBuf,
    /// How many bytes a segment file has.
    pub segment_size: u64,
    /// Bodies of more bytes than this go to a file of their own.
    pub inline_limit: usize,
    /// How much free space must stay on the file system.
    pub reserve: Reserve,
    /// How long an outcome may wait for a sync: what a crash can make go twice.
    pub outcome_window: Duration,
}

impl Settings {
    /// The defaults, in `folder`.
    ///
    /// 16 MiB a segment: an idle server keeps one or two files of it, they are recycled soon enough for the cheap
    /// syncs of blocks that exist already, and one is rolled at most a dozen times a second at full speed.
    pub fn new(folder: impl Into<PathBuf>) -> Settings {
        Settings {
            folder: folder.into(),
            segment_size: 16 << 20,
            inline_limit: 128 << 10,
            reserve: Reserve::default(),
            outcome_window: Duration::from_secs(1),
        }
    }
}

/// Free space that mail may not use: the greater of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reserve {
    /// In bytes.
    pub bytes: u64,
    /// In hundredths of the file system's size.
    pub percent: u8,
}

impl Default for Reserve {
    fn default() -> Reserve {
        Reserve {
            bytes: 100_000_000,
            percent: 1,
        }
    }
}

impl Reserve {
    /// No reserve at all.
    pub const NONE: Reserve = Reserve {
        bytes: 0,
        percent: 0,
    };

    /// The reserve on a file system of `total` bytes.
    pub fn on(self, total: u64) -> u64 {
        self.bytes.max(total / 100 * u64::from(self.percent))
    }
}

//! What can go wrong, in words that fit a log line.

use crate::QueueId;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why the spool did not do what it was asked. Cheap to clone: one failure may be told to a whole group.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Free space is at the reserve, or the disk is full: answer 452, the client may come back.
    #[error("the disk is full, or nearly so")]
    Full,
    /// A sync failed earlier: nothing more is accepted until the process is restarted.
    #[error("the spool has failed: {reason}")]
    Failed {
        /// The first failure, in words.
        reason: Arc<str>,
    },
    /// The spool was closed.
    #[error("the spool is closed")]
    Closed,
    /// One operation on one file failed; the spool goes on.
    #[error("cannot {operation} {}: {source}", .path.display())]
    Io {
        /// What was tried: "open", "write", …
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: Arc<std::io::Error>,
    },
    /// The message's record does not match its checksum; it was set aside and left the queue.
    #[error("message {id} is damaged on disk; what is left of it is in {}", .kept.display())]
    Damaged {
        /// The message.
        id: QueueId,
        /// Where its bytes were put.
        kept: PathBuf,
    },
    /// This process has given out all its ids (a million million); restart it.
    #[error("no queue ids are left to this process")]
    IdsExhausted,
}

impl Error {
    /// The error for a failed operation; a full disk is told apart because the client is answered differently.
    pub(crate) fn io(operation: &'static str, path: &Path, source: std::io::Error) -> Error {
        if is_full(&source) {
            return Error::Full;
        }
        Error::Io {
            operation,
            path: path.to_owned(),
            source: Arc::new(source),
        }
    }
}

/// No space, or no quota: the disk is sound, only full.
pub(crate) fn is_full(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
    )
}

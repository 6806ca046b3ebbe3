//! Whether there is room for mail: free space against the reserve, asked of the file system only now and then.
//!
//! Never: what to do about it.

use crate::disk::Disk;
use crate::{Error, Reserve};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So long an answer of the file system is believed.
const FRESH: Duration = Duration::from_millis(250);

/// What the file system said last.
pub(crate) struct Room {
    reserve: Reserve,
    last: Mutex<Option<Known>>,
}

#[derive(Clone, Copy)]
struct Known {
    asked: Instant,
    /// Bytes above the reserve that are left, by our own count since; none: it was reached.
    left: u64,
}

impl Room {
    pub(crate) fn new(reserve: Reserve) -> Room {
        Room {
            reserve,
            last: Mutex::new(None),
        }
    }

    /// A write has found no space: no answer from before is believed any more.
    pub(crate) fn used_up(&self) {
        let known = Known {
            asked: Instant::now(),
            left: 0,
        };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
    }

    /// Counts `bytes` as used and says whether there still is room. Asks again when the answer is old or half used up.
    pub(crate) fn take(&self, disk: &dyn Disk, folder: &Path, bytes: u64) -> Result<(), Error> {
        let now = Instant::now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = last.as_mut()
            && now.duration_since(known.asked) < FRESH
        {
            if known.left == 0 {
                return Err(Error::Full);
            }
            if bytes <= known.left / 2 {
                known.left -= bytes;
                return Ok(());
            }
        }
        let space = disk
            .space(folder)
            .map_err(|e| Error::io("measure", folder, e))?;
        let left = space.free.saturating_sub(self.reserve.on(space.total));
        let enough = left > bytes;
        *last = Some(Known {
            asked: now,
            left: if enough { left - bytes } else { 0 },
        });
        if enough { Ok(()) } else { Err(Error::Full) }
    }
}

//! From one segment to the next: a free one begun anew, or a new file.
//!
//! Never: a record.

use super::Committer;
use super::batch::Cursor;
use crate::Error;
use crate::disk::{DiskFile, OpenMode};
use crate::segment::{FIRST, SegmentHeader, SegmentName, new_mark};
use crate::table::{Phase, Segment};
use std::path::PathBuf;
use std::sync::Arc;

/// This part of a segment is left to outcomes.
const OUTCOME_PART: u64 = 32;

impl Committer {
    /// After an adoption the log must go on in a segment younger than the adopted ones.
    pub(super) fn roll_if_wanted(&mut self) -> Result<(), Error> {
        let wanted = std::mem::take(&mut self.shared.state().table.roll_wanted);
        if wanted && self.cursor.is_some() {
            self.sync()?;
            self.seal();
        }
        Ok(())
    }

    fn seal(&mut self) {
        if let Some(cursor) = self.cursor.take() {
            self.shared
                .state()
                .table
                .seal(cursor.key, cursor.end, false);
        }
    }

    /// Goes on in another segment with room for a record of `needed` bytes. Its header is durable before any record, and
    /// before the old one is left: where it cannot be had, outcomes still find a place in the old one.
    pub(super) fn roll(&mut self, needed: u64) -> Result<(), Error> {
        self.stalled = true;
        let shared = self.shared.clone();
        let usual = shared.settings.segment_size;
        let mail = usual - usual / OUTCOME_PART;
        let fits = FIRST + needed <= mail;
        let (size, mail_size) = if fits {
            (usual, mail)
        } else {
            (FIRST + needed, FIRST + needed)
        };
        let free = if fits {
            shared.state().table.take_free()
        } else {
            None
        };
        let (key, path, file) = match free {
            Some(key) => self.reopen(key)?,
            None => self.make(size)?,
        };
        let sequence = shared.state().table.take_sequence();
        let mark = new_mark(shared.epoch, sequence);
        let header = SegmentHeader {
            sequence,
            mark,
            epoch: shared.epoch,
            cut: self.cut,
        };
        if let Err(error) = header.write(&*file) {
            shared.state().table.doom(key);
            return Err(Error::io("write", &path, error));
        }
        if let Err(error) = file.sync() {
            return Err(shared.fail(&Error::io("sync", &path, error)));
        }
        let folder = &shared.folders.spool;
        if free.is_none()
            && let Err(error) = shared.disk.sync_folder(folder)
        {
            return Err(shared.fail(&Error::io("sync", folder, error)));
        }
        self.seal();
        shared
            .state()
            .table
            .begin(key, sequence, mark, self.cut.take());
        self.cursor = Some(Cursor {
            key,
            file,
            mark,
            size,
            mail_size,
            end: FIRST,
            synced: FIRST,
        });
        self.stalled = false;
        Ok(())
    }

    fn reopen(&self, key: u32) -> Result<(u32, PathBuf, Arc<dyn DiskFile>), Error> {
        let mut state = self.shared.state();
        let file = state.table.file(key, &*self.shared.disk);
        let name = state
            .table
            .segment(key)
            .map(|segment| segment.name.to_string())
            .unwrap_or_default();
        let path = self.shared.folders.spool.join(name);
        match file {
            Ok(file) => Ok((key, path, file)),
            Err(error) => {
                state.table.doom(key);
                Err(error)
            }
        }
    }

    /// A new file, its blocks set aside.
    fn make(&self, size: u64) -> Result<(u32, PathBuf, Arc<dyn DiskFile>), Error> {
        let shared = &self.shared;
        let name = {
            let number = shared.state().table.take_number();
            SegmentName {
                epoch: shared.epoch,
                number,
            }
        };
        let path = shared.folders.spool.join(name.to_string());
        let file = shared
            .disk
            .open(&path, OpenMode::New)
            .map_err(|e| Error::io("make", &path, e))?;
        if let Err(error) = file.reserve(size) {
            let _ = shared.disk.remove(&path);
            return Err(Error::io("set aside blocks for", &path, error));
        }
        let file: Arc<dyn DiskFile> = Arc::from(file);
        let mut segment = Segment::blank(name, size);
        segment.phase = Phase::Active;
        segment.file = Some(file.clone());
        let key = shared.state().table.add(segment);
        Ok((key, path, file))
    }
}

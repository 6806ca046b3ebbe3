//! Sets aside what cannot be read, so that a person may look at it: the bytes, and a report beside them.
//!
//! Best effort: where even that fails, the damage is still reported, and the queue goes on.
//!
//! Never: a deletion.

use crate::QueueId;
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::shared::Folders;
use std::fmt::Write;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

const PIECE: usize = 64 << 10;

/// Which bytes of which use of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) mark: u64,
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) id: Option<u64>,
}

impl Stretch {
    /// Where it is kept; the same stretch has the same name for ever.
    pub(crate) fn kept_as(&self, folders: &Folders) -> PathBuf {
        folders
            .damaged
            .join(format!("{:016X}-{:08X}.rec", self.mark, self.offset))
    }
}

/// Copies the stretch into the folder for damaged things; `None` where that fails.
pub(crate) fn set_aside(
    disk: &dyn Disk,
    folders: &Folders,
    file: &dyn DiskFile,
    stretch: &Stretch,
    why: &str,
) -> Option<PathBuf> {
    let kept = stretch.kept_as(folders);
    let copied = copy(disk, folders, file, stretch, &kept);
    let _ = report(disk, &kept.with_extension("txt"), stretch, why);
    let _ = disk.sync_folder(&folders.damaged);
    copied.is_ok().then_some(kept)
}

fn copy(
    disk: &dyn Disk,
    folders: &Folders,
    file: &dyn DiskFile,
    stretch: &Stretch,
    kept: &Path,
) -> io::Result<()> {
    disk.make_folder(&folders.damaged)?;
    let copy = match disk.open(kept, OpenMode::New) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        other => other?,
    };
    let mut piece = vec![0u8; PIECE.min(stretch.length as usize)];
    let mut done = 0;
    while done < stretch.length {
        let want = piece.len().min((stretch.length - done) as usize);
        let count = file.read_at(&mut piece[..want], stretch.offset + done)?;
        if count == 0 {
            break;
        }
        copy.write_at(&mut [IoSlice::new(&piece[..count])], done)?;
        done += count as u64;
    }
    copy.sync()
}

fn report(disk: &dyn Disk, path: &Path, stretch: &Stretch, why: &str) -> io::Result<()> {
    let mut text = String::new();
    let _ = writeln!(text, "A stretch of the queue's log was set aside: {why}.");
    if let Some(id) = stretch.id {
        let _ = writeln!(
            text,
            "Message: {} (as far as it can be told)",
            QueueId::from_u64(id)
        );
    }
    let _ = writeln!(text, "Segment mark: {:016X}", stretch.mark);
    let _ = writeln!(
        text,
        "Offset: {}, length: {}",
        stretch.offset, stretch.length
    );
    let _ = writeln!(
        text,
        "The file of the same name ending in .rec has the bytes: a header of"
    );
    let _ = writeln!(
        text,
        "44 bytes, then the message's text, then its envelope."
    );
    write_file(disk, path, text.as_bytes())
}

fn write_file(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = disk.open(path, OpenMode::New)?;
    file.write_at(&mut [IoSlice::new(bytes)], 0)?;
    file.sync()
}

/// Moves a body file whose record is damaged out of the way of those who clear orphans.
pub(crate) fn keep_body(disk: &dyn Disk, folders: &Folders, id: u64) -> Option<PathBuf> {
    let from = folders.body_file(id);
    move_here(
        disk,
        folders,
        &from,
        &format!("{}.body", QueueId::from_u64(id)),
    )
}

/// Moves a whole segment whose header cannot be read.
pub(crate) fn keep_segment(disk: &dyn Disk, folders: &Folders, name: &str) -> Option<PathBuf> {
    move_here(disk, folders, &folders.spool.join(name), name)
}

fn move_here(disk: &dyn Disk, folders: &Folders, from: &Path, name: &str) -> Option<PathBuf> {
    let to = folders.damaged.join(name);
    disk.make_folder(&folders.damaged).ok()?;
    disk.rename(from, &to).ok()?;
    let _ = disk.sync_folder(&folders.damaged);
    Some(to)
}

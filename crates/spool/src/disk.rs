//! The few file operations the spool uses, behind one trait, so that a simulated disk can fail each of them.
//!
//! | promise | kept by |
//! |---|---|
//! | bytes written are on disk | only after `DiskFile::sync` of that file |
//! | a file's name (made, removed) is on disk | only after `Disk::sync_folder` of its folder |
//! | nothing else | a crash may lose, tear or reorder all that was not synced |
//!
//! Never: a decision about mail. Paths are given whole.

mod real;
mod simulated;

pub use real::RealDisk;
pub use simulated::{Loss, SimulatedDisk};

use std::io::{self, IoSlice, IoSliceMut};
use std::path::Path;

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// It exists, and is only read.
    Read,
    /// It exists, and is read and written.
    Write,
    /// It must not exist yet; made with mode 0600.
    New,
}

/// How much room a file system has, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Free for us.
    pub free: u64,
    /// In all.
    pub total: u64,
}

/// A file system, as far as the spool uses one.
pub trait Disk: Send + Sync + 'static {
    /// Makes a folder (mode 0700); one that exists already is no error.
    fn make_folder(&self, path: &Path) -> io::Result<()>;
    /// The names of the files in a folder, in any order.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;
    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>>;
    /// Whether the name exists.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// Removes a file's name.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Gives a file another name in the same file system.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes what was done to names in this folder durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    /// How much room there is.
    fn space(&self, folder: &Path) -> io::Result<Space>;
}

/// An open file; many threads may use it at once.
pub trait DiskFile: Send + Sync + 'static {
    /// Reads at `offset`; fewer bytes than asked only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// The same into several buffers at once.
    fn read_vectored_at(&self, buffers: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize>;
    /// Writes all the bytes, or fails with any part of them written.
    fn write_at(&self, buffers: &mut [IoSlice<'_>], offset: u64) -> io::Result<()>;
    /// Sets blocks aside up to `len` bytes; the file has that length afterwards, new bytes being zero.
    fn reserve(&self, len: u64) -> io::Result<()>;
    /// Makes the bytes (not the name) durable. After a failure the bytes may be lost without another word.
    fn sync(&self) -> io::Result<()>;
    /// Asks for these bytes to be on their way to the disk soon; a hint that cannot fail.
    fn start_writeback(&self, offset: u64, len: u64);
    /// How many bytes the file has.
    fn size(&self) -> io::Result<u64>;
    /// Locks the file against other processes until it is closed; false where another holds it.
    fn try_lock(&self) -> io::Result<bool>;
}

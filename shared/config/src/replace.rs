//! A file with secrets replaced: whole or not at all, closed to others, on disk when it is done.
//!
//! ```text
//! lock the folder ─▶ read, change ─▶ write .NAME.PID.N.new ─▶ sync ─▶ rename ─▶ sync the folder
//! ```
//!
//! Never: what is in the file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::accounts::AccountError;

/// Whose a file is once it is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Whose it was: user and group are kept.
    Former,
    /// Whoever writes it, whosever it was.
    Writer,
}

/// Writes the file anew, whole or not at all: mode 0600, on disk when this returns.
pub fn replace_file(path: &Path, bytes: &[u8], owner: Owner) -> Result<(), AccountError> {
    // Through a link, so that the link stays one.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let fresh = fresh_name(&path);
    let written = write_fresh(&path, &fresh, bytes, owner);
    if written.is_err() {
        // The error above is what matters; a leftover is only untidy.
        let _ = fs::remove_file(&fresh);
    }
    written
}

/// Keeps all others who do the same away from the files of this file's folder, until it is dropped.
pub fn lock_folder_of(path: &Path) -> Result<File, AccountError> {
    let folder = folder(path);
    let lock = File::open(folder).map_err(failed("open", folder))?;
    lock.lock().map_err(failed("lock", folder))?;
    Ok(lock)
}

fn write_fresh(path: &Path, fresh: &Path, bytes: &[u8], owner: Owner) -> Result<(), AccountError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(fresh)
        .map_err(failed("create", fresh))?;
    if owner == Owner::Former {
        give_to_former(path, fresh, &file)?;
    }
    file.write_all(bytes).map_err(failed("write", fresh))?;
    file.sync_all().map_err(failed("sync", fresh))?;
    fs::rename(fresh, path).map_err(failed("replace", path))?;
    // The rename is on disk only when the folder is.
    let folder = folder(path);
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed("sync", folder))
}

fn give_to_former(path: &Path, fresh: &Path, file: &File) -> Result<(), AccountError> {
    let Ok(former) = fs::metadata(path) else {
        return Ok(());
    };
    let mine = file.metadata().map_err(failed("look at", fresh))?;
    if (former.uid(), former.gid()) == (mine.uid(), mine.gid()) {
        return Ok(());
    }
    fchown(file, Some(former.uid()), Some(former.gid())).map_err(failed("give to its owner", fresh))
}

pub(crate) fn failed(
    step: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> AccountError + use<> {
    let path = path.to_owned();
    move |source| AccountError::Write { step, path, source }
}

fn folder(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// A name in the same folder that nobody else uses: `.mx1.toml.4711.0.new`.
fn fresh_name(path: &Path) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.{number}.new", std::process::id()))
}

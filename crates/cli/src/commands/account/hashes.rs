//! The file of NT hashes on disk: root's, mode 0600, replaced whole.
//!
//! An NT hash is as good as the password. The server's worker never reads this file; its authd does.
//!
//! Never: a hash in a message.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use postern_config::{AccountError, Owner, lock_folder_of, replace_file};
use postern_hosting::Finding;
use postern_sasl::{NtHashes, Secret};

use super::place::make_folder_of;
use crate::failure::Error;

/// A file of NT hashes, which need not be there.
pub(super) struct HashFile {
    path: PathBuf,
}

impl HashFile {
    pub(super) fn at(path: PathBuf) -> HashFile {
        HashFile { path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads it; a file that is not there has no hashes.
    pub(super) fn read(&self) -> Result<NtHashes, Error> {
        match fs::read(&self.path) {
            Ok(bytes) => parse(&Secret::new(bytes), &self.path),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(NtHashes::default()),
            Err(source) => Err(Error::Read {
                path: self.path.clone(),
                source,
            }),
        }
    }

    /// Lets `change` at it, and writes it if it is another then. The folder of `locked` is locked already.
    pub(super) fn update<T>(
        &self,
        locked: &Path,
        change: impl FnOnce(&mut NtHashes) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let own = folder(&self.path).filter(|own| folder(locked).as_ref() != Some(own));
        let lock = own.map(|_| lock_folder_of(&self.path));
        let _lock = lock.transpose().map_err(failed)?;
        let before = self.read()?;
        let mut hashes = before.clone();
        let answer = change(&mut hashes)?;
        if hashes != before {
            make_folder_of(&self.path, 0o700)?;
            replace_file(&self.path, hashes.to_text().as_bytes(), Owner::Writer).map_err(failed)?;
        }
        Ok(answer)
    }
}

fn failed(trouble: AccountError) -> Error {
    let AccountError::Write { path, source, .. } = trouble;
    Error::Write { path, source }
}

/// The folder, if it is there.
fn folder(path: &Path) -> Option<PathBuf> {
    let folder = path.parent()?;
    let folder = match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    };
    folder.canonicalize().ok()
}

/// The hashes, or the line that is wrong: by its number only, since there may be a hash in it.
fn parse(bytes: &Secret, path: &Path) -> Result<NtHashes, Error> {
    let broken = |what: String, remedy: &str| Error::Broken {
        path: path.to_owned(),
        findings: vec![Finding::error(path, what, remedy)],
    };
    let Ok(text) = std::str::from_utf8(bytes.expose()) else {
        return Err(broken("it is not UTF-8".to_owned(), "save it as UTF-8"));
    };
    NtHashes::parse(text).map_err(|error| {
        let remedy = "mend the line, or remove it and give the password anew";
        broken(error.to_string(), remedy)
    })
}

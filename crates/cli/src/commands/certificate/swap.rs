//! A pair put in place of another: both files or neither, and the former pair kept.
//!
//! ```text
//! lock the folder ─▶ write both anew, sync ─▶ former pair to *.previous ─▶ rename key, rename certificate ─▶ sync folders
//! ```
//!
//! Between the two renames lie microseconds; posternd waits until files have kept still for two seconds before it reads
//! them, so it never meets half a pair. If the second rename fails, the first is taken back.
//!
//! Never: a key that others may read, not for a moment; a link replaced (who keeps a link there renews the file behind it).

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use postern_config::{AccountError, lock_folder_of};

use super::spot::Spot;
use crate::failure::Error;

const SECRET: u32 = 0o600;
const PUBLIC: u32 = 0o644;

/// Puts the pair, both PEM, where `spot` says. True where a former one was kept.
pub(super) fn swap(spot: &Spot, certificate: &str, key: &str) -> Result<bool, Error> {
    refuse_links(spot)?;
    make_folder_of(&spot.key)?;
    make_folder_of(&spot.certificate)?;
    let _lock = lock(&spot.key)?;
    // The same once more is no reason to forget the pair before.
    if is_there(spot, certificate, key) {
        let closed = fs::set_permissions(&spot.key, Permissions::from_mode(SECRET));
        return closed.map(|()| false).map_err(failed(&spot.key));
    }
    if spot.key == spot.certificate {
        let both = Fresh::write(&spot.key, format!("{certificate}{key}").as_bytes(), SECRET)?;
        let kept = keep(&spot.key, SECRET)?;
        both.take_place()?;
        sync_folder(&spot.key)?;
        return Ok(kept.is_some());
    }
    let fresh_certificate = Fresh::write(&spot.certificate, certificate.as_bytes(), PUBLIC)?;
    let fresh_key = Fresh::write(&spot.key, key.as_bytes(), SECRET)?;
    let kept = keep(&spot.key, SECRET)?;
    let had_certificate = keep(&spot.certificate, PUBLIC)?.is_some();
    fresh_key.take_place()?;
    if let Err(error) = fresh_certificate.take_place() {
        put_back(&spot.key, kept.as_deref());
        return Err(error);
    }
    sync_folder(&spot.key)?;
    sync_folder(&spot.certificate)?;
    Ok(kept.is_some() && had_certificate)
}

fn is_there(spot: &Spot, certificate: &str, key: &str) -> bool {
    let holds = |path: &Path, text: &str| fs::read(path).is_ok_and(|own| own == text.as_bytes());
    match spot.key == spot.certificate {
        true => holds(&spot.key, &format!("{certificate}{key}")),
        false => holds(&spot.certificate, certificate) && holds(&spot.key, key),
    }
}

/// Writes one secret file whole or not at all.
pub(super) fn write_secret(path: &Path, text: &str) -> Result<(), Error> {
    make_folder_of(path)?;
    Fresh::write(path, text.as_bytes(), SECRET)?.take_place()?;
    sync_folder(path)
}

/// Writes one file that all may read.
pub(super) fn write_public(path: &Path, text: &str) -> Result<(), Error> {
    make_folder_of(path)?;
    Fresh::write(path, text.as_bytes(), PUBLIC)?.take_place()?;
    sync_folder(path)
}

/// Keeps all others who do the same away, until it is dropped.
pub(super) fn lock(path: &Path) -> Result<File, Error> {
    lock_folder_of(path)
        .map_err(|AccountError::Write { path, source, .. }| Error::Write { path, source })
}

/// Refuses a file that is a link: certbot and others keep theirs so, and would go on renewing what nobody reads.
pub(super) fn refuse_links(spot: &Spot) -> Result<(), Error> {
    for path in [&spot.certificate, &spot.key] {
        if let Ok(target) = fs::read_link(path) {
            return Err(Error::Refused {
                subject: path.display().to_string(),
                reason: format!(
                    "it is a link to {}: whoever made it (certbot?) renews that file. \
                     Let it do so, or name files of its own in [access.tls]",
                    target.display()
                ),
                findings: Vec::new(),
            });
        }
    }
    Ok(())
}

/// A file written beside its place, gone again unless it takes it.
struct Fresh<'a> {
    draft: PathBuf,
    place: &'a Path,
}

impl Fresh<'_> {
    fn write<'a>(place: &'a Path, bytes: &[u8], mode: u32) -> Result<Fresh<'a>, Error> {
        let name = place.file_name().unwrap_or_default().to_string_lossy();
        let draft = place.with_file_name(format!(".{name}.{}.new", std::process::id()));
        // Of a run that was killed and had this number.
        let _ = fs::remove_file(&draft);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&draft);
        let mut file = file.map_err(failed(place))?;
        let fresh = Fresh { draft, place };
        let written = file.write_all(bytes);
        written
            .and_then(|()| file.sync_all())
            .map_err(failed(place))?;
        Ok(fresh)
    }

    fn take_place(self) -> Result<(), Error> {
        fs::rename(&self.draft, self.place).map_err(failed(self.place))
    }
}

impl Drop for Fresh<'_> {
    fn drop(&mut self) {
        // Where it has taken its place there is nothing left to remove.
        let _ = fs::remove_file(&self.draft);
    }
}

/// Copies the file to `NAME.previous`, and tells its content; `None` where there is none.
fn keep(path: &Path, mode: u32) -> Result<Option<Vec<u8>>, Error> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(Error::Read {
                path: path.to_owned(),
                source,
            });
        }
    };
    Fresh::write(&previous(path), &bytes, mode)?.take_place()?;
    Ok(Some(bytes))
}

/// `NAME.previous`.
pub(super) fn previous(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{name}.previous"))
}

/// As it was before; the error that led here is what matters.
fn put_back(path: &Path, former: Option<&[u8]>) {
    let _ = match former {
        Some(bytes) => Fresh::write(path, bytes, SECRET).and_then(Fresh::take_place),
        None => fs::remove_file(path).map_err(failed(path)),
    };
}

/// All may look in: only keys are secret, and they are so by themselves.
fn make_folder_of(path: &Path) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(Path::new("."));
    if folder.as_os_str().is_empty() || folder.exists() {
        return Ok(());
    }
    let made = DirBuilder::new().recursive(true).mode(0o755).create(folder);
    made.map_err(failed(folder))
}

/// A rename is on disk only when the folder is.
fn sync_folder(path: &Path) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(failed(folder))
}

fn failed(path: &Path) -> impl Fn(io::Error) -> Error + '_ {
    move |source| Error::Write {
        path: path.to_owned(),
        source,
    }
}

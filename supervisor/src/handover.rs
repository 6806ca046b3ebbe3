//! Opens what a worker needs and may not open itself: definition, keys, accounts, and its state folder.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use postern_control::worker::{Item, Manifest, MissingFile};
use postern_hosting::{Finding, Hosting};

use crate::listeners::Listener;
use crate::roster::Definition;
use crate::uids::{Identity, isolated};

/// A manifest and the files it lists, but for the listeners, which come after them.
pub(crate) struct Handover {
    manifest: Manifest,
    files: Vec<File>,
}

impl Handover {
    /// Opens what `definition` names. A file that cannot be opened is listed as missing: the worker knows its line.
    pub(crate) fn open(definition: &Definition, listeners: &[Listener]) -> Result<Handover, Vec<Finding>> {
        let Definition { path, hosting, file } = definition;
        let all = 1 + hosting.files.len() + hosting.authds.len() + listeners.len();
        if all > Manifest::MOST {
            let what = format!("names {all} files and addresses, the most is {}", Manifest::MOST);
            return Err(vec![Finding::error(path, what, "join some of the files")]);
        }
        let mut handover = Handover { manifest: Manifest::default(), files: Vec::new() };
        let failed = |error| vec![Finding::error(path, format!("cannot be handed over: {error}"), "see errno(3)")];
        handover.add(Item::Definition { path: path.clone() }, file.try_clone().map_err(failed)?);
        for written in &hosting.files {
            if let Some(file) = handover.find(path, written) {
                handover.add(Item::File { path: written.clone() }, file);
            }
        }
        Ok(handover)
    }

    pub(crate) fn add(&mut self, item: Item, file: File) {
        self.manifest.items.push(item);
        self.files.push(file);
    }

    /// Opens what `definition` names as `written`, or lists it as missing.
    pub(crate) fn find(&mut self, definition: &Path, written: &Path) -> Option<File> {
        let opened = open_regular(&Hosting::locate(definition, written));
        let missing = |error: &io::Error| MissingFile { path: written.to_owned(), error: error.to_string() };
        opened.inspect_err(|error| self.manifest.missing.push(missing(error))).ok()
    }

    /// The same for what an authd is to keep: nobody but its owner may read it.
    pub(crate) fn find_secret(&mut self, definition: &Path, written: &Path) -> Option<File> {
        let file = self.find(definition, written)?;
        let mode = file.metadata().map_or(0o777, |metadata| metadata.mode());
        if mode & 0o077 == 0 {
            return Some(file);
        }
        let error = format!("others than its owner can read it: chmod 600 {}", written.display());
        self.manifest.missing.push(MissingFile { path: written.to_owned(), error });
        None
    }

    /// The manifest, and the files in its order: those opened, then the listeners.
    pub(crate) fn with<'a>(&'a self, listeners: &'a [Listener]) -> (Manifest, Vec<BorrowedFd<'a>>) {
        let mut manifest = self.manifest.clone();
        manifest.items.extend(listeners.iter().map(|listener| Item::Listener { identity: listener.identity }));
        (manifest, self.files.iter().map(AsFd::as_fd).chain(listeners.iter().map(Listener::fd)).collect())
    }
}

/// Opens a regular file for reading; a pipe or a device in its place neither blocks nor is opened.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
}

/// The folder `name` in the state folder: made if need be, its owner's alone. The error is a sentence with a remedy.
pub(crate) fn state_folder(state: &Path, name: &str, who: Identity) -> Result<PathBuf, String> {
    let path = state.join(name);
    let shown = path.display();
    let failed = |error: io::Error| format!("cannot make the state folder {shown}: {error}");
    // If it cannot be made, it cannot be opened.
    let _ = DirBuilder::new().mode(0o700).create(&path);
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    let folder = OpenOptions::new().read(true).custom_flags(flags.bits()).open(&path).map_err(failed)?;
    let metadata = folder.metadata().map_err(failed)?;
    let owner = metadata.uid();
    if owner != who.uid.as_raw() {
        // Root's own is a new one. What belongs to somebody else stays his: its contents may be anything.
        if owner != 0 || !isolated() {
            let uid = who.uid;
            return Err(format!(
                "the state folder {shown} belongs to uid {owner}, and the server runs as uid {uid} \
                 (chown -R {uid} {shown}, if its contents are this server's)"
            ));
        }
        nix::unistd::fchown(&folder, Some(who.uid), Some(who.gid)).map_err(|errno| failed(errno.into()))?;
    }
    if metadata.mode() & 0o7777 != 0o700 {
        folder.set_permissions(Permissions::from_mode(0o700)).map_err(failed)?;
    }
    Ok(path)
}

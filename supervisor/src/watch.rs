//! What running servers were given, looked at again and again: a changed file, or a dead authd, is a reload.
//!
//! Looked at by name, every two seconds, so that symbolic links and renames are all the same. A file must have kept still
//! for one look: whoever writes a certificate and then its key is not caught in between. Where the definition has been
//! edited too, nothing is done but said: whether it is to be in force is an operator's word.
//!
//! Never: a look at a file on a network, whose server may hang, and posternd with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::statfs::{FsType, statfs};
use postern_hosting::Hosting;

use crate::life::{Event, State};
use crate::roster::{Stamp, stamp};
use crate::run::Supervisor;
use crate::timers::Wake;

const LOOK: Duration = Duration::from_secs(2);

/// By statfs(2): NFS, SMB and CIFS, AFS, Coda, Ceph, 9p, and FUSE, which may be any of them.
const NETWORK: [i64; 10] = [
    0x6969,
    0x517b,
    0xff53_4d42,
    0xfe53_4d42,
    0x5346_414f,
    0x6b41_4653,
    0x7375_7245,
    0x00c3_6400,
    0x0102_1997,
    0x6573_5546,
];

/// What is watched of one server, and how it was.
#[derive(Default)]
pub(crate) struct Watched {
    definition: PathBuf,
    files: Vec<PathBuf>,
    /// As they were handed over, and at the last look; all zero: there is none.
    given: (Stamp, Vec<Stamp>),
    seen: Vec<Stamp>,
    /// A file has changed, and the definition as well.
    pub(crate) held_back: bool,
}

impl Watched {
    /// The definition and the files it names, as they are now.
    pub(crate) fn new(definition: &Path, hosting: &Hosting) -> Watched {
        let secret = hosting.authds.iter().filter_map(|authd| authd.file.as_ref());
        let all = hosting.files.iter().chain(secret).map(|written| Hosting::locate(definition, written));
        let files: Vec<PathBuf> = all.filter(|path| is_local(path)).collect();
        let given = (look(definition), files.iter().map(|file| look(file)).collect());
        Watched { definition: definition.to_owned(), files, given, ..Watched::default() }
    }

    /// Whether a file has changed and kept still since; told once of each change.
    fn has_changed(&mut self) -> bool {
        let now: Vec<Stamp> = self.files.iter().map(|file| look(file)).collect();
        let changed = now == self.seen && now != self.given.1;
        if changed {
            self.given.1.clone_from(&now);
        }
        self.seen = now;
        changed
    }
}

fn look(path: &Path) -> Stamp {
    fs::metadata(path).map(|of| stamp(&of)).unwrap_or_default()
}

/// Whether the file, or the folder it should be in, is on this host. One that is opened has been waited for already.
fn is_local(path: &Path) -> bool {
    let found = statfs(path).or_else(|_| statfs(path.parent().unwrap_or(path)));
    found.is_ok_and(|found| !NETWORK.map(FsType).contains(&found.filesystem_type()))
}

impl Supervisor {
    pub(crate) fn look_at_files(&mut self) {
        self.timers.set(self.now + LOOK, Wake::Files);
        if self.ending {
            return;
        }
        for name in self.names(|server| server.state == State::Serving) {
            let Some(server) = self.servers.get_mut(&name) else { continue };
            let changed = server.watched.has_changed();
            let edited = look(&server.watched.definition) != server.watched.given.0;
            if changed && edited {
                tracing::warn!("{name}: a file it names has changed, but its definition was edited: reload it by hand");
                server.watched.held_back = true;
            } else if changed {
                tracing::info!("{name}: a file it names has changed: it is reloaded");
                self.happen(&name, Event::Reload, None);
            } else if self.misses_authd(&name) {
                self.happen(&name, Event::Reload, None);
            }
        }
    }
}

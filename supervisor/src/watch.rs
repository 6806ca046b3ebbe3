//! What running servers were given, looked at again and again: a changed file, or a dead authd, is a reload.
//!
//! Looked at by name, every two seconds, so that symbolic links, renames and network file systems are all the same. A file
//! must have kept still for one look: whoever writes a certificate and then its key is not caught in between.

use std::fs;
use std::path::Path;
use std::time::Duration;

use postern_hosting::Hosting;

use crate::life::{Event, State};
use crate::roster::{Stamp, stamp};
use crate::run::Supervisor;
use crate::server::Happening;
use crate::timers::Wake;

const LOOK: Duration = Duration::from_secs(2);

/// The files of a definition as they are now; all zero: there is none.
pub(crate) fn stamps(definition: &Path, hosting: &Hosting) -> Vec<Stamp> {
    let secret = hosting.authds.iter().filter_map(|authd| authd.file.as_ref());
    let all = hosting.files.iter().chain(secret);
    all.map(|written| fs::metadata(Hosting::locate(definition, written)).map(|of| stamp(&of)).unwrap_or_default())
        .collect()
}

impl Supervisor {
    pub(crate) fn look_at_files(&mut self) {
        self.timers.set(self.now + LOOK, Wake::Files);
        if self.ending {
            return;
        }
        for name in self.names(|server| server.state == State::Serving) {
            let Some(server) = self.servers.get_mut(&name) else { continue };
            let Some((path, hosting)) = &server.given else { continue };
            let now = stamps(path, hosting);
            let changed = now == server.seen && now != server.stamps;
            server.seen = now;
            let dead = server.mend.is_some_and(|due| due <= self.now);
            if changed || dead {
                let what = if changed { "a file it names has changed" } else { "an authd has ended" };
                tracing::info!("{name}: {what}: it is reloaded");
                self.happen(&name, Happening::because(Event::Reload, ""), None);
            }
        }
    }
}

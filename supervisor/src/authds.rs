//! The authds of the servers: a process for each source of accounts whose secrets a worker must not hold.
//!
//! One belongs to a generation: it is executed when a worker is, or ordered to reload, and ends when the worker hangs up.
//! One that ends otherwise makes its server reload, later with each time.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::unistd::Pid;
use postern_control::Link;
use postern_control::client::AuthdRow;
use postern_control::worker::Item;
use postern_hosting::{Authd, ServerName};

use crate::handover::{Handover, state_folder};
use crate::roster::Definition;
use crate::run::Supervisor;
use crate::server::Server;
use crate::spawn::spawn;

/// One that lived this long did not die of what it was given.
const GROWN: Duration = Duration::from_secs(60);

/// A running one.
pub(crate) struct Running {
    server: ServerName,
    since: Instant,
    row: AuthdRow,
}

impl Supervisor {
    /// Executes what `definition` asks for, and hands the links to them over. What fails is logged, and tried again.
    pub(crate) fn add_authds(&mut self, server: &mut Server, definition: &Definition, handover: &mut Handover) {
        server.mend = None;
        for authd in &definition.hosting.authds {
            let file = authd.file.as_ref().map(|written| handover.find(&definition.path, written));
            // A missing file is the worker's to complain of.
            if matches!(file, Some(None)) {
                continue;
            }
            match self.add_authd(server, authd, file.flatten()) {
                Ok(link) => handover.add(Item::Authd { source: authd.source }, link),
                Err(error) => self.mend_later(server, Duration::ZERO, &error),
            }
        }
    }

    fn add_authd(&mut self, server: &Server, authd: &Authd, file: Option<File>) -> Result<File, String> {
        let kind = authd.kind.as_str();
        let name = format!("{}.{kind}", server.name);
        let who = self.uids.authd(&name, authd.kind)?;
        let folder = state_folder(&self.options.state, &name, who)?;
        let (here, there) = Link::pair().map_err(|error| error.to_string())?;
        let program = self.options.worker.with_file_name("postern-authd");
        let given = file.map_or(Stdio::null(), Stdio::from);
        let pid = spawn(&program, &[server.name.as_str(), kind], who, &folder, there, given)?;
        tracing::info!("{}: authd {kind}, process {pid}, executed as uid {}", server.name, who.uid);
        let row = AuthdRow { kind: kind.to_owned(), pid: pid.as_raw().unsigned_abs(), uid: who.uid.as_raw() };
        self.authds.insert(pid, Running { server: server.name.clone(), since: self.now, row });
        Ok(File::from(OwnedFd::from(here)))
    }

    /// One has ended; at the end of its generation it does so by itself.
    pub(crate) fn lose_authd(&mut self, pid: Pid, how: &str) {
        let Some(Running { server: name, since, row }) = self.authds.remove(&pid) else { return };
        if how == "exit code 0" || self.ending {
            return;
        }
        let Some(mut server) = self.servers.remove(&name) else { return };
        let why = format!("authd {}, process {pid}, ended: {how}", row.kind);
        self.mend_later(&mut server, self.now.duration_since(since), &why);
        self.servers.insert(name, server);
    }

    fn mend_later(&mut self, server: &mut Server, lived: Duration, why: &str) {
        if lived >= GROWN {
            server.mending.forget();
        }
        let wait = server.mending.died(None);
        tracing::warn!("{}: {why}; it is reloaded in {wait:?}", server.name);
        server.mend = Some(self.now + wait);
    }

    /// Those of a server, as they are shown.
    pub(crate) fn authd_rows(&self, server: &ServerName) -> Vec<AuthdRow> {
        let own = self.authds.values().filter(|running| running.server == *server);
        let mut rows: Vec<AuthdRow> = own.map(|running| running.row.clone()).collect();
        rows.sort_by_key(|row| row.pid);
        rows
    }
}

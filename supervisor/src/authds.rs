//! The authds of the servers: a process for each source of accounts whose secrets a worker must not hold.
//!
//! One belongs to a generation: it is executed when a worker is, or ordered to reload, and ends when the worker hangs up.
//! One that ends otherwise is missed by the generation in force, which is then reloaded, later with each time; but not one
//! that cannot use what it was given, which only another file can mend.

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

/// What one says by its exit code that can do nothing with what it was given: EX_USAGE and EX_CONFIG of sysexits.h.
const HOPELESS: [i32; 2] = [64, 78];

/// A running one.
pub(crate) struct Running {
    server: ServerName,
    generation: u64,
    since: Instant,
    row: AuthdRow,
}

/// Those a generation has.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Company {
    generation: u64,
    wanted: usize,
    /// How many of them have ended because they can do nothing.
    pub(crate) hopeless: usize,
}

impl Supervisor {
    /// Executes what `definition` asks for, and hands the links to them over. What fails is logged, and tried again.
    pub(crate) fn add_authds(&mut self, server: &mut Server, definition: &Definition, handover: &mut Handover) {
        let generation = server.company_tried.generation.max(server.company.generation) + 1;
        server.company_tried = Company { generation, ..Company::default() };
        for authd in &definition.hosting.authds {
            let file = authd.file.as_ref().map(|written| handover.find_secret(&definition.path, written));
            // A missing file is the worker's to complain of.
            if matches!(file, Some(None)) {
                continue;
            }
            server.company_tried.wanted += 1;
            match self.add_authd(server, authd, file.flatten()) {
                Ok(link) => handover.add(Item::Authd { source: authd.source }, link),
                Err(error) => tracing::warn!("{}: {error}", server.name),
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
        let generation = server.company_tried.generation;
        self.authds.insert(pid, Running { server: server.name.clone(), generation, since: self.now, row });
        Ok(File::from(OwnedFd::from(here)))
    }

    /// One has ended; at the end of its generation it does so by itself.
    pub(crate) fn lose_authd(&mut self, pid: Pid, code: Option<i32>, how: &str) {
        let Some(Running { server, generation, row, .. }) = self.authds.remove(&pid) else { return };
        if code == Some(0) || self.ending {
            return;
        }
        tracing::warn!("{server}: authd {}, process {pid}, ended: {how}", row.kind);
        let Some(server) = self.servers.get_mut(&server) else { return };
        if code.is_some_and(|code| HOPELESS.contains(&code)) {
            let companies = [&mut server.company, &mut server.company_tried].into_iter();
            companies.filter(|company| company.generation == generation).for_each(|company| company.hopeless += 1);
        }
    }

    /// Whether the generation in force misses one that could be there, and it is time to do something about it.
    pub(crate) fn misses_authd(&mut self, name: &ServerName) -> bool {
        let Some(server) = self.servers.get_mut(name) else { return false };
        let Company { generation, wanted, hopeless } = server.company;
        let own = |running: &&Running| running.server == *name && running.generation == generation;
        if self.authds.values().filter(own).count() + hopeless >= wanted {
            let grown = |running: &Running| self.now.duration_since(running.since) >= GROWN;
            if self.authds.values().filter(own).all(grown) {
                server.mending.forget();
                server.mend = None;
            }
            return false;
        }
        if server.mend.is_some_and(|due| due > self.now) {
            return false;
        }
        let wait = server.mending.died(None);
        tracing::warn!("{name}: it lacks an authd and is reloaded; not again before {wait:?} have passed");
        server.mend = Some(self.now + wait);
        true
    }

    /// Those of a server, as they are shown.
    pub(crate) fn authd_rows(&self, server: &ServerName) -> Vec<AuthdRow> {
        let own = self.authds.values().filter(|running| running.server == *server);
        let mut rows: Vec<AuthdRow> = own.map(|running| running.row.clone()).collect();
        rows.sort_by_key(|row| row.pid);
        rows
    }
}

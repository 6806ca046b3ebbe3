//! The one poll loop: signals, control clients, workers' links, timers.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, DirBuilder, File};
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use postern_control::client::{HostRow, Reply, Request};
use postern_hosting::{HostSettings, ServerName};
use sd_notify::NotifyState;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};

use crate::authds::Running;
use crate::desk::{Desk, Ticket};
use crate::introduce::introduce;
use crate::life::{Event, State};
use crate::link::{Heard, Worker};
use crate::options::Options;
use crate::roster::Roster;
use crate::server::{Happening, QUIET, SILENT, Server, event_of, unix_now};
use crate::systemd::{self, Inherited};
use crate::timers::{Timers, Wake};
use crate::uids::{Uids, isolated};
use crate::wanted::{Wanted, Wish};

/// Packets taken from one link before the others have their turn.
const TURN: usize = 64;

/// What a file in the poll set is: kind in the upper half, number in the lower.
const SIGNALS: u64 = 0;
const DESK: u64 = 1 << 32;
const WORKER: u64 = 2 << 32;
const CLIENT: u64 = 3 << 32;

/// All that posternd knows.
pub(crate) struct Supervisor {
    pub(crate) options: Options,
    pub(crate) now: Instant,
    pub(crate) timers: Timers,
    pub(crate) servers: BTreeMap<ServerName, Server>,
    pub(crate) workers: HashMap<Pid, Worker>,
    pub(crate) authds: HashMap<Pid, Running>,
    pub(crate) roster: Roster,
    pub(crate) wanted: Wanted,
    pub(crate) uids: Uids,
    pub(crate) kept: Vec<Inherited>,
    desk: Desk,
    watch: Epoll,
    signals: Signals,
    since: u64,
    pub(crate) ending: bool,
    reloading: bool,
    pub(crate) status_is_old: bool,
    _locks: [Flock<File>; 2],
}

/// Which signals came, and a pipe that wakes the loop.
struct Signals {
    pipe: UnixStream,
    end: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
}

impl Signals {
    fn catch() -> std::io::Result<Signals> {
        let (pipe, wake) = UnixStream::pair()?;
        pipe.set_nonblocking(true)?;
        let [end, reload] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        for (signal, flag) in [(SIGTERM, &end), (SIGINT, &end), (SIGHUP, &reload)] {
            signal_hook::flag::register(signal, flag.clone())?;
        }
        for signal in [SIGTERM, SIGINT, SIGHUP, SIGCHLD] {
            signal_hook::low_level::pipe::register(signal, wake.try_clone()?)?;
        }
        Ok(Signals { pipe, end, reload })
    }
}

impl Supervisor {
    /// Everything that must work before any server can be started.
    pub(crate) fn start(options: Options) -> Result<Supervisor, String> {
        // Before any file is opened: numbers are all that is known of what was inherited.
        let kept = systemd::take_inherited();
        // Workers must pass through the state folder to reach their own, and clients through the run folder.
        umask(Mode::from_bits_truncate(0o022));
        let locks = [folder(&options.state, 0o711)?, folder(&options.run, 0o755)?];
        umask(Mode::from_bits_truncate(0o077));
        let settings = settings(&options.config.join("postern.toml"))?;
        log(&settings.log);
        raise_file_limit();
        let text = |what: &'static str| move |error: std::io::Error| format!("cannot {what}: {error}");
        let signals = Signals::catch().map_err(text("catch signals"))?;
        let wanted = Wanted::open(&options.state).map_err(text("read wanted.json"))?;
        let uids = Uids::open(&options.state, settings.uids).map_err(text("read uids.json"))?;
        let audit = options.state.join("audit.log");
        let desk = Desk::open(options.control(), settings.control_group.as_deref(), audit)?;
        let watch =
            Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(|errno| text("make a poll set")(errno.into()))?;
        let supervisor = Supervisor {
            now: Instant::now(),
            timers: Timers::default(),
            servers: BTreeMap::new(),
            workers: HashMap::new(),
            authds: HashMap::new(),
            roster: Roster::new(options.servers()),
            wanted,
            uids,
            kept,
            desk,
            watch,
            signals,
            since: unix_now(),
            ending: false,
            reloading: false,
            status_is_old: true,
            _locks: locks,
            options,
        };
        supervisor.watch(&supervisor.signals.pipe, SIGNALS)?;
        supervisor.watch(&supervisor.desk.socket, DESK)?;
        Ok(supervisor)
    }

    fn watch(&self, file: impl AsFd, token: u64) -> Result<(), String> {
        let event = EpollEvent::new(EpollFlags::EPOLLIN, token);
        self.watch.add(file, event).map_err(|error| format!("cannot watch a file: {error}"))
    }

    /// Runs until a signal says to end and all workers have ended.
    pub(crate) fn run(mut self) -> Result<(), String> {
        self.boot();
        let mut events = [EpollEvent::empty(); 64];
        while !(self.ending && self.workers.is_empty()) {
            self.tell_systemd();
            let count = match self.watch.wait(&mut events, self.patience()) {
                Ok(count) => count,
                Err(Errno::EINTR) => 0,
                Err(error) => return Err(format!("cannot wait for events: {error}")),
            };
            self.now = Instant::now();
            for event in &events[..count] {
                self.dispatch(*event);
            }
            while let Some(wake) = self.timers.due(self.now) {
                self.wake(wake);
            }
        }
        tracing::info!("posternd ends");
        Ok(())
    }

    fn patience(&self) -> EpollTimeout {
        let Some(next) = self.timers.next() else { return EpollTimeout::NONE };
        // Rounded up, or the loop would spin for the last part of a millisecond.
        let milliseconds = next.saturating_duration_since(Instant::now()).as_micros().div_ceil(1000);
        EpollTimeout::from(u16::try_from(milliseconds).unwrap_or(u16::MAX))
    }

    fn dispatch(&mut self, event: EpollEvent) {
        let number = u32::try_from(event.data() & 0xffff_ffff).unwrap_or(0);
        match event.data() >> 32 << 32 {
            DESK => self.accept(),
            WORKER => self.listen_to(Pid::from_raw(i32::try_from(number).unwrap_or(0))),
            CLIENT => self.desk.hear(number, self.now).into_iter().for_each(|ticket| self.ask(ticket)),
            _ => self.signalled(),
        }
    }

    fn boot(&mut self) {
        self.wake(Wake::Watchdog);
        self.wake(Wake::Files);
        tracing::info!("posternd {} in {}", env!("CARGO_PKG_VERSION"), self.options.config.display());
        self.refresh();
        self.start_wanted();
        for leftover in std::mem::take(&mut self.kept) {
            systemd::forget(&leftover.name);
        }
        systemd::tell(&[NotifyState::Ready]);
    }

    /// Takes note of definitions that have come and gone.
    fn refresh(&mut self) {
        self.roster.refresh();
        for name in self.roster.known.keys() {
            self.servers.entry(name.clone()).or_insert_with(|| Server::new(name.clone()));
        }
        let roster = &self.roster;
        self.servers.retain(|name, server| roster.known.contains_key(name) || !server.idle());
    }

    pub(crate) fn names(&self, which: impl Fn(&Server) -> bool) -> Vec<ServerName> {
        self.servers.iter().filter(|(_, server)| which(server)).map(|(name, _)| name.clone()).collect()
    }

    fn start_wanted(&mut self) {
        for name in self.names(|server| server.serving.is_none()) {
            let reading = self.roster.known.get(&name).map(|known| &known.reading);
            let autostart = matches!(reading, Some(Ok(hosting)) if hosting.autostart);
            // A bad one that may well be wanted is tried too, so that it is shown with what is wrong.
            let bad = matches!(reading, Some(Err(_)));
            if !self.wanted.runs(&name, autostart || bad) {
                continue;
            }
            if let Some(server) = self.servers.get_mut(&name) {
                server.paused = self.wanted.of(&name) == Some(Wish::Paused);
            }
            self.now = Instant::now();
            self.happen(&name, Event::Start, None);
        }
    }

    fn signalled(&mut self) {
        let mut bytes = [0; 64];
        while matches!(self.signals.pipe.read(&mut bytes), Ok(64)) {}
        let came = |flag: &AtomicBool| flag.swap(false, Ordering::SeqCst);
        self.reap();
        if came(&self.signals.reload) && !self.ending {
            self.reload_all();
        }
        if came(&self.signals.end) {
            self.end();
        }
    }

    fn reload_all(&mut self) {
        tracing::info!("reloading all servers");
        systemd::reloading();
        self.reloading = true;
        self.refresh();
        for name in self.names(|server| server.state == State::Serving) {
            self.now = Instant::now();
            self.happen(&name, Event::Reload, None);
        }
        self.start_wanted();
    }

    /// Drains all workers. A second signal does not wait for them.
    fn end(&mut self) {
        if self.ending {
            self.workers.values().for_each(Worker::kill);
            return;
        }
        tracing::info!("ending: all workers drain");
        self.ending = true;
        systemd::tell(&[NotifyState::Stopping]);
        for name in self.names(|_| true) {
            self.happen(&name, Event::Stop, None);
        }
    }

    fn wake(&mut self, wake: Wake) {
        match wake {
            Wake::Watchdog => {
                systemd::tell(&[NotifyState::Watchdog]);
                // Twice as often as systemd asks for.
                if let Some(longest) = sd_notify::watchdog_enabled() {
                    self.timers.set(self.now + longest / 2, Wake::Watchdog);
                }
            }
            Wake::Server(name) => {
                let due = self.servers.get(&name).and_then(|server| server.deadline);
                if due.is_some_and(|due| due <= self.now) {
                    self.happen(&name, Happening::because(Event::Due, "it did not answer in time"), None);
                }
            }
            Wake::Worker(pid) => self.look_at(pid),
            Wake::Files => self.look_at_files(),
        }
    }

    /// Is a worker past its deadline, or silent?
    fn look_at(&mut self, pid: Pid) {
        let Some(worker) = self.workers.get(&pid) else { return };
        let silent = self.now.duration_since(worker.heard);
        let next = match worker.deadline {
            Some((deadline, why)) if deadline <= self.now => return self.condemn(pid, why),
            // Who set the deadline set a timer, too.
            Some(_) => return,
            // Until it is ready, the deadline of its server's state counts.
            None if worker.ready.is_none() => self.now + QUIET,
            None if silent >= SILENT => return self.condemn(pid, "no sign of life for 60 s"),
            None if silent >= QUIET => {
                tracing::warn!("{}: no sign of life of process {pid} for {silent:?}", worker.server);
                worker.heard + SILENT
            }
            None => worker.heard + QUIET,
        };
        self.timers.set(next, Wake::Worker(pid));
    }

    /// Watches a worker that has just been executed.
    pub(crate) fn keep_worker(&mut self, worker: Worker) -> Result<(), String> {
        let pid = worker.pid;
        self.timers.set(self.now + QUIET, Wake::Worker(pid));
        let watched = self.watch(worker.link(), WORKER | u64::from(pid.as_raw().unsigned_abs()));
        if watched.is_err() {
            worker.kill();
        }
        self.workers.insert(pid, worker);
        watched
    }

    /// Kills a worker for a reason, which is told when it is gone.
    pub(crate) fn condemn(&mut self, pid: Pid, why: &str) {
        let Some(worker) = self.workers.get_mut(&pid) else { return };
        tracing::warn!("{}: killing process {pid}: {why}", worker.server);
        worker.kill();
        worker.condemned = Some(why.to_owned());
        // Not heard any more; nor may its end of file wake the loop until it is reaped.
        let _ = self.watch.delete(worker.link());
    }

    fn listen_to(&mut self, pid: Pid) {
        for _ in 0..TURN {
            let Some(worker) = self.workers.get_mut(&pid) else { return };
            match worker.hear(self.now) {
                Heard::Report(report) => self.report(pid, report),
                Heard::Nothing => return,
                Heard::Nonsense(why) => return self.condemn(pid, &format!("it talks nonsense: {why}")),
                // It exits, which a signal will tell with how; one that only hung up has no business any more.
                Heard::Closed => {
                    let _ = self.watch.delete(worker.link());
                    if worker.deadline.is_none() {
                        let deadline = self.now + Duration::from_secs(1);
                        worker.deadline = Some((deadline, "it hung up"));
                        self.timers.set(deadline, Wake::Worker(pid));
                    }
                    return;
                }
            }
        }
    }

    /// Takes note of all processes that have ended.
    fn reap(&mut self) {
        loop {
            let (pid, code, how) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, Some(code), format!("exit code {code}")),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, None, format!("killed by {signal}")),
                Ok(WaitStatus::StillAlive) | Err(_) => return,
                Ok(_) => continue,
            };
            let Some(worker) = self.workers.get_mut(&pid) else {
                self.lose_authd(pid, code, &how);
                continue;
            };
            worker.reaped = true;
            // What it said last may still be in the link.
            if worker.condemned.is_none() {
                self.listen_to(pid);
            }
            let Some(worker) = self.workers.remove(&pid) else { continue };
            let why = worker.condemned.as_ref().map(|why| format!(", {why}")).unwrap_or_default();
            let text = format!("process {pid} ended: {how}{why}");
            tracing::info!("{}: {text}", worker.server);
            self.lose(&worker, text);
        }
    }

    fn accept(&mut self) {
        for _ in 0..TURN {
            let Some(id) = self.desk.accept(self.now) else { return };
            let Some(link) = self.desk.link(id) else { continue };
            if self.watch(link, CLIENT | u64::from(id)).is_err() {
                self.desk.drop_client(id);
            }
        }
    }

    fn ask(&mut self, ticket: Ticket) {
        let request = ticket.request.clone();
        if let Request::List { after } = request {
            self.refresh();
            let rows = self.servers.iter().filter(|(name, _)| after.as_ref().is_none_or(|after| *name > after));
            let reply = Reply::servers(self.host_row(), rows.map(|(_, server)| self.row(server)).collect());
            return self.answer(&ticket, &reply);
        }
        let Some(name) = request.server().cloned() else { return };
        if !self.servers.contains_key(&name) {
            self.refresh();
        }
        let refuse = |reason: String| Reply::refused(reason, Vec::new());
        if !self.servers.contains_key(&name) {
            let file = self.options.servers().join(format!("{name}.toml"));
            let reason = format!("there is no server {name}: {} does not exist", file.display());
            return self.answer(&ticket, &refuse(reason));
        }
        if self.ending {
            return self.answer(&ticket, &refuse("posternd is ending".to_owned()));
        }
        if let Some(event) = event_of(&request) {
            self.mute(ticket.client, true);
            return self.happen(&name, event, Some(ticket));
        }
        self.introduce(&name, &ticket);
    }

    fn introduce(&mut self, name: &ServerName, ticket: &Ticket) {
        let serving = self.servers.get(name).and_then(|server| server.serving);
        let ready = serving.and_then(|pid| self.workers.get(&pid)).filter(|worker| worker.ready.is_some());
        let introduced = match ready {
            Some(worker) => introduce(worker, ticket.peer.uid).map_err(|error| format!("{name}: {error}")),
            None => Err(format!("{name} is not running")),
        };
        match introduced {
            Ok(link) => drop(self.desk.answer(ticket, &Reply::Introduced, &[link.as_fd()])),
            Err(reason) => self.answer(ticket, &Reply::refused(reason, Vec::new())),
        }
    }

    /// Answers a client, and hears it again.
    pub(crate) fn answer(&mut self, ticket: &Ticket, reply: &Reply) {
        if self.desk.answer(ticket, reply, &[]) {
            self.mute(ticket.client, false);
        }
    }

    /// A client that waits for an answer is not heard: its next request comes after it.
    fn mute(&self, client: u32, waits: bool) {
        let Some(link) = self.desk.link(client) else { return };
        let flags = if waits { EpollFlags::empty() } else { EpollFlags::EPOLLIN };
        let _ = self.watch.modify(link, &mut EpollEvent::new(flags, CLIENT | u64::from(client)));
    }

    fn host_row(&self) -> HostRow {
        let mut notes = Vec::new();
        if !isolated() {
            let uid = nix::unistd::geteuid();
            notes.push(format!("not started by root: all workers run as uid {uid}, isolation is weaker"));
        }
        notes.extend(Some(self.roster.note.clone()).filter(|note| !note.is_empty()));
        HostRow {
            isolated: isolated(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            since: self.since,
            note: notes.join("; "),
        }
    }

    fn tell_systemd(&mut self) {
        if self.reloading && self.servers.values().all(|server| server.state.settled()) {
            self.reloading = false;
            systemd::tell(&[NotifyState::Ready]);
        }
        if std::mem::take(&mut self.status_is_old) {
            let count = |state| self.servers.values().filter(|server| server.state == state).count();
            let [serving, waiting] = [State::Serving, State::Waiting].map(count);
            let troubled = count(State::Failed) + count(State::Refused) + waiting;
            let text = format!("{serving} of {} servers run, {troubled} in trouble", self.servers.len());
            systemd::tell(&[NotifyState::Status(&text)]);
        }
    }
}

fn settings(path: &Path) -> Result<HostSettings, String> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        read => read.map_err(|error| format!("cannot read {}: {error}", path.display()))?,
    };
    HostSettings::from_toml(&text, path).map_err(|findings| {
        let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
        lines.join("\n")
    })
}

fn log(level: &str) {
    let level = level.parse().unwrap_or(tracing::Level::INFO);
    // A second supervisor in one process would find the log set already; there is none.
    let _ = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).try_init();
}

/// A file each for every worker, listener and client: the usual soft limit of 1024 is too low for a thousand servers.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// Makes a folder if need be, and locks it for the life of this process: one posternd a folder.
fn folder(path: &Path, mode: u32) -> Result<Flock<File>, String> {
    let failed = |error: std::io::Error| format!("cannot use {}: {error}", path.display());
    DirBuilder::new().recursive(true).mode(mode).create(path).map_err(failed)?;
    let file = File::options().create(true).append(true).open(path.join("lock")).map_err(failed)?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        Errno::EWOULDBLOCK => format!("another posternd uses {}", path.display()),
        other => failed(other.into()),
    })
}

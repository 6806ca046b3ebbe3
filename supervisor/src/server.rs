//! One server as posternd has it, and the carrying out of what its life's table says.

use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::unistd::Pid;
use postern_control::client::{Reply, Request, ServerRow};
use postern_control::worker::{Order, Report};
use postern_control::{Link, VERSION};
use postern_hosting::{Finding, Hosting, ServerName, ServerState};

use crate::authds::Company;
use crate::backoff::Backoff;
use crate::desk::Ticket;
use crate::handover::{Handover, state_folder};
use crate::life::{Action, Event, State, step};
use crate::link::Worker;
use crate::listeners::Listeners;
use crate::roster::Definition;
use crate::run::Supervisor;
use crate::spawn;
use crate::timers::Wake;
use crate::uids::Identity;
use crate::wanted::Wish;
use crate::watch::Watched;

/// How long a worker may take to get ready.
const START: Duration = Duration::from_secs(30);
/// How long it may take to pause or resume, and to build a generation.
const TURN: Duration = Duration::from_secs(10);
const RELOAD: Duration = Duration::from_secs(60);
/// How long a stopped worker may take to end.
const STOP: Duration = Duration::from_secs(30);
/// What is left to it after its deadline, to say so and exit.
const GRACE: Duration = Duration::from_secs(2);
/// How long a worker that serves may be silent before it is noted, and before it is killed.
pub(crate) const QUIET: Duration = Duration::from_secs(15);
pub(crate) const SILENT: Duration = Duration::from_secs(60);

/// An event, and what is to be said about it.
#[derive(Clone, Debug)]
pub(crate) struct Happening {
    event: Event,
    pub(crate) text: String,
    findings: Vec<Finding>,
}

impl Happening {
    pub(crate) fn because(event: Event, text: impl Into<String>) -> Happening {
        Happening { event, text: text.into(), findings: Vec::new() }
    }

    fn refused(event: Event, findings: Vec<Finding>) -> Happening {
        let findings = findings.into_iter().map(Finding::plain).collect();
        Happening { event, text: "its definition is refused".to_owned(), findings }
    }
}

impl From<Event> for Happening {
    fn from(event: Event) -> Happening {
        Happening::because(event, "")
    }
}

/// What cannot be prepared because of something in the definition.
impl From<Vec<Finding>> for Happening {
    fn from(findings: Vec<Finding>) -> Happening {
        Happening::refused(Event::BadDefinition, findings)
    }
}

/// What cannot be prepared because of something on the host, in a sentence.
impl From<String> for Happening {
    fn from(text: String) -> Happening {
        Happening::because(Event::Unable, text)
    }
}

/// One server.
pub(crate) struct Server {
    pub(crate) name: ServerName,
    pub(crate) state: State,
    /// When it came into the state shown, in seconds since 1970.
    since: u64,
    /// Why it is in a state nobody wants.
    why: String,
    findings: Vec<Finding>,
    /// Whether it is to answer 421.
    pub(crate) paused: bool,
    /// The processes that serve, get ready to serve, and drain.
    pub(crate) serving: Option<Pid>,
    successor: Option<Pid>,
    predecessors: Vec<Pid>,
    pub(crate) listeners: Listeners,
    /// The definition in force, and the one being tried.
    hosting: Option<Hosting>,
    tried: Option<Hosting>,
    /// What it was given last, which may change.
    pub(crate) watched: Watched,
    backoff: Backoff,
    /// The authds of the generation in force, and of the one being tried.
    pub(crate) company: Company,
    pub(crate) company_tried: Company,
    /// How often they were missed, and when they are made good.
    pub(crate) mending: Backoff,
    pub(crate) mend: Option<Instant>,
    /// How long the worker that ended last had been ready.
    pub(crate) served: Option<Duration>,
    /// When the state is over.
    pub(crate) deadline: Option<Instant>,
    pub(crate) waiting: Vec<Ticket>,
    pub(crate) deferred: Vec<Ticket>,
}

impl Server {
    pub(crate) fn new(name: ServerName) -> Server {
        Server {
            name,
            state: State::Stopped,
            since: unix_now(),
            why: String::new(),
            findings: Vec::new(),
            paused: false,
            serving: None,
            successor: None,
            predecessors: Vec::new(),
            listeners: Listeners::default(),
            hosting: None,
            tried: None,
            watched: Watched::default(),
            backoff: Backoff::default(),
            company: Company::default(),
            company_tried: Company::default(),
            mending: Backoff::default(),
            mend: None,
            served: None,
            deadline: None,
            waiting: Vec::new(),
            deferred: Vec::new(),
        }
    }

    /// Whether nothing of it is left but its name.
    pub(crate) fn idle(&self) -> bool {
        let at_rest = matches!(self.state, State::Stopped | State::Failed | State::Refused);
        at_rest && self.predecessors.is_empty()
    }

    fn shown(&self) -> ServerState {
        match self.state {
            State::Stopped => ServerState::Stopped,
            State::Starting => ServerState::Starting,
            State::Serving | State::Turning if self.paused => ServerState::Paused,
            State::Serving | State::Turning => ServerState::Running,
            State::Reloading => ServerState::Reloading,
            State::Restarting => ServerState::Restarting,
            State::Stopping => ServerState::Stopping,
            State::Waiting => ServerState::Waiting,
            State::Failed => ServerState::Failed,
            State::Refused => ServerState::Refused,
        }
    }
}

impl Supervisor {
    /// Something happens to a server: the table is asked, and what it says is done, until nothing follows.
    pub(crate) fn happen(&mut self, name: &ServerName, what: impl Into<Happening>, ticket: Option<Ticket>) {
        let Some(mut server) = self.servers.remove(name) else { return };
        let (mut next, mut ticket) = (Some(what.into()), ticket);
        while let Some(what) = next.take() {
            let (state, actions) = step(server.state, what.event);
            tracing::debug!("{name}: {:?}, {what:?}: {state:?} {actions:?}", server.state);
            if ticket.is_some() && !matches!(actions, [Action::Defer | Action::Deny]) {
                self.note_wish(&mut server, what.event);
            }
            if server.state != state {
                self.enter(&mut server, state, &what);
            }
            for action in actions {
                next = self.act(&mut server, *action, &what, &mut ticket).err().or(next);
            }
            server.waiting.extend(ticket.take());
            if next.is_none() && server.state.settled() && !server.deferred.is_empty() {
                let first = server.deferred.remove(0);
                next = event_of(&first.request).map(Happening::from);
                ticket = Some(first);
            }
        }
        self.servers.insert(name.clone(), server);
    }

    /// The operator's word is on disk before anything is done about it.
    fn note_wish(&mut self, server: &mut Server, event: Event) {
        let runs = !matches!(server.state, State::Stopped | State::Stopping);
        let wish = match event {
            Event::Stop => Wish::Stopped,
            Event::Pause => Wish::Paused,
            Event::Start | Event::Restart | Event::Reload if runs && server.paused => Wish::Paused,
            _ => Wish::Running,
        };
        server.paused = wish == Wish::Paused;
        server.backoff.forget();
        if let Err(error) = self.wanted.set(&server.name, wish) {
            tracing::error!("{}: the operator's wish is not on disk: {error}", server.name);
        }
    }

    fn enter(&mut self, server: &mut Server, state: State, what: &Happening) {
        let serves = |state| matches!(state, State::Serving | State::Turning | State::Reloading);
        if !(serves(server.state) && serves(state)) || server.state == State::Turning {
            server.since = unix_now();
        }
        match state {
            State::Waiting | State::Failed | State::Refused => {
                (server.why, server.findings) = (what.text.clone(), what.findings.clone());
            }
            State::Serving | State::Stopped => (server.why, server.findings) = Default::default(),
            _ => {}
        }
        server.state = state;
        let time = match state {
            State::Starting | State::Restarting => Some(START),
            State::Turning => Some(TURN),
            State::Reloading => Some(RELOAD),
            State::Stopping => Some(STOP + GRACE),
            _ => None,
        };
        self.set_deadline(server, time);
        self.status_is_old = true;
    }

    fn set_deadline(&mut self, server: &mut Server, time: Option<Duration>) {
        server.deadline = time.map(|time| self.now + time);
        if let Some(deadline) = server.deadline {
            self.timers.set(deadline, Wake::Server(server.name.clone()));
        }
    }

    /// Carries out one action; some say at once what else happens.
    fn act(
        &mut self,
        server: &mut Server,
        action: Action,
        what: &Happening,
        ticket: &mut Option<Ticket>,
    ) -> Result<(), Happening> {
        match action {
            Action::Spawn => server.serving = Some(self.spawn(server)?),
            Action::SpawnSuccessor => server.successor = Some(self.spawn(server)?),
            Action::OrderReload => self.order_reload(server)?,
            Action::OrderTurn => {
                let order = if server.paused { Order::Pause } else { Order::Resume };
                self.serving(server)?.order(&order, &[])?;
            }
            Action::Drain => {
                let pid = self.serving(server)?.pid;
                self.drain(pid, STOP, false)?;
            }
            Action::Hasten => {
                for pid in &server.predecessors {
                    self.drain(*pid, STOP, false).unwrap_or_else(|why| self.condemn(*pid, &why));
                }
            }
            Action::Kill => server.served = self.end_worker(server.serving.take()),
            Action::KillSuccessor => drop(self.end_worker(server.successor.take())),
            Action::Promote => {
                let time = server.hosting.as_ref().map_or(Hosting::DRAIN_TIMEOUT, |hosting| hosting.drain_timeout);
                if let Some(pid) = std::mem::replace(&mut server.serving, server.successor.take()) {
                    server.predecessors.push(pid);
                    self.drain(pid, time, true).unwrap_or_else(|why| self.condemn(pid, &why));
                }
            }
            Action::Inherit => server.serving = server.successor.take(),
            Action::KeepListeners => {
                server.listeners.keep();
                server.company = server.company_tried;
                server.hosting = server.tried.take().or(server.hosting.take());
            }
            Action::RollBackListeners => server.listeners.roll_back(),
            Action::CloseListeners if self.ending => server.listeners.leave(),
            Action::CloseListeners => server.listeners.close(),
            Action::BackOff => {
                server.served = server.served.or((what.event == Event::Busy).then_some(Duration::ZERO));
                let wait = server.backoff.died(server.served.take());
                let deaths = server.backoff.deaths();
                server.why += &format!("; {deaths} in a row, the next try comes {wait:?} later");
                tracing::warn!("{}: {}", server.name, server.why);
                self.set_deadline(server, Some(wait));
            }
            Action::Done => {
                let message = format!("{} is {}", server.name, server.shown());
                self.answer_all(server, ticket.take(), &Reply::done(message, what.findings.clone()));
            }
            Action::Deny => {
                let reason = match server.state {
                    _ if !what.text.is_empty() => format!("{}: {}", server.name, what.text),
                    State::Stopped => format!("{} is not running", server.name),
                    state => format!("{} is {}", server.name, format!("{state:?}").to_lowercase()),
                };
                tracing::warn!("{reason}");
                self.answer_all(server, ticket.take(), &Reply::refused(reason, what.findings.clone()));
            }
            Action::Interrupt => {
                let reply = Reply::refused(format!("{} was stopped meanwhile", server.name), Vec::new());
                server.waiting.append(&mut server.deferred);
                let stops = server.waiting.extract_if(.., |ticket| matches!(ticket.request, Request::Stop { .. }));
                let stops: Vec<Ticket> = stops.collect();
                self.answer_all(server, None, &reply);
                server.waiting = stops;
            }
            Action::Defer => server.deferred.extend(ticket.take()),
        }
        Ok(())
    }

    fn answer_all(&mut self, server: &mut Server, asker: Option<Ticket>, reply: &Reply) {
        server.waiting.extend(asker);
        for ticket in std::mem::take(&mut server.waiting) {
            self.answer(&ticket, reply);
        }
    }

    /// Reads the definition and binds its addresses: what a new worker and a reload have in common.
    fn prepare(&mut self, server: &mut Server) -> Result<(Definition, Identity), Happening> {
        let servers = &self.servers;
        let holds = |other: &ServerName| servers.get(other).is_some_and(|other| other.listeners.any());
        let definition = self.roster.open(&server.name, holds)?;
        let who = self.uids.identity(&server.name, &definition.hosting, &definition.path)?;
        server.listeners.try_identities(&server.name, &definition.hosting.listen, &mut self.kept)?;
        server.tried = Some(definition.hosting.clone());
        // Before they are opened: what changes from now on is seen.
        server.watched = Watched::new(&definition.path, &definition.hosting);
        Ok((definition, who))
    }

    fn hand_over(&mut self, server: &mut Server, definition: Definition) -> Result<Handover, Happening> {
        let mut handover = Handover::open(&definition, server.listeners.tried())?;
        self.add_authds(server, &definition, &mut handover);
        Ok(handover)
    }

    fn spawn(&mut self, server: &mut Server) -> Result<Pid, Happening> {
        let (definition, who) = self.prepare(server)?;
        let name = server.name.clone();
        let state = state_folder(&self.options.state, name.as_str(), who)?;
        let limits = definition.hosting.limits;
        let handover = self.hand_over(server, definition)?;
        let (here, there) = Link::pair().map_err(|error| error.to_string())?;
        here.set_nonblocking(true).map_err(|error| error.to_string())?;
        let pid = spawn::spawn(&self.options.worker, &[name.as_str()], who, &state, there, Stdio::null())?;
        // It waits for its first order, which comes after this.
        spawn::restrict(pid, &name, who, &limits);
        tracing::info!("{name}: process {pid} executed as uid {}", who.uid);
        let worker = Worker::new(name.clone(), pid, who.uid.as_raw(), here, self.now);
        let (manifest, files) = handover.with(server.listeners.tried());
        let begun = worker.order(&Order::Hello { version: VERSION }, &[]);
        let begin = Order::Begin { server: name, state, manifest, paused: server.paused };
        let begun = begun.and_then(|()| worker.order(&begin, &files));
        self.keep_worker(worker)?;
        if begun.is_err() {
            self.end_worker(Some(pid));
        }
        Ok(begun.map(|()| pid)?)
    }

    fn order_reload(&mut self, server: &mut Server) -> Result<(), Happening> {
        let (definition, who) = self.prepare(server)?;
        let limits = definition.hosting.limits;
        if self.serving(server)?.uid != who.uid.as_raw() {
            return Err("`user` has changed: restart it, a process keeps its user".to_owned().into());
        }
        let handover = self.hand_over(server, definition)?;
        let worker = self.serving(server)?;
        spawn::restrict(worker.pid, &server.name, who, &limits);
        let (manifest, files) = handover.with(server.listeners.tried());
        Ok(worker.order(&Order::Reload { manifest }, &files)?)
    }

    fn serving(&self, server: &Server) -> Result<&Worker, String> {
        server.serving.and_then(|pid| self.workers.get(&pid)).ok_or_else(|| "it has no worker".to_owned())
    }

    /// Tells a worker to drain; past the deadline it is killed.
    fn drain(&mut self, pid: Pid, time: Duration, gently: bool) -> Result<(), String> {
        let worker = self.workers.get_mut(&pid).ok_or_else(|| "it has no worker".to_owned())?;
        let deadline = self.now + time + GRACE;
        worker.deadline = Some((deadline, "it did not drain in time"));
        self.timers.set(deadline, Wake::Worker(pid));
        worker.order(&Order::Drain { deadline: time, gently }, &[])
    }

    /// Ends a worker at once; how long it had been ready.
    fn end_worker(&self, pid: Option<Pid>) -> Option<Duration> {
        let worker = self.workers.get(&pid?)?;
        worker.kill();
        worker.ready.map(|ready| self.now.duration_since(ready))
    }

    /// A worker has said something that concerns its server.
    pub(crate) fn report(&mut self, pid: Pid, report: Report) {
        let Some(name) = self.workers.get(&pid).map(|worker| worker.server.clone()) else { return };
        let Some(server) = self.servers.get(&name) else { return };
        let serving = server.serving == Some(pid);
        if !serving && server.successor != Some(pid) {
            return;
        }
        let what = match report {
            Report::Ready if serving => Event::Ready.into(),
            Report::Ready => Event::SuccessorReady.into(),
            Report::Refused { findings } if serving => Happening::refused(Event::Refuses, findings),
            Report::Refused { findings } => Happening::refused(Event::SuccessorRefuses, findings),
            Report::Reloaded { findings } if serving => Happening { findings, ..Event::Reloaded.into() },
            Report::Paused | Report::Resumed if serving => Event::Turned.into(),
            _ => return,
        };
        self.happen(&name, what, None);
    }

    /// A process of a server is gone, and why.
    pub(crate) fn lose(&mut self, worker: &Worker, text: String) {
        let pid = worker.pid;
        let Some(server) = self.servers.get_mut(&worker.server) else { return };
        server.predecessors.retain(|predecessor| *predecessor != pid);
        let mut event = None;
        if server.serving == Some(pid) {
            server.serving = None;
            server.served = worker.ready.map(|ready| self.now.duration_since(ready));
            event = Some(Event::Gone);
        } else if server.successor == Some(pid) {
            server.successor = None;
            event = Some(Event::SuccessorGone);
        }
        if server.state == State::Stopping {
            // It is stopped when the last of its processes is gone.
            event = Some(Event::Gone).filter(|_| server.serving.is_none() && server.predecessors.is_empty());
        }
        if let Some(event) = event {
            self.happen(&worker.server, Happening::because(event, text), None);
        }
    }

    /// How a server is shown.
    pub(crate) fn row(&self, server: &Server) -> ServerRow {
        let known = self.roster.known.get(&server.name);
        let reading = known.and_then(|known| known.reading.as_ref().ok());
        let hosting = server.hosting.as_ref().filter(|_| server.listeners.any()).or(reading);
        let worker = self.serving(server).ok();
        let all = server.serving.iter().chain(&server.successor).chain(&server.predecessors);
        let all: Vec<&Worker> = all.filter_map(|pid| self.workers.get(pid)).collect();
        let mut details = Vec::from_iter(Some(server.why.clone()).filter(|why| !why.is_empty()));
        let findings = match known.map(|known| &known.reading) {
            Some(Err(findings)) if server.findings.is_empty() => findings,
            _ => &server.findings,
        };
        details.extend(findings.first().map(Finding::to_string));
        if known.is_none() {
            details.push("its definition is gone".to_owned());
        }
        if server.watched.held_back {
            details
                .push("a file it names has changed, and its definition was edited: it waits for a reload".to_owned());
        }
        if server.company.hopeless > 0 {
            details.push("an authd can do nothing with the file it was given: see the log".to_owned());
        }
        let silent = worker.filter(|worker| worker.ready.is_some()).map(|worker| self.now - worker.heard);
        if let Some(silent) = silent.filter(|silent| *silent >= QUIET) {
            details.push(format!("no sign of life for {} s", silent.as_secs()));
        }
        details.extend(worker.map(|worker| worker.note.clone()).filter(|note| !note.is_empty()));
        if !server.predecessors.is_empty() {
            details.push(format!("{} former processes drain", server.predecessors.len()));
        }
        ServerRow {
            name: server.name.clone(),
            state: server.shown(),
            addresses: hosting.map(|hosting| hosting.listen.clone()).unwrap_or_default(),
            pid: worker.and_then(|worker| u32::try_from(worker.pid.as_raw()).ok()),
            uid: worker.map(|worker| worker.uid),
            sessions: all.iter().fold(0, |sum, worker| sum.saturating_add(worker.sessions)),
            queued: all.iter().fold(0, |sum, worker| sum.saturating_add(worker.queued)),
            since: server.since,
            description: hosting.map(|hosting| hosting.description.clone()).unwrap_or_default(),
            authds: self.authd_rows(&server.name),
            detail: details.join("; "),
        }
    }
}

/// What a request means to a server's life.
pub(crate) fn event_of(request: &Request) -> Option<Event> {
    match request {
        Request::Start { .. } => Some(Event::Start),
        Request::Stop { .. } => Some(Event::Stop),
        Request::Pause { .. } => Some(Event::Pause),
        Request::Resume { .. } => Some(Event::Resume),
        Request::Restart { .. } => Some(Event::Restart),
        Request::Reload { .. } => Some(Event::Reload),
        Request::Hello { .. } | Request::List { .. } | Request::Introduce { .. } => None,
    }
}

pub(crate) fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

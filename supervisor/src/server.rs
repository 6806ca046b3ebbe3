//! One server as posternd has it, and the carrying out of what its life's table says.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use postern_control::client::{Reply, Request, ServerRow};
use postern_control::worker::{Order, Report};
use postern_control::{Link, VERSION};
use postern_hosting::{Finding, Hosting, ServerName, ServerState};

use crate::backoff::Backoff;
use crate::desk::Ticket;
use crate::handover::{Handover, state_folder};
use crate::life::{Action, Event, State, Step, step};
use crate::link::Worker;
use crate::listeners::Listeners;
use crate::roster::{Definition, Roster};
use crate::run::Supervisor;
use crate::spawn;
use crate::timers::Wake;
use crate::uids::Identity;
use crate::wanted::Wish;

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

/// Why something could not be prepared.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Something in its definition.
    Definition(Vec<Finding>),
    /// Something on the host, in a sentence.
    Host(String),
}

impl From<Vec<Finding>> for Trouble {
    fn from(findings: Vec<Finding>) -> Trouble {
        Trouble::Definition(findings)
    }
}

impl From<String> for Trouble {
    fn from(text: String) -> Trouble {
        Trouble::Host(text)
    }
}

/// What an event comes with: words for people.
#[derive(Clone, Debug, Default)]
pub(crate) struct Note {
    pub(crate) text: String,
    pub(crate) findings: Vec<Finding>,
}

impl Note {
    pub(crate) fn text(text: impl Into<String>) -> Note {
        Note { text: text.into(), findings: Vec::new() }
    }

    pub(crate) fn findings(text: &str, findings: Vec<Finding>) -> Note {
        Note { text: text.to_owned(), findings }
    }
}

/// One server.
pub(crate) struct Server {
    pub(crate) state: State,
    /// When it came into the state shown, in seconds since 1970.
    since: u64,
    /// Why it is in a state nobody wants.
    note: Note,
    /// Whether it is to answer 421.
    pub(crate) paused: bool,
    pub(crate) serving: Option<u32>,
    pub(crate) successor: Option<u32>,
    pub(crate) predecessors: Vec<u32>,
    pub(crate) listeners: Listeners,
    /// The definition in force, and the one being tried.
    hosting: Option<Hosting>,
    tried: Option<Hosting>,
    backoff: Backoff,
    /// How long the worker that ended last had been ready.
    pub(crate) served: Option<Duration>,
    /// When the state is over.
    pub(crate) deadline: Option<Instant>,
    pub(crate) waiting: Vec<Ticket>,
    pub(crate) deferred: Vec<Ticket>,
}

impl Server {
    pub(crate) fn new() -> Server {
        Server {
            state: State::Stopped,
            since: unix_now(),
            note: Note::default(),
            paused: false,
            serving: None,
            successor: None,
            predecessors: Vec::new(),
            listeners: Listeners::default(),
            hosting: None,
            tried: None,
            backoff: Backoff::default(),
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

    fn enter(&mut self, state: State, note: &Note, now: Instant) -> Option<Instant> {
        let serving = |state| matches!(state, State::Serving | State::Turning | State::Reloading);
        if !(serving(self.state) && serving(state)) || self.state == State::Turning {
            self.since = unix_now();
        }
        if matches!(state, State::Waiting | State::Failed | State::Refused) {
            self.note = note.clone();
        } else if matches!(state, State::Serving | State::Stopped) {
            self.note = Note::default();
        }
        self.state = state;
        self.deadline = match state {
            State::Starting | State::Restarting => Some(now + START),
            State::Turning => Some(now + TURN),
            State::Reloading => Some(now + RELOAD),
            State::Stopping => Some(now + STOP + GRACE),
            _ => None,
        };
        self.deadline
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
    pub(crate) fn happen(&mut self, name: &ServerName, event: Event, note: Note, ticket: Option<Ticket>) {
        let mut ticket = ticket;
        let mut next = Some((event, note));
        while let Some((event, note)) = next.take().or_else(|| self.deferred(name, &mut ticket)) {
            let Some(server) = self.servers.get_mut(name) else {
                return;
            };
            let Step { state, actions } = step(server.state, event);
            tracing::debug!("{name}: {:?}, {event:?}: {state:?} {actions:?} {}", server.state, note.text);
            let accepted = !matches!(actions, [Action::Defer | Action::Deny]);
            if let Some(asker) = ticket.as_ref().filter(|_| accepted) {
                let request = asker.request.clone();
                self.note_wish(name, &request);
            }
            let Some(server) = self.servers.get_mut(name) else {
                return;
            };
            if server.state != state {
                if let Some(deadline) = server.enter(state, &note, self.now) {
                    self.timers.set(deadline, Wake::Server(name.clone()));
                }
                self.status_is_old = true;
            }
            for action in actions {
                next = self.act(name, *action, &note, &mut ticket).or(next);
            }
            if let (Some(asker), Some(server)) = (ticket.take(), self.servers.get_mut(name)) {
                server.waiting.push(asker);
            }
        }
    }

    /// The next of those whose turn comes once no transition is going on.
    fn deferred(&mut self, name: &ServerName, ticket: &mut Option<Ticket>) -> Option<(Event, Note)> {
        let server = self.servers.get_mut(name).filter(|server| server.state.settled())?;
        if server.deferred.is_empty() {
            return None;
        }
        let next = server.deferred.remove(0);
        let event = event_of(&next.request)?;
        *ticket = Some(next);
        Some((event, Note::default()))
    }

    /// The operator's word is on disk before anything is done about it.
    fn note_wish(&mut self, name: &ServerName, request: &Request) {
        let Some(server) = self.servers.get_mut(name) else {
            return;
        };
        let runs = !matches!(server.state, State::Stopped | State::Stopping);
        let wish = match request {
            Request::Stop { .. } => Wish::Stopped,
            Request::Pause { .. } => Wish::Paused,
            Request::Resume { .. } => Wish::Running,
            Request::Start { .. } | Request::Restart { .. } | Request::Reload { .. } => {
                server.backoff.forget();
                if runs && server.paused { Wish::Paused } else { Wish::Running }
            }
            _ => return,
        };
        server.paused = wish == Wish::Paused;
        if let Err(error) = self.wanted.set(name, wish) {
            tracing::error!("{name}: the operator's wish is not on disk: {error}");
        }
    }

    /// Carries out one action; some say at once that it cannot be done.
    fn act(
        &mut self,
        name: &ServerName,
        action: Action,
        note: &Note,
        ticket: &mut Option<Ticket>,
    ) -> Option<(Event, Note)> {
        match action {
            Action::Spawn | Action::SpawnSuccessor => {
                let spawned = self.spawn(name);
                let server = self.servers.get_mut(name)?;
                match spawned {
                    Ok(id) if action == Action::Spawn => server.serving = Some(id),
                    Ok(id) => server.successor = Some(id),
                    Err(trouble) => return Some(cannot(trouble)),
                }
            }
            Action::OrderReload => return self.order_reload(name).err().map(cannot),
            Action::OrderTurn => return self.order_turn(name).err().map(cannot),
            Action::Drain => {
                let id = self.servers.get(name)?.serving;
                if !id.is_some_and(|id| self.drain(id, STOP, false)) {
                    return Some((Event::Unable, Note::text("the worker does not take orders")));
                }
            }
            Action::Kill => {
                let id = self.servers.get_mut(name)?.serving.take();
                self.end_worker(name, id);
            }
            Action::KillSuccessor => {
                let id = self.servers.get_mut(name)?.successor.take();
                self.end_worker(name, id);
            }
            Action::Promote => self.promote(name),
            Action::Inherit => {
                let server = self.servers.get_mut(name)?;
                server.serving = server.successor.take();
            }
            Action::KeepListeners => {
                let server = self.servers.get_mut(name)?;
                server.listeners.keep();
                server.hosting = server.tried.take().or(server.hosting.take());
            }
            Action::RollBackListeners => {
                let server = self.servers.get_mut(name)?;
                server.listeners.roll_back();
                server.tried = None;
            }
            Action::CloseListeners if self.ending => self.servers.get_mut(name)?.listeners.leave(),
            Action::CloseListeners => self.servers.get_mut(name)?.listeners.close(),
            Action::BackOff => self.back_off(name),
            Action::Done | Action::Deny => self.answer_all(name, action == Action::Done, note, ticket),
            Action::Interrupt => {
                let server = self.servers.get_mut(name)?;
                let mut tickets: Vec<Ticket> = server.waiting.drain(..).collect();
                tickets.append(&mut server.deferred);
                let reply = Reply::refused(format!("{name} was stopped meanwhile"), Vec::new());
                self.answer(&tickets, &reply);
            }
            Action::Defer => {
                let asker = ticket.take()?;
                self.servers.get_mut(name)?.deferred.push(asker);
            }
        }
        None
    }

    /// Reads the definition and binds its addresses: what a new worker and a reload have in common.
    fn prepare(&mut self, name: &ServerName) -> Result<(Definition, Identity), Trouble> {
        let servers = &self.servers;
        let holds = |other: &ServerName| servers.get(other).is_some_and(|other| other.listeners.any());
        let definition = self.roster.open(name, holds)?;
        let who = self.uids.identity(name, &definition.hosting, &definition.path)?;
        let server = self.servers.get_mut(name).ok_or_else(|| format!("there is no server {name}"))?;
        server.listeners.try_identities(name, &definition.hosting.listen, &mut self.kept)?;
        server.tried = Some(definition.hosting.clone());
        Ok((definition, who))
    }

    fn spawn(&mut self, name: &ServerName) -> Result<u32, Trouble> {
        let (definition, who) = self.prepare(name)?;
        let folder = state_folder(&self.options.state, name, who)?;
        let limits = definition.hosting.limits;
        let server = self.servers.get(name).ok_or_else(|| format!("there is no server {name}"))?;
        let listeners = server.listeners.tried();
        let Handover { manifest, files } = Handover::open(definition, listeners)?;
        let (here, there) = Link::pair().map_err(|error| error.to_string())?;
        here.set_nonblocking(true).map_err(|error| error.to_string())?;
        let pid = spawn::spawn(&self.options.worker, name, who, &folder, &limits, there)?;
        let worker = Worker::new(name.clone(), pid, who.uid.as_raw(), here, self.now);
        let begin = Order::Begin { server: name.clone(), state: folder, manifest, paused: server.paused };
        let begun = worker
            .order(&Order::Hello { version: VERSION }, &[])
            .and_then(|()| worker.order(&begin, &crate::handover::all(&files, listeners)));
        tracing::info!("{name}: process {pid} executed as uid {}", who.uid);
        let id = self.keep_worker(worker)?;
        if let Err(error) = begun {
            self.end_worker(name, Some(id));
            return Err(Trouble::Host(format!("cannot hand over to the worker: {error}")));
        }
        Ok(id)
    }

    fn order_reload(&mut self, name: &ServerName) -> Result<(), Trouble> {
        let (definition, who) = self.prepare(name)?;
        let limits = definition.hosting.limits;
        let server = self.servers.get(name).ok_or_else(|| format!("there is no server {name}"))?;
        let listeners = server.listeners.tried();
        let handover = Handover::open(definition, listeners)?;
        let worker = server.serving.and_then(|id| self.workers.get(&id));
        let worker = worker.ok_or_else(|| "it has no worker".to_owned())?;
        if worker.uid != who.uid.as_raw() {
            return Err(Trouble::Host("`user` has changed: restart it, a process keeps its user".to_owned()));
        }
        spawn::restrict(worker.pid, name, who, &limits);
        let files = crate::handover::all(&handover.files, listeners);
        worker
            .order(&Order::Reload { manifest: handover.manifest }, &files)
            .map_err(|error| Trouble::Host(format!("the worker does not take orders: {error}")))
    }

    fn order_turn(&mut self, name: &ServerName) -> Result<(), Trouble> {
        let server = self.servers.get(name);
        let order = if server.is_some_and(|server| server.paused) { Order::Pause } else { Order::Resume };
        let worker = server.and_then(|server| self.workers.get(&server.serving?));
        let worker = worker.ok_or_else(|| "it has no worker".to_owned())?;
        worker.order(&order, &[]).map_err(|error| Trouble::Host(format!("the worker does not take orders: {error}")))
    }

    /// Tells a worker to drain; past the deadline it is killed. `false`: it cannot be told.
    pub(crate) fn drain(&mut self, id: u32, time: Duration, gently: bool) -> bool {
        let Some(worker) = self.workers.get_mut(&id) else {
            return false;
        };
        let deadline = self.now + time + GRACE;
        worker.deadline = Some((deadline, "it did not drain in time"));
        self.timers.set(deadline, Wake::Worker(id));
        worker.order(&Order::Drain { deadline: time, gently }, &[]).is_ok()
    }

    fn promote(&mut self, name: &ServerName) {
        let Some(server) = self.servers.get_mut(name) else {
            return;
        };
        let time = server.hosting.as_ref().map_or(Hosting::DRAIN_TIMEOUT, |hosting| hosting.drain_timeout);
        let predecessor = server.serving.take();
        server.serving = server.successor.take();
        if let Some(id) = predecessor {
            server.predecessors.push(id);
            if !self.drain(id, time, true) {
                self.condemn(id, "it does not take orders");
            }
        }
    }

    fn end_worker(&mut self, name: &ServerName, id: Option<u32>) {
        let Some(worker) = id.and_then(|id| self.workers.get(&id)) else {
            return;
        };
        worker.kill();
        let served = worker.ready.map(|ready| self.now.duration_since(ready));
        if let Some(server) = self.servers.get_mut(name) {
            server.served = served;
        }
    }

    fn back_off(&mut self, name: &ServerName) {
        let Some(server) = self.servers.get_mut(name) else {
            return;
        };
        let wait = server.backoff.died(server.served.take());
        let deadline = self.now + wait;
        server.deadline = Some(deadline);
        let deaths = server.backoff.deaths();
        server.note.text += &format!("; {deaths} in a row, the next try comes {wait:?} later");
        tracing::warn!("{name}: {}", server.note.text);
        self.timers.set(deadline, Wake::Server(name.clone()));
    }

    fn answer_all(&mut self, name: &ServerName, done: bool, note: &Note, ticket: &mut Option<Ticket>) {
        let Some(server) = self.servers.get_mut(name) else {
            return;
        };
        let mut tickets: Vec<Ticket> = server.waiting.drain(..).collect();
        tickets.extend(ticket.take());
        let findings = note.findings.clone();
        let reply = if done {
            Reply::done(format!("{name} is {}", server.shown()), findings)
        } else {
            let reason = match server.state {
                _ if !note.text.is_empty() => format!("{name}: {}", note.text),
                State::Stopped => format!("{name} is not running"),
                State::Stopping => format!("{name} is being stopped"),
                _ => format!("{name} is {}", server.shown()),
            };
            tracing::warn!("{reason}");
            Reply::refused(reason, findings)
        };
        self.answer(&tickets, &reply);
    }

    /// A worker has said something that concerns its server.
    pub(crate) fn report(&mut self, id: u32, report: Report) {
        let Some(name) = self.workers.get(&id).map(|worker| worker.server.clone()) else {
            return;
        };
        let Some(server) = self.servers.get(&name) else {
            return;
        };
        let serving = server.serving == Some(id);
        if !serving && server.successor != Some(id) {
            return;
        }
        let refused = "its definition is refused";
        let (event, note) = match report {
            Report::Ready if serving => (Event::Ready, Note::default()),
            Report::Ready => (Event::SuccessorReady, Note::default()),
            Report::Refused { findings } if serving => (Event::Refuses, Note::findings(refused, findings)),
            Report::Refused { findings } => (Event::SuccessorRefuses, Note::findings(refused, findings)),
            Report::Reloaded { findings } if serving => (Event::Reloaded, Note::findings("", findings)),
            Report::Paused | Report::Resumed if serving => (Event::Turned, Note::default()),
            _ => return,
        };
        self.happen(&name, event, note, None);
    }

    /// How a server is shown.
    pub(crate) fn row(&self, name: &ServerName, server: &Server, roster: &Roster) -> ServerRow {
        let known = roster.known(name);
        let reading = known.and_then(|known| known.reading.as_ref().ok());
        let hosting = server.hosting.as_ref().filter(|_| server.serving.is_some()).or(reading);
        let worker = server.serving.and_then(|id| self.workers.get(&id));
        let all = server.serving.iter().chain(&server.successor).chain(&server.predecessors);
        let all: Vec<&Worker> = all.filter_map(|id| self.workers.get(id)).collect();
        let mut addresses = server.listeners.identities();
        if addresses.is_empty() {
            addresses = hosting.map(|hosting| hosting.listen.clone()).unwrap_or_default();
        }
        let mut details = Vec::from_iter(Some(server.note.text.clone()).filter(|text| !text.is_empty()));
        let findings = match known.map(|known| &known.reading) {
            Some(Err(findings)) if server.note.findings.is_empty() => findings,
            _ => &server.note.findings,
        };
        details.extend(findings.first().map(Finding::to_string));
        if known.is_none() {
            details.push("its definition is gone".to_owned());
        }
        if let Some(silent) = worker.filter(|worker| worker.ready.is_some()).map(|worker| self.now - worker.heard) {
            if silent >= QUIET {
                details.push(format!("no sign of life for {} s", silent.as_secs()));
            }
        }
        if !server.predecessors.is_empty() {
            details.push(format!("{} former processes drain", server.predecessors.len()));
        }
        ServerRow {
            name: name.clone(),
            state: server.shown(),
            addresses,
            pid: worker.and_then(|worker| u32::try_from(worker.pid.as_raw()).ok()),
            uid: worker.map(|worker| worker.uid),
            sessions: all.iter().fold(0, |sum, worker| sum.saturating_add(worker.sessions)),
            queued: all.iter().fold(0, |sum, worker| sum.saturating_add(worker.queued)),
            since: server.since,
            description: hosting.map(|hosting| hosting.description.clone()).unwrap_or_default(),
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

fn cannot(trouble: Trouble) -> (Event, Note) {
    match trouble {
        Trouble::Definition(findings) => (Event::BadDefinition, Note::findings("its definition is refused", findings)),
        Trouble::Host(text) => (Event::Unable, Note::text(text)),
    }
}

pub(crate) fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

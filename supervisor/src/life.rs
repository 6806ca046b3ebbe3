//! One server's life as a table: state × event → state and actions.
//!
//! ```text
//! Stopped ──Start──► Starting ──Ready──► Serving ◄───► Turning, Reloading, Restarting (what fails there changes nothing)
//!                     │    ▲                │
//!                Gone ▼    │ Due       Gone │
//!                    Waiting ◄──────────────┘
//! Starting ──► Refused, Failed, until somebody asks again          whatever runs ──Stop──► Stopping ──Gone──► Stopped
//! ```
//!
//! At most one transition is going on, so whoever waits for a server waits for its end. Stop interrupts any of them; other
//! verbs come after it. Predecessors that drain have no part in this, but that a server is stopped when they are gone too.
//!
//! Never: a process, a clock, a socket. Whoever calls [`step`] carries out the actions, in order.

/// Where a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum State {
    /// No worker, and none wanted.
    Stopped,
    /// A worker is getting ready.
    Starting,
    /// A worker serves (or answers 421, when paused).
    Serving,
    /// It was told to pause or to resume.
    Turning,
    /// It was told to reload.
    Reloading,
    /// It serves, and a successor is getting ready.
    Restarting,
    /// It was told to drain.
    Stopping,
    /// The worker died; the next one comes after a pause.
    Waiting,
    /// It could not be started, for a reason of the host's.
    Failed,
    /// It could not be started, for a reason in its definition.
    Refused,
}

/// What can happen to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Event {
    /// An operator (or the boot) wants it to run.
    Start,
    /// An operator wants it stopped, or posternd ends.
    Stop,
    /// An operator wants it paused.
    Pause,
    /// An operator wants it to accept again.
    Resume,
    /// An operator wants a new process.
    Restart,
    /// An operator wants its definition read again.
    Reload,
    /// Preparing a worker or a reload failed: the definition is bad.
    BadDefinition,
    /// Preparing a worker or a reload failed: the host cannot.
    Unable,
    /// An address is held, as by a dying predecessor: tried again soon.
    Busy,
    /// The worker accepts connections.
    Ready,
    /// The worker refuses its definition.
    Refuses,
    /// The worker uses the new generation.
    Reloaded,
    /// The worker has paused or resumed.
    Turned,
    /// The worker is gone.
    Gone,
    /// The successor accepts connections.
    SuccessorReady,
    /// The successor refuses its definition.
    SuccessorRefuses,
    /// The successor is gone.
    SuccessorGone,
    /// The time given to this state is over.
    Due,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    /// Read the definition, bind what is new, execute a worker. May come back as `BadDefinition` or `Unable`.
    Spawn,
    /// The same, beside the worker that serves.
    SpawnSuccessor,
    /// Read the definition, bind what is new, order the reload. May come back the same way.
    OrderReload,
    /// Order the worker to pause, or to resume, as the operator wishes. May come back as `Unable`.
    OrderTurn,
    /// Order the worker to drain, at once.
    Drain,
    /// Order all predecessors to end at once: they have been draining gently.
    Hasten,
    /// End the worker; it is not heard any more.
    Kill,
    /// End the successor; it is not heard any more.
    KillSuccessor,
    /// The successor serves; the worker drains gently.
    Promote,
    /// The successor takes the place of the worker, which is gone.
    Inherit,
    /// The listeners of the new definition are the listeners; the others are closed.
    KeepListeners,
    /// The listeners are what they were.
    RollBackListeners,
    /// Close all listeners.
    CloseListeners,
    /// Count the death, and set the time of the next try.
    BackOff,
    /// All who wait are told that it is done.
    Done,
    /// All who wait are told that it is not.
    Deny,
    /// All who wait for anything but a stop are told that a stop came between.
    Interrupt,
    /// Who asked is served when this transition has ended.
    Defer,
}

impl State {
    /// Whether no transition is going on.
    pub(crate) fn settled(self) -> bool {
        use State::*;
        matches!(self, Stopped | Serving | Waiting | Failed | Refused)
    }
}

/// The table: the state that follows, and what to do, in this order, once it is set.
pub(crate) fn step(state: State, event: Event) -> (State, &'static [Action]) {
    use Action::*;
    use Event as E;
    use State as S;
    let to = |state: State, actions: &'static [Action]| (state, actions);
    let stay = |actions: &'static [Action]| (state, actions);
    match (state, event) {
        (S::Starting, E::Busy) => to(S::Waiting, &[BackOff, Deny]),
        (_, E::Busy) => step(state, E::Unable),
        // Nothing runs.
        (S::Stopped | S::Waiting | S::Failed | S::Refused, E::Start | E::Restart)
        | (S::Waiting | S::Failed | S::Refused, E::Reload)
        | (S::Waiting, E::Due) => to(S::Starting, &[Spawn]),
        (S::Stopped, E::Stop) => stay(&[Hasten, Done]),
        (S::Stopped, E::Pause | E::Resume | E::Reload) => stay(&[Deny]),
        (S::Waiting | S::Failed | S::Refused, E::Stop) => to(S::Stopped, &[Hasten, CloseListeners, Done]),
        // The wish is kept for the next worker.
        (S::Waiting | S::Failed | S::Refused, E::Pause | E::Resume) => stay(&[Done]),

        // A worker is getting ready.
        (S::Starting, E::Ready) => to(S::Serving, &[KeepListeners, Done]),
        (S::Starting, E::Start) => stay(&[]),
        (S::Starting, E::Stop) => to(S::Stopping, &[Interrupt, CloseListeners, Hasten, Drain]),
        (S::Starting, E::BadDefinition) => to(S::Refused, &[CloseListeners, Deny]),
        (S::Starting, E::Refuses) => to(S::Refused, &[Kill, CloseListeners, Deny]),
        (S::Starting, E::Unable) => to(S::Failed, &[CloseListeners, Deny]),
        (S::Starting, E::Due) => to(S::Waiting, &[Kill, BackOff, Deny]),
        (S::Starting, E::Gone) => to(S::Waiting, &[BackOff, Deny]),

        // A worker serves.
        (S::Serving | S::Turning | S::Reloading | S::Restarting, E::Start) => stay(&[Done]),
        (S::Serving, E::Pause | E::Resume) => to(S::Turning, &[OrderTurn]),
        (S::Serving, E::Restart) => to(S::Restarting, &[SpawnSuccessor]),
        (S::Serving, E::Reload) => to(S::Reloading, &[OrderReload]),
        (S::Serving, E::Stop) => to(S::Stopping, &[CloseListeners, Hasten, Drain]),
        (S::Serving, E::Gone) => to(S::Waiting, &[BackOff]),

        (S::Turning, E::Turned) => to(S::Serving, &[Done]),
        (S::Turning, E::Due | E::Unable) => to(S::Serving, &[Deny]),
        (S::Turning, E::Gone) => to(S::Waiting, &[BackOff, Deny]),

        (S::Reloading, E::Reloaded) => to(S::Serving, &[KeepListeners, Done]),
        (S::Reloading, E::Refuses | E::BadDefinition | E::Unable) => to(S::Serving, &[RollBackListeners, Deny]),
        // Which generation it has, nobody knows: a new process will have the new one.
        (S::Reloading, E::Due) => to(S::Waiting, &[Kill, KeepListeners, BackOff, Deny]),
        (S::Reloading, E::Gone) => to(S::Waiting, &[RollBackListeners, BackOff, Deny]),

        (S::Restarting, E::SuccessorReady) => to(S::Serving, &[Promote, KeepListeners, Done]),
        (S::Restarting, E::SuccessorRefuses | E::Due) => to(S::Serving, &[KillSuccessor, RollBackListeners, Deny]),
        (S::Restarting, E::SuccessorGone | E::BadDefinition | E::Unable) => to(S::Serving, &[RollBackListeners, Deny]),
        (S::Restarting, E::Gone) => to(S::Starting, &[Inherit]),
        (S::Restarting, E::Stop) => to(S::Stopping, &[Interrupt, KillSuccessor, CloseListeners, Hasten, Drain]),

        (S::Turning | S::Reloading, E::Stop) => to(S::Stopping, &[Interrupt, CloseListeners, Hasten, Drain]),
        (S::Starting | S::Turning | S::Reloading | S::Restarting, E::Pause | E::Resume | E::Restart | E::Reload) => {
            stay(&[Defer])
        }

        // A worker drains.
        (S::Stopping, E::Gone) => to(S::Stopped, &[Done]),
        (S::Stopping, E::Due | E::Unable) => to(S::Stopped, &[Kill, Done]),
        (S::Stopping, E::Stop) => stay(&[Interrupt]),
        (S::Stopping, E::Start | E::Restart) => stay(&[Defer]),
        (S::Stopping, E::Pause | E::Resume | E::Reload) => stay(&[Deny]),

        // An answer that came too late, or the end of what is not heard any more.
        (_, E::Ready | E::Refuses | E::Reloaded | E::Turned | E::Gone)
        | (_, E::SuccessorReady | E::SuccessorRefuses | E::SuccessorGone)
        | (_, E::BadDefinition | E::Unable | E::Due) => stay(&[]),
    }
}

#[cfg(test)]
mod tests;

//! The table whole: every pair is looked at, and every path from Stopped keeps the promises.

use std::collections::{HashMap, HashSet};

use super::Action::*;
use super::*;

const STATES: [State; 10] = [
    State::Stopped,
    State::Starting,
    State::Serving,
    State::Turning,
    State::Reloading,
    State::Restarting,
    State::Stopping,
    State::Waiting,
    State::Failed,
    State::Refused,
];

const VERBS: [Event; 6] = [Event::Start, Event::Stop, Event::Pause, Event::Resume, Event::Restart, Event::Reload];

const OTHERS: [Event; 12] = [
    Event::BadDefinition,
    Event::Unable,
    Event::Busy,
    Event::Ready,
    Event::Refuses,
    Event::Reloaded,
    Event::Turned,
    Event::Gone,
    Event::SuccessorReady,
    Event::SuccessorRefuses,
    Event::SuccessorGone,
    Event::Due,
];

fn every_pair() -> impl Iterator<Item = (State, Event, State, &'static [Action])> {
    let events = VERBS.into_iter().chain(OTHERS);
    events.flat_map(|event| STATES.map(|state| (state, event, step(state, event).0, step(state, event).1)))
}

/// The whole table in short: a letter for the state that follows, `!` where those who wait are answered, `+` where who
/// asked is deferred. A change of the table is a change here.
#[test]
fn the_table_is_as_written_down() {
    let letter = |state: State| match state {
        State::Stopped => 'o',
        State::Starting => 's',
        State::Serving => 'R',
        State::Turning => 't',
        State::Reloading => 'l',
        State::Restarting => 'r',
        State::Stopping => 'x',
        State::Waiting => 'w',
        State::Failed => 'F',
        State::Refused => 'D',
    };
    let row = |event: Event| {
        let cells = STATES.map(|state| {
            let (state, actions) = step(state, event);
            let answered = actions.iter().any(|action| matches!(action, Done | Deny | Interrupt));
            let mark = if answered {
                "!"
            } else if actions.contains(&Defer) {
                "+"
            } else {
                ""
            };
            format!("{}{mark}", letter(state))
        });
        format!("{event:?}: {}", cells.join(" "))
    };
    let table: Vec<String> = VERBS.into_iter().chain(OTHERS).map(row).collect();
    // states in order:  o s R t l r x w F D
    let expected = [
        "Start: s s R! t! l! r! x+ s s s",
        "Stop: o! x! x x! x! x! x! o! o! o!",
        "Pause: o! s+ t t+ l+ r+ x! w! F! D!",
        "Resume: o! s+ t t+ l+ r+ x! w! F! D!",
        "Restart: s s+ r t+ l+ r+ x+ s s s",
        "Reload: o! s+ l t+ l+ r+ x! s s s",
        "BadDefinition: o D! R t R! R! x w F D",
        "Unable: o F! R R! R! R! o! w F D",
        "Busy: o w! R R! R! R! o! w F D",
        "Ready: o R! R t l r x w F D",
        "Refuses: o D! R t R! r x w F D",
        "Reloaded: o s R t R! r x w F D",
        "Turned: o s R R! l r x w F D",
        "Gone: o w! w w! w! s o! w F D",
        "SuccessorReady: o s R t l R! x w F D",
        "SuccessorRefuses: o s R t l R! x w F D",
        "SuccessorGone: o s R t l R! x w F D",
        "Due: o w! R R! w! R! o! s F D",
    ];
    assert_eq!(table, expected);
}

#[test]
fn the_end_of_a_transition_is_told_to_those_who_wait() {
    for (state, event, after, actions) in every_pair() {
        let told = actions.contains(&Done) || actions.contains(&Deny);
        if !state.settled() && after.settled() {
            assert!(told, "{state:?} {event:?} ends in silence");
        }
        // Who asks is answered now, or later: by a transition that has begun, or after the one going on.
        if VERBS.contains(&event) && after.settled() {
            assert!(told, "{state:?} {event:?} leaves who asked without an answer");
        }
        if actions.contains(&Defer) {
            assert!(!after.settled(), "{state:?} {event:?} defers for ever");
        }
    }
}

#[test]
fn stop_always_leads_to_the_end() {
    for state in STATES {
        let (after, actions) = step(state, Event::Stop);
        assert!(matches!(after, State::Stopped | State::Stopping), "{state:?}");
        let open = !matches!(state, State::Stopped | State::Stopping);
        assert_eq!(actions.contains(&CloseListeners), open, "{state:?}");
    }
    for event in [Event::Gone, Event::Due, Event::Unable] {
        assert_eq!(step(State::Stopping, event).0, State::Stopped);
    }
}

/// What exists after a sequence of events, if each action is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
struct World {
    worker: bool,
    successor: bool,
    listening: bool,
    pending: bool,
}

fn carry_out(mut world: World, actions: &[Action]) -> World {
    for action in actions {
        match action {
            Spawn => {
                assert!(!world.worker, "two workers");
                world = World { worker: true, listening: true, pending: true, ..world };
            }
            SpawnSuccessor => {
                assert!(world.worker && !world.successor, "a successor of nobody, or two");
                world = World { successor: true, pending: true, ..world };
            }
            OrderReload => {
                assert!(world.worker, "an order to nobody");
                world.pending = true;
            }
            OrderTurn | Drain => assert!(world.worker, "an order to nobody"),
            Kill => world.worker = false,
            KillSuccessor => world.successor = false,
            Promote | Inherit => {
                assert!(world.successor, "nobody to follow");
                world = World { worker: true, successor: false, ..world };
            }
            KeepListeners | RollBackListeners => world.pending = false,
            CloseListeners => world = World { listening: false, pending: false, ..world },
            BackOff => assert!(!world.worker, "backing off from a worker that lives"),
            Hasten | Done | Deny | Interrupt | Defer => {}
        }
    }
    world
}

/// Which events the world can bring about.
fn possible(event: Event, state: State, world: World) -> bool {
    match event {
        Event::Ready | Event::Refuses | Event::Reloaded | Event::Turned | Event::Gone => world.worker,
        Event::SuccessorReady | Event::SuccessorRefuses | Event::SuccessorGone => world.successor,
        Event::BadDefinition | Event::Busy => {
            matches!(state, State::Starting | State::Reloading | State::Restarting)
        }
        Event::Unable | Event::Due => !state.settled() || state == State::Waiting,
        _ => true,
    }
}

/// What an event says about the world before the table is asked.
fn before(event: Event, state: State, world: World) -> World {
    let prepared = matches!(event, Event::BadDefinition | Event::Unable | Event::Busy);
    match (event, state) {
        (Event::Gone, _) => World { worker: false, ..world },
        (Event::SuccessorGone, _) => World { successor: false, ..world },
        (_, State::Starting) if prepared => World { worker: false, ..world },
        (_, State::Restarting) if prepared => World { successor: false, ..world },
        _ => world,
    }
}

#[test]
fn every_reachable_world_is_a_sane_one() {
    let mut seen: HashMap<(State, World), Vec<Event>> = HashMap::new();
    let mut next = vec![(State::Stopped, World::default(), Vec::new())];
    while let Some((state, world, path)) = next.pop() {
        if seen.contains_key(&(state, world)) {
            continue;
        }
        let running = matches!(
            state,
            State::Starting | State::Serving | State::Turning | State::Reloading | State::Restarting | State::Stopping
        );
        assert_eq!(world.worker, running, "{state:?} {world:?} after {path:?}");
        assert_eq!(world.successor, state == State::Restarting, "{state:?} {world:?} after {path:?}");
        let listening = !matches!(state, State::Stopped | State::Stopping | State::Failed | State::Refused);
        assert_eq!(world.listening, listening, "{state:?} {world:?} after {path:?}");
        if matches!(state, State::Serving | State::Turning | State::Stopped) {
            assert!(!world.pending, "{state:?} {world:?} after {path:?}");
        }
        for event in VERBS.into_iter().chain(OTHERS) {
            if !possible(event, state, world) {
                continue;
            }
            let (after, actions) = step(state, event);
            let mut longer = path.clone();
            longer.push(event);
            next.push((after, carry_out(before(event, state, world), actions), longer));
        }
        seen.insert((state, world), path);
    }
    let states: HashSet<State> = seen.keys().map(|(state, _)| *state).collect();
    assert_eq!(states.len(), STATES.len(), "some state is never reached");
}

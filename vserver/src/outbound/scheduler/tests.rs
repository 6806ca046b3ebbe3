//! The queue as a value: time goes in, orders come out.

#![allow(clippy::unwrap_used)]

use postern_delivery::Answer;
use postern_delivery::route::{Mx, Table};
use postern_smtp::EnhancedCode;

use super::lane::{GROW_AFTER, QUICK_CARRIERS};
use super::*;

const MINUTE: u64 = 60_000;
/// No test begins at the beginning of time.
const START: u64 = 100 * MINUTE;

struct Play {
    queue: Queue,
    table: Table,
    last: u64,
}

fn play(total: u32, per_lane: u32) -> Play {
    let retry = vec![Duration::from_secs(600), Duration::from_secs(1200)];
    Play {
        queue: Queue::new(Bounds {
            total,
            per_lane,
            retry,
        }),
        table: Table::new(Mx::default()),
        last: 0,
    }
}

fn deferred() -> Outcome {
    Outcome::Deferred(Answer::nobody(EnhancedCode(4, 4, 1), "refused"))
}

impl Play {
    /// A message for a domain comes in.
    fn accept(&mut self, domain: &str, now: u64) -> (QueueId, Todo) {
        self.last += 1;
        let id = QueueId::from_u64(self.last);
        let mut todo = Todo::default();
        self.queue.book.insert(
            id,
            Entry {
                parts: 1,
                ..Entry::default()
            },
        );
        let ticket = Ticket {
            id,
            part: Part::All,
            received: now,
            since: now,
            again: false,
        };
        let address = format!("a@{domain}");
        let choice = self.table.route(&address).unwrap();
        self.queue.push(now, &choice, ticket, false, &mut todo);
        (id, todo)
    }

    /// A carrier is started and has its connection.
    fn connect(&mut self, todo: &mut Todo) -> Start {
        let start = todo.start.pop().expect("a carrier is started");
        self.queue.connected(&start.lane, start.serial);
        start
    }

    fn take(&mut self, start: &Start, now: u64) -> (Option<QueueId>, Todo) {
        let mut todo = Todo::default();
        let ticket = self.queue.take(&start.lane, start.serial, now, &mut todo);
        (ticket.map(|ticket| ticket.id), todo)
    }

    fn leave(&mut self, start: &Start, connected: bool, now: u64) -> Todo {
        let mut todo = Todo::default();
        self.queue
            .leave(&start.lane, start.serial, connected, now, &mut todo);
        todo
    }

    fn fall(&mut self, start: &Start, connected: bool, most: usize, now: u64) -> Vec<Ticket> {
        let outcome = deferred();
        let fall = Fall {
            outcome: &outcome,
            connected,
            most,
        };
        self.queue
            .unreachable(&start.lane, start.serial, &fall, now, |_| false)
    }

    fn tick(&mut self, now: u64) -> (Option<u64>, Todo) {
        let mut todo = Todo::default();
        (self.queue.tick(now, &mut todo), todo)
    }
}

#[test]
fn a_first_message_starts_a_carrier_and_the_next_ones_wait_for_it() {
    let mut play = play(10, 10);
    let (first, mut todo) = play.accept("a.test", START);
    let carrier = play.connect(&mut todo);
    for _ in 0..100 {
        assert!(play.accept("a.test", START).1.start.is_empty());
    }
    assert_eq!(play.take(&carrier, START).0, Some(first));
    assert!(
        play.accept("b.test", START).1.start.len() == 1,
        "another destination has a carrier of its own"
    );
}

#[test]
fn a_lane_grows_while_its_oldest_message_waits_and_never_faster_than_it_doubles() {
    let mut play = play(100, 6);
    let (_, mut todo) = play.accept("a.test", START);
    let mut carriers = vec![play.connect(&mut todo)];
    // A slow host: its limit, and not that of quick ones, bounds the lane.
    play.queue.worked("a.test", carriers[0].serial, START, 1000);
    let mut opening = Vec::new();
    for _ in 0..50 {
        opening.extend(play.accept("a.test", START + GROW_AFTER).1.start);
    }
    assert_eq!(opening.len(), 1, "one connected, one opening");
    play.queue.connected("a.test", opening[0].serial);
    carriers.append(&mut opening);
    for _ in 0..50 {
        opening.extend(play.accept("a.test", START + 2 * GROW_AFTER).1.start);
    }
    assert_eq!(opening.len(), 2);
    for start in &opening {
        play.queue.connected("a.test", start.serial);
    }
    carriers.append(&mut opening);
    for _ in 0..50 {
        opening.extend(play.accept("a.test", START + 3 * GROW_AFTER).1.start);
    }
    assert_eq!(carriers.len() + opening.len(), 6, "the limit of the lane");
}

#[test]
fn a_quick_host_needs_few_connections() {
    let mut play = play(100, 100);
    let (_, mut todo) = play.accept("a.test", START);
    let carrier = play.connect(&mut todo);
    play.queue.worked("a.test", carrier.serial, START, 1);
    let mut started = 1;
    for _ in 0..500 {
        for start in play.accept("a.test", START + 1000).1.start {
            play.queue.connected("a.test", start.serial);
            started += 1;
        }
        // The oldest message has waited long.
        play.queue.lanes.get_mut("a.test").unwrap().ready[0].since = START;
    }
    assert_eq!(started, QUICK_CARRIERS);
}

#[test]
fn a_resting_carrier_is_called_first_and_others_only_for_many() {
    let mut play = play(10, 10);
    let (_, mut todo) = play.accept("a.test", START);
    let carrier = play.connect(&mut todo);
    play.take(&carrier, START);
    let calls: Vec<_> = (0..2).map(|_| Arc::new(Notify::new())).collect();
    for call in &calls {
        assert_eq!(
            play.queue.rest("a.test", carrier.serial, call),
            Leisure::Rest
        );
    }
    let todo = play.accept("a.test", START).1;
    assert!(todo.start.is_empty());
    assert!(
        matches!(&todo.call[..], [call] if Arc::ptr_eq(call, &calls[1])),
        "the last to rest is the first to be called"
    );
    let called: usize = (0..PER_CALL)
        .map(|_| play.accept("a.test", START).1.call.len())
        .sum();
    assert_eq!(called, 1);
    assert!(
        play.queue.wake("a.test", carrier.serial, &calls[1]),
        "it was called"
    );
    assert_eq!(
        play.queue.rest("a.test", carrier.serial, &calls[1]),
        Leisure::Work
    );
}

#[test]
fn a_carrier_that_rested_long_enough_is_not_called_any_more() {
    let mut play = play(10, 10);
    let (_, mut todo) = play.accept("a.test", START);
    let carrier = play.connect(&mut todo);
    play.take(&carrier, START);
    let call = Arc::new(Notify::new());
    play.queue.rest("a.test", carrier.serial, &call);
    assert!(!play.queue.wake("a.test", carrier.serial, &call));
    assert!(play.leave(&carrier, true, START).start.is_empty());
    assert_eq!(play.queue.carriers(), 0);
    assert!(
        play.queue.lanes.is_empty(),
        "nothing is kept of a lane without messages"
    );
}

#[test]
fn an_unreachable_host_shuts_its_lane_until_its_time() {
    let mut play = play(10, 10);
    let (_, mut todo) = play.accept("a.test", START);
    for _ in 0..9 {
        play.accept("a.test", START);
    }
    let start = todo.start.pop().unwrap();
    let told = play.fall(&start, false, 4, START);
    assert_eq!(told.len(), 4, "so many hear of it; the others wait untried");
    assert!(play.leave(&start, false, START).start.is_empty());
    assert!(
        play.accept("a.test", START + MINUTE).1.start.is_empty(),
        "a new message waits too"
    );
    assert_eq!(
        play.queue.shut("a.test", START).map(|(until, _)| until),
        Some(START + 10 * MINUTE)
    );
    assert_eq!(play.tick(START + MINUTE).0, Some(START + 10 * MINUTE));
    let (_, mut todo) = play.tick(START + 10 * MINUTE);
    let start = todo.start.pop().expect("one carrier finds out");
    assert!(todo.start.is_empty());
    assert!(
        play.accept("a.test", START + 11 * MINUTE)
            .1
            .start
            .is_empty(),
        "and only one"
    );
    // Still down: the second wait of the schedule.
    play.fall(&start, false, 0, START + 11 * MINUTE);
    play.leave(&start, false, START + 11 * MINUTE);
    assert_eq!(play.tick(START + 11 * MINUTE).0, Some(START + 31 * MINUTE));
}

#[test]
fn a_lane_that_worked_until_just_now_is_tried_again_soon() {
    let mut play = play(10, 10);
    let (_, mut todo) = play.accept("a.test", START);
    let mut carrier = play.connect(&mut todo);
    play.queue.worked("a.test", carrier.serial, START, 1);
    let mut now = START;
    for wait in [1000, 2000, 4000] {
        assert!(
            play.fall(&carrier, true, 4, now).is_empty(),
            "nobody is told of a glitch"
        );
        play.leave(&carrier, true, now);
        assert_eq!(play.tick(now).0, Some(now + wait));
        now += wait;
        carrier = play.tick(now).1.start.pop().unwrap();
        play.queue.connected("a.test", carrier.serial);
    }
    assert_eq!(play.fall(&carrier, true, 4, now).len(), 1);
    play.leave(&carrier, true, now);
    assert_eq!(
        play.tick(now).0,
        Some(now + 10 * MINUTE),
        "then the schedule begins"
    );
}

#[test]
fn one_connection_too_many_does_not_shut_a_lane_that_works() {
    let mut play = play(10, 10);
    let (_, mut todo) = play.accept("a.test", START);
    let first = play.connect(&mut todo);
    let mut todo = play.accept("a.test", START + GROW_AFTER).1;
    let second = todo.start.pop().unwrap();
    assert!(play.fall(&second, false, 10, START + GROW_AFTER).is_empty());
    assert!(
        play.leave(&second, false, START + GROW_AFTER)
            .start
            .is_empty(),
        "the limit went down to what works"
    );
    assert!(play.take(&first, START + GROW_AFTER).0.is_some());
}

#[test]
fn what_is_final_is_told_to_all_and_the_lane_stays_open() {
    let mut play = play(10, 10);
    let (_, mut todo) = play.accept("a.test", START);
    play.accept("a.test", START);
    let start = todo.start.pop().unwrap();
    let outcome = Outcome::Failed(Answer::nobody(EnhancedCode(5, 1, 2), "no such domain"));
    let fall = Fall {
        outcome: &outcome,
        connected: false,
        most: 1,
    };
    assert_eq!(
        play.queue
            .unreachable("a.test", start.serial, &fall, START, |_| false)
            .len(),
        2
    );
    play.leave(&start, false, START);
    assert_eq!(play.accept("a.test", START).1.start.len(), 1);
}

#[test]
fn a_destination_without_a_carrier_gets_one_when_another_leaves() {
    let mut play = play(1, 10);
    let (_, mut todo) = play.accept("a.test", START);
    let first = play.connect(&mut todo);
    for _ in 0..10 {
        play.accept("a.test", START);
    }
    assert!(
        play.accept("b.test", START).1.start.is_empty(),
        "all places are taken"
    );
    assert!(
        !play.queue.goes_on("a.test", first.serial),
        "after its connection the first makes room"
    );
    let todo = play.leave(&first, true, START);
    assert_eq!(&*todo.start[0].lane, "b.test");
    assert_eq!(play.queue.carriers(), 1);
}

#[test]
fn waiting_messages_are_sorted_when_due_and_only_once() {
    let mut play = play(10, 10);
    let id = QueueId::from_u64(1);
    let mut todo = Todo::default();
    play.queue.book.insert(id, Entry::default());
    play.queue.wait(id, START + MINUTE, &mut todo);
    assert!(todo.timer);
    play.queue.wait(id, START + 2 * MINUTE, &mut todo);
    assert_eq!(play.tick(START).0, Some(START + MINUTE));
    assert!(play.tick(START + MINUTE).1.sort);
    assert_eq!(play.queue.take_unsorted(10).len(), 1);
    play.tick(START + 2 * MINUTE);
    assert!(play.queue.take_unsorted(10).is_empty());
}

#[test]
fn a_new_generation_sorts_everything_anew_and_sends_old_carriers_away() {
    let mut play = play(10, 10);
    let (_, mut todo) = play.accept("a.test", START);
    let carrier = play.connect(&mut todo);
    play.accept("a.test", START);
    play.take(&carrier, START);
    let mut todo = Todo::default();
    let bounds = play.queue.bounds.clone();
    play.queue.renew(bounds, &mut todo);
    assert!(todo.sort);
    assert_eq!(play.queue.take_unsorted(10).len(), 1);
    assert_eq!(play.take(&carrier, START).0, None);
    assert!(!play.queue.goes_on("a.test", carrier.serial));
    play.leave(&carrier, true, START);
    assert_eq!(play.queue.carriers(), 0);
}

#[test]
fn withdrawn_messages_are_in_nobodys_hands() {
    let mut play = play(10, 10);
    let (first, _) = play.accept("a.test", START);
    let (second, _) = play.accept("a.test", START);
    let mut todo = Todo::default();
    play.queue.withdraw(|id| id == first);
    assert_eq!(play.queue.book[&first].parts, 0);
    play.queue.begin(first, true, &mut todo);
    play.queue.withdraw(|_| true);
    assert_eq!(
        (
            play.queue.book[&first].parts,
            play.queue.book[&second].parts
        ),
        (0, 0)
    );
    assert!(play.queue.take_unsorted(10).is_empty());
}

#[test]
fn nothing_is_taken_up_after_the_word_to_stop() {
    let mut play = play(10, 10);
    let (_, mut todo) = play.accept("a.test", START);
    let carrier = play.connect(&mut todo);
    let call = Arc::new(Notify::new());
    play.queue
        .take("a.test", carrier.serial, START, &mut Todo::default());
    play.queue.rest("a.test", carrier.serial, &call);
    let mut todo = Todo::default();
    play.queue.stop(&mut todo);
    assert_eq!(todo.call.len(), 1, "those who rest are told");
    assert!(play.accept("b.test", START).1.start.is_empty());
    assert_eq!(
        play.queue.rest("a.test", carrier.serial, &call),
        Leisure::Leave
    );
}

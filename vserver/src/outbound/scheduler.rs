//! What is due, and how many connections at once for each destination. A value: time comes in, orders come out.
//!
//! ```text
//! accepted ─────────────▶ lane of its destination ─▶ a connection takes it ─▶ gone, or waiting ─┐
//! due ─▶ to be sorted ─▶ (read and routed by the current generation) ─┘            ▲             │
//!                └──────────────────────── its time has come ◀─────────────────────┴─────────────┘
//! ```
//!
//! A *lane* is a destination with messages: ready ones in order, and the carriers (tasks with a connection) that take
//! them. A lane grows by a carrier when its oldest message has waited long enough, never faster than it doubles. When
//! no host of a destination can be reached its lane is shut for a while and its messages stay in it untried.
//!
//! Longer than most files: one value, whose methods keep one another's promises.
//!
//! Never: I/O, a clock, a task; whoever holds the queue follows the [`Todo`] after letting go of it.

mod lane;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use postern_delivery::Outcome;
use postern_delivery::route::{Choice, Way};
use postern_spool::{QueueId, Status};
use tokio::sync::Notify;

pub(super) use lane::{Fall, interval};
use lane::{GLITCHES, JUST_NOW, Lane, PER_CALL, RECOVERY};

/// Which recipients of a message are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All that are still pending.
    All,
    /// Those at these places.
    Some(Box<[usize]>),
}

/// A message, or a part of it, in a lane.
#[derive(Clone, Debug)]
pub(super) struct Ticket {
    pub(super) id: QueueId,
    pub(super) part: Part,
    /// When the message was accepted.
    pub(super) received: u64,
    /// When it came into the lane.
    pub(super) since: u64,
    /// It was given back once because its connection broke.
    pub(super) again: bool,
}

/// A message to be read and routed.
#[derive(Clone, Debug)]
pub(super) struct Unsorted {
    pub(super) id: QueueId,
    pub(super) part: Part,
    /// An operator wants it tried, whatever its destination's state.
    pub(super) urgent: bool,
}

/// A message this process is responsible for.
#[derive(Debug, Default)]
pub(super) struct Entry {
    /// Parts in lanes, in hands of carriers, or to be sorted.
    pub(super) parts: u32,
    /// Of these, in the hands of carriers.
    pub(super) active: u32,
    /// When the rest is due; 0 if there is no rest.
    pub(super) next: u64,
    /// Held by the operator.
    pub(super) frozen: bool,
    /// To be deleted, with a report or without.
    pub(super) doomed: Option<bool>,
    /// Kept while its recipients go different ways.
    pub(super) split: Option<Box<Split>>,
}

/// The state of a message whose recipients go different ways at different times.
#[derive(Debug)]
pub(super) struct Split {
    pub(super) status: Status,
    /// Which recipients are in a part that is out.
    pub(super) out: Vec<bool>,
    /// How often each was tried.
    pub(super) tries: Vec<u32>,
}

/// A carrier to be started.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) lane: Arc<str>,
    pub(super) serial: u64,
    pub(super) way: Arc<Way>,
}

/// What a carrier with nothing in hand does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leisure {
    /// Keep the connection and wait to be called.
    Rest,
    /// There is something after all.
    Work,
    /// Others need its place, or its lane is gone.
    Leave,
}

/// What is to be done once the queue is let go of.
#[derive(Debug, Default)]
pub(super) struct Todo {
    pub(super) start: Vec<Start>,
    pub(super) call: Vec<Arc<Notify>>,
    /// There is something to sort, and nobody at it.
    pub(super) sort: bool,
    /// Something is due sooner than before.
    pub(super) timer: bool,
}

/// Bounds of the current generation.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    pub(super) total: u32,
    pub(super) per_lane: u32,
    pub(super) retry: Vec<Duration>,
}

/// All that waits to go out.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) book: HashMap<QueueId, Entry>,
    lanes: HashMap<Arc<str>, Lane>,
    waiting: BinaryHeap<Reverse<(u64, QueueId)>>,
    reopening: BinaryHeap<Reverse<(u64, Arc<str>)>>,
    unsorted: VecDeque<Unsorted>,
    sorting: bool,
    starved: VecDeque<Arc<str>>,
    carriers: u32,
    serial: u64,
    bounds: Bounds,
    stopping: bool,
}

impl Queue {
    pub(super) fn new(bounds: Bounds) -> Queue {
        Queue {
            book: HashMap::new(),
            lanes: HashMap::new(),
            waiting: BinaryHeap::new(),
            reopening: BinaryHeap::new(),
            unsorted: VecDeque::new(),
            sorting: false,
            starved: VecDeque::new(),
            carriers: 0,
            serial: 0,
            bounds,
            stopping: false,
        }
    }

    /// Tasks that carry messages.
    pub(super) fn carriers(&self) -> u32 {
        self.carriers
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// Puts a part of a message into the lane of its way.
    pub(super) fn push(
        &mut self,
        now: u64,
        choice: &Choice<'_>,
        ticket: Ticket,
        urgent: bool,
        todo: &mut Todo,
    ) {
        let name = choice.name();
        if !self.lanes.contains_key(name) {
            let way = choice.way();
            let lane = self.new_lane(way);
            self.lanes.insert(Arc::clone(&lane.way.name), lane);
        }
        let Some(lane) = self.lanes.get_mut(name) else {
            return;
        };
        lane.ready.push_back(ticket);
        if urgent {
            lane.shut_until = 0;
        }
        self.advance(name, now, todo);
    }

    fn new_lane(&mut self, way: Arc<Way>) -> Lane {
        self.serial += 1;
        Lane::new(self.serial, way, self.bounds.per_lane)
    }

    /// Sees to it that the lane has the carriers it should have.
    fn advance(&mut self, name: &str, now: u64, todo: &mut Todo) {
        let Some(lane) = self.lanes.get_mut(name) else {
            return;
        };
        if self.stopping || lane.ready.is_empty() || lane.shut_until > now {
            return;
        }
        if !lane.resting.is_empty() {
            if lane.ready.len() > lane.called as usize * PER_CALL {
                lane.called += 1;
                todo.call.extend(lane.resting.pop());
            }
            return;
        }
        if !lane.wants_carrier(now) {
            return;
        }
        if self.carriers >= self.bounds.total {
            // Who has a carrier already takes none away from others.
            if lane.carriers == 0 && !std::mem::replace(&mut lane.starved, true) {
                self.starved.push_back(Arc::clone(&lane.way.name));
            }
            return;
        }
        lane.carriers += 1;
        lane.opening += 1;
        self.carriers += 1;
        todo.start.push(Start {
            lane: Arc::clone(&lane.way.name),
            serial: lane.serial,
            way: Arc::clone(&lane.way),
        });
    }

    /// The next message for a carrier of the lane; `None`: nothing to do, or it should leave.
    pub(super) fn take(
        &mut self,
        name: &str,
        serial: u64,
        now: u64,
        todo: &mut Todo,
    ) -> Option<Ticket> {
        let stopping = self.stopping;
        let lane = self
            .lanes
            .get_mut(name)
            .filter(|lane| lane.serial == serial && !stopping)?;
        let ticket = lane.ready.pop_front()?;
        if let Some(entry) = self.book.get_mut(&ticket.id) {
            entry.active += 1;
        }
        self.advance(name, now, todo);
        Some(ticket)
    }

    /// Gives a message back to the front of its lane, to go over another connection.
    pub(super) fn give_back(&mut self, name: &str, ticket: Ticket, now: u64, todo: &mut Todo) {
        if let Some(entry) = self.book.get_mut(&ticket.id) {
            entry.active = entry.active.saturating_sub(1);
        }
        match self.lanes.get_mut(name) {
            Some(lane) => {
                lane.ready.push_front(ticket);
                self.advance(name, now, todo);
            }
            None => self.unsort(
                Unsorted {
                    id: ticket.id,
                    part: ticket.part,
                    urgent: false,
                },
                todo,
            ),
        }
    }

    /// A carrier has its connection.
    pub(super) fn connected(&mut self, name: &str, serial: u64) {
        if let Some(lane) = self.lane(name, serial) {
            lane.opening = lane.opening.saturating_sub(1);
            (lane.failures, lane.shut_by) = (0, None);
        }
    }

    /// A message was delivered over the lane, after so many milliseconds on a connection.
    pub(super) fn worked(&mut self, name: &str, serial: u64, now: u64, took: u64) {
        if let Some(lane) = self.lane(name, serial) {
            lane.glitches = 0;
            lane.worked = now;
            lane.good += 1;
            if lane.good >= RECOVERY && lane.limit < lane.most {
                (lane.limit, lane.good) = (lane.limit + 1, 0);
            }
            let took = u32::try_from(took.min(60_000)).unwrap_or(60_000);
            lane.pace = (lane.pace * 7 + took) / 8;
        }
    }

    /// A carrier has nothing to do.
    pub(super) fn rest(&mut self, name: &str, serial: u64, call: &Arc<Notify>) -> Leisure {
        let wanted_elsewhere = !self.starved.is_empty() || self.stopping;
        match self.lane(name, serial) {
            _ if wanted_elsewhere => Leisure::Leave,
            None => Leisure::Leave,
            Some(lane) if !lane.ready.is_empty() => Leisure::Work,
            Some(lane) => {
                lane.resting.push(Arc::clone(call));
                Leisure::Rest
            }
        }
    }

    /// A carrier was called, or has rested long enough. `false`: it was not called.
    pub(super) fn wake(&mut self, name: &str, serial: u64, call: &Arc<Notify>) -> bool {
        let Some(lane) = self.lane(name, serial) else {
            return false;
        };
        match lane
            .resting
            .iter()
            .position(|other| Arc::ptr_eq(other, call))
        {
            Some(place) => {
                lane.resting.remove(place);
                false
            }
            None => {
                lane.called = lane.called.saturating_sub(1);
                true
            }
        }
    }

    /// Whether a carrier should go on with a new connection.
    pub(super) fn goes_on(&mut self, name: &str, serial: u64) -> bool {
        let wanted_elsewhere = !self.starved.is_empty() || self.stopping;
        match self.lane(name, serial) {
            Some(lane) if !lane.ready.is_empty() && !wanted_elsewhere => {
                lane.opening += 1;
                true
            }
            _ => false,
        }
    }

    /// A carrier leaves. `connected`: whether it had got as far as a connection.
    pub(super) fn leave(
        &mut self,
        name: &str,
        serial: u64,
        connected: bool,
        now: u64,
        todo: &mut Todo,
    ) {
        self.carriers = self.carriers.saturating_sub(1);
        if let Some(lane) = self.lane(name, serial) {
            lane.carriers = lane.carriers.saturating_sub(1);
            if !connected {
                lane.opening = lane.opening.saturating_sub(1);
            }
        }
        // Its place goes to those first who have none.
        while self.carriers < self.bounds.total {
            let Some(hungry) = self.starved.pop_front() else {
                break;
            };
            if let Some(lane) = self.lanes.get_mut(&hungry) {
                lane.starved = false;
                self.advance(&hungry, now, todo);
            }
        }
        self.advance(name, now, todo);
        self.forget_if_idle(name, now);
    }

    fn forget_if_idle(&mut self, name: &str, now: u64) {
        let idle =
            |lane: &Lane| lane.ready.is_empty() && lane.carriers == 0 && lane.shut_until <= now;
        if self.lanes.get(name).is_some_and(idle) {
            self.lanes.remove(name);
        }
    }

    /// No host of the lane could be reached, or its connections do nothing but break. Where other carriers of it are at
    /// work, it only had one too many (`connected`: the one that failed had got as far as a connection). Otherwise it is
    /// shut; returns the messages that are told of it: those it names as `must`, and others until there are `most`.
    pub(super) fn unreachable(
        &mut self,
        name: &str,
        serial: u64,
        fall: &Fall<'_>,
        now: u64,
        must: impl Fn(&Ticket) -> bool,
    ) -> Vec<Ticket> {
        let retry = self.bounds.retry.clone();
        let Some(lane) = self.lane(name, serial) else {
            return Vec::new();
        };
        let told: Vec<Ticket> = match fall.outcome {
            // What is final for these may not be for those that come tomorrow: the lane stays open.
            Outcome::Failed(_) => lane.ready.drain(..).collect(),
            _ if lane.at_work() > u32::from(fall.connected) => {
                (lane.limit, lane.good) = ((lane.carriers - 1).max(1), 0);
                return Vec::new();
            }
            outcome => {
                let glitch = lane.glitches < GLITCHES && lane.worked + JUST_NOW > now;
                let wait = lane.shut(outcome, glitch, &retry, now);
                let told = if glitch {
                    Vec::new()
                } else {
                    lane.draw(fall.most, must)
                };
                let name = Arc::clone(&lane.way.name);
                self.reopening.push(Reverse((now + wait, name)));
                told
            }
        };
        for ticket in &told {
            if let Some(entry) = self.book.get_mut(&ticket.id) {
                entry.active += 1;
            }
        }
        told
    }

    /// The state of a lane as an operator sees it: until when it is shut, and by what.
    pub(super) fn shut(&self, name: &str, now: u64) -> Option<(u64, &Outcome)> {
        let lane = self.lanes.get(name).filter(|lane| lane.shut_until > now)?;
        lane.shut_by
            .as_ref()
            .map(|outcome| (lane.shut_until, outcome))
    }

    /// Opens the lane of that name, or all, for another try at once.
    pub(super) fn reopen(&mut self, name: Option<&str>, now: u64, todo: &mut Todo) {
        let names: Vec<Arc<str>> = self
            .lanes
            .keys()
            .filter(|lane| name.is_none_or(|name| &***lane == name))
            .cloned()
            .collect();
        for name in names {
            if let Some(lane) = self.lanes.get_mut(&name) {
                lane.shut_until = 0;
            }
            self.advance(&name, now, todo);
        }
    }

    /// Schedules what is left of a message.
    pub(super) fn wait(&mut self, id: QueueId, until: u64, todo: &mut Todo) {
        let Some(entry) = self.book.get_mut(&id) else {
            return;
        };
        entry.next = if entry.next == 0 {
            until.max(1)
        } else {
            entry.next.min(until.max(1))
        };
        let sooner = self
            .waiting
            .peek()
            .is_none_or(|Reverse((first, _))| until < *first);
        self.waiting.push(Reverse((entry.next, id)));
        todo.timer |= sooner;
    }

    /// Has a message read and routed.
    pub(super) fn unsort(&mut self, unsorted: Unsorted, todo: &mut Todo) {
        self.unsorted.push_back(unsorted);
        if !self.stopping && !std::mem::replace(&mut self.sorting, true) {
            todo.sort = true;
        }
    }

    /// A batch to sort; an empty one ends the sorting.
    pub(super) fn take_unsorted(&mut self, most: usize) -> Vec<Unsorted> {
        let count = if self.stopping {
            0
        } else {
            self.unsorted.len().min(most)
        };
        self.sorting = count > 0;
        self.unsorted.drain(..count).collect()
    }

    /// Takes up what is due; returns when to look again.
    pub(super) fn tick(&mut self, now: u64, todo: &mut Todo) -> Option<u64> {
        while let Some(Reverse((time, id))) = self.waiting.peek().copied() {
            // A time that was changed since leaves its old one behind.
            let stale = self
                .book
                .get(&id)
                .is_none_or(|entry| entry.next != time || entry.frozen);
            if !stale && time > now {
                break;
            }
            self.waiting.pop();
            if !stale {
                self.begin(id, false, todo);
            }
        }
        while self
            .reopening
            .peek()
            .is_some_and(|Reverse((time, _))| *time <= now)
        {
            let Some(Reverse((_, name))) = self.reopening.pop() else {
                break;
            };
            self.advance(&name, now, todo);
            if self.lanes.get(&name).is_some_and(|lane| {
                lane.ready.is_empty() && lane.carriers == 0 && lane.shut_until <= now
            }) {
                self.lanes.remove(&name);
            }
        }
        let first = self.waiting.peek().map(|Reverse((time, _))| *time);
        let second = self.reopening.peek().map(|Reverse((time, _))| *time);
        first.into_iter().chain(second).min()
    }

    /// Has what waits of a message sorted now.
    pub(super) fn begin(&mut self, id: QueueId, urgent: bool, todo: &mut Todo) {
        if let Some(entry) = self.book.get_mut(&id) {
            entry.next = 0;
            entry.parts += 1;
            self.unsort(
                Unsorted {
                    id,
                    part: Part::All,
                    urgent,
                },
                todo,
            );
        }
    }

    /// Takes all tickets of these messages out of the lanes and out of what is to be sorted.
    pub(super) fn withdraw(&mut self, chosen: impl Fn(QueueId) -> bool) {
        let book = &mut self.book;
        let mut out = |id: QueueId, part: &Part| {
            if let Some(entry) = book.get_mut(&id) {
                entry.parts = entry.parts.saturating_sub(1);
                entry.come_back(part);
            }
        };
        for lane in self.lanes.values_mut() {
            lane.ready.retain(|ticket| {
                let goes = chosen(ticket.id);
                if goes {
                    out(ticket.id, &ticket.part);
                }
                !goes
            });
        }
        self.unsorted.retain(|unsorted| {
            let goes = chosen(unsorted.id);
            if goes {
                out(unsorted.id, &unsorted.part);
            }
            !goes
        });
    }

    /// A new generation: everything ready is routed anew, and carriers leave after what they have in hand.
    pub(super) fn renew(&mut self, bounds: Bounds, todo: &mut Todo) {
        self.bounds = bounds;
        self.starved.clear();
        let lanes = std::mem::take(&mut self.lanes);
        for lane in lanes.into_values() {
            todo.call.extend(lane.resting);
            for ticket in lane.ready {
                self.unsort(
                    Unsorted {
                        id: ticket.id,
                        part: ticket.part,
                        urgent: false,
                    },
                    todo,
                );
            }
        }
    }

    /// No further message is taken up.
    pub(super) fn stop(&mut self, todo: &mut Todo) {
        self.stopping = true;
        for lane in self.lanes.values_mut() {
            todo.call.append(&mut lane.resting);
        }
    }

    fn lane(&mut self, name: &str, serial: u64) -> Option<&mut Lane> {
        self.lanes
            .get_mut(name)
            .filter(|lane| lane.serial == serial)
    }
}

impl Entry {
    /// Marks the recipients of a part as no longer out.
    pub(super) fn come_back(&mut self, part: &Part) {
        let Some(split) = &mut self.split else { return };
        match part {
            Part::All => {}
            Part::Some(places) => places.iter().for_each(|place| {
                if let Some(out) = split.out.get_mut(*place) {
                    *out = false;
                }
            }),
        }
    }
}

#[cfg(test)]
mod tests;

//! Messages to one destination: a carrier opens a connection, and carries what its lane has.
//!
//! ```text
//! reach ─▶ connected ─▶ messages … ─┬ no more: rest a moment, be called, or say QUIT and leave
//!   ▲                               ├ as many as one connection may carry: QUIT ┐
//!   └───────────── go on? ◀─────────┴ broken ────────────────────────────────────┘
//! ```
//!
//! Never: a decision on what an outcome means for the message; a lane's state.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use postern_delivery::route::{End, Way};
use postern_delivery::{Answer, Connection, Delivery, Feed, Outcome, Parcel, Rest, hosts};
use postern_spool::{Error, Message, QueueId, RecipientStatus, Status};
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::judge::ms;
use super::scheduler::{Fall, Leisure, Part, Start, Ticket, Unsorted};
use super::settle::Attempt;
use super::{Core, mailboxes};
use crate::server::unix_ms;

/// A connection with nothing to carry is kept this long.
const REST: Duration = Duration::from_secs(3);
/// After so many connections in a row that broke without a delivery the destination counts as unreachable.
const BREAKS: u32 = 3;
/// A message that came into its lane since (ms) is still in the page cache: reading it does not block.
const FRESH: u64 = 30_000;
/// When a destination turns out unreachable, so many of its messages have that written down; the others wait untried.
const TOLD: usize = 256;
/// Of these, so many are read at once.
const TOLD_AT_ONCE: usize = 16;
/// No further message is taken up while so many outcomes wait to be written down.
const UNSETTLED: u64 = 64;

/// What goes with a message and comes back with its outcome.
pub(super) struct Tag {
    ticket: Ticket,
    status: Status,
    begun: Instant,
}

/// Serves a lane until there is nothing more to do there.
pub(super) async fn carry(core: Arc<Core>, start: Start) {
    match &start.way.end {
        End::Maildir(template) => mailboxes::write(core, &start, template).await,
        _ => {
            let feed = LaneFeed {
                local: start.way.local,
                lane: start.lane,
                serial: start.serial,
                core,
                delivered: 0,
                tls: None,
            };
            Carrier {
                feed,
                way: start.way,
                call: Arc::new(Notify::new()),
                breaks: 0,
            }
            .run()
            .await;
        }
    }
}

/// A task with a connection.
struct Carrier {
    feed: LaneFeed,
    way: Arc<Way>,
    call: Arc<Notify>,
    breaks: u32,
}

/// How a carrier comes by messages, and is rid of outcomes.
struct LaneFeed {
    core: Arc<Core>,
    lane: Arc<str>,
    serial: u64,
    local: bool,
    delivered: u64,
    tls: Option<Arc<str>>,
}

impl Carrier {
    async fn run(mut self) {
        loop {
            let core = &self.feed.core;
            let terms = core.terms();
            let resolver = core.parts.generation.load().resolver.clone();
            let mut stopping = core.stopping.subscribe();
            let reached = tokio::select! {
                reached = hosts::reach(&self.way, &terms, &resolver) => reached,
                _ = stopping.wait_for(|stopping| *stopping) => return self.leave(false),
            };
            let connection = match reached {
                Ok(connection) => connection,
                Err(outcome) => {
                    core.counts
                        .connections_failed
                        .fetch_add(1, Ordering::Relaxed);
                    return self.fall(outcome, false);
                }
            };
            core.counts.connections.fetch_add(1, Ordering::Relaxed);
            core.lock().connected(&self.feed.lane, self.feed.serial);
            self.feed.tls = connection.tls().cloned();
            let broken = self.serve(connection).await;
            if let Some(answer) = broken.filter(|_| self.breaks >= BREAKS) {
                return self.fall(Outcome::Deferred(answer), true);
            }
            if !core_goes_on(&self.feed) {
                return self.leave(true);
            }
        }
    }

    /// Carries over one connection until it is given up; an answer if it broke.
    async fn serve(&mut self, mut connection: Connection) -> Option<Answer> {
        loop {
            self.feed.delivered = 0;
            let rest = connection.run(&mut self.feed).await;
            if self.feed.delivered > 0 {
                self.breaks = 0;
            }
            match rest {
                Rest::Idle if self.rest(&mut connection).await => {}
                Rest::Idle | Rest::Spent => {
                    self.feed.core.runtime.spawn(connection.quit());
                    return None;
                }
                Rest::Broken(answer) => {
                    tracing::debug!(host = %answer.host, reason = %answer, "a connection broke");
                    self.breaks += 1;
                    return Some(answer);
                }
            }
        }
    }

    /// Waits for messages; `false`: give the connection up.
    async fn rest(&mut self, connection: &mut Connection) -> bool {
        let (lane, serial) = (&self.feed.lane, self.feed.serial);
        let leisure = self.feed.core.lock().rest(lane, serial, &self.call);
        match leisure {
            Leisure::Work => return true,
            Leisure::Leave => return false,
            Leisure::Rest => {}
        }
        let gone = tokio::select! {
            () = self.call.notified() => false,
            _ = connection.idle(REST) => true,
        };
        let called = self.feed.core.lock().wake(lane, serial, &self.call);
        called && !gone
    }

    /// The destination cannot be reached now.
    fn fall(self, outcome: Outcome, connected: bool) {
        let core = &self.feed.core;
        let now = unix_ms();
        let definition = Arc::clone(&core.parts.generation.load().definition);
        let clock = super::judge::Times::of(&definition).clock(self.way.local);
        let patience = ms(clock.delay_notice.min(clock.expire));
        let fall = Fall {
            outcome: &outcome,
            connected,
            most: TOLD,
        };
        let must = |ticket: &Ticket| ticket.received.saturating_add(patience) <= now;
        let told = core
            .lock()
            .unreachable(&self.feed.lane, self.feed.serial, &fall, now, must);
        tracing::info!(destination = %self.feed.lane, reason = %outcome.answer(), host = %outcome.answer().host, "cannot be reached");
        if !told.is_empty() {
            core.settling.fetch_add(1, Ordering::AcqRel);
            core.runtime
                .spawn(tell(Arc::clone(core), told, outcome, self.way.local));
        }
        self.leave(connected);
    }

    fn leave(self, connected: bool) {
        let feed = &self.feed;
        feed.core
            .change(|queue, todo| queue.leave(&feed.lane, feed.serial, connected, unix_ms(), todo));
        feed.core.quieter.notify_waiters();
    }
}

fn core_goes_on(feed: &LaneFeed) -> bool {
    feed.core.lock().goes_on(&feed.lane, feed.serial)
}

impl Feed for LaneFeed {
    type Tag = Tag;

    async fn next(&mut self) -> Option<Parcel<Tag>> {
        self.core.settled_enough().await;
        loop {
            let now = unix_ms();
            let ticket = self
                .core
                .change(|queue, todo| queue.take(&self.lane, self.serial, now, todo))?;
            let message = self.core.claim(&ticket, now).await;
            let Some((message, places)) = self.core.usable(&ticket, message) else {
                continue;
            };
            let Message {
                envelope,
                status,
                body,
                ..
            } = message;
            let sender = (!self.local)
                .then(|| self.core.masqueraded(&envelope.sender))
                .flatten();
            let tag = Tag {
                ticket,
                status,
                begun: Instant::now(),
            };
            return Some(Parcel {
                tag,
                envelope,
                sender,
                recipients: places,
                body,
            });
        }
    }

    fn done(&mut self, delivery: Delivery<Tag>) {
        let Delivery {
            parcel,
            outcomes,
            again,
        } = delivery;
        let Tag {
            mut ticket,
            status,
            begun,
        } = parcel.tag;
        let now = unix_ms();
        if again && !ticket.again {
            ticket.again = true;
            return self
                .core
                .change(|queue, todo| queue.give_back(&self.lane, ticket, now, todo));
        }
        if outcomes
            .iter()
            .any(|outcome| matches!(outcome, Outcome::Delivered(..)))
        {
            self.delivered += 1;
            let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.core.lock().worked(&self.lane, self.serial, now, took);
        }
        let message = Message {
            id: ticket.id,
            envelope: parcel.envelope,
            status,
            body: parcel.body,
        };
        let attempt = Attempt::new(message, parcel.recipients, outcomes);
        self.core.settle_later(Attempt {
            part: ticket.part,
            local: Some(self.local),
            tls: self.tls.clone(),
            ..attempt
        });
    }
}

impl Core {
    /// Waits while many outcomes are being written down: they hold messages in memory.
    pub(super) async fn settled_enough(&self) {
        loop {
            let quieter = self.quieter.notified();
            if self.settling.load(Ordering::Acquire) < UNSETTLED {
                return;
            }
            quieter.await;
        }
    }

    async fn claim(&self, ticket: &Ticket, now: u64) -> Result<Option<Message>, Error> {
        let id = ticket.id;
        if ticket.since + FRESH > now {
            return self.parts.spool.claim(id);
        }
        let spool = self.parts.spool.clone();
        spawn_blocking(move || spool.claim(id))
            .await
            .unwrap_or(Err(Error::Closed))
    }

    /// The message and the recipients meant by a ticket; `None` if there is nothing to try, which is then seen to.
    pub(super) fn usable(
        self: &Arc<Core>,
        ticket: &Ticket,
        message: Result<Option<Message>, Error>,
    ) -> Option<(Message, Vec<usize>)> {
        let unsorted = || Unsorted {
            id: ticket.id,
            part: ticket.part.clone(),
            urgent: false,
        };
        match message {
            Ok(Some(message)) => {
                let places = pending(ticket, &message.status);
                if places.is_empty() {
                    self.settle_later(Attempt {
                        part: ticket.part.clone(),
                        ..Attempt::new(message, Vec::new(), Vec::new())
                    });
                    return None;
                }
                Some((message, places))
            }
            Ok(None) => {
                self.forget(&unsorted());
                None
            }
            Err(Error::Damaged { id, kept }) => {
                tracing::error!(%id, kept = %kept.display(), "a message is damaged on disk and was set aside");
                self.forget(&unsorted());
                None
            }
            Err(error) => {
                self.release(ticket.id);
                self.put_off(&unsorted(), &error);
                None
            }
        }
    }

    /// A message is no longer in a carrier's hands.
    fn release(&self, id: QueueId) {
        if let Some(entry) = self.lock().book.get_mut(&id) {
            entry.active = entry.active.saturating_sub(1);
        }
    }

    /// The sender to state to foreign hosts, where it is not the envelope's.
    fn masqueraded(&self, sender: &str) -> Option<String> {
        let generation = self.parts.generation.load();
        let domain = generation.definition.delivery.masquerade.as_ref()?;
        let (mailbox, _) = sender.rsplit_once('@')?;
        generation
            .routes
            .is_local(sender)
            .then(|| format!("{mailbox}@{domain}"))
    }
}

fn pending(ticket: &Ticket, status: &Status) -> Vec<usize> {
    let pending = |place: &usize| {
        matches!(
            status.recipients.get(*place),
            Some(RecipientStatus::Pending { .. })
        )
    };
    match &ticket.part {
        Part::All => (0..status.recipients.len()).filter(pending).collect(),
        Part::Some(places) => places.iter().copied().filter(pending).collect(),
    }
}

/// Writes down for messages that nobody could be asked about them.
async fn tell(core: Arc<Core>, told: Vec<Ticket>, outcome: Outcome, local: bool) {
    for tickets in told.chunks(TOLD_AT_ONCE) {
        let (spool, ids) = (
            core.parts.spool.clone(),
            tickets.iter().map(|ticket| ticket.id).collect::<Vec<_>>(),
        );
        let Ok(read) = spawn_blocking(move || {
            ids.into_iter()
                .map(|id| spool.claim(id))
                .collect::<Vec<_>>()
        })
        .await
        else {
            break;
        };
        for (ticket, message) in tickets.iter().zip(read) {
            if let Some((message, places)) = core.usable(ticket, message) {
                let outcomes = vec![outcome.clone(); places.len()];
                let attempt = Attempt::new(message, places, outcomes);
                core.settle(Attempt {
                    part: ticket.part.clone(),
                    local: Some(local),
                    ..attempt
                })
                .await;
            }
        }
    }
    core.settled();
}

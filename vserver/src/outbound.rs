//! The way out: what was accepted is delivered, tried again, reported, or kept as badmail.
//!
//! | File | Knows |
//! |---|---|
//! | `outbound/routes.rs` | the definition's ways as a table |
//! | `outbound/scheduler.rs` | what is due, and who may carry how much (a value) |
//! | `outbound/judge.rs` | outcomes → status, next try, notices owed (a value) |
//! | `outbound/sort.rs` | due messages read and routed by the current generation |
//! | `outbound/attempt.rs` | messages to one destination over connections |
//! | `outbound/mailboxes.rs` | messages to mailboxes on this host |
//! | `outbound/settle.rs` | outcomes written down |
//! | `outbound/report.rs` | notices sent, badmail kept |
//! | `outbound/desk.rs` | what an operator sees and orders |
//!
//! Every part of a message that is out of the queue's hands comes back as an outcome: nothing is forgotten but by the
//! end of the process, and then the spool knows it still.
//!
//! Never: a message accepted here; a lock held over a wait.

mod routes;

mod judge;
mod scheduler;

mod attempt;
mod mailboxes;
mod report;
mod settle;
mod sort;

mod desk;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postern_config::{Definition, OutboundTls};
use postern_delivery::policies::HTTPS;
use postern_delivery::{Policies, Terms};
use postern_dns::{Ask, Type};
use postern_spool::{Due, Envelope, QueueId, Spool};
use postern_tls::ClientTls;
use postern_track::Journal;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout_at};

pub(crate) use routes::{login, routes_of, security};

use crate::generation::Current;
use crate::server::unix_ms;
use scheduler::{Bounds, Entry, Part, Queue, Split, Ticket, Todo};

/// A next hop that has a message whole when the server stops has this long to confirm it; a slower one may get it twice.
const FINISH: Duration = Duration::from_secs(60);
/// Policies are looked through for those to fetch anew at this interval.
const FRESH: Duration = Duration::from_secs(60 * 60);
/// The timer looks at the clock at least this often, so that a clock that is set does not hold mail up.
const LOOK: Duration = Duration::from_secs(60);

/// What the way out is made of.
pub(crate) struct OutboundParts {
    /// Where messages are.
    pub spool: Spool,
    /// Policy.
    pub generation: Current,
    /// What happened to each message.
    pub journal: Journal,
    /// The server's state folder, whose last part is its name.
    pub state: PathBuf,
}

/// The way out of one server. Clones are the same.
#[derive(Clone)]
pub(crate) struct Outbound(Arc<Core>);

struct Core {
    parts: OutboundParts,
    verified_tls: ClientTls,
    policies: Policies,
    runtime: Handle,
    queue: Mutex<Queue>,
    /// Whether nothing more is taken up: those who only look for a host leave at once.
    stopping: watch::Sender<bool>,
    /// Something is due sooner than the timer thinks.
    sooner: Notify,
    /// A carrier left, or an outcome was written down.
    quieter: Notify,
    /// Outcomes being written down.
    settling: AtomicU64,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    delivered: AtomicU64,
    relayed: AtomicU64,
    deferred: AtomicU64,
    failed: AtomicU64,
    notices: AtomicU64,
    badmail: AtomicU64,
    connections: AtomicU64,
    connections_failed: AtomicU64,
}

impl Outbound {
    /// Takes charge of what is queued. Must be called on the runtime.
    pub(crate) fn start(parts: OutboundParts, due: Vec<Due>) -> Outbound {
        let bounds = bounds(&parts.generation.load().definition);
        let core = Arc::new(Core {
            verified_tls: ClientTls::verified(),
            policies: Policies::new(Some(parts.state.join("mta-sts")), HTTPS),
            runtime: Handle::current(),
            queue: Mutex::new(Queue::new(bounds)),
            stopping: watch::Sender::new(false),
            sooner: Notify::new(),
            quieter: Notify::new(),
            settling: AtomicU64::new(0),
            counts: Counts::default(),
            parts,
        });
        let outbound = Outbound(core);
        outbound.due(due);
        outbound.0.runtime.spawn(timer(Arc::clone(&outbound.0)));
        outbound.0.runtime.spawn(refresh(Arc::clone(&outbound.0)));
        outbound
    }

    /// A message is on disk: it is tried at once. Cheap; any thread may call it.
    pub(crate) fn accepted(&self, id: QueueId, envelope: Arc<Envelope>) {
        self.0.accepted(id, &envelope);
    }

    /// Takes charge of messages that were recovered or adopted.
    pub(crate) fn due(&self, due: Vec<Due>) {
        let core = &self.0;
        let now = unix_ms();
        let mut todo = Todo::default();
        let mut queue = core.lock();
        for Due {
            id,
            next_try,
            frozen,
        } in due
        {
            queue.book.insert(
                id,
                Entry {
                    frozen,
                    ..Entry::default()
                },
            );
            match (frozen, next_try > now) {
                (true, _) => {}
                (false, true) => queue.wait(id, next_try, &mut todo),
                (false, false) => queue.begin(id, false, &mut todo),
            }
        }
        drop(queue);
        core.follow(todo);
    }

    /// A new generation is in force: what is queued is routed by it.
    pub(crate) fn reloaded(&self) {
        let bounds = bounds(&self.0.parts.generation.load().definition);
        self.0.change(|queue, todo| queue.renew(bounds, todo));
    }

    /// Takes up nothing more and waits until all that is in hand is settled, `deadline` at the longest. What is queued is
    /// left to whoever opens the spool next, which should not wait for it long.
    pub(crate) async fn drain(&self, deadline: Duration) {
        let core = &self.0;
        let end = Instant::now() + deadline.min(FINISH);
        core.change(|queue, todo| queue.stop(todo));
        core.stopping.send_replace(true);
        loop {
            let quieter = core.quieter.notified();
            if core.lock().carriers() == 0 && core.settling.load(Ordering::Acquire) == 0 {
                return;
            }
            if timeout_at(end, quieter).await.is_err() {
                return;
            }
        }
    }

    /// The numbers of the way out.
    pub(crate) fn counters(&self) -> BTreeMap<String, u64> {
        let counts = &self.0.counts;
        let all = [
            ("messages_delivered", &counts.delivered),
            ("messages_relayed", &counts.relayed),
            ("recipients_deferred", &counts.deferred),
            ("recipients_failed", &counts.failed),
            ("notices_sent", &counts.notices),
            ("badmail_kept", &counts.badmail),
            ("outbound_connections", &counts.connections),
            ("outbound_connections_failed", &counts.connections_failed),
        ];
        all.into_iter()
            .map(|(name, count)| (name.to_owned(), count.load(Ordering::Relaxed)))
            .collect()
    }
}

impl Core {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // The queue is a value that every method leaves whole.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the queue, and does what follows from it.
    fn change<T>(self: &Arc<Core>, change: impl FnOnce(&mut Queue, &mut Todo) -> T) -> T {
        let mut todo = Todo::default();
        let value = change(&mut self.lock(), &mut todo);
        self.follow(todo);
        value
    }

    fn follow(self: &Arc<Core>, todo: Todo) {
        for call in todo.call {
            call.notify_one();
        }
        for start in todo.start {
            self.runtime.spawn(attempt::carry(Arc::clone(self), start));
        }
        if todo.sort {
            self.runtime.spawn(sort::sort(Arc::clone(self)));
        }
        if todo.timer {
            self.sooner.notify_one();
        }
    }

    fn accepted(self: &Arc<Core>, id: QueueId, envelope: &Envelope) {
        let now = unix_ms();
        self.change(|queue, todo| {
            // Under the lock: a reload in between must not leave a lane behind with the way as it was before.
            let generation = self.parts.generation.load();
            let one_way = match envelope.recipients.as_slice() {
                [only] => generation.routes.route(&only.address).ok(),
                several => same_way(&generation.routes, several),
            };
            match one_way {
                Some(choice) => {
                    queue.book.insert(
                        id,
                        Entry {
                            parts: 1,
                            ..Entry::default()
                        },
                    );
                    let ticket = Ticket {
                        id,
                        part: Part::All,
                        received: envelope.received,
                        since: now,
                        again: false,
                    };
                    queue.push(now, &choice, ticket, false, todo);
                }
                // Several ways, or none: the long way round.
                None => {
                    queue.book.insert(id, Entry::default());
                    queue.begin(id, false, todo);
                }
            }
        });
    }

    /// What holds for connections now.
    fn terms(&self) -> Terms {
        let generation = self.parts.generation.load();
        let definition = &generation.definition;
        Terms {
            server: Arc::from(&*self.name()),
            fqdn: Arc::from(definition.general.fqdn.as_str()),
            own: definition
                .general
                .listen
                .iter()
                .map(|identity| identity.address)
                .collect(),
            timeout: definition.delivery.outbound_timeout,
            limit: definition.messages.max_messages_per_connection,
            tls: generation.client_tls.clone(),
            verified_tls: self.verified_tls.clone(),
            policies: self.policies.clone(),
        }
    }

    /// The server's name, as its state folder has it.
    fn name(&self) -> std::borrow::Cow<'_, str> {
        self.parts
            .state
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
    }
}

/// The way of all recipients, if they have the same.
fn same_way<'a>(
    table: &'a postern_delivery::route::Table,
    recipients: &'a [postern_spool::Recipient],
) -> Option<postern_delivery::route::Choice<'a>> {
    let mut ways = recipients
        .iter()
        .map(|recipient| table.route(&recipient.address).ok());
    let first = ways.next()??;
    ways.all(|way| way.is_some_and(|way| way.name() == first.name()))
        .then_some(first)
}

fn bounds(definition: &Definition) -> Bounds {
    let delivery = &definition.delivery;
    Bounds {
        total: delivery.max_outbound.max(1),
        per_lane: delivery.max_outbound_per_domain.max(1),
        retry: delivery.retry.clone(),
    }
}

/// Wakes what is due.
async fn timer(core: Arc<Core>) {
    loop {
        let now = unix_ms();
        let next = core.change(|queue, todo| (!queue.is_stopping()).then(|| queue.tick(now, todo)));
        let Some(next) = next else { return };
        let wait = next.map_or(LOOK, |next| {
            LOOK.min(Duration::from_millis(next.saturating_sub(now).max(1)))
        });
        tokio::select! {
            () = sleep(wait) => {}
            () = core.sooner.notified() => {}
        }
    }
}

/// Says so where DANE protects nothing because the resolver vouches for nothing: one that validates does for `org`.
async fn doubt(core: &Core) {
    let generation = core.parts.generation.load_full();
    let mut securities = generation.definition.delivery.securities();
    if securities.all(|security| security.tls != OutboundTls::Dane) {
        return;
    }
    match generation.resolver.ask("org", Type::Mx).await {
        Ok(told) if told.exists && !told.vouched => tracing::warn!(
            resolver = ?told.server,
            "the resolver does not validate DNSSEC: tls = \"dane\" finds no TLSA records"
        ),
        _ => {}
    }
}

/// Keeps the policies of MTA-STS from running out.
async fn refresh(core: Arc<Core>) {
    let mut stopping = core.stopping.subscribe();
    loop {
        doubt(&core).await;
        tokio::select! {
            () = sleep(FRESH) => {}
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
        let generation = core.parts.generation.load_full();
        let mut securities = generation.definition.delivery.securities();
        if securities.any(|security| security.mta_sts) {
            let terms = core.terms();
            let tls = terms.checking(generation.routes.security());
            core.policies.refresh(&generation.resolver, tls).await;
        }
    }
}

fn split_of(status: postern_spool::Status) -> Box<Split> {
    let count = status.recipients.len();
    Box::new(Split {
        tries: vec![status.attempts; count],
        out: vec![false; count],
        status,
    })
}

//! Obeys the supervisor: pause, resume, reload, drain, meet a client. Its end of the link is the worker's life line.
//!
//! ```text
//! Begin done ─▶ Ready ─▶ orders … ─▶ Drain, or end of file ─▶ no more accepting ─▶ sessions end ─▶ deliveries end
//!                                                                      ─▶ spool closed ─▶ Drained ─▶ exit 0
//! ```
//!
//! Never: a session touched by a reload; an order answered before it is carried out.

use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use postern_control::worker::{Manifest, Order, Report};
use postern_control::{Link, Received};
use postern_hosting::Identity;
use postern_tls::ServerTls;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use crate::accept;
use crate::answers;
use crate::assemble::{Parcel, assemble};
use crate::certificates::Endings;
use crate::door::Phase;
use crate::hosts;
use crate::packets::Packets;
use crate::server::Server;

/// How often the supervisor hears that all is well.
const ALIVE: Duration = Duration::from_secs(5);
/// How soon it hears that the numbers have changed.
const SOON: Duration = Duration::from_secs(1);
/// How often a successor asks whether its predecessor has let go of a part of the queue.
const ADOPT: Duration = Duration::from_secs(1);
/// After the deadline, sessions get this long to hear the 421 and go.
const FAREWELL: Duration = Duration::from_secs(2);
/// Deliveries in flight get this long at least, whatever the deadline: cut, they might go twice.
const LAST_ATTEMPTS: Duration = Duration::from_secs(5);

/// Why a worker cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The link failed, or speaks nonsense.
    #[error(transparent)]
    Link(#[from] postern_control::Error),
    /// The system said no.
    #[error("cannot {doing}: {source}")]
    System {
        /// The operation.
        doing: &'static str,
        /// Why.
        source: io::Error,
    },
}

struct Obedience {
    link: Packets,
    server: Arc<Server>,
    listening: Vec<Listening>,
    endings: Endings,
}

struct Listening {
    identity: Identity,
    task: JoinHandle<()>,
}

/// How to end.
struct Drain {
    deadline: Duration,
    gently: bool,
}

/// Serves until told to drain, drains, and says so.
pub(crate) async fn obey(
    link: Link,
    server: Arc<Server>,
    listeners: Vec<(Identity, TcpListener)>,
) -> Result<(), Error> {
    let link = Packets::new(link)?;
    let mut obedience = Obedience {
        link,
        server,
        listening: Vec::new(),
        endings: Endings::default(),
    };
    obedience.listen(listeners)?;
    obedience.report(&Report::Ready).await?;
    let drain = obedience.serve().await?;
    obedience.drain(&drain).await;
    // The supervisor may be the reason, and gone.
    let _ = obedience.report(&Report::Drained).await;
    Ok(())
}

impl Obedience {
    async fn serve(&mut self) -> Result<Drain, Error> {
        let mut adopt = interval(ADOPT);
        adopt.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let server = self.server.clone();
        let mut said = self.alive().await?;
        let mut next = Instant::now() + ALIVE;
        loop {
            let foreign = server.spool.foreign_segments();
            tokio::select! {
                received = self.link.receive() => match received? {
                    Received::Packet(order, files) => if let Some(drain) = self.order(order, files).await? {
                        return Ok(drain);
                    },
                    // The supervisor is gone: sessions finish, and systemd starts another one.
                    Received::Closed => return Ok(self.orphaned()),
                },
                () = server.door.changed.notified() => next = next.min(Instant::now() + SOON),
                () = sleep_until(next) => {
                    let now = self.alive().await?;
                    // While the numbers move, so does the report; at rest nothing wakes more often than it must.
                    next = Instant::now() + if now == said { ALIVE } else { SOON };
                    said = now;
                },
                _ = adopt.tick(), if foreign => adopt_more(&server).await,
            }
        }
    }

    fn orphaned(&self) -> Drain {
        let deadline = self
            .server
            .generation
            .load()
            .definition
            .general
            .drain_timeout;
        tracing::warn!(server = %self.server.name, "the supervisor is gone: finishing what is under way");
        Drain {
            deadline,
            gently: true,
        }
    }

    async fn order(&mut self, order: Order, files: Vec<OwnedFd>) -> Result<Option<Drain>, Error> {
        match order {
            Order::Pause => {
                self.server.door.set_phase(Phase::Paused);
                self.report(&Report::Paused).await?;
            }
            Order::Resume => {
                self.server.door.set_phase(Phase::Open);
                self.report(&Report::Resumed).await?;
            }
            Order::Reload { manifest } => {
                let report = self.reload(&manifest, files).await?;
                self.report(&report).await?;
            }
            Order::Drain { deadline, gently } => return Ok(Some(Drain { deadline, gently })),
            Order::Meet { uid } => {
                for file in files {
                    answers::spawn(self.server.clone(), Link::from(file), uid);
                }
            }
            Order::Hello { .. } | Order::Begin { .. } => {
                return Err(Error::Link(postern_control::Error::Unexpected(
                    "Hello or Begin, a second time".to_owned(),
                )));
            }
        }
        Ok(None)
    }

    /// Whole or not at all: the old generation and its listeners stand unless everything new does.
    async fn reload(&mut self, manifest: &Manifest, files: Vec<OwnedFd>) -> Result<Report, Error> {
        let assembled = match assemble(Parcel::open(manifest, files)?) {
            Ok(assembled) => assembled,
            Err(findings) => return Ok(Report::refused(findings)),
        };
        let (server, generation) = (&self.server, Arc::new(assembled.generation));
        hosts::prepare(&server.name, &generation, Some(&server.generation.load())).await;
        hosts::keep(server.name.clone(), &generation);
        server.generation.store(generation);
        let wanted: Vec<Identity> = assembled
            .listeners
            .iter()
            .map(|(identity, _)| *identity)
            .collect();
        self.listening.retain(|listening| {
            let stays = wanted.contains(&listening.identity);
            if !stays {
                listening.task.abort();
            }
            stays
        });
        let mut new = assembled.listeners;
        new.retain(|(identity, _)| {
            !self
                .listening
                .iter()
                .any(|listening| listening.identity == *identity)
        });
        self.listen(new)?;
        self.server.outbound.reloaded();
        tracing::info!(server = %self.server.name, "a new generation is in force");
        Ok(Report::reloaded(assembled.findings))
    }

    fn listen(&mut self, listeners: Vec<(Identity, TcpListener)>) -> Result<(), Error> {
        for (identity, listener) in listeners {
            let listener =
                tokio::net::TcpListener::from_std(listener).map_err(|source| Error::System {
                    doing: "watch a listening socket",
                    source,
                })?;
            let task = accept::spawn(self.server.clone(), listener, identity);
            self.listening.push(Listening { identity, task });
        }
        Ok(())
    }

    /// Says how many sessions and messages there are, and what else is to be known; returns what moves of it.
    async fn alive(&mut self) -> Result<(u32, u64), Error> {
        let (sessions, queued) = (self.server.door.count(), self.server.spool.count());
        let generation = self.server.generation.load_full();
        let certificates = generation
            .server_tls
            .iter()
            .flat_map(ServerTls::certificates);
        let (note, new) = self.endings.look(certificates, SystemTime::now());
        if new {
            tracing::warn!(server = %self.server.name, "{note}");
        }
        let alive = Report::Alive {
            sessions,
            queued,
            note,
        };
        self.report(&alive).await?;
        Ok((sessions, queued))
    }

    async fn report(&self, report: &Report) -> Result<(), Error> {
        Ok(self.link.send(report).await?)
    }

    async fn drain(&mut self, drain: &Drain) {
        for listening in self.listening.drain(..) {
            listening.task.abort();
            let _ = listening.task.await;
        }
        let end = Instant::now() + drain.deadline;
        if !drain.gently {
            self.server.door.set_phase(Phase::Closing);
        }
        if !self.empty_by(end).await {
            self.server.door.set_phase(Phase::Closing);
            self.server.door.hang_up.notify_waiters();
            self.empty_by(Instant::now() + FAREWELL).await;
        }
        let left = end
            .saturating_duration_since(Instant::now())
            .max(LAST_ATTEMPTS);
        self.server.outbound.drain(left).await;
        let (spool, journal) = (self.server.spool.clone(), self.server.journal.clone());
        let _ = spawn_blocking(move || {
            spool.close();
            journal.flush();
        })
        .await;
    }

    /// Whether nobody is inside, at `end` at the latest. Orders that come meanwhile are read, so that clients get answers.
    async fn empty_by(&mut self, end: Instant) -> bool {
        let server = self.server.clone();
        let mut linked = true;
        loop {
            let changed = server.door.changed.notified();
            if server.door.count() == 0 {
                return true;
            }
            tokio::select! {
                () = changed => {}
                () = sleep_until(end) => return server.door.count() == 0,
                received = self.link.receive(), if linked => match received {
                    Ok(Received::Packet(Order::Meet { uid }, files)) => {
                        files.into_iter().for_each(|file| answers::spawn(server.clone(), Link::from(file), uid));
                    }
                    // A stop while a restart drains: the shorter word wins.
                    Ok(Received::Packet(Order::Drain { gently: false, deadline }, _)) => {
                        server.door.set_phase(Phase::Closing);
                        return Box::pin(timeout(deadline, self.emptied())).await.is_ok();
                    }
                    Ok(Received::Packet(..)) => {}
                    Ok(Received::Closed) | Err(_) => linked = false,
                },
            }
        }
    }

    async fn emptied(&self) {
        loop {
            let changed = self.server.door.changed.notified();
            if self.server.door.count() == 0 {
                return;
            }
            changed.await;
        }
    }
}

async fn adopt_more(server: &Arc<Server>) {
    let spool = server.spool.clone();
    match spawn_blocking(move || spool.adopt()).await {
        Ok(Ok(due)) if due.is_empty() => {}
        Ok(Ok(due)) => {
            tracing::info!(server = %server.name, messages = due.len(), "took over the predecessor's queue");
            server.outbound.due(due);
        }
        Ok(Err(error)) => {
            tracing::error!(server = %server.name, %error, "cannot take over the predecessor's queue")
        }
        Err(_) => {}
    }
}

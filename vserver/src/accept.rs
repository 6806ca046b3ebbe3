//! Takes connections within the limits, asks access control, greets or refuses. One task a listener.
//!
//! ```text
//! paused? ─▶ from a balancer? ── its header, in a task ──▶ who is it really
//!               └──────────────────────────────────────────────┤
//!        names needed, and not at hand? ── looked up, in a task ┤
//!                                                              ▼
//!                              may it connect ─▶ is there room ─▶ the session
//! ```
//!
//! Never: a wait for one client that holds up another.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use postern_access::{NameFacts, OccupancyLimits};
use postern_hosting::{Identity, TlsMode};
use postern_policy::decide;
use postern_smtp::Reply;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::counters::count;
use crate::door::{Phase, Seat};
use crate::generation::Generation;
use crate::inbound::connection::Connection;
use crate::inbound::proxy_header;
use crate::server::Server;

/// Accepts on `listener` until the task is aborted. The listening socket itself stays the supervisor's: what waits in
/// its backlog is not lost with this task.
pub(crate) fn spawn(
    server: Arc<Server>,
    listener: TcpListener,
    identity: Identity,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, client)) => {
                    Arrival::new(&server, identity, client).take(stream);
                }
                Err(error) => rest(&server, &error).await,
            }
        }
    })
}

/// A connection that broke before it was accepted is nobody's trouble; without descriptors or memory, trying again at
/// once would only burn the processor.
async fn rest(server: &Server, error: &io::Error) {
    if matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    ) {
        return;
    }
    tracing::error!(server = %server.name, %error, "cannot accept a connection");
    sleep(Duration::from_millis(200)).await;
}

/// Somebody at the door.
struct Arrival {
    server: Arc<Server>,
    generation: Arc<Generation>,
    identity: Identity,
    /// Its address, IPv4-mapped ones as IPv4.
    client: SocketAddr,
}

impl Arrival {
    fn new(server: &Arc<Server>, identity: Identity, client: SocketAddr) -> Arrival {
        Arrival {
            generation: server.generation.load_full(),
            server: server.clone(),
            identity,
            client: SocketAddr::new(client.ip().to_canonical(), client.port()),
        }
    }

    fn take(self, stream: TcpStream) {
        if self.server.door.phase() != Phase::Open {
            count(&self.server.counters.connections_refused_paused);
            return self.turn_away(stream, &decide::unavailable(&self.generation.policy));
        }
        if self.is_balancer() {
            return match self.seat(u32::MAX) {
                Ok(seat) => drop(tokio::spawn(self.behind_balancer(stream, seat))),
                Err(reply) => self.turn_away(stream, &reply),
            };
        }
        match self.may_connect() {
            Some(true) => match self.seat(self.per_client()) {
                Ok(seat) => drop(tokio::spawn(self.session(seat).serve(stream))),
                Err(reply) => self.turn_away(stream, &reply),
            },
            Some(false) => self.refuse(stream),
            // The seat is taken first: clients that wait for a look-up are counted like all others.
            None => match self.seat(self.per_client()) {
                Ok(seat) => drop(tokio::spawn(self.look_up(stream, seat))),
                Err(reply) => self.turn_away(stream, &reply),
            },
        }
    }

    fn is_balancer(&self) -> bool {
        let from = &self.generation.definition.general.proxy_from;
        !from.is_empty()
            && from
                .iter()
                .any(|network| network.contains(&self.client.ip()))
    }

    /// Reads who the client really is, and receives that one.
    async fn behind_balancer(mut self, mut stream: TcpStream, seat: Seat) {
        match proxy_header::read(&mut stream).await {
            Ok(Some(client)) => self.client = client,
            Ok(None) => {}
            Err(error) => {
                count(&self.server.counters.proxy_headers_refused);
                tracing::warn!(server = %self.server.name, balancer = %self.client, %error, "connection closed");
                return;
            }
        }
        match seat.pass_to(self.client, self.limits(self.per_client())) {
            Ok(seat) => self.look_up(stream, seat).await,
            Err(full) => {
                count(&self.server.counters.connections_refused_limit);
                self.turn_away(stream, &decide::full(full));
            }
        }
    }

    /// Decides with the client's names, looked up if they are needed.
    async fn look_up(self, stream: TcpStream, seat: Seat) {
        let may = match self.may_connect() {
            Some(known) => known,
            None => {
                let server = &self.server;
                let resolver = &self.generation.resolver;
                let client = self.client.ip();
                // Boxed: the session behind it would carry the room that a look-up takes.
                let names = server.names.of(resolver, &server.counters, client);
                self.decide(&Box::pin(names).await)
            }
        };
        if may {
            self.session(seat).serve(stream).await;
        } else {
            self.refuse(stream);
        }
    }

    /// Whether the client may connect; `None` if only its names could tell, and they are not at hand.
    fn may_connect(&self) -> Option<bool> {
        let client = self.client.ip();
        let rule = &self.generation.policy.connection;
        if !rule.needs_names(client, &self.generation.hosts.load().resolved) {
            return Some(self.decide(&[]));
        }
        let names = self.server.names.at_hand(client)?;
        Some(self.decide(&names))
    }

    fn decide(&self, names: &[Box<str>]) -> bool {
        let hosts = self.generation.hosts.load();
        let facts = NameFacts {
            client: names,
            hosts: &hosts.resolved,
        };
        let rule = &self.generation.policy.connection;
        rule.decide(self.client.ip(), &facts).allowed
    }

    fn seat(&self, per_client: u32) -> Result<Seat, Reply> {
        let door = &self.server.door;
        let limits = self.limits(per_client);
        door.enter(self.client, self.identity.address, limits)
            .map_err(|full| {
                count(&self.server.counters.connections_refused_limit);
                decide::full(full)
            })
    }

    fn per_client(&self) -> u32 {
        self.generation.definition.general.max_connections_per_ip
    }

    fn limits(&self, per_client: u32) -> OccupancyLimits {
        OccupancyLimits {
            total: self.generation.definition.general.max_connections,
            per_client,
        }
    }

    fn session(self, seat: Seat) -> Connection {
        // TCP_NODELAY, without which TLS costs 45 ms a session, comes with the listener.
        count(&self.server.counters.connections_accepted);
        let mode = self.identity.tls;
        Connection::new(self.server, self.generation, seat, self.client.ip(), mode)
    }

    fn refuse(&self, stream: TcpStream) {
        count(&self.server.counters.connections_refused_access);
        tracing::info!(server = %self.server.name, client = %self.client.ip(), "connection refused by the connection list");
        self.turn_away(stream, &decide::connection_refused(&self.generation.policy));
    }

    /// One write into an empty socket buffer always fits, so that nobody refused costs a wait. Inside TLS that never
    /// began, words in clear would only confuse.
    fn turn_away(&self, stream: TcpStream, reply: &Reply) {
        if self.identity.tls == TlsMode::Implicit {
            return;
        }
        let mut bytes = Vec::with_capacity(96);
        reply.write_to(&mut bytes);
        if let Ok(mut stream) = stream.into_std() {
            let _ = stream.write(&bytes);
        }
    }
}

//! Takes connections within the limits, asks access control, greets or refuses. One task a listener.
//!
//! Never: a wait for one client that holds up another.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use postern_access::OccupancyLimits;
use postern_hosting::{Identity, TlsMode};
use postern_smtp::Reply;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::counters::count;
use crate::door::Phase;
use crate::generation::Generation;
use crate::inbound::connection::Connection;
use crate::inbound::decide;
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
                Ok((stream, client)) => take(&server, stream, client, identity),
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

fn take(server: &Arc<Server>, stream: TcpStream, client: SocketAddr, identity: Identity) {
    let generation = server.generation.load_full();
    let address = client.ip().to_canonical();
    match admit(server, &generation, client, identity.address) {
        Ok(seat) => {
            // TCP_NODELAY, without which TLS costs 45 ms a session, comes with the listener.
            count(&server.counters.connections_accepted);
            let connection = Connection::new(server.clone(), generation, seat, address);
            tokio::spawn(connection.serve(stream, identity.tls));
        }
        // Inside TLS that never began, words in clear would only confuse.
        Err(_) if identity.tls == TlsMode::Implicit => {}
        Err(reply) => turn_away(stream, &reply),
    }
}

fn admit(
    server: &Arc<Server>,
    generation: &Generation,
    client: SocketAddr,
    local: SocketAddr,
) -> Result<crate::door::Seat, Reply> {
    if server.door.phase() != Phase::Open {
        count(&server.counters.connections_refused_paused);
        return Err(decide::unavailable(generation));
    }
    decide::connection(generation, client.ip().to_canonical()).inspect_err(|_| {
        count(&server.counters.connections_refused_access);
        tracing::info!(server = %server.name, client = %client.ip(), "connection refused by the connection list");
    })?;
    let general = &generation.definition.general;
    let limits = OccupancyLimits {
        total: general.max_connections,
        per_client: general.max_connections_per_ip,
    };
    server.door.enter(client, local, limits).map_err(|full| {
        count(&server.counters.connections_refused_limit);
        decide::full(full)
    })
}

/// One write into an empty socket buffer always fits, so that nobody refused costs a task.
fn turn_away(stream: TcpStream, reply: &Reply) {
    let mut bytes = Vec::with_capacity(96);
    reply.write_to(&mut bytes);
    if let Ok(mut stream) = stream.into_std() {
        let _ = stream.write(&bytes);
    }
}

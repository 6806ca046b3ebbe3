//! The servers of a directory, in order, with the connections that wait to be used again.
//!
//! ```text
//! order: those that answered, as written ─▶ those that failed of late, the longest ago first
//! one server: connections of the searching account · connections on which users are tried
//! ```
//!
//! The two kinds are never mixed: a connection on which somebody logged in is never searched on.
//!
//! Never: two questions at once on one connection; a server asked again right after it failed.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use postern_config::{Host, LdapServer};
use postern_sasl::Secret;
use postern_tls::ClientTls;

use super::connection::{Connection, Trouble};

/// A server that failed is asked last for this long.
const AVOIDED: Duration = Duration::from_secs(30);
/// And not at all for this long.
const LEFT_ALONE: Duration = Duration::from_secs(1);
/// A connection that was not used for this long is not used again: firewalls forget it.
const IDLE: Duration = Duration::from_secs(60);
/// As many connections of one kind wait at most.
const WAITING: usize = 4;
/// Connecting, TLS included, takes no longer.
const CONNECTING: Duration = Duration::from_secs(3);

/// One server and what is known of it.
pub(super) struct Server {
    settings: LdapServer,
    failed: Mutex<Option<Instant>>,
    searching: Mutex<Vec<Connection>>,
    trying: Mutex<Vec<Connection>>,
}

/// What a connection is for.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    /// Searching, as the account for it.
    Search,
    /// Trying passwords.
    Try,
}

/// How connections are made.
pub(super) struct Means {
    /// Whom the servers' certificates must come from.
    pub tls: ClientTls,
    /// The account that searches, and its password.
    pub login: Option<(String, Secret)>,
    /// What each question may take.
    pub limit: Duration,
}

/// The servers that are worth asking now, in order.
pub(super) fn order(servers: &[Server]) -> Vec<&Server> {
    let now = Instant::now();
    let age = |server: &Server| {
        let failed = *lock(&server.failed);
        failed.map(|failed| now.saturating_duration_since(failed))
    };
    let mut order: Vec<(Option<Duration>, &Server)> = servers
        .iter()
        .map(|server| (age(server).filter(|age| *age < AVOIDED), server))
        .filter(|(age, _)| age.is_none_or(|age| age >= LEFT_ALONE))
        .collect();
    // Stable: those that did not fail stay as written.
    order.sort_by_key(|(age, _)| age.map(|age| AVOIDED - age.min(AVOIDED)));
    order.into_iter().map(|(_, server)| server).collect()
}

impl Server {
    /// A server nothing is known of.
    pub(super) fn new(settings: LdapServer) -> Server {
        Server {
            settings,
            failed: Mutex::default(),
            searching: Mutex::default(),
            trying: Mutex::default(),
        }
    }

    /// Remembers that it answered.
    pub(super) fn answered(&self) {
        *lock(&self.failed) = None;
    }

    /// Remembers that it did not, and gives up the connections to it.
    pub(super) fn failed(&self) {
        *lock(&self.failed) = Some(Instant::now());
        lock(&self.searching).clear();
        lock(&self.trying).clear();
    }

    /// A connection that waits, if there is one.
    pub(super) fn take(&self, purpose: Purpose) -> Option<Connection> {
        let mut waiting = lock(self.waiting(purpose));
        waiting.retain(|connection| connection.used.elapsed() < IDLE);
        waiting.pop()
    }

    /// Lets a connection wait, if there is room.
    pub(super) fn give_back(&self, purpose: Purpose, connection: Connection) {
        let mut waiting = lock(self.waiting(purpose));
        if waiting.len() < WAITING {
            waiting.push(connection);
        }
    }

    /// A new connection; for searching, it is logged in.
    pub(super) async fn open(
        &self,
        purpose: Purpose,
        means: &Means,
    ) -> Result<Connection, Trouble> {
        let patience = CONNECTING.min(means.limit);
        let mut connection =
            Connection::open(&self.settings, &means.tls, patience, means.limit).await?;
        if let (Purpose::Search, Some((dn, password))) = (purpose, &means.login) {
            let outcome = connection.bind(dn, password).await?;
            if outcome.code != 0 {
                return Err(Trouble::Refused {
                    doing: "logging in as the account that searches (`bind_dn`)",
                    code: outcome.code,
                    text: outcome.text,
                });
            }
        }
        Ok(connection)
    }

    fn waiting(&self, purpose: Purpose) -> &Mutex<Vec<Connection>> {
        match purpose {
            Purpose::Search => &self.searching,
            Purpose::Try => &self.trying,
        }
    }
}

impl std::fmt::Display for Server {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.settings.host {
            Host::Name(name) => write!(out, "{name}:{}", self.settings.port),
            Host::Address(address) => write!(
                out,
                "{}",
                std::net::SocketAddr::new(*address, self.settings.port)
            ),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_config::LdapTls;

    fn server(port: u16, failed: Option<u64>) -> Server {
        let server = Server::new(LdapServer {
            host: Host::Name("localhost".to_owned()),
            port,
            tls: LdapTls::StartTls,
        });
        let ago = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds));
        *lock(&server.failed) = failed.and_then(ago);
        server
    }

    #[test]
    fn servers_are_asked_in_order_and_those_that_failed_last() {
        let servers = [
            server(1, Some(10)),
            server(2, None),
            server(3, Some(0)),
            server(4, Some(20)),
            server(5, Some(40)),
            server(6, None),
        ];
        let ports: Vec<u16> = order(&servers)
            .iter()
            .map(|server| server.settings.port)
            .collect();
        assert_eq!(ports, [2, 5, 6, 4, 1]);
    }
}

//! A connection to one host: greeted, secured, logged in; then [`crate::carry`] sends messages over it.
//!
//! ```text
//! dial → greeting → EHLO ─┬ clear ────────────────────────────────┬→ login? → ready
//!                         ├ STARTTLS → handshake → EHLO ──────────┘
//!                         └ handshake failed, TLS only hoped for: a new connection, in clear
//! ```
//!
//! Each reply is waited for as long as RFC 5321 §4.5.3.2 says for its stage, and no longer than the definition's
//! `outbound_timeout`.
//!
//! Never: a look-up, a choice among hosts; that is [`crate::hosts`]'s.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use postern_sasl::Bindings;
use postern_smtp::{Client, ClientEvent, ClientSettings, EnhancedCode, Stage};
use postern_tls::{ClientTls, Facts};

use crate::outcome::Answer;
use crate::policies::Policies;
use crate::security::{Next, Security, Seen};
use crate::transport::{Break, Stream, Wire, dial};

/// A host that does not take a connection within this is passed over; RFC 5321 names no time for it.
pub const CONNECT_PATIENCE: Duration = Duration::from_secs(30);
/// QUIT is answered within this, or not waited for any longer.
const QUIT_PATIENCE: Duration = Duration::from_secs(5);

/// What holds for every connection of one generation.
#[derive(Clone)]
pub struct Terms {
    /// The server's own name, for the audit log.
    pub server: Arc<str>,
    /// The name in EHLO.
    pub fqdn: Arc<str>,
    /// The addresses this server listens on: mail is not delivered to ourselves.
    pub own: Arc<[SocketAddr]>,
    /// The longest wait for a reply.
    pub timeout: Duration,
    /// Messages a connection carries at most.
    pub limit: u32,
    /// TLS with whoever answers.
    pub tls: ClientTls,
    /// TLS with a host whose certificate is valid for its name.
    pub verified_tls: ClientTls,
    /// What domains promise of the TLS of their hosts.
    pub policies: Policies,
}

/// A connection that carries messages.
pub struct Connection {
    pub(crate) client: Client,
    pub(crate) wire: Wire,
    pub(crate) host: Arc<str>,
    pub(crate) carried: u32,
    pub(crate) limit: u32,
    timeout: Duration,
    lmtp: bool,
    tls: Option<Arc<str>>,
    /// What a login can be bound to.
    pub(crate) bindings: Bindings,
}

/// Connects to `address`, which the definition or DNS calls `name`.
pub async fn open(
    terms: &Terms,
    security: &Security,
    name: &str,
    address: SocketAddr,
) -> Result<Connection, Answer> {
    let mut handshake_failed = false;
    loop {
        let connection = connect(terms, name, address).await?;
        let seen = Seen {
            offers_starttls: connection.client.extensions().starttls,
            handshake_failed,
        };
        let mut connection = match security.next(seen) {
            Next::Clear => connection,
            Next::Refuse(why) => return Err(connection.refuse(EnhancedCode(4, 7, 10), why).await),
            Next::StartTls { verify } => match connection
                .start_tls(name, trust(security, terms, verify))
                .await
            {
                Ok(connection) => connection,
                Err(answer) if security.demands_tls() => {
                    return Err(answer.because(&security.demand));
                }
                Err(answer) => {
                    tracing::info!(host = %answer.host, reason = %answer, "going on in clear");
                    handshake_failed = true;
                    continue;
                }
            },
        };
        if let Some(login) = &security.login
            && let Err(answer) = connection.log_in(terms, name, login).await
        {
            // Where nothing is awaited any more the host is told so; otherwise it is gone.
            if connection.client.stage() == Stage::Idle {
                connection.quit().await;
            }
            return Err(answer);
        }
        return Ok(connection);
    }
}

/// The kind of TLS that is wanted of a host.
fn trust<'t>(security: &'t Security, terms: &'t Terms, verify: bool) -> &'t ClientTls {
    match verify {
        false => &terms.tls,
        true => terms.checking(security),
    }
}

async fn connect(terms: &Terms, name: &str, address: SocketAddr) -> Result<Connection, Answer> {
    let host: Arc<str> = match postern_dns::lookup::literal(name) {
        Some(ip) => Arc::from(format!("[{ip}]:{}", address.port())),
        None => Arc::from(format!("{name} [{}]:{}", address.ip(), address.port())),
    };
    let unreachable = |broken: Break| {
        Answer::ours(
            &host,
            EnhancedCode(4, 4, 1),
            format!("cannot connect: {broken}"),
        )
    };
    let stream = dial(address, CONNECT_PATIENCE.min(terms.timeout))
        .await
        .map_err(unreachable)?;
    if is_ourselves(&stream, &terms.own) {
        // RFC 5321 §5.1: mail that would come back is not sent.
        return Err(Answer::ours(
            &host,
            EnhancedCode(5, 4, 6),
            "this is this very server: the mail would come back",
        ));
    }
    Connection::greet(terms, Stream::Tcp(stream), host, false).await
}

/// Whether the peer is one of our own listeners: the very address, or our own machine where we listen on all.
fn is_ourselves(stream: &tokio::net::TcpStream, own: &[SocketAddr]) -> bool {
    let (Ok(peer), Ok(local)) = (stream.peer_addr(), stream.local_addr()) else {
        return false;
    };
    let here = peer.ip() == local.ip();
    own.iter().any(|listen| {
        listen.port() == peer.port()
            && (listen.ip() == peer.ip() || (here && listen.ip().is_unspecified()))
    })
}

impl Terms {
    /// The TLS in which a certificate counts, on a way with this security.
    pub fn checking<'t>(&'t self, security: &'t Security) -> &'t ClientTls {
        security.trust.as_ref().unwrap_or(&self.verified_tls)
    }
}

impl Connection {
    /// Waits for the greeting, and says EHLO or LHLO.
    pub(crate) async fn greet(
        terms: &Terms,
        stream: Stream,
        host: Arc<str>,
        lmtp: bool,
    ) -> Result<Connection, Answer> {
        let settings = ClientSettings {
            fqdn: terms.fqdn.to_string(),
            lmtp,
            prefer_chunking: true,
        };
        let client = Client::new(settings);
        let wire = Wire::new(stream, terms.timeout.min(client.patience()));
        let mut connection = Connection {
            client,
            wire,
            host,
            carried: 0,
            limit: terms.limit.max(1),
            timeout: terms.timeout,
            lmtp,
            tls: None,
            bindings: Bindings::default(),
        };
        connection.until_ready().await?;
        Ok(connection)
    }

    /// The host, as it is named in outcomes.
    pub fn host(&self) -> &Arc<str> {
        &self.host
    }

    /// The protocol version, if it is TLS.
    pub fn tls(&self) -> Option<&Arc<str>> {
        self.tls.as_ref()
    }

    /// How many messages it has carried.
    pub fn carried(&self) -> u32 {
        self.carried
    }

    pub(crate) fn is_lmtp(&self) -> bool {
        self.lmtp
    }

    /// How long the peer has for what is awaited now.
    pub(crate) fn patience(&self) -> Duration {
        self.client.patience().min(self.timeout)
    }

    /// Waits with nothing under way; returns when the peer says or closes something, or after `patience`: then it is
    /// to be given up, with or without [`Connection::quit`]. May be dropped while waiting.
    pub async fn idle(&mut self, patience: Duration) -> Rested {
        self.wire.allow(patience);
        match self.wire.read().await {
            Err(Break::TimedOut) => Rested::LongEnough,
            _ => Rested::Gone,
        }
    }

    /// Says QUIT and waits a moment for the answer (RFC 5321 §4.1.1.10).
    pub async fn quit(mut self) {
        self.client.quit();
        self.wire.allow(QUIT_PATIENCE.min(self.timeout));
        if self.flush().await.is_err() {
            return;
        }
        loop {
            while let Some(event) = self.client.poll() {
                if matches!(event, ClientEvent::Closed { .. }) {
                    return;
                }
            }
            if self.listen().await.is_err() {
                return;
            }
        }
    }

    async fn refuse(self, code: EnhancedCode, why: String) -> Answer {
        let answer = self.ours(code, why);
        self.quit().await;
        answer
    }

    /// The next event of the start of a connection.
    pub(crate) async fn event(&mut self) -> Result<ClientEvent, Answer> {
        // The time is for the whole answer: a peer that drips it is given up too.
        self.wire.allow(self.patience());
        loop {
            if let Some(event) = self.client.poll() {
                return match event {
                    // A host that refuses us altogether may be asked again: others may serve, or it may recover.
                    ClientEvent::Closed {
                        reply: Some(reply), ..
                    }
                    | ClientEvent::Failed {
                        reply: Some(reply), ..
                    } => Err(self.answer(&reply).softened()),
                    ClientEvent::Closed { stage, .. } | ClientEvent::Failed { stage, .. } => {
                        Err(self.lost(stage, &Break::Closed))
                    }
                    event => Ok(event),
                };
            }
            if self.client.has_output() {
                self.flush().await?;
            } else {
                self.listen().await?;
            }
        }
    }

    async fn until_ready(&mut self) -> Result<(), Answer> {
        while self.event().await? != ClientEvent::Ready {}
        Ok(())
    }

    async fn start_tls(mut self, name: &str, tls: &ClientTls) -> Result<Connection, Answer> {
        self.client.start_tls();
        match self.event().await? {
            ClientEvent::TlsReady => {}
            ClientEvent::Refused { reply, .. } => {
                let answer = self.answer(&reply).softened();
                self.quit().await;
                return Err(answer);
            }
            _ => return Err(self.lost(Stage::StartTls, &Break::Closed)),
        }
        let failed = |why: String| {
            Answer::ours(
                &self.host,
                EnhancedCode(4, 7, 5),
                format!("the TLS handshake failed: {why}"),
            )
        };
        let patience = self.timeout.min(self.client.patience());
        let Stream::Tcp(stream) = self.wire.into_stream() else {
            return Err(failed("not over TCP".to_owned()));
        };
        let secured = tokio::time::timeout(patience, tls.connect(name, stream)).await;
        let stream = secured
            .map_err(|_| failed("no answer in time".to_owned()))?
            .map_err(|error| failed(error.to_string()))?;
        let session = stream.get_ref().1;
        self.tls = Some(Arc::from(Facts::of_client(session).version));
        let bindings = postern_tls::Bindings::of_client(session);
        self.bindings = Bindings {
            exporter: bindings.exporter,
            end_points: bindings.end_points,
        };
        self.wire = Wire::new(Stream::Tls(Box::new(stream)), self.timeout);
        self.client.secured();
        self.until_ready().await?;
        Ok(self)
    }
}

/// How a wait with nothing to do ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rested {
    /// The time is over; the connection is still good.
    LongEnough,
    /// The peer closed it, or said something unasked: 421, most likely.
    Gone,
}

//! Drives one SMTP session over a stream: bytes, timers, TLS, and the envelope as it grows.
//!
//! ```text
//! events of the session, answered ──▶ output written ──▶ wait: bytes · deadline · hang-up ──▶ events …
//! ```
//!
//! One task a connection. An idle one holds a session without buffers, one timer and one place in a list of waiters.
//!
//! Longer than most files: each event of a session has its answer here, and they share the connection's state.
//!
//! Never: a word of policy; `decide` has those.

use std::future::{Future, poll_fn};
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

use postern_access::NameFacts;
use postern_hosting::TlsMode;
use postern_policy::decide::{self, Asker};
use postern_sasl::{Bindings, Mechanism};
use postern_smtp::{
    self as smtp, Ask, Event, Mail, Queued, Rcpt, Reply, Secured, Session, Stranger,
};
use postern_spool::Envelope;
use postern_tls::Offer;
use postern_track::Event as Tracked;
use tokio::net::TcpStream;
use tokio::time::{sleep, sleep_until, timeout};

use super::deposit::{self, Incoming};
use super::login::{Attempt, Walk};
use super::trace::{Trace, protocol};
use super::transaction::{Transaction, Whose};
use super::wire::Wire;
use crate::accounts::LoggedIn;
use crate::counters::{add, count};
use crate::door::{Phase, Seat};
use crate::generation::Generation;
use crate::server::{Counted, Server, unix_ms};

/// A handshake takes round trips, not thought.
const HANDSHAKE: Duration = Duration::from_secs(60);
/// How long a client may take to read a reply.
const WRITE: Duration = Duration::from_secs(300);
/// A client that speaks at once is heard within this; it is far less than a round trip to most strangers.
const PAUSE: Duration = Duration::from_millis(50);
/// Replies to bad recipients are held this long, from the fifth on.
const TARPIT: Duration = Duration::from_secs(1);
const TARPIT_FROM: u32 = 5;

/// One client's connection.
pub(crate) struct Connection {
    server: Arc<Server>,
    generation: Arc<Generation>,
    seat: Seat,
    client: IpAddr,
    mode: TlsMode,
    hello: Option<smtp::Hello>,
    tls: Option<Box<str>>,
    login: Option<Box<LoggedIn>>,
    walk: Walk,
    transaction: Option<Box<Transaction>>,
    bad_recipients: u32,
    errors: u32,
}

/// Why a stretch of conversation ended.
enum Ended {
    Closed,
    StartTls,
}

impl Connection {
    /// A connection that has a seat.
    pub(crate) fn new(
        server: Arc<Server>,
        generation: Arc<Generation>,
        seat: Seat,
        client: IpAddr,
        mode: TlsMode,
    ) -> Connection {
        Connection {
            server,
            generation,
            seat,
            client,
            mode,
            hello: None,
            tls: None,
            login: None,
            walk: Walk::default(),
            transaction: None,
            bad_recipients: 0,
            errors: 0,
        }
    }

    /// Talks until one side has enough.
    pub(crate) async fn serve(mut self, stream: TcpStream) {
        let settings = self.generation.sessions.of(self.mode).clone();
        let mut wire = Wire::Plain(stream);
        if self.mode == TlsMode::Implicit {
            match Box::pin(self.handshake(wire)).await {
                Some(secured) => wire = secured,
                None => return,
            }
        }
        let mut session = Session::new(settings, Instant::now());
        if self.mode == TlsMode::Implicit {
            session.secured(Instant::now(), secured(&wire));
        }
        wire.receive_early(&mut session, self.pause()).await;
        session.greet(Instant::now());
        while let Ok(Ended::StartTls) = self.converse(&mut session, &mut wire).await {
            self.forget();
            match Box::pin(self.handshake(wire)).await {
                Some(secured) => wire = secured,
                None => return,
            }
            session.secured(Instant::now(), secured(&wire));
        }
        self.tell_of_stranger(&session);
        wire.shut().await;
    }

    /// How long a stranger's greeting waits for those who do not wait for it. Neither the administrator's own machines nor
    /// people who log in are kept waiting.
    fn pause(&self) -> Option<Duration> {
        let hosts = self.generation.hosts.load();
        let facts = NameFacts {
            client: &[],
            hosts: &hosts.resolved,
        };
        let policy = &self.generation.policy;
        let stranger =
            policy.definition.authentication.anonymous && !policy.relay.lists(self.client, &facts);
        stranger.then_some(PAUSE)
    }

    fn tell_of_stranger(&self, session: &Session) {
        let counters = &self.server.counters;
        if session.spoke_early() {
            count(&counters.early_talkers);
        }
        let what = match session.stranger() {
            Some(Stranger::Tls) => {
                count(&counters.tls_on_plain_port);
                "a TLS hello came where TLS begins with STARTTLS: the client should use STARTTLS, or an identity with tls = \"implicit\""
            }
            Some(Stranger::Proxy) => {
                count(&counters.proxy_headers_refused);
                "a PROXY header came from an address that proxy_from does not name"
            }
            Some(Stranger::Http) => "a web client came",
            None if session.spoke_early() => "the client spoke before the greeting",
            None => return,
        };
        tracing::info!(server = %self.server.name, client = %self.client, "refused: {what}");
    }

    async fn handshake(&mut self, wire: Wire) -> Option<Wire> {
        let (Wire::Plain(stream), Some(tls)) = (wire, &self.generation.server_tls) else {
            return None;
        };
        let mut offer = None;
        let accept = async {
            offer = Wire::offer(&stream).await;
            tls.accept(stream).await
        };
        let failure = match timeout(HANDSHAKE, accept).await {
            Ok(Ok(stream)) => {
                let facts = postern_tls::Facts::of_server(stream.get_ref().1);
                let shown: Box<str> = facts.to_string().into();
                self.seat.note(|said| said.tls = Some(shown.clone()));
                self.tls = Some(shown);
                count(&self.server.counters.tls_handshakes);
                return Some(Wire::Tls(Box::new(stream)));
            }
            Ok(Err(error)) => Some(error),
            Err(_) => None,
        };
        self.tell_of_failure(offer.as_ref(), failure.as_ref());
        None
    }

    /// One line: what went wrong, what the client offered, and what can be done.
    fn tell_of_failure(&self, offer: Option<&Offer>, failure: Option<&io::Error>) {
        count(&self.server.counters.tls_failures);
        let advice = postern_tls::advice(offer, failure);
        let failure = failure.map_or("nothing came".to_owned(), io::Error::to_string);
        let offered = offer.map_or("no TLS".to_owned(), Offer::to_string);
        tracing::info!(server = %self.server.name, client = %self.client, %failure, %offered, advice, "TLS handshake failed");
    }

    /// RFC 3207 §4.2: what was said before the handshake counts for nothing.
    fn forget(&mut self) {
        self.hello = None;
        self.login = None;
        self.transaction = None;
        self.walk.abandon();
    }

    async fn converse(&mut self, session: &mut Session, wire: &mut Wire) -> io::Result<Ended> {
        let server = self.server.clone();
        let mut hang_up = pin!(server.door.hang_up.notified());
        hang_up.as_mut().enable();
        let mut alarm = pin!(sleep_until(due(session)));
        let mut told = false;
        loop {
            if !told && server.door.phase() == Phase::Closing {
                told = true;
                session.closing(decide::unavailable(&self.generation.policy));
            }
            let ended = loop {
                match session.poll() {
                    None => break None,
                    Some(Event::Closed) => break Some(Ended::Closed),
                    Some(Event::StartTls) => break Some(Ended::StartTls),
                    Some(event) => self.answer(event, wire).await,
                }
            };
            self.slow_errors(session).await;
            if session.has_output() {
                write(wire, &session.take_output()).await?;
            }
            if let Some(ended) = ended {
                return Ok(ended);
            }
            match wait(session, wire, alarm.as_mut(), hang_up.as_mut()).await? {
                Woken::Received => {}
                Woken::End => {
                    self.transaction = None;
                    return Ok(Ended::Closed);
                }
                Woken::Idle => {
                    count(&server.counters.idle_timeouts);
                    session.expire(Instant::now());
                }
                Woken::HungUp => session.refuse(decide::unavailable(&self.generation.policy)),
            }
        }
    }

    /// Errors are slowed from the fifth on, for whoever is not logged in: guessing at commands must not be cheap.
    async fn slow_errors(&mut self, session: &Session) {
        let errors = session.errors();
        if errors > self.errors && errors >= TARPIT_FROM && self.login.is_none() {
            self.errors = errors;
            sleep(TARPIT).await;
        }
    }

    async fn answer(&mut self, event: Event<'_>, wire: &mut Wire) {
        match event {
            Event::Body(piece) => {
                if let Some(incoming) = self
                    .transaction
                    .as_mut()
                    .and_then(|open| open.incoming.as_mut())
                {
                    incoming.write(piece).await;
                }
            }
            Event::Hello(ask) => self.hello(ask),
            Event::Mail(ask) => self.mail(ask),
            Event::Rcpt(ask) => self.rcpt(ask, wire).await,
            Event::Data(ask) => self.data(ask),
            Event::Deposit(ask) => self.deposit(ask).await,
            Event::Reset => self.transaction = None,
            Event::Auth(ask) => Box::pin(self.auth(ask, wire)).await,
            Event::AuthAbandoned => self.walk.abandon(),
            Event::StartTls | Event::Closed => {}
        }
    }

    fn hello(&mut self, ask: Ask<'_, smtp::Hello>) {
        self.transaction = None;
        let hello = ask.accept(());
        self.seat.note(|said| said.helo = Some(hello.name.clone()));
        self.hello = Some(hello);
    }

    async fn auth(&mut self, ask: Ask<'_, smtp::AuthStep>, wire: &Wire) {
        let bindings = match ask.first || self.walk.begins() {
            true => self.bindings(wire),
            false => Bindings::default(),
        };
        let settings = self.generation.sessions.of(self.mode);
        let plus_offered = self.tls.is_some()
            && settings
                .mechanisms_tls
                .contains(&Mechanism::ScramSha256Plus.name());
        let attempt = Attempt {
            server: &self.server,
            generation: &self.generation,
            client: self.client,
            local: self.seat.local(),
            tls: self.tls.as_deref(),
            bindings,
            plus_offered,
            certified: match (wire, ask.first) {
                (Wire::Tls(stream), true) => postern_tls::client_names(stream.get_ref().1),
                _ => Vec::new(),
            },
        };
        if let Some(found) = self.walk.step(&attempt, ask).await {
            self.seat
                .note(|said| said.login = Some(found.account.as_str().into()));
            self.login = Some(Box::new(found));
        }
    }

    /// What a login over this wire can be bound to.
    fn bindings(&self, wire: &Wire) -> Bindings {
        let (Wire::Tls(stream), Some(tls)) = (wire, &self.generation.server_tls) else {
            return Bindings::default();
        };
        let found = tls.bindings(stream.get_ref().1);
        Bindings {
            exporter: found.exporter,
            end_points: found.end_points,
        }
    }

    fn mail(&mut self, ask: Ask<'_, Mail>) {
        let login = self.login.as_deref().map(LoggedIn::as_login);
        match decide::sender(&self.generation.policy, login.as_ref(), &ask) {
            Err(reply) => self.refuse_sender(ask, reply),
            Ok(_) if !self.within_rate(Counted::Message) => self.refuse_sender(ask, too_fast()),
            Ok(verdict) => {
                let mail = ask.accept(());
                self.transaction = Some(Box::new(Transaction::open(mail, verdict.marked)));
            }
        }
    }

    fn refuse_sender(&self, ask: Ask<'_, Mail>, reply: Reply) {
        let shown = reply.to_string();
        let mail = ask.refuse(reply);
        self.track_refusal(Some(&mail.sender.to_string()), None, &shown);
    }

    async fn rcpt(&mut self, mut ask: Ask<'_, Rcpt>, wire: &mut Wire) {
        let login = self.login.as_deref().map(LoggedIn::as_login);
        let hosts = self.generation.hosts.load_full();
        let mut asker = Asker {
            client: self.client,
            facts: &NameFacts {
                client: &[],
                hosts: &hosts.resolved,
            },
            login: login.as_ref(),
        };
        let (policy, names, facts);
        policy = &self.generation.policy;
        if decide::needs_names(policy, &asker, &ask) {
            // Boxed: every connection would carry the room that a look-up takes.
            names = Box::pin(self.names(&mut ask, wire)).await;
            facts = NameFacts {
                client: &names,
                hosts: &hosts.resolved,
            };
            asker.facts = &facts;
        }
        let reply = match decide::recipient(policy, &asker, &ask) {
            Ok(_) if !self.within_rate(Counted::Recipient) => too_fast(),
            Ok(accepted) => {
                let rcpt = ask.accept(());
                count(&self.server.counters.recipients_accepted);
                if let Some(open) = &mut self.transaction {
                    open.add(rcpt, accepted);
                }
                return;
            }
            Err(reply) => reply,
        };
        count(&self.server.counters.recipients_refused);
        if reply == decide::unable_to_relay(&ask.recipient) {
            count(&self.server.counters.relay_refused);
        }
        let sender = self.transaction.as_ref().map(|open| open.sender.as_str());
        self.track_refusal(sender, Some(&ask.recipient.to_string()), &reply.to_string());
        self.bad_recipients += 1;
        if self.bad_recipients >= TARPIT_FROM && self.login.is_none() {
            // What was answered already must not wait with it.
            let _ = write(wire, &ask.take_output()).await;
            sleep(TARPIT).await;
        }
        ask.refuse(reply);
    }

    /// The client's names. What was answered already does not wait with it for a look-up.
    async fn names(&self, ask: &mut Ask<'_, Rcpt>, wire: &mut Wire) -> Arc<[Box<str>]> {
        let server = &self.server;
        if let Some(names) = server.names.at_hand(self.client) {
            return names;
        }
        let _ = write(wire, &ask.take_output()).await;
        let resolver = &self.generation.resolver;
        server
            .names
            .of(resolver, &server.counters, self.client)
            .await
    }

    /// Asked before the body travels: a full disk is said now, not after 25 MB.
    fn data(&mut self, ask: Ask<'_, smtp::Data>) {
        let spool = &self.server.spool;
        let begun = spool.room().and_then(|()| Incoming::begin(spool));
        let Some(open) = &mut self.transaction else {
            return;
        };
        match begun {
            Ok(mut incoming) => {
                let id = incoming.id().to_string();
                let login = self.login.is_some();
                let hello = self.hello.as_ref();
                let trace = Trace {
                    helo: hello.map_or("unknown", |hello| &hello.name),
                    client: self.client,
                    fqdn: &self.generation.definition.general.fqdn,
                    protocol: with(hello, self.tls.is_some(), login, open.mail.smtputf8),
                    tls: self.tls.as_deref(),
                    id: &id,
                    recipient: match open.recipients.as_slice() {
                        [only] => Some(&only.address),
                        _ => None,
                    },
                    time: i64::try_from(unix_ms() / 1000).unwrap_or(0),
                };
                incoming.prepend(trace.header().as_bytes());
                if open.marked {
                    incoming.prepend(b"X-Postern-Sender: not authenticated\r\n");
                }
                open.incoming = Some(incoming);
                ask.accept(());
            }
            Err(error) => {
                tracing::warn!(server = %self.server.name, %error, "no room for a message");
                ask.refuse(deposit::refusal(&error));
            }
        }
    }

    async fn deposit(&mut self, ask: Ask<'_, smtp::Deposit>) {
        let Some((open, incoming)) = self.transaction.take().and_then(|mut open| {
            let incoming = open.incoming.take()?;
            Some((open, incoming))
        }) else {
            return;
        };
        if incoming.hops() > self.generation.definition.messages.max_hops {
            let reply = Reply::new(
                554,
                "5.4.6",
                "Too many hops: the message goes round in circles",
            );
            self.track_refusal(Some(&open.sender), None, &reply.to_string());
            count(&self.server.counters.messages_refused);
            ask.refuse(reply);
            return;
        }
        let whose = Whose {
            login: self.login.as_ref().map(|login| login.account.as_str()),
            client: self.client,
            helo: self.hello.as_ref().map(|hello| &*hello.name),
        };
        let envelope = Arc::new(open.envelope(&ask, whose));
        match incoming.commit(&self.server.spool, &envelope).await {
            Ok(committed) => {
                let id = committed.id.to_string();
                self.track_acceptance(&id, &envelope, committed.size);
                count(&self.server.counters.messages_accepted);
                add(&self.server.counters.bytes_accepted, committed.size);
                self.seat.facts().messages.fetch_add(1, Ordering::Relaxed);
                self.server.outbound.accepted(committed.id, envelope);
                ask.accept(Queued { id });
            }
            Err(error) => {
                tracing::error!(server = %self.server.name, %error, "a message could not be stored");
                count(&self.server.counters.messages_refused);
                ask.refuse(deposit::refusal(&error));
            }
        }
    }

    fn within_rate(&self, what: Counted) -> bool {
        let messages = &self.generation.definition.messages;
        let account = self.login.as_ref().map(|login| login.account.as_str());
        let pair = if account.is_some() {
            messages.account_rate
        } else {
            messages.anonymous_rate
        };
        let within = self.server.rates.take(self.client, account, pair, what);
        if !within {
            tracing::info!(target: "audit", server = %self.server.name, client = %self.client, account, "rate exceeded");
        }
        within
    }

    fn track_acceptance(&self, id: &str, envelope: &Envelope, size: u64) {
        let recipients: Vec<&str> = envelope
            .recipients
            .iter()
            .map(|recipient| recipient.address.as_str())
            .collect();
        let event = Tracked::Accepted {
            id,
            sender: &envelope.sender,
            recipients: &recipients,
            size,
            client: Some(self.client),
            helo: envelope.helo.as_deref(),
            login: envelope.login.as_deref(),
            protocol: with(
                self.hello.as_ref(),
                self.tls.is_some(),
                self.login.is_some(),
                envelope.smtputf8,
            ),
        };
        self.server.journal.note(envelope.received, &event);
    }

    fn track_refusal(&self, sender: Option<&str>, recipient: Option<&str>, reply: &str) {
        let login = self.login.as_ref().map(|login| login.account.as_str());
        let event = Tracked::Refused {
            client: self.client,
            login,
            sender,
            recipient,
            reply,
        };
        self.server.journal.note(unix_ms(), &event);
    }
}

/// What the session is told of the handshake.
fn secured(wire: &Wire) -> Secured {
    Secured {
        client_certificate: match wire {
            Wire::Tls(stream) => stream.get_ref().1.peer_certificates().is_some(),
            Wire::Plain(_) => false,
        },
    }
}

/// What ended a wait.
enum Woken {
    Received,
    End,
    Idle,
    HungUp,
}

/// Waits for bytes, the session's deadline, or the end of the server. The alarm is moved only when it has rung: while a
/// client talks, no timer is touched.
async fn wait(
    session: &mut Session,
    wire: &mut Wire,
    mut alarm: Pin<&mut tokio::time::Sleep>,
    mut hang_up: Pin<&mut tokio::sync::futures::Notified<'_>>,
) -> io::Result<Woken> {
    poll_fn(|cx| {
        if let Poll::Ready(read) = wire.poll_receive(cx, session) {
            return Poll::Ready(read.map(|count| {
                if count == 0 {
                    Woken::End
                } else {
                    Woken::Received
                }
            }));
        }
        if hang_up.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(Woken::HungUp));
        }
        while alarm.as_mut().poll(cx).is_ready() {
            let due = due(session);
            if due <= tokio::time::Instant::now() {
                return Poll::Ready(Ok(Woken::Idle));
            }
            alarm.as_mut().reset(due);
        }
        Poll::Pending
    })
    .await
}

fn due(session: &Session) -> tokio::time::Instant {
    session
        .deadline()
        .unwrap_or_else(|| Instant::now() + WRITE)
        .into()
}

async fn write(wire: &mut Wire, bytes: &[u8]) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    timeout(WRITE, wire.write_all(bytes))
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn with(hello: Option<&smtp::Hello>, secure: bool, login: bool, utf8: bool) -> &'static str {
    protocol(
        hello.is_some_and(|hello| hello.extended),
        secure,
        login,
        utf8,
    )
}

fn too_fast() -> Reply {
    Reply::new(
        451,
        "4.7.1",
        "Too much mail in too short a time, try again later",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a task of this future takes: every idle connection holds it for as long as it is there.
    #[test]
    fn a_connection_stays_small() {
        fn size<F>(_: fn(Connection, TcpStream) -> F) -> usize {
            size_of::<F>()
        }
        let octets = size(Connection::serve);
        assert!(
            octets <= 2304,
            "{octets} octets: box what is rarely awaited"
        );
    }
}

//! One connection as a client, SMTP or LMTP: transactions in, pipelined commands out, replies matched to what they answer.
//!
//! ```text
//! Greeting → Hello → Ready ──begin──→ commands out, replies in ──→ SendBody → body out ──→ Ready
//!              ↑       │ ↖                                                        │ (begin again at once)
//!  handshake ──┘ start_tls login                       Done… of the message before comes meanwhile
//! ```
//!
//! Each transaction ends in exactly one [`ClientEvent::Failed`], or in [`ClientEvent::Done`] with `last`; the events
//! of two transactions never mix: all of the first come before the end of the second.
//!
//! ```
//! use postern_smtp::{Client, ClientEvent, ClientSettings, Recipient, Transaction};
//! let mut client = Client::new(ClientSettings { fqdn: "mx.example.com".to_owned(), lmtp: false, prefer_chunking: false });
//! let recipient = Recipient { address: "a@example.org", ..Recipient::default() };
//! let transaction = Transaction { recipients: &[recipient], size: 4, ..Transaction::default() };
//! # let mut peer = ["220 hi\r\n", "250-hi\r\n250 PIPELINING\r\n", "250 ok\r\n250 ok\r\n354 go\r\n", "250 kept\r\n", "221 bye\r\n"].into_iter();
//! loop {
//!     while let Some(event) = client.poll() {
//!         match event {
//!             ClientEvent::Ready => client.begin(&transaction).unwrap(),
//!             ClientEvent::SendBody { .. } => {
//!                 client.body(b"hi\r\n");
//!                 client.end_body();
//!                 // The next message would begin here, into the same write.
//!             }
//!             ClientEvent::Done { reply, .. } => {
//!                 assert_eq!(reply.code, 250);
//!                 client.quit();
//!             }
//!             _ => {}
//!         }
//!     }
//!     let _write = client.take_output();
//!     if client.has_ended() {
//!         break;
//!     }
//!     // Wait for input, for client.patience() at most; end of file: client.disconnected().
//! #   let text = peer.next().unwrap();
//!     client.receive(text.as_bytes());
//! }
//! ```
//!
//! Never: a socket, a clock, a decision on what is tried again.

mod replies;
mod stage;
mod transaction;

use std::collections::VecDeque;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::extension::Extensions;
use crate::reply::Reply;
use replies::Replies;
use stage::Awaited;
pub use stage::Stage;
use transaction::{Open, Progress};
pub use transaction::{Recipient, Transaction, Unfit};

/// Replies awaited at once, so that neither side's buffers fill up while both write (RFC 2920 §3.1).
const WINDOW: usize = 100;
/// How this side behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSettings {
    /// The name in EHLO.
    pub fqdn: String,
    /// LMTP (RFC 2033): LHLO, and one reply a recipient at the end.
    pub lmtp: bool,
    /// Use BDAT wherever the peer offers it, not only where a message needs it.
    pub prefer_chunking: bool,
}

/// What [`Client::poll`] gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientEvent {
    /// Greeted and EHLO answered; [`Client::extensions`] are known. Next: `start_tls`, `login` or `begin`.
    Ready,
    /// STARTTLS answered 220: do the handshake, then call [`Client::secured`].
    TlsReady,
    /// STARTTLS or AUTH was refused; the connection stands.
    Refused {
        /// [`Stage::StartTls`] or [`Stage::Auth`].
        stage: Stage,
        /// The refusal.
        reply: Reply,
    },
    /// AUTH: the peer's challenge, decoded. Answer with [`Client::respond`].
    Challenge(Vec<u8>),
    /// AUTH answered 235.
    LoggedIn,
    /// The answer to RCPT of this recipient, yes or no.
    Recipient {
        /// Its place in [`Transaction::recipients`].
        index: usize,
        /// The answer.
        reply: Reply,
    },
    /// Send the body now: [`Client::body`] and [`Client::end_body`], or by yourself and [`Client::body_sent`].
    SendBody {
        /// Dots must be doubled ([`crate::body::DotStuffer`]); otherwise it is BDAT, and exactly [`Transaction::size`] octets go as they are.
        dots: bool,
    },
    /// The transaction ended before its body: this answers all its recipients that were not already refused.
    Failed {
        /// [`Stage::Mail`], [`Stage::Data`], or where the connection broke.
        stage: Stage,
        /// The peer's words; `None` when it said none (the connection broke, or it spoke nonsense).
        reply: Option<Reply>,
    },
    /// The answer to the whole message, yes or no: of this recipient (LMTP), or of all that were accepted (`None`).
    Done {
        /// Its place in [`Transaction::recipients`].
        index: Option<usize>,
        /// The answer.
        reply: Reply,
        /// Whether it is the last one of this transaction.
        last: bool,
    },
    /// The connection is of no more use: write what is left, then close it.
    Closed {
        /// What was awaited.
        stage: Stage,
        /// The peer's last words, such as 421, or a greeting that refuses.
        reply: Option<Reply>,
    },
}

/// One connection. See the module.
#[derive(Debug)]
pub struct Client {
    settings: ClientSettings,
    state: State,
    replies: Replies,
    output: Vec<u8>,
    extensions: Extensions,
    events: VecDeque<ClientEvent>,
    /// Commands not yet in the output.
    script: VecDeque<(Awaited, Vec<u8>)>,
    /// What the replies to come will answer, in order.
    awaited: VecDeque<Awaited>,
    /// Transactions not answered whole: replies are for the first, a body is of the last.
    transactions: VecDeque<Open>,
    /// The transaction before this one ended midway: RSET goes first.
    needs_reset: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Up to the answer to EHLO, and through STARTTLS and AUTH.
    Busy,
    Ready,
    Handshake,
    Ended,
}

impl Client {
    /// A connection just made; the peer speaks first.
    pub fn new(settings: ClientSettings) -> Client {
        Client {
            settings,
            state: State::Busy,
            replies: Replies::default(),
            output: Vec::new(),
            extensions: Extensions::default(),
            events: VecDeque::new(),
            script: VecDeque::new(),
            awaited: VecDeque::from([Awaited::Greeting]),
            transactions: VecDeque::new(),
            needs_reset: false,
        }
    }

    /// Takes in what the peer sent. Call [`Client::poll`] until `None` afterwards.
    pub fn receive(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !matches!(self.state, State::Ended | State::Handshake) {
            match self.replies.next(&mut rest) {
                Ok(Some(reply)) => self.take(reply),
                Ok(None) => break,
                Err(replies::Malformed) => self.end(self.stage(), None),
            }
            // RFC 3207 §6: what comes in clear behind the answer to STARTTLS is not the peer's.
            if self.state == State::Handshake && !rest.is_empty() {
                self.end(Stage::StartTls, None);
            }
        }
    }

    /// What happened; `None` when more input is needed.
    pub fn poll(&mut self) -> Option<ClientEvent> {
        self.events.pop_front()
    }

    /// The connection broke, the peer closed it, or time is up. Call [`Client::poll`] until `None` afterwards.
    pub fn disconnected(&mut self) {
        self.end(self.stage(), None);
    }

    /// Whether there is output to write.
    pub fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Moves the output out, to be written whole.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// Whether [`ClientEvent::Closed`] was, or is about to be, raised.
    pub fn has_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// What the peer offers; empty before `Ready`.
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// What is awaited.
    pub fn stage(&self) -> Stage {
        let is_sending = self
            .transactions
            .back()
            .is_some_and(|open| open.progress == Progress::Sending);
        match self.awaited.front() {
            Some(awaited) => awaited.stage(),
            None if is_sending => Stage::Body,
            None if self.state == State::Handshake => Stage::StartTls,
            None => Stage::Idle,
        }
    }

    /// How long to wait for it (RFC 5321 §4.5.3.2).
    pub fn patience(&self) -> Duration {
        Duration::from_secs(
            60 * match self.stage() {
                Stage::Data => 2,
                Stage::Body => 3,
                Stage::EndOfData => 10,
                Stage::Quit => 1,
                _ => 5,
            },
        )
    }

    /// STARTTLS. After `Ready`, if the peer offers it.
    pub fn start_tls(&mut self) {
        if self.state == State::Ready {
            self.state = State::Busy;
            self.command(Awaited::StartTls, b"STARTTLS");
        }
    }

    /// The handshake is done: says EHLO again. `Ready` follows.
    pub fn secured(&mut self) {
        if self.state == State::Handshake {
            self.state = State::Busy;
            // RFC 3207 §4.2: what the peer offered in clear is void.
            self.extensions = Extensions::default();
            self.hello();
        }
    }

    /// AUTH with this mechanism. After `Ready`.
    pub fn login(&mut self, mechanism: &str, initial: Option<&[u8]>) {
        if self.state == State::Ready {
            self.state = State::Busy;
            let (awaited, initial) = match initial {
                None => (Awaited::AuthAlone, String::new()),
                // RFC 4954 §4
                Some([]) => (Awaited::Auth, " =".to_owned()),
                Some(octets) => (Awaited::Auth, format!(" {}", STANDARD.encode(octets))),
            };
            self.command(awaited, format!("AUTH {mechanism}{initial}").as_bytes());
        }
    }

    /// Answers a [`ClientEvent::Challenge`]; `None` cancels.
    pub fn respond(&mut self, response: Option<&[u8]>) {
        if self.state == State::Busy {
            let line = response.map_or("*".to_owned(), |octets| STANDARD.encode(octets));
            self.command(Awaited::Auth, line.as_bytes());
        }
    }

    /// QUIT; [`ClientEvent::Closed`] follows once it is answered. Within a transaction the connection is given up
    /// at once.
    pub fn quit(&mut self) {
        let is_amid = self
            .transactions
            .back()
            .is_some_and(|open| open.progress != Progress::Sent);
        match self.state {
            State::Busy | State::Handshake => self.end(self.stage(), None),
            State::Ready if is_amid => self.end(self.stage(), None),
            State::Ready if !self.is_quitting() => self.command(Awaited::Quit, b"QUIT"),
            _ => {}
        }
    }

    fn is_quitting(&self) -> bool {
        self.awaited.contains(&Awaited::Quit)
            || self
                .script
                .iter()
                .any(|(awaited, _)| *awaited == Awaited::Quit)
    }

    fn take(&mut self, reply: Reply) {
        let Some(awaited) = self.awaited.pop_front() else {
            // Unasked: a peer that shuts down says 421.
            return self.end(self.stage(), Some(reply));
        };
        let farewell = (reply.code == 421).then(|| reply.clone());
        match awaited {
            Awaited::Greeting if reply.is_positive() => self.hello(),
            Awaited::Ehlo if reply.is_positive() => {
                self.extensions = Extensions::parse(&reply.text);
                self.ready();
            }
            // RFC 5321 §3.2: a server of before the extensions.
            Awaited::Ehlo if reply.is_permanent() && !self.settings.lmtp => {
                let line = format!("HELO {}", self.settings.fqdn);
                self.command(Awaited::Helo, line.as_bytes());
            }
            Awaited::Helo if reply.is_positive() => self.ready(),
            Awaited::Greeting | Awaited::Ehlo | Awaited::Helo => self.leave(awaited.stage(), reply),
            Awaited::StartTls if reply.code == 220 => {
                self.state = State::Handshake;
                self.events.push_back(ClientEvent::TlsReady);
            }
            Awaited::StartTls => self.refused(Stage::StartTls, reply),
            Awaited::Auth => self.auth_reply(reply),
            Awaited::AuthAlone => self.auth_greeting(reply),
            Awaited::Reset => {}
            Awaited::Quit => self.end(Stage::Quit, Some(reply)),
            Awaited::Mail
            | Awaited::Rcpt(_)
            | Awaited::Data
            | Awaited::Message(..)
            | Awaited::Nothing => {
                self.transaction_reply(awaited, reply);
            }
        }
        if farewell.is_some() {
            self.end(awaited.stage(), farewell);
        }
        self.pump();
    }

    fn hello(&mut self) {
        let verb = if self.settings.lmtp { "LHLO" } else { "EHLO" };
        let line = format!("{verb} {}", self.settings.fqdn);
        self.command(Awaited::Ehlo, line.as_bytes());
    }

    fn ready(&mut self) {
        self.state = State::Ready;
        self.events.push_back(ClientEvent::Ready);
    }

    fn refused(&mut self, stage: Stage, reply: Reply) {
        self.state = State::Ready;
        self.events.push_back(ClientEvent::Refused { stage, reply });
    }

    /// Exchange says `334 NTLM supported` where RFC 4954 §4 has an empty challenge.
    fn auth_greeting(&mut self, mut reply: Reply) {
        if reply.code == 334 && STANDARD.decode(reply.text.trim()).is_err() {
            reply.text = "".into();
        }
        self.auth_reply(reply);
    }

    fn auth_reply(&mut self, reply: Reply) {
        match reply.code {
            334 => match STANDARD.decode(reply.text.trim()) {
                Ok(challenge) => self.events.push_back(ClientEvent::Challenge(challenge)),
                // RFC 4954 §4
                Err(_) => self.respond(None),
            },
            200..300 => {
                self.state = State::Ready;
                self.events.push_back(ClientEvent::LoggedIn);
            }
            _ => self.refused(Stage::Auth, reply),
        }
    }

    /// Puts a command out, or in line where the peer must answer first.
    fn command(&mut self, awaited: Awaited, line: &[u8]) {
        if self.script.is_empty() && self.may_send() {
            self.send(awaited, line);
        } else {
            self.script.push_back((awaited, line.to_vec()));
        }
    }

    fn pump(&mut self) {
        while self.may_send() {
            let Some((awaited, line)) = self.script.pop_front() else {
                return;
            };
            self.send(awaited, &line);
        }
    }

    fn may_send(&self) -> bool {
        if self.extensions.pipelining {
            self.awaited.len() < WINDOW
        } else {
            self.awaited.is_empty()
        }
    }

    fn send(&mut self, awaited: Awaited, line: &[u8]) {
        self.output.extend_from_slice(line);
        self.output.extend_from_slice(b"\r\n");
        self.awaited.push_back(awaited);
    }

    /// Refused at the door: says QUIT and goes.
    fn leave(&mut self, stage: Stage, reply: Reply) {
        if reply.code != 421 {
            self.output.extend_from_slice(b"QUIT\r\n");
        }
        self.end(stage, Some(reply));
    }

    fn end(&mut self, stage: Stage, reply: Option<Reply>) {
        if self.state == State::Ended {
            return;
        }
        self.state = State::Ended;
        let mut stage_of_open = Some(stage);
        for open in self.transactions.drain(..) {
            self.events
                .push_back(open.failed(stage_of_open.take(), reply.clone()));
        }
        self.script.clear();
        self.awaited.clear();
        self.events.push_back(ClientEvent::Closed { stage, reply });
    }
}

#[cfg(test)]
mod tests;

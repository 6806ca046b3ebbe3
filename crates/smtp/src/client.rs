//! One connection as a client, SMTP or LMTP: transactions in, pipelined commands out, replies matched to what they answer.
//!
//! The order of a connection: `Ready` → (`start_tls` → `TlsReady` → handshake → `secured` → `Ready`) → (`login` …) →
//! `begin` → `Sender`, `Recipient`… → `SendBody` → `body`…, `end_body` → (`begin` the next at once, into the same write) → `Done`… → `quit`.
//!
//! Never: a socket, a clock, a decision on what is retried.

use std::time::Duration;

use crate::extension::Extensions;
use crate::params::{BodyKind, Notify, Ret};
use crate::reply::Reply;

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

/// One message to send. Texts carry no brackets.
#[derive(Debug, Clone, Copy)]
pub struct Transaction<'a> {
    /// The sender; empty for the null path.
    pub sender: &'a str,
    /// The recipients, at least one.
    pub recipients: &'a [Recipient<'a>],
    /// Octets of the body, exactly, before dots are doubled.
    pub size: u64,
    /// What is in it.
    pub body: BodyKind,
    /// Whether an address or a header needs SMTPUTF8.
    pub smtputf8: bool,
    /// `RET=`, sent where the peer offers DSN.
    pub ret: Option<Ret>,
    /// `ENVID=`, as xtext, sent where the peer offers DSN.
    pub envid: Option<&'a str>,
}

/// One recipient of a [`Transaction`].
#[derive(Debug, Clone, Copy)]
pub struct Recipient<'a> {
    /// The address.
    pub address: &'a str,
    /// `NOTIFY=`, sent where the peer offers DSN.
    pub notify: Notify,
    /// `ORCPT=`, as `type;xtext`, sent where the peer offers DSN.
    pub orcpt: Option<&'a str>,
}

/// Where a conversation stands: names the command a reply answers, or that was never answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Before the greeting.
    Greeting,
    /// EHLO, HELO or LHLO.
    Hello,
    /// STARTTLS.
    StartTls,
    /// AUTH.
    Auth,
    /// MAIL.
    Mail,
    /// RCPT of this recipient.
    Rcpt(usize),
    /// DATA, before the body.
    Data,
    /// While the body travels.
    Body,
    /// After the whole body: the peer may or may not have taken it.
    EndOfData,
    /// RSET.
    Reset,
    /// QUIT.
    Quit,
    /// Nothing is awaited.
    Idle,
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

/// Why a message cannot go to this peer at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// It needs SMTPUTF8, which the peer does not offer.
    Smtputf8,
    /// It is BINARYMIME, which the peer does not offer.
    Binary,
    /// It is larger than the peer takes.
    TooLarge(u64),
    /// There is no recipient, or an address that cannot be written on a command line.
    Address,
    /// The client is not ready for a transaction now.
    NotReady,
}

/// One connection. See the module.
#[derive(Debug)]
pub struct Client {
    settings: ClientSettings,
    output: Vec<u8>,
    extensions: Extensions,
}

impl Client {
    /// A connection just made; the peer speaks first.
    pub fn new(settings: ClientSettings) -> Client {
        Client {
            settings,
            output: Vec::new(),
            extensions: Extensions::default(),
        }
    }
    /// Takes in what the peer sent. Call [`Client::poll`] until `None` afterwards.
    pub fn receive(&mut self, bytes: &[u8]) {
        let _ = (bytes, &self.settings);
    }
    /// What happened; `None` when more input is needed.
    pub fn poll(&mut self) -> Option<ClientEvent> {
        None
    }
    /// The connection broke or the peer closed it. Call [`Client::poll`] until `None` afterwards.
    pub fn disconnected(&mut self) {}
    /// Whether there is output to write.
    pub fn has_output(&self) -> bool {
        !self.output.is_empty()
    }
    /// Moves the output out, to be written whole.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }
    /// What the peer offers; empty before `Ready`.
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }
    /// What is awaited.
    pub fn stage(&self) -> Stage {
        Stage::Idle
    }
    /// How long to wait for it (RFC 5321 §4.5.3.2).
    pub fn patience(&self) -> Duration {
        Duration::from_secs(300)
    }
    /// STARTTLS. After `Ready`, if the peer offers it.
    pub fn start_tls(&mut self) {}
    /// The handshake is done: says EHLO again. `Ready` follows.
    pub fn secured(&mut self) {}
    /// AUTH with this mechanism. After `Ready`.
    pub fn login(&mut self, mechanism: &str, initial: Option<&[u8]>) {
        let _ = (mechanism, initial);
    }
    /// Answers a [`ClientEvent::Challenge`]; `None` cancels.
    pub fn respond(&mut self, response: Option<&[u8]>) {
        let _ = response;
    }
    /// Whether [`Client::begin`] may be called: ready, and no transaction before its end of body.
    pub fn can_begin(&self) -> bool {
        false
    }
    /// Begins a transaction. Allowed again as soon as the body of the one before is sent: with PIPELINING
    /// both travel in one write, and a busy connection costs one round trip a message (RFC 2920 §3.1).
    pub fn begin(&mut self, transaction: &Transaction<'_>) -> Result<(), Unfit> {
        let _ = transaction;
        Err(Unfit::NotReady)
    }
    /// A piece of the body, copied into the output, dots doubled where needed.
    pub fn body(&mut self, piece: &[u8]) {
        let _ = piece;
    }
    /// The body given to [`Client::body`] is complete.
    pub fn end_body(&mut self) {}
    /// The host wrote the body itself, with its end, after all output taken before.
    pub fn body_sent(&mut self) {}
    /// QUIT. `Closed` follows once it is answered.
    pub fn quit(&mut self) {}
}

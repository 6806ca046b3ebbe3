//! One session as a server: bytes in, questions out, bytes out.
//!
//! Never: a socket, a clock, a policy.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::ask::{AuthAnswer, AuthStep, Data, Deposit, Event, Hello, Mail, Question, Queued, Rcpt};
use crate::reply::Reply;

/// What a session must know, shared by all sessions of a listener. 0 means no limit, everywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The name in the greeting and in EHLO.
    pub fqdn: String,
    /// Octets of one message; offered in SIZE.
    pub max_message_size: u64,
    /// Octets of all bodies of one session; beyond it the session ends.
    pub max_session_size: u64,
    /// Messages in one session; MAIL beyond it answers 421.
    pub max_messages: u32,
    /// Accepted recipients of one message; RCPT beyond it answers 452.
    pub max_recipients: u32,
    /// Bad commands in one session; beyond it the session ends.
    pub max_errors: u32,
    /// How long a client may be silent.
    pub idle_timeout: Duration,
    /// What to do with a bare CR or LF in a message.
    pub bare_newline: BareNewline,
    /// TLS as this listener has it.
    pub tls: TlsOffer,
    /// SASL mechanisms offered outside TLS, in upper case.
    pub mechanisms_clear: Vec<&'static str>,
    /// SASL mechanisms offered inside TLS, in upper case.
    pub mechanisms_tls: Vec<&'static str>,
}

/// What to do with a bare CR or LF in a message. In neither case does it end a line, or the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BareNewline {
    /// `550 5.6.0` when the message is complete.
    #[default]
    Refuse,
    /// Becomes CRLF.
    Convert,
}

/// TLS on a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsOffer {
    /// None to be had.
    #[default]
    None,
    /// STARTTLS is offered.
    Offered,
    /// STARTTLS is offered, and little else works before it.
    Required,
    /// The session runs inside TLS from its first byte.
    Active,
}

/// What a handshake found that the session must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Secured {
    /// The client showed a certificate that was verified: EXTERNAL is offered if the settings name it.
    pub client_certificate: bool,
}

/// One session. See the module for the loop around it.
#[derive(Debug)]
pub struct Session {
    settings: Arc<Settings>,
    output: Vec<u8>,
    input: Vec<u8>,
    deadline: Instant,
}

impl Settings {
    /// The defaults of a definition, for this name.
    pub fn new(fqdn: impl Into<String>) -> Settings {
        Settings {
            fqdn: fqdn.into(),
            max_message_size: 25 << 20,
            max_session_size: 250 << 20,
            max_messages: 1000,
            max_recipients: 1000,
            max_errors: 20,
            idle_timeout: Duration::from_secs(600),
            bare_newline: BareNewline::Refuse,
            tls: TlsOffer::None,
            mechanisms_clear: Vec::new(),
            mechanisms_tls: Vec::new(),
        }
    }
}

impl Session {
    /// A session that has said nothing yet. Call [`Session::greet`] or [`Session::refuse`] next.
    pub fn new(settings: Arc<Settings>, now: Instant) -> Session {
        let deadline = now + settings.idle_timeout;
        Session {
            settings,
            output: Vec::new(),
            input: Vec::new(),
            deadline,
        }
    }
    /// Puts out the greeting. Call once.
    pub fn greet(&mut self, now: Instant) {
        let _ = now;
    }
    /// Puts out `reply` now and ends the session: a connection refused at the door, or cut off.
    pub fn refuse(&mut self, reply: Reply) {
        reply.write_to(&mut self.output);
    }
    /// Whether the client spoke before it was greeted.
    pub fn spoke_early(&self) -> bool {
        false
    }
    /// Takes in what the client sent (copied). Call [`Session::poll`] until `None` afterwards.
    pub fn receive(&mut self, now: Instant, bytes: &[u8]) {
        self.buffer().extend_from_slice(bytes);
        self.received(now);
    }
    /// Where to read to without a copy: append to it (`read_buf`), with room reserved, then call
    /// [`Session::received`]. It is freed by [`Session::poll`] when all of it is used up.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.input
    }
    /// Says that [`Session::buffer`] was appended to. Call [`Session::poll`] until `None` afterwards.
    pub fn received(&mut self, now: Instant) {
        self.deadline = now + self.settings.idle_timeout;
    }
    /// What to do next; `None` when more input is needed. Call again after each event.
    pub fn poll(&mut self) -> Option<Event<'_>> {
        None
    }
    /// Whether there is output to write.
    pub fn has_output(&self) -> bool {
        !self.output.is_empty()
    }
    /// Moves the output out, to be written whole before the next read. Empty when there is none.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }
    /// When to call [`Session::expire`]; ask again after every `received` and `expire`. `None` once closed.
    pub fn deadline(&self) -> Option<Instant> {
        Some(self.deadline)
    }
    /// The deadline has come: `421 4.4.2` and the end, unless time was spent on our side only.
    pub fn expire(&mut self, now: Instant) {
        let _ = now;
    }
    /// The handshake after [`Event::StartTls`] is done: all starts anew, inside TLS.
    pub fn secured(&mut self, now: Instant, facts: Secured) {
        let _ = (now, facts);
    }
    /// Ends the session at the next command with `reply` (421); a message being received is finished first.
    pub fn closing(&mut self, reply: Reply) {
        let _ = reply;
    }
    /// Whether nothing is under way: no transaction, no login, no half command. Such a session can be cut with [`Session::refuse`].
    pub fn is_idle(&self) -> bool {
        true
    }
    /// Whether the session runs inside TLS.
    pub fn is_secure(&self) -> bool {
        false
    }
    /// Who logged in.
    pub fn identity(&self) -> Option<&str> {
        None
    }
}

macro_rules! stub {
    ($($question:ty => $answer:ty),*) => {$(
        impl Question for $question {
            type Answer = $answer;
            fn settle(&self, _: &mut Session, _: Result<$answer, Reply>) {}
        }
    )*};
}
stub!(Hello => (), AuthStep => AuthAnswer, Mail => (), Rcpt => (), Data => (), Deposit => Queued);

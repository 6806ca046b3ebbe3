//! Event and Ask: all that a session wants from its host.
//!
//! An [`Ask`] is a question held open. `accept` or `refuse` answers it; dropped unanswered it answers
//! `451 4.3.0` by itself, so that an error or a cancelled task in the host is never silence and never a yes.
//! Nothing behind an open question is looked at: the host need not know about pipelining.
//!
//! Never: policy. The host decides, the core words only what the protocol prescribes.

use std::fmt;
use std::ops::Deref;

use crate::address::{ForwardPath, ReversePath};
use crate::params::{BodyKind, Notify, Ret};
use crate::reply::Reply;
use crate::server::Session;

/// What [`Session::poll`] gives.
#[derive(Debug)]
pub enum Event<'a> {
    /// EHLO or HELO. Whatever transaction was open is forgotten once this is accepted.
    Hello(Ask<'a, Hello>),
    /// `220` is in the output and all buffered input is gone: write it out, do the handshake, then call
    /// [`Session::secured`]. Hello, login and transaction are forgotten (RFC 3207 §4.2).
    StartTls,
    /// One step of AUTH.
    Auth(Ask<'a, AuthStep>),
    /// The client gave up its AUTH with `*` or nonsense: drop the exchange.
    AuthAbandoned,
    /// MAIL.
    Mail(Ask<'a, Mail>),
    /// RCPT.
    Rcpt(Ask<'a, Rcpt>),
    /// DATA, or the first BDAT: is there room? Refuse with `452 4.3.1` before the body travels.
    Data(Ask<'a, Data>),
    /// A piece of the message, decoded: dots undone, only CRLF in it.
    Body(&'a [u8]),
    /// The message is complete: answer once it is on disk.
    Deposit(Ask<'a, Deposit>),
    /// Forget the transaction, and the body if one had begun. Also raised where a body turns out to be
    /// refused: the rest of it is swallowed here.
    Reset,
    /// Write out what is left, then close the connection. Raised once; nothing follows it.
    Closed,
}

/// A question, held open. See the module.
#[must_use = "dropped unanswered it answers 451"]
pub struct Ask<'a, T: Question> {
    session: &'a mut Session,
    question: Option<T>,
}

/// What can be asked, and what answers it. Implemented here only.
pub trait Question: Sized {
    /// What [`Ask::accept`] takes.
    type Answer;
    #[doc(hidden)]
    fn settle(&self, session: &mut Session, answer: Result<Self::Answer, Reply>);
}

/// EHLO or HELO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The name or literal the client gives itself, as written.
    pub name: Box<str>,
    /// EHLO rather than HELO.
    pub extended: bool,
}

/// One step of an AUTH exchange.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthStep {
    /// One of the mechanisms offered, spelt as in [`crate::Settings`].
    pub mechanism: &'static str,
    /// Whether an exchange begins with this step.
    pub first: bool,
    /// What the client sent, decoded. `None`: it began without an initial response.
    pub input: Option<Vec<u8>>,
}

/// The answer to a step; a failure is `refuse(Reply::new(535, "5.7.8", "Authentication unsuccessful"))`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthAnswer {
    /// Sent as `334` in base64; the client's answer is the next step.
    Challenge(Vec<u8>),
    /// `235 2.7.0`: the client is this identity from here on.
    Success {
        /// Kept for [`Session::identity`].
        identity: String,
    },
}

/// MAIL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// The sender.
    pub sender: ReversePath,
    /// The path had a source route before the mailbox, which was dropped (RFC 5321 appendix F.2).
    pub source_route: bool,
    /// `SIZE=`, already within the limits.
    pub size: Option<u64>,
    /// `BODY=`.
    pub body: BodyKind,
    /// `SMTPUTF8`.
    pub smtputf8: bool,
    /// `RET=`.
    pub ret: Option<Ret>,
    /// `ENVID=`, still as xtext.
    pub envid: Option<Box<str>>,
    /// `AUTH=`, decoded; `<>` is the empty text (RFC 4954 §5).
    pub auth: Option<Box<str>>,
}

/// RCPT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rcpt {
    /// The recipient.
    pub recipient: ForwardPath,
    /// The path had a source route before the mailbox; policy refuses these.
    pub source_route: bool,
    /// `NOTIFY=`.
    pub notify: Notify,
    /// `ORCPT=`, `type;address` with the address still as xtext.
    pub orcpt: Option<Box<str>>,
}

/// DATA or the first BDAT of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data {
    /// How many recipients were accepted; at least one.
    pub recipients: u32,
    /// The size MAIL declared.
    pub size: Option<u64>,
}

/// A complete message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deposit {
    /// Octets in all [`Event::Body`] pieces of it.
    pub size: u64,
    /// Whether any of them is beyond ASCII, whatever `BODY=` said.
    pub eight_bit: bool,
    /// Whether it came by BDAT with `BODY=BINARYMIME`, so that its lines mean nothing.
    pub binary: bool,
}

/// The answer to [`Deposit`]: it is on disk under this id, `250 2.6.0 <id> Queued mail for delivery`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queued {
    /// Printable ASCII without spaces.
    pub id: String,
}

impl<'a, T: Question> Ask<'a, T> {
    pub(crate) fn new(session: &'a mut Session, question: T) -> Ask<'a, T> {
        Ask {
            session,
            question: Some(question),
        }
    }
    /// Yes. Gives back the question by value, so that its addresses move into the envelope uncopied.
    pub fn accept(mut self, answer: T::Answer) -> T {
        self.settle(Ok(answer))
    }
    /// No, with these words. A reply of 421 ends the session too (RFC 5321 §3.8).
    pub fn refuse(mut self, reply: Reply) -> T {
        self.settle(Err(reply))
    }
    /// Replies to earlier commands not yet written out, for a host about to make the client wait.
    pub fn take_output(&mut self) -> Vec<u8> {
        self.session.take_output()
    }
    /// The login of this session.
    pub fn identity(&self) -> Option<&str> {
        self.session.identity()
    }
    fn settle(&mut self, answer: Result<T::Answer, Reply>) -> T {
        let question = self
            .question
            .take()
            .expect("taken only here, and accept and refuse consume the ask");
        question.settle(self.session, answer);
        question
    }
}

impl<T: Question> Deref for Ask<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.question
            .as_ref()
            .expect("taken only by accept and refuse, which consume the ask")
    }
}

impl<T: Question> Drop for Ask<'_, T> {
    fn drop(&mut self) {
        if let Some(question) = self.question.take() {
            question.settle(
                self.session,
                Err(Reply::new(
                    451,
                    "4.3.0",
                    "Requested action aborted, try again later",
                )),
            );
        }
    }
}

impl<T: Question + fmt::Debug> fmt::Debug for Ask<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ask").field(&self.question).finish()
    }
}

/// Shows that there was input, never what it was: it may be a password.
impl fmt::Debug for AuthStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let input = self.input.as_ref().map(|_| "***");
        f.debug_struct("AuthStep")
            .field("mechanism", &self.mechanism)
            .field("first", &self.first)
            .field("input", &input)
            .finish()
    }
}

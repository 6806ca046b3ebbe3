//! MAIL, RCPT, RSET: one envelope after the other.
//!
//! ```text
//! Idle ──MAIL──→ Open ──DATA, BDAT──→ Receiving ──end──→ Deposit ──→ Idle
//!   ↑              │ ↑                    │
//!   └─RSET, EHLO───┘ └─a chunk, not last──┘
//! ```
//!
//! Never: an envelope kept; the core counts, the host keeps.

use super::receiving::Message;
use super::{Raised, Session, Stage, Step};
use crate::address::AddressError;
use crate::ask::{Mail, Question, Rcpt};
use crate::command::{self, PathError};
use crate::params::{BodyKind, ParamError};
use crate::reply::Reply;

/// Where a session stands between two commands.
#[derive(Debug)]
pub(super) enum Phase {
    Idle,
    /// MAIL was refused: what was pipelined behind it is no fault of its own.
    MailRefused,
    Open(Transaction),
}

#[derive(Debug)]
pub(super) struct Transaction {
    /// Accepted ones.
    pub(super) recipients: u32,
    pub(super) any_refused: bool,
    pub(super) size: Option<u64>,
    pub(super) body: BodyKind,
    smtputf8: bool,
    /// What earlier BDAT chunks came to.
    pub(super) message: Option<Message>,
}

pub(super) const HELLO_FIRST: &str = "503 5.5.2 Send hello first";
pub(super) const NEED_MAIL: &str = "503 5.5.2 Need mail command";
pub(super) const MESSAGE_TOO_LARGE: (u16, &str, &str) = (
    552,
    "5.3.4",
    "Message size exceeds fixed maximum message size",
);
pub(super) const SESSION_TOO_LARGE: &str =
    "552 5.3.4 Session size exceeds fixed maximum session size";

impl Session {
    pub(super) fn mail(&mut self, arguments: &str) -> Step {
        if self.hello.is_none() {
            return self.bad(HELLO_FIRST);
        }
        if matches!(self.stage, Stage::Command(Phase::Open(_))) {
            return self.bad("503 5.5.2 Sender already specified");
        }
        if over(
            u64::from(self.messages) + 1,
            u64::from(self.settings.max_messages),
        ) {
            return self.last_words("421 4.7.0 Too many messages in one session");
        }
        self.stage = Stage::Command(Phase::MailRefused);
        match command::mail(arguments) {
            Err(error) => self.bad(path_error(
                error,
                [
                    "501 5.1.7 Invalid address",
                    "553 5.1.7 The address needs a domain",
                ],
            )),
            Ok(mail) => self.mail_size(mail),
        }
    }

    /// RFC 1870 §6.1
    fn mail_size(&mut self, mail: Mail) -> Step {
        let size = mail.size.unwrap_or(0);
        if over(size, self.settings.max_message_size) {
            Reply::from(MESSAGE_TOO_LARGE).write_to(&mut self.output);
            return Step::Again;
        }
        if over(
            self.octets.saturating_add(size),
            self.settings.max_session_size,
        ) {
            return self.last_words(SESSION_TOO_LARGE);
        }
        Step::Raise(Raised::Mail(mail))
    }

    pub(super) fn rcpt(&mut self, arguments: &str) -> Step {
        let most = u64::from(self.settings.max_recipients);
        let transaction = match self.transaction() {
            Ok(transaction) => transaction,
            Err(refusal) => return refusal,
        };
        if transaction.message.is_some() {
            return self.bad("503 5.5.1 RCPT cannot follow BDAT");
        }
        // RFC 5321 §4.5.3.1.10: the client sends the rest as another message.
        if over(u64::from(transaction.recipients) + 1, most) {
            return self.fine("452 4.5.3 Too many recipients");
        }
        match command::rcpt(arguments, transaction.smtputf8) {
            Ok(rcpt) => Step::Raise(Raised::Rcpt(rcpt)),
            Err(error) => {
                transaction.any_refused = true;
                self.bad(path_error(
                    error,
                    [
                        "501 5.1.3 Invalid address",
                        "553 5.1.3 The address needs a domain",
                    ],
                ))
            }
        }
    }

    pub(super) fn rset(&mut self) -> Step {
        let was_open = matches!(self.stage, Stage::Command(Phase::Open(_)));
        self.stage = Stage::Command(Phase::Idle);
        self.say("250 2.0.0 Resetting");
        if was_open {
            Step::Raise(Raised::Reset)
        } else {
            Step::Again
        }
    }

    pub(super) fn transaction(&mut self) -> Result<&mut Transaction, Step> {
        let has_hello = self.hello.is_some();
        // Asked twice, because the borrow of a refusal and that of a transaction exclude each other.
        match self.stage {
            Stage::Command(Phase::Open(_)) => {}
            Stage::Command(Phase::MailRefused) => return Err(self.fine(NEED_MAIL)),
            _ => return Err(self.bad(if has_hello { NEED_MAIL } else { HELLO_FIRST })),
        }
        match &mut self.stage {
            Stage::Command(Phase::Open(transaction)) => Ok(transaction),
            _ => Err(Step::Again),
        }
    }
}

impl Question for Mail {
    type Answer = ();

    fn settle(&self, session: &mut Session, answer: Result<(), Reply>) {
        if let Err(reply) = answer {
            return session.answer(&reply);
        }
        session.say("250 2.1.0 sender OK");
        session.stage = Stage::Command(Phase::Open(Transaction {
            recipients: 0,
            any_refused: false,
            size: self.size,
            body: self.body,
            smtputf8: self.smtputf8,
            message: None,
        }));
    }
}

impl Question for Rcpt {
    type Answer = ();

    fn settle(&self, session: &mut Session, answer: Result<(), Reply>) {
        if let Stage::Command(Phase::Open(transaction)) = &mut session.stage {
            match &answer {
                Ok(()) => transaction.recipients += 1,
                Err(_) => transaction.any_refused = true,
            }
        }
        match answer {
            Ok(()) => session.say("250 2.1.5 recipient OK"),
            Err(reply) => session.answer(&reply),
        }
    }
}

/// 0 is no limit.
pub(super) fn over(value: u64, limit: u64) -> bool {
    limit > 0 && value > limit
}

/// `invalid` and `without_domain` have the codes of the side they speak of.
fn path_error(error: PathError, [invalid, without_domain]: [&'static str; 2]) -> &'static str {
    match error {
        PathError::Syntax => "501 5.5.4 Invalid arguments",
        PathError::Address(AddressError::Syntax | AddressError::TooLong) => invalid,
        PathError::Address(AddressError::NoDomain) => without_domain,
        // RFC 6531 §3.5
        PathError::Address(AddressError::NeedsUtf8) => "553 5.6.7 The address needs SMTPUTF8",
        PathError::Params(ParamError::Syntax) => "501 5.5.4 Invalid parameters",
        // RFC 5321 §4.1.1.11
        PathError::Params(ParamError::Unknown) => "555 5.5.4 Unsupported parameter",
    }
}

//! client ↔ worker, over the pair that posternd introduced.
//!
//! The client says `Hello` first and is answered `Hello`; after that each question has one answer, in order. The worker
//! trusts whom posternd let in. Times are seconds since 1970. A question that a worker does not know, because it is of
//! an older release, is answered `Unknown`.

mod explained;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Error, Link, Received, VERSION, bounded};

pub use explained::{Case, Explanation, Stage, StageKind, StepRow};

/// What a client asks of a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Question {
    /// The first packet.
    Hello {
        /// See [`VERSION`].
        version: u32,
    },
    /// All counters.
    Counters,
    /// Sessions in progress, in the order of their ids, those after `after`.
    Sessions {
        /// The last id already known.
        after: Option<u64>,
    },
    /// Messages in the order of their ids, those after `after`, at most `limit`.
    Queue {
        /// The last id already known.
        after: Option<String>,
        /// How many at most.
        limit: u32,
    },
    /// Accounts and addresses with wrong passwords of late.
    Lockouts,
    /// Forget them.
    Release {
        /// Whose.
        which: Guessed,
    },
    /// One message in full.
    Show {
        /// Its id.
        id: String,
    },
    /// Try now.
    Retry {
        /// What.
        which: Which,
    },
    /// Delete.
    Delete {
        /// What.
        which: Which,
        /// Whether senders get a non-delivery report.
        notify: bool,
    },
    /// Keep, and do not try.
    Freeze {
        /// What.
        which: Which,
    },
    /// Try again what was frozen.
    Thaw {
        /// What.
        which: Which,
    },
    /// What would happen in a session that might be.
    Explain(Box<Case>),
    /// What the policy in force comes to.
    Facts,
}

/// Whose wrong passwords are meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Guessed {
    /// All of them.
    All,
    /// The account of this name.
    Account(String),
    /// The client of this address; of IPv6, all of its /64.
    Address(IpAddr),
}

/// Which messages are meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Which {
    /// All.
    All,
    /// The one with this id.
    Message(String),
    /// Those with a recipient still to be reached at this domain or host.
    Destination(String),
}

/// What a worker answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The first packet.
    Hello {
        /// See [`VERSION`].
        version: u32,
    },
    /// All counters, by name.
    Counters(BTreeMap<String, u64>),
    /// One page of sessions.
    Sessions {
        /// One row a session.
        rows: Vec<SessionRow>,
        /// Whether there are more: ask again, after the last of these.
        more: bool,
    },
    /// One page of the queue.
    Queue {
        /// One row a message.
        rows: Vec<QueueRow>,
        /// Whether there are more: ask again, after the last of these.
        more: bool,
    },
    /// Wrong passwords of late, those locked out first.
    Lockouts {
        /// One row an account or address.
        rows: Vec<LockoutRow>,
        /// Whether there are more than fit.
        more: bool,
    },
    /// One message.
    Message(Box<MessageDetail>),
    /// Done.
    Changed {
        /// To how many messages.
        count: u64,
    },
    /// What would happen.
    Explained(Box<Explanation>),
    /// What the policy comes to is in the file that came along, as JSON.
    Facts,
    /// No such message, or it cannot be done.
    Unknown {
        /// Why, in words.
        reason: String,
    },
}

impl Answer {
    /// A page with as many rows as a packet holds; `more`: whether the caller left some out already.
    pub fn queue(rows: Vec<QueueRow>, more: bool) -> Answer {
        let (rows, cut) = bounded(rows);
        Answer::Queue {
            rows,
            more: more || cut,
        }
    }

    /// A page with as many rows as a packet holds; `more`: whether the caller left some out already.
    pub fn sessions(rows: Vec<SessionRow>, more: bool) -> Answer {
        let (rows, cut) = bounded(rows);
        Answer::Sessions {
            rows,
            more: more || cut,
        }
    }

    /// As many rows as a packet holds.
    pub fn lockouts(rows: Vec<LockoutRow>) -> Answer {
        let (rows, more) = bounded(rows);
        Answer::Lockouts { rows, more }
    }

    /// A message with as many of its recipients as a packet holds.
    pub fn message(mut detail: MessageDetail) -> Answer {
        let all = detail.recipients.len();
        (detail.recipients, _) = bounded(detail.recipients);
        detail.left_out = u32::try_from(all - detail.recipients.len()).unwrap_or(u32::MAX);
        Answer::Message(Box::new(detail))
    }
}

/// An account or an address, and the wrong passwords that came for it or from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockoutRow {
    /// The account, in lower case; none: an address.
    pub account: Option<String>,
    /// The address, or the /64 of IPv6; none: an account.
    pub address: Option<String>,
    /// Different wrong passwords that count still; none while it is locked out.
    pub wrong: u32,
    /// Until when it is locked out, if it is.
    pub until: Option<u64>,
}

/// A session in progress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRow {
    /// Its number, unique for the life of the worker.
    pub id: u64,
    /// The client.
    pub client: SocketAddr,
    /// The address it came to.
    pub local: SocketAddr,
    /// When it began.
    pub since: u64,
    /// The name said in EHLO or HELO.
    pub helo: Option<String>,
    /// Protocol and cipher, inside TLS.
    pub tls: Option<String>,
    /// The account, once logged in.
    pub login: Option<String>,
    /// Messages accepted so far.
    pub messages: u32,
    /// What it is doing, in a word or two.
    pub state: String,
}

/// What a message in the queue is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QueueState {
    /// Being delivered.
    Active,
    /// For its turn.
    Ready,
    /// For the next time.
    Retry,
    /// For an operator.
    Frozen,
}

impl QueueState {
    /// The state as one lower-case word.
    pub fn as_str(self) -> &'static str {
        match self {
            QueueState::Active => "active",
            QueueState::Ready => "ready",
            QueueState::Retry => "retry",
            QueueState::Frozen => "frozen",
        }
    }
}

/// A message in the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueRow {
    /// Its id.
    pub id: String,
    /// When it was accepted.
    pub received: u64,
    /// Bytes.
    pub size: u64,
    /// The envelope's sender; "" for the null sender.
    pub sender: String,
    /// The first three of the envelope's recipients.
    pub recipients: Vec<String>,
    /// How many there are.
    pub recipient_count: u32,
    /// What it is waiting for.
    pub state: QueueState,
    /// When it is tried next.
    pub next_try: Option<u64>,
    /// How often it was tried.
    pub attempts: u32,
    /// The last reply of the other side.
    pub last_reply: Option<String>,
    /// Where it is to go.
    pub destination: String,
}

/// A message in full.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageDetail {
    /// Its row.
    pub row: QueueRow,
    /// Its recipients, as many as fit.
    pub recipients: Vec<RecipientRow>,
    /// How many recipients did not fit.
    pub left_out: u32,
    /// When it is given up.
    pub expires: u64,
    /// The envelope id the client gave (RFC 3461 §4.4).
    pub envid: Option<String>,
}

/// One recipient of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipientRow {
    /// The address.
    pub address: String,
    /// `pending` or `done`.
    pub state: String,
    /// The host last tried.
    pub host: Option<String>,
    /// What it said.
    pub last_reply: Option<String>,
    /// When.
    pub last_try: Option<u64>,
}

/// The client's end of an introduced pair, past the `Hello`.
#[derive(Debug)]
pub struct Inquiry {
    link: Link,
}

/// How long a worker that works may take to say hello.
const HELLO: Duration = Duration::from_secs(10);

impl Inquiry {
    /// Agrees on the version.
    pub fn open(link: Link) -> Result<Inquiry, Error> {
        Inquiry::open_within(link, HELLO)
    }

    fn open_within(link: Link, patience: Duration) -> Result<Inquiry, Error> {
        let inquiry = Inquiry { link };
        inquiry.link.set_timeout(Some(patience))?;
        match inquiry.ask(&Question::Hello { version: VERSION })? {
            Answer::Hello { version: VERSION } => {
                inquiry.link.set_timeout(None)?;
                Ok(inquiry)
            }
            Answer::Hello { version } => Err(Error::Version { theirs: version }),
            Answer::Unknown { reason } => Err(Error::Refused { reason }),
            _ => Err(Error::Unexpected("something else than Hello".to_owned())),
        }
    }

    /// How long [`Inquiry::ask`] waits before it fails with [`Error::WouldBlock`]; `None`, the default: for ever.
    pub fn set_timeout(&self, timeout: Option<Duration>) -> Result<(), Error> {
        self.link.set_timeout(timeout)
    }

    /// Asks, and waits for the answer.
    pub fn ask(&self, question: &Question) -> Result<Answer, Error> {
        self.ask_for_files(question).map(|(answer, _)| answer)
    }

    /// The same where the answer comes with files.
    pub fn ask_for_files(&self, question: &Question) -> Result<(Answer, Vec<OwnedFd>), Error> {
        self.link.send(question, &[])?;
        match self.link.receive()? {
            Received::Packet(answer, files) => Ok((answer, files)),
            Received::Closed => Err(Error::Closed),
        }
    }
}

impl AsFd for Inquiry {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_never_says_hello_is_given_up() {
        let (client, _silent) = Link::pair().unwrap();
        let opened = Inquiry::open_within(client, Duration::from_millis(20));
        assert!(matches!(opened, Err(Error::WouldBlock)), "{opened:?}");
    }
}

//! What travels with a message: who sent it, who is to have it, and how far each recipient has come.
//!
//! Never: the message's text, and no judgement about any of it. Addresses are kept as they were given.

use std::net::IpAddr;

/// Fixed at acceptance and never changed after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The reverse path without its brackets; empty is the null sender (RFC 5321 §4.5.5).
    pub sender: String,
    /// Whom the message is for, in the order of their RCPT commands.
    pub recipients: Vec<Recipient>,
    /// When it was accepted, in milliseconds since 1970.
    pub received: u64,
    /// What the BODY parameter said (RFC 6152, RFC 3030).
    pub body: BodyKind,
    /// Whether the transaction asked for SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// The RET parameter (RFC 3461 §4.3).
    pub ret: Option<Ret>,
    /// The ENVID parameter, still in xtext (RFC 3461 §4.4).
    pub envid: Option<String>,
    /// The account that logged in, where one did.
    pub login: Option<String>,
    /// The client's address.
    pub client: Option<IpAddr>,
    /// What the client called itself in EHLO or HELO.
    pub helo: Option<String>,
}

impl Envelope {
    /// An envelope with nothing optional in it.
    pub fn new(sender: impl Into<String>, recipients: Vec<Recipient>, received: u64) -> Envelope {
        Envelope {
            sender: sender.into(),
            recipients,
            received,
            body: BodyKind::SevenBit,
            smtputf8: false,
            ret: None,
            envid: None,
            login: None,
            client: None,
            helo: None,
        }
    }
}

/// One RCPT command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The forward path without its brackets.
    pub address: String,
    /// The NOTIFY parameter (RFC 3461 §4.1).
    pub notify: Notify,
    /// The ORCPT parameter, still in xtext (RFC 3461 §4.2).
    pub orcpt: Option<String>,
}

impl Recipient {
    /// A recipient without DSN parameters.
    pub fn new(address: impl Into<String>) -> Recipient {
        Recipient {
            address: address.into(),
            notify: Notify::UNSAID,
            orcpt: None,
        }
    }
}

/// The BODY parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyKind {
    /// `7BIT`, or nothing said.
    #[default]
    SevenBit,
    /// `8BITMIME` (RFC 6152).
    EightBit,
    /// `BINARYMIME` (RFC 3030).
    Binary,
}

/// The RET parameter (RFC 3461 §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ret {
    /// The whole message goes into a failure report.
    Full,
    /// Only its header section does.
    Headers,
}

/// The NOTIFY parameter: a set of conditions (RFC 3461 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Notify(u8);

impl Notify {
    /// No NOTIFY was given: failure, and delay as local policy has it.
    pub const UNSAID: Notify = Notify(0);
    /// `NEVER`.
    pub const NEVER: Notify = Notify(1);
    /// `SUCCESS`.
    pub const SUCCESS: Notify = Notify(2);
    /// `FAILURE`.
    pub const FAILURE: Notify = Notify(4);
    /// `DELAY`.
    pub const DELAY: Notify = Notify(8);

    /// Whether every condition of `other` is in this set.
    pub fn contains(self, other: Notify) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether no NOTIFY was given.
    pub fn is_unsaid(self) -> bool {
        self.0 == 0
    }

    /// The set as bits: NEVER 1, SUCCESS 2, FAILURE 4, DELAY 8.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// The set these bits stand for; unknown bits are dropped.
    pub fn from_bits(bits: u8) -> Notify {
        Notify(bits & 15)
    }
}

impl std::ops::BitOr for Notify {
    type Output = Notify;

    fn bitor(self, other: Notify) -> Notify {
        Notify(self.0 | other.0)
    }
}

/// How far the message has come; written anew with each outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// How often delivery was tried.
    pub attempts: u32,
    /// When it is due next, in milliseconds since 1970; 0 is at once.
    pub next_try: u64,
    /// Held by the operator: not tried until thawed.
    pub frozen: bool,
    /// Whether the sender was told that the message is late.
    pub delay_notified: bool,
    /// One for each recipient of the envelope, in the same order.
    pub recipients: Vec<RecipientStatus>,
}

impl Status {
    /// The status of a message just accepted: due at once, everybody pending.
    pub fn new(recipients: usize) -> Status {
        Status {
            attempts: 0,
            next_try: 0,
            frozen: false,
            delay_notified: false,
            recipients: vec![RecipientStatus::Pending { last: None }; recipients],
        }
    }
}

/// How far one recipient has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecipientStatus {
    /// Still to be delivered.
    Pending {
        /// What the last attempt brought, where there was one.
        last: Option<LastTry>,
    },
    /// Delivered, or failed for good and reported: nothing is left to do.
    Done,
}

/// What the last attempt for one recipient brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastTry {
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// The host that was asked; empty where none was reached.
    pub host: String,
    /// Its reply, or our own words for what went wrong.
    pub reply: String,
}

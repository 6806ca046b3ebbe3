//! SMTP without I/O: the server, the client and LMTP as values that eat bytes and give bytes (RFC 5321 and kin).
//!
//! | Module | Knows |
//! |---|---|
//! | [`address`] | mailboxes, domains, paths |
//! | [`reply`] | reply codes and their wire form |
//! | [`extension`] | EHLO keywords, offered and read |
//! | [`params`] | what follows an address in MAIL and RCPT |
//! | [`command`] | one command line, parsed |
//! | [`mod@line`] | bytes to lines: CRLF only, length bounded |
//! | [`body`] | DATA and BDAT to body pieces, and back again |
//! | [`ask`] | all that a session wants from its host |
//! | [`server`] | one session, as a server |
//! | [`client`] | one connection, as a client |
//! | `dialogue` | conversations as text, for tests |
//!
//! Never: a socket, a file, a clock, a thread, a policy.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod address;
pub mod reply;

pub mod command;
pub mod extension;
pub mod params;

pub mod body;
pub mod line;

pub mod ask;
pub mod server;

pub mod client;

#[doc(hidden)]
pub mod dialogue;

pub use address::{AddressError, Domain, ForwardPath, Mailbox, ReversePath};
pub use ask::{
    Ask, AuthAnswer, AuthStep, Data, Deposit, Event, Hello, Mail, Question, Queued, Rcpt,
};
pub use client::{Client, ClientEvent, ClientSettings, Recipient, Stage, Transaction, Unfit};
pub use extension::Extensions;
pub use params::{BodyKind, Notify, Ret};
pub use reply::{EnhancedCode, Reply};
pub use server::{BareNewline, Secured, Session, Settings, Stranger, TlsOffer};

//! A message on its way out: where each recipient goes, and the conversation that gets it there.
//!
//! | Module | Knows |
//! |---|---|
//! | [`outcome`] | what became of one recipient |
//! | [`security`] | what must hold on a connection (pure) |
//! | [`route`] | recipient → way (pure) |
//! | [`policies`] | what domains promise of their TLS (MTA-STS), fetched and kept |
//! | [`hosts`] | way → a connection: hosts in order until one serves |
//! | [`transport`] | bytes to and from a next hop, with deadlines |
//! | [`smtp`], [`lmtp`] | a connection greeted, secured |
//! | `login` | logged in |
//! | [`carry`] | messages over a connection, an outcome for each recipient |
//! | [`maildir`] | mailboxes on this host |
//! | [`notice`] | reports to the sender (RFC 3464) |
//!
//! Never: a queue, a schedule, a definition file. Whoever calls decides when, and what follows.

pub mod outcome;
pub mod route;
pub mod security;

pub mod policies;

pub mod hosts;
pub mod transport;

pub mod carry;
pub mod lmtp;
mod login;
pub mod smtp;

pub mod maildir;
pub mod notice;

pub use carry::{Delivery, Feed, Parcel, Rest};
pub use outcome::{Answer, Handed, Outcome};
pub use policies::Policies;
pub use smtp::{Connection, Rested, Terms};

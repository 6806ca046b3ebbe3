//! A message on its way out: where each recipient goes, and the conversation that gets it there.
//!
//! | Module | Knows |
//! |---|---|
//! | [`outcome`] | what became of one recipient |
//! | [`security`] | what must hold on a connection (pure) |
//! | [`route`] | recipient → way (pure) |
//! | [`maildir`] | mailboxes on this host |
//! | [`notice`] | reports to the sender (RFC 3464) |
//!
//! Never: a queue, a schedule, a definition file. Whoever calls decides when, and what follows.

pub mod maildir;
pub mod notice;
pub mod outcome;
pub mod route;
pub mod security;

pub use outcome::{Answer, Handed, Outcome};

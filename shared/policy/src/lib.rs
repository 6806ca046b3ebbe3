//! The policy of one definition: every decision, and every word a client hears of it.
//!
//! | File | Knows |
//! |---|---|
//! | `build.rs` | definition and files → a [`Policy`] |
//! | `people.rs` | who is there in the local domains |
//! | `offer.rs` | what a session on each kind of identity offers |
//! | `decide.rs` | may this client connect, send as this sender, reach this recipient |
//!
//! The worker decides with it, and `postern explain` shows what it would decide: the same code on the same files, so that
//! what is shown is what happens.
//!
//! Never: a socket, a clock, a look-up, a file opened here. Files are read, and names looked up, by whoever calls.

mod build;
pub mod decide;
mod offer;
mod people;

pub use build::{Policy, Source};
pub use offer::{Means, session_settings};
pub use people::{People, Person};

//! What posternd, its workers and its clients say to each other.
//!
//! ```text
//! client  ── Request → ── posternd ── Order → ── worker        over a Unix SEQPACKET link each
//!         ← Reply ──              ← Report ──
//! client  ── Question → ─────────────────────── worker        over a pair that posternd introduced
//!         ← Answer ──
//! worker  ── auth::Question → ────────────────── authd        over a pair that posternd made, one a source of accounts
//!         ← auth::Answer ──
//! ```
//!
//! One packet is one JSON value and the open files that belong to it; the first packet each way says [`VERSION`].
//!
//! Never: what any of it means; a packet longer than [`LONGEST`]; a panic on what came in.

pub mod auth;
mod bound;
pub mod client;
mod packet;
pub mod query;
mod version;
pub mod worker;

pub use bound::{bounded, bounded_findings};
pub use packet::{Error, LONGEST, Link, MOST_FILES, Peer, Received};
pub use version::VERSION;

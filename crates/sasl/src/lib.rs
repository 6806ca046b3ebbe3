//! SASL exchanges (RFC 4422), both roles, without I/O: blobs in, blobs out, base64 already taken off.
//!
//! ```text
//! server   Exchange::start(mechanism, initial) ─▶ Step ─▶ step(response) ─▶ Step …
//!          Step: Challenge(blob) · Want(what the host must check) · Refused(why)
//! client   Login::new(mechanism, credentials) ─▶ initial() ─▶ answer(challenge) …
//! ```
//!
//! A new mechanism is a file of its own beside `plain.rs`, a variant in `mechanism.rs`, and two arms in `exchange.rs`;
//! a new kind of secret is a variant of [`Want`].
//!
//! Never: a socket, a clock, an account store, base64, an SMTP reply.

mod mechanism;

mod exchange;
mod secret;

mod login;
mod plain;

pub use exchange::{Credentials, Exchange, LIMIT, Login, Refusal, Step, Want};
pub use mechanism::{Mechanism, UnknownMechanism};
pub use secret::Secret;

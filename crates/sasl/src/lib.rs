//! SASL exchanges (RFC 4422), both roles, without I/O: blobs in, blobs out, SMTP's base64 already taken off.
//!
//! ```text
//! server   Exchange::start(mechanism, initial, surroundings) ─▶ Step ─▶ step(response) ─▶ Step …
//!          Step: Challenge(blob) · Want(what the host must find out) · Done(who it is) · Refused(why)
//!          after a Want that goes on: give_keys · give_proof · give_ticket · give_wrapped · give_unwrapped ─▶ Step
//! client   Login::facing(mechanism, credentials, peer) ─▶ initial() ─▶ answer(challenge) … ─▶ finish()
//! ```
//!
//! | File | Mechanisms | Server | Client |
//! |---|---|---|---|
//! | `plain.rs` | PLAIN | yes | yes |
//! | `login.rs` | LOGIN | yes | yes |
//! | `bearer.rs` | XOAUTH2, OAUTHBEARER | no | yes |
//! | `external.rs` | EXTERNAL | yes | yes |
//! | `scram.rs` | SCRAM-SHA-256, SCRAM-SHA-256-PLUS | yes | yes |
//! | `ntlm.rs` | NTLM | NTLMv2 | NTLMv2 |
//! | `spnego.rs` | GSS-SPNEGO: NTLM here, Kerberos by the host's library | yes | NTLM |
//! | `gssapi.rs` | GSSAPI: the same, and then its security-layer step | yes | no |
//!
//! A new mechanism is a file of its own beside `plain.rs`, a variant in `mechanism.rs`, and an arm in `exchange.rs` or
//! `client.rs`; a new kind of question to the host is a variant of [`Want`].
//!
//! Never: a socket, a clock, a random number, an account store, an SMTP reply.

mod mechanism;

mod client;
mod exchange;
mod refusal;
mod surroundings;

mod bearer;
mod external;
mod gssapi;
mod login;
mod ntlm;
mod plain;
mod scram;
mod spnego;

mod constant;
mod secret;

#[cfg(test)]
mod stage;

pub use client::{Credentials, Login, Peer};
pub use exchange::{Exchange, Identity, Inner, LIMIT, Step, Ticket, Want};
pub use mechanism::{Mechanism, UnknownMechanism};
pub use ntlm::{
    NotAnNtHash, NotAnNtHashName, NotNtHashes, NtHash, NtHashFault, NtHashes, NtProof,
    SessionBaseKey, filetime,
};
pub use refusal::Refusal;
pub use scram::{NotScramKeys, ScramKeys};
pub use secret::Secret;
pub use surroundings::{Bindings, NtlmNames, NtlmRules, Rule, Surroundings};

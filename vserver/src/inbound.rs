//! A client's connection, from the greeting to the spool.
//!
//! Never: delivery. What is on disk is the outbound side's.

pub(crate) mod connection;
pub(crate) mod deposit;
pub(crate) mod guesses;
mod integrated;
pub(crate) mod login;
pub(crate) mod proxy_header;
pub(crate) mod trace;
mod transaction;
pub(crate) mod wire;

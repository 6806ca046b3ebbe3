//! Real mail servers to talk to, each in a folder and on a loopback port of its own.
//!
//! | Peer | Started as | Needs |
//! |---|---|---|
//! | [`Postfix`] | `postfix -c DIR/etc start` | root |
//!
//! Each ends with its value. Never: a file outside the peer's folder, a service of the system, a fixed port.

mod postfix;

pub use postfix::Postfix;

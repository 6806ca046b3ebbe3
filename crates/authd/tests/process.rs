//! postern-authd as a process, asked as a worker asks.

#![allow(clippy::unwrap_used)]

#[path = "process/by_hand.rs"]
mod by_hand;
#[path = "process/stage.rs"]
mod stage;

#[path = "process/ends.rs"]
mod ends;
#[path = "process/many.rs"]
mod many;
#[path = "process/ntlm.rs"]
mod ntlm;

#[cfg(feature = "kerberos")]
#[path = "process/realm.rs"]
mod realm;
#[cfg(feature = "kerberos")]
#[path = "process/tickets.rs"]
mod tickets;

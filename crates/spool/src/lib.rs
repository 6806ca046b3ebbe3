//! The durable queue: a message accepted here is on disk before its sender hears 250.
//!
//! ```text
//! deposit ─ write ─ commit ─▶ committer: one write, one sync for all that waits ─▶ done(Ok)
//!                                   │
//!                     claim ◀── index in memory ──▶ settle: gone, or kept with a new status
//! ```
//!
//! On disk, in `Settings::folder`:
//!
//! | name | what |
//! |---|---|
//! | `EEEEEE.epoch` | one for each process that opened it; locked while it lives; the highest is the id counter |
//! | `EEEEEE-SSSSSSSS.seg` | segments of the log, guarded by the lock of epoch E or of whoever adopted it |
//! | `body/ID` | bodies too large for the log |
//! | `damaged/` | what could not be read, each with a report; for a person to look at and remove |
//!
//! Three rules hold the house up: `done(Ok)` is called only after a sync that covered the message; a failed sync is
//! never tried again; a message settled as gone may come back after a crash only within `Settings::outcome_window`.
//!
//! Never: a socket, an async runtime, a policy. It blocks; it has its own threads; it knows nothing of SMTP but the
//! shape of an envelope.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod spool;

mod deposit;
mod message;
mod settings;

mod chores;
mod committer;
mod damaged;
mod epoch;
mod evacuate;
mod recover;

mod index;
mod room;
mod shared;
mod state;
mod table;

mod codec;
mod record;
mod scan;
mod segment;

mod disk;
mod envelope;
mod error;
mod id;

pub use deposit::Deposit;
pub use disk::{Disk, DiskFile, Loss, OpenMode, RealDisk, SimulatedDisk, Space};
pub use envelope::{BodyKind, Envelope, LastTry, Notify, Recipient, RecipientStatus, Ret, Status};
pub use error::Error;
pub use id::{BadQueueId, QueueId};
pub use message::{
    Body, BodyFile, Committed, Damage, Due, Message, Recovered, Settlement, Summary,
};
pub use settings::{Reserve, Settings};
pub use spool::Spool;

// What a worker's tasks pass from thread to thread.
const _: () = {
    const fn sent<T: Send>() {}
    const fn shared<T: Send + Sync>() {}
    shared::<Spool>();
    shared::<Error>();
    sent::<Deposit>();
    sent::<Message>();
};

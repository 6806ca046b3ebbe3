//! The message tracking log: what happened to each message, one JSON line an event.
//!
//! | File | Knows |
//! |---|---|
//! | `record.rs` | the events and how a line looks |
//! | `write.rs` | the file: buffered, written by a thread of its own, rotated by size |
//! | `read.rs` | the files read back, oldest first, with a filter |
//!
//! Never: an order, a login, a diagnosis; those have logs of their own.

mod read;
mod record;
mod write;

pub use read::{Filter, Reader, Record};
pub use record::{Event, Notice, write_line};
pub use write::{Journal, JournalSettings, TrackError};

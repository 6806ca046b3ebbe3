//! A running server seen from outside: what DNS says of it, and whether its rules hold.
//!
//! ```text
//! verify(target, expected) ─▶ checks, one by one ─▶ Finding: passed · failed · not tested
//!                               │ wire: what was said          └▶ Report
//!                               └ tap: the bytes on the wire   ─▶ readable? TLS records? ─▶ pcap
//! ```
//!
//! Never: a definition or a word from inside; whoever calls says what is to be expected.

pub mod dns;

mod expected;
mod finding;
mod report;

mod verify;

mod away;
mod checks;
mod inspection;

pub mod pcap;
pub mod readable;
pub mod records;
mod reply;
mod tap;
mod wire;

pub use checks::Check;
pub use expected::{Account, Channel, Expected, Pace, Target};
pub use finding::{Finding, Outcome};
pub use reply::Answer;
pub use report::Report;
pub use tap::{Chunk, Recording, Side};
pub use verify::verify;
pub use wire::{Fault, Said};

/// A password.
pub use postern_sasl::Secret;

//! What the tests of the house as a whole share: a stage to start servers on, real peers, clients, mail, sinks.
//!
//! The tests themselves are in `tests/*.rs`, one subject a file. What is here answers `Result<_, Failure>`, so that a test
//! reads as what it does; `?` ends it with the words of what went wrong.
//!
//! Never: a fixed pause, a fixed port, a file outside a temporary folder, a skipped test.

pub mod definition;
pub mod load;
pub mod mail;
pub mod maildir;
pub mod peers;
pub mod play;
pub mod program;
pub mod python;
pub mod sink;
pub mod stage;
pub mod wait;
pub mod wire;

/// What went wrong, in words for whoever reads a failed test.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What a test answers.
pub type Outcome = Result<(), Failure>;

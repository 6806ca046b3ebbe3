//! What the tests of the house as a whole share: a stage to start servers on, real peers, clients, mail, sinks.
//!
//! The tests themselves are in `tests/*.rs`, one subject a file. Helpers answer `Result<_, Failure>`, so that a test reads
//! as what it does; `?` ends it with the words of what went wrong.

pub mod wait;
pub mod peers;
pub mod program;

/// What went wrong, in words for whoever reads a failed test.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What a test answers.
pub type Outcome = Result<(), Failure>;

//! What a worker gives up before it takes its first byte, and what is then in force.
//!
//! ```text
//! limits::apply ─▶ limits::harden ─▶ files::confine ─▶ threads start ─▶ connections
//!                                                       posture::Posture::read, shown by status
//! ```
//!
//! Call them before any other thread exists: what belongs to a thread is inherited by those it starts, and by no others.
//!
//! Never: policy. What is allowed comes as an argument; what could not be had is an error, not a log line.

pub mod files;
pub mod limits;
pub mod posture;

pub use files::{Confined, Reach, confine};
pub use limits::{Applied, Limits, apply, harden};
pub use posture::{Limit, Posture, Stray, strays};

/// What could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused a resource limit.
    #[error("the limit on {what} cannot be set to {wanted}")]
    Limit {
        /// What is limited.
        what: &'static str,
        /// The number asked for.
        wanted: u64,
        /// The kernel's reason.
        source: nix::Error,
    },
    /// The kernel refused to take a privilege away.
    #[error("{what} cannot be set")]
    Harden {
        /// Which.
        what: &'static str,
        /// The kernel's reason.
        source: nix::Error,
    },
    /// The kernel refused to shut off files.
    #[error("files and network cannot be shut off")]
    Confine {
        /// The reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What is in force cannot be read.
    #[error("{path} cannot be read")]
    Read {
        /// Where it stands.
        path: &'static str,
        /// The reason.
        source: std::io::Error,
    },
}

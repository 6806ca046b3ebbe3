//! Resource limits, and privileges that can never come back.
//!
//! | limit | kernel's | why this one |
//! |---|---|---|
//! | memory | RLIMIT_DATA | counts what is written to, not the address space that allocators and threads only reserve |
//! | open files | RLIMIT_NOFILE | the hard limit where nothing else is asked: each session needs one |
//! | threads | RLIMIT_NPROC | counts per uid, so only where the uid is this process's own |
//! | core | RLIMIT_CORE 0 | a core file holds passwords and keys |
//!
//! Never: raising a hard limit; that is the supervisor's, before it gives up root.

use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::Error;

/// What one worker may use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of private memory.
    pub memory: Option<u64>,
    /// Open files and sockets. `None`: as many as the hard limit lets.
    pub open_files: Option<u64>,
    /// Threads, this process being the only one of its uid. `None` where the uid is shared.
    pub threads: Option<u32>,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Open files: fewer than asked for where the hard limit is lower.
    pub open_files: u64,
}

/// Sets the limits, soft and hard alike, so that they stay.
pub fn apply(limits: &Limits) -> Result<Applied, Error> {
    if let Some(memory) = limits.memory {
        lower("memory", Resource::RLIMIT_DATA, memory)?;
    }
    if let Some(threads) = limits.threads {
        lower("threads", Resource::RLIMIT_NPROC, u64::from(threads))?;
    }
    let open_files = lower(
        "open files",
        Resource::RLIMIT_NOFILE,
        limits.open_files.unwrap_or(u64::MAX),
    )?;
    Ok(Applied { open_files })
}

/// No core file, no tracing by others of the same uid, no privilege by executing something.
///
/// From then on `/proc/PID` of this process belongs to root.
pub fn harden() -> Result<(), Error> {
    lower("core files", Resource::RLIMIT_CORE, 0)?;
    prctl::set_dumpable(false).map_err(|source| Error::Harden {
        what: "not dumpable",
        source,
    })?;
    prctl::set_no_new_privs().map_err(|source| Error::Harden {
        what: "no new privileges",
        source,
    })
}

/// Sets both limits to `wanted`, or to the hard limit where that is lower; the number that holds.
fn lower(what: &'static str, resource: Resource, wanted: u64) -> Result<u64, Error> {
    let failed = |source| Error::Limit {
        what,
        wanted,
        source,
    };
    let (_, hard) = getrlimit(resource).map_err(failed)?;
    let limit = wanted.min(hard);
    setrlimit(resource, limit, limit).map_err(failed)?;
    Ok(limit)
}

//! What is in force: read back from the kernel, not remembered.
//!
//! Some restrictions belong to a thread, not to the process. What is shown is the weakest of all threads.
//!
//! Never: an opinion; `status` shows the facts.

use std::fs;
use std::io;
use std::path::PathBuf;

use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit};
use serde::Serialize;

use crate::Error;

/// The restrictions of this process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Posture {
    /// The effective user.
    pub uid: u32,
    /// The effective group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Whether executing something can no longer add privileges, in any thread.
    pub no_new_privs: bool,
    /// Whether others of the same uid may look into this process, and a crash may leave a core file.
    pub dumpable: bool,
    /// Effective capabilities, as the kernel's bit mask.
    pub capabilities: u64,
    /// What could still be had by executing something.
    pub bounding: u64,
    /// 0 none, 1 strict, 2 filter.
    pub seccomp: u8,
    /// Threads that exist.
    pub threads: u32,
    /// Open files.
    pub open_files: Limit,
    /// Bytes of private memory.
    pub memory: Limit,
    /// Processes and threads of this uid.
    pub processes: Limit,
    /// Bytes of a core file.
    pub core: Limit,
}

/// A resource limit; `None` is "no limit".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Limit {
    /// What holds now.
    pub soft: Option<u64>,
    /// How far the process itself may raise it.
    pub hard: Option<u64>,
}

impl Posture {
    /// Reads this process's.
    pub fn read() -> Result<Posture, Error> {
        const PATH: &str = "/proc/self/task";
        let read = |source| Error::Read { path: PATH, source };
        let dumpable = prctl::get_dumpable().map_err(|source| Error::Harden {
            what: "dumpable",
            source,
        })?;
        let mut weakest: Option<Posture> = None;
        for thread in fs::read_dir(PATH).map_err(read)? {
            let path = thread.map_err(read)?.path().join("status");
            // A thread that has ended since is no weakness.
            let Ok(status) = fs::read_to_string(path) else {
                continue;
            };
            let posture = Posture::parse(&status, dumpable).map_err(read)?;
            weakest = Some(match weakest {
                Some(other) => other.weaker(posture),
                None => posture,
            });
        }
        weakest.ok_or_else(|| read(io::ErrorKind::NotFound.into()))
    }

    /// The weaker of two threads in everything that belongs to a thread.
    fn weaker(self, other: Posture) -> Posture {
        Posture {
            no_new_privs: self.no_new_privs && other.no_new_privs,
            capabilities: self.capabilities | other.capabilities,
            bounding: self.bounding | other.bounding,
            seccomp: self.seccomp.min(other.seccomp),
            ..self
        }
    }

    fn parse(status: &str, dumpable: bool) -> io::Result<Posture> {
        let field = |name: &str| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.map(str::trim)
                .ok_or_else(|| io::Error::other(format!("{name} is missing")))
        };
        // Uid and Gid: real, effective, saved, file system.
        let effective = |name| number(field(name)?.split_whitespace().nth(1).unwrap_or_default());
        let mask = |name| u64::from_str_radix(field(name)?, 16).map_err(io::Error::other);
        Ok(Posture {
            uid: effective("Uid")?,
            gid: effective("Gid")?,
            groups: field("Groups")?
                .split_whitespace()
                .map(number)
                .collect::<io::Result<_>>()?,
            no_new_privs: field("NoNewPrivs")? == "1",
            dumpable,
            capabilities: mask("CapEff")?,
            bounding: mask("CapBnd")?,
            // A kernel without seccomp has no such line.
            seccomp: field("Seccomp")
                .ok()
                .and_then(|mode| mode.parse().ok())
                .unwrap_or_default(),
            threads: number(field("Threads")?)?,
            open_files: limit(Resource::RLIMIT_NOFILE)?,
            memory: limit(Resource::RLIMIT_DATA)?,
            processes: limit(Resource::RLIMIT_NPROC)?,
            core: limit(Resource::RLIMIT_CORE)?,
        })
    }
}

fn number(text: &str) -> io::Result<u32> {
    text.parse().map_err(io::Error::other)
}

fn limit(resource: Resource) -> io::Result<Limit> {
    let (soft, hard) = getrlimit(resource)?;
    let finite = |value: u64| (value != nix::sys::resource::RLIM_INFINITY).then_some(value);
    Ok(Limit {
        soft: finite(soft),
        hard: finite(hard),
    })
}

/// An open file that nobody has claimed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stray {
    /// Its number.
    pub number: i32,
    /// What it is: a path, or the kernel's word for it (`socket:[123]`).
    pub target: PathBuf,
}

/// Open files other than standard input, output and error, and those in `known`.
///
/// Meant for the start of a worker, when it holds its link and nothing else: what its parent leaked shows here.
pub fn strays(known: &[i32]) -> Result<Vec<Stray>, Error> {
    const PATH: &str = "/proc/self/fd";
    let read = |source| Error::Read { path: PATH, source };
    let mut found = Vec::new();
    for entry in fs::read_dir(PATH).map_err(read)? {
        let entry = entry.map_err(read)?;
        let number = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok());
        let Some(number) = number.filter(|number| *number > 2 && !known.contains(number)) else {
            continue;
        };
        let Ok(target) = fs::read_link(entry.path()) else {
            continue;
        };
        found.push(Stray { number, target });
    }
    // The folder being read is open too, but no longer; it is known by having gone.
    found.retain(|stray| {
        fs::read_link(format!("{PATH}/{}", stray.number)).is_ok_and(|now| now == stray.target)
    });
    found.sort_by_key(|stray| stray.number);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tpostern-vserver\nUmask:\t0077\nUid:\t64001\t64002\t64001\t64001\n\
        Gid:\t64001\t64003\t64001\t64001\nGroups:\t4 24 \nThreads:\t3\nCapEff:\t0000000000000400\n\
        CapBnd:\t000001ffffffffff\nNoNewPrivs:\t1\nSeccomp:\t2\n";

    #[test]
    fn status_is_read() {
        let posture = Posture::parse(STATUS, false).expect("parsed");
        assert_eq!((posture.uid, posture.gid), (64002, 64003));
        assert_eq!(posture.groups, [4, 24]);
        assert_eq!(
            (posture.capabilities, posture.bounding),
            (0x400, 0x1ff_ffff_ffff)
        );
        assert!(posture.no_new_privs && !posture.dumpable);
        assert_eq!((posture.seccomp, posture.threads), (2, 3));
    }

    #[test]
    fn the_weakest_thread_is_shown() {
        let strong = Posture::parse(STATUS, false).expect("parsed");
        let weak = STATUS
            .replace("NoNewPrivs:\t1", "NoNewPrivs:\t0")
            .replace("Seccomp:\t2", "Seccomp:\t0");
        let weak = Posture::parse(
            &weak.replace("CapEff:\t0000000000000400", "CapEff:\t3"),
            false,
        )
        .expect("parsed");
        for both in [strong.clone().weaker(weak.clone()), weak.weaker(strong)] {
            assert_eq!(
                (both.no_new_privs, both.seccomp, both.capabilities),
                (false, 0, 0x403)
            );
        }
    }

    #[test]
    fn no_groups_and_no_seccomp_are_well() {
        let status = STATUS.replace("4 24 ", "").replace("Seccomp:\t2\n", "");
        let posture = Posture::parse(&status, true).expect("parsed");
        assert!(posture.groups.is_empty());
        assert_eq!(posture.seccomp, 0);
    }

    #[test]
    fn a_missing_line_is_named() {
        let error = Posture::parse(&STATUS.replace("CapEff", "CapXxx"), true).expect_err("missing");
        assert!(error.to_string().contains("CapEff"), "{error}");
    }
}

//! Executes a worker or an authd: its own user and folder, its link as stdin, and nothing else of ours.

use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::unistd::Pid;
use postern_control::Link;
use postern_hosting::{ProcessLimits, ServerName};
use rustix::process::{Resource, Rlimit, prlimit};

use crate::uids::{Identity, isolated};

/// What of posternd's environment they get.
const ENVIRONMENT: [&str; 7] = ["RUST_LOG", "RUST_BACKTRACE", "TZ", "LANG", "PATH", "JOURNAL_STREAM", "KRB5_CONFIG"];

/// Executes `program`, which finds its link at stdin, and what else it is given at stdout. The error is a sentence.
pub(crate) fn spawn(
    program: &Path,
    arguments: &[&str],
    who: Identity,
    folder: &Path,
    link: Link,
    given: Stdio,
) -> Result<Pid, String> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
        .current_dir(folder)
        .stdin(OwnedFd::from(link))
        .stdout(given)
        // Of its own, so that Ctrl-C on a terminal reaches posternd alone, which drains its workers.
        .process_group(0);
    if isolated() {
        // With these, root's supplementary groups are dropped too.
        command.uid(who.uid.as_raw()).gid(who.gid.as_raw());
    }
    let child =
        command.spawn().map_err(|error| format!("cannot execute {} as uid {}: {error}", program.display(), who.uid))?;
    Ok(Pid::from_raw(i32::try_from(child.id()).map_err(|_| "a process id beyond all bounds")?))
}

/// Sets the limits of a worker, which may run already. Without CAP_SYS_RESOURCE, as in many containers, root cannot do
/// that to another user's process: then it is logged, and the worker has posternd's own limits.
pub(crate) fn restrict(pid: Pid, server: &ServerName, who: Identity, limits: &ProcessLimits) {
    // The kernel counts threads by user: only a user of its own makes them a server's.
    let threads = limits.threads.filter(|_| who.exclusive).map(u64::from);
    for (resource, most) in
        [(Resource::Nofile, limits.open_files), (Resource::Data, limits.memory), (Resource::Nproc, threads)]
    {
        let limit = Rlimit { current: most, maximum: most };
        let set = || prlimit(rustix::process::Pid::from_raw(pid.as_raw()), resource, limit);
        if let Some(Err(error)) = most.map(|_| set()) {
            tracing::warn!("{server}: cannot limit {resource:?} of process {pid}: {error}");
        }
    }
}

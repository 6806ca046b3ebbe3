//! Processor time and memory of a whole server, from /proc.
//!
//! Processor time: user and system time of every living process under the server's root process, and what each of them
//! has inherited from children that ended and were waited for (`cutime`, `cstime`). A child that ends between two
//! readings so moves from one summand to the other and none is lost. The kernel scales these to the exact run time of the
//! scheduler, at a grain of 10 ms a process. Work that the kernel does for a process while it runs (loopback TCP, the
//! write into the page cache) is in it; the journal's own thread is in neither server's.

use crate::Failure;
use std::collections::HashMap;
use std::fs;
use std::time::Duration;

/// This process's own processor time so far.
pub(crate) fn own_cpu() -> Duration {
    use nix::sys::resource::{UsageWho, getrusage};
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else {
        return Duration::ZERO;
    };
    let micros = |t: nix::sys::time::TimeVal| t.tv_sec() as u64 * 1_000_000 + t.tv_usec() as u64;
    Duration::from_micros(micros(usage.user_time()) + micros(usage.system_time()))
}

struct Row {
    parent: i32,
    ticks: u64,
}

fn row(pid: i32) -> Option<Row> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything: count from the last one.
    let fields: Vec<&str> = text[text.rfind(')')? + 1..]
        .split_ascii_whitespace()
        .collect();
    let ticks = fields
        .get(11..15)?
        .iter()
        .filter_map(|f| f.parse::<u64>().ok())
        .sum();
    Some(Row {
        parent: fields.get(1)?.parse().ok()?,
        ticks,
    })
}

/// All processes at or under `root`.
pub(crate) fn tree(root: i32) -> Vec<i32> {
    rows(root).into_iter().map(|(pid, _)| pid).collect()
}

fn rows(root: i32) -> Vec<(i32, Row)> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok());
    let all: HashMap<i32, Row> = pids.filter_map(|pid: i32| Some((pid, row(pid)?))).collect();
    let under = |mut pid: i32| loop {
        if pid == root {
            return true;
        }
        match all.get(&pid) {
            Some(row) if row.parent > 1 => pid = row.parent,
            _ => return false,
        }
    };
    let inside: Vec<i32> = all.keys().copied().filter(|&pid| under(pid)).collect();
    let mut all = all;
    inside
        .into_iter()
        .filter_map(|pid| Some((pid, all.remove(&pid)?)))
        .collect()
}

/// Processor time of the server whose first process is `root`.
pub(crate) fn cpu(root: i32) -> Result<Duration, Failure> {
    let hertz = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?.unwrap_or(100) as u64;
    let ticks: u64 = rows(root).iter().map(|(_, row)| row.ticks).sum();
    Ok(Duration::from_millis(ticks * 1000 / hertz))
}

/// Memory of one process, in KiB.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub(crate) struct Memory {
    pub(crate) pss: u64,
    /// What only this process holds: private clean and dirty.
    pub(crate) private: u64,
}

impl Memory {
    pub(crate) fn of(pid: i32) -> Result<Memory, Failure> {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;
        let field = |name: &str| -> u64 {
            let lines = text.lines().filter_map(|line| line.strip_prefix(name));
            lines
                .filter_map(|rest| rest.split_ascii_whitespace().next()?.parse::<u64>().ok())
                .sum()
        };
        Ok(Memory {
            pss: field("Pss:"),
            private: field("Private_Clean:") + field("Private_Dirty:"),
        })
    }

    /// Of all processes of a server.
    pub(crate) fn of_tree(root: i32) -> Memory {
        tree(root)
            .into_iter()
            .filter_map(|pid| Memory::of(pid).ok())
            .fold(Memory::default(), |sum, one| Memory {
                pss: sum.pss + one.pss,
                private: sum.private + one.private,
            })
    }
}

/// Anonymous resident memory of a process, in KiB: cheap enough to sample while it works.
pub(crate) fn anonymous(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// Flush requests that the disks have completed since the machine started (field 19 of /proc/diskstats).
pub(crate) fn flushes() -> u64 {
    let text = fs::read_to_string("/proc/diskstats").unwrap_or_default();
    let rows = text
        .lines()
        .filter_map(|line| line.split_ascii_whitespace().nth(18)?.parse::<u64>().ok());
    rows.sum()
}

/// Fails unless `folder` lies on a file system that keeps what is synced, and nothing around us makes a sync do nothing.
pub(crate) fn durable_folder(folder: &std::path::Path) -> Result<(), Failure> {
    use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, TMPFS_MAGIC, statfs};
    let kind = statfs(folder)?.filesystem_type();
    if kind == TMPFS_MAGIC || kind == OVERLAYFS_SUPER_MAGIC {
        return Err(format!(
            "{} lies on {kind:?}: a sync means nothing there; set BENCH_DIR to a folder on a disk",
            folder.display()
        )
        .into());
    }
    if std::env::var("LD_PRELOAD").is_ok_and(|text| text.contains("eatmydata")) {
        return Err("LD_PRELOAD holds eatmydata: syncs would do nothing".into());
    }
    Ok(())
}

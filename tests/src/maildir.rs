//! Reading a Maildir.

use crate::{Failure, wait};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// The contents of all messages in `new`, oldest first by name.
pub fn read(folder: &Path) -> Vec<Vec<u8>> {
    let Ok(entries) = fs::read_dir(folder.join("new")) else {
        return Vec::new();
    };
    let mut names: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    names.sort();
    names
        .iter()
        .filter_map(|name| fs::read(name).ok())
        .collect()
}

/// Waits for `count` messages.
pub fn wait(folder: &Path, count: usize) -> Result<Vec<Vec<u8>>, Failure> {
    let what = format!("{count} messages in {}", folder.display());
    wait::until(&what, Duration::from_secs(60), || {
        Some(read(folder)).filter(|found| found.len() >= count)
    })
}

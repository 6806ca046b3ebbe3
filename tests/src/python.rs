//! Clients written in Python that Debian does not have, in a virtual environment made once in the target folder.
//!
//! What it is made of is named with its hash in `python/requirements.txt`; what those import is Debian's.
//!
//! Never: a package of the system's Python changed.

use crate::{Failure, program};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

const WANTED: &str = include_str!("python/requirements.txt");

/// To be raised when the requirements change.
const EDITION: u32 = 1;

/// The interpreter that has them: `spnego` (pyspnego) and `impacket`, and Debian's `gssapi`.
pub fn interpreter() -> Result<PathBuf, Failure> {
    let (place, _lock) = program::kept("python")?;
    let folder = place.join(format!("python-{EDITION}"));
    let finished = folder.join("finished");
    if !finished.is_file() {
        make(&folder)?;
        fs::write(finished, "")?;
    }
    Ok(folder.join("bin/python3"))
}

fn make(folder: &PathBuf) -> Result<(), Failure> {
    let mut venv = Command::new("/usr/bin/python3");
    venv.args(["-m", "venv", "--clear", "--system-site-packages"])
        .arg(folder);
    program::succeed(program::run_command(venv, b"")?)?;
    let list = folder.join("requirements.txt");
    fs::write(&list, WANTED)?;
    let mut pip = Command::new(folder.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check"]);
    pip.args(["--no-deps", "--only-binary=:all:", "--require-hashes", "-r"]);
    pip.arg(list);
    program::succeed(program::run_command(pip, b"")?)?;
    Ok(())
}

//! Programs of the system that tests call: found, or missed by name.

use crate::Failure;
use nix::fcntl::{Flock, FlockArg};
use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// The path of `name`; a missing program fails the test and says how to get it.
pub fn find(name: &str) -> Result<PathBuf, Failure> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let mut found = places
        .map(|place| place.join(name))
        .filter(|file| file.is_file());
    found.next().ok_or_else(|| {
        format!("`{name}` is not installed: `make test` as root (or with sudo) installs it").into()
    })
}

/// Fails unless the test runs as root, saying what it wants root for.
pub fn need_root(why: &str) -> Result<(), Failure> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    Err(format!("this test must run as root: {why}").into())
}

/// The target folder's place for what is made once for many tests, and a lock on `name` there.
pub(crate) fn kept(name: &str) -> Result<(PathBuf, Flock<File>), Failure> {
    let test = std::env::current_exe()?;
    let target = test
        .ancestors()
        .nth(2)
        .ok_or("the test is in no target folder")?;
    let place = target.join("peers");
    std::fs::create_dir_all(&place)?;
    let lock = File::create(place.join(format!("{name}.lock")))?;
    let lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
    Ok((place, lock))
}

/// Runs a program to its end with `input` on its standard input.
pub fn run<S: AsRef<OsStr>>(
    name: &str,
    arguments: impl IntoIterator<Item = S>,
    input: &[u8],
) -> Result<Output, Failure> {
    let mut command = Command::new(find(name)?);
    command.args(arguments);
    run_command(command, input)
}

/// Runs a prepared command to its end with `input` on its standard input.
pub fn run_command(mut command: Command, input: &[u8]) -> Result<Output, Failure> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let mut pipe = child.stdin.take().ok_or("no standard input")?;
    let input = input.to_vec();
    // On a thread of its own, so that a program which writes before it has read all does not hang.
    let writer = std::thread::spawn(move || pipe.write_all(&input));
    let output = child.wait_with_output()?;
    // A program may end without having read everything.
    let _ = writer.join();
    Ok(output)
}

/// The output of a program that must succeed.
pub fn succeed(output: Output) -> Result<String, Failure> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    Err(format!(
        "{}\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    )
    .into())
}

//! Asks Dovecot's authentication socket about passwords, over several connections, without any mail protocol before it.
//!
//! ```text
//! VERSION, CPID → VERSION … DONE → AUTH n PLAIN … → OK n → AUTH n+1 …
//! ```
//! It prints one JSON line: how many were right, in how many seconds. Never: two questions at once on one connection.

use crate::arguments::value;
use crate::{Failure, accounts};
use std::io::{BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What was found.
#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct Asked {
    pub(crate) right: u64,
    pub(crate) seconds: f64,
}

/// Runs it: `count` questions about `accounts` accounts from number `first` on.
pub(crate) fn ask(
    socket: &Path,
    connections: u64,
    count: u64,
    first: u64,
    accounts: u64,
) -> Result<Asked, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("ask").arg("--socket").arg(socket);
    for (name, value) in [
        ("--connections", connections),
        ("--count", count),
        ("--first-account", first),
        ("--accounts", accounts),
    ] {
        command.args([name, &value.to_string()]);
    }
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err("Dovecot's socket could not be asked".into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

pub(crate) fn main(words: &[String]) -> Result<(), Failure> {
    let socket: PathBuf = value(words, "socket", PathBuf::new())?;
    let connections: u64 = value(words, "connections", 20)?;
    let count: u64 = value(words, "count", 100)?;
    let first: u64 = value(words, "first-account", 0)?;
    let accounts: u64 = value(words, "accounts", 1)?;
    let begun = Instant::now();
    let askers = (0..connections).map(|asker| {
        let socket = socket.clone();
        std::thread::spawn(move || {
            let numbers = (asker..count).step_by(connections as usize);
            questions(&socket, asker, numbers.map(|n| first + n % accounts))
        })
    });
    let askers: Vec<_> = askers.collect();
    let mut right = 0;
    for asker in askers {
        right += asker.join().map_err(|_| "an asker panicked")??;
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!("{}", serde_json::to_string(&Asked { right, seconds })?);
    Ok(())
}

/// How many of these accounts' passwords were right: all, or it fails.
fn questions(
    socket: &Path,
    asker: u64,
    accounts: impl Iterator<Item = u64>,
) -> Result<u64, Failure> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let pid = u64::from(std::process::id()) * 100 + asker;
    stream.write_all(format!("VERSION\t1\t1\nCPID\t{pid}\n").as_bytes())?;
    until(&mut reader, "DONE")?;
    let mut right = 0;
    for (id, account) in accounts.enumerate() {
        let blob = accounts::blob(&accounts::name(account), accounts::PASSWORD);
        let id = id + 1;
        let line = format!("AUTH\t{id}\tPLAIN\tservice=smtp\tsecured\tresp={blob}\n");
        stream.write_all(line.as_bytes())?;
        until(&mut reader, &format!("OK\t{id}"))?;
        right += 1;
    }
    stream.shutdown(Shutdown::Both)?;
    Ok(right)
}

fn until(reader: &mut impl BufRead, start: &str) -> Result<(), Failure> {
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.starts_with("FAIL") {
            return Err(format!("Dovecot said `{}` for {start}", line.trim_end()).into());
        }
        if line.starts_with(start) {
            return Ok(());
        }
    }
}

//! `postern demo`: two servers on loopback, without root, so that a message can be sent within a minute.
//!
//! ```text
//! prepare the folder → start posternd → wait until both servers run → say how to send → wait for Ctrl-C → end posternd
//! ```
//!
//! Never: an address that is not loopback; anything outside the demonstration's folder, but for root's stand-in (`user.rs`).

mod folder;
mod user;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use postern_control::client::ServerRow;
use postern_hosting::{ServerState, TlsMode};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};

use crate::connect::{Desk, path_fits};
use crate::failure::Error;
use crate::render;
use folder::{ACCOUNT, DOMAIN, FRIEND, Folder};

/// Runs posternd in the foreground with two example servers on loopback; Ctrl-C ends it.
///
/// One server takes mail from clients that log in over TLS, the other is a gateway for a local domain.
/// Both deliver into Maildirs below the folder. Definitions, accounts and queues are kept there; a second
/// run goes on with them.
#[derive(Args)]
pub(crate) struct Demo {
    /// The folder everything is kept in.
    #[arg(long, value_name = "DIR", default_value = "./demo")]
    dir: PathBuf,
}

/// How long both servers may take to come up.
const PATIENCE: Duration = Duration::from_secs(60);

impl Demo {
    pub(crate) fn run(&self, out: &mut dyn Write) -> Result<(), Error> {
        let user = user::ordinary(&self.dir);
        let real = user::place(&self.dir, user.as_ref(), out)?;
        out.flush()?;
        let control = real.join("run/control");
        path_fits(&control)?;
        if Desk::connect(&control).is_ok() {
            return Err(Error::Failed(format!(
                "a demonstration is running in {} already",
                self.dir.display()
            )));
        }
        let folder = Folder::prepare(&real)?;
        let posternd = user::programs(&real, user.as_ref())?;
        user::give(&real, user.as_ref())?;
        let mut signals = Signals::catch()?;
        let mut supervisor = Supervisor(start(&posternd, &real, user.as_ref())?);
        let Some(rows) = wait_until_ready(&control, &mut supervisor, &mut signals)? else {
            return supervisor.end(&mut signals);
        };
        explain(&self.dir, &folder, &rows, out)?;
        out.flush()?;
        wait_for_the_end(&mut supervisor, &mut signals)?;
        writeln!(
            out,
            "ended; {} keeps its mail and settings for the next run",
            self.dir.display()
        )?;
        Ok(())
    }
}

/// Signals meant for us, seen by a poll.
struct Signals {
    wake: UnixStream,
    end: Arc<AtomicBool>,
}

impl Signals {
    fn catch() -> Result<Signals, Error> {
        let tell = |cause: std::io::Error| Error::Failed(format!("cannot catch signals: {cause}"));
        let (wake, write) = UnixStream::pair().map_err(tell)?;
        wake.set_nonblocking(true).map_err(tell)?;
        let end = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&end)).map_err(tell)?;
        }
        for signal in [SIGINT, SIGTERM, SIGHUP, SIGCHLD] {
            signal_hook::low_level::pipe::register(signal, write.try_clone().map_err(tell)?)
                .map_err(tell)?;
        }
        Ok(Signals { wake, end })
    }

    fn asked_to_end(&self) -> bool {
        self.end.load(Ordering::Relaxed)
    }

    /// Waits for a signal, at most so long.
    fn wait(&mut self, at_most: Option<Duration>) {
        let timeout = at_most.map_or(PollTimeout::NONE, |time| {
            PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX)
        });
        // A signal that interrupts the poll has written its byte: the caller looks anew either way.
        let _ = poll(
            &mut [PollFd::new(self.wake.as_fd(), PollFlags::POLLIN)],
            timeout,
        );
        let mut bytes = [0; 64];
        while matches!(self.wake.read(&mut bytes), Ok(count) if count > 0) {}
    }
}

/// posternd as our child. Dropped before its end, it is told to end and waited for.
struct Supervisor(Child);

impl Supervisor {
    /// How it ended, if it has.
    fn ended(&mut self) -> Result<Option<ExitStatus>, Error> {
        self.0
            .try_wait()
            .map_err(|cause| Error::Failed(format!("cannot look after posternd: {cause}")))
    }

    fn tell_to_end(&self) {
        let pid = i32::try_from(self.0.id()).unwrap_or(i32::MAX);
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }

    /// Tells it to end, and waits until it has.
    fn end(&mut self, signals: &mut Signals) -> Result<(), Error> {
        self.tell_to_end();
        loop {
            match self.ended()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => {
                    return Err(Error::Failed(format!(
                        "posternd ended badly: {status}; see its log above"
                    )));
                }
                None => signals.wait(None),
            }
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            self.tell_to_end();
            let _ = self.0.wait();
        }
    }
}

/// Starts posternd in a process group of its own, so that Ctrl-C reaches it once: through us.
fn start(posternd: &Path, real: &Path, user: Option<&user::Ordinary>) -> Result<Child, Error> {
    let mut command = Command::new(posternd);
    for (option, folder) in [("--config", "etc"), ("--state", "state"), ("--run", "run")] {
        command.arg(option).arg(real.join(folder));
    }
    command.process_group(0);
    if let Some(user) = user {
        command.uid(user.uid).gid(user.gid);
    }
    command
        .spawn()
        .map_err(|cause| Error::Failed(format!("cannot start {}: {cause}", posternd.display())))
}

/// Waits until every server is running; `None` where a signal to end came first.
fn wait_until_ready(
    control: &Path,
    supervisor: &mut Supervisor,
    signals: &mut Signals,
) -> Result<Option<Vec<ServerRow>>, Error> {
    const PAUSE: Duration = Duration::from_millis(50);
    let deadline = Instant::now() + PATIENCE;
    loop {
        if signals.asked_to_end() {
            return Ok(None);
        }
        if let Some(status) = supervisor.ended()? {
            return Err(Error::Failed(format!(
                "posternd ended at once: {status}; see its log above"
            )));
        }
        let rows = match Desk::connect(control).and_then(|desk| desk.servers()) {
            Ok((_, rows)) => rows,
            Err(Error::NotRunning { .. }) => Vec::new(),
            Err(other) => return Err(other),
        };
        let bad = |row: &&ServerRow| {
            matches!(
                row.state,
                ServerState::Failed | ServerState::Refused | ServerState::Waiting
            )
        };
        if let Some(row) = rows.iter().find(bad) {
            return Err(Error::Failed(format!(
                "{} is {}: {}",
                row.name, row.state, row.detail
            )));
        }
        if !rows.is_empty() && rows.iter().all(|row| settled(row.state)) {
            return Ok(Some(rows));
        }
        if Instant::now() > deadline {
            return Err(Error::Failed(
                "the servers did not come up within a minute; see the log above".to_owned(),
            ));
        }
        signals.wait(Some(PAUSE));
    }
}

/// Running, or left stopped or paused by an earlier order.
fn settled(state: ServerState) -> bool {
    matches!(
        state,
        ServerState::Running | ServerState::Stopped | ServerState::Paused
    )
}

fn wait_for_the_end(supervisor: &mut Supervisor, signals: &mut Signals) -> Result<(), Error> {
    loop {
        if signals.asked_to_end() {
            return supervisor.end(signals);
        }
        if let Some(status) = supervisor.ended()? {
            return Err(Error::Failed(format!(
                "posternd ended by itself: {status}; see its log above"
            )));
        }
        signals.wait(None);
    }
}

/// What can be tried, with every path as the person at the prompt sees it.
fn explain(
    dir: &Path,
    folder: &Folder,
    rows: &[ServerRow],
    out: &mut dyn Write,
) -> Result<(), Error> {
    let shown = dir.display();
    let find = |name: &str, tls: TlsMode| {
        let row = rows
            .iter()
            .find(|row| row.name.as_str() == name && row.state == ServerState::Running)?;
        row.addresses
            .iter()
            .find(|identity| identity.tls == tls)
            .map(|identity| identity.address)
    };
    let password = &folder.password;
    writeln!(out, "\nPostern is running; Ctrl-C ends it.\n")?;
    for row in rows {
        let addresses: Vec<String> = row.addresses.iter().map(ToString::to_string).collect();
        writeln!(
            out,
            "  {:<9} {:<9} {}",
            row.name.as_str(),
            row.state.as_str(),
            addresses.join(", ")
        )?;
        writeln!(out, "            {}", render::printable(&row.description))?;
    }
    writeln!(out, "\n  account   {ACCOUNT}\n  password  {password}\n")?;
    if let Some(address) = find("clients", TlsMode::Starttls) {
        writeln!(out, "Send a message as this account, over STARTTLS:\n")?;
        writeln!(out, "  {}\n", curl_with_login(dir, address, password))?;
        writeln!(out, "It is then in {shown}/mail/{DOMAIN}/{FRIEND}/new/.\n")?;
    }
    if let Some(address) =
        find("gateway", TlsMode::Starttls).or_else(|| find("gateway", TlsMode::None))
    {
        writeln!(
            out,
            "Send one from outside to the gateway, which asks for no login but takes mail for {DOMAIN} only:\n"
        )?;
        writeln!(out, "  {}\n", curl_from_outside(dir, address))?;
        writeln!(
            out,
            "It is then in {shown}/mail/{DOMAIN}/alice/new/. Mail for other domains would go to their MX hosts.\n"
        )?;
    }
    writeln!(out, "Look at the servers from another terminal:\n")?;
    writeln!(
        out,
        "  {} --control {shown}/run/control --config {shown}/etc status\n",
        this_program()
    )?;
    Ok(())
}

fn curl_with_login(dir: &Path, address: SocketAddr, password: &str) -> String {
    let dir = quoted(dir);
    format!(
        "curl --url smtp://{address} --ssl-reqd --cacert {dir}/etc/cert.pem --user '{ACCOUNT}:{password}' \
         --mail-from {ACCOUNT} --mail-rcpt {FRIEND}@{DOMAIN} --upload-file {dir}/hello.eml"
    )
}

fn curl_from_outside(dir: &Path, address: SocketAddr) -> String {
    let dir = quoted(dir);
    format!(
        "curl --url smtp://{address} --mail-from carol@example.net --mail-rcpt {ACCOUNT} --upload-file {dir}/from-outside.eml"
    )
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%".contains(c);
    if text.chars().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

/// This command, as it was called.
fn this_program() -> String {
    std::env::args_os()
        .next()
        .map_or_else(|| "postern".to_owned(), |name| quoted(Path::new(&name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_where_a_shell_would_split_them() {
        assert_eq!(quoted(Path::new("./demo")), "./demo");
        assert_eq!(quoted(Path::new("/a b/it's")), "'/a b/it'\\''s'");
    }
}

//! A posternd of a test's own: folders, certificate, accounts, definitions, the process, and what it says.
//!
//! ```text
//! FOLDER/etc/postern.toml            FOLDER/tls/{cert,key}.pem       FOLDER/posternd.log
//! FOLDER/etc/servers/NAME.toml       FOLDER/etc/accounts.toml        FOLDER/mail/   (anybody may write)
//! FOLDER/state/                      FOLDER/run/control
//! ```
//! A stage that ends takes its processes with it, each by its pid, and prints the log: the test runner shows that only
//! when the test has failed. Never: a process of somebody else's.

use crate::definition::Definition;
use crate::{Failure, Outcome, program, wait};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use postern_control::client::{Client, HostRow, Reply, Request, ServerRow};
use postern_control::query::{Answer, Inquiry, Question, QueueRow};
use postern_hosting::{Finding, ServerName, ServerState};
use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// How long anything that a stage waits for may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The accounts of every stage: name, password.
pub const ALICE: (&str, &str) = ("alice", "wonder.land-1");
/// The second account.
pub const BOB: (&str, &str) = ("bob", "builder.bob-2");

// Argon2id at its least cost: the tests ask for logging in, not for its price.
const ACCOUNTS: &str = r#"[accounts."alice"]
password = "$argon2id$v=19$m=8,t=1,p=1$YWxpY2VhbGljZWFsaWNlMQ$YhOLIF8zm0pQPfG4Ej5ICxSNnyfnz6BMT8QzMpLMS38"
addresses = ["alice@example.test", "älice@bücher.test"]
groups = ["staff"]

[accounts."bob"]
password = "$argon2id$v=19$m=8,t=1,p=1$Ym9iYm9iYm9iYm9iYm9iMQ$y0cBnLeivHtZL4/6CaeJA4W05pZlWg76FK56yGxYR4M"
addresses = ["bob@example.test"]
groups = []
"#;

/// A posternd and its folder.
pub struct Stage {
    folder: TempDir,
    binaries: PathBuf,
    posternd: Option<Child>,
    /// Workers seen so far: they outlive a posternd that was killed, for as long as they drain.
    workers: Vec<i32>,
}

impl Stage {
    /// A stage in the system's temporary folder, with the binaries beside the test's own.
    pub fn new() -> Result<Stage, Failure> {
        let test = std::env::current_exe()?;
        let binaries = test
            .ancestors()
            .nth(2)
            .ok_or("the test is in no target folder")?;
        Stage::with(&std::env::temp_dir(), binaries)
    }

    /// A stage in a new folder under `place`, with the binaries in `binaries`.
    pub fn with(place: &Path, binaries: &Path) -> Result<Stage, Failure> {
        for name in ["posternd", "postern-vserver"] {
            if !binaries.join(name).is_file() {
                let text = format!(
                    "{} is missing: `make test` builds it first",
                    binaries.join(name).display()
                );
                return Err(text.into());
            }
        }
        let folder = tempfile::Builder::new()
            .prefix("postern-stage-")
            .tempdir_in(place)?;
        let stage = Stage {
            folder,
            binaries: binaries.to_owned(),
            posternd: None,
            workers: Vec::new(),
        };
        // Workers under uids of their own must get through.
        fs::set_permissions(stage.folder(), Permissions::from_mode(0o755))?;
        for name in ["etc/servers", "state", "run", "tls", "mail"] {
            fs::create_dir_all(stage.path(name))?;
        }
        fs::set_permissions(stage.path("mail"), Permissions::from_mode(0o1777))?;
        fs::write(stage.path("etc/postern.toml"), "log = \"debug\"\n")?;
        private(&stage.accounts(), ACCOUNTS)?;
        let pair = rcgen::generate_simple_self_signed([
            "localhost".to_owned(),
            "127.0.0.1".to_owned(),
            "mail.example.test".to_owned(),
        ])?;
        fs::write(stage.certificate(), pair.cert.pem())?;
        private(&stage.key(), &pair.signing_key.serialize_pem())?;
        Ok(stage)
    }

    /// The stage's folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// The certificate, which is its own authority.
    pub fn certificate(&self) -> PathBuf {
        self.path("tls/cert.pem")
    }

    /// Its key.
    pub fn key(&self) -> PathBuf {
        self.path("tls/key.pem")
    }

    /// The account file, with [`ALICE`] and [`BOB`].
    pub fn accounts(&self) -> PathBuf {
        self.path("etc/accounts.toml")
    }

    /// Writes `servers/NAME.toml`. A running posternd learns of it by start or reload.
    pub fn define(&self, name: &str, definition: &Definition) -> Result<(), Failure> {
        self.define_text(name, &definition.to_string())
    }

    /// The same with the text as it is, right or wrong.
    pub fn define_text(&self, name: &str, text: &str) -> Result<(), Failure> {
        Ok(fs::write(
            self.path(&format!("etc/servers/{name}.toml")),
            text,
        )?)
    }

    /// Starts posternd and waits until it answers on its control socket.
    pub fn start(&mut self) -> Result<(), Failure> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.path("posternd.log"))?;
        let mut command = Command::new(self.binaries.join("posternd"));
        command
            .arg("--config")
            .arg(self.path("etc"))
            .arg("--state")
            .arg(self.path("state"));
        command
            .arg("--run")
            .arg(self.path("run"))
            .arg("--worker")
            .arg(self.binaries.join("postern-vserver"));
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        command.env_remove("NOTIFY_SOCKET").env_remove("LISTEN_FDS");
        self.posternd = Some(command.spawn()?);
        wait::until("posternd's control socket", PATIENCE, || {
            if self
                .posternd
                .as_mut()
                .is_some_and(|child| matches!(child.try_wait(), Ok(Some(_))))
            {
                return Some(Err("posternd ended at once".into()));
            }
            self.client().ok().map(|_| Ok(()))
        })?
    }

    /// Starts posternd and waits until all of `servers` run.
    pub fn start_with(&mut self, servers: &[&str]) -> Result<(), Failure> {
        self.start()?;
        servers
            .iter()
            .try_for_each(|name| self.wait_running(name).map(drop))
    }

    /// The pid of posternd.
    pub fn pid(&self) -> Result<i32, Failure> {
        Ok(i32::try_from(
            self.posternd
                .as_ref()
                .ok_or("posternd has not been started")?
                .id(),
        )?)
    }

    /// A new connection to the control socket.
    pub fn client(&self) -> Result<Client, Failure> {
        let client = Client::connect(&self.path("run/control"))?;
        client.set_timeout(Some(PATIENCE))?;
        Ok(client)
    }

    /// About posternd.
    pub fn host(&self) -> Result<HostRow, Failure> {
        Ok(self.client()?.list()?.0)
    }

    /// The row of server `name`.
    pub fn row(&self, name: &str) -> Result<ServerRow, Failure> {
        let (_, rows) = self.client()?.list()?;
        let found = rows.into_iter().find(|row| row.name.as_str() == name);
        found.ok_or_else(|| format!("there is no server {name} in the list").into())
    }

    /// Waits until server `name` is in `state`.
    pub fn wait_state(&self, name: &str, state: ServerState) -> Result<ServerRow, Failure> {
        let found = wait::until(&format!("{name} to be {state}"), PATIENCE, || {
            let row = self.row(name).ok()?;
            let hopeless = row.state == ServerState::Refused;
            (row.state == state || hopeless).then_some(row)
        });
        let found = found.and_then(|row| match row.state == state {
            true => Ok(row),
            false => Err("its definition was refused".into()),
        });
        found.map_err(|error| format!("{error}; it is {:?}", self.row(name)).into())
    }

    /// Waits until server `name` runs.
    pub fn wait_running(&self, name: &str) -> Result<ServerRow, Failure> {
        self.wait_state(name, ServerState::Running)
    }

    /// Has posternd carry out a request; its message, or its refusal.
    pub fn order(
        &self,
        request: &Request,
    ) -> Result<Result<String, (String, Vec<Finding>)>, Failure> {
        match self.client()?.ask(request)? {
            Reply::Done { message, .. } => Ok(Ok(message)),
            Reply::Refused { reason, findings } => Ok(Err((reason, findings))),
            other => Err(format!("{request:?} was answered {other:?}").into()),
        }
    }

    /// Has posternd carry out a request that must succeed.
    pub fn obey(&self, request: &Request) -> Outcome {
        match self.order(request)? {
            Ok(_) => Ok(()),
            Err((reason, findings)) => {
                Err(format!("{request:?} was refused: {reason} {findings:?}").into())
            }
        }
    }

    /// A question to the worker of server `name`.
    pub fn inquire(&self, name: &str) -> Result<Inquiry, Failure> {
        let inquiry = self.client()?.introduce(&server(name)?)?;
        inquiry.set_timeout(Some(PATIENCE))?;
        Ok(inquiry)
    }

    /// The counters of server `name`.
    pub fn counters(&self, name: &str) -> Result<BTreeMap<String, u64>, Failure> {
        match self.inquire(name)?.ask(&Question::Counters)? {
            Answer::Counters(counters) => Ok(counters),
            other => Err(format!("counters were answered {other:?}").into()),
        }
    }

    /// The whole queue of server `name`.
    pub fn queue(&self, name: &str) -> Result<Vec<QueueRow>, Failure> {
        let inquiry = self.inquire(name)?;
        let mut all: Vec<QueueRow> = Vec::new();
        loop {
            let after = all.last().map(|row| row.id.clone());
            match inquiry.ask(&Question::Queue { after, limit: 1000 })? {
                Answer::Queue { rows, more } => {
                    all.extend(rows);
                    if !more {
                        return Ok(all);
                    }
                }
                other => return Err(format!("the queue was answered {other:?}").into()),
            }
        }
    }

    /// Waits until the queue of server `name` is empty.
    pub fn wait_empty(&self, name: &str) -> Result<(), Failure> {
        let empty = wait::until_true(
            &format!("the queue of {name} to be empty"),
            PATIENCE,
            || self.queue(name).is_ok_and(|rows| rows.is_empty()),
        );
        empty.map_err(|error| format!("{error}: {:?}", self.queue(name)).into())
    }

    /// Runs the `postern` command against this stage.
    pub fn postern(&self, words: &[&str]) -> Result<Output, Failure> {
        let mut command = Command::new(self.binaries.join("postern"));
        command
            .arg("--control")
            .arg(self.path("run/control"))
            .args(words)
            .env("NO_COLOR", "1");
        program::run_command(command, b"")
    }

    /// The pids of posternd's living children.
    pub fn children(&mut self) -> Result<Vec<i32>, Failure> {
        let parent = self.pid()?;
        let found = children_of(parent);
        for pid in &found {
            if !self.workers.contains(pid) {
                self.workers.push(*pid);
            }
        }
        Ok(found)
    }

    /// The pid of the worker of server `name`.
    pub fn worker(&mut self, name: &str) -> Result<i32, Failure> {
        let pid = i32::try_from(
            self.row(name)?
                .pid
                .ok_or_else(|| format!("{name} has no worker"))?,
        )?;
        if !self.workers.contains(&pid) {
            self.workers.push(pid);
        }
        Ok(pid)
    }

    /// Kills posternd without a word, and waits until it is gone. Its workers go on, for as long as they drain.
    pub fn kill_posternd(&mut self) -> Outcome {
        self.children()?;
        let mut child = self
            .posternd
            .take()
            .ok_or("posternd has not been started")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Ends posternd as an operator would, and waits until it is gone; its exit status.
    pub fn stop(&mut self) -> Result<std::process::ExitStatus, Failure> {
        let _ = self.children();
        let mut child = self
            .posternd
            .take()
            .ok_or("posternd has not been started")?;
        kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGTERM)?;
        let ended = wait::until("posternd to end", PATIENCE, || {
            child.try_wait().ok().flatten()
        });
        if ended.is_err() {
            let _ = child.kill();
            let _ = child.wait();
        }
        ended
    }

    /// Workers of this stage that are alive, those of killed supervisors included.
    pub fn living_workers(&mut self) -> Vec<i32> {
        let _ = self.children();
        self.workers
            .iter()
            .copied()
            .filter(|&pid| ours(pid))
            .collect()
    }

    /// What posternd and its workers have said.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.path("posternd.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if self.posternd.is_some() {
            let _ = self.stop();
        }
        for pid in self.living_workers() {
            if wait::until_gone(pid, Duration::from_secs(2)).is_err() {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        let log = self.log();
        // The end is what matters of a long one.
        let mut start = log.len().saturating_sub(40_000);
        while !log.is_char_boundary(start) {
            start += 1;
        }
        if !log.is_empty() {
            eprintln!("── log of posternd and its workers ──\n{}", &log[start..]);
        }
    }
}

/// A server's name from text.
pub fn server(name: &str) -> Result<ServerName, Failure> {
    name.parse()
        .map_err(|_| format!("`{name}` is no server name").into())
}

/// Whether `pid` is a worker that lives; the number may have gone to somebody else.
fn ours(pid: i32) -> bool {
    wait::alive(pid)
        && fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| {
            line.starts_with(b"postern-vserver")
                || line.windows(15).any(|w| w == b"postern-vserver")
        })
}

/// The living children of process `parent`.
pub fn children_of(parent: i32) -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|&pid| parent_of(pid) == Some(parent) && wait::alive(pid))
        .collect()
}

fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(')')? + 1..]
        .split_ascii_whitespace()
        .nth(1)?
        .parse()
        .ok()
}

/// Writes a file that only its owner can read.
pub fn private(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text)?;
    Ok(fs::set_permissions(path, Permissions::from_mode(0o600))?)
}

//! A posternd in a folder of its own, with pretended workers.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use postern_control::client::{Client, HostRow, Reply, Request, ServerRow};
use postern_hosting::{Finding, ServerName, ServerState};

/// How long anything may take. Nothing takes that long, but on a machine with much else to do.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A posternd and its folders.
pub struct Stage {
    pub folder: tempfile::TempDir,
    pub child: Option<Child>,
    environment: Vec<(String, String)>,
}

/// A session with a pretended worker.
pub struct Session {
    stream: BufReader<TcpStream>,
    /// `220` or `421`, the worker's process, and its word.
    pub greeting: (u16, u32, String),
}

pub fn name(text: &str) -> ServerName {
    text.parse().unwrap()
}

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A loopback address that was free a moment ago.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Looks until it sees something.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < end, "{what}: never");
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// A definition that listens at `address`, and pretends `word`.
pub fn definition(address: SocketAddr, word: &str) -> String {
    format!(
        "# pretend {word}\n[general]\nfqdn = \"mx.example.com\"\nlisten = [\"{address}\"]\ndescription = \"{word}\"\n"
    )
}

impl Stage {
    /// Folders, and the worker in a place that other users can reach.
    pub fn new() -> Stage {
        let folder = tempfile::Builder::new().prefix("posternd-").tempdir_in("/tmp").unwrap();
        let stage = Stage { folder, child: None, environment: Vec::new() };
        Command::new("chmod").arg("755").arg(stage.folder.path()).status().unwrap();
        std::fs::create_dir_all(stage.path("etc/servers")).unwrap();
        let here = std::env::current_exe().unwrap();
        let built = here.ancestors().nth(2).unwrap().join("examples");
        let why = "the examples are not built: run `cargo test -p posternd`, or add `--examples`";
        for (pretended, program) in [("pretend_worker", "worker"), ("pretend_authd", "postern-authd")] {
            std::fs::copy(built.join(pretended), stage.path(program)).expect(why);
        }
        stage
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    pub fn state(&self, server: &str, file: &str) -> String {
        std::fs::read_to_string(self.path("state").join(server).join(file)).unwrap()
    }

    pub fn definition_path(&self, server: &str) -> PathBuf {
        self.path("etc/servers").join(format!("{server}.toml"))
    }

    pub fn define(&self, server: &str, text: &str) {
        std::fs::write(self.definition_path(server), text).unwrap();
    }

    pub fn undefine(&self, server: &str) {
        std::fs::remove_file(self.definition_path(server)).unwrap();
    }

    pub fn environment(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_posternd"));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        for (option, below) in [("--config", "etc"), ("--state", "state"), ("--run", "run"), ("--worker", "worker")] {
            command.arg(option).arg(self.path(below));
        }
        command.stdin(Stdio::null());
        command
    }

    /// Starts posternd and waits until it answers.
    pub fn start(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        self.child = Some(self.command().stderr(log).spawn().unwrap());
        let _ = until("posternd answers", || Client::connect(&self.path("run/control")).ok());
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    pub fn client(&self) -> Client {
        let client = Client::connect(&self.path("run/control")).unwrap();
        client.set_timeout(Some(PATIENCE)).unwrap();
        client
    }

    /// Asks, and expects it done.
    pub fn done(&self, request: impl Fn(ServerName) -> Request, server: &str) -> String {
        match self.client().ask(&request(name(server))).unwrap() {
            Reply::Done { message, .. } => message,
            other => panic!("{other:?}\n{}", self.log()),
        }
    }

    /// Asks, and expects to be refused.
    pub fn refused(&self, request: impl Fn(ServerName) -> Request, server: &str) -> (String, Vec<Finding>) {
        match self.client().ask(&request(name(server))).unwrap() {
            Reply::Refused { reason, findings } => (reason, findings),
            other => panic!("{other:?}\n{}", self.log()),
        }
    }

    pub fn rows(&self) -> (HostRow, Vec<ServerRow>) {
        self.client().list().unwrap()
    }

    pub fn row(&self, server: &str) -> ServerRow {
        let rows = self.rows().1;
        rows.into_iter().find(|row| row.name.as_str() == server).unwrap_or_else(|| panic!("no row for {server}"))
    }

    /// Waits for a state.
    pub fn reaches(&self, server: &str, state: ServerState) -> ServerRow {
        until(&format!("{server} is {state}"), || Some(self.row(server)).filter(|row| row.state == state))
    }

    pub fn signal(&self, signal: Signal) {
        kill(pid(self.child.as_ref().unwrap().id()), signal).unwrap();
    }

    /// Sends a signal and waits for the end.
    pub fn end(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        let mut child = self.child.take().unwrap();
        until("posternd ends", || child.try_wait().unwrap())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = kill(pid(child.id()), Signal::SIGKILL);
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}

pub fn pid(number: u32) -> Pid {
    Pid::from_raw(i32::try_from(number).unwrap())
}

pub fn lives(number: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// Connects and reads the greeting; `None` if the connection is refused or ends.
pub fn try_session(address: SocketAddr) -> Option<Session> {
    let stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut session = Session { stream: BufReader::new(stream), greeting: (0, 0, String::new()) };
    session.greeting = session.line()?;
    Some(session)
}

pub fn session(address: SocketAddr) -> Session {
    try_session(address).unwrap_or_else(|| panic!("nobody greets at {address}"))
}

impl Session {
    fn line(&mut self) -> Option<(u16, u32, String)> {
        let mut line = String::new();
        self.stream.read_line(&mut line).ok()?;
        let mut words = line.trim_end().splitn(3, ' ');
        Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()?.to_owned()))
    }

    /// Says something; the answer, or `None` if the session has ended.
    pub fn say(&mut self) -> Option<(u16, u32, String)> {
        self.stream.get_mut().write_all(b"NOOP\r\n").ok()?;
        self.line()
    }
}

/// The lines of the audit log, each parsed.
pub fn audit(stage: &Stage) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(stage.path("state/audit.log")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

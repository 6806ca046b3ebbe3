//! A worker that only pretends: it obeys orders, accepts connections and says who it is. For the tests of posternd.
//!
//! Its definition may hold a line `# pretend WORD`, and then it misbehaves in that way; see [`misbehave`]. A connection is
//! greeted `220 PID WORD`, or `421 PID WORD` while it is paused, and every line sent to it is answered in the same way.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::process::exit;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use postern_control::query::{Answer, Question};
use postern_control::worker::{Item, Manifest, Order, Report};
use postern_control::{Error, Link, Received, VERSION};
use postern_hosting::Finding;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

struct Pretender {
    link: Link,
    listeners: Vec<TcpListener>,
    sessions: Vec<TcpStream>,
    introduced: Vec<Link>,
    authds: Vec<Link>,
    word: String,
    paused: bool,
    ending: Option<(Instant, bool)>,
    told: Option<(Instant, usize)>,
}

fn main() -> Outcome<()> {
    let link = Link::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    link.set_nonblocking(true)?;
    let mut pretender = Pretender {
        link,
        listeners: Vec::new(),
        sessions: Vec::new(),
        introduced: Vec::new(),
        authds: Vec::new(),
        word: String::new(),
        paused: false,
        ending: None,
        told: None,
    };
    loop {
        pretender.turn()?;
    }
}

impl Pretender {
    fn turn(&mut self) -> Outcome<()> {
        self.wait()?;
        self.orders()?;
        self.connections();
        self.questions();
        let sessions = self.sessions.len();
        if let Some((deadline, gently)) = self.ending {
            self.listeners.clear();
            if !gently || self.sessions.is_empty() || Instant::now() >= deadline {
                let _ = self.link.send(&Report::Drained, &[]);
                exit(0);
            }
        }
        let stale = |(when, count): (Instant, usize)| count != sessions || when.elapsed() > Duration::from_secs(1);
        if self.told.is_some_and(stale) {
            self.told = Some((Instant::now(), sessions));
            let note = if self.word == "noted" { "pretends".to_owned() } else { String::new() };
            let alive = Report::Alive { sessions: u32::try_from(sessions)?, queued: 7, note };
            let _ = self.link.send(&alive, &[]);
        }
        Ok(())
    }

    fn wait(&self) -> Outcome<()> {
        let all = std::iter::once(self.link.as_fd())
            .chain(self.listeners.iter().map(AsFd::as_fd))
            .chain(self.sessions.iter().map(AsFd::as_fd))
            .chain(self.introduced.iter().map(AsFd::as_fd));
        let mut all: Vec<PollFd> = all.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        match poll(&mut all, PollTimeout::from(50u8)) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn orders(&mut self) -> Outcome<()> {
        loop {
            match self.link.receive::<Order>() {
                Ok(Received::Packet(order, files)) => self.obey(order, files)?,
                Ok(Received::Closed) => exit(0),
                Err(Error::WouldBlock) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn obey(&mut self, order: Order, files: Vec<OwnedFd>) -> Outcome<()> {
        match order {
            Order::Hello { version } => {
                assert_eq!(version, VERSION);
            }
            Order::Begin { server, state, manifest, paused } => {
                assert_eq!(std::env::current_dir()?, state);
                assert_eq!(std::env::args().nth(1).as_deref(), Some(server.as_str()));
                inventory()?;
                self.paused = paused;
                let findings = self.adopt(manifest, files)?;
                misbehave(&self.word, &self.link)?;
                self.link.send(&Report::Hello { version: VERSION }, &[])?;
                if !findings.is_empty() {
                    self.link.send(&Report::refused(findings), &[])?;
                    exit(1);
                }
                self.link.send(&Report::Ready, &[])?;
                misbehave_later(&self.word, &self.link)?;
                self.told = Some((Instant::now(), usize::MAX));
            }
            Order::Reload { manifest } => match self.adopt(manifest, files)? {
                findings if findings.is_empty() => self.link.send(&Report::reloaded(findings), &[])?,
                findings => self.link.send(&Report::refused(findings), &[])?,
            },
            Order::Pause => {
                self.paused = true;
                self.link.send(&Report::Paused, &[])?;
            }
            Order::Resume => {
                self.paused = false;
                self.link.send(&Report::Resumed, &[])?;
            }
            Order::Drain { .. } if self.word == "deaf" => {}
            Order::Drain { deadline, gently } => self.ending = Some((Instant::now() + deadline, gently)),
            Order::Meet { .. } => self.introduced.extend(files.into_iter().map(Link::from)),
        }
        Ok(())
    }

    /// Takes a definition and its listeners, or finds fault with it.
    fn adopt(&mut self, manifest: Manifest, files: Vec<OwnedFd>) -> Outcome<Vec<Finding>> {
        let (mut listeners, mut word, mut findings) = (Vec::new(), String::new(), Vec::new());
        let mut authds = Vec::new();
        for missing in &manifest.missing {
            findings.push(Finding::error(&missing.path, &missing.error, "make it"));
        }
        for (item, file) in manifest.with(files)? {
            match item {
                Item::Definition { path } => {
                    let mut text = String::new();
                    File::from(file).read_to_string(&mut text)?;
                    let line = text.lines().find_map(|line| line.strip_prefix("# pretend "));
                    word = line.unwrap_or("nothing").to_owned();
                    if word == "refuse" {
                        findings.push(Finding::error(&path, "pretends to be bad", "pretend otherwise"));
                    }
                }
                Item::File { path } => {
                    File::from(file).read_to_string(&mut String::new())?;
                    std::fs::write("file", path.to_string_lossy().as_bytes())?;
                }
                Item::Listener { .. } => listeners.push(TcpListener::from(file)),
                Item::Authd { .. } => authds.push(Link::from(file)),
            }
        }
        if findings.is_empty() {
            // Those of the generation before are hung up on.
            (self.listeners, self.word, self.authds) = (listeners, word, authds);
        }
        Ok(findings)
    }

    fn connections(&mut self) {
        let words = format!("{} {}", std::process::id(), self.word);
        for listener in &self.listeners {
            while let Ok((mut session, _)) = listener.accept() {
                let code = if self.paused { 421 } else { 220 };
                let _ = write!(session, "{code} {words}\r\n");
                if !self.paused && session.set_nonblocking(true).is_ok() {
                    self.sessions.push(session);
                }
            }
        }
        self.sessions.retain_mut(|session| match session.read(&mut [0; 512]) {
            Ok(0) => false,
            Ok(_) => write!(session, "250 {words}\r\n").is_ok(),
            Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
        });
    }

    fn questions(&mut self) {
        let pid = u64::from(std::process::id());
        self.introduced.retain(|link| {
            let _ = link.set_nonblocking(true);
            let answer = match link.receive::<Question>() {
                Ok(Received::Packet(Question::Hello { .. }, _)) => Answer::Hello { version: VERSION },
                Ok(Received::Packet(Question::Counters, _)) => {
                    Answer::Counters(BTreeMap::from([("pid".to_owned(), pid)]))
                }
                Ok(Received::Packet(..)) => Answer::Unknown { reason: "pretends not to know".to_owned() },
                Err(Error::WouldBlock) => return true,
                Ok(Received::Closed) | Err(_) => return false,
            };
            link.send(&answer, &[]).is_ok()
        });
    }
}

/// Notes what it was given, in its state folder: its open files, its user and groups, its environment.
fn inventory() -> Outcome<()> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        let target = std::fs::read_link(entry.path()).unwrap_or_default();
        files.push(format!("{} {}", entry.file_name().to_string_lossy(), target.display()));
    }
    std::fs::write("fds", files.join("\n"))?;
    std::fs::write("status", std::fs::read("/proc/self/status")?)?;
    std::fs::write("limits", std::fs::read("/proc/self/limits")?)?;
    let environment: Vec<String> = std::env::vars().map(|(name, _)| name).collect();
    std::fs::write("environment", environment.join("\n"))?;
    Ok(())
}

/// What goes wrong before it is ready.
fn misbehave(word: &str, link: &Link) -> Outcome<()> {
    match word {
        "crash" => exit(7),
        "abort" => std::process::abort(),
        "hang up" => {
            let _ = rustix::net::shutdown(link, rustix::net::Shutdown::Both);
            loop {
                std::thread::park();
            }
        }
        "unversioned" => link.send(&Report::Ready, &[])?,
        "future" => link.send(&Report::Hello { version: VERSION + 1 }, &[])?,
        _ => {}
    }
    Ok(())
}

/// What goes wrong once it is ready.
fn misbehave_later(word: &str, link: &Link) -> Outcome<()> {
    match word {
        "nonsense" => link.send(&"nonsense", &[])?,
        "generous" => link.send(&Report::Ready, &[link.as_fd()])?,
        "twice" => link.send(&Report::Ready, &[])?,
        "chatter" => {
            link.set_nonblocking(false)?;
            loop {
                link.send(&Report::Alive { sessions: 0, queued: 0, note: String::new() }, &[])?;
            }
        }
        _ => {}
    }
    Ok(())
}

//! `postern demo` with the real posternd and postern-vserver, and curl, as a newcomer would try it.
//!
//! The programs must stand beside `postern`: `make test` builds them first.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const PATIENCE: Duration = Duration::from_secs(60);

/// A demonstration that runs, and what it said.
struct Demo {
    child: Child,
    said: String,
}

impl Demo {
    /// Starts it in `folder`, and reads until the last thing it says.
    fn start(folder: &Path) -> Demo {
        for name in ["posternd", "postern-vserver"] {
            let beside = Path::new(env!("CARGO_BIN_EXE_postern")).with_file_name(name);
            assert!(
                beside.exists(),
                "{} is missing: cargo build -p {name}",
                beside.display()
            );
        }
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let mut command = common::command(&["demo"]);
        command
            .current_dir(folder)
            .stdout(Stdio::piped())
            .stderr(log);
        let mut demo = Demo {
            child: command.spawn().unwrap(),
            said: String::new(),
        };
        let mut lines = BufReader::new(demo.child.stdout.take().unwrap()).lines();
        for line in lines.by_ref().map_while(Result::ok) {
            demo.said.push_str(&line);
            demo.said.push('\n');
            if line.ends_with(" status") {
                // What comes later must have somewhere to go.
                std::thread::spawn(move || lines.for_each(drop));
                return demo;
            }
        }
        panic!(
            "it ended: {}\n{}",
            demo.said,
            std::fs::read_to_string(folder.join("log")).unwrap()
        );
    }

    fn curl_lines(&self) -> Vec<&str> {
        self.said
            .lines()
            .map(str::trim)
            .filter(|line| line.starts_with("curl "))
            .collect()
    }

    fn password(&self) -> &str {
        self.said
            .lines()
            .find_map(|line| line.trim().strip_prefix("password  "))
            .unwrap()
    }

    fn port_of(&self, server: &str) -> u16 {
        let line = self
            .said
            .lines()
            .find(|line| line.trim().starts_with(server))
            .unwrap();
        let at = line.find("127.0.0.1:").unwrap() + "127.0.0.1:".len();
        line[at..]
            .split(|c: char| !c.is_ascii_digit())
            .next()
            .unwrap()
            .parse()
            .unwrap()
    }

    /// Sends a signal, and tells the exit code.
    fn end(mut self, signal: Signal) -> Option<i32> {
        kill(
            Pid::from_raw(i32::try_from(self.child.id()).unwrap()),
            signal,
        )
        .unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // A test that failed must not leave it running; it ends posternd when told to, not when killed.
        let _ = kill(
            Pid::from_raw(i32::try_from(self.child.id()).unwrap()),
            Signal::SIGTERM,
        );
        let _ = self.child.wait();
    }
}

/// The one file that comes to be in a folder.
fn arrived(folder: &Path) -> PathBuf {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut files = std::fs::read_dir(folder).into_iter().flatten().flatten();
        if let Some(file) = files.next() {
            return file.path();
        }
        assert!(
            Instant::now() < deadline,
            "nothing arrived in {}",
            folder.display()
        );
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

#[test]
fn a_newcomer_sends_two_messages_and_finds_all_again_the_next_time() {
    let folder = tempfile::tempdir().unwrap();
    // Open to the ordinary user that a demonstration started by root runs as.
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let first = Demo::start(folder.path());
    assert_eq!(first.curl_lines().len(), 2, "{}", first.said);
    for line in first.curl_lines() {
        let status = Command::new("sh")
            .arg("-c")
            .arg(format!("{line} -sS"))
            .current_dir(folder.path())
            .status()
            .unwrap();
        assert!(status.success(), "{line}");
    }
    let mail = folder.path().join("demo/mail/example.com");
    for (who, words) in [
        ("bob", "submitted over TLS, with a login"),
        ("alice", "came to the gateway from outside"),
    ] {
        let text = std::fs::read_to_string(arrived(&mail.join(who).join("new"))).unwrap();
        assert!(text.contains(words), "{text}");
    }
    let password = first.password().to_owned();
    let (clients, gateway) = (first.port_of("clients"), first.port_of("gateway"));
    assert_eq!(first.end(Signal::SIGINT), Some(0));

    // Another program has taken a port meanwhile: only that one is another the next time.
    let taken = TcpListener::bind(("127.0.0.1", gateway)).unwrap();
    let second = Demo::start(folder.path());
    assert_eq!(second.password(), password);
    assert_eq!(second.port_of("clients"), clients);
    assert_ne!(second.port_of("gateway"), gateway);
    drop(taken);
    assert_eq!(second.end(Signal::SIGTERM), Some(0));
}

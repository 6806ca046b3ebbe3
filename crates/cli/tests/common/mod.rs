//! Running the built command, comparing with golden files, and a desk and a worker to talk to.
//!
//! `POSTERN_BLESS=1 cargo test -p postern-cli` writes the golden files anew; the diff is then for the eye.

// Each test program uses some of it.
#![allow(dead_code, clippy::unwrap_used, missing_docs, unreachable_pub)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use postern_control::client::{Reply, Request};
use postern_control::query::{Answer, Question};
use postern_control::{Link, Received, VERSION};
use postern_hosting::ServerName;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with,
};

/// What a run of the command left behind.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// The command, without colours and with nothing on standard input.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs the command.
pub fn postern(arguments: &[&str]) -> Run {
    finish(command(arguments).output().unwrap())
}

/// Runs the command with a text on standard input.
pub fn postern_with(arguments: &[&str], input: &str) -> Run {
    let mut command = command(arguments);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that refuses before it reads has closed its end; that is no failure of the test.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    finish(child.wait_with_output().unwrap())
}

fn finish(output: std::process::Output) -> Run {
    Run {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A folder like /etc/postern, gone at the end of the test.
pub struct Etc(tempfile::TempDir);

impl Etc {
    pub fn new() -> Etc {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("servers")).unwrap();
        Etc(folder)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn text(&self) -> &str {
        self.path().to_str().unwrap()
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Runs the command with this folder as its configuration.
    pub fn postern(&self, arguments: &[&str]) -> Run {
        postern(&[&["--config", self.text()], arguments].concat())
    }

    pub fn postern_with(&self, arguments: &[&str], input: &str) -> Run {
        postern_with(&[&["--config", self.text()], arguments].concat(), input)
    }

    /// A text with this folder's path as `[ETC]`.
    pub fn anonymous(&self, text: &str) -> String {
        text.replace(self.text(), "[ETC]")
    }
}

/// Compares with `tests/golden/NAME`.
#[track_caller]
pub fn golden(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    if std::env::var_os("POSTERN_BLESS").is_some() {
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == actual,
        "{name} differs\n--- expected\n{expected}\n--- actual\n{actual}"
    );
}

/// A desk like posternd's: a socket, and an answer for each request.
pub struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    /// Answers all clients one after the other, as `answer` says, until the test ends.
    pub fn answering(
        mut answer: impl FnMut(Request) -> (Reply, Option<Link>) + Send + 'static,
    ) -> Desk {
        let folder = tempfile::tempdir().unwrap();
        let flags = SocketFlags::CLOEXEC;
        let listener =
            socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        bind(
            &listener,
            &SocketAddrUnix::new(folder.path().join("control")).unwrap(),
        )
        .unwrap();
        listen(&listener, 8).unwrap();
        std::thread::spawn(move || {
            while let Ok(client) = accept_with(&listener, flags) {
                serve(&Link::from(client), &mut answer);
            }
        });
        Desk { folder }
    }

    pub fn control(&self) -> String {
        self.folder
            .path()
            .join("control")
            .to_str()
            .unwrap()
            .to_owned()
    }

    pub fn postern(&self, arguments: &[&str]) -> Run {
        postern(&[&["--control", &self.control()], arguments].concat())
    }
}

fn serve(link: &Link, answer: &mut impl FnMut(Request) -> (Reply, Option<Link>)) {
    while let Ok(Received::Packet(request, _)) = link.receive::<Request>() {
        let (reply, worker) = match request {
            Request::Hello { .. } => (Reply::Hello { version: VERSION }, None),
            other => answer(other),
        };
        let files: Vec<_> = worker.iter().map(std::os::fd::AsFd::as_fd).collect();
        if link.send(&reply, &files).is_err() {
            return;
        }
    }
}

/// A worker that answers as `answer` says, behind a desk that introduces everybody.
pub fn desk_with_worker(answer: impl FnMut(Question) -> Answer + Send + Clone + 'static) -> Desk {
    Desk::answering(move |request| match request {
        Request::Introduce { .. } => {
            let (ours, theirs) = Link::pair().unwrap();
            let mut answer = answer.clone();
            std::thread::spawn(move || {
                while let Ok(Received::Packet(question, _)) = ours.receive::<Question>() {
                    let answer = match question {
                        Question::Hello { .. } => Answer::Hello { version: VERSION },
                        other => answer(other),
                    };
                    if ours.send(&answer, &[]).is_err() {
                        return;
                    }
                }
            });
            (Reply::Introduced, Some(theirs))
        }
        other => (
            Reply::refused(format!("not played: {}", other.verb()), Vec::new()),
            None,
        ),
    })
}

pub fn name(text: &str) -> ServerName {
    text.parse().unwrap()
}

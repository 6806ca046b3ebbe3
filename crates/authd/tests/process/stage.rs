//! A postern-authd, and the worker's end of its link.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use postern_control::auth::{Account, Answer, Blob, Question, RefusedKind, Terms};
use postern_control::{Link, Received, VERSION};
use tempfile::TempDir;

/// For everything that must come.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A running postern-authd.
pub(crate) struct Authd {
    child: Child,
    /// The worker's end.
    pub(crate) link: Link,
    /// Its working directory, kept over restarts.
    pub(crate) folder: PathBuf,
    _own: Option<TempDir>,
    next: u32,
}

/// How it ended.
pub(crate) struct End {
    pub(crate) status: ExitStatus,
    /// All it logged.
    pub(crate) log: String,
}

impl Authd {
    /// Started in a folder of its own, and greeted.
    pub(crate) fn start(kind: &str, secret: &[u8]) -> Authd {
        let mut authd = Authd::spawn(&["mx1", kind], secret);
        authd.greet();
        authd
    }

    /// Started in a folder of its own.
    pub(crate) fn spawn(arguments: &[&str], secret: &[u8]) -> Authd {
        let own = tempfile::tempdir().unwrap();
        let mut authd = Authd::spawn_in(own.path(), arguments, secret, &[]);
        authd._own = Some(own);
        authd
    }

    /// Started in this folder, with this in its environment.
    pub(crate) fn spawn_in(
        folder: &Path,
        arguments: &[&str],
        secret: &[u8],
        environment: &[(&str, &str)],
    ) -> Authd {
        let (link, theirs) = Link::pair().unwrap();
        link.set_timeout(Some(DEADLINE)).unwrap();
        let secrets = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut &secrets, secret).unwrap();
        let log = File::create(folder.join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_postern-authd"))
            .args(arguments)
            .envs(environment.iter().copied())
            .current_dir(folder)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(secrets)
            .stderr(log)
            .spawn()
            .unwrap();
        Authd {
            child,
            link,
            folder: folder.to_owned(),
            _own: None,
            next: 0,
        }
    }

    pub(crate) fn greet(&mut self) {
        let hello = Question::Hello { version: VERSION };
        assert_eq!(self.ask(&hello), Answer::Hello { version: VERSION });
    }

    /// What it answers to this.
    pub(crate) fn ask(&mut self, question: &Question) -> Answer {
        self.link.send(question, &[]).unwrap();
        self.answer()
    }

    /// The next answer, whatever it belongs to.
    pub(crate) fn answer(&mut self) -> Answer {
        match self.link.receive() {
            Ok(Received::Packet(answer, _)) => answer,
            other => panic!("{other:?}\n{}", self.log()),
        }
    }

    /// A new exchange's number, and what it comes to first.
    pub(crate) fn begin(
        &mut self,
        mechanism: &str,
        initial: &[u8],
        terms: &Terms,
    ) -> (u32, Answer) {
        self.next += 1;
        let question = Question::Begin {
            exchange: self.next,
            mechanism: mechanism.to_owned(),
            initial: Blob::from(initial),
            terms: Box::new(terms.clone()),
        };
        (self.next, self.ask(&question))
    }

    pub(crate) fn respond(&mut self, exchange: u32, response: &[u8]) -> Answer {
        let response = Blob::from(response);
        self.ask(&Question::Respond { exchange, response })
    }

    pub(crate) fn proceed(&mut self, exchange: u32) -> Answer {
        self.ask(&Question::Proceed { exchange })
    }

    /// Resident and proportional memory, in KiB.
    pub(crate) fn memory(&self) -> (u64, u64) {
        let of = |file: &str, name: &str| {
            let text = std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id()));
            let text = text.unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
            number.unwrap_or(0)
        };
        (of("status", "VmRSS:"), of("smaps_rollup", "Pss:"))
    }

    /// What the kernel says of it.
    pub(crate) fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Waits for it to end by itself.
    pub(crate) fn ends(mut self) -> End {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(start.elapsed() < DEADLINE, "it goes on:\n{}", self.log());
            std::thread::yield_now();
        };
        let log = self.log();
        assert!(!log.contains("panicked"), "{log}");
        End { status, log }
    }

    /// Hangs up, and waits for it to end.
    pub(crate) fn hang_up(mut self) -> End {
        let (link, _) = Link::pair().unwrap();
        drop(std::mem::replace(&mut self.link, link));
        self.ends()
    }
}

impl Drop for Authd {
    fn drop(&mut self) {
        // Ended already, as a rule.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What holds in a session inside TLS with this certificate.
pub(crate) fn terms(end_points: &[&[u8]]) -> Terms {
    Terms {
        host: "mx1.corp.example".to_owned(),
        end_points: end_points.iter().map(|one| Blob::from(*one)).collect(),
        ntlm: true,
        default_domain: "ours.example".to_owned(),
        ..Terms::default()
    }
}

/// The challenge in an answer.
pub(crate) fn challenge(answer: Answer) -> Vec<u8> {
    match answer {
        Answer::Challenge { challenge, .. } => challenge.0,
        other => panic!("{other:?}"),
    }
}

/// The account in an answer.
pub(crate) fn account(answer: Answer) -> Account {
    match answer {
        Answer::Account { account, .. } => *account,
        other => panic!("{other:?}"),
    }
}

/// Who was refused, why, and whether it counts as a guess of a client of NTLM.
pub(crate) fn refused(answer: Answer) -> (Option<String>, String, bool) {
    match answer {
        Answer::Refused {
            name, why, kind, ..
        } => (name, why, kind != RefusedKind::Barred),
        other => panic!("{other:?}"),
    }
}

/// Why nobody knows.
pub(crate) fn unavailable(answer: Answer) -> String {
    match answer {
        Answer::Unavailable { why, .. } => why,
        other => panic!("{other:?}"),
    }
}

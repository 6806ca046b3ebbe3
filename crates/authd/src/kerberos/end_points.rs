//! Which of several certificates a client is bound to.
//!
//! ```text
//! tokens so far ─▶ a second process with the same keytab, which keeps no replays ─▶ for each certificate: bound to it?
//! ```
//!
//! The library says only whether a token fits one binding, and takes a token once: a second try is a replay. So the tries go
//! to a process of its own, which is a postern-authd like this one, asked as a worker asks; what it says opens no door. It is
//! started when the first client comes to a server with several certificates, and ends with this process.
//!
//! Never: an account because the second process said so.

use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use postern_control::auth::{Answer, Blob, Question, Terms};
use postern_control::{Error, Link, Received, VERSION};

use super::lives::MYSELF;
use crate::backend::No;

/// Far more than a few milliseconds of work.
const DEADLINE: Duration = Duration::from_secs(10);

/// The second process, for all threads.
#[derive(Clone)]
pub(super) struct EndPoints(Arc<Mutex<Second>>);

struct Second {
    server: String,
    keytab: i32,
    running: Option<Running>,
}

struct Running {
    child: Child,
    link: Link,
    next: u32,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It would end by itself at the end of its link, but be nobody's child to wait for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One exchange's.
pub(super) struct Search {
    end_points: EndPoints,
    /// What is asked of the second process: bound, or no.
    terms: Terms,
    tokens: Vec<Vec<u8>>,
}

impl EndPoints {
    /// For a server's keytab, open as this number.
    pub(super) fn new(server: &str, keytab: i32) -> EndPoints {
        EndPoints(Arc::new(Mutex::new(Second {
            server: server.to_owned(),
            keytab,
            running: None,
        })))
    }

    /// Begins for one exchange.
    pub(super) fn search(&self, terms: &Terms) -> Search {
        Search {
            end_points: self.clone(),
            terms: Terms {
                binding_required: true,
                ntlm: false,
                ..terms.clone()
            },
            tokens: Vec::new(),
        }
    }
}

impl Search {
    /// The end point that this token and those before it are bound to; the first where they are bound to none.
    pub(super) fn with(&mut self, token: &[u8]) -> Result<&[u8], No> {
        self.tokens.push(token.to_vec());
        let mut second = self
            .end_points
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let found = second.find(&self.terms, &self.tokens).map_err(|error| {
            // Whatever state it is in: the next client gets a new one.
            second.running = None;
            No::unavailable(format!("which certificate the client is bound to: {error}"))
        })?;
        let end_points = &self.terms.end_points;
        Ok(end_points
            .get(found)
            .map_or(&[], |end_point| end_point.0.as_slice()))
    }
}

impl Second {
    fn find(&mut self, terms: &Terms, tokens: &[Vec<u8>]) -> Result<usize, Error> {
        let running = match &mut self.running {
            Some(running) => running,
            none => none.insert(Running::start(&self.server, self.keytab)?),
        };
        for (at, end_point) in terms.end_points.iter().enumerate() {
            let terms = Terms {
                end_points: vec![end_point.clone()],
                ..terms.clone()
            };
            if running.takes(&terms, tokens)? {
                return Ok(at);
            }
        }
        Ok(0)
    }
}

impl Running {
    fn start(server: &str, keytab: i32) -> Result<Running, Error> {
        let (link, theirs) = Link::pair()?;
        let started = Command::new(MYSELF)
            .args([server, "kerberos", &keytab.to_string()])
            .env("KRB5RCACHENAME", "none:")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .spawn();
        let child = started.map_err(|source| Error::System {
            doing: "start a second process",
            source,
        })?;
        let running = Running {
            child,
            link,
            next: 0,
        };
        running.link.set_timeout(Some(DEADLINE))?;
        match running.ask(&Question::Hello { version: VERSION })? {
            Answer::Hello { .. } => Ok(running),
            _ => Err(Error::Unexpected("no Hello".to_owned())),
        }
    }

    /// Whether these tokens are taken under these terms, as far as they go.
    fn takes(&mut self, terms: &Terms, tokens: &[Vec<u8>]) -> Result<bool, Error> {
        self.next = self.next.wrapping_add(1);
        let exchange = self.next;
        for (at, token) in tokens.iter().enumerate() {
            let blob = Blob(token.clone());
            let question = match at {
                0 => Question::Begin {
                    exchange,
                    mechanism: "GSS-SPNEGO".to_owned(),
                    initial: blob,
                    terms: Box::new(terms.clone()),
                },
                _ => Question::Respond {
                    exchange,
                    response: blob,
                },
            };
            match self.ask(&question)? {
                Answer::Challenge { .. } => {}
                Answer::Account { .. } => return Ok(true),
                Answer::Refused { .. } => return Ok(false),
                Answer::Unavailable { why, .. } => return Err(Error::Refused { reason: why }),
                _ => return Err(Error::Unexpected("an answer to nothing".to_owned())),
            }
        }
        self.link.send(&Question::Drop { exchange }, &[])?;
        Ok(true)
    }

    fn ask(&self, question: &Question) -> Result<Answer, Error> {
        self.link.send(question, &[])?;
        match self.link.receive()? {
            Received::Packet(answer, _) => Ok(answer),
            Received::Closed => Err(Error::Closed),
        }
    }
}

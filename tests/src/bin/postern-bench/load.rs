//! The load generator: many SMTP sessions on one thread and one epoll set, with as few system calls as SMTP allows.
//!
//! ```text
//! connect → 220 → EHLO → 250 → [AUTH → 235 →] MAIL+RCPT+DATA → 250 250 354 → body+dot [+QUIT] → 250 [221] → again
//! ```
//! With `--each 0` a session is 220, QUIT, 221, and counts as a message; with `--accounts N` as well it logs in before, as
//! the next of N accounts. It prints one JSON line: messages answered 250, the seconds from first connect to last 250,
//! how long 99 of 100 transactions took at most, refusals, its own processor time. Never: a second thread; it shares two cores with what it measures.

use crate::arguments::value;
use crate::measure::own_cpu;
use crate::poller::{Poller, Watch};
use crate::{Failure, accounts};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

pub(crate) fn main(words: &[String]) -> Result<(), Failure> {
    let plan = Plan {
        to: value(words, "to", "127.0.0.1:25".parse()?)?,
        connections: value(words, "connections", 100)?,
        messages: value(words, "messages", 1000)?,
        each: value(words, "each", 1)?,
        size: value(words, "size", 4096)?,
        first_account: value(words, "first-account", 0)?,
        accounts: value(words, "accounts", 0)?,
    };
    println!("{}", serde_json::to_string(&Generator::new(plan)?.run()?)?);
    Ok(())
}

struct Plan {
    to: SocketAddr,
    connections: usize,
    /// In all.
    messages: u64,
    /// Messages a connection.
    each: u64,
    size: usize,
    /// Who logs in: so many accounts from this one on, in turn. Nobody, where there are none.
    first_account: u64,
    accounts: u64,
}

/// What a run of the generator found.
#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct Outcome {
    pub(crate) messages: u64,
    pub(crate) seconds: f64,
    pub(crate) refused: u64,
    pub(crate) first_refusal: Option<String>,
    pub(crate) cpu_seconds: f64,
    /// From MAIL to the last 250, in ms: 99 of 100 transactions took no longer.
    pub(crate) p99: f64,
    /// All of them, in microseconds.
    #[serde(skip)]
    took: Vec<u32>,
}

/// Where a session stands: what it waits for.
enum State {
    Greeting,
    Hello,
    Login,
    /// Replies still to come before the body may go.
    Transaction(u8),
    /// The body is on its way, or its reply is awaited.
    Body,
    Goodbye,
}

struct Session {
    stream: TcpStream,
    state: State,
    /// How much of the current message has been written.
    written: usize,
    /// Messages still to send on this connection, this one included.
    left: u64,
    partial: Vec<u8>,
    watch: Watch,
    /// AUTH, where it logs in.
    login: Option<String>,
    /// When the current message began.
    begun: Instant,
}

struct Generator {
    plan: Plan,
    poller: Poller,
    sessions: Vec<Option<Session>>,
    /// Body with final dot, and the same with QUIT behind it.
    body: Vec<u8>,
    last_body: Vec<u8>,
    begun: u64,
    outcome: Outcome,
}

const ENVELOPE: &[u8] =
    b"MAIL FROM:<bench@client.example>\r\nRCPT TO:<someone@dest.example>\r\nDATA\r\n";

impl Generator {
    fn new(plan: Plan) -> Result<Generator, Failure> {
        let body = message(plan.size);
        let last_body = [body.as_slice(), b"QUIT\r\n"].concat();
        let outcome = Outcome {
            messages: 0,
            seconds: 0.0,
            refused: 0,
            first_refusal: None,
            cpu_seconds: 0.0,
            p99: 0.0,
            took: Vec::new(),
        };
        Ok(Generator {
            poller: Poller::new()?,
            sessions: Vec::new(),
            body,
            last_body,
            begun: 0,
            outcome,
            plan,
        })
    }

    fn run(mut self) -> Result<Outcome, Failure> {
        let start = Instant::now();
        let mut last = start;
        for token in 0..self.plan.connections {
            self.sessions.push(None);
            self.open(token)?;
        }
        let (mut ready, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
        while self.sessions.iter().any(Option::is_some) {
            self.poller.wait(Duration::from_secs(60), &mut ready)?;
            if ready.is_empty() {
                return Err(format!(
                    "nothing happened for a minute; {} messages in",
                    self.outcome.messages
                )
                .into());
            }
            // Until the last 250, whatever else still comes.
            let before = self.outcome.messages;
            for &token in &ready {
                if !self.drive(token, &mut buffer) {
                    self.sessions[token] = None;
                    self.open(token)?;
                }
            }
            if self.outcome.messages > before {
                last = Instant::now();
            }
        }
        self.outcome.seconds = (last - start).as_secs_f64();
        self.outcome.cpu_seconds = own_cpu().as_secs_f64();
        let took = &mut self.outcome.took;
        took.sort_unstable();
        let longest = took.get((took.len() * 99 / 100).min(took.len().saturating_sub(1)));
        self.outcome.p99 = longest.map_or(0.0, |&micros| f64::from(micros) / 1e3);
        Ok(self.outcome)
    }

    /// Opens the next connection in place `token`, as long as there are messages to send.
    fn open(&mut self, token: usize) -> Result<(), Failure> {
        let remaining = self.plan.messages.saturating_sub(self.begun);
        if remaining == 0 {
            return Ok(());
        }
        let left = self.plan.each.min(remaining);
        let login = (self.plan.accounts > 0).then(|| {
            let number = self.plan.first_account + self.begun % self.plan.accounts;
            format!(
                "AUTH PLAIN {}\r\n",
                accounts::blob(&accounts::name(number), accounts::PASSWORD)
            )
        });
        // A session without a message counts as one.
        self.begun += left.max(1);
        let stream = TcpStream::connect(self.plan.to)?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        self.poller.add(&stream, token)?;
        self.sessions[token] = Some(Session {
            stream,
            state: State::Greeting,
            written: 0,
            left,
            partial: Vec::new(),
            watch: Watch::Read,
            login,
            begun: Instant::now(),
        });
        Ok(())
    }

    /// Does what the socket of `token` is ready for; false when that session is over.
    fn drive(&mut self, token: usize, buffer: &mut [u8]) -> bool {
        let Some(session) = self.sessions[token].as_mut() else {
            return true;
        };
        let bodies = Bodies {
            more: &self.body,
            last: &self.last_body,
        };
        if session.watch == Watch::ReadWrite && !session.write(token, &self.poller, &bodies) {
            return self.lost("the connection broke under a body");
        }
        loop {
            let Some(session) = self.sessions[token].as_mut() else {
                return true;
            };
            let count = match session.stream.read(buffer) {
                Ok(0) if matches!(session.state, State::Goodbye) => return false,
                Ok(0) => return self.lost("closed by the server"),
                Ok(count) => count,
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
                {
                    return true;
                }
                Err(error) => return self.lost(&error.to_string()),
            };
            let full = count == buffer.len();
            if !session.take(
                &buffer[..count],
                token,
                &self.poller,
                &bodies,
                &mut self.outcome,
            ) {
                return false;
            }
            if !full {
                return true;
            }
        }
    }

    fn lost(&mut self, why: &str) -> bool {
        self.outcome.refuse(why);
        false
    }
}

impl Outcome {
    fn refuse(&mut self, why: &str) {
        self.refused += 1;
        self.first_refusal
            .get_or_insert_with(|| why.trim().to_owned());
    }
}

struct Bodies<'a> {
    more: &'a [u8],
    last: &'a [u8],
}

impl Session {
    fn take(
        &mut self,
        bytes: &[u8],
        token: usize,
        poller: &Poller,
        bodies: &Bodies<'_>,
        outcome: &mut Outcome,
    ) -> bool {
        let joined;
        let mut bytes = bytes;
        if !self.partial.is_empty() {
            joined = [std::mem::take(&mut self.partial).as_slice(), bytes].concat();
            bytes = &joined;
        }
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at(end + 1);
            bytes = rest;
            // `250-…`: more lines of this reply follow.
            if line.get(3) == Some(&b'-') {
                continue;
            }
            if !self.reply(line, token, poller, bodies, outcome) {
                return false;
            }
        }
        self.partial.extend_from_slice(bytes);
        true
    }

    /// Goes on after the final line of a reply; false when the session is over.
    fn reply(
        &mut self,
        line: &[u8],
        token: usize,
        poller: &Poller,
        bodies: &Bodies<'_>,
        outcome: &mut Outcome,
    ) -> bool {
        if !matches!(line[0], b'2' | b'3') {
            outcome.refuse(&String::from_utf8_lossy(line));
            return false;
        }
        match self.state {
            State::Greeting | State::Login if self.left == 0 && self.login.is_none() => {
                outcome.messages += 1;
                self.state = State::Goodbye;
                self.stream.write_all(b"QUIT\r\n").is_ok()
            }
            State::Greeting => {
                self.state = State::Hello;
                self.stream.write_all(b"EHLO client.example\r\n").is_ok()
            }
            State::Hello => match self.login.take() {
                Some(login) => {
                    self.state = State::Login;
                    self.stream.write_all(login.as_bytes()).is_ok()
                }
                None => self.transaction(),
            },
            State::Login => self.transaction(),
            State::Transaction(1) => {
                self.state = State::Body;
                self.written = 0;
                self.write(token, poller, bodies)
            }
            State::Transaction(awaited) => {
                self.state = State::Transaction(awaited - 1);
                true
            }
            State::Body => {
                outcome.messages += 1;
                let micros = self.begun.elapsed().as_micros();
                outcome.took.push(u32::try_from(micros).unwrap_or(u32::MAX));
                self.left -= 1;
                if self.left == 0 {
                    self.state = State::Goodbye;
                    return true;
                }
                self.transaction()
            }
            // 221: closed here, without waiting for the server to do it.
            State::Goodbye => false,
        }
    }

    fn transaction(&mut self) -> bool {
        self.state = State::Transaction(3);
        self.begun = Instant::now();
        self.stream.write_all(ENVELOPE).is_ok()
    }

    /// Writes what the socket takes of the body; false when the connection is broken.
    fn write(&mut self, token: usize, poller: &Poller, bodies: &Bodies<'_>) -> bool {
        let body = if self.left == 1 {
            bodies.last
        } else {
            bodies.more
        };
        while self.written < body.len() {
            match self.stream.write(&body[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        let wanted = if self.written < body.len() {
            Watch::ReadWrite
        } else {
            Watch::Read
        };
        if wanted != self.watch {
            self.watch = wanted;
            return poller.watch(&self.stream, token, wanted).is_ok();
        }
        true
    }
}

/// A message of `size` bytes, header included, with the final dot behind it.
fn message(size: usize) -> Vec<u8> {
    let mut body =
        b"From: <bench@client.example>\r\nTo: <someone@dest.example>\r\nSubject: bench\r\n\
        Message-ID: <bench@client.example>\r\nDate: Tue, 24 Nov 2026 07:00:00 +0000\r\n\r\n"
            .to_vec();
    let line = b"The quick brown fox jumps over the lazy dog, and then does it all over again.\r\n";
    while body.len() + line.len() <= size {
        body.extend_from_slice(line);
    }
    if body.len() + 2 <= size {
        body.resize(size - 2, b'x');
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b".\r\n");
    body
}

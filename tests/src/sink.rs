//! An SMTP (or LMTP) server in the test's own process that keeps what it gets, byte for byte, and fails as it is told to.

use crate::wire::unstuffed;
use crate::{Failure, wait};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The place in a session at which a script may give another reply than the usual one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At<'a> {
    /// Instead of the greeting; anything but 220 closes.
    Connect,
    /// The argument of MAIL.
    Mail(&'a str),
    /// The argument of RCPT.
    Rcpt(&'a str),
    /// DATA.
    Data,
    /// After the body.
    Body(&'a Taken),
}

/// What a script says: `None` is the usual reply, a text another one, and "" closes without a word.
pub type Script = Box<dyn Fn(At<'_>) -> Option<String> + Send + Sync>;

/// A message that was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// The argument of MAIL, parameters included.
    pub mail: String,
    /// The arguments of RCPT that were accepted.
    pub recipients: Vec<String>,
    /// The content, dots undone.
    pub content: Vec<u8>,
}

/// The running sink. It ends with this value.
pub struct Sink {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    taken: Mutex<Vec<Taken>>,
    script: Script,
    ended: AtomicBool,
    connections: AtomicUsize,
    chunking: bool,
}

impl Sink {
    /// A sink that takes everything.
    pub fn start() -> Result<Sink, Failure> {
        Sink::scripted(Box::new(|_| None))
    }

    /// A sink with replies of its own.
    pub fn scripted(script: Script) -> Result<Sink, Failure> {
        Sink::on(wait::free_address()?, script, true)
    }

    /// The same on a given address, with CHUNKING or without.
    pub fn on(address: SocketAddr, script: Script, chunking: bool) -> Result<Sink, Failure> {
        let listener = TcpListener::bind(address)?;
        let shared = Arc::new(Shared {
            taken: Mutex::default(),
            script,
            ended: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            chunking,
        });
        let served = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if served.ended.load(Ordering::SeqCst) {
                    return;
                }
                served.connections.fetch_add(1, Ordering::SeqCst);
                let served = Arc::clone(&served);
                // A client that goes away ends its session, nothing more.
                std::thread::spawn(move || drop(session(stream, &served)));
            }
        });
        Ok(Sink { address, shared })
    }

    /// What has come so far.
    pub fn taken(&self) -> Vec<Taken> {
        self.shared.taken().clone()
    }

    /// How many messages have come so far.
    pub fn count(&self) -> usize {
        self.shared.taken().len()
    }

    /// How many connections were made so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Waits for `count` messages.
    pub fn wait(&self, count: usize) -> Result<Vec<Taken>, Failure> {
        let found = wait::until(
            &format!("{count} messages at the sink"),
            Duration::from_secs(60),
            || (self.count() >= count).then(|| self.taken()),
        );
        found.map_err(|error| format!("{error}; {} have come", self.count()).into())
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which then lets go of the port.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn taken(&self) -> MutexGuard<'_, Vec<Taken>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The script's reply or the usual one; an error where the script wants the connection closed.
    fn reply(&self, at: At<'_>, usual: &str) -> Result<String, Failure> {
        match (self.script)(at) {
            Some(text) if text.is_empty() => Err("the script closes".into()),
            Some(text) => Ok(text),
            None => Ok(usual.to_owned()),
        }
    }
}

fn session(stream: TcpStream, shared: &Shared) -> Result<(), Failure> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(120)))?;
    let mut out = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    let mut say = move |text: &str| -> Result<(), Failure> {
        Ok(out.write_all(format!("{text}\r\n").as_bytes())?)
    };
    let greeting = shared.reply(At::Connect, "220 sink.example.test ESMTP")?;
    say(&greeting)?;
    if !greeting.starts_with("220") {
        return Ok(());
    }
    let mut message = Taken::default();
    let (mut lmtp, mut begun) = (false, false);
    loop {
        let mut bytes = Vec::new();
        if reader.read_until(b'\n', &mut bytes)? == 0 {
            return Ok(());
        }
        let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
        let (verb, argument) = line.split_once(' ').unwrap_or((&line, ""));
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" | "LHLO" => {
                lmtp = verb.eq_ignore_ascii_case("LHLO");
                let chunking = if shared.chunking {
                    "250-CHUNKING\r\n250-BINARYMIME\r\n"
                } else {
                    ""
                };
                say(&format!(
                    "250-sink.example.test\r\n250-PIPELINING\r\n250-SIZE 104857600\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n{chunking}250-DSN\r\n250 ENHANCEDSTATUSCODES"
                ))?;
            }
            "MAIL" => {
                message = Taken {
                    mail: argument.to_owned(),
                    ..Taken::default()
                };
                let reply = shared.reply(At::Mail(argument), "250 2.1.0 ok")?;
                begun = reply.starts_with('2');
                say(&reply)?;
            }
            "RCPT" if !begun => say("503 5.5.1 no sender")?,
            "RCPT" => {
                let reply = shared.reply(At::Rcpt(argument), "250 2.1.5 ok")?;
                if reply.starts_with('2') {
                    message.recipients.push(argument.to_owned());
                }
                say(&reply)?;
            }
            "DATA" if message.recipients.is_empty() => say("503 5.5.1 no recipient")?,
            "DATA" => {
                let reply = shared.reply(At::Data, "354 go on")?;
                say(&reply)?;
                if reply.starts_with('3') {
                    message.content = until_dot(&mut reader)?;
                    finish(std::mem::take(&mut message), lmtp, shared, &mut say)?;
                }
            }
            "BDAT" => {
                let mut words = argument.split_ascii_whitespace();
                let size = words.next().unwrap_or("0").parse()?;
                let mut chunk = vec![0; size];
                reader.read_exact(&mut chunk)?;
                message.content.extend_from_slice(&chunk);
                if message.recipients.is_empty() {
                    say("503 5.5.1 no recipient")?;
                } else if words.next().is_some() {
                    finish(std::mem::take(&mut message), lmtp, shared, &mut say)?;
                } else {
                    say("250 2.0.0 more")?;
                }
            }
            "RSET" => {
                message = Taken::default();
                say("250 2.0.0 ok")?;
            }
            "QUIT" => {
                say("221 2.0.0 bye")?;
                return Ok(());
            }
            _ => say("250 2.0.0 ok")?,
        }
    }
}

/// Keeps the message, then answers: once, or in LMTP once a recipient (RFC 2033 §4.2).
fn finish(
    message: Taken,
    lmtp: bool,
    shared: &Shared,
    say: &mut impl FnMut(&str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let replies = if lmtp { message.recipients.len() } else { 1 };
    let reply = shared.reply(At::Body(&message), "250 2.6.0 taken")?;
    if reply.starts_with('2') {
        shared.taken().push(message);
    }
    (0..replies).try_for_each(|_| say(&reply))
}

fn until_dot(reader: &mut impl BufRead) -> Result<Vec<u8>, Failure> {
    let mut wire = Vec::new();
    loop {
        let start = wire.len();
        if reader.read_until(b'\n', &mut wire)? == 0 {
            return Err("the body was cut off".into());
        }
        if &wire[start..] == b".\r\n" && (start == 0 || wire[..start].ends_with(b"\r\n")) {
            wire.truncate(start);
            return Ok(unstuffed(&wire));
        }
    }
}

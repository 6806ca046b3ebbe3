//! A conversation with a server: what was said is kept, what went over the wire is recorded, every wait has a deadline.
//!
//! ```text
//!   said    "MAIL FROM:<>" → "250 2.1.0 sender OK"      above TLS, for the report
//!   TLS
//!   tap     17 03 03 00 22 …                            below TLS, for the proofs and for Wireshark
//! ```
//!
//! Never: a panic on what a peer sends; a wait without an end; a password among what was said.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use postern_tls::{CertificateFacts, ClientStream, ClientTls, Facts};
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout, timeout_at};

use crate::reply::{Answer, clip};
use crate::tap::{Side, Tap, Tape};

/// The most lines of a conversation that are kept for the report.
const MOST_SAID: usize = 40;

/// Why a conversation could not go on.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Fault {
    /// No connection.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// Nothing came in time.
    #[error("no answer within {} s", .0.as_secs_f32())]
    Silent(Duration),
    /// The server has closed.
    #[error("the server closed the connection")]
    Closed,
    /// The system broke it off.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// What came is no reply.
    #[error("this is no SMTP reply: {0}")]
    Garbage(String),
    /// The handshake did not succeed.
    #[error("the TLS handshake failed: {0}")]
    Tls(String),
    /// The server did not keep to SCRAM, or did not prove that it knows the account.
    #[error("SCRAM cannot go on: {0}")]
    Scram(String),
    /// The given account was refused before.
    #[error("the given account was refused, and is not tried again")]
    NoLogin,
    /// A reply that ends the attempt.
    #[error("{what} was answered: {answer}")]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// The reply.
        answer: Answer,
    },
}

impl Fault {
    pub(crate) fn is_close(&self) -> bool {
        matches!(self, Fault::Closed | Fault::Broken(_))
    }

    fn of(error: &io::Error) -> Fault {
        match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe => Fault::Closed,
            _ => Fault::Broken(plain(error)),
        }
    }
}

/// What the system said, without its number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split_once(" (os error ")
        .map_or(text.as_str(), |(words, _)| words)
        .to_owned()
}

/// One line of a conversation, fit for a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Said {
    /// Who.
    pub from: Side,
    /// What, without control characters.
    pub text: String,
}

enum Stream {
    Plain(Tap),
    Secure(Box<ClientStream<Tap>>),
}

/// One connection.
pub(crate) struct Wire {
    stream: Stream,
    tape: Tape,
    input: Vec<u8>,
    wait: Duration,
    said: Vec<Said>,
    offer: Option<Answer>,
    tls: Option<Secured>,
    asked: Option<Instant>,
    slowest: Duration,
}

/// What a handshake brought.
#[derive(Clone)]
pub(crate) struct Secured {
    pub(crate) facts: Facts,
    pub(crate) certificate: Option<CertificateFacts>,
    /// How many bytes client and server had sent in clear before it.
    pub(crate) clear: (usize, usize),
}

impl Wire {
    /// Connects, from a local address where one is given. Nothing is read yet.
    pub(crate) async fn connect(
        address: SocketAddr,
        source: Option<IpAddr>,
        wait: Duration,
    ) -> Result<Wire, Fault> {
        let dialled = timeout(wait, dial(address, source)).await;
        let stream = dialled
            .map_err(|_| Fault::Connect(format!("no answer within {} s", wait.as_secs_f32())))?
            .map_err(|error| Fault::Connect(plain(&error)))?;
        let tap = Tap::new(stream).map_err(|error| Fault::of(&error))?;
        Ok(Wire {
            tape: tap.tape(),
            stream: Stream::Plain(tap),
            input: Vec::new(),
            wait,
            said: Vec::new(),
            offer: None,
            tls: None,
            asked: None,
            slowest: Duration::ZERO,
        })
    }

    /// The recording of this connection.
    pub(crate) fn tape(&self) -> Tape {
        self.tape.clone()
    }

    /// What was said so far, the latest lines of it.
    pub(crate) fn said(&self) -> &[Said] {
        &self.said
    }

    /// Forgets what was said so far.
    pub(crate) fn forget(&mut self) {
        self.said.clear();
    }

    /// The facts of the handshake.
    pub(crate) fn secured(&self) -> Option<&Secured> {
        self.tls.as_ref()
    }

    /// The parameters of an extension that the last EHLO offered.
    pub(crate) fn offers(&self, keyword: &str) -> Option<&str> {
        self.offer.as_ref()?.offers(keyword)
    }

    /// Mechanisms that AUTH offers, in capitals.
    pub(crate) fn mechanisms(&self) -> Vec<String> {
        let words = self.offers("AUTH").unwrap_or_default().split_whitespace();
        words.map(str::to_ascii_uppercase).collect()
    }

    /// How long an answer that must not come is waited for: at least `least`, and far longer than this server ever took.
    pub(crate) fn patience(&self, least: Duration) -> Duration {
        least.max(self.slowest * 4)
    }

    fn note(&mut self, from: Side, text: &str) {
        if self.said.len() == MOST_SAID {
            self.said.remove(0);
        }
        self.said.push(Said {
            from,
            text: clip(text),
        });
    }

    /// Writes bytes; the report shows them with escapes.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let shown = String::from_utf8_lossy(bytes).into_owned();
        self.send_as(bytes, shown.trim_end_matches("\r\n")).await
    }

    /// Writes bytes that the report shows as `shown`.
    pub(crate) async fn send_as(&mut self, bytes: &[u8], shown: &str) -> Result<(), Fault> {
        self.note(Side::Client, shown);
        self.asked = Some(Instant::now());
        let write = async {
            match &mut self.stream {
                Stream::Plain(tap) => {
                    tap.write_all(bytes).await?;
                    tap.flush().await
                }
                Stream::Secure(tls) => {
                    tls.write_all(bytes).await?;
                    tls.flush().await
                }
            }
        };
        match timeout(self.wait, write).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Fault::of(&error)),
            Err(_) => Err(Fault::Silent(self.wait)),
        }
    }

    /// Sends one command and waits for its reply.
    pub(crate) async fn say(&mut self, line: &str) -> Result<Answer, Fault> {
        self.send(format!("{line}\r\n").as_bytes()).await?;
        self.answer().await
    }

    /// The same, for a line that holds a secret: the report shows `shown`.
    pub(crate) async fn say_as(&mut self, line: &str, shown: &str) -> Result<Answer, Fault> {
        self.send_as(format!("{line}\r\n").as_bytes(), shown)
            .await?;
        self.answer().await
    }

    /// Says EHLO; what it offers holds from now on.
    pub(crate) async fn hello(&mut self) -> Result<(), Fault> {
        let ip = self.tape.lock().local.ip();
        let line = match ip {
            IpAddr::V4(ip) => format!("EHLO [{ip}]"),
            IpAddr::V6(ip) => format!("EHLO [IPv6:{ip}]"),
        };
        let answer = self.say(&line).await?;
        if answer.code != 250 {
            return Err(Fault::Refused {
                what: "EHLO",
                answer,
            });
        }
        self.offer = Some(answer);
        Ok(())
    }

    /// Waits for the next reply.
    pub(crate) async fn answer(&mut self) -> Result<Answer, Fault> {
        let limit = self.wait;
        match self.answer_within(limit).await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(Fault::Silent(limit)),
            Err(fault) => Err(fault),
        }
    }

    /// Waits for a reply for so long; `None` where there was none.
    pub(crate) async fn answer_within(&mut self, limit: Duration) -> Result<Option<Answer>, Fault> {
        let deadline = Instant::now() + limit;
        loop {
            match Answer::read(&self.input) {
                Ok(Some((answer, used))) => {
                    self.input.drain(..used);
                    if let Some(asked) = self.asked.take() {
                        self.slowest = self.slowest.max(asked.elapsed());
                    }
                    self.note(Side::Server, &answer.to_string());
                    return Ok(Some(answer));
                }
                Ok(None) => {}
                Err(text) => {
                    self.note(Side::Server, &text);
                    return Err(Fault::Garbage(text));
                }
            }
            match timeout_at(deadline, self.fill()).await {
                Ok(Ok(())) => {}
                Ok(Err(fault)) => {
                    self.note(Side::Server, &format!("({fault})"));
                    return Err(fault);
                }
                Err(_) => return Ok(None),
            }
        }
    }

    /// Reads once. Safe to give up half-way: nothing read is lost.
    async fn fill(&mut self) -> Result<(), Fault> {
        self.input.reserve(4096);
        let read = match &mut self.stream {
            Stream::Plain(tap) => tap.read_buf(&mut self.input).await,
            Stream::Secure(tls) => tls.read_buf(&mut self.input).await,
        };
        match read {
            Ok(0) => Err(Fault::Closed),
            Ok(_) => Ok(()),
            Err(error) => Err(Fault::of(&error)),
        }
    }

    /// Bytes that came and were not read as a reply, waiting for some where there are none.
    pub(crate) async fn raw(&mut self, limit: Duration) -> Result<Vec<u8>, Fault> {
        if self.input.is_empty() {
            timeout(limit, self.fill())
                .await
                .map_err(|_| Fault::Silent(limit))??;
        }
        Ok(std::mem::take(&mut self.input))
    }

    /// Does the handshake. What a server has sent in clear beyond its 220 stands where TLS should, and is a fault.
    pub(crate) async fn secure(self, tls: &ClientTls, host: &str) -> Result<Wire, Fault> {
        if !self.input.is_empty() {
            let text = clip(&String::from_utf8_lossy(&self.input));
            return Err(Fault::Tls(format!("the server goes on in clear: {text}")));
        }
        let Stream::Plain(tap) = self.stream else {
            return Err(Fault::Tls("TLS is there already".into()));
        };
        let clear = {
            let tape = self.tape.lock();
            (tape.count(Side::Client), tape.count(Side::Server))
        };
        let stream = timeout(self.wait, tls.connect(host, tap))
            .await
            .map_err(|_| Fault::Silent(self.wait))?
            .map_err(|error| Fault::Tls(clip(&plain(&error))))?;
        let connection = stream.get_ref().1;
        let leaf = connection.peer_certificates().and_then(<[_]>::first);
        let secured = Secured {
            facts: Facts::of_client(connection),
            certificate: leaf.and_then(|leaf| CertificateFacts::of_der(leaf)),
            clear,
        };
        let mut said = self.said;
        said.push(Said {
            from: Side::Client,
            text: "(TLS handshake)".into(),
        });
        Ok(Wire {
            stream: Stream::Secure(Box::new(stream)),
            tape: self.tape,
            input: Vec::new(),
            wait: self.wait,
            said,
            offer: None,
            tls: Some(secured),
            asked: None,
            slowest: self.slowest,
        })
    }

    /// Says RSET and QUIT and closes, whatever the answers are.
    pub(crate) async fn leave(mut self) {
        let short = self.wait.min(Duration::from_secs(2));
        if self.send(b"RSET\r\nQUIT\r\n").await.is_ok() {
            while let Ok(Some(answer)) = self.answer_within(short).await {
                if answer.code == 221 {
                    break;
                }
            }
        }
        self.close().await;
    }

    /// Closes without a word.
    pub(crate) async fn close(self) {
        let close = async {
            match self.stream {
                Stream::Plain(mut tap) => tap.shutdown().await,
                Stream::Secure(mut tls) => tls.shutdown().await,
            }
        };
        let _ = timeout(Duration::from_secs(1), close).await;
    }
}

async fn dial(address: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if let Some(source) = source {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

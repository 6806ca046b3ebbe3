//! Accounts of a Dovecot on this host, asked over its authentication socket (protocol 1.2).
//!
//! ```text
//! check ─▶ order ─▶ one task a source: connects, says AUTH with ids of its own, hands answers back ─▶ OK | FAIL
//!                   the socket breaks: what is unanswered is asked once more on a new one
//! ```
//!
//! | Dovecot says | Here |
//! |---|---|
//! | `OK`, with the account's name | right; an account named like an address has that address |
//! | `FAIL` with `temp`, `code=temp_fail` | unavailable |
//! | `FAIL` with another `code`, or a `reason` | wrong |
//! | `FAIL` alone | unknown: Dovecot does not tell an unknown account from a wrong password, so the next source is asked |
//!
//! Dovecot answers `OK` outside TLS too: that a password may come only inside it is the session's to see to.
//!
//! Never: a password in a log; an id used twice on one connection.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use postern_policy::dovecots;
use postern_sasl::Secret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::{Checked, LoggedIn, Unavailable};

/// A login takes no longer, a broken socket included.
const WHOLE: Duration = Duration::from_secs(5);
/// Dovecot closes the connection at 8,192 octets, to the harm of all that is asked on it.
const LONGEST_REQUEST: usize = 8000;
/// No line of Dovecot's is longer.
const LONGEST_LINE: usize = 16 << 10;
/// As many logins wait to be said.
const WAITING: usize = 64;

/// A Dovecot.
pub(crate) struct DovecotSource {
    path: PathBuf,
    orders: OnceLock<mpsc::Sender<Order>>,
}

/// Where and how somebody logs in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Occasion {
    /// The client.
    pub client: IpAddr,
    /// The address it came to.
    pub local: IpAddr,
    /// Whether the session is inside TLS.
    pub secured: bool,
}

/// A login to be asked about.
struct Order {
    /// The request behind its id.
    request: Secret,
    answer: oneshot::Sender<Result<Answer, String>>,
    /// It was asked before, on a connection that broke.
    again: bool,
}

/// What Dovecot says.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    right: bool,
    fields: Vec<(String, String)>,
}

impl DovecotSource {
    /// The Dovecot with its socket at `path`.
    pub(crate) fn new(path: PathBuf) -> DovecotSource {
        DovecotSource {
            path,
            orders: OnceLock::new(),
        }
    }

    /// What Dovecot says to a name and a password.
    pub(crate) async fn check(
        &self,
        occasion: &Occasion,
        name: &str,
        password: &Secret,
    ) -> Result<Checked, Unavailable> {
        // PLAIN separates its parts by NUL (RFC 4616 §2): one in a name would say who else it is.
        let odd = |octets: &[u8]| octets.is_empty() || octets.contains(&0);
        if odd(name.as_bytes()) || odd(password.expose()) {
            return Ok(Checked::Wrong(
                "an empty or impossible name or password".to_owned(),
            ));
        }
        let request = request(occasion, name, password);
        if request.expose().len() > LONGEST_REQUEST {
            return Ok(Checked::Wrong(
                "a name or password too long for Dovecot".to_owned(),
            ));
        }
        let asked = timeout(WHOLE, self.ask(request)).await;
        let answer = asked.unwrap_or_else(|_| Err(format!("no answer in {WHOLE:?}")));
        answer.and_then(Answer::judge).map_err(|why| {
            let path = self.path.display();
            tracing::warn!(socket = %path, why, "Dovecot is of no help");
            Unavailable::because(format!("{path}: {why}"))
        })
    }

    async fn ask(&self, request: Secret) -> Result<Answer, String> {
        let orders = self.orders.get_or_init(|| {
            let (sender, receiver) = mpsc::channel(WAITING);
            tokio::spawn(run(self.path.clone(), receiver));
            sender
        });
        let (answer, answered) = oneshot::channel();
        let order = Order {
            request,
            answer,
            again: false,
        };
        let gone = || "the task that asks Dovecot has ended".to_owned();
        orders.send(order).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

/// The request behind its id. `resp` is the last field.
fn request(occasion: &Occasion, name: &str, password: &Secret) -> Secret {
    let plain = Secret::new([b"\0", name.as_bytes(), b"\0", password.expose()].concat());
    let Occasion { client, local, .. } = occasion;
    let secured = match occasion.secured {
        true => "\tsecured",
        false => "",
    };
    // Guesses are counted here; Dovecot's own penalty would only make right passwords late.
    let head =
        format!("PLAIN\tservice=smtp{secured}\tno-penalty\tlip={local}\trip={client}\tresp=");
    let mut octets = Vec::with_capacity(head.len() + plain.expose().len() * 4 / 3 + 8);
    octets.extend_from_slice(head.as_bytes());
    let start = octets.len();
    octets.resize(start + plain.expose().len().div_ceil(3) * 4, 0);
    // The room is exactly what base64 with padding takes.
    let _ = STANDARD.encode_slice(plain.expose(), &mut octets[start..]);
    octets.push(b'\n');
    Secret::new(octets)
}

impl Answer {
    /// `OK`, id, fields; or `FAIL`, id, fields. Other lines are not for anybody who waits.
    fn parse(line: &[u8]) -> Option<(u32, Answer)> {
        let mut parts = line.split(|octet| *octet == b'\t');
        let right = match parts.next()? {
            b"OK" => true,
            b"FAIL" | b"CONT" => false,
            _ => return None,
        };
        let id = std::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
        let mut fields: Vec<(String, String)> = parts.map(field).collect();
        if line.starts_with(b"CONT") {
            // PLAIN with an initial response has nothing to go on with.
            fields = vec![("temp".to_owned(), String::new())];
        }
        Some((id, Answer { right, fields }))
    }

    fn get(&self, key: &str) -> Option<&str> {
        let mut fields = self.fields.iter();
        fields
            .find(|(known, _)| known == key)
            .map(|(_, value)| value.as_str())
    }

    fn judge(self) -> Result<Checked, String> {
        let reason = self.get("reason").or_else(|| self.get("code"));
        let reason = reason.unwrap_or("no reason given").to_owned();
        if !self.right {
            let temporary = self.get("temp").is_some() || self.get("code") == Some("temp_fail");
            return match (temporary, self.get("code").or(self.get("reason"))) {
                (true, _) => Err(format!("a temporary failure ({reason})")),
                (false, Some(_)) => Ok(Checked::Wrong(format!("Dovecot says: {reason}"))),
                (false, None) => Ok(Checked::Unknown),
            };
        }
        // The password is right, and the account is not for logging in here.
        if self.get("nologin").is_some() {
            return Ok(Checked::Wrong(format!("Dovecot says: nologin, {reason}")));
        }
        let Some(user) = self.get("user").filter(|user| !user.is_empty()) else {
            return Err("an OK without a user".to_owned());
        };
        Ok(Checked::Right(LoggedIn::of(&dovecots(user, ""))))
    }
}

/// `key=value` or `key`, without the escapes.
fn field(octets: &[u8]) -> (String, String) {
    let mut plain = Vec::with_capacity(octets.len());
    let mut rest = octets.iter();
    while let Some(octet) = rest.next() {
        plain.push(match octet {
            1 => match rest.next() {
                Some(b'0') => 0,
                Some(b'1') => 1,
                Some(b't') => b'\t',
                Some(b'r') => b'\r',
                Some(b'n') => b'\n',
                Some(other) => *other,
                None => break,
            },
            other => *other,
        });
    }
    let text = String::from_utf8_lossy(&plain);
    let (key, value) = text.split_once('=').unwrap_or((&text, ""));
    (key.to_owned(), value.to_owned())
}

/// Asks for all, one connection after the other, until nobody can send orders any more.
async fn run(path: PathBuf, mut orders: mpsc::Receiver<Order>) {
    let mut unsaid: Vec<Order> = Vec::new();
    loop {
        if unsaid.is_empty() {
            match orders.recv().await {
                Some(order) => unsaid.push(order),
                None => return,
            }
        }
        let connected = timeout(WHOLE, Link::connect(&path)).await;
        let late = |_| Err(io::Error::from(io::ErrorKind::TimedOut));
        match connected.unwrap_or_else(late) {
            Ok(link) => unsaid = link.serve(unsaid, &mut orders).await,
            Err(error) => {
                for order in unsaid.drain(..) {
                    let _ = order.answer.send(Err(error.to_string()));
                }
            }
        }
    }
}

/// A connection.
struct Link {
    stream: UnixStream,
    lines: Lines,
    waiting: HashMap<u32, Order>,
    last: u32,
}

/// What was read and is not yet a line.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Link {
    /// Connects, and exchanges greetings.
    async fn connect(path: &Path) -> io::Result<Link> {
        let mut link = Link {
            stream: UnixStream::connect(path).await?,
            lines: Lines::default(),
            waiting: HashMap::new(),
            last: 0,
        };
        let greeting = format!("VERSION\t1\t2\nCPID\t{}\n", process_number()?);
        link.stream.write_all(greeting.as_bytes()).await?;
        let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let mut plain = false;
        loop {
            while let Some(line) = link.lines.next() {
                match line.as_slice() {
                    b"DONE" if plain => return Ok(link),
                    b"DONE" => return Err(bad("Dovecot does not offer PLAIN")),
                    line if line.starts_with(b"VERSION\t")
                        && !line.starts_with(b"VERSION\t1\t") =>
                    {
                        return Err(bad("the protocol's version is not 1"));
                    }
                    line => plain |= line == b"MECH\tPLAIN" || line.starts_with(b"MECH\tPLAIN\t"),
                }
            }
            link.lines.read(&mut link.stream).await?;
        }
    }

    /// Asks until the connection breaks; what is to be asked again then.
    async fn serve(mut self, unsaid: Vec<Order>, orders: &mut mpsc::Receiver<Order>) -> Vec<Order> {
        let (mut from, mut to) = self.stream.into_split();
        let mut unsaid = unsaid.into_iter();
        loop {
            let order = tokio::select! {
                biased;
                read = self.lines.read(&mut from) => match read {
                    Ok(()) => {
                        answer(&mut self.lines, &mut self.waiting);
                        continue;
                    }
                    Err(_) => break,
                },
                order = next(&mut unsaid, orders) => order,
            };
            // Nobody sends any more, and nobody waits: whoever did has given up.
            let Some(order) = order else { break };
            self.last += 1;
            let line = [b"AUTH\t", self.last.to_string().as_bytes(), b"\t"].concat();
            let line = Secret::new([&line, order.request.expose()].concat());
            self.waiting.insert(self.last, order);
            // Those that gave up waiting are not waited for.
            self.waiting.retain(|_, order| !order.answer.is_closed());
            if to.write_all(line.expose()).await.is_err() || self.last == u32::MAX {
                break;
            }
        }
        let mut left: Vec<Order> = self.waiting.into_values().chain(unsaid).collect();
        left.retain(|order| !order.answer.is_closed());
        let (twice, once): (Vec<Order>, Vec<Order>) = left.into_iter().partition(|one| one.again);
        for order in twice {
            let _ = order
                .answer
                .send(Err("the connection broke twice".to_owned()));
        }
        let again = |order| Order {
            again: true,
            ..order
        };
        once.into_iter().map(again).collect()
    }
}

async fn next(
    unsaid: &mut impl Iterator<Item = Order>,
    orders: &mut mpsc::Receiver<Order>,
) -> Option<Order> {
    match unsaid.next() {
        Some(order) => Some(order),
        None => orders.recv().await,
    }
}

/// Hands the answers among the lines to those who wait for them.
fn answer(lines: &mut Lines, waiting: &mut HashMap<u32, Order>) {
    while let Some(line) = lines.next() {
        if let Some((id, answer)) = Answer::parse(&line)
            && let Some(order) = waiting.remove(&id)
        {
            let _ = order.answer.send(Ok(answer));
        }
    }
}

impl Lines {
    /// Reads some more; nothing is lost if this is given up half-way.
    async fn read(&mut self, from: &mut (impl tokio::io::AsyncRead + Unpin)) -> io::Result<()> {
        if self.0.len() > LONGEST_LINE {
            let what = "a line of Dovecot's is too long";
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        match from.read_buf(&mut self.0).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// The next whole line, without its end.
    fn next(&mut self) -> Option<Vec<u8>> {
        let end = memchr::memchr(b'\n', &self.0)?;
        let rest = self.0.split_off(end + 1);
        let mut line = std::mem::replace(&mut self.0, rest);
        line.pop();
        Some(line)
    }
}

/// Dovecot wants each connection's process number to be another, and two generations of one process may have one each.
fn process_number() -> io::Result<u32> {
    let mut octets = [0; 4];
    getrandom::fill(&mut octets).map_err(io::Error::other)?;
    Ok(u32::from_ne_bytes(octets) >> 2 | 1 << 29)
}

#[cfg(test)]
mod tests;

//! One connection to a directory server, one question at a time.
//!
//! ```text
//! TCP ─▶ (StartTLS) ─▶ TLS ─▶ bind ─▶ search, search, …
//! ```
//!
//! A connection whose question was not answered in time, or not as LDAP has it, is not used again: it has no owner
//! any more, and closes.
//!
//! Never: a password outside TLS, unless the definition says so for a server on loopback; a referral followed.

use std::io;
use std::time::{Duration, Instant};

use postern_config::{Host, LdapServer, LdapTls};
use postern_sasl::Secret;
use postern_tls::ClientTls;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::ber::Malformed;
use super::message::{self, Entry, Outcome, Response, Search};

/// No message of a server is longer, nor all those that answer one search together: an entry comes with the attributes
/// asked for only.
const LONGEST: usize = 1 << 20;

/// Why a server could not be asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// No connection, or it broke.
    #[error("{doing}: {source}")]
    Io {
        /// During what.
        doing: &'static str,
        /// The reason.
        source: io::Error,
    },
    /// Not in time.
    #[error("{doing}: no answer in {limit:?}")]
    Late {
        /// During what.
        doing: &'static str,
        /// The time there was.
        limit: Duration,
    },
    /// Not LDAP.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// An answer that is no help.
    #[error("{doing}: result {code} ({text:?})")]
    Refused {
        /// During what.
        doing: &'static str,
        /// RFC 4511 §4.1.9.
        code: u32,
        /// The server's words.
        text: String,
    },
}

/// Bytes both ways.
trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// A connection that is ready.
pub(super) struct Connection {
    stream: Box<dyn Duplex>,
    last: u32,
    limit: Duration,
    /// When it was last used.
    pub used: Instant,
}

/// What a search found.
pub(super) struct Found {
    /// The entries.
    pub entries: Vec<Entry>,
    /// Whether there are more than were asked for.
    pub more: bool,
}

impl Connection {
    /// Connects within `patience`; each question then may take `limit`.
    pub(super) async fn open(
        server: &LdapServer,
        tls: &ClientTls,
        patience: Duration,
        limit: Duration,
    ) -> Result<Connection, Trouble> {
        let opened = timeout(patience, open(server, tls)).await;
        let stream = opened.map_err(|_| Trouble::Late {
            doing: "connecting",
            limit: patience,
        })??;
        Ok(Connection {
            stream,
            // 1 may have gone to StartTLS.
            last: 1,
            limit,
            used: Instant::now(),
        })
    }

    /// Becomes `dn`, or not: the outcome says.
    pub(super) async fn bind(&mut self, dn: &str, password: &Secret) -> Result<Outcome, Trouble> {
        const DOING: &str = "logging in";
        let id = self.next();
        let asked = async {
            send(&mut self.stream, message::bind(id, dn, password).expose())
                .await
                .map_err(trouble(DOING))?;
            match answer(&mut self.stream, id, DOING).await? {
                Response::Bound(outcome) => Ok(outcome),
                _ => Err(Trouble::Malformed(Malformed)),
            }
        };
        within(self.limit, DOING, asked).await
    }

    /// Searches.
    pub(super) async fn search(&mut self, search: &Search<'_>) -> Result<Found, Trouble> {
        const DOING: &str = "searching";
        let id = self.next();
        let asked = async {
            send(&mut self.stream, &message::search(id, search))
                .await
                .map_err(trouble(DOING))?;
            collect(&mut self.stream, id, search.most).await
        };
        within(self.limit, DOING, asked).await
    }

    fn next(&mut self) -> u32 {
        self.used = Instant::now();
        // RFC 4511 §4.1.1.1: up to 2^31 - 1, and never 0.
        self.last = self.last % 0x7fff_fffe + 1;
        self.last
    }
}

async fn within<T>(
    limit: Duration,
    doing: &'static str,
    asked: impl Future<Output = Result<T, Trouble>>,
) -> Result<T, Trouble> {
    let late = |_| Trouble::Late { doing, limit };
    timeout(limit, asked).await.map_err(late)?
}

fn trouble(doing: &'static str) -> impl Fn(io::Error) -> Trouble {
    move |source| Trouble::Io { doing, source }
}

async fn open(server: &LdapServer, tls: &ClientTls) -> Result<Box<dyn Duplex>, Trouble> {
    let host = match &server.host {
        Host::Name(name) => name.clone(),
        Host::Address(address) => address.to_string(),
    };
    let mut stream = TcpStream::connect((host.as_str(), server.port))
        .await
        .map_err(trouble("connecting"))?;
    stream.set_nodelay(true).map_err(trouble("connecting"))?;
    match server.tls {
        LdapTls::None => return Ok(Box::new(stream)),
        LdapTls::StartTls => start_tls(&mut stream).await?,
        LdapTls::Implicit => {}
    }
    let stream = tls.connect(&host, stream).await;
    Ok(Box::new(stream.map_err(trouble("TLS"))?))
}

/// Not an octet behind the answer is read: what was sent in clear cannot count as said inside TLS.
async fn start_tls(stream: &mut TcpStream) -> Result<(), Trouble> {
    const DOING: &str = "StartTLS";
    send(stream, &message::start_tls(1))
        .await
        .map_err(trouble(DOING))?;
    match answer(stream, 1, DOING).await? {
        Response::Extended(Outcome { code: 0, .. }) => Ok(()),
        Response::Extended(Outcome { code, text }) => Err(Trouble::Refused {
            doing: DOING,
            code,
            text,
        }),
        _ => Err(Trouble::Malformed(Malformed)),
    }
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), octets: &[u8]) -> io::Result<()> {
    stream.write_all(octets).await?;
    stream.flush().await
}

/// The next message, which must answer `id`.
async fn answer(
    stream: &mut (impl AsyncRead + Unpin),
    id: u32,
    doing: &'static str,
) -> Result<Response, Trouble> {
    let octets = receive(stream, LONGEST).await.map_err(trouble(doing))?;
    understood(&octets, id, doing)
}

fn understood(octets: &[u8], id: u32, doing: &'static str) -> Result<Response, Trouble> {
    match message::parse(octets)? {
        (answered, response) if answered == id => Ok(response),
        // RFC 4511 §4.4.1: the server is about to close.
        (0, Response::Extended(Outcome { code, text })) => {
            Err(Trouble::Refused { doing, code, text })
        }
        _ => Err(Trouble::Malformed(Malformed)),
    }
}

async fn collect(
    stream: &mut (impl AsyncRead + Unpin),
    id: u32,
    most: u32,
) -> Result<Found, Trouble> {
    const DOING: &str = "searching";
    let (mut entries, mut room) = (Vec::new(), LONGEST);
    loop {
        let octets = receive(stream, room).await.map_err(trouble(DOING))?;
        room -= octets.len().min(room);
        match understood(&octets, id, DOING)? {
            Response::Entry(entry) if entries.len() < most as usize => entries.push(entry),
            // The server does not keep to the limit it was given.
            Response::Entry(_) => return Err(Trouble::Malformed(Malformed)),
            Response::Reference => {}
            Response::Done(outcome) => return found(entries, outcome),
            _ => return Err(Trouble::Malformed(Malformed)),
        }
    }
}

fn found(entries: Vec<Entry>, Outcome { code, text }: Outcome) -> Result<Found, Trouble> {
    const SIZE_LIMIT_EXCEEDED: u32 = 4;
    const NO_SUCH_OBJECT: u32 = 32;
    let doing = match code {
        0 | SIZE_LIMIT_EXCEEDED => {
            let more = code != 0;
            return Ok(Found { entries, more });
        }
        NO_SUCH_OBJECT => "searching (is `base` right?)",
        _ => "searching",
    };
    Err(Trouble::Refused { doing, code, text })
}

/// One whole message, no longer than `most`.
async fn receive(stream: &mut (impl AsyncRead + Unpin), most: usize) -> io::Result<Vec<u8>> {
    let bad = || io::Error::new(io::ErrorKind::InvalidData, Malformed);
    let mut octets = vec![0; 2];
    stream.read_exact(&mut octets).await?;
    let first = usize::from(octets[1]);
    let length = if first < 0x80 {
        first
    } else {
        let count = first & 0x7f;
        if !(1..=4).contains(&count) {
            return Err(bad());
        }
        octets.resize(2 + count, 0);
        stream.read_exact(&mut octets[2..]).await?;
        octets[2..]
            .iter()
            .fold(0, |value, octet| value << 8 | usize::from(*octet))
    };
    if length > most {
        let what = format!("{length} octets are more than an answer may have");
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    let start = octets.len();
    octets.resize(start + length, 0);
    stream.read_exact(&mut octets[start..]).await?;
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn received(octets: &[u8]) -> io::Result<Vec<u8>> {
        receive(&mut &octets[..], LONGEST).await
    }

    #[tokio::test]
    async fn one_message_is_read_and_nothing_behind_it() {
        let mut stream = &b"\x30\x03abcrest"[..];
        let message = receive(&mut stream, LONGEST).await;
        assert_eq!(message.ok().as_deref(), Some(&b"\x30\x03abc"[..]));
        assert_eq!(stream, b"rest");
        let long = [&b"\x30\x82\x01\x00"[..], &[7; 256]].concat();
        assert_eq!(received(&long).await.ok(), Some(long));
    }

    #[tokio::test]
    async fn no_message_is_longer_than_the_bound() {
        for bad in [
            &b"\x30\x84\x7f\xff\xff\xff"[..],
            b"\x30\x83\x10\x00\x01",
            b"\x30\x80",
            b"\x30\x85\x00\x00\x00\x00\x01",
            b"\x30\x03ab",
            b"\x30",
        ] {
            assert!(received(bad).await.is_err(), "{bad:?}");
        }
    }
}

//! The PROXY protocol, versions 1 and 2 (haproxy.org, proxy-protocol.txt): who the client behind a balancer is.
//!
//! | First octets | Then |
//! |---|---|
//! | `PROXY TCP4 192.0.2.7 192.0.2.10 56324 25\r\n` | 107 octets at most |
//! | the 12 of version 2's signature | version and command, family, length, addresses, what else it says |
//!
//! Exactly the header is taken from the stream: what follows it belongs to the session, or to a TLS handshake.
//!
//! Never: a header read from a peer that is not named in `proxy_from`; whoever calls has looked.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A balancer has the header ready when it connects.
const DEADLINE: Duration = Duration::from_secs(5);
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line of version 1, its end included.
const LONGEST_LINE: usize = 107;
/// What version 2 may say beyond the addresses is skipped up to this length; real headers have some hundred octets.
const LONGEST_REST: u16 = 4096;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The peer went, or the network failed.
    #[error("the connection broke before the PROXY header was whole: {0}")]
    Broken(#[from] io::Error),
    /// Nothing, or half a header, came in time.
    #[error("no PROXY header came within {} seconds", DEADLINE.as_secs())]
    Late,
    /// What came is none.
    #[error("this is no PROXY header: {0}")]
    Malformed(&'static str),
}

/// The client that the header names; `None` where it says that the balancer itself is the client (a health check).
pub(crate) async fn read(stream: &mut TcpStream) -> Result<Option<SocketAddr>, Error> {
    timeout(DEADLINE, header(stream))
        .await
        .unwrap_or(Err(Error::Late))
}

async fn header(stream: &mut TcpStream) -> Result<Option<SocketAddr>, Error> {
    // No header of either version is shorter.
    let mut first = [0; SIGNATURE.len()];
    stream.read_exact(&mut first).await?;
    if &first == SIGNATURE {
        return binary(stream).await;
    }
    if !first.starts_with(b"PROXY ") {
        return Err(Error::Malformed("it begins like neither version"));
    }
    let mut line = first.to_vec();
    while !line.ends_with(b"\n") {
        if line.len() >= LONGEST_LINE {
            return Err(Error::Malformed("the line does not end"));
        }
        take_line(stream, &mut line).await?;
    }
    text(&line)
}

/// Takes what is there of the line, and nothing behind its end.
async fn take_line(stream: &mut TcpStream, line: &mut Vec<u8>) -> io::Result<()> {
    let mut ahead = [0; LONGEST_LINE];
    let ahead = &mut ahead[..LONGEST_LINE - line.len()];
    let seen = stream.peek(ahead).await?;
    let end = ahead[..seen].iter().position(|byte| *byte == b'\n');
    let count = end.map_or(seen, |end| end + 1).max(1);
    let start = line.len();
    line.resize(start + count, 0);
    stream.read_exact(&mut line[start..]).await?;
    Ok(())
}

/// Version 1.
fn text(line: &[u8]) -> Result<Option<SocketAddr>, Error> {
    let text = std::str::from_utf8(line)
        .ok()
        .and_then(|line| line.strip_suffix("\r\n"))
        .ok_or(Error::Malformed("the line is no text"))?;
    let words: Vec<&str> = text.split(' ').collect();
    match words.as_slice() {
        ["PROXY", "UNKNOWN", ..] => Ok(None),
        [
            "PROXY",
            family @ ("TCP4" | "TCP6"),
            source,
            destination,
            port,
            to,
        ] => {
            let is_right = |address: IpAddr| address.is_ipv4() == (*family == "TCP4");
            let address = |text: &str| text.parse().ok().filter(|address| is_right(*address));
            let (Some(source), Some(_), Ok(port), Ok(_)) = (
                address(source),
                address(destination),
                port.parse(),
                to.parse::<u16>(),
            ) else {
                return Err(Error::Malformed("its addresses or ports are none"));
            };
            Ok(Some(SocketAddr::new(source.to_canonical(), port)))
        }
        _ => Err(Error::Malformed("its words are not those of version 1")),
    }
}

/// Version 2, behind its signature.
async fn binary(stream: &mut TcpStream) -> Result<Option<SocketAddr>, Error> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let [command, family, high, low] = head;
    let length = u16::from_be_bytes([high, low]);
    if length > LONGEST_REST {
        return Err(Error::Malformed("it is longer than any header is"));
    }
    let mut rest = vec![0; usize::from(length)];
    stream.read_exact(&mut rest).await?;
    match (command, family) {
        (0x20, _) => Ok(None),
        (0x21, 0x11) => fixed::<12>(&rest).map(|rest| {
            let [a, b, c, d, _, _, _, _, high, low, _, _] = rest;
            Some(address(Ipv4Addr::new(a, b, c, d), [high, low]))
        }),
        (0x21, 0x21) => fixed::<36>(&rest).map(|rest| {
            let source = rest.first_chunk::<16>().copied().unwrap_or_default();
            Some(address(Ipv6Addr::from(source), [rest[32], rest[33]]))
        }),
        // Unspecified, or no TCP over IP: the balancer's own address is all that is known.
        (0x21, 0x00 | 0x12 | 0x22 | 0x31 | 0x32) => Ok(None),
        (0x21, _) => Err(Error::Malformed("it names an unknown family of addresses")),
        _ => Err(Error::Malformed("its version or command is unknown")),
    }
}

fn fixed<const N: usize>(rest: &[u8]) -> Result<[u8; N], Error> {
    let found = rest.first_chunk::<N>().copied();
    found.ok_or(Error::Malformed("it is too short for its addresses"))
}

fn address(source: impl Into<IpAddr>, port: [u8; 2]) -> SocketAddr {
    SocketAddr::new(source.into().to_canonical(), u16::from_be_bytes(port))
}

#[cfg(test)]
mod tests;

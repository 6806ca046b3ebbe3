//! One GET over verified TLS, as small as MTA-STS allows (RFC 8461 §3.3): no redirect, no cache, one document.
//!
//! Never: more than 64 KiB of it, or a moment past the deadline; a look-up.

use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::ClientTls;

/// How documents are fetched.
#[derive(Clone, Debug)]
pub struct Https {
    tls: ClientTls,
    /// 443, but for tests.
    port: u16,
}

impl Https {
    /// Takes documents from servers that `tls` vouches for.
    pub fn new(tls: ClientTls, port: u16) -> Https {
        Https { tls, port }
    }

    /// Fetches `path` from the first of the addresses of `host` that answers. The error says what is wrong, in words.
    pub async fn get(
        &self,
        host: &str,
        addresses: &[IpAddr],
        path: &str,
        until: Instant,
    ) -> Result<Response, String> {
        let mut failure = "it has no address".to_owned();
        for address in addresses.iter().take(MOST_ADDRESSES) {
            let one = self.one(host, SocketAddr::new(*address, self.port), path);
            match timeout_at(until, one).await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(why)) => failure = why,
                Err(_) => return Err(format!("{address} does not answer in time")),
            }
        }
        Err(failure)
    }

    async fn one(&self, host: &str, address: SocketAddr, path: &str) -> Result<Response, String> {
        let stream = TcpStream::connect(address)
            .await
            .map_err(|error| format!("{address} cannot be reached: {error}"))?;
        let tls = self.tls.connect(host, stream).await;
        let mut stream = tls.map_err(|error| format!("TLS with {address} fails: {error}"))?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/plain\r\nUser-Agent: postern\r\nConnection: close\r\n\r\n"
        );
        let broke = |error: std::io::Error| format!("the connection with {address} broke: {error}");
        stream.write_all(request.as_bytes()).await.map_err(broke)?;
        stream.flush().await.map_err(broke)?;
        let mut bytes = Vec::new();
        let mut piece = [0; 4096];
        loop {
            let length = match stream.read(&mut piece).await {
                Ok(length) => length,
                // A server that closes without a word of TLS; whether all came is seen below.
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => 0,
                Err(error) => return Err(broke(error)),
            };
            bytes.extend_from_slice(&piece[..length]);
            if let Some(response) = parse(&bytes, length == 0)? {
                return Ok(response);
            }
        }
    }
}

/// A document that came with status 200.
#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    /// As the server names it.
    pub content_type: Option<String>,
    /// The document.
    pub body: Vec<u8>,
}

/// A policy is some hundred bytes.
const LONGEST_BODY: usize = 64 * 1024;
/// Status line and fields.
const LONGEST_HEAD: usize = 16 * 1024;
/// Addresses of the host that are tried.
const MOST_ADDRESSES: usize = 3;

/// The document, once it is whole; nothing as long as more must come. `ended` says that no more will.
fn parse(bytes: &[u8], ended: bool) -> Result<Option<Response>, String> {
    let Some(end) = find(bytes, b"\r\n\r\n") else {
        return match (ended, bytes.len() > LONGEST_HEAD) {
            (false, false) => Ok(None),
            _ => Err("the answer is no HTTP".to_owned()),
        };
    };
    let head = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = head.split("\r\n");
    status(lines.next().unwrap_or_default())?;
    let field = |name: &str| {
        let mut fields = head
            .split("\r\n")
            .skip(1)
            .filter_map(|line| line.split_once(':'));
        fields
            .find(|(key, _)| key.trim().eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim().to_owned())
    };
    let rest = &bytes[end + 4..];
    let chunked = field("transfer-encoding")
        .is_some_and(|value| value.to_ascii_lowercase().contains("chunked"));
    let body = if chunked {
        chunks(rest)?
    } else {
        plain(rest, field("content-length"), ended)?
    };
    match body {
        Some(body) if body.len() > LONGEST_BODY => Err(too_long()),
        Some(body) => Ok(Some(Response {
            content_type: field("content-type"),
            body,
        })),
        None if ended => Err("the document is cut off".to_owned()),
        // Chunks may have many more bytes of frame than of document.
        None if rest.len() > 4 * LONGEST_BODY => Err(too_long()),
        None => Ok(None),
    }
}

fn too_long() -> String {
    format!("the document is longer than {} KiB", LONGEST_BODY / 1024)
}

fn status(line: &str) -> Result<(), String> {
    let mut words = line.split(' ');
    let version = words.next().unwrap_or_default();
    let code = words.next().unwrap_or_default();
    if !version.starts_with("HTTP/1.")
        || code.len() != 3
        || !code.bytes().all(|b| b.is_ascii_digit())
    {
        return Err("the answer is no HTTP".to_owned());
    }
    match code.as_bytes()[0] {
        _ if code == "200" => Ok(()),
        // RFC 8461 §3.3: redirects must not be followed.
        b'3' => Err(format!(
            "HTTP status {code}: a redirect, which senders must not follow"
        )),
        _ => Err(format!("HTTP status {code}")),
    }
}

/// A body with its length told, or up to the end.
fn plain(rest: &[u8], length: Option<String>, ended: bool) -> Result<Option<Vec<u8>>, String> {
    let Some(length) = length else {
        let over = rest.len() > LONGEST_BODY;
        return Ok((ended || over).then(|| rest.to_vec()));
    };
    let length: usize = length
        .parse()
        .map_err(|_| "its Content-Length is no number".to_owned())?;
    if length > LONGEST_BODY {
        return Err(too_long());
    }
    Ok(rest.get(..length).map(<[u8]>::to_vec))
}

/// RFC 9112 §7.1, without trailers.
fn chunks(mut rest: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let mut body = Vec::new();
    loop {
        let Some(end) = find(rest, b"\r\n") else {
            return Ok(None);
        };
        let size = String::from_utf8_lossy(&rest[..end]);
        let size = size.split(';').next().unwrap_or_default().trim();
        let size =
            usize::from_str_radix(size, 16).map_err(|_| "its chunks are nonsense".to_owned())?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Ok(Some(body));
        }
        if body.len().saturating_add(size) > LONGEST_BODY {
            return Err(too_long());
        }
        let Some(chunk) = rest.get(..size + 2) else {
            return Ok(None);
        };
        body.extend_from_slice(&chunk[..size]);
        rest = &rest[size + 2..];
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

#[cfg(test)]
#[path = "../../../tests/fuzz/mutate.rs"]
mod mutate;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mutated_answers_end_and_stay_bounded() {
        let seeds: &[&[u8]] = &[
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
            b"HTTP/1.0 301 Moved\r\nLocation: /\r\n\r\n",
        ];
        let words: &[&[u8]] = &[
            b"\r\n",
            b"ffffffffffffffff",
            b"0",
            b":",
            b"\xff",
            b"HTTP/1.1 200 ",
            b";",
        ];
        mutate::play(seeds, words, 30_000, |bytes| {
            if let Ok(Some(response)) = parse(bytes, true) {
                assert!(response.body.len() <= bytes.len());
            }
            let _ = parse(bytes, false);
        });
    }

    fn body(bytes: &[u8], ended: bool) -> Result<Option<String>, String> {
        parse(bytes, ended)
            .map(|found| found.map(|response| String::from_utf8_lossy(&response.body).into_owned()))
    }

    #[test]
    fn documents_are_read_in_all_three_framings() {
        let told = b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 5\r\nContent-Type: text/plain\r\n\r\nhello and more";
        let response = parse(told, false).expect("HTTP").expect("whole");
        assert_eq!(
            (response.content_type.as_deref(), &*response.body),
            (Some("text/plain"), &b"hello"[..])
        );
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n";
        assert_eq!(body(chunked, false), Ok(Some("hello".to_owned())));
        let open = b"HTTP/1.0 200 OK\r\n\r\nhello";
        assert_eq!(
            (body(open, false), body(open, true)),
            (Ok(None), Ok(Some("hello".to_owned())))
        );
        // Whatever is cut off the first two is waited for, and missed at the end.
        for whole in [&told[..told.len() - 9], &chunked[..chunked.len() - 2]] {
            for length in 0..whole.len() {
                assert_eq!(body(&whole[..length], false), Ok(None), "{length}");
                assert!(body(&whole[..length], true).is_err(), "{length}");
            }
        }
    }

    #[test]
    fn everything_else_is_refused_in_words() {
        let cases: [(&[u8], &str); 9] = [
            (b"SSH-2.0\r\n\r\n", "the answer is no HTTP"),
            (
                b"HTTP/1.1 301 Moved\r\nLocation: x\r\n\r\n",
                "HTTP status 301: a redirect",
            ),
            (b"HTTP/1.1 404 Not Found\r\n\r\n", "HTTP status 404"),
            (b"HTTP/1.1 20 x\r\n\r\n", "the answer is no HTTP"),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 65537\r\n\r\n",
                "the document is longer than 64 KiB",
            ),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
                "its Content-Length is no number",
            ),
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffe\r\n",
                "the document is longer",
            ),
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
                "its chunks are nonsense",
            ),
            (&[b'x'; LONGEST_HEAD + 1], "the answer is no HTTP"),
        ];
        for (bytes, expected) in cases {
            let error = body(bytes, false).expect_err("refused");
            assert!(error.starts_with(expected), "{error}");
        }
        let mut endless = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        endless.extend_from_slice(&[b'x'; LONGEST_BODY + 1]);
        assert!(
            body(&endless, false)
                .expect_err("refused")
                .starts_with("the document is longer")
        );
    }
}

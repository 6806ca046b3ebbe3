//! A peer that plays a part, and a feed that remembers what became of its messages.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses a part of it"
)]

use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use postern_delivery::route::{Hop, Way};
use postern_delivery::security::Security;
use postern_delivery::{Delivery, Feed, Outcome, Parcel, Policies, Terms};
use postern_spool::{Body, Envelope, Recipient};
use postern_tls::{ClientTls, PairFiles, PemFile, ServerSettings, ServerTls};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// One end of a connection, with a part to play.
pub struct Peer<S = TcpStream> {
    pub stream: BufReader<S>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub fn new(stream: S) -> Peer<S> {
        Peer {
            stream: BufReader::new(stream),
        }
    }

    /// Lines, each with its CRLF.
    pub async fn say(&mut self, lines: &[&str]) {
        let text: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        // A client that has gone does not end the play.
        let _ = self.stream.write_all(text.as_bytes()).await;
    }

    /// One line without its CRLF; empty at the end.
    pub async fn hear(&mut self) -> String {
        let mut line = Vec::new();
        let _ = self.stream.read_until(b'\n', &mut line).await;
        String::from_utf8_lossy(&line)
            .trim_end_matches(['\r', '\n'])
            .to_owned()
    }

    /// Hears a line that begins so.
    pub async fn expect(&mut self, start: &str) -> String {
        let line = self.hear().await;
        assert!(
            line.starts_with(start),
            "the client said {line:?} instead of {start:?}"
        );
        line
    }

    /// Greets and answers EHLO with these extensions.
    pub async fn greet(&mut self, extensions: &[&str]) {
        self.say(&["220 peer.test ESMTP"]).await;
        self.expect("EHLO mx1.test").await;
        self.offer(extensions).await;
    }

    pub async fn offer(&mut self, extensions: &[&str]) {
        let mut lines = vec!["250-peer.test".to_owned()];
        lines.extend(
            extensions
                .iter()
                .map(|extension| format!("250-{extension}")),
        );
        lines.push("250 HELP".to_owned());
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        self.say(&lines).await;
    }

    /// A body as it comes by DATA, up to and without the final dot.
    pub async fn data(&mut self) -> String {
        let mut body = String::new();
        loop {
            let line = self.hear().await;
            if line == "." {
                return body;
            }
            body.push_str(&line);
            body.push_str("\r\n");
        }
    }

    /// So many octets.
    pub async fn octets(&mut self, count: usize) -> Vec<u8> {
        let mut octets = vec![0; count];
        self.stream.read_exact(&mut octets).await.unwrap();
        octets
    }

    /// Takes one message by DATA, everything answered yes.
    pub async fn take_one(&mut self) -> String {
        self.expect("MAIL FROM:").await;
        self.say(&["250 2.1.0 ok"]).await;
        loop {
            match self.hear().await {
                rcpt if rcpt.starts_with("RCPT TO:") => self.say(&["250 2.1.5 ok"]).await,
                data => {
                    assert_eq!(data, "DATA");
                    break;
                }
            }
        }
        self.say(&["354 go"]).await;
        let body = self.data().await;
        self.say(&["250 2.0.0 queued"]).await;
        body
    }

    pub async fn farewell(&mut self) {
        self.expect("QUIT").await;
        self.say(&["221 2.0.0 bye"]).await;
    }
}

/// Listens on a loopback address, and plays `part` on each connection, which are counted from 0.
pub async fn listen<F, T>(
    address: &str,
    part: impl Fn(usize, Peer) -> F + Send + 'static,
) -> (SocketAddr, JoinHandle<T>)
where
    F: Future<Output = Option<T>> + Send,
    T: Send + 'static,
{
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    let play = tokio::spawn(async move {
        let mut number = 0;
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            if let Some(result) = part(number, Peer::new(stream)).await {
                return result;
            }
            number += 1;
        }
    });
    (address, play)
}

/// Messages to carry, and what became of them.
#[derive(Default)]
pub struct Tray {
    pub waiting: VecDeque<Parcel<usize>>,
    pub done: Vec<Delivery<usize>>,
}

impl Feed for Tray {
    type Tag = usize;

    async fn next(&mut self) -> Option<Parcel<usize>> {
        self.waiting.pop_front()
    }

    fn done(&mut self, delivery: Delivery<usize>) {
        self.done.push(delivery);
    }
}

impl Tray {
    pub fn with(messages: Vec<Parcel<usize>>) -> Tray {
        Tray {
            waiting: messages.into(),
            done: Vec::new(),
        }
    }

    /// Outcomes of one message, as text: `delivered 250 2.0.0 queued`.
    pub fn told(&self, tag: usize) -> Vec<String> {
        let delivery = self
            .done
            .iter()
            .find(|delivery| delivery.parcel.tag == tag)
            .expect("every parcel comes back");
        delivery.outcomes.iter().map(told).collect()
    }
}

pub fn told(outcome: &Outcome) -> String {
    let word = match outcome {
        Outcome::Delivered(..) => "delivered",
        Outcome::Deferred(_) => "deferred",
        Outcome::Failed(_) => "failed",
    };
    format!("{word} {}", outcome.answer())
}

pub fn parcel(tag: usize, recipients: &[&str], body: &[u8]) -> Parcel<usize> {
    let recipients: Vec<Recipient> = recipients
        .iter()
        .map(|address| Recipient::new(*address))
        .collect();
    let places = (0..recipients.len()).collect();
    let envelope = Envelope::new("from@example.com", recipients, 0);
    Parcel {
        tag,
        envelope,
        sender: None,
        recipients: places,
        body: Body::Inline(body.to_vec()),
    }
}

pub fn terms() -> Terms {
    Terms {
        server: Arc::from("mx1"),
        fqdn: Arc::from("mx1.test"),
        own: Arc::from([]),
        timeout: Duration::from_secs(20),
        limit: 20,
        tls: ClientTls::opportunistic(),
        verified_tls: ClientTls::verified(),
        policies: Policies::default(),
    }
}

pub fn way_to(address: SocketAddr) -> Way {
    Way::hosts(vec![Hop::at(address)], Security::default(), false)
}

fn pem(name: &str, text: String) -> PemFile {
    PemFile {
        path: name.into(),
        text: text.into_bytes(),
    }
}

/// A server's certificate for a name, and the certificate as a root.
pub fn certificate(name: &str) -> (ServerTls, PemFile) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let pair = PairFiles {
        certificate: pem("cert.pem", made.cert.pem()),
        key: pem("key.pem", made.signing_key.serialize_pem()),
    };
    let server = ServerTls::new(&[pair], &ServerSettings::default(), SystemTime::now()).unwrap();
    (server, pem("root.pem", made.cert.pem()))
}

/// The terms where this root vouches for hosts.
pub fn trusting(root: PemFile) -> Terms {
    Terms {
        verified_tls: ClientTls::verified_by(root),
        ..terms()
    }
}

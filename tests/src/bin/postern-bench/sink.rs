//! An SMTP server that takes everything and keeps nothing but a count: the next hop of both servers.
//!
//! One thread, one epoll set. It speaks PIPELINING, 8BITMIME, SIZE, SMTPUTF8, DSN and, when asked, CHUNKING.
//! Its standard input takes `expect N`: once N messages in all have come it writes `reached COUNT CPU_MICROSECONDS`.
//! The count is of answered messages, so what it says has arrived has been answered 250.

use crate::Failure;
use crate::arguments::value;
use crate::measure::own_cpu;
use crate::poller::Poller;
use memchr::memmem;
use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const LISTENER: usize = usize::MAX;

pub(crate) fn main(words: &[String]) -> Result<(), Failure> {
    let address: String = value(words, "listen", "127.0.0.1:0".to_owned())?;
    let chunking = value(words, "chunking", false)?;
    let listener = TcpListener::bind(&address)?;
    listener.set_nonblocking(true)?;
    println!("listening {}", listener.local_addr()?);

    let expected = Arc::new(AtomicU64::new(u64::MAX));
    let told = Arc::clone(&expected);
    std::thread::spawn(move || obey(&told));
    Sink {
        listener,
        poller: Poller::new()?,
        connections: Vec::new(),
        free: Vec::new(),
        count: 0,
        expected,
        chunking,
    }
    .serve()
}

/// Reads orders until the parent is gone, then ends the process.
fn obey(expected: &AtomicU64) {
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        if let Some(count) = line.strip_prefix("expect ").and_then(|n| n.parse().ok()) {
            expected.store(count, Ordering::SeqCst);
        }
    }
    std::process::exit(0);
}

struct Sink {
    listener: TcpListener,
    poller: Poller,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    count: u64,
    expected: Arc<AtomicU64>,
    chunking: bool,
}

impl Sink {
    fn serve(mut self) -> Result<(), Failure> {
        self.poller.add(&self.listener, LISTENER)?;
        let mut ready = Vec::new();
        let mut buffer = vec![0; 256 * 1024];
        loop {
            // The short timeout is for an order that came while nothing else does.
            self.poller.wait(Duration::from_millis(20), &mut ready)?;
            for &token in &ready {
                if token == LISTENER {
                    self.accept()?
                } else {
                    self.read(token, &mut buffer)
                }
            }
            if self.count >= self.expected.load(Ordering::SeqCst) {
                self.expected.store(u64::MAX, Ordering::SeqCst);
                println!("reached {} {}", self.count, own_cpu().as_micros());
            }
        }
    }

    fn accept(&mut self) -> Result<(), Failure> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let mut connection = Connection {
                stream,
                state: State::Command,
                partial: Vec::new(),
            };
            if connection
                .stream
                .write_all(b"220 sink.example ESMTP\r\n")
                .is_err()
            {
                continue;
            }
            let token = self.free.pop().unwrap_or(self.connections.len());
            if token == self.connections.len() {
                self.connections.push(None);
            }
            self.poller.add(&connection.stream, token)?;
            self.connections[token] = Some(connection);
        }
    }

    fn read(&mut self, token: usize, buffer: &mut [u8]) {
        let Some(connection) = self.connections[token].as_mut() else {
            return;
        };
        let alive = match connection.stream.read(buffer) {
            Ok(0) => false,
            Ok(count) => connection.take(&buffer[..count], &mut self.count, self.chunking),
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        };
        if !alive {
            self.connections[token] = None;
            self.free.push(token);
        }
    }
}

enum State {
    Command,
    /// In DATA; the last bytes seen (up to four), since the end may be torn.
    Data {
        tail: Vec<u8>,
    },
    /// In a BDAT chunk: bytes left, and whether it is the last.
    Chunk {
        left: usize,
        last: bool,
    },
}

struct Connection {
    stream: TcpStream,
    state: State,
    partial: Vec<u8>,
}

impl Connection {
    /// Takes what came; false when the connection is over.
    fn take(&mut self, mut bytes: &[u8], count: &mut u64, chunking: bool) -> bool {
        let mut out = Vec::with_capacity(256);
        let mut alive = true;
        while !bytes.is_empty() && alive {
            bytes = match &mut self.state {
                State::Data { tail } => match end_of_data(tail, bytes) {
                    Some(rest) => {
                        *count += 1;
                        self.state = State::Command;
                        out.extend_from_slice(b"250 2.6.0 taken\r\n");
                        rest
                    }
                    None => &[],
                },
                State::Chunk { left, last } => {
                    let now = (*left).min(bytes.len());
                    *left -= now;
                    if *left == 0 {
                        *count += u64::from(*last);
                        self.state = State::Command;
                        out.extend_from_slice(b"250 2.6.0 taken\r\n");
                    }
                    &bytes[now..]
                }
                State::Command => {
                    let Some(end) = memchr::memchr(b'\n', bytes) else {
                        self.partial.extend_from_slice(bytes);
                        break;
                    };
                    let (head, rest) = bytes.split_at(end + 1);
                    if self.partial.is_empty() {
                        alive = command(&mut self.state, head, &mut out, chunking);
                    } else {
                        let mut line = std::mem::take(&mut self.partial);
                        line.extend_from_slice(head);
                        alive = command(&mut self.state, &line, &mut out, chunking);
                    }
                    rest
                }
            };
        }
        if !out.is_empty() && self.stream.write_all(&out).is_err() {
            return false;
        }
        alive
    }
}

/// Looks for CRLF.CRLF over the seam of `tail` and `bytes`; what stands behind it, or None and a new tail.
fn end_of_data<'a>(tail: &mut Vec<u8>, bytes: &'a [u8]) -> Option<&'a [u8]> {
    const END: &[u8] = b"\r\n.\r\n";
    let seam = tail.len();
    tail.extend_from_slice(&bytes[..bytes.len().min(4)]);
    if let Some(at) = memmem::find(tail, END) {
        return Some(&bytes[at + END.len() - seam..]);
    }
    if let Some(at) = memmem::find(bytes, END) {
        return Some(&bytes[at + END.len()..]);
    }
    if bytes.len() >= 4 {
        tail.clear();
        tail.extend_from_slice(&bytes[bytes.len() - 4..]);
    } else {
        let surplus = tail.len().saturating_sub(4);
        tail.drain(..surplus);
    }
    None
}

/// Answers one command line; false when the session is over.
fn command(state: &mut State, line: &[u8], out: &mut Vec<u8>, chunking: bool) -> bool {
    let word = line.get(..4).unwrap_or(line).to_ascii_uppercase();
    match word.as_slice() {
        b"EHLO" | b"LHLO" => {
            out.extend_from_slice(b"250-sink.example\r\n250-PIPELINING\r\n250-SIZE 104857600\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n");
            if chunking {
                out.extend_from_slice(b"250-CHUNKING\r\n");
            }
            out.extend_from_slice(b"250 ENHANCEDSTATUSCODES\r\n");
        }
        b"HELO" => out.extend_from_slice(b"250 sink.example\r\n"),
        b"DATA" => {
            *state = State::Data {
                tail: b"\r\n".to_vec(),
            };
            out.extend_from_slice(b"354 go on\r\n");
        }
        b"BDAT" => {
            let text = String::from_utf8_lossy(line);
            let mut words = text.split_ascii_whitespace().skip(1);
            let left = words.next().and_then(|n| n.parse().ok()).unwrap_or(0);
            let last = words.next().is_some();
            // An empty last chunk has no byte to wait for: it is answered here and not counted twice.
            *state = State::Chunk { left, last };
            if left == 0 {
                *state = State::Command;
                out.extend_from_slice(b"250 2.6.0 taken\r\n");
            }
        }
        b"QUIT" => {
            out.extend_from_slice(b"221 2.0.0 bye\r\n");
            return false;
        }
        b"MAIL" => out.extend_from_slice(b"250 2.1.0 ok\r\n"),
        b"RCPT" => out.extend_from_slice(b"250 2.1.5 ok\r\n"),
        _ => out.extend_from_slice(b"250 2.0.0 ok\r\n"),
    }
    true
}

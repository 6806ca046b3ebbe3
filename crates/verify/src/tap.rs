//! The bytes on the wire, each way, with their times: below TLS, so that what is recorded is what anybody on the way sees.
//!
//! Never: a change of a byte; more than [`MOST`] bytes from one peer.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The most bytes a peer may send in one session; beyond it the session is broken off.
pub(crate) const MOST: usize = 1024 * 1024;

/// Which end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// This command.
    Client,
    /// The server under test.
    Server,
}

/// Bytes that went one way together.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// When they were written or read here.
    pub at: SystemTime,
    /// Who sent them.
    pub from: Side,
    /// What they were.
    pub bytes: Vec<u8>,
}

/// One connection, from its first byte to its last.
#[derive(Clone, Debug)]
pub struct Recording {
    /// This end.
    pub local: SocketAddr,
    /// The server's end.
    pub peer: SocketAddr,
    /// When the connection was made.
    pub opened: SystemTime,
    /// In the order they were seen here.
    pub chunks: Vec<Chunk>,
    /// When it ended, and who closed first; `None` while it is open.
    pub closed: Option<(SystemTime, Side)>,
}

impl Recording {
    /// All that one side has sent.
    pub fn bytes(&self, from: Side) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.count(from));
        for chunk in self.chunks.iter().filter(|chunk| chunk.from == from) {
            all.extend_from_slice(&chunk.bytes);
        }
        all
    }

    /// How many bytes one side has sent.
    pub fn count(&self, from: Side) -> usize {
        self.chunks
            .iter()
            .filter(|chunk| chunk.from == from)
            .map(|chunk| chunk.bytes.len())
            .sum()
    }

    fn note(&mut self, from: Side, bytes: &[u8]) {
        self.chunks.push(Chunk {
            at: SystemTime::now(),
            from,
            bytes: bytes.to_owned(),
        });
    }

    fn close(&mut self, who: Side) {
        self.closed.get_or_insert_with(|| (SystemTime::now(), who));
    }
}

/// A recording that its connection still writes.
#[derive(Clone, Debug)]
pub(crate) struct Tape(Arc<Mutex<Recording>>);

impl Tape {
    /// The recording as it stands.
    pub(crate) fn now(&self) -> Recording {
        self.lock().clone()
    }

    /// A look at it.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Recording> {
        // A recording is whole between any two lines of this file.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A TCP connection whose bytes are recorded.
#[derive(Debug)]
pub(crate) struct Tap {
    stream: TcpStream,
    tape: Tape,
    heard: usize,
}

impl Tap {
    pub(crate) fn new(stream: TcpStream) -> io::Result<Tap> {
        let recording = Recording {
            local: stream.local_addr()?,
            peer: stream.peer_addr()?,
            opened: SystemTime::now(),
            chunks: Vec::new(),
            closed: None,
        };
        Ok(Tap {
            stream,
            tape: Tape(Arc::new(Mutex::new(recording))),
            heard: 0,
        })
    }

    pub(crate) fn tape(&self) -> Tape {
        self.tape.clone()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.tape.lock().close(Side::Client);
    }
}

impl AsyncRead for Tap {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.heard > MOST {
            return Poll::Ready(Err(io::Error::other("the server does not stop talking")));
        }
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        match (&read, &buffer.filled()[before..]) {
            (Ok(()), []) if buffer.remaining() > 0 => self.tape.lock().close(Side::Server),
            (Ok(()), bytes) if !bytes.is_empty() => {
                self.tape.lock().note(Side::Server, bytes);
                self.heard += bytes.len();
            }
            (Ok(()), _) => {}
            (Err(_), _) => self.tape.lock().close(Side::Server),
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Tap {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.tape.lock().note(Side::Client, &bytes[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tape.lock().close(Side::Client);
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

//! Bytes to and from a next hop: TCP, a Unix socket, or TLS over TCP, each wait with a deadline.
//!
//! While a write is held up, what the peer says is read: two sides that only write would wait for each other
//! (RFC 2920 §3.1).
//!
//! Never: a command; the conversation is [`crate::smtp`]'s.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, Sleep, sleep_until, timeout};

/// Replies are short; this much is read at once.
const INPUT: usize = 4096;

/// TLS over TCP, whoever made it.
pub trait Secured: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Secured for T {}

/// A stream to a next hop.
pub enum Stream {
    /// In clear.
    Tcp(TcpStream),
    /// On this host.
    Unix(UnixStream),
    /// In TLS.
    Tls(Box<dyn Secured>),
}

/// Why there is no more to be had from a stream.
#[derive(Debug, thiserror::Error)]
pub enum Break {
    /// The peer said nothing for too long.
    #[error("no answer in time")]
    TimedOut,
    /// The peer closed the connection.
    #[error("the connection was closed")]
    Closed,
    /// The system said so.
    #[error("{0}")]
    Io(io::Error),
}

/// Connects to an address; what is written goes out at once.
pub async fn dial(address: SocketAddr, patience: Duration) -> Result<TcpStream, Break> {
    let stream = timeout(patience, TcpStream::connect(address))
        .await
        .map_err(|_| Break::TimedOut)?
        .map_err(Break::Io)?;
    // Nagle would hold back the end of a message until the peer acknowledged its start.
    stream.set_nodelay(true).map_err(Break::Io)?;
    Ok(stream)
}

/// Connects to a socket in the file system.
pub async fn dial_unix(path: &Path, patience: Duration) -> Result<UnixStream, Break> {
    timeout(patience, UnixStream::connect(path))
        .await
        .map_err(|_| Break::TimedOut)?
        .map_err(Break::Io)
}

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// All was written.
    Written,
    /// So many bytes were read, and stand in [`Wire::input`].
    Read(usize),
}

/// A stream with its input buffer and its deadline.
pub(crate) struct Wire {
    stream: Stream,
    input: Box<[u8; INPUT]>,
    watch: Watch,
}

impl Wire {
    pub(crate) fn new(stream: Stream, patience: Duration) -> Wire {
        Wire {
            stream,
            input: Box::new([0; INPUT]),
            watch: Watch::new(patience),
        }
    }

    /// Gives the stream back, for a handshake.
    pub(crate) fn into_stream(self) -> Stream {
        self.stream
    }

    /// From now on the peer has this long.
    pub(crate) fn allow(&mut self, patience: Duration) {
        self.watch.due = Instant::now() + patience;
    }

    pub(crate) fn input(&self, count: usize) -> &[u8] {
        &self.input[..count]
    }

    /// Writes `output` from `*sent` on; returns when all is written, or when the write is held up and something was
    /// read meanwhile: take that in, and call again.
    pub(crate) async fn write(&mut self, output: &[u8], sent: &mut usize) -> Result<Step, Break> {
        poll_fn(|cx| {
            while *sent < output.len() {
                match self.stream.poll_write(cx, &output[*sent..]) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(Break::Closed)),
                    Poll::Ready(Ok(count)) => *sent += count,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(Break::Io(error))),
                    Poll::Pending => return self.poll_read(cx),
                }
            }
            match self.stream.poll_flush(cx) {
                Poll::Ready(Ok(())) => Poll::Ready(Ok(Step::Written)),
                Poll::Ready(Err(error)) => Poll::Ready(Err(Break::Io(error))),
                Poll::Pending => self.poll_read(cx),
            }
        })
        .await
    }

    /// Reads something.
    pub(crate) async fn read(&mut self) -> Result<usize, Break> {
        match poll_fn(|cx| self.poll_read(cx)).await? {
            Step::Read(count) => Ok(count),
            Step::Written => Ok(0),
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Step, Break>> {
        let mut buffer = ReadBuf::new(&mut self.input[..]);
        match self.stream.poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => Poll::Ready(Err(Break::Closed)),
            Poll::Ready(Ok(())) => Poll::Ready(Ok(Step::Read(buffer.filled().len()))),
            Poll::Ready(Err(error)) => Poll::Ready(Err(Break::Io(error))),
            Poll::Pending => self.watch.poll(cx).map(|()| Err(Break::TimedOut)),
        }
    }
}

impl Stream {
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(_) | Stream::Unix(_) => Poll::Ready(Ok(())),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

/// A deadline that is moved for every reply, and a timer that is moved only when it goes off: a busy connection never
/// touches the runtime's timers.
struct Watch {
    due: Instant,
    sleep: Pin<Box<Sleep>>,
}

impl Watch {
    fn new(patience: Duration) -> Watch {
        let due = Instant::now() + patience;
        Watch {
            due,
            sleep: Box::pin(sleep_until(due)),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.due < self.sleep.deadline() {
            self.sleep.as_mut().reset(self.due);
        }
        loop {
            if self.sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if Instant::now() >= self.due {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(self.due);
        }
    }
}

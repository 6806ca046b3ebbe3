//! The bytes of one connection: a plain socket, or the same inside TLS.
//!
//! An idle connection holds no buffer: what is read goes through one scratch buffer of the thread, straight into the session.
//!
//! Never: what the bytes mean.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use postern_smtp::Session;
use postern_tls::{Offer, ServerStream};
use rustix::net::RecvFlags;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Large enough that a big message costs few reads; one per thread, so its size hardly matters.
const SCRATCH: usize = 64 * 1024;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into_boxed_slice());
}

/// One connection.
pub(crate) enum Wire {
    /// As it came.
    Plain(TcpStream),
    /// After the handshake.
    Tls(Box<ServerStream<TcpStream>>),
}

impl Wire {
    /// Takes what comes before the greeting, for as long as `pause`. Without one it does not wait: one call of the system,
    /// most often for nothing.
    pub(crate) async fn receive_early(&self, session: &mut Session, pause: Option<Duration>) {
        let Wire::Plain(stream) = self else { return };
        if let Some(pause) = pause {
            let _ = timeout(pause, stream.readable()).await;
        }
        BUFFER.with_borrow_mut(|scratch| {
            let flags = RecvFlags::DONTWAIT;
            if let Ok((count, _)) = rustix::net::recv(stream, &mut scratch[..], flags)
                && count > 0
            {
                session.receive(Instant::now(), &scratch[..count]);
            }
        });
    }

    /// Waits for a client's hello, and says what it offers; nothing is taken from the stream.
    pub(crate) async fn offer(stream: &TcpStream) -> Option<Offer> {
        let peek = || {
            BUFFER.with_borrow_mut(|scratch| {
                let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
                let (count, _) = rustix::net::recv(stream, &mut scratch[..], flags)?;
                Ok(Offer::read(&scratch[..count]))
            })
        };
        stream.async_io(Interest::READABLE, peek).await.ok()?
    }

    /// Reads what is there into `session`; 0 at the end of the stream.
    pub(crate) fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        session: &mut Session,
    ) -> Poll<io::Result<usize>> {
        BUFFER.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            let read = match self {
                Wire::Plain(stream) => Pin::new(stream).poll_read(cx, &mut buffer),
                Wire::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, &mut buffer),
            };
            read.map_ok(|()| {
                let got = buffer.filled();
                if !got.is_empty() {
                    session.receive(Instant::now(), got);
                }
                got.len()
            })
        })
    }

    /// Writes all of `bytes`, and sees to it that TLS holds none of it back.
    pub(crate) async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        poll_fn(|cx| {
            while !bytes.is_empty() {
                let written = match self {
                    Wire::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
                    Wire::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, bytes),
                };
                match written {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(Ok(count)) => bytes = &bytes[count..],
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Pending,
                }
            }
            match self {
                Wire::Plain(_) => Poll::Ready(Ok(())),
                Wire::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
            }
        })
        .await
    }

    /// Ends the stream in order: close_notify inside TLS (RFC 8446 §6.1). A plain socket is closed as it is dropped.
    pub(crate) async fn shut(&mut self) {
        if let Wire::Tls(stream) = self {
            let _ = poll_fn(|cx| Pin::new(stream.as_mut()).poll_shutdown(cx)).await;
        }
    }
}

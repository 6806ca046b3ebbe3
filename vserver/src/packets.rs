//! A link of packets on the runtime: to the supervisor, or to a client it introduced.
//!
//! The runtime watches a second descriptor of the same socket, since it has no type of its own for packet sockets.
//!
//! Never: what a packet means.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use postern_control::{Error, Link, Received};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

/// One end of a link.
pub(crate) struct Packets {
    link: Link,
    watch: UnixStream,
}

impl Packets {
    /// Takes the end over; to be called on the runtime.
    pub(crate) fn new(link: Link) -> Result<Packets, Error> {
        link.set_nonblocking(true)?;
        let system = |source| Error::System {
            doing: "watch a link",
            source,
        };
        let second: OwnedFd = link.as_fd().try_clone_to_owned().map_err(system)?;
        let watch = UnixStream::from_std(second.into()).map_err(system)?;
        Ok(Packets { link, watch })
    }

    /// The next packet, or that the other side is gone. Dropping the future loses nothing.
    pub(crate) async fn receive<T: DeserializeOwned>(&self) -> Result<Received<T>, Error> {
        loop {
            self.watch
                .readable()
                .await
                .map_err(|source| Error::System {
                    doing: "watch a link",
                    source,
                })?;
            let mut received = Err(Error::WouldBlock);
            // `try_io` takes the readiness back where the socket would block.
            let _ = self.watch.try_io(tokio::io::Interest::READABLE, || {
                received = self.link.receive();
                would_block(&received)
            });
            match received {
                Err(Error::WouldBlock) => {}
                Err(Error::Closed) => return Ok(Received::Closed),
                received => return received,
            }
        }
    }

    /// Sends one packet.
    pub(crate) async fn send<T: Serialize>(&self, packet: &T) -> Result<(), Error> {
        self.send_with(packet, &[]).await
    }

    /// The same, with copies of `files`.
    pub(crate) async fn send_with<T: Serialize>(
        &self,
        packet: &T,
        files: &[BorrowedFd<'_>],
    ) -> Result<(), Error> {
        loop {
            self.watch
                .writable()
                .await
                .map_err(|source| Error::System {
                    doing: "watch a link",
                    source,
                })?;
            let mut sent = Err(Error::WouldBlock);
            let _ = self.watch.try_io(tokio::io::Interest::WRITABLE, || {
                sent = self.link.send(packet, files);
                would_block(&sent)
            });
            match sent {
                Err(Error::WouldBlock) => {}
                sent => return sent,
            }
        }
    }
}

fn would_block<T>(result: &Result<T, Error>) -> std::io::Result<()> {
    match result {
        Err(Error::WouldBlock) => Err(std::io::ErrorKind::WouldBlock.into()),
        _ => Ok(()),
    }
}

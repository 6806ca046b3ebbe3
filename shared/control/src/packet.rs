//! One packet and its open files, over a Unix SEQPACKET socket.
//!
//! The kernel keeps packets whole, so there is no framing. A packet that cannot be decoded is [`Error::Malformed`], and the
//! link it came over must be dropped: what follows cannot be trusted either.
//!
//! Never: `unsafe`; a buffer kept between packets; a file received and then forgotten open.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest packet, in bytes. Anything longer travels as an open file.
pub const LONGEST: usize = 64 * 1024;

/// The most files a packet carries (the kernel refuses more than 253).
pub const MOST_FILES: usize = 250;

/// What can go wrong on a link.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing to receive, or no room to send, on a link that does not block or whose time-out passed.
    #[error("the link would block")]
    WouldBlock,
    /// The other side is gone.
    #[error("the other side closed the link")]
    Closed,
    /// What came in is no packet of this vocabulary. The link must be dropped.
    #[error("malformed packet: {0}")]
    Malformed(String),
    /// What should go out is too long or has too many files.
    #[error("the packet is too long: {0}")]
    TooLong(String),
    /// The other side speaks another version.
    #[error(
        "the other side speaks version {theirs} of the protocol, this one {}",
        crate::VERSION
    )]
    Version {
        /// What it said.
        theirs: u32,
    },
    /// The other side answered, with something that is no answer to what was asked.
    #[error("unexpected answer: {0}")]
    Unexpected(String),
    /// The request was refused.
    #[error("{reason}")]
    Refused {
        /// Why, in words.
        reason: String,
    },
    /// The socket cannot be reached.
    #[error("cannot connect to {}: {source}", path.display())]
    Connect {
        /// The socket's path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The system said no.
    #[error("cannot {doing}: {source}")]
    System {
        /// The operation.
        doing: &'static str,
        /// Why.
        source: std::io::Error,
    },
}

fn system(doing: &'static str) -> impl FnOnce(Errno) -> Error {
    move |errno| match errno {
        Errno::AGAIN => Error::WouldBlock,
        Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN => Error::Closed,
        other => Error::System {
            doing,
            source: other.into(),
        },
    }
}

/// What [`Link::receive`] found.
#[derive(Debug)]
pub enum Received<T> {
    /// A packet and its files.
    Packet(T, Vec<OwnedFd>),
    /// The other side is gone.
    Closed,
}

/// Who is at the other end, as the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Process; 0 if it is outside this pid namespace.
    pub pid: i32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// One end of a link.
#[derive(Debug)]
pub struct Link(OwnedFd);

impl Link {
    /// Two connected ends, both closed on exec.
    pub fn pair() -> Result<(Link, Link), Error> {
        rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .map(|(one, other)| (Link(one), Link(other)))
        .map_err(system("make a pair of sockets"))
    }

    /// Connects to the socket at `path`.
    pub fn connect(path: &Path) -> Result<Link, Error> {
        let connect = || {
            let address = SocketAddrUnix::new(path)?;
            let flags = SocketFlags::CLOEXEC;
            let socket =
                rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
            retry(|| rustix::net::connect(&socket, &address))?;
            Ok(Link(socket))
        };
        connect().map_err(|errno: Errno| Error::Connect {
            path: path.to_owned(),
            source: errno.into(),
        })
    }

    /// Whether `send` and `receive` return [`Error::WouldBlock`] instead of waiting.
    pub fn set_nonblocking(&self, nonblocking: bool) -> Result<(), Error> {
        rustix::io::ioctl_fionbio(&self.0, nonblocking)
            .map_err(system("change the link's blocking"))
    }

    /// How long a blocking `send` or `receive` waits before it returns [`Error::WouldBlock`]; `None`: for ever.
    pub fn set_timeout(&self, timeout: Option<Duration>) -> Result<(), Error> {
        use rustix::net::sockopt::{Timeout, set_socket_timeout};
        set_socket_timeout(&self.0, Timeout::Recv, timeout)
            .and_then(|()| set_socket_timeout(&self.0, Timeout::Send, timeout))
            .map_err(system("set the link's time-out"))
    }

    /// Who is at the other end: who connected, or who made the pair.
    pub fn peer(&self) -> Result<Peer, Error> {
        getsockopt(&self.0, PeerCredentials)
            .map(|peer| Peer {
                pid: peer.pid(),
                uid: peer.uid(),
                gid: peer.gid(),
            })
            .map_err(|errno| Error::System {
                doing: "ask who is at the other end",
                source: errno.into(),
            })
    }

    /// Sends `value` and copies of `files` as one packet.
    pub fn send<T: Serialize>(&self, value: &T, files: &[BorrowedFd<'_>]) -> Result<(), Error> {
        let bytes = serde_json::to_vec(value).map_err(|error| Error::TooLong(error.to_string()))?;
        if bytes.len() > LONGEST || files.len() > MOST_FILES {
            return Err(Error::TooLong(format!(
                "{} bytes, {} files",
                bytes.len(),
                files.len()
            )));
        }
        let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FILES))];
        let mut ancillary = SendAncillaryBuffer::new(&mut room);
        if !files.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(files)) {
            return Err(Error::TooLong(format!("{} files", files.len())));
        }
        let data = [IoSlice::new(&bytes)];
        retry(|| rustix::net::sendmsg(&self.0, &data, &mut ancillary, SendFlags::NOSIGNAL))
            .map(drop)
            .map_err(system("send a packet"))
    }

    /// Receives one packet with its files, which are closed on exec.
    pub fn receive<T: DeserializeOwned>(&self) -> Result<Received<T>, Error> {
        let length = match retry(|| {
            rustix::net::recv(
                &self.0,
                [].as_mut_slice() as &mut [u8],
                RecvFlags::PEEK | RecvFlags::TRUNC,
            )
        }) {
            Ok((_, length)) => length,
            Err(Errno::CONNRESET) => return Ok(Received::Closed),
            Err(errno) => return Err(system("look for a packet")(errno)),
        };
        // The end of the stream, or an empty packet, which is none of ours.
        if length == 0 {
            return Ok(Received::Closed);
        }
        if length > LONGEST {
            return Err(Error::Malformed(format!(
                "{length} bytes, the longest is {LONGEST}"
            )));
        }
        let mut bytes = vec![0; length];
        let files = self.take(&mut bytes)?;
        let value =
            serde_json::from_slice(&bytes).map_err(|error| Error::Malformed(error.to_string()))?;
        Ok(Received::Packet(value, files))
    }

    /// Receives into `bytes`, which must be as long as the packet.
    fn take(&self, bytes: &mut [u8]) -> Result<Vec<OwnedFd>, Error> {
        let expected = bytes.len();
        let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FILES + 3))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut room);
        let received = retry(|| {
            let mut data = [IoSliceMut::new(bytes)];
            rustix::net::recvmsg(&self.0, &mut data, &mut ancillary, RecvFlags::CMSG_CLOEXEC)
        })
        .map_err(system("receive a packet"))?;
        let mut files = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                files.extend(received);
            }
        }
        if received
            .flags
            .intersects(ReturnFlags::CTRUNC | ReturnFlags::TRUNC)
        {
            return Err(Error::Malformed(
                "the packet or its files were cut off".to_owned(),
            ));
        }
        if received.bytes != expected || files.len() > MOST_FILES {
            return Err(Error::Malformed(format!(
                "{} bytes, {} files",
                received.bytes,
                files.len()
            )));
        }
        Ok(files)
    }
}

/// Calls again as long as a signal interrupts.
fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => continue,
            other => return other,
        }
    }
}

impl From<OwnedFd> for Link {
    fn from(fd: OwnedFd) -> Link {
        Link(fd)
    }
}

impl From<Link> for OwnedFd {
    fn from(link: Link) -> OwnedFd {
        link.0
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Link {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests;

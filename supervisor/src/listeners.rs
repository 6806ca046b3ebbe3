//! Binds addresses, and keeps them bound while workers come and go.
//!
//! A server has the listeners in force and, while a new definition is tried, those of the new one; what both name is one
//! socket. Then either the new ones are in force and the others are closed, or it is as if nothing had been tried.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use postern_hosting::{Identity, ServerName};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::life::Event;
use crate::server::Happening;
use crate::systemd::{self, Inherited};

/// The kernel cuts this to net.core.somaxconn.
const BACKLOG: i32 = 4096;

/// A bound identity.
#[derive(Clone)]
pub(crate) struct Listener {
    pub(crate) identity: Identity,
    socket: Rc<Socket>,
}

struct Socket {
    fd: OwnedFd,
    /// Its name in systemd's store.
    name: String,
}

/// One server's listeners.
#[derive(Default)]
pub(crate) struct Listeners {
    in_force: Vec<Listener>,
    tried: Vec<Listener>,
}

impl Listener {
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.fd.as_fd()
    }
}

impl Listeners {
    /// Has a listener for each of `identities`; what is bound already, or was kept by systemd, is used again. The error
    /// is a sentence with a remedy, and nothing has changed.
    pub(crate) fn try_identities(
        &mut self,
        server: &ServerName,
        identities: &[Identity],
        kept: &mut Vec<Inherited>,
    ) -> Result<(), Happening> {
        let mut tried = Vec::with_capacity(identities.len());
        for identity in identities {
            match self.socket(server, identity.address, kept) {
                Ok(socket) => tried.push(Listener { identity: *identity, socket }),
                Err(error) => {
                    drop_others(tried, [&self.in_force, &self.tried]);
                    return Err(error);
                }
            }
        }
        drop_others(std::mem::replace(&mut self.tried, tried), [&self.in_force, &self.tried]);
        Ok(())
    }

    /// What is being tried.
    pub(crate) fn tried(&self) -> &[Listener] {
        &self.tried
    }

    fn socket(
        &self,
        server: &ServerName,
        address: SocketAddr,
        kept: &mut Vec<Inherited>,
    ) -> Result<Rc<Socket>, Happening> {
        let mut bound = self.in_force.iter().chain(&self.tried);
        if let Some(listener) = bound.find(|listener| listener.identity.address == address) {
            return Ok(listener.socket.clone());
        }
        if let Some(at) = kept.iter().position(|inherited| inherited.address == address) {
            let Inherited { name, socket, .. } = kept.swap_remove(at);
            return Ok(Rc::new(Socket { fd: socket, name }));
        }
        let fd = bind(address).map_err(|errno| cannot_bind(address, errno))?;
        // A name in the store has no colon.
        let name = format!("{server}.{address}").replace(':', "_");
        systemd::store(&name, fd.as_fd());
        Ok(Rc::new(Socket { fd, name }))
    }

    /// What was tried is in force; the rest is closed.
    pub(crate) fn keep(&mut self) {
        if !self.tried.is_empty() {
            let former = std::mem::replace(&mut self.in_force, std::mem::take(&mut self.tried));
            drop_others(former, [&self.in_force]);
        }
    }

    /// What was tried is closed, unless it is in force.
    pub(crate) fn roll_back(&mut self) {
        drop_others(std::mem::take(&mut self.tried), [&self.in_force]);
    }

    /// All are closed.
    pub(crate) fn close(&mut self) {
        let Listeners { in_force, tried } = std::mem::take(self);
        drop_others(tried, [&in_force]);
        drop_others(in_force, []);
    }

    /// All are let go; systemd keeps its copies for the next posternd.
    pub(crate) fn leave(&mut self) {
        *self = Listeners::default();
    }

    /// Whether any is bound.
    pub(crate) fn any(&self) -> bool {
        !self.in_force.is_empty() || !self.tried.is_empty()
    }
}

/// Closes, here and in systemd's store, the sockets of `listeners` that none of `others` has.
fn drop_others<const N: usize>(listeners: Vec<Listener>, others: [&Vec<Listener>; N]) {
    for listener in listeners {
        let mut others = others.iter().flat_map(|others| others.iter());
        if !others.any(|other| Rc::ptr_eq(&other.socket, &listener.socket)) {
            systemd::forget(&listener.socket.name);
        }
    }
}

fn bind(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        // [::]:25 must not take 0.0.0.0:25 too: each identity is written down.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    // Accepted sockets have it from their listener: one call for all of them.
    sockopt::set_tcp_nodelay(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// An address that is held is waited for: a worker that lost its supervisor lets go within moments.
fn cannot_bind(address: SocketAddr, errno: Errno) -> Happening {
    let remedy = match errno {
        Errno::ADDRINUSE => format!("something else listens there: `ss -ltnp sport = :{}` names it", address.port()),
        Errno::ADDRNOTAVAIL => "this host has no such address: `ip address` lists them".to_owned(),
        Errno::ACCESS => "a port below 1024 needs root".to_owned(),
        _ => "see the address in `listen`".to_owned(),
    };
    let error = std::io::Error::from(errno);
    let event = if errno == Errno::ADDRINUSE { Event::Busy } else { Event::Unable };
    Happening::because(event, format!("cannot listen on {address}: {error} ({remedy})"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn free() -> Identity {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Identity { address, tls: Default::default() }
    }

    fn answers(identity: Identity) -> bool {
        TcpStream::connect(identity.address).is_ok()
    }

    #[test]
    fn a_trial_that_fails_changes_nothing() {
        let (name, mut kept) = ("mx".parse().unwrap(), Vec::new());
        let [a, b] = [free(), free()];
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let other = Identity { address: taken.local_addr().unwrap(), tls: Default::default() };
        let mut listeners = Listeners::default();
        listeners.try_identities(&name, &[a], &mut kept).unwrap();
        listeners.keep();
        let error = listeners.try_identities(&name, &[b, other], &mut kept).unwrap_err();
        let text = error.text;
        assert!(text.contains("Address already in use") && text.contains("ss -ltnp"), "{text}");
        assert!(answers(a) && !answers(b));
        listeners.try_identities(&name, &[b], &mut kept).unwrap();
        assert!(answers(a) && answers(b));
        listeners.roll_back();
        assert!(answers(a) && !answers(b));
        listeners.try_identities(&name, &[b], &mut kept).unwrap();
        listeners.keep();
        assert!(!answers(a) && answers(b));
        listeners.close();
        assert!(!answers(b) && !listeners.any());
    }

    #[test]
    fn what_systemd_kept_is_used_again() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let identity = Identity { address: held.local_addr().unwrap(), tls: Default::default() };
        let socket = OwnedFd::from(held);
        let mut kept = vec![Inherited { name: "mx".into(), address: identity.address, socket }];
        let mut listeners = Listeners::default();
        listeners.try_identities(&"mx".parse().unwrap(), &[identity], &mut kept).unwrap();
        assert!(kept.is_empty() && answers(identity));
    }
}

//! Control clients: who they are, what they ask, and a line in the audit log for each command.
//!
//! The kernel lets root, posternd's own user and the members of the control group connect (mode 0660), and says who
//! connected. Everybody else is turned away there; the desk looks again, for the case that somebody changed the mode.
//!
//! Never: a wait for a client. What cannot be sent at once is not sent, and the client is dropped.

use std::collections::HashMap;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::unistd::{Gid, Group, geteuid};
use postern_control::client::{Reply, Request};
use postern_control::{Error, Link, Peer, Received, VERSION};
use postern_hosting::ServerName;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde_json::{Value, json};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

/// The most clients at once; one more sends the longest idle away.
const MOST: usize = 128;

/// A request that has not been answered.
#[derive(Clone, Debug)]
pub(crate) struct Ticket {
    pub(crate) client: u32,
    pub(crate) request: Request,
    pub(crate) peer: Peer,
}

struct Client {
    link: Link,
    peer: Peer,
    said_hello: bool,
    waiting: bool,
    last: Instant,
}

/// The control socket, its clients and the audit log.
pub(crate) struct Desk {
    pub(crate) socket: OwnedFd,
    path: PathBuf,
    group: Option<Gid>,
    clients: HashMap<u32, Client>,
    last: u32,
    audit: PathBuf,
}

impl Desk {
    /// Listens at `path`; a socket that is there already is a dead posternd's, since ours is the lock of the folder.
    pub(crate) fn open(path: PathBuf, group: Option<&str>, audit: PathBuf) -> Result<Desk, String> {
        let look_up = |name| match Group::from_name(name) {
            Ok(Some(group)) => Ok(group.gid),
            Ok(None) => Err(format!("control_group: there is no group `{name}` on this host")),
            Err(error) => Err(format!("control_group: cannot look up `{name}`: {error}")),
        };
        let group = group.map(look_up).transpose()?;
        let socket = listen(&path, group).map_err(|error| format!("cannot listen at {}: {error}", path.display()))?;
        Ok(Desk { socket, path, group, clients: HashMap::new(), last: 0, audit })
    }

    pub(crate) fn link(&self, client: u32) -> Option<&Link> {
        self.clients.get(&client).map(|client| &client.link)
    }

    /// Takes the next client waiting to connect, if there is one, and gives it a number; it may be turned away at once.
    pub(crate) fn accept(&mut self, now: Instant) -> Option<u32> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let link = match rustix::net::accept_with(&self.socket, flags) {
            Ok(socket) => Link::from(socket),
            Err(rustix::io::Errno::AGAIN) => return None,
            Err(error) => {
                tracing::warn!("cannot accept a control client: {error}");
                self.make_room(1);
                return None;
            }
        };
        self.last = self.last.wrapping_add(1);
        let Ok(peer) = link.peer() else { return Some(self.last) };
        if !self.admits(peer) {
            self.write(peer, "connect", None, "denied", "neither root nor in the control group");
            return Some(self.last);
        }
        self.make_room(MOST);
        self.clients.insert(self.last, Client { link, peer, said_hello: false, waiting: false, last: now });
        Some(self.last)
    }

    fn admits(&self, peer: Peer) -> bool {
        // A member may have the group as a supplementary one, which SO_PEERCRED does not show: there the mode decides.
        peer.uid == 0 || peer.uid == geteuid().as_raw() || self.group.is_some()
    }

    /// Sends the longest idle away until there are fewer than `most` clients.
    fn make_room(&mut self, most: usize) {
        while self.clients.len() >= most {
            let idle = self.clients.iter().filter(|(_, client)| !client.waiting);
            let Some(longest) = idle.min_by_key(|(_, client)| client.last).map(|(id, _)| *id) else { return };
            self.clients.remove(&longest);
        }
    }

    /// The next request of a client. `Hello` is answered here; nonsense ends the link.
    pub(crate) fn hear(&mut self, id: u32, now: Instant) -> Option<Ticket> {
        let client = self.clients.get_mut(&id)?;
        client.last = now;
        // One that waits is not heard, so it has hung up: its order is carried out, its answer not waited for.
        if client.waiting {
            return self.drop_client(id);
        }
        let request = match client.link.receive::<Request>() {
            Ok(Received::Packet(request, files)) if files.is_empty() => request,
            Err(Error::WouldBlock) => return None,
            Ok(Received::Closed) | Err(Error::Closed) => return self.drop_client(id),
            Ok(Received::Packet(..)) => return self.reject(id, "a request with files"),
            Err(error) => return self.reject(id, &error.to_string()),
        };
        match request {
            Request::Hello { version: VERSION } if !client.said_hello => {
                client.said_hello = true;
                self.send(id, &Reply::Hello { version: VERSION }, &[]);
                None
            }
            Request::Hello { version } => {
                let reason =
                    format!("posternd speaks version {VERSION} of the protocol, not {version}, and is greeted once");
                self.send(id, &Reply::refused(reason, Vec::new()), &[]);
                self.drop_client(id)
            }
            _ if !client.said_hello => self.reject(id, "a request before its hello"),
            request => {
                client.waiting = true;
                Some(Ticket { client: id, request, peer: client.peer })
            }
        }
    }

    fn reject(&mut self, id: u32, why: &str) -> Option<Ticket> {
        if let Some(client) = self.clients.get(&id) {
            self.write(client.peer, "nonsense", None, "dropped", why);
        }
        self.drop_client(id)
    }

    /// Forgets a client, whose link so ends; nothing more comes from it.
    pub(crate) fn drop_client(&mut self, id: u32) -> Option<Ticket> {
        self.clients.remove(&id);
        None
    }

    /// Answers a request and writes its line; whether the client is still there.
    pub(crate) fn answer(&mut self, ticket: &Ticket, reply: &Reply, files: &[BorrowedFd<'_>]) -> bool {
        let Ticket { request, peer, .. } = ticket;
        let (outcome, text) = match reply {
            Reply::Done { message, .. } => ("done", message.as_str()),
            Reply::Refused { reason, .. } => ("refused", reason.as_str()),
            _ => ("done", ""),
        };
        // Looking is no command.
        if !matches!(request, Request::List { .. }) {
            self.write(*peer, request.verb(), request.server(), outcome, text);
        }
        self.send(ticket.client, reply, files)
    }

    fn send(&mut self, id: u32, reply: &Reply, files: &[BorrowedFd<'_>]) -> bool {
        let Some(client) = self.clients.get_mut(&id) else { return false };
        client.waiting = false;
        if let Err(error) = client.link.send(reply, files) {
            tracing::debug!("control client {}: {error}", client.peer.pid);
            self.drop_client(id);
            return false;
        }
        true
    }

    /// One line: on disk, and with the diagnostics. The file is opened each time, so that it can be rotated away.
    fn write(&self, peer: Peer, verb: &str, server: Option<&ServerName>, outcome: &str, text: &str) {
        let mut time = String::new();
        let _ = SystemTime.format_time(&mut Writer::new(&mut time));
        let Peer { uid, pid, .. } = peer;
        let line = json!({ "time": time, "uid": uid, "pid": pid, "verb": verb, "server": server, "outcome": outcome, "text": text });
        let shown = server.map(ServerName::as_str).unwrap_or_default();
        tracing::info!(target: "audit", "{verb} {shown}: {outcome} {text} (uid {uid}, process {pid})");
        if let Err(error) = append(&self.audit, &line) {
            tracing::error!("cannot write {}: {error}", self.audit.display());
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn append(path: &Path, line: &Value) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    file.write_all(format!("{line}\n").as_bytes())
}

fn listen(path: &Path, group: Option<Gid>) -> io::Result<OwnedFd> {
    let _ = fs::remove_file(path);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    // The umask keeps everybody else out until the mode is set.
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    if group.is_some() {
        nix::unistd::chown(path, None, group)?;
    }
    let mode = if group.is_some() { 0o660 } else { 0o600 };
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    rustix::net::listen(&socket, 128)?;
    Ok(socket)
}

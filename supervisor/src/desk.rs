//! Control clients: who they are, what they ask, and a line in the audit log for each command.
//!
//! The kernel lets root, posternd's own user and the members of the control group connect (mode 0660), and says who
//! connected. Everybody else is turned away there; the desk looks again, for the case that somebody changed the mode.
//!
//! Never: a wait for a client. What cannot be sent at once is not sent, and the client is dropped.

use std::collections::HashMap;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use nix::unistd::{Gid, Group, geteuid};
use postern_control::client::{Reply, Request};
use postern_control::{Error, Link, Peer, Received, VERSION};
use postern_hosting::ServerName;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde::Serialize;

/// The most clients at once; one more sends the longest idle away.
const MOST: usize = 128;

/// A request that has not been answered.
#[derive(Clone, Debug)]
pub(crate) struct Ticket {
    pub(crate) client: u32,
    pub(crate) request: Request,
    peer: Peer,
    /// When it is answered at the latest.
    pub(crate) deadline: Instant,
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
    socket: OwnedFd,
    path: PathBuf,
    group: Option<Gid>,
    clients: HashMap<u32, Client>,
    audit: PathBuf,
}

/// What came from a client.
pub(crate) enum Asked {
    Request(Request, Peer),
    Nothing,
    Gone,
}

impl Desk {
    /// Listens at `path`; a socket that is there already is a dead posternd's, since ours is the lock of the folder.
    pub(crate) fn open(path: PathBuf, group: Option<&str>, audit: PathBuf) -> Result<Desk, String> {
        let group = group.map(|name| match Group::from_name(name) {
            Ok(Some(group)) => Ok(group.gid),
            Ok(None) => Err(format!("control_group: there is no group `{name}` on this host")),
            Err(error) => Err(format!("control_group: cannot look up `{name}`: {error}")),
        });
        let group = group.transpose()?;
        let socket = listen(&path, group).map_err(|error| format!("cannot listen at {}: {error}", path.display()))?;
        Ok(Desk { socket, path, group, clients: HashMap::new(), audit })
    }

    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(crate) fn link(&self, client: u32) -> Option<&Link> {
        self.clients.get(&client).map(|client| &client.link)
    }

    pub(crate) fn waits(&self, client: u32) -> bool {
        self.clients.get(&client).is_some_and(|client| client.waiting)
    }

    /// Takes the next client waiting to connect, if there is one; `true`: there may be another.
    pub(crate) fn accept(&mut self, id: u32, now: Instant) -> bool {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let link = match rustix::net::accept_with(&self.socket, flags) {
            Ok(socket) => Link::from(socket),
            Err(rustix::io::Errno::AGAIN) => return false,
            Err(error) => {
                tracing::warn!("cannot accept a control client: {error}");
                self.make_room(1);
                return false;
            }
        };
        let Ok(peer) = link.peer() else { return true };
        if !self.admits(peer) {
            self.write(peer, "connect", None, "denied", "neither root nor in the control group");
            return true;
        }
        self.make_room(MOST);
        self.clients.insert(id, Client { link, peer, said_hello: false, waiting: false, last: now });
        true
    }

    fn admits(&self, peer: Peer) -> bool {
        // A member may have the group as a supplementary one, which SO_PEERCRED does not show: there the mode decides.
        peer.uid == 0 || peer.uid == geteuid().as_raw() || self.group.is_some()
    }

    /// Sends the longest idle away until there are fewer than `most` clients.
    fn make_room(&mut self, most: usize) {
        while self.clients.len() >= most {
            let idle = self.clients.iter().filter(|(_, client)| !client.waiting);
            let Some(longest) = idle.min_by_key(|(_, client)| client.last).map(|(id, _)| *id) else {
                return;
            };
            self.clients.remove(&longest);
        }
    }

    /// The next request of a client. `Hello` is answered here; nonsense ends the link.
    pub(crate) fn hear(&mut self, id: u32, now: Instant) -> Asked {
        let Some(client) = self.clients.get_mut(&id) else {
            return Asked::Gone;
        };
        client.last = now;
        let request = match client.link.receive::<Request>() {
            Ok(Received::Packet(request, files)) if files.is_empty() => request,
            Err(Error::WouldBlock) => return Asked::Nothing,
            Ok(Received::Closed) | Err(Error::Closed) => return self.drop_client(id),
            Ok(Received::Packet(..)) => return self.reject(id, "a request with files"),
            Err(error) => return self.reject(id, &error.to_string()),
        };
        match (request, client.said_hello) {
            (Request::Hello { version: VERSION }, false) => {
                client.said_hello = true;
                self.send(id, &Reply::Hello { version: VERSION }, &[]);
                Asked::Nothing
            }
            (Request::Hello { version }, false) => {
                let reason = format!("posternd speaks version {VERSION} of the protocol, not {version}");
                self.send(id, &Reply::refused(reason, Vec::new()), &[]);
                self.drop_client(id)
            }
            (Request::Hello { .. }, true) => self.reject(id, "a second hello"),
            (_, false) => self.reject(id, "a request before its hello"),
            (request, true) => {
                client.waiting = true;
                Asked::Request(request, client.peer)
            }
        }
    }

    fn reject(&mut self, id: u32, why: &str) -> Asked {
        if let Some(client) = self.clients.get(&id) {
            self.write(client.peer, "nonsense", None, "dropped", why);
        }
        self.drop_client(id)
    }

    /// Forgets a client, whose link so ends.
    pub(crate) fn drop_client(&mut self, id: u32) -> Asked {
        self.clients.remove(&id);
        Asked::Gone
    }

    /// The paper for a request that is answered later.
    pub(crate) fn ticket(client: u32, request: Request, peer: Peer, deadline: Instant) -> Ticket {
        Ticket { client, request, peer, deadline }
    }

    /// Answers a request and writes its line; whether the client is still there.
    pub(crate) fn answer(&mut self, ticket: &Ticket, reply: &Reply, files: &[BorrowedFd<'_>]) -> bool {
        match reply {
            // Looking is no command.
            Reply::Servers { .. } | Reply::Hello { .. } => {}
            Reply::Done { message, .. } => self.log(ticket, "done", message),
            Reply::Introduced => self.log(ticket, "done", ""),
            Reply::Refused { reason, .. } => self.log(ticket, "refused", reason),
        }
        self.send(ticket.client, reply, files)
    }

    fn send(&mut self, id: u32, reply: &Reply, files: &[BorrowedFd<'_>]) -> bool {
        let Some(client) = self.clients.get_mut(&id) else {
            return false;
        };
        client.waiting = false;
        if let Err(error) = client.link.send(reply, files) {
            tracing::debug!("control client {}: {error}", client.peer.pid);
            self.drop_client(id);
            return false;
        }
        true
    }

    fn log(&self, ticket: &Ticket, outcome: &str, text: &str) {
        let Ticket { request, peer, .. } = ticket;
        self.write(*peer, request.verb(), request.server(), outcome, text);
    }

    /// One line: on disk, and with the diagnostics. The file is opened each time, so that it can be rotated away.
    fn write(&self, peer: Peer, verb: &str, server: Option<&ServerName>, outcome: &str, text: &str) {
        let time = utc(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()));
        let Peer { uid, pid, .. } = peer;
        let line = Line { time: &time, uid, pid, verb, server, outcome, text };
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

#[derive(Serialize)]
struct Line<'a> {
    time: &'a str,
    uid: u32,
    pid: i32,
    verb: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<&'a ServerName>,
    outcome: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    text: &'a str,
}

fn append(path: &Path, line: &Line<'_>) -> io::Result<()> {
    let mut json = serde_json::to_vec(line)?;
    json.push(b'\n');
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)?.write_all(&json)
}

/// `2026-11-24T06:51:02Z` (civil date from days: Howard Hinnant's algorithm).
fn utc(seconds: u64) -> String {
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

fn listen(path: &Path, group: Option<Gid>) -> io::Result<OwnedFd> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
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

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn times_are_written_as_people_read_them() {
        let cases = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_503_062, "2026-11-24T06:51:02Z"),
            (4_102_444_799, "2099-12-31T23:59:59Z"),
        ];
        for (seconds, text) in cases {
            assert_eq!(utc(seconds), text);
        }
    }
}

//! client → posternd, over the control socket.
//!
//! The client says `Hello` first and is answered `Hello`, or `Refused` and the end of the link. After that each request is
//! answered by one reply, in order. A request that changes something is answered when it is done, not when it is begun.

use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Duration;

use postern_hosting::{Finding, Identity, ServerName, ServerState};
use serde::{Deserialize, Serialize};

use crate::query::Inquiry;
use crate::{Error, Link, Received, VERSION, bounded, bounded_findings};

/// What a client asks of posternd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Request {
    /// The first packet.
    Hello {
        /// See [`VERSION`].
        version: u32,
    },
    /// The servers in the order of their names, those after `after`.
    List {
        /// The last name already known.
        after: Option<ServerName>,
    },
    /// Have it running.
    Start {
        /// Which.
        server: ServerName,
    },
    /// Have it stopped, now and after a restart of posternd.
    Stop {
        /// Which.
        server: ServerName,
    },
    /// Have it answer new connections with 421.
    Pause {
        /// Which.
        server: ServerName,
    },
    /// Have it accept again.
    Resume {
        /// Which.
        server: ServerName,
    },
    /// Have a new process take over.
    Restart {
        /// Which.
        server: ServerName,
    },
    /// Have it use its definition as it is now.
    Reload {
        /// Which.
        server: ServerName,
    },
    /// Be introduced to its worker.
    Introduce {
        /// Which.
        server: ServerName,
    },
}

impl Request {
    /// The verb, in one lower-case word.
    pub fn verb(&self) -> &'static str {
        match self {
            Request::Hello { .. } => "hello",
            Request::List { .. } => "list",
            Request::Start { .. } => "start",
            Request::Stop { .. } => "stop",
            Request::Pause { .. } => "pause",
            Request::Resume { .. } => "resume",
            Request::Restart { .. } => "restart",
            Request::Reload { .. } => "reload",
            Request::Introduce { .. } => "introduce",
        }
    }

    /// The server meant, if one is.
    pub fn server(&self) -> Option<&ServerName> {
        match self {
            Request::Hello { .. } | Request::List { .. } => None,
            Request::Start { server }
            | Request::Stop { server }
            | Request::Pause { server }
            | Request::Resume { server }
            | Request::Restart { server }
            | Request::Reload { server }
            | Request::Introduce { server } => Some(server),
        }
    }
}

/// What posternd answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Reply {
    /// The first packet.
    Hello {
        /// See [`VERSION`].
        version: u32,
    },
    /// One page of servers.
    Servers {
        /// About posternd itself.
        host: HostRow,
        /// One row a server.
        rows: Vec<ServerRow>,
        /// Whether there are more: ask again, after the last of these.
        more: bool,
    },
    /// Done.
    Done {
        /// What was done, in words.
        message: String,
        /// What is doubtful in the definition, though it is in force.
        findings: Vec<Finding>,
    },
    /// Not done.
    Refused {
        /// Why, in words.
        reason: String,
        /// What is wrong in the definition, if that is why.
        findings: Vec<Finding>,
    },
    /// The one file carried leads to the worker, see [`crate::query`].
    Introduced,
}

impl Reply {
    /// A page with as many rows as a packet holds.
    pub fn servers(host: HostRow, rows: Vec<ServerRow>) -> Reply {
        let (rows, more) = bounded(rows);
        Reply::Servers { host, rows, more }
    }

    /// Done, with as many findings as a packet holds.
    pub fn done(message: impl Into<String>, findings: Vec<Finding>) -> Reply {
        Reply::Done {
            message: message.into(),
            findings: bounded_findings(findings),
        }
    }

    /// Not done, with as many findings as a packet holds.
    pub fn refused(reason: impl Into<String>, findings: Vec<Finding>) -> Reply {
        Reply::Refused {
            reason: reason.into(),
            findings: bounded_findings(findings),
        }
    }
}

/// posternd itself, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostRow {
    /// Whether workers run under uids of their own.
    pub isolated: bool,
    /// posternd's version.
    pub version: String,
    /// posternd's process.
    pub pid: u32,
    /// When it was started, in seconds since 1970.
    pub since: u64,
    /// What an administrator should know, or nothing.
    pub note: String,
}

/// One server, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerRow {
    /// Its name.
    pub name: ServerName,
    /// Where it is in its life.
    pub state: ServerState,
    /// What it listens on.
    pub addresses: Vec<Identity>,
    /// Its worker's process.
    pub pid: Option<u32>,
    /// Its worker's user.
    pub uid: Option<u32>,
    /// Sessions now, those of predecessors that drain included.
    pub sessions: u32,
    /// Messages in its queue now.
    pub queued: u64,
    /// Since when it is in this state, in seconds since 1970.
    pub since: u64,
    /// `description` from the definition.
    pub description: String,
    /// The processes that hold what its workers must not.
    pub authds: Vec<AuthdRow>,
    /// Why it failed, until when it waits, how many predecessors drain; or nothing.
    pub detail: String,
}

/// One authd, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthdRow {
    /// What it holds: `hashes`, `winbind` or `kerberos`.
    pub kind: String,
    /// Its process.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
}

/// The client's end of the control socket, past the `Hello`.
#[derive(Debug)]
pub struct Client {
    link: Link,
}

/// How long a posternd that works may take to say hello: it answers at once or hangs.
const HELLO: Duration = Duration::from_secs(10);

impl Client {
    /// Connects, and agrees on the version.
    pub fn connect(path: &Path) -> Result<Client, Error> {
        let client = Client {
            link: Link::connect(path)?,
        };
        client.link.set_timeout(Some(HELLO))?;
        match client.ask(&Request::Hello { version: VERSION })? {
            Reply::Hello { version: VERSION } => {
                client.link.set_timeout(None)?;
                Ok(client)
            }
            Reply::Hello { version } => Err(Error::Version { theirs: version }),
            Reply::Refused { reason, .. } => Err(Error::Refused { reason }),
            other => Err(unexpected(&other)),
        }
    }

    /// How long [`Client::ask`] waits from here on before it fails with [`Error::WouldBlock`]; `None`, the default: for ever.
    pub fn set_timeout(&self, timeout: Option<Duration>) -> Result<(), Error> {
        self.link.set_timeout(timeout)
    }

    /// Asks, and waits for the reply.
    pub fn ask(&self, request: &Request) -> Result<Reply, Error> {
        self.ask_for_files(request).map(|(reply, _)| reply)
    }

    fn ask_for_files(
        &self,
        request: &Request,
    ) -> Result<(Reply, Vec<std::os::fd::OwnedFd>), Error> {
        self.link.send(request, &[])?;
        match self.link.receive()? {
            Received::Packet(reply, files) => Ok((reply, files)),
            Received::Closed => Err(Error::Closed),
        }
    }

    /// All servers, however many packets that takes.
    pub fn list(&self) -> Result<(HostRow, Vec<ServerRow>), Error> {
        let mut all: Vec<ServerRow> = Vec::new();
        loop {
            let after = all.last().map(|row| row.name.clone());
            match self.ask(&Request::List { after })? {
                Reply::Servers { host, rows, more } => {
                    // A page without rows that promises more would go on for ever.
                    let more = more && !rows.is_empty();
                    all.extend(rows);
                    if !more {
                        return Ok((host, all));
                    }
                }
                Reply::Refused { reason, .. } => return Err(Error::Refused { reason }),
                other => return Err(unexpected(&other)),
            }
        }
    }

    /// Is introduced to the worker of `server`.
    pub fn introduce(&self, server: &ServerName) -> Result<Inquiry, Error> {
        let (reply, mut files) = self.ask_for_files(&Request::Introduce {
            server: server.clone(),
        })?;
        match (reply, files.pop()) {
            (Reply::Introduced, Some(file)) if files.is_empty() => Inquiry::open(Link::from(file)),
            (Reply::Refused { reason, .. }, _) => Err(Error::Refused { reason }),
            (other, _) => Err(unexpected(&other)),
        }
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }
}

fn unexpected(reply: &Reply) -> Error {
    let word = match reply {
        Reply::Hello { .. } => "Hello",
        Reply::Servers { .. } => "Servers",
        Reply::Done { .. } => "Done",
        Reply::Refused { .. } => "Refused",
        Reply::Introduced => "Introduced",
    };
    Error::Unexpected(word.to_owned())
}

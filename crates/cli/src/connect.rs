//! The way to the supervisor, and through it to a worker; what goes wrong there is put in an administrator's words.
//!
//! ```text
//! postern ── /run/postern/control ──▶ posternd          Request → Reply
//!    └────── the introduced pair ───▶ postern-vserver    Question → Answer
//! ```
//!
//! Never: interprets an answer; the commands do.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use postern_control::client::{Client, HostRow, Reply, Request, ServerRow};
use postern_control::query::{Answer, Inquiry, Question};
use postern_control::{Error as Trouble, VERSION};
use postern_hosting::ServerName;

use crate::failure::Error;

/// What a socket's path may have at most: `sun_path` less its closing NUL.
const LONGEST_PATH: usize = 107;

/// How long an answer may take that needs no waiting for sessions.
const PROMPT: Duration = Duration::from_secs(10);

/// How long a worker may take; to wake or delete a million messages takes a while.
const PATIENCE: Duration = Duration::from_secs(120);

/// A conversation with the supervisor.
pub(crate) struct Desk {
    client: Client,
    path: PathBuf,
}

impl Desk {
    /// Connects, and agrees on the version.
    pub(crate) fn connect(path: &Path) -> Result<Desk, Error> {
        path_fits(path)?;
        let client = Client::connect(path).map_err(|trouble| wording(trouble, "posternd", path))?;
        Ok(Desk {
            client,
            path: path.to_owned(),
        })
    }

    /// All servers, and what is to be known of the host.
    pub(crate) fn servers(&self) -> Result<(HostRow, Vec<ServerRow>), Error> {
        self.patience(Some(PROMPT))?;
        self.client.list().map_err(|trouble| self.wording(trouble))
    }

    /// Gives an order and waits, however long, until it is done or refused.
    pub(crate) fn order(&self, request: &Request) -> Result<Reply, Error> {
        self.patience(None)?;
        self.client
            .ask(request)
            .map_err(|trouble| self.wording(trouble))
    }

    /// A conversation with the worker of `server`.
    pub(crate) fn introduce(&self, server: &ServerName) -> Result<Worker, Error> {
        self.patience(Some(PROMPT))?;
        let refused = |trouble| match trouble {
            Trouble::Refused { reason } => Error::Refused {
                subject: server.to_string(),
                reason,
                findings: Vec::new(),
            },
            other => self.wording(other),
        };
        let inquiry = self.client.introduce(server).map_err(refused)?;
        let worker = Worker {
            inquiry,
            server: server.clone(),
            path: self.path.clone(),
        };
        worker
            .inquiry
            .set_timeout(Some(PATIENCE))
            .map_err(|trouble| worker.wording(trouble))?;
        Ok(worker)
    }

    /// The error for an answer that does not belong to the question.
    pub(crate) fn nonsense(&self, reply: &Reply) -> Error {
        self.wording(Trouble::Unexpected(format!("{reply:?}")))
    }

    fn patience(&self, patience: Option<Duration>) -> Result<(), Error> {
        self.client
            .set_timeout(patience)
            .map_err(|trouble| self.wording(trouble))
    }

    fn wording(&self, trouble: Trouble) -> Error {
        wording(trouble, "posternd", &self.path)
    }
}

/// A conversation with one worker.
pub(crate) struct Worker {
    inquiry: Inquiry,
    server: ServerName,
    path: PathBuf,
}

impl Worker {
    /// Asks and waits for the answer; what the worker cannot do comes back as a refusal.
    pub(crate) fn ask(&self, question: &Question) -> Result<Answer, Error> {
        self.ask_for_files(question).map(|(answer, _)| answer)
    }

    /// The same where the answer comes with files.
    pub(crate) fn ask_for_files(
        &self,
        question: &Question,
    ) -> Result<(Answer, Vec<OwnedFd>), Error> {
        let asked = self.inquiry.ask_for_files(question);
        match asked.map_err(|trouble| self.wording(trouble))? {
            (Answer::Unknown { reason }, _) => Err(Error::Refused {
                subject: self.server.to_string(),
                reason,
                findings: Vec::new(),
            }),
            answer => Ok(answer),
        }
    }

    /// The error for an answer that does not belong to the question.
    pub(crate) fn nonsense(&self, answer: &Answer) -> Error {
        self.wording(Trouble::Unexpected(format!("{answer:?}")))
    }

    fn wording(&self, trouble: Trouble) -> Error {
        wording(trouble, "the worker", &self.path)
    }
}

/// Refuses a socket path that the kernel would not take.
pub(crate) fn path_fits(path: &Path) -> Result<(), Error> {
    if path.as_os_str().as_bytes().len() > LONGEST_PATH {
        Err(Error::PathTooLong {
            path: path.to_owned(),
        })
    } else {
        Ok(())
    }
}

/// The trouble on a link to `who`, as an administrator should read it.
fn wording(trouble: Trouble, who: &'static str, path: &Path) -> Error {
    let path = path.to_owned();
    match trouble {
        Trouble::Connect { source, .. } => match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                Error::NotRunning { path }
            }
            io::ErrorKind::PermissionDenied => Error::Denied {
                group: group_of(&path),
                path,
            },
            _ => Error::Talk {
                what: "cannot connect to",
                who,
                path,
                cause: source.to_string(),
            },
        },
        Trouble::Version { theirs } => Error::Version {
            who,
            theirs,
            ours: VERSION,
        },
        Trouble::Refused { reason } => Error::Refused {
            subject: who.to_owned(),
            reason,
            findings: Vec::new(),
        },
        Trouble::WouldBlock => Error::Talk {
            what: "no answer from",
            who,
            path,
            cause: "it takes too long".to_owned(),
        },
        other => Error::Talk {
            what: "the conversation broke off with",
            who,
            path,
            cause: other.to_string(),
        },
    }
}

/// The group that owns the socket, unless that is root's: who is in it may connect.
fn group_of(path: &Path) -> Option<String> {
    let gid = std::fs::symlink_metadata(path).ok()?.gid();
    let group = nix::unistd::Group::from_gid(nix::unistd::Gid::from_raw(gid))
        .ok()
        .flatten()?;
    (gid != 0).then_some(group.name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn connecting(kind: io::ErrorKind) -> Error {
        let path = PathBuf::from("/run/postern/control");
        let source = io::Error::from(kind);
        wording(
            Trouble::Connect {
                path: path.clone(),
                source,
            },
            "posternd",
            &path,
        )
    }

    #[test]
    fn a_socket_that_is_closed_to_the_user_says_how_to_get_in() {
        let error = connecting(io::ErrorKind::PermissionDenied);
        assert!(error.to_string().contains("permission denied"), "{error}");
        assert!(error.remedy().unwrap().contains("sudo"));
        let path = PathBuf::from("/run/postern/control");
        let error = Error::Denied {
            path,
            group: Some("postern".into()),
        };
        assert!(error.remedy().unwrap().contains("join the group postern"));
        assert_eq!(error.code(), 3);
    }

    #[test]
    fn nobody_there_says_how_to_start() {
        for kind in [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused] {
            let error = connecting(kind);
            assert!(matches!(error, Error::NotRunning { .. }));
            assert!(error.remedy().unwrap().contains("systemctl start posternd"));
        }
    }

    #[test]
    fn a_long_path_is_refused_before_the_kernel_does() {
        let path = |length: usize| PathBuf::from("/".repeat(length));
        assert!(path_fits(&path(107)).is_ok());
        assert!(path_fits(&path(108)).is_err());
    }
}

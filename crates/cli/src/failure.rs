//! What can go wrong for a person at the prompt: the place, the cause and the remedy, and the exit code that scripts see.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | refused, or failed; of the commands that judge: something is wrong |
//! | 2 | the command line is wrong, or a file cannot be read or written |
//! | 3 | the supervisor cannot be reached |
//!
//! Never: prints anything itself; `render.rs` does.

use std::io;
use std::path::{Path, PathBuf};

use postern_hosting::Finding;

/// Every way a command can end without having done what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Nobody listens at the control socket.
    #[error("posternd is not running: nothing answers at {}", path.display())]
    NotRunning { path: PathBuf },
    /// The control socket is there but not for this user.
    #[error("the control socket {} is not open to you: permission denied", path.display())]
    Denied {
        path: PathBuf,
        group: Option<String>,
    },
    /// The control socket's path is longer than the kernel takes.
    #[error("the socket path {} is {} bytes long; Linux allows 107", path.display(), path.as_os_str().len())]
    PathTooLong { path: PathBuf },
    /// Any other failure to connect, or a conversation that broke off.
    #[error("{what} {who} (control socket {}): {cause}", path.display())]
    Talk {
        what: &'static str,
        who: &'static str,
        path: PathBuf,
        cause: String,
    },
    /// The supervisor or a worker speaks another version of the protocol.
    #[error("{who} speaks version {theirs} of the control protocol, this command speaks {ours}")]
    Version {
        who: &'static str,
        theirs: u32,
        ours: u32,
    },
    /// An order or question was understood and refused.
    #[error("{subject}: {reason}")]
    Refused {
        subject: String,
        reason: String,
        findings: Vec<Finding>,
    },
    /// Something did not work, and there is nothing to add.
    #[error("{0}")]
    Failed(String),
    /// It was said already what is wrong; only the exit code is left.
    #[error("")]
    Said,
    /// It was said already that a file cannot be read.
    #[error("")]
    SaidUnreadable,
    /// The command line asks for something that cannot be.
    #[error("{what}")]
    Usage { what: String, remedy: String },
    /// A file cannot be read.
    #[error("cannot read {}: {}", path.display(), plain(source))]
    Read { path: PathBuf, source: io::Error },
    /// A file cannot be written.
    #[error("cannot write {}: {}", path.display(), plain(source))]
    Write { path: PathBuf, source: io::Error },
    /// A file cannot be understood.
    #[error("{} has errors and is left as it is", path.display())]
    Broken {
        path: PathBuf,
        findings: Vec<Finding>,
    },
    /// A definition, or a file it names, that no server would load.
    #[error("{} has errors: no server would load it", path.display())]
    NotLoadable {
        path: PathBuf,
        findings: Vec<Finding>,
    },
    /// Standard output is gone.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

impl Error {
    /// The exit code, as documented in `postern --help`.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Error::Refused { .. } | Error::Failed(_) | Error::Said => 1,
            Error::SaidUnreadable
            | Error::Usage { .. }
            | Error::Read { .. }
            | Error::Write { .. }
            | Error::Broken { .. }
            | Error::NotLoadable { .. }
            | Error::Output(_) => 2,
            Error::NotRunning { .. } | Error::Denied { .. } | Error::PathTooLong { .. } => 3,
            Error::Talk { .. } | Error::Version { .. } => 3,
        }
    }

    /// True where the reader of our output has simply gone away (`postern queue list mx1 | head`).
    pub(crate) fn reader_left(&self) -> bool {
        matches!(self, Error::Output(cause) if cause.kind() == io::ErrorKind::BrokenPipe)
    }

    /// Findings to show below the error, with their source lines.
    pub(crate) fn findings(&self) -> &[Finding] {
        match self {
            Error::Refused { findings, .. }
            | Error::Broken { findings, .. }
            | Error::NotLoadable { findings, .. } => findings,
            _ => &[],
        }
    }

    /// What to do about it, where that can be said.
    pub(crate) fn remedy(&self) -> Option<String> {
        match self {
            Error::NotRunning { path } => Some(how_to_start(path)),
            Error::Denied { group: Some(group), .. } => {
                Some(format!("use sudo, or join the group {group}: adduser {} {group}, then log in again", user_name()))
            }
            Error::Denied { group: None, .. } => Some("use sudo".to_owned()),
            Error::PathTooLong { .. } => Some("use a folder with a shorter path".to_owned()),
            Error::Version { .. } => Some("install posternd, postern-vserver and postern of one release, then restart posternd".to_owned()),
            Error::Usage { remedy, .. } if !remedy.is_empty() => Some(remedy.clone()),
            Error::Read { source, .. } | Error::Write { source, .. } => io_remedy(source),
            _ => None,
        }
    }
}

/// What the system said, without its number.
pub(crate) fn plain(cause: &io::Error) -> String {
    let text = cause.to_string();
    match text.split_once(" (os error ") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

fn how_to_start(path: &Path) -> String {
    if path == Path::new(crate::commands::DEFAULT_CONTROL) {
        "start it with: systemctl start posternd, or run posternd; another socket is named with --control PATH".to_owned()
    } else {
        "see whether it was started with this --run folder; its socket is named control in there"
            .to_owned()
    }
}

fn io_remedy(cause: &io::Error) -> Option<String> {
    match cause.kind() {
        io::ErrorKind::PermissionDenied => Some("use sudo".to_owned()),
        io::ErrorKind::NotFound => {
            Some("check the name, or name another folder with --config DIR".to_owned())
        }
        _ => None,
    }
}

/// The name of the user at the prompt, for remedies that name him.
fn user_name() -> String {
    nix::unistd::User::from_uid(nix::unistd::getuid())
        .ok()
        .flatten()
        .map_or_else(|| "USER".to_owned(), |user| user.name)
}

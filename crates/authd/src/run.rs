//! The order of a life: arguments → secret → jail → serve.
//!
//! | Exit code | Means |
//! |---|---|
//! | 0 | the worker hung up |
//! | 64 | called wrongly, or not by posternd |
//! | 70 | cannot go on: the link speaks nonsense, or the system refuses something |
//! | 78 | the secret cannot be used |
//!
//! Never: a question answered before the jail is shut.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use postern_control::Link;
use postern_sandbox::limits::{self, Limits};
use postern_sandbox::{Confined, Reach, confine};
use zeroize::Zeroizing;

use crate::backend::Backend;
use crate::hashes::Hashes;
use crate::kerberos;
use crate::serve;
use crate::winbind::Winbind;

const CALLED_WRONGLY: u8 = 64;
const CANNOT_GO_ON: u8 = 70;
const NO_SECRET: u8 = 78;

const USAGE: &str = "usage: postern-authd SERVER hashes|winbind|kerberos\n\
    Started by posternd, never by hand: standard input is a link to a worker, standard output an open secret.";

/// Threads that ask winbind, each with helpers of its own.
const WINBIND_THREADS: usize = 4;

/// The longest file of secrets; ten times what 10,000 accounts need.
const LONGEST_SECRET: u64 = 4 * 1024 * 1024;

/// What one process may use: some MiB are in use, and winbind's helpers count for themselves.
const LIMITS: Limits = Limits {
    memory: Some(256 * 1024 * 1024),
    open_files: Some(256),
    threads: None,
};

/// What the Kerberos library reads as it works, and what executing this program again takes.
const KERBEROS: [&str; 6] = ["/etc", "/usr", "/lib", "/lib64", "/proc", "/proc/self/exe"];

/// What winbind's helpers are and read; the pipe itself is a socket.
const WINBINDS: [&str; 8] = [
    "/bin", "/etc", "/lib", "/lib64", "/proc", "/run", "/usr", "/var",
];

/// Why this process ends with anything but 0.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Not as posternd calls.
    #[error("{0}\n{USAGE}")]
    Called(String),
    /// The link is broken, or speaks nonsense.
    #[error("the link to the worker: {0}")]
    Link(#[from] postern_control::Error),
    /// What the source needs is not to be had.
    #[error("{0}")]
    Secret(String),
    /// The system said no.
    #[error("cannot {doing}: {source}")]
    System {
        /// The operation.
        doing: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// For `map_err`: the system said no to this.
pub(crate) fn system<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
    doing: &'static str,
) -> impl FnOnce(E) -> Failure {
    move |error| Failure::System {
        doing,
        source: io::Error::other(error),
    }
}

/// The program.
pub(crate) fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(false)
        .init();
    match live(std::env::args_os().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tracing::error!("{failure}");
            ExitCode::from(match failure {
                Failure::Called(_) => CALLED_WRONGLY,
                Failure::Secret(_) => NO_SECRET,
                _ => CANNOT_GO_ON,
            })
        }
    }
}

fn live(arguments: impl Iterator<Item = OsString>) -> Result<(), Failure> {
    let arguments: Result<Vec<String>, _> = arguments.map(OsString::into_string).collect();
    let arguments = arguments.map_err(|_| Failure::Called("an argument is not text".to_owned()))?;
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [server, "hashes"] => {
            let hashes = Hashes::read(&secret()?)?;
            tracing::info!(server, accounts = hashes.len(), "NT hashes");
            live_with(&Reach::default(), vec![Box::new(hashes)])
        }
        [server, "winbind"] => {
            drop_secret()?;
            let winbind: Result<Vec<_>, _> =
                (0..WINBIND_THREADS).map(|_| Winbind::open()).collect();
            let winbind = winbind.map_err(Failure::Secret)?;
            tracing::info!(server, "winbind");
            let boxed = |winbind| -> Box<dyn Backend> { Box::new(winbind) };
            let reach = Reach {
                read: &WINBINDS.map(Path::new),
                write: &["/dev/null".as_ref()],
            };
            live_with(&reach, winbind.into_iter().map(boxed).collect())
        }
        [server, "kerberos", rest @ ..] => {
            let backends = kerberos::open(server, rest)?;
            let settings = std::env::var_os("KRB5_CONFIG").unwrap_or_default();
            let settings: Vec<PathBuf> = std::env::split_paths(&settings).collect();
            let settings = settings.iter().map(PathBuf::as_path);
            let read: Vec<&Path> = KERBEROS.iter().map(Path::new).chain(settings).collect();
            let reach = Reach {
                read: &read,
                // Of its own folder, for replays.
                write: &[".".as_ref(), "/dev/null".as_ref()],
            };
            live_with(&reach, backends)
        }
        _ => Err(Failure::Called(format!("called with {words:?}"))),
    }
}

fn live_with(reach: &Reach<'_>, backends: Vec<Box<dyn Backend>>) -> Result<(), Failure> {
    limits::apply(&LIMITS).map_err(system("limit this process"))?;
    limits::harden().map_err(system("shut this process off"))?;
    match confine(reach).map_err(system("shut off files and network"))? {
        Confined::Fully => {}
        less => tracing::warn!("files and network are shut off {}", less.as_str()),
    }
    serve::serve(link()?, backends)
}

/// Standard input, which stays what it is for helpers that are started without one.
fn link() -> Result<Link, Failure> {
    let input = io::stdin().as_fd().try_clone_to_owned();
    Ok(Link::from(input.map_err(system("take the link over"))?))
}

/// What stands in the open file at standard output, from its beginning wherever others have read to.
pub(crate) fn secret() -> Result<Zeroizing<Vec<u8>>, Failure> {
    let file = io::stdout().as_fd().try_clone_to_owned();
    let file = File::from(file.map_err(system("take standard output over"))?);
    let length = file.metadata().map_err(system("look at the secret file"))?;
    if !length.is_file() || length.len() > LONGEST_SECRET {
        let why = "standard output is not an open secret file of at most 4 MiB";
        return Err(Failure::Called(why.to_owned()));
    }
    let mut secret = Zeroizing::new(vec![0; usize::try_from(length.len()).unwrap_or(0)]);
    file.read_exact_at(&mut secret, 0)
        .map_err(system("read the secret file"))?;
    drop_secret()?;
    Ok(secret)
}

/// Nothing of the secret can be had by number any more.
fn drop_secret() -> Result<(), Failure> {
    let null = File::options().write(true).open("/dev/null");
    rustix::stdio::dup2_stdout(null.map_err(system("open /dev/null"))?)
        .map_err(system("put /dev/null in the secret's place"))
}

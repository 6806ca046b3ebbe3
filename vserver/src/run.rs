//! The order of a life: link → assemble → jail → serve → drain.
//!
//! | Exit code | Means |
//! |---|---|
//! | 0 | drained, as ordered, or because the supervisor is gone |
//! | 64 | not started by posternd |
//! | 70 | cannot go on: the link speaks nonsense, the runtime or the log cannot be had |
//! | 78 | the definition was refused |
//!
//! Never: a second thread before the jail is shut; a byte from the network before Ready.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use arc_swap::ArcSwap;
use postern_config::Finding;
use postern_control::worker::{Manifest, Order, Report};
use postern_control::{Link, Received, VERSION};
use postern_hosting::ServerName;
use postern_sandbox::limits::{self, Limits};
use postern_spool::{Due, RealDisk, Spool};
use postern_track::{Journal, JournalSettings};

use crate::assemble::{Assembled, Parcel, assemble};
use crate::counters::Counters;
use crate::door::{Door, Phase};
use crate::hosts;
use crate::inbound::guesses::Guesses;
use crate::names::Names;
use crate::orders;
use crate::outbound::{Outbound, OutboundParts};
use crate::server::{Rates, Server};

const NOT_A_WORKER: u8 = 64;
const CANNOT_GO_ON: u8 = 70;
const REFUSED: u8 = 78;

/// Why a worker ends before it served.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}\npostern-vserver is started by posternd, never by hand")]
    NoLink(postern_control::Error),
    #[error("the link to posternd: {0}")]
    Link(#[from] postern_control::Error),
    #[error("the supervisor is gone")]
    Orphan,
    #[error("posternd said {0:?} where it had to say Begin")]
    OutOfOrder(&'static str),
    #[error("cannot {doing}: {source}")]
    System {
        doing: &'static str,
        source: io::Error,
    },
    #[error("the definition was refused")]
    Refused,
}

/// What Begin says.
struct Begin {
    server: ServerName,
    state: PathBuf,
    parcel: Parcel,
    paused: bool,
}

/// The program.
pub(crate) fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(false)
        .init();
    match live() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tracing::error!("{failure}");
            ExitCode::from(match failure {
                Failure::NoLink(_) => NOT_A_WORKER,
                Failure::Refused => REFUSED,
                Failure::Orphan => 0,
                _ => CANNOT_GO_ON,
            })
        }
    }
}

fn live() -> Result<(), Failure> {
    let input = io::stdin().as_fd().try_clone_to_owned();
    let link = Link::from(input.map_err(|source| Failure::System {
        doing: "take standard input over",
        source,
    })?);
    let begin = wait_for_begin(&link)?;
    let assembled = match assemble(begin.parcel) {
        Ok(assembled) => assembled,
        Err(findings) => return refuse(&link, findings),
    };
    let wanted = &assembled.generation.definition.general.limits;
    shut(wanted)?;
    let threads = wanted.threads.unwrap_or(1);
    let (spool, due) = match open_spool(&begin.state) {
        Ok(opened) => opened,
        Err(finding) => return refuse(&link, vec![*finding]),
    };
    let log = begin.state.join("track.log");
    let journal = Journal::open(&log, begin.server.as_str(), JournalSettings::default()).map_err(
        |error| Failure::System {
            doing: "open the tracking log",
            source: io::Error::other(error),
        },
    )?;
    let secret = secret(&begin.state).map_err(|source| Failure::System {
        doing: "keep a secret in the state folder",
        source,
    })?;
    let runtime = runtime(threads).map_err(|source| Failure::System {
        doing: "start the runtime",
        source,
    })?;
    let born = Born {
        name: begin.server,
        state: begin.state,
        paused: begin.paused,
        spool,
        due,
        journal,
        secret,
    };
    let served = runtime.block_on(serve(link, born, assembled));
    // Whatever is still waiting for a disk or a name server does not hold up the end.
    runtime.shutdown_background();
    served
}

/// What a server is made of, beside its policy.
struct Born {
    name: ServerName,
    state: PathBuf,
    paused: bool,
    spool: Spool,
    due: Vec<Due>,
    journal: Journal,
    secret: [u8; 32],
}

async fn serve(link: Link, born: Born, assembled: Assembled) -> Result<(), Failure> {
    let Assembled {
        generation,
        listeners,
        findings,
    } = assembled;
    for finding in findings {
        tracing::warn!(server = %born.name, "{finding}");
    }
    hosts::prepare(&born.name, &generation, None).await;
    let generation = Arc::new(ArcSwap::from_pointee(generation));
    hosts::keep(born.name.clone(), &generation.load_full());
    let outbound = Outbound::start(
        OutboundParts {
            spool: born.spool.clone(),
            generation: generation.clone(),
            journal: born.journal.clone(),
            state: born.state,
        },
        born.due,
    );
    let server = Arc::new(Server {
        name: born.name,
        generation,
        spool: born.spool,
        outbound,
        door: Arc::new(Door::default()),
        counters: Counters::default(),
        journal: born.journal,
        secret: born.secret,
        guesses: Guesses::new(),
        names: Names::new(),
        rates: Rates::new(),
    });
    if born.paused {
        server.door.set_phase(Phase::Paused);
    }
    orders::obey(link, server, listeners)
        .await
        .map_err(|error| match error {
            orders::Error::Link(error) => Failure::Link(error),
            orders::Error::System { doing, source } => Failure::System { doing, source },
        })
}

fn wait_for_begin(link: &Link) -> Result<Begin, Failure> {
    let hello: Order = match link.receive().map_err(Failure::NoLink)? {
        Received::Packet(order, _) => order,
        Received::Closed => return Err(Failure::Orphan),
    };
    match hello {
        Order::Hello { version: VERSION } => {}
        Order::Hello { version } => {
            return Err(Failure::Link(postern_control::Error::Version {
                theirs: version,
            }));
        }
        _ => return Err(Failure::OutOfOrder("something")),
    }
    link.send(&Report::Hello { version: VERSION }, &[])?;
    match link.receive()? {
        Received::Packet(
            Order::Begin {
                server,
                state,
                manifest,
                paused,
            },
            files,
        ) => {
            let parcel = open(&manifest, files)?;
            Ok(Begin {
                server,
                state,
                parcel,
                paused,
            })
        }
        Received::Packet(..) => Err(Failure::OutOfOrder("another order")),
        Received::Closed => Err(Failure::Orphan),
    }
}

fn open(manifest: &Manifest, files: Vec<std::os::fd::OwnedFd>) -> Result<Parcel, Failure> {
    Ok(Parcel::open(manifest, files)?)
}

fn refuse(link: &Link, findings: Vec<Finding>) -> Result<(), Failure> {
    link.send(&Report::refused(findings), &[])?;
    Err(Failure::Refused)
}

fn open_spool(state: &Path) -> Result<(Spool, Vec<Due>), Box<Finding>> {
    let folder = state.join("spool");
    let (spool, recovered) =
        Spool::open(Arc::new(RealDisk), postern_spool::Settings::new(&folder)).map_err(|error| {
            let remedy =
                "mend the disk or the folder's owner, and start the server again; nothing in the queue was touched";
            Box::new(Finding::error(&folder, format!("the queue cannot be opened: {error}"), remedy))
        })?;
    for damage in &recovered.damaged {
        tracing::error!(file = %damage.file.display(), offset = damage.offset, length = damage.length, id = ?damage.id, kept = ?damage.kept,
            unfinished = damage.unfinished, "a stretch of the queue could not be read and was set aside");
    }
    Ok((spool, recovered.messages))
}

/// 32 random octets in `secret` of the state folder, made at the first start.
fn secret(state: &Path) -> io::Result<[u8; 32]> {
    let path = state.join("secret");
    if let Ok(kept) = std::fs::read(&path)
        && let Ok(secret) = kept.try_into()
    {
        return Ok(secret);
    }
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(io::Error::other)?;
    let fresh = state.join(format!(".secret.{}", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh)?;
    file.write_all(&secret)?;
    std::fs::rename(&fresh, &path)?;
    Ok(secret)
}

fn runtime(threads: u32) -> io::Result<tokio::runtime::Runtime> {
    let mut builder = match threads {
        0 | 1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    builder
        .worker_threads(usize::try_from(threads.max(1)).unwrap_or(1))
        .max_blocking_threads(16)
        .thread_stack_size(512 * 1024);
    builder.enable_all().build()
}

/// The jail: limits that stay, no core file, nobody of the same user who may trace, no privilege by executing something.
fn shut(limits: &postern_config::ProcessLimits) -> Result<(), Failure> {
    let failed = |error: postern_sandbox::Error| Failure::System {
        doing: "limit this process",
        source: io::Error::other(error),
    };
    let wanted = Limits {
        memory: limits.memory,
        open_files: limits.open_files,
        ..Limits::default()
    };
    let applied = limits::apply(&wanted).map_err(failed)?;
    if wanted
        .open_files
        .is_some_and(|files| files > applied.open_files)
    {
        tracing::warn!(
            open_files = applied.open_files,
            "fewer open files than the definition asks for: the hard limit is lower"
        );
    }
    limits::harden().map_err(failed)
}

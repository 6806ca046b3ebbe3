//! `postern diff`: what a reload would change, in words that matter.
//!
//! ```text
//! the worker's facts ──┐
//!                      ├─▶ diff ─▶ who gains, who loses
//! the file's facts ────┘
//! ```
//!
//! Never: changes anything; compares texts.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use clap::Args;
use postern_config::AccountFile;
use postern_control::query::{Answer, Question};
use postern_hosting::ServerName;
use postern_policy::diff::{Change, Effect, diff};
use postern_policy::facts::Facts;

use super::Places;
use crate::connect::Desk;
use crate::failure::Error;
use crate::loaded::Loaded;
use crate::render::{self, Tone};

/// Shows what a reload would change: who gains or loses connection, relay, login; TLS, domains, limits.
///
/// Lists are compared by the addresses they hold, so that one written otherwise is no change. Delivery
/// (routes, retries, smart hosts) is not compared.
///
/// Exit code 0: nothing of this changes; 1: something does; 2 and up: they could not be compared.
#[derive(Args)]
pub(crate) struct Diff {
    /// The server, which must run.
    #[arg(value_name = "NAME")]
    name: ServerName,
    /// Compare with this definition instead of the server's own.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Write JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// Facts are read up to this length: a list of a million networks is a tenth of it.
const LONGEST: u64 = 256 << 20;

impl Diff {
    pub(crate) fn run(&self, places: &Places, out: &mut dyn Write) -> Result<(), Error> {
        let file = self.file.clone();
        let path = file.unwrap_or_else(|| places.servers().join(format!("{}.toml", self.name)));
        let loaded = Loaded::read(&path)?;
        let accounts = loaded.accounts()?;
        let new = Facts::of(&loaded.policy, accounts.iter().flat_map(AccountFile::iter));
        let changes = diff(&self.in_force(places)?, &new);
        if self.json {
            render::json(out, &changes)?;
        } else {
            show(&changes, render::colours(&io::stdout()), out)?;
        }
        match changes.is_empty() {
            true => Ok(()),
            false => Err(Error::Said),
        }
    }

    fn in_force(&self, places: &Places) -> Result<Facts, Error> {
        // Exit code 1 says that something changes.
        let refused = |error| match error {
            Error::Refused {
                subject, reason, ..
            } => Error::Usage {
                what: format!("{subject}: {reason}"),
                remedy: "a server that runs can be compared".to_owned(),
            },
            other => other,
        };
        let desk = Desk::connect(&places.control)?;
        let worker = desk.introduce(&self.name).map_err(refused)?;
        let (answer, mut files) = worker.ask_for_files(&Question::Facts).map_err(refused)?;
        match (&answer, files.pop()) {
            (Answer::Facts, Some(file)) => read(file.into()),
            _ => Err(worker.nonsense(&answer)),
        }
    }
}

/// The file came through another process: where it was written to is where its place is.
fn read(mut file: File) -> Result<Facts, Error> {
    let unreadable = |source| Error::Read {
        path: "the worker's answer".into(),
        source,
    };
    let mut bytes = Vec::new();
    io::Seek::rewind(&mut file).map_err(unreadable)?;
    file.take(LONGEST)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    serde_json::from_slice(&bytes).map_err(|error| unreadable(error.into()))
}

fn show(changes: &[Change], colours: bool, out: &mut dyn Write) -> Result<(), Error> {
    if changes.is_empty() {
        writeln!(out, "nothing that clients or accounts would notice")?;
    }
    let mut last = None;
    for change in changes {
        if last != Some(change.subject) {
            last = Some(change.subject);
            let subject = change.subject.as_str();
            writeln!(out, "{}", render::toned(subject, Tone::Strong, colours))?;
        }
        let (sign, tone) = match change.effect {
            Effect::Gained => ("+", Tone::Good),
            Effect::Lost => ("-", Tone::Bad),
            Effect::Changed => ("~", Tone::Doubtful),
        };
        let sign = render::toned(sign, tone, colours);
        writeln!(out, "  {sign} {}", render::printable(&words(change)))?;
    }
    Ok(())
}

fn words(change: &Change) -> String {
    if change.who.is_empty() {
        return change.what.clone();
    }
    let more = match change.more {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    format!("{}: {}{more}", change.what, change.who.join(", "))
}

//! `postern check`: what is wrong with definitions, before a server finds out.
//!
//! | File | Looks at |
//! |---|---|
//! | `one.rs` | one definition, read as a worker would, and postern.toml |
//! | `files.rs` | the files it names, as far as this user may read them |
//! | `host.rs` | this host's gateways and bridges, which its lists may hold |
//! | `together.rs`, `loops.rs` | all of them: two servers on one address, mail that would go round |
//!
//! Never: talks to the supervisor, and changes nothing.

mod files;
mod host;
mod loops;
mod one;
mod recipients;
mod together;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use postern_hosting::{Finding, Place, Severity};
use serde::Serialize;

use super::Places;
use crate::failure::Error;
use crate::render::{self, Sources, Tone};
use one::{check_definition, check_host};

/// Checks definitions and the files they name, alone and together; nothing is changed.
///
/// Errors keep a server from starting; warnings say what is unwise, notes what is worth knowing.
/// Without a name, everything in the configuration folder is checked.
#[derive(Args)]
pub(crate) struct Check {
    /// Servers by name, or files (with a slash or .toml in them).
    #[arg(value_name = "NAME|FILE")]
    which: Vec<PathBuf>,
    /// Let warnings count like errors for the exit code.
    #[arg(long)]
    strict: bool,
    /// Write JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// What was found in one file.
#[derive(Serialize)]
struct Checked {
    path: PathBuf,
    findings: Vec<Finding>,
    #[serde(skip)]
    readable: bool,
}

/// What `--json` writes.
#[derive(Serialize)]
struct Shown<'a> {
    files: &'a [Checked],
    errors: usize,
    warnings: usize,
    notes: usize,
}

impl Check {
    pub(crate) fn run(&self, places: &Places, out: &mut dyn Write) -> Result<(), Error> {
        let neighbours = definitions(&places.servers());
        let mut checked: Vec<Checked> = Vec::new();
        if self.which.is_empty() {
            let host = places.config.join("postern.toml");
            checked.extend(host.exists().then(|| check_host(&host)));
            let mut found = neighbours
                .as_ref()
                .map_err(|cause| unreadable(&places.servers(), cause))?
                .iter();
            checked.extend(found.by_ref().map(|path| check_definition(path)));
        } else {
            checked.extend(
                self.which
                    .iter()
                    .map(|which| check_definition(&meant(which, places))),
            );
        }
        together::check(&mut checked, &neighbours.unwrap_or_default());
        self.show(&checked, places, out)
    }

    fn show(&self, checked: &[Checked], places: &Places, out: &mut dyn Write) -> Result<(), Error> {
        let count = |severity| {
            checked
                .iter()
                .flat_map(|one| &one.findings)
                .filter(|one| one.severity == severity)
                .count()
        };
        let shown = Shown {
            files: checked,
            errors: count(Severity::Error),
            warnings: count(Severity::Warning),
            notes: count(Severity::Note),
        };
        if self.json {
            render::json(out, &shown)?;
        } else {
            write(checked, places, out)?;
        }
        match checked.iter().find(|one| !one.readable) {
            // The finding says why; only the exit code differs.
            Some(_) => Err(Error::SaidUnreadable),
            None if shown.errors > 0 || self.strict && shown.warnings > 0 => Err(Error::Said),
            None => Ok(()),
        }
    }
}

fn write(checked: &[Checked], places: &Places, out: &mut dyn Write) -> Result<(), Error> {
    let colours = render::colours(&io::stdout());
    let mut sources = Sources::default();
    for one in checked.iter().flat_map(|one| &one.findings) {
        writeln!(out, "{}\n", render::finding(one, &mut sources, colours))?;
    }
    if checked.is_empty() {
        writeln!(
            out,
            "no definitions in {}; postern new NAME writes one",
            places.servers().display()
        )?;
    }
    for one in checked {
        let (verdict, tone) = verdict(&one.findings);
        writeln!(
            out,
            "{}: {}",
            one.path.display(),
            render::toned(&verdict, tone, colours)
        )?;
    }
    Ok(())
}

/// `good`, or how many of what.
fn verdict(findings: &[Finding]) -> (String, Tone) {
    let count = |severity, word: &str| match findings
        .iter()
        .filter(|one| one.severity == severity)
        .count()
    {
        0 => None,
        1 => Some(format!("1 {word}")),
        n => Some(format!("{n} {word}s")),
    };
    let parts = [
        count(Severity::Error, "error"),
        count(Severity::Warning, "warning"),
        count(Severity::Note, "note"),
    ];
    let tone = if parts[0].is_some() {
        Tone::Bad
    } else if parts[1].is_some() {
        Tone::Doubtful
    } else {
        Tone::Good
    };
    let words: Vec<String> = parts.into_iter().flatten().collect();
    (
        if words.is_empty() {
            "good".to_owned()
        } else {
            words.join(", ")
        },
        tone,
    )
}

/// The file a word on the command line means.
pub(super) fn meant(which: &Path, places: &Places) -> PathBuf {
    let text = which.to_string_lossy();
    if text.contains('/') || text.ends_with(".toml") {
        which.to_owned()
    } else {
        places.servers().join(format!("{text}.toml"))
    }
}

/// Every `*.toml` of the folder, by name.
fn definitions(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    paths.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "toml")
    });
    paths.sort();
    Ok(paths)
}

fn unreadable(path: &Path, cause: &io::Error) -> Error {
    Error::Read {
        path: path.to_owned(),
        source: io::Error::new(cause.kind(), cause.to_string()),
    }
}

/// The same finding, marked where `word` stands in the text, if it does.
fn at(finding: Finding, text: &str, word: &str) -> Finding {
    match text.find(&format!("\"{word}\"")) {
        Some(start) => {
            let place = Place::of(text, start..start + word.len() + 2);
            finding.at(place)
        }
        None => finding,
    }
}

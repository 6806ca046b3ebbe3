//! `postern check`: what is wrong with definitions, before a server finds out.
//!
//! ```text
//! each definition   read as a worker would, then the files it names as far as this user may read them
//! all together      two servers on one address: both files are named
//! ```
//!
//! Never: talks to the supervisor, and changes nothing.

mod files;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use postern_hosting::{Finding, HostSettings, Hosting, Place, ServerName, Severity};
use serde::Serialize;

use super::Places;
use crate::failure::{Error, plain};
use crate::render::{self, Sources, Tone};
use files::{at, check_files};

/// Checks definitions, and that no two servers want one address; nothing is changed.
///
/// Errors keep a server from starting, warnings and notes do not. Without a name, everything in the
/// configuration folder is checked.
#[derive(Args)]
pub(crate) struct Check {
    /// Servers by name, or files (with a slash or .toml in them).
    #[arg(value_name = "NAME|FILE")]
    which: Vec<PathBuf>,
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
        let paths: Vec<PathBuf> = checked.iter().map(|one| one.path.clone()).collect();
        add_clashes(&mut checked, &paths, &neighbours.unwrap_or_default());
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
            None if shown.errors > 0 => Err(Error::Said),
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
fn meant(which: &Path, places: &Places) -> PathBuf {
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

fn check_host(path: &Path) -> Checked {
    check(path, |text| match HostSettings::from_toml(text, path) {
        Ok(settings) => {
            let group = settings.control_group.as_deref();
            let missing =
                group.filter(|name| !matches!(nix::unistd::Group::from_name(name), Ok(Some(_))));
            let finding = |name: &str| {
                let one = Finding::error(
                    path,
                    format!("there is no group {name} on this host"),
                    format!("make it: addgroup --system {name}"),
                );
                at(one.with_severity(Severity::Warning), text, name)
            };
            missing.map(finding).into_iter().collect()
        }
        Err(findings) => findings,
    })
}

fn check_definition(path: &Path) -> Checked {
    check(path, |text| {
        let (definition, mut findings) = postern_config::load(text, path);
        let hosting = Hosting::from_toml(text, path);
        if let Ok(hosting) = &hosting {
            findings.extend(no_such_user(hosting, path));
        }
        if let Err(more) = hosting {
            let known: Vec<(Option<Place>, String)> = findings
                .iter()
                .map(|one| (one.place, one.what.clone()))
                .collect();
            let placed: BTreeSet<usize> = findings
                .iter()
                .filter_map(|one| Some(one.place?.start))
                .collect();
            let new = |one: &Finding| {
                !known.contains(&(one.place, one.what.clone()))
                    && one.place.is_none_or(|place| !placed.contains(&place.start))
            };
            // What both readers complain about is said once, in the words of the one that knows the whole file.
            findings.extend(
                more.into_iter()
                    .filter(new)
                    .filter(|one| one.place.is_some() || known.is_empty()),
            );
        }
        findings.extend(bad_name(path));
        if let Some(definition) = &definition {
            findings.extend(check_files(definition, text, path));
        }
        findings
    })
}

fn check(path: &Path, look: impl FnOnce(&str) -> Vec<Finding>) -> Checked {
    let (findings, readable) = match std::fs::read_to_string(path) {
        Ok(text) => (look(&text), true),
        Err(cause) => (
            vec![Finding::error(
                path,
                format!("the file cannot be read: {}", plain(&cause)),
                remedy(&cause, path),
            )],
            false,
        ),
    };
    Checked {
        path: path.to_owned(),
        findings,
        readable,
    }
}

fn remedy(cause: &io::Error, path: &Path) -> String {
    match cause.kind() {
        io::ErrorKind::PermissionDenied => "use sudo".to_owned(),
        io::ErrorKind::NotFound => match path.file_stem() {
            Some(name) => format!("postern new {} writes it", name.to_string_lossy()),
            None => String::new(),
        },
        io::ErrorKind::InvalidData => "save it as UTF-8".to_owned(),
        _ => String::new(),
    }
}

/// Root could not start the worker as a user that is not there.
fn no_such_user(hosting: &Hosting, path: &Path) -> Option<Finding> {
    let name = hosting.user.as_deref()?;
    if matches!(nix::unistd::User::from_name(name), Ok(Some(_))) {
        return None;
    }
    let remedy = format!(
        "make it: adduser --system --group {name}; or leave `user` out for a uid of the server's own"
    );
    let finding = Finding::error(
        path,
        format!("there is no user {name} on this host"),
        remedy,
    )
    .with_severity(Severity::Warning);
    Some(
        hosting
            .user_place
            .map_or(finding.clone(), |place| finding.at(place)),
    )
}

/// The file's name is the server's name.
fn bad_name(path: &Path) -> Option<Finding> {
    let stem = path.file_stem()?.to_string_lossy();
    match stem.parse::<ServerName>() {
        Ok(_) => None,
        Err(why) => {
            let what = format!("{stem} cannot be the name of a server: {why}");
            Some(Finding::error(
                path,
                what,
                "rename the file, for example to mx1.toml",
            ))
        }
    }
}

/// Adds a finding to each checked file that wants an address another server wants too.
fn add_clashes(checked: &mut [Checked], paths: &[PathBuf], neighbours: &[PathBuf]) {
    let mut others: Vec<&PathBuf> = paths.iter().chain(neighbours).collect();
    let mut seen = BTreeSet::new();
    others.retain(|path| seen.insert(path.canonicalize().unwrap_or_else(|_| path.to_path_buf())));
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).ok()?;
        Some((path.clone(), Hosting::from_toml(&text, path).ok()?))
    };
    let all: Vec<(PathBuf, Hosting)> = others.into_iter().filter_map(read).collect();
    for one in checked {
        let Some((_, mine)) = all.iter().find(|(path, _)| same(path, &one.path)) else {
            continue;
        };
        for (path, theirs) in all.iter().filter(|(path, _)| !same(path, &one.path)) {
            one.findings.extend(clashes(&one.path, mine, path, theirs));
        }
    }
}

fn same(one: &Path, other: &Path) -> bool {
    one == other
        || matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

fn clashes(path: &Path, mine: &Hosting, other: &Path, theirs: &Hosting) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (identity, place) in mine.listen.iter().zip(&mine.listen_places) {
        for (rival, at) in theirs
            .listen
            .iter()
            .zip(&theirs.listen_places)
            .filter(|(rival, _)| identity.clashes_with(rival))
        {
            let what = format!(
                "{} clashes with {} in {}:{}",
                identity.address,
                rival.address,
                other.display(),
                at.line
            );
            findings.push(
                Finding::error(path, what, "give one of the two another address or port")
                    .at(*place),
            );
        }
    }
    findings
}

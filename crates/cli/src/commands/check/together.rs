//! All definitions together: two servers on one address, and mail that would go round.
//!
//! The neighbours in the configuration folder count even where only one file is looked at; what is found is told of the
//! files that are.
//!
//! Never: what is wrong with one of them alone.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use postern_config::Definition;
use postern_hosting::{Finding, Hosting};

use super::loops::{Server, loops};
use super::{Checked, host};

/// A definition, read without a word about what is wrong with it.
struct Known {
    path: PathBuf,
    text: String,
    hosting: Option<Hosting>,
    definition: Option<Definition>,
}

/// Adds to each checked file what is wrong with it beside the others and `neighbours`.
pub(super) fn check(checked: &mut [Checked], neighbours: &[PathBuf]) {
    let known = read(checked.iter().map(|one| &one.path).chain(neighbours));
    let mut rounds = rounds(&known);
    for one in checked {
        let Some(index) = known.iter().position(|other| same(&other.path, &one.path)) else {
            continue;
        };
        let others = known
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != index);
        for (_, other) in others {
            one.findings
                .extend(clashes(&one.path, known.get(index), other));
        }
        if let Some(rounds) = rounds.get_mut(index) {
            one.findings.append(rounds);
        }
    }
}

fn read<'p>(paths: impl Iterator<Item = &'p PathBuf>) -> Vec<Known> {
    let mut seen = BTreeSet::new();
    let new =
        |path: &&PathBuf| seen.insert(path.canonicalize().unwrap_or_else(|_| path.to_path_buf()));
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).ok()?;
        Some(Known {
            hosting: Hosting::from_toml(&text, path).ok(),
            definition: postern_config::load(&text, path).0,
            path: path.clone(),
            text,
        })
    };
    paths.filter(new).filter_map(read).collect()
}

/// The loops each definition is in.
fn rounds(known: &[Known]) -> Vec<Vec<Finding>> {
    let (mut indices, mut servers) = (Vec::new(), Vec::new());
    for (
        index,
        Known {
            path,
            text,
            definition,
            ..
        },
    ) in known.iter().enumerate()
    {
        if let Some(definition) = definition {
            indices.push(index);
            servers.push(Server {
                path,
                text,
                definition,
            });
        }
    }
    let mut rounds: Vec<Vec<Finding>> = known.iter().map(|_| Vec::new()).collect();
    for (index, findings) in indices.into_iter().zip(loops(&servers, &host::addresses())) {
        if let Some(rounds) = rounds.get_mut(index) {
            *rounds = findings;
        }
    }
    rounds
}

fn same(one: &Path, other: &Path) -> bool {
    one == other
        || matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

fn clashes(path: &Path, mine: Option<&Known>, other: &Known) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (Some(mine), Some(theirs)) = (mine.and_then(|one| one.hosting.as_ref()), &other.hosting)
    else {
        return findings;
    };
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
                other.path.display(),
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

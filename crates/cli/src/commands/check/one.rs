//! One file: a definition, read as a worker would, or postern.toml.
//!
//! Never: another definition.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use postern_hosting::{Finding, HostSettings, Hosting, Place, ServerName, Severity};

use super::files::check_files;
use super::{Checked, at};
use crate::failure::plain;

/// Checks `postern.toml`.
pub(super) fn check_host(path: &Path) -> Checked {
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

/// Checks a definition and the files it names.
pub(super) fn check_definition(path: &Path) -> Checked {
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
        if let Some(definition) = definition {
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

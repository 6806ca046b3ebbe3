//! Which servers exist: one definition file each in `CONFIG/servers`, its owner and mode checked.
//!
//! Who may write a definition decides which files root opens; so, when posternd is root, only root may.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{Read, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use postern_hosting::{Finding, Hosting, ServerName};

/// The longest definition read, in bytes.
const LONGEST: u64 = 1 << 20;

/// A definition as it was last read.
pub(crate) struct Known {
    pub(crate) path: PathBuf,
    pub(crate) reading: Result<Hosting, Vec<Finding>>,
    stamp: Stamp,
}

/// A definition, open at its beginning.
pub(crate) struct Definition {
    pub(crate) path: PathBuf,
    pub(crate) hosting: Hosting,
    pub(crate) file: File,
}

/// Changes whenever the file does: its number, size and times.
pub(crate) type Stamp = [i128; 6];

pub(crate) fn stamp(of: &Metadata) -> Stamp {
    [
        of.ino().into(),
        of.size().into(),
        of.mtime().into(),
        of.mtime_nsec().into(),
        of.ctime().into(),
        of.ctime_nsec().into(),
    ]
}

/// All definitions.
pub(crate) struct Roster {
    folder: PathBuf,
    pub(crate) known: BTreeMap<ServerName, Known>,
    /// What an administrator should know about the folder itself; or nothing.
    pub(crate) note: String,
}

impl Roster {
    pub(crate) fn new(folder: PathBuf) -> Roster {
        Roster { folder, known: BTreeMap::new(), note: String::new() }
    }

    /// Looks which files are there, and reads those that are new or have changed.
    pub(crate) fn refresh(&mut self) {
        self.note.clear();
        let found = match self.list() {
            Ok(found) => found,
            Err(error) => {
                self.note = format!("cannot list {}: {error}", self.folder.display());
                return;
            }
        };
        self.known.retain(|name, _| found.contains_key(name));
        for (name, (path, stamp)) in found {
            if self.known.get(&name).is_none_or(|known| known.stamp != stamp) {
                let reading = self.read(&path).map(|(definition, _)| definition.hosting);
                self.known.insert(name, Known { path, reading, stamp });
            }
        }
    }

    fn list(&mut self) -> std::io::Result<BTreeMap<ServerName, (PathBuf, Stamp)>> {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "toml") {
                continue;
            }
            let Some(Ok(name)) = path.file_stem().and_then(|stem| stem.to_str()).map(str::parse) else {
                let why = postern_hosting::BadName;
                self.note = format!("{} is ignored: {why}", path.display());
                continue;
            };
            // A dangling link is a definition too: a bad one.
            let stamp = fs::metadata(&path).map(|metadata| stamp(&metadata)).unwrap_or_default();
            found.insert(name, (path, stamp));
        }
        Ok(found)
    }

    /// Opens and reads the definition of `server` as it is now. `holds` says which servers have their addresses bound.
    pub(crate) fn open(
        &mut self,
        server: &ServerName,
        holds: impl Fn(&ServerName) -> bool,
    ) -> Result<Definition, Vec<Finding>> {
        let path = self.folder.join(format!("{server}.toml"));
        let read = self.read(&path);
        let stamp = read.as_ref().map(|(_, stamp)| *stamp).unwrap_or_default();
        let reading = read.as_ref().map(|(definition, _)| definition.hosting.clone()).map_err(Clone::clone);
        self.known.insert(server.clone(), Known { path, reading, stamp });
        let (definition, _) = read?;
        let clashes = self.clashes(server, &definition, holds);
        if clashes.is_empty() { Ok(definition) } else { Err(clashes) }
    }

    /// The identities of `server` that another server has: one that holds them, or else the first by name.
    fn clashes(
        &self,
        server: &ServerName,
        definition: &Definition,
        holds: impl Fn(&ServerName) -> bool,
    ) -> Vec<Finding> {
        let mut clashes = Vec::new();
        let others = self.known.iter().filter(|(name, _)| *name != server);
        for (name, other) in others.filter(|(name, _)| *name < server || holds(name)) {
            let Ok(theirs) = &other.reading else { continue };
            let mine = definition.hosting.listen.iter().zip(&definition.hosting.listen_places);
            for (identity, place) in mine {
                if theirs.listen.iter().any(|their| their.clashes_with(identity)) {
                    let what =
                        format!("{} belongs to the server `{name}` ({})", identity.address, other.path.display());
                    let remedy = "give one of the two another address or port";
                    clashes.push(Finding::error(&definition.path, what, remedy).at(*place));
                }
            }
        }
        clashes
    }

    fn read(&self, path: &Path) -> Result<(Definition, Stamp), Vec<Finding>> {
        let unreadable = |error: std::io::Error| {
            vec![Finding::error(path, format!("cannot be read: {error}"), "see that it is there, and a file")]
        };
        let mut file = crate::handover::open_regular(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if crate::uids::isolated() {
            let folders = [Some(self.folder.as_path()), self.folder.parent()];
            trust(path, &metadata).map_err(|finding| vec![finding])?;
            for folder in folders.into_iter().flatten() {
                trust(folder, &fs::metadata(folder).map_err(unreadable)?).map_err(|finding| vec![finding])?;
            }
        }
        let mut text = String::new();
        file.by_ref().take(LONGEST + 1).read_to_string(&mut text).map_err(unreadable)?;
        if text.len() as u64 > LONGEST {
            return Err(vec![Finding::error(path, "is longer than 1 MiB", "a definition is a short text")]);
        }
        let hosting = Hosting::from_toml(&text, path)?;
        file.rewind().map_err(unreadable)?;
        Ok((Definition { path: path.to_owned(), hosting, file }, stamp(&metadata)))
    }
}

fn trust(path: &Path, metadata: &Metadata) -> Result<(), Finding> {
    let shown = path.display();
    if metadata.uid() != 0 {
        let what = format!("{shown} belongs to uid {}, who so decides what root opens", metadata.uid());
        return Err(Finding::error(path, what, format!("chown root {shown}")));
    }
    if metadata.mode() & 0o022 != 0 {
        let what = format!("{shown} can be written by others than root");
        return Err(Finding::error(path, what, format!("chmod go-w {shown}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn roster(name: &str, files: &[(&str, &str)]) -> Roster {
        let folder = std::env::temp_dir().join(format!("posternd-{name}-{}/servers", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        for (file, text) in files {
            fs::write(folder.join(file), text).unwrap();
        }
        let mut roster = Roster::new(folder);
        roster.refresh();
        roster
    }

    const ONE: &str = "[general]\nlisten = [\"127.0.0.1:2501\"]\n";

    #[test]
    fn a_file_is_a_server_and_its_neighbours_are_not_harmed() {
        let files = [("a.toml", ONE), ("b.toml", "[general"), ("B.toml", ""), ("notes.txt", "")];
        let roster = roster("files", &files);
        let names: Vec<&str> = roster.known.keys().map(ServerName::as_str).collect();
        assert_eq!(names, ["a", "b"]);
        assert!(roster.known["a"].reading.is_ok());
        assert!(roster.known["b"].reading.is_err());
        assert!(roster.note.contains("B.toml is ignored"), "{}", roster.note);
        fs::remove_dir_all(roster.folder.parent().unwrap()).unwrap();
    }

    #[test]
    fn a_clash_names_both_files_and_the_first_or_the_holder_wins() {
        let mut roster = roster("clash", &[("a.toml", ONE), ("b.toml", ONE)]);
        let [a, b] = ["a", "b"].map(|name| name.parse::<ServerName>().unwrap());
        assert!(roster.open(&a, |_| false).is_ok());
        let findings = roster.open(&b, |_| false).err().unwrap();
        let shown = findings[0].to_string();
        assert!(shown.contains("b.toml:2:11") && shown.contains("a.toml)"), "{shown}");
        assert!(roster.open(&a, |name| *name == b).is_err());
        fs::remove_dir_all(roster.folder.parent().unwrap()).unwrap();
    }

    #[test]
    fn changes_and_disappearance_are_noticed() {
        let mut roster = roster("changes", &[("a.toml", ONE)]);
        let a: ServerName = "a".parse().unwrap();
        fs::write(roster.folder.join("a.toml"), "[general]\n").unwrap();
        roster.refresh();
        assert!(roster.known[&a].reading.is_err());
        fs::remove_file(roster.folder.join("a.toml")).unwrap();
        roster.refresh();
        assert!(roster.known.is_empty());
        fs::remove_dir_all(roster.folder.parent().unwrap()).unwrap();
    }

    #[test]
    fn only_root_may_write_what_root_reads() {
        let folder = std::env::temp_dir().join(format!("posternd-trust-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("a.toml");
        fs::write(&path, ONE).unwrap();
        let look = |mode| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            trust(&path, &fs::metadata(&path).unwrap()).map_err(|finding| finding.remedy)
        };
        let own = nix::unistd::geteuid().is_root();
        assert_eq!(look(0o644).is_ok(), own);
        assert!(look(0o664).is_err() && look(0o646).is_err());
        fs::remove_dir_all(&folder).unwrap();
    }
}

//! Where a rule stands, as people are told: `servers/mx1.toml:41`, `default`.
//!
//! Never: a file opened; places come from whoever read the text.

use std::path::{Path, PathBuf};

use postern_access::Origin;
use postern_config::{Definition, Section};
use postern_hosting::Hosting;

/// The names of the files a policy was written in.
#[derive(Clone, Debug, Default)]
pub struct Places {
    definition: PathBuf,
    lists: Vec<PathBuf>,
}

/// What stands in place of a line where nothing is written.
const DEFAULT: &str = "default";

impl Places {
    /// Of the definition at `path`. The folder of definitions is named without what leads to it, so that a place reads
    /// the same wherever the configuration is.
    pub(crate) fn new(definition: &Definition, path: &Path) -> Places {
        let shown = shown(path);
        let located = |file: &PathBuf| Hosting::locate(&shown, file);
        Places {
            lists: definition.list_files.iter().map(located).collect(),
            definition: shown,
        }
    }

    /// Where an entry was written.
    pub fn of(&self, origin: Origin) -> String {
        let file = match usize::from(origin.file()).checked_sub(1) {
            Some(index) => self.lists.get(index).unwrap_or(&self.definition),
            None => &self.definition,
        };
        format!("{}:{}", file.display(), origin.line())
    }

    /// Where a setting was written.
    pub fn of_setting(
        &self,
        definition: &Definition,
        section: Section,
        name: &'static str,
    ) -> String {
        match definition.line_of(section, name) {
            Some(line) => format!("{}:{line}", self.definition.display()),
            None => DEFAULT.to_owned(),
        }
    }
}

fn shown(path: &Path) -> PathBuf {
    let parent = path.parent().and_then(Path::file_name);
    match (parent, path.file_name()) {
        (Some(parent), Some(name)) if parent == "servers" => Path::new(parent).join(name),
        _ => path.to_owned(),
    }
}

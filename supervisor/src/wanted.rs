//! Which servers the operator wants running, kept over restarts of posternd in `STATE/wanted.json`.
//! The operator's last word wins; a server nobody spoke about follows its `autostart`.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use postern_hosting::ServerName;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// An operator's last word about a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Wish {
    Running,
    Paused,
    Stopped,
}

/// All wishes.
pub(crate) struct Wanted {
    path: PathBuf,
    wishes: BTreeMap<ServerName, Wish>,
}

impl Wanted {
    pub(crate) fn open(state: &Path) -> io::Result<Wanted> {
        let path = state.join("wanted.json");
        let wishes = match read(&path) {
            // Starting with less knowledge is better than not starting.
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) => {
                tracing::error!("{} is damaged and set aside as wanted.json.bad: {error}", path.display());
                fs::rename(&path, path.with_extension("json.bad"))?;
                BTreeMap::new()
            }
            read => read?,
        };
        Ok(Wanted { path, wishes })
    }

    /// The wish for `server`, if anybody uttered one.
    pub(crate) fn of(&self, server: &ServerName) -> Option<Wish> {
        self.wishes.get(server).copied()
    }

    /// Whether it is wanted running (or paused), by wish or else by its definition.
    pub(crate) fn runs(&self, server: &ServerName, autostart: bool) -> bool {
        self.of(server).map_or(autostart, |wish| wish != Wish::Stopped)
    }

    /// Notes a wish; it is on disk when this returns.
    pub(crate) fn set(&mut self, server: &ServerName, wish: Wish) -> io::Result<()> {
        if self.wishes.insert(server.clone(), wish) == Some(wish) {
            return Ok(());
        }
        write_atomically(&self.path, &self.wishes)
    }
}

/// The JSON in `path`; nothing if there is no such file.
pub(crate) fn read<T: DeserializeOwned + Default>(path: &Path) -> io::Result<T> {
    match fs::read(path) {
        Ok(text) => Ok(serde_json::from_slice(&text)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(T::default()),
        Err(error) => Err(error),
    }
}

/// Replaces `path` in one step, durably.
pub(crate) fn write_atomically<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let fresh = path.with_extension("json.new");
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(&serde_json::to_vec_pretty(value)?)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

//! Which servers the operator wants running, kept over restarts of posternd in `STATE/wanted.json`.
//!
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
        Ok(Wanted { wishes: read_or_set_aside(&path)?, path })
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

/// The JSON in `path`; nothing if there is no such file. A file that cannot be understood is set aside as `….bad`:
/// starting with less knowledge is better than not starting.
pub(crate) fn read_or_set_aside<T: DeserializeOwned + Default>(path: &Path) -> io::Result<T> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(T::default()),
        Err(error) => return Err(error),
    };
    match serde_json::from_slice(&text) {
        Ok(value) => Ok(value),
        Err(error) => {
            let aside = path.with_extension("json.bad");
            tracing::error!("{} is damaged ({error}); set aside as {}", path.display(), aside.display());
            fs::rename(path, aside)?;
            Ok(T::default())
        }
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

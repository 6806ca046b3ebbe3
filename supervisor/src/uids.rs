//! Which uid each server and authd has, kept in `STATE/uids.json`.
//! A uid is given once and never to another name, even after the server is gone: its files may still be there. A damaged
//! file stops posternd from starting: guessing could give one server's mail to another.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid, User};
use postern_hosting::{AuthdKind, Finding, Hosting, ServerName};

use crate::server::Happening;
use crate::wanted::{read, write_atomically};

/// Who a worker runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: Uid,
    pub(crate) gid: Gid,
    /// Whether no other process has this uid, so that limits counted by user are this server's.
    pub(crate) exclusive: bool,
}

/// Whether servers run under uids of their own: only root can do that.
pub(crate) fn isolated() -> bool {
    nix::unistd::geteuid().is_root()
}

/// The uids given so far.
pub(crate) struct Uids {
    path: PathBuf,
    range: Range<u32>,
    given: BTreeMap<String, u32>,
}

impl Uids {
    pub(crate) fn open(state: &Path, range: Range<u32>) -> io::Result<Uids> {
        let path = state.join("uids.json");
        Ok(Uids { given: read(&path)?, path, range })
    }

    /// Who the worker of `server` runs as: its fixed user, or its own uid, or, without root, whoever posternd is.
    pub(crate) fn identity(
        &mut self,
        server: &ServerName,
        hosting: &Hosting,
        path: &Path,
    ) -> Result<Identity, Happening> {
        if let Some(name) = hosting.user.as_ref().filter(|_| isolated()) {
            return fixed(name, hosting, path);
        }
        Ok(self.exclusive(server.as_str())?)
    }

    /// Who an authd runs as: its own uid, and for winbind the group that may ask for more than a password's check.
    pub(crate) fn authd(&mut self, name: &str, kind: AuthdKind) -> Result<Identity, String> {
        let own = self.exclusive(name)?;
        let group = (kind == AuthdKind::Winbind && isolated()).then(|| local_group("winbindd_priv"));
        Ok(Identity { gid: group.flatten().unwrap_or(own.gid), ..own })
    }

    fn exclusive(&mut self, name: &str) -> Result<Identity, String> {
        if !isolated() {
            let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
            return Ok(Identity { uid, gid, exclusive: false });
        }
        let uid = self.own(name)?;
        Ok(Identity { uid: Uid::from_raw(uid), gid: Gid::from_raw(uid), exclusive: true })
    }

    fn own(&mut self, name: &str) -> Result<u32, String> {
        if let Some(uid) = self.given.get(name) {
            return Ok(*uid);
        }
        let taken: std::collections::HashSet<u32> = self.given.values().copied().collect();
        let in_use = |uid: u32| matches!(User::from_uid(Uid::from_raw(uid)), Ok(Some(_)));
        let free = self.range.clone().find(|uid| !taken.contains(uid) && !in_use(*uid));
        let uid = free.ok_or_else(|| {
            let Range { start, end } = self.range;
            format!("no uid of {start}-{} is free (widen `uids` in postern.toml)", end - 1)
        })?;
        self.given.insert(name.to_owned(), uid);
        write_atomically(&self.path, &self.given).map_err(|error| {
            self.given.remove(name);
            format!("cannot write {}: {error}", self.path.display())
        })?;
        Ok(uid)
    }
}

/// A group of /etc/group. The system's look-up may ask winbind, which may hang, just when an authd is to outlive that.
fn local_group(name: &str) -> Option<Gid> {
    let groups = std::fs::read_to_string("/etc/group").ok()?;
    let line = groups.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split(':').nth(1)?.parse().ok().map(Gid::from_raw)
}

fn fixed(name: &str, hosting: &Hosting, path: &Path) -> Result<Identity, Happening> {
    let finding = |what: String, remedy: &str| {
        Happening::from(vec![Finding { place: hosting.user_place, ..Finding::error(path, what, remedy) }])
    };
    match User::from_name(name) {
        Ok(Some(user)) if user.uid.is_root() => {
            Err(finding("root is no user for a server".into(), "name another, or none"))
        }
        Ok(Some(user)) => Ok(Identity { uid: user.uid, gid: user.gid, exclusive: false }),
        Ok(None) => {
            let remedy = "make it with useradd --system, or remove `user`: the server then gets a uid of its own";
            Err(finding(format!("there is no user `{name}` on this host"), remedy))
        }
        Err(error) => Err(format!("cannot look up the user `{name}`: {error}").into()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_uid_is_given_once_and_kept() {
        let folder = std::env::temp_dir().join(format!("posternd-uids-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let [a, b, c] = ["a", "b", "c"];
        let mut uids = Uids::open(&folder, 70_000..70_002).unwrap();
        assert_eq!((uids.own(b), uids.own(a), uids.own(b)), (Ok(70_000), Ok(70_001), Ok(70_000)));
        assert!(uids.own(c).unwrap_err().contains("70000-70001"));
        let mut again = Uids::open(&folder, 70_000..70_003).unwrap();
        assert_eq!((again.own(c), again.own(a)), (Ok(70_002), Ok(70_001)));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

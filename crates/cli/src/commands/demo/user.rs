//! Whom a demonstration started by root runs as, and where it then can be: it needs no rights, so it gets none.
//!
//! Root's own folders are closed to others. Where the demonstration's folder is in one, a folder in /var/tmp takes its place
//! and a link leads there; where the programs are in one, copies of them are put beside.
//!
//! Never: concerned with anybody but root; all others run it as themselves.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::failure::Error;
use crate::passwords;

/// An ordinary user, in place of root.
pub(crate) struct Ordinary {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Who root stands in for: who used sudo, or else the owner of the folder around `dir`, or else nobody. `None`: we are not root.
pub(crate) fn ordinary(dir: &Path) -> Option<Ordinary> {
    /// The user without rights, on every Debian.
    const NOBODY: Ordinary = Ordinary {
        uid: 65_534,
        gid: 65_534,
    };
    if !nix::unistd::geteuid().is_root() {
        return None;
    }
    let number = |name| {
        std::env::var(name)
            .ok()?
            .parse::<u32>()
            .ok()
            .filter(|id| *id != 0)
    };
    if let (Some(uid), Some(gid)) = (number("SUDO_UID"), number("SUDO_GID")) {
        return Some(Ordinary { uid, gid });
    }
    let around = dir
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let owner = fs::metadata(around).ok().filter(|folder| folder.uid() != 0);
    Some(owner.map_or(NOBODY, |folder| Ordinary {
        uid: folder.uid(),
        gid: folder.gid(),
    }))
}

/// Makes the demonstration's folder, and tells its absolute path.
pub(crate) fn place(
    dir: &Path,
    user: Option<&Ordinary>,
    out: &mut dyn Write,
) -> Result<PathBuf, Error> {
    let tell = |source: io::Error| Error::Write {
        path: dir.to_owned(),
        source,
    };
    if let (Some(user), false) = (user, dir.exists()) {
        let around = fs::canonicalize(
            dir.parent()
                .filter(|parent| !parent.as_os_str().is_empty())
                .unwrap_or(Path::new(".")),
        )
        .map_err(tell)?;
        if !user.may("-x", &around) {
            let elsewhere =
                Path::new("/var/tmp").join(format!("postern-demo-{}", &passwords::random()?[..8]));
            DirBuilder::new()
                .mode(0o755)
                .create(&elsewhere)
                .map_err(tell)?;
            symlink(&elsewhere, dir).map_err(tell)?;
            writeln!(
                out,
                "{} is closed to ordinary users: {} leads to {}",
                around.display(),
                dir.display(),
                elsewhere.display()
            )?;
        }
    }
    fs::create_dir_all(dir).map_err(tell)?;
    fs::canonicalize(dir).map_err(tell)
}

/// Where posternd is, with postern-vserver beside it, executable for the user.
pub(crate) fn programs(real: &Path, user: Option<&Ordinary>) -> Result<PathBuf, Error> {
    let here = std::env::current_exe().map_err(|source| Error::Read {
        path: "/proc/self/exe".into(),
        source,
    })?;
    let names = ["posternd", "postern-vserver"];
    let beside: Vec<PathBuf> = names.iter().map(|name| here.with_file_name(name)).collect();
    if let Some(missing) = beside.iter().find(|path| !path.exists()) {
        let what = format!("{} is not there", missing.display());
        return Err(Error::Usage {
            what,
            remedy: "build all three programs: make build".to_owned(),
        });
    }
    let [posternd, ..] = beside.as_slice() else {
        return Err(Error::Failed("no programs".to_owned()));
    };
    if user.is_none_or(|user| beside.iter().all(|path| user.may("-x", path))) {
        return Ok(posternd.clone());
    }
    let bin = real.join("bin");
    let copy = |name: &&str| -> io::Result<()> {
        fs::create_dir_all(&bin)?;
        // A program that still runs cannot be written, but it can be replaced.
        let draft = bin.join(format!("{name}.new"));
        fs::copy(here.with_file_name(name), &draft)?;
        fs::set_permissions(&draft, Permissions::from_mode(0o755))?;
        fs::rename(&draft, bin.join(name))
    };
    names
        .iter()
        .try_for_each(copy)
        .map_err(|source| Error::Write {
            path: bin.clone(),
            source,
        })?;
    Ok(bin.join("posternd"))
}

/// Gives the folder, and all in it, to the user. Links are given away, not what they lead to.
pub(crate) fn give(real: &Path, user: Option<&Ordinary>) -> Result<(), Error> {
    let Some(user) = user else { return Ok(()) };
    let mut waiting = vec![real.to_owned()];
    while let Some(path) = waiting.pop() {
        let tell = |source| Error::Write {
            path: path.clone(),
            source,
        };
        lchown(&path, Some(user.uid), Some(user.gid)).map_err(tell)?;
        if fs::symlink_metadata(&path).map_err(tell)?.is_dir() {
            for entry in fs::read_dir(&path).map_err(tell)? {
                waiting.push(entry.map_err(tell)?.path());
            }
        }
    }
    Ok(())
}

impl Ordinary {
    /// Whether the user may read or execute something: asked of the kernel, in the user's place.
    fn may(&self, what: &str, path: &Path) -> bool {
        let mut test = Command::new("/usr/bin/test");
        test.arg(what)
            .arg(path)
            .uid(self.uid)
            .gid(self.gid)
            .current_dir("/")
            .stdin(Stdio::null());
        test.status().is_ok_and(|status| status.success())
    }
}

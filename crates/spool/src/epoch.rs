//! Who owns what, when several processes of one server have the folder open at once.
//!
//! ```text
//! EEEEEE.epoch   one for each process that opened the spool: made new, locked as long as the process lives.
//!                Empty: epoch E owns itself. "FFFFFF\n": all that E had belongs to F now, and F's lock guards it.
//! ```
//!
//! A successor that gets the lock of a dead process's file writes its own number into it; from then on one lock, its
//! own, guards both. So all that a process has falls free in one instant, when it dies: nobody can find a message
//! without also finding its tombstone.
//!
//! The highest epoch's file is the counter that makes ids unique for ever; it is removed only by a process whose own,
//! higher one is durable.
//!
//! Never: a segment's contents.

use crate::disk::{Disk, DiskFile, OpenMode};
use crate::segment::SegmentName;
use crate::shared::Folders;
use crate::{Error, QueueId};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::path::PathBuf;

/// What the folder holds, by name.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Epochs that have a file.
    pub(crate) epochs: BTreeSet<u32>,
    pub(crate) segments: Vec<SegmentName>,
    /// Body files, by the id in their name.
    pub(crate) bodies: Vec<u64>,
}

impl Listing {
    pub(crate) fn read(disk: &dyn Disk, folders: &Folders) -> Result<Listing, Error> {
        let list = |folder| disk.list(folder).map_err(|e| Error::io("list", folder, e));
        let mut listing = Listing::default();
        for name in list(&folders.spool)? {
            if let Some(epoch) = parse(&name) {
                listing.epochs.insert(epoch);
            } else if let Some(segment) = SegmentName::parse(&name) {
                listing.segments.push(segment);
            }
        }
        let bodies = list(&folders.body)?;
        let ids = bodies
            .iter()
            .filter_map(|name| name.parse::<QueueId>().ok());
        listing.bodies = ids.map(QueueId::to_u64).collect();
        Ok(listing)
    }

    /// Every epoch that left a trace.
    pub(crate) fn traces(&self) -> BTreeSet<u32> {
        let segments = self.segments.iter().map(|name| name.epoch);
        let bodies = self.bodies.iter().map(|&id| QueueId::from_u64(id).epoch());
        self.epochs
            .iter()
            .copied()
            .chain(segments)
            .chain(bodies)
            .collect()
    }
}

/// Makes an epoch of our own: its number, and the locked file.
pub(crate) fn claim(disk: &dyn Disk, folders: &Folders) -> Result<(u32, Box<dyn DiskFile>), Error> {
    loop {
        let listing = Listing::read(disk, folders)?;
        let epoch = listing.traces().last().map_or(1, |highest| highest + 1);
        if epoch > QueueId::LAST_EPOCH {
            return Err(Error::IdsExhausted);
        }
        let path = path(folders, epoch);
        let file = match disk.open(&path, OpenMode::New) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            other => other.map_err(|e| Error::io("make", &path, e))?,
        };
        // Between making and locking, another opener may have taken it for a dead process's file.
        let locked = file.try_lock().map_err(|e| Error::io("lock", &path, e))?;
        if !locked
            || !disk.exists(&path).unwrap_or(false)
            || !owner(&*file, epoch).is_ok_and(|owner| owner == epoch)
        {
            continue;
        }
        let folder = &folders.spool;
        disk.sync_folder(folder)
            .map_err(|e| Error::io("sync", folder, e))?;
        return Ok((epoch, file));
    }
}

/// What taking over found.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// Epochs that are ours now.
    pub(crate) epochs: BTreeSet<u32>,
    /// Whether others still hold theirs.
    pub(crate) foreign: bool,
    /// Some of it may be ours by word and yet not in `epochs`: only a restart can make that good.
    pub(crate) trouble: Option<Error>,
}

/// Takes over every epoch whose owner is dead. An epoch in the result was nobody's, and is ours alone.
pub(crate) fn take_over(disk: &dyn Disk, folders: &Folders, ours: u32) -> Result<Taken, Error> {
    let mut taken = Taken::default();
    let before = owners(disk, folders, &Listing::read(disk, folders)?)?;
    let roots: BTreeSet<u32> = before
        .values()
        .copied()
        .filter(|&owner| owner != ours)
        .collect();
    for root in roots {
        let Some(file) = lock_root(disk, folders, root) else {
            taken.foreign = true;
            continue;
        };
        if let Err(error) = write_owner(&*file, ours) {
            taken.trouble = Some(Error::io("write", &path(folders, root), error));
            break;
        }
        taken.epochs.insert(root);
    }
    if taken.epochs.is_empty() || taken.trouble.is_some() {
        return Ok(taken);
    }
    // Whom the dead owned is read only now: until we had their locks they may have adopted others.
    let now = Listing::read(disk, folders).and_then(|now| owners(disk, folders, &now));
    match now {
        Err(error) => taken.trouble = Some(error),
        Ok(now) => {
            let new = |epoch: &u32| now[epoch] == ours && before.get(epoch) != Some(&ours);
            taken.epochs.extend(
                now.keys()
                    .copied()
                    .filter(|epoch| *epoch != ours && new(epoch)),
            );
        }
    }
    Ok(taken)
}

/// The epoch file of a dead process, locked by us; none where its process lives, or somebody was faster, or it cannot
/// be told now.
fn lock_root(disk: &dyn Disk, folders: &Folders, root: u32) -> Option<Box<dyn DiskFile>> {
    let path = path(folders, root);
    let file = match disk.open(&path, OpenMode::Write) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => disk.open(&path, OpenMode::New),
        other => other,
    };
    let file = file.ok()?;
    let ours = file.try_lock().ok()?
        && owner(&*file, root).ok()? == root
        && disk.exists(&path).unwrap_or(false);
    ours.then_some(file)
}

/// For each epoch that left a trace, the one at the end of its chain of owners.
fn owners(
    disk: &dyn Disk,
    folders: &Folders,
    listing: &Listing,
) -> Result<BTreeMap<u32, u32>, Error> {
    let mut direct = BTreeMap::new();
    for &epoch in &listing.epochs {
        let path = path(folders, epoch);
        let owner = match disk.open(&path, OpenMode::Read) {
            // Removed since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::io("open", &path, error)),
            Ok(file) => owner(&*file, epoch).map_err(|e| Error::io("read", &path, e))?,
        };
        direct.insert(epoch, owner);
    }
    let end = |epoch: u32| {
        let mut at = epoch;
        for _ in 0..=direct.len() {
            match direct.get(&at) {
                Some(&next) if next != at => at = next,
                _ => break,
            }
        }
        at
    };
    Ok(listing
        .traces()
        .into_iter()
        .map(|epoch| (epoch, end(epoch)))
        .collect())
}

/// Makes the chains short, then removes epoch files nobody needs: of dead epochs below ours, with nothing left in the
/// folder and no other epoch pointing at them. What cannot be read now is left for another day; only a failed write is
/// an error.
pub(crate) fn tidy(disk: &dyn Disk, folders: &Folders, ours: u32) -> Result<(), Error> {
    let Ok(listing) = Listing::read(disk, folders) else {
        return Ok(());
    };
    let Ok(owners) = owners(disk, folders, &listing) else {
        return Ok(());
    };
    let segments = listing.segments.iter().map(|name| name.epoch);
    let bodies = listing
        .bodies
        .iter()
        .map(|&id| QueueId::from_u64(id).epoch());
    let needed: BTreeSet<u32> = segments.chain(bodies).collect();
    let dead = |&epoch: &u32| epoch < ours && owners.get(&epoch) == Some(&ours);
    for &epoch in listing
        .epochs
        .iter()
        .filter(|epoch| dead(epoch) && needed.contains(epoch))
    {
        let path = path(folders, epoch);
        let Ok(file) = disk.open(&path, OpenMode::Write) else {
            return Ok(());
        };
        match owner(&*file, epoch) {
            Err(_) => return Ok(()),
            Ok(owner) if owner == ours => {}
            Ok(_) => write_owner(&*file, ours).map_err(|e| Error::io("write", &path, e))?,
        }
    }
    for &epoch in listing
        .epochs
        .iter()
        .filter(|epoch| dead(epoch) && !needed.contains(epoch))
    {
        let _ = disk.remove(&path(folders, epoch));
    }
    Ok(())
}

/// Who the file says owns its epoch; a file that says nothing readable is its own. A word that a crash tore was not
/// acted on yet.
fn owner(file: &dyn DiskFile, epoch: u32) -> io::Result<u32> {
    let mut word = [0u8; 7];
    let whole = file.read_at(&mut word, 0)? == word.len() && word[6] == b'\n';
    let digits = std::str::from_utf8(&word[..6]).ok().filter(|_| whole);
    Ok(digits
        .and_then(|digits| u32::from_str_radix(digits, 16).ok())
        .unwrap_or(epoch))
}

fn write_owner(file: &dyn DiskFile, owner: u32) -> io::Result<()> {
    let word = format!("{owner:06X}\n");
    file.write_at(&mut [IoSlice::new(word.as_bytes())], 0)?;
    file.sync()
}

fn path(folders: &Folders, epoch: u32) -> PathBuf {
    folders.spool.join(format!("{epoch:06X}.epoch"))
}

fn parse(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".epoch")?;
    let epoch = u32::from_str_radix(digits, 16).ok()?;
    (format!("{epoch:06X}") == digits).then_some(epoch)
}

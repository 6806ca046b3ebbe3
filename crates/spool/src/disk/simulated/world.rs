//! What the simulated disk holds: files and folders, each as it is read and as it is on disk.
//!
//! Never: a path given by a caller but to find a file.

use super::Loss;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

const SECTOR: usize = 512;
pub(super) const BLOCK: u64 = 4096;

#[derive(Default)]
pub(super) struct World {
    pub(super) files: BTreeMap<u64, Inode>,
    pub(super) folders: BTreeMap<PathBuf, Folder>,
    pub(super) processes: Vec<Process>,
    pub(super) next_file: u64,
    pub(super) capacity: Option<u64>,
    pub(super) random: u64,
}

#[derive(Default)]
pub(super) struct Process {
    pub(super) operations: u64,
    pub(super) fail_at: Option<(u64, io::ErrorKind)>,
    pub(super) die_at: Option<u64>,
    pub(super) dead: bool,
    pub(super) trace: Vec<String>,
    pub(super) interruption: Option<(u64, Box<dyn FnOnce() + Send>)>,
}

#[derive(Default, Clone)]
pub(super) struct Inode {
    pub(super) live: Vec<u8>,
    pub(super) durable: Vec<u8>,
    /// Each sector's contents since the last sync, oldest first.
    pub(super) since: BTreeMap<usize, Vec<[u8; SECTOR]>>,
    /// Sectors a failed sync has forgotten: clean, but not on disk.
    pub(super) forgotten: BTreeSet<usize>,
    /// The process and handle that hold the lock.
    pub(super) lock: Option<(usize, u64)>,
    pub(super) handles: u64,
}

#[derive(Default, Clone)]
pub(super) struct Folder {
    pub(super) live: BTreeMap<String, u64>,
    pub(super) durable: BTreeMap<String, u64>,
    pub(super) named: bool,
}

/// What an operation is to do.
pub(super) enum Course {
    Go,
    Fail(io::Error),
    /// Do part of it; the process is dead then.
    Die(io::Error),
}

impl World {
    /// Counts an operation and says what is to become of it.
    pub(super) fn begin(&mut self, process: usize, what: impl FnOnce() -> String) -> Course {
        let acting = &mut self.processes[process];
        if acting.dead {
            return Course::Fail(io::Error::other("the process is dead"));
        }
        let number = acting.operations;
        acting.operations += 1;
        acting.trace.push(what());
        if acting.die_at == Some(number) {
            self.die(process);
            return Course::Die(io::Error::other("the process died in the middle of this"));
        }
        match acting.fail_at {
            Some((at, kind)) if at == number => Course::Fail(kind.into()),
            _ => Course::Go,
        }
    }

    /// The same where doing it in part is the same as not doing it.
    pub(super) fn begin_whole(
        &mut self,
        process: usize,
        what: impl FnOnce() -> String,
    ) -> io::Result<()> {
        match self.begin(process, what) {
            Course::Go => Ok(()),
            Course::Fail(error) | Course::Die(error) => Err(error),
        }
    }

    pub(super) fn die(&mut self, process: usize) {
        self.processes[process].dead = true;
        for inode in self.files.values_mut() {
            if inode.lock.is_some_and(|(holder, _)| holder == process) {
                inode.lock = None;
            }
        }
    }

    pub(super) fn find(&self, path: &Path) -> Option<u64> {
        self.folders
            .get(path.parent()?)?
            .live
            .get(&name_of(path)?)
            .copied()
    }

    pub(super) fn folder(&mut self, path: &Path) -> io::Result<&mut Folder> {
        self.folders
            .get_mut(path)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// What is used: files that have a name now, or are open.
    pub(super) fn used(&self) -> u64 {
        let named: BTreeSet<u64> = self
            .folders
            .values()
            .flat_map(|folder| folder.live.values().copied())
            .collect();
        let there = self
            .files
            .iter()
            .filter(|(number, inode)| inode.handles > 0 || named.contains(number));
        there
            .map(|(_, inode)| (inode.live.len() as u64).next_multiple_of(BLOCK))
            .sum()
    }

    pub(super) fn has_room_for(&self, growth: u64) -> io::Result<()> {
        match self.capacity {
            Some(capacity) if growth > 0 && self.used() + growth > capacity => {
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        }
    }

    /// Forgets files with neither name nor handle.
    pub(super) fn sweep(&mut self) {
        let mut named = BTreeSet::new();
        for folder in self.folders.values() {
            named.extend(folder.live.values().chain(folder.durable.values()).copied());
        }
        self.files
            .retain(|number, inode| inode.handles > 0 || named.contains(number));
    }
}

impl Inode {
    pub(super) fn after(&self, loss: Loss, random: &mut u64) -> Inode {
        let mut found = match loss {
            Loss::Everything => self.durable.clone(),
            Loss::Nothing => self.live.clone(),
            Loss::Some(_) => {
                let longer = self.live.len() > self.durable.len() && next(random) & 1 == 0;
                let mut found = self.durable.clone();
                if longer {
                    found.resize(self.live.len(), 0);
                }
                found
            }
        };
        if let Loss::Some(_) = loss {
            for (&sector, states) in &self.since {
                let chosen = next(random) as usize % (states.len() + 1);
                let start = sector * SECTOR;
                if chosen > 0 && start < found.len() {
                    let end = found.len().min(start + SECTOR);
                    found[start..end].copy_from_slice(&states[chosen - 1][..end - start]);
                }
            }
        }
        Inode {
            live: found.clone(),
            durable: found,
            ..Inode::default()
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8], offset: usize) {
        let end = offset + bytes.len();
        if self.live.len() < end {
            self.live.resize(end, 0);
        }
        self.live[offset..end].copy_from_slice(bytes);
        if bytes.is_empty() {
            return;
        }
        for sector in offset / SECTOR..=(end - 1) / SECTOR {
            let state = self.sector(sector);
            self.since.entry(sector).or_default().push(state);
            self.forgotten.remove(&sector);
        }
    }

    pub(super) fn sector(&self, sector: usize) -> [u8; SECTOR] {
        let mut state = [0; SECTOR];
        let start = sector * SECTOR;
        let end = self.live.len().min(start + SECTOR);
        state[..end - start].copy_from_slice(&self.live[start..end]);
        state
    }

    /// Makes sectors durable, those the test names.
    pub(super) fn save(&mut self, mut saved: impl FnMut(usize) -> bool) {
        self.durable.resize(self.live.len(), 0);
        for sector in std::mem::take(&mut self.since).into_keys() {
            if self.forgotten.contains(&sector) {
                continue;
            }
            if !saved(sector) {
                self.forgotten.insert(sector);
                continue;
            }
            let start = sector * SECTOR;
            let end = self.live.len().min(start + SECTOR);
            self.durable[start..end].copy_from_slice(&self.live[start..end]);
        }
    }
}

impl Folder {
    /// `None` where the folder itself is lost.
    pub(super) fn after(&self, loss: Loss, random: &mut u64) -> Option<Folder> {
        let keep_name = match loss {
            Loss::Everything => self.named,
            Loss::Nothing => true,
            Loss::Some(_) => self.named || next(random) & 1 == 0,
        };
        let names: BTreeSet<&String> = self.live.keys().chain(self.durable.keys()).collect();
        let mut found = BTreeMap::new();
        for name in names {
            let live = match loss {
                Loss::Everything => false,
                Loss::Nothing => true,
                Loss::Some(_) => next(random) & 1 == 0,
            };
            let entry = if live {
                self.live.get(name)
            } else {
                self.durable.get(name)
            };
            if let Some(&number) = entry {
                found.insert(name.clone(), number);
            }
        }
        keep_name.then(|| Folder {
            live: found.clone(),
            durable: found,
            named: true,
        })
    }
}

pub(super) fn name_of(path: &Path) -> Option<String> {
    Some(path.file_name()?.to_str()?.to_owned())
}

/// The next of a row of numbers that look random (xorshift).
pub(super) fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

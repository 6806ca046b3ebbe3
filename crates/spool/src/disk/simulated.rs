//! A disk in memory that keeps exactly what was promised, and loses the rest when told to.
//!
//! ```text
//! process A ─┐                 ┌─ live: what processes read
//! process B ─┼─ World (files, ─┤
//! …          ┘   folders)      └─ durable: what the last sync covered
//!
//! crash(Loss::Everything)   durable only             power fails, nothing was lucky
//! crash(Loss::Nothing)      live                     the processes die, the kernel lives
//! crash(Loss::Some(seed))   each sector and each name: one of the states it had since its sync
//! ```
//!
//! Every call is an operation with a number. One of them can be made to fail, or be the last thing a process does: a
//! write is then done in part. A sync that fails loses part of what it should have saved, and a later sync does not bring
//! that back, as on Linux.
//!
//! Never: used outside tests. It is compiled always, so that other crates' tests may have it too.

use super::{Disk, DiskFile, OpenMode, Space};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice, IoSliceMut};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const SECTOR: usize = 512;
const BLOCK: u64 = 4096;

/// What a crash takes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Whatever was not synced.
    Everything,
    /// Only the processes.
    Nothing,
    /// Some of what was not synced, torn and in any order; the number decides what.
    Some(u64),
}

/// One process's view of a simulated disk. A clone is the same process; see `another_process`.
#[derive(Clone)]
pub struct SimulatedDisk {
    world: Arc<Mutex<World>>,
    process: usize,
}

#[derive(Default)]
struct World {
    files: BTreeMap<u64, Inode>,
    folders: BTreeMap<PathBuf, Folder>,
    processes: Vec<Process>,
    next_file: u64,
    capacity: Option<u64>,
    random: u64,
}

#[derive(Default)]
struct Process {
    operations: u64,
    fail_at: Option<(u64, io::ErrorKind)>,
    die_at: Option<u64>,
    dead: bool,
    trace: Vec<String>,
    interruption: Option<(u64, Box<dyn FnOnce() + Send>)>,
}

#[derive(Default, Clone)]
struct Inode {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// Each sector's contents since the last sync, oldest first.
    since: BTreeMap<usize, Vec<[u8; SECTOR]>>,
    /// Sectors a failed sync has forgotten: clean, but not on disk.
    forgotten: BTreeSet<usize>,
    /// The process and handle that hold the lock.
    lock: Option<(usize, u64)>,
    handles: u64,
}

#[derive(Default, Clone)]
struct Folder {
    live: BTreeMap<String, u64>,
    durable: BTreeMap<String, u64>,
    named: bool,
}

/// What an operation is to do.
enum Course {
    Go,
    Fail(io::Error),
    /// Do part of it; the process is dead then.
    Die(io::Error),
}

impl Default for SimulatedDisk {
    fn default() -> SimulatedDisk {
        SimulatedDisk::new()
    }
}

impl SimulatedDisk {
    /// An empty disk with the folder `/`.
    pub fn new() -> SimulatedDisk {
        let mut world = World {
            random: 0x9E37_79B9_7F4A_7C15,
            ..World::default()
        };
        world.folders.insert(
            PathBuf::from("/"),
            Folder {
                named: true,
                ..Folder::default()
            },
        );
        world.processes.push(Process::default());
        SimulatedDisk {
            world: Arc::new(Mutex::new(world)),
            process: 0,
        }
    }

    /// The same disk, seen by another process: it has its own locks, faults and death.
    pub fn another_process(&self) -> SimulatedDisk {
        let mut world = self.world();
        world.processes.push(Process::default());
        SimulatedDisk {
            world: self.world.clone(),
            process: world.processes.len() - 1,
        }
    }

    /// Lets at most `bytes` be used.
    pub fn limit(&self, bytes: Option<u64>) {
        self.world().capacity = bytes;
    }

    /// Makes operation `number` of this process (the first is 0) fail, once.
    pub fn fail_at(&self, number: u64, kind: io::ErrorKind) {
        self.mine(|process| process.fail_at = Some((number, kind)));
    }

    /// Makes operation `number` of this process the last it does, and that in part only.
    pub fn die_at(&self, number: u64) {
        self.mine(|process| process.die_at = Some(number));
    }

    /// Calls something just before the first write or sync of this process from operation `number` on, on the thread that
    /// writes or syncs: what another thread might do at that very moment.
    pub fn interrupt_at(&self, number: u64, with: impl FnOnce() + Send + 'static) {
        self.mine(|process| process.interruption = Some((number, Box::new(with))));
    }

    /// Kills this process now: its locks fall, and every later call fails.
    pub fn kill(&self) {
        let mut world = self.world();
        world.die(self.process);
    }

    /// Whether this process is dead.
    pub fn is_dead(&self) -> bool {
        self.world().processes[self.process].dead
    }

    /// How many operations this process has done.
    pub fn operations(&self) -> u64 {
        self.world().processes[self.process].operations
    }

    /// What this process did, one line an operation.
    pub fn trace(&self) -> Vec<String> {
        self.world().processes[self.process].trace.clone()
    }

    /// The disk as it is found after a crash of the whole machine; this one goes on untouched.
    pub fn crash(&self, loss: Loss) -> SimulatedDisk {
        let world = self.world();
        let mut after = World {
            next_file: world.next_file,
            ..World::default()
        };
        after.random = match loss {
            Loss::Some(seed) => seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            _ => 1,
        };
        for (&number, inode) in &world.files {
            let found = inode.after(loss, &mut after.random);
            after.files.insert(number, found);
        }
        for (path, folder) in &world.folders {
            if let Some(found) = folder.after(loss, &mut after.random) {
                after.folders.insert(path.clone(), found);
            }
        }
        after.processes.push(Process::default());
        after.capacity = world.capacity;
        SimulatedDisk {
            world: Arc::new(Mutex::new(after)),
            process: 0,
        }
    }

    /// The bytes of a file as they are read now; `None` where there is none. Not an operation.
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let world = self.world();
        let number = world.find(path)?;
        Some(world.files.get(&number)?.live.clone())
    }

    /// The names in a folder. Not an operation.
    pub fn names(&self, folder: &Path) -> Vec<String> {
        let world = self.world();
        world
            .folders
            .get(folder)
            .map(|f| f.live.keys().cloned().collect())
            .unwrap_or_default()
    }

    /// Flips bits of one byte behind everybody's back.
    pub fn flip(&self, path: &Path, offset: usize, bits: u8) {
        let mut world = self.world();
        if let Some(number) = world.find(path)
            && let Some(inode) = world.files.get_mut(&number)
        {
            for bytes in [&mut inode.live, &mut inode.durable] {
                if let Some(byte) = bytes.get_mut(offset) {
                    *byte ^= bits;
                }
            }
        }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls what is due, the disk being free for others meanwhile.
    fn interrupt(&self) {
        let mut due = None;
        self.mine(|process| {
            let at = process.interruption.as_ref().map(|(number, _)| *number);
            if at.is_some_and(|at| at <= process.operations) {
                due = process.interruption.take();
            }
        });
        if let Some((_, with)) = due {
            with();
        }
    }

    fn mine(&self, change: impl FnOnce(&mut Process)) {
        change(&mut self.world().processes[self.process]);
    }
}

impl World {
    /// Counts an operation and says what is to become of it.
    fn begin(&mut self, process: usize, what: impl FnOnce() -> String) -> Course {
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
    fn begin_whole(&mut self, process: usize, what: impl FnOnce() -> String) -> io::Result<()> {
        match self.begin(process, what) {
            Course::Go => Ok(()),
            Course::Fail(error) | Course::Die(error) => Err(error),
        }
    }

    fn die(&mut self, process: usize) {
        self.processes[process].dead = true;
        for inode in self.files.values_mut() {
            if inode.lock.is_some_and(|(holder, _)| holder == process) {
                inode.lock = None;
            }
        }
    }

    fn find(&self, path: &Path) -> Option<u64> {
        self.folders
            .get(path.parent()?)?
            .live
            .get(&name_of(path)?)
            .copied()
    }

    fn folder(&mut self, path: &Path) -> io::Result<&mut Folder> {
        self.folders
            .get_mut(path)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// What is used: files that have a name now, or are open.
    fn used(&self) -> u64 {
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

    fn has_room_for(&self, growth: u64) -> io::Result<()> {
        match self.capacity {
            Some(capacity) if growth > 0 && self.used() + growth > capacity => {
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        }
    }

    /// Forgets files with neither name nor handle.
    fn sweep(&mut self) {
        let mut named = BTreeSet::new();
        for folder in self.folders.values() {
            named.extend(folder.live.values().chain(folder.durable.values()).copied());
        }
        self.files
            .retain(|number, inode| inode.handles > 0 || named.contains(number));
    }
}

impl Inode {
    fn after(&self, loss: Loss, random: &mut u64) -> Inode {
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

    fn write(&mut self, bytes: &[u8], offset: usize) {
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

    fn sector(&self, sector: usize) -> [u8; SECTOR] {
        let mut state = [0; SECTOR];
        let start = sector * SECTOR;
        let end = self.live.len().min(start + SECTOR);
        state[..end - start].copy_from_slice(&self.live[start..end]);
        state
    }

    /// Makes sectors durable, those the test names.
    fn save(&mut self, mut saved: impl FnMut(usize) -> bool) {
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
    fn after(&self, loss: Loss, random: &mut u64) -> Option<Folder> {
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

impl Disk for SimulatedDisk {
    fn make_folder(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.begin_whole(self.process, || format!("make folder {}", path.display()))?;
        if path
            .parent()
            .is_some_and(|parent| !world.folders.contains_key(parent))
        {
            return Err(io::ErrorKind::NotFound.into());
        }
        world.folders.entry(path.to_owned()).or_default();
        Ok(())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let mut world = self.world();
        world.begin_whole(self.process, || format!("list {}", folder.display()))?;
        Ok(world.folder(folder)?.live.keys().cloned().collect())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        let mut world = self.world();
        world.begin_whole(self.process, || format!("open {mode:?} {}", path.display()))?;
        let parent = path.parent().ok_or(io::ErrorKind::NotFound)?;
        let name = name_of(path).ok_or(io::ErrorKind::InvalidInput)?;
        let found = world.folder(parent)?.live.get(&name).copied();
        let number = match (found, mode) {
            (Some(_), OpenMode::New) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(number), _) => number,
            (None, OpenMode::New) => {
                world.next_file += 1;
                let number = world.next_file;
                world.files.insert(number, Inode::default());
                world.folder(parent)?.live.insert(name, number);
                number
            }
            (None, _) => return Err(io::ErrorKind::NotFound.into()),
        };
        world.next_file += 1;
        let handle = world.next_file;
        if let Some(inode) = world.files.get_mut(&number) {
            inode.handles += 1;
        }
        Ok(Box::new(SimulatedFile {
            disk: self.clone(),
            number,
            handle,
            path: path.to_owned(),
        }))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let mut world = self.world();
        world.begin_whole(self.process, || format!("look at {}", path.display()))?;
        Ok(world.find(path).is_some() || world.folders.contains_key(path))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.begin_whole(self.process, || format!("remove {}", path.display()))?;
        world.find(path).ok_or(io::ErrorKind::NotFound)?;
        let name = name_of(path).unwrap_or_default();
        world
            .folder(path.parent().unwrap_or(path))?
            .live
            .remove(&name);
        world.sweep();
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world();
        let what = || format!("rename {} to {}", from.display(), to.display());
        world.begin_whole(self.process, what)?;
        let number = world.find(from).ok_or(io::ErrorKind::NotFound)?;
        let (old, new) = (
            name_of(from).unwrap_or_default(),
            name_of(to).unwrap_or_default(),
        );
        world
            .folder(to.parent().unwrap_or(to))?
            .live
            .insert(new, number);
        world
            .folder(from.parent().unwrap_or(from))?
            .live
            .remove(&old);
        world.sweep();
        Ok(())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.begin_whole(self.process, || format!("sync folder {}", folder.display()))?;
        let inside = world.folder(folder)?;
        inside.durable = inside.live.clone();
        for (path, child) in &mut world.folders {
            if path.parent() == Some(folder) {
                child.named = true;
            }
        }
        world.sweep();
        Ok(())
    }

    fn space(&self, folder: &Path) -> io::Result<Space> {
        let mut world = self.world();
        world.begin_whole(self.process, || format!("measure {}", folder.display()))?;
        let total = world.capacity.unwrap_or(1 << 40);
        Ok(Space {
            free: total.saturating_sub(world.used()),
            total,
        })
    }
}

struct SimulatedFile {
    disk: SimulatedDisk,
    number: u64,
    handle: u64,
    path: PathBuf,
}

impl SimulatedFile {
    fn name(&self) -> String {
        name_of(&self.path).unwrap_or_default()
    }

    fn read(&self, buffers: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize> {
        let mut world = self.disk.world();
        world.begin_whole(self.disk.process, || {
            format!("read {} at {offset}", self.name())
        })?;
        let inode = world
            .files
            .get(&self.number)
            .ok_or(io::ErrorKind::NotFound)?;
        let mut rest = inode.live.get(offset as usize..).unwrap_or_default();
        let mut done = 0;
        for buffer in buffers {
            let count = buffer.len().min(rest.len());
            buffer[..count].copy_from_slice(&rest[..count]);
            rest = &rest[count..];
            done += count;
        }
        Ok(done)
    }
}

impl DiskFile for SimulatedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read(&mut [IoSliceMut::new(buffer)], offset)
    }

    fn read_vectored_at(&self, buffers: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize> {
        self.read(buffers, offset)
    }

    fn write_at(&self, buffers: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let bytes: Vec<u8> = buffers
            .iter()
            .flat_map(|buffer| buffer.iter().copied())
            .collect();
        self.disk.interrupt();
        let mut world = self.disk.world();
        let was_dead = world.processes[self.disk.process].dead;
        let what = || format!("write {} bytes to {} at {offset}", bytes.len(), self.name());
        let course = world.begin(self.disk.process, what);
        let random = next(&mut world.random) as usize;
        let whole = bytes.len();
        let (count, error) = match course {
            Course::Go => (whole, None),
            Course::Fail(error) if was_dead => return Err(error),
            // Part of it, or all, may have got through, whatever the answer.
            Course::Fail(error) | Course::Die(error) => (
                if random & 64 == 0 {
                    whole
                } else {
                    random % (whole + 1)
                },
                Some(error),
            ),
        };
        let inode = world
            .files
            .get(&self.number)
            .ok_or(io::ErrorKind::NotFound)?;
        let end = (offset + count as u64).next_multiple_of(BLOCK);
        let growth = end.saturating_sub((inode.live.len() as u64).next_multiple_of(BLOCK));
        world.has_room_for(growth)?;
        if let Some(inode) = world.files.get_mut(&self.number) {
            inode.write(&bytes[..count], offset as usize);
        }
        error.map_or(Ok(()), Err)
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        let mut world = self.disk.world();
        world.begin_whole(self.disk.process, || {
            format!("reserve {len} for {}", self.name())
        })?;
        let inode = world
            .files
            .get(&self.number)
            .ok_or(io::ErrorKind::NotFound)?;
        let before = (inode.live.len() as u64).next_multiple_of(BLOCK);
        world.has_room_for(len.next_multiple_of(BLOCK).saturating_sub(before))?;
        if let Some(inode) = world.files.get_mut(&self.number)
            && (inode.live.len() as u64) < len
        {
            inode.live.resize(len as usize, 0);
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.interrupt();
        let mut world = self.disk.world();
        let was_dead = world.processes[self.disk.process].dead;
        let course = world.begin(self.disk.process, || format!("sync {}", self.name()));
        let mut random = world.random;
        let inode = world
            .files
            .get_mut(&self.number)
            .ok_or(io::ErrorKind::NotFound)?;
        let result = match course {
            Course::Go => {
                inode.save(|_| true);
                Ok(())
            }
            Course::Fail(error) if was_dead => return Err(error),
            // Some of it reached the disk; the rest is forgotten, and no later sync will try it again.
            Course::Fail(error) => {
                inode.save(|_| next(&mut random) & 1 == 0);
                Err(error)
            }
            // The machine goes on: what is not saved yet is still in the page cache.
            Course::Die(error) => Err(error),
        };
        world.random = random;
        result
    }

    fn start_writeback(&self, _offset: u64, _len: u64) {}

    fn size(&self) -> io::Result<u64> {
        let mut world = self.disk.world();
        world.begin_whole(self.disk.process, || format!("size of {}", self.name()))?;
        Ok(world
            .files
            .get(&self.number)
            .map_or(0, |inode| inode.live.len() as u64))
    }

    fn try_lock(&self) -> io::Result<bool> {
        let mut world = self.disk.world();
        world.begin_whole(self.disk.process, || format!("lock {}", self.name()))?;
        let inode = world
            .files
            .get_mut(&self.number)
            .ok_or(io::ErrorKind::NotFound)?;
        let mine = (self.disk.process, self.handle);
        Ok(*inode.lock.get_or_insert(mine) == mine)
    }
}

impl Drop for SimulatedFile {
    fn drop(&mut self) {
        let mut world = self.disk.world();
        if let Some(inode) = world.files.get_mut(&self.number) {
            inode.handles -= 1;
            if inode.lock == Some((self.disk.process, self.handle)) {
                inode.lock = None;
            }
        }
        world.sweep();
    }
}

fn name_of(path: &Path) -> Option<String> {
    Some(path.file_name()?.to_str()?.to_owned())
}

/// The next of a row of numbers that look random (xorshift).
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

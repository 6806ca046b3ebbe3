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

mod world;

use self::world::{BLOCK, Course, Folder, Inode, Process, World, name_of, next};
use super::{Disk, DiskFile, OpenMode, Space};
use std::io::{self, IoSlice, IoSliceMut};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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

//! A real process on a real disk, killed in the middle of its work: all it acknowledged is there.

#![allow(clippy::unwrap_used)]

use postern_spool::*;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, mpsc};

const FOLDER: &str = "POSTERN_SPOOL_TEST_FOLDER";

fn open(folder: &Path) -> (Spool, Recovered) {
    let mut settings = Settings::new(folder.join("spool"));
    settings.segment_size = 64 << 10;
    settings.inline_limit = 8000;
    settings.reserve = Reserve::NONE;
    Spool::open(Arc::new(RealDisk), settings).unwrap()
}

/// What the killed process does: it says on its standard output what it was told, line by line, until it dies. Run by
/// itself, without a folder to work in, there is nothing to do.
#[test]
fn the_process_that_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let (spool, _) = open(Path::new(&folder));
    let say = |word: &str, id: QueueId| {
        // One write a line; a pipe keeps it whole.
        let line = format!("{word} {id}\n");
        std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
    };
    std::thread::scope(|scope| {
        for writer in 0..4usize {
            let spool = &spool;
            scope.spawn(move || {
                for at in writer.. {
                    let mut deposit = spool.deposit().unwrap();
                    let size = if at % 29 == 0 {
                        30_000
                    } else {
                        500 + at * 37 % 3000
                    };
                    deposit.write(&vec![at as u8; size]).unwrap();
                    let envelope = Envelope::new("a@b", vec![Recipient::new("c@d")], at as u64);
                    let (sender, receiver) = mpsc::channel();
                    spool.commit(deposit, envelope, move |done| sender.send(done).unwrap());
                    let id = receiver.recv().unwrap().unwrap().id;
                    say("\nkept", id);
                    if at % 5 != 0 {
                        say("\nleft", id);
                        spool.settle(id, Settlement::Gone);
                    }
                }
            });
        }
    });
}

#[test]
fn what_a_killed_process_acknowledged_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let (mut kept, mut left) = (BTreeSet::new(), BTreeSet::new());
    for round in 0..15 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_process_that_is_killed", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut told = 0;
        for line in lines.map_while(Result::ok) {
            let Some((word, Ok(id))) = line.split_once(' ').map(|(word, id)| (word, id.parse()))
            else {
                continue;
            };
            let set: &mut BTreeSet<QueueId> = if word == "kept" { &mut kept } else { &mut left };
            set.insert(id);
            told += 1;
            if told == 40 + round * 60 {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        let (spool, recovered) = open(folder.path());
        // A kill cuts a write between two pages. What it leaves half done is a message nobody was told of, or the copy
        // of one that still stands where it was: below, none is lost.
        let whole = |damage: &&Damage| !damage.unfinished;
        assert_eq!(recovered.damaged.iter().find(whole), None);
        let there: BTreeSet<QueueId> = recovered.messages.iter().map(|due| due.id).collect();
        let lost: Vec<_> = kept
            .iter()
            .filter(|id| !left.contains(id) && !there.contains(id))
            .collect();
        assert!(lost.is_empty(), "round {round}: {lost:?} are lost");
        for &id in &there {
            let Some(Message { body, .. }) = spool.claim(id).unwrap() else {
                panic!("{id}")
            };
            assert!(body.len() >= 500);
            // Those that came back are let go for good; so are the unacknowledged.
            if left.contains(&id) || !kept.contains(&id) {
                spool.settle(id, Settlement::Gone);
            }
        }
        spool.flush().unwrap();
    }
}

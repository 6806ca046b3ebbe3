//! Every operation failed once: the answer may be an error, but no promise is broken, and what was refused by a spool
//! that goes on is never seen again.

#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use postern_spool::*;
use std::io::ErrorKind;

const LOSSES: [Loss; 4] = [
    Loss::Everything,
    Loss::Nothing,
    Loss::Some(5),
    Loss::Some(6),
];

/// Lives on a disk that fails once. Returns what was being done then, or nothing where the life was over before.
fn fail_once(at: u64, kind: ErrorKind) -> Option<String> {
    let disk = SimulatedDisk::new();
    let mut ledger = Ledger::default();
    disk.fail_at(at, kind);
    let spool = match open(&disk) {
        Ok((spool, _)) => spool,
        // A failed start does no harm to the next.
        Err(_) => open(&disk).unwrap().0,
    };
    live_on(&spool, &mut ledger, |spool, ledger| {
        if !spool.failed() {
            ledger.refusals_are_final();
        }
    });
    // A chore may fail the spool at any of these steps, but nothing else may.
    if ledger.flush(&spool).is_ok() {
        ledger.check(&spool);
        let _ = ledger.put(&spool, 800);
    }
    let hit = disk.trace().get(at as usize).cloned();
    if spool.failed() {
        let what = hit.as_deref().unwrap_or_default();
        assert!(what.starts_with("sync"), "{what} failed the spool");
        assert!(matches!(spool.deposit(), Err(Error::Failed { .. })));
        assert!(spool.room().is_err() && spool.flush().is_err());
    } else {
        ledger.refusals_are_final();
    }
    // What was acknowledged can still be read, whatever failed.
    for id in ledger.queued() {
        assert!(
            spool
                .claim(id)
                .or_else(|_| spool.claim(id))
                .unwrap()
                .is_some()
        );
    }
    for loss in LOSSES {
        let after = disk.crash(loss);
        let (revived, recovered) = open(&after).unwrap();
        let torn = |damage: &Damage| damage.unfinished;
        assert!(
            recovered.damaged.iter().all(torn),
            "{hit:?}: {:?}",
            recovered.damaged
        );
        let mut promised = ledger.clone();
        promised.check(&revived);
        go_on(&revived, &mut promised);
    }
    spool.close();
    if !spool.failed() {
        ledger.flushed();
    }
    let (spool, _) = open(&disk).unwrap();
    ledger.check(&spool);
    go_on(&spool, &mut ledger);
    hit
}

fn fail_each(kind: ErrorKind) -> Vec<String> {
    (0..).map_while(|at| fail_once(at, kind)).collect()
}

#[test]
fn each_operation_may_fail_once() {
    let hit = fail_each(ErrorKind::Other);
    for what in [
        "open",
        "write",
        "sync 0",
        "sync folder",
        "reserve",
        "lock",
        "list",
        "make folder",
    ] {
        assert!(
            hit.iter().any(|line| line.starts_with(what)),
            "no {what} was failed"
        );
    }
}

#[test]
fn each_operation_may_find_the_disk_full() {
    assert!(fail_each(ErrorKind::StorageFull).len() > 100);
}

#[test]
fn a_full_disk_refuses_mail_and_can_be_emptied() {
    let disk = SimulatedDisk::new();
    let mut ledger = Ledger::default();
    let (spool, _) = open(&disk).unwrap();
    disk.limit(Some(6 * SEGMENT));
    let refused = loop {
        if let Err(error) = ledger.put(&spool, 1400) {
            break error;
        }
    };
    assert!(matches!(refused, Error::Full), "{refused}");
    assert!(!spool.failed());
    ledger.refusals_are_final();
    // Room for a body, none for its record.
    while ledger.put(&spool, 10).is_ok() {}
    disk.limit(Some(6 * SEGMENT + 4096));
    assert!(ledger.put(&spool, 1400).is_err() && ledger.put(&spool, 3000).is_err());
    disk.limit(Some(6 * SEGMENT));
    ledger.refusals_are_final();
    ledger.check(&spool);
    // Not a byte is free, and yet outcomes find their place: the part of a segment that is left to them has room for the
    // tombstones of one segment, whose file is then free.
    for id in ledger.queued() {
        ledger.gone(&spool, id);
        ledger.flush(&spool).unwrap();
    }
    ledger.put(&spool, 1400).unwrap();
    spool.close();
    assert!(disk.names(std::path::Path::new("/spool/body")).is_empty());
    let after = disk.crash(Loss::Everything);
    let (spool, _) = open(&after).unwrap();
    ledger.check(&spool);
}

#[test]
fn a_body_that_does_not_fit_costs_itself_alone() {
    let disk = SimulatedDisk::new();
    let mut ledger = Ledger::default();
    let (spool, _) = open(&disk).unwrap();
    ledger.put(&spool, 1000).unwrap();
    disk.limit(Some(3 * SEGMENT));
    assert!(matches!(ledger.put(&spool, 100_000), Err(Error::Full)));
    ledger.refusals_are_final();
    ledger.put(&spool, 1000).unwrap();
    ledger.check(&spool);
    assert!(disk.names(std::path::Path::new("/spool/body")).is_empty());
}

#[test]
fn after_a_failed_sync_nothing_is_written_any_more() {
    let disk = SimulatedDisk::new();
    let mut ledger = Ledger::default();
    let (spool, _) = open(&disk).unwrap();
    let id = ledger.put(&spool, 1000).unwrap();
    // The next message is one write and one sync.
    disk.fail_at(disk.operations() + 1, ErrorKind::Other);
    assert!(matches!(
        ledger.put(&spool, 1000),
        Err(Error::Failed { .. })
    ));
    assert!(spool.failed());
    let operations = disk.operations();
    assert!(matches!(
        ledger.put(&spool, 1000),
        Err(Error::Failed { .. })
    ));
    spool.settle(id, Settlement::Gone);
    assert!(spool.flush().is_err());
    spool.close();
    let later = disk.trace()[operations as usize..].to_vec();
    assert!(
        later
            .iter()
            .all(|line| !line.starts_with("write") && !line.starts_with("sync"))
    );
    ledger.check(&open(&disk).unwrap().0);
}

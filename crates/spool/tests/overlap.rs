//! Predecessor and successor on one disk: no message is lost between them, and none is seen by both.

#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use postern_spool::*;
use std::collections::BTreeSet;

fn ids(spool: &Spool) -> BTreeSet<QueueId> {
    spool
        .list(None, usize::MAX)
        .iter()
        .map(|line| line.id)
        .collect()
}

/// Two ledgers as one: what both processes were told.
fn joined(one: &Ledger, other: &Ledger) -> Ledger {
    let mut all = one.clone();
    all.promises.extend(other.promises.clone());
    all.unsure.extend(other.unsure.clone());
    all.refused.extend(other.refused.iter().copied());
    assert!(all.ids.is_disjoint(&other.ids), "an id was given by both");
    all.ids.extend(other.ids.iter().copied());
    all.made += other.made;
    all
}

#[test]
fn the_predecessor_may_die_at_every_operation() {
    let mut at = 0;
    loop {
        let first = SimulatedDisk::new();
        let second = first.another_process();
        let (mut old, mut new) = (Ledger::default(), Ledger::default());
        new.made = 1000;
        let opened = open(&first);
        let before = first.operations();
        let Ok((predecessor, _)) = opened else {
            panic!("the first start failed")
        };
        first.die_at(before + at);
        let _ = live(&predecessor, &mut old);
        let (successor, recovered) = open(&second).unwrap();
        // It may die of a chore at any time; what was true before and after was true meanwhile.
        if !first.is_dead() {
            assert!(successor.foreign_segments());
            assert!(recovered.messages.is_empty());
            assert!(successor.adopt().unwrap().is_empty() || first.is_dead());
        }
        new.put(&successor, 900).unwrap();
        let _ = live(&predecessor, &mut old);
        assert!(first.is_dead() || ids(&predecessor).is_disjoint(&ids(&successor)));
        live(&successor, &mut new).unwrap();
        let ended = !first.is_dead();
        predecessor.close();
        if ended {
            old.flushed();
        }
        let had = ids(&successor);
        let adopted = successor.adopt().unwrap();
        assert!(!successor.foreign_segments());
        for due in &adopted {
            assert!(!had.contains(&due.id), "{:?} was there before", due.id);
        }
        let mut all = joined(&old, &new);
        all.check(&successor);
        for loss in [Loss::Everything, Loss::Nothing, Loss::Some(at + 1)] {
            let after = second.crash(loss);
            let (third, _) = open(&after).unwrap();
            all.clone().check(&third);
        }
        go_on(&successor, &mut all);
        successor.close();
        let (third, recovered) = open(&second).unwrap();
        assert_eq!(recovered.damaged, []);
        all.check(&third);
        if ended {
            assert!(at > 100);
            return;
        }
        at += 1;
    }
}

#[test]
fn the_successor_may_die_at_every_operation_of_its_adoption() {
    for at in 0.. {
        let first = SimulatedDisk::new();
        let second = first.another_process();
        let mut ledger = Ledger::default();
        let (predecessor, _) = open(&first).unwrap();
        live(&predecessor, &mut ledger).unwrap();
        let (successor, _) = open(&second).unwrap();
        predecessor.close();
        second.die_at(second.operations() + at);
        let adopted = successor.adopt();
        let mut told = ledger.clone();
        let done = adopted.is_ok_and(|dues| !dues.is_empty());
        if done {
            for id in told.queued().into_iter().step_by(2) {
                told.gone(&successor, id);
            }
            let _ = told.flush(&successor);
        }
        let ended = done && !second.is_dead();
        if ended {
            return assert!(at > 20, "{at}");
        }
        // The machine lives: a third process takes all.
        let third = first.another_process();
        let (heir, _) = open(&third).unwrap();
        told.clone().check(&heir);
        heir.close();
        // The machine dies too.
        for loss in [
            Loss::Everything,
            Loss::Nothing,
            Loss::Some(at + 1),
            Loss::Some(at + 99),
        ] {
            let after = first.crash(loss);
            let (heir, _) = open(&after).unwrap();
            let mut told = told.clone();
            told.check(&heir);
            go_on(&heir, &mut told);
        }
    }
}

#[test]
fn a_failed_operation_during_adoption_loses_nothing() {
    for at in 0.. {
        let first = SimulatedDisk::new();
        let second = first.another_process();
        let mut ledger = Ledger::default();
        let (predecessor, _) = open(&first).unwrap();
        live(&predecessor, &mut ledger).unwrap();
        let (successor, _) = open(&second).unwrap();
        predecessor.close();
        let start = second.operations();
        second.fail_at(start + at, std::io::ErrorKind::Other);
        let mut tries = 0;
        while !successor.failed() && (successor.adopt().is_err() || successor.foreign_segments()) {
            tries += 1;
            assert!(tries < 5);
        }
        let over = second.operations() <= start + at;
        if !successor.failed() {
            ledger.check(&successor);
        }
        successor.close();
        let (heir, _) = open(&second.another_process()).unwrap();
        ledger.check(&heir);
        if over {
            return assert!(at > 20, "{at}");
        }
    }
}

#[test]
fn two_successors_share_nothing() {
    let first = SimulatedDisk::new();
    let mut ledger = Ledger::default();
    let (predecessor, _) = open(&first).unwrap();
    live(&predecessor, &mut ledger).unwrap();
    let heirs: Vec<Spool> = (0..4)
        .map(|_| open(&first.another_process()).unwrap().0)
        .collect();
    predecessor.close();
    std::thread::scope(|scope| {
        for heir in &heirs {
            scope.spawn(move || {
                while heir.adopt().is_ok_and(|_| false) {}
                heir.adopt().unwrap();
            });
        }
    });
    let holders = heirs.iter().filter(|heir| heir.count() > 0).count();
    assert_eq!(holders, 1);
    let holder = heirs.iter().find(|heir| heir.count() > 0).unwrap();
    ledger.check(holder);
}

#[test]
fn a_chain_of_restarts_leaves_no_files_behind() {
    let disk = SimulatedDisk::new();
    let mut ledger = Ledger::default();
    let mut current = open(&disk).unwrap().0;
    let stays = ledger.put(&current, 300).unwrap();
    for _ in 0..30 {
        let next = open(&disk.another_process()).unwrap().0;
        for size in [900, 5000, 400] {
            let id = ledger.put(&current, size).unwrap();
            ledger.gone(&current, id);
        }
        ledger.keep(&current, stays, 1);
        current.close();
        ledger.flushed();
        next.adopt().unwrap();
        ledger.check(&next);
        current = next;
    }
    let names = disk.names(&folder());
    let epochs = names.iter().filter(|name| name.ends_with(".epoch")).count();
    assert!(epochs <= 6, "{names:?}");
}

#[test]
fn a_body_on_its_way_in_is_not_taken_for_an_orphan() {
    let first = SimulatedDisk::new();
    let (predecessor, _) = open(&first).unwrap();
    let mut deposit = predecessor.deposit().unwrap();
    deposit.write(&[b'x'; 9000]).unwrap();
    let (successor, recovered) = open(&first.another_process()).unwrap();
    assert_eq!(recovered.orphans, 0);
    successor.adopt().unwrap();
    assert_eq!(first.names(std::path::Path::new("/spool/body")).len(), 1);
}

/// After the machine failed, two processes start at once; what the dead had adopted must not be torn from what the dead
/// wrote about it.
#[test]
fn two_starts_after_a_crash_do_not_divide_what_belongs_together() {
    for at in 0..60 {
        let first = SimulatedDisk::new();
        let mut ledger = Ledger::default();
        let (predecessor, _) = open(&first).unwrap();
        let put: Vec<_> = (0..3)
            .map(|_| ledger.put(&predecessor, 900).unwrap())
            .collect();
        let (successor, _) = open(&first.another_process()).unwrap();
        predecessor.close();
        successor.adopt().unwrap();
        for &id in &put[1..] {
            ledger.gone(&successor, id);
        }
        ledger.flush(&successor).unwrap();
        ledger.put(&successor, 500).unwrap();
        let after = first.crash(Loss::Everything);
        // The second start happens in the middle of one of the first's writes or syncs.
        let other = after.another_process();
        let meanwhile = std::sync::Arc::new(std::sync::Mutex::new(None));
        let found = meanwhile.clone();
        after.interrupt_at(at, move || {
            *found.lock().unwrap() = Some(open(&other).unwrap().0)
        });
        let (one, _) = open(&after).unwrap();
        let two = meanwhile.lock().unwrap().take();
        let seen: Vec<QueueId> = ids(&one)
            .into_iter()
            .chain(two.iter().flat_map(ids))
            .collect();
        assert!(
            !seen.contains(&put[1]) && !seen.contains(&put[2]),
            "at {at}: {seen:?}"
        );
        assert_eq!(seen.len(), 2, "at {at}: {seen:?}");
    }
}

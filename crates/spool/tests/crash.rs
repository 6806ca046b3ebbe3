//! Every state killed once: a scripted life is cut off in the middle of each disk operation, the disk loses what it
//! may lose, and what comes back is held against what was promised.

#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use postern_spool::*;

const LOSSES: [Loss; 5] = [
    Loss::Everything,
    Loss::Nothing,
    Loss::Some(1),
    Loss::Some(2),
    Loss::Some(3),
];

/// What happens in a life.
type Script = fn(&Spool, &mut Ledger) -> Result<(), Error>;

/// Lives until the disk dies; says whether the life came to its end.
fn life(disk: &SimulatedDisk, ledger: &mut Ledger, script: Script) -> bool {
    let Ok((spool, _)) = open(disk) else {
        return false;
    };
    let ended = script(&spool, ledger).is_ok();
    spool.close();
    ended && !disk.is_dead()
}

/// Opens what a crash left, checks it, works with it, closes it, and checks again.
fn revive(disk: &SimulatedDisk, ledger: &mut Ledger, loss: Loss, at: u64) {
    let (spool, recovered) = open(disk).unwrap();
    for damage in &recovered.damaged {
        assert!(damage.unfinished, "killed at {at}, {loss:?}: {damage:?}");
        assert_ne!(
            loss,
            Loss::Everything,
            "nothing half written can be left: {damage:?}"
        );
    }
    ledger.check(&spool);
    go_on(&spool, ledger);
    spool.close();
    let (spool, recovered) = open(disk).unwrap();
    assert_eq!(recovered.damaged, [], "reported again");
    ledger.check(&spool);
}

fn enumerate(mut cut: impl FnMut(u64, Loss) -> bool) -> u64 {
    let mut at = 0;
    loop {
        let ended = LOSSES.into_iter().all(|loss| cut(at, loss));
        if ended {
            return at;
        }
        at += 1;
    }
}

#[test]
fn a_life_cut_off_at_every_operation_keeps_its_promises() {
    cut_off_everywhere(live);
}

#[test]
fn segments_used_anew_cut_off_at_every_operation_keep_their_promises() {
    cut_off_everywhere(churn);
}

fn cut_off_everywhere(script: Script) {
    let operations = enumerate(|at, loss| {
        let disk = SimulatedDisk::new();
        let mut ledger = Ledger::default();
        disk.die_at(at);
        let ended = life(&disk, &mut ledger, script);
        let after = disk.crash(loss);
        revive(&after, &mut ledger, loss, at);
        ended
    });
    assert!(
        operations > 150,
        "the life has only {operations} operations"
    );
}

#[test]
fn a_second_crash_during_recovery_keeps_them_too() {
    for first in (20..200).step_by(9) {
        for loss in [Loss::Nothing, Loss::Some(first)] {
            let disk = SimulatedDisk::new();
            let mut ledger = Ledger::default();
            disk.die_at(first);
            life(
                &disk,
                &mut ledger,
                if first % 2 == 0 { live } else { churn },
            );
            let mut second = 0;
            loop {
                let after = disk.crash(loss);
                let mut promised = ledger.clone();
                after.die_at(second);
                if let Ok((spool, _)) = open(&after) {
                    let end = promised.put(&spool, 500).and_then(|_| spool.flush());
                    spool.close();
                    if end.is_ok() && !after.is_dead() {
                        break;
                    }
                }
                for loss in [Loss::Everything, Loss::Nothing, Loss::Some(second + 1)] {
                    let again = after.crash(loss);
                    let (spool, _) = open(&again).unwrap();
                    promised.clone().check(&spool);
                }
                second += 1;
            }
            assert!(second > 10);
        }
    }
}

/// A machine that fails again and again, each time in another place: what one life leaves, the next begins with.
#[test]
fn many_lives_one_after_the_other() {
    for seed in 1..40u64 {
        let mut disk = SimulatedDisk::new();
        let mut ledger = Ledger::default();
        for round in 1..8u64 {
            let fate = seed.wrapping_mul(0x9E37_79B9).wrapping_add(round * 7919);
            {
                let copy = disk.crash(Loss::Nothing);
                let (spool, _) = open(&copy).unwrap();
                ledger.check(&spool);
            }
            disk.die_at(fate % 300);
            if let Ok((spool, _)) = open(&disk) {
                let _ = live(&spool, &mut ledger);
                for (at, id) in ledger.queued().into_iter().enumerate() {
                    if at % 3 != 0 {
                        ledger.gone(&spool, id);
                    }
                }
                if ledger.flush(&spool).is_ok() {
                    let _ = live(&spool, &mut ledger);
                }
                spool.close();
            }
            disk = disk.crash(if round % 3 == 0 {
                Loss::Nothing
            } else {
                Loss::Some(fate | 1)
            });
        }
        let (spool, _) = open(&disk).unwrap();
        ledger.check(&spool);
        go_on(&spool, &mut ledger);
    }
}

#[test]
fn space_is_won_back_and_the_gone_stay_gone() {
    let disk = SimulatedDisk::new();
    let mut ledger = Ledger::default();
    let (spool, _) = open(&disk).unwrap();
    for _ in 0..6 {
        live(&spool, &mut ledger).unwrap();
    }
    let most = space(&disk);
    for id in ledger.queued() {
        ledger.gone(&spool, id);
    }
    ledger.flush(&spool).unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while space(&disk) > 2 * SEGMENT {
        assert!(
            std::time::Instant::now() < deadline,
            "{} bytes of {most} are left",
            space(&disk)
        );
        std::thread::yield_now();
    }
    for loss in LOSSES {
        let after = disk.crash(loss);
        revive(&after, &mut ledger.clone(), loss, 0);
    }
}

#[test]
fn ids_are_never_given_twice_however_often_the_disk_forgets() {
    let mut disk = SimulatedDisk::new();
    let mut ids = std::collections::BTreeSet::new();
    for round in 0..20 {
        let (spool, _) = open(&disk).unwrap();
        for _ in 0..3 {
            assert!(ids.insert(spool.deposit().unwrap().id()));
        }
        spool.close();
        disk = disk.crash(if round % 2 == 0 {
            Loss::Everything
        } else {
            Loss::Some(round)
        });
    }
    let epochs = disk
        .names(&folder())
        .iter()
        .filter(|name| name.ends_with(".epoch"))
        .count();
    assert!(epochs <= 3, "{epochs} epoch files are left");
}

/// The oldest message goes at every moment of the life, in the middle of whatever the committer is doing: above all
/// while it is being copied forward. Then segments are used anew until nothing of the old ones is left.
#[test]
fn a_message_may_go_at_any_moment() {
    let mut moment = 0;
    loop {
        let disk = SimulatedDisk::new();
        let mut ledger = Ledger::default();
        let (spool, _) = open(&disk).unwrap();
        for oldest in 0..2 {
            let left = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
            let (theirs, door) = (left.clone(), spool.clone());
            disk.interrupt_at(disk.operations() + moment, move || {
                for line in door.list(None, oldest + 1).into_iter().skip(oldest) {
                    door.settle(line.id, Settlement::Gone);
                    theirs.lock().unwrap().push(line.id);
                }
            });
            live(&spool, &mut ledger).unwrap();
            // What is under way now is over once a flush has gone through.
            disk.interrupt_at(u64::MAX, || {});
            ledger.flush(&spool).unwrap();
            ledger.flush(&spool).unwrap();
            for id in left.lock().unwrap().drain(..) {
                if let Some(promise) = ledger.promises.get_mut(&id) {
                    promise.end = End::Gone;
                }
            }
            ledger.refusals_are_final();
        }
        if moment as usize > disk.trace().len() / 2 {
            return;
        }
        for _ in 0..12 {
            for loss in [Loss::Everything, Loss::Nothing, Loss::Some(moment + 1)] {
                // Records may be on their way forward just now, and torn.
                let (again, recovered) = open(&disk.crash(loss)).unwrap();
                assert!(recovered.damaged.iter().all(|damage| damage.unfinished));
                ledger.clone().check(&again);
            }
            let short: Vec<_> = (0..4).map(|_| ledger.put(&spool, 1300).unwrap()).collect();
            for id in short {
                ledger.gone(&spool, id);
            }
            ledger.flush(&spool).unwrap();
        }
        moment += 1;
    }
}

/// Outcomes are written before they are synced. A message copied forward just then must not take its older status along
/// to a place behind the newer one.
#[test]
fn a_status_on_its_way_is_not_overtaken_by_an_older_one() {
    let disk = SimulatedDisk::new();
    let mut ledger = Ledger::default();
    let mut settings = settings();
    // Large enough for message and status to be copied with the same group.
    settings.segment_size = 64 << 10;
    settings.outcome_window = std::time::Duration::from_millis(800);
    let (spool, _) = Spool::open(std::sync::Arc::new(disk.clone()), settings).unwrap();
    let stays = ledger.put(&spool, 200).unwrap();
    ledger.keep(&spool, stays, 1);
    let segments = || {
        disk.names(&folder())
            .iter()
            .filter(|name| name.ends_with(".seg"))
            .count()
    };
    while segments() < 2 {
        let id = ledger.put(&spool, 1400).unwrap();
        ledger.gone(&spool, id);
    }
    // Just short of where copying begins; the next outcome crosses that line, written and not synced.
    let line = 48 << 10;
    while end_of_log(&disk) < line - 1700 {
        let id = ledger.put(&spool, 1400).unwrap();
        ledger.gone(&spool, id);
    }
    ledger.flush(&spool).unwrap();
    let left = line - end_of_log(&disk);
    ledger.put(&spool, left - 130).unwrap();
    assert!(
        (line - 79..=line).contains(&end_of_log(&disk)),
        "{}",
        end_of_log(&disk)
    );
    let copied = |disk: &SimulatedDisk| {
        let reads = |line: &&String| line.starts_with("read") && line.contains(".seg");
        disk.trace().iter().filter(reads).count() > 1
    };
    assert!(
        !copied(&disk),
        "copying began too early: {:#?}",
        disk.trace()
    );
    ledger.keep(&spool, stays, 2);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !copied(&disk) {
        assert!(std::time::Instant::now() < deadline, "{:#?}", disk.trace());
        std::thread::yield_now();
    }
    ledger.flush(&spool).unwrap();
    for loss in LOSSES {
        let (again, _) = open(&disk.crash(loss)).unwrap();
        ledger.clone().check(&again);
    }
}

/// Where the last write ended.
fn end_of_log(disk: &SimulatedDisk) -> usize {
    let trace = disk.trace();
    let line = trace
        .iter()
        .rev()
        .find(|line| line.starts_with("write"))
        .unwrap();
    let number = |at: usize| line.split(' ').nth(at).unwrap().parse::<usize>().unwrap();
    number(1) + number(6)
}

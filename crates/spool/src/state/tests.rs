//! The rule that keeps the gone from rising, one step at a time.

use super::*;
use crate::disk::{Loss, SimulatedDisk};
use crate::segment::SegmentName;
use crate::shared::Folders;
use crate::table::{Phase, Segment};
use crate::{Envelope, Recipient, Reserve, Settlement, Spool, recover};
use std::sync::mpsc;

const SIZE: u64 = 8192;

fn settings() -> Settings {
    let mut settings = Settings::new("/spool");
    settings.segment_size = SIZE;
    settings.reserve = Reserve::NONE;
    settings.outcome_window = std::time::Duration::from_secs(100_000);
    settings
}

/// A state with `count` segments in use; their keys are 0, 1, …, their marks 101, 102, …
fn state(count: u32) -> State {
    let mut state = State::new(&settings());
    for number in 0..count {
        let mut segment = Segment::blank(SegmentName { epoch: 1, number }, SIZE);
        segment.phase = Phase::Active;
        let key = state.table.add(segment);
        state
            .table
            .begin(key, u64::from(number), 101 + u64::from(number), None);
    }
    state
}

fn at(segment: u32) -> Place {
    Place {
        segment,
        offset: 1024,
        length: 400,
    }
}

fn put(state: &mut State, id: u64, segment: u32) {
    state.insert(id, Entry::new(at(segment), 0, 300, 1, false));
}

fn leave(state: &mut State, id: u64) -> Gone {
    match state.remove(id) {
        Some(Settle::Gone(gone)) => gone,
        other => panic!("{other:?}"),
    }
}

fn marks(gone: &Gone) -> Vec<u64> {
    gone.marks.iter().collect()
}

#[test]
fn a_segment_is_free_once_its_messages_have_durable_tombstones() {
    let mut state = state(2);
    put(&mut state, 1, 0);
    state.table.seal(0, SIZE, false);
    let gone = leave(&mut state, 1);
    assert_eq!(state.table.take_free(), None);
    state.tombstone_written(&gone, at(1));
    assert_eq!(state.table.take_free(), Some(0));
}

#[test]
fn a_tombstone_outlives_the_bytes_it_covers() {
    let mut state = state(3);
    put(&mut state, 1, 0);
    put(&mut state, 2, 0);
    state.table.seal(0, SIZE, false);
    let gone = leave(&mut state, 1);
    assert_eq!(marks(&gone), [101]);
    state.tombstone_written(&gone, at(1));
    state.table.seal(1, SIZE, false);
    // Message 2 keeps segment 0, which keeps the tombstone of message 1 in segment 1.
    assert_eq!(state.table.take_free(), None);
    let gone = leave(&mut state, 2);
    state.tombstone_written(&gone, at(2));
    assert_eq!(state.table.take_free(), Some(0));
    assert_eq!(state.table.take_free(), None);
    state.table.begin(0, 9, 109, None);
    assert_eq!(state.table.take_free(), Some(1));
}

#[test]
fn a_message_that_goes_while_its_segment_is_copied_has_both_marks_in_its_tombstone() {
    let mut state = state(3);
    for (id, segment) in [(1, 0), (2, 0), (3, 1)] {
        put(&mut state, id, segment);
    }
    state.table.seal(0, SIZE, false);
    assert_eq!(state.table.choose_victim(0), Some(0));
    assert_eq!(state.record_copied(1, at(0), at(2)), None);
    assert_eq!(marks(&leave(&mut state, 1)), [103, 101]);
    // Another one's tombstone names the victim too; that costs eight bytes and needs no thought.
    assert_eq!(marks(&leave(&mut state, 3)), [102, 101]);
    // This one went before its copy was durable: whoever writes its tombstone must add the copy's mark.
    assert_eq!(marks(&leave(&mut state, 2)), [101]);
    assert_eq!(state.record_copied(2, at(0), at(2)), Some(103));
}

#[test]
fn the_victims_mark_counts_until_the_file_is_wiped() {
    let mut state = state(3);
    put(&mut state, 1, 0);
    state.table.seal(0, SIZE, false);
    assert_eq!(state.table.choose_victim(0), Some(0));
    let _ = state.record_copied(1, at(0), at(2));
    state.table.end_victim(0, false);
    assert_eq!(state.table.take_free(), Some(0));
    assert_eq!(state.table.half_but(0), [101]);
    state.table.begin(0, 9, 109, None);
    assert_eq!(state.table.half_but(0), [0; 0]);
}

#[test]
fn a_status_moves_with_what_is_newest() {
    let mut state = state(3);
    put(&mut state, 1, 0);
    let peek = StatusPeek {
        next_try: 7,
        attempts: 1,
        frozen: true,
    };
    let Some(Settle::Outcome { status: first, .. }) = state.update(1, peek, vec![1]) else {
        panic!("not there")
    };
    let Some(Settle::Outcome { status: second, .. }) = state.update(1, peek, vec![2]) else {
        panic!("not there")
    };
    state.outcome_written(1, &first, at(1));
    assert_eq!(state.pending[&1], second);
    state.outcome_written(1, &second, at(2));
    assert!(state.pending.is_empty());
    // A copy of what is no longer the newest changes nothing.
    state.status_copied(1, at(1), at(0));
    assert_eq!(state.index[&1].status, at(2));
    assert!(state.index[&1].frozen());
}

#[test]
fn a_copying_cut_off_by_death_is_remembered() {
    let mut found_half = false;
    for die_at in 0.. {
        let disk = SimulatedDisk::new();
        let Ok((spool, _)) = Spool::open(Arc::new(disk.clone()), settings()) else {
            continue;
        };
        disk.die_at(disk.operations() + die_at);
        let deposit = |size: usize| {
            let mut deposit = spool.deposit().ok()?;
            deposit.write(&vec![b'x'; size]).ok()?;
            let (sender, receiver) = mpsc::channel();
            let envelope = Envelope::new("", vec![Recipient::new("a@b")], 1);
            spool.commit(deposit, &envelope, move |done| {
                sender.send(done).unwrap_or_default()
            });
            receiver.recv().ok()?.ok().map(|committed| committed.id)
        };
        let mut stay = Vec::new();
        for _ in 0..8 {
            stay.push(deposit(300));
            for _ in 0..3 {
                if let Some(id) = deposit(1200) {
                    spool.settle(id, Settlement::Gone);
                }
            }
        }
        let _ = spool.flush();
        spool.close();
        let ended = !disk.is_dead();
        let after = disk.crash(Loss::Everything);
        let folders = Folders::of(&settings());
        let Ok(mut reading) = recover::read(&after, &folders, &settings(), &[1].into()) else {
            continue;
        };
        for id in stay.into_iter().flatten() {
            let half = reading.state.table.half_but(0);
            if !half.is_empty() {
                found_half = true;
                let gone = leave(&mut reading.state, id.to_u64());
                assert!(half.iter().all(|mark| marks(&gone).contains(mark)));
            }
        }
        if ended {
            break;
        }
    }
    assert!(found_half, "no death fell between copying and wiping");
}

//! One flipped byte costs one message at most, and it is reported.

#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use postern_spool::*;
use std::collections::BTreeSet;

/// What a reader of the queue gets: whole messages, and the ids of those found damaged.
fn read_all(spool: &Spool) -> (BTreeSet<QueueId>, BTreeSet<QueueId>) {
    let (mut whole, mut damaged) = (BTreeSet::new(), BTreeSet::new());
    for line in spool.list(None, usize::MAX) {
        match spool.claim(line.id) {
            Ok(Some(message)) => {
                let _ = read(message.body);
                whole.insert(line.id);
            }
            Err(Error::Damaged { id, kept }) => {
                assert!(kept.starts_with("/spool/damaged"));
                damaged.insert(id);
            }
            other => panic!("{other:?}"),
        }
    }
    (whole, damaged)
}

#[test]
fn each_byte_of_a_segment_may_be_flipped() {
    let disk = SimulatedDisk::new();
    let mut ledger = Ledger::default();
    let (spool, _) = open(&disk).unwrap();
    let ids: Vec<QueueId> = [200, 0, 900, 600, 300, 450]
        .map(|s| ledger.put(&spool, s).unwrap())
        .into();
    ledger.keep(&spool, ids[2], 4);
    ledger.flush(&spool).unwrap();
    ledger.gone(&spool, ids[4]);
    ledger.flush(&spool).unwrap();
    ledger.put(&spool, 100).unwrap();
    spool.close();
    let name = disk
        .names(&folder())
        .into_iter()
        .find(|name| name.ends_with(".seg"))
        .unwrap();
    let path = folder().join(name);
    let all: BTreeSet<QueueId> = ledger.queued().into_iter().collect();
    let mut struck = 0;
    for offset in 0..SEGMENT as usize {
        let after = disk.crash(Loss::Nothing);
        after.flip(&path, offset, 1 << (offset % 8));
        let (spool, recovered) = open(&after).unwrap();
        let (whole, damaged) = read_all(&spool);
        let lost: Vec<_> = all.difference(&whole).collect();
        let risen: Vec<_> = whole.difference(&all).collect();
        assert!(lost.len() <= 1, "byte {offset} cost {lost:?}");
        // A damaged tombstone lets its message rise, and one damaged status is forgotten: both are reported.
        assert!(risen.len() <= 1, "byte {offset} raised {risen:?}");
        let reported = recovered.damaged.len() + damaged.len();
        assert!(reported <= 1, "byte {offset}: {:?}", recovered.damaged);
        if !lost.is_empty() || !risen.is_empty() {
            assert_eq!(reported, 1, "byte {offset} was not reported");
            struck += 1;
        }
        if reported == 1 {
            assert!(
                !after
                    .names(std::path::Path::new("/spool/damaged"))
                    .is_empty()
            );
        }
        let status = spool
            .claim(ids[2])
            .ok()
            .flatten()
            .map(|message| message.status.attempts);
        assert!(
            matches!(status, Some(4) | None) || reported == 1,
            "byte {offset} lost a status"
        );
        // Set aside once, reported once, and the queue works on.
        spool.close();
        let (spool, recovered) = open(&after).unwrap();
        assert_eq!(recovered.damaged, []);
        assert_eq!(read_all(&spool), (whole, BTreeSet::new()));
        if offset % 64 == 0 {
            ledger.clone().put(&spool, 700).unwrap();
        }
    }
    assert!(struck > 2000, "only {struck} bytes mattered");
}

#[test]
fn a_flipped_byte_in_a_large_body_is_seen_as_it_is_read() {
    let disk = SimulatedDisk::new();
    let mut ledger = Ledger::default();
    let (spool, _) = open(&disk).unwrap();
    let id = ledger.put(&spool, 70_000).unwrap();
    disk.flip(
        &std::path::Path::new("/spool/body").join(id.to_string()),
        66_000,
        4,
    );
    let Body::File(mut body) = spool.claim(id).unwrap().unwrap().body else {
        panic!("not a file")
    };
    let error = std::io::Read::read_to_end(&mut body, &mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
}

#[test]
fn a_missing_body_file_is_reported_and_leaves_the_queue() {
    let disk = SimulatedDisk::new();
    let mut ledger = Ledger::default();
    let (spool, _) = open(&disk).unwrap();
    let id = ledger.put(&spool, 70_000).unwrap();
    let other = ledger.put(&spool, 70_000).unwrap();
    spool.close();
    disk.remove(&std::path::Path::new("/spool/body").join(id.to_string()))
        .unwrap();
    let (spool, recovered) = open(&disk).unwrap();
    assert_eq!(
        recovered.damaged.iter().map(|d| d.id).collect::<Vec<_>>(),
        [Some(id)]
    );
    assert_eq!(
        recovered
            .messages
            .iter()
            .map(|due| due.id)
            .collect::<Vec<_>>(),
        [other]
    );
    spool.close();
    let (_spool, recovered) = open(&disk).unwrap();
    assert_eq!((recovered.damaged.len(), recovered.messages.len()), (0, 1));
}

#[test]
fn a_segment_whose_header_is_lost_is_set_aside_whole() {
    let disk = SimulatedDisk::new();
    let mut ledger = Ledger::default();
    let (spool, _) = open(&disk).unwrap();
    ledger.put(&spool, 500).unwrap();
    spool.close();
    let name = disk
        .names(&folder())
        .into_iter()
        .find(|name| name.ends_with(".seg"))
        .unwrap();
    disk.flip(&folder().join(&name), 9, 1);
    disk.flip(&folder().join(&name), 512 + 9, 1);
    let (spool, recovered) = open(&disk).unwrap();
    assert_eq!(recovered.damaged.len(), 1);
    assert!(
        disk.names(std::path::Path::new("/spool/damaged"))
            .contains(&name)
    );
    ledger.put(&spool, 500).unwrap();
}

#[test]
fn orphans_are_cleared_unless_something_is_damaged() {
    let disk = SimulatedDisk::new();
    let (spool, _) = open(&disk).unwrap();
    let mut deposit = spool.deposit().unwrap();
    deposit.write(&[b'x'; 9000]).unwrap();
    disk.kill();
    let after = disk.crash(Loss::Nothing);
    assert_eq!(after.names(std::path::Path::new("/spool/body")).len(), 1);
    let (_spool, recovered) = open(&after).unwrap();
    assert_eq!(recovered.orphans, 1);
    assert!(after.names(std::path::Path::new("/spool/body")).is_empty());
}

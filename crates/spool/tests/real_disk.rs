//! The spool on the host's own file system.

#![allow(clippy::unwrap_used)]

use postern_spool::*;
use std::io::Read;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

fn open(folder: &std::path::Path) -> (Spool, Recovered) {
    let mut settings = Settings::new(folder.join("spool"));
    settings.segment_size = 256 << 10;
    settings.reserve = Reserve::NONE;
    Spool::open(Arc::new(RealDisk), settings).unwrap()
}

fn envelope(text: &str) -> Envelope {
    Envelope::new(
        "a@example.org",
        vec![Recipient::new(text), Recipient::new("c@example.org")],
        77,
    )
}

fn put(spool: &Spool, to: &str, body: &[u8]) -> QueueId {
    let mut deposit = spool.deposit().unwrap();
    for piece in body.chunks(1000) {
        deposit.write(piece).unwrap();
    }
    let (sender, receiver) = mpsc::channel();
    spool.commit(deposit, envelope(to), move |result| {
        sender.send(result).unwrap()
    });
    let committed = receiver.recv().unwrap().unwrap();
    assert_eq!(committed.size, body.len() as u64);
    committed.id
}

fn text(message: Message) -> Vec<u8> {
    match message.body {
        Body::Inline(bytes) => bytes,
        Body::File(mut file) => {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).unwrap();
            bytes
        }
    }
}

#[test]
fn a_message_goes_in_and_out_and_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, recovered) = open(folder.path());
    assert!(recovered.messages.is_empty() && recovered.damaged.is_empty());
    let id = put(&spool, "b@example.org", b"hello");
    let message = spool.claim(id).unwrap().unwrap();
    assert_eq!(message.envelope, envelope("b@example.org"));
    assert_eq!(message.status, Status::new(2));
    assert_eq!(text(message), b"hello");
    assert_eq!((spool.count(), spool.list(None, 10).len()), (1, 1));
    spool.settle(id, Settlement::Gone);
    assert!(spool.claim(id).unwrap().is_none());
    spool.flush().unwrap();
    assert_eq!(spool.count(), 0);
    drop(spool);
    let (spool, recovered) = open(folder.path());
    assert!(recovered.messages.is_empty() && recovered.damaged.is_empty());
    assert!(put(&spool, "x@example.org", b"") > id);
}

#[test]
fn bodies_of_every_size_come_back_before_and_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let sizes = [
        0, 1, 3, 4096, 100_000, 131_072, 131_073, 1_000_000, 3_000_001,
    ];
    let body = |size: usize| {
        (0..size)
            .map(|at| (at * 7 + at / 251) as u8)
            .collect::<Vec<u8>>()
    };
    let (spool, _) = open(folder.path());
    let ids: Vec<_> = sizes
        .map(|size| put(&spool, "b@example.org", &body(size)))
        .into();
    for _ in 0..2 {
        for (&id, &size) in ids.iter().zip(&sizes) {
            let message = spool.claim(id).unwrap().unwrap();
            assert_eq!(message.body.len(), size as u64);
            assert!(text(message) == body(size), "{size}");
        }
    }
    drop(spool);
    let (spool, recovered) = open(folder.path());
    assert_eq!(
        recovered
            .messages
            .iter()
            .map(|due| due.id)
            .collect::<Vec<_>>(),
        ids
    );
    for (&id, &size) in ids.iter().zip(&sizes) {
        assert!(
            text(spool.claim(id).unwrap().unwrap()) == body(size),
            "{size}"
        );
        spool.settle(id, Settlement::Gone);
    }
    spool.flush().unwrap();
    spool.close();
    assert_eq!(
        std::fs::read_dir(folder.path().join("spool/body"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn a_deposit_dropped_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, _) = open(folder.path());
    let mut deposit = spool.deposit().unwrap();
    deposit.write(&vec![b'x'; 500_000]).unwrap();
    let bodies = || {
        std::fs::read_dir(folder.path().join("spool/body"))
            .unwrap()
            .count()
    };
    assert_eq!(bodies(), 1);
    drop(deposit);
    assert_eq!((bodies(), spool.count()), (0, 0));
}

#[test]
fn a_status_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, _) = open(folder.path());
    let id = put(&spool, "b@example.org", b"hello");
    let mut status = Status::new(2);
    status.attempts = 3;
    status.next_try = 12345;
    status.frozen = true;
    status.recipients[1] = RecipientStatus::Done;
    let last = LastTry {
        at: 9,
        host: "mx".into(),
        reply: "450 later".into(),
    };
    status.recipients[0] = RecipientStatus::Pending { last: Some(last) };
    spool.settle(id, Settlement::Keep(status.clone()));
    assert_eq!(spool.claim(id).unwrap().unwrap().status, status);
    spool.flush().unwrap();
    assert_eq!(spool.claim(id).unwrap().unwrap().status, status);
    drop(spool);
    let (spool, recovered) = open(folder.path());
    assert_eq!(
        recovered.messages,
        [Due {
            id,
            next_try: 12345,
            frozen: true
        }]
    );
    assert_eq!(spool.claim(id).unwrap().unwrap().status, status);
    let line = spool.summary(id).unwrap();
    assert_eq!(
        (line.attempts, line.recipients, line.size, line.received),
        (3, 2, 5, 77)
    );
}

#[test]
fn outcomes_are_synced_within_the_window_by_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, _) = open(folder.path());
    let id = put(&spool, "b@example.org", b"hello");
    spool.settle(id, Settlement::Gone);
    // What a second process reads in the page cache is what a kill would leave.
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let copy = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(copy.path().join("spool/body")).unwrap();
        for entry in std::fs::read_dir(folder.path().join("spool")).unwrap() {
            let entry = entry.unwrap();
            if entry.path().is_file() {
                std::fs::copy(
                    entry.path(),
                    copy.path().join("spool").join(entry.file_name()),
                )
                .unwrap();
            }
        }
        let (_second, recovered) = open(copy.path());
        if recovered.messages.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "the outcome was never written");
    }
}

#[test]
fn a_successor_waits_then_adopts() {
    let folder = tempfile::tempdir().unwrap();
    let (first, _) = open(folder.path());
    let old = put(&first, "b@example.org", b"of the first");
    let gone = put(&first, "b@example.org", b"settled by the first");
    let (second, recovered) = open(folder.path());
    assert!(recovered.messages.is_empty());
    assert!(second.foreign_segments() && second.adopt().unwrap().is_empty());
    let new = put(&second, "b@example.org", b"of the second");
    first.settle(gone, Settlement::Gone);
    first.close();
    assert!(matches!(first.deposit(), Err(Error::Closed)));
    assert_eq!(
        second.adopt().unwrap(),
        [Due {
            id: old,
            next_try: 0,
            frozen: false
        }]
    );
    assert!(!second.foreign_segments());
    assert_eq!(
        second
            .list(None, 9)
            .iter()
            .map(|line| line.id)
            .collect::<Vec<_>>(),
        [old, new]
    );
    assert_eq!(text(second.claim(old).unwrap().unwrap()), b"of the first");
    second.settle(old, Settlement::Gone);
    drop(second);
    let (_third, recovered) = open(folder.path());
    assert_eq!(
        recovered
            .messages
            .iter()
            .map(|due| due.id)
            .collect::<Vec<_>>(),
        [new]
    );
}

#[test]
fn space_stays_within_twice_what_is_live_and_two_segments() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, _) = open(folder.path());
    let body = vec![b'x'; 3000];
    let mut kept = Vec::new();
    for round in 0..40 {
        let ids: Vec<_> = (0..60)
            .map(|_| put(&spool, "b@example.org", &body))
            .collect();
        for (at, id) in ids.into_iter().enumerate() {
            if at == 7 && round % 4 == 0 {
                kept.push(id)
            } else {
                spool.settle(id, Settlement::Gone)
            }
        }
    }
    spool.flush().unwrap();
    let live = kept.len() as u64 * 3200;
    let allowed = 2 * live + 2 * (256 << 10);
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut found = u64::MAX;
    while found > allowed {
        assert!(
            Instant::now() < deadline,
            "{found} bytes are used, {allowed} allowed"
        );
        found = std::fs::read_dir(folder.path().join("spool"))
            .unwrap()
            .filter_map(|entry| entry.ok()?.metadata().ok())
            .filter(|metadata| metadata.is_file())
            .map(|metadata| metadata.len())
            .sum();
    }
    for &id in &kept {
        assert_eq!(text(spool.claim(id).unwrap().unwrap()), body);
    }
    drop(spool);
    let (_spool, recovered) = open(folder.path());
    assert_eq!(
        recovered
            .messages
            .iter()
            .map(|due| due.id)
            .collect::<Vec<_>>(),
        kept
    );
    assert!(recovered.damaged.is_empty());
}

#[test]
fn the_reserve_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = Settings::new(folder.path().join("spool"));
    settings.reserve = Reserve {
        bytes: u64::MAX / 2,
        percent: 1,
    };
    let (spool, _) = Spool::open(Arc::new(RealDisk), settings).unwrap();
    assert!(matches!(spool.room(), Err(Error::Full)));
    let mut deposit = spool.deposit().unwrap();
    assert!(matches!(deposit.write(&vec![0; 3 << 20]), Err(Error::Full)));
}

#[test]
fn many_writers_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, _) = open(folder.path());
    std::thread::scope(|scope| {
        for writer in 0..16 {
            let spool = spool.clone();
            scope.spawn(move || {
                for at in 0..50 {
                    let body = format!("{writer} {at} ").repeat(100);
                    let id = put(&spool, "b@example.org", body.as_bytes());
                    assert_eq!(text(spool.claim(id).unwrap().unwrap()), body.as_bytes());
                    if at % 10 != 0 {
                        spool.settle(id, Settlement::Gone);
                    }
                }
            });
        }
    });
    assert_eq!(spool.count(), 16 * 5);
    drop(spool);
    assert_eq!(open(folder.path()).1.messages.len(), 16 * 5);
}

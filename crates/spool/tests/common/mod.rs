//! A scripted life of a spool on a simulated disk, and a ledger of what was promised meanwhile.
//!
//! The ledger knows what the world was told (this message was acknowledged, that one was refused, this outcome was
//! flushed); `Ledger::check` holds a spool that was opened after a crash against it.

#![allow(clippy::unwrap_used, dead_code, unreachable_pub)]

use postern_spool::*;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

pub const SEGMENT: u64 = 8192;
pub const INLINE: usize = 1500;

pub fn folder() -> PathBuf {
    PathBuf::from("/spool")
}

pub fn settings() -> Settings {
    let mut settings = Settings::new(folder());
    settings.segment_size = SEGMENT;
    settings.inline_limit = INLINE;
    settings.reserve = Reserve::NONE;
    // Outcomes reach the disk when the script says so.
    settings.outcome_window = Duration::from_secs(100_000);
    settings
}

pub fn open(disk: &SimulatedDisk) -> Result<(Spool, Recovered), Error> {
    Spool::open(Arc::new(disk.clone()), settings())
}

/// What a message was when it was accepted, and what was settled since.
#[derive(Debug, Clone)]
pub struct Promise {
    pub envelope: Envelope,
    pub body: Vec<u8>,
    /// Statuses it may show: the last flushed one, and those settled after.
    pub statuses: Vec<Status>,
    pub end: End,
}

/// Whether a message is to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It is.
    Queued,
    /// It may come back: settled as gone, and not flushed.
    Leaving,
    /// It must not come back.
    Gone,
}

/// What was promised to the world.
#[derive(Debug, Default, Clone)]
pub struct Ledger {
    pub promises: BTreeMap<QueueId, Promise>,
    /// Answered with an error, or not at all, when the process or the disk was already lost: may be there or not.
    pub unsure: BTreeMap<QueueId, Promise>,
    /// Answered with an error by a spool that went on: must never be seen.
    pub refused: BTreeSet<QueueId>,
    pub ids: BTreeSet<QueueId>,
    pub made: usize,
}

pub fn body(number: usize, size: usize) -> Vec<u8> {
    (0..size)
        .map(|at| (at * 31 + number * 7 + at / 200) as u8)
        .collect()
}

impl Ledger {
    /// Deposits a message and waits for the answer.
    pub fn put(&mut self, spool: &Spool, size: usize) -> Result<QueueId, Error> {
        let number = self.made;
        self.made += 1;
        let body = body(number, size);
        let recipients = vec![Recipient::new(format!("r{number}@example.org")); 1 + number % 3];
        let envelope = Envelope::new(format!("s{number}@example.org"), recipients, number as u64);
        let mut deposit = spool.deposit()?;
        let id = deposit.id();
        assert!(self.ids.insert(id), "{id} was given twice");
        for piece in body.chunks(700) {
            deposit.write(piece)?;
        }
        let (sender, receiver) = mpsc::channel();
        spool.commit(deposit, &envelope, move |result| {
            sender.send(result).unwrap_or_default()
        });
        let answer = receiver.recv().unwrap_or(Err(Error::Closed));
        let statuses = vec![Status::new(envelope.recipients.len())];
        let promise = Promise {
            envelope,
            body,
            statuses,
            end: End::Queued,
        };
        match answer {
            Ok(committed) => {
                assert_eq!((committed.id, committed.size), (id, size as u64));
                self.promises.insert(id, promise);
                Ok(id)
            }
            Err(error) => {
                self.unsure.insert(id, promise);
                Err(error)
            }
        }
    }

    /// The spool lives on after refusing: what it refused must stay away.
    pub fn refusals_are_final(&mut self) {
        self.refused
            .extend(std::mem::take(&mut self.unsure).into_keys());
    }

    pub fn gone(&mut self, spool: &Spool, id: QueueId) {
        spool.settle(id, Settlement::Gone);
        if let Some(promise) = self.promises.get_mut(&id)
            && promise.end == End::Queued
        {
            promise.end = End::Leaving;
        }
    }

    pub fn keep(&mut self, spool: &Spool, id: QueueId, attempts: u32) {
        let Some(promise) = self.promises.get_mut(&id).filter(|p| p.end == End::Queued) else {
            return;
        };
        let mut status = Status::new(promise.envelope.recipients.len());
        status.attempts = attempts;
        status.next_try = 1000 + u64::from(attempts);
        let reply = format!("450 try {attempts}");
        let last = LastTry {
            at: 5,
            host: "mx.example.net".into(),
            reply,
        };
        status.recipients[0] = RecipientStatus::Pending { last: Some(last) };
        promise.statuses.push(status.clone());
        spool.settle(id, Settlement::Keep(status));
    }

    pub fn flush(&mut self, spool: &Spool) -> Result<(), Error> {
        spool.flush()?;
        self.flushed();
        Ok(())
    }

    /// All that was settled so far is on disk.
    pub fn flushed(&mut self) {
        for promise in self.promises.values_mut() {
            promise.statuses.drain(..promise.statuses.len() - 1);
            if promise.end == End::Leaving {
                promise.end = End::Gone;
            }
        }
    }

    /// Holds a spool against what was promised, and takes what it shows for the truth from then on.
    pub fn check(&mut self, spool: &Spool) {
        let listed: Vec<QueueId> = spool
            .list(None, usize::MAX)
            .iter()
            .map(|line| line.id)
            .collect();
        assert!(listed.is_sorted());
        assert_eq!(spool.count(), listed.len() as u64);
        let there: BTreeSet<QueueId> = listed.into_iter().collect();
        for &id in &there {
            assert!(
                !self.refused.contains(&id),
                "{id} was refused, and is there"
            );
            if let Some(promise) = self.unsure.remove(&id) {
                self.promises.insert(id, promise);
            }
            let promise = self
                .promises
                .get_mut(&id)
                .unwrap_or_else(|| panic!("{id} is a stranger"));
            assert_ne!(promise.end, End::Gone, "{id} was gone, and rose");
            promise.end = End::Queued;
            // A fault may be due just now; it comes once.
            let (message, body) = take(spool, id).or_else(|_| take(spool, id)).unwrap();
            assert_eq!(message.envelope, promise.envelope);
            assert!(
                promise.statuses.contains(&message.status),
                "{id} shows {:?}, not one of {:?}",
                message.status,
                promise.statuses
            );
            assert_eq!(body, promise.body, "{id}");
            let line = spool.summary(id).unwrap();
            assert_eq!(line.attempts, message.status.attempts);
            assert_eq!(line.next_try, message.status.next_try);
            assert_eq!(line.size, promise.body.len() as u64);
            promise.statuses = vec![message.status];
        }
        for (id, promise) in &mut self.promises {
            match promise.end {
                End::Queued => assert!(there.contains(id), "{id} was acknowledged, and is lost"),
                End::Leaving if !there.contains(id) => promise.end = End::Gone,
                _ => {}
            }
        }
        self.refusals_are_final();
    }

    pub fn queued(&self) -> Vec<QueueId> {
        let queued = self
            .promises
            .iter()
            .filter(|(_, promise)| promise.end == End::Queued);
        queued.map(|(&id, _)| id).collect()
    }
}

/// A message and its whole text.
fn take(spool: &Spool, id: QueueId) -> Result<(Message, Vec<u8>), String> {
    let claimed = spool.claim(id).map_err(|error| error.to_string())?;
    let mut message = claimed.ok_or(format!("{id} is listed only"))?;
    let body = std::mem::replace(&mut message.body, Body::Inline(Vec::new()));
    match body {
        Body::Inline(bytes) => Ok((message, bytes)),
        Body::File(mut file) => {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)
                .map_err(|error| error.to_string())?;
            Ok((message, bytes))
        }
    }
}

pub fn read(body: Body) -> Vec<u8> {
    match body {
        Body::Inline(bytes) => bytes,
        Body::File(mut file) => {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).unwrap();
            bytes
        }
    }
}

/// A life with everything in it: small and large bodies, outcomes, segments rolled, recycled, copied forward.
pub fn live(spool: &Spool, ledger: &mut Ledger) -> Result<(), Error> {
    live_with(spool, ledger, Err)
}

/// A quiet server's life: mail comes and goes, and two segments are used in turn.
pub fn churn(spool: &Spool, ledger: &mut Ledger) -> Result<(), Error> {
    for round in 0..14 {
        let stays = ledger.put(spool, 400)?;
        ledger.keep(spool, stays, round + 1);
        for size in [1200, 1400] {
            let id = ledger.put(spool, size)?;
            ledger.gone(spool, id);
        }
        ledger.gone(spool, stays);
        if round % 3 == 0 {
            ledger.flush(spool)?;
        }
    }
    ledger.flush(spool)
}

/// The same life, by somebody who goes on whatever fails; each answer that was an error is shown to `failed`.
pub fn live_on(spool: &Spool, ledger: &mut Ledger, failed: impl Fn(&Spool, &mut Ledger)) {
    let failed = &failed;
    for round in 0..4 {
        let _ = one_round(spool, ledger, round, &mut |ledger, error| {
            let _ = error;
            failed(spool, ledger);
            Ok(())
        });
    }
}

fn live_with(
    spool: &Spool,
    ledger: &mut Ledger,
    on_error: fn(Error) -> Result<(), Error>,
) -> Result<(), Error> {
    for round in 0..4 {
        one_round(spool, ledger, round, &mut |_, error| on_error(error))?;
    }
    ledger.flush(spool)
}

type OnError<'a> = &'a mut dyn FnMut(&mut Ledger, Error) -> Result<(), Error>;

fn one_round(
    spool: &Spool,
    ledger: &mut Ledger,
    round: u32,
    on_error: OnError<'_>,
) -> Result<(), Error> {
    let mut put = |ledger: &mut Ledger, size| match ledger.put(spool, size) {
        Ok(id) => Ok(Some(id)),
        Err(error) => on_error(ledger, error).map(|()| None),
    };
    let first = put(ledger, 300)?;
    let second = put(ledger, 1400)?;
    let large = put(ledger, 5000)?;
    if let Some(id) = first {
        ledger.keep(spool, id, round + 1);
    }
    if ledger.flush(spool).is_err() {
        put(ledger, 10)?;
    }
    let mut short = Vec::new();
    for size in [900, 1100, 1300, 700] {
        short.extend(put(ledger, size)?);
    }
    for id in short {
        ledger.gone(spool, id);
    }
    if let Some(id) = second {
        ledger.keep(spool, id, round + 2);
    }
    if round.is_multiple_of(2) && ledger.flush(spool).is_err() {
        put(ledger, 10)?;
    }
    if let Some(id) = large.filter(|_| round > 0) {
        ledger.gone(spool, id);
    }
    if round == 2 {
        // The oldest that still stay, and this round's second.
        for id in ledger.queued().into_iter().take(1).chain(second) {
            ledger.gone(spool, id);
        }
    }
    Ok(())
}

/// After a crash the spool must not only be right but also work: it takes mail, lets it go, and stays right.
pub fn go_on(spool: &Spool, ledger: &mut Ledger) {
    let new = ledger.put(spool, 1000).unwrap();
    let large = ledger.put(spool, 4000).unwrap();
    ledger.keep(spool, new, 9);
    for id in ledger.queued() {
        if id != new {
            ledger.gone(spool, id);
        }
    }
    for _ in 0..12 {
        let id = ledger.put(spool, 1200).unwrap();
        ledger.gone(spool, id);
    }
    let _ = large;
    ledger.flush(spool).unwrap();
    ledger.check(spool);
}

/// The bytes of all segment files.
pub fn space(disk: &SimulatedDisk) -> u64 {
    // A file may go between its being listed and its being looked at.
    let names = disk.names(&folder());
    let segments = names.iter().filter(|name| name.ends_with(".seg"));
    let sizes = segments.filter_map(|name| disk.contents(&folder().join(name)));
    sizes.map(|bytes| bytes.len() as u64).sum()
}

pub fn damaged(disk: &SimulatedDisk) -> usize {
    disk.names(Path::new("/spool/damaged")).len()
}

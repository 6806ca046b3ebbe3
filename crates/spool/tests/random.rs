//! Lives nobody would write down: random messages, outcomes and restarts, seen after random crashes.
//!
//! Growth and decline take turns, so that segments are made, copied forward, used anew and unlinked in every order; and
//! a message may go in the middle of any write. A failure names its seed.

#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use postern_spool::*;
use std::sync::{Arc, Mutex};
use std::time::Duration;

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

struct Life {
    random: Random,
    disk: SimulatedDisk,
    ledger: Ledger,
    spool: Spool,
    window: Duration,
    /// Messages that went in the middle of a write.
    left: Arc<Mutex<Vec<QueueId>>>,
}

impl Life {
    fn begin(seed: u64) -> Life {
        let random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let disk = SimulatedDisk::new();
        let window = if seed.is_multiple_of(2) {
            100_000_000
        } else {
            500
        };
        let window = Duration::from_micros(window);
        let spool = start(&disk, window);
        Life {
            random,
            disk,
            ledger: Ledger::default(),
            spool,
            window,
            left: Arc::default(),
        }
    }

    fn step(&mut self, growing: bool) {
        let Life {
            random,
            ledger,
            spool,
            ..
        } = self;
        let queued = ledger.queued();
        let one = |random: &mut Random| {
            let most = queued.len().max(1) as u64;
            queued.get(random.below(most) as usize).copied()
        };
        match random.below(20) {
            0..8 if growing => {
                ledger
                    .put(spool, [100, 700, 1400][random.below(3) as usize])
                    .unwrap();
            }
            0..8 => one(random)
                .into_iter()
                .for_each(|id| ledger.gone(spool, id)),
            8..11 => {
                let id = ledger.put(spool, 1300).unwrap();
                ledger.gone(spool, id);
            }
            11..14 => {
                let attempts = random.below(1000) as u32 + 1;
                one(random)
                    .into_iter()
                    .for_each(|id| ledger.keep(spool, id, attempts));
            }
            14..16 => one(random)
                .into_iter()
                .for_each(|id| ledger.gone(spool, id)),
            16 => {
                ledger.put(spool, 2500).unwrap();
            }
            17 => self.interrupt(),
            18 => self.settle_down(),
            _ => self.look(),
        }
    }

    /// At one of the next writes, a message goes.
    fn interrupt(&mut self) {
        self.settle_down();
        let which = self.random.below(4) as usize;
        let (left, door) = (self.left.clone(), self.spool.clone());
        let at = self.disk.operations() + self.random.below(12);
        self.disk.interrupt_at(at, move || {
            for line in door.list(None, which + 1).into_iter().skip(which) {
                left.lock().unwrap().push(line.id);
                door.settle(line.id, Settlement::Gone);
            }
        });
    }

    /// All that was settled, by whomever, is on disk.
    fn settle_down(&mut self) {
        self.disk.interrupt_at(u64::MAX, || {});
        self.spool.flush().unwrap();
        for id in self.left.lock().unwrap().drain(..) {
            if let Some(promise) = self.ledger.promises.get_mut(&id) {
                promise.end = End::Leaving;
            }
        }
        self.ledger.flush(&self.spool).unwrap();
    }

    /// What a crash would leave just now.
    fn look(&mut self) {
        self.settle_down();
        let seed = self.random.below(1 << 40) + 1;
        for loss in [Loss::Everything, Loss::Nothing, Loss::Some(seed)] {
            let after = self.disk.crash(loss);
            let (again, recovered) = open(&after).unwrap();
            assert!(
                recovered.damaged.iter().all(|damage| damage.unfinished),
                "{loss:?}"
            );
            self.ledger.clone().check(&again);
        }
    }

    /// The machine fails, or a successor takes over.
    fn restart(&mut self) {
        self.settle_down();
        if self.random.below(3) == 0 {
            let successor = self.disk.another_process();
            let next = start(&successor, self.window);
            self.spool.close();
            next.adopt().unwrap();
            (self.disk, self.spool) = (successor, next);
        } else {
            let seed = self.random.below(1 << 40) + 1;
            self.disk = self
                .disk
                .crash([Loss::Everything, Loss::Some(seed)][seed as usize & 1]);
            self.spool = start(&self.disk, self.window);
        }
        self.ledger.check(&self.spool);
    }
}

fn start(disk: &SimulatedDisk, window: Duration) -> Spool {
    let mut settings = settings();
    settings.outcome_window = window;
    Spool::open(Arc::new(disk.clone()), settings).unwrap().0
}

fn lives(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| {
            let mut life = Life::begin(seed);
            for phase in 0..6 {
                for _ in 0..40 {
                    life.step(phase % 2 == 0);
                }
                life.look();
                if phase % 2 == 1 {
                    life.restart();
                }
            }
        });
        assert!(outcome.is_ok(), "seed {seed}");
    }
}

#[test]
fn random_lives_keep_their_promises() {
    let most = std::env::var("POSTERN_SPOOL_LIVES")
        .ok()
        .and_then(|text| text.parse().ok());
    lives(0..most.unwrap_or(150));
}

/// Damage of any kind, not only one byte: the spool opens, and works.
#[test]
fn any_damage_is_survived() {
    let disk = SimulatedDisk::new();
    let mut ledger = Ledger::default();
    let (spool, _) = open(&disk).unwrap();
    live(&spool, &mut ledger).unwrap();
    spool.close();
    let names: Vec<String> = disk.names(&folder());
    for seed in 1..400u64 {
        let mut random = Random(seed);
        let after = disk.crash(Loss::Nothing);
        for _ in 0..random.below(60) + 1 {
            let name = &names[random.below(names.len() as u64) as usize];
            let (offset, bits) = (random.below(SEGMENT), random.below(255) + 1);
            after.flip(&folder().join(name), offset as usize, bits as u8);
        }
        let (spool, _) = open(&after).unwrap();
        for line in spool.list(None, usize::MAX) {
            let _ = spool.claim(line.id);
        }
        let mut fresh = Ledger {
            made: 5000,
            ..Ledger::default()
        };
        let id = fresh.put(&spool, 900).unwrap();
        assert!(spool.claim(id).unwrap().is_some());
        spool.flush().unwrap();
    }
}

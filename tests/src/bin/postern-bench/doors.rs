//! What rules cost at the door: connections greeted a second by a server without a list, with a list of 100,000 networks,
//! and with a rule that speaks of a domain and knows its client's name already.
//!
//! The three are workers of one supervisor, loaded in turn, several rounds; a connection is 220, QUIT, 221. Also: how long a
//! reload with such a list takes.

use crate::measure::cpu;
use crate::postern;
use crate::rounds::load;
use postern_control::client::Request;
use postern_tests::definition::Definition;
use postern_tests::stage::{self, Stage};
use postern_tests::{Failure, wait};
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Instant;

const NETWORKS: u32 = 100_000;
const CONNECTIONS: usize = 50;

/// One kind of door.
#[derive(serde::Serialize)]
pub(crate) struct Door {
    pub(crate) title: &'static str,
    /// Connections a second, the median of the rounds.
    pub(crate) rate: f64,
    /// Processor time of the worker a connection, in microseconds.
    pub(crate) micros: f64,
    /// Over the first door's, at least.
    pub(crate) target: Option<f64>,
}

/// All kinds, and the seconds a reload took.
#[derive(serde::Serialize)]
pub(crate) struct Doors {
    pub(crate) doors: Vec<Door>,
    pub(crate) reload: f64,
}

struct Tried {
    title: &'static str,
    target: Option<f64>,
    worker: i32,
    address: SocketAddr,
    rates: Vec<f64>,
    micros: Vec<f64>,
}

pub(crate) fn measure(folder: &Path, rounds: usize, quick: bool) -> Result<Doors, Failure> {
    let mut stage = postern::empty(folder)?;
    let kinds = kinds(&stage)?;
    let names: Vec<&str> = kinds.iter().map(|(name, ..)| *name).collect();
    for (name, _, _, _, definition) in &kinds {
        stage.define(name, definition)?;
    }
    stage.start_with(&names)?;
    let mut all = Vec::new();
    for (name, title, target, address, _) in kinds {
        let worker = stage.worker(name)?;
        let (rates, micros) = (Vec::new(), Vec::new());
        all.push(Tried {
            title,
            target,
            worker,
            address,
            rates,
            micros,
        });
    }
    let begun = Instant::now();
    stage.obey(&Request::Reload {
        server: stage::server("listed")?,
    })?;
    let reload = begun.elapsed().as_secs_f64();
    let count = if quick { 10_000 } else { 40_000 };
    // One round more than is counted: the first warms up.
    for round in 0..=rounds {
        for door in &mut all {
            let before = cpu(door.worker)?;
            let outcome = load(door.address, CONNECTIONS, count, 0, 0)?.finish()?;
            if outcome.refused > 0 {
                return Err(outcome.first_refusal.unwrap_or_default().into());
            }
            if round > 0 {
                let used = cpu(door.worker)? - before;
                door.rates.push(outcome.messages as f64 / outcome.seconds);
                door.micros.push(used.as_secs_f64() * 1e6 / count as f64);
            }
        }
    }
    let doors = all.into_iter().map(|door| Door {
        title: door.title,
        rate: median(door.rates),
        micros: median(door.micros),
        target: door.target,
    });
    Ok(Doors {
        doors: doors.collect(),
        reload,
    })
}

type Kind = (
    &'static str,
    &'static str,
    Option<f64>,
    SocketAddr,
    Definition,
);

fn kinds(stage: &Stage) -> Result<Vec<Kind>, Failure> {
    let list = stage.path("etc/blocked.txt");
    std::fs::write(&list, networks())?;
    let file = postern_tests::definition::text(&format!("file {}", list.display()));
    let kinds = [
        ("open", "no list", None, "[]".to_owned()),
        (
            "listed",
            "100,000 networks in a list",
            Some(0.95),
            format!("[{file}]"),
        ),
        (
            "named",
            "a domain entry, the name at hand",
            Some(0.9),
            "[\"domain spam.example\"]".to_owned(),
        ),
    ];
    kinds
        .into_iter()
        .map(|(name, title, target, list)| {
            let address = wait::free_address()?;
            let definition = Definition::open_relay("postern.example.test", address)
                .general("max_connections", 20_000)
                .general("max_connections_per_ip", 20_000)
                .connection("list", list);
            Ok((name, title, target, address, definition))
        })
        .collect()
}

/// Networks of /24 all over the Internet, none of them loopback's.
fn networks() -> String {
    let mut text = String::new();
    let mut number: u32 = 1;
    for _ in 0..NETWORKS {
        // A full-period step through all /24, so that none comes twice.
        number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let network = number & 0xffff_ff00;
        if network >> 24 != 127 {
            let _ = writeln!(text, "{}/24", Ipv4Addr::from(network));
        }
    }
    text
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

//! kill -9 in the middle of a load: of a worker, of posternd, of all. What was answered 250 arrives.
//!
//! A message may arrive twice: its outcome is synced within a second, not before the next message is tried. So each copy
//! but the last must have come shortly before a kill.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use postern_hosting::ServerState;
use postern_tests::definition::Definition;
use postern_tests::load::{Failing, Load, name_of};
use postern_tests::sink::{At, Sink};
use postern_tests::stage::{PATIENCE, Stage};
use postern_tests::{Outcome, wait};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// In all; every third one is of a worker, of posternd, of everything.
const KILLS: usize = 100;
/// Messages acknowledged between one kill and the next.
const BETWEEN: u64 = 40;
/// The bounded second, and as much again for a machine that is busy.
const WINDOW: Duration = Duration::from_secs(2);

#[test]
fn what_was_acknowledged_arrives_whoever_is_killed() -> Outcome {
    let arrivals: Arc<Mutex<HashMap<String, Vec<Instant>>>> = Arc::default();
    let seen = Arc::clone(&arrivals);
    let sink = Sink::scripted(Box::new(move |at| {
        if let (At::Body(taken), Ok(mut seen)) = (at, seen.lock()) {
            seen.entry(name_of(&taken.content).unwrap_or_default())
                .or_default()
                .push(Instant::now());
        }
        None
    }))?;
    let mut stage = Stage::new()?;
    std::fs::write(stage.path("etc/postern.toml"), "log = \"info\"\n")?;
    let address = wait::free_address()?;
    let definition = Definition::open_relay("crash.example.test", address)
        .delivery("retry", "[\"1s\"]")
        .smart_host(sink.address);
    stage.define("crash", &definition)?;
    stage.start_with(&["crash"])?;

    let load = Load::start(address, "crash", 6, 20, Failing::Expected);
    let mut kills = Vec::new();
    for number in 0..KILLS {
        let target = load.acknowledged() + BETWEEN;
        wait::until_true("the load to get through", PATIENCE, || {
            load.acknowledged() >= target
        })
        .map_err(|e| format!("before kill {number}: {e}"))?;
        match number % 3 {
            0 => {
                let pid = stage.worker("crash")?;
                kills.push(Instant::now());
                kill(Pid::from_raw(pid), Signal::SIGKILL)?;
            }
            1 => {
                stage.children()?;
                kills.push(Instant::now());
                stage.kill_posternd()?;
                stage.start()?;
            }
            _ => {
                let workers = stage.living_workers();
                kills.push(Instant::now());
                stage.kill_posternd()?;
                for pid in workers {
                    // One that drained may have ended by itself meanwhile.
                    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
                }
                stage.start()?;
            }
        }
        stage
            .wait_state("crash", ServerState::Running)
            .map_err(|e| format!("after kill {number}: {e}"))?;
    }
    let remembered = load.finish()?;
    stage.wait_empty("crash")?;
    wait::until_true("workers of old to end", PATIENCE, || {
        stage.living_workers().len() == 1
    })?;
    stage.wait_empty("crash")?;

    let arrivals = arrivals.lock().map_err(|_| "the sink panicked")?;
    let lost: Vec<&String> = remembered
        .acknowledged
        .iter()
        .filter(|name| !arrivals.contains_key(*name))
        .collect();
    let copies: usize = arrivals.values().map(|times| times.len() - 1).sum();
    let twice = arrivals.values().filter(|times| times.len() > 1).count();
    println!(
        "{KILLS} kills: {} messages acknowledged, {} arrived, {} lost, {copies} copies too many of {twice} messages ({:.2} a kill)",
        remembered.acknowledged.len(),
        arrivals.len(),
        lost.len(),
        copies as f64 / KILLS as f64
    );
    assert!(
        lost.is_empty(),
        "{} of {} acknowledged messages are lost: {:?}",
        lost.len(),
        remembered.acknowledged.len(),
        &lost[..lost.len().min(10)]
    );
    let unexplained: Vec<_> = arrivals
        .iter()
        .filter(|(_, times)| {
            let early = &times[..times.len() - 1];
            early.iter().any(|&time| {
                !kills
                    .iter()
                    .any(|&kill| time <= kill + Duration::from_millis(200) && kill <= time + WINDOW)
            })
        })
        .map(|(name, _)| name)
        .collect();
    assert!(
        unexplained.is_empty(),
        "{} messages came twice though nobody was killed: {:?}",
        unexplained.len(),
        &unexplained[..unexplained.len().min(10)]
    );
    Ok(())
}

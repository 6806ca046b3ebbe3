//! What guessers cost those who are in: messages of established sessions, without and with 200 connections that try wrong
//! passwords of an account, and accounts that are not there.
//!
//! The guessers are a process of their own on the same processors; each makes two guesses a connection, and is answered when
//! the server likes. Nobody is locked out, or the flood would soon be over.

use crate::arguments::value;
use crate::doors::median;
use crate::rounds::{Sink, load};
use crate::{Failure, accounts, postern};
use postern_tests::stage::Stage;
use postern_tests::wait;
use postern_tests::wire::Wire;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// So many guess.
pub(crate) const CONNECTIONS: u64 = 200;
/// So many are in, and send.
const SESSIONS: usize = 20;
/// Right passwords meanwhile, each of another account.
const HONEST: u64 = 5;

/// What was found, medians of the rounds.
#[derive(serde::Serialize)]
pub(crate) struct Flooded {
    pub(crate) quiet: Pace,
    pub(crate) loud: Pace,
    /// What is to be kept of the rate, at least.
    pub(crate) target: f64,
    /// Answers that the guessers got a second, and how many of them were "come back later".
    pub(crate) answers: f64,
    pub(crate) later: f64,
    /// A right password from another address, in ms: with the flood, and alone.
    pub(crate) honest: f64,
    pub(crate) honest_alone: f64,
}

/// How established sessions fare.
#[derive(serde::Serialize)]
pub(crate) struct Pace {
    /// Messages a second.
    pub(crate) rate: f64,
    /// 99 of 100 took no longer from MAIL to 250, in ms.
    pub(crate) p99: f64,
}

/// What the guessers were told.
#[derive(serde::Serialize, serde::Deserialize)]
struct Told {
    refused: u64,
    later: u64,
    seconds: f64,
}

pub(crate) fn measure(folder: &Path, rounds: usize, quick: bool) -> Result<Flooded, Failure> {
    let mut sink = Sink::start()?;
    let (stage, address) = open(folder, &sink, 2 * HONEST * (rounds as u64 + 1))?;
    let messages = if quick { 20_000 } else { 60_000 };
    let mut next_account = 0;
    let mut honest = || -> Result<f64, Failure> {
        next_account += HONEST;
        login(address, next_account - HONEST)
    };
    let (mut quiet, mut loud) = (Column::default(), Column::default());
    let (mut answers, mut later) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let calm = pace(address, messages, &mut sink)?;
        let calm_login = honest()?;
        let flood = Flood::start(address)?;
        let stormy = pace(address, messages, &mut sink)?;
        let stormy_login = honest()?;
        let told = flood.end()?;
        // The first warms up.
        if round > 0 {
            quiet.note(&calm, calm_login);
            loud.note(&stormy, stormy_login);
            let sum = (told.refused + told.later) as f64;
            answers.push(sum / told.seconds);
            later.push(told.later as f64 / sum);
        }
    }
    postern::hush(&stage)?;
    Ok(Flooded {
        honest: median(loud.honest.clone()),
        honest_alone: median(quiet.honest.clone()),
        quiet: quiet.median(),
        loud: loud.median(),
        target: 0.8,
        answers: median(answers),
        later: median(later),
    })
}

#[derive(Default)]
struct Column {
    rates: Vec<f64>,
    p99s: Vec<f64>,
    honest: Vec<f64>,
}

impl Column {
    fn note(&mut self, pace: &Pace, honest: f64) {
        self.rates.push(pace.rate);
        self.p99s.push(pace.p99);
        self.honest.push(honest);
    }

    fn median(self) -> Pace {
        Pace {
            rate: median(self.rates),
            p99: median(self.p99s),
        }
    }
}

fn open(folder: &Path, sink: &Sink, accounts: u64) -> Result<(Stage, SocketAddr), Failure> {
    let mut stage = postern::empty(folder)?;
    let file = stage.path("etc/many.toml");
    accounts::write_ours(&file, accounts)?;
    let address = wait::free_address()?;
    let definition = postern::definition(&stage, address, sink.address)
        .authentication("basic_requires_tls", "false")
        .authentication("lockout", "false")
        .accounts(&file);
    stage.define("flood", &definition)?;
    stage.start_with(&["flood"])?;
    Ok((stage, address))
}

/// Messages of sessions that stay.
fn pace(address: SocketAddr, messages: u64, sink: &mut Sink) -> Result<Pace, Failure> {
    sink.expect(messages);
    let each = messages / SESSIONS as u64;
    let outcome = load(address, SESSIONS, messages, each, 4096)?.finish()?;
    if let Some(refusal) = outcome.first_refusal {
        return Err(refusal.into());
    }
    sink.reached(Duration::from_secs(120))?;
    Ok(Pace {
        rate: outcome.messages as f64 / outcome.seconds,
        p99: outcome.p99,
    })
}

/// How long a right password takes that is not known yet, in ms: the median of some, one after the other.
fn login(address: SocketAddr, first: u64) -> Result<f64, Failure> {
    let mut took = Vec::new();
    for number in first..first + HONEST {
        let mut wire = Wire::from(SocketAddr::from(([127, 0, 0, 2], 0)), address)?;
        wire.expect("250", "EHLO client.example")?;
        let blob = accounts::blob(&accounts::name(number), accounts::PASSWORD);
        let begun = Instant::now();
        wire.expect("235", &format!("AUTH PLAIN {blob}"))?;
        took.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(median(took))
}

/// The guessers' process.
struct Flood {
    child: Child,
    words: BufReader<ChildStdout>,
}

impl Flood {
    /// Starts them, and waits until they are at it.
    fn start(to: SocketAddr) -> Result<Flood, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["flood", "--to", &to.to_string()]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let words = child.stdout.take().ok_or("no standard output")?;
        let mut words = BufReader::new(words);
        words.read_line(&mut String::new())?;
        Ok(Flood { child, words })
    }

    fn end(mut self) -> Result<Told, Failure> {
        drop(self.child.stdin.take());
        let mut line = String::new();
        self.words.read_line(&mut line)?;
        self.child.wait()?;
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Default)]
struct Shared {
    ended: AtomicBool,
    refused: AtomicU64,
    later: AtomicU64,
}

pub(crate) fn main(words: &[String]) -> Result<(), Failure> {
    let to: SocketAddr = value(words, "to", "127.0.0.1:25".parse()?)?;
    let connections: u64 = value(words, "connections", CONNECTIONS)?;
    let shared = Arc::new(Shared::default());
    for number in 0..connections {
        let shared = shared.clone();
        let thread = std::thread::Builder::new().stack_size(128 * 1024);
        // Cut off when this process ends.
        thread.spawn(move || {
            while !shared.ended.load(Ordering::Relaxed) {
                let _ = guess(to, number, &shared);
            }
        })?;
    }
    let told = || shared.refused.load(Ordering::Relaxed) + shared.later.load(Ordering::Relaxed);
    wait::until_true("the first answers", Duration::from_secs(60), || {
        told() >= connections / 2
    })?;
    println!("up");
    std::io::stdout().flush()?;
    let (begun, before) = (
        Instant::now(),
        (
            shared.refused.load(Ordering::Relaxed),
            shared.later.load(Ordering::Relaxed),
        ),
    );
    std::io::stdin().read_to_end(&mut Vec::new())?;
    shared.ended.store(true, Ordering::Relaxed);
    let told = Told {
        refused: shared.refused.load(Ordering::Relaxed) - before.0,
        later: shared.later.load(Ordering::Relaxed) - before.1,
        seconds: begun.elapsed().as_secs_f64(),
    };
    println!("{}", serde_json::to_string(&told)?);
    Ok(())
}

/// One connection.
fn guess(to: SocketAddr, number: u64, shared: &Shared) -> Result<(), Failure> {
    let mut wire = Wire::open(to)?;
    let name = match number % 2 {
        0 => accounts::name(0),
        _ => format!("nobody{number}"),
    };
    for _ in 0..2 {
        let blob = accounts::blob(&name, &format!("guess {number}"));
        let reply = wire.say(&format!("AUTH PLAIN {blob}"))?;
        match reply.get(..3) {
            Some("535") => shared.refused.fetch_add(1, Ordering::Relaxed),
            Some("454") => shared.later.fetch_add(1, Ordering::Relaxed),
            _ => return Err(format!("a wrong password was answered {reply}").into()),
        };
    }
    Ok(())
}

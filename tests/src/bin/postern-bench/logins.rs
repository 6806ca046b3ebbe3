//! How many log in: with the account file, and with Dovecot's passwords, hashed alike.
//!
//! | Way | A login is | The same account again |
//! |---|---|---|
//! | Postern, account file | 220, EHLO, AUTH PLAIN, QUIT | known for ten minutes |
//! | Postern, Dovecot's socket | the same, the password asked of Dovecot | Dovecot's cache, which holds the hash |
//! | Dovecot's socket, asked directly | one question on an open connection | the same |
//!
//! So the second has the same session in front of it, and the third none at all. Twenty at once. Each account logs in once
//! but for the one that logs in again and again.

use crate::doors::median;
use crate::measure::{Memory, cpu};
use crate::rounds::{GrowthWatch, load_with};
use crate::{Failure, accounts, ask, postern};
use postern_tests::definition::{Definition, text};
use postern_tests::peers::Dovecot;
use postern_tests::stage::Stage;
use postern_tests::wait;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

const AT_ONCE: u64 = 20;

/// What was found.
#[derive(serde::Serialize)]
pub(crate) struct Logins {
    pub(crate) ways: Vec<Way>,
    pub(crate) shares: Vec<Share>,
    /// The worker's memory around checks, in KiB: before, at most during (what it had before and what was added), after.
    pub(crate) before: f64,
    pub(crate) during: f64,
    pub(crate) after: f64,
    pub(crate) during_target: f64,
}

/// One way to log in, medians of the rounds.
#[derive(serde::Serialize)]
pub(crate) struct Way {
    pub(crate) title: &'static str,
    /// Each login another account.
    pub(crate) cold: Speed,
    /// One account again and again.
    pub(crate) warm: Speed,
}

#[derive(serde::Serialize)]
pub(crate) struct Speed {
    /// Logins a second.
    pub(crate) rate: f64,
    /// The server's processor time for one, in milliseconds.
    pub(crate) cpu: f64,
}

/// One way over another.
#[derive(serde::Serialize)]
pub(crate) struct Share {
    pub(crate) title: &'static str,
    pub(crate) value: f64,
    pub(crate) target: f64,
}

/// How a way is tried.
enum Door {
    Smtp(SocketAddr),
    Socket(PathBuf),
}

struct Tried {
    title: &'static str,
    door: Door,
    /// Whose processor time it takes.
    roots: Vec<i32>,
    /// How often the one account logs in.
    again: u64,
    cold: Vec<Speed>,
    warm: Vec<Speed>,
}

pub(crate) fn measure(folder: &Path, rounds: usize, quick: bool) -> Result<Logins, Failure> {
    let count: u64 = if quick { 60 } else { 400 };
    let (mut stage, dovecot, addresses) = open(folder, 1 + 2 * count * (rounds as u64 + 1))?;
    let worker = stage.worker("file")?;
    let mut ways = ways(&mut stage, &dovecot, addresses, count)?;
    let before = Memory::of(worker)?.pss as f64;
    let mut growth = 0;
    // One round more than is counted: the first warms up.
    for round in 0..=rounds as u64 {
        for way in &mut ways {
            let socket = matches!(way.door, Door::Socket(_));
            // Whom Dovecot has not been asked about yet.
            let first = 1 + count * (2 * round + u64::from(socket));
            let watch = GrowthWatch::start(worker);
            let cold = way.run(count, first, count)?;
            growth = growth.max(watch.finish());
            let warm = way.run(way.again, 0, 1)?;
            if round > 0 {
                way.cold.push(cold);
                way.warm.push(warm);
            }
        }
    }
    postern::quiet(worker)?;
    postern::hush(&stage)?;
    let ways: Vec<Way> = ways.into_iter().map(Tried::median).collect();
    Ok(Logins {
        shares: shares(&ways),
        ways,
        before,
        during: before + growth as f64,
        after: Memory::of(worker)?.pss as f64,
        // At most four checks at once, and what twenty sessions take.
        during_target: before + 4.0 * 19.0 * 1024.0 + 2048.0,
    })
}

/// A server with the file, one with Dovecot, and Dovecot; each knows `count` accounts.
fn open(folder: &Path, count: u64) -> Result<(Stage, Dovecot, [SocketAddr; 2]), Failure> {
    let mut stage = postern::empty(folder)?;
    let (ours, theirs) = (stage.path("etc/many.toml"), stage.path("many.users"));
    accounts::write_ours(&ours, count)?;
    accounts::write_theirs(&theirs, count)?;
    let settings = format!(
        "auth_cache_size = 64M
passdb {{
  driver = passwd-file
  args = username_format=%u {}
}}
",
        theirs.display()
    );
    let dovecot = Dovecot::start_with(&stage.path("dovecot"), &settings)?;
    let socket = text(&dovecot.auth_socket.to_string_lossy());
    let addresses = [wait::free_address()?, wait::free_address()?];
    let definition = |address| {
        Definition::open_relay("logins.example.test", address)
            .general("max_connections_per_ip", 1000)
            .authentication("basic_requires_tls", "false")
            .authentication("lockout", "false")
    };
    stage.define("file", &definition(addresses[0]).accounts(&ours))?;
    let source = format!("[{{ dovecot = {socket} }}]");
    let asking = definition(addresses[1]).authentication("accounts", source);
    stage.define("asking", &asking)?;
    stage.start_with(&["file", "asking"])?;
    Ok((stage, dovecot, addresses))
}

fn ways(
    stage: &mut Stage,
    dovecot: &Dovecot,
    [file, asking]: [SocketAddr; 2],
    count: u64,
) -> Result<Vec<Tried>, Failure> {
    let theirs = dovecot.master()?;
    let way = |title, door, roots, again| Tried {
        title,
        door,
        roots,
        again,
        cold: Vec::new(),
        warm: Vec::new(),
    };
    Ok(vec![
        way(
            "Postern, account file",
            Door::Smtp(file),
            vec![stage.worker("file")?],
            50 * count,
        ),
        way(
            "Postern, Dovecot's socket",
            Door::Smtp(asking),
            vec![stage.worker("asking")?, theirs],
            count,
        ),
        way(
            "Dovecot's socket, asked directly",
            Door::Socket(dovecot.auth_socket.clone()),
            vec![theirs],
            count,
        ),
    ])
}

impl Tried {
    fn run(&self, logins: u64, first: u64, among: u64) -> Result<Speed, Failure> {
        let before = self.cpu()?;
        let (right, seconds) = match &self.door {
            Door::Smtp(address) => {
                let more = [("--first-account", first), ("--accounts", among)];
                let load = load_with(*address, AT_ONCE as usize, logins, 0, 0, &more)?;
                let outcome = load.finish()?;
                if let Some(refusal) = outcome.first_refusal {
                    return Err(format!("{}: {refusal}", self.title).into());
                }
                (outcome.messages, outcome.seconds)
            }
            Door::Socket(socket) => {
                let asked = ask::ask(socket, AT_ONCE, logins, first, among)?;
                (asked.right, asked.seconds)
            }
        };
        if right != logins {
            return Err(format!("{}: {right} of {logins} logged in", self.title).into());
        }
        Ok(Speed {
            rate: logins as f64 / seconds,
            cpu: (self.cpu()? - before) * 1e3 / logins as f64,
        })
    }

    fn cpu(&self) -> Result<f64, Failure> {
        let mut sum = 0.0;
        for root in &self.roots {
            sum += cpu(*root)?.as_secs_f64();
        }
        Ok(sum)
    }

    fn median(self) -> Way {
        let of = |speeds: Vec<Speed>| Speed {
            rate: median(speeds.iter().map(|speed| speed.rate).collect()),
            cpu: median(speeds.iter().map(|speed| speed.cpu).collect()),
        };
        Way {
            title: self.title,
            cold: of(self.cold),
            warm: of(self.warm),
        }
    }
}

fn shares(ways: &[Way]) -> Vec<Share> {
    let [file, asking, direct] = ways else {
        return Vec::new();
    };
    vec![
        Share {
            title: "others each: account file over Dovecot directly",
            value: file.cold.rate / direct.cold.rate,
            target: 0.8,
        },
        Share {
            title: "the same: processor time, Dovecot's over ours",
            value: direct.cold.cpu / file.cold.cpu,
            target: 0.8,
        },
        Share {
            title: "same again: account file over Dovecot's passwords",
            value: file.warm.rate / asking.warm.rate,
            target: 10.0,
        },
    ]
}

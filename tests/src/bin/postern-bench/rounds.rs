//! The order of a comparison: both servers started once, then every scenario for each in turn, several rounds.

use crate::idle::{self, Idle};
use crate::load::Outcome;
use crate::measure::{self, cpu};
use crate::report::Found;
use crate::{Failure, doors, flood, logins, postern, postfix, report};
use std::any::Any;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Both,
    Postfix,
    Postern,
}

/// A running server under test.
pub(crate) struct Server {
    pub(crate) name: &'static str,
    /// Under this process are all of the server's.
    pub(crate) root: i32,
    pub(crate) address: SocketAddr,
    /// The process whose memory is watched while large messages pass.
    pub(crate) worker: Option<i32>,
    /// Ends the server when dropped.
    #[expect(dead_code, reason = "held for its Drop")]
    pub(crate) keep: Box<dyn Any>,
}

/// One way of loading a server, and what is asked of Postern there.
pub(crate) struct Scenario {
    pub(crate) key: &'static str,
    pub(crate) title: &'static str,
    connections: usize,
    /// Messages a connection.
    each: u64,
    size: usize,
    /// How many messages: enough for several seconds of each server.
    postfix_messages: u64,
    postern_messages: u64,
    /// Judged by the time until the sink has all, not until the last 250.
    pub(crate) end_to_end: bool,
    /// Postern's rate over Postfix's, at least.
    pub(crate) rate_target: f64,
    /// Postern's processor time a message over Postfix's, at most.
    pub(crate) cpu_target: Option<f64>,
}

pub(crate) const SCENARIOS: [Scenario; 5] = [
    Scenario {
        key: "a",
        title: "4 KiB, 1 message a connection, 100 connections",
        connections: 100,
        each: 1,
        size: 4096,
        postfix_messages: 4_000,
        postern_messages: 20_000,
        end_to_end: false,
        rate_target: 6.0,
        cpu_target: Some(1.0 / 10.0),
    },
    Scenario {
        key: "b",
        title: "4 KiB, 100 messages a connection, 100 connections",
        connections: 100,
        each: 100,
        size: 4096,
        postfix_messages: 10_000,
        postern_messages: 40_000,
        end_to_end: false,
        rate_target: 12.0,
        cpu_target: Some(1.0 / 15.0),
    },
    Scenario {
        key: "c",
        title: "4 KiB, one client alone, 1 message a connection",
        connections: 1,
        each: 1,
        size: 4096,
        postfix_messages: 1_500,
        postern_messages: 5_000,
        end_to_end: false,
        rate_target: 3.0,
        cpu_target: None,
    },
    Scenario {
        key: "d",
        title: "20,000 of 4 KiB relayed to the sink, 100 connections",
        connections: 100,
        each: 200,
        size: 4096,
        postfix_messages: 20_000,
        postern_messages: 20_000,
        end_to_end: true,
        rate_target: 8.0,
        cpu_target: Some(1.0 / 10.0),
    },
    Scenario {
        key: "e",
        title: "25 MiB messages, 4 connections",
        connections: 4,
        each: 5,
        size: 25 << 20,
        postfix_messages: 20,
        postern_messages: 40,
        end_to_end: true,
        rate_target: 2.0,
        cpu_target: None,
    },
];

/// What one run of one scenario against one server gave.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Sample {
    pub(crate) server: &'static str,
    pub(crate) scenario: &'static str,
    pub(crate) messages: u64,
    /// Messages a second: until the last 250, and until the sink had all.
    pub(crate) accepted: f64,
    pub(crate) relayed: f64,
    /// Processor time a message, in milliseconds: of the server, the generator, the sink.
    pub(crate) cpu: f64,
    pub(crate) generator_cpu: f64,
    pub(crate) sink_cpu: f64,
    /// Disk flushes a message (of the whole machine).
    pub(crate) flushes: f64,
    /// Growth of the worker's anonymous memory while the messages passed, in KiB.
    pub(crate) growth: Option<u64>,
}

pub(crate) fn run(who: Who) -> Result<(), Failure> {
    if cfg!(debug_assertions) {
        return Err(
            "built without optimisation: `make bench` builds what it measures with --release"
                .into(),
        );
    }
    let quick = std::env::var_os("BENCH_QUICK").is_some();
    let only = std::env::var("BENCH_ONLY").unwrap_or_default();
    let rounds = std::env::var("BENCH_ROUNDS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(if quick { 1 } else { 3 });
    let base = std::env::var_os("BENCH_DIR").unwrap_or_else(|| "bench-out".into());
    std::fs::create_dir_all(&base)?;
    let folder = tempfile::Builder::new()
        .prefix("run")
        .tempdir_in(std::fs::canonicalize(&base)?)?;
    std::fs::set_permissions(
        folder.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )?;
    raise_open_files()?;

    let mut sink = Sink::start()?;
    let mut servers = Vec::new();
    if who != Who::Postern {
        servers.push(postfix::start(
            &folder.path().join("postfix"),
            sink.address,
        )?);
    }
    if who != Who::Postfix {
        servers.push(postern::start(
            &folder.path().join("postern"),
            sink.address,
        )?);
    }
    println!("machinery: generator straight into the sink");
    let null = null_samples(&mut sink)?;
    let idles = idle_figures(&servers, folder.path(), quick, &only)?;
    let ours = |key: char| who != Who::Postfix && (only.is_empty() || only.contains(key));
    let doors = match ours('g') {
        true => Some(doors::measure(&folder.path().join("doors"), rounds, quick)?),
        false => None,
    };
    let logins = match ours('h') {
        true => Some(logins::measure(
            &folder.path().join("logins"),
            rounds,
            quick,
        )?),
        false => None,
    };
    let flood = match ours('i') {
        true => Some(flood::measure(&folder.path().join("flood"), rounds, quick)?),
        false => None,
    };
    let mut samples = Vec::new();
    for round in 1..=rounds {
        for scenario in SCENARIOS
            .iter()
            .filter(|s| only.is_empty() || only.contains(s.key))
        {
            for server in &servers {
                let sample = one(server, scenario, &mut sink, quick)?;
                println!(
                    "round {round} {} {:8} {:7.0} accepted/s {:7.0} relayed/s {:7.3} ms cpu (generator {:.3}, sink {:.3}) {:.2} flushes{}",
                    sample.scenario,
                    sample.server,
                    sample.accepted,
                    sample.relayed,
                    sample.cpu,
                    sample.generator_cpu,
                    sample.sink_cpu,
                    sample.flushes,
                    sample
                        .growth
                        .map_or(String::new(), |kib| format!(", memory +{kib} KiB"))
                );
                samples.push(sample);
            }
        }
    }
    drop(servers);
    let found = Found {
        generator_alone: null,
        samples,
        memory: idles,
        doors,
        logins,
        flood,
    };
    report::print(&found);
    report::write(Path::new(&base), &found)
}

fn idle_figures(
    servers: &[Server],
    folder: &Path,
    quick: bool,
    only: &str,
) -> Result<Vec<Idle>, Failure> {
    if !only.is_empty() && !only.contains('f') {
        return Ok(Vec::new());
    }
    let mut idles = Vec::new();
    for server in servers {
        idles.push(idle::of_server(server, quick)?);
    }
    if servers.iter().any(|s| s.name == "Postern") {
        let fresh = postern::start(&folder.join("postern-tls"), servers[0].address)?;
        idles.push(idle::secured(&fresh, quick)?);
        drop(fresh);
        idles.push(postern::queue_memory(&folder.join("postern-queue"), quick)?);
        idles.push(postern::many_workers(&folder.join("postern-many"))?);
    }
    Ok(idles)
}

/// The generator against the sink with nothing between: the ceiling of what can be measured.
pub(crate) fn null() -> Result<(), Failure> {
    let mut sink = Sink::start()?;
    for (title, rate, cpu) in null_samples(&mut sink)? {
        println!("{title}: {rate:.0} messages/s, generator {cpu:.3} ms a message");
    }
    Ok(())
}

/// A title, messages a second, the generator's processor time a message in ms.
pub(crate) type NullSample = (&'static str, f64, f64);

fn null_samples(sink: &mut Sink) -> Result<Vec<NullSample>, Failure> {
    let mut samples = Vec::new();
    for (title, each, messages) in [
        ("1 message a connection", 1, 20_000),
        ("100 messages a connection", 100, 60_000),
    ] {
        let outcome = load(sink.address, 100, messages, each, 4096)?.finish()?;
        sink.taken += outcome.messages;
        samples.push((
            title,
            outcome.messages as f64 / outcome.seconds,
            outcome.cpu_seconds * 1e3 / outcome.messages as f64,
        ));
    }
    Ok(samples)
}

fn one(
    server: &Server,
    scenario: &Scenario,
    sink: &mut Sink,
    quick: bool,
) -> Result<Sample, Failure> {
    let full = if server.name == "Postfix" {
        scenario.postfix_messages
    } else {
        scenario.postern_messages
    };
    let count = if quick { full / 4 } else { full };
    // Processes started, caches warm: not what is measured.
    let warm = if scenario.size > 1 << 20 {
        4
    } else {
        10 * scenario.connections as u64
    };
    sink.expect(warm);
    load(
        server.address,
        scenario.connections,
        warm,
        scenario.each.min(10),
        scenario.size,
    )?
    .finish()?;
    sink.reached(Duration::from_secs(120))?;
    let before = settled_cpu(server)?;
    let (flushes, sink_cpu) = (measure::flushes(), sink.cpu);

    let watch = server
        .worker
        .filter(|_| scenario.size > 1 << 20)
        .map(GrowthWatch::start);
    sink.expect(count);
    let start = Instant::now();
    let outcome = load(
        server.address,
        scenario.connections,
        count,
        scenario.each,
        scenario.size,
    )?
    .finish()?;
    if outcome.refused > 0 || outcome.messages != count {
        return Err(format!(
            "{} took {} of {count}: {}",
            server.name,
            outcome.messages,
            outcome.first_refusal.unwrap_or_default()
        )
        .into());
    }
    sink.reached(Duration::from_secs(300))?;
    let relayed = start.elapsed();
    let growth = watch.map(GrowthWatch::finish);
    let used = settled_cpu(server)? - before;
    let a_message = |seconds: f64| seconds * 1e3 / count as f64;
    Ok(Sample {
        server: server.name,
        scenario: scenario.key,
        messages: count,
        accepted: count as f64 / outcome.seconds,
        relayed: count as f64 / relayed.as_secs_f64(),
        cpu: a_message(used.as_secs_f64()),
        generator_cpu: a_message(outcome.cpu_seconds),
        sink_cpu: a_message((sink.cpu - sink_cpu).as_secs_f64()),
        flushes: (measure::flushes() - flushes) as f64 / count as f64,
        growth,
    })
}

/// The server's processor time once it has put away what it was doing: unchanged for a third of a second.
fn settled_cpu(server: &Server) -> Result<Duration, Failure> {
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut last = cpu(server.root)?;
    let mut same = 0;
    while same < 3 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(110));
        let now = cpu(server.root)?;
        same = if now == last { same + 1 } else { 0 };
        last = now;
    }
    Ok(last)
}

/// Samples a process's anonymous memory on a thread of its own, for the peak.
pub(crate) struct GrowthWatch {
    before: u64,
    stop: std::sync::mpsc::Sender<()>,
    thread: std::thread::JoinHandle<u64>,
}

impl GrowthWatch {
    pub(crate) fn start(pid: i32) -> GrowthWatch {
        let (stop, stopped) = std::sync::mpsc::channel();
        let before = measure::anonymous(pid);
        let thread = std::thread::spawn(move || {
            let mut peak = 0;
            while stopped.recv_timeout(Duration::from_millis(5))
                == Err(std::sync::mpsc::RecvTimeoutError::Timeout)
            {
                peak = peak.max(measure::anonymous(pid));
            }
            peak
        });
        GrowthWatch {
            before,
            stop,
            thread,
        }
    }

    /// By how much it was above what it was at the start.
    pub(crate) fn finish(self) -> u64 {
        let _ = self.stop.send(());
        self.thread.join().unwrap_or(0).saturating_sub(self.before)
    }
}

/// A running generator.
pub(crate) struct Load(Child);

pub(crate) fn load(
    to: SocketAddr,
    connections: usize,
    messages: u64,
    each: u64,
    size: usize,
) -> Result<Load, Failure> {
    load_with(to, connections, messages, each, size, &[])
}

/// The same with more words for the generator, each with its value.
pub(crate) fn load_with(
    to: SocketAddr,
    connections: usize,
    messages: u64,
    each: u64,
    size: usize,
    more: &[(&str, u64)],
) -> Result<Load, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("load").args(["--to", &to.to_string()]);
    for (name, value) in [
        ("--connections", connections as u64),
        ("--messages", messages),
        ("--each", each),
        ("--size", size as u64),
    ]
    .iter()
    .chain(more)
    {
        command.args([*name, &value.to_string()]);
    }
    Ok(Load(
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?,
    ))
}

impl Load {
    pub(crate) fn finish(self) -> Result<Outcome, Failure> {
        let output = self.0.wait_with_output()?;
        if !output.status.success() {
            return Err("the generator failed".into());
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

/// The sink's process.
pub(crate) struct Sink {
    child: Child,
    orders: ChildStdin,
    words: BufReader<ChildStdout>,
    pub(crate) address: SocketAddr,
    /// Messages taken up to the last expectation.
    taken: u64,
    cpu: Duration,
}

impl Sink {
    pub(crate) fn start() -> Result<Sink, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["sink", "--listen", "127.0.0.1:0"]).args([
            "--chunking",
            &std::env::var("BENCH_CHUNKING").unwrap_or("false".into()),
        ]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = child.stdin.take().ok_or("the sink has no standard input")?;
        let mut words = BufReader::new(
            child
                .stdout
                .take()
                .ok_or("the sink has no standard output")?,
        );
        let mut line = String::new();
        words.read_line(&mut line)?;
        let address = line
            .trim()
            .strip_prefix("listening ")
            .ok_or("the sink did not say where it listens")?
            .parse()?;
        Ok(Sink {
            child,
            orders,
            words,
            address,
            taken: 0,
            cpu: Duration::ZERO,
        })
    }

    /// `count` more messages are to come.
    pub(crate) fn expect(&mut self, count: u64) {
        self.taken += count;
        // A sink that is gone shows in `reached`.
        let _ = writeln!(self.orders, "expect {}", self.taken);
    }

    /// Waits until they have.
    pub(crate) fn reached(&mut self, limit: Duration) -> Result<(), Failure> {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        use std::os::fd::AsFd;
        let mut fds = [PollFd::new(self.words.get_ref().as_fd(), PollFlags::POLLIN)];
        if self.words.buffer().is_empty() && poll(&mut fds, PollTimeout::try_from(limit)?)? == 0 {
            return Err(format!(
                "the sink did not get all {} messages within {limit:?}",
                self.taken
            )
            .into());
        }
        let mut line = String::new();
        self.words.read_line(&mut line)?;
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let ["reached", count, micros] = fields[..] else {
            return Err("the sink has gone".into());
        };
        self.taken = count.parse()?;
        self.cpu = Duration::from_micros(micros.parse()?);
        Ok(())
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn raise_open_files() -> Result<(), Failure> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}

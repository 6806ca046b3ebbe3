//! Postern, its release binaries: one supervisor, one server that relays everything to the sink.

use crate::Failure;
use crate::idle::{Figure, Idle, certificate_pair};
use crate::measure::{Memory, durable_folder};
use crate::rounds::{Server, load};
use postern_tests::definition::Definition;
use postern_tests::stage::Stage;
use postern_tests::wait;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

const NAME: &str = "bench";

pub(crate) fn start(folder: &Path, sink: SocketAddr) -> Result<Server, Failure> {
    let (mut stage, address) = prepare(folder, NAME, sink)?;
    stage.start_with(&[NAME])?;
    // There is no switch that turns Postern's syncs off; what could is a spool on a file system that keeps nothing.
    durable_folder(&stage.path("state"))?;
    let worker = stage.worker(NAME)?;
    Ok(Server {
        name: "Postern",
        root: stage.pid()?,
        address,
        worker: Some(worker),
        keep: Box::new(stage),
    })
}

/// What 10,000 queued messages cost above idle: the next hop refuses for now, so all stay.
pub(crate) fn queue_memory(folder: &Path, quick: bool) -> Result<Idle, Failure> {
    let count: u64 = if quick { 2_000 } else { 10_000 };
    // Nobody listens there.
    let (mut stage, address) = prepare(folder, NAME, wait::free_address()?)?;
    stage.start_with(&[NAME])?;
    let worker = stage.worker(NAME)?;
    // The first messages bring what is made once.
    load(address, 100, 200, 2, 4096)?.finish()?;
    quiet(worker)?;
    let before = Memory::of(worker)?;
    load(address, 100, count, 100, 4096)?.finish()?;
    quiet(worker)?;
    let after = Memory::of(worker)?;
    let queued = stage.counters(NAME)?.get("queued").copied().unwrap_or(0);
    if queued < count {
        return Err(format!("{queued} messages are queued, {count} were sent").into());
    }
    let growth = after.private as f64 - before.private as f64;
    let target = if quick { 10_240.0 / 5.0 } else { 10_240.0 };
    Ok(Idle {
        server: "Postern",
        figures: vec![Figure::new(
            format!("{count} queued messages above idle"),
            growth,
            Some(target),
        )],
    })
}

/// The PSS of each of ten idle workers, which share what they have read of the binary.
pub(crate) fn many_workers(folder: &Path) -> Result<Idle, Failure> {
    const COUNT: u32 = 10;
    let (mut stage, _) = prepare(folder, "s0", wait::free_address()?)?;
    let names: Vec<String> = (0..COUNT).map(|n| format!("s{n}")).collect();
    for name in &names[1..] {
        stage.define(
            name,
            &definition(&stage, wait::free_address()?, wait::free_address()?),
        )?;
    }
    stage.start_with(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
    let mut sum = 0;
    for name in &names {
        sum += Memory::of(stage.worker(name)?)?.pss;
    }
    let each = sum as f64 / f64::from(COUNT);
    Ok(Idle {
        server: "Postern",
        figures: vec![Figure::new(
            "idle, PSS of each of ten workers",
            each,
            Some(2048.0),
        )],
    })
}

/// A stage of release binaries, without a server yet.
pub(crate) fn empty(folder: &Path) -> Result<Stage, Failure> {
    std::fs::create_dir_all(folder)?;
    std::fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let program = std::env::current_exe()?;
    let stage = Stage::with(folder, program.parent().ok_or("this program lies nowhere")?)?;
    std::fs::write(stage.path("etc/postern.toml"), "log = \"warn\"\n")?;
    Ok(stage)
}

/// Forgets what was logged, each login for one: a stage that ends shows all of it.
pub(crate) fn hush(stage: &Stage) -> Result<(), Failure> {
    Ok(std::fs::write(stage.path("posternd.log"), "")?)
}

fn prepare(folder: &Path, name: &str, sink: SocketAddr) -> Result<(Stage, SocketAddr), Failure> {
    let stage = empty(folder)?;
    let address = wait::free_address()?;
    stage.define(name, &definition(&stage, address, sink))?;
    Ok((stage, address))
}

pub(crate) fn definition(stage: &Stage, address: SocketAddr, sink: SocketAddr) -> Definition {
    let definition = Definition::open_relay("postern.example.test", address)
        .general("max_connections", 20_000)
        .general("max_connections_per_ip", 20_000)
        .messages("max_message_size", "\"50 MB\"")
        .messages("max_session_size", "\"100 GB\"")
        .messages("max_messages_per_session", 1_000_000)
        .delivery("outbound_security", "{ tls = \"none\" }")
        .smart_host(sink);
    // The same certificate as Postfix has, so that a TLS connection costs both the same.
    match certificate_pair(stage.folder()) {
        Ok((certificate, key)) => definition.certificate(&certificate, &key),
        Err(_) => definition,
    }
}

/// Waits until the process has stopped changing: its memory is the same at two looks half a second apart.
pub(crate) fn quiet(pid: i32) -> Result<(), Failure> {
    let mut last = Memory::of(pid)?.private;
    wait::until_true(
        "the worker to come to rest",
        Duration::from_secs(30),
        || {
            std::thread::sleep(Duration::from_millis(500));
            let now = Memory::of(pid).map_or(0, |memory| memory.private);
            std::mem::replace(&mut last, now) == now
        },
    )
}

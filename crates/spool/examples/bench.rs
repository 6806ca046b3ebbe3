//! How fast, how small: messages a second for 1, 20 and 100 writers of 4 KiB, processor time a message, and memory for
//! a queue of 10,000 and 1,000,000.
//!
//! `cargo run --release -p postern-spool --example bench [FOLDER] [SECONDS]`; the folder's file system is what counts.

use postern_spool::{
    Body, Envelope, QueueId, RealDisk, Recipient, Reserve, Settings, Settlement, Spool,
};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments
        .next()
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let seconds = arguments
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(3.0);
    let folder = folder.join(format!("postern-spool-bench-{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    let result = run(&folder, Duration::from_secs_f64(seconds));
    std::fs::remove_dir_all(&folder)?;
    result
}

fn run(folder: &Path, time: Duration) -> Outcome {
    println!("writers  messages/s  cpu µs/message  (deposit, commit, claim, settle; 4 KiB)");
    for writers in [1, 20, 100] {
        let (rate, cpu) = throughput(&folder.join(format!("rate{writers}")), writers, time)?;
        println!("{writers:>7}  {rate:>10.0}  {cpu:>14.1}");
    }
    let (rate, cpu) = pipelined(&folder.join("pipelined"), 100, time)?;
    println!(
        "{:>7}  {rate:>10.0}  {cpu:>14.1}  (one thread with 100 on their way)",
        1
    );
    println!("\nlarge bodies of 25 MiB");
    large(&folder.join("large"), time)?;
    println!("\n   queued  KiB above idle  bytes/message  accepted/s  reopened in ms");
    for queued in [10_000, 1_000_000] {
        memory(&folder.join(format!("queue{queued}")), queued)?;
    }
    Ok(())
}

fn open(folder: &Path) -> Result<Spool, postern_spool::Error> {
    let mut settings = Settings::new(folder);
    settings.reserve = Reserve {
        bytes: 100_000_000,
        percent: 0,
    };
    Ok(Spool::open(Arc::new(RealDisk), settings)?.0)
}

fn envelope() -> Envelope {
    let mut envelope = Envelope::new(
        "sender@example.org",
        vec![Recipient::new("recipient@example.net")],
        1,
    );
    envelope.client = Some([192, 0, 2, 1].into());
    envelope.helo = Some("client.example.org".into());
    envelope
}

/// One message in; returns once it is on disk.
fn put(spool: &Spool, envelope: &Envelope, body: &[u8]) -> Option<QueueId> {
    let mut deposit = spool.deposit().ok()?;
    for piece in body.chunks(64 << 10) {
        deposit.write(piece).ok()?;
    }
    let (sender, receiver) = mpsc::sync_channel(1);
    spool.commit(deposit, envelope, move |result| {
        sender.send(result).unwrap_or_default()
    });
    Some(receiver.recv().ok()?.ok()?.id)
}

fn throughput(
    folder: &Path,
    writers: usize,
    time: Duration,
) -> Result<(f64, f64), Box<dyn std::error::Error>> {
    let spool = open(folder)?;
    let stop = AtomicBool::new(false);
    let done = AtomicU64::new(0);
    let body = vec![b'x'; 4096];
    let (start, cpu) = (Instant::now(), cpu_time());
    std::thread::scope(|scope| {
        for _ in 0..writers {
            scope.spawn(|| {
                let envelope = envelope();
                while !stop.load(Ordering::Relaxed) {
                    let Some(id) = put(&spool, &envelope, &body) else {
                        return;
                    };
                    let whole =
                        matches!(spool.claim(id), Ok(Some(message)) if message.body.len() == 4096);
                    if !whole {
                        return;
                    }
                    spool.settle(id, Settlement::Gone);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        std::thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
    });
    let done = done.into_inner() as f64;
    let cpu = (cpu_time() - cpu).as_secs_f64() * 1e6;
    Ok((done / start.elapsed().as_secs_f64(), cpu / done))
}

/// One thread that never waits for a single message, as an asynchronous worker is.
fn pipelined(
    folder: &Path,
    depth: u64,
    time: Duration,
) -> Result<(f64, f64), Box<dyn std::error::Error>> {
    let spool = open(folder)?;
    let (envelope, body) = (envelope(), vec![b'x'; 4096]);
    let (sender, receiver) = mpsc::channel();
    let (start, cpu) = (Instant::now(), cpu_time());
    let (mut sent, mut done) = (0u64, 0u64);
    while start.elapsed() < time || done < sent {
        while start.elapsed() < time && sent - done < depth {
            let mut deposit = spool.deposit()?;
            deposit.write(&body)?;
            let sender = sender.clone();
            spool.commit(deposit, &envelope, move |result| {
                sender
                    .send(result.map(|committed| committed.id))
                    .unwrap_or_default()
            });
            sent += 1;
        }
        let id = receiver.recv()??;
        if spool.claim(id)?.is_none() {
            return Err("a message is not there".into());
        }
        spool.settle(id, Settlement::Gone);
        done += 1;
    }
    let cpu = (cpu_time() - cpu).as_secs_f64() * 1e6;
    Ok((
        done as f64 / start.elapsed().as_secs_f64(),
        cpu / done as f64,
    ))
}

fn large(folder: &Path, time: Duration) -> Outcome {
    let spool = open(folder)?;
    let envelope = envelope();
    let body = vec![b'x'; 25 << 20];
    put(&spool, &envelope, &body[..300_000]).ok_or("a message was refused")?;
    let before = memory_kib("VmRSS")?;
    let mut most = 0;
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed() < time {
        let id = put(&spool, &envelope, &body).ok_or("a message was refused")?;
        if let Some(message) = spool.claim(id)?
            && let Body::File(mut file) = message.body
        {
            std::io::copy(&mut file, &mut std::io::sink())?;
        }
        spool.settle(id, Settlement::Gone);
        count += 1;
        most = most.max(memory_kib("VmRSS")?.saturating_sub(before));
    }
    let rate = f64::from(count) / start.elapsed().as_secs_f64();
    println!("{rate:.1} a second, memory grows by {most} KiB at most");
    Ok(())
}

fn memory(folder: &Path, queued: u64) -> Outcome {
    let spool = open(folder)?;
    let envelope = Arc::new(envelope());
    let idle = memory_kib("VmRSS")?;
    let start = Instant::now();
    let (sender, receiver) = mpsc::sync_channel(1000);
    let mut answers = 0;
    for at in 0..queued {
        let mut deposit = spool.deposit()?;
        deposit.write(&[b'x'; 1000])?;
        let sender = sender.clone();
        spool.commit(deposit, &*envelope, move |result| {
            sender.send(result.is_ok()).unwrap_or_default()
        });
        // At most a few hundred are on their way at once.
        while at - answers > 200 {
            answers += u64::from(receiver.recv()?);
        }
    }
    while answers < queued {
        answers += u64::from(receiver.recv()?);
    }
    let rate = queued as f64 / start.elapsed().as_secs_f64();
    let grown = memory_kib("VmRSS")?.saturating_sub(idle);
    drop(spool);
    let start = Instant::now();
    let spool = open(folder)?;
    let reopened = start.elapsed().as_millis();
    if spool.count() != queued {
        return Err(format!("{} of {queued} came back", spool.count()).into());
    }
    let each = grown * 1024 / queued;
    println!("{queued:>9}  {grown:>14}  {each:>13}  {rate:>10.0}  {reopened:>14}");
    Ok(())
}

/// Processor time of this process so far.
fn cpu_time() -> Duration {
    // Ticks of 10 ms: fields 14 and 15 of stat, counted behind the name in parentheses.
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = text
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(11)
        .take(2);
    let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

fn memory_kib(field: &str) -> Result<u64, Box<dyn std::error::Error>> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text
        .lines()
        .find(|line| line.starts_with(field))
        .ok_or("no such field")?;
    Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse()?)
}

//! The disk is nearly full, then full: the client is told before it sends, or told that nothing was stored, and what was
//! acknowledged before stays.

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use postern_tests::definition::Definition;
use postern_tests::sink::{At, Sink};
use postern_tests::stage::{PATIENCE, Stage};
use postern_tests::wire::{Wire, stuffed};
use postern_tests::{Failure, Outcome, mail, program, wait};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Above the spool's reserve of 100 MB, and small enough to fill.
const SIZE: &str = "size=192m,mode=755";

/// Gives this thread, and what it starts, a view of its own of the file systems: what is mounted there ends with them.
fn own_mounts() -> Outcome {
    program::need_root("it mounts a small file system to fill")?;
    unshare(CloneFlags::CLONE_NEWNS)?;
    let none: Option<&str> = None;
    Ok(mount(
        none,
        "/",
        none,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        none,
    )?)
}

/// Writes into `path` until `leave` bytes are free there, or until nothing more goes in.
fn fill(path: &Path, leave: u64) -> Outcome {
    let mut file = File::options().create(true).append(true).open(path)?;
    let chunk = vec![0; 64 * 1024];
    loop {
        let free = nix::sys::statvfs::statvfs(path)?;
        if free.blocks_available() * free.fragment_size() <= leave
            || file.write_all(&chunk).is_err()
        {
            return Ok(());
        }
    }
}

/// A server on a small disk; its next hop takes nothing until the gate is opened.
fn small() -> Result<(Stage, Wire, Sink, Arc<AtomicBool>), Failure> {
    own_mounts()?;
    let open = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&open);
    let sink = Sink::scripted(Box::new(move |at| {
        (matches!(at, At::Mail(_)) && !gate.load(Ordering::SeqCst))
            .then(|| "451 4.3.0 later".to_owned())
    }))?;
    let mut stage = Stage::new()?;
    mount(
        Some("tmpfs"),
        &stage.path("state"),
        Some("tmpfs"),
        MsFlags::empty(),
        Some(SIZE),
    )?;
    let address = wait::free_address()?;
    stage.define(
        "small",
        &Definition::open_relay("small.example.test", address)
            .delivery("retry", "[\"1s\"]")
            .smart_host(sink.address),
    )?;
    stage.start_with(&["small"])?;
    let wire = Wire::open(address)?;
    Ok((stage, wire, sink, open))
}

fn accepted(wire: &mut Wire, name: &str) -> Outcome {
    let reply = wire.message(
        "a@client.test",
        "b@far.test",
        &mail::with_header(name, b"x\r\n"),
    )?;
    if reply.starts_with("250") {
        Ok(())
    } else {
        Err(format!("{name}: {reply}").into())
    }
}

#[test]
fn below_the_reserve_mail_is_put_off_before_its_body() -> Outcome {
    let (stage, mut wire, sink, open) = small()?;
    for number in 0..20 {
        accepted(&mut wire, &format!("before-{number}"))?;
    }
    let filler = stage.path("state/filler");
    fill(&filler, 50 << 20)?;
    wait::until("a refusal for want of room", PATIENCE, || {
        for line in ["MAIL FROM:<a@client.test>", "RCPT TO:<b@far.test>", "DATA"] {
            let reply = wire.say(line).ok()?;
            if reply.starts_with("452 4.3.1") {
                wire.say("RSET").ok()?;
                return Some(());
            }
        }
        // 354: it does not know yet. This message is taken.
        wire.say(".").ok()?;
        None
    })?;
    std::fs::remove_file(&filler)?;
    wait::until_true("room again", PATIENCE, || {
        accepted(&mut wire, "after").is_ok() || wire.say("RSET").is_err()
    })?;
    open.store(true, Ordering::SeqCst);
    stage.wait_empty("small")?;
    let all: String = sink
        .taken()
        .iter()
        .map(|t| String::from_utf8_lossy(&t.content).into_owned())
        .collect();
    for name in (0..20)
        .map(|number| format!("before-{number}"))
        .chain(["after".to_owned()])
    {
        assert!(
            all.contains(&format!("X-Test: {name}\r\n")),
            "{name} is lost"
        );
    }
    Ok(())
}

#[test]
fn on_a_full_disk_nothing_is_acknowledged_that_is_not_stored() -> Outcome {
    let (stage, mut wire, sink, open) = small()?;
    for number in 0..20 {
        accepted(&mut wire, &format!("before-{number}"))?;
    }
    // In the middle of a large body the disk fills up to its last block.
    for line in ["MAIL FROM:<a@client.test>", "RCPT TO:<b@far.test>", "DATA"] {
        wire.say(line)?;
    }
    let large = stuffed(&mail::of_size("large", 20 << 20));
    wire.send(&large[..large.len() / 2])?;
    let filler = stage.path("state/filler");
    fill(&filler, 0)?;
    wire.send(&large[large.len() / 2..])?;
    let reply = wire.reply()?;
    assert!(
        reply.starts_with("451 4.3.0") || reply.starts_with("452 4.3.1"),
        "{reply}"
    );
    // The session has survived it, and takes no other message either.
    for number in 0..5 {
        let reply = wire.message(
            "a@client.test",
            "b@far.test",
            &mail::with_header(&format!("during-{number}"), b"x\r\n"),
        )?;
        assert!(reply.starts_with("45"), "{reply}");
        wire.say("RSET")?;
    }
    std::fs::remove_file(&filler)?;
    wait::until_true("room again", PATIENCE, || {
        accepted(&mut wire, "after").is_ok() || wire.say("RSET").is_err()
    })?;
    open.store(true, Ordering::SeqCst);
    stage.wait_empty("small")?;
    let all: String = sink
        .taken()
        .iter()
        .map(|t| String::from_utf8_lossy(&t.content[..t.content.len().min(600)]).into_owned())
        .collect();
    for name in (0..20)
        .map(|number| format!("before-{number}"))
        .chain(["after".to_owned()])
    {
        assert!(
            all.contains(&format!("X-Test: {name}\r\n")),
            "{name} is lost"
        );
    }
    assert!(
        !all.contains("X-Test: large\r\n") && !all.contains("during-"),
        "what was refused arrived"
    );
    Ok(())
}

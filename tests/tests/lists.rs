//! Files of entries that a definition's lists name: root opens them, the worker reads them, and one bad line changes nothing.

use postern_control::client::Request;
use postern_hosting::Finding;
use postern_tests::definition::Definition;
use postern_tests::stage::{Stage, server};
use postern_tests::wire::Wire;
use postern_tests::{Failure, Outcome, wait};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const BLOCKED: &str = "etc/lists/blocked.txt";

#[test]
fn a_list_file_is_in_force_whole_or_not_at_all() -> Outcome {
    let mut stage = Stage::new()?;
    std::fs::create_dir_all(stage.path("etc/lists"))?;
    std::fs::write(stage.path(BLOCKED), "# not these\n127.0.0.9\n")?;
    std::fs::write(stage.path("etc/lists/relay.txt"), "127.0.0.1\n")?;
    let address = wait::free_address()?;
    stage.define(
        "listed",
        &Definition::open_relay("listed.example.test", address)
            .connection("list", "[\"file ../lists/blocked.txt\"]")
            .relay("list", "[\"file ../lists/relay.txt\"]"),
    )?;
    stage.start_with(&["listed"])?;
    assert_eq!(verdict("127.0.0.9", address)?, "refused");
    assert_eq!(verdict("127.0.0.8", address)?, "may not relay");
    assert_eq!(verdict("127.0.0.1", address)?, "may relay");

    // One bad line: it is named, and what was in force stays.
    std::fs::write(stage.path(BLOCKED), "127.0.0.8\n\n 127.0.0.300 # a slip\n")?;
    let findings = refused_reload(&stage)?;
    let finding = findings.first().ok_or("no finding")?;
    assert!(finding.path.ends_with("lists/blocked.txt"), "{finding}");
    let place = finding.place.map(|place| (place.line, place.column));
    assert_eq!((findings.len(), place), (1, Some((3, 2))), "{finding}");
    assert_eq!(verdict("127.0.0.9", address)?, "refused");
    assert_eq!(verdict("127.0.0.8", address)?, "may not relay");

    // A file that is gone is found where it is named.
    std::fs::remove_file(stage.path(BLOCKED))?;
    let findings = refused_reload(&stage)?;
    let finding = findings.first().ok_or("no finding")?;
    assert!(finding.path.ends_with("servers/listed.toml"), "{finding}");
    assert!(
        finding.what.contains("../lists/blocked.txt cannot be read"),
        "{finding}"
    );
    assert_eq!(verdict("127.0.0.9", address)?, "refused");

    // A file that would relay for everyone is refused like a list that would.
    std::fs::write(stage.path(BLOCKED), "127.0.0.8\n")?;
    std::fs::write(
        stage.path("etc/lists/relay.txt"),
        "0.0.0.0/1\n128.0.0.0/1\n",
    )?;
    let findings = refused_reload(&stage)?;
    let finding = findings.first().ok_or("no finding")?;
    assert!(finding.path.ends_with("lists/relay.txt"), "{finding}");
    assert!(finding.what.contains("relay for everyone"), "{finding}");

    // Mended, it is in force, a hundred thousand entries long.
    std::fs::write(stage.path("etc/lists/relay.txt"), "127.0.0.1\n")?;
    let many: String = (0..100_000u32)
        .map(|n| format!("20.{}.{}.{}/29\n", n >> 13, n >> 5 & 255, (n & 31) << 3))
        .collect();
    std::fs::write(stage.path(BLOCKED), format!("{many}127.0.0.8\n"))?;
    let started = Instant::now();
    stage.obey(&Request::Reload {
        server: server("listed")?,
    })?;
    let took = started.elapsed();
    println!("a list of 100,000 entries was in force after {took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(verdict("127.0.0.8", address)?, "refused");
    assert_eq!(verdict("127.0.0.9", address)?, "may not relay");
    assert_eq!(verdict("127.0.0.1", address)?, "may relay");
    Ok(())
}

fn refused_reload(stage: &Stage) -> Result<Vec<Finding>, Failure> {
    let request = Request::Reload {
        server: server("listed")?,
    };
    match stage.order(&request)? {
        Ok(message) => Err(format!("a bad list was taken: {message}").into()),
        Err((_, findings)) => Ok(findings),
    }
}

/// What a client with this address may do.
fn verdict(client: &str, to: SocketAddr) -> Result<&'static str, Failure> {
    let mut wire = Wire::from(SocketAddr::new(client.parse()?, 0), to)?;
    if wire.greeting.starts_with("554 5.7.1") {
        return Ok("refused");
    }
    wire.expect("250", "EHLO client.test")?;
    wire.expect("250", "MAIL FROM:<a@client.test>")?;
    let reply = wire.say("RCPT TO:<b@far.test>")?;
    Ok(match reply.starts_with("250") {
        true => "may relay",
        false if reply.starts_with("550 5.7.1") => "may not relay",
        false => return Err(format!("RCPT was answered {reply}").into()),
    })
}

//! One server is restarted and reloaded again and again while it and two others are under load: nobody is refused, no
//! session is cut, nothing is lost or comes twice.

use postern_control::client::Request;
use postern_hosting::ServerState;
use postern_tests::definition::Definition;
use postern_tests::load::{Failing, Load, name_of};
use postern_tests::sink::Sink;
use postern_tests::stage::{PATIENCE, Stage, server};
use postern_tests::wire::Wire;
use postern_tests::{Outcome, mail, wait};
use std::collections::BTreeMap;

const ROUNDS: usize = 100;

#[test]
fn restarting_and_reloading_one_server_disturbs_nobody() -> Outcome {
    let mut stage = Stage::new()?;
    std::fs::write(stage.path("etc/postern.toml"), "log = \"info\"\n")?;
    let sink = Sink::start()?;
    let names = ["first", "second", "third"];
    let mut addresses = Vec::new();
    for name in names {
        let address = wait::free_address()?;
        stage.define(
            name,
            &Definition::open_relay(&format!("{name}.example.test"), address)
                .messages("max_messages_per_session", 1_000_000)
                .smart_host(sink.address),
        )?;
        addresses.push(address);
    }
    stage.start_with(&names)?;
    let pids = (stage.row("second")?.pid, stage.row("third")?.pid);

    // One message a connection to each, and one session with each of the others that lasts throughout.
    let mut loads: Vec<Load> = names
        .iter()
        .zip(&addresses)
        .map(|(name, &to)| Load::start(to, name, 2, 1, Failing::Noted))
        .collect();
    for (name, &to) in names.iter().zip(&addresses).skip(1) {
        loads.push(Load::start(
            to,
            &format!("{name}-long"),
            1,
            usize::MAX,
            Failing::Noted,
        ));
    }
    let mut held = 0;
    for round in 0..ROUNDS {
        // A session of the server itself, over each change.
        let mut session = Wire::open(addresses[0])?;
        let request = if round % 2 == 0 {
            Request::Restart {
                server: server("first")?,
            }
        } else {
            Request::Reload {
                server: server("first")?,
            }
        };
        stage
            .obey(&request)
            .map_err(|error| format!("round {round}: {error}"))?;
        let before = loads[0].acknowledged();
        wait::until_true("the load to go on", PATIENCE, || {
            loads[0].acknowledged() > before + 4
        })?;
        let reply = session.message(
            "a@client.test",
            "b@far.test",
            &mail::with_header(&format!("held-{round}"), b"x\r\n"),
        )?;
        assert!(reply.starts_with("250"), "round {round}: {reply}");
        session.expect("221", "QUIT")?;
        held += 1;
    }
    let mut acknowledged: Vec<String> = (0..held).map(|round| format!("held-{round}")).collect();
    let mut troubles = Vec::new();
    for load in loads {
        let remembered = load.finish()?;
        acknowledged.extend(remembered.acknowledged);
        troubles.extend(remembered.troubles);
    }
    println!(
        "{ROUNDS} changes under load: {} messages acknowledged, {} troubles",
        acknowledged.len(),
        troubles.len()
    );
    assert!(
        troubles.is_empty(),
        "{} troubles: {:?}",
        troubles.len(),
        &troubles[..troubles.len().min(10)]
    );
    assert_eq!(
        (stage.row("second")?.pid, stage.row("third")?.pid),
        pids,
        "another server's worker changed"
    );
    for name in names {
        stage.wait_state(name, ServerState::Running)?;
        stage.wait_empty(name)?;
    }
    wait::until_true("the predecessors to end", PATIENCE, || {
        stage.children().is_ok_and(|all| all.len() == 3)
    })?;
    sink.wait(acknowledged.len())?;
    let mut arrived: BTreeMap<String, usize> = BTreeMap::new();
    for taken in sink.taken() {
        *arrived
            .entry(name_of(&taken.content).unwrap_or_default())
            .or_default() += 1;
    }
    let lost: Vec<_> = acknowledged
        .iter()
        .filter(|name| !arrived.contains_key(*name))
        .collect();
    let twice: Vec<_> = arrived.iter().filter(|(_, count)| **count > 1).collect();
    assert!(
        lost.is_empty() && twice.is_empty(),
        "lost {lost:?}, twice {twice:?}"
    );
    Ok(())
}

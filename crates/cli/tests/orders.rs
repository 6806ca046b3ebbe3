//! `status` and the six orders, against a desk that plays posternd.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use common::{Desk, Etc, command, golden, name, postern};
use postern_control::client::{HostRow, Reply, Request, ServerRow};
use postern_hosting::{Finding, Identity, Place, ServerState, TlsMode};

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

fn host(isolated: bool) -> HostRow {
    HostRow {
        isolated,
        version: "0.1.0".into(),
        pid: 99,
        since: 1_700_000_000,
        note: String::new(),
    }
}

fn row(server: &str, state: ServerState, ago: u64, detail: &str) -> ServerRow {
    let up = matches!(state, ServerState::Running | ServerState::Paused);
    ServerRow {
        name: name(server),
        state,
        addresses: vec![Identity {
            address: "192.0.2.10:25".parse().unwrap(),
            tls: TlsMode::Starttls,
        }],
        pid: up.then_some(4711),
        uid: up.then_some(64_000),
        sessions: if up { 12 } else { 0 },
        queued: if up { 1_234_567 } else { 0 },
        since: now() - ago,
        description: String::new(),
        authds: Vec::new(),
        detail: detail.into(),
    }
}

fn rows() -> Vec<ServerRow> {
    let mut clients = row("clients", ServerState::Running, 7_265, "");
    clients.addresses.push(Identity {
        address: "[2001:db8::10]:465".parse().unwrap(),
        tls: TlsMode::Implicit,
    });
    vec![
        clients,
        row(
            "devices",
            ServerState::Waiting,
            90,
            "the worker died (signal 11); started again in 8s",
        ),
        row(
            "mx1",
            ServerState::Failed,
            400,
            "cannot listen on 192.0.2.10:25: address\x1b[31m in use",
        ),
        row("old", ServerState::Stopped, 190_000, ""),
    ]
}

/// A desk with these servers, in pages of `page`, that writes down what it was ordered.
fn desk(isolated: bool, page: usize) -> (Desk, Arc<Mutex<Vec<Request>>>) {
    let orders = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&orders);
    let desk = Desk::answering(move |request| {
        seen.lock().unwrap().push(request.clone());
        let reply = match request {
            Request::List { after } => {
                let left: Vec<_> = rows()
                    .into_iter()
                    .filter(|row| after.as_ref().is_none_or(|name| row.name > *name))
                    .collect();
                let more = left.len() > page;
                Reply::Servers {
                    host: host(isolated),
                    rows: left.into_iter().take(page).collect(),
                    more,
                }
            }
            Request::Start { server } | Request::Restart { server } if server.as_str() == "mx1" => {
                Reply::refused("cannot listen on 192.0.2.10:25: address in use", Vec::new())
            }
            other => Reply::done(format!("{} done", other.verb()), Vec::new()),
        };
        (reply, None)
    });
    (desk, orders)
}

#[test]
fn status_is_a_table_with_notes_below() {
    let run = desk(false, 100).0.postern(&["status"]);
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    golden("status.txt", &run.out);
}

#[test]
fn status_follows_pages_and_says_nothing_of_isolation_where_it_is_full() {
    let (desk, orders) = desk(true, 1);
    let run = desk.postern(&["status"]);
    assert_eq!(
        run.out
            .lines()
            .filter(|line| line.contains("192.0.2.10:25 ") || line.contains(", [2001"))
            .count(),
        4,
        "{}",
        run.out
    );
    assert!(!run.out.contains("isolation"), "{}", run.out);
    assert_eq!(orders.lock().unwrap().len(), 4);
}

#[test]
fn status_of_named_servers_keeps_their_order() {
    let (desk, _) = desk(true, 100);
    let run = desk.postern(&["status", "old", "clients", "old"]);
    let names: Vec<&str> = run
        .out
        .lines()
        .skip(1)
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(names, ["old", "clients"]);
    let run = desk.postern(&["status", "nobody"]);
    assert_eq!((run.code, run.out.as_str()), (1, ""));
    assert!(
        run.err
            .starts_with("error: nobody: there is no server of this name"),
        "{}",
        run.err
    );
}

#[test]
fn status_for_programs_is_json() {
    let run = desk(false, 2).0.postern(&["status", "--json"]);
    let value: serde_json::Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(value["host"]["isolated"], false);
    assert_eq!(value["servers"].as_array().unwrap().len(), 4);
    assert_eq!(value["servers"][0]["state"], "running");
    assert_eq!(value["servers"][0]["addresses"][1]["tls"], "implicit");
    assert_eq!(value["servers"][3]["pid"], serde_json::Value::Null);
}

#[test]
fn one_refusal_does_not_keep_the_others_from_being_ordered() {
    let (desk, orders) = desk(true, 100);
    let run = desk.postern(&["start", "clients", "mx1", "old"]);
    assert_eq!(run.code, 1);
    assert_eq!(
        run.out,
        "clients: start done\nmx1: refused: cannot listen on 192.0.2.10:25: address in use\nold: start done\n"
    );
    assert_eq!(orders.lock().unwrap().len(), 3);
}

#[test]
fn every_order_is_its_request_and_all_means_all() {
    for verb in ["start", "stop", "pause", "resume", "restart", "reload"] {
        let (desk, orders) = desk(true, 2);
        let run = desk.postern(&[verb, "old"]);
        assert_eq!((run.code, run.out), (0, format!("old: {verb} done\n")));
        assert_eq!(orders.lock().unwrap()[0].verb(), verb);
    }
    // What is stopped stays so, unless it is start that is meant for all.
    for (verb, servers) in [
        ("restart", &["clients", "devices", "mx1"][..]),
        ("start", &["clients", "devices", "mx1", "old"]),
    ] {
        let (desk, orders) = desk(true, 2);
        desk.postern(&[verb, "--all"]);
        let ordered: Vec<String> = orders
            .lock()
            .unwrap()
            .iter()
            .filter(|one| one.verb() == verb)
            .map(|one| one.server().unwrap().to_string())
            .collect();
        assert_eq!(ordered, servers);
    }
}

#[test]
fn a_refused_reload_shows_the_line_and_the_remedy() {
    let etc = Etc::new();
    let text = "[general]\nfqdn = \"mx1\"\nlisten = [\"192.0.2.10:25\"]\n";
    let path = etc.write("servers/mx1.toml", text);
    let at = text.find("\"mx1\"").unwrap();
    let finding = Finding::error(
        &path,
        "`mx1` is not fully qualified",
        "write it with its domain, such as \"mx1.example.com\"",
    )
    .at(Place::of(text, at..at + 5));
    let desk = Desk::answering(move |_| {
        (
            Reply::refused(
                "the definition has errors; the old one stays in force",
                vec![finding.clone()],
            ),
            None,
        )
    });
    let run = desk.postern(&["reload", "mx1"]);
    assert_eq!(run.code, 1);
    golden("reload-refused.txt", &etc.anonymous(&run.out));
}

#[test]
fn warnings_of_a_reload_that_was_done_are_shown() {
    let etc = Etc::new();
    let path = etc.write("servers/mx1.toml", "[general]\n");
    let finding = Finding::error(&path, "the certificate ends in 3 days", "renew it")
        .with_severity(postern_hosting::Severity::Warning);
    let desk = Desk::answering(move |_| (Reply::done("reloaded", vec![finding.clone()]), None));
    let run = desk.postern(&["reload", "mx1"]);
    assert_eq!(run.code, 0);
    assert!(
        run.out
            .starts_with("mx1: reloaded\n\nwarning: the certificate ends in 3 days\n"),
        "{}",
        run.out
    );
}

#[test]
fn nobody_at_the_socket_is_exit_code_3_and_says_how_to_start() {
    let run = postern(&["--control", "/nonexistent/postern/control", "status"]);
    assert_eq!((run.code, run.out.as_str()), (3, ""));
    assert!(run.err.starts_with("error: posternd is not running: nothing answers at /nonexistent/postern/control\n  help: "), "{}", run.err);
}

#[test]
fn a_socket_path_the_kernel_would_cut_is_named() {
    let long = format!("/tmp/{}/control", "x".repeat(100));
    let run = postern(&["--control", &long, "status"]);
    assert_eq!(run.code, 3);
    assert!(
        run.err.contains("is 113 bytes long; Linux allows 107"),
        "{}",
        run.err
    );
}

#[test]
fn another_version_and_an_answer_to_another_question_are_exit_code_3() {
    let desk = Desk::answering(|_| (Reply::Introduced, None));
    let run = desk.postern(&["stop", "mx1"]);
    assert_eq!(run.code, 3);
    assert!(run.err.contains("unexpected answer"), "{}", run.err);
}

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    for arguments in [
        &["start"][..],
        &["start", "mx1", "--all"],
        &["start", "Not A Name"],
        &["fly"],
        &[],
    ] {
        let run = postern(arguments);
        assert_eq!(run.code, 2, "{arguments:?}");
        assert!(!run.err.is_empty());
    }
}

#[test]
fn output_that_is_no_terminal_has_no_colours_and_a_closed_one_is_no_failure() {
    let (desk, _) = desk(true, 100);
    let run = desk.postern(&["status"]);
    assert!(!run.out.contains("\x1b[3"), "{}", run.out);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = command(&["--control", &desk.control(), "status"])
        .stdout(writer)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(0));
}

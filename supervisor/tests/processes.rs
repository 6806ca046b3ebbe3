//! posternd as a process, with workers that pretend.

#![allow(clippy::unwrap_used)]

mod stage;

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use nix::sys::signal::{Signal, kill};
use postern_control::client::{Client, Reply, Request};
use postern_control::query::{Answer, Question};
use postern_control::{Link, Received, VERSION};
use postern_hosting::ServerState;
use stage::*;

fn start(server: postern_hosting::ServerName) -> Request {
    Request::Start { server }
}
fn stop(server: postern_hosting::ServerName) -> Request {
    Request::Stop { server }
}
fn pause(server: postern_hosting::ServerName) -> Request {
    Request::Pause { server }
}
fn resume(server: postern_hosting::ServerName) -> Request {
    Request::Resume { server }
}
fn restart(server: postern_hosting::ServerName) -> Request {
    Request::Restart { server }
}
fn reload(server: postern_hosting::ServerName) -> Request {
    Request::Reload { server }
}

/// A stage with one server, `mx`, that runs.
fn running(word: &str) -> (Stage, std::net::SocketAddr) {
    let mut stage = Stage::new();
    let address = free_address();
    stage.define("mx", &definition(address, word));
    stage.start();
    stage.reaches("mx", ServerState::Running);
    (stage, address)
}

#[test]
fn every_verb_does_what_it_says() {
    let (stage, address) = running("nothing");
    let first = session(address).greeting;
    assert_eq!((first.0, Some(first.1)), (220, stage.row("mx").pid));
    assert_eq!(stage.done(start, "mx"), "mx is running");

    assert_eq!(stage.done(pause, "mx"), "mx is paused");
    assert_eq!(session(address).greeting.0, 421);
    assert_eq!(stage.row("mx").state, ServerState::Paused);
    assert_eq!(stage.done(resume, "mx"), "mx is running");
    assert_eq!(session(address).greeting.0, 220);

    assert_eq!(stage.done(stop, "mx"), "mx is stopped");
    assert!(try_session(address).is_none(), "a stopped server's port is open");
    assert!(!lives(first.1));
    assert_eq!(stage.done(stop, "mx"), "mx is stopped");
    for verb in [pause, resume, reload] {
        assert_eq!(stage.refused(verb, "mx").0, "mx is not running");
    }
    assert!(stage.refused(start, "nobody").0.contains("nobody.toml does not exist"));

    assert_eq!(stage.done(start, "mx"), "mx is running");
    let second = session(address).greeting;
    assert_ne!(first.1, second.1);
    let row = stage.row("mx");
    assert_eq!((row.pid, row.description.as_str()), (Some(second.1), "nothing"));
    assert_eq!(row.addresses[0].address, address);
    until("its numbers are shown", || (stage.row("mx").queued == 7).then_some(()));
}

#[test]
fn a_restart_cuts_no_session_and_refuses_no_connection() {
    let (stage, address) = running("nothing");
    let mut old = session(address);
    let ended = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let load = std::thread::spawn({
        let ended = ended.clone();
        move || {
            let mut greeted = 0;
            while !ended.load(std::sync::atomic::Ordering::Relaxed) {
                assert_eq!(session(address).greeting.0, 220);
                greeted += 1;
            }
            greeted
        }
    });
    for _ in 0..5 {
        assert_eq!(stage.done(restart, "mx"), "mx is running");
    }
    ended.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(load.join().unwrap() > 0);
    let row = stage.row("mx");
    assert_ne!(row.pid, Some(old.greeting.1));
    assert_eq!(old.say().unwrap().1, old.greeting.1, "the old session is not with its own process");
    assert!(row.detail.contains("former processes drain"), "{}", row.detail);
    let predecessor = old.greeting.1;
    drop(old);
    until("the predecessor ends", || (!lives(predecessor)).then_some(()));
    until("it is forgotten", || stage.row("mx").detail.is_empty().then_some(()));
}

#[test]
fn what_a_worker_notes_is_shown() {
    let (stage, _) = running("noted");
    until("its note is shown", || (stage.row("mx").detail == "pretends").then_some(()));
}

#[test]
fn a_predecessor_that_does_not_end_is_killed() {
    let mut stage = Stage::new();
    let address = free_address();
    let text = definition(address, "deaf").replace("[general]", "[general]\ndrain_timeout = \"100ms\"");
    stage.define("mx", &text);
    stage.start();
    let deaf = stage.reaches("mx", ServerState::Running).pid.unwrap();
    stage.define("mx", &definition(address, "nothing"));
    stage.done(restart, "mx");
    until("it is killed", || (!lives(deaf)).then_some(()));
    assert_eq!(session(address).greeting.2, "nothing");
}

#[test]
fn a_successor_that_fails_leaves_the_predecessor_serving() {
    let (stage, address) = running("nothing");
    let mut kept = session(address);
    let first = kept.greeting.1;
    let other = free_address();
    for (word, reason) in [("refuse", "its definition is refused"), ("crash", "exit code 7"), ("abort", "SIGABRT")] {
        let text = definition(address, word).replace("listen = [", &format!("listen = [\"{other}\", "));
        stage.define("mx", &text);
        let (said, findings) = stage.refused(restart, "mx");
        assert!(said.contains(reason), "{said}");
        assert_eq!(findings.len(), usize::from(word == "refuse"));
        assert_eq!(session(address).greeting.1, first);
        assert!(try_session(other).is_none(), "the new address is still bound");
    }
    assert_eq!(kept.say().unwrap().1, first);
    assert_eq!(stage.row("mx").state, ServerState::Running);
}

#[test]
fn a_reload_is_whole_or_nothing() {
    let (stage, address) = running("nothing");
    let pid = stage.row("mx").pid;
    let added = free_address();
    let both = |word: &str| definition(address, word).replace("listen = [", &format!("listen = [\"{added}\", "));

    stage.define("mx", &both("refuse"));
    let (_, findings) = stage.refused(reload, "mx");
    assert_eq!(findings[0].what, "pretends to be bad");
    assert!(try_session(added).is_none() && session(address).greeting.2 == "nothing");

    stage.define("mx", "[general\n");
    assert_eq!(stage.refused(reload, "mx").1[0].place.unwrap().line, 1);
    assert!(stage.row("mx").detail.contains("mx.toml:1:"));
    assert_eq!(session(address).greeting.2, "nothing");

    let taken = std::net::TcpListener::bind(added).unwrap();
    stage.define("mx", &both("more"));
    assert!(stage.refused(reload, "mx").0.contains("something else listens there"));
    assert_eq!(session(address).greeting.2, "nothing");
    drop(taken);

    assert_eq!(stage.done(reload, "mx"), "mx is running");
    assert_eq!((session(address).greeting.2.as_str(), session(added).greeting.2.as_str()), ("more", "more"));
    stage.define("mx", &definition(added, "less"));
    stage.done(reload, "mx");
    assert_eq!(session(added).greeting.2, "less");
    assert!(try_session(address).is_none(), "a removed address is still bound");
    assert_eq!(stage.row("mx").pid, pid, "a reload is no restart");
}

#[test]
fn a_dead_worker_is_replaced_and_clients_wait_meanwhile() {
    let (stage, address) = running("nothing");
    for _ in 0..3 {
        let pid = stage.reaches("mx", ServerState::Running).pid.unwrap();
        kill(stage::pid(pid), Signal::SIGKILL).unwrap();
        assert_ne!(session(address).greeting.1, pid);
    }
    let pid = stage.reaches("mx", ServerState::Running).pid.unwrap();
    kill(stage::pid(pid), Signal::SIGABRT).unwrap();
    let waiting = until("it waits", || Some(stage.row("mx")).filter(|row| row.pid != Some(pid)));
    if waiting.state == ServerState::Waiting {
        assert!(waiting.detail.contains("killed by SIGABRT"), "{}", waiting.detail);
    }
}

#[test]
fn a_worker_that_never_gets_ready_is_not_tried_at_once_again() {
    let mut stage = Stage::new();
    let address = free_address();
    stage.define("mx", &definition(address, "crash"));
    stage.start();
    let row = stage.reaches("mx", ServerState::Waiting);
    assert!(row.detail.contains("exit code 7") && row.detail.contains("1s later"), "{}", row.detail);
    // An operator may try at once; he is told.
    assert!(stage.refused(start, "mx").0.contains("exit code 7"));
    stage.define("mx", &definition(address, "nothing"));
    assert_eq!(stage.done(reload, "mx"), "mx is running");
    stage.define("mx", &definition(address, "crash"));
    kill(pid(stage.row("mx").pid.unwrap()), Signal::SIGKILL).unwrap();
    stage.reaches("mx", ServerState::Waiting);
    assert_eq!(stage.done(stop, "mx"), "mx is stopped");
    assert!(try_session(address).is_none());
}

#[test]
fn a_worker_that_talks_nonsense_is_ended_and_counted_as_dead() {
    for word in ["nonsense", "generous", "twice", "chatter", "unversioned", "future", "hang up"] {
        let mut stage = Stage::new();
        stage.define("mx", &definition(free_address(), word));
        let other = free_address();
        stage.define("other", &definition(other, "nothing"));
        stage.start();
        let row = until(word, || Some(stage.row("mx")).filter(|row| row.state == ServerState::Waiting));
        let told = row.detail.contains("nonsense") || (word == "hang up" && row.detail.contains("hung up"));
        assert!(told, "{word}: {}", row.detail);
        assert_eq!(session(other).greeting.0, 220);
    }
}

#[test]
fn a_bad_definition_harms_only_its_own_server() {
    let mut stage = Stage::new();
    let address = free_address();
    stage.define("good", &definition(address, "nothing"));
    stage.define("broken", "[general]\nlisten = [\"here\"]\n");
    stage.define("refused", &definition(free_address(), "refuse"));
    stage.define("zwin", &definition(address, "nothing"));
    let missing = "\n[access.tls]\ncertificates = [{ certificate = \"no.pem\", key = \"no.key\" }]\n";
    stage.define("keyless", &(definition(free_address(), "nothing") + missing));
    stage.start();
    stage.reaches("good", ServerState::Running);
    for (server, words) in [
        ("broken", "broken.toml:2:11: error: not an address"),
        ("refused", "refused.toml: error: pretends to be bad"),
        ("zwin", "belongs to the server `good`"),
        ("keyless", "no.pem: error: No such file"),
    ] {
        let row = stage.reaches(server, ServerState::Refused);
        assert!(row.detail.contains(words), "{server}: {}", row.detail);
        assert!(!stage.refused(start, server).1.is_empty());
    }
    stage.define("broken", &definition(free_address(), "nothing"));
    assert_eq!(stage.done(start, "broken"), "broken is running");
    // The clash goes to whom holds the address, whatever the names.
    stage.done(stop, "good");
    let (_, findings) = stage.refused(start, "zwin");
    assert!(findings[0].to_string().contains("zwin.toml:4:11"), "{}", findings[0]);
}

#[test]
fn an_address_in_use_is_waited_for_and_named() {
    let mut stage = Stage::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    stage.define("mx", &definition(address, "nothing"));
    stage.start();
    let row = stage.reaches("mx", ServerState::Waiting);
    assert!(row.detail.contains("something else listens there: `ss -ltnp"), "{}", row.detail);
    drop(taken);
    stage.reaches("mx", ServerState::Running);
}

#[test]
fn a_wish_outlives_posternd() {
    let mut stage = Stage::new();
    let [a, b, c] = [free_address(), free_address(), free_address()];
    stage.define("a", &definition(a, "nothing"));
    stage.define("b", &definition(b, "nothing"));
    stage.define("c", &definition(c, "nothing").replace("[general]", "[general]\nautostart = false"));
    stage.start();
    assert_eq!(stage.row("c").state, ServerState::Stopped);
    stage.done(stop, "a");
    stage.done(pause, "b");
    stage.done(start, "c");
    assert!(stage.end(Signal::SIGTERM).success());
    stage.start();
    stage.reaches("b", ServerState::Paused);
    stage.reaches("c", ServerState::Running);
    assert_eq!(stage.row("a").state, ServerState::Stopped);
    assert_eq!(session(b).greeting.0, 421);
    // A server that was killed with posternd is a wanted one as well.
    assert_eq!(stage.end(Signal::SIGKILL).code(), None);
    stage.start();
    stage.reaches("c", ServerState::Running);
    assert_eq!(stage.row("a").state, ServerState::Stopped);
}

#[test]
fn definitions_come_and_go() {
    let (stage, _) = running("nothing");
    let address = free_address();
    stage.define("later", &definition(address, "nothing"));
    assert_eq!(stage.row("later").state, ServerState::Stopped);
    stage.signal(Signal::SIGHUP);
    stage.reaches("later", ServerState::Running);
    stage.undefine("later");
    assert!(stage.row("later").detail.contains("its definition is gone"));
    assert_eq!(session(address).greeting.0, 220);
    stage.done(stop, "later");
    assert!(!stage.rows().1.iter().any(|row| row.name.as_str() == "later"));
    stage.define("NotAName", "");
    assert!(stage.rows().0.note.contains("NotAName.toml is ignored"));
}

#[test]
fn both_signals_end_it_in_order() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let (mut stage, address) = running("nothing");
        let worker = stage.row("mx").pid.unwrap();
        let mut open = session(address);
        assert_eq!(stage.end(signal).code(), Some(0));
        assert!(!lives(worker) && open.say().is_none());
        assert!(!exists(&stage.path("run/control")));
    }
}

#[test]
fn workers_end_when_posternd_is_killed() {
    let (mut stage, _) = running("nothing");
    let worker = stage.row("mx").pid.unwrap();
    stage.end(Signal::SIGKILL);
    until("the worker ends", || (!lives(worker)).then_some(()));
    // The socket and the locks it left behind are in nobody's way.
    stage.start();
    stage.reaches("mx", ServerState::Running);
}

#[test]
fn one_posternd_a_folder_and_several_on_a_host() {
    let (stage, _) = running("nothing");
    let second = stage.command().output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("another posternd uses"), "{said}");
    let (neighbour, address) = running("neighbour");
    assert_eq!(session(address).greeting.2, "neighbour");
    stage.done(stop, "mx");
    assert_eq!(neighbour.row("mx").state, ServerState::Running);
}

#[test]
fn wrong_calls_and_settings_say_so() {
    let stage = Stage::new();
    let usage = stage.command().arg("--frobnicate").output().unwrap();
    assert_eq!(usage.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&usage.stderr).contains("unknown argument --frobnicate"));
    std::fs::write(stage.path("etc/postern.toml"), "uids = \"0-10\"\ncontrol_group = \"no such\"\nx = 1\n").unwrap();
    let settings = stage.command().output().unwrap();
    assert_eq!(settings.status.code(), Some(1));
    let said = String::from_utf8_lossy(&settings.stderr).into_owned();
    assert!(said.contains("postern.toml:1:8: error") && said.contains("postern.toml:3:1: error"), "{said}");
}

#[test]
fn a_malformed_packet_ends_that_link_only() {
    let (stage, address) = running("nothing");
    let bystander = stage.client();
    let hello = Request::Hello { version: VERSION };
    let nonsense: [&[u8]; 5] =
        [b"", b"\xff", b"{\"Start\":{}}", b"{\"Start\":{\"server\":\"../mx\"}}", &[b'['; 65_536]];
    for greeted in [false, true] {
        for bytes in nonsense {
            let link = Link::connect(&stage.path("run/control")).unwrap();
            link.set_timeout(Some(PATIENCE)).unwrap();
            if greeted {
                link.send(&hello, &[]).unwrap();
                assert!(matches!(link.receive::<Reply>(), Ok(Received::Packet(Reply::Hello { .. }, _))));
            }
            let _ = rustix::net::send(&link, bytes, rustix::net::SendFlags::NOSIGNAL);
            assert!(matches!(link.receive::<Reply>(), Ok(Received::Closed)), "{bytes:?}");
        }
    }
    // A verb before the greeting, a greeting twice, another version, a file with a request.
    for packets in [
        vec![Request::List { after: None }],
        vec![hello.clone(), hello.clone()],
        vec![Request::Hello { version: VERSION + 1 }],
    ] {
        let link = Link::connect(&stage.path("run/control")).unwrap();
        link.set_timeout(Some(PATIENCE)).unwrap();
        for packet in &packets {
            link.send(packet, &[]).unwrap();
        }
        until("the link ends", || matches!(link.receive::<Reply>(), Ok(Received::Closed)).then_some(()));
    }
    let (rows, row) = (bystander.list().unwrap().1, stage.row("mx"));
    assert_eq!((rows.len(), row.state), (1, ServerState::Running));
    assert_eq!(session(address).greeting.0, 220);
    assert!(audit(&stage).iter().any(|line| line["verb"] == "nonsense"));
}

#[test]
fn idle_and_slow_clients_hold_nobody_up() {
    let (stage, _) = running("nothing");
    let idle: Vec<Client> = (0..200).filter_map(|_| Client::connect(&stage.path("run/control")).ok()).collect();
    assert!(idle.len() > 100);
    // One that asks and never reads.
    let slow = Link::connect(&stage.path("run/control")).unwrap();
    slow.set_nonblocking(true).unwrap();
    slow.send(&Request::Hello { version: VERSION }, &[]).unwrap();
    for _ in 0..5000 {
        if slow.send(&Request::List { after: None }, &[]).is_err() {
            break;
        }
    }
    assert_eq!(stage.done(pause, "mx"), "mx is paused");
    assert_eq!(stage.row("mx").state, ServerState::Paused);
}

#[test]
fn an_order_to_a_busy_server_waits_its_turn() {
    let (stage, address) = running("nothing");
    let asks: Vec<_> = [restart, reload, pause, restart, resume, reload]
        .into_iter()
        .map(|verb| {
            let client = stage.client();
            std::thread::spawn(move || client.ask(&verb(name("mx"))).unwrap())
        })
        .collect();
    for ask in asks {
        assert!(matches!(ask.join().unwrap(), Reply::Done { .. }));
    }
    stage.done(resume, "mx");
    assert_eq!(session(address).greeting.0, 220);
}

#[test]
fn many_servers_are_listed_over_several_packets() {
    let mut stage = Stage::new();
    for number in 0..400 {
        let text = definition(free_address(), "nothing").replace("[general]", "[general]\nautostart = false");
        stage.define(&format!("s{number}"), &text.replace("\"nothing\"", &format!("\"{}\"", "x".repeat(200))));
    }
    stage.start();
    let (_, rows) = stage.rows();
    assert_eq!(rows.len(), 400);
    assert!(rows.is_sorted_by(|one, other| one.name < other.name));
}

#[test]
fn a_client_is_introduced_to_the_worker_itself() {
    let (stage, _) = running("nothing");
    let inquiry = stage.client().introduce(&name("mx")).unwrap();
    inquiry.set_timeout(Some(PATIENCE)).unwrap();
    let Ok(Answer::Counters(counters)) = inquiry.ask(&Question::Counters) else { panic!("no counters") };
    assert_eq!(counters.get("pid").copied(), stage.row("mx").pid.map(u64::from));
    stage.done(stop, "mx");
    assert!(stage.client().introduce(&name("mx")).unwrap_err().to_string().contains("is not running"));
}

#[test]
fn every_command_leaves_a_line() {
    let (stage, _) = running("nothing");
    stage.done(pause, "mx");
    stage.refused(start, "nobody");
    let lines = audit(&stage);
    let me = (u64::from(nix::unistd::geteuid().as_raw()), u64::from(std::process::id()));
    for (verb, server, outcome) in [("pause", "mx", "done"), ("start", "nobody", "refused")] {
        let line = lines.iter().find(|line| line["verb"] == verb).unwrap();
        assert_eq!((line["server"].as_str(), line["outcome"].as_str()), (Some(server), Some(outcome)));
        assert_eq!((line["uid"].as_u64(), line["pid"].as_u64()), (Some(me.0), Some(me.1)));
        assert!(line["time"].as_str().unwrap().ends_with('Z'));
    }
    assert!(!lines.iter().any(|line| line["verb"] == "list"));
    let mode = std::fs::metadata(stage.path("state/audit.log")).unwrap().mode();
    assert_eq!(mode & 0o7777, 0o600);
}

#[test]
fn a_worker_has_its_own_things_and_nothing_else() {
    let mut stage = Stage::new();
    let text = definition(free_address(), "nothing") + "limits = { open_files = 500, memory = \"1 GiB\" }\n";
    stage.define("mx", &(text + "[access.authentication]\naccounts = [{ file = \"secret\" }]\n"));
    std::fs::write(stage.path("etc/servers/secret"), "x").unwrap();
    std::fs::set_permissions(stage.path("etc/servers/secret"), PermissionsExt::from_mode(0o600)).unwrap();
    stage.define("other", &definition(free_address(), "nothing"));
    stage.environment("A_SECRET", "of posternd");
    stage.environment("TZ", "UTC");
    stage.start();
    for server in ["mx", "other"] {
        stage.reaches(server, ServerState::Running);
    }
    assert_eq!(stage.state("mx", "file"), "secret");
    let fds = stage.state("mx", "fds");
    // 0 the link and a copy, 1 /dev/null, 2 the log; then what came with the order, and the folder being read.
    let strange = fds.lines().filter(|line| {
        let target = line.split_once(' ').unwrap().1;
        let known = target.starts_with("socket:") || target.ends_with("/log") || target == "/dev/null";
        !(known || target.starts_with("/proc/") || target.contains("etc/servers/"))
    });
    assert_eq!(strange.count(), 0, "{fds}");
    assert_eq!(fds.lines().filter(|line| line.contains("socket:")).count(), 3, "{fds}");
    let environment = stage.state("mx", "environment");
    assert!(environment.contains("TZ") && !environment.contains("A_SECRET"), "{environment}");
    // Bit 24 of the capabilities: without it, root cannot limit another user's process, and says so.
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let held = own.lines().find_map(|line| line.strip_prefix("CapEff:\t")).unwrap();
    if is_root() && u64::from_str_radix(held, 16).unwrap() & (1 << 24) == 0 {
        assert!(stage.log().contains("cannot limit Nofile"));
        return;
    }
    let limits = stage.state("mx", "limits");
    let open = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(open.split_whitespace().filter(|word| *word == "500").count(), 2, "{open}");
    assert!(limits.lines().any(|line| line.starts_with("Max data size") && line.contains("1073741824")));
}

#[test]
fn with_root_each_worker_is_a_user_of_its_own_and_without_it_says_so() {
    let mut stage = Stage::new();
    for server in ["a", "b"] {
        stage.define(server, &definition(free_address(), "nothing"));
    }
    stage.define("c", &definition(free_address(), "nothing").replace("[general]", "[general]\nuser = \"nobody\""));
    stage.start();
    let (host, _) = stage.rows();
    assert_eq!(host.isolated, is_root());
    assert_eq!(host.note.contains("isolation is weaker"), !is_root());
    let rows = ["a", "b"].map(|server| stage.reaches(server, ServerState::Running));
    for row in &rows {
        let metadata = std::fs::metadata(stage.path("state").join(row.name.as_str())).unwrap();
        assert_eq!((metadata.mode() & 0o7777, Some(metadata.uid())), (0o700, row.uid));
    }
    if !is_root() {
        assert_eq!(rows[0].uid, Some(nix::unistd::geteuid().as_raw()));
        return;
    }
    assert_ne!(rows[0].uid, rows[1].uid);
    let status = stage.state("a", "status");
    let uid = rows[0].uid.unwrap().to_string();
    for (key, value) in [("Uid:", format!("{uid}\t{uid}\t{uid}\t{uid}")), ("Groups:", String::new())] {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        assert_eq!(line.trim(), value);
    }
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    assert_eq!(stage.reaches("c", ServerState::Running).uid, Some(nobody.uid.as_raw()));

    // The name keeps its uid, whoever came between, and nobody else ever gets it.
    stage.undefine("a");
    stage.done(stop, "a");
    stage.define("0", &definition(free_address(), "nothing"));
    assert_eq!(stage.done(start, "0"), "0 is running");
    assert!(![rows[0].uid, rows[1].uid].contains(&stage.row("0").uid));
    stage.end(Signal::SIGTERM);
    stage.start();
    assert_eq!(stage.reaches("b", ServerState::Running).uid, rows[1].uid);

    // A state folder that is somebody else's is not touched.
    stage.define("b", &definition(free_address(), "nothing").replace("[general]", "[general]\nuser = \"nobody\""));
    assert!(stage.refused(reload, "b").0.contains("`user` has changed"));
    assert!(stage.refused(restart, "b").0.contains("chown -R"));
    stage.define("b", &definition(free_address(), "nothing").replace("[general]", "[general]\nuser = \"no-such\""));
    let (_, findings) = stage.refused(restart, "b");
    assert!(findings[0].to_string().contains("b.toml:3:8: error: there is no user `no-such`"), "{}", findings[0]);
    assert_eq!(stage.row("b").state, ServerState::Running);
}

#[test]
fn who_may_write_a_definition_and_who_may_use_the_socket() {
    let (stage, _) = running("nothing");
    let mode = |path: &str| std::fs::metadata(stage.path(path)).unwrap().mode() & 0o777;
    assert_eq!(mode("run/control"), 0o600);
    assert_eq!(mode("state"), 0o711);
    if !is_root() {
        return;
    }
    std::fs::set_permissions(stage.definition_path("mx"), PermissionsExt::from_mode(0o666)).unwrap();
    let (_, findings) = stage.refused(reload, "mx");
    assert!(findings[0].remedy.starts_with("chmod go-w"), "{}", findings[0]);
    assert_eq!(stage.row("mx").state, ServerState::Running);
}

#[test]
fn members_of_the_group_may_and_others_may_not() {
    let (mut stage, _) = running("nothing");
    stage.end(Signal::SIGTERM);
    if !is_root() {
        std::fs::write(stage.path("etc/postern.toml"), "control_group = \"no-such-group\"\n").unwrap();
        assert_eq!(stage.command().output().unwrap().status.code(), Some(1));
        return;
    }
    // A group every Debian has; the socket is tried by users that are in it, have it besides, or do not have it.
    let games = nix::unistd::Group::from_name("games").unwrap().unwrap().gid;
    std::fs::write(stage.path("etc/postern.toml"), "control_group = \"games\"\n").unwrap();
    stage.start();
    let metadata = std::fs::metadata(stage.path("run/control")).unwrap();
    assert_eq!((metadata.mode() & 0o777, metadata.gid()), (0o660, games.as_raw()));
    std::fs::copy(std::env::current_exe().unwrap(), stage.path("asker")).unwrap();
    for (groups, may) in [
        ("--regid=games --clear-groups", true),
        ("--regid=nogroup --groups=games", true),
        ("--regid=nogroup --clear-groups", false),
    ] {
        let mut asker = std::process::Command::new("setpriv");
        asker.arg("--reuid=nobody").args(groups.split(' ')).arg(stage.path("asker"));
        asker.args(["--exact", "asks_as_somebody_else"]).env("ASK_AT", stage.path("run/control"));
        assert_eq!(asker.output().unwrap().status.success(), may, "{groups}");
    }
}

/// Not a test of its own: the one above executes it as another user.
#[test]
fn asks_as_somebody_else() {
    if let Some(path) = std::env::var_os("ASK_AT") {
        assert_eq!(Client::connect(path.as_ref()).unwrap().list().unwrap().1.len(), 1);
    }
}

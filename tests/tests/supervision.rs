//! posternd and its workers: each server lives a life of its own, and what is wrong with one is wrong with that one only.

use postern_control::client::Request;
use postern_hosting::ServerState;
use postern_tests::definition::Definition;
use postern_tests::sink::Sink;
use postern_tests::stage::{PATIENCE, Stage, server};
use postern_tests::wire::Wire;
use postern_tests::{Failure, Outcome, mail, program, wait};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

/// Two servers, `one` and `two`, that relay to one sink.
struct Pair {
    stage: Stage,
    sink: Sink,
    one: SocketAddr,
    two: SocketAddr,
}

impl Pair {
    fn start() -> Result<Pair, Failure> {
        let mut stage = Stage::new()?;
        let sink = Sink::start()?;
        let (one, two) = (wait::free_address()?, wait::free_address()?);
        stage.define("one", &relay(one, &sink))?;
        stage.define("two", &relay(two, &sink))?;
        stage.start_with(&["one", "two"])?;
        Ok(Pair {
            stage,
            sink,
            one,
            two,
        })
    }

    /// Fails unless `two` takes mail, in the process `pid`.
    fn two_is_untouched(&self, pid: Option<u32>) -> Outcome {
        takes_mail(self.two)?;
        let row = self.stage.row("two")?;
        assert_eq!((row.state, row.pid), (ServerState::Running, pid));
        Ok(())
    }
}

fn relay(address: SocketAddr, sink: &Sink) -> Definition {
    Definition::open_relay("relay.example.test", address).smart_host(sink.address)
}

fn takes_mail(address: SocketAddr) -> Outcome {
    let reply = Wire::open(address)?.message(
        "a@client.test",
        "b@far.test",
        &mail::with_header("one", b"x\r\n"),
    )?;
    if reply.starts_with("250") {
        Ok(())
    } else {
        Err(reply.into())
    }
}

fn in_session(wire: &mut Wire) -> Outcome {
    let reply = wire.message(
        "a@client.test",
        "b@far.test",
        &mail::with_header("session", b"x\r\n"),
    )?;
    if reply.starts_with("250") {
        Ok(())
    } else {
        Err(reply.into())
    }
}

#[test]
fn a_stopped_server_is_closed_and_the_other_is_not() -> Outcome {
    let pair = Pair::start()?;
    let pid = pair.stage.row("two")?.pid;
    let mut session = Wire::open(pair.one)?;
    let mut receiving = Wire::open(pair.one)?;
    receiving.expect("250", "MAIL FROM:<a@client.test>")?;
    receiving.expect("250", "RCPT TO:<b@far.test>")?;
    receiving.expect("354", "DATA")?;
    receiving.send(b"Subject: in the middle\r\n\r\n")?;
    std::thread::scope(|scope| -> Outcome {
        let stopping = scope.spawn(|| {
            pair.stage.obey(&Request::Stop {
                server: server("one")?,
            })
        });
        // Told at the next command, not cut off.
        wait::until_true("the session to be told", PATIENCE, || {
            session
                .say("NOOP")
                .is_ok_and(|reply| reply.starts_with("421 4.3.2"))
        })?;
        // A message being received is finished first.
        receiving.send(b"the end\r\n.\r\n")?;
        let reply = receiving.reply()?;
        assert!(reply.starts_with("250"), "{reply}");
        receiving.expect("421 4.3.2", "NOOP")?;
        stopping.join().map_err(|_| "the order panicked")?
    })?;
    assert!(Wire::connect(pair.one).is_err(), "a stopped server answers");
    assert_eq!(pair.stage.row("one")?.state, ServerState::Stopped);
    assert_eq!(pair.stage.row("one")?.pid, None);
    pair.two_is_untouched(pid)?;
    pair.stage.obey(&Request::Start {
        server: server("one")?,
    })?;
    takes_mail(pair.one)?;
    pair.sink.wait(3)?;
    Ok(())
}

#[test]
fn a_paused_server_says_so_and_its_sessions_go_on() -> Outcome {
    let pair = Pair::start()?;
    let (pid, other) = (pair.stage.row("one")?.pid, pair.stage.row("two")?.pid);
    let mut session = Wire::open(pair.one)?;
    pair.stage.obey(&Request::Pause {
        server: server("one")?,
    })?;
    assert_eq!(pair.stage.row("one")?.state, ServerState::Paused);
    let greeting = Wire::connect(pair.one)?.greeting;
    assert!(greeting.starts_with("421 4.3.2"), "{greeting}");
    in_session(&mut session)?;
    // Delivery goes on too.
    pair.sink.wait(1)?;
    pair.two_is_untouched(other)?;
    pair.stage.obey(&Request::Resume {
        server: server("one")?,
    })?;
    takes_mail(pair.one)?;
    assert_eq!(pair.stage.row("one")?.pid, pid);
    Ok(())
}

#[test]
fn a_restarted_server_is_another_process_and_sessions_finish_under_the_old_one() -> Outcome {
    let pair = Pair::start()?;
    let (pid, other) = (pair.stage.row("one")?.pid, pair.stage.row("two")?.pid);
    let mut session = Wire::open(pair.one)?;
    pair.stage.obey(&Request::Restart {
        server: server("one")?,
    })?;
    let successor = pair.stage.row("one")?;
    assert_eq!(successor.state, ServerState::Running);
    assert_ne!(successor.pid, pid);
    takes_mail(pair.one)?;
    in_session(&mut session)?;
    session.expect("221", "QUIT")?;
    let old = i32::try_from(pid.ok_or("no pid")?)?;
    wait::until_gone(old, PATIENCE)?;
    pair.two_is_untouched(other)?;
    pair.sink.wait(3)?;
    pair.stage.wait_empty("one")
}

#[test]
fn a_reloaded_server_has_a_new_definition_and_old_sessions_the_old_one() -> Outcome {
    let pair = Pair::start()?;
    let (pid, other) = (pair.stage.row("one")?.pid, pair.stage.row("two")?.pid);
    let mut session = Wire::open(pair.one)?;
    let more = wait::free_address()?;
    let changed = relay(pair.one, &pair.sink)
        .general("listen", format!("[\"{}\", \"{more}\"]", pair.one))
        .messages("max_message_size", "\"77777\"");
    pair.stage.define("one", &changed)?;
    pair.stage.obey(&Request::Reload {
        server: server("one")?,
    })?;
    assert!(
        Wire::connect(pair.one)?
            .say("EHLO c.test")?
            .contains("SIZE 77777")
    );
    assert!(
        Wire::connect(more)?
            .say("EHLO c.test")?
            .contains("SIZE 77777")
    );
    assert!(
        !session.say("EHLO c.test")?.contains("SIZE 77777"),
        "a session changed generation"
    );
    in_session(&mut session)?;
    assert_eq!(pair.stage.row("one")?.pid, pid);
    // An identity that is gone is closed.
    pair.stage.define("one", &relay(pair.one, &pair.sink))?;
    pair.stage.obey(&Request::Reload {
        server: server("one")?,
    })?;
    wait::until_true("the second identity to be closed", PATIENCE, || {
        Wire::connect(more).is_err()
    })?;
    pair.two_is_untouched(other)
}

#[test]
fn a_bad_reload_changes_nothing_and_says_what_to_write() -> Outcome {
    let pair = Pair::start()?;
    let good = relay(pair.one, &pair.sink);
    let line = |text: &str, needle: &str| {
        text.lines()
            .position(|l| l.contains(needle))
            .map(|at| at as u32 + 1)
    };
    let key = pair.stage.path("tls/missing.pem");
    for (bad, needle) in [
        (
            good.clone().general("max_conections", 5).to_string(),
            "max_conections",
        ),
        (
            good.clone().relay("list", "[\"127.0.0.0/33\"]").to_string(),
            "127.0.0.0/33",
        ),
        (
            good.clone()
                .certificate(&pair.stage.certificate(), &key)
                .to_string(),
            "missing.pem",
        ),
        (good.to_string().replace("fqdn", "#fqdn"), "[general]"),
        (good.to_string() + "\n[nonsense]\n", "nonsense"),
        (good.to_string() + "\nthis is no TOML\n", "this is no TOML"),
    ] {
        pair.stage.define_text("one", &bad)?;
        let Err((reason, findings)) = pair.stage.order(&Request::Reload {
            server: server("one")?,
        })?
        else {
            return Err(format!("a definition with {needle} was taken").into());
        };
        let found = findings
            .iter()
            .find(|f| f.path.ends_with("one.toml"))
            .ok_or_else(|| format!("{needle}: no finding, but {reason}"))?;
        assert!(!found.remedy.is_empty(), "{needle}: no remedy: {found}");
        let place = found.place.as_ref().map(|p| p.line);
        assert!(
            place.is_some() && (place == line(&bad, needle) || needle == "[general]"),
            "{needle}: {found}"
        );
        let row = pair.stage.row("one")?;
        assert_eq!(row.state, ServerState::Running, "{needle}: {row:?}");
        takes_mail(pair.one).map_err(|error| format!("{needle}: {error}"))?;
    }
    pair.stage.define("one", &good)?;
    pair.stage.obey(&Request::Reload {
        server: server("one")?,
    })
}

#[test]
fn a_bad_definition_is_the_trouble_of_that_server_only() -> Outcome {
    let mut stage = Stage::new()?;
    let sink = Sink::start()?;
    let good = wait::free_address()?;
    stage.define("good", &relay(good, &sink))?;
    stage.define_text("empty", "")?;
    stage.define_text("garbage", "\u{0}\u{1}= [[[")?;
    stage.define(
        "unknown-key",
        &relay(wait::free_address()?, &sink).general("fqnd", "\"a.test\""),
    )?;
    stage.define(
        "no-network",
        &relay(wait::free_address()?, &sink).relay("list", "[\"300.1.1.1\"]"),
    )?;
    stage.define(
        "no-key",
        &relay(wait::free_address()?, &sink)
            .certificate(&stage.certificate(), &stage.path("none.pem")),
    )?;
    stage.start_with(&["good"])?;
    for name in ["empty", "garbage", "unknown-key", "no-network", "no-key"] {
        let row = stage.wait_state(name, ServerState::Refused)?;
        assert!(row.detail.contains(&format!("{name}.toml")), "{row:?}");
        let Err((_, findings)) = stage.order(&Request::Start {
            server: server(name)?,
        })?
        else {
            return Err(format!("{name} was started").into());
        };
        assert!(!findings.is_empty(), "{name}: no findings");
    }
    takes_mail(good)?;
    // Mended, it starts.
    let mended = wait::free_address()?;
    stage.define("empty", &relay(mended, &sink))?;
    stage.obey(&Request::Start {
        server: server("empty")?,
    })?;
    takes_mail(mended)
}

#[test]
fn a_clash_of_identities_names_both() -> Outcome {
    let pair = Pair::start()?;
    pair.stage.define("three", &relay(pair.one, &pair.sink))?;
    let Err((reason, findings)) = pair.stage.order(&Request::Start {
        server: server("three")?,
    })?
    else {
        return Err("two servers have one identity".into());
    };
    let all = format!(
        "{reason} {}",
        findings
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" ")
    );
    assert!(all.contains("three") && all.contains("one"), "{all}");
    takes_mail(pair.one)?;
    takes_mail(pair.two)
}

#[test]
fn what_the_operator_wanted_holds_over_a_restart_of_posternd() -> Outcome {
    let mut pair = Pair::start()?;
    pair.stage.obey(&Request::Stop {
        server: server("one")?,
    })?;
    assert!(pair.stage.stop()?.success());
    assert!(Wire::connect(pair.two).is_err());
    pair.stage.start_with(&["two"])?;
    assert_eq!(pair.stage.row("one")?.state, ServerState::Stopped);
    assert!(Wire::connect(pair.one).is_err());
    takes_mail(pair.two)?;
    pair.stage.obey(&Request::Start {
        server: server("one")?,
    })?;
    assert!(pair.stage.stop()?.success());
    pair.stage.start_with(&["one", "two"])?;
    takes_mail(pair.one)
}

#[test]
fn a_worker_that_dies_is_followed_by_another() -> Outcome {
    let mut pair = Pair::start()?;
    let other = pair.stage.row("two")?.pid;
    let pid = pair.stage.worker("one")?;
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid),
        nix::sys::signal::Signal::SIGKILL,
    )?;
    wait::until_true("a new worker", PATIENCE, || {
        pair.stage.row("one").is_ok_and(|row| {
            row.state == ServerState::Running && row.pid.is_some_and(|new| new as i32 != pid)
        })
    })?;
    takes_mail(pair.one)?;
    pair.two_is_untouched(other)
}

#[test]
fn a_server_that_is_not_there_is_refused_in_words() -> Outcome {
    let pair = Pair::start()?;
    for request in [
        Request::Start {
            server: server("none")?,
        },
        Request::Stop {
            server: server("none")?,
        },
        Request::Reload {
            server: server("none")?,
        },
    ] {
        let Err((reason, _)) = pair.stage.order(&request)? else {
            return Err(format!("{request:?} was done").into());
        };
        assert!(reason.contains("none"), "{reason}");
    }
    assert!(pair.stage.client()?.introduce(&server("none")?).is_err());
    Ok(())
}

#[test]
fn a_malformed_control_packet_ends_that_link_only() -> Outcome {
    use nix::sys::socket::{
        AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, send, socket,
    };
    use std::os::fd::AsRawFd;
    let pair = Pair::start()?;
    let before = pair.stage.pid()?;
    let bystander = pair.stage.client()?;
    let hello = format!("{{\"Hello\":{{\"version\":{}}}}}", postern_control::VERSION).into_bytes();
    let long = vec![b'x'; 100_000];
    let packets: [&[u8]; 9] = [
        b"",
        b"{",
        b"null",
        b"\xff\xfe\x00",
        b"{\"Format\":{}}",
        b"{\"Stop\":{\"server\":\"../etc\"}}",
        b"{\"Stop\":{}}",
        b"[[[[[[[[[[",
        &long,
    ];
    for greeted in [false, true] {
        for packet in packets {
            let link = socket(
                AddressFamily::Unix,
                SockType::SeqPacket,
                SockFlag::SOCK_CLOEXEC,
                None,
            )?;
            connect(
                link.as_raw_fd(),
                &UnixAddr::new(&pair.stage.path("run/control"))?,
            )?;
            let mut buffer = [0; 4096];
            if greeted {
                send(link.as_raw_fd(), &hello, MsgFlags::empty())?;
                recv(link.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            }
            // An empty packet looks like the end; one too long may be refused by the kernel: all the same.
            let _ = send(link.as_raw_fd(), packet, MsgFlags::MSG_NOSIGNAL);
            // A refusal in words may come first; then the link is closed.
            while recv(link.as_raw_fd(), &mut buffer, MsgFlags::empty())
                .is_ok_and(|count| count > 0)
            {}
        }
    }
    // Unasked-for files are not kept.
    let files = std::fs::read_dir(format!("/proc/{before}/fd"))?.count();
    assert!(files < 100, "{files} open files");
    bystander.list()?;
    takes_mail(pair.one)?;
    assert_eq!(pair.stage.pid()?, before);
    Ok(())
}

#[test]
fn under_root_each_worker_is_a_user_of_its_own() -> Outcome {
    program::need_root("only root can give workers uids of their own")?;
    let mut pair = Pair::start()?;
    assert!(pair.stage.host()?.isolated);
    let (one, two) = (pair.stage.row("one")?, pair.stage.row("two")?);
    let (first, second) = (one.uid.ok_or("no uid")?, two.uid.ok_or("no uid")?);
    assert!(first != second && first != 0 && second != 0);
    for (name, uid) in [("one", first), ("two", second)] {
        let pid = pair.stage.worker(name)?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |key: &str| {
            status
                .lines()
                .find_map(|l| l.strip_prefix(key))
                .unwrap_or_default()
                .split_whitespace()
                .collect::<Vec<_>>()
        };
        let uid_text = uid.to_string();
        assert_eq!(field("Uid:"), [&uid_text; 4], "{name}");
        assert!(
            !field("Gid:").contains(&"0") && !field("Groups:").contains(&"0"),
            "{name}: {status}"
        );
        assert_eq!(
            field("NoNewPrivs:"),
            ["1"],
            "{name}: it could gain by executing something"
        );
        for capability in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
            assert_eq!(
                field(capability),
                ["0000000000000000"],
                "{name}: {capability}"
            );
        }
        let folder = std::fs::metadata(pair.stage.path(&format!("state/{name}")))?;
        assert_eq!(
            (folder.uid(), folder.permissions().mode() & 0o777),
            (uid, 0o700),
            "{name}"
        );
        // Nothing of anybody else's is open.
        for entry in std::fs::read_dir(format!("/proc/{pid}/fd"))? {
            let target = std::fs::read_link(entry?.path())?;
            let other = if name == "one" { "two" } else { "one" };
            let foreign = pair.stage.path(&format!("state/{other}"));
            assert!(
                !target.starts_with(&foreign) && !target.starts_with(pair.stage.path("run")),
                "{name} holds {}",
                target.display()
            );
        }
    }
    let folder = pair.stage.path("state/one").to_string_lossy().into_owned();
    let output = program::run(
        "setpriv",
        [
            &format!("--reuid={second}"),
            "--clear-groups",
            "ls",
            &folder,
        ],
        b"",
    )?;
    assert!(
        !output.status.success(),
        "the second worker's user can look into the first one's folder"
    );
    // The same over a restart of posternd: a spool stays readable to its server.
    pair.stage.stop()?;
    pair.stage.start_with(&["one", "two"])?;
    assert_eq!(
        (pair.stage.row("one")?.uid, pair.stage.row("two")?.uid),
        (Some(first), Some(second))
    );
    Ok(())
}

#[test]
fn the_command_shows_and_orders() -> Outcome {
    let pair = Pair::start()?;
    let output = pair.stage.postern(&["status"])?;
    let table = program::succeed(output)?;
    for part in ["one", "two", "running", &pair.one.to_string()] {
        assert!(table.contains(part), "no {part} in\n{table}");
    }
    let rows: serde_json::Value = serde_json::from_str(&program::succeed(
        pair.stage.postern(&["status", "--json"])?,
    )?)?;
    assert!(rows.to_string().contains("\"one\""), "{rows}");
    program::succeed(pair.stage.postern(&["stop", "one"])?)?;
    assert_eq!(pair.stage.row("one")?.state, ServerState::Stopped);
    program::succeed(pair.stage.postern(&["start", "one"])?)?;
    for verb in ["pause", "resume", "restart", "reload"] {
        program::succeed(pair.stage.postern(&[verb, "one", "two"])?)?;
    }
    takes_mail(pair.one)?;
    assert!(!pair.stage.postern(&["start", "none"])?.status.success());
    pair.stage.define(
        "one",
        &relay(pair.one, &pair.sink).general("fqnd", "\"x.test\""),
    )?;
    let output = pair.stage.postern(&["reload", "one"])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    assert!(
        !output.status.success() && said.contains("one.toml") && said.contains("fqnd = "),
        "{said}"
    );
    Ok(())
}

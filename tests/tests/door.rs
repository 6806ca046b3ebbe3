//! Who comes to the door: clients behind balancers, clients that do not wait, clients whose name decides.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use postern_control::client::Request;
use postern_control::query::{Answer, Question};
use postern_tests::definition::Definition;
use postern_tests::peers::Dns;
use postern_tests::stage::{Stage, server};
use postern_tests::wire::{Wire, connect_from};
use postern_tests::{Failure, Outcome, wait};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

/// A client that speaks before it listens.
fn early(to: SocketAddr, bytes: &[u8]) -> Result<String, Failure> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(bytes)?;
    let mut said = Vec::new();
    // What the server had not read when it closed may turn its end into a reset.
    let _ = stream.read_to_end(&mut said);
    Ok(String::from_utf8_lossy(&said).into_owned())
}

fn count(stage: &Stage, name: &str) -> Result<u64, Failure> {
    let counters: BTreeMap<String, u64> = stage.counters("gate")?;
    counters
        .get(name)
        .copied()
        .ok_or_else(|| format!("there is no counter {name}").into())
}

fn gate(
    change: impl FnOnce(&Stage, Definition) -> Definition,
) -> Result<(Stage, SocketAddr), Failure> {
    let mut stage = Stage::new()?;
    let address = wait::free_address()?;
    let definition = change(&stage, Definition::open_relay("gate.example.test", address));
    stage.define("gate", &definition)?;
    stage.start_with(&["gate"])?;
    Ok((stage, address))
}

/// A client 192.0.2.`last`, behind a balancer.
fn through(address: SocketAddr, last: u8) -> Result<Wire, Failure> {
    let header = format!("PROXY TCP4 192.0.2.{last} 192.0.2.1 5000 25\r\n");
    Wire::behind(TcpStream::connect(address)?, header.as_bytes())
}

/// Whom the server believes to be inside.
fn inside(stage: &Stage) -> Result<Vec<SocketAddr>, Failure> {
    match stage
        .inquire("gate")?
        .ask(&Question::Sessions { after: None })?
    {
        Answer::Sessions { rows, .. } => Ok(rows.iter().map(|row| row.client).collect()),
        other => Err(format!("sessions were answered {other:?}").into()),
    }
}

#[test]
fn a_balancer_says_who_the_client_is() -> Outcome {
    let (stage, address) = gate(|_, d| {
        d.general("proxy_from", "[\"127.0.0.1\"]")
            .general("max_connections_per_ip", 2)
            .connection("list", "[\"203.0.113.0/24\"]")
            .relay("list", "[\"192.0.2.0/24\"]")
    })?;
    let through = |header: &[u8]| -> Result<Wire, Failure> {
        Wire::behind(TcpStream::connect(address)?, header)
    };
    // Version 1: the list decides by the client's address, not the balancer's.
    let mut relayed = through(b"PROXY TCP4 192.0.2.7 192.0.2.10 5000 25\r\n")?;
    assert!(relayed.greeting.starts_with("220"), "{}", relayed.greeting);
    relayed.expect("250", "EHLO scanner")?;
    assert_eq!(inside(&stage)?, ["192.0.2.7:5000".parse()?]);
    relayed.expect("250", "MAIL FROM:<a@client.test>")?;
    relayed.expect("250", "RCPT TO:<b@far.test>")?;
    // Version 2, and a client that may not relay.
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    v2.extend([198, 51, 100, 7, 192, 0, 2, 10, 0, 80, 0, 25]);
    let mut stranger = through(&v2)?;
    stranger.expect("250", "EHLO stranger")?;
    stranger.expect("250", "MAIL FROM:<a@client.test>")?;
    stranger.expect("550 5.7.1 Unable to relay", "RCPT TO:<b@far.test>")?;
    // One who may not connect.
    let refused = through(b"PROXY TCP4 203.0.113.9 192.0.2.10 5000 25\r\n")?;
    assert!(
        refused.greeting.starts_with("554 5.7.1"),
        "{}",
        refused.greeting
    );
    // A health check is the balancer itself, and it may connect.
    let mut check = through(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0")?;
    check.expect("221", "QUIT")?;
    // The limit for one address counts the clients, not the balancer.
    let held: Vec<Wire> = (0..2)
        .map(|port| {
            through(format!("PROXY TCP4 192.0.2.9 192.0.2.10 {} 25\r\n", port + 1).as_bytes())
        })
        .collect::<Result<_, _>>()?;
    assert!(held.iter().all(|wire| wire.greeting.starts_with("220")));
    let third = through(b"PROXY TCP4 192.0.2.9 192.0.2.10 3 25\r\n")?;
    assert!(
        third.greeting.starts_with("421 4.3.2"),
        "{}",
        third.greeting
    );
    let other = through(b"PROXY TCP4 192.0.2.10 192.0.2.10 3 25\r\n")?;
    assert!(other.greeting.starts_with("220"), "{}", other.greeting);
    // Who is none: no greeting, and the connection is closed.
    assert_eq!(early(address, b"EHLO client.example.net\r\n")?, "");
    assert_eq!(early(address, b"PROXY TCP4 nonsense\r\n")?, "");
    assert_eq!(count(&stage, "proxy_headers_refused")?, 2);
    // Mail behind the header that did not wait for the greeting.
    let hasty = early(
        address,
        b"PROXY TCP4 192.0.2.7 192.0.2.10 5000 25\r\nEHLO x\r\n",
    )?;
    assert!(
        hasty.starts_with("554 5.5.1 Wait for the greeting"),
        "{hasty}"
    );
    Ok(())
}

#[test]
fn nobody_else_is_believed() -> Outcome {
    let (stage, address) = gate(|_, d| d.general("proxy_from", "[\"127.0.0.2\"]"))?;
    let mut wire = Wire::connect(address)?;
    assert!(wire.greeting.starts_with("220"));
    wire.expect(
        "554 5.7.1 No PROXY header is taken from your address",
        "PROXY TCP4 192.0.2.7 192.0.2.10 5000 25",
    )?;
    assert!(wire.closed());
    let mut wire = Wire::connect(address)?;
    wire.send(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0")?;
    assert!(wire.reply()?.starts_with("554 5.7.1 No PROXY header"));
    assert!(wire.closed());
    wait::until_true("both to be counted", PATIENCE, || {
        count(&stage, "proxy_headers_refused").is_ok_and(|count| count == 2)
    })
}

/// A balancer in front of an identity with implicit TLS: the header comes before the handshake.
#[test]
fn a_header_comes_before_implicit_tls() -> Outcome {
    let (stage, address) = gate(|stage, d| {
        let listen = d.to_string();
        let listen = listen
            .lines()
            .find_map(|line| line.strip_prefix("listen = [\"")?.strip_suffix("\"]"))
            .unwrap_or_default()
            .to_owned();
        d.general(
            "listen",
            format!("[{{ address = \"{listen}\", tls = \"implicit\" }}]"),
        )
        .general("proxy_from", "[\"127.0.0.0/8\"]")
        .certificate(&stage.certificate(), &stage.key())
    })?;
    let script = format!(
        "import socket, ssl
raw = socket.create_connection(('{}', {}))
raw.sendall(b'PROXY TCP4 192.0.2.7 192.0.2.10 5000 465\\r\\n')
context = ssl._create_unverified_context()
wire = context.wrap_socket(raw, server_hostname='gate.example.test')
assert wire.recv(200).startswith(b'220 '), 'greeting'
wire.sendall(b'QUIT\\r\\n')
assert wire.recv(200).startswith(b'221 '), 'farewell'
print('spoken')
",
        address.ip(),
        address.port()
    );
    let output = postern_tests::program::run("python3", ["-c", &script], b"")?;
    assert_eq!(postern_tests::program::succeed(output)?.trim(), "spoken");
    assert_eq!(count(&stage, "tls_handshakes")?, 1);
    Ok(())
}

/// The worker is held while the client speaks, so that its bytes surely lie there before the greeting.
#[test]
fn early_talkers_and_strangers_are_turned_away() -> Outcome {
    let (mut stage, address) = gate(|_, d| d)?;
    let worker = stage.worker("gate")?;
    let signal = |signal| kill(Pid::from_raw(worker), signal);
    let cases: [(&[u8], &str); 3] = [
        (
            b"EHLO x\r\nMAIL FROM:<>\r\n",
            "554 5.5.1 Wait for the greeting\r\n",
        ),
        (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            "554 5.5.1 TLS begins with STARTTLS",
        ),
        (
            b"PROXY TCP4 192.0.2.7 192.0.2.10 1 25\r\n",
            "554 5.7.1 No PROXY header",
        ),
    ];
    for (bytes, answer) in cases {
        signal(Signal::SIGSTOP)?;
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(bytes)?;
        signal(Signal::SIGCONT)?;
        let mut said = String::new();
        stream.read_to_string(&mut said)?;
        assert!(said.starts_with(answer), "{}: {said}", bytes.escape_ascii());
    }
    // After the greeting a TLS hello is known all the same.
    let mut wire = Wire::connect(address)?;
    wire.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")?;
    assert!(
        wire.reply()?
            .starts_with("554 5.5.1 TLS begins with STARTTLS")
    );
    wait::until_true("all to be counted", PATIENCE, || {
        count(&stage, "early_talkers").is_ok_and(|count| count == 3)
            && count(&stage, "tls_on_plain_port").is_ok_and(|count| count == 2)
    })?;
    assert!(
        stage
            .log()
            .contains("a TLS hello came where TLS begins with STARTTLS")
    );
    Ok(())
}

/// Without holding the worker: a stranger's greeting waits for those who do not wait for it. On a busy machine this client
/// may itself be too late to be early now and then.
#[test]
fn a_stranger_who_speaks_at_once_is_heard() -> Outcome {
    let (stage, address) = gate(|_, d| d.relay("list", "[]"))?;
    let mut caught = 0;
    for _ in 0..40 {
        let said = early(address, b"QUIT\r\n")?;
        caught += u64::from(said.starts_with("554 5.5.1 Wait for the greeting"));
        if caught == 10 {
            break;
        }
    }
    assert_eq!(caught, 10, "of 40 tries");
    wait::until_true("all to be counted", PATIENCE, || {
        count(&stage, "early_talkers").is_ok_and(|count| count == caught)
    })?;
    assert!(Wire::connect(address)?.greeting.starts_with("220"));
    Ok(())
}

#[test]
fn errors_are_slowed_from_the_fifth_on() -> Outcome {
    let (_stage, address) = gate(|_, d| d)?;
    let mut wire = Wire::open(address)?;
    let begun = Instant::now();
    for _ in 0..4 {
        wire.expect("500", "NONSENSE")?;
    }
    assert!(begun.elapsed() < Duration::from_secs(1));
    let begun = Instant::now();
    wire.expect("500", "NONSENSE")?;
    assert!(begun.elapsed() >= Duration::from_millis(900));
    Ok(())
}

/// Names that lead back count; lies, failures and endless answers do not, and are counted where they failed.
#[test]
fn domains_are_confirmed_both_ways() -> Outcome {
    let folder = tempfile::tempdir()?;
    let long = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(48));
    let many: String = (0..1000)
        .map(|number| format!("5 PTR many{number}.example.test.\n"))
        .collect();
    let dns = Dns::with_reverse(
        folder.path(),
        &format!(
            "scanner.office A 192.0.2.2\nliar A 192.0.2.99\nround CNAME circle\ncircle CNAME round\n{long} A 192.0.2.6\nmany0 A 192.0.2.5\n"
        ),
        &format!(
            "2 PTR scanner.office.example.test.\n3 PTR scanner.office.example.test.\n4 PTR round.example.test.\n6 PTR {long}.example.test.\n{many}"
        ),
    )?;
    let (stage, address) = gate(|_, d| {
        d.general("proxy_from", "[\"127.0.0.1\"]")
            .relay("list", "[\"domain office.example.test\"]")
            .connection("mode", "\"only\"")
            .connection("list", "[\"domain example.test\", \"192.0.2.9\"]")
            .delivery("external_dns", format!("[\"{}\"]", dns.resolver))
    })?;
    let from = |last: u8| through(address, last);
    let relay = |wire: &mut Wire| -> Result<String, Failure> {
        wire.expect("250", "EHLO x")?;
        wire.expect("250", "MAIL FROM:<a@client.test>")?;
        wire.say("RCPT TO:<b@far.test>")
    };
    let mut scanner = from(2)?;
    assert!(scanner.greeting.starts_with("220"), "{}", scanner.greeting);
    assert!(relay(&mut scanner)?.starts_with("250"));
    for (last, why) in [(3, "a lie"), (4, "a circle"), (7, "no name")] {
        let wire = from(last)?;
        assert!(
            wire.greeting.starts_with("554 5.7.1"),
            "{why}: {}",
            wire.greeting
        );
    }
    // A name of 250 octets is a name. One of a thousand claims is not looked for beyond the first few.
    assert!(from(6)?.greeting.starts_with("220"));
    let crowd = from(5)?.greeting.clone();
    assert!(
        crowd.starts_with("220") || crowd.starts_with("554"),
        "{crowd}"
    );
    // Listed by address: nothing is looked up to let it in, only to relay.
    let before = count(&stage, "reverse_lookups")?;
    let mut listed = from(9)?;
    assert_eq!(count(&stage, "reverse_lookups")?, before);
    assert!(relay(&mut listed)?.starts_with("550 5.7.1"));
    assert_eq!(count(&stage, "reverse_lookups")?, before + 1);
    // Asked again, it is at hand.
    assert!(from(2)?.greeting.starts_with("220"));
    assert_eq!(count(&stage, "reverse_lookups")?, before + 1);
    Ok(())
}

/// While DNS stands still, who needs no name is served at once; who needs one waits 5 seconds and is no match.
#[test]
fn a_slow_name_server_holds_nobody_else_up() -> Outcome {
    let folder = tempfile::tempdir()?;
    let dns = Dns::start(folder.path(), "")?;
    let (stage, address) = gate(|_, d| {
        d.general("proxy_from", "[\"127.0.0.2\"]")
            .connection("list", "[\"domain spam.example.test\"]")
            .relay("list", "[\"127.0.0.1\", \"domain office.example.test\"]")
            .delivery("external_dns", format!("[\"{}\"]", dns.resolver))
    })?;
    // Warm: this client's names are known.
    assert!(Wire::connect(address)?.greeting.starts_with("220"));
    dns.freeze()?;
    let slow = std::thread::spawn(move || -> Result<(String, Duration), String> {
        let begun = Instant::now();
        let balancer = SocketAddr::from(([127, 0, 0, 2], 0));
        let wire = connect_from(balancer, address)
            .and_then(|stream| Wire::behind(stream, b"PROXY TCP4 192.0.2.44 192.0.2.1 5000 25\r\n"))
            .map_err(|error| error.to_string())?;
        Ok((wire.greeting.clone(), begun.elapsed()))
    });
    wait::until_true("the look-up to begin", PATIENCE, || {
        count(&stage, "reverse_lookups").is_ok_and(|count| count == 2)
    })?;
    for _ in 0..20 {
        let begun = Instant::now();
        let mut wire = Wire::open(address)?;
        wire.expect("250", "MAIL FROM:<a@client.test>")?;
        wire.expect("250", "RCPT TO:<b@far.test>")?;
        assert!(
            begun.elapsed() < Duration::from_secs(1),
            "{:?}",
            begun.elapsed()
        );
    }
    let (greeting, took) = slow.join().map_err(|_| "the client failed")??;
    dns.wake()?;
    // An entry that cannot be found out is no match: with all-except, the client may connect.
    assert!(greeting.starts_with("220"), "{greeting}");
    assert!(
        took >= Duration::from_secs(2) && took < Duration::from_secs(8),
        "{took:?}"
    );
    assert_eq!(count(&stage, "reverse_lookups_failed")?, 1);
    Ok(())
}

/// A computer named in a list is looked up as the list is loaded, and again as its TTL runs out.
#[test]
fn hosts_follow_their_name() -> Outcome {
    let folder = tempfile::tempdir()?;
    let mut dns = Dns::start(folder.path(), "scanner 1 A 127.0.0.2\n")?;
    let (stage, address) = gate(|_, d| {
        d.relay(
            "list",
            "[\"host scanner.example.test\", \"host gone.example.test\"]",
        )
        .delivery("external_dns", format!("[\"{}\"]", dns.resolver))
    })?;
    let relays = |last: u8| -> Result<bool, Failure> {
        let mut wire = Wire::from(SocketAddr::from(([127, 0, 0, last], 0)), address)?;
        wire.expect("250", "EHLO x")?;
        wire.expect("250", "MAIL FROM:<a@client.test>")?;
        Ok(wire.say("RCPT TO:<b@far.test>")?.starts_with("250"))
    };
    assert!(relays(2)? && !relays(3)?);
    dns.change("scanner 1 A 127.0.0.3\n", "")?;
    wait::until_true("the new address to be known", PATIENCE, || {
        relays(3).is_ok_and(|relays| relays)
    })?;
    assert!(!relays(2)?);
    // While DNS cannot be asked, what was known stays, over a reload too.
    dns.freeze()?;
    stage.obey(&Request::Reload {
        server: server("gate")?,
    })?;
    assert!(relays(3)?);
    dns.wake()?;
    Ok(())
}

/// A hundred hosts that nobody can look up hold a reload up for five seconds, not for five each; and nobody's mail.
#[test]
fn a_dead_name_server_does_not_hold_a_reload_up() -> Outcome {
    let folder = tempfile::tempdir()?;
    let dns = Dns::start(folder.path(), "scanner A 127.0.0.2\n")?;
    let (stage, address) = gate(|stage, d| {
        let hosts: String = (0..400)
            .map(|number| format!("host h{number}.example.test\n"))
            .collect();
        let list = stage.path("etc/hosts.txt");
        std::fs::write(&list, format!("host scanner.example.test\n{hosts}"))
            .map(|()| d.relay("list", format!("[\"file {}\"]", list.display())))
            .unwrap_or_else(|error| panic!("{error}"))
            .delivery("external_dns", format!("[\"{}\"]", dns.resolver))
    })?;
    dns.freeze()?;
    let begun = Instant::now();
    stage.obey(&Request::Reload {
        server: server("gate")?,
    })?;
    let took = begun.elapsed();
    let mut wire = Wire::from(SocketAddr::from(([127, 0, 0, 2], 0)), address)?;
    wire.expect("250", "EHLO x")?;
    wire.expect("250", "MAIL FROM:<a@client.test>")?;
    wire.expect("250", "RCPT TO:<b@far.test>")?;
    dns.wake()?;
    assert!(took < Duration::from_secs(15), "{took:?}");
    Ok(())
}

//! A flood of wrong logins: who is in works on, and who has the right password gets in.

use postern_tests::definition::Definition;
use postern_tests::stage::{Stage, private};
use postern_tests::wire::Wire;
use postern_tests::{Failure, Outcome, program, wait};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// `wonder.land-1` at the cost that `postern account` has: 19 MiB.
const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$YWxpY2VhbGljZWFsaWNlMQ$3l9aybG6l2Fg+feovuYjTNUzvCODJcB0+aIYK63djQY";
const PASSWORD: &str = "wonder.land-1";
/// Who logs in while the flood lasts, each once: a password known again costs nothing.
const HONEST: usize = 10;
const FLOOD: usize = 200;

fn server() -> Result<(Stage, SocketAddr), Failure> {
    let mut stage = Stage::new()?;
    let address = wait::free_address()?;
    let mut accounts = String::new();
    for name in ["settled".to_owned(), "victim".to_owned()]
        .into_iter()
        .chain((0..HONEST).map(|number| format!("honest{number}")))
    {
        writeln!(
            accounts,
            "[accounts.\"{name}\"]\npassword = \"{HASH}\"\naddresses = [\"{name}@client.test\"]"
        )?;
    }
    let file = stage.path("etc/flood.toml");
    private(&file, &accounts)?;
    let mail = format!("maildir:{}", stage.path("mail/in").display());
    let definition = Definition::open_relay("flood.example.test", address)
        .general("max_connections_per_ip", 1000)
        .authentication("basic_requires_tls", "false")
        // Or the flood would soon be over.
        .authentication("lockout", "false")
        .accounts(&file)
        .local("dest.test", &mail);
    stage.define("flood", &definition)?;
    stage.start_with(&["flood"])?;
    Ok((stage, address))
}

fn blob(name: &str, password: &str) -> Result<String, Failure> {
    let text = format!("\0{name}\0{password}");
    program::succeed(program::run("base64", ["-w0"], text.as_bytes())?)
}

/// From 127.0.0.NUMBER.
fn open_from(number: u8, to: SocketAddr) -> Result<Wire, Failure> {
    let mut wire = Wire::from(SocketAddr::from(([127, 0, 0, number], 0)), to)?;
    wire.expect("250", "EHLO client.example.test")?;
    Ok(wire)
}

/// Many clients at one address that guess until they are told to end.
struct Flood {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<Outcome>>,
}

#[derive(Default)]
struct Shared {
    ended: AtomicBool,
    refused: AtomicU32,
    later: AtomicU32,
}

impl Flood {
    fn start(to: SocketAddr) -> Result<Flood, Failure> {
        let shared = Arc::new(Shared::default());
        let clients = (0..FLOOD).map(|number| {
            // Half of them guess at an account, half at accounts that are not there.
            let name = match number % 2 {
                0 => "victim".to_owned(),
                _ => format!("nobody{number}"),
            };
            let blob = blob(&name, &format!("guess {number}"))?;
            let shared = shared.clone();
            Ok(std::thread::spawn(move || guess(to, &blob, &shared)))
        });
        let clients = clients.collect::<Result<Vec<_>, Failure>>()?;
        Ok(Flood { shared, clients })
    }

    fn refused(&self) -> u32 {
        self.shared.refused.load(Ordering::Relaxed)
    }

    fn later(&self) -> u32 {
        self.shared.later.load(Ordering::Relaxed)
    }

    fn end(self) -> Outcome {
        self.shared.ended.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.join().map_err(|_| "a guesser panicked")??;
        }
        Ok(())
    }
}

/// Two guesses a connection: later ones are answered ever more slowly.
fn guess(to: SocketAddr, blob: &str, shared: &Shared) -> Outcome {
    let ended = || shared.ended.load(Ordering::Relaxed);
    while !ended() {
        let mut wire = open_from(1, to)?;
        for _ in 0..2 {
            if ended() {
                return Ok(());
            }
            let reply = wire.say(&format!("AUTH PLAIN {blob}"))?;
            let counter = match &reply[..9] {
                "535 5.7.8" => &shared.refused,
                "454 4.7.0" => &shared.later,
                _ => return Err(format!("a wrong password was answered {reply}").into()),
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}

/// The most memory a process has had, in KiB.
fn peak(pid: i32) -> Result<u64, Failure> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let figure = line.and_then(|rest| rest.split_ascii_whitespace().next());
    Ok(figure.ok_or("no VmHWM")?.parse()?)
}

#[test]
fn a_flood_of_guesses_keeps_nobody_out() -> Outcome {
    let (mut stage, to) = server()?;
    let worker = stage.worker("flood")?;
    let mut settled = open_from(3, to)?;
    settled.expect("235", &format!("AUTH PLAIN {}", blob("settled", PASSWORD)?))?;
    let before = peak(worker)?;

    let flood = Flood::start(to)?;
    // In full: some have been refused, others have found no room.
    wait::until_true("the flood", Duration::from_secs(60), || {
        flood.refused() > 20 && flood.later() > 20
    })?;
    let (mut slowest_message, mut slowest_login) = (Duration::ZERO, Duration::ZERO);
    for number in 0..HONEST {
        for _ in 0..10 {
            let begun = Instant::now();
            let content = format!("Subject: {number}\r\n\r\nStill here.\r\n");
            let reply =
                settled.message("settled@client.test", "b@dest.test", content.as_bytes())?;
            assert!(reply.starts_with("250 2.6.0"), "{reply}");
            slowest_message = slowest_message.max(begun.elapsed());
        }
        // A neighbour of the flood's, in the same network.
        let begun = Instant::now();
        let right = blob(&format!("honest{number}"), PASSWORD)?;
        open_from(2, to)?.expect("235", &format!("AUTH PLAIN {right}"))?;
        slowest_login = slowest_login.max(begun.elapsed());
    }
    let (refused, later) = (flood.refused(), flood.later());
    flood.end()?;
    let after = peak(worker)?;
    println!(
        "{refused} refused, {later} later; slowest message {slowest_message:?}, login {slowest_login:?}; peak {before} to {after} KiB"
    );
    assert!(
        slowest_message < Duration::from_secs(5),
        "{slowest_message:?}"
    );
    assert!(slowest_login < Duration::from_secs(10), "{slowest_login:?}");
    // At most four checks of 19 MiB, and what 200 sessions take.
    assert!(after - before < 96 << 10, "{before} to {after} KiB");

    let log = stage.log();
    let crowded = |line: &&str| line.contains("too many logins wait for theirs");
    let told = log.lines().find(crowded).ok_or("no line says why")?;
    assert!(told.contains("outcome=\"unavailable\""), "{told}");
    Ok(())
}

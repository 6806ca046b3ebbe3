//! What `explain` says is what a client hears: a table of cases, each asked of the running worker, of the definition in its
//! file, and on the wire.
//!
//! `explain/cases.txt` is the table, `golden/explain/SERVER.txt` what people read. `POSTERN_BLESS=1 cargo test -p
//! postern-tests --test explain` writes those anew; the diff is then for the eye.

#[path = "explain/client.rs"]
mod client;
#[path = "explain/servers.rs"]
mod servers;

use postern_control::client::Request;
use postern_control::query::{Answer, Question};
use postern_control::{Link, Received};
use postern_tests::definition::Definition;
use postern_tests::program::succeed;
use postern_tests::stage::{Stage, server};
use postern_tests::{Failure, Outcome, wait};
use serde_json::Value;
use servers::Servers;
use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Output;
use std::sync::Mutex;

const CASES: &str = include_str!("explain/cases.txt");

/// One line of the table.
pub(crate) struct Case {
    line: &'static str,
    /// `gate`, or `gate:implicit`.
    pub(crate) server: &'static str,
    pub(crate) client: IpAddr,
    pub(crate) tls: bool,
    pub(crate) login: Option<&'static str>,
    pub(crate) ehlo: Option<&'static str>,
    pub(crate) sender: Option<&'static str>,
    pub(crate) recipients: Vec<&'static str>,
    last: &'static str,
}

impl Case {
    fn parse(line: &'static str) -> Result<Case, Failure> {
        let (words, last) = line.split_once('→').ok_or("no → in the line")?;
        let mut words = words.split_whitespace();
        let mut case = Case {
            line,
            server: words.next().ok_or("no server")?,
            client: words.next().ok_or("no client")?.parse()?,
            tls: false,
            login: None,
            ehlo: None,
            sender: None,
            recipients: Vec::new(),
            last: last.trim(),
        };
        for word in words {
            match word.split_once('=') {
                None if word == "tls" => case.tls = true,
                Some(("login", value)) => case.login = Some(value),
                Some(("ehlo", value)) => case.ehlo = Some(value),
                Some(("sender", value)) => case.sender = Some(value),
                Some(("to", value)) => case.recipients.push(value),
                _ => return Err(format!("`{word}` is not known").into()),
            }
        }
        Ok(case)
    }

    fn name(&self) -> &'static str {
        self.server.split(':').next().unwrap_or_default()
    }

    /// The words of `postern explain` for it, but for the server.
    fn words(&self, servers: &Servers) -> Vec<String> {
        let mut words = vec![format!("--from={}", self.client)];
        if let Some(on) = servers
            .addresses
            .get(self.server)
            .filter(|_| self.server.contains(':'))
        {
            words.push(format!("--on={on}"));
        }
        if self.tls {
            words.push("--tls".to_owned());
        }
        let options = [
            ("login", self.login),
            ("ehlo", self.ehlo),
            ("sender", self.sender),
        ];
        for (name, value) in options {
            words.extend(value.map(|value| format!("--{name}={value}")));
        }
        words.extend(
            self.recipients
                .iter()
                .map(|address| format!("--to={address}")),
        );
        words
    }
}

/// What `postern explain` wrote, for people or for programs; its exit code must say the same.
fn explain(stage: &Stage, words: &[String]) -> Result<String, Failure> {
    let words: Vec<&str> = std::iter::once("explain")
        .chain(words.iter().map(String::as_str))
        .collect();
    let output: Output = stage.postern(&words)?;
    let text = String::from_utf8(output.stdout.clone())?;
    let refused = text.contains("\"accepted\": false") || text.contains("\nrefused: ");
    match (output.status.code(), refused) {
        (Some(0), false) | (Some(1), true) => Ok(text),
        _ => Err(format!(
            "{words:?}: {}",
            succeed(output)
                .err()
                .map_or(text, |error| error.to_string())
        )
        .into()),
    }
}

fn replies(json: &str) -> Result<Vec<String>, Failure> {
    let value: Value = serde_json::from_str(json)?;
    let stages = value["stages"].as_array().ok_or("no stages")?;
    let replies = stages
        .iter()
        .map(|stage| stage["reply"].as_str().map(str::to_owned));
    replies
        .collect::<Option<_>>()
        .ok_or_else(|| "a stage without reply".into())
}

/// Runs a case in all three ways; what people read of it.
fn run(servers: &Servers, case: &Case) -> Result<String, Failure> {
    let stage = &servers.stage;
    let address = servers.addresses.get(case.server).ok_or("no such server")?;
    let heard = client::replies(case, *address, &stage.certificate())?;
    let file = stage.path(&format!("etc/servers/{}.toml", case.name()));
    let ways = [
        vec![case.name().to_owned()],
        vec![format!("--file={}", file.display())],
    ];
    let mut told = Vec::new();
    for way in ways {
        let words: Vec<String> = way.into_iter().chain(case.words(servers)).collect();
        let json: Vec<String> = words.iter().cloned().chain(["--json".to_owned()]).collect();
        let explained = replies(&explain(stage, &json)?)?;
        if explained != heard {
            return Err(format!("{words:?} says {explained:#?}, the wire {heard:#?}").into());
        }
        told.push(explain(stage, &words)?);
    }
    if told[0] != told[1] {
        return Err(format!("the worker says\n{}\nthe file says\n{}", told[0], told[1]).into());
    }
    match heard.last() {
        Some(last) if last.starts_with(case.last) => Ok(told.swap_remove(0)),
        last => Err(format!("the last reply is {last:?}").into()),
    }
}

#[test]
fn what_is_explained_is_what_is_heard() -> Outcome {
    let servers = Servers::start()?;
    let lines = CASES
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let cases: Vec<Case> = lines
        .map(|line| Case::parse(line).map_err(|error| format!("{line}: {error}").into()))
        .collect::<Result<_, Failure>>()?;
    assert!(cases.len() >= 60, "{} cases", cases.len());
    let results: Vec<Mutex<Option<Result<String, Failure>>>> =
        cases.iter().map(|_| Mutex::new(None)).collect();
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let Some(case) = cases.get(at) else { return };
                    if let Ok(mut slot) = results[at].lock() {
                        *slot = Some(run(&servers, case));
                    }
                }
            });
        }
    });
    let mut golden: BTreeMap<&str, String> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (case, result) in cases.iter().zip(results) {
        match result.into_inner().ok().flatten() {
            Some(Ok(told)) => {
                let shown = golden.entry(case.name()).or_default();
                shown.push_str(&format!("# {}\n{}\n", case.line, nameless(&told, &servers)));
            }
            Some(Err(error)) => wrong.push(format!("{}\n{error}", case.line)),
            None => wrong.push(format!("{}\nwas not run", case.line)),
        }
    }
    assert!(
        wrong.is_empty(),
        "{} cases differ:\n{}",
        wrong.len(),
        wrong.join("\n\n")
    );
    golden
        .iter()
        .try_for_each(|(name, shown)| compare(name, shown))
}

/// What keeps an explanation from being given does not look like a refusal.
#[test]
fn a_server_that_cannot_be_asked_is_no_refusal() -> Outcome {
    let mut stage = Stage::new()?;
    let definition = Definition::open_relay("gate.example.test", wait::free_address()?);
    stage.define("gate", &definition.clone().general("autostart", "false"))?;
    let words = |words: &str| words.split(' ').map(str::to_owned).collect::<Vec<String>>();
    let said = |stage: &Stage, line: &str| -> Result<(Option<i32>, String), Failure> {
        let words = words(line);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let output = stage.postern(&words)?;
        Ok((
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        ))
    };
    let nobody = said(&stage, "explain gate --from 127.0.0.1")?;
    assert_eq!(nobody.0, Some(3), "{}", nobody.1);
    stage.start()?;
    let (code, why) = said(&stage, "explain gate --from 127.0.0.1")?;
    assert_eq!(code, Some(2), "{why}");
    assert!(why.contains("--file"), "{why}");
    assert_eq!(said(&stage, "explain none --from 127.0.0.1")?.0, Some(2));
    assert_eq!(said(&stage, "diff gate")?.0, Some(2));
    let bad = stage.path("bad.toml");
    fs::write(
        &bad,
        "[general]\nfqdn = \"gate\"\nlisten = [\"127.0.0.1:25\"]\n",
    )?;
    let line = format!("explain --from 127.0.0.1 --file {}", bad.display());
    let (code, why) = said(&stage, &line)?;
    assert_eq!(code, Some(2), "{why}");
    assert!(
        why.contains("not fully qualified") && why.contains("bad.toml:2"),
        "{why}"
    );
    let file = stage.path("etc/servers/gate.toml");
    let line = format!(
        "explain --from 127.0.0.1 --on 127.0.0.1:1 --file {}",
        file.display()
    );
    let (code, why) = said(&stage, &line)?;
    assert_eq!(code, Some(2), "{why}");
    assert!(why.contains("does not listen on 127.0.0.1:1"), "{why}");
    Ok(())
}

/// Dovecot's accounts are taken to be there, in the file as in the worker; a directory's are not known to the file.
#[test]
fn accounts_that_are_in_no_file() -> Outcome {
    let mut stage = Stage::new()?;
    let accounts = stage.accounts();
    let source = |name: &str, sources: &str| -> Result<(), Failure> {
        let definition = Definition::open_relay("gate.example.test", wait::free_address()?)
            .authentication("basic_requires_tls", "false")
            .authentication("default_domain", "\"example.test\"")
            .authentication("accounts", sources);
        stage.define(name, &definition)
    };
    let socket = stage.path("no-dovecot");
    let file = format!("{{ file = \"{}\" }}", accounts.display());
    let dovecot = format!("{{ dovecot = \"{}\" }}", socket.display());
    let ldap = "{ ldap = { servers = [\"ldap://127.0.0.1:1\"], tls = \"none\", kind = \"openldap\", base = \"dc=example\" } }";
    source("gate", &format!("[{dovecot}, {file}]"))?;
    source("last", &format!("[{file}, {ldap}]"))?;
    source("first", &format!("[{ldap}, {file}]"))?;
    let asked = |words: &[&str]| -> Result<(Option<i32>, String), Failure> {
        let output = stage.postern(&[&["explain", "--from=127.0.0.1"], words].concat())?;
        let mut text = String::from_utf8(output.stdout)?;
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        Ok((output.status.code(), text))
    };
    let from_file = |name: &str, login: &str, sender: &str| {
        let file = stage.path(&format!("etc/servers/{name}.toml"));
        let login = format!("--login={login}");
        let sender = format!("--sender={sender}");
        asked(&[&format!("--file={}", file.display()), &login, &sender])
    };
    for (name, login) in [("last", "carol"), ("first", "alice")] {
        let (code, text) = from_file(name, login, "alice@example.test")?;
        assert_eq!(code, Some(2), "{text}");
        assert!(
            text.contains("only the running server can ask LDAP"),
            "{text}"
        );
    }
    let (code, text) = from_file("last", "alice", "alice@example.test")?;
    assert_eq!(code, Some(0), "{text}");
    let cases = [
        ("carol", "carol@example.test", 0),
        ("carol", "alice@example.test", 1),
        ("alice", "alice@example.test", 0),
    ];
    let files: Vec<(Option<i32>, String)> = cases
        .iter()
        .map(|(login, sender, _)| from_file("gate", login, sender))
        .collect::<Result<_, Failure>>()?;
    stage.start_with(&["gate"])?;
    for ((login, sender, code), file) in cases.iter().zip(files) {
        let asked = stage.postern(&[
            "explain",
            "gate",
            "--from=127.0.0.1",
            &format!("--login={login}"),
            &format!("--sender={sender}"),
        ])?;
        assert_eq!(
            file,
            (asked.status.code(), String::from_utf8(asked.stdout)?)
        );
        assert_eq!(file.0, Some(*code), "{}", file.1);
        assert_eq!(
            file.1.contains("Dovecot tells nobody"),
            *login == "carol",
            "{}",
            file.1
        );
    }
    Ok(())
}

/// A worker of an older release hears questions it does not know: it says so, and goes on answering.
#[test]
fn a_question_nobody_knows_is_answered() -> Outcome {
    let mut stage = Stage::new()?;
    let definition = Definition::open_relay("gate.example.test", wait::free_address()?);
    stage.define("gate", &definition)?;
    stage.start_with(&["gate"])?;
    let inquiry = stage.inquire("gate")?;
    let link = Link::from(inquiry.as_fd().try_clone_to_owned()?);
    link.send(&serde_json::json!({ "Weather": { "tomorrow": true } }), &[])?;
    match link.receive()? {
        Received::Packet(Answer::Unknown { reason }, _) => {
            assert!(reason.contains("Weather"), "{reason}");
        }
        other => return Err(format!("it was answered {other:?}").into()),
    }
    let answer = inquiry.ask(&Question::Counters)?;
    assert!(matches!(answer, Answer::Counters(_)), "{answer:?}");
    Ok(())
}

/// What is in force against what is written, before a reload and after it.
#[test]
fn diff_says_who_gains_and_who_loses() -> Outcome {
    let mut stage = Stage::new()?;
    let address = wait::free_address()?;
    let nets = |first: u32, count: u32| -> String {
        let net = |number: u32| {
            let at = std::net::Ipv4Addr::from(0x0b00_0000 + (number << 9));
            format!(
                "{at}/25\n{}/25\n",
                std::net::Ipv4Addr::from(u32::from(at) + 128)
            )
        };
        (first..first + count).map(net).collect()
    };
    let list = stage.path("etc/servers/blocked.txt");
    fs::write(&list, nets(0, 50_000))?;
    let old = Definition::open_relay("gate.example.test", address)
        .accounts(&stage.accounts())
        .authentication("basic_requires_tls", "false")
        .connection("list", "[\"file blocked.txt\"]")
        .certificate(&stage.certificate(), &stage.key());
    stage.define("gate", &old)?;
    stage.start_with(&["gate"])?;
    let config = stage.path("etc").to_string_lossy().into_owned();
    let diff = |stage: &Stage| -> Result<(Option<i32>, String), Failure> {
        let output = stage.postern(&["--config", &config, "diff", "gate"])?;
        let mut text = String::from_utf8(output.stdout)?;
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        Ok((output.status.code(), text))
    };
    let nothing = "nothing that clients or accounts would notice\n";
    assert_eq!(diff(&stage)?, (Some(0), nothing.to_owned()));
    // The same addresses, written otherwise; one network goes, two come.
    let whole: String = (1..50_002)
        .map(|number: u32| {
            format!(
                "{}/24\n",
                std::net::Ipv4Addr::from(0x0b00_0000 + (number << 9))
            )
        })
        .collect();
    fs::write(&list, whole)?;
    let accounts = fs::read_to_string(stage.accounts())?;
    fs::write(
        stage.accounts(),
        accounts.replace("[accounts.\"bob\"]", "[accounts.\"carol\"]"),
    )?;
    let new = old
        .relay("list", "[\"127.0.0.0/9\", \"domain office.example.test\"]")
        .authentication("relay", "[\"*\", \"!@staff\"]")
        .tls("require", "true")
        .tls("min_version", "\"1.3\"")
        .local("example.test", "lmtp:127.0.0.1:24")
        .messages("max_errors", 10);
    stage.define("gate", &new)?;
    let (code, text) = diff(&stage)?;
    assert_eq!(
        text,
        "connection
  + may connect: 11.0.0.0/24
  - may no longer connect: 12.134.160.0/24, 12.134.162.0/24
relay
  + may relay without logging in: domain office.example.test
  + may relay, logged in: carol
  - may no longer relay without logging in: 127.128.0.0/9
  - may no longer relay, logged in: alice, bob
  ~ authentication.relay: [*] → [*, !@staff]
login
  + may log in: carol
  + may send, logged in: carol
  - may no longer log in: bob
  - may no longer send, logged in: bob
tls
  - TLS 1.2 may no longer be spoken (tls.min_version: 1.2 → 1.3)
  - clients without TLS may no longer send (tls.require: false → true)
domain
  + example.test is local (lmtp:[127.0.0.1]:24)
limit
  ~ messages.max_errors: 20 → 10
"
    );
    assert_eq!(code, Some(1));
    stage.obey(&Request::Reload {
        server: server("gate")?,
    })?;
    assert_eq!(diff(&stage)?, (Some(0), nothing.to_owned()));
    Ok(())
}

/// Ports differ from run to run.
fn nameless(text: &str, servers: &Servers) -> String {
    let addresses = servers.addresses.iter();
    addresses.fold(text.to_owned(), |text, (name, address)| {
        text.replace(&address.to_string(), &format!("<{name}>"))
    })
}

fn compare(name: &str, shown: &str) -> Outcome {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/explain");
    let path = folder.join(format!("{name}.txt"));
    if std::env::var_os("POSTERN_BLESS").is_some() {
        fs::create_dir_all(&folder)?;
        fs::write(&path, shown)?;
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    if shown == expected {
        return Ok(());
    }
    let differ = |(seen, wanted): &(&str, &str)| seen != wanted;
    let first = shown.lines().zip(expected.lines()).find(differ);
    Err(format!(
        "{} differs, first here: {first:?}; all of it:\n{shown}",
        path.display()
    )
    .into())
}

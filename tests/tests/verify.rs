//! `postern verify` from outside: a Postern that keeps its rules, Posterns and a Postfix that break them on purpose.
//!
//! `POSTERN_BLESS=1 cargo test -p postern-tests --test verify` writes the golden report anew; the diff is then for the eye.

use postern_tests::definition::{Definition, text};
use postern_tests::peers::Postfix;
use postern_tests::stage::{ALICE, Stage, private};
use postern_tests::{Failure, Outcome, maildir, program, wait};
use serde_json::Value;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

/// What a run of the command left behind.
struct Run {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Run {
    fn json(&self) -> Result<Value, Failure> {
        serde_json::from_str(&self.out)
            .map_err(|e| format!("{e}: {} {}", self.out, self.err).into())
    }
}

fn verify(stage: &Stage, words: &[&str]) -> Result<Run, Failure> {
    let etc = stage.path("etc").display().to_string();
    let mut all = vec!["--config", &etc, "verify"];
    all.extend(words);
    let output = stage.postern(&all)?;
    Ok(Run {
        code: output.status.code(),
        out: String::from_utf8(output.stdout)?,
        err: String::from_utf8(output.stderr)?,
    })
}

/// Check and title of each line that came out so.
fn lines(run: &Run, outcome: &str) -> Result<Vec<String>, Failure> {
    let all = run.json()?;
    let reports = all["reports"].as_array().into_iter().flatten();
    let findings = reports.flat_map(|report| report["findings"].as_array().into_iter().flatten());
    Ok(findings
        .filter(|finding| finding["outcome"] == outcome)
        .map(|finding| {
            let word = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
            format!("{}: {}", word("check"), word("title"))
        })
        .collect())
}

/// A server that keeps every rule: TLS required, and two ways in.
fn strict(stage: &Stage, clear: SocketAddr, implicit: SocketAddr) -> Definition {
    let listen = format!("[\"{clear}\", {{ address = \"{implicit}\", tls = \"implicit\" }}]");
    let mail = stage.path("mail/{domain}/{local}");
    Definition::open_relay("mail.example.test", clear)
        .general("listen", listen)
        .general("max_connections_per_ip", 12)
        .certificate(&stage.certificate(), &stage.key())
        .tls("require", "true")
        .accounts(&stage.accounts())
        .authentication("sender_must_match", "false")
        .connection("list", "[\"127.0.0.9\"]")
        .relay("list", "[\"192.0.2.0/24\"]")
        .messages("max_recipients", 100)
        .local("example.test", &format!("maildir:{}", mail.display()))
}

fn run_strict(stage: &mut Stage) -> Result<(SocketAddr, SocketAddr), Failure> {
    let (clear, implicit) = (wait::free_address()?, wait::free_address()?);
    stage.define("gate", &strict(stage, clear, implicit))?;
    stage.start_with(&["gate"])?;
    Ok((clear, implicit))
}

/// All holds, on both addresses, logged in and not; no mail is left behind, and Wireshark's kin can read the capture.
#[test]
fn a_postern_that_keeps_its_rules_has_no_failed_line() -> Outcome {
    let mut stage = Stage::new()?;
    run_strict(&mut stage)?;
    let password = stage.path("password");
    fs::write(&password, format!("{}\n", ALICE.1))?;
    let capture = stage.path("verify.pcap");
    let (password, capture) = (
        password.display().to_string(),
        capture.display().to_string(),
    );
    let run = verify(
        &stage,
        &[
            "gate",
            "--json",
            "--from",
            "127.0.0.9",
            "--accept-recipient",
            "null@example.test",
            "--login",
            ALICE.0,
            "--password-file",
            &password,
            "--pcap",
            &capture,
        ],
    )?;
    assert_eq!(lines(&run, "failed")?, Vec::<String>::new(), "{}", run.out);
    assert_eq!(run.code, Some(0), "{} {}", run.out, run.err);
    let passed = lines(&run, "passed")?;
    for line in [
        "excluded: a connection from 127.0.0.9 is refused",
        "login: AUTH LOGIN inside TLS cannot be read on the wire",
        "channel: commands before STARTTLS are refused",
        "channel: every byte behind the handshake's begin is TLS",
        "channel: TLS 1.1 is refused",
        "injection: plaintext injected before STARTTLS is dropped",
        "relay: no relay: percent hack",
        "smuggling: LF.LF does not end a message",
        "banner: the greeting tells no product or version",
        "limits: too many recipients are refused",
        "limits: too many connections of one address are refused",
    ] {
        assert!(
            passed.iter().any(|seen| seen == line),
            "{line} is not among {passed:#?}"
        );
    }
    assert!(!run.out.contains(ALICE.1));
    stage.wait_empty("gate")?;
    assert!(maildir::read(&stage.path("mail/example.test/null")).is_empty());
    read_capture(Path::new(&capture))
}

/// tcpdump checks lengths, order and sums.
fn read_capture(capture: &Path) -> Outcome {
    let arguments = ["-nn", "-vv", "-A", "-r"].map(std::ffi::OsStr::new);
    let output = program::run(
        "tcpdump",
        arguments.into_iter().chain([capture.as_os_str()]),
        b"",
    )?;
    let shown = program::succeed(output)?;
    assert!(shown.matches("Flags [S],").count() > 10, "{shown}");
    assert!(shown.contains("220 mail.example.test ESMTP"), "{shown}");
    for bad in ["incorrect", "bad cksum", "truncated", "bad-len"] {
        assert!(!shown.contains(bad), "{bad}: {shown}");
    }
    Ok(())
}

/// The report as a person reads it.
#[test]
fn the_report_reads_as_it_should() -> Outcome {
    let mut stage = Stage::new()?;
    let (clear, _) = run_strict(&mut stage)?;
    let target = clear.to_string();
    let run = verify(
        &stage,
        &[
            &target,
            "--tls",
            "required",
            "--host",
            "mail.example.test",
            "--local-domain",
            "example.test",
            "--from",
            "127.0.0.9",
            "--from",
            "127.0.0.8",
            "--skip",
            "turns",
        ],
    )?;
    assert_eq!(run.code, Some(1), "{} {}", run.out, run.err);
    golden("verify-report.txt", &normal(&run.out, clear))
}

/// Without ports, dates and counts of bytes.
fn normal(report: &str, address: SocketAddr) -> String {
    let mut text = report.replace(&address.to_string(), "ADDRESS");
    for (before, behind) in [
        ("; ", " days left"),
        ("until ", "; "),
        ("records in ", " bytes"),
        ("sent, ", " in "),
        ("TLS: ", " records"),
        (" in ", " received"),
        ("in the ", " bytes sent"),
        ("bytes sent and ", " received"),
    ] {
        text = text
            .lines()
            .map(|line| blank(line, before, behind) + "\n")
            .collect();
    }
    text
}

/// What stands between the two, if it is short and begins with a digit, as `…`.
fn blank(line: &str, before: &str, behind: &str) -> String {
    for (place, _) in line.match_indices(before) {
        let start = place + before.len();
        let Some(length) = line[start..].find(behind) else {
            continue;
        };
        let middle = &line[start..start + length];
        if length < 12 && middle.starts_with(|c: char| c.is_ascii_digit()) && !middle.contains(' ')
        {
            return format!("{}…{}", &line[..start], &line[start + length..]);
        }
    }
    line.to_owned()
}

fn golden(name: &str, seen: &str) -> Outcome {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("golden")
        .join(name);
    if std::env::var_os("POSTERN_BLESS").is_some() {
        fs::write(&path, seen)?;
    }
    let wanted = fs::read_to_string(&path)?;
    assert_eq!(wanted, seen, "{} differs", path.display());
    Ok(())
}

/// Each rule broken on purpose is found, and nothing else is said to be broken.
#[test]
fn a_postern_with_a_broken_rule_is_found_out() -> Outcome {
    type Change = fn(Definition) -> Definition;
    let cases: [(&[&str], Change, &[&str]); 4] = [
        (
            &["--only", "relay"],
            |d| {
                d.relay("mode", "\"all-except\"")
                    .relay("list", "[]")
                    .relay("allow_everyone", "true")
            },
            &["relay: no relay: Q304897 test 1, from outside to outside"],
        ),
        (
            &["--only", "login"],
            |d| {
                d.tls("require", "false")
                    .authentication("basic_requires_tls", "false")
            },
            &[
                "login: no password is readable in clear",
                "login: AUTH PLAIN in clear is refused",
            ],
        ),
        (
            &["--only", "channel", "--tls", "required"],
            |d| d.tls("require", "false"),
            &["channel: commands before STARTTLS are refused"],
        ),
        (
            &["--only", "excluded", "--from", "127.0.0.9"],
            |d| d.connection("list", "[]"),
            &["excluded: a connection from 127.0.0.9 is refused"],
        ),
    ];
    for (words, change, wanted) in cases {
        let mut stage = Stage::new()?;
        let (clear, implicit) = (wait::free_address()?, wait::free_address()?);
        let definition = change(strict(&stage, clear, implicit));
        stage.define("gate", &definition)?;
        stage.start_with(&["gate"])?;
        let run = verify(&stage, &[&["gate", "--json"], words].concat())?;
        let failed = lines(&run, "failed")?;
        assert_eq!(run.code, Some(1), "{words:?} {} {}", run.out, run.err);
        for line in wanted {
            assert!(
                failed.iter().any(|seen| seen == line),
                "{line}: {failed:#?}"
            );
        }
        let check = words[1];
        assert!(
            failed.iter().all(|line| line.starts_with(check)),
            "{failed:#?}"
        );
    }
    Ok(())
}

/// alice has keys for SCRAM.
const KEYS: &str = r#"[accounts."alice"]
password = "$argon2id$v=19$m=8,t=1,p=1$YWxpY2VhbGljZWFsaWNlMQ$YhOLIF8zm0pQPfG4Ej5ICxSNnyfnz6BMT8QzMpLMS38"
scram = "SCRAM-SHA-256$4096:YWxpY2VhbGljZWFsaWNlMQ==$bQDbGXf+hVlOpLgApsIlEgguixNgOSANIU6/Ayt5XdI=:Oka+awOY6pveE3CrhdFfVLe0puPlToKxGh54ck6cd1w="
addresses = ["alice@example.test"]
"#;

/// SCRAM inside TLS shows nothing; where there is no TLS it shows the name, and the report says so.
#[test]
fn scram_is_walked_through() -> Outcome {
    let mut stage = Stage::new()?;
    let (starttls, plain) = (wait::free_address()?, wait::free_address()?);
    let (accounts, password) = (stage.path("etc/scram.toml"), stage.path("password"));
    private(&accounts, KEYS)?;
    fs::write(&password, format!("{}\n", ALICE.1))?;
    let listen = format!("[\"{starttls}\", {{ address = \"{plain}\", tls = \"none\" }}]");
    let definition = Definition::open_relay("submit.example.test", starttls)
        .general("listen", listen)
        .authentication("anonymous", "false")
        .relay("list", "[]")
        .certificate(&stage.certificate(), &stage.key())
        .accounts(&accounts);
    stage.define("submit", &definition)?;
    stage.start_with(&["submit"])?;
    let password = password.display().to_string();
    let words = ["submit", "--only", "login"];
    let alice = ["--login", ALICE.0, "--password-file", &password];
    let run = verify(&stage, &[&words[..], &alice].concat())?;
    assert_eq!(run.code, Some(0), "{} {}", run.out, run.err);
    for (title, end) in [
        (
            "AUTH SCRAM-SHA-256 inside TLS cannot be read on the wire: ",
            "235 2.7.0",
        ),
        (
            "no password is readable in clear: ",
            "SCRAM-SHA-256 shows the account's name",
        ),
    ] {
        let told =
            |line: &str| line.starts_with("passed") && line.contains(title) && line.contains(end);
        assert!(run.out.lines().any(told), "{title}{end}: {}", run.out);
    }
    assert!(!run.out.contains(ALICE.1), "{}", run.out);
    Ok(())
}

/// A Postfix of Debian that relays for this address: each way that works is named, and the banner too.
#[test]
fn an_open_postfix_is_found_out() -> Outcome {
    let stage = Stage::new()?;
    let settings = "mynetworks = 0.0.0.0/0\nvirtual_mailbox_domains = example.test\n";
    let postfix = Postfix::start(&stage.path("postfix"), settings)?;
    let target = postfix.address.to_string();
    let words = [
        &target,
        "--local-domain",
        "example.test",
        "--json",
        "--tls",
        "none",
        "--only",
        "banner",
        "--only",
        "relay",
        // A busy machine is no finding.
        "--timeout",
        "60",
    ];
    let run = verify(&stage, &words.map(|word| word))?;
    let failed = lines(&run, "failed")?;
    assert_eq!(run.code, Some(1), "{} {}", run.out, run.err);
    for line in [
        "relay: no relay: Q304897 test 1, from outside to outside",
        "relay: no relay: Q304897 test 3, null sender",
        "banner: the greeting tells no product or version",
    ] {
        assert!(
            failed.iter().any(|seen| seen == line),
            "{line}: {}\n{}",
            run.out,
            postfix.log()
        );
    }
    // Nothing was ever handed in.
    assert!(!postfix.log().contains("message-id="), "{}", postfix.log());
    Ok(())
}

/// An open Postfix that looks domains up, and knows only far.test: `postern-verify.invalid` it refuses for its domain, which
/// says nothing of relaying. What it would answer from DNS stands in a table here.
#[test]
fn an_open_postfix_that_looks_domains_up_is_found_out() -> Outcome {
    let stage = Stage::new()?;
    let table = stage.path("domains");
    let lines = "!/@far\\.test$/ 550 5.1.2 Domain not found\n";
    fs::write(&table, lines)?;
    let settings = format!(
        "mynetworks = 0.0.0.0/0\nsmtpd_recipient_restrictions = check_recipient_access regexp:{}, permit_mynetworks, reject\n",
        table.display()
    );
    let postfix = Postfix::start(&stage.path("postfix"), &settings)?;
    let target = postfix.address.to_string();
    let words = [
        &target,
        "--only",
        "relay",
        "--tls",
        "none",
        "--timeout",
        "60",
    ];
    let plain = [
        "relay: no relay: Q304897 test 1, from outside to outside",
        "relay: no relay: Q304897 test 3, null sender",
        "relay: no relay: a foreign sender with a domain that exists",
    ];
    let run = verify(&stage, &[&words[..], &["--json"]].concat())?;
    assert_eq!(lines_of(&run, "passed", &plain)?, 0, "{}", run.out);
    assert_eq!(lines_of(&run, "not_tested", &plain)?, 3, "{}", run.out);
    assert_eq!(run.code, Some(2), "{} {}", run.out, run.err);
    let run = verify(&stage, &words)?;
    let says = "whether this server is an open relay is not known";
    assert!(run.out.contains(says), "{}", run.out);
    let known = ["--json", "--foreign-recipient", "probe@far.test"];
    let run = verify(&stage, &[&words[..], &known].concat())?;
    assert_eq!(lines_of(&run, "failed", &plain)?, 3, "{}", run.out);
    assert_eq!(run.code, Some(1), "{} {}", run.out, run.err);
    assert!(!postfix.log().contains("message-id="), "{}", postfix.log());
    Ok(())
}

/// How many of these lines came out so.
fn lines_of(run: &Run, outcome: &str, wanted: &[&str]) -> Result<usize, Failure> {
    let seen = lines(run, outcome)?;
    Ok(wanted
        .iter()
        .filter(|line| seen.iter().any(|s| s == *line))
        .count())
}

/// A Postfix that takes a bare LF for an end of line, as all of them did before CVE-2023-51764.
#[test]
fn a_postfix_that_can_be_smuggled_through_is_found_out() -> Outcome {
    let stage = Stage::new()?;
    let settings = "smtpd_forbid_bare_newline = no\nvirtual_mailbox_domains = example.test\nvirtual_transport = discard\n";
    let postfix = Postfix::start(&stage.path("postfix"), settings)?;
    let target = postfix.address.to_string();
    let words = [
        &target,
        "--json",
        "--only",
        "smuggling",
        "--accept-recipient",
        "null@example.test",
    ];
    let run = verify(&stage, &words.map(|word| word))?;
    let failed = lines(&run, "failed")?;
    assert_eq!(run.code, Some(1), "{} {}", run.out, run.err);
    assert!(
        failed
            .iter()
            .any(|line| line == "smuggling: LF.CRLF does not end a message"),
        "{failed:#?}"
    );
    let passed = lines(&run, "passed")?;
    assert!(
        passed
            .iter()
            .any(|line| line == "smuggling: CR.CR does not end a message"),
        "{passed:#?}"
    );
    Ok(())
}

#[test]
fn what_cannot_be_tested_says_why_with_code_2() -> Outcome {
    let stage = Stage::new()?;
    let nobody = wait::free_address()?.to_string();
    let run = verify(&stage, &[&nobody])?;
    assert_eq!(run.code, Some(2), "{}", run.out);
    assert!(
        run.out.contains("cannot connect: Connection refused"),
        "{}",
        run.out
    );
    for (words, says) in [
        (vec!["gate"], "there is no server gate"),
        (
            vec!["host:port"],
            "neither the name of a server nor HOST:PORT",
        ),
        (vec![&nobody, "--only", "magic"], "there is no such check"),
        (vec![&nobody, "--login", "alice"], "--password-file"),
        (
            vec![&nobody, "--foreign-recipient", "a%b@far.test"],
            "write a plain address",
        ),
    ] {
        let run = verify(&stage, &words)?;
        assert_eq!(run.code, Some(2), "{words:?}: {}", run.err);
        assert!(run.err.contains(says), "{words:?}: {}", run.err);
    }
    stage.define_text("broken", &format!("[general]\nfqdn = {}\n", text("x")))?;
    let run = verify(&stage, &["broken"])?;
    assert_eq!(run.code, Some(2), "{}", run.err);
    Ok(())
}

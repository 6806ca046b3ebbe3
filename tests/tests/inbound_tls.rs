//! TLS towards clients, by real ones: what a handshake that fails leaves in the log, and a certificate swapped under load.

use postern_control::client::Request;
use postern_tests::definition::Definition;
use postern_tests::stage::{Stage, private, server};
use postern_tests::{Failure, Outcome, program, wait};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const SWAPS: usize = 100;

/// A server with STARTTLS on one address and implicit TLS on the other.
fn post() -> Result<(Stage, SocketAddr, SocketAddr), Failure> {
    let mut stage = Stage::new()?;
    let (starttls, implicit) = (wait::free_address()?, wait::free_address()?);
    let listen = format!("[\"{starttls}\", {{ address = \"{implicit}\", tls = \"implicit\" }}]");
    let definition = Definition::open_relay("mx.example.test", starttls)
        .general("listen", listen)
        .certificate(&stage.certificate(), &stage.key());
    stage.define("mx", &definition)?;
    stage.start_with(&["mx"])?;
    Ok((stage, starttls, implicit))
}

/// A new certificate of its own authority.
fn pair() -> Result<(String, String), Failure> {
    let pair = rcgen::generate_simple_self_signed(["mx.example.test".to_owned()])?;
    Ok((pair.cert.pem(), pair.signing_key.serialize_pem()))
}

/// An old printer, a client that does not know the issuer, one that speaks no TLS: each shows in one line with a remedy.
#[test]
fn a_failed_handshake_says_what_can_be_done() -> Outcome {
    let (stage, starttls, implicit) = post()?;
    let openssl = |to: SocketAddr, more: &[&str]| {
        let to = to.to_string();
        let words = [&["s_client", "-connect", &to, "-quiet"], more].concat();
        program::run("openssl", words, b"QUIT\r\n")
    };
    // Debian's library has TLS 1.0 still, where it is told to.
    let old = ["-tls1", "-cipher", "ALL:@SECLEVEL=0"];
    assert!(!openssl(implicit, &old)?.status.success());
    let old_starttls = [&old[..], &["-starttls", "smtp"]].concat();
    assert!(!openssl(starttls, &old_starttls)?.status.success());
    let cbc = ["-tls1_2", "-cipher", "AES128-SHA:AES256-SHA:@SECLEVEL=0"];
    assert!(!openssl(implicit, &cbc)?.status.success());
    // Only what an alert says is known of this one.
    let strict = [
        "-verify_return_error",
        "-no-CAfile",
        "-no-CApath",
        "-no-CAstore",
    ];
    assert!(!openssl(implicit, &strict)?.status.success());
    let (ip, port) = (implicit.ip(), implicit.port());
    let plain = format!(
        "import socket; wire = socket.create_connection(('{ip}', {port})); wire.sendall(b'EHLO old\\r\\n'); wire.recv(100)"
    );
    program::run("python3", ["-c", &plain], b"")?;
    let log = stage.log();
    for (count, words) in [
        (
            2,
            &[
                "TLS 1.0 at most",
                "none of them good enough",
                "tls = \\\"none\\\" on the inside",
            ][..],
        ),
        (
            1,
            &[
                "TLS 1.2 at most, 2 ciphers, none of them good enough",
                "tls = \\\"none\\\"",
            ],
        ),
        (
            1,
            &[
                "TLS 1.3 at most",
                "the client does not know who issued the certificate",
            ],
        ),
        (1, &["offered=no TLS", "STARTTLS"]),
    ] {
        let lines = log
            .lines()
            .filter(|line| line.contains("TLS handshake failed"));
        let lines = lines.filter(|line| words.iter().all(|word| line.contains(word)));
        assert_eq!(lines.count(), count, "{words:?}: {log}");
    }
    assert_eq!(stage.counters("mx")?.get("tls_failures"), Some(&5));
    Ok(())
}

/// A scanner finds nothing but TLS 1.2 and 1.3, with ciphers that are all strong.
#[test]
fn a_scanner_finds_only_what_is_modern() -> Outcome {
    let (_stage, starttls, implicit) = post()?;
    for (to, more) in [(starttls, &["--starttls-smtp"][..]), (implicit, &[])] {
        let to = to.to_string();
        let words = [&["--no-colour"], more, &[to.as_str()]].concat();
        let found = program::succeed(program::run("sslscan", words, b"")?)?;
        for line in [
            "SSLv2     disabled",
            "SSLv3     disabled",
            "TLSv1.0   disabled",
            "TLSv1.1   disabled",
            "TLSv1.2   enabled",
            "TLSv1.3   enabled",
            "Session renegotiation not supported",
            "TLSv1.3 not vulnerable to heartbleed",
            "TLSv1.2 not vulnerable to heartbleed",
        ] {
            assert!(found.contains(line), "{line}: {found}");
        }
        let taken = |line: &&str| line.starts_with("Preferred") || line.starts_with("Accepted");
        let taken: Vec<&str> = found.lines().filter(taken).collect();
        assert_eq!(taken.len(), 6, "{found}");
        let strong = |line: &&str| line.contains("GCM") || line.contains("CHACHA20");
        assert!(taken.iter().all(strong), "{found}");
    }
    Ok(())
}

/// What the next handshake shows.
fn serial(to: SocketAddr) -> Result<String, Failure> {
    let script = format!(
        "openssl s_client -connect {to} </dev/null 2>/dev/null | openssl x509 -noout -fingerprint -sha256"
    );
    program::succeed(program::run("sh", ["-c", &script], b"")?)
}

/// Clients that log no failure: whole sessions one after another, each with its handshake, until standard input ends.
const CLIENTS: &str = r#"
import smtplib, ssl, sys, threading, select
host, port = sys.argv[1], int(sys.argv[2])
context = ssl._create_unverified_context()
done, failures, counts = threading.Event(), [], [0] * 4
def run(number):
    while not done.is_set():
        try:
            with smtplib.SMTP(host, port, timeout=60) as wire:
                wire.starttls(context=context)
                wire.sendmail('a@example.test', ['b@example.net'], b'Subject: x\r\n\r\nx\r\n')
            counts[number] += 1
        except Exception as error:
            failures.append(repr(error))
long = smtplib.SMTP(host, port, timeout=60)
long.starttls(context=context)
long.ehlo()
threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
[thread.start() for thread in threads]
print('running', flush=True)
sys.stdin.read()
done.set()
[thread.join() for thread in threads]
long.sendmail('a@example.test', ['b@example.net'], b'Subject: late\r\n\r\nx\r\n')
print(sum(counts), failures[:3], flush=True)
"#;

/// A hundred times another certificate: each next handshake shows it, no session fails, and one goes on throughout.
#[test]
fn a_certificate_is_swapped_without_a_session_lost() -> Outcome {
    let (stage, starttls, implicit) = post()?;
    let mut clients = Command::new(program::find("python3")?)
        .args([
            "-c",
            CLIENTS,
            &starttls.ip().to_string(),
            &starttls.port().to_string(),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = BufReader::new(clients.stdout.take().ok_or("no output")?);
    let mut line = String::new();
    said.read_line(&mut line)?;
    assert_eq!(line, "running\n");
    let before = serial(implicit)?;
    for _ in 0..SWAPS {
        let (certificate, key) = pair()?;
        replace(&stage.key(), &key)?;
        replace(&stage.certificate(), &certificate)?;
        stage.obey(&Request::Reload {
            server: server("mx")?,
        })?;
    }
    assert_ne!(serial(implicit)?, before);
    // Nobody needs to order it: a renewed certificate is seen.
    let shown = serial(implicit)?;
    let (certificate, key) = pair()?;
    replace(&stage.key(), &key)?;
    replace(&stage.certificate(), &certificate)?;
    wait::until("the renewed certificate", Duration::from_secs(30), || {
        serial(implicit).ok().filter(|now| *now != shown)
    })?;
    drop(clients.stdin.take());
    line.clear();
    said.read_line(&mut line)?;
    clients.wait()?;
    let (count, failures) = line.trim().split_once(' ').ok_or("no result")?;
    assert_eq!(failures, "[]", "{}", stage.log());
    assert!(count.parse::<u32>()? > 20, "{count} sessions");
    Ok(())
}

/// As certbot and `postern certificate` do it.
fn replace(path: &Path, text: &str) -> Outcome {
    let fresh = path.with_extension("fresh");
    private(&fresh, text)?;
    Ok(std::fs::rename(fresh, path)?)
}

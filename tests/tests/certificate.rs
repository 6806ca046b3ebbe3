//! The wizard's whole way on a running server: a first certificate, a request, and the authority's answer in use, while a
//! session goes on.

use postern_tests::definition::Definition;
use postern_tests::stage::{PATIENCE, Stage};
use postern_tests::{Failure, Outcome, program, wait};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs openssl in a folder.
fn openssl(folder: &Path, words: &str) -> Result<String, Failure> {
    let mut command = Command::new(program::find("openssl")?);
    command.args(words.split_whitespace()).current_dir(folder);
    program::succeed(program::run_command(command, b"")?)
}

/// Runs `postern certificate …` on the stage's definitions.
fn certificate(stage: &Stage, words: &[&str]) -> Result<String, Failure> {
    let etc = stage.path("etc").to_string_lossy().into_owned();
    let words = [&["--config", &etc, "certificate"], words].concat();
    program::succeed(stage.postern(&words)?)
}

/// The fingerprint that `show` tells of the certificate in use.
fn shown(stage: &Stage) -> Result<String, Failure> {
    let json = certificate(stage, &["show", "mx", "--json"])?;
    let shown: serde_json::Value = serde_json::from_str(&json)?;
    let wrong = shown[0]["faults"]
        .as_array()
        .is_none_or(|all| !all.is_empty());
    match shown[0]["sha256"].as_str() {
        Some(print) if !wrong => Ok(print.to_owned()),
        _ => Err(json.into()),
    }
}

/// The fingerprint of what the next handshake shows.
fn served(to: SocketAddr) -> Result<String, Failure> {
    let script = format!(
        "openssl s_client -connect {to} -starttls smtp </dev/null 2>/dev/null | openssl x509 -noout -fingerprint -sha256"
    );
    let text = program::succeed(program::run("sh", ["-c", &script], b"")?)?;
    let print = text.trim().split_once('=').ok_or("no fingerprint")?.1;
    Ok(print.to_owned())
}

/// A session inside TLS that sends its message only once standard input has ended.
const SESSION: &str = r#"
import smtplib, ssl, sys
context = ssl._create_unverified_context()
wire = smtplib.SMTP(sys.argv[1], int(sys.argv[2]), timeout=60)
wire.starttls(context=context)
wire.ehlo()
print('running', flush=True)
sys.stdin.read()
wire.sendmail('a@example.test', ['b@example.net'], b'Subject: x\r\n\r\nx\r\n')
wire.quit()
"#;

#[test]
fn a_certificate_is_made_requested_and_assigned_while_a_session_goes_on() -> Outcome {
    let mut stage = Stage::new()?;
    let address = wait::free_address()?;
    let own = stage.path("etc/certificates/mx");
    let definition = Definition::open_relay("mx.example.test", address)
        .certificate(&own.join("certificate.pem"), &own.join("key.pem"));
    stage.define("mx", &definition)?;
    certificate(&stage, &["new", "mx"])?;
    let first = shown(&stage)?;
    stage.start_with(&["mx"])?;
    assert_eq!(served(address)?, first);

    let mut session = Command::new(program::find("python3")?)
        .args([
            "-c",
            SESSION,
            &address.ip().to_string(),
            &address.port().to_string(),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = String::new();
    let out = session.stdout.take().ok_or("no output")?;
    BufReader::new(out).read_line(&mut said)?;
    assert_eq!(said, "running\n");

    certificate(&stage, &["request", "mx"])?;
    openssl(&own, "req -in certificate.request.pem -verify -noout")?;
    let authority = stage.path("authority");
    std::fs::create_dir(&authority)?;
    openssl(
        &authority,
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 99 -keyout root.key -out root.pem \
         -subj /CN=Root -config /dev/null -addext basicConstraints=critical,CA:TRUE",
    )?;
    std::fs::write(
        authority.join("leaf.ext"),
        "subjectAltName=DNS:mx.example.test\nextendedKeyUsage=serverAuth\n",
    )?;
    openssl(
        &authority,
        "x509 -req -in ../etc/certificates/mx/certificate.request.pem -CA root.pem -CAkey root.key -CAcreateserial \
         -days 90 -extfile leaf.ext -out leaf.pem",
    )?;
    let root = authority.join("root.pem").to_string_lossy().into_owned();
    let leaf = authority.join("leaf.pem").to_string_lossy().into_owned();
    // Without its issuer it is refused, and the first one stays.
    assert!(certificate(&stage, &["assign", "mx", &leaf]).is_err());
    assert_eq!(
        (shown(&stage)?, served(address)?),
        (first.clone(), first.clone())
    );

    certificate(&stage, &["assign", "mx", &root, &leaf])?;
    let second = shown(&stage)?;
    assert_ne!(second, first);
    wait::until_true("the new certificate", PATIENCE, || {
        served(address).is_ok_and(|print| print == second)
    })?;
    let verified = format!(
        "s_client -connect {address} -starttls smtp -CAfile root.pem -verify_hostname mx.example.test -verify_return_error"
    );
    assert!(openssl(&authority, &verified)?.contains("Verification: OK"));

    // The session of before has heard nothing of it.
    drop(session.stdin.take());
    assert!(session.wait()?.success());
    let etc = stage.path("etc").to_string_lossy().into_owned();
    let status = program::succeed(stage.postern(&["--config", &etc, "status"])?)?;
    assert!(
        status.contains("89 days") || status.contains("90 days"),
        "{status}"
    );
    Ok(())
}

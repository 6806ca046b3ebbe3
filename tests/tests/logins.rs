//! Logging in without sending the password: SCRAM, by real clients, and what a guesser sees of it.

use postern_tests::definition::Definition;
use postern_tests::stage::{Stage, private};
use postern_tests::wire::Wire;
use postern_tests::{Failure, Outcome, program, wait};
use std::net::SocketAddr;
use std::process::Output;
use std::time::{Duration, Instant};

/// alice has keys, bob has none; both have the password of their stage's account.
const ACCOUNTS: &str = r#"[accounts."alice"]
password = "$argon2id$v=19$m=8,t=1,p=1$YWxpY2VhbGljZWFsaWNlMQ$YhOLIF8zm0pQPfG4Ej5ICxSNnyfnz6BMT8QzMpLMS38"
scram = "SCRAM-SHA-256$4096:YWxpY2VhbGljZWFsaWNlMQ==$bQDbGXf+hVlOpLgApsIlEgguixNgOSANIU6/Ayt5XdI=:Oka+awOY6pveE3CrhdFfVLe0puPlToKxGh54ck6cd1w="
addresses = ["alice@example.test"]

[accounts."bob"]
password = "$argon2id$v=19$m=8,t=1,p=1$Ym9iYm9iYm9iYm9iYm9iMQ$y0cBnLeivHtZL4/6CaeJA4W05pZlWg76FK56yGxYR4M"
addresses = ["bob@example.test"]
"#;
const PASSWORD: &str = "wonder.land-1";

/// A server with STARTTLS on one address and no TLS on the other.
fn post() -> Result<(Stage, SocketAddr, SocketAddr), Failure> {
    post_with(|d| d)
}

fn post_with(
    change: impl FnOnce(Definition) -> Definition,
) -> Result<(Stage, SocketAddr, SocketAddr), Failure> {
    let mut stage = Stage::new()?;
    let (starttls, plain) = (wait::free_address()?, wait::free_address()?);
    let accounts = stage.path("etc/scram.toml");
    private(&accounts, ACCOUNTS)?;
    let listen = format!("[\"{starttls}\", {{ address = \"{plain}\", tls = \"none\" }}]");
    let definition = Definition::open_relay("submit.example.test", starttls)
        .general("listen", listen)
        .authentication("anonymous", "false")
        .relay("list", "[]")
        .certificate(&stage.certificate(), &stage.key())
        .accounts(&accounts);
    stage.define("submit", &change(definition))?;
    stage.start_with(&["submit"])?;
    Ok((stage, starttls, plain))
}

fn gsasl(
    stage: &Stage,
    to: SocketAddr,
    mechanism: &str,
    account: &str,
    password: &str,
    more: &[&str],
) -> Result<Output, Failure> {
    let port = to.port().to_string();
    let certificate = stage.certificate();
    let mut words = vec!["--smtp", "--no-cb", "--mechanism", mechanism];
    words.retain(|word| *word != "--no-cb" || !mechanism.ends_with("-PLUS"));
    let fixed = [
        "--authentication-id",
        account,
        "--authorization-id",
        "",
        "--password",
        password,
        "--hostname",
        "localhost",
        "--x509-ca-file",
        certificate.to_str().unwrap_or_default(),
        "--connect",
    ];
    words.extend(fixed);
    let connect = format!("localhost:{port}");
    words.push(&connect);
    words.extend(more);
    program::run("gsasl", words, b"")
}

#[test]
fn gsasl_logs_in_by_scram() -> Outcome {
    let (stage, starttls, plain) = post()?;
    let cases: [(SocketAddr, &str, &[&str]); 3] = [
        // It looks for STARTTLS in all lines but the last.
        (starttls, "SCRAM-SHA-256", &["--starttls"]),
        (starttls, "SCRAM-SHA-256-PLUS", &["--starttls"]),
        // A device port, where nothing better can be had: still no password on the wire.
        (plain, "SCRAM-SHA-256", &["--no-starttls"]),
    ];
    for (to, mechanism, more) in cases {
        let output = gsasl(&stage, to, mechanism, "alice", PASSWORD, more)?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success() && said.contains("235 2.7.0"),
            "{mechanism}: {said}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        // What crosses the wire is shown by gsasl itself.
        assert!(!said.contains(PASSWORD), "{said}");
    }
    for (account, password) in [
        ("alice", "wrong"),
        ("bob", "builder.bob-2"),
        ("nobody", PASSWORD),
    ] {
        let output = gsasl(
            &stage,
            starttls,
            "SCRAM-SHA-256",
            account,
            password,
            &["--starttls"],
        )?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("535 5.7.8"), "{account}: {said}");
    }
    let log = stage.log();
    assert!(log.contains("mechanism=\"SCRAM-SHA-256-PLUS\""), "{log}");
    assert!(!log.contains(PASSWORD));
    Ok(())
}

/// The server's first message for a name, without the nonce.
fn salt_of(address: SocketAddr, name: &str) -> Result<String, Failure> {
    let mut wire = Wire::open(address)?;
    let first = format!("n,,n={name},r=fyko+d2lbbFgONRv9qkxdawL");
    let reply = wire.expect("334", &format!("AUTH SCRAM-SHA-256 {}", base64(&first)))?;
    let decoded = program::run("base64", ["-d"], &reply.as_bytes()[4..])?;
    let text = String::from_utf8(decoded.stdout)?;
    let (nonce, rest) = text.split_once(',').ok_or("no nonce")?;
    assert!(nonce.starts_with("r=fyko+d2lbbFgONRv9qkxdawL"), "{text}");
    Ok(rest.to_owned())
}

fn base64(text: &str) -> String {
    let output = program::run("base64", ["-w0"], text.as_bytes());
    output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

/// An account that is not there has a salt like any other, the same one each time, after a restart too.
#[test]
fn accounts_cannot_be_told_from_no_accounts() -> Outcome {
    let (mut stage, _, plain) = post()?;
    let made_up = salt_of(plain, "nobody")?;
    assert!(
        made_up.starts_with("s=") && made_up.ends_with(",i=65536"),
        "{made_up}"
    );
    assert_eq!(salt_of(plain, "nobody")?, made_up);
    assert_eq!(salt_of(plain, "NOBODY")?, made_up);
    assert_ne!(salt_of(plain, "somebody")?, made_up);
    let worker = stage.worker("submit")?;
    stage.obey(&postern_control::client::Request::Restart {
        server: postern_tests::stage::server("submit")?,
    })?;
    assert_ne!(stage.worker("submit")?, worker);
    assert_eq!(salt_of(plain, "nobody")?, made_up);
    Ok(())
}

/// Who guesses is locked out, is seen, and is let in again by an operator's word.
#[test]
fn lockouts_are_seen_and_released() -> Outcome {
    let (stage, _, plain) = post_with(|d| {
        d.authentication("basic_requires_tls", "false")
            .authentication(
                "lockout",
                "{ passwords = 3, within = \"10m\", block = \"15m\" }",
            )
    })?;
    let login = |account: &str, password: &str| -> Result<String, Failure> {
        let mut wire = Wire::open(plain)?;
        wire.say(&format!(
            "AUTH PLAIN {}",
            base64(&format!("\0{account}\0{password}"))
        ))
    };
    assert!(login("alice", PASSWORD)?.starts_with("235"));
    // One old password, however often, is one guess; from 127.0.0.1 alone the address counts too.
    for guess in ["old", "old", "old", "older", "oldest"] {
        assert!(login("alice", guess)?.starts_with("535 5.7.8"));
    }
    assert!(login("alice", PASSWORD)?.starts_with("535 5.7.8"));
    let shown = String::from_utf8(stage.postern(&["lockouts", "submit"])?.stdout)?;
    assert!(
        shown.contains("alice") && shown.contains("127.0.0.1"),
        "{shown}"
    );
    assert!(
        shown.contains("for 14 min more") || shown.contains("more"),
        "{shown}"
    );
    assert!(stage.log().contains("locked out"));
    assert_eq!(stage.counters("submit")?.get("lockouts"), Some(&2));
    let released = stage.postern(&[
        "lockouts",
        "submit",
        "--release",
        "Alice",
        "--release",
        "127.0.0.1",
    ])?;
    assert!(released.status.success());
    assert!(login("alice", PASSWORD)?.starts_with("235"));
    let nobody = stage.postern(&["lockouts", "submit", "--release", "carol"])?;
    assert_eq!(nobody.status.code(), Some(1));
    let shown = String::from_utf8(stage.postern(&["lockouts", "submit"])?.stdout)?;
    assert_eq!(shown, "nobody guesses\n");
    Ok(())
}

/// A changed account file serves without an order: posternd sees it. Sessions go on.
#[test]
fn a_new_account_needs_no_reload() -> Outcome {
    let (stage, _, plain) = post_with(|d| d.authentication("basic_requires_tls", "false"))?;
    let mut session = Wire::open(plain)?;
    let (bob, carol) = ("builder.bob-2", ACCOUNTS.replace("bob", "carol"));
    let login = |account: &str| -> Result<String, Failure> {
        let blob = base64(&format!("\0{account}\0{bob}"));
        Wire::open(plain)?.say(&format!("AUTH PLAIN {blob}"))
    };
    assert!(login("bob")?.starts_with("235"));
    assert!(login("carol")?.starts_with("535"));
    // As `postern account` does it: another file takes the place.
    private(&stage.path("etc/fresh.toml"), &carol)?;
    std::fs::rename(stage.path("etc/fresh.toml"), stage.path("etc/scram.toml"))?;
    wait::until("carol logs in", Duration::from_secs(30), || {
        login("carol").ok().filter(|reply| reply.starts_with("235"))
    })?;
    assert!(login("bob")?.starts_with("535"));
    session.expect("250", "NOOP")?;
    Ok(())
}

/// Each refusal in a session comes later than the one before.
#[test]
fn guessing_takes_time() -> Outcome {
    let (_stage, _, plain) = post()?;
    let mut wire = Wire::open(plain)?;
    for least in [500, 1000, 2000] {
        let begun = Instant::now();
        wire.expect("334", "AUTH SCRAM-SHA-256")?;
        wire.expect("535 5.7.8", &base64("n,,n=alice"))?;
        assert!(begun.elapsed() >= Duration::from_millis(least - 50));
    }
    Ok(())
}

/// A client shows a certificate that names it, and sends no password at all.
#[test]
fn a_certificate_logs_in() -> Outcome {
    let folder = tempfile::tempdir()?;
    let authority = authority()?;
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, authority.pem())?;
    let written = postern_tests::definition::text(&ca.to_string_lossy());
    let (stage, starttls, _) = post_with(|d| d.tls("client_ca", written))?;
    for (who, answer) in [
        ("alice@example.test", "535 5.7.8"),
        ("Alice", "235 2.7.0"),
        ("carol", "535 5.7.8"),
        ("", "504 5.5.4"),
    ] {
        let pair = folder.path().join("client.pem");
        let shown = match who.is_empty() {
            true => String::new(),
            false => {
                std::fs::write(&pair, certified(&authority, who)?)?;
                format!("context.load_cert_chain({:?})", pair.to_string_lossy())
            }
        };
        let script = format!(
            "import smtplib, ssl
context = ssl._create_unverified_context()
{shown}
with smtplib.SMTP('{}', {}) as wire:
    wire.starttls(context=context)
    wire.ehlo()
    print(*wire.docmd('AUTH', 'EXTERNAL ='))
",
            starttls.ip(),
            starttls.port()
        );
        let output = program::run("python3", ["-c", &script], b"")?;
        let said = program::succeed(output)?.replace("b'", "");
        assert!(said.starts_with(answer), "{who}: {said}");
    }
    assert!(stage.log().contains("mechanism=\"EXTERNAL\""));
    Ok(())
}

fn authority() -> Result<rcgen::CertifiedIssuer<'static, rcgen::KeyPair>, Failure> {
    let mut parameters = rcgen::CertificateParams::new(Vec::new())?;
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate()?;
    Ok(rcgen::CertifiedIssuer::self_signed(parameters, key)?)
}

/// A client's certificate and key in PEM, for this name.
fn certified(
    authority: &rcgen::CertifiedIssuer<'_, rcgen::KeyPair>,
    name: &str,
) -> Result<String, Failure> {
    let mut parameters = rcgen::CertificateParams::new(Vec::new())?;
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    parameters.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let key = rcgen::KeyPair::generate()?;
    let certificate = parameters.signed_by(&key, authority)?;
    Ok(certificate.pem() + &key.serialize_pem())
}

//! Accounts from real directories: OpenLDAP, a Samba domain, Dovecot. Python's smtplib logs in, inside TLS.

use postern_tests::definition::{Definition, text};
use postern_tests::peers::{Dovecot, Samba, Slapd};
use postern_tests::stage::{ALICE, BOB, PATIENCE, Stage, private};
use postern_tests::{Failure, Outcome, program, wait};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

const ACCEPTED: u32 = 235;
const REFUSED: u32 = 535;
const LATER: u32 = 454;

/// One session of a client: a login, and perhaps a sender and a recipient.
#[derive(Clone, Serialize)]
struct Try {
    mechanism: &'static str,
    name: String,
    password: String,
    sender: Option<String>,
    recipient: Option<String>,
}

/// What the client heard: the codes of the replies, 0 where nothing was asked, and how long the login took.
#[derive(Debug, Deserialize)]
struct Heard {
    login: u32,
    sender: u32,
    recipient: u32,
    seconds: f64,
}

const CLIENT: &str = r#"
import json, smtplib, ssl, sys, time
host, port, trust = sys.argv[1:4]
heard = []
for one in json.load(sys.stdin):
    post = smtplib.SMTP(host, int(port), timeout=60)
    post.starttls(context=ssl.create_default_context(cafile=trust))
    post.ehlo()
    post.user, post.password = one["name"], one["password"]
    begun = time.monotonic()
    try:
        way = {"PLAIN": post.auth_plain, "LOGIN": post.auth_login}[one["mechanism"]]
        login = post.auth(one["mechanism"], way)[0]
    except smtplib.SMTPAuthenticationError as refused:
        login = refused.smtp_code
    seconds = time.monotonic() - begun
    sender = post.mail(one["sender"])[0] if one["sender"] else 0
    recipient = post.rcpt(one["recipient"])[0] if one["recipient"] else 0
    heard.append(dict(login=login, sender=sender, recipient=recipient, seconds=seconds))
    post.quit()
print(json.dumps(heard))
"#;

fn attempt((name, password): (&str, &str)) -> Try {
    Try {
        mechanism: "PLAIN",
        name: name.to_owned(),
        password: password.to_owned(),
        sender: None,
        recipient: None,
    }
}

/// A server with accounts of a test's own.
struct Post {
    stage: Stage,
    address: SocketAddr,
}

impl Post {
    /// Accounts as TOML; `more` adds to the definition. Nobody is locked out unless it says so.
    fn open(
        mut stage: Stage,
        accounts: &[String],
        more: impl FnOnce(Definition) -> Definition,
    ) -> Result<Post, Failure> {
        let address = wait::free_address()?;
        let wanted = Definition::open_relay("post.example.test", address)
            .authentication("anonymous", "false")
            .authentication("lockout", "false")
            .authentication("accounts", format!("[{}]", accounts.join(", ")))
            .relay("list", "[]")
            .certificate(&stage.certificate(), &stage.key());
        stage.define("post", &more(wanted))?;
        stage.start_with(&["post"])?;
        Ok(Post { stage, address })
    }

    fn hear(&self, tries: &[Try]) -> Result<Vec<Heard>, Failure> {
        let (host, port) = (
            self.address.ip().to_string(),
            self.address.port().to_string(),
        );
        let trust = self.stage.certificate().to_string_lossy().into_owned();
        let arguments = ["-c", CLIENT, &host, &port, &trust];
        let output = program::run("python3", arguments, &serde_json::to_vec(tries)?)?;
        Ok(serde_json::from_str(&program::succeed(output)?)?)
    }

    /// Fails unless each pair of name and password hears its reply, by PLAIN and by LOGIN.
    fn expect(&self, wanted: &[((&str, &str), u32)]) -> Outcome {
        let both = wanted.iter().flat_map(|(pair, _)| {
            ["PLAIN", "LOGIN"].map(|mechanism| Try {
                mechanism,
                ..attempt(*pair)
            })
        });
        let tries: Vec<Try> = both.collect();
        let codes: Vec<u32> = self.hear(&tries)?.iter().map(|one| one.login).collect();
        for (((name, password), code), heard) in wanted.iter().zip(codes.chunks(2)) {
            assert_eq!(heard, [*code; 2], "{name:?} with {password:?}");
        }
        Ok(())
    }

    /// What one login hears.
    fn login(&self, pair: (&str, &str)) -> Result<Heard, Failure> {
        let heard = self.hear(&[attempt(pair)])?;
        heard.into_iter().next().ok_or_else(|| "no answer".into())
    }

    /// What a sender and a foreign recipient hear after the login.
    fn send(&self, (name, password): (&str, &str), sender: &str) -> Result<(u32, u32), Failure> {
        let heard = self.hear(&[Try {
            sender: Some(sender.to_owned()),
            recipient: Some("carol@elsewhere.test".to_owned()),
            ..attempt((name, password))
        }])?;
        assert_eq!(heard[0].login, ACCEPTED, "{name}");
        Ok((heard[0].sender, heard[0].recipient))
    }

    /// The exit code of `postern explain` for a login, a sender and a foreign recipient.
    fn explained(&self, login: &str, sender: &str) -> Result<Option<i32>, Failure> {
        let to = "carol@elsewhere.test";
        let words = [
            "explain",
            "post",
            "--from",
            "127.0.0.1",
            "--tls",
            "--login",
            login,
            "--sender",
            sender,
            "--to",
            to,
        ];
        Ok(self.stage.postern(&words)?.status.code())
    }

    fn log_has(&self, words: &[&str]) -> Outcome {
        let log = self.stage.log();
        let mut lines = log.lines();
        match lines.any(|line| words.iter().all(|word| line.contains(word))) {
            true => Ok(()),
            false => Err(format!("no line of the log has {words:?}").into()),
        }
    }
}

/// `{ ldap = … }` for slapd by these URLs.
fn slapd_source(stage: &Stage, urls: &[String], more: &str) -> Result<String, Failure> {
    let password = stage.path("etc/slapd.password");
    private(&password, &format!("{}\n", Slapd::SEARCHER.1))?;
    Ok(source(
        "openldap",
        urls,
        Slapd::BASE,
        Slapd::SEARCHER.0,
        &password,
        more,
    ))
}

fn source(
    kind: &str,
    urls: &[String],
    base: &str,
    searcher: &str,
    password: &Path,
    more: &str,
) -> String {
    let urls: Vec<String> = urls.iter().map(|url| text(url)).collect();
    format!(
        "{{ ldap = {{ kind = {}, servers = [{}], base = {}, bind_dn = {}, bind_password_file = {}{more} }} }}",
        text(kind),
        urls.join(", "),
        text(base),
        text(searcher),
        path(password),
    )
}

fn path(path: &Path) -> String {
    text(&path.to_string_lossy())
}

fn trusting(certificate: &Path) -> String {
    format!(", ca = {}", path(certificate))
}

fn file(stage: &Stage) -> String {
    format!("{{ file = {} }}", path(&stage.accounts()))
}

fn slapd(stage: &Stage, name: &str) -> Result<Slapd, Failure> {
    Slapd::start(&stage.path(name), &stage.certificate(), &stage.key())
}

#[test]
fn openldap_knows_who_they_are() -> Outcome {
    let stage = Stage::new()?;
    let slapd = slapd(&stage, "slapd")?;
    let urls = [format!("ldaps://{}", slapd.secure)];
    let source = slapd_source(&stage, &urls, &trusting(&stage.certificate()))?;
    let post = Post::open(stage, &[source], |wanted| {
        wanted.authentication("relay", "[\"@everybody\"]")
    })?;
    let right = Slapd::ALICE.1;
    post.expect(&[
        (Slapd::ALICE, ACCEPTED),
        (("alice@example.test", right), ACCEPTED),
        (("A.Smith@example.test", right), ACCEPTED),
        (Slapd::BOB, ACCEPTED),
        (("alice", "wrong"), REFUSED),
        (("alice", ""), REFUSED),
        (("alice", Slapd::BOB.1), REFUSED),
        (("nobody", right), REFUSED),
        (("nobody", ""), REFUSED),
        (("shared@example.test", "dave-4"), REFUSED),
    ])?;
    post.log_has(&["account=\"shared@example.test\"", "several accounts"])?;
    post.log_has(&["account=\"alice\"", "wrong password"])?;
    post.log_has(&["account=\"alice\"", "outcome=\"accepted\""])?;
    assert!(
        !post.stage.log().contains(right),
        "a password is in the log"
    );
    // A name is a value, whatever stands in it. PLAIN cannot say NUL in a name, LOGIN can.
    let names = [
        "*",
        "al*",
        "alice)(uid=*",
        "*)(|(uid=*",
        "ali\\63e",
        "(alice)",
        "alice,ou=people",
        "\\2a",
        "&",
        "!",
        "alice\0",
        "alice\0bob",
    ];
    let tries: Vec<Try> = names
        .iter()
        .map(|name| Try {
            mechanism: "LOGIN",
            ..attempt((name, right))
        })
        .collect();
    for (name, heard) in names.iter().zip(post.hear(&tries)?) {
        assert_eq!(heard.login, REFUSED, "{name:?}");
    }
    // A group in a group in a group, and the ring back to the first.
    assert_eq!(post.send(Slapd::ALICE, "a.smith@example.test")?, (250, 250));
    assert_eq!(post.send(Slapd::BOB, "bob@example.test")?, (250, 550));
    assert_eq!(post.send(Slapd::ALICE, "bob@example.test")?.0, 553);
    // So it is explained, without a password.
    assert_eq!(post.explained("alice", "a.smith@example.test")?, Some(0));
    assert_eq!(post.explained("bob", "bob@example.test")?, Some(1));
    assert_eq!(post.explained("alice", "bob@example.test")?, Some(1));
    Ok(())
}

#[test]
fn no_password_goes_to_a_directory_in_clear() -> Outcome {
    let stage = Stage::new()?;
    let secure = slapd(&stage, "secure")?;
    let clear = Slapd::without_tls(&stage.path("clear"))?;
    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
    let stranger = stage.path("tls/stranger.pem");
    std::fs::write(&stranger, other.cert.pem())?;
    let trust = trusting(&stage.certificate());
    let one = |url: String, more: &str| slapd_source(&stage, &[url], more);
    let ways = [
        // StartTLS comes first: this slapd takes passwords inside TLS only.
        (
            one(format!("ldap://{}", secure.plain), &trust)?,
            ACCEPTED,
            "",
        ),
        (
            one(format!("ldap://{}", clear.plain), &trust)?,
            LATER,
            "StartTLS",
        ),
        (
            one(format!("ldap://{}", secure.plain), ", tls = \"none\"")?,
            LATER,
            "result 13",
        ),
        (
            one(format!("ldap://{}", clear.plain), ", tls = \"none\"")?,
            ACCEPTED,
            "",
        ),
        (
            one(format!("ldaps://{}", secure.secure), &trusting(&stranger))?,
            LATER,
            "certificate",
        ),
        // The system's roots do not know it either.
        (
            one(format!("ldap://{}", secure.plain), "")?,
            LATER,
            "certificate",
        ),
    ];
    let (mut stage, mut doors) = (stage, Vec::new());
    for (index, (source, _, _)) in ways.iter().enumerate() {
        let address = wait::free_address()?;
        let wanted = Definition::open_relay("post.example.test", address)
            .authentication("anonymous", "false")
            .authentication("accounts", format!("[{source}]"))
            .relay("list", "[]")
            .certificate(&stage.certificate(), &stage.key());
        stage.define(&format!("post{index}"), &wanted)?;
        doors.push((format!("post{index}"), address));
    }
    let names: Vec<&str> = doors.iter().map(|(name, _)| name.as_str()).collect();
    stage.start_with(&names)?;
    let mut post = Post {
        stage,
        address: doors[0].1,
    };
    for ((name, address), (source, code, word)) in doors.iter().zip(&ways) {
        post.address = *address;
        assert_eq!(post.login(Slapd::ALICE)?.login, *code, "{source}");
        if *code == LATER {
            let server = format!("server={name}");
            post.log_has(&[&server, "outcome=\"unavailable\"", word])?;
        }
    }
    // What was sent in clear to the one without TLS, before it was told to: nothing but the wish for it.
    let log = clear.log();
    let first = log.split("STARTTLS").nth(1).unwrap_or_default();
    let end = first.find("closed").unwrap_or(first.len());
    assert!(!first[..end].contains("BIND"), "{log}");
    Ok(())
}

#[test]
fn the_next_server_is_asked_when_one_is_down() -> Outcome {
    let stage = Stage::new()?;
    let (mut first, mut second) = (slapd(&stage, "first")?, slapd(&stage, "second")?);
    let urls = [
        format!("ldaps://{}", first.secure),
        format!("ldap://{}", second.plain),
    ];
    let source = slapd_source(&stage, &urls, &trusting(&stage.certificate()))?;
    let behind = file(&stage);
    let post = Post::open(stage, &[source, behind], |wanted| {
        wanted.authentication(
            "lockout",
            "{ passwords = 4, within = \"10m\", block = \"10m\" }",
        )
    })?;
    let alice = ("alice@example.test", Slapd::ALICE.1);
    assert_eq!(post.login(alice)?.login, ACCEPTED);
    // The connections that waited are gone; that alone is no reason to ask another.
    first.stop()?;
    first.restart()?;
    assert_eq!(post.login(alice)?.login, ACCEPTED);
    assert!(
        second.log().matches("BIND dn=").count() == 0,
        "the first one was there"
    );
    first.stop()?;
    assert_eq!(post.login(alice)?.login, ACCEPTED);
    assert_eq!(post.login(("alice@example.test", "wrong"))?.login, REFUSED);
    second.stop()?;
    assert_eq!(post.login(alice)?.login, LATER);
    post.log_has(&["account=\"alice@example.test\"", "unavailable", "refused"])?;
    // The file behind knows these. A right password is right; a wrong one may be right in the directory.
    assert_eq!(post.login(ALICE)?.login, ACCEPTED);
    assert_eq!(post.login((BOB.0, "wrong 1"))?.login, LATER);
    assert_eq!(post.login((BOB.0, "wrong 2"))?.login, LATER);
    first.restart()?;
    let back = || post.login(alice).is_ok_and(|heard| heard.login == ACCEPTED);
    wait::until_true("the directory to be asked again", PATIENCE, back)?;
    // Both counted: one more, and nobody gets in from here, with the right password either.
    assert_eq!(post.login((BOB.0, "wrong 3"))?.login, REFUSED);
    assert_eq!(post.login(BOB)?.login, REFUSED);
    post.log_has(&["account=\"bob\"", "locked out"])
}

#[test]
fn a_directory_that_hangs_holds_up_nobody_else() -> Outcome {
    let stage = Stage::new()?;
    let (slow, other) = (slapd(&stage, "slow")?, slapd(&stage, "other")?);
    let more = format!("{}, timeout = \"2s\"", trusting(&stage.certificate()));
    let source = slapd_source(&stage, &[format!("ldaps://{}", slow.secure)], &more)?;
    let before = file(&stage);
    let post = Post::open(stage, &[before, source], |wanted| wanted)?;
    let alice = ("alice@example.test", Slapd::ALICE.1);
    assert_eq!(post.login(alice)?.login, ACCEPTED);
    slow.freeze()?;
    let post = &post;
    std::thread::scope(|scope| -> Outcome {
        let hanging: Vec<_> = (0..12).map(|_| scope.spawn(|| post.login(alice))).collect();
        // Those of the file do not notice.
        for _ in 0..3 {
            let heard = post.login(ALICE)?;
            assert_eq!(heard.login, ACCEPTED);
            assert!(heard.seconds < 2.0, "{heard:?}");
        }
        for one in hanging {
            let heard = one.join().map_err(|_| "the client panicked")??;
            assert_eq!(heard.login, LATER);
            assert!(heard.seconds < 20.0, "{heard:?}");
        }
        Ok(())
    })?;
    post.log_has(&["no answer in 2s"])?;
    slow.wake()?;
    let back = || post.login(alice).is_ok_and(|heard| heard.login == ACCEPTED);
    wait::until_true("the directory to be asked again", PATIENCE, back)?;
    // With another one behind it, it only costs its deadline, and that once.
    let urls = [
        format!("ldaps://{}", slow.secure),
        format!("ldaps://{}", other.secure),
    ];
    let source = slapd_source(&post.stage, &urls, &more)?;
    let wanted = Definition::open_relay("post.example.test", post.address)
        .authentication("anonymous", "false")
        .authentication("accounts", format!("[{source}]"))
        .relay("list", "[]")
        .certificate(&post.stage.certificate(), &post.stage.key());
    post.stage.define("post", &wanted)?;
    post.stage.obey(&postern_control::client::Request::Reload {
        server: postern_tests::stage::server("post")?,
    })?;
    slow.freeze()?;
    let heard = post.login(alice)?;
    assert!(heard.login == ACCEPTED && heard.seconds < 8.0, "{heard:?}");
    let heard = post.login(alice)?;
    assert!(heard.login == ACCEPTED && heard.seconds < 2.0, "{heard:?}");
    slow.wake()
}

#[test]
fn active_directory_knows_who_they_are() -> Outcome {
    let stage = Stage::new()?;
    let samba = Samba::start(&stage.path("samba"))?;
    let password = stage.path("etc/samba.password");
    private(&password, Samba::SEARCHER.1)?;
    // LDAPS, and StartTLS behind it.
    let urls = [
        format!("ldaps://{}", samba.address),
        format!("ldap://{}", samba.address),
    ];
    let trust = trusting(&samba.certificate());
    let source = source(
        "ad",
        &urls,
        Samba::BASE,
        Samba::SEARCHER.0,
        &password,
        &trust,
    );
    let post = Post::open(stage, &[source], |wanted| {
        wanted
            .authentication("relay", "[\"@staff\", \"@interns\", \"!bob\"]")
            .authentication("default_domain", "\"corp.postern.test\"")
    })?;
    let right = Samba::ALICE.1;
    post.expect(&[
        (Samba::ALICE, ACCEPTED),
        (("ALICE", right), ACCEPTED),
        (("alice@corp.postern.test", right), ACCEPTED),
        (("alice.smith@corp.postern.test", right), ACCEPTED),
        (("alice.smith", right), ACCEPTED),
        (Samba::BOB, ACCEPTED),
        (("alice", "Wrong.land1"), REFUSED),
        (("alice", ""), REFUSED),
        (("nobody", right), REFUSED),
        (("al*", right), REFUSED),
        (Samba::MALLORY, REFUSED),
        (Samba::FRANK, REFUSED),
    ])?;
    post.log_has(&["account=\"mallory\"", "the account is disabled"])?;
    post.log_has(&["account=\"frank\"", "the password must be changed"])?;
    post.log_has(&["account=\"alice\"", "wrong password"])?;
    assert_eq!(
        post.send(Samba::ALICE, "info@corp.postern.test")?,
        (250, 250)
    );
    assert_eq!(post.send(Samba::BOB, "bob@corp.postern.test")?, (250, 550));
    assert_eq!(post.send(Samba::ALICE, "bob@corp.postern.test")?.0, 553);
    Ok(())
}

#[test]
fn active_directory_by_start_tls() -> Outcome {
    let stage = Stage::new()?;
    let samba = Samba::start(&stage.path("samba"))?;
    let password = stage.path("etc/samba.password");
    private(&password, Samba::SEARCHER.1)?;
    let urls = [format!("ldap://{}", samba.address)];
    let trust = trusting(&samba.certificate());
    let source = source(
        "ad",
        &urls,
        Samba::BASE,
        Samba::SEARCHER.0,
        &password,
        &trust,
    );
    let post = Post::open(stage, &[source], |wanted| wanted)?;
    post.expect(&[(Samba::ALICE, ACCEPTED), (("alice", "no"), REFUSED)])
}

#[test]
fn dovecot_knows_who_they_are() -> Outcome {
    let stage = Stage::new()?;
    let mut dovecot = Dovecot::start(&stage.path("dovecot"))?;
    let source = format!("{{ dovecot = {} }}", path(&dovecot.auth_socket));
    let behind = file(&stage);
    let post = Post::open(stage, &[source, behind], |wanted| {
        wanted.authentication("default_domain", "\"example.test\"")
    })?;
    let [alice, bob, mallory] = Dovecot::PASSWORDS;
    post.expect(&[
        (alice, ACCEPTED),
        (bob, ACCEPTED),
        (("ALICE@example.test", alice.1), ACCEPTED),
        // The default domain completes it.
        (("alice", alice.1), ACCEPTED),
        // In the file, which is asked next.
        (BOB, ACCEPTED),
        ((alice.0, "wrong"), REFUSED),
        ((alice.0, ""), REFUSED),
        ((alice.0, "tab\tand\nmore"), REFUSED),
        (("nobody@example.test", alice.1), REFUSED),
        (("user=x\tnologin", alice.1), REFUSED),
        (mallory, REFUSED),
    ])?;
    post.log_has(&["account=\"mallory@example.test\"", "nologin", "gone_away"])?;
    assert!(
        !post.stage.log().contains(alice.1),
        "a password is in the log"
    );
    // NUL would divide what is said to Dovecot; too much would end the connection for all.
    let long = "x".repeat(5900);
    let tries = [
        ("bob@example.test\0alice@example.test", alice.1),
        ("alice@example.test", &*format!("{}\0", alice.1)),
        ("alice@example.test", &long),
    ]
    .map(|pair| Try {
        mechanism: "LOGIN",
        ..attempt(pair)
    });
    for heard in post.hear(&tries)? {
        assert_eq!(heard.login, REFUSED);
    }
    assert_eq!(post.send(alice, "alice@example.test")?, (250, 250));
    assert_eq!(post.send(alice, "bob@example.test")?.0, 553);
    // Dovecot answers to passwords only: explain takes the name for one of its accounts.
    assert_eq!(post.explained("alice", alice.0)?, Some(0));
    assert_eq!(post.explained("alice", bob.0)?, Some(1));
    // Many at once over the one connection.
    std::thread::scope(|scope| -> Outcome {
        let post = &post;
        let many: Vec<_> = (0..8)
            .map(|turn| match turn % 2 {
                0 => scope.spawn(move || post.expect(&[(alice, ACCEPTED)])),
                _ => scope.spawn(move || post.expect(&[((bob.0, "no"), REFUSED)])),
            })
            .collect();
        many.into_iter()
            .try_for_each(|one| one.join().map_err(|_| "a client panicked")?)
    })?;
    dovecot.restart()?;
    assert_eq!(post.login(alice)?.login, ACCEPTED);
    dovecot.freeze()?;
    let heard = post.login(alice)?;
    assert!(heard.login == LATER && heard.seconds < 8.0, "{heard:?}");
    assert_eq!(post.login(BOB)?.login, ACCEPTED, "the file has it");
    dovecot.wake()?;
    let back = || post.login(alice).is_ok_and(|heard| heard.login == ACCEPTED);
    wait::until_true("Dovecot to be asked again", Duration::from_secs(20), back)?;
    drop(dovecot);
    assert_eq!(post.login(alice)?.login, LATER);
    Ok(())
}

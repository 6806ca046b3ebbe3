//! Logins at smart hosts: a second Postern, and Postfix with Dovecot's accounts, which takes proofs, passwords and tokens.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use postern_control::client::Request;
use postern_control::query::QueueRow;
use postern_sasl::NtHash;
use postern_tests::definition::{Definition, text};
use postern_tests::peers::{Dovecot, Postfix};
use postern_tests::stage::{PATIENCE, Stage, private, server};
use postern_tests::wire::Wire;
use postern_tests::{Failure, Outcome, mail, maildir, wait};
use rcgen::{KeyPair, PKCS_RSA_SHA256, SigningKey};
use std::fmt::Display;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

const SENDER: &str = "alice@example.test";
const PASSWORD: &str = "wonder.land-1";

/// alice has keys, bob has none.
const ACCOUNTS: &str = r#"[accounts."alice"]
password = "$argon2id$v=19$m=8,t=1,p=1$YWxpY2VhbGljZWFsaWNlMQ$YhOLIF8zm0pQPfG4Ej5ICxSNnyfnz6BMT8QzMpLMS38"
scram = "SCRAM-SHA-256$4096:YWxpY2VhbGljZWFsaWNlMQ==$bQDbGXf+hVlOpLgApsIlEgguixNgOSANIU6/Ayt5XdI=:Oka+awOY6pveE3CrhdFfVLe0puPlToKxGh54ck6cd1w="
addresses = ["alice@example.test"]

[accounts."bob"]
password = "$argon2id$v=19$m=8,t=1,p=1$Ym9iYm9iYm9iYm9iYm9iMQ$y0cBnLeivHtZL4/6CaeJA4W05pZlWg76FK56yGxYR4M"
addresses = ["alice@example.test"]
"#;

/// What `out` is told of the way to its smart host.
fn way(ca: &Path, login: impl Display) -> String {
    format!(
        "{{ tls = \"required\", ca = {}, login = {login} }}",
        text(&ca.to_string_lossy())
    )
}

fn basic(user: &str, file: &Path, more: &str) -> String {
    let file = text(&file.to_string_lossy());
    format!(
        "{{ basic = {{ user = {}, password_file = {file}{more} }} }}",
        text(user)
    )
}

/// The server `out`, which takes from anybody here, and gives all to `smart_host`.
fn out(listen: SocketAddr, smart_host: SocketAddr, security: &str) -> Definition {
    Definition::open_relay("out.example.test", listen)
        .authentication("anonymous_local_sender", "\"accept\"")
        .delivery("retry", "[\"1s\"]")
        .smart_host(smart_host)
        .delivery("outbound_security", security)
}

fn send(to: SocketAddr, recipient: &str) -> Outcome {
    let reply =
        Wire::open(to)?.message(SENDER, recipient, &mail::with_header("login", b"x\r\n"))?;
    match reply.starts_with("250 2.6.0") {
        true => Ok(()),
        false => Err(format!("{recipient}: {reply}").into()),
    }
}

/// Waits until a message of `out` is put off with words that contain `why`.
fn wait_put_off(stage: &Stage, why: &str) -> Result<QueueRow, Failure> {
    let found = wait::until(&format!("mail put off with `{why}`"), PATIENCE, || {
        let rows = stage.queue("out").ok()?;
        rows.into_iter().find(|row| {
            let reply = row.last_reply.as_deref();
            reply.is_some_and(|reply| reply.contains(why))
        })
    });
    found.map_err(|error| format!("{error}: {:?}", stage.queue("out")).into())
}

fn reload(stage: &Stage) -> Outcome {
    stage.obey(&Request::Reload {
        server: server("out")?,
    })
}

/// The server `hub`, where only who logs in inside TLS may send, and all is delivered to one Maildir.
fn hub(
    stage: &Stage,
    listen: SocketAddr,
    change: impl FnOnce(Definition) -> Definition,
) -> Outcome {
    let accounts = stage.path("etc/hub.toml");
    private(&accounts, ACCOUNTS)?;
    let maildir = format!("maildir:{}/{{local}}", stage.path("mail").display());
    let definition = Definition::open_relay("hub.example.test", listen)
        .authentication("anonymous", "false")
        .relay("list", "[]")
        .certificate(&stage.certificate(), &stage.key())
        .accounts(&accounts)
        .local("hub.test", &maildir);
    stage.define("hub", &change(definition))
}

#[test]
fn another_postern_is_shown_a_proof_bound_to_the_channel() -> Outcome {
    let mut stage = Stage::new()?;
    let (listen, smart_host) = (wait::free_address()?, wait::free_address()?);
    let (password, bobs) = (
        stage.path("etc/hub.password"),
        stage.path("etc/bob.password"),
    );
    private(&password, &format!("{PASSWORD}\n"))?;
    private(&bobs, "builder.bob-2\n")?;
    hub(&stage, smart_host, |d| d)?;
    let mailbox = stage.path("mail/carol");
    let logins = [
        (basic("alice", &password, ""), "SCRAM-SHA-256-PLUS"),
        (
            basic("alice", &password, ", mechanism = \"scram-sha-256\""),
            "SCRAM-SHA-256",
        ),
        (basic("bob", &bobs, ", mechanism = \"plain\""), "PLAIN"),
        (basic("bob", &bobs, ", mechanism = \"login\""), "LOGIN"),
        (
            format!("{{ basic = {{ user = \"alice\", password = \"{PASSWORD}\" }} }}"),
            "SCRAM-SHA-256-PLUS",
        ),
    ];
    for (count, (login, mechanism)) in logins.iter().enumerate() {
        let definition = out(listen, smart_host, &way(&stage.certificate(), login));
        stage.define("out", &definition)?;
        match count {
            0 => stage.start_with(&["hub", "out"])?,
            _ => reload(&stage)?,
        }
        send(listen, "carol@hub.test")?;
        let arrived = maildir::wait(&mailbox, count + 1)?.len();
        assert_eq!(arrived, count + 1, "{mechanism}");
        stage.wait_empty("out")?;
        let log = stage.log();
        let used = log.matches(&format!("mechanism=\"{mechanism}\"")).count();
        assert!(used > 0, "not by {mechanism}:\n{log}");
    }
    let log = stage.log();
    assert!(!log.contains(PASSWORD) && !log.contains("builder.bob-2"));
    Ok(())
}

#[test]
fn a_windows_account_logs_in_by_ntlm_bound_to_the_channel() -> Outcome {
    let mut stage = Stage::new()?;
    let (listen, smart_host) = (wait::free_address()?, wait::free_address()?);
    let (password, hashes) = (
        stage.path("etc/exchange.password"),
        stage.path("etc/hub.nt"),
    );
    private(&password, PASSWORD)?;
    let hash = NtHash::of(PASSWORD).to_hex();
    private(&hashes, &format!("alice:{}\n", *hash))?;
    let accounts = format!(
        "[{{ file = {}, nt_hashes = {} }}]",
        text(&stage.path("etc/hub.toml").to_string_lossy()),
        text(&hashes.to_string_lossy())
    );
    hub(&stage, smart_host, |d| {
        d.authentication("accounts", accounts)
            .authentication("ntlm", "{ channel_binding = \"require\" }")
    })?;
    let login = format!(
        "{{ integrated = {{ user = \"CORP\\\\alice\", password_file = {} }} }}",
        text(&password.to_string_lossy())
    );
    let definition = out(listen, smart_host, &way(&stage.certificate(), login));
    stage.define("out", &definition)?;
    stage.start_with(&["hub", "out"])?;
    send(listen, "carol@hub.test")?;
    maildir::wait(&stage.path("mail/carol"), 1)?;
    stage.wait_empty("out")?;
    let log = stage.log();
    assert!(log.contains("mechanism=\"GSS-SPNEGO\""), "{log}");
    assert!(!log.contains(PASSWORD) && !log.contains(&**hash));
    Ok(())
}

#[test]
fn a_wrong_password_keeps_the_mail_and_is_told() -> Outcome {
    let mut stage = Stage::new()?;
    let (listen, smart_host) = (wait::free_address()?, wait::free_address()?);
    let password = stage.path("etc/hub.password");
    private(&password, "wrong.land-2\n")?;
    hub(&stage, smart_host, |d| d.authentication("lockout", "false"))?;
    let login = basic("alice", &password, "");
    let definition = out(listen, smart_host, &way(&stage.certificate(), login));
    stage.define("out", &definition)?;
    stage.start_with(&["hub", "out"])?;
    send(listen, "carol@hub.test")?;
    let row = wait_put_off(&stage, "the login by SCRAM-SHA-256-PLUS was refused")?;
    assert!(row.last_reply.unwrap_or_default().contains("535 4.7.8"));
    let shown = stage.postern(&["queue", "show", "out", &row.id])?;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(
        shown.contains("the login by SCRAM-SHA-256-PLUS was refused"),
        "{shown}"
    );
    let log = stage.log();
    let audit = log
        .lines()
        .find(|line| line.contains("login refused by the next hop"));
    let audit = audit.ok_or("no line in the audit log")?;
    for word in [
        "audit",
        "server=out",
        "account=\"alice\"",
        "mechanism=SCRAM-SHA-256-PLUS",
        "535 4.7.8",
    ] {
        assert!(audit.contains(word), "{word}: {audit}");
    }
    assert!(!log.contains("wrong.land-2"));
    // The right one in the same file goes with the next attempt.
    private(&password, &format!("{PASSWORD}\n"))?;
    reload(&stage)?;
    maildir::wait(&stage.path("mail/carol"), 1)?;
    stage.wait_empty("out")
}

/// Postfix that takes mail only from those who log in inside TLS, at Dovecot's accounts or with its tokens.
struct Submission {
    mailbox: PathBuf,
    postfix: Postfix,
    dovecot: Dovecot,
    key: KeyPair,
}

impl Submission {
    fn start(stage: &Stage, mechanisms: &str) -> Result<Submission, Failure> {
        let folder = stage.path("peer");
        fs::create_dir_all(&folder)?;
        let key = KeyPair::generate_for(&PKCS_RSA_SHA256)?;
        let dovecot = folder.join("dovecot");
        let keys = dovecot.join("keys/default/RS256");
        fs::create_dir_all(&keys)?;
        fs::write(keys.join("default"), key.public_key_pem())?;
        let tokens = dovecot.join("oauth2.conf");
        fs::write(
            &tokens,
            format!(
                "introspection_mode = local\n\
                 local_validation_key_dict = fs:posix:prefix={}/\n\
                 username_attribute = email\n\
                 scope = mail\n",
                dovecot.join("keys").display()
            ),
        )?;
        let settings = format!(
            "auth_mechanisms = {mechanisms}\n\
             auth_verbose = yes\n\
             passdb {{\n  driver = oauth2\n  mechanisms = xoauth2 oauthbearer\n  args = {}\n}}\n",
            tokens.display()
        );
        let dovecot = Dovecot::start_with(&dovecot, &settings)?;
        let owner = nix::unistd::User::from_name("postfix")?;
        let uid = owner.ok_or("there is no user `postfix`")?.uid;
        let chain = folder.join("chain.pem");
        let pair = fs::read_to_string(stage.key())? + &fs::read_to_string(stage.certificate())?;
        private(&chain, &pair)?;
        let settings = format!(
            "smtpd_tls_security_level = may\n\
             smtpd_tls_chain_files = {}\n\
             smtpd_tls_auth_only = yes\n\
             smtpd_sasl_auth_enable = yes\n\
             smtpd_sasl_type = dovecot\n\
             smtpd_sasl_path = {}\n\
             smtpd_sasl_authenticated_header = yes\n\
             smtpd_relay_restrictions = permit_sasl_authenticated, reject\n\
             virtual_mailbox_domains = example.test\n\
             virtual_mailbox_base = {mailboxes}\n\
             virtual_mailbox_maps = static:all/\n\
             virtual_uid_maps = static:{uid}\n\
             virtual_gid_maps = static:{uid}\n\
             virtual_minimum_uid = 1\n\
             virtual_mailbox_limit = 0\n",
            chain.display(),
            dovecot.auth_socket.display(),
            mailboxes = folder.join("postfix/mail").display(),
        );
        let postfix = Postfix::start(&folder.join("postfix"), &settings)?;
        Ok(Submission {
            mailbox: folder.join("postfix/mail/all"),
            postfix,
            dovecot,
            key,
        })
    }

    /// A token for `user` that is good for so long from now on, or was.
    fn token(&self, user: &str, seconds: i64) -> Result<String, Failure> {
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
        let claims = serde_json::json!({
            "iss": "https://tokens.example.test", "sub": user, "email": user, "scope": "mail",
            "iat": now - 7_200, "nbf": now - 7_200, "exp": now + seconds,
        });
        let head = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","typ":"JWT"}"#);
        let signed = format!("{head}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(signed.as_bytes())?);
        Ok(format!("{signed}.{signature}"))
    }

    fn log(&self) -> String {
        format!("{}\n{}", self.postfix.log(), self.dovecot.log())
    }

    /// Waits until the message is there, and looks whether it came by this mechanism.
    fn wait(&self, mechanism: &str) -> Outcome {
        maildir::wait(&self.mailbox, 1).map_err(|error| format!("{error}\n{}", self.log()))?;
        let log = self.postfix.log();
        let used = log.matches(&format!("sasl_method={mechanism},")).count();
        assert!(used > 0, "not by {mechanism}:\n{}", self.log());
        Ok(())
    }
}

#[test]
fn postfix_and_dovecot_are_shown_a_proof_or_the_password() -> Outcome {
    let (user, word) = Dovecot::PASSWORDS[0];
    let cases = [
        ("plain login scram-sha-256 xoauth2", "SCRAM-SHA-256"),
        ("plain login scram-sha-1", "PLAIN"),
        ("login", "LOGIN"),
    ];
    for (offered, mechanism) in cases {
        let mut stage = Stage::new()?;
        let peer = Submission::start(&stage, offered)?;
        let password = stage.path("etc/relay.password");
        private(&password, &format!("{word}\n"))?;
        let listen = wait::free_address()?;
        let security = way(&stage.certificate(), basic(user, &password, ""));
        stage.define("out", &out(listen, peer.postfix.address, &security))?;
        stage.start_with(&["out"])?;
        send(listen, "bob@example.test")?;
        peer.wait(mechanism)?;
        stage.wait_empty("out")?;
        assert!(!stage.log().contains(word));
    }
    Ok(())
}

#[test]
fn a_token_is_taken_until_it_ends_and_the_next_one_is_read_from_the_file() -> Outcome {
    for mechanism in ["OAUTHBEARER", "XOAUTH2"] {
        let offered = match mechanism {
            "OAUTHBEARER" => "plain xoauth2 oauthbearer",
            _ => "plain xoauth2",
        };
        let mut stage = Stage::new()?;
        let peer = Submission::start(&stage, offered)?;
        let (user, _) = Dovecot::PASSWORDS[0];
        let file = stage.path("etc/relay.token");
        let ended = peer.token(user, -3_600)?;
        private(&file, &format!("{ended}\n"))?;
        let listen = wait::free_address()?;
        let login = format!(
            "{{ xoauth2 = {{ user = {}, token_file = {} }} }}",
            text(user),
            text(&file.to_string_lossy())
        );
        let security = way(&stage.certificate(), login);
        stage.define("out", &out(listen, peer.postfix.address, &security))?;
        stage.start_with(&["out"])?;
        send(listen, "bob@example.test")?;
        let why = format!("the login by {mechanism} was refused: status");
        let row = wait_put_off(&stage, &why).map_err(|error| format!("{error}\n{}", peer.log()))?;
        assert!(row.last_reply.unwrap_or_default().contains("535 4.7.8"));
        // What renews the token replaces the file, and posternd sees it.
        let next = stage.path("etc/next.token");
        let good = peer.token(user, 3_600)?;
        private(&next, &good)?;
        fs::rename(&next, &file)?;
        peer.wait(mechanism)?;
        stage.wait_empty("out")?;
        let log = stage.log();
        assert!(!log.contains(&good) && !log.contains(&ended));
    }
    Ok(())
}

//! A server for each kind of source, and the clients that know its mechanisms.
//!
//! | Server | Accounts | |
//! |---|---|---|
//! | windows | the domain's, then a file's | relays for @staff; in clear too, and then only what says no password |
//! | kerberos | those with a ticket | |
//! | strict | the domain's, and those with a ticket | bound to TLS, or not at all |
//! | foreign | those with a ticket of another realm | |
//! | hashes | a file's, with NT hashes | |

use crate::capture::{Wiretap, is_readable};
use crate::post::{
    ACCEPTED, GAVE_UP, Heard, Post, REFUSED, expect, hear, ntlm, path, ticket, with,
};
use postern_sasl::NtHash;
use postern_tests::peers::Samba;
use postern_tests::stage::{ALICE, BOB, private};
use postern_tests::{Failure, Outcome, program, wait};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output};

/// All of them, running.
pub(crate) struct Servers<'a> {
    samba: &'a Samba,
    post: Post,
    windows: SocketAddr,
    clear: SocketAddr,
    kerberos: SocketAddr,
    strict: SocketAddr,
    foreign: SocketAddr,
    hashes: SocketAddr,
    ticket: PathBuf,
}

/// Whom the domain does not know; the password is [`ALICE`]'s.
const CAROL: &str = r#"[accounts."carol"]
password = "$argon2id$v=19$m=8,t=1,p=1$YWxpY2VhbGljZWFsaWNlMQ$YhOLIF8zm0pQPfG4Ej5ICxSNnyfnz6BMT8QzMpLMS38"
scram = "SCRAM-SHA-256$4096:YWxpY2VhbGljZWFsaWNlMQ==$bQDbGXf+hVlOpLgApsIlEgguixNgOSANIU6/Ayt5XdI=:Oka+awOY6pveE3CrhdFfVLe0puPlToKxGh54ck6cd1w="
addresses = ["carol@example.test"]
"#;

impl<'a> Servers<'a> {
    /// Starts them.
    pub(crate) fn start(samba: &'a Samba) -> Result<Servers<'a>, Failure> {
        let mut post = Post::new()?;
        let accounts = post.stage.accounts();
        let carol = post.stage.path("etc/carol.toml");
        private(&carol, CAROL)?;
        let hashes = post.stage.path("etc/accounts.nt");
        let hash = NtHash::of(ALICE.1);
        private(&hashes, &format!("alice:{}\n", hash.to_hex().as_str()))?;
        let clear = wait::free_address()?;
        let domain = "{ windows = \"CORP\" }";
        let file = format!("{{ file = {} }}", path(&carol));
        let keytab = path(&samba.keytab());
        let by_ticket = format!("{{ gssapi = {keytab} }}");
        let of_others =
            format!("{{ gssapi = {{ keytab = {keytab}, realms = [\"OTHER.TEST\"] }} }}");
        let with_hashes = format!(
            "{{ file = {}, nt_hashes = {} }}",
            path(&accounts),
            path(&hashes)
        );
        let windows = post.add("windows", &[domain, &file], |wanted| {
            wanted.authentication("relay", "[\"@staff\"]")
        })?;
        let kerberos = wait::free_address()?;
        post.add("kerberos", &[&by_ticket], |wanted| {
            wanted
                .general(
                    "listen",
                    format!("[\"{kerberos}\", {{ address = \"{clear}\", tls = \"none\" }}]"),
                )
                .authentication("ntlm", "false")
        })?;
        let strict = post.add("strict", &[domain, &by_ticket], |wanted| {
            wanted.authentication("ntlm", "{ channel_binding = \"require\" }")
        })?;
        let foreign = post.add("foreign", &[&of_others], |wanted| {
            wanted.authentication("ntlm", "false")
        })?;
        let hashes = post.add("hashes", &[&with_hashes], |wanted| wanted)?;
        post.start()?;
        Ok(Servers {
            ticket: samba.ticket(Samba::ALICE)?,
            samba,
            post,
            windows,
            clear,
            kerberos,
            strict,
            foreign,
            hashes,
        })
    }

    fn expect(&self, to: SocketAddr, wanted: &[(u32, Value)]) -> Result<Vec<Heard>, Failure> {
        expect(to, self.samba, wanted)
    }

    /// Who is let in by the domain's controllers and by hashes.
    pub(crate) fn accept(&self) -> Outcome {
        let upn = json!({"domain": "", "name": "alice@corp.postern.test"});
        let heard = self.expect(
            self.windows,
            &[
                (ACCEPTED, alice("impacket", "NTLM")),
                (
                    ACCEPTED,
                    with(alice("impacket", "NTLM"), &json!({"early": false})),
                ),
                (
                    ACCEPTED,
                    with(alice("impacket", "NTLM"), &json!({"domain": ""})),
                ),
                (ACCEPTED, alice("pyspnego", "NTLM")),
                (ACCEPTED, with(alice("pyspnego", "NTLM"), &upn)),
                (ACCEPTED, alice("pyspnego", "GSS-SPNEGO")),
                (ACCEPTED, ntlm("pyspnego", "NTLM", Samba::JÖRG)),
                (ACCEPTED, basic("PLAIN", Samba::ALICE)),
                (ACCEPTED, basic("LOGIN", (r"CORP\alice", Samba::ALICE.1))),
                (
                    ACCEPTED,
                    basic("PLAIN", ("alice@corp.postern.test", Samba::ALICE.1)),
                ),
                // The domain does not know her; the file behind it does.
                (ACCEPTED, basic("PLAIN", ("carol", ALICE.1))),
            ],
        )?;
        for mechanism in ["NTLM", "GSS-SPNEGO", "PLAIN", "LOGIN"] {
            assert!(heard[0].offers(mechanism), "{:?}", heard[0]);
        }
        assert!(!heard[0].offers("GSSAPI"), "{:?}", heard[0]);
        let own = |(name, password)| {
            with(
                ntlm("impacket", "NTLM", (name, password)),
                &json!({"domain": ""}),
            )
        };
        self.expect(
            self.hashes,
            &[
                (ACCEPTED, own(ALICE)),
                (
                    ACCEPTED,
                    with(own(ALICE), &json!({"by": "pyspnego", "binding": "right"})),
                ),
                (REFUSED, own((ALICE.0, BOB.1))),
                // Has an account and no hash.
                (REFUSED, own(BOB)),
                (REFUSED, own(("nobody", ALICE.1))),
            ],
        )?;
        Ok(())
    }

    /// Who is not, and all hear the same.
    pub(crate) fn refuse(&self) -> Outcome {
        let right = Samba::ALICE.1;
        let spoiled = |how: &str| with(alice("impacket", "NTLM"), &json!({"spoil": how}));
        let nested = asn1(3_000);
        let said = |mechanism: &str, blobs: &[&[u8]]| {
            let blobs: Vec<String> = blobs.iter().map(|blob| hex(blob)).collect();
            json!({"by": "nobody", "mechanism": mechanism, "blobs": blobs})
        };
        let mut wanted = vec![
            ntlm("impacket", "NTLM", ("alice", "Wrong.land1")),
            ntlm("impacket", "NTLM", ("nobody", right)),
            ntlm("pyspnego", "NTLM", ("nobody", right)),
            ntlm("impacket", "NTLM", Samba::MALLORY),
            ntlm("pyspnego", "GSS-SPNEGO", Samba::FRANK),
            basic("PLAIN", Samba::ERIN),
            basic("LOGIN", Samba::HEIDI),
            basic("PLAIN", ("alice", "Wrong.land1")),
            basic("PLAIN", ("nobody", right)),
            basic("LOGIN", ("nobody@nowhere.test", right)),
            with(alice("impacket", "NTLM"), &json!({"version": 1})),
            with(alice("impacket", "NTLM"), &json!({"replay": true})),
            // The integrity code protects it.
            with(alice("pyspnego", "NTLM"), &json!({"spoil": "flags"})),
            said("NTLM", &[b"NTLMSSP\0\x03\0\0\0"]),
            said("GSS-SPNEGO", &[&nested]),
            said("GSS-SPNEGO", &[b"`\x84\xff\xff\xff\xff"]),
            said("GSS-SPNEGO", &[b"nonsense"]),
        ];
        wanted.extend(["proof", "no response", "truncated", "far away"].map(spoiled));
        let wanted: Vec<(u32, Value)> = wanted.into_iter().map(|one| (REFUSED, one)).collect();
        let all = self.expect(self.windows, &wanted)?;
        for heard in &all {
            assert_eq!(heard.said, "5.7.8 Authentication unsuccessful");
            assert!(heard.seconds > 0.45 && heard.seconds < 5.0, "{heard:?}");
        }
        for words in [
            [
                "mechanism=\"NTLM\"",
                "CORP\\\\alice",
                "NT_STATUS_WRONG_PASSWORD",
            ],
            [
                "mechanism=\"NTLM\"",
                "CORP\\\\nobody",
                "NT_STATUS_NO_SUCH_USER",
            ],
            [
                "mechanism=\"NTLM\"",
                "CORP\\\\mallory",
                "NT_STATUS_ACCOUNT_DISABLED",
            ],
            [
                "mechanism=\"GSS-SPNEGO\"",
                "CORP\\\\frank",
                "NT_STATUS_PASSWORD_MUST_CHANGE",
            ],
            ["mechanism=\"PLAIN\"", "erin", "NT_STATUS_ACCOUNT_EXPIRED"],
            [
                "mechanism=\"LOGIN\"",
                "heidi",
                "NT_STATUS_INVALID_LOGON_HOURS",
            ],
        ] {
            self.post.log_has(&words)?;
        }
        let log = self.post.stage.log();
        assert!(!log.contains(right), "a password is in the log");
        Ok(())
    }

    /// The binding to TLS: checked where it is sent, and where it is required it must be.
    pub(crate) fn bind(&self) -> Outcome {
        let mut accepts = Vec::new();
        let mut requires = Vec::new();
        for one in [
            alice("impacket", "NTLM"),
            alice("pyspnego", "NTLM"),
            alice("pyspnego", "GSS-SPNEGO"),
        ] {
            for (kind, accepted, required) in [
                ("right", ACCEPTED, ACCEPTED),
                ("wrong", REFUSED, REFUSED),
                ("none", ACCEPTED, REFUSED),
            ] {
                let one = with(one.clone(), &json!({"binding": kind}));
                accepts.push((accepted, one.clone()));
                requires.push((required, one));
            }
        }
        self.expect(self.windows, &accepts)?;
        for mechanism in ["GSSAPI", "GSS-SPNEGO"] {
            for (kind, required) in [("right", ACCEPTED), ("wrong", REFUSED), ("none", REFUSED)] {
                let one = ticket(mechanism, &self.ticket);
                requires.push((required, with(one, &json!({"binding": kind}))));
            }
        }
        self.expect(self.strict, &requires)?;
        self.post
            .log_has(&["mechanism=\"GSSAPI\"", "accepted", "bound to TLS"])
    }

    /// Kerberos, with TLS and without: no password crosses the wire either way.
    pub(crate) fn take_tickets(&self) -> Outcome {
        let one = |mechanism| ticket(mechanism, &self.ticket);
        let clear = json!({"tls": false});
        let heard = self.expect(
            self.kerberos,
            &[
                (
                    ACCEPTED,
                    with(one("GSSAPI"), &json!({"sender": "alice@corp.postern.test"})),
                ),
                (ACCEPTED, with(one("GSSAPI"), &json!({"early": false}))),
                (ACCEPTED, one("GSS-SPNEGO")),
                (
                    ACCEPTED,
                    with(one("GSS-SPNEGO"), &json!({"binding": "right"})),
                ),
                (REFUSED, with(one("GSSAPI"), &json!({"binding": "wrong"}))),
                // A ticket of another service.
                (REFUSED, with(one("GSSAPI"), &json!({"service": "imap"}))),
                (
                    REFUSED,
                    with(one("GSS-SPNEGO"), &json!({"service": "imap"})),
                ),
                (REFUSED, alice("pyspnego", "GSS-SPNEGO")),
            ],
        )?;
        assert_eq!((heard[0].sender, heard[0].recipient), (250, 250));
        assert!(
            !heard[0].offers("NTLM") && !heard[0].offers("PLAIN"),
            "{:?}",
            heard[0]
        );
        self.expect(
            self.clear,
            &[
                (ACCEPTED, with(one("GSSAPI"), &clear)),
                (ACCEPTED, with(one("GSS-SPNEGO"), &clear)),
            ],
        )?;
        for heard in self.expect(
            self.foreign,
            &[(REFUSED, one("GSSAPI")), (REFUSED, one("GSS-SPNEGO"))],
        )? {
            assert_eq!(heard.said, "5.7.8 Authentication unsuccessful");
        }
        self.post.log_has(&["server=foreign", "refused", "realm"])?;
        // No server takes tickets that has no key.
        self.expect(self.windows, &[(REFUSED, one("GSS-SPNEGO"))])?;
        let unknown = with(one("GSSAPI"), &json!({"realm": "OTHER.TEST"}));
        self.expect(self.kerberos, &[(GAVE_UP, unknown)])?;
        Ok(())
    }

    /// Groups come from winbind, addresses from the name.
    pub(crate) fn grant(&self) -> Outcome {
        let tries = [
            (
                alice("impacket", "NTLM"),
                "alice@corp.postern.test",
                250,
                250,
            ),
            (
                alice("pyspnego", "GSS-SPNEGO"),
                "bob@corp.postern.test",
                553,
                503,
            ),
            (
                ntlm("impacket", "NTLM", Samba::BOB),
                "bob@corp.postern.test",
                250,
                550,
            ),
            (
                basic("PLAIN", Samba::ALICE),
                "alice@corp.postern.test",
                250,
                250,
            ),
            (
                basic("LOGIN", Samba::BOB),
                "bob@corp.postern.test",
                250,
                550,
            ),
        ];
        let said: Vec<Value> = tries
            .iter()
            .map(|(one, sender, _, _)| with(one.clone(), &json!({"sender": sender})))
            .collect();
        for ((one, _, sender, recipient), heard) in
            tries.iter().zip(hear(self.windows, &said, self.samba)?)
        {
            assert_eq!(
                (heard.sender, heard.recipient),
                (*sender, *recipient),
                "{one}"
            );
        }
        let explain = |login: &str| {
            let address = format!("{login}@corp.postern.test");
            let words = [
                "explain",
                "windows",
                "--from",
                "127.0.0.1",
                "--tls",
                "--login",
                login,
                "--sender",
                &address,
                "--to",
                "carol@elsewhere.test",
            ];
            Ok::<_, Failure>(self.post.stage.postern(&words)?.status.code())
        };
        assert_eq!(explain("alice")?, Some(0));
        assert_eq!(explain("bob")?, Some(1));
        Ok(())
    }

    /// Programs that people use.
    pub(crate) fn serve_programs(&self) -> Outcome {
        let password = Samba::ALICE.1;
        for (to, user, mechanism, code) in [
            (self.windows, format!(r"CORP\alice:{password}"), "NTLM", 0),
            (self.windows, format!(r"CORP\alice:{password}"), "PLAIN", 0),
            (self.windows, format!("alice:{password}"), "LOGIN", 0),
            (self.windows, "alice:Wrong.land1".to_owned(), "NTLM", 67),
            // It has no channel binding to show.
            (self.strict, format!(r"CORP\alice:{password}"), "NTLM", 67),
            (
                self.kerberos,
                format!("alice@{}:", Samba::REALM),
                "GSSAPI",
                0,
            ),
        ] {
            let output = self.curl(to, &user, mechanism)?;
            assert_eq!(
                output.status.code(),
                Some(code),
                "{user} {mechanism}: {output:?}"
            );
        }
        let output = self.gsasl(self.kerberos, "GSSAPI", "alice", None)?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("235 2.7.0"), "{output:?}");
        // It knows NTLMv1 alone.
        let output = self.gsasl(self.windows, "NTLM", "alice", Some(password))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("535 5.7.8"), "{output:?}");
        self.post.log_has(&["mechanism=\"NTLM\"", "NTLMv1"])?;
        self.msmtp()?;
        self.swaks()
    }

    fn curl(&self, to: SocketAddr, user: &str, mechanism: &str) -> Result<Output, Failure> {
        let name = format!("{}:{}", Samba::HOST, to.port());
        let mut command = Command::new(program::find("curl")?);
        command
            .args([
                "--silent",
                "--show-error",
                "--max-time",
                "60",
                "--ssl-reqd",
                "--cacert",
            ])
            .arg(self.post.stage.certificate())
            .args(["--resolve", &format!("{name}:127.0.0.1"), "--user", user])
            .args(["--login-options", &format!("AUTH={mechanism}")])
            .args(["--request", "NOOP", &format!("smtp://{name}")]);
        self.with_ticket(&mut command);
        program::run_command(command, b"")
    }

    fn gsasl(
        &self,
        to: SocketAddr,
        mechanism: &str,
        name: &str,
        password: Option<&str>,
    ) -> Result<Output, Failure> {
        let mut command = Command::new(program::find("gsasl")?);
        command
            .args(["--smtp", "--starttls", "--no-cb", "--mechanism", mechanism])
            .args(["--authentication-id", name, "--authorization-id", name])
            .args([
                "--hostname",
                Samba::HOST,
                "--service",
                "smtp",
                "--x509-ca-file",
            ])
            .arg(self.post.stage.certificate())
            .args(["--connect", &to.to_string()]);
        if let Some(password) = password {
            command.args(["--password", password]);
        }
        self.with_ticket(&mut command);
        program::run_command(command, b"")
    }

    fn with_ticket(&self, command: &mut Command) {
        command
            .env("KRB5_CONFIG", self.samba.krb5())
            .env("KRB5CCNAME", &self.ticket);
    }

    fn msmtp(&self) -> Outcome {
        let certificate = self.post.stage.certificate();
        let words = [
            "--host=127.0.0.1",
            &format!("--port={}", self.windows.port()),
            "--auth=plain",
            r"--user=CORP\alice",
            &format!("--passwordeval=printf %s {}", Samba::ALICE.1),
            "--tls=on",
            "--tls-starttls=on",
            &format!("--tls-trust-file={}", certificate.display()),
            "--from=alice@corp.postern.test",
            "carol@elsewhere.test",
        ];
        program::succeed(program::run(
            "msmtp",
            words,
            b"Subject: by msmtp\n\nHello.\n",
        )?)?;
        Ok(())
    }

    fn swaks(&self) -> Outcome {
        let server = self.windows.to_string();
        for mechanism in ["PLAIN", "LOGIN"] {
            let words = [
                "--server",
                &server,
                "--tls",
                "--auth",
                mechanism,
                "--auth-user",
                r"CORP\alice",
                "--auth-password",
                Samba::ALICE.1,
                "--from",
                "alice@corp.postern.test",
                "--to",
                "carol@elsewhere.test",
                "--quit-after",
                "RCPT",
            ];
            program::succeed(program::run("swaks", words, b"")?)?;
        }
        Ok(())
    }

    /// What crosses the wire, mechanism by mechanism: neither a password nor, inside TLS or a ticket, a name.
    pub(crate) fn show_nothing(&self) -> Outcome {
        let clear = json!({"tls": false});
        let by_ticket = |mechanism| ticket(mechanism, &self.ticket);
        for (to, one) in [
            (self.windows, basic("PLAIN", Samba::ALICE)),
            (self.windows, basic("LOGIN", Samba::ALICE)),
            (self.windows, alice("pyspnego", "NTLM")),
            (self.windows, alice("impacket", "NTLM")),
            (self.windows, alice("pyspnego", "GSS-SPNEGO")),
            (self.kerberos, by_ticket("GSSAPI")),
            (self.kerberos, by_ticket("GSS-SPNEGO")),
            (self.clear, with(by_ticket("GSSAPI"), &clear)),
            (self.clear, with(by_ticket("GSS-SPNEGO"), &clear)),
        ] {
            let tap = Wiretap::before(to)?;
            self.expect(tap.address, &[(ACCEPTED, one.clone())])?;
            let heard = tap.heard()?;
            assert!(heard.len() > 500, "{one}");
            for secret in [Samba::ALICE.1, "alice"] {
                assert!(!is_readable(&heard, secret), "{secret} can be read: {one}");
            }
        }
        let tap = Wiretap::before(self.windows)?;
        let output = self.gsasl(tap.address, "SCRAM-SHA-256", "carol", Some(ALICE.1))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("235 2.7.0"), "{output:?}");
        let heard = tap.heard()?;
        for secret in [ALICE.1, "carol"] {
            assert!(!is_readable(&heard, secret), "{secret} can be read");
        }
        Ok(())
    }
}

fn alice(by: &str, mechanism: &str) -> Value {
    ntlm(by, mechanism, Samba::ALICE)
}

/// A session of Python's smtplib.
fn basic(mechanism: &str, (name, password): (&str, &str)) -> Value {
    json!({"by": "smtplib", "mechanism": mechanism, "name": name, "password": password})
}

/// SPNEGO's beginning, and then one thing in another for ever.
fn asn1(depth: usize) -> Vec<u8> {
    let mut inner = Vec::new();
    for _ in 0..depth.min(2_000) {
        let length = u16::try_from(inner.len()).unwrap_or(u16::MAX).to_be_bytes();
        inner.splice(0..0, [0x30, 0x82, length[0], length[1]]);
    }
    inner.truncate(8_000);
    let length = u16::try_from(inner.len() + 8)
        .unwrap_or(u16::MAX)
        .to_be_bytes();
    let mut token = vec![0x60, 0x82, length[0], length[1]];
    token.extend([6, 6, 0x2b, 6, 1, 5, 5, 2]);
    token.extend(inner);
    token
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

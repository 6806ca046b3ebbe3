//! Real clients submit mail, each in its own way, and what they sent is what the next hop gets.

use postern_tests::definition::Definition;
use postern_tests::sink::{Sink, Taken};
use postern_tests::stage::{ALICE, PATIENCE, Stage, private};
use postern_tests::wire::{Wire, stuffed};
use postern_tests::{Failure, Outcome, mail, program, wait};
use std::net::SocketAddr;
use std::path::PathBuf;

const SENDER: &str = "alice@example.test";
const RECIPIENT: &str = "carol@elsewhere.test";

/// A submission server with all its doors, and the next hop behind it.
struct Post {
    stage: Stage,
    sink: Sink,
    /// STARTTLS, login wanted.
    submission: SocketAddr,
    /// TLS from the first byte, login wanted.
    implicit: SocketAddr,
    /// No TLS, no login: a gateway for this machine.
    plain: SocketAddr,
}

impl Post {
    fn open() -> Result<Post, Failure> {
        let mut stage = Stage::new()?;
        let sink = Sink::start()?;
        let (submission, implicit, plain) = (
            wait::free_address()?,
            wait::free_address()?,
            wait::free_address()?,
        );
        let listen =
            format!("[\"{submission}\", {{ address = \"{implicit}\", tls = \"implicit\" }}]");
        let wanted = Definition::open_relay("submit.example.test", submission)
            .general("listen", listen)
            .authentication("anonymous", "false")
            .relay("list", "[]")
            .certificate(&stage.certificate(), &stage.key())
            .accounts(&stage.accounts())
            .smart_host(sink.address);
        stage.define("submit", &wanted)?;
        stage.define(
            "plain",
            &Definition::open_relay("plain.example.test", plain).smart_host(sink.address),
        )?;
        stage.start_with(&["submit", "plain"])?;
        Ok(Post {
            stage,
            sink,
            submission,
            implicit,
            plain,
        })
    }

    /// The message with this `X-Test`, once it has come to the sink.
    fn arrived(&self, name: &str) -> Result<Taken, Failure> {
        let header = format!("X-Test: {name}\r\n");
        let found = wait::until(&format!("{name} to arrive"), PATIENCE, || {
            self.sink
                .taken()
                .into_iter()
                .find(|t| String::from_utf8_lossy(&t.content).contains(&header))
        });
        found.map_err(|error| {
            let queues = (self.stage.queue("submit"), self.stage.queue("plain"));
            let last = self
                .sink
                .taken()
                .pop()
                .map(|t| String::from_utf8_lossy(&t.content).into_owned());
            format!("{error}; queues {queues:?}; the last to come was {last:?}").into()
        })
    }

    /// Fails unless `content`, named `name`, arrives as it was sent, from [`SENDER`] to [`RECIPIENT`].
    fn unchanged(&self, name: &str, content: &[u8]) -> Outcome {
        let taken = self.arrived(name)?;
        assert!(
            taken.mail.starts_with(&format!("FROM:<{SENDER}>")),
            "{name}: MAIL {}",
            taken.mail
        );
        assert!(
            taken.recipients.iter().any(|r| r.contains(RECIPIENT)),
            "{name}: RCPT {:?}",
            taken.recipients
        );
        mail::compare(name, content, mail::without_trace(&taken.content))
    }

    fn file(&self, name: &str, content: &[u8]) -> Result<PathBuf, Failure> {
        let path = self.stage.path(name);
        std::fs::write(&path, content)?;
        Ok(path)
    }

    fn trust(&self) -> String {
        self.stage.certificate().to_string_lossy().into_owned()
    }
}

#[test]
fn swaks() -> Outcome {
    let post = Post::open()?;
    let login = |mechanism: &str| {
        vec![
            "--auth".to_owned(),
            mechanism.to_owned(),
            "--auth-user".into(),
            ALICE.0.into(),
            "--auth-password".into(),
            ALICE.1.into(),
        ]
    };
    let ways: [(&str, SocketAddr, Vec<String>); 5] = [
        ("swaks-plain", post.plain, vec![]),
        (
            "swaks-starttls-plain",
            post.submission,
            [vec!["--tls".to_owned()], login("PLAIN")].concat(),
        ),
        (
            "swaks-starttls-login",
            post.submission,
            [vec!["--tls".to_owned()], login("LOGIN")].concat(),
        ),
        (
            "swaks-implicit-plain",
            post.implicit,
            [vec!["--tls-on-connect".to_owned()], login("PLAIN")].concat(),
        ),
        ("swaks-pipelined", post.plain, vec!["--pipeline".to_owned()]),
    ];
    for (name, to, words) in ways {
        let content = mail::with_header(name, b"Hello\r\n.\r\n..dots\r\nbye\r\n");
        // Swaks adds CR and doubles dots itself.
        let file = post.file(
            name,
            &String::from_utf8(content.clone())?
                .replace("\r\n", "\n")
                .into_bytes(),
        )?;
        let common = [
            "--server".to_owned(),
            to.to_string(),
            "--from".into(),
            SENDER.into(),
            "--to".into(),
            RECIPIENT.into(),
            "--data".into(),
            format!("@{}", file.display()),
            "--no-data-fixup".into(),
        ];
        // Without its fix-up swaks wants the message as it goes over the wire.
        std::fs::write(&file, stuffed(&content))?;
        let output = program::run("swaks", common.iter().chain(&words), b"")?;
        program::succeed(output).map_err(|error| format!("{name}: {error}"))?;
        post.unchanged(name, &content)?;
    }
    Ok(())
}

#[test]
fn msmtp() -> Outcome {
    let post = Post::open()?;
    let ways = [
        ("msmtp-plain", post.plain, "tls off\nauth off"),
        (
            "msmtp-starttls-plain",
            post.submission,
            "tls on\ntls_starttls on\nauth plain",
        ),
        (
            "msmtp-starttls-login",
            post.submission,
            "tls on\ntls_starttls on\nauth login",
        ),
        (
            "msmtp-implicit-plain",
            post.implicit,
            "tls on\ntls_starttls off\nauth plain",
        ),
        (
            "msmtp-implicit-login",
            post.implicit,
            "tls on\ntls_starttls off\nauth login",
        ),
    ];
    for (name, to, lines) in ways {
        let content = mail::with_header(name, "Grüße\r\n.dot\r\n\r\nend\r\n".as_bytes());
        let trust = if lines.starts_with("tls on") {
            format!("tls_trust_file {}\n", post.trust())
        } else {
            String::new()
        };
        let text = format!(
            "account default\nhost localhost\nport {}\nfrom {SENDER}\nuser {}\npassword {}\n{lines}\n{trust}",
            to.port(),
            ALICE.0,
            ALICE.1
        );
        let configuration = post.stage.path(&format!("{name}.conf"));
        private(&configuration, &text)?;
        let configuration = configuration.to_string_lossy().into_owned();
        let lf = String::from_utf8(content.clone())?.replace("\r\n", "\n");
        let output = program::run(
            "msmtp",
            [
                "-C",
                &configuration,
                "--set-from-header=off",
                "--",
                RECIPIENT,
            ],
            lf.as_bytes(),
        )?;
        program::succeed(output).map_err(|error| format!("{name}: {error}"))?;
        post.unchanged(name, &content)?;
    }
    Ok(())
}

#[test]
fn curl() -> Outcome {
    let post = Post::open()?;
    let user = format!("{}:{}", ALICE.0, ALICE.1);
    let (starttls, implicit) = (
        format!("smtp://localhost:{}", post.submission.port()),
        format!("smtps://localhost:{}", post.implicit.port()),
    );
    let plain = format!("smtp://localhost:{}", post.plain.port());
    let trust = post.trust();
    let ways: [(&str, Vec<&str>); 5] = [
        ("curl-plain", vec![&plain]),
        (
            "curl-starttls-plain",
            vec![
                &starttls,
                "--ssl-reqd",
                "--user",
                &user,
                "--login-options",
                "AUTH=PLAIN",
            ],
        ),
        (
            "curl-starttls-login",
            vec![
                &starttls,
                "--ssl-reqd",
                "--user",
                &user,
                "--login-options",
                "AUTH=LOGIN",
            ],
        ),
        (
            "curl-implicit-plain",
            vec![&implicit, "--user", &user, "--login-options", "AUTH=PLAIN"],
        ),
        (
            "curl-implicit-login",
            vec![&implicit, "--user", &user, "--login-options", "AUTH=LOGIN"],
        ),
    ];
    for (name, words) in ways {
        let content = mail::with_header(name, "Grüße\r\n.dot\r\n..\r\n\r\nend\r\n".as_bytes());
        let file = post.file(name, &content)?.to_string_lossy().into_owned();
        let common = [
            "-sS",
            "-4",
            "--cacert",
            &trust,
            "--mail-from",
            SENDER,
            "--mail-rcpt",
            RECIPIENT,
            "--upload-file",
            &file,
        ];
        let output = program::run("curl", common.iter().chain(&words), b"")?;
        program::succeed(output).map_err(|error| format!("{name}: {error}"))?;
        post.unchanged(name, &content)?;
    }
    Ok(())
}

/// All samples through Python's smtplib, one connection for all, and one of a megabyte.
#[test]
fn python() -> Outcome {
    const SCRIPT: &str = r#"
import smtplib, ssl, sys, os
way, port, user, password, trust, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5], sys.argv[6]
context = ssl.create_default_context(cafile=trust)
if way == 'implicit':
    s = smtplib.SMTP_SSL('localhost', port, context=context, timeout=60)
else:
    s = smtplib.SMTP('localhost', port, timeout=60)
if way.startswith('starttls'):
    s.starttls(context=context)
s.ehlo()
if way != 'plain':
    s.user, s.password = user, password
    if way == 'starttls-login':
        s.auth('LOGIN', s.auth_login, initial_response_ok=False)
    else:
        s.auth('PLAIN', s.auth_plain)
for name in sorted(os.listdir(folder)):
    data = open(os.path.join(folder, name), 'rb').read()
    # smtplib itself adds SIZE.
    options = ['BODY=8BITMIME'] if any(b > 127 for b in data) else []
    refused = s.sendmail('alice@example.test', ['carol@elsewhere.test'], data, mail_options=options)
    assert not refused, refused
s.quit()
"#;
    let post = Post::open()?;
    let ways = [
        ("plain", post.plain),
        ("starttls-plain", post.submission),
        ("starttls-login", post.submission),
        ("implicit", post.implicit),
    ];
    for (way, to) in ways {
        let folder = post.stage.path(&format!("python-{way}"));
        std::fs::create_dir(&folder)?;
        let mut contents: Vec<(String, Vec<u8>)> = vec![];
        for sample in mail::samples() {
            let name = format!("python-{way}-{}", sample.name);
            let text = sample
                .content
                .split(|&b| b == b'\n')
                .map(|line| line.to_vec())
                .collect::<Vec<_>>()
                .join(&b'\n');
            let header = format!("X-Test: {}\r\n", sample.name);
            let at =
                memchr::memmem::find(&text, header.as_bytes()).ok_or("a sample without X-Test")?;
            let renamed = [
                &text[..at],
                format!("X-Test: {name}\r\n").as_bytes(),
                &text[at + header.len()..],
            ]
            .concat();
            contents.push((name, renamed));
        }
        contents.push((
            format!("python-{way}-megabyte"),
            mail::of_size(&format!("python-{way}-megabyte"), 1 << 20),
        ));
        for (name, content) in &contents {
            std::fs::write(folder.join(name), content)?;
        }
        let (port, trust, folder) = (
            to.port().to_string(),
            post.trust(),
            folder.to_string_lossy().into_owned(),
        );
        let output = program::run(
            "python3",
            ["-c", SCRIPT, way, &port, ALICE.0, ALICE.1, &trust, &folder],
            b"",
        )?;
        program::succeed(output).map_err(|error| format!("python {way}: {error}"))?;
        for (name, content) in &contents {
            post.unchanged(name, content)?;
        }
    }
    Ok(())
}

#[test]
fn python_sends_to_and_from_utf8_addresses() -> Outcome {
    const SCRIPT: &str = r#"
import smtplib, ssl, sys
s = smtplib.SMTP('localhost', int(sys.argv[1]), timeout=60)
s.starttls(context=ssl.create_default_context(cafile=sys.argv[4]))
s.login(sys.argv[2], sys.argv[3])
data = 'X-Test: utf8\r\nFrom: älice@bücher.test\r\nSubject: Grüße\r\n\r\nSchöne Grüße\r\n'.encode()
assert not s.sendmail('älice@bücher.test', ['пётр@почта.test'], data, mail_options=['SMTPUTF8', 'BODY=8BITMIME'])
s.quit()
"#;
    let post = Post::open()?;
    let output = program::run(
        "python3",
        [
            "-c",
            SCRIPT,
            &post.submission.port().to_string(),
            ALICE.0,
            ALICE.1,
            &post.trust(),
        ],
        b"",
    )?;
    program::succeed(output)?;
    let taken = post.arrived("utf8")?;
    assert!(
        taken.mail.contains("<älice@bücher.test>")
            && taken.mail.to_uppercase().contains("SMTPUTF8"),
        "MAIL {}",
        taken.mail
    );
    assert!(
        taken.recipients[0].contains("<пётр@почта.test>"),
        "RCPT {:?}",
        taken.recipients
    );
    let sent = "X-Test: utf8\r\nFrom: älice@bücher.test\r\nSubject: Grüße\r\n\r\nSchöne Grüße\r\n";
    mail::compare("utf8", sent.as_bytes(), mail::without_trace(&taken.content))
}

/// Perl's Net::SMTP is a client that knows BDAT (RFC 3030): chunks of all sizes, bare dots and lines torn between two.
#[test]
fn perl_sends_chunks() -> Outcome {
    const SCRIPT: &str = r#"
use Net::SMTP;
my ($way, $port, $user, $password, $trust, $file) = @ARGV;
my $s = Net::SMTP->new('localhost', Port => $port, Timeout => 60, Hello => 'client.test') or die "connect: $@";
if ($way eq 'tls') {
    $s->starttls(SSL_ca_file => $trust) or die 'starttls: ' . $s->message;
    $s->command('AUTH', 'PLAIN', do { require MIME::Base64; MIME::Base64::encode_base64("\0$user\0$password", '') })->response == 2 or die 'auth: ' . $s->message;
}
defined $s->supports('CHUNKING') or die 'CHUNKING is not offered';
open(my $f, '<:raw', $file) or die $!;
my $data = do { local $/; <$f> };
$s->mail('alice@example.test', Bits => 'binary') or die 'mail: ' . $s->message;
$s->to('carol@elsewhere.test') or die 'rcpt: ' . $s->message;
my @sizes = (1, 2, 3, 100, 7, 4096, 1, 65536);
my $at = 0;
while ($at < length($data)) {
    my $size = $sizes[0]; push @sizes, shift @sizes;
    $s->bdat(substr($data, $at, $size)) or die 'bdat: ' . $s->message;
    $at += $size;
}
$s->bdatlast('') or die 'last: ' . $s->message;
$s->quit;
"#;
    let post = Post::open()?;
    for (way, to) in [("plain", post.plain), ("tls", post.submission)] {
        for (kind, content) in [
            ("dots", b".\r\n..\r\n.\r\n\r\n.\r\n".repeat(50)),
            ("large", mail::of_size("x", 300_000)),
        ] {
            let name = format!("perl-{way}-{kind}");
            let content = mail::with_header(&name, &content);
            let file = post.file(&name, &content)?.to_string_lossy().into_owned();
            let output = program::run(
                "perl",
                [
                    "-e",
                    SCRIPT,
                    way,
                    &to.port().to_string(),
                    ALICE.0,
                    ALICE.1,
                    &post.trust(),
                    &file,
                ],
                b"",
            )?;
            program::succeed(output).map_err(|error| format!("{name}: {error}"))?;
            post.unchanged(&name, &content)?;
        }
    }
    Ok(())
}

/// Two whole messages in one write, with what may stand in a pipeline between them (RFC 2920); then byte by byte.
#[test]
fn a_pipelining_client() -> Outcome {
    let post = Post::open()?;
    let part = |name: &str| {
        let mut wire =
            format!("MAIL FROM:<{SENDER}>\r\nRCPT TO:<{RECIPIENT}>\r\nDATA\r\n").into_bytes();
        wire.extend(stuffed(&mail::with_header(name, b".\r\nbody\r\n")));
        wire
    };
    for torn in [false, true] {
        let names = [format!("pipelined-{torn}-1"), format!("pipelined-{torn}-2")];
        let mut all = b"EHLO client.test\r\nNOOP\r\nRSET\r\n".to_vec();
        all.extend(part(&names[0]));
        all.extend_from_slice(b"RSET\r\n");
        all.extend(part(&names[1]));
        all.extend_from_slice(b"QUIT\r\n");
        let mut wire = Wire::connect(post.plain)?;
        if torn {
            all.iter().try_for_each(|&byte| wire.send(&[byte]))?;
        } else {
            wire.send(&all)?;
        }
        let mut codes = Vec::new();
        for _ in 0..13 {
            codes.push(wire.reply()?[..3].to_owned());
        }
        let expected = [
            "250", "250", "250", "250", "250", "354", "250", "250", "250", "250", "354", "250",
            "221",
        ];
        assert_eq!(codes, expected);
        assert!(wire.closed());
        for name in &names {
            post.unchanged(name, &mail::with_header(name, b".\r\nbody\r\n"))?;
        }
    }
    Ok(())
}

#[test]
fn nobody_gets_in_with_a_wrong_password_or_without_tls() -> Outcome {
    let post = Post::open()?;
    let mut wire = Wire::open(post.submission)?;
    let offer = wire.say("EHLO client.test")?;
    assert!(
        offer.contains("STARTTLS") && !offer.contains("AUTH"),
        "{offer}"
    );
    wire.expect("538", "AUTH PLAIN AGFsaWNlAHdvbmRlci5sYW5kLTE=")?;
    wire.expect("530 5.7", &format!("MAIL FROM:<{SENDER}>"))?;
    let words = [
        "-sS",
        "-4",
        "--ssl-reqd",
        "--cacert",
        &post.trust(),
        "--mail-from",
        SENDER,
        "--mail-rcpt",
        RECIPIENT,
        "--user",
        "alice:wrong",
        "--upload-file",
        "-",
        &format!("smtp://localhost:{}", post.submission.port()),
    ]
    .map(str::to_owned);
    let output = program::run("curl", &words, b"x\r\n")?;
    // CURLE_LOGIN_DENIED
    assert_eq!(
        output.status.code(),
        Some(67),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(post.sink.count(), 0);
    Ok(())
}

#[test]
fn a_sender_that_is_not_the_accounts_own_is_refused() -> Outcome {
    let post = Post::open()?;
    let user = format!("{}:{}", ALICE.0, ALICE.1);
    let words = [
        "-sS",
        "-4",
        "--ssl-reqd",
        "--cacert",
        &post.trust(),
        "--mail-from",
        "bob@example.test",
        "--mail-rcpt",
        RECIPIENT,
        "--user",
        &user,
        "--upload-file",
        "-",
        &format!("smtp://localhost:{}", post.submission.port()),
        "-v",
    ]
    .map(str::to_owned);
    let output = program::run("curl", &words, b"x\r\n")?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("< 553 5.7.1"),
        "{said}"
    );
    Ok(())
}

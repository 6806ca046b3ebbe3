//! `postern check-dns` with nsd and unbound behind it, and a web server for the policy of MTA-STS.
//!
//! What it prints is compared with `golden/check-dns-*.txt`; `POSTERN_BLESS=1` writes them anew.

use postern_tests::peers::Dns;
use postern_tests::{Failure, Outcome, program, wait};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const DOMAIN: &str = "example.test";

/// A folder with a definition, an authority, certificates; and where `postern` is.
struct Bench {
    folder: tempfile::TempDir,
    postern: PathBuf,
    digest: String,
}

impl Bench {
    fn new() -> Result<Bench, Failure> {
        let test = std::env::current_exe()?;
        let postern = test
            .ancestors()
            .nth(2)
            .ok_or("no target folder")?
            .join("postern");
        if !postern.is_file() {
            return Err(format!(
                "{} is missing: `make test` builds it first",
                postern.display()
            )
            .into());
        }
        let mut bench = Bench {
            folder: tempfile::tempdir()?,
            postern,
            digest: String::new(),
        };
        bench.certificates()?;
        fs::create_dir(bench.path("servers"))?;
        bench.define("")?;
        Ok(bench)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn define(&self, delivery: &str) -> Outcome {
        let text = format!(
            "[general]\nfqdn = \"mx1.{DOMAIN}\"\nlisten = [\"192.0.2.10:25\"]\n\
             [access.authentication]\nanonymous = true\n\
             [access.tls]\ncertificates = [{{ certificate = \"../mx1.pem\", key = \"../mx1.key\" }}]\n\
             [delivery]\ndomains = [{{ name = \"{DOMAIN}\", to = \"maildir:/var/mail/{{domain}}/{{local}}\" }}]\n{delivery}"
        );
        Ok(fs::write(self.path("servers/mx1.toml"), text)?)
    }

    /// An authority, and what it issued: for the server, and for the web server.
    fn certificates(&mut self) -> Outcome {
        let mut authority = CertificateParams::new(Vec::<String>::new())?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
        fs::write(self.path("ca.pem"), authority.pem())?;
        for (file, name) in [
            ("mx1", format!("mx1.{DOMAIN}")),
            ("sts", format!("mta-sts.{DOMAIN}")),
        ] {
            let key = KeyPair::generate()?;
            let certificate = CertificateParams::new(vec![name])?.signed_by(&key, &authority)?;
            fs::write(self.path(&format!("{file}.pem")), certificate.pem())?;
            fs::write(self.path(&format!("{file}.key")), key.serialize_pem())?;
        }
        // What `openssl x509 -pubkey | openssl pkey -outform DER | sha256sum` says.
        let script =
            "openssl x509 -in \"$0\" -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum";
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(self.path("mx1.pem"));
        let told = program::succeed(program::run_command(command, b"")?)?;
        self.digest = told.split(' ').next().unwrap_or_default().to_owned();
        Ok(())
    }

    fn check(&self, resolver: SocketAddr, words: &[&str]) -> Result<Output, Failure> {
        let resolver = resolver.to_string();
        let ca = self.path("ca.pem");
        let mut command = Command::new(&self.postern);
        command.arg("--config").arg(self.folder.path());
        command
            .args(["check-dns", "mx1", "--resolver", &resolver, "--ca"])
            .arg(ca)
            .args(words);
        program::run_command(command, b"")
    }

    /// What it printed, without what differs from run to run.
    fn plain(&self, output: &Output, changing: &[(String, &str)]) -> String {
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        for (what, name) in changing {
            text = text.replace(what, name);
        }
        text.replace(&self.digest, "[DIGEST]")
    }
}

/// Compares with a file of `golden/`.
#[track_caller]
fn golden(name: &str, actual: &str) -> Outcome {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("golden")
        .join(name);
    if std::env::var_os("POSTERN_BLESS").is_some() {
        fs::write(&path, actual)?;
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == actual,
        "{name} differs\n--- expected\n{expected}\n--- actual\n{actual}"
    );
    Ok(())
}

/// Python's web server with TLS, which answers every path with one document.
struct Web {
    child: Child,
    port: String,
}

impl Drop for Web {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const WEB: &str = r#"
import http.server, ssl, sys
status, body = int(sys.argv[3]), open(sys.argv[4], "rb").read()
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        good = self.path == "/.well-known/mta-sts.txt" and self.headers["Host"] == "mta-sts.example.test"
        self.send_response(status if good else 500)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Location", "/elsewhere")
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
"#;

impl Web {
    fn start(
        bench: &Bench,
        certificate: &str,
        status: u16,
        document: &[u8],
    ) -> Result<Web, Failure> {
        fs::write(bench.path("document"), document)?;
        let mut command = Command::new(program::find("python3")?);
        command.args(["-c", WEB]);
        for file in [format!("{certificate}.pem"), format!("{certificate}.key")] {
            command.arg(bench.path(&file));
        }
        command.arg(status.to_string()).arg(bench.path("document"));
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut port = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut port)?;
        Ok(Web {
            child,
            port: port.trim().to_owned(),
        })
    }
}

const POLICY: &[u8] =
    b"version: STSv1\r\nmode: enforce\r\nmx: *.example.test\r\nmax_age: 604800\r\n";

const REVERSE: &str = "10 PTR mx1.example.test.";

fn good(digest: &str) -> String {
    format!(
        "mx1 A 192.0.2.10\nmx1 TXT \"v=spf1 a -all\"\n_25._tcp.mx1 TLSA 3 1 1 {digest}\n\
         @ MX 10 mx1\n@ TXT \"v=spf1 mx include:_spf -all\"\n_spf TXT \"v=spf1 ip4:198.51.100.0/24 ~all\"\n\
         _dmarc TXT \"v=DMARC1; p=reject; rua=mailto:dmarc@example.test\"\n\
         sel1._domainkey TXT \"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\"\n\
         _mta-sts TXT \"v=STSv1; id=1\"\nmta-sts A 127.0.0.1\n_smtp._tls TXT \"v=TLSRPTv1; rua=mailto:tls@example.test\"\n"
    )
    .replace("include:_spf ", "include:_spf.example.test ")
}

#[test]
fn a_good_domain_is_found_good() -> Outcome {
    let bench = Bench::new()?;
    let dns = Dns::signed(&bench.path("dns"), &good(&bench.digest), REVERSE)?;
    let web = Web::start(&bench, "sts", 200, POLICY)?;
    let words = [
        "--selector",
        "sel1",
        "--https-port",
        &web.port,
        "--questions",
    ];
    let output = bench.check(dns.resolver, &words)?;
    let changing = [(dns.resolver.to_string(), "[RESOLVER]")];
    golden("check-dns-good.txt", &bench.plain(&output, &changing))?;
    assert_eq!(output.status.code(), Some(0));

    let output = bench.check(
        dns.resolver,
        &["--selector", "sel1", "--https-port", &web.port, "--json"],
    )?;
    let report: Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(
        (&report["missing"], &report["contradictory"]),
        (&0.into(), &0.into())
    );
    let tlsa = report["groups"][0]["rows"]
        .as_array()
        .ok_or("no rows")?
        .iter()
        .find(|row| row["subject"] == "TLSA");
    assert_eq!(tlsa.ok_or("no TLSA")?["asked"][0]["vouched"], true);
    Ok(())
}

#[test]
fn a_bare_domain_is_told_what_to_publish() -> Outcome {
    let bench = Bench::new()?;
    let dns = Dns::signed(&bench.path("dns"), "", "")?;
    let output = bench.check(dns.resolver, &["--selector", "sel1"])?;
    let changing = [(dns.resolver.to_string(), "[RESOLVER]")];
    let text = bench.plain(&output, &changing);
    golden("check-dns-bare.txt", &text)?;
    assert_eq!(output.status.code(), Some(1));

    // What it says is what mends it: published as it stands, nothing is missing but the signer's key and the policy.
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| line.contains(" IN ") && !line.contains("_domainkey"))
        .collect();
    let (reverse, forward): (Vec<&str>, Vec<&str>) =
        lines.iter().partition(|line| line.contains(" PTR "));
    let forward = forward.join("\n").replace("[DIGEST]", &bench.digest);
    let dns = Dns::signed(&bench.path("mended"), &forward, &reverse.join("\n"))?;
    let output = bench.check(dns.resolver, &["--no-https"])?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    Ok(())
}

#[test]
fn contradictions_are_named() -> Outcome {
    let bench = Bench::new()?;
    let zone = "mx1 CNAME real\nreal A 192.0.2.99\n_25._tcp.mx1 TLSA 3 1 1 \
        0000000000000000000000000000000000000000000000000000000000000000\n\
        @ MX 10 alias\n@ MX 20 gone\nalias CNAME real\n@ TXT \"v=spf1 ip4:192.0.2.99 -all\"\n@ TXT \"v=spf1 +all\"\n\
        _dmarc TXT \"v=DMARC1; p=maybe\"\nsel1._domainkey TXT \"v=DKIM1; p=\"\n_mta-sts TXT \"v=STSv1; id=1\"\nmta-sts A 127.0.0.1\n";
    // No record may stand beside a CNAME: TLSA is below it.
    let dns = Dns::start(&bench.path("dns"), zone)?;
    let web = Web::start(
        &bench,
        "sts",
        200,
        b"version: STSv1\nmode: enforce\nmx: other.example.test\nmax_age: 60\n",
    )?;
    let output = bench.check(
        dns.resolver,
        &["--selector", "sel1", "--https-port", &web.port],
    )?;
    let changing = [(dns.resolver.to_string(), "[RESOLVER]")];
    golden(
        "check-dns-contradictory.txt",
        &bench.plain(&output, &changing),
    )?;
    assert_eq!(output.status.code(), Some(1));
    Ok(())
}

/// The remark of a check of the domain.
fn remark(output: &Output, subject: &str) -> Result<(String, String), Failure> {
    let report: Value = serde_json::from_slice(&output.stdout)?;
    let groups = report["groups"].as_array().ok_or("no groups")?;
    let mut rows = groups
        .iter()
        .filter_map(|group| group["rows"].as_array())
        .flatten();
    let row = rows
        .rfind(|row| row["subject"] == subject)
        .ok_or("no such row")?;
    let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
    Ok((text("grade"), text("remark")))
}

#[test]
fn a_policy_counts_only_as_rfc_8461_has_it() -> Outcome {
    let bench = Bench::new()?;
    let dns = Dns::start(&bench.path("dns"), &good(&bench.digest))?;
    let long = [POLICY, &vec![b'#'; 70_000]].concat();
    let cases: [(&str, u16, &[u8], &str, &str); 6] = [
        ("sts", 200, POLICY, "found", ""),
        ("mx1", 200, POLICY, "contradictory", "TLS with 127.0.0.1"),
        (
            "sts",
            301,
            POLICY,
            "contradictory",
            "a redirect, which senders must not follow",
        ),
        ("sts", 404, POLICY, "contradictory", "HTTP status 404"),
        ("sts", 200, b"<html>", "contradictory", "is no key: value"),
        ("sts", 200, &long, "contradictory", "longer than 64 KiB"),
    ];
    for (certificate, status, document, grade, words) in cases {
        let web = Web::start(&bench, certificate, status, document)?;
        let output = bench.check(dns.resolver, &["--https-port", &web.port, "--json"])?;
        let (found, text) = remark(&output, "MTA-STS")?;
        assert!(
            found == grade && text.contains(words),
            "{certificate} {status}: {found}: {text}"
        );
    }
    Ok(())
}

#[test]
fn long_answers_come_over_tcp() -> Outcome {
    let bench = Bench::new()?;
    let mut zone = good(&bench.digest);
    for number in 0..30 {
        zone.push_str(&format!(
            "@ TXT \"some-verification-or-other={number:0>100}\"\n"
        ));
    }
    let dns = Dns::start(&bench.path("dns"), &zone)?;
    for server in [dns.resolver, dns.authority] {
        let output = bench.check(server, &["--no-https", "--json"])?;
        let report: Value = serde_json::from_slice(&output.stdout)?;
        let rows = report["groups"][1]["rows"].as_array().ok_or("no rows")?;
        let asked = rows
            .iter()
            .filter_map(|row| row["asked"].as_array())
            .flatten();
        let texts: Vec<&Value> = asked
            .filter(|asked| asked["question"] == "TXT example.test")
            .collect();
        assert!(
            !texts.is_empty() && texts.iter().all(|asked| asked["over_tcp"] == true),
            "{texts:#?}"
        );
        assert_eq!(remark(&output, "SPF")?.0, "found");
    }
    Ok(())
}

#[test]
fn hostile_zones_end_in_rows() -> Outcome {
    let bench = Bench::new()?;
    let mut zone = "mx1 CNAME loop\nloop CNAME mx1\n@ TXT \"v=spf1 include:a.example.test -all\"\n\
        a TXT \"v=spf1 include:b.example.test include:b.example.test\"\nb TXT \"v=spf1 include:a.example.test include:a.example.test\"\n\
        _dmarc CNAME _dmarc.a\n_dmarc.a CNAME _dmarc\n"
        .to_owned();
    for number in 0..1000 {
        zone.push_str(&format!("@ MX {number} host-number-{number}\n"));
    }
    // As much as an answer can hold.
    zone.push_str(&format!(
        "_smtp._tls TXT{}\n",
        format!(" \"{}\"", "x".repeat(250)).repeat(240)
    ));
    let reverse: String = (0..1000)
        .map(|number| format!("10 PTR name-{number}.example.test.\n"))
        .collect();
    let dns = Dns::with_reverse(&bench.path("dns"), &zone, &reverse)?;
    let start = Instant::now();
    for server in [dns.resolver, dns.authority] {
        let output = bench.check(server, &["--no-https", "--json"])?;
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!(remark(&output, "MX")?.0, "contradictory");
        let (grade, words) = remark(&output, "SPF")?;
        assert!(
            grade == "contradictory" && words.contains("more than 40 look-ups"),
            "{grade}: {words}"
        );
        let (grade, words) = remark(&output, "reverse 192.0.2.10")?;
        assert!(
            grade == "contradictory" && words.contains("and 997 more"),
            "{grade}: {words}"
        );
    }
    assert!(
        start.elapsed() < Duration::from_secs(60),
        "{:?}",
        start.elapsed()
    );
    Ok(())
}

#[test]
fn dns_that_is_down_is_no_verdict() -> Outcome {
    let bench = Bench::new()?;
    // One that says nothing, and one that is not there.
    let silent = UdpSocket::bind("127.0.0.1:0")?;
    for (server, words) in [
        (silent.local_addr()?, "no answer within 1 s"),
        (wait::free_address()?, "cannot be reached"),
    ] {
        let start = Instant::now();
        let output = bench.check(server, &["--timeout", "1", "--json"])?;
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "{:?}",
            start.elapsed()
        );
        let (grade, text) = remark(&output, "address")?;
        assert!(
            grade == "not-asked" && text.contains(words),
            "{grade}: {text}"
        );
    }
    // The next resolver is asked where one is silent.
    let dns = Dns::start(&bench.path("dns"), &good(&bench.digest))?;
    let second = dns.resolver.to_string();
    let output = bench.check(
        silent.local_addr()?,
        &[
            "--resolver",
            &second,
            "--timeout",
            "1",
            "--no-https",
            "--json",
        ],
    )?;
    assert_eq!(remark(&output, "MX")?.0, "found");
    Ok(())
}

#[test]
fn the_resolvers_of_the_definition_and_of_the_system_are_asked() -> Outcome {
    program::need_root("it mounts a resolv.conf of its own, in a mount namespace of its own")?;
    let bench = Bench::new()?;
    let dns = Dns::with_reverse(&bench.path("dns"), &good(&bench.digest), REVERSE)?;
    bench.define(&format!("external_dns = [\"{}\"]\n", dns.resolver))?;
    // Nobody listens there.
    fs::write(bench.path("resolv.conf"), "nameserver 127.255.255.254\n")?;
    let script = "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
    let mut command = Command::new(program::find("unshare")?);
    command
        .args(["-m", "sh", "-c", script])
        .arg(bench.path("resolv.conf"));
    command.arg(&bench.postern).args([
        "check-dns",
        "--no-https",
        "--timeout",
        "1",
        "--json",
        "--file",
    ]);
    let output = program::run_command(
        {
            command.arg(bench.path("servers/mx1.toml"));
            command
        },
        b"",
    )?;
    let report: Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(report["resolvers"][0]["label"], "external_dns");
    assert_eq!(report["resolvers"][1]["servers"][0], "127.255.255.254:53");
    let rows = &report["groups"][0]["rows"];
    assert_eq!(
        (&rows[0]["grade"], &rows[1]["grade"]),
        (&"found".into(), &"found".into())
    );
    assert_eq!(
        (&rows[2]["grade"], &rows[3]["grade"]),
        (&"not-asked".into(), &"not-asked".into())
    );
    assert_eq!(remark(&output, "MX")?.0, "found");
    assert_eq!(output.status.code(), Some(2));
    Ok(())
}

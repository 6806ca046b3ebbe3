//! Mail on its way out, and what protects it: certificates, TLSA records that DNSSEC vouches for, policies of MTA-STS.
//!
//! Each case says whether the mail goes or stays; none may go in clear but where nothing forbids it.

use postern_control::client::Request;
use postern_control::query::QueueRow;
use postern_tests::definition::{Definition, text};
use postern_tests::peers::{Dns, Postfix};
use postern_tests::sink::Sink;
use postern_tests::stage::{PATIENCE, Stage, private, server};
use postern_tests::wire::Wire;
use postern_tests::{Failure, Outcome, mail, maildir, program, wait};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PublicKeyData,
    date_time_ymd,
};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const SENDER: &str = "alice@example.test";

/// Who issues certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key.
struct Pair {
    certificate: String,
    key: KeyPair,
}

impl Authority {
    fn new() -> Result<Authority, Failure> {
        let mut authority = CertificateParams::new(Vec::<String>::new())?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
        Ok(Authority(issuer))
    }

    fn issue(&self, names: &[&str], years: (i32, i32)) -> Result<Pair, Failure> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut leaf = CertificateParams::new(names)?;
        leaf.not_before = date_time_ymd(years.0, 1, 1);
        leaf.not_after = date_time_ymd(years.1, 1, 1);
        let key = KeyPair::generate()?;
        let certificate = leaf.signed_by(&key, &self.0)?.pem() + &self.0.pem();
        Ok(Pair { certificate, key })
    }

    /// Writes what vouches for all of these.
    fn write(&self, stage: &Stage) -> Result<PathBuf, Failure> {
        let path = stage.path("etc/authority.pem");
        fs::write(&path, self.0.pem())?;
        Ok(path)
    }
}

/// Years in which a certificate is good.
const GOOD: (i32, i32) = (2020, 2090);
/// Years that are over.
const OVER: (i32, i32) = (2020, 2021);

fn sha256(bytes: &[u8]) -> Result<String, Failure> {
    let told = program::succeed(program::run("sha256sum", [] as [&str; 0], bytes)?)?;
    Ok(told.split(' ').next().unwrap_or_default().to_owned())
}

/// A Postfix that takes all mail, offers TLS with a certificate, and notes in the message which was used.
struct Host {
    postfix: Postfix,
    mailbox: PathBuf,
}

impl Host {
    fn start(stage: &Stage, name: &str, pair: &Pair) -> Result<Host, Failure> {
        let folder = stage.path(name);
        fs::create_dir_all(&folder)?;
        let owner = nix::unistd::User::from_name("postfix")?;
        let uid = owner.ok_or("there is no user `postfix`")?.uid;
        let chain = folder.join("chain.pem");
        private(&chain, &(pair.key.serialize_pem() + &pair.certificate))?;
        let settings = format!(
            "smtpd_tls_security_level = may\n\
             smtpd_tls_chain_files = {}\n\
             smtpd_tls_received_header = yes\n\
             virtual_mailbox_domains = static:all\n\
             virtual_mailbox_base = {mailboxes}\n\
             virtual_mailbox_maps = static:all/\n\
             virtual_uid_maps = static:{uid}\n\
             virtual_gid_maps = static:{uid}\n\
             virtual_minimum_uid = 1\n\
             virtual_mailbox_limit = 0\n",
            chain.display(),
            mailboxes = folder.join("postfix/mail").display(),
        );
        Ok(Host {
            postfix: Postfix::start(&folder.join("postfix"), &settings)?,
            mailbox: folder.join("postfix/mail/all"),
        })
    }

    fn port(&self) -> u16 {
        self.postfix.address.port()
    }

    /// The messages of this name that came, as Postfix saw them.
    fn came(&self, name: &str) -> Vec<String> {
        let line = format!("X-Test: {name}\n");
        let all = maildir::read(&self.mailbox);
        let all = all
            .iter()
            .map(|one| String::from_utf8_lossy(one).into_owned());
        all.filter(|one| one.replace('\r', "").contains(&line))
            .collect()
    }

    /// Waits until it came, and looks whether it was inside TLS.
    fn wait(&self, stage: &Stage, name: &str, inside: bool) -> Outcome {
        let came = wait::until(&format!("{name} to arrive"), PATIENCE, || {
            self.came(name).into_iter().next()
        });
        let came = came.map_err(|error| {
            format!("{error}: {:?}\n{}", stage.queue("out"), self.postfix.log())
        })?;
        assert_eq!(came.contains("using TLSv1.3"), inside, "{name}: {came}");
        Ok(())
    }
}

/// The server `out`, which takes from anybody here.
fn out(listen: SocketAddr, dns: &Dns, retry: &str) -> Definition {
    Definition::open_relay("out.example.test", listen)
        .authentication("anonymous_local_sender", "\"accept\"")
        .delivery("retry", format!("[\"{retry}\"]"))
        .delivery("external_dns", format!("[\"{}\"]", dns.resolver))
}

/// Sends a message of this name to its domain.
fn send(to: SocketAddr, name: &str, domain: &str) -> Outcome {
    let recipient = format!("bob@{domain}");
    let reply = Wire::open(to)?.message(SENDER, &recipient, &mail::with_header(name, b"x\r\n"))?;
    match reply.starts_with("250 2.6.0") {
        true => Ok(()),
        false => Err(format!("{recipient}: {reply}").into()),
    }
}

/// Waits until mail for a domain is put off with words that contain `why`.
fn kept(stage: &Stage, domain: &str, why: &str) -> Result<QueueRow, Failure> {
    let recipient = format!("bob@{domain}");
    let found = wait::until(&format!("{domain} put off with `{why}`"), PATIENCE, || {
        let rows = stage.queue("out").ok()?;
        rows.into_iter().find(|row| {
            let reply = row.last_reply.as_deref();
            row.recipients.contains(&recipient) && reply.is_some_and(|reply| reply.contains(why))
        })
    });
    found.map_err(|error| format!("{error}: {:?}", stage.queue("out")).into())
}

/// An address of this machine's loopback network that other tests do not use.
fn own_address(number: u8) -> Ipv4Addr {
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 100 + (high & 63), low, number)
}

#[test]
fn the_certificate_decides_where_tls_is_required() -> Outcome {
    let mut stage = Stage::new()?;
    let authority = Authority::new()?;
    let ca = text(&authority.write(&stage)?.to_string_lossy());
    let dns = Dns::start(&stage.path("dns"), "mx A 127.0.0.1")?;
    let kinds = [
        ("good", "mx.example.test", GOOD),
        ("wrong", "other.example.test", GOOD),
        ("expired", "mx.example.test", OVER),
    ];
    let mut hosts = Vec::new();
    for (kind, name, years) in kinds {
        let pair = authority.issue(&[name], years)?;
        hosts.push((kind, Host::start(&stage, kind, &pair)?));
    }
    let mut routes = Vec::new();
    for (kind, host) in &hosts {
        for tls in ["none", "opportunistic", "required", "dane"] {
            let ca = match tls {
                "required" => format!(", ca = {ca}"),
                _ => String::new(),
            };
            routes.push(format!(
                "{{ domain = \"{tls}-{kind}.test\", host = \"mx.example.test:{}\", security = {{ tls = \"{tls}\"{ca} }} }}",
                host.port()
            ));
        }
    }
    let listen = wait::free_address()?;
    let definition = out(listen, &dns, "1h").delivery("routes", format!("[{}]", routes.join(", ")));
    stage.define("out", &definition)?;
    stage.start_with(&["out"])?;
    for (kind, host) in &hosts {
        for tls in ["none", "opportunistic", "required", "dane"] {
            let (name, domain) = (format!("{tls}-{kind}"), format!("{tls}-{kind}.test"));
            send(listen, &name, &domain)?;
            let why = match (tls, *kind) {
                ("required", "wrong") => {
                    "4.7.5 the TLS handshake failed: invalid peer certificate: certificate not valid for name \"mx.example.test\""
                }
                ("required", "expired") => {
                    "4.7.5 the TLS handshake failed: invalid peer certificate: certificate expired"
                }
                _ => {
                    host.wait(&stage, &name, tls != "none")?;
                    continue;
                }
            };
            let row = kept(&stage, &domain, why)?;
            let shown = stage.postern(&["queue", "show", "out", &row.id])?;
            let shown = String::from_utf8_lossy(&shown.stdout).replace(['\n', ' '], "");
            assert!(shown.contains(&why.replace(' ', "")), "{shown}");
            assert!(host.came(&name).is_empty());
        }
    }
    Ok(())
}

#[test]
fn the_report_says_what_stood_against_delivery() -> Outcome {
    let mut stage = Stage::new()?;
    let dns = Dns::start(&stage.path("dns"), "mx A 127.0.0.1")?;
    // The system's authorities know nothing of this one.
    let pair = Authority::new()?.issue(&["mx.example.test"], GOOD)?;
    let host = Host::start(&stage, "peer", &pair)?;
    let listen = wait::free_address()?;
    let definition = out(listen, &dns, "1s")
        .local(
            "example.test",
            &format!("maildir:{}/{{local}}", stage.path("mail").display()),
        )
        .delivery("smart_host", format!("\"mx.example.test:{}\"", host.port()))
        .delivery("outbound_security", "{ tls = \"required\" }")
        .delivery("delay_notice", "\"2s\"")
        .delivery("expire", "\"3s\"");
    stage.define("out", &definition)?;
    stage.start_with(&["out"])?;
    send(listen, "unknown", "elsewhere.test")?;
    let reports = maildir::wait(&stage.path("mail/alice"), 1)?;
    wait::until_true("the report of failure", PATIENCE, || {
        let reports = maildir::read(&stage.path("mail/alice"));
        let reports = reports
            .iter()
            .map(|one| String::from_utf8_lossy(one).into_owned());
        reports.into_iter().any(|one| {
            one.contains("Action: failed") && one.contains("4.7.5") && one.contains("UnknownIssuer")
        })
    })
    .map_err(|error| format!("{error}: {}", String::from_utf8_lossy(&reports.concat())))?;
    assert!(host.came("unknown").is_empty());
    Ok(())
}

#[test]
fn tlsa_records_are_kept_to_where_dnssec_vouches_for_them() -> Outcome {
    let mut stage = Stage::new()?;
    let authority = Authority::new()?;
    // Names of the certificate count only for a record of the authority.
    let pair = authority.issue(&["mx-anchor.example.test", "deep.example.test"], GOOD)?;
    let host = Host::start(&stage, "peer", &pair)?;
    let port = host.port();
    let clear = SocketAddr::from((own_address(1), port));
    let sink = Sink::on(clear, Box::new(|_| None), true)?;
    // Whoever is asked there stays silent.
    let dead = own_address(2);
    let _silent = UdpSocket::bind((dead, 53))?;
    let key = sha256(&pair.key.subject_public_key_info())?;
    let root = sha256(authority.0.der())?;
    let (none, genuine, forged) = ("00".repeat(32), "11".repeat(32), "22".repeat(32));
    let mut zone = String::new();
    let at = |name: &str, address: Ipv4Addr, record: &str| {
        let record = match record {
            "" => String::new(),
            record => format!("_{port}._tcp.mx-{name} TLSA {record}\n"),
        };
        format!("{name} MX 10 mx-{name}\nmx-{name} A {address}\n{record}")
    };
    let here = Ipv4Addr::LOCALHOST;
    for (name, address, record) in [
        ("right", here, format!("3 1 1 {key}")),
        ("anchor", here, format!("2 0 1 {root}")),
        ("domain", here, format!("2 0 1 {root}")),
        ("wrong", here, format!("3 1 1 {none}")),
        ("useless", here, format!("1 1 1 {none}")),
        ("without", here, String::new()),
        (
            "bare",
            clear.ip().to_string().parse()?,
            format!("3 1 1 {key}"),
        ),
        ("open", clear.ip().to_string().parse()?, String::new()),
        ("forged", here, format!("3 1 1 {genuine}")),
        ("frozen", here, format!("3 1 1 {key}")),
    ] {
        zone += &at(name, address, &record);
    }
    zone += &format!(
        "alias MX 10 mx-alias\nmx-alias CNAME mx-right\n\
         slow MX 10 mx-slow\nmx-slow A 127.0.0.1\n_tcp.mx-slow NS dead\ndead A {dead}\n"
    );
    let dns = Dns::signed(&stage.path("dns"), &zone, "")?;
    dns.forge(&genuine, &forged)?;
    let listen = wait::free_address()?;
    let smart = format!(
        "[{{ domain = \"smart-right.test\", host = \"mx-right.example.test:{port}\" }}, {{ domain = \"smart-wrong.test\", host = \"mx-wrong.example.test:{port}\" }}]"
    );
    let definition = out(listen, &dns, "2s")
        .delivery("outbound_port", port)
        .delivery("routes", smart)
        .delivery("outbound_security", "{ tls = \"dane\" }");
    stage.define("out", &definition)?;
    stage.start_with(&["out"])?;
    for name in ["right", "anchor", "useless", "without", "alias"] {
        send(listen, name, &format!("{name}.example.test"))?;
        host.wait(&stage, name, true)?;
    }
    send(listen, "smart-right", "smart-right.test")?;
    host.wait(&stage, "smart-right", true)?;
    send(listen, "open", "open.example.test")?;
    assert_eq!(sink.wait(1)?.len(), 1);
    let unfit = |name: &str| {
        format!(
            "4.7.5 the TLS handshake failed: no TLSA record of mx-{name}.example.test fits the certificate; TLS is required by the TLSA records of the host (DANE)"
        )
    };
    let not_found = |name: &str| {
        format!("4.4.3 the TLSA look-up of _{port}._tcp.mx-{name}.example.test failed for now")
    };
    for (name, domain, why) in [
        ("wrong", "wrong.example.test", unfit("wrong")),
        ("smart-wrong", "smart-wrong.test", unfit("wrong")),
        ("domain", "domain.example.test", "certificate not valid for name".to_owned()),
        ("bare", "bare.example.test", "4.7.10 TLS is required by the TLSA records of the host (DANE), and the host does not offer STARTTLS".to_owned()),
        ("forged", "forged.example.test", not_found("forged")),
        ("slow", "slow.example.test", not_found("slow")),
    ] {
        send(listen, name, domain)?;
        kept(&stage, domain, &why)?;
        assert!(host.came(name).is_empty(), "{name}");
    }
    // A resolver that is silent holds mail up, and no more.
    dns.freeze()?;
    send(listen, "frozen", "frozen.example.test")?;
    kept(
        &stage,
        "frozen.example.test",
        "4.4.3 the MX look-up of frozen.example.test failed for now",
    )?;
    dns.wake()?;
    host.wait(&stage, "frozen", true)?;
    assert_eq!(sink.count(), 1, "nothing that needs TLS went in clear");
    Ok(())
}

#[test]
fn a_resolver_elsewhere_is_not_believed() -> Outcome {
    let mut stage = Stage::new()?;
    let listen = wait::free_address()?;
    let dns = Dns::start(&stage.path("dns"), "mx A 127.0.0.1")?;
    stage.define("out", &out(listen, &dns, "2s"))?;
    stage.start_with(&["out"])?;
    let definition = out(listen, &dns, "2s")
        .delivery("external_dns", "[\"192.0.2.53\"]")
        .delivery("outbound_security", "{ tls = \"dane\" }");
    stage.define("out", &definition)?;
    let answer = stage.order(&Request::Reload {
        server: server("out")?,
    })?;
    let (_, findings) = answer.expect_err("refused");
    assert!(
        findings
            .iter()
            .any(|one| one.what.contains("192.0.2.53 is not on this host")),
        "{findings:?}"
    );
    Ok(())
}

/// Python's web server with TLS on the port that policies are fetched from; a folder for each host, a line in a file for
/// each question.
struct Web {
    child: Option<Child>,
    folder: PathBuf,
    address: Ipv4Addr,
}

const WEB: &str = r#"
import http.server, os, ssl, sys
address, folder = sys.argv[1], sys.argv[2]
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        host = self.headers["Host"]
        with open(os.path.join(folder, "asked"), "a") as log: log.write(host + self.path + "\n")
        try: body = open(os.path.join(folder, host + ".txt"), "rb").read()
        except OSError: return self.send_error(404)
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words): pass
server = http.server.ThreadingHTTPServer((address, 443), Answer)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(os.path.join(folder, "web.pem"))
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
"#;

impl Web {
    fn start(folder: &Path, address: Ipv4Addr, pair: &Pair) -> Result<Web, Failure> {
        fs::create_dir_all(folder)?;
        let chain = pair.key.serialize_pem() + &pair.certificate;
        fs::write(folder.join("web.pem"), chain)?;
        let mut web = Web {
            child: None,
            folder: folder.to_owned(),
            address,
        };
        web.go_on()?;
        Ok(web)
    }

    fn go_on(&mut self) -> Outcome {
        let mut command = Command::new(program::find("python3")?);
        command.args(["-c", WEB, &self.address.to_string()]);
        command.arg(&self.folder);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn()?);
        wait::until_listening(SocketAddr::from((self.address, 443)), PATIENCE)
    }

    fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn put(&self, domain: &str, mode: &str, mx: &str, max_age: u32) -> Outcome {
        let text = format!("version: STSv1\r\nmode: {mode}\r\nmx: {mx}\r\nmax_age: {max_age}\r\n");
        let file = self
            .folder
            .join(format!("mta-sts.{domain}.example.test.txt"));
        Ok(fs::write(file, text)?)
    }

    fn asked(&self, domain: &str) -> usize {
        let line = format!("mta-sts.{domain}.example.test/.well-known/mta-sts.txt");
        let log = fs::read_to_string(self.folder.join("asked")).unwrap_or_default();
        log.lines().filter(|one| *one == line).count()
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.end();
    }
}

/// Domains with a policy: mode, the host that it names, how long it holds, their own host.
const POLICIES: [(&str, &str, &str, u32, &str); 8] = [
    ("good", "enforce", "*.example.test", 86_400, "mx"),
    ("unnamed", "enforce", "other.example.test", 86_400, "mx"),
    ("wrong", "enforce", "*.example.test", 86_400, "mx-wrong"),
    ("bare", "enforce", "*.example.test", 86_400, "mx-bare"),
    (
        "testing",
        "testing",
        "other.example.test",
        86_400,
        "mx-bare",
    ),
    ("off", "none", "other.example.test", 86_400, "mx-wrong"),
    ("short", "enforce", "other.example.test", 4, "mx"),
    ("newer", "enforce", "other.example.test", 86_400, "mx"),
];

fn sts_zone(web: Ipv4Addr, clear: SocketAddr, newer: u32) -> String {
    let mut zone = format!(
        "mx A 127.0.0.1\nmx-wrong A 127.0.0.1\nmx-bare A {}\nplain MX 10 mx-bare\n",
        clear.ip()
    );
    for (domain, .., host) in POLICIES {
        let id = match domain {
            "newer" => newer,
            _ => 1,
        };
        zone += &format!(
            "{domain} MX 10 {host}\nmta-sts.{domain} A {web}\n_mta-sts.{domain} TXT \"v=STSv1; id={id};\"\n"
        );
    }
    zone
}

/// The file in which `out` keeps policies.
fn policies(stage: &Stage) -> Result<PathBuf, Failure> {
    let mut command = Command::new("find");
    command.arg(stage.path("state")).args(["-name", "mta-sts"]);
    let found = program::succeed(program::run_command(command, b"")?)?;
    Ok(PathBuf::from(found.trim()))
}

#[test]
fn policies_are_kept_to_for_their_time() -> Outcome {
    let mut stage = Stage::new()?;
    let authority = Authority::new()?;
    let ca = text(&authority.write(&stage)?.to_string_lossy());
    let host = Host::start(
        &stage,
        "peer",
        &authority.issue(&["mx.example.test"], GOOD)?,
    )?;
    let clear = SocketAddr::from((own_address(3), host.port()));
    let sink = Sink::on(clear, Box::new(|_| None), true)?;
    let names = POLICIES.map(|(domain, ..)| format!("mta-sts.{domain}.example.test"));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let pair = authority.issue(&names, GOOD)?;
    let mut web = Web::start(&stage.path("web"), own_address(4), &pair)?;
    for (domain, mode, mx, max_age, _) in POLICIES {
        web.put(domain, mode, mx, max_age)?;
    }
    let zone = |newer| sts_zone(own_address(4), clear, newer);
    let mut dns = Dns::start(&stage.path("dns"), &zone(1))?;
    let listen = wait::free_address()?;
    let definition = out(listen, &dns, "1s")
        .delivery("outbound_port", host.port())
        .delivery(
            "outbound_security",
            format!("{{ mta_sts = true, ca = {ca} }}"),
        );
    stage.define("out", &definition)?;
    stage.start_with(&["out"])?;
    let to = |domain: &str| format!("{domain}.example.test");

    for number in 0..10 {
        send(listen, &format!("good-{number}"), &to("good"))?;
    }
    for number in 0..10 {
        host.wait(&stage, &format!("good-{number}"), true)?;
    }
    assert_eq!(web.asked("good"), 1, "one fetch for all");
    send(listen, "off", &to("off"))?;
    host.wait(&stage, "off", true)?;
    for (name, count) in [("testing", 1), ("plain", 2)] {
        send(listen, name, &to(name))?;
        sink.wait(count)?;
    }
    let unnamed = |domain: &str| {
        format!(
            "4.7.5 the MTA-STS policy of {domain}.example.test does not name the host mx.example.test"
        )
    };
    send(listen, "short", &to("short"))?;
    kept(&stage, &to("short"), &unnamed("short"))?;
    web.end();
    // What ran out and cannot be had again holds no longer (RFC 8461 §3.3).
    host.wait(&stage, "short", true)?;
    web.go_on()?;
    for (domain, why) in [
        ("unnamed", unnamed("unnamed")),
        ("newer", unnamed("newer")),
        ("wrong", "4.7.5 the TLS handshake failed: invalid peer certificate: certificate not valid for name \"mx-wrong.example.test\"".to_owned()),
        ("bare", "4.7.10 TLS is required by the MTA-STS policy of bare.example.test, and the host does not offer STARTTLS".to_owned()),
    ] {
        send(listen, domain, &to(domain))?;
        kept(&stage, &to(domain), &why)?;
        assert!(host.came(domain).is_empty(), "{domain}");
    }
    // A new id, a new policy: what was kept for want of it goes.
    web.put("newer", "enforce", "mx.example.test", 86_400)?;
    dns.change(&zone(2), "")?;
    host.wait(&stage, "newer", true)?;

    // Over a restart, without web server, the policy still holds; past its time it does not.
    web.end();
    stage.stop()?;
    stage.start_with(&["out"])?;
    send(listen, "again", &to("unnamed"))?;
    kept(&stage, &to("unnamed"), &unnamed("unnamed"))?;
    assert!(host.came("unnamed").is_empty() && host.came("again").is_empty());
    stage.stop()?;
    let file = policies(&stage)?;
    let old = fs::read_to_string(&file)?;
    fs::write(&file, old.replace("\"fetched\":1", "\"fetched\":"))?;
    stage.start_with(&["out"])?;
    host.wait(&stage, "unnamed", true)?;
    host.wait(&stage, "again", true)?;
    // So does what was kept for `bare`: without a policy nothing forbids it to go in clear.
    sink.wait(3)?;
    Ok(())
}

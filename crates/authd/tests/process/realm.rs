//! A Kerberos realm of Debian's krb5kdc on loopback, and clients in it.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use tempfile::TempDir;

use crate::stage::DEADLINE;

/// What clients ask for a ticket to.
pub(crate) const SERVICE: &str = "smtp/mx1.corp.example@CORP.EXAMPLE";

/// A running realm: CORP.EXAMPLE, with alice, and tickets for `smtp/` and `HTTP/mx1.corp.example`.
pub(crate) struct Realm {
    folder: TempDir,
    kdc: Option<Child>,
    port: u16,
}

impl Realm {
    /// A new one, where alice has a ticket.
    pub(crate) fn new() -> Realm {
        let mut realm = Realm {
            folder: tempfile::tempdir().unwrap(),
            kdc: None,
            port: free_port(),
        };
        realm.settings("krb5.conf", 300);
        // For an acceptor that is strict about time.
        realm.settings("strict.conf", 1);
        realm.kdc_settings();
        realm.run("/usr/sbin/kdb5_util", &["create", "-s", "-P", "master"], "");
        for query in [
            "addprinc -pw secret alice",
            "addprinc -randkey smtp/mx1.corp.example",
            "addprinc -randkey HTTP/mx1.corp.example",
        ] {
            realm.run("/usr/sbin/kadmin.local", &["-q", query], "");
        }
        realm.serve();
        realm.run("/usr/bin/kinit", &["alice"], "secret\n");
        realm
    }

    fn settings(&self, file: &str, skew: u32) {
        let port = self.port;
        let text = format!(
            "[libdefaults]\n default_realm = CORP.EXAMPLE\n dns_lookup_kdc = false\n \
             dns_canonicalize_hostname = false\n rdns = false\n clockskew = {skew}\n\
             [realms]\n CORP.EXAMPLE = {{\n  kdc = 127.0.0.1:{port}\n }}\n"
        );
        std::fs::write(self.path(file), text).unwrap();
    }

    fn kdc_settings(&self) {
        let (port, folder) = (self.port, self.folder.path().display());
        let text = format!(
            "[kdcdefaults]\n kdc_listen = 127.0.0.1:{port}\n kdc_tcp_listen = 127.0.0.1:{port}\n\
             [realms]\n CORP.EXAMPLE = {{\n  database_name = {folder}/principal\n  \
             key_stash_file = {folder}/stash\n  acl_file = {folder}/acl\n }}\n\
             [logging]\n kdc = FILE:{folder}/kdc.log\n"
        );
        std::fs::write(self.path("kdc.conf"), text).unwrap();
    }

    fn serve(&mut self) {
        let mut kdc = self.command("/usr/sbin/krb5kdc");
        let log = std::fs::File::create(self.path("kdc.out")).unwrap();
        let kdc = kdc
            .arg("-n")
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.kdc = Some(kdc);
        let start = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let log = std::fs::read_to_string(self.path("kdc.out"));
            assert!(
                start.elapsed() < DEADLINE,
                "the KDC does not answer: {log:?}"
            );
            std::thread::yield_now();
        }
    }

    /// A keytab with this service's key.
    pub(crate) fn keytab(&self, service: &str) -> Vec<u8> {
        let path = self.path("keytab");
        // Its keys stay as they are: tickets that are out keep being good.
        let query = format!(
            "ktadd -norandkey -k {} {service}/mx1.corp.example",
            path.display()
        );
        self.run("/usr/sbin/kadmin.local", &["-q", &query], "");
        let keytab = std::fs::read(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        keytab
    }

    /// A client that wants to log in to a service.
    pub(crate) fn client(&self, options: &[&str]) -> Client {
        self.client_of(SERVICE, options)
    }

    pub(crate) fn client_of(&self, service: &str, options: &[&str]) -> Client {
        let here = std::env::current_exe().unwrap();
        let program = here
            .ancestors()
            .nth(2)
            .unwrap()
            .join("examples/ticket_client");
        let mut child = self
            .command(&program.display().to_string())
            .arg(service)
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the examples are built by `cargo test -p postern-authd`");
        Client {
            input: child.stdin.take(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("KRB5_CONFIG", self.path("krb5.conf"))
            .env("KRB5_KDC_PROFILE", self.path("kdc.conf"))
            .env(
                "KRB5CCNAME",
                format!("FILE:{}", self.path("tickets").display()),
            );
        command
    }

    fn run(&self, program: &str, arguments: &[&str], input: &str) {
        let mut child = self
            .command(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}; tests/tools installs it"));
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{program} {arguments:?}: {said}");
    }
}

impl Drop for Realm {
    fn drop(&mut self) {
        if let Some(mut kdc) = self.kdc.take() {
            let _ = kdc.kill();
            let _ = kdc.wait();
        }
    }
}

/// A port nobody has, by UDP and by TCP.
fn free_port() -> u16 {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        if UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// `ticket_client`.
pub(crate) struct Client {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Client {
    /// What it says next: a token, or nothing more before the layer.
    pub(crate) fn says(&mut self) -> Option<Vec<u8>> {
        let mut line = String::new();
        assert!(
            self.output.read_line(&mut line).unwrap() > 0,
            "the client has given up"
        );
        let line = line.trim();
        if line == "done" {
            return None;
        }
        let pairs = (0..line.len()).step_by(2);
        Some(
            pairs
                .map(|at| u8::from_str_radix(&line[at..at + 2], 16).unwrap())
                .collect(),
        )
    }

    pub(crate) fn hears(&mut self, octets: &[u8]) {
        let text: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
        let input = self.input.as_mut().unwrap();
        writeln!(input, "{text}").unwrap();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! nsd with a zone of a test's own, and unbound before it as the resolver. Nothing is asked outside.

use crate::{Failure, program, wait};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The running pair.
pub struct Dns {
    children: Vec<Child>,
    folder: PathBuf,
    serial: u32,
    keys: Option<Keys>,
    /// Where the resolver listens.
    pub resolver: SocketAddr,
    /// Where the zones' own server listens.
    pub authority: SocketAddr,
}

/// Base names of the keys that sign `example.test`: of the zone, and of that key.
struct Keys([String; 2]);

/// The zones served: names, and the addresses of 192.0.2.0/24 in reverse.
const ZONES: [&str; 2] = ["example.test", "2.0.192.in-addr.arpa"];

impl Dns {
    /// Serves the zone `example.test`, whose records are `records` (zone file lines, origin `example.test.`).
    pub fn start(folder: &Path, records: &str) -> Result<Dns, Failure> {
        Dns::with_reverse(folder, records, "")
    }

    /// The same, and the reverse zone of 192.0.2.0/24: `7 PTR scanner.example.test.` is the name of 192.0.2.7. A client
    /// gets such an address from a balancer's header; those of loopback are never asked of a name server (RFC 6761).
    pub fn with_reverse(folder: &Path, records: &str, reverse: &str) -> Result<Dns, Failure> {
        Dns::begin(folder, [records, reverse], None)
    }

    /// The same, with `example.test` signed, and a resolver that vouches for it.
    pub fn signed(folder: &Path, records: &str, reverse: &str) -> Result<Dns, Failure> {
        fs::create_dir_all(folder)?;
        let keys = Keys::make(folder)?;
        Dns::begin(folder, [records, reverse], Some(keys))
    }

    fn begin(folder: &Path, records: [&str; 2], keys: Option<Keys>) -> Result<Dns, Failure> {
        let (nsd, unbound) = (program::find("nsd")?, program::find("unbound")?);
        fs::create_dir_all(folder)?;
        let (authority, resolver) = (wait::free_address()?, wait::free_address()?);
        write_zones(folder, 1, records)?;
        if let Some(keys) = &keys {
            keys.sign(folder)?;
        }
        fs::write(
            folder.join("nsd.conf"),
            nsd_configuration(folder, authority),
        )?;
        fs::write(
            folder.join("unbound.conf"),
            unbound_configuration(folder, authority, resolver, keys.as_ref()),
        )?;
        let mut dns = Dns {
            children: Vec::new(),
            folder: folder.to_owned(),
            serial: 1,
            keys,
            resolver,
            authority,
        };
        for (program, name) in [(nsd, "nsd"), (unbound, "unbound")] {
            let log = File::create(folder.join(format!("{name}.start")))?;
            let mut command = Command::new(program);
            command
                .args(["-d", "-c"])
                .arg(folder.join(format!("{name}.conf")));
            command
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log);
            dns.children.push(command.spawn()?);
        }
        wait::until_true("the resolver to answer", Duration::from_secs(20), || {
            answers(resolver)
        })?;
        Ok(dns)
    }

    /// Serves other records from now on; what the resolver holds runs out within a second or two.
    pub fn change(&mut self, records: &str, reverse: &str) -> Result<(), Failure> {
        self.serial += 1;
        write_zones(&self.folder, self.serial, [records, reverse])?;
        if let Some(keys) = &self.keys {
            keys.sign(&self.folder)?;
        }
        self.signal(0, Signal::SIGHUP)
    }

    /// Serves `forged` where the signed zone has `genuine`, under the signatures of that.
    pub fn forge(&self, genuine: &str, forged: &str) -> Result<(), Failure> {
        let file = self.folder.join(format!("{}.zone", ZONES[0]));
        let text = fs::read_to_string(&file)?;
        let changed = text.replace(genuine, forged);
        if changed == text {
            return Err(format!("the zone has no {genuine}").into());
        }
        fs::write(&file, changed)?;
        self.signal(0, Signal::SIGHUP)
    }

    /// Neither answers nor refuses: the resolver stands still until [`Dns::wake`].
    pub fn freeze(&self) -> Result<(), Failure> {
        self.signal(1, Signal::SIGSTOP)
    }

    /// Ends [`Dns::freeze`].
    pub fn wake(&self) -> Result<(), Failure> {
        self.signal(1, Signal::SIGCONT)
    }

    fn signal(&self, child: usize, signal: Signal) -> Result<(), Failure> {
        let pid = i32::try_from(self.children[child].id())?;
        Ok(kill(Pid::from_raw(pid), signal)?)
    }
}

impl Keys {
    fn make(folder: &Path) -> Result<Keys, Failure> {
        let make = |words: &[&str]| -> Result<String, Failure> {
            let mut command = Command::new(program::find("ldns-keygen")?);
            command
                .args(["-a", "ECDSAP256SHA256"])
                .args(words)
                .arg(ZONES[0])
                .current_dir(folder);
            Ok(program::succeed(program::run_command(command, b"")?)?
                .trim()
                .to_owned())
        };
        Ok(Keys([make(&[])?, make(&["-k"])?]))
    }

    /// Puts the signed zone in the place of the plain one.
    fn sign(&self, folder: &Path) -> Result<(), Failure> {
        let file = format!("{}.zone", ZONES[0]);
        let mut command = Command::new(program::find("ldns-signzone")?);
        command
            .args(["-n", "-s", "abcd", "-f", "signed", &file])
            .args(&self.0)
            .current_dir(folder);
        program::succeed(program::run_command(command, b"")?)?;
        Ok(fs::rename(folder.join("signed"), folder.join(file))?)
    }

    /// What makes the resolver believe these keys, and no others.
    fn trusted(&self, folder: &Path) -> String {
        format!(
            "  trust-anchor-file: \"{}\"\n  domain-insecure: \"{}\"\n",
            folder.join(format!("{}.ds", self.0[1])).display(),
            ZONES[1],
        )
    }
}

fn write_zones(folder: &Path, serial: u32, records: [&str; 2]) -> Result<(), Failure> {
    for (zone, records) in ZONES.iter().zip(records) {
        let head = format!(
            "$ORIGIN {zone}.\n$TTL 60\n@ SOA ns1.example.test. hostmaster.example.test. {serial} 3600 600 86400 1\n@ NS ns1.example.test.\n"
        );
        let own = if *zone == ZONES[0] {
            "ns1 A 127.0.0.1\n"
        } else {
            ""
        };
        fs::write(
            folder.join(format!("{zone}.zone")),
            format!("{head}{own}{records}\n"),
        )?;
    }
    Ok(())
}

impl Drop for Dns {
    fn drop(&mut self) {
        for child in &mut self.children {
            if let Ok(pid) = i32::try_from(child.id()) {
                for signal in [Signal::SIGTERM, Signal::SIGCONT] {
                    let _ = kill(Pid::from_raw(pid), signal);
                }
            }
            let _ = child.wait();
        }
    }
}

/// Whether the resolver says NOERROR to `SOA example.test.`
fn answers(resolver: SocketAddr) -> bool {
    let query =
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x04test\x00\x00\x06\x00\x01";
    let Ok(socket) = UdpSocket::bind("127.0.0.1:0") else {
        return false;
    };
    let _ = socket.set_read_timeout(Some(Duration::from_millis(500)));
    let mut answer = [0; 512];
    socket.send_to(query, resolver).is_ok()
        && socket
            .recv(&mut answer)
            .is_ok_and(|length| length > 12 && answer[3] & 0x0f == 0 && answer[7] > 0)
}

fn nsd_configuration(folder: &Path, authority: SocketAddr) -> String {
    let (at, port) = (authority.ip(), authority.port());
    let folder = folder.display();
    let zones = ZONES.map(|zone| format!("zone:\n  name: {zone}\n  zonefile: {zone}.zone\n"));
    let zones = zones.concat();
    format!(
        "server:
  ip-address: {at}@{port}
  username: \"\"
  chroot: \"\"
  zonesdir: \"{folder}\"
  database: \"\"
  pidfile: \"{folder}/nsd.pid\"
  xfrdfile: \"{folder}/xfrd.state\"
  zonelistfile: \"{folder}/zone.list\"
  server-count: 1
remote-control:
  control-enable: no
{zones}"
    )
}

fn unbound_configuration(
    folder: &Path,
    authority: SocketAddr,
    resolver: SocketAddr,
    keys: Option<&Keys>,
) -> String {
    let (modules, trusted) = match keys {
        None => ("iterator", String::new()),
        Some(keys) => ("validator iterator", keys.trusted(folder)),
    };
    let folder = folder.display();
    let (at, port) = (authority.ip(), authority.port());
    let stubs =
        ZONES.map(|zone| format!("stub-zone:\n  name: \"{zone}\"\n  stub-addr: {at}@{port}\n"));
    let stubs = stubs.concat();
    format!(
        "server:
  interface: {}
  port: {}
  access-control: 127.0.0.0/8 allow
  do-not-query-localhost: no
  do-daemonize: no
  username: \"\"
  chroot: \"\"
  directory: \"{folder}\"
  pidfile: \"{folder}/unbound.pid\"
  use-syslog: no
  num-threads: 1
  module-config: \"{modules}\"
{trusted}  local-zone: \"test.\" nodefault
  local-zone: \".\" static
  local-zone: \"example.test.\" transparent
  local-zone: \"2.0.192.in-addr.arpa.\" transparent
  cache-max-ttl: 1
  cache-max-negative-ttl: 1
remote-control:
  control-enable: no
{stubs}",
        resolver.ip(),
        resolver.port(),
    )
}

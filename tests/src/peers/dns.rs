//! nsd with a zone of a test's own, and unbound before it as the resolver. Nothing is asked outside.

use crate::{Failure, program, wait};
use std::fs::{self, File};
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The running pair.
pub struct Dns {
    children: Vec<Child>,
    /// Where the resolver listens.
    pub resolver: SocketAddr,
}

impl Dns {
    /// Serves the zone `example.test`, whose records are `records` (zone file lines, origin `example.test.`).
    pub fn start(folder: &Path, records: &str) -> Result<Dns, Failure> {
        let (nsd, unbound) = (program::find("nsd")?, program::find("unbound")?);
        fs::create_dir_all(folder)?;
        let (authority, resolver) = (wait::free_address()?, wait::free_address()?);
        let soa = "$ORIGIN example.test.\n$TTL 60\n@ SOA ns1 hostmaster 1 3600 600 86400 1\n@ NS ns1\nns1 A 127.0.0.1\n";
        fs::write(
            folder.join("example.test.zone"),
            format!("{soa}{records}\n"),
        )?;
        fs::write(
            folder.join("nsd.conf"),
            nsd_configuration(folder, authority),
        )?;
        fs::write(
            folder.join("unbound.conf"),
            unbound_configuration(folder, authority, resolver),
        )?;
        let mut dns = Dns {
            children: Vec::new(),
            resolver,
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
}

impl Drop for Dns {
    fn drop(&mut self) {
        for child in &mut self.children {
            if let Ok(pid) = i32::try_from(child.id()) {
                let _ = nix::sys::signal::kill(
                    nix::unistd::Pid::from_raw(pid),
                    nix::sys::signal::Signal::SIGTERM,
                );
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
zone:
  name: example.test
  zonefile: example.test.zone
"
    )
}

fn unbound_configuration(folder: &Path, authority: SocketAddr, resolver: SocketAddr) -> String {
    let folder = folder.display();
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
  module-config: \"iterator\"
  local-zone: \"test.\" nodefault
  local-zone: \".\" static
  local-zone: \"example.test.\" transparent
  cache-max-ttl: 1
  cache-max-negative-ttl: 1
remote-control:
  control-enable: no
stub-zone:
  name: \"example.test\"
  stub-addr: {}@{}
",
        resolver.ip(),
        resolver.port(),
        authority.ip(),
        authority.port()
    )
}

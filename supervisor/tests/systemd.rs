//! posternd and a pretended systemd: what is said, and listeners kept over a restart.

#![allow(clippy::unwrap_used)]

mod stage;

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Instant;

use nix::sys::signal::Signal;
use postern_control::client::{Client, Request};
use postern_hosting::ServerState;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use stage::*;

/// The socket systemd would listen at.
struct Systemd {
    socket: UnixDatagram,
    said: Vec<String>,
    stored: Vec<(String, OwnedFd)>,
}

impl Systemd {
    fn new(stage: &mut Stage) -> Systemd {
        let path = stage.path("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        stage.environment("NOTIFY_SOCKET", path.to_str().unwrap());
        Systemd { socket, said: Vec::new(), stored: Vec::new() }
    }

    /// Listens until something is said, and keeps what is to be kept.
    fn hears(&mut self, word: &str) -> String {
        let mut bytes = [0; 4096];
        let end = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < end, "{word} was never said, only {:?}", self.said);
            let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut room);
            let mut data = [IoSliceMut::new(&mut bytes)];
            let length = rustix::net::recvmsg(&self.socket, &mut data, &mut ancillary, RecvFlags::CMSG_CLOEXEC)
                .unwrap_or_else(|error| panic!("{word} was never said, only {:?}: {error}", self.said))
                .bytes;
            let text = String::from_utf8(bytes[..length].to_vec()).unwrap();
            let name = text.lines().find_map(|line| line.strip_prefix("FDNAME=")).map(str::to_owned);
            for message in ancillary.drain() {
                if let RecvAncillaryMessage::ScmRights(files) = message {
                    self.stored.extend(files.map(|file| (name.clone().unwrap(), file)));
                }
            }
            if text.contains("FDSTOREREMOVE=1") {
                self.stored.retain(|(stored, _)| Some(stored) != name.as_ref());
            }
            self.said.push(text.clone());
            if text.contains(word) {
                return text;
            }
        }
    }
}

#[test]
fn systemd_is_told_what_goes_on() {
    let mut stage = Stage::new();
    let mut systemd = Systemd::new(&mut stage);
    stage.environment("WATCHDOG_USEC", "200000");
    stage.define("mx", &definition(free_address(), "nothing"));
    stage.start();
    systemd.hears("READY=1");
    systemd.hears("STATUS=1 of 1 servers run");
    systemd.hears("WATCHDOG=1");
    systemd.hears("WATCHDOG=1");
    stage.signal(Signal::SIGHUP);
    let said = systemd.hears("RELOADING=1");
    assert!(said.contains("MONOTONIC_USEC="), "{said}");
    systemd.hears("READY=1");
    stage.signal(Signal::SIGTERM);
    systemd.hears("STOPPING=1");
}

#[test]
fn listeners_are_kept_over_a_restart_of_posternd() {
    let mut stage = Stage::new();
    let mut systemd = Systemd::new(&mut stage);
    let [kept, stopped] = [free_address(), free_address()];
    stage.define("mx", &definition(kept, "nothing"));
    stage.define("not", &definition(stopped, "nothing"));
    stage.start();
    stage.reaches("mx", ServerState::Running);
    stage.reaches("not", ServerState::Running);
    systemd.hears("READY=1");
    assert_eq!(systemd.stored.len(), 2);
    stage.done(|server| Request::Stop { server }, "not");
    systemd.hears("FDSTOREREMOVE=1");
    assert_eq!(systemd.stored.len(), 1, "a stopped server's listener is kept");
    assert!(stage.end(Signal::SIGTERM).success());

    // Nobody is there, and nobody is refused.
    let connected = std::net::TcpStream::connect(kept).unwrap();
    let (name, listener) = systemd.stored.pop().unwrap();
    assert_eq!(name, format!("mx.{kept}").replace(':', "_"));

    // As systemd does it: number 3, named in the environment, and the pid of posternd itself.
    let posternd = stage.command();
    let script = "exec 3<&0 0</dev/null; export LISTEN_PID=$$; exec \"$0\" \"$@\"";
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).arg(posternd.get_program()).args(posternd.get_args());
    shell.envs(posternd.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", &name).stdin(listener);
    shell.stderr(std::fs::File::options().append(true).open(stage.path("log")).unwrap());
    stage.child = Some(shell.spawn().unwrap());
    // The command holds the listener, too.
    drop(shell);
    until("posternd answers", || Client::connect(&stage.path("run/control")).ok());
    stage.reaches("mx", ServerState::Running);
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(connected), &mut line).unwrap();
    assert!(line.starts_with("220 "), "{line}");
    // The number itself is closed: nothing but the listener's owner holds it.
    let socket = std::fs::read_link(format!("/proc/{}/fd/3", stage.child.as_ref().unwrap().id()));
    assert!(socket.is_err() || !stage.state("mx", "fds").contains(socket.unwrap().to_str().unwrap()));
    // Stopped, it is closed for good.
    stage.done(|server| Request::Stop { server }, "mx");
    assert!(std::net::TcpStream::connect(kept).is_err());
}

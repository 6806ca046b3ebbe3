//! Dovecot from Debian as an LMTP server that delivers into Maildirs, and as a source of accounts.

use crate::{Failure, program, wait};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, chown};
use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A running Dovecot.
pub struct Dovecot {
    folder: PathBuf,
    child: Child,
    /// Where it takes mail by LMTP.
    pub lmtp: SocketAddr,
    /// The Unix socket where it does so too.
    pub lmtp_socket: PathBuf,
    /// The Unix socket where it is asked about passwords.
    pub auth_socket: PathBuf,
}

impl Dovecot {
    /// The passwords of its users; the third one may not log in.
    pub const PASSWORDS: [(&str, &str); 3] = [
        ("alice@example.test", "wonder land-1"),
        ("bob@example.test", "builder.bob-2"),
        ("mallory@example.test", "mallory-3"),
    ];

    /// Starts Dovecot in `folder` (made here). It knows the users `alice`, `bob` and `mallory` of `example.test`, nobody
    /// else. Must run as root: it delivers under the uid of `mail`.
    pub fn start(folder: &Path) -> Result<Dovecot, Failure> {
        Dovecot::start_with(folder, "")
    }

    /// The same with the lines `settings` behind its own.
    pub fn start_with(folder: &Path, settings: &str) -> Result<Dovecot, Failure> {
        program::need_root("Dovecot delivers under another uid")?;
        let owner = User::from_name("mail")?.ok_or("there is no user `mail`")?;
        for name in ["run", "state", "mail"] {
            fs::create_dir_all(folder.join(name))?;
        }
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
        chown(&folder.join("mail"), Some(owner.uid), None)?;
        let lmtp = wait::free_address()?;
        fs::write(folder.join("users"), users())?;
        fs::write(
            folder.join("dovecot.conf"),
            configuration(folder, lmtp, &owner) + settings,
        )?;
        let child = spawn(folder)?;
        let peer = Dovecot {
            folder: folder.to_owned(),
            child,
            lmtp,
            lmtp_socket: folder.join("run/lmtp"),
            auth_socket: folder.join("run/auth-client"),
        };
        peer.until_up()?;
        Ok(peer)
    }

    /// Ends it and starts it again: who was connected is cut off.
    pub fn restart(&mut self) -> Result<(), Failure> {
        self.end()?;
        self.child = spawn(&self.folder)?;
        self.until_up()
    }

    /// Neither answers nor refuses about passwords until [`Dovecot::wake`].
    pub fn freeze(&self) -> Result<(), Failure> {
        self.signal_children(Signal::SIGSTOP)
    }

    /// Ends [`Dovecot::freeze`].
    pub fn wake(&self) -> Result<(), Failure> {
        self.signal_children(Signal::SIGCONT)
    }

    /// Its first process.
    pub fn master(&self) -> Result<i32, Failure> {
        Ok(i32::try_from(self.child.id())?)
    }

    fn signal_children(&self, signal: Signal) -> Result<(), Failure> {
        for pid in crate::stage::children_of(self.master()?) {
            kill(Pid::from_raw(pid), signal)?;
        }
        Ok(())
    }

    fn until_up(&self) -> Result<(), Failure> {
        let limit = Duration::from_secs(20);
        wait::until_listening(self.lmtp, limit)
            .map_err(|error| format!("{error}\n{}", self.log()).into())
    }

    fn end(&mut self) -> Result<(), Failure> {
        let _ = self.wake();
        let master = self.master()?;
        let children = crate::stage::children_of(master);
        kill(Pid::from_raw(master), Signal::SIGTERM)?;
        wait::until("Dovecot to end", Duration::from_secs(10), || {
            self.child.try_wait().ok().flatten()
        })?;
        // Whoever is asked by somebody goes on without the master.
        for pid in children.into_iter().filter(|&pid| is_dovecots(pid)) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            wait::until_gone(pid, Duration::from_secs(5))?;
        }
        Ok(())
    }

    /// The Maildir of a user.
    pub fn mailbox(&self, user: &str) -> PathBuf {
        self.folder.join("mail").join(user)
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        ["start.log", "dovecot.log"]
            .map(|name| fs::read_to_string(self.folder.join(name)).unwrap_or_default())
            .concat()
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        if self.end().is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn spawn(folder: &Path) -> Result<Child, Failure> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(folder.join("start.log"))?;
    let mut command = Command::new(program::find("dovecot")?);
    command.arg("-F").arg("-c").arg(folder.join("dovecot.conf"));
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    Ok(command.spawn()?)
}

/// Whether `pid` is a process of Dovecot's; the number may have gone to somebody else.
fn is_dovecots(pid: i32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"dovecot/"))
}

fn users() -> String {
    let line = |(name, password): &(&str, &str)| {
        let extra = match name.starts_with("mallory") {
            true => "nologin=y reason=gone_away",
            false => "",
        };
        format!("{name}:{{PLAIN}}{password}::::::{extra}\n")
    };
    Dovecot::PASSWORDS.iter().map(line).collect()
}

fn configuration(folder: &Path, lmtp: SocketAddr, owner: &User) -> String {
    let folder = folder.display();
    let (uid, gid) = (owner.uid, owner.gid);
    format!(
        "base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/dovecot.log
protocols = lmtp
listen = 127.0.0.1
ssl = no
auth_failure_delay = 0
mail_location = maildir:{folder}/mail/%n
mail_uid = {uid}
mail_gid = {gid}
first_valid_uid = 1
first_valid_gid = 1
default_internal_user = dovecot
passdb {{
  driver = passwd-file
  args = username_format=%u {folder}/users
}}
userdb {{
  driver = passwd-file
  args = username_format=%u {folder}/users
  override_fields = uid={uid} gid={gid} home={folder}/mail/%n
}}
service lmtp {{
  unix_listener lmtp {{
    mode = 0666
  }}
  inet_listener lmtp {{
    address = {}
    port = {}
  }}
}}
service auth {{
  unix_listener auth-client {{
    mode = 0666
  }}
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
",
        lmtp.ip(),
        lmtp.port()
    )
}

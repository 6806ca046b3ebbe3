//! Dovecot from Debian as an LMTP server that delivers into Maildirs.

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
}

impl Dovecot {
    /// Starts Dovecot in `folder` (made here). It knows the users `alice` and `bob` of `example.test`, nobody else. Must
    /// run as root: it delivers under the uid of `mail`.
    pub fn start(folder: &Path) -> Result<Dovecot, Failure> {
        program::need_root("Dovecot delivers under another uid")?;
        let binary = program::find("dovecot")?;
        let owner = User::from_name("mail")?.ok_or("there is no user `mail`")?;
        for name in ["run", "state", "mail"] {
            fs::create_dir_all(folder.join(name))?;
        }
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
        chown(&folder.join("mail"), Some(owner.uid), None)?;
        let lmtp = wait::free_address()?;
        fs::write(
            folder.join("users"),
            "alice@example.test:{PLAIN}x::::::\nbob@example.test:{PLAIN}x::::::\n",
        )?;
        fs::write(
            folder.join("dovecot.conf"),
            configuration(folder, lmtp, &owner),
        )?;
        let log = File::create(folder.join("start.log"))?;
        let mut command = Command::new(binary);
        command.arg("-F").arg("-c").arg(folder.join("dovecot.conf"));
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let peer = Dovecot {
            folder: folder.to_owned(),
            child,
            lmtp,
            lmtp_socket: folder.join("run/lmtp"),
        };
        wait::until_listening(lmtp, Duration::from_secs(20))
            .map_err(|error| format!("{error}\n{}", peer.log()))?;
        Ok(peer)
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
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let ended = wait::until("Dovecot to end", Duration::from_secs(10), || {
            self.child.try_wait().ok().flatten()
        });
        if ended.is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
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

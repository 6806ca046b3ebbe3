//! Postfix from Debian: configuration, queue and data in a folder of its own.

use crate::{Failure, program, wait};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, chown};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A running Postfix.
pub struct Postfix {
    folder: PathBuf,
    /// Where it takes mail.
    pub address: SocketAddr,
    /// The pid of its `master`, under which all its other processes are.
    pub master: i32,
}

const SERVICES: &str = "\
pickup    unix  n - n 60 1 pickup
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
verify    unix  - - n - 1 verify
flush     unix  n - n 1000? 0 flush
tlsmgr    unix  - - n 1000? 1 tlsmgr
proxymap  unix  - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp      unix  - - n - - smtp
relay     unix  - - n - - smtp
virtual   unix  - n n - - virtual
error     unix  - - n - - error
retry     unix  - - n - - error
discard   unix  - - n - - discard
anvil     unix  - - n - 1 anvil
scache    unix  - - n - 1 scache
postlog   unix-dgram n - n - 1 postlogd
";

impl Postfix {
    /// Starts Postfix in `folder` (made here) with the lines `settings` behind the common ones of its `main.cf`, and
    /// comes back once it listens. Must run as root: Postfix does not start otherwise.
    pub fn start(folder: &Path, settings: &str) -> Result<Postfix, Failure> {
        program::need_root("Postfix starts only as root")?;
        let address = wait::free_address()?;
        let owner = User::from_name("postfix")?
            .ok_or("Postfix is not installed: there is no user `postfix`")?;
        for name in ["etc", "queue", "data", "mail"] {
            fs::create_dir_all(folder.join(name))?;
        }
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
        for name in ["data", "mail"] {
            chown(&folder.join(name), Some(owner.uid), None)?;
        }
        let etc = folder.join("etc");
        fs::write(etc.join("main.cf"), common(folder) + settings)?;
        fs::write(
            etc.join("master.cf"),
            format!("{address} inet n - n - 200 smtpd\n{SERVICES}"),
        )?;
        let output = program::run(
            "postfix",
            ["-c".as_ref(), etc.as_os_str(), "start".as_ref()],
            b"",
        )?;
        program::succeed(output)?;
        let pid_file = folder.join("queue/pid/master.pid");
        let master = wait::until("Postfix's pid file", Duration::from_secs(20), || {
            fs::read_to_string(&pid_file).ok()?.trim().parse().ok()
        })?;
        let peer = Postfix {
            folder: folder.to_owned(),
            address,
            master,
        };
        wait::until_listening(address, Duration::from_secs(20))
            .map_err(|e| format!("{e}\n{}", peer.log()))?;
        Ok(peer)
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("maillog")).unwrap_or_default()
    }

    /// The value of one of its settings, as Postfix itself sees it.
    pub fn setting(&self, name: &str) -> Result<String, Failure> {
        let etc = self.folder.join("etc");
        let output = program::run(
            "postconf",
            ["-c".as_ref(), etc.as_os_str(), "-h".as_ref(), name.as_ref()],
            b"",
        )?;
        Ok(program::succeed(output)?.trim().to_owned())
    }

    /// The folder where its queue is.
    pub fn queue(&self) -> PathBuf {
        self.folder.join("queue")
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        // master takes its process group with it.
        let _ = kill(Pid::from_raw(self.master), Signal::SIGTERM);
        if wait::until_gone(self.master, Duration::from_secs(10)).is_err() {
            let _ = kill(Pid::from_raw(self.master), Signal::SIGKILL);
        }
    }
}

fn common(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/maillog
maillog_file_prefixes = {folder}
mail_owner = postfix
setgid_group = postdrop
myhostname = postfix.example.test
mydestination =
local_recipient_maps =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtp_dns_support_level = disabled
smtpd_peername_lookup = no
alias_maps =
alias_database =
biff = no
# A process that master could not start is tried again after a second, not after a minute.
service_throttle_time = 1s
smtputf8_enable = yes
message_size_limit = 52428800
"
    )
}

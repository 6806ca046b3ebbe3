//! A member of the domain: the winbind of a mail server beside its domain controller.
//!
//! It joins without asking the controller: its account is in the domain kept (`MX1$`), and its side of the secret is
//! written here.

use super::{Samba, WINBIND, own_place, until_winbind_answers};
use crate::{Failure, program, wait};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A running winbindd.
pub struct Member {
    folder: PathBuf,
    child: Child,
}

/// As Samba kept it before 4.7; `winbindd` takes it over.
const SECRETS: &str = r#"
import os, struct, sys, tdb, time
secrets = tdb.open(sys.argv[1], flags=os.O_RDWR)
secrets.store(b"SECRETS/MACHINE_PASSWORD/CORP", sys.argv[2].encode() + b"\0")
secrets.store(b"SECRETS/MACHINE_SEC_CHANNEL_TYPE/CORP", struct.pack("<I", 2))
secrets.store(b"SECRETS/MACHINE_LAST_CHANGE_TIME/CORP", struct.pack("<I", int(time.time())))
"#;

/// The folders that its settings name.
const FOLDERS: [(&str, &str); 6] = [
    ("private dir", "private"),
    ("lock directory", "lock"),
    ("state directory", "state"),
    ("cache directory", "cache"),
    ("pid directory", "run"),
    ("ncalrpc dir", "ncalrpc"),
];

impl Member {
    /// Its NetBIOS name.
    pub const NAME: &str = "MX1";

    /// Starts one in `folder` (made here). The calling thread goes into a mount namespace for good, in which `/run/samba`
    /// and the names of hosts are the member's.
    pub fn join(folder: &Path, controller: &Samba) -> Result<Member, Failure> {
        for below in FOLDERS.map(|(_, below)| below).iter().chain(&["log"]) {
            fs::create_dir_all(folder.join(below))?;
        }
        own_place(WINBIND)?;
        hosts(folder, controller)?;
        let conf = folder.join("smb.conf");
        fs::write(&conf, configuration(folder))?;
        let net = ["-s".as_ref(), conf.as_os_str(), "setdomainsid".as_ref()];
        let sid = fs::read_to_string(controller.folder.join("sid"))?;
        let words = net.into_iter().chain([sid.trim().as_ref()]);
        program::succeed(program::run("net", words, b"")?)?;
        let mut secrets = Command::new("/usr/bin/python3");
        secrets.args(["-c", SECRETS]);
        secrets.arg(folder.join("private/secrets.tdb"));
        secrets.arg(Samba::MEMBER_PASSWORD);
        program::succeed(program::run_command(secrets, b"")?)?;
        let log = File::create(folder.join("start.log"))?;
        let mut command = Command::new(program::find("winbindd")?);
        command.args(["-F", "--no-process-group", "-s"]).arg(&conf);
        let child = command
            .env("KRB5_CONFIG", controller.krb5())
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let member = Member {
            folder: folder.to_owned(),
            child,
        };
        until_winbind_answers(folder)?;
        // What it starts with is "not connected": the first who asks makes it try.
        wait::until_true("the domain's trust", Duration::from_secs(60), || {
            program::run("wbinfo", ["-t"], b"").is_ok_and(|output| output.status.success())
        })?;
        Ok(member)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // It leaves its helper behind.
        let helper = fs::read_to_string(self.folder.join("run/samba-dcerpcd.pid"));
        let helper = helper.ok().and_then(|text| text.trim().parse().ok());
        let own = i32::try_from(self.child.id()).ok();
        for pid in [own, helper].into_iter().flatten() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let ended = wait::until("winbindd to end", Duration::from_secs(10), || {
            self.child.try_wait().ok().flatten()
        });
        if ended.is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Only the controller has a name here, and nobody is asked for one.
fn hosts(folder: &Path, controller: &Samba) -> Result<(), Failure> {
    let address = controller.address;
    let text = format!("127.0.0.1 localhost\n{address} dc1.corp.postern.test dc1\n");
    let none = None::<&str>;
    for (name, text) in [("hosts", text.as_str()), ("resolv.conf", "")] {
        let ours = folder.join(name);
        fs::write(&ours, text)?;
        let theirs = Path::new("/etc").join(name);
        // A link is not what is to be covered, but what it leads to.
        let theirs = fs::canonicalize(&theirs).unwrap_or(theirs);
        mount(Some(&ours), &theirs, none, MsFlags::MS_BIND, none)?;
    }
    Ok(())
}

fn configuration(folder: &Path) -> String {
    let folders: String = FOLDERS
        .iter()
        .map(|(name, below)| format!("  {name} = {}\n", folder.join(below).display()))
        .collect();
    format!(
        "[global]
  netbios name = {}
  realm = {}
  workgroup = CORP
  security = ads
  password server = dc1.corp.postern.test
  kerberos method = secrets only
  interfaces = 127.0.0.1/8
  bind interfaces only = yes
  idmap config * : backend = tdb
  idmap config * : range = 100000-199999
  idmap config CORP : backend = rid
  idmap config CORP : range = 200000-299999
  logging = file
{folders}  log file = {}/log/log.winbindd
",
        Member::NAME,
        Samba::REALM,
        folder.display(),
    )
}

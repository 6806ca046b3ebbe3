//! A Samba Active Directory domain controller from Debian, on a loopback address of its own: AD's ports cannot be chosen.
//!
//! ```text
//! corp.postern.test, CORP   postern   searches
//!   alice     alice.smith@corp.postern.test, and info@corp.postern.test by proxyAddresses
//!   bob       bob@corp.postern.test
//!   jörg      a name, a password and a group (Süd-Vertrieb) beyond ASCII
//!   mallory   disabled             frank   must change the password first
//!   erin      expired              heidi   may log in at no hour
//!   mailer    is smtp/post.corp.postern.test, and has a keytab
//!   reader    is imap/post.corp.postern.test        MX1$   a member host
//!   sales ∋ alice · staff ∋ sales · interns ∋ bob
//! ```
//! Making a domain takes 20 s; it is made once, kept in the target folder (`peers/samba-N`), and each test runs a copy.
//!
//! winbind is asked by libwbclient at `/run/samba/winbindd`, which is compiled in. A test that wants this domain's own
//! goes into a mount namespace in which `/run/samba` is its own ([`Samba::with_winbind`]): what it starts afterwards is
//! there too, and neither the host's winbind nor another test's is ever asked. [`Member`] is another host of the domain.

mod member;

pub use member::Member;

use crate::{Failure, program, wait};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A running domain controller.
pub struct Samba {
    folder: PathBuf,
    child: Child,
    /// Its address; LDAP is at port 389, LDAPS at 636.
    pub address: IpAddr,
}

/// To be raised when what is made below changes: the domains kept are found by it.
const EDITION: u32 = 4;

/// The folders of a controller that its settings name.
const FOLDERS: [(&str, &str); 7] = [
    ("private dir", "private"),
    ("lock directory", "lock"),
    ("state directory", "state"),
    ("cache directory", "cache"),
    ("pid directory", "run"),
    ("ncalrpc dir", "ncalrpc"),
    ("binddns dir", "bind-dns"),
];

/// Fills a new domain; Debian's own Python has the modules.
const ACCOUNTS: &str = r#"
import sys
from pathlib import Path
from samba.auth import system_session
from samba.param import LoadParm
from samba.samdb import SamDB
lp = LoadParm()
lp.load(sys.argv[1])
db = SamDB(session_info=system_session(), lp=lp)
db.newuser("postern", "Svc.Postern5")
db.newuser("alice", "Wonder.land1", mailaddress="alice.smith@corp.postern.test")
db.newuser("bob", "Builder.Bob2", mailaddress="bob@corp.postern.test")
db.newuser("mallory", "Mallory.M3")
db.disable_account("(sAMAccountName=mallory)")
db.newuser("frank", "Frank.Old4", force_password_change_at_next_login_req=True)
db.modify_ldif(f"""dn: CN=alice,CN=Users,{db.domain_dn()}
changetype: modify
add: proxyAddresses
proxyAddresses: SMTP:alice.smith@corp.postern.test
proxyAddresses: smtp:info@corp.postern.test
proxyAddresses: X500:/o=Corp/cn=alice@corp.postern.test
""")
db.newuser("jörg", "Grüße.Jörg7")
db.newuser("erin", "Expired.Erin6")
db.newuser("heidi", "Hours.Heidi8")
db.newuser("mailer", "Mailer.Svc9-long-and-never-typed")
db.newuser("reader", "Reader.Svc9-long-and-never-typed")
for name, change in [
    ("erin", "replace: accountExpires\naccountExpires: 116444736000000001"),
    ("heidi", "replace: logonHours\nlogonHours:: AAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
] + [
    (name, "replace: servicePrincipalName\n"
        f"servicePrincipalName: {service}/post.corp.postern.test\n"
        "-\nreplace: msDS-SupportedEncryptionTypes\nmsDS-SupportedEncryptionTypes: 24")
    for name, service in [("mailer", "smtp"), ("reader", "imap")]
]:
    db.modify_ldif(f"dn: CN={name},CN=Users,{db.domain_dn()}\nchangetype: modify\n{change}\n")
db.newcomputer("MX1")
db.setpassword("(sAMAccountName=MX1$)", sys.argv[2], False)
db.modify_ldif(f"""dn: CN=MX1,CN=Computers,{db.domain_dn()}
changetype: modify
replace: dNSHostName
dNSHostName: mx1.corp.postern.test
-
replace: servicePrincipalName
servicePrincipalName: HOST/mx1.corp.postern.test
servicePrincipalName: HOST/MX1
-
replace: msDS-SupportedEncryptionTypes
msDS-SupportedEncryptionTypes: 28
""")
Path(sys.argv[1]).with_name("sid").write_text(db.get_domain_sid())
for group, member in [("sales", "alice"), ("staff", "sales"), ("interns", "bob"), ("Süd-Vertrieb", "jörg")]:
    db.newgroup(group)
    db.add_remove_group_members(group, [member])
"#;

impl Samba {
    /// The place its entries are below.
    pub const BASE: &str = "DC=corp,DC=postern,DC=test";
    /// The account that searches.
    pub const SEARCHER: (&str, &str) = ("postern@corp.postern.test", "Svc.Postern5");
    /// An account.
    pub const ALICE: (&str, &str) = ("alice", "Wonder.land1");
    /// Another.
    pub const BOB: (&str, &str) = ("bob", "Builder.Bob2");
    /// One that is disabled.
    pub const MALLORY: (&str, &str) = ("mallory", "Mallory.M3");
    /// One whose password must be changed.
    pub const FRANK: (&str, &str) = ("frank", "Frank.Old4");
    /// One that has expired.
    pub const ERIN: (&str, &str) = ("erin", "Expired.Erin6");
    /// One that may log in at no hour of the week.
    pub const HEIDI: (&str, &str) = ("heidi", "Hours.Heidi8");
    /// One beyond ASCII.
    pub const JÖRG: (&str, &str) = ("jörg", "Grüße.Jörg7");
    /// Its Kerberos realm.
    pub const REALM: &str = "CORP.POSTERN.TEST";
    const MEMBER_PASSWORD: &str = "Member.Mx1-never-typed";
    /// The host whose services `smtp` and `imap` its Kerberos knows.
    pub const HOST: &str = "post.corp.postern.test";

    /// Starts a controller in `folder` (made here), which serves LDAP. Must run as root: AD's ports are low ones. Its
    /// certificate, for its address, is its own authority.
    pub fn start(folder: &Path) -> Result<Samba, Failure> {
        Samba::serving("ldap", folder)
    }

    /// The same with Kerberos and winbind. The calling thread goes into a mount namespace for good, and takes along what
    /// it starts from here on, threads and processes.
    pub fn with_winbind(folder: &Path) -> Result<Samba, Failure> {
        own_place(WINBIND)?;
        let peer = Samba::serving("rpc, ldap, cldap, kdc, winbindd", folder)?;
        until_winbind_answers(folder).map_err(|error| format!("{error}\n{}", peer.log()))?;
        Ok(peer)
    }

    /// The same, as a controller that members ask. The calling thread stays where it is.
    pub fn with_members(folder: &Path) -> Result<Samba, Failure> {
        let start = || {
            own_place(WINBIND)?;
            let peer = Samba::serving("rpc, ldap, cldap, kdc, s3fs, winbindd", folder)?;
            until_winbind_answers(folder).map_err(|error| format!("{error}\n{}", peer.log()))?;
            wait::until_listening(SocketAddr::new(peer.address, 445), Duration::from_secs(60))?;
            Ok(peer)
        };
        std::thread::scope(|scope| scope.spawn(start).join())
            .map_err(|_| "the thread that starts the controller panicked")?
    }

    fn serving(services: &str, folder: &Path) -> Result<Samba, Failure> {
        program::need_root("AD's ports are below 1024")?;
        let binary = program::find("samba")?;
        copy(&kept()?, folder)?;
        let address = free_address()?;
        let pair = rcgen::generate_simple_self_signed([address.to_string()])?;
        fs::write(folder.join("ca.pem"), pair.cert.pem())?;
        crate::stage::private(&folder.join("key.pem"), &pair.signing_key.serialize_pem())?;
        let conf = folder.join("smb.conf");
        fs::write(&conf, configuration(services, folder, address))?;
        fs::write(folder.join("krb5.conf"), kerberos(address))?;
        // What runs under a uid of its own reads the settings.
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
        let log = File::create(folder.join("start.log"))?;
        let mut command = Command::new(binary);
        command.args(["-F", "-M", "single", "--no-process-group", "-s"]);
        command.arg(conf);
        // It ends when its standard input does, so with this process in any case.
        let child = command
            .env("KRB5_CONFIG", folder.join("krb5.conf"))
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let peer = Samba {
            folder: folder.to_owned(),
            child,
            address,
        };
        wait::until_listening(SocketAddr::new(address, 636), Duration::from_secs(60))
            .map_err(|error| format!("{error}\n{}", peer.log()))?;
        Ok(peer)
    }

    /// Its certificate.
    pub fn certificate(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// The key of the service `smtp` on [`Samba::HOST`].
    pub fn keytab(&self) -> PathBuf {
        self.folder.join("smtp.keytab")
    }

    /// The Kerberos settings of a client: this controller alone, and no DNS.
    pub fn krb5(&self) -> PathBuf {
        self.folder.join("krb5.conf")
    }

    /// Kerberos' ticket for an account, in a file of its own: a client's `KRB5CCNAME`.
    pub fn ticket(&self, (name, password): (&str, &str)) -> Result<PathBuf, Failure> {
        let cache = self.folder.join(format!("ticket-{name}"));
        let mut command = Command::new(program::find("kinit")?);
        command
            .arg(format!("{name}@{}", Samba::REALM))
            .env("KRB5_CONFIG", self.krb5())
            .env("KRB5CCNAME", &cache);
        let password = format!("{password}\n");
        program::succeed(program::run_command(command, password.as_bytes())?)?;
        Ok(cache)
    }

    /// Stops winbind in its tracks: what asks it hears nothing.
    pub fn freeze_winbind(&self) -> Result<(), Failure> {
        self.winbind(Signal::SIGSTOP)
    }

    /// Has it go on.
    pub fn wake_winbind(&self) -> Result<(), Failure> {
        self.winbind(Signal::SIGCONT)
    }

    fn winbind(&self, signal: Signal) -> Result<(), Failure> {
        let text = fs::read_to_string(self.folder.join("run/winbindd.pid"))?;
        Ok(kill(Pid::from_raw(text.trim().parse()?), signal)?)
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        ["start.log", "log/log.samba"]
            .map(|name| fs::read_to_string(self.folder.join(name)).unwrap_or_default())
            .concat()
    }
}

impl Drop for Samba {
    fn drop(&mut self) {
        let _ = self.wake_winbind();
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let ended = wait::until("Samba to end", Duration::from_secs(10), || {
            self.child.try_wait().ok().flatten()
        });
        if ended.is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The folder with the domain, made by whoever comes first.
fn kept() -> Result<PathBuf, Failure> {
    let (place, _lock) = program::kept("samba")?;
    let folder = place.join(format!("samba-{EDITION}"));
    if !folder.is_dir() {
        let unfinished = place.join("samba-unfinished");
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished)?;
        }
        make(&unfinished)?;
        fs::rename(&unfinished, &folder)?;
    }
    Ok(folder)
}

fn make(folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder.join("log"))?;
    let empty = folder.join("empty.conf");
    fs::write(&empty, "")?;
    let mut provision = Command::new(program::find("samba-tool")?);
    provision.args([
        "domain",
        "provision",
        "--realm=CORP.POSTERN.TEST",
        "--domain=CORP",
    ]);
    provision.args(["--server-role=dc", "--dns-backend=NONE", "--use-rfc2307"]);
    provision.args([
        "--host-name=dc1",
        "--host-ip=127.0.0.1",
        "--adminpass=Passw0rd!Dc1",
    ]);
    provision.arg("-s").arg(&empty);
    for (name, below) in FOLDERS {
        fs::create_dir_all(folder.join(below))?;
        provision.arg(format!("--option={name}={}", folder.join(below).display()));
    }
    program::succeed(program::run_command(provision, b"")?)?;
    let conf = folder.join("smb.conf");
    fs::write(
        &conf,
        configuration("ldap", folder, IpAddr::from(Ipv4Addr::LOCALHOST)),
    )?;
    let mut fill = Command::new("/usr/bin/python3");
    fill.args(["-c", ACCOUNTS]).arg(&conf);
    fill.arg(Samba::MEMBER_PASSWORD);
    program::succeed(program::run_command(fill, b"")?)?;
    let mut export = Command::new(program::find("samba-tool")?);
    export.args(["domain", "exportkeytab", "-s"]).arg(&conf);
    export
        .arg(format!("--principal=smtp/{}", Samba::HOST))
        .arg(folder.join("smtp.keytab"));
    program::succeed(program::run_command(export, b"")?)?;
    Ok(())
}

/// Where libwbclient looks for winbind.
const WINBIND: &str = "/run/samba";

/// Takes the calling thread into a mount namespace in which this folder is empty and its own.
fn own_place(place: &str) -> Result<(), Failure> {
    fs::create_dir_all(place)?;
    unshare(CloneFlags::CLONE_NEWNS)?;
    let none = None::<&str>;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(none, "/", none, private, none)?;
    let (tmpfs, mode) = (Some("tmpfs"), Some("mode=755"));
    Ok(mount(tmpfs, place, tmpfs, MsFlags::empty(), mode)?)
}

/// Waits for the winbind in the calling thread's place, and lets its group ask about proofs: Samba itself leaves that to
/// the administrator.
fn until_winbind_answers(folder: &Path) -> Result<(), Failure> {
    wait::until_true("winbind to answer", Duration::from_secs(60), || {
        program::run("wbinfo", ["--ping"], b"").is_ok_and(|output| output.status.success())
    })?;
    let pipe = folder.join("state/winbindd_privileged");
    let words = ["winbindd_priv".as_ref(), pipe.as_os_str()];
    program::succeed(program::run("chgrp", words, b"")?)?;
    Ok(())
}

/// With extended attributes: files of the domain carry Windows' rights in them.
fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    let mut command = Command::new(program::find("cp")?);
    command.args(["-a", "--reflink=auto"]).arg(from).arg(to);
    program::succeed(program::run_command(command, b"")?)?;
    Ok(())
}

/// A loopback address on which nobody has AD's ports; no two calls in a process get the same.
fn free_address() -> Result<IpAddr, Failure> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..60_000 {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let own = std::process::id().wrapping_mul(7).wrapping_add(step);
        let [_, _, third, fourth] = own.to_be_bytes();
        let address = Ipv4Addr::new(127, 99, third, fourth);
        let free = |port: &u16| TcpListener::bind((address, *port)).is_ok();
        if [389, 636].iter().all(free) {
            return Ok(address.into());
        }
    }
    Err("no loopback address has port 389 free".into())
}

/// A client's Kerberos: one controller, asked by TCP, and nothing looked up.
fn kerberos(address: IpAddr) -> String {
    let realm = Samba::REALM;
    format!(
        "[libdefaults]
  default_realm = {realm}
  dns_lookup_realm = false
  dns_lookup_kdc = false
  dns_canonicalize_hostname = false
  rdns = false
  udp_preference_limit = 1
[realms]
  {realm} = {{
    kdc = {address}
  }}
[domain_realm]
  .corp.postern.test = {realm}
"
    )
}

fn configuration(services: &str, folder: &Path, address: IpAddr) -> String {
    let folders: String = FOLDERS
        .iter()
        .map(|(name, below)| format!("  {name} = {}\n", folder.join(below).display()))
        .collect();
    let folder = folder.display();
    format!(
        "[global]
  netbios name = DC1
  realm = CORP.POSTERN.TEST
  workgroup = CORP
  server role = active directory domain controller
  server services = {services}
  interfaces = {address}/8
  bind interfaces only = yes
{folders}  log file = {folder}/log/log.samba
  logging = file
  log level = 1 auth_audit:3
  max log size = 0
  load printers = no
  disable spoolss = yes
  dns update command = /bin/true
  spn update command = /bin/true
  tls enabled = yes
  tls certfile = {folder}/ca.pem
  tls keyfile = {folder}/key.pem
  tls cafile =
"
    )
}

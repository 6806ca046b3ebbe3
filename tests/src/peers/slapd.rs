//! OpenLDAP's slapd from Debian, with a few accounts and groups, by StartTLS and LDAPS.
//!
//! ```text
//! cn=postern                searches; everybody else may only log in
//! ou=people   uid=alice     alice@example.test, a.smith@example.test
//!             uid=bob       bob@example.test
//!             uid=dave, erin   both shared@example.test
//! ou=groups   cn=sales ∋ alice · cn=staff ∋ sales, dave · cn=everybody ∋ staff (uniqueMember) · cn=sales ∋ everybody, a ring
//! ```
//! It takes a password only inside TLS, and lets anybody in who gives none, as a careless directory does.

use crate::{Failure, program, wait};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A running slapd.
pub struct Slapd {
    folder: PathBuf,
    child: Child,
    /// Where it speaks LDAP, and StartTLS if it has a certificate.
    pub plain: SocketAddr,
    /// Where it speaks TLS from the first byte.
    pub secure: SocketAddr,
}

impl Slapd {
    /// The place its entries are below.
    pub const BASE: &str = "dc=example,dc=test";
    /// The account that searches.
    pub const SEARCHER: (&str, &str) = ("cn=postern,dc=example,dc=test", "searcher-7");
    /// An account.
    pub const ALICE: (&str, &str) = ("alice", "wonder (land)*\\1");
    /// Another.
    pub const BOB: (&str, &str) = ("bob", "builder.bob-2");

    /// Starts slapd in `folder` (made here) with this certificate and key.
    pub fn start(folder: &Path, certificate: &Path, key: &Path) -> Result<Slapd, Failure> {
        Slapd::with(folder, Some((certificate, key)))
    }

    /// The same without TLS: it takes passwords in clear, and knows no StartTLS.
    pub fn without_tls(folder: &Path) -> Result<Slapd, Failure> {
        Slapd::with(folder, None)
    }

    fn with(folder: &Path, pair: Option<(&Path, &Path)>) -> Result<Slapd, Failure> {
        fs::create_dir_all(folder.join("data"))?;
        let (plain, secure) = (wait::free_address()?, wait::free_address()?);
        let conf = folder.join("slapd.conf");
        fs::write(&conf, configuration(folder, pair))?;
        fs::write(folder.join("entries.ldif"), entries())?;
        let mut fill = Command::new(program::find("slapadd")?);
        fill.arg("-q").arg("-f").arg(&conf);
        fill.arg("-l").arg(folder.join("entries.ldif"));
        program::succeed(program::run_command(fill, b"")?)?;
        let mut slapd = Slapd {
            folder: folder.to_owned(),
            child: spawn(folder, plain, secure)?,
            plain,
            secure,
        };
        slapd.until_up()?;
        Ok(slapd)
    }

    /// Neither answers nor refuses until [`Slapd::wake`].
    pub fn freeze(&self) -> Result<(), Failure> {
        self.signal(Signal::SIGSTOP)
    }

    /// Ends [`Slapd::freeze`].
    pub fn wake(&self) -> Result<(), Failure> {
        self.signal(Signal::SIGCONT)
    }

    /// Ends it; nobody listens any more.
    pub fn stop(&mut self) -> Result<(), Failure> {
        self.signal(Signal::SIGTERM)?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts it again where it was.
    pub fn restart(&mut self) -> Result<(), Failure> {
        self.child = spawn(&self.folder, self.plain, self.secure)?;
        self.until_up()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("slapd.log")).unwrap_or_default()
    }

    fn until_up(&mut self) -> Result<(), Failure> {
        let limit = Duration::from_secs(20);
        wait::until_listening(self.plain, limit)
            .and_then(|()| wait::until_listening(self.secure, limit))
            .map_err(|error| format!("{error}\n{}", self.log()).into())
    }

    fn signal(&self, signal: Signal) -> Result<(), Failure> {
        let pid = i32::try_from(self.child.id())?;
        Ok(kill(Pid::from_raw(pid), signal)?)
    }
}

impl Drop for Slapd {
    fn drop(&mut self) {
        // A stopped one that was waited for is gone already.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn spawn(folder: &Path, plain: SocketAddr, secure: SocketAddr) -> Result<Child, Failure> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(folder.join("slapd.log"))?;
    let mut command = Command::new(program::find("slapd")?);
    // With a level of debugging it stays in the foreground.
    command.args(["-d", "stats"]).arg("-f");
    command.arg(folder.join("slapd.conf"));
    command
        .arg("-h")
        .arg(format!("ldap://{plain} ldaps://{secure}"));
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    Ok(command.spawn()?)
}

fn configuration(folder: &Path, pair: Option<(&Path, &Path)>) -> String {
    let tls = pair.map_or_else(String::new, |(certificate, key)| {
        let (certificate, key) = (certificate.display(), key.display());
        format!(
            "TLSCertificateFile {certificate}\nTLSCertificateKeyFile {key}\nsecurity simple_bind=128\n"
        )
    });
    let (folder, searcher) = (folder.display(), Slapd::SEARCHER.0);
    format!(
        "include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {folder}/slapd.pid
argsfile {folder}/slapd.args
{tls}allow bind_anon_dn
database mdb
suffix \"{}\"
directory {folder}/data
maxsize 16777216
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact=\"{searcher}\" read by anonymous auth by * none
",
        Slapd::BASE,
    )
}

fn entries() -> String {
    let base = Slapd::BASE;
    let person = |uid: &str, password: &str, mails: &[&str]| {
        let mails: String = mails.iter().map(|mail| format!("mail: {mail}\n")).collect();
        format!(
            "dn: uid={uid},ou=people,{base}\nobjectClass: inetOrgPerson\nuid: {uid}\ncn: {uid}\nsn: {uid}\n\
             {mails}userPassword: {password}\n\n"
        )
    };
    let unit = |name: &str| {
        format!("dn: ou={name},{base}\nobjectClass: organizationalUnit\nou: {name}\n\n")
    };
    let group = |name: &str, class: &str, member: &str, members: &[&str]| {
        let members: String = members
            .iter()
            .map(|dn| format!("{member}: {dn},{base}\n"))
            .collect();
        format!("dn: cn={name},ou=groups,{base}\nobjectClass: {class}\ncn: {name}\n{members}\n")
    };
    [
        format!("dn: {base}\nobjectClass: dcObject\nobjectClass: organization\no: example\ndc: example\n\n"),
        format!(
            "dn: {}\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: postern\nuserPassword: {}\n\n",
            Slapd::SEARCHER.0,
            Slapd::SEARCHER.1
        ),
        unit("people"),
        unit("groups"),
        person(
            Slapd::ALICE.0,
            Slapd::ALICE.1,
            &["alice@example.test", "a.smith@example.test"],
        ),
        person(Slapd::BOB.0, Slapd::BOB.1, &["bob@example.test"]),
        person("dave", "dave-4", &["shared@example.test"]),
        person("erin", "erin-5", &["shared@example.test"]),
        group(
            "sales",
            "groupOfNames",
            "member",
            &["uid=alice,ou=people", "cn=everybody,ou=groups"],
        ),
        group(
            "staff",
            "groupOfNames",
            "member",
            &["cn=sales,ou=groups", "uid=dave,ou=people"],
        ),
        group(
            "everybody",
            "groupOfUniqueNames",
            "uniqueMember",
            &["cn=staff,ou=groups"],
        ),
    ]
    .concat()
}

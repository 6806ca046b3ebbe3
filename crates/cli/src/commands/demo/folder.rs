//! What lies in a demonstration's folder, made where it is missing and otherwise left as it was found.
//!
//! ```text
//! etc/postern.toml  etc/servers/{clients,gateway}.toml  etc/accounts/clients.toml  etc/cert.pem  etc/key.pem
//! mail/DOMAIN/USER/   state/   run/control   password   hello.eml  from-outside.eml
//! ```
//!
//! Only one thing in files that were found is ever changed: the port of an address that another program has taken since.
//!
//! Never: a definition that says what the documented settings could not.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use postern_config::{Account, AccountFile};
use postern_hosting::Hosting;
use postern_tls::PemFile;
use postern_tls::certs::{self, Key, Measure, Roots, judge};

use crate::certificates::{self, Draft, KeyKind};
use crate::failure::Error;
use crate::passwords;
use crate::render;

/// The local domain of both servers (RFC 2606 §3: nobody's).
pub(crate) const DOMAIN: &str = "example.com";
/// Who logs in.
pub(crate) const ACCOUNT: &str = "alice@example.com";
/// Who is written to.
pub(crate) const FRIEND: &str = "bob";

/// How long the certificate is good.
const DAYS: u32 = 3650;

/// The names the certificate is for, the server's own first.
const NAMES: [&str; 4] = [
    "mail.example.com",
    "mx.example.com",
    "localhost",
    "127.0.0.1",
];

/// A folder that is ready.
pub(crate) struct Folder {
    pub(crate) password: String,
}

impl Folder {
    /// Makes what is missing in `real`.
    pub(crate) fn prepare(real: &Path) -> Result<Folder, Error> {
        for folder in ["etc/servers", "etc/accounts", "mail", "state", "run"] {
            let path = real.join(folder);
            fs::create_dir_all(&path).map_err(|source| Error::Write { path, source })?;
        }
        certificate(&real.join("etc/cert.pem"), &real.join("etc/key.pem"))?;
        let password = account(real)?;
        once(&real.join("etc/postern.toml"), 0o644, || HOST.to_owned())?;
        let mut ports = Ports::default();
        let mail = real.join("mail");
        for (name, text) in [("clients", CLIENTS), ("gateway", GATEWAY)] {
            let path = real.join("etc/servers").join(format!("{name}.toml"));
            if !mend(&path, &mut ports)? {
                let text = with_ports(text, &mut ports)?.replace("MAIL", &mail.to_string_lossy());
                write(&path, 0o644, &text)?;
            }
        }
        once(&real.join("hello.eml"), 0o644, || {
            message(ACCOUNT, &format!("{FRIEND}@{DOMAIN}"), HELLO)
        })?;
        once(&real.join("from-outside.eml"), 0o644, || {
            message("carol@example.net", ACCOUNT, OUTSIDE)
        })?;
        Ok(Folder { password })
    }
}

/// Writes a file anew, with this mode.
fn write(path: &Path, mode: u32, text: &str) -> Result<(), Error> {
    let tell = |source| Error::Write {
        path: path.to_owned(),
        source,
    };
    // Removed first: the mode is set only where a file is made.
    match fs::remove_file(path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(tell(cause)),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(tell)?;
    file.write_all(text.as_bytes()).map_err(tell)
}

/// Writes a file where none is.
fn once(path: &Path, mode: u32, text: impl FnOnce() -> String) -> Result<(), Error> {
    if path.exists() {
        Ok(())
    } else {
        write(path, mode, &text())
    }
}

/// Whether the pair is there and sound.
fn is_good(certificate: &Path, key: &Path) -> bool {
    let (Ok(chain), Ok(text)) = (fs::read(certificate), fs::read(key)) else {
        return false;
    };
    let path = key.to_owned();
    let measure = Measure {
        names: &[],
        now: render::now(),
        roots: &Roots::default(),
    };
    let chain = certs::certificates_in(&chain);
    let key = Key::from_pem(&PemFile { path, text });
    key.is_ok_and(|key| !chain.is_empty() && judge(&chain, Some(&key), measure).is_empty())
}

/// A self-signed certificate and its key; kept as long as they are good.
fn certificate(certificate: &Path, key: &Path) -> Result<(), Error> {
    if is_good(certificate, key) {
        return Ok(());
    }
    let draft = Draft {
        key: certificates::new_key(KeyKind::Ecdsa)?,
        names: NAMES.map(str::to_owned).to_vec(),
        organization: None,
        country: None,
    };
    let (chain, private) = (draft.self_signed(DAYS)?, draft.key.serialize_pem());
    write(key, 0o600, &private)?;
    write(certificate, 0o644, &chain)
}

/// The account's password: the one kept from an earlier run, or a new one for a new account.
fn account(real: &Path) -> Result<String, Error> {
    let (kept, path) = (
        real.join("password"),
        real.join("etc/accounts/clients.toml"),
    );
    let text = fs::read_to_string(&path).unwrap_or_default();
    let (mut accounts, _) = AccountFile::parse(&text, &path);
    if let (Ok(password), Some(_)) = (fs::read_to_string(&kept), accounts.get(ACCOUNT)) {
        return Ok(password.trim().to_owned());
    }
    let password = passwords::random()?;
    let secrets = passwords::keep(&password)?;
    accounts.set(Account {
        name: ACCOUNT.to_owned(),
        password: secrets.hash,
        scram: Some(secrets.scram),
        addresses: vec![ACCOUNT.to_owned()],
        groups: Vec::new(),
    });
    accounts
        .write_atomically(&path)
        .map_err(|error| Error::Failed(error.to_string()))?;
    write(&kept, 0o600, &format!("{password}\n"))?;
    Ok(password)
}

/// A message as a client would hand it over: CRLF, with the fields RFC 5322 §3.6 wants.
fn message(from: &str, to: &str, text: &str) -> String {
    let date = render::mail_date(render::now());
    let body = text.replace('\n', "\r\n");
    format!("From: <{from}>\r\nTo: <{to}>\r\nSubject: Hello\r\nDate: {date}\r\n\r\n{body}")
}

/// The ports given so far in this run.
#[derive(Default)]
struct Ports {
    given: Vec<u16>,
}

impl Ports {
    /// A free port of 127.0.0.1: this one if it can be had, else any.
    fn free(&mut self, wanted: u16) -> Result<u16, Error> {
        for port in [wanted, 0, 0, 0] {
            let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) else {
                continue;
            };
            let port = listener
                .local_addr()
                .map_err(|cause| Error::Failed(format!("no free port: {cause}")))?
                .port();
            if !self.given.contains(&port) {
                self.given.push(port);
                return Ok(port);
            }
        }
        Err(Error::Failed(
            "there is no free port on 127.0.0.1".to_owned(),
        ))
    }
}

/// A definition's text with each `127.0.0.1:PORT` given a port that is free.
fn with_ports(text: &str, ports: &mut Ports) -> Result<String, Error> {
    let mut text = text.to_owned();
    for wanted in [2587, 2465, 2525] {
        let written = format!("127.0.0.1:{wanted}");
        if text.contains(&written) {
            text = text.replace(&written, &format!("127.0.0.1:{}", ports.free(wanted)?));
        }
    }
    Ok(text)
}

/// Gives a definition that is there other ports where its own are taken; false where there is none.
fn mend(path: &PathBuf, ports: &mut Ports) -> Result<bool, Error> {
    let mut text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(source) => {
            return Err(Error::Read {
                path: path.clone(),
                source,
            });
        }
    };
    // What has errors is left to posternd, which shows them.
    let listen = Hosting::from_toml(&text, path)
        .map(|hosting| hosting.listen)
        .unwrap_or_default();
    let mut changed = false;
    for identity in listen {
        let SocketAddr::V4(old) = identity.address else {
            continue;
        };
        if *old.ip() != Ipv4Addr::LOCALHOST {
            continue;
        }
        let port = ports.free(old.port())?;
        if port != old.port() {
            text = text.replace(&format!("\"{old}\""), &format!("\"127.0.0.1:{port}\""));
            changed = true;
        }
    }
    if changed {
        write(path, 0o644, &text)?;
    }
    Ok(true)
}

const HOST: &str = "\
# What belongs to the host. The demonstration needs nothing but defaults.
log = \"info\"
";

const CLIENTS: &str = r#"# The server for people's own mail programs: they log in, inside TLS, and may then send everywhere.

[general]
description = "for clients: TLS and a login, then mail to everywhere"
fqdn = "mail.example.com"
listen = [
    "127.0.0.1:2587",                                       # STARTTLS
    { address = "127.0.0.1:2465", tls = "implicit" },       # TLS from the first byte
]

[access.authentication]
accounts = [{ file = "../accounts/clients.toml" }]          # postern account add clients USER@DOMAIN

[access.tls]
certificates = [{ certificate = "../cert.pem", key = "../key.pem" }]
require = true                                              # nothing but STARTTLS before TLS

[delivery]
domains = [{ name = "example.com", to = "maildir:MAIL/{domain}/{local}", recipients = ["alice", "bob", "postmaster"] }]
"#;

const GATEWAY: &str = r#"# The gateway: takes mail from everywhere, without a login, but for its own domain only.

[general]
description = "a gateway: no login, mail for example.com only"
fqdn = "mx.example.com"
listen = ["127.0.0.1:2525"]

[access.authentication]
anonymous = true
basic = false

[access.tls]
certificates = [{ certificate = "../cert.pem", key = "../key.pem" }]

[delivery]
domains = [{ name = "example.com", to = "maildir:MAIL/{domain}/{local}", recipients = ["alice", "bob", "postmaster"] }]
"#;

const HELLO: &str = "Hello Bob,\n\nthis message was submitted over TLS, with a login,\nand was on the disk before it was acknowledged.\n\nAlice\n";

const OUTSIDE: &str = "Hello Alice,\n\nthis message came to the gateway from outside.\n\nCarol\n";

//! Memory: of a server that does nothing, of connections that say nothing, plain and under TLS.
//!
//! Of many connections opened one after another the difference of the server's private memory is taken, divided by their
//! number. Each has been greeted and has said EHLO (under TLS: after the handshake once more).

use crate::Failure;
use crate::measure::{Memory, anonymous, tree};
use crate::rounds::Server;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// One measured amount of memory.
#[derive(serde::Serialize)]
pub(crate) struct Idle {
    pub(crate) server: &'static str,
    pub(crate) figures: Vec<Figure>,
}

#[derive(serde::Serialize)]
pub(crate) struct Figure {
    pub(crate) title: String,
    pub(crate) kib: f64,
    /// At most, where something is asked.
    pub(crate) target: Option<f64>,
}

impl Figure {
    pub(crate) fn new(title: impl Into<String>, kib: f64, target: Option<f64>) -> Figure {
        Figure {
            title: title.into(),
            kib,
            target,
        }
    }
}

/// A server that does nothing, and its plain connections.
pub(crate) fn of_server(server: &Server, quick: bool) -> Result<Idle, Failure> {
    let ours = server.worker.is_some();
    // One Postfix process serves one connection, and it has 200 of them.
    let count = match (ours, quick) {
        (false, _) => 100,
        (true, true) => 1000,
        (true, false) => 10_000,
    };
    let idle = look(server)?;
    let whose = if ours {
        "the one worker, the program's own pages included"
    } else {
        "all processes"
    };
    let mut figures = vec![Figure::new(
        format!("idle, PSS of {whose}"),
        idle.pss as f64,
        ours.then_some(2048.0),
    )];
    if let Some(worker) = server.worker {
        let whole = Memory::of_tree(server.root);
        let processes = tree(server.root).len();
        figures.push(Figure::new(
            "idle, anonymous memory of the worker",
            anonymous(worker) as f64,
            None,
        ));
        figures.push(Figure::new(
            format!("idle, PSS of all {processes} processes"),
            whole.pss as f64,
            None,
        ));
    }
    let each = connections(server, count, talk)?;
    figures.push(Figure::new(
        format!("an idle plain connection (of {count})"),
        each,
        ours.then_some(6.0),
    ));
    Ok(Idle {
        server: server.name,
        figures,
    })
}

/// TLS connections of a server that has had no other: what closed ones left behind would be used again, and not seen.
pub(crate) fn secured(server: &Server, quick: bool) -> Result<Idle, Failure> {
    let count = if quick { 500 } else { 2_000 };
    let each = connections(server, count, secure)?;
    let figure = Figure::new(
        format!("an idle TLS connection (of {count})"),
        each,
        Some(20.0),
    );
    Ok(Idle {
        server: server.name,
        figures: vec![figure],
    })
}

fn look(server: &Server) -> Result<Memory, Failure> {
    match server.worker {
        Some(pid) => Memory::of(pid),
        None => Ok(Memory::of_tree(server.root)),
    }
}

/// What each of `count` connections costs, in KiB of private memory.
fn connections<T>(
    server: &Server,
    count: u32,
    open: impl Fn(SocketAddr) -> Result<T, Failure>,
) -> Result<f64, Failure> {
    // A first one, so that what is made once (certificates parsed on first use) is not shared out among them.
    let _first = open(server.address)?;
    let before = look(server)?;
    let _held = (0..count)
        .map(|_| open(server.address))
        .collect::<Result<Vec<_>, _>>()?;
    let after = look(server)?;
    Ok((after.private as f64 - before.private as f64) / f64::from(count))
}

/// A connection that has been greeted and has said EHLO.
fn talk(to: SocketAddr) -> Result<TcpStream, Failure> {
    let stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut reader = BufReader::with_capacity(2048, &stream);
    reply(&mut reader)?;
    (&stream).write_all(b"EHLO client.example\r\n")?;
    reply(&mut reader)?;
    Ok(stream)
}

/// The same under STARTTLS. The certificate is not looked at: who answers is known.
fn secure(to: SocketAddr) -> Result<(TcpStream, rustls::ClientConnection), Failure> {
    let mut stream = talk(to)?;
    stream.write_all(b"STARTTLS\r\n")?;
    reply(&mut BufReader::with_capacity(2048, &stream))?;
    let mut tls = rustls::ClientConnection::new(
        client_config()?,
        ServerName::try_from("bench.example")?.to_owned(),
    )?;
    let mut secured = rustls::Stream::new(&mut tls, &mut stream);
    secured.write_all(b"EHLO client.example\r\n")?;
    reply(&mut BufReader::with_capacity(2048, &mut secured))?;
    Ok((stream, tls))
}

fn reply(reader: &mut impl BufRead) -> Result<(), Failure> {
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err("the server closed an idle connection".into());
        }
        if !line.starts_with('2') {
            return Err(format!("an idle connection was answered {}", line.trim()).into());
        }
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(());
        }
    }
}

/// A certificate of our own making, made once a process.
struct Own {
    chain: String,
    certificate: String,
    key: String,
}

fn own() -> Result<&'static Own, Failure> {
    static OWN: std::sync::OnceLock<Own> = std::sync::OnceLock::new();
    if let Some(own) = OWN.get() {
        return Ok(own);
    }
    let made = rcgen::generate_simple_self_signed(["bench.example".to_owned()])?;
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    Ok(OWN.get_or_init(|| Own {
        chain: format!("{key}{certificate}"),
        certificate,
        key,
    }))
}

fn client_config() -> Result<Arc<rustls::ClientConfig>, Failure> {
    static CONFIG: std::sync::OnceLock<Arc<rustls::ClientConfig>> = std::sync::OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(Arc::clone(config));
    }
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(
        own()?.certificate.as_bytes(),
    )?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?;
    let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
    Ok(Arc::clone(CONFIG.get_or_init(|| config)))
}

/// Writes key and certificate into one file, as Postfix likes them.
pub(crate) fn certificate_chain(folder: &Path) -> Result<PathBuf, Failure> {
    std::fs::create_dir_all(folder)?;
    let path = folder.join("chain.pem");
    std::fs::write(&path, &own()?.chain)?;
    Ok(path)
}

/// Writes certificate and key into two files, as Postern likes them.
pub(crate) fn certificate_pair(folder: &Path) -> Result<(PathBuf, PathBuf), Failure> {
    std::fs::create_dir_all(folder)?;
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    std::fs::write(&certificate, &own()?.certificate)?;
    std::fs::write(&key, &own()?.key)?;
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok((certificate, key))
}

//! Plays a dialogue of `tests/dialogues` on a wire, against a real worker.
//!
//! The client's lines are sent, the server's are read and compared; what the core would ask its host the worker answers
//! out of its definition, so `?` lines are passed over: the server's next line shows the answer.

use crate::Failure;
use crate::definition::Definition;
use postern_smtp::dialogue::{Deed, Dialogue, Step};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Changes `definition` (of a server that offers STARTTLS) to what the dialogue presumes; `Err` says why no definition can.
pub fn define(
    mut definition: Definition,
    story: &Dialogue,
    listen: SocketAddr,
) -> Result<Definition, String> {
    for (name, value) in &story.settings {
        let quoted = format!("\"{value}\"");
        definition = match (name.as_str(), value.as_str()) {
            ("max_message_size" | "max_session_size" | "bare_newline", _) => {
                definition.messages(name, quoted)
            }
            ("max_messages_per_session" | "max_errors", _) => definition.messages(name, value),
            ("max_recipients", number) if number.parse().is_ok_and(|n: u32| n >= 100) => {
                definition.messages(name, value)
            }
            ("idle_timeout", _) => definition.general(name, format!("\"{value}s\"")),
            ("tls", "none") => definition.tls("certificates", "[]"),
            ("tls", "starttls") => definition,
            ("tls", "required") => definition.tls("require", "true"),
            ("tls", "implicit") => definition.general(
                "listen",
                format!("[{{ address = \"{listen}\", tls = \"implicit\" }}]"),
            ),
            ("mechanisms_clear", "PLAIN LOGIN") => {
                definition.authentication("basic_requires_tls", "false")
            }
            ("mechanisms_tls", "PLAIN LOGIN") => definition,
            _ => return Err(format!("no definition says {name} = {value}")),
        };
    }
    Ok(definition)
}

/// Plays the dialogue against the worker that listens on `to`; TLS trusts the certificate `trust` only.
pub fn play(story: &Dialogue, to: SocketAddr, trust: &Path) -> Result<(), Failure> {
    let stream = TcpStream::connect_timeout(&to, Duration::from_secs(10))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.set_nodelay(true)?;
    let mut line = Line::Plain(stream);
    if story
        .settings
        .iter()
        .any(|(name, value)| name == "tls" && value == "implicit")
    {
        line = line.secure(trust)?;
    }
    let mut unread = Vec::new();
    for (number, step) in &story.steps {
        let mut go = || -> Result<(), Failure> {
            match step {
                Step::Send(octets) => line.write_all(octets)?,
                Step::Say(pattern) => {
                    let said = one(&mut line, &mut unread)?;
                    if !pattern.fits(&said) {
                        return Err(format!("the server said {said:?}").into());
                    }
                }
                Step::Ask { .. } | Step::Do(Deed::Greet) => {}
                Step::Do(Deed::Secured { certificate: false }) => {
                    if !matches!(line, Line::Secured(_)) {
                        line = std::mem::replace(&mut line, Line::Gone).secure(trust)?;
                    }
                }
                Step::Do(deed) => {
                    return Err(format!(
                        "{deed:?} cannot be done on a wire: `@ core: REASON` is missing"
                    )
                    .into());
                }
            }
            Ok(())
        };
        go().map_err(|error| format!("line {number}: {error}"))?;
    }
    Ok(())
}

enum Line {
    Plain(TcpStream),
    Secured(Box<rustls::StreamOwned<rustls::ClientConnection, TcpStream>>),
    Gone,
}

impl Line {
    fn secure(self, trust: &Path) -> Result<Line, Failure> {
        let Line::Plain(stream) = self else {
            return Err("it is secured already".into());
        };
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(trust)?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?;
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let client = rustls::ClientConnection::new(
            Arc::new(config),
            ServerName::try_from("localhost")?.to_owned(),
        )?;
        Ok(Line::Secured(Box::new(rustls::StreamOwned::new(
            client, stream,
        ))))
    }
}

impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Line::Plain(stream) => stream.read(buffer),
            Line::Secured(stream) => stream.read(buffer),
            Line::Gone => Ok(0),
        }
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Line::Plain(stream) => stream.write(bytes),
            Line::Secured(stream) => stream.write(bytes),
            Line::Gone => Ok(0),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Line::Plain(stream) => stream.flush(),
            Line::Secured(stream) => stream.flush(),
            Line::Gone => Ok(()),
        }
    }
}

/// One line of the server without its end.
fn one(line: &mut Line, unread: &mut Vec<u8>) -> Result<String, Failure> {
    loop {
        if let Some(end) = unread.windows(2).position(|pair| pair == b"\r\n") {
            let said = String::from_utf8_lossy(&unread[..end]).into_owned();
            unread.drain(..end + 2);
            return Ok(said);
        }
        let mut buffer = [0; 4096];
        match line.read(&mut buffer)? {
            0 => return Err("the server has closed".into()),
            count => unread.extend_from_slice(&buffer[..count]),
        }
    }
}

//! The client of a case, on the wire: it says what the case says, and stops where it is refused. It logs in by PLAIN
//! unless only SCRAM is offered.

use super::Case;
use super::servers::BALANCER;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postern_sasl::{Bindings, Credentials, Login, Mechanism, Peer};
use postern_tests::Failure;
use postern_tests::wire::connect_from;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const PASSWORDS: [(&str, &str); 4] = [
    ("alice", "wonder.land-1"),
    ("ALICE", "wonder.land-1"),
    ("bob", "builder.bob-2"),
    ("mallory", "guess"),
];

trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

/// All replies that decide something, in order.
pub(crate) fn replies(case: &Case, to: SocketAddr, trust: &Path) -> Result<Vec<String>, Failure> {
    let stream = connect(case.client.to_canonical(), to)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let implicit = case.server.ends_with(":implicit");
    let mut client = Client {
        plain: Some(stream.try_clone()?),
        wire: Box::new(stream),
        replies: Vec::new(),
        only_scram: false,
    };
    client.talk(case, implicit, trust)?;
    Ok(client.replies)
}

/// From the client's own address, or through the balancer.
fn connect(client: IpAddr, to: SocketAddr) -> Result<TcpStream, Failure> {
    if client.is_loopback() {
        return connect_from(SocketAddr::new(client, 0), to);
    }
    let mut stream = connect_from(SocketAddr::new(BALANCER.parse()?, 0), to)?;
    let (family, here) = match client {
        IpAddr::V4(_) => ("TCP4", "192.0.2.10"),
        IpAddr::V6(_) => ("TCP6", "2001:db8::10"),
    };
    let header = format!("PROXY {family} {client} {here} 5000 25\r\n");
    stream.write_all(header.as_bytes())?;
    Ok(stream)
}

struct Client {
    plain: Option<TcpStream>,
    wire: Box<dyn Wire>,
    replies: Vec<String>,
    /// As the last EHLO was answered.
    only_scram: bool,
}

impl Client {
    fn talk(&mut self, case: &Case, implicit: bool, trust: &Path) -> Result<(), Failure> {
        if implicit && self.secure(trust).is_err() {
            // Closed before TLS began: nothing was said.
            self.replies.push(String::new());
            return Ok(());
        }
        if !self.hear()? {
            return Ok(());
        }
        if !self.hello(case)? {
            return Ok(());
        }
        if implicit {
            self.replies.push(String::new());
        } else if case.tls {
            if !self.say("STARTTLS")? {
                return Ok(());
            }
            self.secure(trust)?;
            if !self.hello(case)? {
                return Ok(());
            }
        }
        if let Some(login) = &case.login {
            let found = PASSWORDS.iter().find(|(name, _)| name == login);
            let (name, password) = found.ok_or_else(|| format!("{login} has no password here"))?;
            if !self.log_in(name, password)? {
                return Ok(());
            }
        }
        self.envelope(case)
    }

    fn envelope(&mut self, case: &Case) -> Result<(), Failure> {
        if case.sender.is_none() && case.recipients.is_empty() {
            return Ok(());
        }
        let path = |address: &str| match address.starts_with('<') {
            true => address.to_owned(),
            false => format!("<{address}>"),
        };
        let sender = path(case.sender.unwrap_or_default());
        let ascii = sender.is_ascii() && case.recipients.iter().all(|address| address.is_ascii());
        let utf8 = if ascii { "" } else { " SMTPUTF8" };
        if self.say(&format!("MAIL FROM:{sender}{utf8}"))? {
            for recipient in &case.recipients {
                self.say(&format!("RCPT TO:{}", path(recipient)))?;
            }
        }
        Ok(())
    }

    /// EHLO decides nothing unless it is refused.
    fn hello(&mut self, case: &Case) -> Result<bool, Failure> {
        let name = case.ehlo.unwrap_or("client.example");
        let accepted = self.say(&format!("EHLO {name}"))?;
        if accepted {
            let offers = self.replies.pop().unwrap_or_default();
            self.only_scram = offers.contains(" SCRAM-SHA-256") && !offers.contains(" PLAIN");
        }
        Ok(accepted)
    }

    /// Only the last reply of an exchange is the answer to it.
    fn log_in(&mut self, name: &str, password: &str) -> Result<bool, Failure> {
        let mechanism = match self.only_scram {
            true => Mechanism::ScramSha256,
            false => Mechanism::Plain,
        };
        let credentials = Credentials {
            name: name.to_owned(),
            password: password.into(),
        };
        let peer = Peer {
            random: [7; 32],
            bindings: Bindings::default(),
            plus_offered: false,
            host: "localhost".to_owned(),
            time: 0,
        };
        let mut login = Login::facing(mechanism, &credentials, peer);
        let first = login.initial().ok_or("nothing to say first")?;
        let first = STANDARD.encode(first.expose());
        let mut accepted = self.say(&format!("AUTH {} {first}", mechanism.name()))?;
        while let Some(challenge) = self.challenge() {
            let challenge = STANDARD.decode(challenge).map_err(|why| why.to_string())?;
            let answer = login.answer(&challenge)?;
            accepted = self.say(&STANDARD.encode(answer.expose()))?;
        }
        Ok(accepted)
    }

    /// The last reply's, if it is one, which is taken away.
    fn challenge(&mut self) -> Option<String> {
        let is_one = self.replies.last()?.starts_with("334 ");
        let reply = self.replies.pop_if(|_| is_one)?;
        reply.get(4..).map(str::to_owned)
    }

    fn say(&mut self, line: &str) -> Result<bool, Failure> {
        self.wire.write_all(format!("{line}\r\n").as_bytes())?;
        self.wire.flush()?;
        self.hear()
    }

    /// Reads one reply; whether it is a yes.
    fn hear(&mut self) -> Result<bool, Failure> {
        let mut lines: Vec<String> = Vec::new();
        loop {
            let line = self.line()?;
            let more = line.as_bytes().get(3) == Some(&b'-');
            lines.push(line);
            if !more {
                break;
            }
        }
        let reply = lines.join("\n");
        let yes = reply.starts_with('2');
        self.replies.push(reply);
        Ok(yes)
    }

    fn line(&mut self) -> Result<String, Failure> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut one = [0];
            if self.wire.read(&mut one)? == 0 {
                return Err(format!("closed after {:?}", self.replies).into());
            }
            line.push(one[0]);
        }
        line.truncate(line.len() - 2);
        Ok(String::from_utf8(line)?)
    }

    fn secure(&mut self, trust: &Path) -> Result<(), Failure> {
        let mut stream = self.plain.take().ok_or("it is secured already")?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(trust)?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from("localhost")?.to_owned();
        let mut client = ClientConnection::new(Arc::new(config), name)?;
        while client.is_handshaking() {
            client.complete_io(&mut stream)?;
        }
        self.wire = Box::new(StreamOwned::new(client, stream));
        Ok(())
    }
}

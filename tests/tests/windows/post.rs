//! Servers for a domain's accounts on a stage, and what `client.py` hears of them.

use postern_tests::definition::{Definition, text};
use postern_tests::peers::Samba;
use postern_tests::stage::Stage;
use postern_tests::{Failure, Outcome, program, python, wait};
use serde::Deserialize;
use serde_json::{Value, json};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

pub(crate) const ACCEPTED: u32 = 235;
pub(crate) const REFUSED: u32 = 535;
/// The client itself gave up.
pub(crate) const GAVE_UP: u32 = 0;

const CLIENT: &str = include_str!("client.py");

/// What a client heard: the codes of the replies, 0 where nothing was asked.
#[derive(Debug, Deserialize)]
pub(crate) struct Heard {
    pub(crate) login: u32,
    pub(crate) said: String,
    pub(crate) seconds: f64,
    pub(crate) offered: Vec<String>,
    pub(crate) sender: u32,
    pub(crate) recipient: u32,
}

impl Heard {
    /// Whether the server offered this mechanism.
    pub(crate) fn offers(&self, mechanism: &str) -> bool {
        self.offered.iter().any(|word| word == mechanism)
    }
}

/// A posternd.
pub(crate) struct Post {
    pub(crate) stage: Stage,
    servers: Vec<(String, SocketAddr)>,
}

impl Post {
    /// None of its servers runs yet.
    pub(crate) fn new() -> Result<Post, Failure> {
        let stage = Stage::new()?;
        let pair =
            rcgen::generate_simple_self_signed([Samba::HOST.to_owned(), "127.0.0.1".to_owned()])?;
        fs::write(stage.certificate(), pair.cert.pem())?;
        postern_tests::stage::private(&stage.key(), &pair.signing_key.serialize_pem())?;
        Ok(Post {
            stage,
            servers: Vec::new(),
        })
    }

    /// A server with these accounts; `more` adds to its definition.
    pub(crate) fn add(
        &mut self,
        name: &str,
        accounts: &[&str],
        more: impl FnOnce(Definition) -> Definition,
    ) -> Result<SocketAddr, Failure> {
        let address = wait::free_address()?;
        let wanted = Definition::open_relay(Samba::HOST, address)
            .authentication("anonymous", "false")
            .authentication("lockout", "false")
            .authentication("default_domain", "\"corp.postern.test\"")
            .authentication("ntlm", "true")
            .authentication("accounts", format!("[{}]", accounts.join(", ")))
            .relay("list", "[]")
            .certificate(&self.stage.certificate(), &self.stage.key());
        self.stage.define(name, &more(wanted))?;
        self.servers.push((name.to_owned(), address));
        Ok(address)
    }

    /// Starts them all.
    pub(crate) fn start(&mut self) -> Outcome {
        let names: Vec<&str> = self.servers.iter().map(|(name, _)| name.as_str()).collect();
        self.stage.start_with(&names)
    }

    /// Whether a line of the log has all these words.
    pub(crate) fn log_has(&self, words: &[&str]) -> Outcome {
        let log = self.stage.log();
        match log
            .lines()
            .any(|line| words.iter().all(|word| line.contains(word)))
        {
            true => Ok(()),
            false => Err(format!("no line of the log has {words:?}").into()),
        }
    }
}

/// What each of these sessions heard.
pub(crate) fn hear(to: SocketAddr, tries: &[Value], samba: &Samba) -> Result<Vec<Heard>, Failure> {
    let mut command = Command::new(python::interpreter()?);
    command
        .args(["-c", CLIENT])
        .arg(to.ip().to_string())
        .arg(to.port().to_string())
        .env("KRB5_CONFIG", samba.krb5());
    let output = program::run_command(command, &serde_json::to_vec(tries)?)?;
    Ok(serde_json::from_str(&program::succeed(output)?)?)
}

/// Fails unless each of these sessions hears its reply.
pub(crate) fn expect(
    to: SocketAddr,
    samba: &Samba,
    wanted: &[(u32, Value)],
) -> Result<Vec<Heard>, Failure> {
    let tries: Vec<Value> = wanted.iter().map(|(_, one)| one.clone()).collect();
    let all = hear(to, &tries, samba)?;
    for ((code, one), heard) in wanted.iter().zip(&all) {
        assert_eq!(heard.login, *code, "{one}: {heard:?}");
    }
    Ok(all)
}

/// A session by NTLM, alone or inside SPNEGO.
pub(crate) fn ntlm(by: &str, mechanism: &str, (name, password): (&str, &str)) -> Value {
    json!({"by": by, "mechanism": mechanism, "domain": "CORP", "name": name, "password": password})
}

/// A session by a ticket.
pub(crate) fn ticket(mechanism: &str, ticket: &Path) -> Value {
    json!({"by": "mit", "mechanism": mechanism, "ticket": ticket})
}

/// The same with more said.
pub(crate) fn with(mut one: Value, more: &Value) -> Value {
    if let (Some(one), Some(more)) = (one.as_object_mut(), more.as_object()) {
        one.extend(more.clone());
    }
    one
}

/// A path as TOML writes it.
pub(crate) fn path(path: &Path) -> String {
    text(&path.to_string_lossy())
}

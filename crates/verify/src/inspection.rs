//! One server under inspection: opens conversations as far as a check needs them, and collects what is found.
//!
//! ```text
//! greeted()      connected, TLS where it is implicit, 220 read
//! introduced()   greeted, EHLO said; in clear where STARTTLS is used
//! private()      introduced, STARTTLS where it is offered, EHLO again
//! ready()        private, logged in where an account was given
//! ```
//! Few connections at a time, and a 421 in the greeting is respected once: the limits of a server are not to be hit
//! by chance.
//!
//! Never: a given account's password outside TLS; DATA that is brought to its end.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postern_sasl::{
    Bindings, Credentials, Login as SaslLogin, Mechanism as SaslMechanism, Peer, Secret,
};
use postern_tls::ClientTls;

use crate::expected::{Account, Channel, Expected, Pace, Target};
use crate::finding::Finding;
use crate::reply::Answer;
use crate::tap::Tape;
use crate::wire::{Fault, Wire};

/// The domain that no mail can ever go to (RFC 6761 §6.4).
pub(crate) const NOWHERE: &str = "postern-verify.invalid";

/// What the checks work with.
pub(crate) struct Inspection<'a> {
    pub(crate) target: Target,
    pub(crate) expected: &'a Expected,
    pub(crate) pace: Pace,
    pub(crate) wrong_passwords: u8,
    /// The given account was refused once, and is not tried again: nobody is to be locked out.
    pub(crate) login_refused: bool,
    /// Whether a plain relay probe was tested; `None` where none was tried.
    pub(crate) relay_proved: Option<bool>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) tapes: Vec<Tape>,
    check: &'static str,
    backed_off: bool,
    tls: ClientTls,
    tell: &'a mut dyn FnMut(&Finding),
}

impl<'a> Inspection<'a> {
    pub(crate) fn new(
        target: Target,
        expected: &'a Expected,
        pace: Pace,
        tell: &'a mut dyn FnMut(&Finding),
    ) -> Inspection<'a> {
        Inspection {
            target,
            expected,
            pace,
            wrong_passwords: 0,
            login_refused: false,
            relay_proved: None,
            findings: Vec::new(),
            tapes: Vec::new(),
            check: "",
            backed_off: false,
            tls: ClientTls::opportunistic(),
            tell,
        }
    }

    /// What is found from now on belongs to this check.
    pub(crate) fn begin(&mut self, check: &'static str) {
        self.check = check;
    }

    /// Adds a line to the report.
    pub(crate) fn find(&mut self, finding: Finding) {
        let finding = Finding {
            check: self.check,
            ..finding
        };
        (self.tell)(&finding);
        self.findings.push(finding);
    }

    /// The name to ask for in TLS.
    pub(crate) fn host(&self) -> String {
        match &self.expected.host {
            Some(host) => host.clone(),
            None => self.target.address.ip().to_string(),
        }
    }

    /// A bare connection from `source`; nothing is read.
    pub(crate) async fn connect_from(&mut self, source: Option<IpAddr>) -> Result<Wire, Fault> {
        let wire = Wire::connect(self.target.address, source, self.pace.wait).await?;
        self.tapes.push(wire.tape());
        Ok(wire)
    }

    /// A connection on which TLS is spoken if it is implicit; nothing is read above it.
    pub(crate) async fn connect(&mut self) -> Result<Wire, Fault> {
        let wire = self.connect_from(self.target.source).await?;
        match self.expected.channel {
            Channel::Implicit => wire.secure(&self.tls, &self.host()).await,
            _ => Ok(wire),
        }
    }

    pub(crate) async fn greeted(&mut self) -> Result<Wire, Fault> {
        loop {
            let mut wire = self.connect().await?;
            let answer = wire.answer().await?;
            match answer.code {
                220 => return Ok(wire),
                421 if !self.backed_off => {
                    self.backed_off = true;
                    tokio::time::sleep(self.pace.back_off).await;
                }
                _ => {
                    return Err(Fault::Refused {
                        what: "the connection",
                        answer,
                    });
                }
            }
        }
    }

    pub(crate) async fn introduced(&mut self) -> Result<Wire, Fault> {
        let mut wire = self.greeted().await?;
        wire.hello().await?;
        Ok(wire)
    }

    pub(crate) async fn private(&mut self) -> Result<Wire, Fault> {
        let wire = self.introduced().await?;
        if wire.secured().is_some() || wire.offers("STARTTLS").is_none() {
            return Ok(wire);
        }
        let mut wire = self.start_tls(wire).await?;
        wire.hello().await?;
        Ok(wire)
    }

    /// STARTTLS and the handshake.
    pub(crate) async fn start_tls(&mut self, mut wire: Wire) -> Result<Wire, Fault> {
        let answer = wire.say("STARTTLS").await?;
        if answer.code != 220 {
            return Err(Fault::Refused {
                what: "STARTTLS",
                answer,
            });
        }
        self.shake_hands(wire).await
    }

    /// The handshake alone.
    pub(crate) async fn shake_hands(&mut self, wire: Wire) -> Result<Wire, Fault> {
        wire.secure(&self.tls, &self.host()).await
    }

    pub(crate) async fn ready(&mut self) -> Result<Wire, Fault> {
        let mut wire = self.private().await?;
        let Some(account) = &self.expected.login else {
            return Ok(wire);
        };
        if self.login_refused {
            return Err(Fault::NoLogin);
        }
        let offered = wire.mechanisms();
        let known = Mechanism::ALL
            .into_iter()
            .find(|m| offered.iter().any(|name| name == m.name()));
        // The given password goes through TLS or not at all.
        if let (Some(mechanism), Some(_)) = (known, wire.secured()) {
            let answer = log_in(&mut wire, mechanism, account).await?;
            if answer.code != 235 {
                self.login_refused = true;
                return Err(Fault::Refused {
                    what: "the login",
                    answer,
                });
            }
        }
        Ok(wire)
    }
}

/// The mechanisms that this command speaks; each but the last shows the password to whoever reads the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mechanism {
    /// RFC 4616.
    Plain,
    /// draft-murchison-sasl-login.
    Login,
    /// RFC 7677, not bound to the channel.
    ScramSha256,
}

impl Mechanism {
    pub(crate) const ALL: [Mechanism; 3] =
        [Mechanism::Plain, Mechanism::Login, Mechanism::ScramSha256];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::Login => "LOGIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
        }
    }
}

/// One AUTH exchange; its last reply. The report shows `***` for each blob.
pub(crate) async fn log_in(
    wire: &mut Wire,
    mechanism: Mechanism,
    account: &Account,
) -> Result<Answer, Fault> {
    match mechanism {
        Mechanism::Plain => {
            let line = format!("AUTH PLAIN {}", account.blob());
            wire.say_as(&line, "AUTH PLAIN ***").await
        }
        Mechanism::Login => {
            let mut answer = wire.say("AUTH LOGIN").await?;
            for secret in [account.name.as_bytes(), account.password.expose()] {
                if answer.code != 334 {
                    break;
                }
                answer = wire.say_as(&STANDARD.encode(secret), "***").await?;
            }
            Ok(answer)
        }
        Mechanism::ScramSha256 => scram(wire, account).await,
    }
}

/// SCRAM with the client's half that Postern's own deliveries have: it believes no server that does not prove itself.
async fn scram(wire: &mut Wire, account: &Account) -> Result<Answer, Fault> {
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|error| Fault::Broken(error.to_string()))?;
    let peer = Peer {
        random,
        bindings: Bindings::default(),
        plus_offered: false,
        host: String::new(),
        time: 0,
    };
    let credentials = Credentials {
        name: account.name.clone(),
        password: account.password.clone(),
    };
    let mut login = SaslLogin::facing(SaslMechanism::ScramSha256, &credentials, peer);
    let first = login.initial().unwrap_or(Secret::new(Vec::new()));
    let line = format!("AUTH SCRAM-SHA-256 {}", STANDARD.encode(first.expose()));
    let mut answer = wire.say_as(&line, "AUTH SCRAM-SHA-256 ***").await?;
    while answer.code == 334 {
        let text = answer.lines.first().map_or("", |line| line.trim());
        let challenge = STANDARD.decode(text).unwrap_or_default();
        match login.answer(&challenge) {
            Ok(blob) => answer = wire.say_as(&STANDARD.encode(blob.expose()), "***").await?,
            Err(why) => {
                wire.say("*").await?;
                return Err(Fault::Scram(why.to_string()));
            }
        }
    }
    match login.finish() {
        Err(why) if answer.code == 235 => Err(Fault::Scram(why.to_string())),
        _ => Ok(answer),
    }
}

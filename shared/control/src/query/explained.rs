//! A session that might be, and what every rule would say to it.
//!
//! Never: a password; whoever may ask for an explanation is taken at his word about who he is.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// A session that might be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The client's address.
    pub client: IpAddr,
    /// Its names, taken as confirmed; `None`: they are looked up where a rule asks for them.
    pub names: Option<Vec<String>>,
    /// The address it comes to; `None`: the first of the server.
    pub local: Option<SocketAddr>,
    /// Whether it uses TLS.
    pub tls: bool,
    /// The account it logs in to, with the right password.
    pub login: Option<String>,
    /// The name it says in EHLO; `None`: any that is well formed.
    pub ehlo: Option<String>,
    /// The sender: an address, or a path in `<>`, which may be empty.
    pub sender: Option<String>,
    /// The recipients, in the same form.
    pub recipients: Vec<String>,
}

/// What would happen in that session, up to the refusal that ends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// Whether nothing was refused.
    pub accepted: bool,
    /// What was decided, in the order of the session.
    pub stages: Vec<Stage>,
    /// What was left out, or taken for granted.
    pub notes: Vec<String>,
}

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// What was asked for.
    pub kind: StageKind,
    /// By or for whom: an address, an account.
    pub subject: String,
    /// The answer.
    pub accepted: bool,
    /// The reply as the client would see it, lines parted by `\n`; empty: nothing is said.
    pub reply: String,
    /// Every rule looked at, in order.
    pub steps: Vec<StepRow>,
}

/// What is asked for, in the order of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StageKind {
    /// To be greeted.
    Connection,
    /// EHLO; told only where it is refused.
    Hello,
    /// To speak inside TLS, or without it.
    Tls,
    /// To log in.
    Login,
    /// MAIL.
    Sender,
    /// RCPT.
    Recipient,
}

impl StageKind {
    /// The kind as one lower-case word.
    pub fn as_str(self) -> &'static str {
        match self {
            StageKind::Connection => "connection",
            StageKind::Hello => "hello",
            StageKind::Tls => "tls",
            StageKind::Login => "login",
            StageKind::Sender => "sender",
            StageKind::Recipient => "recipient",
        }
    }
}

/// One rule that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRow {
    /// The rule, in the definition's words.
    pub rule: String,
    /// Where it stands, `servers/mx1.toml:41`; `default` where nothing is written. `None`: it is no setting.
    pub place: Option<String>,
    /// Whether it decided.
    pub matched: bool,
}

impl Explanation {
    /// The explanation with as much of it as a packet holds: the last stages go first.
    pub fn bounded(mut self) -> Explanation {
        let all = self.stages.len();
        (self.stages, _) = crate::bounded(self.stages);
        let left = all - self.stages.len();
        if left > 0 {
            self.notes
                .push(format!("{left} more recipients are not shown"));
        }
        self
    }
}

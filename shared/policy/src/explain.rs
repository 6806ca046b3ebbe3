//! What would happen in a session that might be: every decision in the order of the session, the rules that made it, and
//! the reply as the client would see it.
//!
//! ```text
//! a Case ─▶ the lines a client would send ─▶ a real session of postern-smtp ─▶ its replies
//!                                                 │ asks
//!                                                 ▼
//!                                   decide.rs, with the trail kept
//! ```
//!
//! The session is the one the worker runs, and what it asks is answered by the functions the worker answers with: there
//! is no second wording, and no second order of decisions.
//!
//! Never: a message, a look-up, a password; a limit that depends on what others do.

mod judge;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use postern_access::{Login, ResolvedHosts};
use postern_config::{Identity, Section, TlsMode};
use postern_control::query::{Case, Explanation, Stage, StageKind, StepRow};
use postern_sasl::Mechanism;
use postern_smtp::{Secured, Session, TlsOffer};

use crate::build::Policy;
use crate::decide;
use crate::offer::{Means, session_settings};
use judge::Judge;

/// What is known beside the policy and the case.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    /// What the server has at hand.
    pub means: Means,
    /// The addresses of the lists' hosts.
    pub hosts: &'a ResolvedHosts,
    /// The client's names, where the case does not give them.
    pub names: Names<'a>,
    /// The account that the case logs in to by a password or as a domain's, if there is such a one.
    pub login: Option<Login<'a>>,
    /// The account that it logs in to by SCRAM: the one of that name in a file, if it has keys.
    pub keyed: Option<Login<'a>>,
    /// Now.
    pub now: Instant,
}

/// What is known of a client's names.
#[derive(Clone, Copy)]
pub enum Names<'a> {
    /// They were not looked up yet.
    Unasked,
    /// Those that lead back to the address; none where it has none, or none could be found out.
    Found(&'a [Box<str>]),
    /// They are not to be looked up.
    LeftOut,
}

/// Why a case is not explained.
#[derive(Debug, PartialEq, Eq)]
pub enum Unfinished {
    /// A rule asks for the client's names: look them up, and explain again.
    NamesWanted,
    /// The server has no such address.
    NoIdentity(SocketAddr),
}

impl std::fmt::Display for Unfinished {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unfinished::NamesWanted => out.write_str("the client's names are not known"),
            Unfinished::NoIdentity(address) => {
                write!(out, "the server does not listen on {address}")
            }
        }
    }
}

/// Explains a case. Where a rule asks for names that are neither given nor looked up, it stops with
/// [`Unfinished::NamesWanted`]: so nobody looks up what no rule asks for.
pub fn explain(policy: &Policy, case: &Case, known: &Known<'_>) -> Result<Explanation, Unfinished> {
    let identity = identity(policy, case)?;
    let settings = session_settings(&policy.definition, identity.tls, known.means);
    let mut run = Run {
        identity,
        offer: settings.tls,
        session: Session::new(Arc::new(settings), known.now),
        judge: Judge::new(policy, case, known),
        case,
        known,
        stages: Vec::new(),
        notes: Vec::new(),
    };
    let accepted = run.all()?;
    run.notes.push(LIMITS.to_owned());
    Ok(Explanation {
        accepted,
        stages: run.stages,
        notes: run.notes,
    })
}

const LIMITS: &str =
    "left out: what is counted (sessions at once, mail in a time, wrong passwords)";

fn identity(policy: &Policy, case: &Case) -> Result<Identity, Unfinished> {
    let all = &policy.definition.general.listen;
    let Some(local) = case.local else {
        let first = all.first().copied();
        return first.ok_or(Unfinished::NoIdentity(SocketAddr::from(([0, 0, 0, 0], 25))));
    };
    let meant = |identity: &&Identity| {
        let address = identity.address;
        address == local || (address.ip().is_unspecified() && address.port() == local.port())
    };
    let found = all.iter().find(meant).copied();
    found.ok_or(Unfinished::NoIdentity(local))
}

/// What came of one line.
struct Said {
    reply: String,
    steps: Vec<StepRow>,
}

impl Said {
    fn is_yes(&self) -> bool {
        self.reply.starts_with('2')
    }
}

struct Run<'a> {
    identity: Identity,
    offer: TlsOffer,
    session: Session,
    judge: Judge<'a>,
    case: &'a Case,
    known: &'a Known<'a>,
    stages: Vec<Stage>,
    notes: Vec<String>,
}

impl Run<'_> {
    /// Stage after stage, as far as the client gets.
    fn all(&mut self) -> Result<bool, Unfinished> {
        Ok(self.connection()?
            && self.hello()?
            && self.tls()?
            && self.login()?
            && self.sender()?
            && self.recipients()?)
    }

    fn connection(&mut self) -> Result<bool, Unfinished> {
        let (allowed, steps) = self.judge.connection()?;
        if allowed {
            self.session.greet(self.known.now);
        } else {
            self.session
                .refuse(decide::connection_refused(self.judge.policy));
        }
        let mut reply = text(&self.session.take_output());
        if !allowed && self.identity.tls == TlsMode::Implicit {
            self.notes
                .push("the connection is closed without a word: TLS has not begun".to_owned());
            reply.clear();
        }
        let subject = self.case.client.to_canonical().to_string();
        Ok(self.stage(
            StageKind::Connection,
            subject,
            allowed,
            Said { reply, steps },
        ))
    }

    fn hello(&mut self) -> Result<bool, Unfinished> {
        let name = self.case.ehlo.as_deref().unwrap_or("client.example");
        let said = self.say(&format!("EHLO {name}"))?;
        if said.is_yes() {
            return Ok(true);
        }
        Ok(self.stage(StageKind::Hello, name.to_owned(), false, said))
    }

    fn tls(&mut self) -> Result<bool, Unfinished> {
        let mut steps = vec![self.judge.setting(
            Section::General,
            "listen",
            format!(
                "general.listen: {} ({})",
                self.identity.address,
                self.identity.tls.as_str()
            ),
            false,
        )];
        if self.identity.tls == TlsMode::Implicit {
            steps[0].matched = true;
            let reply = String::new();
            let subject = "from the first byte".to_owned();
            return Ok(self.stage(StageKind::Tls, subject, true, Said { reply, steps }));
        }
        if self.case.tls {
            return self.start_tls(steps);
        }
        if self.offer != TlsOffer::Required {
            return Ok(true);
        }
        steps.push(self.judge.require(true));
        // What comes next hears it, whatever it is.
        let line = match self.case.login {
            Some(_) => "AUTH PLAIN".to_owned(),
            None => self.mail_line(),
        };
        let reply = self.say(&line)?.reply;
        let subject = "not used".to_owned();
        Ok(self.stage(StageKind::Tls, subject, false, Said { reply, steps }))
    }

    fn start_tls(&mut self, mut steps: Vec<StepRow>) -> Result<bool, Unfinished> {
        steps.push(self.judge.certificates());
        let reply = self.say("STARTTLS")?.reply;
        let ready = self.session.awaits_handshake();
        if ready {
            self.session.secured(self.known.now, Secured::default());
        }
        let subject = "STARTTLS".to_owned();
        let said = Said { reply, steps };
        Ok(self.stage(StageKind::Tls, subject, ready, said) && self.hello()?)
    }

    fn login(&mut self) -> Result<bool, Unfinished> {
        let Some(account) = &self.case.login else {
            return Ok(true);
        };
        let settings = session_settings(
            &self.judge.policy.definition,
            self.identity.tls,
            self.known.means,
        );
        let mut offered = match self.session.is_secure() {
            true => settings.mechanisms_tls,
            false => settings.mechanisms_clear,
        };
        // The client of a case shows no certificate, and only to one that does is it offered.
        offered.retain(|name| *name != Mechanism::External.name());
        let mut steps = self.judge.offer(&offered, self.session.is_secure());
        let mechanism = self.way(&offered);
        let mut said = self.say(&format!("AUTH {mechanism}"))?;
        steps.append(&mut said.steps);
        said.steps = steps;
        let accepted = said.is_yes();
        if accepted {
            let right = match mechanism {
                Mechanism::Gssapi | Mechanism::GssSpnego => "the ticket or the password is",
                _ => "the password is",
            };
            self.notes.push(format!("{right} taken to be right"));
        }
        Ok(self.stage(StageKind::Login, account.clone(), accepted, said))
    }

    /// By a password if it may be shown, else by a proof of it: with keys, or as a domain takes it.
    fn way(&self, offered: &[&str]) -> Mechanism {
        let scram = self.known.keyed.map(|_| Mechanism::ScramSha256);
        let ways = [
            Some(Mechanism::Plain),
            scram,
            Some(Mechanism::Gssapi),
            Some(Mechanism::GssSpnego),
            Some(Mechanism::Ntlm),
            Some(Mechanism::ScramSha256),
        ];
        let mut ways = ways.into_iter().flatten();
        ways.find(|way| offered.contains(&way.name()))
            .unwrap_or(Mechanism::Plain)
    }

    fn sender(&mut self) -> Result<bool, Unfinished> {
        if self.case.sender.is_none() && self.case.recipients.is_empty() {
            return Ok(true);
        }
        let line = self.mail_line();
        let said = self.say(&line)?;
        let subject = path(self.case.sender.as_deref().unwrap_or_default());
        let accepted = said.is_yes();
        Ok(self.stage(StageKind::Sender, subject, accepted, said))
    }

    /// One does not depend on the other, unless the session ends.
    fn recipients(&mut self) -> Result<bool, Unfinished> {
        let mut all = true;
        let recipients = &self.case.recipients;
        for (index, recipient) in recipients.iter().enumerate() {
            if self.session.has_ended() {
                let left = recipients.len() - index;
                self.notes.push(format!(
                    "the session has ended: {left} more recipients are not heard"
                ));
                return Ok(false);
            }
            let recipient = path(recipient);
            let said = self.say(&format!("RCPT TO:{recipient}"))?;
            let accepted = said.is_yes();
            all &= self.stage(StageKind::Recipient, recipient, accepted, said);
        }
        Ok(all)
    }

    fn mail_line(&self) -> String {
        let sender = path(self.case.sender.as_deref().unwrap_or_default());
        // RFC 6531 §3.4: such addresses can be said in no other way.
        let all = self
            .case
            .recipients
            .iter()
            .all(|address| address.is_ascii());
        let utf8 = if sender.is_ascii() && all {
            ""
        } else {
            " SMTPUTF8"
        };
        format!("MAIL FROM:{sender}{utf8}")
    }

    fn say(&mut self, line: &str) -> Result<Said, Unfinished> {
        // What has a line break in it is no command, and must not become two.
        let line = line.replace(['\r', '\n'], "\0") + "\r\n";
        self.session.receive(self.known.now, line.as_bytes());
        let mut steps = Vec::new();
        while let Some(event) = self.session.poll() {
            self.judge.answer(event, &mut steps)?;
        }
        let reply = text(&self.session.take_output());
        Ok(Said { reply, steps })
    }

    fn stage(&mut self, kind: StageKind, subject: String, accepted: bool, mut said: Said) -> bool {
        if !accepted && !said.steps.iter().any(|step| step.matched) {
            said.steps.push(StepRow {
                rule: "SMTP: the command as it is written, where it stands".to_owned(),
                place: None,
                matched: true,
            });
        }
        self.stages.push(Stage {
            kind,
            subject,
            accepted,
            reply: said.reply,
            steps: said.steps,
        });
        accepted
    }
}

/// An address as a path; one that is a path already stays.
fn path(address: &str) -> String {
    match address.starts_with('<') {
        true => address.to_owned(),
        false => format!("<{address}>"),
    }
}

/// Lines without the end of the last one.
fn text(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    text.trim_end_matches("\r\n").replace("\r\n", "\n")
}

#[cfg(test)]
mod tests;

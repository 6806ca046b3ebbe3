//! AUTH: lines to steps and back (RFC 4954). What they mean, a mechanism knows.
//!
//! Never: a password kept, shown or compared.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{
    AUTH_LIMIT, LineError, Phase, Raised, Secured, Security, Session, Settings, Stage, Step,
};
use crate::ask::{AuthAnswer, AuthStep, Question};
use crate::reply::Reply;

impl Session {
    pub(super) fn auth(&mut self, mechanism: &str, initial: Option<&str>) -> Step {
        if self.hello.is_none() {
            return self.bad("503 5.5.2 Send hello first");
        }
        // RFC 4954 §4: once in a session, and never inside a transaction.
        if self.identity.is_some() {
            return self.bad("503 5.5.1 Already authenticated");
        }
        if matches!(self.stage, Stage::Command(Phase::Open(_))) {
            return self.bad("503 5.5.1 AUTH is not permitted during a mail transaction");
        }
        let settings = std::sync::Arc::clone(&self.settings);
        let named = |list: &[&'static str]| {
            list.iter()
                .copied()
                .find(|name| name.eq_ignore_ascii_case(mechanism))
        };
        let Some(mechanism) = named(&self.mechanisms(&settings)) else {
            let only_inside_tls = self.can_start_tls() && named(&settings.mechanisms_tls).is_some();
            return self.bad(if only_inside_tls {
                "538 5.7.11 Encryption required for requested authentication mechanism"
            } else {
                "504 5.5.4 Unrecognized authentication type"
            });
        };
        // RFC 4954 §4: `=` is an initial response of no octets.
        match initial.map(|text| {
            if text == "=" {
                Some(Vec::new())
            } else {
                decode(text.as_bytes())
            }
        }) {
            Some(None) => self.bad("501 5.5.2 Cannot decode the response"),
            input => Step::Raise(Raised::Auth(AuthStep {
                mechanism,
                first: true,
                input: input.flatten(),
            })),
        }
    }

    pub(super) fn login_line(&mut self, mechanism: &'static str) -> Step {
        let Some(line) = self.input.line(AUTH_LIMIT) else {
            return Step::Wait;
        };
        self.progress();
        let range = match line {
            Ok(range) => range,
            Err(LineError::TooLong) => {
                return self.abandon("500 5.5.6 Authentication exchange line is too long");
            }
            Err(LineError::BareNewline) => {
                return self.abandon("500 5.5.2 Lines end with CRLF, not with a bare CR or LF");
            }
        };
        let text = self.input.at(range.clone());
        // RFC 4954 §4: `*` cancels.
        if text == b"*" {
            return self.abandon("501 5.7.0 Authentication cancelled");
        }
        let input = decode(text);
        self.input.wipe(range);
        match input {
            Some(input) => Step::Raise(Raised::Auth(AuthStep {
                mechanism,
                first: false,
                input: Some(input),
            })),
            None => self.abandon("501 5.5.2 Cannot decode the response"),
        }
    }

    fn abandon(&mut self, line: &str) -> Step {
        self.stage = Stage::Command(Phase::Idle);
        // The host hears of it even where this was one error too many.
        let _ = self.bad(line);
        Step::Raise(Raised::AuthAbandoned)
    }

    /// What is offered as things stand; EXTERNAL only where there is a certificate to go by.
    pub(super) fn mechanisms(&self, settings: &Settings) -> Vec<&'static str> {
        match self.security {
            Security::Clear => settings.mechanisms_clear.clone(),
            Security::Tls(Secured { client_certificate }) => {
                let usable = |name: &&&'static str| client_certificate || **name != "EXTERNAL";
                settings
                    .mechanisms_tls
                    .iter()
                    .filter(usable)
                    .copied()
                    .collect()
            }
        }
    }
}

impl Question for AuthStep {
    type Answer = AuthAnswer;

    fn settle(&self, session: &mut Session, answer: Result<AuthAnswer, Reply>) {
        match answer {
            Ok(AuthAnswer::Challenge(challenge)) => {
                session.say_parts(&["334 ", &STANDARD.encode(challenge)]);
                session.stage = Stage::Login(self.mechanism);
            }
            Ok(AuthAnswer::Success { identity }) => {
                session.say("235 2.7.0 Authentication successful");
                session.identity = Some(identity.into());
                session.stage = Stage::Command(Phase::Idle);
            }
            Err(reply) => {
                session.stage = Stage::Command(Phase::Idle);
                session.refuse_counted(&reply);
            }
        }
    }
}

fn decode(text: &[u8]) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

//! STARTTLS: everything before it is forgotten (RFC 3207).
//!
//! Never: a byte that came in clear, read after the handshake.

use std::time::Instant;

use super::{Phase, Raised, Secured, Security, Session, Stage, Step, TlsOffer};

impl Session {
    /// The handshake after [`crate::Event::StartTls`] is done: all starts anew, inside TLS. Also called before
    /// [`Session::greet`] on a listener with implicit TLS, to tell the facts.
    pub fn secured(&mut self, now: Instant, facts: Secured) {
        match self.stage {
            Stage::Handshake => {
                self.stage = Stage::Command(Phase::Idle);
                self.input.clear();
            }
            Stage::Fresh => {}
            _ => return,
        }
        self.security = Security::Tls(facts);
        self.now = now;
        self.host_took_time = false;
        self.progress();
    }

    pub(super) fn start_tls(&mut self) -> Step {
        if self.is_secure() {
            return self.bad("503 5.5.1 TLS is active already");
        }
        if !self.can_start_tls() {
            return self.bad("502 5.5.1 STARTTLS is not available");
        }
        self.say("220 2.0.0 SMTP server ready");
        // RFC 3207 §4.2: hello, login, transaction, and what a client sent behind STARTTLS.
        self.hello = None;
        self.identity = None;
        self.input.clear();
        self.stage = Stage::Handshake;
        Step::Raise(Raised::StartTls)
    }

    pub(super) fn can_start_tls(&self) -> bool {
        !self.is_secure() && matches!(self.settings.tls, TlsOffer::Offered | TlsOffer::Required)
    }

    pub(super) fn needs_tls(&self) -> bool {
        !self.is_secure() && self.settings.tls == TlsOffer::Required
    }
}

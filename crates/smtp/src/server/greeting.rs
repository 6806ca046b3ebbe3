//! EHLO and HELO.
//!
//! Never: a word on which software this is.

use std::sync::Arc;

use super::{Greeted, Phase, Session, Stage};
use crate::ask::{Hello, Question};
use crate::extension;
use crate::reply::Reply;

impl Question for Hello {
    type Answer = ();

    fn settle(&self, session: &mut Session, answer: Result<(), Reply>) {
        if let Err(reply) = answer {
            // RFC 5321 §4.1.4: the state stays what it was.
            return session.answer(&reply);
        }
        // RFC 5321 §4.1.4: and a transaction is forgotten.
        session.stage = Stage::Command(Phase::Idle);
        session.hello = Some(if self.extended {
            Greeted::Ehlo
        } else {
            Greeted::Helo
        });
        let settings = Arc::clone(&session.settings);
        if self.extended {
            let (starttls, mechanisms) = (session.can_start_tls(), session.mechanisms(&settings));
            extension::offer(&mut session.output, &settings, starttls, &mechanisms);
        } else {
            session.say_parts(&["250 ", &settings.fqdn]);
        }
    }
}

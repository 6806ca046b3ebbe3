//! Plays a dialogue on the pure core.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Answer, Deed, Dialogue, Mismatch, Step, escape};
use crate::ask::{Ask, AuthAnswer, AuthStep, Event, Mail, Question, Queued, Rcpt};
use crate::params::{BodyKind, Ret};
use crate::server::{Secured, Session};

/// The id that every message gets.
const ID: &str = "0000000000001";

/// Plays it, the input given in pieces of `step` octets at most: it must not matter.
pub fn play(dialogue: &Dialogue, step: usize) -> Result<(), Mismatch> {
    let now = Instant::now();
    let session = Session::new(Arc::new(dialogue.server_settings()?), now);
    let mut player = Player {
        session,
        now,
        step: step.max(1),
        unsent: VecDeque::new(),
        said: Vec::new(),
        body: Vec::new(),
    };
    let greets_later = dialogue
        .steps
        .iter()
        .any(|(_, step)| *step == Step::Do(Deed::Greet));
    let refuses_at_the_door =
        matches!(dialogue.steps.first(), Some((_, Step::Do(Deed::Refuse(_)))));
    if !greets_later && !refuses_at_the_door {
        player.session.greet(now);
    }
    for (line, step) in &dialogue.steps {
        player
            .take(step)
            .map_err(|what| Mismatch { line: *line, what })?;
    }
    let last = dialogue.steps.last().map_or(1, |(line, _)| *line);
    player.settle().map_err(|what| Mismatch {
        line: last,
        what: format!("behind this: {what}"),
    })
}

struct Player {
    session: Session,
    now: Instant,
    /// Octets given at once.
    step: usize,
    unsent: VecDeque<u8>,
    said: Vec<u8>,
    body: Vec<u8>,
}

impl Player {
    fn take(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Send(octets) => {
                self.settle()?;
                self.unsent.extend(octets);
                Ok(())
            }
            Step::Say(pattern) => {
                let line = self.line()?;
                if pattern.fits(&line) {
                    Ok(())
                } else {
                    Err(format!("the server said {line:?}"))
                }
            }
            Step::Ask { question, answer } => match question
                .strip_prefix("body ")
                .or((question == "body").then_some(""))
            {
                Some(body) if escape(&self.body) == body => Ok(()),
                Some(_) => Err(format!("the body is {}", escape(&self.body))),
                None => self.ask(question, answer),
            },
            Step::Do(deed) => {
                self.settle()?;
                self.act(deed);
                Ok(())
            }
        }
    }

    fn act(&mut self, deed: &Deed) {
        match deed.clone() {
            Deed::Greet => self.session.greet(self.now),
            Deed::Secured { certificate } => self.session.secured(
                self.now,
                Secured {
                    client_certificate: certificate,
                },
            ),
            Deed::Closing(reply) => self.session.closing(reply),
            Deed::Refuse(reply) => self.session.refuse(reply),
            Deed::Expire => {
                // What the host was asked last may have put the deadline off once.
                for _ in 0..2 {
                    if let Some(deadline) = self.session.deadline() {
                        self.now = deadline + Duration::from_secs(1);
                        self.session.expire(self.now);
                    }
                }
            }
        }
    }

    /// Nothing may be left to ask or to say.
    fn settle(&mut self) -> Result<(), String> {
        loop {
            if let Some(event) = self.session.poll() {
                collect(&mut self.body, &event)?;
            } else if !self.feed() {
                break;
            }
        }
        self.said.extend(self.session.take_output());
        if self.said.is_empty() {
            Ok(())
        } else {
            Err(format!("the server also said {}", escape(&self.said)))
        }
    }

    /// Gives the session its next piece of input, if there is one.
    fn feed(&mut self) -> bool {
        let count = self.step.min(self.unsent.len());
        let piece: Vec<u8> = self.unsent.drain(..count).collect();
        self.session.receive(self.now, &piece);
        count > 0
    }

    fn line(&mut self) -> Result<String, String> {
        loop {
            self.said.extend(self.session.take_output());
            if let Some(end) = self.said.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8_lossy(&self.said[..end]).into_owned();
                self.said.drain(..end + 2);
                return Ok(line);
            }
            if let Some(event) = self.session.poll() {
                collect(&mut self.body, &event)?;
            } else if !self.session.has_output() && !self.feed() {
                return Err("the server said nothing".into());
            }
        }
    }

    fn ask(&mut self, question: &str, answer: &Answer) -> Result<(), String> {
        loop {
            if let Some(event) = self.session.poll() {
                if collect(&mut self.body, &event).is_ok() {
                    continue;
                }
                let asked = describe(&event);
                if asked != question {
                    return Err(format!("the core asked: {asked}"));
                }
                if matches!(event, Event::Data(_)) {
                    self.body.clear();
                }
                return settle(event, answer.clone());
            } else if !self.feed() {
                return Err("the core asked nothing".into());
            }
        }
    }
}

/// Keeps a piece of the body; anything else is a question.
fn collect(body: &mut Vec<u8>, event: &Event<'_>) -> Result<(), String> {
    match event {
        Event::Body(piece) => {
            body.extend_from_slice(piece);
            Ok(())
        }
        event => Err(format!("the core asked: {}", describe(event))),
    }
}

fn settle(event: Event<'_>, answer: Answer) -> Result<(), String> {
    match event {
        Event::Hello(ask) => yes_or_no(ask, (), answer),
        Event::Mail(ask) => yes_or_no(ask, (), answer),
        Event::Rcpt(ask) => yes_or_no(ask, (), answer),
        Event::Data(ask) => yes_or_no(ask, (), answer),
        Event::Deposit(ask) => yes_or_no(ask, Queued { id: ID.to_owned() }, answer),
        Event::Auth(ask) => {
            match answer {
                Answer::Challenge(challenge) => drop(ask.accept(AuthAnswer::Challenge(challenge))),
                Answer::Success(identity) => drop(ask.accept(AuthAnswer::Success { identity })),
                Answer::Refuse(reply) => drop(ask.refuse(reply)),
                Answer::Drop => drop(ask),
                Answer::Accept => {
                    return Err("AUTH wants challenge, success, refuse or drop".into());
                }
            }
            Ok(())
        }
        Event::StartTls | Event::AuthAbandoned | Event::Body(_) | Event::Reset | Event::Closed => {
            match answer {
                Answer::Accept => Ok(()),
                _ => Err("this needs no answer".into()),
            }
        }
    }
}

fn yes_or_no<T: Question>(ask: Ask<'_, T>, yes: T::Answer, answer: Answer) -> Result<(), String> {
    match answer {
        Answer::Accept => drop(ask.accept(yes)),
        Answer::Refuse(reply) => drop(ask.refuse(reply)),
        Answer::Drop => drop(ask),
        Answer::Challenge(_) | Answer::Success(_) => return Err("that answers AUTH only".into()),
    }
    Ok(())
}

/// The event as a dialogue writes it.
pub(super) fn describe(event: &Event<'_>) -> String {
    match event {
        Event::Hello(hello) if hello.extended => format!("ehlo {}", hello.name),
        Event::Hello(hello) => format!("helo {}", hello.name),
        Event::StartTls => "starttls".into(),
        Event::Auth(step) => auth(step),
        Event::AuthAbandoned => "abandoned".into(),
        Event::Mail(ask) => mail(ask),
        Event::Rcpt(ask) => rcpt(ask),
        Event::Data(data) => format!("data {}", data.recipients),
        Event::Body(piece) => format!("body {}", escape(piece)),
        Event::Deposit(deposit) => {
            let flags = [(deposit.eight_bit, " 8bit"), (deposit.binary, " binary")];
            format!(
                "deposit {}{}",
                deposit.size,
                flags
                    .iter()
                    .filter(|flag| flag.0)
                    .map(|flag| flag.1)
                    .collect::<String>()
            )
        }
        Event::Reset => "reset".into(),
        Event::Closed => "closed".into(),
    }
}

fn auth(step: &AuthStep) -> String {
    let verb = if step.first { "auth" } else { "step" };
    match &step.input {
        None => format!("{verb} {}", step.mechanism),
        Some(input) => format!("{verb} {} \"{}\"", step.mechanism, escape(input)),
    }
}

fn mail(mail: &Mail) -> String {
    let body = match mail.body {
        BodyKind::SevenBit => None,
        BodyKind::EightBit => Some("8bitmime"),
        BodyKind::Binary => Some("binarymime"),
    };
    let ret = mail
        .ret
        .map(|ret| if ret == Ret::Full { "full" } else { "hdrs" });
    let words = [
        Some(format!("mail <{}>", mail.sender)),
        mail.size.map(|size| format!("size={size}")),
        body.map(|body| format!("body={body}")),
        mail.smtputf8.then(|| "smtputf8".to_owned()),
        ret.map(|ret| format!("ret={ret}")),
        mail.envid.as_ref().map(|envid| format!("envid={envid}")),
        mail.auth.as_ref().map(|auth| format!("auth=<{auth}>")),
        mail.source_route.then(|| "source-route".to_owned()),
    ];
    words.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn rcpt(rcpt: &Rcpt) -> String {
    let words = [
        Some(format!("rcpt <{}>", rcpt.recipient)),
        (!rcpt.notify.is_default()).then(|| format!("notify={}", rcpt.notify)),
        rcpt.orcpt.as_ref().map(|orcpt| format!("orcpt={orcpt}")),
        rcpt.source_route.then(|| "source-route".to_owned()),
    ];
    words.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

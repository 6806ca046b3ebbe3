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
    let mut steps = &dialogue.steps[..];
    let (answers, rest) = split_round(steps);
    player.round(answers, 1)?;
    steps = rest;
    while let Some(((line, step), rest)) = steps.split_first() {
        match step {
            Step::Send(octets) => player.unsent.extend(octets),
            Step::Do(deed) => player.act(deed),
            Step::Say(_) | Step::Ask { .. } => {}
        }
        let (answers, rest) = split_round(rest);
        player.round(answers, *line)?;
        steps = rest;
    }
    Ok(())
}

/// The questions and lines up to the next thing that is done.
fn split_round(steps: &[Numbered]) -> (&[Numbered], &[Numbered]) {
    let is_done = |step: &Step| matches!(step, Step::Send(_) | Step::Do(_));
    steps.split_at(
        steps
            .iter()
            .position(|(_, step)| is_done(step))
            .unwrap_or(steps.len()),
    )
}

/// A step and its line.
type Numbered = (usize, Step);

struct Player {
    session: Session,
    now: Instant,
    /// Octets given at once.
    step: usize,
    unsent: VecDeque<u8>,
    body: Vec<u8>,
}

impl Player {
    /// Lets the session work until it waits: all that is asked, and all that is said, in the order written.
    /// How the two mingle is not looked at; on a wire nobody could.
    fn round(&mut self, steps: &[Numbered], line: usize) -> Result<(), Mismatch> {
        let last = steps.last().map_or(line, |(line, _)| *line);
        let mut questions = steps.iter().filter_map(|(line, step)| match step {
            Step::Ask { question, answer } => Some((*line, question.as_str(), answer)),
            _ => None,
        });
        loop {
            if let Some(event) = self.session.poll() {
                if let Event::Body(piece) = event {
                    self.body.extend_from_slice(piece);
                    continue;
                }
                let next = questions.next();
                let line = next.map_or(last, |(line, ..)| line);
                let asked = describe(&event);
                let answer = match next {
                    Some((_, question, answer)) if question == asked => answer.clone(),
                    _ => {
                        return Err(Mismatch {
                            line,
                            what: format!("the core asked: {asked}"),
                        });
                    }
                };
                if matches!(event, Event::Data(_)) {
                    self.body.clear();
                }
                settle(event, answer).map_err(|what| Mismatch { line, what })?;
                while let Some((line, question, _)) = questions
                    .clone()
                    .next()
                    .filter(|(_, question, _)| is_body(question))
                {
                    compare_body(&self.body, question).map_err(|what| Mismatch { line, what })?;
                    questions.next();
                }
            } else if !self.feed() {
                break;
            }
        }
        if let Some((line, ..)) = questions.next() {
            return Err(Mismatch {
                line,
                what: "the core did not ask this".into(),
            });
        }
        self.compare_output(steps, last)
    }

    fn compare_output(&mut self, steps: &[Numbered], last: usize) -> Result<(), Mismatch> {
        let output = self.session.take_output();
        let mut said = output.split_inclusive(|octet| *octet == b'\n').map(|line| {
            let line = String::from_utf8_lossy(line);
            line.strip_suffix("\r\n")
                .map_or_else(|| format!("{line} (and no CRLF)"), str::to_owned)
        });
        for (line, step) in steps {
            let Step::Say(pattern) = step else { continue };
            match said.next() {
                Some(text) if pattern.fits(&text) => {}
                Some(text) => {
                    return Err(Mismatch {
                        line: *line,
                        what: format!("the server said {text:?}"),
                    });
                }
                None => {
                    return Err(Mismatch {
                        line: *line,
                        what: "the server said nothing".into(),
                    });
                }
            }
        }
        match said.next() {
            Some(text) => Err(Mismatch {
                line: last,
                what: format!("behind this the server said {text:?}"),
            }),
            None => Ok(()),
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

    /// Gives the session its next piece of input, if there is one.
    fn feed(&mut self) -> bool {
        let count = self.step.min(self.unsent.len());
        let piece: Vec<u8> = self.unsent.drain(..count).collect();
        self.session.receive(self.now, &piece);
        count > 0
    }
}

fn compare_body(body: &[u8], question: &str) -> Result<(), String> {
    let body = escape(body);
    let expected = question
        .strip_prefix("body")
        .map(|text| text.strip_prefix(' ').unwrap_or(text));
    if expected == Some(&body) {
        Ok(())
    } else {
        Err(format!("the body is {body}"))
    }
}

fn is_body(question: &str) -> bool {
    question == "body" || question.starts_with("body ")
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

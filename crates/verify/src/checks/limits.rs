//! Limits hold: message size, bad commands, line length, recipients, connections of one address.
//!
//! The last fills the server on purpose, for a moment and for this client's address alone; that is why it comes last, and
//! only where the limit is known and small. Each part has its own time.
//!
//! Never: a message; more than [`MOST_CONNECTIONS`] connections.

use tokio::time::timeout;

use crate::away::Away;
use crate::expected::Channel;
use crate::finding::Finding;
use crate::inspection::Inspection;
use crate::wire::{Fault, Wire};

/// A limit above this is not tried.
const MOST_CONNECTIONS: u32 = 200;
/// Where no limit is known, so many bad commands should be too many.
const BAD_COMMANDS: u32 = 100;
/// Recipients that are tried for the sake of the limit, at most.
const MOST_RECIPIENTS: u32 = 2000;
/// RCPT commands on their way at once.
const BURST: u32 = 50;

/// One limit.
#[derive(Clone, Copy)]
enum Part {
    Size,
    Line,
    Errors,
    Recipients,
    Connections,
}

/// How many there are, each with the time of a check.
pub(super) const PARTS: u32 = 5;

const ALL: [Part; PARTS as usize] = [
    Part::Size,
    Part::Line,
    Part::Errors,
    Part::Recipients,
    Part::Connections,
];

impl Part {
    fn title(self) -> &'static str {
        match self {
            Part::Size => "a message declared too large is refused at MAIL",
            Part::Line => "an endless command line is refused",
            Part::Errors => "too many bad commands end the session",
            Part::Recipients => "too many recipients are refused",
            Part::Connections => "too many connections of one address are refused",
        }
    }

    async fn go(self, inspection: &mut Inspection<'_>) -> Result<(), Fault> {
        let title = self.title();
        match self {
            Part::Size => size(inspection, title).await,
            Part::Line => line(inspection, title).await,
            Part::Errors => errors(inspection, title).await,
            Part::Recipients => recipients(inspection, title).await,
            Part::Connections => connections(inspection, title).await,
        }
    }
}

/// Each by itself: one that is slow, or breaks off, takes nothing from the others.
pub(super) async fn run(inspection: &mut Inspection<'_>) -> Result<(), Fault> {
    for part in ALL {
        let limit = inspection.pace.check;
        let why = match timeout(limit, part.go(inspection)).await {
            Ok(Ok(())) => continue,
            Ok(Err(fault)) => fault.to_string(),
            Err(_) => format!("it was not done within {} s", limit.as_secs()),
        };
        inspection.find(Finding::untested(part.title(), why));
    }
    Ok(())
}

async fn size(inspection: &mut Inspection<'_>, title: &str) -> Result<(), Fault> {
    let mut wire = inspection.ready().await?;
    let expected = inspection.expected.max_message_size;
    let offered = wire
        .offers("SIZE")
        .and_then(|size| size.parse::<u64>().ok());
    let remedy = "look at max_message_size in [messages]";
    let finding = match (expected, offered.filter(|size| *size > 0)) {
        (Some(limit), other) if other != Some(limit) => {
            let offer = other.map_or_else(|| "no limit".to_owned(), |other| other.to_string());
            Finding::failed(
                title,
                format!("EHLO offers {offer} where {limit} is expected"),
                remedy,
            )
        }
        (_, None) => Finding::untested(title, "EHLO offers no limit (SIZE)"),
        (_, Some(limit)) => {
            let answer = wire
                .say(&format!("MAIL FROM:<> SIZE={}", limit.saturating_add(1)))
                .await?;
            match answer.code {
                552 => Finding::passed(title, answer.to_string()),
                530 => Finding::untested(title, format!("MAIL needs a login (--login): {answer}")),
                200..300 => Finding::failed(
                    title,
                    format!("{} bytes are accepted: {answer}", limit + 1),
                    remedy,
                ),
                _ => Finding::untested(title, answer.to_string()),
            }
        }
    };
    inspection.find(finding.with(wire.said()));
    wire.leave().await;
    Ok(())
}

async fn line(inspection: &mut Inspection<'_>, title: &str) -> Result<(), Fault> {
    let mut wire = inspection.private().await?;
    wire.forget();
    let long = format!("NOOP {}\r\n", "x".repeat(64 * 1024));
    let sent = wire
        .send_as(long.as_bytes(), "NOOP xxxxx… (65,536 of them)")
        .await;
    let answer = match sent {
        Ok(()) => wire.answer().await,
        Err(fault) => Err(fault),
    };
    let finding = match answer {
        Ok(answer) if answer.is_refusal() || answer.code == 421 => {
            Finding::passed(title, answer.to_string())
        }
        Ok(answer) => Finding::failed(
            title,
            answer.to_string(),
            "the server must bound its lines (RFC 5321 §4.5.3.1.4)",
        ),
        Err(fault) if fault.is_close() => Finding::passed(title, "the server closes"),
        Err(fault) => Finding::failed(title, fault.to_string(), "the server must answer, or close"),
    };
    inspection.find(finding.with(wire.said()));
    wire.leave().await;
    Ok(())
}

async fn errors(inspection: &mut Inspection<'_>, title: &str) -> Result<(), Fault> {
    let known = inspection.expected.max_errors;
    let most = known
        .map_or(BAD_COMMANDS, |limit| limit.saturating_add(1))
        .min(1000);
    let mut wire = inspection.private().await?;
    wire.forget();
    for count in 1..=most {
        let ended = match wire.say("POSTERN-VERIFY").await {
            Ok(answer) if answer.code == 421 => Some(answer.to_string()),
            Ok(_) => None,
            Err(fault) if fault.is_close() => Some("the server closes".to_owned()),
            Err(fault) => return Err(fault),
        };
        if let Some(how) = ended {
            let why = format!("after {count}: {how}");
            inspection.find(Finding::passed(title, why).with(wire.said()));
            return Ok(());
        }
    }
    let why = format!("{most} of them did not");
    let remedy = "set max_errors in [messages] (Postfix: smtpd_hard_error_limit)";
    inspection.find(Finding::failed(title, why, remedy).with(wire.said()));
    wire.leave().await;
    Ok(())
}

async fn recipients(inspection: &mut Inspection<'_>, title: &str) -> Result<(), Fault> {
    let (limit, recipient) = match (
        inspection.expected.max_recipients,
        &inspection.expected.null_recipient,
    ) {
        (Some(limit), Some(recipient)) if limit <= MOST_RECIPIENTS => (limit, recipient.clone()),
        (Some(limit), Some(_)) => {
            let why = format!("a limit of {limit} is not tried, {MOST_RECIPIENTS} is the most");
            inspection.find(Finding::untested(title, why));
            return Ok(());
        }
        (None, _) => {
            inspection.find(Finding::untested(title, "the limit is not known"));
            return Ok(());
        }
        (_, None) => {
            let why = "it takes a recipient that is accepted (--accept-recipient)";
            inspection.find(Finding::untested(title, why));
            return Ok(());
        }
    };
    let mut wire = inspection.ready().await?;
    wire.forget();
    let mail = wire.say("MAIL FROM:<>").await?;
    let finding = if mail.code == 250 {
        fill(&mut wire, title, limit, &recipient).await?
    } else {
        Finding::untested(title, format!("MAIL is answered {mail}"))
    };
    inspection.find(finding.with(wire.said()));
    wire.leave().await;
    Ok(())
}

/// RCPT until one is refused; the first beyond the limit must be.
async fn fill(wire: &mut Wire, title: &str, limit: u32, recipient: &str) -> Result<Finding, Fault> {
    let mut accepted = 0;
    let command = format!("RCPT TO:<{recipient}>\r\n");
    while accepted <= limit {
        let burst = match wire.offers("PIPELINING") {
            Some(_) => BURST.min(limit + 1 - accepted),
            None => 1,
        };
        let commands = command.repeat(burst as usize);
        wire.send_as(
            commands.as_bytes(),
            &format!("{} ({burst} times)", command.trim_end()),
        )
        .await?;
        let mut refusal = None;
        for _ in 0..burst {
            let answer = wire.answer().await?;
            match answer.code {
                200..300 => accepted += 1,
                _ => refusal = refusal.or(Some(answer)),
            }
        }
        if let Some(answer) = refusal {
            return Ok(match answer.code {
                452 | 552 => Finding::passed(title, format!("after {accepted}: {answer}")),
                _ => Finding::untested(title, format!("{recipient} is not accepted: {answer}")),
            });
        }
    }
    Ok(Finding::failed(
        title,
        format!("{accepted} were accepted, the limit is {limit}"),
        "look at max_recipients in [messages]",
    ))
}

async fn connections(inspection: &mut Inspection<'_>, title: &str) -> Result<(), Fault> {
    let Some(limit) = inspection.expected.max_connections_per_ip else {
        inspection.find(Finding::untested(title, "the limit is not known"));
        return Ok(());
    };
    if limit > MOST_CONNECTIONS {
        let why = format!("a limit of {limit} is not tried, {MOST_CONNECTIONS} is the most");
        inspection.find(Finding::untested(title, why));
        return Ok(());
    }
    let mut held: Vec<Wire> = Vec::new();
    let mut away = None;
    while held.len() <= limit as usize && away.is_none() {
        match one_more(inspection).await? {
            Ok(wire) => held.push(wire),
            Err(how) => away = Some(how),
        }
    }
    let finding = filled(title, held.len(), limit, away);
    for wire in held {
        wire.close().await;
    }
    inspection.find(finding);
    Ok(())
}

/// A server that greets nobody, or refuses for good, has not reached a limit.
fn filled(title: &str, count: usize, limit: u32, away: Option<Away>) -> Finding {
    match away {
        None => Finding::failed(
            title,
            format!("{count} were greeted, the limit is {limit}"),
            "look at max_connections_per_ip in [general]",
        ),
        Some(Away::Word(answer)) if count > 0 && answer.code == 421 => {
            Finding::passed(title, format!("after {count}: {answer}"))
        }
        Some(Away::Closed) if count > 0 => {
            Finding::passed(title, format!("after {count}: the server closes"))
        }
        Some(Away::Word(answer)) => Finding::untested(title, format!("after {count}: {answer}")),
        Some(Away::Closed) => Finding::untested(title, "the server greets nobody now"),
        Some(Away::Unclear(why)) => Finding::untested(title, format!("after {count}: {why}")),
    }
}

/// A connection that was greeted, or how it was turned away; here a 421 is no reason to try again.
async fn one_more(inspection: &mut Inspection<'_>) -> Result<Result<Wire, Away>, Fault> {
    let wire = inspection.connect_from(inspection.target.source).await?;
    let tape = wire.tape();
    let wire = match inspection.expected.channel {
        Channel::Implicit => inspection.shake_hands(wire).await,
        _ => Ok(wire),
    };
    let mut wire = match wire {
        Ok(wire) => wire,
        Err(fault) => return Ok(Err(Away::of(&fault, &tape.now()))),
    };
    Ok(match wire.answer().await {
        Ok(answer) if answer.code == 220 => Ok(wire),
        Ok(answer) => Err(Away::Word(answer)),
        Err(fault) => Err(Away::of(&fault, &tape.now())),
    })
}

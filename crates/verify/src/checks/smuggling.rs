//! Smuggling probes: nothing but CRLF.CRLF ends a message (CVE-2023-51764 and its kin).
//!
//! ```text
//! MAIL, RCPT to the stated null recipient, DATA → 354
//! text <LF>.<LF> MAIL FROM:<…> RCPT TO:<…@postern-verify.invalid>     … wait: no answer may come
//! close, without the real end of data
//! ```
//! A good server is still in the message, and throws it away when the connection closes (RFC 5321 §4.1.1.10): no mail is
//! left behind. A bad one has taken the false end for a real one; then the message went to the stated recipient, and what was
//! smuggled names a recipient that cannot exist. A refusal that closes the connection is good too.
//!
//! The wait is long, for a slow server must not pass; so a few sessions wait together.
//!
//! Never: a real end of data; a recipient that was not stated.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::finding::Finding;
use crate::inspection::{Inspection, NOWHERE};
use crate::reply::Answer;
use crate::wire::{Fault, Wire};

const REMEDY: &str = "take CRLF.CRLF alone for the end (Postfix: smtpd_forbid_bare_newline = yes; Postern: bare_newline = \"refuse\", or \"convert\"); update the server";

/// Sessions that wait at the same time.
const AT_ONCE: usize = 5;

const ENDS: [(&str, &str); 9] = [
    ("\n.\n", "LF.LF"),
    ("\n.\r\n", "LF.CRLF"),
    ("\r.\r", "CR.CR"),
    ("\r.\r\n", "CR.CRLF"),
    ("\r\n.\r", "CRLF.CR"),
    ("\r\n.\n", "CRLF.LF"),
    ("\r\n\0.\r\n", "CRLF NUL.CRLF"),
    ("\r\n.\0\r\n", "CRLF.NUL CRLF"),
    ("\n\r.\r\n", "LF CR.CRLF"),
];

pub(super) async fn run(inspection: &mut Inspection<'_>) -> Result<(), Fault> {
    let Some(recipient) = inspection.expected.null_recipient.clone() else {
        inspection.find(Finding::untested(
            "nothing but CRLF.CRLF ends a message",
            "DATA needs a recipient that is accepted and that nobody reads (--accept-recipient)",
        ));
        return Ok(());
    };
    let mut left = &ENDS[..];
    while let Some((_, name)) = left.first() {
        let most = left.len().min(AT_ONCE);
        let wires = match enter(inspection, &recipient, most).await? {
            Ok(wires) => wires,
            Err(finding) => {
                let title = title(name);
                inspection.find(Finding { title, ..finding });
                return Ok(());
            }
        };
        let (these, rest) = left.split_at(wires.len());
        left = rest;
        for finding in together(wires, these, inspection.pace.pause).await? {
            inspection.find(finding);
        }
    }
    Ok(())
}

fn title(name: &str) -> String {
    format!("{name} does not end a message")
}

/// Up to `most` sessions in DATA, one at least; or why there is none. A server that wants fewer at once gets fewer.
async fn enter(
    inspection: &mut Inspection<'_>,
    recipient: &str,
    most: usize,
) -> Result<Result<Vec<Wire>, Finding>, Fault> {
    let mut wires = Vec::new();
    while wires.len() < most {
        match one(inspection, recipient).await {
            Ok(Ok(wire)) => wires.push(wire),
            _ if !wires.is_empty() => break,
            Ok(Err(finding)) => return Ok(Err(finding)),
            Err(fault) => return Err(fault),
        }
    }
    Ok(Ok(wires))
}

async fn one(
    inspection: &mut Inspection<'_>,
    recipient: &str,
) -> Result<Result<Wire, Finding>, Fault> {
    let mut wire = inspection.ready().await?;
    wire.forget();
    Ok(match enter_data(&mut wire, inspection, recipient).await? {
        None => Ok(wire),
        Some(answer) => {
            let why = format!("DATA is not to be had: {answer}");
            let finding = Finding::untested("", why).with(wire.said());
            wire.leave().await;
            Err(finding)
        }
    })
}

/// A probe in each session, all at the same time; what they found, in order.
async fn together(
    wires: Vec<Wire>,
    ends: &[(&'static str, &'static str)],
    least: Duration,
) -> Result<Vec<Finding>, Fault> {
    let mut running = JoinSet::new();
    for (number, (mut wire, (end, name))) in wires.into_iter().zip(ends.iter().copied()).enumerate()
    {
        running.spawn(async move {
            let finding = probe(&mut wire, title(name), end, least).await;
            let finding = finding
                .unwrap_or_else(|fault| Finding::untested(title(name), fault.to_string()))
                .with(wire.said());
            // Without a word: QUIT would be part of the message, and the end of data must not be sent.
            wire.close().await;
            (number, finding)
        });
    }
    let mut found = Vec::new();
    while let Some(joined) = running.join_next().await {
        found.push(joined.map_err(|error| Fault::Broken(error.to_string()))?);
    }
    found.sort_by_key(|(number, _)| *number);
    Ok(found.into_iter().map(|(_, finding)| finding).collect())
}

/// MAIL, RCPT and DATA; the reply that stood in the way.
async fn enter_data(
    wire: &mut Wire,
    inspection: &Inspection<'_>,
    recipient: &str,
) -> Result<Option<Answer>, Fault> {
    let mut mail = wire.say("MAIL FROM:<>").await?;
    let account = inspection.expected.login.as_ref().map(|login| &login.name);
    if let (false, Some(name)) = (
        mail.is_positive(),
        account.filter(|name| name.contains('@')),
    ) {
        mail = wire.say(&format!("MAIL FROM:<{name}>")).await?;
    }
    if mail.code != 250 {
        return Ok(Some(mail));
    }
    let rcpt = wire.say(&format!("RCPT TO:<{recipient}>")).await?;
    if rcpt.code / 100 != 2 {
        return Ok(Some(rcpt));
    }
    let data = wire.say("DATA").await?;
    Ok((data.code != 354).then_some(data))
}

async fn probe(
    wire: &mut Wire,
    title: String,
    end: &str,
    least: Duration,
) -> Result<Finding, Fault> {
    let text = format!(
        "Subject: postern verify\r\n\r\nThis is no mail.{end}MAIL FROM:<smuggled@{NOWHERE}>\r\nRCPT TO:<smuggled@{NOWHERE}>\r\nRSET\r\n"
    );
    let pause = wire.patience(least);
    wire.send(text.as_bytes()).await?;
    let (mut answers, mut closed) = (Vec::new(), false);
    while answers.len() < 4 {
        match wire.answer_within(pause).await {
            Ok(Some(answer)) => answers.push(answer),
            Ok(None) => break,
            Err(fault) if fault.is_close() => {
                closed = true;
                break;
            }
            Err(fault) => return Err(fault),
        }
    }
    Ok(match answers.as_slice() {
        [] => Finding::passed(title, "no answer: the server is still in the message"),
        [only] if closed && only.code >= 400 => {
            Finding::passed(title, format!("the server refuses and closes: {only}"))
        }
        [first, ..] => Finding::failed(
            title,
            format!("it did, and {} answers came: {first}", answers.len()),
            REMEDY,
        ),
    })
}

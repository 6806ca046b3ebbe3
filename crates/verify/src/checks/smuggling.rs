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
//! Never: a real end of data; a recipient that was not stated.

use crate::finding::Finding;
use crate::inspection::{Inspection, NOWHERE};
use crate::reply::Answer;
use crate::wire::{Fault, Wire};

const REMEDY: &str = "take CRLF.CRLF alone for the end (Postfix: smtpd_forbid_bare_newline = yes; Postern: bare_newline = \"refuse\", or \"convert\"); update the server";

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
    for (end, name) in ENDS {
        let title = format!("{name} does not end a message");
        let mut wire = inspection.ready().await?;
        wire.forget();
        let entered = enter_data(&mut wire, inspection, &recipient).await?;
        if let Some(answer) = entered {
            let why = format!("DATA is not to be had: {answer}");
            inspection.find(Finding::untested(title, why).with(wire.said()));
            return Ok(());
        }
        let finding = probe(&mut wire, inspection, title, end).await?;
        inspection.find(finding.with(wire.said()));
        // Without a word: QUIT would be part of the message, and the end of data must not be sent.
        wire.close().await;
    }
    Ok(())
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
    inspection: &Inspection<'_>,
    title: String,
    end: &str,
) -> Result<Finding, Fault> {
    let text = format!(
        "Subject: postern verify\r\n\r\nThis is no mail.{end}MAIL FROM:<smuggled@{NOWHERE}>\r\nRCPT TO:<smuggled@{NOWHERE}>\r\nRSET\r\n"
    );
    wire.send(text.as_bytes()).await?;
    let (mut answers, mut closed) = (Vec::new(), false);
    while answers.len() < 4 {
        match wire.answer_within(inspection.pause()).await {
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

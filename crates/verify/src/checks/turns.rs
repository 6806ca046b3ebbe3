//! Who speaks out of turn gets nothing by it: before the greeting, and behind QUIT.
//!
//! A server sees an early client only if its bytes are there before it greets. So a refusal proves the rule, and a
//! greeting proves nothing: it was perhaps under way already.
//!
//! Never: a failure that a slow network could cause.

use crate::expected::Channel;
use crate::finding::Finding;
use crate::inspection::Inspection;
use crate::wire::Fault;

/// How often a client comes too early.
const TRIES: usize = 4;

pub(super) async fn run(inspection: &mut Inspection<'_>) -> Result<(), Fault> {
    early(inspection).await?;
    behind_quit(inspection).await
}

async fn early(inspection: &mut Inspection<'_>) -> Result<(), Fault> {
    let title = "a client that speaks before the greeting is turned away";
    let why = match inspection.expected.channel {
        Channel::Implicit => Some("TLS is spoken from the first byte here"),
        _ if !inspection.expected.refuses_early_talkers => {
            Some("not every server does, and it is not known whether this one should")
        }
        _ => None,
    };
    if let Some(why) = why {
        inspection.find(Finding::untested(title, why));
        return Ok(());
    }
    let mut finding = Finding::untested(title, "");
    for _ in 0..TRIES {
        let mut wire = inspection.connect_from(inspection.target.source).await?;
        wire.send(b"EHLO postern-verify.invalid\r\n").await?;
        let seen = wire.answer().await;
        finding = match seen {
            Ok(answer) if answer.code == 220 => Finding::untested(
                title,
                format!("the greeting came first, {TRIES} times of {TRIES}"),
            ),
            Ok(answer) => Finding::passed(title, answer.to_string()),
            Err(fault) if fault.is_close() => Finding::passed(title, "closed without a greeting"),
            Err(fault) => Finding::untested(title, fault.to_string()),
        }
        .with(wire.said());
        if finding.outcome != crate::Outcome::NotTested {
            break;
        }
        wire.leave().await;
    }
    inspection.find(finding);
    Ok(())
}

async fn behind_quit(inspection: &mut Inspection<'_>) -> Result<(), Fault> {
    let title = "what stands behind QUIT is not answered";
    let mut wire = inspection.introduced().await?;
    wire.forget();
    wire.send(b"QUIT\r\nNOOP\r\n").await?;
    let first = wire.answer().await?;
    let pause = wire.patience(inspection.pace.pause);
    let finding = match wire.answer_within(pause).await {
        Ok(Some(answer)) => Finding::failed(
            title,
            format!("it was: {answer}"),
            "the server must close with its 221: update it",
        ),
        Ok(None) => Finding::passed(
            title,
            format!("{first}; nothing more, though the connection stays open"),
        ),
        Err(fault) if fault.is_close() => Finding::passed(title, first.to_string()),
        Err(fault) => Finding::untested(title, fault.to_string()),
    };
    inspection.find(finding.with(wire.said()));
    Ok(())
}

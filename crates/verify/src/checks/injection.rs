//! What is sent in clear behind STARTTLS, in the same packet, is dropped (CVE-2011-0411): no reply to it inside TLS.
//!
//! ```text
//! "STARTTLS␍␊NOOP injected␍␊" → 220, handshake, nothing; then EHLO → its own reply, QUIT → 221
//! ```
//!
//! Never: an injected command that does anything.

use crate::expected::Channel;
use crate::finding::Finding;
use crate::inspection::Inspection;
use crate::wire::{Fault, Wire};

const TITLE: &str = "plaintext injected before STARTTLS is dropped";
const REMEDY: &str = "the server must empty its buffer when TLS begins (CVE-2011-0411): update it";

pub(super) async fn run(inspection: &mut Inspection<'_>) -> Result<(), Fault> {
    if inspection.expected.channel == Channel::Implicit {
        inspection.find(Finding::untested(
            TITLE,
            "TLS is spoken from the first byte here",
        ));
        return Ok(());
    }
    let mut wire = inspection.introduced().await?;
    if wire.offers("STARTTLS").is_none() {
        inspection.find(Finding::untested(TITLE, "STARTTLS is not offered").with(wire.said()));
        wire.leave().await;
        return Ok(());
    }
    wire.forget();
    wire.send(b"STARTTLS\r\nNOOP injected\r\n").await?;
    let answer = wire.answer().await?;
    let finding = if answer.code == 220 {
        behind(inspection, wire).await
    } else if answer.is_refusal() || answer.code == 421 {
        Finding::passed(
            TITLE,
            format!("STARTTLS with more behind it is refused: {answer}"),
        )
        .with(wire.said())
    } else {
        Finding::untested(TITLE, answer.to_string()).with(wire.said())
    };
    inspection.find(finding);
    Ok(())
}

/// The 220 is read; TLS should begin.
async fn behind(inspection: &mut Inspection<'_>, mut wire: Wire) -> Finding {
    // A reply in clear behind the 220 is as bad.
    let pause = wire.patience(inspection.pace.pause);
    match wire.answer_within(pause).await {
        Ok(None) => {}
        Ok(Some(answer)) => {
            return Finding::failed(
                TITLE,
                format!("it was answered in clear, behind the 220: {answer}"),
                REMEDY,
            )
            .with(wire.said());
        }
        Err(fault) if fault.is_close() => {
            return Finding::passed(TITLE, "the server closes instead").with(wire.said());
        }
        Err(fault) => return Finding::failed(TITLE, fault.to_string(), REMEDY).with(wire.said()),
    }
    let said = wire.said().to_owned();
    let mut wire = match inspection.shake_hands(wire).await {
        Ok(wire) => wire,
        // It took the text for the first record of TLS, or closed: the text was not run.
        Err(fault) => {
            return Finding::passed(TITLE, format!("the text was not run, but {fault}"))
                .with(&said);
        }
    };
    let pause = wire.patience(inspection.pace.pause);
    let finding = match wire.answer_within(pause).await {
        Ok(Some(answer)) => Some(format!("it was answered inside TLS: {answer}")),
        Ok(None) => shifted(&mut wire).await,
        Err(_) => None,
    };
    match finding {
        Some(why) => Finding::failed(TITLE, why, REMEDY).with(wire.said()),
        None => Finding::passed(TITLE, "no reply to it inside TLS").with(wire.said()),
    }
}

/// Whether the replies are those of the command before.
async fn shifted(wire: &mut Wire) -> Option<String> {
    wire.hello().await.ok()?;
    let answer = wire.say("QUIT").await.ok()?;
    (answer.code == 250).then(|| format!("the replies are one behind: QUIT is answered {answer}"))
}

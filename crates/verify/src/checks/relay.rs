//! Relay probes: no sender and no way of writing a recipient gets mail for a foreign domain accepted.
//!
//! The foreign domain is `postern-verify.invalid`, which cannot exist (RFC 6761 §6.4): nothing that a server accepts could
//! ever arrive. A recipient that is accepted is never followed by DATA. Four probes share a session, because servers slow
//! down bad recipients; RSET stands before each.
//!
//! | RCPT is answered | the probe |
//! |---|---|
//! | 2xx | failed: it relays, or takes what it must bounce |
//! | 5xx, or MAIL is | passed |
//! | 4xx, or the server closes | not tested: it might accept another time |
//!
//! Never: DATA.

mod forms;

use crate::finding::Finding;
use crate::inspection::{Inspection, NOWHERE};
use crate::wire::{Fault, Wire};
use forms::Probe;

const EACH_SESSION: usize = 4;
const REMEDY: &str = "relay for logged-in clients and for the addresses of your own devices only: look at [access.relay] list, mode and allow_everyone; if this very address is meant to relay, run the check from another one (--source)";

pub(super) async fn run(inspection: &mut Inspection<'_>) -> Result<(), Fault> {
    let probes = forms::all(
        inspection.expected.local_domain.as_deref(),
        inspection.target.address.ip(),
    );
    let mut session: Option<(Wire, usize)> = None;
    for probe in probes {
        let Some((sender, recipient)) = probe.written() else {
            let why = "no local domain is known (--local-domain)";
            inspection.find(Finding::untested(probe.title(), why));
            continue;
        };
        let (mut wire, used) = match session.take() {
            Some((wire, used)) if used < EACH_SESSION => (wire, used),
            spent => {
                if let Some((wire, _)) = spent {
                    wire.leave().await;
                }
                (inspection.private().await?, 0)
            }
        };
        wire.forget();
        let tried = attempt(&mut wire, &probe, &sender, &recipient).await;
        let said = wire.said().to_owned();
        match tried {
            Ok(finding) => {
                inspection.find(finding.with(&said));
                session = Some((wire, used + 1));
            }
            // The next probe gets a new session.
            Err(fault) => {
                inspection.find(Finding::untested(probe.title(), fault.to_string()).with(&said));
                if !fault.is_close() {
                    return Err(fault);
                }
            }
        }
    }
    if let Some((wire, _)) = session {
        wire.leave().await;
    }
    Ok(())
}

async fn attempt(
    wire: &mut Wire,
    probe: &Probe,
    sender: &str,
    recipient: &str,
) -> Result<Finding, Fault> {
    let utf8 = match wire.offers("SMTPUTF8") {
        Some(_) if !recipient.is_ascii() => " SMTPUTF8",
        _ => "",
    };
    wire.say("RSET").await?;
    let mut mail = wire.say(&format!("MAIL FROM:{sender}{utf8}")).await?;
    if mail.is_refusal() && mail.code != 530 && probe.any_sender {
        // This sender is not liked; the null sender must be (RFC 5321 §4.5.5), and shows what RCPT says.
        wire.say("RSET").await?;
        mail = wire.say(&format!("MAIL FROM:<>{utf8}")).await?;
    }
    let title = probe.title();
    if mail.is_refusal() {
        return Ok(Finding::passed(title, format!("MAIL is refused: {mail}")));
    }
    if mail.code != 250 {
        return Ok(Finding::untested(title, format!("MAIL is answered {mail}")));
    }
    let answer = wire.say(&format!("RCPT TO:{recipient}")).await?;
    Ok(match answer.code {
        200..300 => {
            // Nothing may come of it.
            wire.say("RSET").await?;
            let why = format!("{recipient} is accepted: {answer}");
            Finding::failed(title, why, REMEDY)
        }
        421 => return Err(Fault::Closed),
        500.. => Finding::passed(title, format!("{recipient} is answered {answer}")),
        _ => Finding::untested(title, format!("{recipient} is put off: {answer}")),
    })
}

/// The recipient of all probes, without its domain.
const NOBODY: &str = "relaytest";

/// The plain form.
fn plain() -> String {
    format!("<{NOBODY}@{NOWHERE}>")
}

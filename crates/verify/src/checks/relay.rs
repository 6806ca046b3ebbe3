//! Relay probes: no sender and no way of writing a recipient gets mail for a foreign domain accepted.
//!
//! The foreign domain is `postern-verify.invalid`, which cannot exist (RFC 6761 §6.4): nothing that a server accepts could
//! ever arrive. A recipient that is accepted is never followed by DATA, and so it may be a real one just as well
//! (`--foreign-recipient`): a server that looks domains up says nothing of relaying where there is none. Four probes share a
//! session, because servers slow down bad recipients; RSET stands before each.
//!
//! | RCPT is answered | the probe |
//! |---|---|
//! | 2xx | failed: it relays, or takes what it must bounce |
//! | 5xx, or MAIL is | passed, where it is for the relaying |
//! | 5xx for a domain that is not found | not tested: it might relay to another |
//! | 4xx, or the server closes | not tested: it might accept another time |
//!
//! Never: DATA.

mod cause;
mod forms;

use crate::finding::{Finding, Outcome};
use crate::inspection::Inspection;
use crate::reply::Answer;
use crate::wire::{Fault, Wire};
use cause::Cause;
use forms::{Probe, Trick};

const EACH_SESSION: usize = 4;
const REMEDY: &str = "relay for logged-in clients and for the addresses of your own devices only: look at [access.relay] list, mode and allow_everyone; if this very address is meant to relay, run the check from another one (--source)";

pub(super) async fn run(inspection: &mut Inspection<'_>) -> Result<(), Fault> {
    let probes = forms::all(inspection.expected, inspection.target.address.ip());
    inspection.relay_proved = Some(false);
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
                if probe.trick == Trick::None && finding.outcome != Outcome::NotTested {
                    inspection.relay_proved = Some(true);
                }
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

/// One probe; once more with the null sender where its own is not liked and is not what it tries.
async fn attempt(
    wire: &mut Wire,
    probe: &Probe,
    sender: &str,
    recipient: &str,
) -> Result<Finding, Fault> {
    let (mut seen, mut from) = (transaction(wire, sender, recipient).await?, sender);
    if probe.trick == Trick::Recipient && seen.blames_sender(sender, recipient) {
        // This one must be taken (RFC 5321 §4.5.5), and shows what RCPT says.
        from = "<>";
        seen = transaction(wire, from, recipient).await?;
    }
    if seen.answer.code == 421 {
        return Err(Fault::Closed);
    }
    Ok(judge(probe, &seen, from, recipient))
}

/// How far a transaction came.
struct Seen {
    /// Whether the answer is that to MAIL.
    at_mail: bool,
    answer: Answer,
}

impl Seen {
    fn blames_sender(&self, sender: &str, recipient: &str) -> bool {
        let answer = &self.answer;
        let cause = || Cause::of(answer, sender, recipient);
        answer.is_refusal()
            && answer.code != 530
            && (self.at_mail || matches!(cause(), Cause::Sender | Cause::SenderDomain))
    }
}

async fn transaction(wire: &mut Wire, sender: &str, recipient: &str) -> Result<Seen, Fault> {
    let utf8 = match wire.offers("SMTPUTF8") {
        Some(_) if !recipient.is_ascii() => " SMTPUTF8",
        _ => "",
    };
    wire.say("RSET").await?;
    let answer = wire.say(&format!("MAIL FROM:{sender}{utf8}")).await?;
    if answer.code != 250 {
        let at_mail = true;
        return Ok(Seen { at_mail, answer });
    }
    let answer = wire.say(&format!("RCPT TO:{recipient}")).await?;
    if answer.is_positive() {
        // Nothing may come of it.
        wire.say("RSET").await?;
    }
    let at_mail = false;
    Ok(Seen { at_mail, answer })
}

fn judge(probe: &Probe, seen: &Seen, sender: &str, recipient: &str) -> Finding {
    let (title, answer) = (probe.title(), &seen.answer);
    let whose = match seen.at_mail {
        true => "MAIL",
        false => recipient,
    };
    match answer.code {
        200..300 if !seen.at_mail => {
            Finding::failed(title, format!("{recipient} is accepted: {answer}"), REMEDY)
        }
        530 => Finding::passed(title, format!("{whose} is answered {answer}")),
        500.. => {
            let cause = Cause::of(answer, sender, recipient);
            let good = match cause {
                Cause::Relaying => true,
                // Its sender is what it tries: it got nowhere with it.
                Cause::Sender => probe.trick == Trick::Sender,
                Cause::Domain | Cause::SenderDomain => false,
            };
            match good {
                true => Finding::passed(title, format!("{whose} is answered {answer}")),
                false => Finding::untested(title, format!("{}: {answer}", cause.words())),
            }
        }
        _ => Finding::untested(title, format!("{whose} is put off: {answer}")),
    }
}

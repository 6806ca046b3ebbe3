//! VRFY and EXPN do not tell who has a mailbox: 252, or a refusal, and the same for a name that exists and one that cannot.
//!
//! Never: more than two names.

use crate::finding::Finding;
use crate::inspection::Inspection;
use crate::reply::Answer;
use crate::wire::Fault;

const REMEDY: &str = "turn VRFY and EXPN off, or let them answer 252 to every name (Postfix: disable_vrfy_command = yes)";

pub(super) async fn run(inspection: &mut Inspection<'_>) -> Result<(), Fault> {
    let mut wire = inspection.private().await?;
    for verb in ["VRFY", "EXPN"] {
        wire.forget();
        let known = wire.say(&format!("{verb} postmaster")).await?;
        let unknown = wire.say(&format!("{verb} postern-verify-nobody")).await?;
        let title = format!("{verb} does not tell who has a mailbox");
        let finding = match telling(&known, &unknown) {
            Some(why) => Finding::failed(title, why, REMEDY),
            None => Finding::passed(title, known.to_string()),
        };
        inspection.find(finding.with(wire.said()));
    }
    wire.leave().await;
    Ok(())
}

fn telling(known: &Answer, unknown: &Answer) -> Option<String> {
    match (known.code, unknown.code) {
        (250 | 251, _) => Some(format!("postmaster was shown: {known}")),
        (_, 250 | 251) => Some(format!("a made-up name was shown: {unknown}")),
        (one, other) if one != other => Some(format!(
            "postmaster is answered {known}, a name that nobody has {unknown}"
        )),
        _ => None,
    }
}

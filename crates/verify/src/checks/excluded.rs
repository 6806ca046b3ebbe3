//! A connection from an excluded address is refused: 5xx instead of a greeting, or closed at once, where the usual address
//! is greeted.
//!
//! | the usual address | the excluded one | |
//! |---|---|---|
//! | greeted | 5xx, or closed without a word | passed |
//! | greeted | greeted | failed |
//! | greeted | 421: paused, or too busy | not tested |
//! | not greeted | | not tested: what is refused to all proves no rule |
//!
//! Never: more than one connection from each address.

use std::net::IpAddr;

use crate::away::Away;
use crate::expected::Channel;
use crate::finding::Finding;
use crate::inspection::Inspection;
use crate::wire::{Fault, Wire};

const REMEDY: &str = "put the address on [access.connection] list (mode = \"all-except\"), or leave it out where mode = \"only\"; then reload";

pub(super) async fn run(inspection: &mut Inspection<'_>) -> Result<(), Fault> {
    let excluded = inspection.expected.excluded.clone();
    if excluded.is_empty() {
        inspection.find(Finding::untested(
            "a connection from an excluded address is refused",
            "no local address was named that is excluded (--from)",
        ));
        return Ok(());
    }
    let control = inspection.greeted().await;
    let trouble = control.as_ref().err().map(Fault::to_string);
    if let Ok(wire) = control {
        wire.leave().await;
    }
    for address in excluded {
        let finding = match &trouble {
            None => try_from(inspection, address).await,
            Some(why) => Finding::untested(
                title(address),
                format!("the usual address is not greeted either: {why}"),
            ),
        };
        inspection.find(finding);
    }
    Ok(())
}

fn title(address: IpAddr) -> String {
    format!("a connection from {address} is refused")
}

async fn try_from(inspection: &mut Inspection<'_>, address: IpAddr) -> Finding {
    let title = title(address);
    if address.is_ipv4() != inspection.target.address.is_ipv4() {
        return Finding::untested(title, "the server's address is of the other family");
    }
    let wire = match inspection.connect_from(Some(address)).await {
        Ok(wire) => wire,
        // Whether our own system or the server said no is not to be told apart here.
        Err(fault) => return Finding::untested(title, fault.to_string()),
    };
    let tape = wire.tape();
    let wire = match inspection.expected.channel {
        // Here a server says nothing to who says nothing.
        Channel::Implicit => inspection.shake_hands(wire).await,
        _ => Ok(wire),
    };
    match wire {
        Ok(wire) => listen(title, wire).await,
        Err(fault) => turned(title, Away::of(&fault, &tape.now())),
    }
}

/// What comes in place of the greeting, or the greeting.
async fn listen(title: String, mut wire: Wire) -> Finding {
    let finding = match wire.answer().await {
        Ok(answer) if answer.code == 220 => Finding::failed(title, "it was greeted", REMEDY),
        Ok(answer) => turned(title, Away::Word(answer)),
        Err(fault) => turned(title, Away::of(&fault, &wire.tape().now())),
    };
    let finding = finding.with(wire.said());
    wire.leave().await;
    finding
}

fn turned(title: String, how: Away) -> Finding {
    match how {
        Away::Word(answer) if answer.is_refusal() => Finding::passed(title, answer.to_string()),
        Away::Word(answer) => Finding::untested(
            title,
            format!("this is said to anybody while a server is busy or paused: {answer}"),
        ),
        Away::Closed => Finding::passed(
            title,
            "closed without a greeting, where the usual address is greeted",
        ),
        Away::Unclear(why) => Finding::untested(title, why),
    }
}

//! A connection from an excluded address is refused: 554 or 421 instead of a greeting, or closed at once.
//!
//! Never: more than one connection from each address.

use std::net::IpAddr;

use crate::expected::Channel;
use crate::finding::Finding;
use crate::inspection::Inspection;
use crate::wire::Fault;

const REMEDY: &str = "put the address on [access.connection] list (mode = \"all-except\"), or leave it out where mode = \"only\"; then reload";

pub(super) async fn run(inspection: &mut Inspection<'_>) -> Result<(), Fault> {
    let excluded = inspection.expected.excluded.clone();
    if excluded.is_empty() {
        inspection.find(Finding::untested(
            "a connection from an excluded address is refused",
            "no local address was named that is excluded (--from)",
        ));
    }
    for address in excluded {
        let finding = try_from(inspection, address).await;
        inspection.find(finding);
    }
    Ok(())
}

async fn try_from(inspection: &mut Inspection<'_>, address: IpAddr) -> Finding {
    let title = format!("a connection from {address} is refused");
    if address.is_ipv4() != inspection.target.address.is_ipv4() {
        return Finding::untested(title, "the server's address is of the other family");
    }
    let connected = inspection.connect_from(Some(address)).await;
    let connected = match (connected, inspection.expected.channel) {
        // Here a server says nothing to who says nothing.
        (Ok(wire), Channel::Implicit) => inspection.shake_hands(wire).await,
        (connected, _) => connected,
    };
    let mut wire = match connected {
        Ok(wire) => wire,
        Err(fault @ Fault::Tls(_)) => return Finding::passed(title, fault.to_string()),
        // Whether our own system or the server said no is not to be told apart here.
        Err(fault) => return Finding::untested(title, fault.to_string()),
    };
    match wire.answer().await {
        Ok(answer) if answer.code == 220 => {
            let said = wire.said().to_owned();
            wire.leave().await;
            Finding::failed(title, "it was greeted", REMEDY).with(&said)
        }
        Ok(answer) => Finding::passed(title, answer.to_string()).with(wire.said()),
        Err(fault) if fault.is_close() => {
            Finding::passed(title, "closed without a greeting").with(wire.said())
        }
        Err(fault) => Finding::untested(title, fault.to_string()).with(wire.said()),
    }
}

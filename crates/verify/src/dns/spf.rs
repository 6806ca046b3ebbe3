//! SPF: who may send mail in a domain's name (RFC 7208), and whether this server may.
//!
//! ```text
//! TXT ── exactly one v=spf1 ── record: terms known? ── evaluate: for nobody (costs, +all), then for each own address
//! ```
//!
//! Never: `exp=`; nobody is refused here, so nothing is to be explained.

mod evaluate;
mod expand;
pub(super) mod record;

use std::net::IpAddr;

use postern_dns::Ask;

use self::evaluate::{Limits, MOST_LOOKUPS, MOST_VOIDS, Verdict, Walk};
use self::record::{Mechanism, Qualifier, Record, is_claimed};
use super::Facts;
use super::desk::Desk;
use super::row::{Grade, Row, text_line};

/// As receivers do it.
const STRICT: Limits = Limits {
    lookups: MOST_LOOKUPS,
    voids: MOST_VOIDS,
};
/// Far enough to say how much too much it is.
const PATIENT: Limits = Limits {
    lookups: 4 * MOST_LOOKUPS,
    voids: 4 * MOST_LOOKUPS,
};
/// Addresses of a server evaluated.
const MOST_ADDRESSES: usize = 16;

/// The row of a domain. `by_mx` says that its MX leads to this server, so that `mx` covers it.
pub(super) async fn check<A: Ask>(
    desk: &Desk<'_, A>,
    facts: &Facts,
    domain: &str,
    by_mx: bool,
) -> Row {
    let texts = match desk.texts(domain).await {
        Ok(texts) => texts,
        Err(untold) => return desk.not_asked("SPF", &untold),
    };
    let claimed: Vec<&String> = texts.iter().filter(|text| is_claimed(text)).collect();
    let text = match claimed.as_slice() {
        [] => {
            let remark = format!(
                "anybody can send in the name of {domain}, and receivers trust its mail less"
            );
            return desk
                .row("SPF", Grade::Missing, remark)
                .with(proposal(facts, domain, by_mx));
        }
        [one] => one.as_str(),
        more => {
            let remark = format!(
                "there are {} SPF records, so receivers take none (RFC 7208 §4.5)",
                more.len()
            );
            return desk
                .row("SPF", Grade::Contradictory, remark)
                .with(proposal(facts, domain, by_mx));
        }
    };
    match Record::parse(text) {
        Err(why) => desk
            .row(
                "SPF",
                Grade::Contradictory,
                format!("the record is broken: {why}"),
            )
            .with(proposal(facts, domain, by_mx)),
        Ok(record) => of_record(desk, facts, domain, text, &record).await,
    }
}

async fn of_record<A: Ask>(
    desk: &Desk<'_, A>,
    facts: &Facts,
    domain: &str,
    text: &str,
    record: &Record,
) -> Row {
    let mut walk = Walk::new(desk, domain, &facts.fqdn, None, PATIENT);
    let of_nobody = walk.verdict().await;
    let (lookups, voids, ptr) = (walk.lookups, walk.voids, walk.ptr);
    let mut faults: Vec<String> = Vec::new();
    match of_nobody {
        Verdict::Temporary(why) => {
            return desk.row(
                "SPF",
                Grade::NotAsked,
                format!("it could not be asked as a whole: {why}"),
            );
        }
        Verdict::Permanent(why) => faults.push(format!("receivers take it for broken: {why}")),
        Verdict::Pass(term) => faults.push(format!(
            "{term} lets everybody send in the name of {domain}"
        )),
        _ if lookups > MOST_LOOKUPS => {
            faults.push(format!("it takes {lookups} look-ups of the {MOST_LOOKUPS} that receivers make (RFC 7208 §4.6.4), and is then taken for broken"));
        }
        _ if voids > MOST_VOIDS => {
            faults.push(format!("{voids} of its look-ups find nothing, of which receivers allow {MOST_VOIDS} (RFC 7208 §4.6.4)"));
        }
        _ => {}
    }
    faults.extend(wide(record));
    let mut uncovered = Vec::new();
    if faults.is_empty() {
        for address in facts.public().iter().take(MOST_ADDRESSES) {
            match Walk::new(desk, domain, &facts.fqdn, Some(*address), STRICT)
                .verdict()
                .await
            {
                Verdict::Pass(_) => {}
                Verdict::Temporary(why) => {
                    return desk.row(
                        "SPF",
                        Grade::NotAsked,
                        format!("it could not be asked as a whole: {why}"),
                    );
                }
                verdict => {
                    faults.push(format!(
                        "mail from this server at {address} {}",
                        outcome(&verdict)
                    ));
                    uncovered.push(*address);
                }
            }
        }
    }
    let notes = notes(facts, record, lookups, ptr);
    if faults.is_empty() {
        return desk.row("SPF", Grade::Found, notes.join("; "));
    }
    let publish = match uncovered.as_slice() {
        [] => Vec::new(),
        uncovered => vec![text_line(domain, &with_networks(text, uncovered))],
    };
    desk.row("SPF", Grade::Contradictory, faults.join("; "))
        .with(publish)
}

fn outcome(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Fail => "fails, and is refused".to_owned(),
        Verdict::SoftFail => "fails softly, and is taken for suspect".to_owned(),
        Verdict::Permanent(why) => format!("finds the record broken: {why}"),
        _ => "is not covered (neutral)".to_owned(),
    }
}

/// Networks that hold a good part of the Internet.
fn wide(record: &Record) -> Option<String> {
    let wide = record.directives.iter().find(|one| {
        let network = matches!(one.mechanism, Mechanism::Network(address, length) if length < if address.is_ipv4() { 8 } else { 16 });
        network && one.qualifier == Qualifier::Pass
    });
    wide.map(|one| format!("{} lets a great part of the Internet send", one.text))
}

fn notes(facts: &Facts, record: &Record, lookups: usize, ptr: bool) -> Vec<String> {
    let mut notes = Vec::new();
    if facts.public().is_empty() {
        notes.push(
            "whether it covers this server is not known; name its public address with --address"
                .to_owned(),
        );
    }
    if record.redirect.is_none()
        && !matches!(
            record.of_others(),
            Some(Qualifier::Fail | Qualifier::SoftFail)
        )
    {
        notes.push("it does not end with -all or ~all, so nothing is said of forgers".to_owned());
    }
    if ptr {
        notes.push("it uses ptr, which receivers may ignore (RFC 7208 §5.5)".to_owned());
    }
    if lookups > 0 {
        notes.push(format!("{lookups} of {MOST_LOOKUPS} look-ups"));
    }
    notes
}

/// A record that covers this server.
fn proposal(facts: &Facts, domain: &str, by_mx: bool) -> Vec<String> {
    let terms = match (by_mx, facts.public().as_slice()) {
        (true, _) => "mx".to_owned(),
        (false, []) => format!("a:{}", facts.fqdn),
        (false, addresses) => addresses
            .iter()
            .take(MOST_ADDRESSES)
            .map(network)
            .collect::<Vec<_>>()
            .join(" "),
    };
    vec![text_line(domain, &format!("v=spf1 {terms} -all"))]
}

/// The record as it is, with these networks in front.
fn with_networks(text: &str, addresses: &[IpAddr]) -> String {
    let networks: Vec<String> = addresses.iter().map(network).collect();
    format!("v=spf1 {} {}", networks.join(" "), text[6..].trim())
        .trim_end()
        .to_owned()
}

fn network(address: &IpAddr) -> String {
    match address {
        IpAddr::V4(four) => format!("ip4:{four}"),
        IpAddr::V6(six) => format!("ip6:{six}"),
    }
}

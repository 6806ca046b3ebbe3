//! The server's own name: its addresses, and their way back.
//!
//! ```text
//! FQDN ── A, AAAA ──▶ addresses = the server's? ── PTR ──▶ the FQDN again?
//! ```
//!
//! Never: a look at the host; its addresses are given.

use std::net::IpAddr;

use postern_dns::{Ask, Data, Type, lookup};

use super::Facts;
use super::desk::{Addresses, Desk};
use super::row::{Grade, Row, line};

/// Addresses of a server looked at; nobody's definition has more.
const MOST_ADDRESSES: usize = 16;
/// Names of one address compared.
const MOST_NAMES: usize = 32;

/// The rows, and the addresses that the name has (none where that is not known).
pub(super) async fn check<A: Ask>(
    desk: &Desk<'_, A>,
    facts: &Facts,
) -> (Vec<Row>, Option<Vec<IpAddr>>) {
    let (row, seen) = forward(desk, facts).await;
    let mut rows = vec![row];
    for address in facts.addresses.iter().take(MOST_ADDRESSES) {
        rows.push(backward(desk, facts, *address, seen.as_deref()).await);
    }
    (rows, seen)
}

async fn forward<A: Ask>(desk: &Desk<'_, A>, facts: &Facts) -> (Row, Option<Vec<IpAddr>>) {
    let found = match desk.addresses(&facts.fqdn).await {
        Ok(found) => found,
        Err(untold) => return (desk.not_asked("address", &untold), None),
    };
    let (grade, remark) = judge(facts, &found);
    let row = desk.row("address", grade, remark);
    let row = match grade {
        Grade::Missing | Grade::Contradictory => row.with(address_lines(facts)),
        _ => row,
    };
    let mut list = found.list;
    list.sort();
    (row, Some(list))
}

fn judge(facts: &Facts, found: &Addresses) -> (Grade, String) {
    let fqdn = &facts.fqdn;
    let strangers = without(&found.list, &facts.addresses);
    let absent = without(&facts.addresses, &found.list);
    if let Some(target) = found.aliases.last() {
        // RFC 5321 §2.3.5 for the greeting, RFC 2181 §10.3 for an MX.
        let why = "a mail server's name must not be an alias: no MX may lead to one, and EHLO must not say one";
        return (
            Grade::Contradictory,
            format!("{fqdn} is an alias (CNAME) of {target}; {why}"),
        );
    }
    if found.list.is_empty() {
        let what = if found.exists {
            "has no address"
        } else {
            "does not exist"
        };
        return (Grade::Missing, format!("{fqdn} {what}"));
    }
    if facts.addresses.is_empty() {
        let why = "this host has no public address of its own to compare with; name the server's with --address";
        return (Grade::Note, why.to_owned());
    }
    if translated(facts, &strangers) {
        let why = "the server's own addresses are private; if it stands behind address translation, name its public one with --address";
        return (Grade::Note, why.to_owned());
    }
    if !strangers.is_empty() {
        return (Grade::Contradictory, elsewhere(facts, &strangers));
    }
    if !absent.is_empty() {
        return (
            Grade::Found,
            format!(
                "it does not lead to {}, where the server listens too",
                words(&absent)
            ),
        );
    }
    (Grade::Found, String::new())
}

fn elsewhere(facts: &Facts, strangers: &[IpAddr]) -> String {
    format!(
        "{} leads to {}, which is no address of this server ({})",
        facts.fqdn,
        words(strangers),
        words(&facts.addresses)
    )
}

/// Whether the name leads to public addresses, and the server has none.
fn translated(facts: &Facts, strangers: &[IpAddr]) -> bool {
    facts.public().is_empty() && strangers.iter().any(|one| is_public(*one))
}

/// The reverse zone of a private address is seen by nobody outside: what is wrong with it is only noted.
async fn backward<A: Ask>(
    desk: &Desk<'_, A>,
    facts: &Facts,
    address: IpAddr,
    seen: Option<&[IpAddr]>,
) -> Row {
    let row = names_of(desk, facts, address, seen).await;
    match row.grade {
        Grade::Missing | Grade::Contradictory if !is_public(address) => Row {
            grade: Grade::Note,
            ..row
        },
        _ => row,
    }
}

async fn names_of<A: Ask>(
    desk: &Desk<'_, A>,
    facts: &Facts,
    address: IpAddr,
    seen: Option<&[IpAddr]>,
) -> Row {
    let subject = format!("reverse {address}");
    let reverse = lookup::reverse_name(address);
    let told = match desk.ask(&reverse, Type::Ptr).await {
        Ok(told) => told,
        Err(untold) => return desk.not_asked(subject, &untold),
    };
    let publish = vec![line(&reverse, "PTR", format_args!("{}.", facts.fqdn))];
    let names: Vec<&str> = told
        .data
        .iter()
        .take(MOST_NAMES)
        .filter_map(pointer)
        .collect();
    let total = told.data.len() + told.left_out;
    if names.is_empty() {
        let remark = format!(
            "{address} has no name, and many receivers refuse mail from such; whoever assigned the address publishes it"
        );
        return desk.row(subject, Grade::Missing, remark).with(publish);
    }
    if !names.contains(&facts.fqdn.as_str()) {
        let remark = format!(
            "{address} is named {}, not {}",
            some(&names, total),
            facts.fqdn
        );
        return desk
            .row(subject, Grade::Contradictory, remark)
            .with(publish);
    }
    if seen.is_some_and(|seen| !seen.contains(&address)) {
        let remark = format!(
            "{address} is named {}, which does not lead back to it",
            facts.fqdn
        );
        return desk
            .row(subject, Grade::Contradictory, remark)
            .with(address_lines(facts));
    }
    let remark = match total {
        1 => String::new(),
        more => format!("it is one of {more} names; some receivers look at the first only"),
    };
    desk.row(subject, Grade::Found, remark)
}

fn pointer(data: &Data) -> Option<&str> {
    match data {
        Data::Pointer(name) => Some(name),
        _ => None,
    }
}

/// Says in a note where two ways of asking were told different addresses.
pub(super) fn compare(views: &[(&str, Option<Vec<IpAddr>>)]) -> Option<Row> {
    let told: Vec<_> = views
        .iter()
        .filter_map(|(label, seen)| Some((label, seen.as_ref()?)))
        .collect();
    let (_, first) = told.first()?;
    if told.iter().all(|(_, seen)| seen == first) {
        return None;
    }
    let each: Vec<String> = told
        .iter()
        .map(|(label, seen)| format!("{label} says {}", words(seen)))
        .collect();
    Some(Row {
        subject: "views".to_owned(),
        grade: Grade::Note,
        asked: Vec::new(),
        remark: format!("the resolvers differ on the address: {}", each.join("; ")),
        publish: Vec::new(),
    })
}

/// The lines that would give the name the server's addresses.
fn address_lines(facts: &Facts) -> Vec<String> {
    facts
        .addresses
        .iter()
        .take(MOST_ADDRESSES)
        .map(|address| address_line(&facts.fqdn, *address))
        .collect()
}

fn address_line(name: &str, address: IpAddr) -> String {
    line(name, if address.is_ipv4() { "A" } else { "AAAA" }, address)
}

fn without(these: &[IpAddr], those: &[IpAddr]) -> Vec<IpAddr> {
    these
        .iter()
        .filter(|one| !those.contains(one))
        .copied()
        .collect()
}

/// `192.0.2.1, 192.0.2.2`, or `nothing`.
pub(super) fn words(addresses: &[IpAddr]) -> String {
    const SHOWN: usize = 8;
    let list: Vec<String> = addresses
        .iter()
        .take(SHOWN)
        .map(ToString::to_string)
        .collect();
    match addresses.len().saturating_sub(SHOWN) {
        _ if addresses.is_empty() => "nothing".to_owned(),
        0 => list.join(", "),
        more => format!("{} and {more} more", list.join(", ")),
    }
}

fn some(names: &[&str], total: usize) -> String {
    const SHOWN: usize = 3;
    let mut shown = names[..names.len().min(SHOWN)].to_vec();
    shown.sort_unstable();
    match total.saturating_sub(shown.len()) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Whether the Internet can reach an address, as far as its number tells.
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(four) => {
            let [a, b, ..] = four.octets();
            // RFC 6598: between a provider and its customers.
            let shared = a == 100 && b & 0xc0 == 64;
            !(four.is_private()
                || four.is_loopback()
                || four.is_link_local()
                || four.is_unspecified()
                || shared)
        }
        IpAddr::V6(six) => {
            let first = six.segments()[0];
            !(six.is_loopback()
                || six.is_unspecified()
                || first & 0xfe00 == 0xfc00
                || first & 0xffc0 == 0xfe80)
        }
    }
}

//! Where a domain's mail goes, and whether that is here.
//!
//! | the domain has | grade |
//! |---|---|
//! | an MX that leads to this server, and only hosts that can take mail | found |
//! | none, and leads here by its own address (RFC 5321 §5.1) | missing, though mail comes |
//! | the null MX (RFC 7505), an MX that is an alias, an address or leads nowhere | contradictory |
//! | MX records that all lead elsewhere | contradictory |
//!
//! Never: a connection to the hosts.

use std::net::IpAddr;

use postern_dns::{Ask, Exchange, Type, lookup};

use super::Facts;
use super::desk::{Desk, exchange};
use super::row::{Grade, Row, line};

/// Hosts of one domain looked at.
const MOST_HOSTS: usize = 16;

/// What was found of a domain's mail hosts.
pub(super) struct Hosts {
    /// Their names, for the policies that list them; none where that is not known.
    pub(super) names: Vec<Box<str>>,
    /// Whether one of them is this server.
    pub(super) ours: bool,
}

/// The row, and the hosts.
pub(super) async fn check<A: Ask>(desk: &Desk<'_, A>, facts: &Facts, domain: &str) -> (Row, Hosts) {
    let nothing = Hosts {
        names: Vec::new(),
        ours: false,
    };
    let told = match desk.ask(domain, Type::Mx).await {
        Ok(told) => told,
        Err(untold) => return (desk.not_asked("MX", &untold), nothing),
    };
    let mut exchanges: Vec<&Exchange> = told.data.iter().filter_map(exchange).collect();
    exchanges
        .sort_by(|one, other| (one.preference, &one.host).cmp(&(other.preference, &other.host)));
    if !exchanges.is_empty() {
        return of_records(desk, facts, domain, &exchanges, told.left_out).await;
    }
    let publish = vec![ours_line(facts, domain)];
    if !told.exists {
        let row = desk.row("MX", Grade::Missing, format!("{domain} does not exist"));
        return (row.with(publish), nothing);
    }
    let own = desk.addresses(domain).await.unwrap_or_default().list;
    let ours = own.iter().any(|address| facts.addresses.contains(address));
    let remark = match (ours, own.is_empty()) {
        (true, _) => "mail comes only because the domain's own address is this server's",
        (false, true) => "no mail can come",
        (false, false) => "mail goes to the domain's own address, which is not this server's",
    };
    let hosts = Hosts {
        names: vec![domain.into()],
        ours,
    };
    (
        desk.row(
            "MX",
            Grade::Missing,
            format!("{domain} has no MX: {remark}"),
        )
        .with(publish),
        hosts,
    )
}

async fn of_records<A: Ask>(
    desk: &Desk<'_, A>,
    facts: &Facts,
    domain: &str,
    exchanges: &[&Exchange],
    left_out: usize,
) -> (Row, Hosts) {
    let mut faults: Vec<String> = Vec::new();
    let mut hosts = Hosts {
        names: exchanges
            .iter()
            .map(|one| one.host.clone())
            .filter(|host| !host.is_empty())
            .collect(),
        ours: false,
    };
    match exchanges.iter().filter(|one| one.host.is_empty()).count() {
        0 => {}
        1 if exchanges.len() == 1 => {
            let remark = format!(
                "{domain} says that it takes no mail (a null MX, RFC 7505), and is a domain of this server"
            );
            let row = desk.row("MX", Grade::Contradictory, remark);
            return (row.with(vec![ours_line(facts, domain)]), hosts);
        }
        _ => faults.push("a null MX (\"0 .\") stands beside others".to_owned()),
    }
    let mut unknown = None;
    for host in exchanges
        .iter()
        .map(|one| &*one.host)
        .filter(|host| !host.is_empty())
        .take(MOST_HOSTS)
    {
        match judge(desk, facts, host).await {
            Ok(ours) => hosts.ours |= ours,
            Err(Fault::Broken(fault)) => faults.push(fault),
            Err(Fault::Unknown(untold)) => unknown = Some(untold),
        }
    }
    let many = exchanges.len() + left_out;
    if many > MOST_HOSTS {
        faults.push(format!(
            "it has {many} MX records, of which senders try a few"
        ));
    }
    if !hosts.ours && unknown.is_none() {
        let names: Vec<&str> = hosts.names.iter().map(|name| &**name).take(4).collect();
        faults.push(format!(
            "no MX leads to this server; mail goes to {}",
            names.join(", ")
        ));
    }
    let row = match (faults.is_empty(), unknown) {
        (true, None) => desk.row("MX", Grade::Found, ""),
        (true, Some(untold)) => desk.row("MX", Grade::NotAsked, untold),
        (false, _) => desk
            .row("MX", Grade::Contradictory, faults.join("; "))
            .with(vec![ours_line(facts, domain)]),
    };
    (row, hosts)
}

enum Fault {
    Broken(String),
    Unknown(String),
}

/// Whether a host is this server; what is wrong with it.
async fn judge<A: Ask>(desk: &Desk<'_, A>, facts: &Facts, host: &str) -> Result<bool, Fault> {
    if looks_like_an_address(host) {
        return Err(Fault::Broken(format!(
            "the MX {host} is an address; an MX holds a name (RFC 1035 §3.3.9)"
        )));
    }
    if lookup::ascii(host).is_err() {
        return Err(Fault::Broken(format!("the MX {host:?} is no host name")));
    }
    let found = desk.addresses(host).await.map_err(|untold| {
        Fault::Unknown(format!(
            "the address of {host} could not be asked: {untold}"
        ))
    })?;
    if !found.aliases.is_empty() {
        // RFC 2181 §10.3.
        return Err(Fault::Broken(format!(
            "the MX {host} is an alias (CNAME), which an MX must not lead to"
        )));
    }
    if found.list.is_empty() {
        let what = if found.exists {
            "has no address"
        } else {
            "does not exist"
        };
        return Err(Fault::Broken(format!("the MX {host} {what}")));
    }
    Ok(host == facts.fqdn || found.list.iter().any(|one| facts.addresses.contains(one)))
}

/// `192.0.2.1` written as a name.
fn looks_like_an_address(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok()
        || host
            .split('.')
            .next_back()
            .is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()))
}

fn ours_line(facts: &Facts, domain: &str) -> String {
    line(domain, "MX", format_args!("10 {}.", facts.fqdn))
}

//! The lists as a whole: whom would they let in, and whom relay for? The open-relay guard.
//!
//! | Written | Found |
//! |---|---|
//! | networks that hold a sixteenth of the Internet, alone or together | relays for everyone: an error |
//! | `domain com`, all who have a name below a top-level domain | the same |
//! | all-except | the same, unless the exceptions are the Internet |
//! | more than a /8 of strangers, `domain co.uk` | unwise: a warning |
//! | a balancer that may itself relay | what comes without a client's address relays: a warning |
//!
//! `allow_everyone` makes the errors warnings, or notes where no stranger can connect. Addresses that no stranger can have count for nothing.
//!
//! Never: a file, a look-up. It runs when all entries are there, in `load` or in `read_lists`.

use postern_access::{Entry, EntryKind, Mode};
use postern_hosting::{Finding, Severity};

use crate::coverage::{Coverage, network, overlap};
use crate::load::Definition;

/// From this share on a list holds everyone: more than any organisation has.
const EVERYONE: f64 = 1.0 / 16.0;
/// From this share on it holds more than it should: an IPv4 /8.
const MUCH: f64 = 1.0 / 256.0;
/// So many entries of one kind are named; the rest would say nothing new.
const MOST: usize = 20;

/// All that is wrong with the lists of a definition that has them whole.
pub(crate) fn check(definition: &Definition) -> Vec<Finding> {
    let mut findings = Vec::new();
    let guard = Guard { definition };
    guard.connection(&mut findings);
    guard.relay(&mut findings);
    guard.balancers(&mut findings);
    findings
}

struct Guard<'d> {
    definition: &'d Definition,
}

impl Guard<'_> {
    fn connection(&self, findings: &mut Vec<Finding>) {
        let (rule, sites) = (&self.definition.connection, &self.definition.sites);
        if rule.mode == Mode::AllExcept {
            return self.shut(findings);
        }
        // An entry that was not understood has its own finding.
        let tried = sites
            .connection
            .list
            .is_some_and(|place| place.end - place.start > "[]".len());
        if rule.list.is_empty() && !(tried && self.definition.list_files.is_empty()) {
            let finding = self.finding(
                Severity::Warning,
                "nobody can connect: only listed computers may, and none is listed",
                "list who may connect, or write mode = \"all-except\"",
            );
            findings.push(sites.at(sites.connection.list.or(sites.connection.mode), finding));
        }
        for (index, entry, name) in top_level(&rule.list).take(MOST) {
            let what =
                format!("`domain {name}` lets everyone connect whose name ends with .{name}");
            let finding = self.finding(
                Severity::Warning,
                what,
                format!("write a domain below it, such as \"domain example.{name}\""),
            );
            findings.push(sites.at_entry(&sites.connection, index, entry, finding));
        }
    }

    /// All but everyone may connect.
    fn shut(&self, findings: &mut Vec<Finding>) {
        let (rule, sites) = (&self.definition.connection, &self.definition.sites);
        let held = Coverage::of(rule.list.iter().filter_map(network));
        if held.v4.max(held.v6) < 1.0 {
            return;
        }
        let what = format!(
            "the list refuses {}: with all-except, who is listed may not connect",
            held.in_words()
        );
        let remedy = "write mode = \"only\" if they are to connect";
        let finding = self.finding(Severity::Warning, what, remedy);
        findings.push(sites.at(sites.connection.list, finding));
    }

    fn relay(&self, findings: &mut Vec<Finding>) {
        let before = findings.len();
        match self.definition.relay.mode {
            Mode::Only => self.listed(findings),
            Mode::AllExcept => self.all_except(findings),
        }
        self.without_login(findings);
        let relay = &self.definition.relay;
        let meant = |finding: &Finding| finding.what.starts_with(MEANT);
        if relay.allow_everyone && !findings.iter().skip(before).any(meant) {
            let sites = &self.definition.sites;
            let finding = self.finding(
                Severity::Note,
                "allow_everyone does nothing now; it would let a later mistake in the list pass",
                "remove it",
            );
            findings.push(sites.at(sites.allow_everyone, finding));
        }
    }

    /// A list for those who do not log in, where everybody must.
    fn without_login(&self, findings: &mut Vec<Finding>) {
        let (relay, sites) = (&self.definition.relay, &self.definition.sites);
        if self.definition.authentication.anonymous || relay.list.is_empty() {
            return;
        }
        let finding = self.finding(
            Severity::Note,
            "anonymous is false: who is listed must log in all the same to send at all",
            "write anonymous = true in [access.authentication] if devices that cannot log in are listed",
        );
        findings.push(sites.at(sites.relay.list, finding));
    }

    fn all_except(&self, findings: &mut Vec<Finding>) {
        let (relay, sites) = (&self.definition.relay, &self.definition.sites);
        let excepted = Coverage::of(relay.list.iter().filter_map(network));
        if excepted.v4 >= 1.0 && excepted.v6 >= 1.0 {
            return;
        }
        let what = match relay.list.len() {
            0 => "this would relay for everyone: all may, and no exception is listed".to_owned(),
            _ => "this would relay for everyone who is not listed: for the Internet, that is"
                .to_owned(),
        };
        findings.push(sites.at(sites.relay.mode, self.everyone(what)));
    }

    fn listed(&self, findings: &mut Vec<Finding>) {
        let (relay, sites) = (&self.definition.relay, &self.definition.sites);
        let together = Coverage::of(relay.list.iter().filter_map(network));
        let wide = wide(&relay.list);
        if together.most() >= EVERYONE {
            findings.push(self.holds_everyone(together, &wide));
        } else if wide.is_empty() && together.most() >= MUCH {
            let what = format!(
                "the entries together hold {}, and all of it may relay",
                together.in_words()
            );
            let finding = self.finding(Severity::Warning, what, KNOWN);
            findings.push(sites.at(sites.relay.list, finding));
        } else {
            findings.extend(wide.iter().take(MOST).map(|one| self.holds_much(one)));
        }
        self.names(findings);
    }

    /// At the entry that holds most by itself, or at the list where it takes many.
    fn holds_everyone(&self, together: Coverage, wide: &[Wide<'_>]) -> Finding {
        let sites = &self.definition.sites;
        let what = format!(
            "this list would relay for everyone: it holds {}",
            together.in_words()
        );
        let finding = self.everyone(what);
        let widest = wide
            .iter()
            .reduce(|a, b| if b.held.most() > a.held.most() { b } else { a });
        match widest {
            Some(one) => sites.at_entry(&sites.relay, one.index, one.entry, finding),
            None => sites.at(sites.relay.list, finding),
        }
    }

    fn holds_much(&self, wide: &Wide<'_>) -> Finding {
        let sites = &self.definition.sites;
        let what = format!(
            "{} is {}, and may relay",
            wide.entry.kind,
            wide.held.in_words()
        );
        let finding = self.finding(Severity::Warning, what, KNOWN);
        sites.at_entry(&sites.relay, wide.index, wide.entry, finding)
    }

    /// Domains so high that strangers have names below them.
    fn names(&self, findings: &mut Vec<Finding>) {
        let (relay, sites) = (&self.definition.relay, &self.definition.sites);
        for (index, entry, name) in top_level(&relay.list).take(MOST) {
            let what = format!(
                "`domain {name}` would relay for everyone whose name ends with .{name}: anybody can have one"
            );
            let finding = self.everyone(what);
            findings.push(sites.at_entry(&sites.relay, index, entry, finding));
        }
        let registries =
            relay
                .list
                .iter()
                .enumerate()
                .filter_map(|(index, entry)| match &entry.kind {
                    EntryKind::Domain(name) if is_registry(name) => Some((index, entry, name)),
                    _ => None,
                });
        for (index, entry, name) in registries.take(MOST) {
            let what = format!("strangers may have names below {name}, and would relay");
            let finding = self.finding(Severity::Warning, what, "write the domains that are yours");
            findings.push(sites.at_entry(&sites.relay, index, entry, finding));
        }
    }

    /// A balancer that may itself relay: so may all that comes through it and names no client.
    fn balancers(&self, findings: &mut Vec<Finding>) {
        let (relay, sites) = (&self.definition.relay, &self.definition.sites);
        let from = &self.definition.general.proxy_from;
        if relay.mode != Mode::Only || from.is_empty() {
            return;
        }
        let inside = relay.list.iter().enumerate().filter_map(|(index, entry)| {
            let network = network(entry)?;
            let balancer = from.iter().find(|balancer| overlap(balancer, &network))?;
            Some((index, entry, balancer))
        });
        for (index, entry, balancer) in inside.take(MOST) {
            let what = format!(
                "{} may relay, and holds the balancer {} of proxy_from: whatever comes through it without a client's address would relay",
                entry.kind,
                shown(balancer)
            );
            let remedy = "leave the balancer's address out of the list";
            let finding = self.finding(Severity::Warning, what, remedy);
            findings.push(sites.at_entry(&sites.relay, index, entry, finding));
        }
    }

    fn finding(
        &self,
        severity: Severity,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        Finding::error(&self.definition.sites.path, what, remedy).with_severity(severity)
    }

    /// An error; where everyone is meant, a warning, or a note if strangers cannot even connect.
    fn everyone(&self, what: String) -> Finding {
        const REMEDY: &str = "list only the computers that may relay; if everyone is meant, write allow_everyone = true";
        if !self.definition.relay.allow_everyone {
            return self.finding(Severity::Error, what, REMEDY);
        }
        let what = format!("{MEANT}: {}", what.replace(" would ", " does "));
        match self.strangers_connect() {
            true => self.finding(
                Severity::Warning,
                what,
                "remove allow_everyone, or write in [access.connection] that only your own computers may connect",
            ),
            false => self.finding(
                Severity::Note,
                what,
                "nothing, as long as [access.connection] lets no stranger connect",
            ),
        }
    }

    /// Whether more can connect than the computers an organisation has.
    fn strangers_connect(&self) -> bool {
        let rule = &self.definition.connection;
        let by_name = |entry: &Entry| matches!(&entry.kind, EntryKind::Domain(name) if is_top_level(name) || is_registry(name));
        rule.mode == Mode::AllExcept
            || Coverage::of(rule.list.iter().filter_map(network)).most() >= MUCH
            || rule.list.iter().any(by_name)
    }
}

/// How the guard begins where everyone is meant.
const MEANT: &str = "allow_everyone is true";

/// The address of a network of one, or the network.
pub(crate) fn shown(network: &ipnet::IpNet) -> String {
    match network.prefix_len() == network.max_prefix_len() {
        true => network.addr().to_string(),
        false => network.to_string(),
    }
}

/// What to write instead of a wide network.
const KNOWN: &str = "write the networks you know";

/// An entry that holds more than it should by itself.
struct Wide<'d> {
    index: usize,
    entry: &'d Entry,
    held: Coverage,
}

fn wide(list: &[Entry]) -> Vec<Wide<'_>> {
    list.iter()
        .enumerate()
        .filter(|(_, entry)| may_be_wide(entry))
        .map(|(index, entry)| Wide {
            index,
            entry,
            held: Coverage::of_entry(entry),
        })
        .filter(|wide| wide.held.most() >= MUCH)
        .collect()
}

/// A cheap look before shares are measured.
fn may_be_wide(entry: &Entry) -> bool {
    match entry.kind {
        EntryKind::Network(ipnet::IpNet::V4(net)) => net.prefix_len() <= 8,
        EntryKind::Network(ipnet::IpNet::V6(net)) => {
            // Larger than anybody's, or a part of what translators and tunnels use.
            net.prefix_len() < 20
                || matches!(
                    net.addr().segments(),
                    [0x64, 0xff9b, ..] | [0x2001, 0, ..] | [0x2002, ..]
                )
        }
        _ => false,
    }
}

/// The `domain` entries of one label.
fn top_level(list: &[Entry]) -> impl Iterator<Item = (usize, &Entry, &str)> {
    list.iter()
        .enumerate()
        .filter_map(|(index, entry)| match &entry.kind {
            EntryKind::Domain(name) if is_top_level(name) => Some((index, entry, &**name)),
            _ => None,
        })
}

/// Whether a name of one label may be a top-level domain: not one that the public DNS never has (RFC 6761, RFC 6762,
/// ICANN for `internal`).
pub(crate) fn is_top_level(name: &str) -> bool {
    const NOBODYS: [&str; 6] = [
        "example",
        "internal",
        "invalid",
        "local",
        "localhost",
        "test",
    ];
    !name.contains('.') && !NOBODYS.contains(&name)
}

/// Whether a domain looks like one below which a country gives names to everybody: `co.uk`, `com.au`.
fn is_registry(name: &str) -> bool {
    const SECOND: [&str; 12] = [
        "ac", "asn", "co", "com", "edu", "gov", "id", "net", "nom", "or", "org", "ne",
    ];
    name.split_once('.').is_some_and(|(second, country)| {
        SECOND.contains(&second) && country.len() == 2 && !country.contains('.')
    })
}

#[cfg(test)]
mod tests;

//! What a reload would change, in words that matter: who gains, who loses.
//!
//! | Subject | Compared |
//! |---|---|
//! | address | identities, and how TLS is spoken there |
//! | connection, relay | the addresses that may, as sets; names as they are written; domains |
//! | login | accounts: there or not, what they may; directories, and how they are asked; the settings |
//! | tls | what is required; certificates |
//! | domain | local domains, their recipients and aliases |
//! | limit, setting | as they are in force |
//!
//! A list that is written otherwise and means the same is no change.
//!
//! Never: a file, a look-up; both sides are facts.

mod people;
mod settings;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::facts::{Facts, ListFacts};
use crate::networks::Networks;

/// What a change is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// Where the server listens.
    Address,
    /// Who may connect.
    Connection,
    /// Who may send on to foreign domains.
    Relay,
    /// Who may log in, and what a login grants.
    Login,
    /// The channel.
    Tls,
    /// Local domains.
    Domain,
    /// How much and how many.
    Limit,
    /// The rest.
    Setting,
}

impl Subject {
    /// The subject as one lower-case word.
    pub fn as_str(self) -> &'static str {
        match self {
            Subject::Address => "address",
            Subject::Connection => "connection",
            Subject::Relay => "relay",
            Subject::Login => "login",
            Subject::Tls => "tls",
            Subject::Domain => "domain",
            Subject::Limit => "limit",
            Subject::Setting => "setting",
        }
    }
}

/// Which way it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Somebody may what he might not.
    Gained,
    /// Somebody may no longer.
    Lost,
    /// It is otherwise.
    Changed,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What it is about.
    pub subject: Subject,
    /// Which way it goes.
    pub effect: Effect,
    /// What it is, in words.
    pub what: String,
    /// Whom it is about, the first of them; empty where the words say it.
    pub who: Vec<String>,
    /// How many more.
    pub more: usize,
}

/// As many are named.
pub const NAMED: usize = 20;

/// What is otherwise in `new`, by subject. Empty: nothing that matters.
pub fn diff(old: &Facts, new: &Facts) -> Vec<Change> {
    let mut changes = Changes::default();
    changes.identities(&old.identities, &new.identities);
    changes.list(
        Subject::Connection,
        ["may connect", "may no longer connect"],
        &old.connection,
        &new.connection,
    );
    changes.list(
        Subject::Relay,
        [
            "may relay without logging in",
            "may no longer relay without logging in",
        ],
        &old.relay,
        &new.relay,
    );
    changes.names(
        Subject::Relay,
        [
            "mail for these domains is taken from anybody",
            "mail for these domains is no longer taken from anybody",
        ],
        &old.relay_domains,
        &new.relay_domains,
    );
    changes.accounts(&old.accounts, &new.accounts);
    changes.certificates(&old.certificates, &new.certificates);
    changes.domains(&old.domains, &new.domains);
    changes.directories(&old.directories, &new.directories);
    changes.settings(&old.access, &new.access);
    changes.settings(&old.limits, &new.limits);
    changes.settings(&old.others, &new.others);
    let mut all = changes.0;
    all.sort_by_key(|change| (change.subject, change.effect));
    all
}

#[derive(Default)]
struct Changes(Vec<Change>);

impl Changes {
    fn add(
        &mut self,
        subject: Subject,
        effect: Effect,
        what: impl Into<String>,
        who: impl IntoIterator<Item = String>,
    ) {
        let mut who = who.into_iter();
        let named: Vec<String> = who.by_ref().take(NAMED).collect();
        self.0.push(Change {
            subject,
            effect,
            what: what.into(),
            who: named,
            more: who.count(),
        });
    }

    /// The same, unless there is nobody.
    fn some(
        &mut self,
        subject: Subject,
        effect: Effect,
        what: &str,
        who: impl IntoIterator<Item = String>,
    ) {
        let mut who = who.into_iter().peekable();
        if who.peek().is_some() {
            self.add(subject, effect, what, who);
        }
    }

    fn names(
        &mut self,
        subject: Subject,
        [gained, lost]: [&str; 2],
        old: &BTreeSet<String>,
        new: &BTreeSet<String>,
    ) {
        self.some(
            subject,
            Effect::Gained,
            gained,
            new.difference(old).cloned(),
        );
        self.some(subject, Effect::Lost, lost, old.difference(new).cloned());
    }

    fn identities(&mut self, old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) {
        let subject = Subject::Address;
        for (address, tls) in new {
            match old.get(address) {
                None => self.add(
                    subject,
                    Effect::Gained,
                    format!("{address} is listened on ({tls})"),
                    [],
                ),
                Some(before) if before != tls => {
                    self.add(
                        subject,
                        Effect::Changed,
                        format!("{address}: {before} → {tls}"),
                        [],
                    );
                }
                Some(_) => {}
            }
        }
        for address in old.keys().filter(|address| !new.contains_key(*address)) {
            self.add(
                subject,
                Effect::Lost,
                format!("{address} is no longer listened on"),
                [],
            );
        }
    }

    fn list(&mut self, subject: Subject, words: [&str; 2], old: &ListFacts, new: &ListFacts) {
        if old.only != new.only {
            let mode = |facts: &ListFacts| if facts.only { "only" } else { "all-except" };
            let what = format!("{}.mode: {} → {}", subject.as_str(), mode(old), mode(new));
            self.add(subject, Effect::Changed, what, []);
        }
        let (before, after) = (permitted(old), permitted(new));
        self.addresses(subject, Effect::Gained, words[0], &after.without(&before));
        self.addresses(subject, Effect::Lost, words[1], &before.without(&after));
        self.by_name(subject, words, old, new);
    }

    /// Told by those it is about, or by those it is not about if they are fewer.
    fn addresses(&mut self, subject: Subject, effect: Effect, what: &str, who: &Networks) {
        let others = who.complement();
        let count = |networks: &Networks| networks.cover().count();
        match (count(who), count(&others)) {
            (0, _) => {}
            (_, 0) => self.add(subject, effect, format!("everybody {what}"), []),
            (these, those) if these <= those => {
                self.add(subject, effect, what, who.cover().map(address));
            }
            _ => {
                let what = format!("everybody but these {what}");
                self.add(subject, effect, what, others.cover().map(address));
            }
        }
    }

    /// Names are not addresses: an entry is told as it is written.
    fn by_name(&mut self, subject: Subject, words: [&str; 2], old: &ListFacts, new: &ListFacts) {
        let [more, less] = match new.only {
            true => words,
            false => [words[1], words[0]],
        };
        let effect = |gain| if gain { Effect::Gained } else { Effect::Lost };
        if old.only != new.only {
            // The entries of the other mode mean nothing any more; those of the new one are exceptions to it.
            let what = match new.only {
                true => format!("but these still, by name: {}", words[0]),
                false => format!("but not these, by name: {}", words[1]),
            };
            return self.some(subject, Effect::Changed, &what, new.names.iter().cloned());
        }
        self.some(
            subject,
            effect(new.only),
            more,
            new.names.difference(&old.names).cloned(),
        );
        self.some(
            subject,
            effect(!new.only),
            less,
            old.names.difference(&new.names).cloned(),
        );
    }

    fn certificates(
        &mut self,
        old: &BTreeMap<String, Option<u64>>,
        new: &BTreeMap<String, Option<u64>>,
    ) {
        let paths =
            |all: &BTreeMap<String, Option<u64>>| all.keys().cloned().collect::<BTreeSet<String>>();
        let words = [
            "these certificates are shown",
            "these certificates are no longer shown",
        ];
        self.names(Subject::Tls, words, &paths(old), &paths(new));
        for (path, after) in new {
            match (old.get(path), after) {
                (Some(Some(before)), Some(after)) if before != after => {
                    self.add(
                        Subject::Tls,
                        Effect::Changed,
                        format!("another certificate is in {path}"),
                        [],
                    );
                }
                (Some(None), _) | (Some(_), None) => {
                    let what = format!("{path} could not be read: whether it changes is not known");
                    self.add(Subject::Tls, Effect::Changed, what, []);
                }
                _ => {}
            }
        }
    }
}

fn permitted(facts: &ListFacts) -> Networks {
    let listed = Networks::of(&facts.networks);
    match facts.only {
        true => listed,
        false => listed.complement(),
    }
}

/// A network of one is an address.
fn address(network: ipnet::IpNet) -> String {
    match network.prefix_len() == network.max_prefix_len() {
        true => network.addr().to_string(),
        false => network.to_string(),
    }
}

#[cfg(test)]
mod tests;

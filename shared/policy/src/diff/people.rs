//! What changes for people: accounts and what they may, local domains and who is there.
//!
//! Never: a password; only that it is another one.

use std::collections::{BTreeMap, BTreeSet};

use super::{Changes, Effect, Subject};
use crate::facts::{AccountFacts, DomainFacts};

impl Changes {
    pub(super) fn accounts(
        &mut self,
        old: &BTreeMap<String, AccountFacts>,
        new: &BTreeMap<String, AccountFacts>,
    ) {
        let subject = Subject::Login;
        let added = new.keys().filter(|name| !old.contains_key(*name)).cloned();
        self.some(subject, Effect::Gained, "may log in", added);
        let removed = old.keys().filter(|name| !new.contains_key(*name)).cloned();
        self.some(subject, Effect::Lost, "may no longer log in", removed);
        let able = |all: &BTreeMap<String, AccountFacts>, may: fn(&AccountFacts) -> bool| {
            let able = all.iter().filter(|(_, account)| may(account));
            able.map(|(name, _)| name.clone())
                .collect::<BTreeSet<String>>()
        };
        let submits: fn(&AccountFacts) -> bool = |account| account.submits;
        let relays: fn(&AccountFacts) -> bool = |account| account.relays;
        let send = ["may send, logged in", "may no longer send, logged in"];
        self.names(subject, send, &able(old, submits), &able(new, submits));
        let relay = ["may relay, logged in", "may no longer relay, logged in"];
        self.names(
            Subject::Relay,
            relay,
            &able(old, relays),
            &able(new, relays),
        );
        let keyed: fn(&AccountFacts) -> bool = |account| account.scram;
        let scram = ["have keys for SCRAM", "no longer have keys for SCRAM"];
        self.names(subject, scram, &able(old, keyed), &able(new, keyed));
        self.account_details(old, new);
    }

    fn account_details(
        &mut self,
        old: &BTreeMap<String, AccountFacts>,
        new: &BTreeMap<String, AccountFacts>,
    ) {
        let both = || {
            new.iter()
                .filter_map(|(name, after)| Some((name, old.get(name)?, after)))
        };
        let changed = both().filter(|(_, before, after)| before.password != after.password);
        let names: Vec<String> = changed.map(|(name, ..)| name.clone()).collect();
        self.some(
            Subject::Login,
            Effect::Changed,
            "have another password",
            names,
        );
        for (name, before, after) in both() {
            let words = [
                format!("{name} may send from"),
                format!("{name} may no longer send from"),
            ];
            let words = [words[0].as_str(), &words[1]];
            self.names(Subject::Login, words, &before.addresses, &after.addresses);
            let words = [format!("{name} is in"), format!("{name} is no longer in")];
            let words = [words[0].as_str(), &words[1]];
            self.names(Subject::Login, words, &before.groups, &after.groups);
        }
    }

    pub(super) fn domains(
        &mut self,
        old: &BTreeMap<String, DomainFacts>,
        new: &BTreeMap<String, DomainFacts>,
    ) {
        let subject = Subject::Domain;
        for (name, after) in new {
            match old.get(name) {
                None => self.add(
                    subject,
                    Effect::Gained,
                    format!("{name} is local ({})", after.to),
                    [],
                ),
                Some(before) => self.domain(name, before, after),
            }
        }
        for name in old.keys().filter(|name| !new.contains_key(*name)) {
            self.add(
                subject,
                Effect::Lost,
                format!("{name} is no longer local"),
                [],
            );
        }
    }

    fn domain(&mut self, name: &str, old: &DomainFacts, new: &DomainFacts) {
        let subject = Subject::Domain;
        if old.to != new.to {
            self.add(
                subject,
                Effect::Changed,
                format!("{name} goes to {} → {}", old.to, new.to),
                [],
            );
        }
        let words = [
            format!("recipients of {name}"),
            format!("no longer recipients of {name}"),
        ];
        match (&old.recipients, &new.recipients) {
            (Some(old), Some(new)) => self.names(subject, [&words[0], &words[1]], old, new),
            (None, Some(new)) => {
                let what = format!("only these are recipients of {name}");
                self.add(subject, Effect::Lost, what, new.iter().cloned());
            }
            (Some(_), None) => {
                let what = format!("everybody is taken as a recipient of {name}");
                self.add(subject, Effect::Gained, what, []);
            }
            (None, None) => {}
        }
        let aliases = |domain: &DomainFacts| {
            let all = domain.aliases.iter();
            all.map(|(alias, names)| format!("{alias} = {}", names.join(", ")))
                .collect::<BTreeSet<String>>()
        };
        let words = [
            format!("aliases in {name}"),
            format!("no longer aliases in {name}"),
        ];
        self.names(
            subject,
            [&words[0], &words[1]],
            &aliases(old),
            &aliases(new),
        );
    }
}

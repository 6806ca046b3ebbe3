//! May this address connect? Asked before any command.
//!
//! ```text
//! mode "only":        listed → yes, else no
//! mode "all-except":  listed → no, else yes
//! ```

use std::net::IpAddr;

use crate::list::{List, Mode, NameFacts, ResolvedHosts};
use crate::verdict::{Silent, Trail, Verdict};

/// The rule of `[access.connection]`.
#[derive(Clone, Debug)]
pub struct ConnectionRule {
    mode: Mode,
    list: List,
}

impl ConnectionRule {
    /// The rule of a mode and a list.
    pub fn new(mode: Mode, list: List) -> ConnectionRule {
        ConnectionRule { mode, list }
    }

    /// What the list means.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The list.
    pub fn list(&self) -> &List {
        &self.list
    }

    /// Whether the client's names could change the answer.
    pub fn needs_names(&self, client: IpAddr, hosts: &ResolvedHosts) -> bool {
        self.list.needs_names(client, hosts)
    }

    /// The decision. Allocates nothing; the trail stays empty.
    pub fn decide(&self, client: IpAddr, facts: &NameFacts<'_>) -> Verdict {
        self.run(client, facts, &mut Silent)
    }

    /// The same decision with its trail.
    pub fn explain(&self, client: IpAddr, facts: &NameFacts<'_>) -> Verdict {
        let mut trail = Vec::new();
        self.run(client, facts, &mut trail).with_trail(trail)
    }

    fn run(&self, client: IpAddr, facts: &NameFacts<'_>, trail: &mut impl Trail) -> Verdict {
        match self
            .list
            .decide(self.mode, "connection", client, facts, trail)
        {
            (true, reason) => Verdict::allow(reason),
            (false, reason) => Verdict::refuse(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Entry, Origin, Reason};

    fn rule(mode: Mode, entries: &[&str]) -> ConnectionRule {
        let lines = entries.iter().zip(1..);
        let entries: Vec<Entry> = lines
            .map(|(text, line)| Entry::parse(text, Origin::new(0, line)).unwrap())
            .collect();
        ConnectionRule::new(mode, List::new(&entries))
    }

    #[test]
    fn both_modes() {
        let cases = [
            (
                Mode::AllExcept,
                &[][..],
                "192.0.2.7",
                true,
                Reason::NotListed,
            ),
            (Mode::Only, &[], "192.0.2.7", false, Reason::NotListed),
            (
                Mode::AllExcept,
                &["192.0.2.0/24"],
                "192.0.2.7",
                false,
                Reason::Listed(Origin::new(0, 1)),
            ),
            (
                Mode::Only,
                &["198.51.100.1", "192.0.2.0/24"],
                "::ffff:192.0.2.7",
                true,
                Reason::Listed(Origin::new(0, 2)),
            ),
        ];
        for (mode, entries, client, allowed, reason) in cases {
            let verdict = rule(mode, entries).decide(client.parse().unwrap(), &NameFacts::NONE);
            assert_eq!(
                (verdict.allowed, verdict.reason),
                (allowed, reason),
                "{mode:?} {entries:?} {client}"
            );
            assert!(verdict.trail.is_empty());
        }
    }

    #[test]
    fn an_explanation_names_the_entry() {
        let verdict = rule(Mode::AllExcept, &["192.0.2.0/24"])
            .explain("192.0.2.7".parse().unwrap(), &NameFacts::NONE);
        assert_eq!(verdict.trail.len(), 1);
        assert_eq!(
            verdict.trail[0].rule,
            "connection.list: 192.0.2.0/24 (all-except)"
        );
        assert_eq!(verdict.trail[0].origin.map(Origin::line), Some(1));
    }
}

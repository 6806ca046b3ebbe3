//! All that was found on one address.
//!
//! Never: what to print and how; whoever called knows his reader.

use std::net::SocketAddr;

use serde::Serialize;

use crate::finding::{Finding, Outcome};
use crate::tap::Recording;

/// What `verify` brings home.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The address that was tested.
    pub address: SocketAddr,
    /// Every line, in the order they were found.
    pub findings: Vec<Finding>,
    /// Whether a foreign address as everybody writes it was taken, or refused for the relaying; `None` where that was not
    /// tried. `false`: each was refused for another reason, and the server may be an open relay.
    pub relay_proved: Option<bool>,
    /// How many connections were opened.
    pub connections: usize,
    /// How many logins were tried that a server counts as wrong passwords.
    pub wrong_passwords: u8,
    /// The bytes of every connection.
    #[serde(skip)]
    pub recordings: Vec<Recording>,
}

impl Report {
    /// How many lines came out so.
    pub fn count(&self, outcome: Outcome) -> usize {
        let same = |finding: &&Finding| finding.outcome == outcome;
        self.findings.iter().filter(same).count()
    }

    /// Whether nothing failed. A report in which nothing was tested holds too: ask [`Report::says_something`].
    pub fn holds(&self) -> bool {
        self.count(Outcome::Failed) == 0
    }

    /// Whether anything was tested at all.
    pub fn says_something(&self) -> bool {
        self.count(Outcome::NotTested) < self.findings.len()
    }
}

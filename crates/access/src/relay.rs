//! Is this recipient taken, and on what ground? Asked at each RCPT.
//!
//! ```text
//! a source route in the address                          → refused
//! the domain is local or in relay.domains                → taken, unless the local part smuggles another address;
//!                                                          whether the recipient exists is the caller's question
//! logged in, relay.authenticated, and `relay` grants it  → taken
//! relay.list says yes                                    → taken
//! otherwise                                              → refused: 550 5.7.1 Unable to relay for user@domain
//! ```
//!
//! No form of address widens this: what is compared is the domain after the last `@`, exactly as the parser gave it.
//! A local part with `%`, `!` or `@` in it, quoted or not, could be read as an address by the host we pass it to, on
//! the strength of our standing there; for domains taken without any grant it is refused.

use std::net::IpAddr;

use crate::domains::DomainSet;
use crate::grants::{Grants, Login};
use crate::list::{List, Mode, NameFacts, ResolvedHosts};
use crate::verdict::{Reason, Silent, Trail, Verdict};

/// The rule of `[access.relay]`, with what else decides at RCPT.
#[derive(Clone, Debug)]
pub struct RelayRule {
    /// The local domains (`delivery.domains`).
    pub local: DomainSet,
    /// Foreign domains mail is always taken for (`relay.domains`).
    pub domains: DomainSet,
    /// Whether clients that log in may relay (`relay.authenticated`).
    pub authenticated: bool,
    /// Which of them (`access.authentication.relay`).
    pub granted: Grants,
    /// What the list means (`relay.mode`).
    pub mode: Mode,
    /// Who may relay without logging in (`relay.list`).
    pub list: List,
}

/// A recipient, and who asks.
#[derive(Clone, Copy, Debug)]
pub struct RelayQuestion<'a> {
    /// The client's address.
    pub client: IpAddr,
    /// What is known of its names.
    pub facts: &'a NameFacts<'a>,
    /// The login, if there is one.
    pub login: Option<&'a Login<'a>>,
    /// The local part, quoted or not.
    pub local: &'a str,
    /// The domain as written, a literal in its brackets; `None` for the bare `<postmaster>`.
    pub domain: Option<&'a str>,
    /// Whether the path had a source route (`@a,@b:user@domain`).
    pub source_route: bool,
}

impl RelayRule {
    /// The decision. Allocates nothing; the trail stays empty.
    pub fn decide(&self, question: &RelayQuestion<'_>) -> Verdict {
        self.run(question, &mut Silent)
    }

    /// The same decision with its trail.
    pub fn explain(&self, question: &RelayQuestion<'_>) -> Verdict {
        let mut trail = Vec::new();
        self.run(question, &mut trail).with_trail(trail)
    }

    /// Whether the list alone lets this client relay: one of the administrator's own machines, that is.
    pub fn lists(&self, client: IpAddr, facts: &NameFacts<'_>) -> bool {
        let listed = self.list.find(client, facts).is_some();
        listed == (self.mode == Mode::Only)
    }

    /// Whether the client's names could change the answer: asked before a reverse look-up is made.
    pub fn needs_names(&self, question: &RelayQuestion<'_>, hosts: &ResolvedHosts) -> bool {
        self.list.needs_names(question.client, hosts)
            && self.before_list(question, &mut Silent).is_none()
    }

    fn run(&self, question: &RelayQuestion<'_>, trail: &mut impl Trail) -> Verdict {
        if let Some(verdict) = self.before_list(question, trail) {
            return verdict;
        }
        match self
            .list
            .decide(self.mode, "relay", question.client, question.facts, trail)
        {
            (true, reason) => Verdict::allow(reason),
            // What the client lacks is a grant, if it is logged in; the list is then only where it ended.
            (false, _) if question.login.is_some() => Verdict::refuse(Reason::NotGranted),
            (false, reason) => Verdict::refuse(reason),
        }
    }

    /// All that comes before the list; `None` if the list has to say.
    fn before_list(&self, question: &RelayQuestion<'_>, trail: &mut impl Trail) -> Option<Verdict> {
        // RFC 5321 §3.6.1: a server may decline the relaying that a source route implies.
        if question.source_route {
            trail.note(
                || "the recipient carries a source route".to_owned(),
                None,
                true,
            );
            return Some(Verdict::refuse(Reason::SourceRoute));
        }
        let Some(domain) = question.domain else {
            return Some(bare(question.local, trail));
        };
        if !is_usable(domain) {
            trail.note(|| format!("`{domain}` is no domain"), None, true);
            return Some(Verdict::refuse(Reason::BadDomain));
        }
        self.domain(question.local, domain, trail)
            .or_else(|| self.login(question.login, trail))
    }

    fn domain(&self, local: &str, domain: &str, trail: &mut impl Trail) -> Option<Verdict> {
        let sets = [
            ("delivery.domains", &self.local, Reason::LocalDomain),
            ("relay.domains", &self.domains, Reason::RelayDomain),
        ];
        for (rule, set, reason) in sets {
            let origin = set.find(domain);
            trail.note(|| format!("{rule}: {domain}"), origin, origin.is_some());
            if origin.is_none() {
                continue;
            }
            if is_address_like(local) {
                trail.note(
                    || format!("the local part `{local}` could be read as another address"),
                    None,
                    true,
                );
                return Some(Verdict::refuse(Reason::RelaySyntax));
            }
            return Some(Verdict::allow(reason));
        }
        None
    }

    fn login(&self, login: Option<&Login<'_>>, trail: &mut impl Trail) -> Option<Verdict> {
        let Some(login) = login else {
            trail.note(|| "not logged in".to_owned(), None, false);
            return None;
        };
        if !self.authenticated {
            trail.note(|| "relay.authenticated: false".to_owned(), None, false);
            return None;
        }
        let deciding = self.granted.deciding(login);
        let granted = deciding.is_some_and(|grant| !grant.denies);
        let shown =
            || deciding.map_or_else(|| "names nobody like it".to_owned(), ToString::to_string);
        trail.note(
            || format!("authentication.relay for {}: {}", login.account, shown()),
            None,
            granted,
        );
        granted.then(|| Verdict::allow(Reason::Granted))
    }
}

/// A recipient without a domain: only the postmaster may be written so (RFC 5321 §4.1.1.3).
fn bare(local: &str, trail: &mut impl Trail) -> Verdict {
    let is_postmaster = local.eq_ignore_ascii_case("postmaster");
    trail.note(|| format!("`{local}` has no domain"), None, true);
    match is_postmaster {
        true => Verdict::allow(Reason::LocalDomain),
        false if is_address_like(local) => Verdict::refuse(Reason::RelaySyntax),
        false => Verdict::refuse(Reason::BadDomain),
    }
}

/// Whether a next hop could take the local part for an address: the percent hack, a bang path, an inner or doubled `@`; or
/// a sign that becomes one of them where names are brought into their compatible form (Unicode's NFKC).
fn is_address_like(local: &str) -> bool {
    const ALIKE: [char; 6] = ['％', '！', '＠', '﹪', '﹗', '﹫'];
    local.bytes().any(|b| matches!(b, b'%' | b'!' | b'@'))
        || (!local.is_ascii() && local.contains(ALIKE))
}

/// A literal in brackets, or labels without an empty one: `example.com.` and `a..b` are no names (RFC 5321 §2.3.5).
fn is_usable(domain: &str) -> bool {
    match domain.strip_prefix('[') {
        Some(rest) => rest.ends_with(']') && !rest.contains(['[', '@']),
        None => {
            let stray = |c: char| {
                c.is_whitespace()
                    || c.is_control()
                    || matches!(
                        c,
                        '@' | '%' | '!' | '"' | '[' | ']' | ':' | ',' | ';' | '\\' | '<' | '>'
                    )
            };
            domain.split('.').all(|label| !label.is_empty()) && !domain.contains(stray)
        }
    }
}

#[cfg(test)]
#[path = "relay/tests.rs"]
mod tests;

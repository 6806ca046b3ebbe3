//! Yes or no, why, and (when asked) the trail of rules that led there.
//!
//! `decide` runs the rules with [`Silent`], which drops every step unbuilt; `explain` runs the same rules with a
//! `Vec<Step>`. So an explanation cannot differ from the decision.

use crate::entry::Origin;

/// What decided. The caller words the reply from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// An entry of the list matched (at this place).
    Listed(Origin),
    /// No entry matched, and the mode says what that means.
    NotListed,
    /// The recipient's domain is local: whether the recipient exists is the caller's question.
    LocalDomain,
    /// The recipient's domain is one that mail is always taken for.
    RelayDomain,
    /// The client is logged in, and granted.
    Granted,
    /// The client is logged in, but no grant names it.
    NotGranted,
    /// The session is anonymous, and that is enough.
    Anonymous,
    /// The session is anonymous, and must log in first.
    MustLogIn,
    /// The null sender is always allowed to whoever may send.
    NullSender,
    /// The sender is one of the account's own addresses.
    OwnAddress,
    /// The sender is not one of the account's own addresses.
    ForeignAddress,
    /// An anonymous session claims a sender in a local domain.
    AnonymousLocal,
    /// The recipient carries a source route.
    SourceRoute,
    /// The recipient's local part could be read by a next hop as an address of its own (`%`, `!`, `@`).
    RelaySyntax,
    /// The recipient names no usable domain.
    BadDomain,
}

/// One rule that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The rule in the definition's words: `relay.list: 192.0.2.0/24`.
    pub rule: String,
    /// Where it stands, if it was written at all.
    pub origin: Option<Origin>,
    /// Whether it decided.
    pub matched: bool,
}

/// A decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The answer.
    pub allowed: bool,
    /// Allowed, but the message is to be marked as of unproven origin (`anonymous_local_sender = "mark"`).
    pub marked: bool,
    /// What decided.
    pub reason: Reason,
    /// Every rule looked at, in order; empty unless the decision was asked to explain itself.
    pub trail: Vec<Step>,
}

impl Verdict {
    pub(crate) fn allow(reason: Reason) -> Verdict {
        Verdict {
            allowed: true,
            marked: false,
            reason,
            trail: Vec::new(),
        }
    }

    pub(crate) fn refuse(reason: Reason) -> Verdict {
        Verdict {
            allowed: false,
            marked: false,
            reason,
            trail: Vec::new(),
        }
    }

    pub(crate) fn with_trail(mut self, trail: Vec<Step>) -> Verdict {
        self.trail = trail;
        self
    }
}

/// Where steps go while a rule decides.
pub(crate) trait Trail {
    fn step(&mut self, step: impl FnOnce() -> Step);

    /// A rule that was looked at, written without allocating unless the trail is kept.
    fn note(&mut self, rule: impl FnOnce() -> String, origin: Option<Origin>, matched: bool) {
        self.step(|| Step {
            rule: rule(),
            origin,
            matched,
        });
    }
}

/// Keeps nothing: the hot path.
pub(crate) struct Silent;

impl Trail for Silent {
    fn step(&mut self, _: impl FnOnce() -> Step) {}
}

impl Trail for Vec<Step> {
    fn step(&mut self, step: impl FnOnce() -> Step) {
        self.push(step());
    }
}

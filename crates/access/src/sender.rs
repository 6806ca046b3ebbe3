//! May this session send MAIL FROM this address? Asked at MAIL.
//!
//! ```text
//! not logged in, anonymous off                        → refused: 530 5.7.1 Client was not authenticated
//! logged in, `submit` does not grant it               → refused
//! the null sender                                     → allowed
//! logged in, sender_must_match, a foreign address     → refused: 553 5.7.1
//! not logged in, the sender's domain is local         → anonymous_local_sender: reject, mark or accept
//! ```

use crate::domains::DomainSet;
use crate::grants::{Grants, Login};
use crate::verdict::{Reason, Silent, Trail, Verdict};

/// What happens to an anonymous session that claims a sender in a local domain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AnonymousLocalSender {
    /// It is refused.
    #[default]
    Reject,
    /// It is taken, and the message marked.
    Mark,
    /// It is taken as it is (Exchange: resolve anonymous e-mail).
    Accept,
}

impl AnonymousLocalSender {
    /// The word a definition writes.
    pub fn as_str(self) -> &'static str {
        match self {
            AnonymousLocalSender::Reject => "reject",
            AnonymousLocalSender::Mark => "mark",
            AnonymousLocalSender::Accept => "accept",
        }
    }
}

/// What decides at MAIL.
#[derive(Clone, Debug)]
pub struct SenderRule {
    /// The local domains (`delivery.domains`).
    pub local: DomainSet,
    /// Whether a session may send without logging in.
    pub anonymous: bool,
    /// Who may send at all.
    pub submit: Grants,
    /// Whether a logged-in client sends only from its own addresses.
    pub must_match: bool,
    /// What an anonymous session with a local sender gets.
    pub anonymous_local: AnonymousLocalSender,
}

/// A sender, and who claims it.
#[derive(Clone, Copy, Debug)]
pub struct SenderQuestion<'a> {
    /// The login, if there is one.
    pub login: Option<&'a Login<'a>>,
    /// Local part and domain; `None` for the null sender.
    pub sender: Option<(&'a str, &'a str)>,
}

impl SenderRule {
    /// The decision. Allocates nothing; the trail stays empty.
    pub fn decide(&self, question: &SenderQuestion<'_>) -> Verdict {
        self.run(question, &mut Silent)
    }

    /// The same decision with its trail.
    pub fn explain(&self, question: &SenderQuestion<'_>) -> Verdict {
        let mut trail = Vec::new();
        self.run(question, &mut trail).with_trail(trail)
    }

    fn run(&self, question: &SenderQuestion<'_>, trail: &mut impl Trail) -> Verdict {
        match question.login {
            Some(login) => self.logged_in(login, question.sender, trail),
            None => self.anonymous(question.sender, trail),
        }
    }

    fn anonymous(&self, sender: Option<(&str, &str)>, trail: &mut impl Trail) -> Verdict {
        trail.note(
            || format!("authentication.anonymous: {}", self.anonymous),
            None,
            !self.anonymous,
        );
        if !self.anonymous {
            return Verdict::refuse(Reason::MustLogIn);
        }
        let Some((_, domain)) = sender else {
            trail.note(|| "the null sender".to_owned(), None, true);
            return Verdict::allow(Reason::NullSender);
        };
        let Some(origin) = self.local.find(domain) else {
            trail.note(|| format!("{domain} is not a local domain"), None, true);
            return Verdict::allow(Reason::Anonymous);
        };
        let what = self.anonymous_local;
        trail.note(
            || format!("delivery.domains: {domain}"),
            Some(origin),
            false,
        );
        trail.note(
            || format!("authentication.anonymous_local_sender: {}", what.as_str()),
            None,
            true,
        );
        match what {
            AnonymousLocalSender::Reject => Verdict::refuse(Reason::AnonymousLocal),
            AnonymousLocalSender::Mark => Verdict {
                marked: true,
                ..Verdict::allow(Reason::AnonymousLocal)
            },
            AnonymousLocalSender::Accept => Verdict::allow(Reason::AnonymousLocal),
        }
    }

    fn logged_in(
        &self,
        login: &Login<'_>,
        sender: Option<(&str, &str)>,
        trail: &mut impl Trail,
    ) -> Verdict {
        let granted = self.submit.allow(login);
        trail.note(
            || format!("authentication.submit for {}: {granted}", login.account),
            None,
            !granted,
        );
        if !granted {
            return Verdict::refuse(Reason::NotGranted);
        }
        let Some((local, domain)) = sender else {
            trail.note(|| "the null sender".to_owned(), None, true);
            return Verdict::allow(Reason::NullSender);
        };
        if !self.must_match {
            trail.note(
                || "authentication.sender_must_match: false".to_owned(),
                None,
                true,
            );
            return Verdict::allow(Reason::Granted);
        }
        let own = login.owns(local, domain);
        trail.note(
            || {
                let account = login.account;
                let belongs = if own { "belongs" } else { "does not belong" };
                format!("authentication.sender_must_match: {local}@{domain} {belongs} to {account}")
            },
            None,
            true,
        );
        if own {
            Verdict::allow(Reason::OwnAddress)
        } else {
            Verdict::refuse(Reason::ForeignAddress)
        }
    }
}

impl Login<'_> {
    /// Whether the address is one of the account's: listed, of a listed domain, or the account's own name.
    ///
    /// Case is ignored on both sides of the `@`: which mailbox is meant is not in doubt, and clients write as they like.
    pub fn owns(&self, local: &str, domain: &str) -> bool {
        let is_it = |own: &str| match own.rsplit_once('@') {
            Some(("" | "*", whole)) => whole.eq_ignore_ascii_case(domain),
            Some((name, at)) => name.eq_ignore_ascii_case(local) && at.eq_ignore_ascii_case(domain),
            None => false,
        };
        is_it(self.account) || self.addresses.iter().any(|own| is_it(own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Origin;

    fn rule() -> SenderRule {
        SenderRule {
            local: DomainSet::new([("example.com", Origin::new(0, 30))]),
            anonymous: true,
            submit: Grants::new(vec!["*".parse().unwrap(), "!@frozen".parse().unwrap()]),
            must_match: true,
            anonymous_local: AnonymousLocalSender::Reject,
        }
    }

    fn ask(rule: &SenderRule, login: Option<&Login<'_>>, sender: &str) -> (bool, Reason) {
        let question = SenderQuestion {
            login,
            sender: sender.rsplit_once('@'),
        };
        let (decided, explained) = (rule.decide(&question), rule.explain(&question));
        assert_eq!(
            (decided.allowed, decided.reason),
            (explained.allowed, explained.reason)
        );
        assert!(decided.trail.is_empty() && !explained.trail.is_empty());
        (decided.allowed, decided.reason)
    }

    #[test]
    fn anonymous_sessions() {
        let mut rule = rule();
        assert_eq!(ask(&rule, None, "a@example.net"), (true, Reason::Anonymous));
        assert_eq!(ask(&rule, None, ""), (true, Reason::NullSender));
        assert_eq!(
            ask(&rule, None, "a@EXAMPLE.com"),
            (false, Reason::AnonymousLocal)
        );
        rule.anonymous_local = AnonymousLocalSender::Accept;
        assert_eq!(
            ask(&rule, None, "a@example.com"),
            (true, Reason::AnonymousLocal)
        );
        rule.anonymous_local = AnonymousLocalSender::Mark;
        let marked = rule.decide(&SenderQuestion {
            login: None,
            sender: Some(("a", "example.com")),
        });
        assert!(marked.allowed && marked.marked);
        rule.anonymous = false;
        for sender in ["", "a@example.net", "a@example.com"] {
            assert_eq!(ask(&rule, None, sender), (false, Reason::MustLogIn));
        }
    }

    #[test]
    fn logged_in_clients_send_from_their_own_addresses() {
        let addresses = [
            "alice@example.com".to_owned(),
            "@lists.example.com".to_owned(),
            "nonsense".to_owned(),
        ];
        let alice = Login {
            account: "alice@corp.example",
            groups: &[],
            addresses: &addresses,
        };
        let mut rule = rule();
        rule.anonymous = false;
        for own in [
            "alice@example.com",
            "Alice@Example.COM",
            "any@lists.example.com",
            "alice@corp.example",
        ] {
            assert_eq!(
                ask(&rule, Some(&alice), own),
                (true, Reason::OwnAddress),
                "{own}"
            );
        }
        for foreign in [
            "bob@example.com",
            "alice@example.net",
            "a@x.lists.example.com",
            "nonsense@example.com",
        ] {
            assert_eq!(
                ask(&rule, Some(&alice), foreign),
                (false, Reason::ForeignAddress),
                "{foreign}"
            );
        }
        assert_eq!(ask(&rule, Some(&alice), ""), (true, Reason::NullSender));
        rule.must_match = false;
        assert_eq!(
            ask(&rule, Some(&alice), "bob@example.net"),
            (true, Reason::Granted)
        );
    }

    #[test]
    fn submit_is_asked_first() {
        let groups = ["frozen".to_owned()];
        let bob = Login {
            account: "bob",
            groups: &groups,
            addresses: &[],
        };
        assert_eq!(ask(&rule(), Some(&bob), ""), (false, Reason::NotGranted));
    }
}

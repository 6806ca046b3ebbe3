//! What a recipient or a sender was refused for, as far as the reply tells: the relaying, or a domain that no mail goes to.
//!
//! | reply | for |
//! |---|---|
//! | 5.1.2, 5.1.10, 5.4.4, 4.1.x, 4.4.x; "Domain not found", "Unrouteable address" | the domain |
//! | 5.1.8, 5.7.27 | the sender's domain |
//! | names the sender, or speaks of it | the sender |
//! | anything else | the relaying |
//!
//! An open relay that looks its domains up refuses one that cannot exist, and would take any other.
//!
//! Never: a guess in favour of the server.

use crate::reply::Answer;

/// What it was refused for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The relaying, or the form it was written in.
    Relaying,
    /// A domain that was not found.
    Domain,
    /// The sender's domain.
    SenderDomain,
    /// Who the sender is.
    Sender,
}

impl Cause {
    /// Of a refusal in a transaction of `sender` and `recipient`, as they were written.
    pub(super) fn of(answer: &Answer, sender: &str, recipient: &str) -> Cause {
        match code(answer) {
            Some([5, 1, 2 | 10] | [5, 4, 4] | [4, 1 | 4, _]) => Cause::Domain,
            Some([5, 1, 8] | [5, 7, 27]) => Cause::SenderDomain,
            code => worded(answer, code, &bare(sender), &bare(recipient)),
        }
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            Cause::Relaying => "refused",
            Cause::Domain => "refused for its domain, not for relaying",
            Cause::SenderDomain => "refused for the sender's domain, not for relaying",
            Cause::Sender => "refused for its sender, not for relaying",
        }
    }
}

fn worded(answer: &Answer, code: Option<[u16; 3]>, sender: &str, recipient: &str) -> Cause {
    let all = answer.lines.join(" ").to_lowercase();
    // An address may hold any of the words.
    let text = all.replace(recipient, "");
    let named = sender.contains('@') && text.contains(sender);
    let text = text.replace(sender, "");
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if says(&["relay"]) {
        Cause::Relaying
    } else if named || (says(&["sender"]) && says(&TROUBLE)) {
        Cause::Sender
    } else if code != Some([5, 1, 1]) && (says(&ROUTES) || (says(&PLACES) && says(&TROUBLE))) {
        Cause::Domain
    } else {
        Cause::Relaying
    }
}

const ROUTES: [&str; 3] = ["unrouteable", "unroutable", "no route"];
const PLACES: [&str; 4] = ["domain", "host", "dns", "mx record"];
const TROUBLE: [&str; 10] = [
    "not found",
    "unknown",
    "exist",
    "no such",
    "resolve",
    "no mx",
    "lookup",
    "reject",
    "verif",
    "invalid",
];

/// Without brackets, in small letters.
fn bare(path: &str) -> String {
    let path = path.strip_prefix('<').unwrap_or(path);
    path.strip_suffix('>').unwrap_or(path).to_lowercase()
}

/// The enhanced status code (RFC 3463), where there is one.
fn code(answer: &Answer) -> Option<[u16; 3]> {
    let word = answer.lines.first()?.split_whitespace().next()?;
    let mut numbers = word.split('.').map(str::parse::<u16>);
    let mut next = || numbers.next()?.ok();
    Some([next()?, next()?, next()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(text: &str) -> Cause {
        let answer = Answer {
            code: 550,
            lines: vec![text.to_owned()],
        };
        let recipient = "<relaytest@postern-verify.invalid>";
        Cause::of(&answer, "<spamtest@example.net>", recipient)
    }

    #[test]
    fn what_servers_say_is_told_apart() {
        for (text, wanted) in [
            (
                "5.7.1 <relaytest@postern-verify.invalid>: Relay access denied",
                Cause::Relaying,
            ),
            (
                "5.7.1 Unable to relay for relaytest@postern-verify.invalid",
                Cause::Relaying,
            ),
            ("relay not permitted", Cause::Relaying),
            (
                "sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)",
                Cause::Relaying,
            ),
            ("5.1.3 The address needs a domain", Cause::Relaying),
            (
                "5.1.1 <relaytest@postern-verify.invalid>: Recipient address rejected: User unknown",
                Cause::Relaying,
            ),
            (
                "5.1.2 <relaytest@postern-verify.invalid>: Recipient address rejected: Domain not found",
                Cause::Domain,
            ),
            ("4.1.2 Domain not found", Cause::Domain),
            ("5.4.4 Unable to route", Cause::Domain),
            ("5.1.10 Recipient has a null MX", Cause::Domain),
            ("Unrouteable address", Cause::Domain),
            ("Unknown host", Cause::Domain),
            (
                "relaytest@postern-verify.invalid: no such domain",
                Cause::Domain,
            ),
            (
                "5.7.27 <spamtest@example.net>: Sender address rejected: nullMX",
                Cause::SenderDomain,
            ),
            ("5.1.8 Domain not found", Cause::SenderDomain),
            ("5.7.1 <spamtest@example.net>: Access denied", Cause::Sender),
            ("Sender verify failed", Cause::Sender),
        ] {
            assert_eq!(cause(text), wanted, "{text}");
        }
    }
}

//! Servers that answer for another reason than the one in question: nothing of them may pass for a rule that holds.

use postern_verify::{Channel, Check, Expected, Finding, Outcome};

use super::server::Manners;
use super::{expected, polite, run};

/// The one line of this check with this title.
fn line(manners: Manners, expected: Expected, check: Check, title: &str) -> Finding {
    let report = run(manners, expected, &[check]);
    let found = report.findings.iter().find(|f| f.title == title);
    found
        .unwrap_or_else(|| panic!("{:#?}", report.findings))
        .clone()
}

#[test]
fn an_address_is_excluded_only_where_another_is_greeted() {
    let paused = || Manners {
        turned_away: "421 4.3.2 paused\r\n",
        ..polite()
    };
    let closes = || Manners {
        turned_away: "",
        ..polite()
    };
    let shut = || Manners {
        greeting: "554 5.3.2 nobody today",
        ..polite()
    };
    let implicit = |manners| Manners {
        implicit: true,
        ..manners
    };
    let alert = || Manners {
        turned_away: "\u{15}\u{3}\u{3}\0\u{2}\u{2}\u{28}",
        ..polite()
    };
    for (manners, channel, outcome, says) in [
        (polite(), Channel::Offered, Outcome::Passed, "554"),
        (closes(), Channel::Offered, Outcome::Passed, "closed"),
        (paused(), Channel::Offered, Outcome::NotTested, "421"),
        (shut(), Channel::Offered, Outcome::NotTested, "554 5.3.2"),
        (
            implicit(polite()),
            Channel::Implicit,
            Outcome::Passed,
            "554",
        ),
        (
            implicit(closes()),
            Channel::Implicit,
            Outcome::Passed,
            "closed",
        ),
        (
            implicit(paused()),
            Channel::Implicit,
            Outcome::NotTested,
            "421",
        ),
        (
            implicit(alert()),
            Channel::Implicit,
            Outcome::NotTested,
            "handshake",
        ),
        // TLS is broken for everybody.
        (
            polite(),
            Channel::Implicit,
            Outcome::NotTested,
            "usual address",
        ),
    ] {
        let expected = Expected {
            channel,
            ..expected()
        };
        let title = "a connection from 127.0.0.9 is refused";
        let seen = line(manners, expected, Check::Excluded, title);
        assert_eq!(seen.outcome, outcome, "{seen:#?}");
        assert!(seen.why.contains(says), "{says}: {seen:#?}");
    }
}

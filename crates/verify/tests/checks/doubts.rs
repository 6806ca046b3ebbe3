//! Servers that answer for another reason than the one in question: nothing of them may pass for a rule that holds.

use std::time::Duration;

use postern_verify::{Channel, Check, Expected, Finding, Outcome, Pace};

use super::server::{Manners, start};
use super::{block, expected, look, pace, polite, run, titles};

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

const LAST: &str = "too many connections of one address are refused";

#[test]
fn a_limit_of_connections_is_reached_by_some_that_were_greeted() {
    for (max_connections, too_many, outcome) in [
        (10, "421 4.7.0 too many", Outcome::Passed),
        (10, "", Outcome::Passed),
        (10, "554 5.3.2 nobody today", Outcome::NotTested),
        (0, "421 4.3.2 paused", Outcome::NotTested),
        (0, "", Outcome::NotTested),
    ] {
        let manners = Manners {
            max_connections,
            too_many,
            ..polite()
        };
        let seen = line(manners, expected(), Check::Limits, LAST);
        assert_eq!(seen.outcome, outcome, "{too_many}: {seen:#?}");
    }
}

#[test]
fn a_slow_limit_takes_no_time_from_the_others() {
    let manners = Manners {
        slow_errors: Duration::from_secs(60),
        ..polite()
    };
    let report = block(async {
        let pace = Pace {
            wait: Duration::from_secs(60),
            check: Duration::from_secs(2),
            ..pace()
        };
        let address = start(manners).await;
        let report = look(address, &expected(), &[Check::Limits], pace).await;
        report.unwrap()
    });
    assert_eq!(
        titles(&report, Outcome::NotTested),
        ["too many bad commands end the session"],
        "{:#?}",
        report.findings
    );
    assert_eq!(report.count(Outcome::Passed), 4, "{:#?}", report.findings);
}

const PLAIN: [&str; 3] = [
    "no relay: Q304897 test 1, from outside to outside",
    "no relay: Q304897 test 3, null sender",
    "no relay: a foreign sender with a domain that exists",
];

/// How the plain probes come out against an open relay that objects so, and whether they say anything of relaying.
fn open_relay(
    objects: fn(&str, &str) -> Option<&'static str>,
    expected: Expected,
) -> (Vec<Outcome>, Option<bool>) {
    let manners = Manners {
        relays: |_| true,
        objects,
        ..polite()
    };
    let report = run(manners, expected, &[Check::Relay]);
    let outcomes = PLAIN.map(|title| {
        let found = report.findings.iter().find(|f| f.title == title);
        found.unwrap().outcome
    });
    (outcomes.to_vec(), report.relay_proved)
}

#[test]
fn a_domain_that_is_not_found_proves_no_closed_relay() {
    use Outcome::{Failed, NotTested};
    fn unknown(_: &str, recipient: &str) -> Option<&'static str> {
        let known = recipient.contains("far.test");
        (!known).then_some("550 5.1.2 Recipient address rejected: Domain not found")
    }
    fn unrouteable(_: &str, recipient: &str) -> Option<&'static str> {
        (!recipient.contains("far.test")).then_some("550 Unrouteable address")
    }
    let far = || Expected {
        foreign_recipient: Some("probe@far.test".into()),
        ..expected()
    };
    for objects in [unknown, unrouteable] {
        let (seen, proved) = open_relay(objects, expected());
        assert_eq!((seen, proved), (vec![NotTested; 3], Some(false)));
        let (seen, proved) = open_relay(objects, far());
        assert_eq!((seen, proved), (vec![Failed; 3], Some(true)));
    }
}

#[test]
fn a_sender_that_is_not_liked_proves_no_closed_relay() {
    use Outcome::{Failed, NotTested};
    fn null_mx(sender: &str, _: &str) -> Option<&'static str> {
        let bad = sender.contains("example.net") || sender.contains("invalid");
        bad.then_some("550 5.7.27 Sender address rejected: nullMX")
    }
    fn named(sender: &str, _: &str) -> Option<&'static str> {
        sender
            .contains("spamtest@example.net")
            .then_some("550 5.7.1 <spamtest@example.net> is on our list")
    }
    let (seen, proved) = open_relay(null_mx, expected());
    // The null sender is let through, and shows it.
    assert_eq!(
        (seen, proved),
        (vec![NotTested, Failed, NotTested], Some(true))
    );
    let me = Expected {
        foreign_sender: Some("me@near.test".into()),
        ..expected()
    };
    assert_eq!(open_relay(null_mx, me).0, [Failed; 3]);
    assert_eq!(open_relay(named, expected()).0, [Failed, Failed, NotTested]);
}

#[test]
fn a_closed_relay_is_proved() {
    let report = run(polite(), expected(), &[Check::Relay]);
    assert_eq!(report.relay_proved, Some(true));
    assert_eq!(report.count(Outcome::Passed), report.findings.len());
}

/// A server that is bad and slow: each line takes its time.
fn slow(manners: Manners) -> Manners {
    Manners {
        slow: Duration::from_millis(100),
        ..manners
    }
}

#[test]
fn a_slow_answer_to_a_false_end_is_waited_for() {
    let title = "LF.LF does not end a message";
    let late = |seconds| Manners {
        ends: &["\n.\n"],
        slow_end: Duration::from_secs(seconds),
        ..polite()
    };
    // Longer than `pause` in these tests, which is short; not than four times its slowest reply.
    let seen = line(slow(late(1)), expected(), Check::Smuggling, title);
    assert_eq!(seen.outcome, Outcome::Failed, "{seen:#?}");
    let report = block(async {
        let usual = Pace::default();
        let address = start(late(1)).await;
        let checks = [Check::Smuggling];
        look(address, &expected(), &checks, usual).await.unwrap()
    });
    // CRLF.LF holds the same end.
    let both = [title, "CRLF.LF does not end a message"];
    assert_eq!(titles(&report, Outcome::Failed), both);
    assert_eq!(report.count(Outcome::Passed), 7, "{:#?}", report.findings);
}

#[test]
fn a_server_that_wants_few_sessions_is_probed_one_by_one() {
    let manners = Manners {
        max_connections: 1,
        ..polite()
    };
    let report = run(manners, expected(), &[Check::Smuggling]);
    assert_eq!(report.count(Outcome::Passed), 9, "{:#?}", report.findings);
}

#[test]
fn slow_answers_behind_starttls_and_quit_are_waited_for() {
    let injected = slow(Manners {
        runs_injected: true,
        ..polite()
    });
    let title = "plaintext injected before STARTTLS is dropped";
    let seen = line(injected, expected(), Check::Injection, title);
    assert_eq!(seen.outcome, Outcome::Failed, "{seen:#?}");
    assert!(seen.why.contains("answered inside TLS"), "{seen:#?}");
    let talks_on = slow(Manners {
        answers_behind_quit: true,
        ..polite()
    });
    let title = "what stands behind QUIT is not answered";
    let seen = line(talks_on, expected(), Check::Turns, title);
    assert_eq!(seen.outcome, Outcome::Failed, "{seen:#?}");
}

#[test]
fn a_name_that_is_readable_in_clear_is_told() {
    for (named_in_clear, says) in [
        (
            "SCRAM-SHA-256 GSSAPI",
            "but SCRAM-SHA-256 shows the account's name",
        ),
        ("EXTERNAL", "only EXTERNAL, which show no password"),
        ("", "offers no AUTH"),
    ] {
        let manners = Manners {
            named_in_clear,
            ..polite()
        };
        let title = "no password is readable in clear";
        let seen = line(manners, expected(), Check::Login, title);
        assert_eq!(seen.outcome, Outcome::Passed, "{seen:#?}");
        assert!(seen.why.contains(says), "{seen:#?}");
    }
}

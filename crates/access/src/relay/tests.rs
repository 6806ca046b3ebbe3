use super::*;
use crate::{Entry, Origin};

const LOCAL: &str = "northwindtraders.com";

fn rule(mode: Mode, entries: &[&str]) -> RelayRule {
    let lines = entries.iter().zip(50..);
    let entries: Vec<Entry> = lines
        .map(|(text, line)| Entry::parse(text, Origin::new(0, line)).unwrap())
        .collect();
    RelayRule {
        local: DomainSet::new([(LOCAL, Origin::new(0, 80))]),
        domains: DomainSet::new([("branch.example", Origin::new(0, 45))]),
        authenticated: true,
        granted: Grants::new(vec!["*".parse().unwrap(), "!@interns".parse().unwrap()]),
        mode,
        list: List::new(&entries),
    }
}

fn question<'a>(client: &str, local: &'a str, domain: Option<&'a str>) -> RelayQuestion<'a> {
    let (client, facts) = (client.parse().unwrap(), &NameFacts::NONE);
    RelayQuestion {
        client,
        facts,
        login: None,
        local,
        domain,
        source_route: false,
    }
}

/// Asks both ways, which must agree.
fn ask(rule: &RelayRule, question: &RelayQuestion<'_>) -> (bool, Reason) {
    let (decided, explained) = (rule.decide(question), rule.explain(question));
    assert_eq!(
        (decided.allowed, decided.reason),
        (explained.allowed, explained.reason)
    );
    assert!(decided.trail.is_empty() && !explained.trail.is_empty());
    (decided.allowed, decided.reason)
}

/// The recipient of a probe as a parser gives it: what stands after the last `@` outside quotes is the domain.
fn split(path: &str) -> (&str, Option<&str>) {
    let quoted = path.starts_with('"').then(|| path.rfind('"')).flatten();
    match path
        .rfind('@')
        .filter(|at| quoted.is_none_or(|end| *at > end))
    {
        Some(at) => (&path[..at], Some(&path[at + 1..])),
        None => (path, None),
    }
}

#[test]
fn the_order_of_decision() {
    let rule = rule(Mode::Only, &["192.0.2.0/24"]);
    let (alice, interns) = ([], ["interns".to_owned()]);
    let alice = Login {
        account: "alice",
        groups: &alice,
        addresses: &[],
    };
    let intern = Login {
        account: "bob",
        groups: &interns,
        addresses: &[],
    };
    let (stranger, friend) = ("203.0.113.9", "192.0.2.9");
    let cases = [
        (stranger, None, LOCAL, (true, Reason::LocalDomain)),
        (
            stranger,
            None,
            "NorthWindTraders.COM",
            (true, Reason::LocalDomain),
        ),
        (
            stranger,
            None,
            "branch.example",
            (true, Reason::RelayDomain),
        ),
        (stranger, None, "contoso.net", (false, Reason::NotListed)),
        (
            stranger,
            Some(&alice),
            "contoso.net",
            (true, Reason::Granted),
        ),
        (
            stranger,
            Some(&intern),
            "contoso.net",
            (false, Reason::NotGranted),
        ),
        (
            friend,
            Some(&intern),
            "contoso.net",
            (true, Reason::Listed(Origin::new(0, 50))),
        ),
        (
            friend,
            None,
            "contoso.net",
            (true, Reason::Listed(Origin::new(0, 50))),
        ),
    ];
    for (client, login, domain, expected) in cases {
        let question = RelayQuestion {
            login,
            ..question(client, "relaytest", Some(domain))
        };
        assert_eq!(ask(&rule, &question), expected, "{client} {domain}");
    }
    let closed = RelayRule {
        authenticated: false,
        ..rule
    };
    let question = RelayQuestion {
        login: Some(&alice),
        ..question(stranger, "relaytest", Some("contoso.net"))
    };
    assert_eq!(ask(&closed, &question), (false, Reason::NotGranted));
}

#[test]
fn an_exception_list_excludes() {
    let rule = rule(Mode::AllExcept, &["203.0.113.0/24"]);
    assert!(
        !rule
            .decide(&question("203.0.113.9", "a", Some("contoso.net")))
            .allowed
    );
    assert!(
        rule.decide(&question("192.0.2.9", "a", Some("contoso.net")))
            .allowed
    );
}

/// The seven probes of KB Q304897; the senders differ, and must not matter.
#[test]
fn the_seven_probes_never_relay() {
    let rule = rule(Mode::Only, &["192.0.2.0/24"]);
    let probes = [
        "relaytest@contoso.net",
        "relaytest@contoso.net",
        "relaytest@contoso.net",
        "relaytest@contoso.net",
        "relaytest@contoso.net",
        "relaytest%contoso.net",
        "\"nobody@mail-contoso.org\"",
    ];
    for probe in probes {
        let (local, domain) = split(probe);
        assert!(
            !ask(&rule, &question("203.0.113.9", local, domain)).0,
            "{probe}"
        );
        // As Microsoft completes the two without a domain.
        if domain.is_none() {
            assert_eq!(
                ask(&rule, &question("203.0.113.9", local, Some(LOCAL))),
                (false, Reason::RelaySyntax),
                "{probe}"
            );
        }
    }
}

#[test]
fn the_classic_forms_never_relay() {
    let rule = rule(Mode::Only, &["192.0.2.0/24"]);
    let forms = [
        "user@contoso.net",
        "user%contoso.net@northwindtraders.com",
        "user%contoso.net@branch.example",
        "\"user%contoso.net\"@northwindtraders.com",
        "user@contoso.net@northwindtraders.com",
        "\"user@contoso.net\"@northwindtraders.com",
        "\"user@contoso.net\"",
        "user%contoso.net",
        "contoso.net!user@northwindtraders.com",
        "user\u{ff20}contoso.net@northwindtraders.com",
        "user\u{ff05}contoso.net@northwindtraders.com",
        "contoso.net\u{ff01}user@northwindtraders.com",
        "user\u{fe6b}contoso.net@branch.example",
        "contoso.net!user",
        "\"contoso.net!user\"@northwindtraders.com",
        "user@[198.51.100.1]",
        "user%contoso.net@[203.0.113.1]",
        "user@contoso.net@[203.0.113.1]",
        "user@northwindtraders.com.",
        "user@northwindtraders.com.contoso.net",
        "user@xnorthwindtraders.com",
        "user@.northwindtraders.com",
        "user@northwindtraders..com",
        "user@northwindtrаders.com",
        "user@ｎorthwindtraders.com",
        "user@northwindtraders。com",
        "user@northwindtraders.com%contoso.net",
        "user@contoso.net:northwindtraders.com",
        "user@northwindtraders.com ",
        "user@northwindtraders.com\0",
        "user@",
        "user",
    ];
    for form in forms {
        let (local, domain) = split(form);
        assert!(
            !ask(&rule, &question("203.0.113.9", local, domain)).0,
            "{form:?}"
        );
    }
    let routed = RelayQuestion {
        source_route: true,
        ..question("192.0.2.9", "user", Some(LOCAL))
    };
    assert_eq!(ask(&rule, &routed), (false, Reason::SourceRoute));
    let postmaster = question("203.0.113.9", "PostMaster", None);
    assert_eq!(ask(&rule, &postmaster), (true, Reason::LocalDomain));
}

#[test]
fn names_are_asked_for_only_when_the_list_decides() {
    let rule = rule(Mode::Only, &["domain example.org"]);
    let needs = |question: &RelayQuestion<'_>| rule.needs_names(question, &ResolvedHosts::EMPTY);
    assert!(!needs(&question("203.0.113.9", "a", Some(LOCAL))));
    let alice = Login {
        account: "alice",
        groups: &[],
        addresses: &[],
    };
    assert!(!needs(&RelayQuestion {
        login: Some(&alice),
        ..question("203.0.113.9", "a", Some("contoso.net"))
    }));
    let stranger = question("203.0.113.9", "a", Some("contoso.net"));
    assert!(needs(&stranger));
    let facts = NameFacts {
        client: &["mx.example.org".into()],
        ..NameFacts::NONE
    };
    assert_eq!(
        ask(
            &rule,
            &RelayQuestion {
                facts: &facts,
                ..stranger
            }
        ),
        (true, Reason::Listed(Origin::new(0, 50)))
    );
}

#[test]
fn the_trail_tells_the_whole_way() {
    let rule = rule(Mode::Only, &["192.0.2.0/24"]);
    let alice = Login {
        account: "alice",
        groups: &[],
        addresses: &[],
    };
    let question = RelayQuestion {
        login: Some(&alice),
        ..question("203.0.113.9", "a", Some("contoso.net"))
    };
    let shown: Vec<(String, Option<u32>, bool)> = rule
        .explain(&question)
        .trail
        .into_iter()
        .map(|step| (step.rule, step.origin.map(Origin::line), step.matched))
        .collect();
    let expected = [
        ("delivery.domains: contoso.net", None, false),
        ("relay.domains: contoso.net", None, false),
        ("authentication.relay for alice: *", None, true),
    ];
    assert_eq!(
        shown,
        expected.map(|(rule, line, matched)| (rule.to_owned(), line, matched))
    );
}

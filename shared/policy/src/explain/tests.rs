//! Trails and replies on a small definition; tests/tests/explain.rs has the large table, and the wire beside it.

use super::*;
use crate::build::policy_of;

const DEFINITION: &str = r#"[general]
fqdn = "mx.example.com"
listen = ["127.0.0.1:2525", { address = "127.0.0.1:4650", tls = "implicit" }]

[access.authentication]
anonymous = true
anonymous_local_sender = "mark"

[access.connection]
list = ["203.0.113.0/24", "domain spam.example"]

[access.relay]
list = ["192.0.2.0/24", "domain office.example"]
domains = ["branch.example.net"]

[[delivery.domains]]
name = "example.com"
to = "maildir:/var/mail/{domain}/{local}"
recipients = ["alice", "bob"]
aliases = { sales = ["alice", "carol@example.net"] }

[access.tls]
certificates = [{ certificate = "cert.pem", key = "key.pem" }]
"#;

fn policy() -> Policy {
    policy_of(DEFINITION)
}

fn known(names: Names<'_>) -> Known<'_> {
    Known {
        means: Means {
            certificate: true,
            accounts: true,
            scram: false,
            certificates: false,
            kerberos: false,
            ntlm: false,
        },
        hosts: postern_access::NameFacts::NONE.hosts,
        names,
        login: None,
        keyed: None,
        now: Instant::now(),
    }
}

fn case(client: &str, sender: &str, recipients: &[&str]) -> Case {
    Case {
        client: client.parse().unwrap(),
        names: None,
        local: None,
        tls: false,
        login: None,
        ehlo: None,
        sender: Some(sender.to_owned()),
        recipients: recipients.iter().map(|one| (*one).to_owned()).collect(),
    }
}

fn replies(explanation: &Explanation) -> Vec<&str> {
    let stages = explanation.stages.iter();
    stages.map(|stage| stage.reply.as_str()).collect()
}

#[test]
fn names_are_asked_for_only_where_a_rule_asks() {
    let policy = policy();
    let unasked = known(Names::Unasked);
    let listed = case("203.0.113.9", "", &[]);
    let explained = explain(&policy, &listed, &unasked).unwrap();
    assert!(!explained.accepted);
    assert_eq!(
        replies(&explained),
        ["554 5.7.1 mx.example.com Connection refused"]
    );
    let steps: Vec<(&str, Option<&str>, bool)> = explained.stages[0]
        .steps
        .iter()
        .map(|step| (step.rule.as_str(), step.place.as_deref(), step.matched))
        .collect();
    assert_eq!(
        steps,
        [
            ("reverse look-up: not needed", None, false),
            (
                "connection.list: 203.0.113.0/24 (all-except)",
                Some("servers/mx1.toml:10"),
                true
            ),
        ]
    );
    let stranger = case("198.51.100.7", "a@b.example", &["x@far.example"]);
    assert_eq!(
        explain(&policy, &stranger, &unasked),
        Err(Unfinished::NamesWanted)
    );
    let names = ["pc.office.example".into()];
    let office = explain(&policy, &stranger, &known(Names::Found(&names))).unwrap();
    assert!(office.accepted, "{office:?}");
    let nobody = explain(&policy, &stranger, &known(Names::LeftOut)).unwrap();
    assert_eq!(
        replies(&nobody),
        [
            "220 mx.example.com ESMTP",
            "250 2.1.0 sender OK",
            "550 5.7.1 Unable to relay for x@far.example"
        ]
    );
}

#[test]
fn every_recipient_is_heard_and_told_what_it_becomes() {
    let case = case(
        "192.0.2.7",
        "eve@example.com",
        &[
            "sales@example.com",
            "nobody@example.com",
            "<@a,@b:x@far.example>",
            "x@far.example",
            "no one",
        ],
    );
    let explained = explain(&policy(), &case, &known(Names::Found(&[]))).unwrap();
    assert!(!explained.accepted);
    assert_eq!(
        replies(&explained)[2..],
        [
            "250 2.1.5 recipient OK",
            "550 5.1.1 nobody@example.com User unknown",
            "550 5.7.1 Unable to relay for x@far.example",
            "250 2.1.5 recipient OK",
            "501 5.1.3 Invalid address",
        ]
    );
    let last = |stage: usize| explained.stages[stage].steps.last().unwrap();
    assert_eq!(
        last(2).rule,
        "aliases: sales@example.com is alice@example.com, carol@example.net"
    );
    assert_eq!(last(2).place.as_deref(), Some("servers/mx1.toml:16"));
    assert!(explained.stages[1].steps.iter().any(|step| {
        step.rule == "authentication.anonymous_local_sender: mark"
            && step.place.as_deref() == Some("servers/mx1.toml:7")
    }));
}

#[test]
fn a_login_in_clear_hears_what_the_session_says() {
    let mut case = case("192.0.2.7", "", &[]);
    case.login = Some("alice".to_owned());
    let explained = explain(&policy(), &case, &known(Names::Found(&[]))).unwrap();
    assert_eq!(
        replies(&explained)[1..],
        ["538 5.7.11 Encryption required for requested authentication mechanism"]
    );
    let step = &explained.stages[1].steps[0];
    assert_eq!(step.rule, "authentication.basic_requires_tls: true");
    assert_eq!(
        (step.place.as_deref(), step.matched),
        (Some("default"), true)
    );
    // Inside TLS it is offered; nobody of this name is there.
    case.local = Some("127.0.0.1:4650".parse().unwrap());
    let explained = explain(&policy(), &case, &known(Names::Found(&[]))).unwrap();
    assert_eq!(
        replies(&explained)[1..],
        ["", "535 5.7.8 Authentication unsuccessful"]
    );
}

#[test]
fn what_has_a_line_break_in_it_is_one_line_and_no_command() {
    let injected = case(
        "192.0.2.7",
        "a@b.example>\r\nRCPT TO:<x@far.example",
        &["bob@example.com"],
    );
    let explained = explain(&policy(), &injected, &known(Names::Found(&[]))).unwrap();
    assert_eq!(replies(&explained)[1..], ["500 5.5.2 Syntax error"]);
}

#[test]
fn an_address_that_is_not_listened_on_is_no_case() {
    let mut case = case("192.0.2.7", "", &[]);
    let elsewhere = "127.0.0.9:25".parse().unwrap();
    case.local = Some(elsewhere);
    let explained = explain(&policy(), &case, &known(Names::LeftOut));
    assert_eq!(explained, Err(Unfinished::NoIdentity(elsewhere)));
}

/// What a definition with only SCRAM says to accounts with keys and without.
#[test]
fn without_basic_keys_decide() {
    let only_scram = DEFINITION.replacen("anonymous = true", "basic = false", 1);
    let policy = policy_of(&only_scram);
    let alice = Login {
        account: "alice",
        groups: &[],
        addresses: &[],
    };
    let mut known = known(Names::Found(&[]));
    known.means.scram = true;
    // Of no use to a client that shows none.
    known.means.certificates = true;
    known.login = Some(alice);
    let mut case = case("192.0.2.7", "", &[]);
    case.sender = None;
    case.login = Some("alice".to_owned());
    case.local = Some("127.0.0.1:4650".parse().unwrap());
    let heard = |known: &Known<'_>| {
        let explained = explain(&policy, &case, known).unwrap();
        let stage = explained.stages.last().unwrap();
        let steps: Vec<String> = stage.steps.iter().map(|step| step.rule.clone()).collect();
        (stage.reply.clone(), steps)
    };
    let (reply, steps) = heard(&known);
    assert_eq!(reply, "535 5.7.8 Authentication unsuccessful");
    assert_eq!(
        steps,
        [
            "authentication.basic: false",
            "offered inside TLS: SCRAM-SHA-256, SCRAM-SHA-256-PLUS",
            "authentication.accounts: alice has no keys for SCRAM, and nothing else is offered",
        ]
    );
    known.keyed = Some(alice);
    let (reply, steps) = heard(&known);
    assert!(reply.starts_with("235 "), "{reply}");
    assert_eq!(steps[2], "authentication.accounts: alice");
    known.means.scram = false;
    let (reply, steps) = heard(&known);
    assert!(reply.starts_with("504 "), "{reply}");
    assert_eq!(
        steps[..2],
        [
            "authentication.basic: false",
            "authentication.scram: no account has keys"
        ]
    );
}

/// Where only tickets are taken, one is shown, and groups decide as for every login.
#[test]
fn a_ticket_logs_in_and_its_groups_are_granted() {
    let section = "[access.authentication]\n";
    let tickets = DEFINITION.replacen("anonymous = true\n", "basic = false\n", 1).replacen(
        section,
        &format!("{section}accounts = [{{ gssapi = \"k\" }}]\nsubmit = [\"@staff\"]\nrelay = [\"@staff\"]\n"),
        1,
    );
    let policy = policy_of(&tickets);
    let groups = ["staff".to_owned()];
    let addresses = ["alice@corp.example".to_owned()];
    let mut known = known(Names::Found(&[]));
    known.means.accounts = false;
    known.means.kerberos = true;
    let mut case = case("198.51.100.7", "alice@corp.example", &["x@far.example"]);
    case.login = Some("alice@corp.example".to_owned());
    case.local = Some("127.0.0.1:4650".parse().unwrap());
    for (groups, heard) in [
        (&groups[..], "250 2.1.5 recipient OK"),
        (&[], "550 5.7.1 This account may not send"),
    ] {
        known.login = Some(Login {
            account: "alice@corp.example",
            groups,
            addresses: &addresses,
        });
        let explained = explain(&policy, &case, &known).unwrap();
        assert_eq!(
            explained.stages[2].reply,
            "235 2.7.0 Authentication successful"
        );
        let steps: Vec<&str> = explained.stages[2]
            .steps
            .iter()
            .map(|step| &*step.rule)
            .collect();
        assert_eq!(
            steps[..2],
            [
                "authentication.accounts: a keytab only, which takes no passwords",
                "offered inside TLS: GSS-SPNEGO, GSSAPI"
            ]
        );
        assert_eq!(
            explained.stages.last().unwrap().reply,
            heard,
            "{explained:?}"
        );
        assert_eq!(
            explained.notes[0],
            "the ticket or the password is taken to be right"
        );
    }
    // In clear, on an identity with TLS, nothing is offered, and it is said why.
    case.local = Some("127.0.0.1:2525".parse().unwrap());
    let explained = explain(&policy, &case, &known).unwrap();
    let steps = &explained.stages.last().unwrap().steps;
    assert!(
        steps.iter().any(|step| step.rule
            == "authentication.integrated: outside TLS only where there is none to be had"),
        "{steps:?}"
    );
}

//! Refusals as a client reads them, and recipients as they end up in the envelope.

use postern_smtp::Notify;

use super::*;
use crate::build::policy_of;

const DEFINITION: &str = r#"
[general]
fqdn = "mx.example.com"
listen = ["127.0.0.1:2525"]

[access.authentication]
anonymous = true

[access.connection]
mode = "all-except"
list = ["203.0.113.0/24"]

[access.relay]
list = ["192.0.2.0/24"]

[[delivery.domains]]
name = "example.com"
to = "maildir:/var/mail/{domain}/{local}"
recipients = ["alice", "bob"]
aliases = { sales = ["alice", "carol@example.net"], all = ["sales", "bob", "alice"], loop = ["loop"] }
"#;

fn rcpt(address: &str) -> Rcpt {
    let recipient = match address {
        "postmaster" => ForwardPath::Postmaster,
        address => ForwardPath::Mailbox(address.parse().unwrap()),
    };
    Rcpt {
        recipient,
        source_route: false,
        notify: Notify::default(),
        orcpt: None,
    }
}

fn asked(client: &str, address: &str) -> Result<Accepted, String> {
    let policy = policy_of(DEFINITION);
    let asker = Asker {
        client: client.parse().unwrap(),
        facts: &NameFacts::NONE,
        login: None,
    };
    recipient(&policy, &asker, &rcpt(address)).map_err(|reply| reply.to_string())
}

#[test]
fn recipients_are_taken_or_refused_by_the_order_of_definition() {
    let outside = "198.51.100.1";
    for (client, address, answer) in [
        (outside, "alice@example.com", Ok(Accepted::AsWritten)),
        (outside, "ALICE@Example.COM", Ok(Accepted::AsWritten)),
        (
            outside,
            "nobody@example.com",
            Err("550 5.1.1 nobody@example.com User unknown"),
        ),
        (outside, "postmaster@example.com", Ok(Accepted::AsWritten)),
        (
            outside,
            "postmaster",
            Ok(Accepted::Instead(vec!["postmaster@example.com".to_owned()])),
        ),
        (
            outside,
            "x@example.net",
            Err("550 5.7.1 Unable to relay for x@example.net"),
        ),
        ("192.0.2.9", "x@example.net", Ok(Accepted::AsWritten)),
        (
            "192.0.2.9",
            "nobody@example.com",
            Err("550 5.1.1 nobody@example.com User unknown"),
        ),
        (
            outside,
            "x%example.net@example.com",
            Err("550 5.7.1 Unable to relay for x%example.net@example.com"),
        ),
    ] {
        assert_eq!(
            asked(client, address),
            answer.map_err(str::to_owned),
            "{client} {address}"
        );
    }
}

#[test]
fn other_names_lead_to_those_who_are_there() {
    let to = |address| asked("198.51.100.1", address);
    let instead = |names: &[&str]| {
        Ok(Accepted::Instead(
            names.iter().map(|&name| name.to_owned()).collect(),
        ))
    };
    assert_eq!(
        to("sales@example.com"),
        instead(&["alice@example.com", "carol@example.net"])
    );
    assert_eq!(
        to("all@example.com"),
        instead(&["alice@example.com", "carol@example.net", "bob@example.com"])
    );
    assert_eq!(to("loop@example.com"), instead(&["loop@example.com"]));
}

#[test]
fn the_connection_list_is_asked() {
    let policy = policy_of(DEFINITION);
    assert!(connection(&policy, "198.51.100.1".parse().unwrap(), &NameFacts::NONE).is_ok());
    let refused =
        connection(&policy, "203.0.113.7".parse().unwrap(), &NameFacts::NONE).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "554 5.7.1 mx.example.com Connection refused"
    );
}

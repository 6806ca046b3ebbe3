//! Servers in a ring, and others that only look like one.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use super::*;

/// Definitions by name, address and `[delivery]`; what is found of each.
fn found(servers: &[(&str, &str, &str)]) -> Vec<String> {
    let read: Vec<(PathBuf, String, Definition)> = servers
        .iter()
        .map(|(name, listen, settings)| {
            let text = format!(
                "[general]\nfqdn = \"{name}.example.com\"\n\
                 listen = [{{ address = \"{listen}\", tls = \"none\" }}]\n{settings}\n"
            );
            let path = PathBuf::from(format!("{name}.toml"));
            let (definition, findings) = postern_config::load(&text, &path);
            let definition = definition.unwrap_or_else(|| panic!("{findings:?}"));
            (path, text, definition)
        })
        .collect();
    let servers: Vec<Server<'_>> = read
        .iter()
        .map(|(path, text, definition)| Server {
            path,
            text,
            definition,
        })
        .collect();
    let own = ["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()];
    let findings = loops(&servers, &own).into_iter().flatten();
    findings.map(|finding| finding.to_string()).collect()
}

const TO_TWO: &str = "[delivery]\nsmart_host = [\"[192.0.2.2]\"]";
const TO_ONE: &str = "[delivery]\nsmart_host = [\"one.example.com:25\"]";
const AT_ONE: &str = "192.0.2.1:25";
const AT_TWO: &str = "192.0.2.2:25";

#[test]
fn two_that_deliver_to_each_other_are_both_named() {
    assert_eq!(
        found(&[("one", AT_ONE, TO_TWO), ("two", AT_TWO, TO_ONE)]),
        [
            "one.toml:5:15: warning: mail for all domains would go round: one → two → one \
             (let one of them deliver it elsewhere: correct this, or two.toml)",
            "two.toml:5:15: warning: mail for all domains would go round: two → one → two \
             (let one of them deliver it elsewhere: correct this, or one.toml)",
        ]
    );
}

#[test]
fn longer_rounds_and_short_ones() {
    let to = |host: &str| format!("[delivery]\nsmart_host = [\"{host}\"]");
    let three = found(&[
        ("one", AT_ONE, TO_TWO),
        ("two", AT_TWO, &to("three.example.com:2525")),
        ("three", "192.0.2.1:2525", TO_ONE),
    ]);
    assert_eq!(three.len(), 3);
    assert!(three.first().unwrap().contains("one → two → three → one"));
    for host in [
        "127.0.0.1:25",
        "192.0.2.1:25",
        "localhost:25",
        "one.example.com:25",
    ] {
        let host = host
            .replace("127.0.0.1", "[127.0.0.1]")
            .replace("192.0.2.1:", "[192.0.2.1]:");
        let found = found(&[("one", "0.0.0.0:25", &to(&host))]);
        assert_eq!(found.len(), 1, "{host}");
        assert!(
            found
                .first()
                .unwrap()
                .contains("one would deliver to itself"),
            "{found:?}"
        );
    }
}

#[test]
fn what_only_looks_like_a_round_is_none() {
    let gateway =
        "[delivery]\ndomains = [{ name = \"example.com\", to = \"smtp:two.example.com:25\" }]";
    let store = "[delivery]\nsmart_host = [\"one.example.com:25\"]\n\
        domains = [{ name = \"example.com\", to = \"maildir:/var/mail/{local}\" }]";
    assert_eq!(
        found(&[("one", AT_ONE, gateway), ("two", AT_TWO, store)]),
        [""; 0]
    );
    // Another port, another address, a stranger, or delivery by MX.
    let elsewhere = "[delivery]\nsmart_host = [\"one.example.com:587\", \"[192.0.2.9]\", \"relay.example.net:25\"]";
    assert_eq!(
        found(&[("one", AT_ONE, TO_TWO), ("two", AT_TWO, elsewhere)]),
        [""; 0]
    );
    let by_mx = "[delivery]\nsmart_host = [\"one.example.com:25\"]\nroutes = [{ domain = \"*\" }]";
    assert_eq!(
        found(&[("one", AT_ONE, TO_TWO), ("two", AT_TWO, by_mx)]),
        [""; 0]
    );
}

#[test]
fn the_mail_that_goes_round_is_named() {
    let routed =
        "[delivery]\nroutes = [{ domain = \"*.partner.example\", host = \"two.example.com:25\" }]";
    let back = format!(
        "{TO_ONE}\nroutes = [{{ domain = \"a.partner.example\", host = \"mail.partner.example:25\" }}]"
    );
    let rounds = found(&[("one", AT_ONE, routed), ("two", AT_TWO, &back)]);
    assert_eq!(rounds.len(), 2);
    assert!(
        rounds
            .first()
            .unwrap()
            .contains("mail for domains below partner.example would")
    );
    let local =
        "[delivery]\ndomains = [{ name = \"example.com\", to = \"smtp:two.example.com:25\" }]";
    let rounds = found(&[("one", AT_ONE, local), ("two", AT_TWO, TO_ONE)]);
    assert!(
        rounds
            .first()
            .unwrap()
            .contains("mail for example.com would go round"),
        "{rounds:?}"
    );
}

#[test]
fn the_unknown_may_go_round_too() {
    let domain = "[delivery]\ndomains = [{ name = \"example.com\", to = \"maildir:/m/{local}\", recipients = [\"a\"] }]";
    let one = format!("[messages]\nunresolved_to = \"two.example.com:25\"\n{domain}");
    let two = format!("[messages]\nunresolved_to = \"one.example.com:25\"\n{domain}");
    assert_eq!(
        found(&[("one", AT_ONE, &one), ("two", AT_TWO, &two)]).len(),
        2
    );
    assert_eq!(
        found(&[("one", AT_ONE, &one), ("two", AT_TWO, domain)]),
        [""; 0]
    );
}

//! What is read of NTLM, Windows domains and keytabs, and what comes to be offered.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use crate::{AccountSource, Authentication, ChannelBinding, load};

/// The section that says this, whatever else is found about it.
fn read(settings: &str) -> Authentication {
    let text = format!(
        "[general]\nfqdn = \"mx1.example.com\"\nlisten = [\"192.0.2.1:25\"]\n\
         [access.authentication]\n{settings}\n"
    );
    let (definition, findings) = load(&text, Path::new("mx1.toml"));
    definition
        .unwrap_or_else(|| panic!("{findings:?}"))
        .authentication
}

#[test]
fn sources_are_read_in_each_way_they_are_written() {
    let read = read(
        "accounts = [{ file = \"a\", nt_hashes = \"a.nt\" }, { windows = \"Corp\" }, \
         { windows = [\"CORP\", \"EU-1\"] }, { windows = \"*\" }, { gssapi = \"a.keytab\" }, \
         { gssapi = { keytab = \"b.keytab\" } }, \
         { gssapi = { keytab = \"c.keytab\", realms = [\"CORP.EXAMPLE\", \"EU.CORP.EXAMPLE\"] } }]",
    );
    let windows = |domains: &[&str]| AccountSource::Windows {
        domains: domains.iter().map(|one| (*one).to_owned()).collect(),
    };
    let gssapi = |keytab: &str, realms: &[&str]| AccountSource::Gssapi {
        keytab: PathBuf::from(keytab),
        realms: realms.iter().map(|one| (*one).to_owned()).collect(),
    };
    let expected = [
        AccountSource::File {
            path: PathBuf::from("a"),
            nt_hashes: Some(PathBuf::from("a.nt")),
        },
        windows(&["Corp"]),
        windows(&["CORP", "EU-1"]),
        windows(&["*"]),
        gssapi("a.keytab", &[]),
        gssapi("b.keytab", &[]),
        gssapi("c.keytab", &["CORP.EXAMPLE", "EU.CORP.EXAMPLE"]),
    ];
    assert_eq!(read.accounts, expected);
}

/// What is offered: NTLM inside TLS, in clear; Kerberos inside TLS, in clear.
fn served(settings: &str) -> [bool; 4] {
    let read = read(settings);
    [
        read.serves_ntlm(),
        read.serves_ntlm_in_clear(),
        read.serves_kerberos(),
        read.serves_kerberos_in_clear(),
    ]
}

#[test]
fn what_is_served_follows_from_the_sources_and_the_switches() {
    const FILE: &str = "{ file = \"a\" }";
    const HASHES: &str = "{ file = \"a\", nt_hashes = \"a.nt\" }";
    const WINDOWS: &str = "{ windows = \"CORP\" }";
    const KEYTAB: &str = "{ gssapi = \"a.keytab\" }";
    for (switches, sources, expected) in [
        ("", vec![FILE], [false; 4]),
        ("", vec![HASHES, WINDOWS], [false; 4]),
        ("ntlm = true", vec![HASHES], [true, false, false, false]),
        ("ntlm = true", vec![WINDOWS], [true, false, false, false]),
        (
            "ntlm = true\nintegrated = false",
            vec![WINDOWS],
            [true, false, false, false],
        ),
        (
            "ntlm = { requires_tls = false }",
            vec![WINDOWS],
            [true, true, false, false],
        ),
        ("", vec![FILE, KEYTAB], [false, false, true, true]),
        (
            "integrated = true",
            vec![KEYTAB],
            [false, false, true, true],
        ),
        ("integrated = false", vec![KEYTAB], [false; 4]),
        (
            "ntlm = true",
            vec![KEYTAB, HASHES],
            [true, false, true, true],
        ),
        (
            "ntlm = { channel_binding = \"require\" }",
            vec![KEYTAB, WINDOWS],
            [true, false, true, false],
        ),
    ] {
        let settings = format!("{switches}\naccounts = [{}]", sources.join(", "));
        assert_eq!(served(&settings), expected, "{settings}");
    }
}

#[test]
fn the_first_source_that_can_serves_ntlm() {
    let read = read(
        "ntlm = { channel_binding = \"require\" }\naccounts = [{ file = \"a\" }, { gssapi = \"k\" }, { windows = \"CORP\" }, \
         { file = \"b\", nt_hashes = \"b.nt\" }, { gssapi = \"l\" }]",
    );
    assert_eq!(
        (read.ntlm_source(), read.kerberos_source()),
        (Some(2), Some(1))
    );
    assert_eq!(read.ntlm.channel_binding, ChannelBinding::Require);
    assert!(read.binding_required() && read.serves_passwords());
}

#[test]
fn a_keytab_alone_takes_no_passwords() {
    assert!(!read("accounts = [{ gssapi = \"k\" }]").serves_passwords());
    assert!(read("accounts = [{ windows = \"*\" }]").serves_passwords());
}

/// What is found about these sources.
fn findings(settings: &str) -> Vec<String> {
    let text = format!(
        "[general]\nfqdn = \"mx1.example.com\"\nlisten = [\"192.0.2.1:25\"]\n\
         [access.authentication]\n{settings}\n"
    );
    let (_, findings) = load(&text, Path::new("mx1.toml"));
    findings.iter().map(ToString::to_string).collect()
}

#[test]
fn bare_names_are_one_domains() {
    const FILE: &str = "{ file = \"a\" }";
    const CORP: &str = "{ windows = \"CORP\" }";
    let keytab =
        |realm: &str| format!("{{ gssapi = {{ keytab = \"k\", realms = [\"{realm}\"] }} }}");
    for (sources, both) in [
        (vec![FILE, CORP, &keytab("CORP.EXAMPLE")], false),
        (vec![FILE, CORP, &keytab("LAB.EXAMPLE")], true),
        (vec![FILE, &keytab("corp.example"), CORP], false),
        (vec![FILE, CORP, "{ windows = \"LAB\" }"], true),
        (vec![FILE, CORP, &keytab("*")], false),
        // Nobody is found by a bare name.
        (vec![CORP, &keytab("LAB.EXAMPLE")], false),
    ] {
        let found = findings(&format!("accounts = [{}]", sources.join(", ")));
        let warned = found
            .iter()
            .any(|one| one.contains("bare names mean people of both"));
        assert_eq!(warned, both, "{sources:?}: {found:?}");
    }
    let found = findings("accounts = [{ file = \"a\" }, { gssapi = \"k\" }]");
    assert!(
        found.iter().any(|one| one.contains("the keytab's to say")),
        "{found:?}"
    );
}

#[test]
fn it_is_said_what_a_source_lends_to_a_domains_people() {
    const LDAP: &str = "{ ldap = { servers = [\"ldaps://dc1.corp.example\"], base = \"DC=corp\", kind = \"openldap\", \
                        filter = \"(mail={name})\" } }";
    for (sources, file, filter) in [
        ("{ file = \"a\" }".to_owned(), false, false),
        (format!("{{ file = \"a\" }}, {LDAP}"), false, false),
        (
            "{ file = \"a\" }, { windows = \"CORP\" }".to_owned(),
            true,
            false,
        ),
        (
            "{ file = \"a\" }, { windows = \"*\" }".to_owned(),
            false,
            false,
        ),
        (format!("{LDAP}, {{ windows = \"CORP\" }}"), false, true),
        (
            format!(
                "{}, {{ windows = \"CORP\" }}",
                LDAP.replace(", filter = \"(mail={name})\"", "")
            ),
            false,
            false,
        ),
    ] {
        let found = findings(&format!("accounts = [{sources}]"));
        let has = |what: &str| found.iter().any(|one| one.contains(what));
        assert_eq!(
            (
                has("who is called alice in CORP"),
                has("found by this filter as it is")
            ),
            (file, filter),
            "{sources}: {found:?}"
        );
    }
}

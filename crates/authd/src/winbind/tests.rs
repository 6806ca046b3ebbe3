//! What is said of names, without a domain; the rest is asked of a real one in tests/windows.rs.

use super::domain::{Domain, Group, Host, Person};
use super::{at_home, claim, group, plausible, respond, taken};
use crate::backend::No;
use postern_control::auth::RefusedKind;
use postern_sasl::NtHash;

fn domain(name: &str, dns: &str) -> Domain {
    Domain {
        name: name.to_owned(),
        dns: dns.to_owned(),
        sid: String::new(),
    }
}

fn host() -> Host {
    Host::known("MX1", domain("CORP", "corp.example"))
}

fn person(domain: Domain) -> Person {
    Person {
        name: "alice".to_owned(),
        domain,
        groups: Vec::new(),
        whole: true,
    }
}

fn domains(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn a_name_says_whose_it_is() {
    let host = host();
    let none = domains(&[]);
    let cases = [
        (r"CORP\alice", &none, ("CORP", "alice")),
        ("alice@corp.example", &none, ("", "alice@corp.example")),
        ("alice", &none, ("CORP", "alice")),
        ("alice", &domains(&["*"]), ("CORP", "alice")),
        ("alice", &domains(&["EAST"]), ("EAST", "alice")),
        ("alice", &domains(&["EAST", "CORP"]), ("CORP", "alice")),
        (r"WEST\alice", &domains(&["EAST"]), ("WEST", "alice")),
    ];
    for (name, domains, wanted) in cases {
        assert_eq!(claim(name, domains, &host), wanted, "{name} {domains:?}");
    }
}

#[test]
fn only_domains_that_are_named_are_taken() {
    let cases = [
        (&[][..], ("CORP", "corp.example"), true),
        (&[], ("EAST", "east.example"), false),
        (&["corp"], ("CORP", "corp.example"), true),
        (&["CORP.Example"], ("CORP", "corp.example"), true),
        (&["CORP"], ("EAST", "east.example"), false),
        (&["CORP", "EAST"], ("EAST", ""), true),
        (&[""], ("EAST", ""), false),
        (&["*"], ("EAST", ""), true),
    ];
    for (named, (name, dns), wanted) in cases {
        let person = person(domain(name, dns));
        assert_eq!(
            taken(&person, &domains(named), &host()),
            wanted,
            "{named:?} {name}"
        );
    }
}

#[test]
fn a_bare_name_is_of_one_domain() {
    for (listed, (name, dns), home) in [
        (&[][..], ("CORP", "corp.example"), true),
        (&[], ("EAST", "east.example"), false),
        (&["EAST", "CORP"], ("EAST", "east.example"), true),
        (&["East.Example"], ("EAST", "east.example"), true),
        (&["EAST", "CORP"], ("CORP", "corp.example"), false),
        (&["*"], ("CORP", "corp.example"), false),
    ] {
        let (domain, listed) = (domain(name, dns), domains(listed));
        let is = at_home(&domain, &listed, &host());
        assert_eq!(is, home, "{listed:?} {name}");
        let sales = Group {
            name: "sales".to_owned(),
            domain,
        };
        let bare = group(&sales, &listed, &host()) == "sales";
        let whole = group(&sales, &listed, &host()) == format!("{name}\\sales");
        assert_eq!((bare, whole), (home, !home), "{listed:?} {name}");
    }
}

/// What Samba would cut short, stop at, or take for a domain.
#[test]
fn some_names_are_nobodys() {
    let long = "x".repeat(256);
    for (domain, user) in [
        ("CORP", ""),
        ("CORP", "alice\nNT-Domain: EAST"),
        ("CORP\0", "alice"),
        ("CORP", "alice\0bob"),
        ("CORP", r"EAST\alice"),
        (r"CORP\EAST", "alice"),
        (&long, "alice"),
        ("CORP", &long),
    ] {
        let no = plausible(domain, user).err();
        assert!(
            matches!(
                no,
                Some(No::Refused {
                    kind: RefusedKind::Unknown,
                    ..
                })
            ),
            "{domain:?} {user:?}"
        );
    }
    for (domain, user) in [
        ("", "alice"),
        ("CORP", ".: -x"),
        ("CORP", "jörg"),
        ("", &long[1..]),
    ] {
        assert_eq!(plausible(domain, user), Ok(()), "{domain:?} {user:?}");
    }
}

#[test]
fn a_password_becomes_a_response() {
    for (domain, user) in [
        ("CORP", "alice"),
        ("", "alice@corp.example"),
        ("CORP", "jörg"),
    ] {
        let proof = respond(&host(), domain, user, "Grüße").expect("a response");
        assert_eq!((proof.domain.as_str(), proof.user.as_str()), (domain, user));
        assert!(proof.session_key(&NtHash::of("Grüße")).is_some());
        assert!(proof.session_key(&NtHash::of("Grüsse")).is_none());
    }
}

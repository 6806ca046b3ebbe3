//! Whatever the bytes, reading ends, says something, and does not panic.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::{Duration, Instant};

use postern_config::{AccountFile, Severity, load};
use proptest::prelude::*;

/// What every answer must hold to.
fn expect_sound(text: &str) {
    let (definition, findings) = load(text, Path::new("mx1.toml"));
    let errors = findings
        .iter()
        .any(|finding| finding.severity == Severity::Error);
    assert_eq!(definition.is_none(), errors);
    let (_, account_findings) = AccountFile::parse(text, Path::new("accounts.toml"));
    for finding in findings.iter().chain(&account_findings) {
        let place = finding.place.as_ref();
        assert!(
            place.is_none_or(|place| text.get(place.start..place.end).is_some()
                && place.line > 0
                && place.column > 0)
        );
        assert!(
            finding.what.len() < 1500 && finding.remedy.len() < 1500,
            "{finding}"
        );
    }
}

fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("true".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        Just("99999999999999999999999999999999".to_owned()),
        Just("0xffff_ffff_ffff_ffff".to_owned()),
        Just("1.5e300".to_owned()),
        Just("nan".to_owned()),
        Just("1979-05-27T07:32:00Z".to_owned()),
        "[ -~]{0,12}".prop_map(|text| format!("{text:?}")),
        "\\PC{0,12}".prop_map(|text| format!("'{}'", text.replace('\'', ""))),
        prop_oneof![
            Just("\"10m\""),
            Just("\"99999999999d\""),
            Just("\"25 MB\""),
            Just("\"18446744073709551615 TB\""),
            Just("\"192.0.2.0/24\""),
            Just("\"::/0\""),
            Just("\"1.2.3.4/0.0.0.0\""),
            Just("\"[::1]:25\""),
            Just("\"[::1]\""),
            Just("\"maildir:/{local}\""),
            Just("\"lmtp:unix:/x\""),
            Just("\"host \u{fe0f}\""),
            Just("\"!@x\""),
            Just("\"100/1h\""),
            Just("\"CORP\""),
            Just("\"*\""),
            Just("\"corp.example\""),
            Just("[{ windows = \"*\" }, { gssapi = \"k\" }, { file = \"a\", nt_hashes = \"a\" }]"),
        ]
        .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|list| format!("[{}]", list.join(", "))),
            prop::collection::btree_map(key(), inner, 0..4).prop_map(|table| {
                let pairs: Vec<String> = table
                    .iter()
                    .map(|(key, value)| format!("{key} = {value}"))
                    .collect();
                format!("{{ {} }}", pairs.join(", "))
            }),
        ]
    })
}

fn key() -> impl Strategy<Value = String> {
    let names: Vec<&'static str> = postern_config::SETTINGS
        .iter()
        .map(|setting| setting.name)
        .chain([
            "address",
            "tls",
            "file",
            "ldap",
            "nt_hashes",
            "windows",
            "gssapi",
            "keytab",
            "realms",
            "requires_tls",
            "channel_binding",
            "certificate",
            "key",
            "passwords",
            "within",
            "name",
            "to",
            "recipients",
            "aliases",
            "basic",
            "user",
            "password",
            "messages",
            "domain",
            "host",
            "security",
            "memory",
            "cpu",
            "accounts",
            "access",
        ])
        .collect();
    prop_oneof![8 => prop::sample::select(names).prop_map(str::to_owned), 1 => "[a-z_]{1,8}"]
}

fn definition() -> impl Strategy<Value = String> {
    let sections: Vec<&'static str> = postern_config::Section::ALL
        .iter()
        .map(|section| section.name())
        .collect();
    let section = (
        prop::sample::select(sections),
        prop::collection::btree_map(key(), value(), 0..12),
    );
    prop::collection::vec(section, 0..5).prop_map(|sections| {
        let mut text = String::new();
        let mut seen = std::collections::HashSet::new();
        for (name, settings) in sections.into_iter().filter(|(name, _)| seen.insert(*name)) {
            text.push_str(&format!("[{name}]\n"));
            settings
                .iter()
                .for_each(|(key, value)| text.push_str(&format!("{key} = {value}\n")));
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        expect_sound(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_settings_with_any_values(text in definition()) {
        expect_sound(&text);
    }
}

/// A good definition with a few bytes changed, left out, doubled or put in: the mistakes people and disks make.
#[test]
fn good_definitions_gone_wrong() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut texts: Vec<Vec<u8>> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| std::fs::read(path).unwrap())
        .collect();
    texts.sort();
    let until = Instant::now() + Duration::from_secs(5);
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) as usize % below.max(1)
    };
    for _ in 0..4000 {
        let mut text = texts[random(texts.len())].clone();
        for _ in 0..=random(4) {
            let at = random(text.len());
            match random(4) {
                0 if !text.is_empty() => text[at] = b"\"'[]{}=,.#\n\\\0\xff 9a"[random(16)],
                1 if !text.is_empty() => drop(text.remove(at)),
                2 => text.insert(at, b"\"'[]{}=,.#\n\\\0\xff 9a"[random(16)]),
                _ => {
                    let piece = text[at..(at + random(40)).min(text.len())].to_vec();
                    let to = random(text.len());
                    text.splice(to..to, piece);
                }
            }
        }
        expect_sound(&String::from_utf8_lossy(&text));
        if Instant::now() > until {
            break;
        }
    }
}

#[test]
fn depth_and_length_are_survived() {
    for text in [
        format!("a = {}", "[".repeat(100_000)),
        format!(
            "[general]\nlisten = {}{}",
            "[".repeat(5000),
            "]".repeat(5000)
        ),
        format!("{} = 1", "a.".repeat(50_000) + "b"),
        format!("[general]\n{} = 1", "x".repeat(1_000_000)),
        format!("[general]\nfqdn = \"{}\"", "x".repeat(1_000_000)),
        format!("[delivery]\noutbound_port = {}", "9".repeat(100_000)),
    ] {
        expect_sound(&text);
    }
}

#[test]
fn a_list_of_a_hundred_thousand_loads_within_a_second() {
    let entries: String = (0..100_000u32)
        .map(|n| format!("    \"10.{}.{}.{}\",\n", n >> 16, n >> 8 & 255, n & 255))
        .collect();
    let text = format!(
        "[general]\nfqdn = \"a.example\"\nlisten = [\"192.0.2.1:25\"]\n[access.connection]\nlist = [\n{entries}]\n"
    );
    let started = Instant::now();
    let (definition, findings) = load(&text, Path::new("mx1.toml"));
    let rule = definition.unwrap().connection.rule();
    let took = started.elapsed();
    println!("100,000 entries read and built in {took:?}");
    assert!(
        findings
            .iter()
            .all(|finding| finding.severity != Severity::Error)
    );
    assert_eq!(rule.list().len(), 100_000);
    let verdict = rule.decide(
        "10.1.134.159".parse().unwrap(),
        &postern_access::NameFacts::NONE,
    );
    assert!(!verdict.allowed);
    assert_eq!(
        verdict.reason,
        postern_access::Reason::Listed(postern_access::Origin::new(0, 5 + 1 + 99_999))
    );
    assert!(
        took < Duration::from_secs(5),
        "{took:?}, on a machine shared with other tests"
    );
}

#[test]
fn a_hundred_thousand_entries_are_read_at_once() {
    let networks: String = (0..100_000u32)
        .map(|n| format!("20.{}.{}.{}/29\n", n >> 13, n >> 5 & 255, (n & 31) << 3))
        .collect();
    let text = format!(
        "{GOOD}[access.connection]\nlist = [\"file a\"]\n[access.relay]\nlist = [\"file a\"]\n"
    );
    let started = Instant::now();
    let (definition, _) = load(&text, Path::new("mx1.toml"));
    let mut definition = definition.unwrap();
    let findings = definition.read_lists(&mut |_| Ok(networks.clone().into_bytes()));
    let took = started.elapsed();
    assert_eq!(findings, []);
    assert_eq!(definition.connection.list.len(), 100_000);
    assert_eq!(definition.relay.list.len(), 100_000);
    assert!(took < Duration::from_secs(1), "{took:?}");
    println!("{took:?}");
}

#[test]
fn a_hundred_thousand_entries_on_one_line_too() {
    let networks: Vec<String> = (0..100_000u32)
        .map(|n| format!("\"20.{}.{}.{}/29\"", n >> 13, n >> 5 & 255, (n & 31) << 3))
        .collect();
    let text = format!("{GOOD}[access.relay]\nlist = [{}]\n", networks.join(","));
    let started = Instant::now();
    let (definition, findings) = load(&text, Path::new("mx1.toml"));
    let took = started.elapsed();
    assert_eq!(findings, []);
    assert_eq!(definition.unwrap().relay.list.len(), 100_000);
    assert!(took < Duration::from_secs(2), "{took:?}");
    println!("{took:?}");
}

const GOOD: &str = "[general]\nfqdn = \"mx1.example.com\"\nlisten = [{ address = \"127.0.0.1:25\", tls = \"none\" }]\n\
    [access.authentication]\nanonymous = true\n";

proptest! {
    #[test]
    fn list_files_of_any_bytes(bytes in prop::collection::vec(prop_oneof![
        Just(b'\n'), Just(b'#'), Just(b'/'), Just(b'.'), Just(b'1'), Just(b':'), Just(b' '), any::<u8>()
    ], 0..300)) {
        let text = format!("{GOOD}[access.relay]\nlist = [\"file a\"]\n");
        let mut definition = load(&text, Path::new("mx1.toml")).0.unwrap();
        let findings = definition.read_lists(&mut |_| Ok(bytes.clone()));
        for finding in findings.iter().filter(|one| one.path == Path::new("a")) {
            if let Some(place) = finding.place {
                prop_assert!(place.start <= place.end && place.end <= bytes.len());
                let before = bytes[..place.start].iter().filter(|byte| **byte == b'\n').count();
                prop_assert_eq!(place.line as usize, before + 1);
            }
            prop_assert!(finding.what.len() < 1500 && finding.remedy.len() < 1500);
        }
    }
}

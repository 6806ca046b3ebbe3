use super::*;
use crate::Origin;

fn list(entries: &[&str]) -> List {
    let lines = entries.iter().zip(1..);
    let entries: Vec<Entry> = lines
        .map(|(text, line)| Entry::parse(text, Origin::new(0, line)).unwrap())
        .collect();
    List::new(&entries)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn line(list: &List, address: &str) -> Option<u32> {
    list.find(ip(address), &NameFacts::NONE)
        .map(|found| found.origin.line())
}

#[test]
fn the_narrowest_entry_is_found() {
    let list = list(&[
        "10.0.0.0/8",
        "10.1.0.0/16",
        "10.1.2.3",
        "10.1.2.0/24",
        "2001:db8::/32",
        "2001:db8::7",
        "10.0.0.0/8",
    ]);
    assert_eq!(list.len(), 6);
    let cases = [
        ("10.1.2.3", Some(3)),
        ("10.1.2.4", Some(4)),
        ("10.1.2.255", Some(4)),
        ("10.1.9.9", Some(2)),
        ("10.2.0.1", Some(1)),
        ("10.255.255.255", Some(1)),
        ("9.255.255.255", None),
        ("11.0.0.0", None),
        ("0.0.0.0", None),
        ("255.255.255.255", None),
        ("::ffff:10.1.2.3", Some(3)),
        ("2001:db8::7", Some(5 + 1)),
        ("2001:db8:ffff::", Some(5)),
        ("2001:db9::", None),
        ("::", None),
        ("::10.1.2.3", None),
    ];
    for (address, expected) in cases {
        assert_eq!(line(&list, address), expected, "{address}");
    }
}

#[test]
fn whole_families_and_their_edges() {
    let everyone = list(&["0.0.0.0/0", "::/0"]);
    for address in [
        "0.0.0.0",
        "255.255.255.255",
        "::",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "::ffff:1.2.3.4",
    ] {
        assert!(line(&everyone, address).is_some(), "{address}");
    }
    assert_eq!(line(&everyone, "::ffff:1.2.3.4"), Some(1));
    assert!(line(&list(&["::ffff:0:0/96"]), "1.2.3.4").is_some());
}

#[test]
fn a_list_answers_as_a_plain_scan_does() {
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    for _ in 0..50 {
        let entries: Vec<Entry> = (0..200)
            .map(|line| {
                // Few bits, so that networks nest and repeat.
                let address = (next() as u32) & 0xe0e0_e0e0;
                let net = ipnet::Ipv4Net::new(address.into(), (next() % 33) as u8)
                    .unwrap()
                    .trunc();
                Entry {
                    kind: EntryKind::Network(net.into()),
                    origin: Origin::new(0, line),
                }
            })
            .collect();
        let list = List::new(&entries);
        for _ in 0..500 {
            let address = IpAddr::V4(((next() as u32) & 0xe1e1_e1e1).into());
            let scan = entries
                .iter()
                .filter_map(|entry| match entry.kind {
                    EntryKind::Network(net) if net.contains(&address) => Some(net),
                    _ => None,
                })
                .max_by_key(IpNet::prefix_len);
            let found = list
                .find(address, &NameFacts::NONE)
                .map(|found| found.matched);
            assert_eq!(found, scan.map(Matched::Network), "{address}");
        }
    }
}

#[test]
fn shares_add_up_however_written() {
    let v4 = |entries: &[&str]| list(entries).share().v4;
    assert_eq!(v4(&[]), 0.0);
    assert_eq!(v4(&["0.0.0.0/0"]), 1.0);
    assert_eq!(v4(&["128.0.0.0/1", "0.0.0.0/1", "10.0.0.0/8"]), 1.0);
    assert_eq!(v4(&["0.0.0.0/2"]), 0.25);
    assert_eq!(v4(&["::ffff:0:0/96"]), 1.0);
    let v6 = |entries: &[&str]| list(entries).share().v6;
    assert_eq!(v6(&["::/0"]), 1.0);
    assert_eq!(v6(&["2000::/3"]), 1.0);
    assert_eq!(v6(&["2000::/4", "3000::/4"]), 1.0);
    assert_eq!(v6(&["fc00::/7", "fe80::/10"]), 0.0);
    assert!(v6(&["2001:db8::/32"]) < 0.001);
}

#[test]
fn names_decide_only_where_they_can() {
    let list = list(&[
        "192.0.2.0/24",
        "domain example.com",
        "host scanner.example.net",
    ]);
    let hosts = ResolvedHosts::new([
        ("Scanner.example.net", ip("198.51.100.9")),
        ("other.example", ip("198.51.100.8")),
    ]);
    assert!(!list.needs_names(ip("192.0.2.1"), &hosts));
    assert!(!list.needs_names(ip("198.51.100.9"), &hosts));
    assert!(list.needs_names(ip("198.51.100.8"), &hosts));
    assert_eq!(list.hosts().collect::<Vec<_>>(), ["scanner.example.net"]);

    let found = |address: &str, client: &[&str]| {
        let client: Vec<Box<str>> = client.iter().map(|&name| name.into()).collect();
        list.find(
            ip(address),
            &NameFacts {
                client: &client,
                hosts: &hosts,
            },
        )
        .map(|found| found.matched.to_string())
    };
    assert_eq!(
        found("::ffff:198.51.100.9", &[]).as_deref(),
        Some("host scanner.example.net")
    );
    for name in [
        "example.com",
        "MAIL.Example.COM",
        "a.b.example.com",
        "example.com.",
    ] {
        assert_eq!(
            found("203.0.113.1", &["x.test", name]).as_deref(),
            Some("domain example.com"),
            "{name}"
        );
    }
    for name in [
        "notexample.com",
        "example.com.evil.test",
        "com",
        "",
        ".",
        "example.com..",
        &"a.".repeat(200),
    ] {
        assert_eq!(found("203.0.113.1", &[name]), None, "{name}");
    }
}

#[test]
fn all_entries_are_told_in_order_each_once() {
    let entries = [
        "domain b.example",
        "2001:db8::/32",
        "192.0.2.7",
        "host scanner.example",
        "10.0.0.0/8",
        "10.1.0.0/16",
        "::ffff:192.0.2.7",
        "domain a.example",
    ];
    let told: Vec<(String, u32)> = list(&entries)
        .entries()
        .map(|found| (found.matched.to_string(), found.origin.line()))
        .collect();
    let expected = [
        ("10.0.0.0/8", 5),
        ("10.1.0.0/16", 6),
        ("192.0.2.7", 3),
        ("2001:db8::/32", 2),
        ("host scanner.example", 4),
        ("domain a.example", 8),
        ("domain b.example", 1),
    ];
    assert_eq!(told, expected.map(|(text, line)| (text.to_owned(), line)));
}

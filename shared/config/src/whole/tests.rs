//! Every way to write everyone, and lists that only look like it.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use super::*;
use crate::load;

/// The gravest thing found about the relay list, if any.
fn gravest(relay: &str) -> Option<Severity> {
    let text = format!(
        "[general]\nfqdn = \"mx1.example.com\"\n\
         listen = [{{ address = \"127.0.0.1:25\", tls = \"none\" }}]\n\
         [access.authentication]\nanonymous = true\n[access.relay]\n{relay}\n"
    );
    let (_, findings) = load(&text, Path::new("mx1.toml"));
    findings.iter().map(|finding| finding.severity).min()
}

fn list(entries: impl IntoIterator<Item = String>) -> String {
    let entries: Vec<String> = entries
        .into_iter()
        .map(|one| format!("\"{one}\""))
        .collect();
    format!("list = [{}]", entries.join(", "))
}

fn written(entries: &[&str]) -> String {
    list(entries.iter().map(|&entry| entry.to_owned()))
}

#[test]
fn everyone_is_seen_however_it_is_written() {
    let everyone: &[&[&str]] = &[
        &["0.0.0.0/0"],
        &["0.0.0.0/0.0.0.0"],
        &["::/0"],
        &["::/0", "10.0.0.0/8"],
        &["0.0.0.0/1", "128.0.0.0/1"],
        &["0.0.0.0/1"],
        &["64.0.0.0/2"],
        &["128.0.0.0/192.0.0.0"],
        &["32.0.0.0/3"],
        &["48.0.0.0/4"],
        &["8000::/1", "::/1"],
        &["2000::/3"],
        &["2000::/4"],
        &["2a00::/12"],
        &["::ffff:0:0/96"],
        &["::ffff:0.0.0.0/97"],
        &["::ffff:64.0.0.0/98"],
        &["64:ff9b::/96"],
        &["64:ff9b::4000:0/98"],
        &["2002::/16"],
        &["2001::/32"],
        &["domain com"],
        &["domain .com"],
        &["domain COM"],
        &["192.0.2.7", "domain uk", "host scanner.example.com"],
    ];
    for entries in everyone {
        let relay = written(entries);
        assert_eq!(gravest(&relay), Some(Severity::Error), "{relay}");
        let meant = format!("{relay}\nallow_everyone = true");
        assert_eq!(gravest(&meant), Some(Severity::Warning), "{meant}");
        // The same network is no better as an exception that lets nobody out.
        let except = format!("mode = \"all-except\"\n{relay}");
        let all = entries.contains(&"0.0.0.0/0") && entries.contains(&"::/0");
        assert_eq!(gravest(&except) == Some(Severity::Error), !all, "{except}");
    }
}

#[test]
fn small_networks_that_add_up_are_everyone() {
    let net16 = |range: std::ops::Range<u32>| {
        list(range.flat_map(|a| (0..256).map(move |b| format!("{a}.{b}.0.0/16"))))
    };
    assert_eq!(gravest(&net16(20..36)), Some(Severity::Error));
    assert_eq!(gravest(&net16(20..22)), Some(Severity::Warning));
    let net20 =
        list((0..8192u32).map(|n| format!("2a{:02x}:{:x}::/32", n >> 12, (n & 0xfff) << 4)));
    assert_eq!(gravest(&net20), None, "thousands of /32 are little of IPv6");
    let net18 =
        list((0..2048u32).map(|n| format!("2a{:02x}:{:x}::/18", n >> 2 & 15, (n & 3) << 14)));
    assert_eq!(gravest(&net18), Some(Severity::Error));
    // Written twice, nested, or where no stranger is, they add nothing.
    let same = list((0..5000).map(|n| format!("20.1.{}.0/24", n % 256)));
    assert_eq!(gravest(&same), None);
    let inside = list((0..5000).map(|n| format!("10.{}.{}.0/24", n / 256, n % 256)));
    assert_eq!(gravest(&inside), None);
}

#[test]
fn all_but_some_is_everyone() {
    for (relay, severity) in [
        ("mode = \"all-except\"", Some(Severity::Error)),
        (
            "mode = \"all-except\"\nlist = [\"203.0.113.0/24\"]",
            Some(Severity::Error),
        ),
        (
            "mode = \"all-except\"\nlist = [\"domain com\"]",
            Some(Severity::Error),
        ),
        (
            "mode = \"all-except\"\nlist = [\"0.0.0.0/0\"]",
            Some(Severity::Error),
        ),
        (
            "mode = \"all-except\"\nlist = [\"0.0.0.0/0\", \"8000::/1\"]",
            Some(Severity::Error),
        ),
        (
            "mode = \"all-except\"\nlist = [\"0.0.0.0/0\", \"::/0\"]",
            None,
        ),
        (
            "mode = \"all-except\"\nallow_everyone = true",
            Some(Severity::Warning),
        ),
    ] {
        assert_eq!(gravest(relay), severity, "{relay}");
    }
}

#[test]
fn what_sites_have_is_let_pass() {
    for entries in [
        &[
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "100.64.0.0/10",
        ][..],
        &["fc00::/7", "fe80::/10", "::1", "127.0.0.0/8"],
        &["192.0.2.0/24", "2001:db8::/32", "2a00::/19"],
        &[
            "host scanner.example.com",
            "domain example.com",
            "domain example.co.uk",
        ],
        &["domain local", "domain internal", "domain test"],
        &["64:ff9b::c000:207", "64:ff9b::c000:200/120"],
        &["16.0.0.0/9"],
    ] {
        let relay = written(entries);
        assert_eq!(gravest(&relay), None, "{relay}");
    }
    for entries in [
        &["9.0.0.0/8"][..],
        &["2a00::/16"],
        &["domain co.uk"],
        &["domain com.au"],
    ] {
        let relay = written(entries);
        assert_eq!(gravest(&relay), Some(Severity::Warning), "{relay}");
    }
    assert_eq!(gravest("allow_everyone = true"), Some(Severity::Note));
}

#[test]
fn everyone_who_may_connect_is_another_matter() {
    for (connection, severity) in [
        (
            "mode = \"only\"\nlist = [\"10.0.0.0/8\", \"host a.example.com\"]",
            Severity::Note,
        ),
        (
            "mode = \"only\"\nlist = [\"domain example.com\"]",
            Severity::Note,
        ),
        ("mode = \"only\"\nlist = [\"0.0.0.0/0\"]", Severity::Warning),
        (
            "mode = \"only\"\nlist = [\"domain com\"]",
            Severity::Warning,
        ),
        ("list = [\"10.0.0.0/8\"]", Severity::Warning),
    ] {
        for relay in ["list = [\"0.0.0.0/0\"]", "mode = \"all-except\""] {
            let relay = format!("{relay}\n[access.connection]\n{connection}");
            assert_eq!(gravest(&relay), Some(Severity::Error), "{relay}");
            let relay = format!("allow_everyone = true\n{relay}");
            assert_eq!(gravest(&relay), Some(severity), "{relay}");
        }
    }
}

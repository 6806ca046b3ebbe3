//! Names from foreign mail addresses, over mutated seeds for a bounded time.

use postern_dns::lookup::{ascii, literal};

#[path = "../../../tests/fuzz/mutate.rs"]
mod mutate;

/// A name is refused, or has become one that DNS can carry, and stays itself from then on.
fn name(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = literal(&text);
    match ascii(&text) {
        Ok(name) => {
            assert!(name.is_ascii() && !name.is_empty() && name.len() <= 253);
            assert!(!name.ends_with('.') && !name.bytes().any(|byte| byte.is_ascii_uppercase()));
            assert!(name.split('.').all(|label| (1..=63).contains(&label.len())));
            assert_eq!(ascii(&name).as_deref(), Ok(&*name));
        }
        Err(error) => assert!(!error.is_temporary() && error.to_string().len() < 500),
    }
}

#[test]
fn names_survive_mutation() {
    let seeds: &[&[u8]] = &[
        b"mx1.example.com",
        b"[192.0.2.1]",
        b"[IPv6:2001:db8::1]",
        "bücher.example".as_bytes(),
        "xn--bcher-kva.example".as_bytes(),
        "日本語。example".as_bytes(),
        b"_25._tcp.mx1.example.com.",
    ];
    let words: &[&[u8]] = &[
        b".",
        b"..",
        b"xn--",
        b"-",
        "\u{200d}".as_bytes(),
        "ß".as_bytes(),
        b"\0",
        b"\xff",
        &[b'a'; 70],
        b"[",
        b"]",
    ];
    mutate::play(seeds, words, 30_000, name);
}

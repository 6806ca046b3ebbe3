//! The fuzz target of the mechanisms, over mutated seeds for a bounded time.

#[path = "../../../tests/fuzz/mutate.rs"]
mod mutate;
#[path = "../../../tests/fuzz/sasl.rs"]
mod sasl;

#[test]
fn exchanges_survive_mutated_responses() {
    let seeds: &[&[u8]] = &[
        b"\0alice\0secret",
        b"alice\0alice\0secret",
        b"other\0alice\0secret",
        b"alice\xfesecret",
        "j\u{fc}rgen\u{feff}".as_bytes(),
        b"",
    ];
    let words: &[&[u8]] = &[
        b"\0",
        b"\xfe",
        b"\xff",
        b"\xc3",
        b"=",
        b"*",
        &[b'a'; 300],
        b"\0\0",
    ];
    mutate::play(seeds, words, 50_000, sasl::exchange);
}

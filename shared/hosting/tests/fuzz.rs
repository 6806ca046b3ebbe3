//! The fuzz targets of `tests/fuzz/hosting.rs` on a stable compiler.

#[path = "../../../tests/fuzz/hosting.rs"]
mod hosting;
#[path = "../../../tests/fuzz/mutate.rs"]
mod mutate;

const SEEDS: [&[u8]; 3] = [
    b"[general]\nfqdn = \"a.b\"\nlisten = [\"192.0.2.1:25\", { address = \"[::1]:465\", tls = \"implicit\" }]\n\
      user = \"x\"\nautostart = false\nlimits = { memory = \"1 GiB\", open_files = 100, threads = 3 }\n",
    b"[general]\nlisten = [\"[::]:25\"]\ndrain_timeout = \"10m\"\n[access.tls]\ncertificates = [{ certificate = \"a\", \
      key = \"b\" }]\nclient_ca = \"c\"\n[access.authentication]\naccounts = [{ file = \"d\" }]\n[access.relay]\nlist = [\"file g\"]\n\
      [delivery]\ndomains = [{ name = \"e\", recipients = \"f/g\" }]\n",
    b"control_group = \"postern\"\nuids = \"64000-64999\"\nlog = \"info\"\n",
];

const WORDS: [&[u8]; 16] = [
    b"\n",
    b"\"",
    b"[",
    b"]",
    b"{",
    b"}",
    b"=",
    b",",
    b"\xff",
    b"\xc3\xa4",
    b"general",
    b"listen",
    b"0",
    b"-1",
    b"true",
    b"\"192.0.2.1:25\"",
];

#[test]
fn definitions_survive() {
    mutate::play(&SEEDS, &WORDS, 20_000, hosting::definition);
}

#[test]
fn settings_survive() {
    mutate::play(&SEEDS[2..], &WORDS, 20_000, hosting::settings);
}

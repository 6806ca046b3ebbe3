//! libFuzzer on `hosting::settings`.
#![no_main]

#[path = "../hosting.rs"]
#[allow(dead_code)]
mod hosting;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hosting::settings(bytes));

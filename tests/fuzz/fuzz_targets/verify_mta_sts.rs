//! libFuzzer on `verify::mta_sts`.
#![no_main]

#[path = "../verify.rs"]
#[allow(dead_code)]
mod verify;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| verify::mta_sts(bytes));

//! libFuzzer on `smtp::params`.
#![no_main]

#[path = "../smtp.rs"]
#[allow(dead_code)]
mod smtp;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| smtp::params(bytes));

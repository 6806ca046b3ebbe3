//! libFuzzer on `smtp::body`.
#![no_main]

#[path = "../smtp.rs"]
#[allow(dead_code)]
mod smtp;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| smtp::body(bytes));

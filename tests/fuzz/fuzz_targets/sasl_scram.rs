//! libFuzzer on `sasl::scram`.
#![no_main]

#[path = "../sasl.rs"]
#[allow(dead_code)]
mod sasl;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sasl::scram(bytes));

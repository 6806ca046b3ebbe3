//! libFuzzer on `control::packet`.
#![no_main]

#[path = "../control.rs"]
#[allow(dead_code)]
mod control;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| control::packet(bytes));

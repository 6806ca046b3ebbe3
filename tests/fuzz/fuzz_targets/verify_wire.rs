//! libFuzzer on `verify_wire::peer`.
#![no_main]

#[path = "../verify_wire.rs"]
#[allow(dead_code)]
mod verify_wire;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| verify_wire::peer(bytes));

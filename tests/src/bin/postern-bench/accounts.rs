//! The accounts of the bench: many names, one password, hashed once at the usual cost.
//!
//! Never: a hash cheaper than `postern account` makes them.

use crate::Failure;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postern_tests::stage::private;
use std::fmt::Write as _;
use std::path::Path;

/// Everybody's.
pub(crate) const PASSWORD: &str = "wonder.land-1";

/// Argon2id of 19 MiB, two passes, one lane.
const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$YWxpY2VhbGljZWFsaWNlMQ$3l9aybG6l2Fg+feovuYjTNUzvCODJcB0+aIYK63djQY";

/// One of them.
pub(crate) fn name(number: u64) -> String {
    format!("user{number}@client.example")
}

/// What AUTH PLAIN sends.
pub(crate) fn blob(name: &str, password: &str) -> String {
    STANDARD.encode(format!("\0{name}\0{password}"))
}

/// An account file for Postern.
pub(crate) fn write_ours(path: &Path, count: u64) -> Result<(), Failure> {
    let mut text = String::new();
    for number in 0..count {
        let name = name(number);
        writeln!(text, "[accounts.\"{name}\"]\npassword = \"{HASH}\"")?;
    }
    private(path, &text)
}

/// The same accounts for Dovecot.
pub(crate) fn write_theirs(path: &Path, count: u64) -> Result<(), Failure> {
    let mut text = String::new();
    for number in 0..count {
        writeln!(text, "{}:{{ARGON2ID}}{HASH}::::::", name(number))?;
    }
    Ok(std::fs::write(path, text)?)
}

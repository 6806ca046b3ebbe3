//! One `ntlm_auth --helper-protocol=ntlm-server-1`, which asks winbind whether a response is right.
//!
//! ```text
//! LANMAN-Challenge: 1f2e3d4c5b6a7988          Authenticated: Yes
//! NT-Response: 8a6f…                          User-Session-Key: 59D298C5B41F54A88111133513B6CD52
//! Username:: YWxpY2U=                         .
//! NT-Domain:: Q09SUA==
//! Request-User-Session-Key: Yes               Authenticated: No
//! .                                           Authentication-Error: The specified account does not exist.
//!                                             .
//!                                             .            ← once more after an error: Samba says the dot twice
//! ```
//!
//! Names go in base64, so that nothing in them can be taken for a line. What came before a question is looked at before it
//! is asked: an answer that belongs to another question would let the wrong one in. A helper that says anything but these
//! two answers is killed.
//!
//! Never: a password; a helper's own handshake, which does not look at channel bindings.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use postern_sasl::{NtProof, SessionBaseKey};

use super::child::{Error, Running};

const END: &str = ".";

/// A helper: asked one question at a time.
#[derive(Debug)]
pub(super) struct Helper(Running);

/// What winbind says of a response.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is right. No key: of a guest, or of somebody without a password.
    Right(Option<SessionBaseKey>),
    /// It is not, or something went wrong: in Samba's words.
    Wrong(String),
}

impl Helper {
    /// Starts a helper.
    pub(super) fn start(program: &Path) -> Result<Helper, Error> {
        Running::start(program, &["--helper-protocol=ntlm-server-1"]).map(Helper)
    }

    /// Asks. After an error this helper must not be asked again.
    pub(super) fn ask(&mut self, proof: &NtProof, deadline: Instant) -> Result<Verdict, Error> {
        let before = self.0.unasked()?;
        if !matches!(before.as_slice(), b"" | b".\n") {
            return Err(self.0.nonsense(&before));
        }
        self.0.write(question(proof).as_bytes())?;
        let lines = self.answer(deadline)?;
        read(&lines).ok_or_else(|| self.0.nonsense(lines.join("\n").as_bytes()))
    }

    fn answer(&mut self, deadline: Instant) -> Result<Vec<String>, Error> {
        let mut lines = Vec::new();
        while lines.len() < 4 {
            match self.0.line(deadline)? {
                None => return Err(self.0.gone()),
                // No answer is empty: this is the last one's second dot.
                Some(line) if line == END && lines.is_empty() => {}
                Some(line) if line == END => return Ok(lines),
                Some(line) => lines.push(line),
            }
        }
        Err(self.0.nonsense(lines.join("\n").as_bytes()))
    }
}

fn question(proof: &NtProof) -> String {
    format!(
        "LANMAN-Challenge: {}\nNT-Response: {}\nUsername:: {}\nNT-Domain:: {}\nRequest-User-Session-Key: Yes\n{END}\n",
        hex(&proof.server_challenge),
        hex(proof.nt_response.expose()),
        STANDARD.encode(&proof.user),
        STANDARD.encode(&proof.domain),
    )
}

fn read(lines: &[String]) -> Option<Verdict> {
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    match lines.as_slice() {
        ["Authenticated: Yes"] => Some(Verdict::Right(None)),
        ["Authenticated: Yes", key] => {
            let key = unhex(key.strip_prefix("User-Session-Key: ")?)?;
            Some(Verdict::Right(Some(SessionBaseKey::new(key))))
        }
        ["Authenticated: No", why] => {
            let why = why.strip_prefix("Authentication-Error: ")?;
            Some(Verdict::Wrong(why.to_owned()))
        }
        _ => None,
    }
}

fn hex(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len() * 2);
    for octet in octets {
        let _ = write!(text, "{octet:02x}");
    }
    text
}

fn unhex(text: &str) -> Option<[u8; 16]> {
    if text.len() != 32 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut key = [0; 16];
    for (octet, at) in key.iter_mut().zip((0..32).step_by(2)) {
        *octet = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    Some(key)
}

#[cfg(test)]
mod tests;

//! Bytes to lines: CRLF and nothing else ends one, and its length is bounded.
//!
//! ```text
//! buffer  [ taken | known to hold no CR or LF | not looked at yet ]
//!                 ^ taken                     ^ taken + scanned
//! ```
//!
//! A line at fault is reported once, as soon as the fault shows, and the rest of it up to its CRLF is skipped:
//! one line, one reply, whatever stood in it.
//!
//! Never: a line that a bare CR or LF has ended, or a buffer that grows with what a client sends.

use std::ops::Range;

use memchr::{memchr2, memmem};

/// The longest command line with its CRLF. RFC 5321 §4.5.3.1.4 asks for 512, extensions for some 1,100 more.
pub const COMMAND_LIMIT: usize = 2048;
/// The same for AUTH and the lines that follow it (RFC 4954 §4).
pub const AUTH_LIMIT: usize = 12_288;
/// A buffer with this much room or less is left as it is, however little is in it.
const SMALL: usize = 512;

/// Why a line is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineError {
    /// A CR without LF, or a LF without CR.
    BareNewline,
    /// Longer than the limit.
    TooLong,
}

/// What came in and was not used up yet.
#[derive(Default)]
pub struct Input {
    buffer: Vec<u8>,
    taken: usize,
    scanned: usize,
    skipping: bool,
}

impl Input {
    /// The buffer, to append to.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        self.compact();
        &mut self.buffer
    }

    /// What is not used up.
    pub fn rest(&self) -> &[u8] {
        self.buffer.get(self.taken..).unwrap_or_default()
    }

    /// Whether all is used up.
    pub fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }

    /// Where in the buffer [`Input::rest`] begins.
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// Bytes by their place in the buffer, as lines and pieces name them.
    pub fn at(&self, range: Range<usize>) -> &[u8] {
        self.buffer.get(range).unwrap_or_default()
    }

    /// Uses up `count` bytes.
    pub fn advance(&mut self, count: usize) {
        self.taken += count;
        self.scanned = 0;
    }

    /// Overwrites bytes that were a secret.
    pub fn wipe(&mut self, range: Range<usize>) {
        if let Some(bytes) = self.buffer.get_mut(range) {
            bytes.fill(0);
        }
    }

    /// Forgets everything, the half of a line too.
    pub fn clear(&mut self) {
        *self = Input::default();
    }

    /// Gives memory back: all of it when everything is used up, most of it when little is left in much room.
    pub fn release(&mut self) {
        if self.is_empty() {
            self.buffer = Vec::new();
            self.taken = 0;
        } else if self.buffer.capacity() > SMALL && self.rest().len() <= self.buffer.capacity() / 4
        {
            self.compact();
            self.buffer.shrink_to_fit();
        }
    }

    /// The next line, as its place in the buffer without CRLF; `None` when it is not complete.
    /// `limit` counts the CRLF; a line that begins with `AUTH ` gets [`AUTH_LIMIT`].
    pub fn line(&mut self, limit: usize) -> Option<Result<Range<usize>, LineError>> {
        if self.skipping && !self.skip() {
            return None;
        }
        let rest = self.buffer.get(self.taken..).unwrap_or_default();
        let limit = if is_auth(rest) {
            AUTH_LIMIT.max(limit)
        } else {
            limit
        };
        let found = memchr2(b'\r', b'\n', rest.get(self.scanned..).unwrap_or_default())
            .map(|at| at + self.scanned);
        match found {
            // The content may have limit - 2 octets.
            Some(at) if at > limit - 2 => self.fault(limit - 1, LineError::TooLong),
            Some(at) if rest[at] == b'\r' && rest.get(at + 1) == Some(&b'\n') => {
                let line = self.taken..self.taken + at;
                self.advance(at + 2);
                Some(Ok(line))
            }
            Some(at) if rest[at] == b'\r' && at + 1 == rest.len() => {
                self.scanned = at;
                None
            }
            Some(at) => self.fault(at + 1, LineError::BareNewline),
            None if rest.len() > limit - 2 => self.fault(limit - 1, LineError::TooLong),
            None => {
                self.scanned = rest.len();
                None
            }
        }
    }

    fn fault(&mut self, used: usize, error: LineError) -> Option<Result<Range<usize>, LineError>> {
        self.advance(used);
        self.skipping = true;
        Some(Err(error))
    }

    /// Skips to behind the next CRLF; whether it was there.
    fn skip(&mut self) -> bool {
        let rest = self.rest();
        match memmem::find(rest, b"\r\n") {
            Some(at) => {
                self.advance(at + 2);
                self.skipping = false;
                true
            }
            None => {
                let keep = usize::from(rest.last() == Some(&b'\r'));
                self.advance(rest.len() - keep);
                false
            }
        }
    }

    fn compact(&mut self) {
        let taken = self.taken.min(self.buffer.len());
        self.buffer.drain(..taken);
        self.taken = 0;
    }
}

fn is_auth(line: &[u8]) -> bool {
    line.get(..5)
        .is_some_and(|start| start.eq_ignore_ascii_case(b"AUTH "))
}

/// Shows how much there is, never what it is: it may be a password.
impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Input({} octets)", self.rest().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All lines of `text`, given in pieces of `step` bytes.
    fn lines(text: &[u8], step: usize) -> Vec<Result<Vec<u8>, LineError>> {
        let mut input = Input::default();
        let mut found = Vec::new();
        for piece in text.chunks(step) {
            input.buffer().extend_from_slice(piece);
            while let Some(line) = input.line(COMMAND_LIMIT) {
                found.push(line.map(|range| input.at(range).to_vec()));
            }
            input.release();
            assert!(input.rest().len() < AUTH_LIMIT);
        }
        found
    }

    #[test]
    fn only_crlf_ends_a_line() {
        let bare = Err(LineError::BareNewline);
        let ok = |text: &str| Ok(text.as_bytes().to_vec());
        for (text, expected) in [
            ("a\r\nb\r\n", vec![ok("a"), ok("b")]),
            ("\r\n", vec![ok("")]),
            ("a", vec![]),
            ("a\r", vec![]),
            ("a\n", vec![bare.clone()]),
            ("a\nb\nc\r\nd\r\n", vec![bare.clone(), ok("d")]),
            ("a\rb\r\nd\r\n", vec![bare.clone(), ok("d")]),
            ("a\r\r\nd\r\n", vec![bare.clone(), ok("d")]),
            ("a\n\r\nd\r\n", vec![bare.clone(), ok("d")]),
            ("\n\r\n", vec![bare.clone()]),
            ("a\r\n\nb\r\nc\r\n", vec![ok("a"), bare.clone(), ok("c")]),
        ] {
            for step in 1..=text.len() {
                assert_eq!(lines(text.as_bytes(), step), expected, "{text:?} by {step}");
            }
        }
    }

    #[test]
    fn long_lines() {
        for (length, auth, good) in [
            (2046, false, true),
            (2047, false, false),
            (9000, false, false),
            (12_286, true, true),
            (12_287, true, false),
        ] {
            let mut text = vec![b'x'; length];
            if auth {
                text[..5].copy_from_slice(b"auth ");
            }
            text.extend_from_slice(b"\r\nNOOP\r\n");
            for step in [1, 7, 2047, 2048, 2049, text.len()] {
                let found = lines(&text, step);
                assert_eq!(
                    (found[0].is_ok(), found[1].as_deref(), found.len()),
                    (good, Ok(&b"NOOP"[..]), 2),
                    "{length} by {step}"
                );
            }
        }
    }

    #[test]
    fn an_endless_line_costs_no_memory() {
        let mut input = Input::default();
        for _ in 0..10_000 {
            input.buffer().extend_from_slice(&[b'x'; 1000]);
            while input.line(COMMAND_LIMIT).is_some() {}
            input.release();
            assert!(input.buffer.capacity() <= 4096);
        }
    }
}

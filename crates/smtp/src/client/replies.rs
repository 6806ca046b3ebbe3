//! Bytes to replies: of several lines, of a bounded length, with whatever mistakes peers make.
//!
//! Never: more memory than one reply may take, however long a peer goes on.

use memchr::memchr;

use crate::reply::{EnhancedCode, Reply};

/// The longest line of a reply. RFC 5321 §4.5.3.1.5 says 512; some peers explain themselves at length.
const LINE_LIMIT: usize = 4096;
/// The longest reply.
const REPLY_LIMIT: usize = 64 * 1024;
/// What is kept of a reply's text.
const TEXT_LIMIT: usize = 8 * 1024;

/// What a peer said is no reply, or has no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// Puts replies together.
#[derive(Debug, Default)]
pub(super) struct Replies {
    line: Vec<u8>,
    open: Option<Reply>,
    octets: usize,
}

impl Replies {
    /// Takes from the front of `input` up to the end of the next reply; `None` when more input is needed.
    pub(super) fn next(&mut self, input: &mut &[u8]) -> Result<Option<Reply>, Malformed> {
        while let Some(end) = memchr(b'\n', input) {
            let (head, rest) = input.split_at(end + 1);
            *input = rest;
            let ended = if self.line.is_empty() {
                self.take(head)?
            } else {
                self.hold(head)?;
                let line = std::mem::take(&mut self.line);
                self.take(&line)?
            };
            if ended {
                self.octets = 0;
                return Ok(self.open.take());
            }
        }
        self.hold(std::mem::take(input))?;
        Ok(None)
    }

    fn hold(&mut self, piece: &[u8]) -> Result<(), Malformed> {
        if self.line.len() + piece.len() > LINE_LIMIT {
            return Err(Malformed);
        }
        self.line.extend_from_slice(piece);
        Ok(())
    }

    /// Adds one line; whether it is the last of its reply.
    fn take(&mut self, line: &[u8]) -> Result<bool, Malformed> {
        self.octets += line.len();
        if line.len() > LINE_LIMIT || self.octets > REPLY_LIMIT {
            return Err(Malformed);
        }
        // A bare LF is let pass: a peer gains nothing by it but its own reply.
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let (code, rest) = line.split_at_checked(3).ok_or(Malformed)?;
        let code = number(code)
            .filter(|code| (200..600).contains(code))
            .ok_or(Malformed)?;
        let (last, text) = match rest.split_first() {
            None => (true, rest),
            Some((b' ', text)) => (true, text),
            Some((b'-', text)) => (false, text),
            Some(_) => return Err(Malformed),
        };
        self.add(code, &clean(text))?;
        Ok(last)
    }

    fn add(&mut self, code: u16, text: &str) -> Result<(), Malformed> {
        match &mut self.open {
            None => {
                let (enhanced, text) = split_enhanced(code, text);
                self.open = Some(Reply {
                    code,
                    enhanced,
                    text: text.to_owned().into(),
                });
            }
            // RFC 5321 §4.2.1: the same code on every line.
            Some(reply) if reply.code != code => return Err(Malformed),
            Some(reply) => {
                let (enhanced, stripped) = split_enhanced(code, text);
                let text = if enhanced == reply.enhanced {
                    stripped
                } else {
                    text
                };
                if reply.text.len() + text.len() < TEXT_LIMIT {
                    let all = reply.text.to_mut();
                    all.push('\n');
                    all.push_str(text);
                }
            }
        }
        Ok(())
    }
}

fn number(digits: &[u8]) -> Option<u16> {
    let digits = std::str::from_utf8(digits).ok()?;
    digits
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| digits.parse().ok())?
}

/// What goes to logs and notices: no control characters, no broken UTF-8.
fn clean(text: &[u8]) -> String {
    let control = |letter: char| letter.is_control();
    String::from_utf8_lossy(text)
        .replace(control, " ")
        .trim_end()
        .to_owned()
}

/// RFC 2034 §4: the enhanced code begins the text and is of the class of the code.
fn split_enhanced(code: u16, text: &str) -> (Option<EnhancedCode>, &str) {
    let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
    match first.parse::<EnhancedCode>() {
        Ok(enhanced) if u16::from(enhanced.0) == code / 100 => (Some(enhanced), rest),
        _ => (None, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &[u8], step: usize) -> Result<Vec<Reply>, Malformed> {
        let (mut replies, mut found) = (Replies::default(), Vec::new());
        for mut piece in text.chunks(step) {
            while let Some(reply) = replies.next(&mut piece)? {
                found.push(reply);
            }
            assert!(replies.line.capacity() <= 2 * LINE_LIMIT);
        }
        Ok(found)
    }

    #[test]
    fn replies_of_all_shapes() {
        let text = b"220 mx ESMTP\r\n250-a\r\n250-SIZE 1\r\n250 DSN\r\n550-5.1.1 no\r\n550 5.1.1 such user\r\n354\r\n250 5.0.0 odd\r\n250 lf\n";
        let expected = [
            Reply::plain(220, "mx ESMTP"),
            Reply::plain(250, "a\nSIZE 1\nDSN"),
            Reply::new(550, "5.1.1", "no\nsuch user"),
            Reply::plain(354, ""),
            Reply::plain(250, "5.0.0 odd"),
            Reply::plain(250, "lf"),
        ];
        for step in 1..text.len() {
            assert_eq!(all(text, step).as_deref(), Ok(&expected[..]), "by {step}");
        }
    }

    #[test]
    fn what_is_no_reply() {
        for text in [
            &b"\r\n"[..],
            b"25\r\n",
            b"abc x\r\n",
            b"250x\r\n",
            b"199 x\r\n",
            b"600 x\r\n",
            b"250-a\r\n251 b\r\n",
            b"+50 x\r\n",
        ] {
            assert_eq!(all(text, text.len()), Err(Malformed), "{text:?}");
        }
    }

    #[test]
    fn endless_replies_end() {
        let line = [b"250-", &vec![b'x'; 10 << 20][..]].concat();
        let lines = b"250-more\r\n".repeat(1 << 20);
        for step in [1000, 65_536, 20 << 20] {
            assert_eq!(all(&line, step), Err(Malformed));
            assert_eq!(all(&lines, step), Err(Malformed));
        }
    }

    #[test]
    fn nothing_unprintable_is_kept() {
        let reply = &all(b"550 a\0b\xff\x1b[2J\r\n", 100).unwrap()[0];
        assert_eq!(reply.text, "a b\u{fffd} [2J");
    }
}

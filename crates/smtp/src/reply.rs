//! Replies: a code, an enhanced code, a text of one or more lines (RFC 5321 §4.2, RFC 2034, RFC 3463).
//!
//! Never: a decision on which reply fits; whoever refuses words the refusal.

use std::borrow::Cow;
use std::fmt;
use std::io::Write;

/// `class.subject.detail` (RFC 3463 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EnhancedCode(pub u8, pub u16, pub u16);

/// One reply, of one or more lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// 200 to 599.
    pub code: u16,
    /// Repeated on every line of the wire form.
    pub enhanced: Option<EnhancedCode>,
    /// The text; `\n` separates lines.
    pub text: Cow<'static, str>,
}

impl Reply {
    /// A reply with an enhanced code, written `"5.7.1"`; one that cannot be read, or an empty text, leaves it out.
    pub fn new(code: u16, enhanced: &str, text: impl Into<Cow<'static, str>>) -> Reply {
        Reply {
            code,
            enhanced: enhanced.parse().ok(),
            text: text.into(),
        }
    }
    /// A reply without an enhanced code: greetings, EHLO, 334 and 354.
    pub fn plain(code: u16, text: impl Into<Cow<'static, str>>) -> Reply {
        Reply {
            code,
            enhanced: None,
            text: text.into(),
        }
    }
    /// 2xx.
    pub fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }
    /// 4xx: try again later.
    pub fn is_transient(&self) -> bool {
        self.code / 100 == 4
    }
    /// 5xx.
    pub fn is_permanent(&self) -> bool {
        self.code / 100 == 5
    }
    /// Appends the wire form, every line ended by CRLF.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let mut lines = self.text.split('\n').peekable();
        while let Some(line) = lines.next() {
            let mark = if lines.peek().is_some() { '-' } else { ' ' };
            // A Vec takes all that is written to it.
            let _ = write!(out, "{}{mark}", self.code);
            if let Some(enhanced) = self.enhanced {
                let _ = write!(out, "{enhanced} ");
            }
            // Whatever a text was made from, it cannot speak for us.
            out.extend(
                line.bytes()
                    .map(|byte| if byte.is_ascii_control() { b'?' } else { byte }),
            );
            out.extend_from_slice(b"\r\n");
        }
    }
}

impl std::str::FromStr for EnhancedCode {
    type Err = ();
    fn from_str(text: &str) -> Result<EnhancedCode, ()> {
        let number = |part: &str| {
            if part.bytes().all(|byte| byte.is_ascii_digit()) {
                part.parse::<u16>().ok()
            } else {
                None
            }
        };
        let mut parts = text.split('.').map(number);
        match (
            parts.next().flatten(),
            parts.next().flatten(),
            parts.next().flatten(),
            parts.next(),
        ) {
            (Some(class @ (2 | 4 | 5)), Some(subject @ ..=999), Some(detail @ ..=999), None) => {
                Ok(EnhancedCode(class as u8, subject, detail))
            }
            _ => Err(()),
        }
    }
}

impl fmt::Display for EnhancedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// Code, enhanced code, text.
impl From<(u16, &str, &'static str)> for Reply {
    fn from((code, enhanced, text): (u16, &str, &'static str)) -> Reply {
        Reply::new(code, enhanced, text)
    }
}

/// On one line, as logs and notices show it: `550 5.7.1 Unable to relay`.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(enhanced) = self.enhanced {
            write!(f, " {enhanced}")?;
        }
        self.text
            .split('\n')
            .filter(|line| !line.is_empty())
            .try_for_each(|line| write!(f, " {line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(reply: &Reply) -> String {
        let mut out = Vec::new();
        reply.write_to(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn wire_form() {
        assert_eq!(
            wire(&Reply::new(550, "5.7.1", "Unable to relay")),
            "550 5.7.1 Unable to relay\r\n"
        );
        assert_eq!(
            wire(&Reply::new(250, "2.0.0", "a\nb\nc")),
            "250-2.0.0 a\r\n250-2.0.0 b\r\n250 2.0.0 c\r\n"
        );
        assert_eq!(wire(&Reply::plain(354, "Go")), "354 Go\r\n");
        assert_eq!(
            wire(&Reply::new(550, "", "x\r250 no\0")),
            "550 x?250 no?\r\n"
        );
    }

    #[test]
    fn enhanced_codes() {
        assert_eq!("5.7.11".parse(), Ok(EnhancedCode(5, 7, 11)));
        for text in [
            "", "5", "5.7", "3.1.1", "5.7.1.1", "5.7.1000", "5.-1.1", "5.+1.1", "x.y.z", "5..1",
        ] {
            assert_eq!(text.parse::<EnhancedCode>(), Err(()), "{text}");
        }
    }

    #[test]
    fn on_one_line() {
        assert_eq!(
            Reply::new(451, "4.3.0", "a\nb").to_string(),
            "451 4.3.0 a b"
        );
    }
}

//! Replies: a code, an enhanced code, a text of one or more lines (RFC 5321 §4.2, RFC 2034, RFC 3463).
//!
//! Never: a decision on which reply fits; whoever refuses words the refusal.

use std::borrow::Cow;
use std::fmt;

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
            out.extend_from_slice(format!("{}{mark}", self.code).as_bytes());
            if let Some(enhanced) = self.enhanced {
                out.extend_from_slice(format!("{enhanced} ").as_bytes());
            }
            out.extend_from_slice(line.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
}

impl std::str::FromStr for EnhancedCode {
    type Err = ();
    fn from_str(text: &str) -> Result<EnhancedCode, ()> {
        let mut parts = text.split('.').map(|part| part.parse::<u16>().ok());
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

//! Replies as a strange server sends them: read with bounds, shown without its control characters.
//!
//! Never: an assumption that the other side is an SMTP server at all.

use std::fmt;

/// The longest line that is taken for one of a reply (RFC 5321 §4.5.3.1.5 says 512).
const LONGEST_LINE: usize = 4096;
/// The most lines of one reply.
const MOST_LINES: usize = 128;
/// The most characters of a stranger's text that a report shows in one piece.
const SHOWN: usize = 240;

/// A reply: its code, and the text of each line behind code and separator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The three digits.
    pub code: u16,
    /// One line at least.
    pub lines: Vec<String>,
}

impl Answer {
    /// Reads the reply at the front of what a server has sent, and how many bytes it took; `None` while it is not whole.
    ///
    /// # Errors
    ///
    /// What stands there instead of a reply, fit to be shown.
    pub fn read(input: &[u8]) -> Result<Option<(Answer, usize)>, String> {
        match front(input) {
            Front::Whole(answer, used) => Ok(Some((answer, used))),
            Front::Part => Ok(None),
            Front::Other(text) => Err(text),
        }
    }

    /// 2xx, and 3xx where more is waited for.
    pub fn is_positive(&self) -> bool {
        (200..400).contains(&self.code)
    }

    /// 5xx.
    pub fn is_refusal(&self) -> bool {
        self.code >= 500
    }

    /// The last word of the extension `keyword` in a reply to EHLO: its parameters, empty where it has none.
    pub fn offers(&self, keyword: &str) -> Option<&str> {
        self.lines.iter().skip(1).find_map(|line| {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            word.eq_ignore_ascii_case(keyword).then(|| rest.trim())
        })
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.lines.join(" / ");
        write!(f, "{:03} {}", self.code, clip(text.trim()))
    }
}

/// What stands at the front of received bytes.
#[derive(Debug, PartialEq, Eq)]
enum Front {
    /// A whole reply, and how many bytes it took.
    Whole(Answer, usize),
    /// The beginning of one.
    Part,
    /// Something else.
    Other(String),
}

/// Reads the reply at the front of `input`. Lines that end with a bare LF are borne: what matters is what they say.
fn front(input: &[u8]) -> Front {
    let (mut at, mut lines, mut code) = (0, Vec::new(), None);
    while let Some(length) = memchr::memchr(b'\n', &input[at..]) {
        let line = input[at..at + length]
            .strip_suffix(b"\r")
            .unwrap_or(&input[at..at + length]);
        at += length + 1;
        let Some((own, last, text)) = split(line) else {
            return Front::Other(clip(&String::from_utf8_lossy(line)));
        };
        if code.is_some_and(|first| first != own) || lines.len() == MOST_LINES {
            return Front::Other(clip(&String::from_utf8_lossy(line)));
        }
        code = Some(own);
        lines.push(text);
        if last {
            return Front::Whole(Answer { code: own, lines }, at);
        }
    }
    let rest = &input[at..];
    if rest.len() > LONGEST_LINE || !rest.iter().take(3).all(u8::is_ascii_digit) {
        return Front::Other(clip(&String::from_utf8_lossy(rest)));
    }
    Front::Part
}

/// Code, whether it is the last line, text.
fn split(line: &[u8]) -> Option<(u16, bool, String)> {
    if line.len() > LONGEST_LINE || line.len() < 3 || !line[..3].iter().all(u8::is_ascii_digit) {
        return None;
    }
    let code = line[..3]
        .iter()
        .fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    let last = match line.get(3) {
        None | Some(b' ') => true,
        Some(b'-') => false,
        Some(_) => return None,
    };
    let text = String::from_utf8_lossy(line.get(4..).unwrap_or_default()).into_owned();
    (200..600).contains(&code).then_some((code, last, text))
}

/// `text` short enough for a report, everything that could move a terminal's cursor written as an escape.
pub(crate) fn clip(text: &str) -> String {
    let mut shown = String::new();
    for (number, c) in text.chars().enumerate() {
        if number == SHOWN {
            shown.push_str(" …");
            break;
        }
        match c {
            c if c.is_control() => shown.extend(c.escape_default()),
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                shown.extend(c.escape_unicode());
            }
            c => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn whole(text: &str) -> (Answer, usize) {
        match front(text.as_bytes()) {
            Front::Whole(answer, used) => (answer, used),
            other => panic!("{text:?}: {other:?}"),
        }
    }

    #[test]
    fn whole_replies_are_read_and_the_rest_is_left() {
        let (answer, used) =
            whole("250-mx.example.com\r\n250-SIZE 99\r\n250 STARTTLS\r\n220 next\r\n");
        assert_eq!(answer.code, 250);
        assert_eq!(answer.offers("size"), Some("99"));
        assert_eq!(answer.offers("STARTTLS"), Some(""));
        assert_eq!(answer.offers("mx.example.com"), None);
        assert_eq!(used, 47);
        assert_eq!(whole("354\r\n").0.lines, [""]);
        assert_eq!(whole("250 unix\n").0.lines, ["unix"]);
    }

    #[test]
    fn what_is_not_whole_yet_is_waited_for() {
        for text in ["", "2", "250", "250-a\r\n", "250-a\r\n25", "250 no end"] {
            assert_eq!(front(text.as_bytes()), Front::Part, "{text:?}");
        }
    }

    #[test]
    fn what_no_smtp_server_says_is_named() {
        let long = format!("250 {}", "x".repeat(5000));
        let many = "250-x\r\n".repeat(200);
        for text in [
            "SSH-2.0-OpenSSH_9.2\r\n",
            "HTTP/1.1 400 Bad Request\r\n",
            "250-a\r\n251 b\r\n",
            "2500 x\r\n",
            "099 x\r\n",
            "x",
            "\r\n",
            &long,
            &many,
            "\u{0}\u{1}\u{2}",
        ] {
            assert!(
                matches!(front(text.as_bytes()), Front::Other(_)),
                "{text:?}"
            );
        }
        assert!(matches!(front(&[0xff; 9000]), Front::Other(_)));
    }

    #[test]
    fn a_report_shows_no_control_characters_and_no_novels() {
        let (answer, _) = whole("550-no\x1b[2J\r\n550 \u{202e}more\r\n");
        assert_eq!(answer.to_string(), "550 no\\u{1b}[2J / \\u{202e}more");
        assert!(clip(&"x".repeat(10_000)).len() < 300);
    }
}

//! Conversations as text, parsed and played on the pure core. For tests; the format stands in `tests/dialogues/README.md`.
//!
//! Never: a clock or a socket, here neither; whoever plays a dialogue on a wire uses the parser only.

mod play;

use std::fmt;
use std::time::Duration;

use crate::reply::Reply;
use crate::server::{BareNewline, Settings, TlsOffer};

pub use play::play;

/// One story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialogue {
    /// The first comment line.
    pub title: String,
    /// `@ name = value` lines: where the settings differ from the common ones.
    pub settings: Vec<(String, String)>,
    /// `@ core: reason`: it cannot be played on a wire.
    pub core_only: Option<String>,
    /// The steps, with their line numbers.
    pub steps: Vec<(usize, Step)>,
}

/// One step, or several `C` lines in a row, which go as one write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The client sends these octets.
    Send(Vec<u8>),
    /// The server says one line like this.
    Say(Pattern),
    /// The core asks this, and gets this answer.
    Ask {
        /// The event as text.
        question: String,
        /// What the host says to it.
        answer: Answer,
    },
    /// Something else happens.
    Do(Deed),
}

/// A line of the server, `*` standing for anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Vec<String>);

/// What the host answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Yes.
    Accept,
    /// No.
    Refuse(Reply),
    /// Nothing: the question is dropped.
    Drop,
    /// AUTH: a challenge.
    Challenge(Vec<u8>),
    /// AUTH: this is who it is.
    Success(String),
}

/// What the host does of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// `! greet`: the greeting goes out only now.
    Greet,
    /// `! secured`, `! secured certificate`: the handshake is done.
    Secured {
        /// The client showed a certificate.
        certificate: bool,
    },
    /// `! closing REPLY`: the server drains.
    Closing(Reply),
    /// `! refuse REPLY`: cut off now.
    Refuse(Reply),
    /// `! expire`: the deadline comes.
    Expire,
}

/// What is wrong with a dialogue, or with how it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// 1-based.
    pub line: usize,
    /// In plain words.
    pub what: String,
}

impl Dialogue {
    /// Reads a dialogue.
    pub fn parse(text: &str) -> Result<Dialogue, Mismatch> {
        let mut dialogue = Dialogue {
            title: String::new(),
            settings: Vec::new(),
            core_only: None,
            steps: Vec::new(),
        };
        for (number, line) in (1..).zip(text.lines()) {
            dialogue
                .take(number, line)
                .map_err(|what| Mismatch { line: number, what })?;
        }
        if dialogue.title.is_empty() || dialogue.steps.is_empty() {
            return Err(Mismatch {
                line: 1,
                what: "a dialogue begins with a comment that names it, and has steps".into(),
            });
        }
        Ok(dialogue)
    }

    /// The common settings with this dialogue's own.
    pub fn server_settings(&self) -> Result<Settings, Mismatch> {
        let mut settings = Settings::new("mx.example.com");
        settings.tls = TlsOffer::Offered;
        settings.mechanisms_tls = vec!["PLAIN", "LOGIN"];
        for (name, value) in &self.settings {
            set(&mut settings, name, value).ok_or_else(|| Mismatch {
                line: 1,
                what: format!("no setting {name} = {value}"),
            })?;
        }
        Ok(settings)
    }

    fn take(&mut self, number: usize, line: &str) -> Result<(), String> {
        let (mark, rest) = line.split_at_checked(2).unwrap_or((line, ""));
        let text = rest.strip_prefix(' ').unwrap_or(rest);
        let step = match mark {
            _ if line.trim().is_empty() => return Ok(()),
            _ if line.starts_with('#') => {
                if self.title.is_empty() {
                    self.title = line.trim_start_matches(['#', ' ']).to_owned();
                }
                return Ok(());
            }
            "@ " => return self.header(text),
            "C:" => Step::Send([unescape(text)?, b"\r\n".to_vec()].concat()),
            "C|" => Step::Send(unescape(text)?),
            "C*" => {
                let (count, text) = text.split_once(' ').ok_or("C* COUNT TEXT")?;
                Step::Send(unescape(text)?.repeat(count.parse().map_err(|_| "no count")?))
            }
            "S:" => Step::Say(Pattern::parse(text)?),
            "? " => {
                let (question, answer) = text.split_once(" -> ").unwrap_or((text, "accept"));
                Step::Ask {
                    question: question.to_owned(),
                    answer: Answer::parse(answer)?,
                }
            }
            "! " => Step::Do(Deed::parse(text)?),
            _ => return Err(format!("unknown mark {mark:?}")),
        };
        match (self.steps.last_mut(), step) {
            (Some((_, Step::Send(before))), Step::Send(more)) => before.extend(more),
            (_, step) => self.steps.push((number, step)),
        }
        Ok(())
    }

    fn header(&mut self, text: &str) -> Result<(), String> {
        if let Some(reason) = text.strip_prefix("core:") {
            self.core_only = Some(reason.trim().to_owned());
            return Ok(());
        }
        let (name, value) = text
            .split_once(" = ")
            .ok_or("@ NAME = VALUE, or @ core: REASON")?;
        self.settings
            .push((name.trim().to_owned(), value.trim().to_owned()));
        Ok(())
    }
}

fn set(settings: &mut Settings, name: &str, value: &str) -> Option<()> {
    match name {
        "max_message_size" => settings.max_message_size = value.parse().ok()?,
        "max_session_size" => settings.max_session_size = value.parse().ok()?,
        "max_messages_per_session" => settings.max_messages = value.parse().ok()?,
        "max_recipients" => settings.max_recipients = value.parse().ok()?,
        "max_errors" => settings.max_errors = value.parse().ok()?,
        "idle_timeout" => settings.idle_timeout = Duration::from_secs(value.parse().ok()?),
        "bare_newline" => {
            settings.bare_newline = match value {
                "refuse" => BareNewline::Refuse,
                "convert" => BareNewline::Convert,
                _ => return None,
            }
        }
        "tls" => {
            settings.tls = match value {
                "none" => TlsOffer::None,
                "starttls" => TlsOffer::Offered,
                "required" => TlsOffer::Required,
                "implicit" => TlsOffer::Active,
                _ => return None,
            }
        }
        "mechanisms_clear" => settings.mechanisms_clear = mechanisms(value)?,
        "mechanisms_tls" => settings.mechanisms_tls = mechanisms(value)?,
        _ => return None,
    }
    Some(())
}

fn mechanisms(value: &str) -> Option<Vec<&'static str>> {
    const NAMES: [&str; 4] = ["PLAIN", "LOGIN", "EXTERNAL", "SCRAM-SHA-256"];
    value
        .split_whitespace()
        .map(|word| NAMES.into_iter().find(|name| *name == word))
        .collect()
}

impl Pattern {
    fn parse(text: &str) -> Result<Pattern, String> {
        const STAR: &str = "\u{1}";
        let text = text.replace("\\*", STAR);
        text.split('*')
            .map(|part| {
                Ok(String::from_utf8_lossy(&unescape(&part.replace(STAR, "*"))?).into_owned())
            })
            .collect::<Result<_, String>>()
            .map(Pattern)
    }

    /// Whether `line`, its CRLF taken off, is like this.
    pub fn fits(&self, line: &str) -> bool {
        let [first, middle @ .., last] = &self.0[..] else {
            return self.0.first().is_some_and(|whole| whole == line);
        };
        let Some(mut rest) = line.strip_prefix(first.as_str()) else {
            return false;
        };
        for part in middle {
            match rest.split_once(part.as_str()) {
                Some((_, after)) => rest = after,
                None => return false,
            }
        }
        rest.ends_with(last.as_str())
    }
}

impl Answer {
    fn parse(text: &str) -> Result<Answer, String> {
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        Ok(match verb {
            "accept" if rest.is_empty() => Answer::Accept,
            "drop" if rest.is_empty() => Answer::Drop,
            "refuse" => Answer::Refuse(reply(rest)?),
            "challenge" => Answer::Challenge(unescape(rest)?),
            "success" => Answer::Success(rest.to_owned()),
            _ => return Err(format!("no answer {text:?}")),
        })
    }
}

impl Deed {
    fn parse(text: &str) -> Result<Deed, String> {
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        Ok(match (verb, rest) {
            ("greet", "") => Deed::Greet,
            ("secured", "") => Deed::Secured { certificate: false },
            ("secured", "certificate") => Deed::Secured { certificate: true },
            ("closing", _) => Deed::Closing(reply(rest)?),
            ("refuse", _) => Deed::Refuse(reply(rest)?),
            ("expire", "") => Deed::Expire,
            _ => return Err(format!("no deed {text:?}")),
        })
    }
}

fn reply(text: &str) -> Result<Reply, String> {
    let (code, text) = text
        .split_once(' ')
        .ok_or("a reply is CODE TEXT, or CODE ENHANCED TEXT")?;
    let code = code.parse().map_err(|_| "no code")?;
    let (enhanced, rest) = text.split_once(' ').unwrap_or(("", text));
    let reply = Reply::new(code, enhanced, rest.to_owned());
    Ok(if reply.enhanced.is_some() {
        reply
    } else {
        Reply::plain(code, text.to_owned())
    })
}

/// `\r \n \t \0 \\ \xHH`.
fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        octets.extend_from_slice(before.as_bytes());
        let sign = after.chars().next().ok_or("a lone backslash")?;
        rest = &after[sign.len_utf8()..];
        octets.push(match sign {
            'r' => b'\r',
            'n' => b'\n',
            't' => b'\t',
            '0' => 0,
            '\\' => b'\\',
            'x' => {
                let digits = rest.get(..2).ok_or("\\xHH")?;
                rest = &rest[2..];
                u8::from_str_radix(digits, 16).map_err(|_| "\\xHH")?
            }
            _ => return Err(format!("unknown escape \\{sign}")),
        });
    }
    octets.extend_from_slice(rest.as_bytes());
    Ok(octets)
}

/// The other way round, for what is shown.
fn escape(octets: &[u8]) -> String {
    let mut text = String::new();
    for chunk in octets.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '\r' => text.push_str("\\r"),
                '\n' => text.push_str("\\n"),
                '\t' => text.push_str("\\t"),
                '\0' => text.push_str("\\0"),
                '\\' => text.push_str("\\\\"),
                _ => text.push(letter),
            }
        }
        chunk
            .invalid()
            .iter()
            .for_each(|octet| text.push_str(&format!("\\x{octet:02X}")));
    }
    text
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for Mismatch {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, line, fits) in [
            ("250 ok", "250 ok", true),
            ("250 ok", "250 ok.", false),
            ("250 *", "250 anything", true),
            ("250 2.6.0 <*> Queued", "250 2.6.0 <ID> Queued", true),
            ("250 2.6.0 <*> Queued", "250 2.6.0 <ID> Queue", false),
            ("* b * d", "a b c d", true),
            ("250 \\*", "250 *", true),
            ("250 \\*", "250 x", false),
        ] {
            assert_eq!(
                Pattern::parse(pattern).unwrap().fits(line),
                fits,
                "{pattern} {line}"
            );
        }
    }

    #[test]
    fn texts_there_and_back() {
        assert_eq!(unescape("a\\r\\n\\0\\x41\\\\\\t").unwrap(), b"a\r\n\0A\\\t");
        assert_eq!(
            escape(b"a\r\n\0\\\t\xff\xc3\xbc"),
            "a\\r\\n\\0\\\\\\t\\xFF\u{fc}"
        );
        for bad in ["\\", "\\q", "\\x4", "\\xzz"] {
            assert!(unescape(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_no_dialogue() {
        for bad in [
            "C: x",
            "# t",
            "# t\nX: y",
            "# t\n? mail -> perhaps",
            "# t\n! jump",
            "# t\n@ nothing\nC: x",
            "# t\nC* x y",
        ] {
            assert!(Dialogue::parse(bad).is_err(), "{bad}");
        }
    }
}

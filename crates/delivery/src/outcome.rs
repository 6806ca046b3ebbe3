//! What became of one recipient at one attempt.
//!
//! | Outcome | what follows |
//! |---|---|
//! | Delivered | the next host, or the mailbox, answers for it now |
//! | Deferred | try again by the schedule, until it expires |
//! | Failed | never again: a notice is owed, unless the sender waived it |
//!
//! Never: a decision about what follows; that is the queue's.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use postern_smtp::EnhancedCode;

use crate::security::Demand;

/// What became of one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Somebody else answers for it now.
    Delivered(Answer, Handed),
    /// Not now; perhaps later.
    Deferred(Answer),
    /// Not now, and not later either.
    Failed(Answer),
}

/// What kind of place took a delivered message: it decides which notice of success is owed, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handed {
    /// A mailbox: delivery is final here (RFC 3461 §5.2.3).
    Mailbox,
    /// A next host that promised to send the notices itself (RFC 3461 §5.2.1).
    Next,
    /// A next host that knows no DSN: what it does with the message will not be reported (RFC 3461 §5.2.2).
    NextWithoutDsn,
}

/// What the other side said, or what we say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Who answered: `mx.example.com [192.0.2.1]:25`, `lmtp:unix:/run/lmtp`, `maildir`; empty if nobody was asked.
    pub host: Arc<str>,
    /// The reply code; 0 where the words are ours.
    pub code: u16,
    /// The status code (RFC 3463), the peer's own if it gave one that agrees with its reply.
    pub enhanced: EnhancedCode,
    /// The words, on one line; at most [`Answer::TEXT_LIMIT`] bytes.
    pub text: Cow<'static, str>,
}

impl Answer {
    /// A longer answer is cut: it is kept with every deferred recipient.
    pub const TEXT_LIMIT: usize = 512;

    /// What the peer at `host` replied.
    pub fn replied(host: &Arc<str>, code: u16, enhanced: EnhancedCode, text: &str) -> Answer {
        Answer {
            host: Arc::clone(host),
            code,
            enhanced,
            text: Cow::Owned(one_line(text)),
        }
    }

    /// Our own words about `host`; `enhanced` is written `4.4.1`.
    pub fn ours(
        host: &Arc<str>,
        enhanced: EnhancedCode,
        text: impl Into<Cow<'static, str>>,
    ) -> Answer {
        Answer {
            host: Arc::clone(host),
            code: 0,
            enhanced,
            text: text.into(),
        }
    }

    /// Our own words where no host was asked.
    pub fn nobody(enhanced: EnhancedCode, text: impl Into<Cow<'static, str>>) -> Answer {
        Answer {
            host: Arc::from(""),
            code: 0,
            enhanced,
            text: text.into(),
        }
    }

    /// The outcome this answer means by its status code's class: 2 delivered, 5 failed, all else deferred.
    pub fn into_outcome(self, handed: Handed) -> Outcome {
        match self.enhanced.0 {
            2 => Outcome::Delivered(self, handed),
            5 => Outcome::Failed(self),
            _ => Outcome::Deferred(self),
        }
    }

    /// The same answer, and who made it matter, where that is not the definition.
    pub fn because(mut self, demand: &Demand) -> Answer {
        if *demand != Demand::Definition {
            self.text = Cow::Owned(format!("{}; {demand}", self.text));
        }
        self
    }

    /// The same answer, but about something that may still change: 5.x.y becomes 4.x.y.
    pub fn softened(mut self) -> Answer {
        if self.enhanced.0 == 5 {
            self.enhanced.0 = 4;
        }
        self
    }
}

impl fmt::Display for Answer {
    /// As a reply is written: `550 5.1.1 no such user`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.code != 0 {
            write!(f, "{} ", self.code)?;
        }
        write!(f, "{} {}", self.enhanced, self.text)
    }
}

impl Outcome {
    /// What was answered.
    pub fn answer(&self) -> &Answer {
        match self {
            Outcome::Delivered(answer, _) | Outcome::Deferred(answer) | Outcome::Failed(answer) => {
                answer
            }
        }
    }

    /// Whether this recipient needs no further attempt.
    pub fn is_final(&self) -> bool {
        !matches!(self, Outcome::Deferred(_))
    }
}

/// Folds lines into one, drops control characters, and cuts at the limit on a character's edge.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(Answer::TEXT_LIMIT));
    for c in text.chars() {
        if line.len() + c.len_utf8() > Answer::TEXT_LIMIT {
            break;
        }
        line.push(if c.is_control() { ' ' } else { c });
    }
    line.truncate(line.trim_end().len());
    line
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_reply_means_what_its_first_digit_says() {
        let host = Arc::from("mx");
        let cases = [
            (250, "2.1.5", 0),
            (450, "4.2.1", 1),
            (550, "5.1.1", 2),
            (350, "4.5.0", 1),
        ];
        for (code, enhanced, kind) in cases {
            let answer = Answer::replied(&host, code, enhanced.parse().unwrap(), "words");
            let got = match answer.into_outcome(Handed::Next) {
                Outcome::Delivered(..) => 0,
                Outcome::Deferred(_) => 1,
                Outcome::Failed(_) => 2,
            };
            assert_eq!(got, kind, "{code}");
        }
    }

    #[test]
    fn a_long_answer_is_cut_on_a_characters_edge() {
        let host = Arc::from("mx");
        let answer = Answer::replied(&host, 550, EnhancedCode(5, 0, 0), &"ä\r\n".repeat(1000));
        assert!(answer.text.len() <= Answer::TEXT_LIMIT);
        assert!(!answer.text.contains('\n'));
        assert_eq!(answer.to_string().get(..10), Some("550 5.0.0 "));
    }
}

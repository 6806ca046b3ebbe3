//! How a server turned a connection away: with a reply, by closing, or in a way that proves nothing.
//!
//! Where TLS is spoken from the first byte, a server that wants none of it may still say so in clear; the handshake fails
//! then, and the recording shows what was said.
//!
//! Never: trouble taken for a refusal.

use crate::reply::Answer;
use crate::tap::{Recording, Side};
use crate::wire::Fault;

/// How it was turned away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Away {
    /// With these words in place of a greeting.
    Word(Answer),
    /// The server closed without a word.
    Closed,
    /// Something else, perhaps of nobody's will.
    Unclear(String),
}

impl Away {
    /// What a fault before the greeting means.
    pub(crate) fn of(fault: &Fault, recording: &Recording) -> Away {
        match fault {
            Fault::Refused { answer, .. } => Away::Word(answer.clone()),
            Fault::Closed | Fault::Broken(_) => Away::Closed,
            Fault::Tls(_) => Away::instead_of_tls(fault, &recording.bytes(Side::Server)),
            _ => Away::Unclear(fault.to_string()),
        }
    }

    fn instead_of_tls(fault: &Fault, came: &[u8]) -> Away {
        match Answer::read(came) {
            Ok(Some((answer, _))) => Away::Word(answer),
            _ if came.is_empty() => Away::Closed,
            _ => Away::Unclear(fault.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_no_refusal_and_words_in_clear_are() {
        let fault = Fault::Tls("x".into());
        let seen = |bytes: &[u8]| Away::instead_of_tls(&fault, bytes);
        assert_eq!(seen(b""), Away::Closed);
        assert!(matches!(seen(b"554 5.7.1 no\r\n"), Away::Word(answer) if answer.code == 554));
        assert!(matches!(
            seen(&[21, 3, 3, 0, 2, 2, 40]),
            Away::Unclear(why) if why.contains("handshake")
        ));
    }
}

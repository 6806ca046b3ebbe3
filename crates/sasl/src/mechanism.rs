//! The list of mechanisms and their registered names.
//!
//! Never: which of them a session may use; the host decides that from its definition and the state of the channel.

use std::fmt;
use std::str::FromStr;

/// A mechanism both ends can speak here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// RFC 4616: name and password in one blob.
    Plain,
    /// draft-murchison-sasl-login: name, then password, each asked for. Obsolete, and what printers speak.
    Login,
}

impl Mechanism {
    /// Every mechanism, strongest last; the order is the one offered to clients.
    pub const ALL: [Mechanism; 2] = [Mechanism::Plain, Mechanism::Login];

    /// The registered name, as it stands in EHLO and AUTH.
    pub const fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::Login => "LOGIN",
        }
    }

    /// Whether whoever reads the wire reads the password. Such a mechanism belongs inside TLS only.
    pub const fn reveals_password(self) -> bool {
        matches!(self, Mechanism::Plain | Mechanism::Login)
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The name is none of [`Mechanism::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownMechanism;

impl fmt::Display for UnknownMechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown SASL mechanism")
    }
}

impl std::error::Error for UnknownMechanism {}

impl FromStr for Mechanism {
    type Err = UnknownMechanism;

    /// Case is ignored: RFC 4954 §4 takes the name as a case-insensitive keyword.
    fn from_str(text: &str) -> Result<Mechanism, UnknownMechanism> {
        let named = |m: &Mechanism| m.name().eq_ignore_ascii_case(text);
        Mechanism::ALL
            .into_iter()
            .find(named)
            .ok_or(UnknownMechanism)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_whatever_their_case() {
        for mechanism in Mechanism::ALL {
            assert_eq!(mechanism.name().parse(), Ok(mechanism));
            assert_eq!(mechanism.name().to_lowercase().parse(), Ok(mechanism));
        }
        for unknown in ["", "PLAI", "PLAIN ", "NTLM", "plain\0"] {
            assert_eq!(
                unknown.parse::<Mechanism>(),
                Err(UnknownMechanism),
                "{unknown:?}"
            );
        }
    }
}

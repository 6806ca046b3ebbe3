//! The name of a virtual server: its file's name, and its name everywhere else.
//!
//! Never: a path. A name holds no dot and no slash, so it can be joined to a folder without a look.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A valid server name: 1 to 32 of `a-z`, `0-9` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServerName(Box<str>);

/// The text is no server name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadName;

impl ServerName {
    /// The longest name, in characters.
    pub const LONGEST: usize = 32;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ServerName {
    type Err = BadName;

    fn from_str(text: &str) -> Result<ServerName, BadName> {
        let fits = (1..=ServerName::LONGEST).contains(&text.len());
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if fits && text.bytes().all(plain) {
            Ok(ServerName(text.into()))
        } else {
            Err(BadName)
        }
    }
}

impl TryFrom<String> for ServerName {
    type Error = BadName;

    fn try_from(text: String) -> Result<ServerName, BadName> {
        text.parse()
    }
}

impl From<ServerName> for String {
    fn from(name: ServerName) -> String {
        name.0.into()
    }
}

impl AsRef<str> for ServerName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for ServerName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a server's name is 1 to 32 of the characters a-z, 0-9 and -")
    }
}

impl std::error::Error for BadName {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn only_plain_names_are_names() {
        for good in ["a", "mx1", "smtp-in", "0", &"x".repeat(32)] {
            assert_eq!(good.parse::<ServerName>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "MX",
            "a.b",
            "..",
            "a/b",
            "a b",
            "ä",
            "a\0",
            &"x".repeat(33),
        ] {
            assert_eq!(bad.parse::<ServerName>(), Err(BadName), "{bad:?}");
        }
    }
}

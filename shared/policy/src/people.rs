//! Who is there in the local domains: recipients and their other names.
//!
//! Never: a look-up beyond this host; domains whose server is asked have nobody listed here.

use std::collections::{HashMap, HashSet};

/// Who is there in one local domain.
pub struct People {
    /// Local parts in lower case; none: everybody is taken.
    pub known: Option<HashSet<Box<str>>>,
    /// Other names for them, in lower case.
    pub aliases: HashMap<Box<str>, Vec<String>>,
}

/// What a recipient of a local domain turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub enum Person<'p> {
    /// There, or nobody said who is.
    Known,
    /// Another name for these.
    Alias(&'p [String]),
    /// Not there.
    Unknown,
}

impl People {
    /// Looks a local part up; case does not matter, and quotes have been taken off.
    pub fn find(&self, local: &str) -> Person<'_> {
        // Nothing is listed for most domains: no copy is made then.
        if self.known.is_none() && self.aliases.is_empty() {
            return Person::Known;
        }
        let name = local.to_lowercase();
        if let Some(names) = self.aliases.get(name.as_str()) {
            return Person::Alias(names);
        }
        match &self.known {
            Some(known) if !known.contains(name.as_str()) => Person::Unknown,
            _ => Person::Known,
        }
    }
}

/// A file of recipients: one local part a line; `#` begins a comment.
pub(crate) fn listed(bytes: &[u8]) -> HashSet<Box<str>> {
    let text = String::from_utf8_lossy(bytes);
    let names = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim());
    names
        .filter(|name| !name.is_empty())
        .map(|name| name.to_lowercase().into())
        .collect()
}

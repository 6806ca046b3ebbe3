//! A set of domain names, compared without regard to ASCII case and without allocating.
//!
//! Names match whole: `example.com` does not cover `mail.example.com`. Bytes beyond ASCII match only themselves, so
//! that a look-alike is another name.

use std::cmp::Ordering;

use crate::entry::Origin;

/// Domain names with the place each was written at.
#[derive(Clone, Debug, Default)]
pub struct DomainSet {
    names: Box<[(Box<str>, Origin)]>,
}

impl DomainSet {
    /// Collects the names; of duplicates the first stays.
    pub fn new<'a>(names: impl IntoIterator<Item = (&'a str, Origin)>) -> DomainSet {
        let mut names: Vec<(Box<str>, Origin)> = names
            .into_iter()
            .map(|(name, origin)| (name.to_ascii_lowercase().into_boxed_str(), origin))
            .collect();
        names.sort_by(|a, b| a.0.cmp(&b.0));
        names.dedup_by(|later, first| later.0 == first.0);
        DomainSet {
            names: names.into_boxed_slice(),
        }
    }

    /// Where `domain` was written, if it is in the set.
    pub fn find(&self, domain: &str) -> Option<Origin> {
        let at = self
            .names
            .binary_search_by(|(name, _)| compare(name, domain))
            .ok()?;
        self.names.get(at).map(|(_, origin)| *origin)
    }

    /// Whether `domain` is in the set.
    pub fn contains(&self, domain: &str) -> bool {
        self.find(domain).is_some()
    }

    /// Whether there is no name at all.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }
}

fn compare(lower: &str, any: &str) -> Ordering {
    lower
        .bytes()
        .cmp(any.bytes().map(|b| b.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_whole_and_without_case() {
        let set = DomainSet::new([
            ("Example.com", Origin::new(0, 7)),
            ("a.test", Origin::default()),
        ]);
        assert_eq!(set.find("EXAMPLE.COM"), Some(Origin::new(0, 7)));
        for other in [
            "mail.example.com",
            "example.com.",
            "xample.com",
            "example.co",
            "",
            "exаmple.com",
        ] {
            assert!(!set.contains(other), "{other}");
        }
    }
}

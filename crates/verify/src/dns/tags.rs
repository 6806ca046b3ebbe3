//! `tag=value; tag=value`: the form that DKIM, DMARC and TLS reporting share (RFC 6376 §3.2).
//!
//! Never: what a tag means.

/// Tags of one record; none has more, and a longer list is refused.
const MOST: usize = 64;

/// The tags in order, without the space around them; a value may be empty.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tags<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Tags<'a> {
    /// Reads a list; the error says what is no tag, or comes twice.
    pub(super) fn parse(text: &'a str) -> Result<Tags<'a>, String> {
        let mut tags: Vec<(&str, &str)> = Vec::new();
        for part in text.split(';').map(trimmed).filter(|part| !part.is_empty()) {
            let (name, value) = part
                .split_once('=')
                .ok_or_else(|| format!("{part:?} is no tag=value"))?;
            let (name, value) = (trimmed(name), trimmed(value));
            let good = name.starts_with(|c: char| c.is_ascii_alphabetic())
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            if !good {
                return Err(format!("{name:?} is no name of a tag"));
            }
            if tags.iter().any(|(known, _)| *known == name) {
                return Err(format!("the tag {name} stands twice"));
            }
            if tags.len() == MOST {
                return Err(format!("it has more than {MOST} tags"));
            }
            tags.push((name, value));
        }
        Ok(Tags(tags))
    }

    /// A tag's value.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        self.0
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| *value)
    }

    /// Where a tag stands, counted from 0.
    pub(super) fn place(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|(known, _)| *known == name)
    }
}

fn trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\r', '\n'])
}

/// Whether a record begins with this version tag, whatever the space: `v = DMARC1 ; …`.
pub(super) fn has_version(text: &str, version: &str) -> bool {
    let first = text.split(';').next().unwrap_or_default();
    first
        .split_once('=')
        .is_some_and(|(name, value)| trimmed(name) == "v" && trimmed(value) == version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_in_order_and_without_space() {
        let tags = Tags::parse(" v=DMARC1 ;p = none; rua=mailto:a@b?x=y;; t=").expect("tags");
        assert_eq!(tags.get("p"), Some("none"));
        assert_eq!(tags.get("rua"), Some("mailto:a@b?x=y"));
        assert_eq!((tags.get("t"), tags.get("q")), (Some(""), None));
        assert_eq!((tags.place("v"), tags.place("p")), (Some(0), Some(1)));
        for bad in ["v=1; p", "v=1; =x", "v=1; v=2", "v=1; a b=2", "1=2"] {
            assert!(Tags::parse(bad).is_err(), "{bad}");
        }
        assert!(has_version("v=DMARC1;p=x", "DMARC1") && has_version(" v = DMARC1 ", "DMARC1"));
        assert!(!has_version("v=DMARC1 p=x", "DMARC1") && !has_version("p=x;v=DMARC1", "DMARC1"));
    }
}

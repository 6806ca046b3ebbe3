//! What a keytab is for: the principals in it, whose realms are trusted where the definition names none.
//!
//! ```text
//! 05 02 · entry …          entry: length (i32; negative: a hole) · components (u16) · realm · component …  · name type ·
//!                          time · key version · key type · key
//! ```
//! (MIT's `keytab_file_format`; a text is its length as u16, and its octets; all big-endian.)
//!
//! Never: a key.

use std::collections::BTreeSet;

/// The principals, each once: components and realm.
pub(super) fn principals(keytab: &[u8]) -> Result<BTreeSet<Principal>, NotAKeytab> {
    let mut rest = match keytab {
        [5, 2, rest @ ..] => Octets(rest),
        [5, 1, ..] => return Err(NotAKeytab("has a format of before 1995")),
        [] => return Err(NotAKeytab("is empty")),
        _ => return Err(NotAKeytab("is no keytab")),
    };
    let mut found = BTreeSet::new();
    while !rest.0.is_empty() {
        let length = i32::from_be_bytes(rest.array().ok_or(CUT_OFF)?);
        // Some writers end with zeros.
        if length == 0 {
            break;
        }
        let size = usize::try_from(length.unsigned_abs()).map_err(|_| CUT_OFF)?;
        let entry = rest.take(size).ok_or(CUT_OFF)?;
        if length > 0 {
            found.insert(Principal::read(Octets(entry)).ok_or(CUT_OFF)?);
        }
    }
    match found.is_empty() {
        true => Err(NotAKeytab("holds no key")),
        false => Ok(found),
    }
}

/// Whose key it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Principal {
    /// `CORP.EXAMPLE`.
    pub(super) realm: String,
    /// `smtp/mx1.corp.example`.
    pub(super) name: String,
}

impl Principal {
    fn read(mut entry: Octets<'_>) -> Option<Principal> {
        let components = u16::from_be_bytes(entry.array()?);
        let realm = entry.text()?;
        let names: Option<Vec<String>> = (0..components).map(|_| entry.text()).collect();
        let name = names?.join("/");
        Some(Principal { realm, name })
    }
}

impl std::fmt::Display for Principal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.name, self.realm)
    }
}

/// Why a keytab cannot be used: `is empty`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotAKeytab(&'static str);

const CUT_OFF: NotAKeytab = NotAKeytab("is cut off, or damaged");

impl std::fmt::Display for NotAKeytab {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

/// What is still to be read.
struct Octets<'k>(&'k [u8]);

impl<'k> Octets<'k> {
    fn take(&mut self, length: usize) -> Option<&'k [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn text(&mut self) -> Option<String> {
        let length = u16::from_be_bytes(self.array()?);
        let text = self.take(usize::from(length))?;
        String::from_utf8(text.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn text(text: &str) -> Vec<u8> {
        let length = u16::try_from(text.len()).unwrap().to_be_bytes();
        [&length, text.as_bytes()].concat()
    }

    fn entry(realm: &str, components: &[&str]) -> Vec<u8> {
        let count = u16::try_from(components.len()).unwrap().to_be_bytes();
        let mut entry = [&count[..], &text(realm)].concat();
        components.iter().for_each(|one| entry.extend(text(one)));
        entry.extend([0, 0, 0, 1, 0, 0, 0, 9, 2, 0, 18, 0, 2, 7, 7]);
        let length = i32::try_from(entry.len()).unwrap().to_be_bytes();
        [&length[..], &entry].concat()
    }

    #[test]
    fn principals_are_found_behind_holes() {
        let hole = [&(-5_i32).to_be_bytes()[..], &[1, 2, 3, 4, 5]].concat();
        let first = entry("CORP.EXAMPLE", &["smtp", "mx1.corp.example"]);
        let second = entry("OTHER.EXAMPLE", &["MX1$"]);
        let zeros = vec![0; 9];
        let keytab = [vec![5, 2], hole, first.clone(), first, second, zeros].concat();
        let found = principals(&keytab).unwrap();
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            ["smtp/mx1.corp.example@CORP.EXAMPLE", "MX1$@OTHER.EXAMPLE"]
        );
    }

    #[test]
    fn what_is_no_keytab_says_why() {
        let why = |keytab: &[u8]| principals(keytab).unwrap_err().to_string();
        assert_eq!(why(b""), "is empty");
        assert_eq!(why(b"\x05\x02"), "holds no key");
        assert_eq!(why(b"\x05\x01\0\0"), "has a format of before 1995");
        assert_eq!(why(b"alice:12"), "is no keytab");
        assert_eq!(why(b"\x05\x02\0\0"), "is cut off, or damaged");
        assert_eq!(why(b"\x05\x02\x80\0\0\0"), "is cut off, or damaged");
        let whole = [vec![5, 2], entry("R", &["a", "b"])].concat();
        for end in 3..whole.len() {
            assert!(principals(&whole[..end]).is_err(), "{end}");
        }
    }
}

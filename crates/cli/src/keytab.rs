//! Whose keys are in a Kerberos keytab (MIT's file format, version 2).
//!
//! ```text
//! 05 02 · entries: size (negative: a hole of that size) · components · realm · each component · type · time · version · key
//! ```
//!
//! Never: a key looked at or copied.

use std::fmt;

/// Somebody whose key is in a keytab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Principal {
    /// `smtp` and `mx1.example.com`.
    pub(crate) components: Vec<String>,
    /// `CORP.EXAMPLE`.
    pub(crate) realm: String,
}

/// Why a file is no keytab that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotAKeytab {
    /// It does not begin as one.
    Other,
    /// It is of version 1, whose numbers depend on the machine.
    Old,
    /// It ends, or is broken, in an entry.
    Broken,
}

impl Principal {
    /// Whether it is this service on this host, in whatever case: a domain controller tells none apart.
    pub(crate) fn is_service(&self, service: &str, host: &str) -> bool {
        match self.components.as_slice() {
            [one, two] => one.eq_ignore_ascii_case(service) && two.eq_ignore_ascii_case(host),
            _ => false,
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}@{}", self.components.join("/"), self.realm)
    }
}

impl fmt::Display for NotAKeytab {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            NotAKeytab::Other => "is no keytab",
            NotAKeytab::Old => "is a keytab of the old version 1",
            NotAKeytab::Broken => "is a keytab that is broken or cut off",
        })
    }
}

/// The principals of a keytab, each once, in the order of the file.
pub(crate) fn principals(bytes: &[u8]) -> Result<Vec<Principal>, NotAKeytab> {
    let mut rest = match bytes {
        [5, 2, rest @ ..] => Octets(rest),
        [5, 1, ..] => return Err(NotAKeytab::Old),
        _ => return Err(NotAKeytab::Other),
    };
    let mut found = Vec::new();
    while !rest.0.is_empty() {
        let size = i32::from_be_bytes(rest.array()?);
        let entry = rest.take(size.unsigned_abs())?;
        // What was removed leaves a hole; a size of zero is how a file that was made larger ends.
        match size {
            0 => break,
            ..0 => continue,
            _ => {}
        }
        let principal = principal(Octets(entry))?;
        if !found.contains(&principal) {
            found.push(principal);
        }
    }
    Ok(found)
}

fn principal(mut entry: Octets<'_>) -> Result<Principal, NotAKeytab> {
    let components = u16::from_be_bytes(entry.array()?);
    let realm = entry.text()?;
    let components = (0..components).map(|_| entry.text());
    let components = components.collect::<Result<_, _>>()?;
    // Type and time, the key's version, its kind, and the key.
    entry.take(9)?;
    entry.array::<2>()?;
    let length = u16::from_be_bytes(entry.array()?);
    entry.take(length.into())?;
    Ok(Principal { components, realm })
}

/// What is left to read.
struct Octets<'a>(&'a [u8]);

impl<'a> Octets<'a> {
    fn take(&mut self, length: u32) -> Result<&'a [u8], NotAKeytab> {
        let length = usize::try_from(length).map_err(|_| NotAKeytab::Broken)?;
        let (taken, rest) = self.0.split_at_checked(length).ok_or(NotAKeytab::Broken)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], NotAKeytab> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(NotAKeytab::Broken)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn text(&mut self) -> Result<String, NotAKeytab> {
        let length = u16::from_be_bytes(self.array()?);
        let text = String::from_utf8_lossy(self.take(length.into())?);
        Ok(text.replace(char::is_control, "\u{fffd}"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// As MIT's ktutil writes it: two entries, of smtp and HTTP.
    const WRITTEN: &[u8] = include_bytes!("../tests/keytabs/ktutil.keytab");

    fn named(bytes: &[u8]) -> Vec<String> {
        let all = principals(bytes).unwrap();
        all.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_ktutil_writes_is_read() {
        assert_eq!(
            named(WRITTEN),
            [
                "smtp/mx1.corp.example@CORP.EXAMPLE",
                "HTTP/mx1.corp.example@CORP.EXAMPLE"
            ]
        );
        let all = principals(WRITTEN).unwrap();
        assert!(all[0].is_service("smtp", "MX1.corp.example"));
        assert!(!all[0].is_service("smtp", "mx2.corp.example"));
        assert!(!all[1].is_service("smtp", "mx1.corp.example"));
    }

    #[test]
    fn holes_and_what_is_there_twice_are_passed_over() {
        let entry = &WRITTEN[2..2 + 4 + 0x59];
        let hole = [&(-0x59_i32).to_be_bytes()[..], &entry[4..]].concat();
        let file = [
            &[5, 2],
            &hole[..],
            entry,
            entry,
            &[0, 0, 0, 0],
            b"left over",
        ]
        .concat();
        assert_eq!(named(&file), ["smtp/mx1.corp.example@CORP.EXAMPLE"]);
        assert_eq!(named(&[5, 2]), [""; 0]);
    }

    #[test]
    fn what_is_cut_off_or_another_file_is_said_to_be() {
        assert_eq!(principals(b""), Err(NotAKeytab::Other));
        assert_eq!(principals(b"-----BEGIN"), Err(NotAKeytab::Other));
        assert_eq!(principals(&[5, 1, 0]), Err(NotAKeytab::Old));
        let ends = [2, 2 + 4 + 0x59, WRITTEN.len()];
        for end in 2..=WRITTEN.len() {
            let read = principals(&WRITTEN[..end]);
            assert_eq!(read.is_ok(), ends.contains(&end), "{end}");
        }
        // Lengths that lie.
        for at in 2..WRITTEN.len() {
            let mut bytes = WRITTEN.to_vec();
            bytes[at] = 0xff;
            let _ = principals(&bytes);
        }
        let least = [5, 2, 0x80, 0, 0, 0];
        assert_eq!(principals(&least), Err(NotAKeytab::Broken));
    }
}

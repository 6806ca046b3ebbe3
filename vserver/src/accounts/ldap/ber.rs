//! ASN.1's basic encoding, as far as LDAP uses it (RFC 4511 §5.1): one octet of tag, a definite length, the content.
//!
//! Nothing is built while reading: each element is a slice of the message, looked into only as deep as the caller asks.
//!
//! Never: recursion on what a server sent; a panic.

/// A message is not what LDAP allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server sent what is not LDAP")]
pub(super) struct Malformed;

/// Universal tags.
pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const OCTETS: u8 = 0x04;
pub(super) const ENUMERATED: u8 = 0x0a;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;

/// Adds tag and length; the content comes behind.
pub(super) fn head(into: &mut Vec<u8>, tag: u8, length: usize) {
    into.push(tag);
    let octets = length.to_be_bytes();
    let short = &octets[octets.iter().take_while(|octet| **octet == 0).count()..];
    if length >= 0x80 {
        // At most eight octets of length: the count fits its seven bits.
        into.push(0x80 | short.len() as u8);
        into.extend_from_slice(short);
    } else {
        into.push(length as u8);
    }
}

/// How many octets [`head`] adds.
pub(super) fn head_length(length: usize) -> usize {
    let mut head_only = Vec::with_capacity(10);
    head(&mut head_only, 0, length);
    head_only.len()
}

/// One element.
pub(super) fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut into = Vec::with_capacity(content.len() + 6);
    head(&mut into, tag, content.len());
    into.extend_from_slice(content);
    into
}

/// An element made of others.
pub(super) fn group(tag: u8, members: &[Vec<u8>]) -> Vec<u8> {
    element(tag, &members.concat())
}

/// A number, with the tag of an integer or an enumeration.
pub(super) fn number(tag: u8, value: u32) -> Vec<u8> {
    let octets = [&[0], &value.to_be_bytes()[..]].concat();
    // The shortest form that keeps the sign bit clear.
    let spare = octets
        .windows(2)
        .take_while(|pair| pair[0] == 0 && pair[1] < 0x80)
        .count();
    element(tag, &octets[spare..])
}

/// What is left to read of an element's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Content<'a>(pub(super) &'a [u8]);

impl<'a> Content<'a> {
    /// The next element's tag and content; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u8, Content<'a>)>, Malformed> {
        let Some((&tag, rest)) = self.0.split_first() else {
            return Ok(None);
        };
        let (length, rest) = length(rest).ok_or(Malformed)?;
        let (content, rest) = rest.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(Some((tag, Content(content))))
    }

    /// The next element, which must have this tag.
    pub(super) fn expect(&mut self, tag: u8) -> Result<Content<'a>, Malformed> {
        match self.next()? {
            Some((found, content)) if found == tag => Ok(content),
            _ => Err(Malformed),
        }
    }

    /// The content as a number that is not negative.
    pub(super) fn number(self) -> Result<u32, Malformed> {
        let octets = self.0;
        if octets.is_empty() || octets.len() > 5 || octets[0] & 0x80 != 0 {
            return Err(Malformed);
        }
        let value = octets
            .iter()
            .fold(0_u64, |value, octet| value << 8 | u64::from(*octet));
        u32::try_from(value).map_err(|_| Malformed)
    }

    /// The content as text.
    pub(super) fn text(self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.0).map_err(|_| Malformed)
    }
}

/// The length, and what comes behind it.
fn length(octets: &[u8]) -> Option<(usize, &[u8])> {
    let (&first, rest) = octets.split_first()?;
    if first < 0x80 {
        return Some((usize::from(first), rest));
    }
    // RFC 4511 §5.1: no indefinite form. No message has room for more than four octets of length.
    let count = usize::from(first & 0x7f);
    if !(1..=4).contains(&count) {
        return None;
    }
    let (octets, rest) = rest.split_at_checked(count)?;
    let value = octets
        .iter()
        .fold(0, |value, octet| value << 8 | usize::from(*octet));
    Some((value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        for length in [0, 1, 0x7f, 0x80, 0xff, 0x100, 70_000] {
            let content = vec![7; length];
            let written = element(OCTETS, &content);
            assert_eq!(written.len(), head_length(length) + length);
            let mut read = Content(&written);
            assert_eq!(read.expect(OCTETS), Ok(Content(&content)));
            assert_eq!(read.next(), Ok(None));
        }
        for value in [0, 1, 0x7f, 0x80, 0x7fff, 0x8000, u32::MAX] {
            let written = number(INTEGER, value);
            let content = Content(&written).expect(INTEGER).expect("an integer");
            assert_eq!(content.number(), Ok(value));
        }
        assert_eq!(number(INTEGER, 128), [2, 2, 0, 128]);
    }

    #[test]
    fn what_is_not_ldap_is_an_error() {
        for bad in [
            &[OCTETS][..],
            &[OCTETS, 1],
            &[OCTETS, 0x80],
            &[OCTETS, 0x81],
            &[OCTETS, 0x85, 0, 0, 0, 0, 0],
            &[OCTETS, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[INTEGER, 0],
        ] {
            assert_eq!(Content(bad).expect(OCTETS), Err(Malformed), "{bad:?}");
        }
        for bad in [&[][..], &[0x80], &[1, 0, 0, 0, 0], &[0; 6]] {
            assert_eq!(Content(bad).number(), Err(Malformed), "{bad:?}");
        }
    }
}

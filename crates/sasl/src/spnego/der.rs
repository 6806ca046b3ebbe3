//! As much of DER (X.690) as SPNEGO needs: definite lengths, one octet of tag, no recursion.
//!
//! The shapes are fixed, so the depth is: no input makes this go deeper or longer than the input itself.
//!
//! Never: a guess at what a broken encoding means.

use crate::refusal::Refusal;

pub(crate) const OCTETS: u8 = 0x04;
pub(crate) const OID: u8 = 0x06;
pub(crate) const ENUMERATED: u8 = 0x0a;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const APPLICATION: u8 = 0x60;

/// The tag of `[number]`, constructed.
pub(crate) const fn context(number: u8) -> u8 {
    0xa0 | number
}

/// Elements one behind the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(octets: &'a [u8]) -> Reader<'a> {
        Reader(octets)
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// The content of the next element, which must have this tag.
    pub(crate) fn take(&mut self, tag: u8) -> Result<&'a [u8], Refusal> {
        self.optional(tag)?.ok_or(Refusal::Malformed)
    }

    /// The content of the next element, if it has this tag.
    pub(crate) fn optional(&mut self, tag: u8) -> Result<Option<&'a [u8]>, Refusal> {
        if self.0.first() != Some(&tag) {
            return Ok(None);
        }
        let (length, header) = length(&self.0[1..]).ok_or(Refusal::Malformed)?;
        let rest = &self.0[1 + header..];
        let (content, rest) = rest.split_at_checked(length).ok_or(Refusal::Malformed)?;
        self.0 = rest;
        Ok(Some(content))
    }

    /// Nothing may follow.
    pub(crate) fn end(&self) -> Result<(), Refusal> {
        match self.0 {
            [] => Ok(()),
            _ => Err(Refusal::Malformed),
        }
    }
}

/// The one element these octets are.
pub(crate) fn only(octets: &[u8], tag: u8) -> Result<&[u8], Refusal> {
    let mut reader = Reader::new(octets);
    let content = reader.take(tag)?;
    reader.end().map(|()| content)
}

/// A length, and how many octets it takes. More than three of them are longer than any blob.
fn length(octets: &[u8]) -> Option<(usize, usize)> {
    let first = usize::from(*octets.first()?);
    let count = match first {
        ..=0x7f => return Some((first, 1)),
        0x81..=0x83 => first - 0x80,
        _ => return None,
    };
    let octets = octets.get(1..=count)?;
    let length = octets
        .iter()
        .fold(0, |length, octet| length << 8 | usize::from(*octet));
    Some((length, 1 + count))
}

/// An element.
pub(crate) fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut octets = vec![tag];
    let length = content.len().to_be_bytes();
    let first = length
        .iter()
        .position(|octet| *octet != 0)
        .unwrap_or(length.len() - 1);
    let length = &length[first..];
    if content.len() >= 0x80 {
        // At most eight.
        octets.push(0x80 | length.len().to_le_bytes()[0]);
    }
    octets.extend_from_slice(length);
    octets.extend_from_slice(content);
    octets
}

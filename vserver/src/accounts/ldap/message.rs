//! The few LDAP messages that are sent, and those that may come back (RFC 4511 §4).
//!
//! | Sent | Answered by |
//! |---|---|
//! | bind, simple | bind response |
//! | search | entries, references (dropped: never followed), done |
//! | StartTLS | extended response |
//!
//! Never: a name put into a filter as text.

use postern_config::{LdapFilter, LdapRelation, Template};
use postern_sasl::Secret;

use super::ber::{
    BOOLEAN, Content, ENUMERATED, INTEGER, Malformed, OCTETS, SEQUENCE, SET, element, group, head,
    head_length, number,
};

/// The operation that starts TLS (RFC 4511 §4.14.1).
const START_TLS: &[u8] = b"1.3.6.1.4.1.1466.20037";

/// What is searched.
pub(super) struct Search<'a> {
    /// Below which entry.
    pub base: &'a str,
    /// Which entries.
    pub filter: &'a LdapFilter,
    /// What stands for `{name}` in the filter.
    pub name: &'a str,
    /// The attributes wanted.
    pub attributes: &'a [&'a str],
    /// No more entries than this.
    pub most: u32,
    /// No longer than this, in seconds.
    pub seconds: u32,
}

/// An entry that was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its name.
    pub dn: String,
    attributes: Vec<(String, Vec<String>)>,
}

/// What came of an operation.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// RFC 4511 §4.1.9; 0 is success.
    pub code: u32,
    /// What the server says about it.
    pub text: String,
}

/// A message from the server.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Response {
    /// To a bind.
    Bound(Outcome),
    /// One entry of a search.
    Entry(Entry),
    /// Another server has more: not followed.
    Reference,
    /// The end of a search.
    Done(Outcome),
    /// To StartTLS; or, with message id 0, the server's farewell.
    Extended(Outcome),
}

impl Entry {
    /// The text values of an attribute, whatever its options are.
    pub(super) fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        let known = self.attributes.iter().filter(move |(known, _)| {
            let bare = known.split(';').next().unwrap_or_default();
            bare.eq_ignore_ascii_case(name)
        });
        known.flat_map(|(_, values)| values.iter().map(String::as_str))
    }
}

/// Asks to be `dn`. In one piece, so that the password is in one place to be wiped.
pub(super) fn bind(id: u32, dn: &str, password: &Secret) -> Secret {
    let (dn, password) = (dn.as_bytes(), password.expose());
    let (version, id) = (number(INTEGER, 3), number(INTEGER, id));
    let whole = |length: usize| head_length(length) + length;
    let content = version.len() + whole(dn.len()) + whole(password.len());
    let message = id.len() + whole(content);
    let mut octets = Vec::with_capacity(whole(message));
    head(&mut octets, SEQUENCE, message);
    octets.extend(id);
    head(&mut octets, 0x60, content);
    octets.extend(version);
    head(&mut octets, OCTETS, dn.len());
    octets.extend_from_slice(dn);
    head(&mut octets, 0x80, password.len());
    octets.extend_from_slice(password);
    Secret::new(octets)
}

/// Asks for TLS.
pub(super) fn start_tls(id: u32) -> Vec<u8> {
    message(id, group(0x77, &[element(0x80, START_TLS)]))
}

/// Asks for entries in the whole subtree.
pub(super) fn search(id: u32, search: &Search<'_>) -> Vec<u8> {
    const WHOLE_SUBTREE: u32 = 2;
    const NEVER_DEREFERENCE: u32 = 0;
    let wanted: Vec<Vec<u8>> = search
        .attributes
        .iter()
        .map(|name| element(OCTETS, name.as_bytes()))
        .collect();
    let parts = [
        element(OCTETS, search.base.as_bytes()),
        number(ENUMERATED, WHOLE_SUBTREE),
        number(ENUMERATED, NEVER_DEREFERENCE),
        number(INTEGER, search.most),
        number(INTEGER, search.seconds),
        element(BOOLEAN, &[0]),
        filter(search.filter, search.name),
        group(SEQUENCE, &wanted),
    ];
    message(id, group(0x63, &parts))
}

fn message(id: u32, operation: Vec<u8>) -> Vec<u8> {
    group(SEQUENCE, &[number(INTEGER, id), operation])
}

/// RFC 4511 §4.5.1.7. The definition's reader bounds how deep a filter nests.
fn filter(wanted: &LdapFilter, name: &str) -> Vec<u8> {
    let all = |parts: &[LdapFilter]| -> Vec<Vec<u8>> {
        parts.iter().map(|part| filter(part, name)).collect()
    };
    let octets = |tag: u8, value: &Template| element(tag, &value.fill(name));
    match wanted {
        LdapFilter::And(parts) => group(0xa0, &all(parts)),
        LdapFilter::Or(parts) => group(0xa1, &all(parts)),
        LdapFilter::Not(part) => group(0xa2, &[filter(part, name)]),
        LdapFilter::Present(attribute) => element(0x87, attribute.as_bytes()),
        LdapFilter::Compare(relation, attribute, value) => {
            let tag = match relation {
                LdapRelation::Equal => 0xa3,
                LdapRelation::AtLeast => 0xa5,
                LdapRelation::AtMost => 0xa6,
                LdapRelation::Approximately => 0xa8,
            };
            let attribute = element(OCTETS, attribute.as_bytes());
            group(tag, &[attribute, octets(OCTETS, value)])
        }
        LdapFilter::Substrings {
            attribute,
            initial,
            any,
            last,
        } => {
            let parts = initial.iter().map(|part| octets(0x80, part));
            let parts = parts.chain(any.iter().map(|part| octets(0x81, part)));
            let parts = parts.chain(last.iter().map(|part| octets(0x82, part)));
            let parts: Vec<Vec<u8>> = parts.collect();
            let attribute = element(OCTETS, attribute.as_bytes());
            group(0xa4, &[attribute, group(SEQUENCE, &parts)])
        }
        LdapFilter::Matches {
            attribute,
            rule,
            dn,
            value,
        } => {
            let rule = rule.iter().map(|rule| element(0x81, rule.as_bytes()));
            let attribute = attribute.iter().map(|name| element(0x82, name.as_bytes()));
            let mut parts: Vec<Vec<u8>> = rule.chain(attribute).collect();
            parts.push(octets(0x83, value));
            if *dn {
                parts.push(element(0x84, &[0xff]));
            }
            group(0xa9, &parts)
        }
    }
}

/// Reads a whole message: its id, and what it says. Controls behind it are not looked at.
pub(super) fn parse(octets: &[u8]) -> Result<(u32, Response), Malformed> {
    let mut message = Content(octets).expect(SEQUENCE)?;
    let id = message.expect(INTEGER)?.number()?;
    let (tag, content) = message.next()?.ok_or(Malformed)?;
    let response = match tag {
        0x61 => Response::Bound(outcome(content)?),
        0x64 => Response::Entry(entry(content)?),
        0x65 => Response::Done(outcome(content)?),
        0x73 => Response::Reference,
        0x78 => Response::Extended(outcome(content)?),
        _ => return Err(Malformed),
    };
    Ok((id, response))
}

fn outcome(mut content: Content<'_>) -> Result<Outcome, Malformed> {
    let code = content.expect(ENUMERATED)?.number()?;
    content.expect(OCTETS)?;
    let text = content.expect(OCTETS)?;
    Ok(Outcome {
        code,
        // Active Directory ends it with NUL.
        text: String::from_utf8_lossy(text.0)
            .trim_end_matches(['\0', '\n'])
            .to_owned(),
    })
}

fn entry(mut content: Content<'_>) -> Result<Entry, Malformed> {
    let dn = content.expect(OCTETS)?.text()?.to_owned();
    let mut listed = content.expect(SEQUENCE)?;
    let mut attributes = Vec::new();
    while let Some((tag, mut attribute)) = listed.next()? {
        if tag != SEQUENCE {
            return Err(Malformed);
        }
        let name = attribute.expect(OCTETS)?.text()?.to_owned();
        let mut held = attribute.expect(SET)?;
        let mut values = Vec::new();
        while let Some((_, value)) = held.next()? {
            // What is not text is no name and no address.
            values.extend(value.text().map(str::to_owned));
        }
        attributes.push((name, values));
    }
    Ok(Entry { dn, attributes })
}

#[cfg(test)]
mod tests;

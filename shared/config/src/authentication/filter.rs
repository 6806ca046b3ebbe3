//! LDAP filters as text (RFC 4515), with `{name}` where the name at login goes.
//!
//! ```text
//! "(&(objectClass=user)(mail={name}))"  ──▶  And[ Equal(objectClass, "user"), Equal(mail, name) ]
//! ```
//!
//! The name is filled in after the text was understood, as octets: whatever stands in it, it can only be a value.
//!
//! Never: octets on a wire; that is the client's.

use super::ldap::is_attribute;
use crate::values::clip;

/// A filter, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LdapFilter {
    /// All of these.
    And(Vec<LdapFilter>),
    /// One of these.
    Or(Vec<LdapFilter>),
    /// Not this.
    Not(Box<LdapFilter>),
    /// The attribute has a value.
    Present(String),
    /// The attribute compares with the value as said.
    Compare(LdapRelation, String, Template),
    /// A value of the attribute has these parts, in order.
    Substrings {
        /// The attribute.
        attribute: String,
        /// How it begins.
        initial: Option<Template>,
        /// What it has within.
        any: Vec<Template>,
        /// How it ends.
        last: Option<Template>,
    },
    /// `attribute:dn:rule:=value`: a rule of the server's decides.
    Matches {
        /// The attribute; `None`: all that the rule knows.
        attribute: Option<String>,
        /// The rule; `None`: the attribute's own.
        rule: Option<String>,
        /// Whether the parts of the entry's name count as attributes.
        dn: bool,
        /// What is compared.
        value: Template,
    },
}

/// How an attribute compares with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LdapRelation {
    /// `=`
    Equal,
    /// `>=`
    AtLeast,
    /// `<=`
    AtMost,
    /// `~=`
    Approximately,
}

/// A value with `{name}` in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Octets(Vec<u8>),
    Name,
}

impl Template {
    /// These octets, with nothing to fill in.
    pub fn exactly(octets: &[u8]) -> Template {
        Template(vec![Piece::Octets(octets.to_vec())])
    }

    /// The value for this name.
    pub fn fill(&self, name: &str) -> Vec<u8> {
        let pieces = self.0.iter().map(|piece| match piece {
            Piece::Octets(octets) => octets.as_slice(),
            Piece::Name => name.as_bytes(),
        });
        pieces.collect::<Vec<_>>().concat()
    }

    fn asks_for_name(&self) -> bool {
        self.0.contains(&Piece::Name)
    }

    /// RFC 4515 §3: a backslash and two hexadecimal digits are one octet.
    fn parse(text: &str) -> Result<Template, String> {
        let mut pieces = Vec::new();
        for (index, part) in text.split("{name}").enumerate() {
            if index > 0 {
                pieces.push(Piece::Name);
            }
            if !part.is_empty() {
                pieces.push(Piece::Octets(unescape(part)?));
            }
        }
        Ok(Template(pieces))
    }
}

impl LdapFilter {
    /// No filter nests deeper.
    const DEEPEST: usize = 16;
    /// No filter is longer.
    const LONGEST: usize = 4096;

    /// Reads a filter, or says why it is none.
    pub fn parse(text: &str) -> Result<LdapFilter, String> {
        if text.len() > LdapFilter::LONGEST {
            return Err(format!(
                "the filter is longer than {} octets",
                LdapFilter::LONGEST
            ));
        }
        let (filter, rest) = filter(text.trim(), LdapFilter::DEEPEST)?;
        match rest.is_empty() {
            true => Ok(filter),
            false => Err(format!("after the filter's end stands `{}`", clip(rest))),
        }
    }

    /// Whether `{name}` stands in it.
    pub fn asks_for_name(&self) -> bool {
        match self {
            LdapFilter::And(parts) | LdapFilter::Or(parts) => {
                parts.iter().any(LdapFilter::asks_for_name)
            }
            LdapFilter::Not(part) => part.asks_for_name(),
            LdapFilter::Present(_) => false,
            LdapFilter::Compare(_, _, value) | LdapFilter::Matches { value, .. } => {
                value.asks_for_name()
            }
            LdapFilter::Substrings {
                initial, any, last, ..
            } => initial
                .iter()
                .chain(any)
                .chain(last)
                .any(Template::asks_for_name),
        }
    }
}

/// One filter in its brackets, and what comes after it.
fn filter(text: &str, depth: usize) -> Result<(LdapFilter, &str), String> {
    if depth == 0 {
        return Err("the filter nests too deep".to_owned());
    }
    let Some(inner) = text.strip_prefix('(') else {
        return Err(match text.is_empty() {
            true => "the filter ends too early".to_owned(),
            false => format!("`(` is wanted at `{}`", clip(text)),
        });
    };
    let (filter, rest) = match inner.as_bytes().first() {
        Some(b'&') => list(&inner[1..], depth).map(|(all, rest)| (LdapFilter::And(all), rest))?,
        Some(b'|') => list(&inner[1..], depth).map(|(all, rest)| (LdapFilter::Or(all), rest))?,
        Some(b'!') => {
            let (part, rest) = filter(inner[1..].trim_start(), depth - 1)?;
            (LdapFilter::Not(Box::new(part)), rest)
        }
        _ => {
            // `(` and `)` stand in a value only as `\28` and `\29`.
            let end = inner.find(['(', ')']).unwrap_or(inner.len());
            (item(&inner[..end])?, &inner[end..])
        }
    };
    match rest.trim_start().strip_prefix(')') {
        Some(rest) => Ok((filter, rest.trim_start())),
        None => Err("a `)` is missing".to_owned()),
    }
}

fn list(text: &str, depth: usize) -> Result<(Vec<LdapFilter>, &str), String> {
    let (mut parts, mut rest) = (Vec::new(), text.trim_start());
    while rest.starts_with('(') {
        let (part, after) = filter(rest, depth - 1)?;
        parts.push(part);
        rest = after;
    }
    match parts.is_empty() {
        true => Err("`&` and `|` want filters in brackets behind them".to_owned()),
        false => Ok((parts, rest)),
    }
}

fn item(text: &str) -> Result<LdapFilter, String> {
    let Some((left, value)) = text.split_once('=') else {
        return Err(format!("`{}` compares nothing: `=` is missing", clip(text)));
    };
    if let Some(left) = left.strip_suffix(':') {
        return matches(left, value);
    }
    let (relation, left) = match left.as_bytes().last() {
        Some(b'>') => (LdapRelation::AtLeast, &left[..left.len() - 1]),
        Some(b'<') => (LdapRelation::AtMost, &left[..left.len() - 1]),
        Some(b'~') => (LdapRelation::Approximately, &left[..left.len() - 1]),
        _ => (LdapRelation::Equal, left),
    };
    let attribute = attribute(left)?;
    match relation {
        LdapRelation::Equal if value == "*" => Ok(LdapFilter::Present(attribute)),
        LdapRelation::Equal if value.contains('*') => substrings(attribute, value),
        _ if value.contains('*') => Err(format!("`{}` has a `*` that means nothing", clip(text))),
        _ => Ok(LdapFilter::Compare(
            relation,
            attribute,
            Template::parse(value)?,
        )),
    }
}

fn substrings(attribute: String, value: &str) -> Result<LdapFilter, String> {
    let end = |part: &str| {
        (!part.is_empty())
            .then(|| Template::parse(part))
            .transpose()
    };
    let (first, rest) = value.split_once('*').unwrap_or((value, ""));
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    let parts = middle.split('*').filter(|part| !part.is_empty());
    Ok(LdapFilter::Substrings {
        attribute,
        initial: end(first)?,
        any: parts.map(Template::parse).collect::<Result<_, _>>()?,
        last: end(last)?,
    })
}

/// `attr:dn:rule:=value`, any of the three missing, but not attribute and rule both.
fn matches(left: &str, value: &str) -> Result<LdapFilter, String> {
    let mut parts = left.split(':');
    let name = parts.next().filter(|name| !name.is_empty());
    let mut rest: Vec<&str> = parts.collect();
    let dn = rest
        .first()
        .is_some_and(|first| first.eq_ignore_ascii_case("dn"));
    if dn {
        rest.remove(0);
    }
    if rest.len() > 1 || (name.is_none() && rest.is_empty()) {
        return Err(format!("`{}` is no attribute with a rule", clip(left)));
    }
    Ok(LdapFilter::Matches {
        attribute: name.map(attribute).transpose()?,
        rule: rest.first().copied().map(attribute).transpose()?,
        dn,
        value: Template::parse(value)?,
    })
}

fn attribute(text: &str) -> Result<String, String> {
    match is_attribute(text.trim()) {
        true => Ok(text.trim().to_owned()),
        false => Err(format!("`{}` is no attribute's name", clip(text))),
    }
}

fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            octets.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (high, low) = (digit(), digit());
        let octet = high
            .zip(low)
            .and_then(|(high, low)| u8::try_from(high << 4 | low).ok());
        octets.push(octet.ok_or_else(|| {
            "`\\` is followed by two hexadecimal digits in a filter, as in `\\2a` for `*`"
                .to_owned()
        })?);
    }
    Ok(octets)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn equal(attribute: &str, value: &[u8]) -> LdapFilter {
        LdapFilter::Compare(
            LdapRelation::Equal,
            attribute.to_owned(),
            Template::exactly(value),
        )
    }

    #[test]
    fn the_forms_of_rfc_4515() {
        let name = Template(vec![Piece::Name]);
        assert_eq!(
            LdapFilter::parse(" (& (objectClass=user) (|(uid={name})(!(mail=*))) ) "),
            Ok(LdapFilter::And(vec![
                equal("objectClass", b"user"),
                LdapFilter::Or(vec![
                    LdapFilter::Compare(LdapRelation::Equal, "uid".to_owned(), name),
                    LdapFilter::Not(Box::new(LdapFilter::Present("mail".to_owned()))),
                ]),
            ]))
        );
        assert_eq!(
            LdapFilter::parse("(o=Parens R Us \\28for all\\29\\00)"),
            Ok(equal("o", b"Parens R Us (for all)\0"))
        );
        assert_eq!(
            LdapFilter::parse("(cn=univ*of*mich*)"),
            Ok(LdapFilter::Substrings {
                attribute: "cn".to_owned(),
                initial: Some(Template::exactly(b"univ")),
                any: vec![Template::exactly(b"of"), Template::exactly(b"mich")],
                last: None,
            })
        );
        assert_eq!(
            LdapFilter::parse("(ou:dn:2.4.6.8.10:=Dino)"),
            Ok(LdapFilter::Matches {
                attribute: Some("ou".to_owned()),
                rule: Some("2.4.6.8.10".to_owned()),
                dn: true,
                value: Template::exactly(b"Dino"),
            })
        );
        assert!(LdapFilter::parse("(userAccountControl:1.2.840.113556.1.4.803:=2)").is_ok());
        assert!(LdapFilter::parse("(:dn:2.4.6.8.10:=Dino)").is_ok());
        assert!(LdapFilter::parse("(n>=1)").is_ok() && LdapFilter::parse("(n~=1)").is_ok());
    }

    #[test]
    fn what_is_no_filter() {
        for bad in [
            "",
            "mail={name}",
            "(mail={name}",
            "(mail={name}))",
            "()",
            "(&)",
            "(mail)",
            "(=x)",
            "(ma il=x)",
            "(mail=\\2)",
            "(mail=\\zz)",
            "(n>=*)",
            "(:=x)",
            "(a:b:c:=x)",
            "(&(a=b)x)",
        ] {
            assert!(LdapFilter::parse(bad).is_err(), "{bad}");
        }
        let deep = format!("{}(a=b){}", "(!".repeat(5000), ")".repeat(5000));
        assert!(LdapFilter::parse(&deep).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_text_does_harm(text in "[(&|!)a:=*~<> \\\\{name}é2]{0,40}") {
            let _ = LdapFilter::parse(&text);
        }
    }

    #[test]
    fn a_name_is_a_value_whatever_stands_in_it() {
        let Ok(LdapFilter::Compare(_, _, value)) = LdapFilter::parse("(mail=<{name}>)") else {
            panic!();
        };
        assert_eq!(value.fill("*)(uid=*\\00\0"), b"<*)(uid=*\\00\0>");
    }
}

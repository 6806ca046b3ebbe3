//! An SPF record taken apart (RFC 7208 §4.6 and §12).
//!
//! Never: a look-up.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::expand::Template;

/// Bytes of a record read; more cannot fit into an answer over UDP anywhere near whole.
const LONGEST: usize = 8192;

/// A record: mechanisms in order, and where to go on if none of them matches.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) directives: Vec<Directive>,
    pub(crate) redirect: Option<Template>,
}

/// A mechanism, and what a match means.
#[derive(Debug)]
pub(crate) struct Directive {
    pub(crate) qualifier: Qualifier,
    pub(crate) mechanism: Mechanism,
    /// As it was written.
    pub(crate) text: String,
}

/// What a match means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Qualifier {
    Pass,
    Fail,
    SoftFail,
    Neutral,
}

/// What may match. A missing domain is the one whose record it is.
#[derive(Debug)]
pub(crate) enum Mechanism {
    All,
    Include(Template),
    A(Option<Template>, Lengths),
    Mx(Option<Template>, Lengths),
    Ptr(Option<Template>),
    Network(IpAddr, u8),
    Exists(Template),
}

/// Prefix lengths for both families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lengths {
    pub(crate) four: u8,
    pub(crate) six: u8,
}

/// Whether a TXT record is an SPF record (RFC 7208 §4.5).
pub(crate) fn is_claimed(text: &str) -> bool {
    let version = text
        .get(..6)
        .is_some_and(|start| start.eq_ignore_ascii_case("v=spf1"));
    version && matches!(text.as_bytes().get(6), None | Some(b' '))
}

impl Record {
    /// Reads a record; the error names the term that is wrong.
    pub(crate) fn parse(text: &str) -> Result<Record, String> {
        if !is_claimed(text) {
            return Err("it does not begin with v=spf1".to_owned());
        }
        if text.len() > LONGEST {
            return Err(format!("it is longer than {LONGEST} bytes"));
        }
        let mut record = Record::default();
        let mut modifiers: Vec<String> = Vec::new();
        for term in text[6..].split(' ').filter(|term| !term.is_empty()) {
            match modifier(term) {
                None => record.directives.push(directive(term)?),
                Some((name, value)) => {
                    let name = name.to_ascii_lowercase();
                    let known = matches!(name.as_str(), "redirect" | "exp");
                    // RFC 7208 §6: these two once at most.
                    if known && modifiers.contains(&name) {
                        return Err(format!("{name}= stands twice"));
                    }
                    if known {
                        let template =
                            Template::parse(value, true).map_err(|why| wrong(term, &why))?;
                        record.redirect =
                            (name == "redirect").then_some(template).or(record.redirect);
                    } else {
                        Template::parse(value, false).map_err(|why| wrong(term, &why))?;
                    }
                    modifiers.push(name);
                }
            }
        }
        Ok(record)
    }

    /// What is said of those that nothing matches: the qualifier of `all`, if there is one.
    pub(crate) fn of_others(&self) -> Option<Qualifier> {
        let all = self
            .directives
            .iter()
            .find(|one| matches!(one.mechanism, Mechanism::All));
        all.map(|one| one.qualifier)
    }
}

fn wrong(term: &str, why: &str) -> String {
    format!("{term:?}: {why}")
}

/// `name=value`; an `=` behind a `:` or `/` belongs to a domain.
fn modifier(term: &str) -> Option<(&str, &str)> {
    let (name, value) = term.split_once('=')?;
    let good = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    good.then_some((name, value))
}

fn directive(term: &str) -> Result<Directive, String> {
    let (qualifier, rest) = match term.as_bytes().first() {
        Some(b'+') => (Qualifier::Pass, &term[1..]),
        Some(b'-') => (Qualifier::Fail, &term[1..]),
        Some(b'~') => (Qualifier::SoftFail, &term[1..]),
        Some(b'?') => (Qualifier::Neutral, &term[1..]),
        _ => (Qualifier::Pass, term),
    };
    Ok(Directive {
        qualifier,
        mechanism: mechanism(rest).map_err(|why| wrong(term, &why))?,
        text: term.to_owned(),
    })
}

fn mechanism(text: &str) -> Result<Mechanism, String> {
    let end = text.find([':', '/']).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let argument = rest.strip_prefix(':');
    let required = || {
        argument
            .filter(|text| !text.is_empty())
            .ok_or_else(|| "a colon and a value must follow".to_owned())
    };
    match name.to_ascii_lowercase().as_str() {
        "all" if rest.is_empty() => Ok(Mechanism::All),
        "all" => Err("nothing may follow all".to_owned()),
        "include" => Ok(Mechanism::Include(Template::parse(required()?, true)?)),
        "exists" => Ok(Mechanism::Exists(Template::parse(required()?, true)?)),
        "ip4" => network::<Ipv4Addr>(required()?, 32),
        "ip6" => network::<Ipv6Addr>(required()?, 128),
        "a" => target(rest).map(|(domain, lengths)| Mechanism::A(domain, lengths)),
        "mx" => target(rest).map(|(domain, lengths)| Mechanism::Mx(domain, lengths)),
        "ptr" if rest.is_empty() => Ok(Mechanism::Ptr(None)),
        "ptr" => Ok(Mechanism::Ptr(Some(Template::parse(required()?, true)?))),
        _ => Err("there is no such mechanism".to_owned()),
    }
}

fn network<T: std::str::FromStr + Into<IpAddr>>(text: &str, most: u8) -> Result<Mechanism, String> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, number(length, most)?),
        None => (text, most),
    };
    let address: T = address
        .parse()
        .map_err(|_| "it is no such address".to_owned())?;
    Ok(Mechanism::Network(address.into(), length))
}

/// `[":" domain-spec] ["/" n] ["//" n]`
fn target(rest: &str) -> Result<(Option<Template>, Lengths), String> {
    // A slash inside a macro's braces is a delimiter.
    let mut depth = 0;
    let slash = rest.char_indices().find(|(_, c)| {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        *c == '/' && depth == 0
    });
    let (domain, lengths) = rest.split_at(slash.map_or(rest.len(), |(at, _)| at));
    let domain = match domain.strip_prefix(':') {
        None => None,
        Some(text) => Some(Template::parse(text, true)?),
    };
    Ok((domain, prefix_lengths(lengths)?))
}

fn prefix_lengths(text: &str) -> Result<Lengths, String> {
    let (four, six) = match text.split_once("//") {
        Some((four, six)) => (four, Some(six)),
        None => (text, None),
    };
    Ok(Lengths {
        four: match four.strip_prefix('/') {
            Some(digits) => number(digits, 32)?,
            None => 32,
        },
        six: six.map_or(Ok(128), |digits| number(digits, 128))?,
    })
}

fn number(digits: &str, most: u8) -> Result<u8, String> {
    let plain = digits.bytes().all(|b| b.is_ascii_digit())
        && (digits.len() == 1 || !digits.starts_with('0'));
    let value = plain.then(|| digits.parse::<u8>().ok()).flatten();
    value
        .filter(|value| *value <= most)
        .ok_or_else(|| format!("the length of a network must be 0 to {most}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_records_are_read() {
        let cases = [
            ("v=spf1", 0),
            ("v=spf1 -all", 1),
            ("V=SPF1  MX  a:mail.Example.com/24//64 ~ALL ", 3),
            (
                "v=spf1 ip4:192.0.2.0/24 ip4:192.0.2.1 ip6:2001:db8::/32 ?all",
                4,
            ),
            ("v=spf1 a/24 mx//64 ptr ptr:example.com -all", 5),
            (
                "v=spf1 include:_spf.%{d} exists:%{ir}.%{v}._spf.%{d2} redirect=_spf.example.com",
                2,
            ),
            ("v=spf1 exp=why.%{d} unknown=what%_ever -all", 1),
            ("v=spf1 a:%{d1r/}.example.com/24 -all", 2),
        ];
        for (text, count) in cases {
            let record = Record::parse(text).expect(text);
            assert_eq!(record.directives.len(), count, "{text}");
        }
        let record = Record::parse("v=spf1 a/24 mx//64 a/8//16").expect("a record");
        let lengths: Vec<_> = record
            .directives
            .iter()
            .map(|one| match one.mechanism {
                Mechanism::A(_, lengths) | Mechanism::Mx(_, lengths) => (lengths.four, lengths.six),
                _ => (0, 0),
            })
            .collect();
        assert_eq!(lengths, [(24, 128), (32, 64), (8, 16)]);
    }

    #[test]
    fn bad_terms_are_named() {
        let cases = [
            ("v=spf10 -all", "it does not begin with v=spf1"),
            ("v=spf1 all:x", "\"all:x\": nothing may follow all"),
            (
                "v=spf1 include",
                "\"include\": a colon and a value must follow",
            ),
            ("v=spf1 include:", "\"include:\": a colon"),
            (
                "v=spf1 ip4:192.0.2",
                "\"ip4:192.0.2\": it is no such address",
            ),
            (
                "v=spf1 ip4:192.0.2.1/33",
                "\"ip4:192.0.2.1/33\": the length of a network must be 0 to 32",
            ),
            ("v=spf1 ip4:192.0.2.1/", "\"ip4:192.0.2.1/\": the length"),
            (
                "v=spf1 ip4:192.0.2.1/08",
                "\"ip4:192.0.2.1/08\": the length",
            ),
            (
                "v=spf1 ip6:192.0.2.1",
                "\"ip6:192.0.2.1\": it is no such address",
            ),
            (
                "v=spf1 ipv4:192.0.2.1",
                "\"ipv4:192.0.2.1\": there is no such mechanism",
            ),
            ("v=spf1 a:192.0.2.1", "\"a:192.0.2.1\": "),
            ("v=spf1 a:", "\"a:\": "),
            ("v=spf1 a:ex%ample.com", "\"a:ex%ample.com\": "),
            (
                "v=spf1 redirect=a.example redirect=b.example",
                "redirect= stands twice",
            ),
            ("v=spf1 =x", "\"=x\": there is no such mechanism"),
            ("v=spf1 -", "\"-\": there is no such mechanism"),
            (
                "v=spf1 mx -all\u{a0}",
                "\"-all\\u{a0}\": there is no such mechanism",
            ),
        ];
        for (text, expected) in cases {
            let error = Record::parse(text).expect_err(text);
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}

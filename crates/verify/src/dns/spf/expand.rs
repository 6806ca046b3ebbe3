//! Domains with macros in them (RFC 7208 §7): `%{ir}.%{v}._spf.%{d2}`.
//!
//! Never: a look-up; `%{p}` is `unknown`, as the RFC advises.

use std::fmt::Write as _;
use std::net::IpAddr;

/// A domain, with the places to fill in.
#[derive(Debug)]
pub(crate) struct Template(Vec<Piece>);

#[derive(Debug)]
enum Piece {
    Text(String),
    Macro {
        letter: char,
        /// How many of the right-hand parts stay.
        keep: usize,
        reversed: bool,
        delimiters: String,
    },
}

/// What the places are filled with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Values<'a> {
    pub(crate) address: IpAddr,
    pub(crate) sender_domain: &'a str,
    pub(crate) domain: &'a str,
    pub(crate) helo: &'a str,
}

/// RFC 1035 §2.3.4, in text form.
const LONGEST_NAME: usize = 253;

impl Template {
    /// Reads a domain-spec, or with `is_domain` false any macro-string.
    pub(crate) fn parse(text: &str, is_domain: bool) -> Result<Template, String> {
        if text.is_empty() && is_domain {
            return Err("a domain must follow".to_owned());
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            rest = match c {
                '%' => placeholder(&rest[1..], &mut pieces)?,
                '!'..='~' => literal(rest, &mut pieces),
                _ => return Err(format!("{c:?} is not allowed in it")),
            };
        }
        let template = Template(pieces);
        if is_domain && !template.ends_like_a_domain() {
            return Err("it is no domain".to_owned());
        }
        Ok(template)
    }

    /// RFC 7208 §7.1: a macro, or a dot and a label that is no number.
    fn ends_like_a_domain(&self) -> bool {
        match self.0.last() {
            Some(Piece::Macro { .. }) => true,
            Some(Piece::Text(text)) => {
                let text = text.strip_suffix('.').unwrap_or(text);
                let (before, label) = text
                    .rsplit_once('.')
                    .map_or((false, text), |(_, label)| (true, label));
                let letters = label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-');
                let number = label.bytes().all(|b| b.is_ascii_digit());
                before && letters && !number && !label.starts_with('-') && !label.ends_with('-')
            }
            None => false,
        }
    }

    /// The domain to ask for. One that is too long loses labels on its left (RFC 7208 §7.3).
    pub(crate) fn fill(&self, values: Values<'_>) -> String {
        let mut name = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => name.push_str(text),
                Piece::Macro {
                    letter,
                    keep,
                    reversed,
                    delimiters,
                } => {
                    name.push_str(&transformed(
                        &values.of(*letter),
                        *keep,
                        *reversed,
                        delimiters,
                    ));
                }
            }
        }
        let mut rest = name.as_str();
        while rest.len() > LONGEST_NAME {
            rest = rest.split_once('.').map_or("", |(_, parent)| parent);
        }
        rest.to_owned()
    }
}

impl Values<'_> {
    fn of(&self, letter: char) -> String {
        match letter {
            's' => format!("postmaster@{}", self.sender_domain),
            'l' => "postmaster".to_owned(),
            'o' => self.sender_domain.to_owned(),
            'd' => self.domain.to_owned(),
            'h' => self.helo.to_owned(),
            'v' => if self.address.is_ipv4() {
                "in-addr"
            } else {
                "ip6"
            }
            .to_owned(),
            'i' => dotted(self.address),
            _ => "unknown".to_owned(),
        }
    }
}

/// An IPv6 address as its 32 digits with dots between.
fn dotted(address: IpAddr) -> String {
    let six = match address {
        IpAddr::V4(four) => return four.to_string(),
        IpAddr::V6(six) => six,
    };
    let mut text = String::with_capacity(64);
    for octet in six.octets() {
        let _ = write!(text, "{:x}.{:x}.", octet >> 4, octet & 15);
    }
    text.pop();
    text
}

fn transformed(value: &str, keep: usize, reversed: bool, delimiters: &str) -> String {
    let mut parts: Vec<&str> = value.split(|c| delimiters.contains(c)).collect();
    if reversed {
        parts.reverse();
    }
    parts[parts.len().saturating_sub(keep)..].join(".")
}

/// Text up to the next `%`; what follows is for the caller.
fn literal<'a>(text: &'a str, pieces: &mut Vec<Piece>) -> &'a str {
    let end = text
        .find(|c: char| !('!'..='~').contains(&c) || c == '%')
        .unwrap_or(text.len());
    push(pieces, &text[..end]);
    &text[end..]
}

/// Neighbouring texts are one.
fn push(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        Some(Piece::Text(before)) => before.push_str(text),
        _ => pieces.push(Piece::Text(text.to_owned())),
    }
}

/// What stands behind a `%`.
fn placeholder<'a>(text: &'a str, pieces: &mut Vec<Piece>) -> Result<&'a str, String> {
    for (mark, meaning) in [('%', "%"), ('_', " "), ('-', "%20")] {
        if let Some(rest) = text.strip_prefix(mark) {
            push(pieces, meaning);
            return Ok(rest);
        }
    }
    let inner = text.strip_prefix('{').and_then(|rest| rest.split_once('}'));
    let (inner, rest) = inner.ok_or_else(|| "a % must be followed by {…}, %, _ or -".to_owned())?;
    pieces.push(braces(inner).ok_or_else(|| format!("there is no macro %{{{inner}}}"))?);
    Ok(rest)
}

/// A letter, digits, `r`, delimiters.
fn braces(inner: &str) -> Option<Piece> {
    let letter = inner.chars().next()?.to_ascii_lowercase();
    // c, r and t are for explanations only (RFC 7208 §7.2).
    if !"slodiphv".contains(letter) {
        return None;
    }
    let rest = &inner[1..];
    let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let keep = match &rest[..digits] {
        "" => usize::MAX,
        digits => digits
            .parse()
            .ok()
            .filter(|keep| (1..=128).contains(keep))?,
    };
    let rest = &rest[digits..];
    let reversed = rest.starts_with(['r', 'R']);
    let delimiters = if reversed { &rest[1..] } else { rest };
    let good = delimiters.chars().all(|c| ".-+,/_=".contains(c));
    good.then(|| Piece::Macro {
        letter,
        keep,
        reversed,
        delimiters: if delimiters.is_empty() {
            "."
        } else {
            delimiters
        }
        .to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(address: &str) -> Values<'_> {
        Values {
            address: address.parse().expect("an address"),
            sender_domain: "email.example.com",
            domain: "email.example.com",
            helo: "mx.example.com",
        }
    }

    #[test]
    fn the_examples_of_rfc_7208_come_out() {
        // §7.4, with this sender's local part.
        let cases = [
            ("%{s}", "postmaster@email.example.com"),
            ("%{d4}", "email.example.com"),
            ("%{d2}", "example.com"),
            ("%{dr}", "com.example.email"),
            ("%{d2r}", "example.email"),
            (
                "%{ir}.%{v}._spf.%{d2}",
                "3.2.0.192.in-addr._spf.example.com",
            ),
            ("%{lr-}.lp._spf.%{d2}", "postmaster.lp._spf.example.com"),
            ("%{h}.x.com", "mx.example.com.x.com"),
            ("%{p}.x.com", "unknown.x.com"),
            ("a%%b%-c.com", "a%b%20c.com"),
        ];
        for (text, expected) in cases {
            let template = Template::parse(text, true).expect(text);
            assert_eq!(template.fill(values("192.0.2.3")), expected, "{text}");
        }
        let template = Template::parse("%{ir}.%{v}._spf.%{d2}", true).expect("a domain");
        assert_eq!(
            template.fill(values("2001:db8::cb01")),
            "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6._spf.example.com"
        );
    }

    #[test]
    fn a_long_name_loses_its_left_labels() {
        let long = format!("{}%{{d}}", "abcdefghi.".repeat(30));
        let name = Template::parse(&long, true)
            .expect("a domain")
            .fill(values("192.0.2.3"));
        assert!(
            name.len() <= 253 && name.ends_with(".email.example.com"),
            "{name}"
        );
    }

    #[test]
    fn what_is_no_domain_is_refused() {
        for text in [
            "", "com", "1.2.3.4", "%{x}", "%{d", "%", "%{d0}", "%{d1000}", "%{d!}", "a b.com",
            "ü.com", "a.-b", "%{c}.com",
        ] {
            assert!(Template::parse(text, true).is_err(), "{text}");
        }
        for text in ["example.com.", "_spf.example.com", "%{d}", "x.%{o}", "a.b1"] {
            assert!(Template::parse(text, true).is_ok(), "{text}");
        }
    }
}

//! What may be asked of DNS, how answers look, and which names are asked for at all.
//!
//! Never: a socket.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// The questions; [`crate::Resolver`] answers from the network, [`crate::Zone`] from a table.
///
/// Hosts are taken as people write them: any case, with or without the final dot, U-labels or A-labels. They are
/// always absolute: no search list is applied.
pub trait Lookup: Send + Sync {
    /// The MX records of a domain, in no order. A null MX (RFC 7505) is an exchange with an empty host.
    fn mx(&self, domain: &str) -> impl Future<Output = Result<Answer<Exchange>, Error>> + Send;

    /// The addresses of a host, IPv6 first. An address or an address literal in brackets is its own answer.
    ///
    /// A host with addresses of one family is an answer, whatever became of the other family's query.
    fn addresses(&self, host: &str) -> impl Future<Output = Result<Answer<IpAddr>, Error>> + Send;

    /// The TXT records of a name, the strings of each joined.
    fn texts(&self, name: &str) -> impl Future<Output = Result<Answer<Box<[u8]>>, Error>> + Send;

    /// The names that an address's reverse zone gives it: claims, until [`crate::reverse::confirm`] has checked them.
    fn pointers(
        &self,
        address: IpAddr,
    ) -> impl Future<Output = Result<Answer<Box<str>>, Error>> + Send;
}

/// Records, never none of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<T> {
    /// The records.
    pub records: Vec<T>,
    /// How long they hold.
    pub ttl: Duration,
    /// Whether DNSSEC vouches for them. Only an answer that was validated says so.
    pub secure: bool,
}

/// One MX record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Lower is tried sooner.
    pub preference: u16,
    /// In lower case, A-labels, without final dot; empty for the root, which no mail goes to.
    pub host: Box<str>,
}

/// The kinds of record asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Mail exchanges.
    Mx,
    /// A or AAAA.
    Address,
    /// Names of an address.
    Pointer,
    /// Texts.
    Text,
    /// Certificates that a TLS server may show (RFC 6698).
    Association,
    /// The name that a name stands for.
    Alias,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Mx => "MX",
            Kind::Address => "address",
            Kind::Pointer => "PTR",
            Kind::Text => "TXT",
            Kind::Association => "TLSA",
            Kind::Alias => "CNAME",
        })
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The name does not exist (NXDOMAIN): for good.
    #[error("{name} does not exist in DNS")]
    NotFound {
        /// The name asked for.
        name: String,
    },
    /// The name exists, without records of this kind: for good.
    #[error("{name} has no {kind} record in DNS")]
    Empty {
        /// The name asked for.
        name: String,
        /// What it lacks.
        kind: Kind,
    },
    /// No answer to believe: a time-out, SERVFAIL, a refused query, a network that is down. Try again later.
    #[error("the {kind} look-up of {name} failed for now: {reason}")]
    Temporary {
        /// The name asked for.
        name: String,
        /// What was asked.
        kind: Kind,
        /// What went wrong, in a few words.
        reason: String,
    },
    /// No name that DNS could hold: for good, and nobody was asked.
    #[error("{name} is not a domain name")]
    BadName {
        /// The text, cut where it is long.
        name: String,
    },
}

impl Error {
    /// Whether the same question may be answered later.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Error::Temporary { .. })
    }
}

/// The address that a host text already is: `192.0.2.25`, `[192.0.2.25]`, `2001:db8::1`, `[IPv6:2001:db8::1]`.
pub fn literal(host: &str) -> Option<IpAddr> {
    let Some(inner) = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    else {
        return host.parse().ok();
    };
    // RFC 5321 §4.1.3; the bare IPv6 form in brackets is what people write for a smart host.
    match inner.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => {
            inner[5..].parse::<Ipv6Addr>().ok().map(IpAddr::V6)
        }
        _ => inner.parse().ok(),
    }
}

/// A host as DNS knows it: A-labels in lower case, no final dot, checked for length and characters.
pub fn ascii(host: &str) -> Result<Cow<'_, str>, Error> {
    let trimmed = host.strip_suffix('.').unwrap_or(host);
    let name = if trimmed.is_ascii() {
        lower(trimmed)
    } else {
        // RFC 5890: U-labels go to DNS as A-labels.
        Cow::Owned(idna::domain_to_ascii(trimmed).map_err(|_| bad_name(host))?)
    };
    if is_name(&name) {
        Ok(name)
    } else {
        Err(bad_name(host))
    }
}

fn lower(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

/// RFC 1035 §2.3.4 for the lengths; letters, digits and hyphens, and the underscore that some hosts do have.
fn is_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    name.len() <= 253 && name.split('.').all(label)
}

fn bad_name(host: &str) -> Error {
    const SHOWN: usize = 80;
    let name: String = host
        .chars()
        .filter(|c| !c.is_control())
        .take(SHOWN)
        .collect();
    Error::BadName { name }
}

/// The name of an address in the reverse tree (RFC 1035 §3.5, RFC 3596 §2.5).
pub fn reverse_name(address: IpAddr) -> String {
    use std::fmt::Write as _;
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = Ipv4Addr::octets(&v4);
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(v6) => {
            let mut name = String::with_capacity(72);
            for octet in v6.octets().iter().rev() {
                let _ = write!(name, "{:x}.{:x}.", octet & 15, octet >> 4);
            }
            name.push_str("ip6.arpa");
            name
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_need_no_look_up() {
        let cases = [
            ("192.0.2.25", Some("192.0.2.25")),
            ("[192.0.2.25]", Some("192.0.2.25")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            ("[IPv6:2001:db8::1]", Some("2001:db8::1")),
            ("[ipv6:::1]", Some("::1")),
            ("[IPv6:192.0.2.25]", None),
            ("[mx.example.com]", None),
            ("[192.0.2.25", None),
            ("192.0.2", None),
            ("[]", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(
                literal(text),
                expected.map(|ip| ip.parse().expect("an address")),
                "{text}"
            );
        }
    }

    #[test]
    fn names_are_made_ascii_or_refused() {
        let long_label = "a".repeat(64);
        let long_name = "a.".repeat(127) + "a";
        let cases = [
            ("Example.COM.", Some("example.com")),
            ("example.com", Some("example.com")),
            ("bücher.example", Some("xn--bcher-kva.example")),
            ("BÜCHER.example.", Some("xn--bcher-kva.example")),
            ("_25._tcp.mx1.example", Some("_25._tcp.mx1.example")),
            ("localhost", Some("localhost")),
            ("", None),
            (".", None),
            ("a..b", None),
            (".a", None),
            ("a b.example", None),
            ("exa\\mple", None),
            ("a\0b", None),
            (&long_label, None),
            (&long_name, None),
        ];
        for (text, expected) in cases {
            assert_eq!(ascii(text).ok().as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn an_address_has_one_reverse_name() {
        let cases = [
            ("192.0.2.25", "25.2.0.192.in-addr.arpa"),
            ("::ffff:192.0.2.25", "25.2.0.192.in-addr.arpa"),
            (
                "2001:db8::1",
                "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
            ),
        ];
        for (address, name) in cases {
            assert_eq!(reverse_name(address.parse().expect("an address")), name);
        }
    }
}

//! One entry of a connection or relay list, as an administrator writes it.
//!
//! | Written | Kind |
//! |---|---|
//! | `192.0.2.7`, `2001:db8::7` | one computer by address |
//! | `host scanner.example.com` | one computer by name, looked up by the caller |
//! | `192.0.2.0/24`, `192.0.2.0/255.255.255.0` | a group of computers |
//! | `domain example.com` | clients whose confirmed name is it or below it |
//!
//! Never: a look-up; an entry only says what was written.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Where an entry was written: which file (0 is the definition itself) and which line; opaque to the decisions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(u32);

impl Origin {
    const LINES: u32 = (1 << 24) - 1;

    /// An origin in file number `file` at `line` (1-based); lines past 16 million are shown as the last one.
    pub fn new(file: u8, line: u32) -> Origin {
        Origin((u32::from(file) << 24) | line.min(Self::LINES))
    }

    /// The number of the file: 0 is the definition, the rest is the caller's numbering.
    pub fn file(self) -> u8 {
        (self.0 >> 24) as u8
    }

    /// The line, 1-based; 0 when unknown.
    pub fn line(self) -> u32 {
        self.0 & Self::LINES
    }
}

/// What an entry matches.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// One computer by its address.
    Address(IpAddr),
    /// A group of computers; host bits are zero.
    Network(IpNet),
    /// One computer by its name, in lower case.
    Host(Box<str>),
    /// A domain, in lower case: the client's confirmed name is it or ends with `.` and it.
    Domain(Box<str>),
}

/// One entry of a list, with the place it was written at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it matches.
    pub kind: EntryKind,
    /// Where it was written.
    pub origin: Origin,
}

/// Why a text is not an entry. The corrected form is given where there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryError {
    /// Not an address, a network, `host NAME` or `domain NAME`.
    Unreadable,
    /// The part after `/` is neither a prefix length that fits nor a mask.
    BadMask,
    /// The address has bits below the mask; the network that was probably meant.
    HostBits(IpNet),
    /// `host` or `domain` without a usable name.
    BadName,
}

impl fmt::Display for EntryError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EntryError::Unreadable => {
                out.write_str("not an address, a network, `host NAME` or `domain NAME`")
            }
            EntryError::BadMask => {
                out.write_str("the part after / is neither a prefix length nor a mask")
            }
            EntryError::HostBits(net) => write!(
                out,
                "the address has bits set below its mask: the network is {net}"
            ),
            EntryError::BadName => out.write_str("not a host or domain name"),
        }
    }
}

impl std::error::Error for EntryError {}

impl Entry {
    /// Reads one entry as written in a list; `origin` is kept for the trail.
    pub fn parse(text: &str, origin: Origin) -> Result<Entry, EntryError> {
        Ok(Entry {
            kind: text.parse()?,
            origin,
        })
    }
}

impl FromStr for EntryKind {
    type Err = EntryError;

    fn from_str(text: &str) -> Result<EntryKind, EntryError> {
        let text = text.trim();
        if let Some((word, name)) = text.split_once(|c: char| c.is_ascii_whitespace()) {
            return parse_named(word, name.trim());
        }
        match text.split_once('/') {
            Some((address, mask)) => parse_network(address, mask),
            None => parse_address(text)
                .map(EntryKind::Address)
                .ok_or(EntryError::Unreadable),
        }
    }
}

impl fmt::Display for EntryKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EntryKind::Address(address) => address.fmt(out),
            EntryKind::Network(network) => network.fmt(out),
            EntryKind::Host(name) => write!(out, "host {name}"),
            EntryKind::Domain(name) => write!(out, "domain {name}"),
        }
    }
}

fn parse_named(word: &str, name: &str) -> Result<EntryKind, EntryError> {
    let is_domain = match word {
        "host" => false,
        "domain" => true,
        _ => return Err(EntryError::Unreadable),
    };
    let name = name.strip_prefix('.').filter(|_| is_domain).unwrap_or(name);
    if !is_name(name) {
        return Err(EntryError::BadName);
    }
    let name = name.to_ascii_lowercase().into_boxed_str();
    Ok(if is_domain {
        EntryKind::Domain(name)
    } else {
        EntryKind::Host(name)
    })
}

/// Letters, digits, hyphens and dots in labels of 1 to 63; not all digits, so that a cut-off address is no name.
fn is_name(name: &str) -> bool {
    let label_fits = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    name.len() <= 253
        && name.split('.').all(label_fits)
        && name
            .rsplit('.')
            .next()
            .is_some_and(|last| !last.bytes().all(|b| b.is_ascii_digit()))
}

fn parse_address(text: &str) -> Option<IpAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    bare.parse::<IpAddr>()
        .ok()
        .map(|address| address.to_canonical())
}

fn parse_network(address: &str, mask: &str) -> Result<EntryKind, EntryError> {
    let address: IpAddr = address.trim().parse().map_err(|_| EntryError::Unreadable)?;
    let prefix = parse_mask(mask.trim(), address).ok_or(EntryError::BadMask)?;
    let network = normalise(address, prefix).ok_or(EntryError::BadMask)?;
    if network.addr() != network.network() {
        return Err(EntryError::HostBits(network.trunc()));
    }
    Ok(EntryKind::Network(network))
}

/// An IPv4-mapped network (`::ffff:192.0.2.0/120`) is the IPv4 network it stands for.
fn normalise(address: IpAddr, prefix: u8) -> Option<IpNet> {
    match address {
        IpAddr::V4(v4) => Ipv4Net::new(v4, prefix).ok().map(IpNet::V4),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) if prefix >= 96 => Ipv4Net::new(v4, prefix - 96).ok().map(IpNet::V4),
            _ => Ipv6Net::new(v6, prefix).ok().map(IpNet::V6),
        },
    }
}

fn parse_mask(mask: &str, address: IpAddr) -> Option<u8> {
    if mask.bytes().all(|b| b.is_ascii_digit()) && !mask.is_empty() {
        return mask.parse().ok();
    }
    match address {
        IpAddr::V4(_) => mask
            .parse::<Ipv4Addr>()
            .ok()
            .and_then(|m| ipnet::ipv4_mask_to_prefix(m).ok()),
        IpAddr::V6(_) => mask
            .parse::<Ipv6Addr>()
            .ok()
            .and_then(|m| ipnet::ipv6_mask_to_prefix(m).ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> Result<String, EntryError> {
        text.parse::<EntryKind>().map(|kind| kind.to_string())
    }

    #[test]
    fn entries_read_as_the_table_says() {
        let good = [
            ("192.0.2.7", "192.0.2.7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("192.0.2.0/24", "192.0.2.0/24"),
            ("192.0.2.0/255.255.255.0", "192.0.2.0/24"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::/0", "::/0"),
            ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
            ("2001:db8::/ffff:ffff::", "2001:db8::/32"),
            ("host Scanner.Example.com", "host scanner.example.com"),
            ("domain example.com", "domain example.com"),
            ("domain  .Example.COM", "domain example.com"),
        ];
        for (text, shown) in good {
            assert_eq!(kind(text).as_deref(), Ok(shown), "{text}");
        }
    }

    #[test]
    fn bad_entries_say_why() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let bad = [
            ("", EntryError::Unreadable),
            ("192.0.2", EntryError::Unreadable),
            ("scanner.example.com", EntryError::Unreadable),
            ("hosts scanner.example.com", EntryError::Unreadable),
            ("192.0.2.0/33", EntryError::BadMask),
            ("192.0.2.0/", EntryError::BadMask),
            ("192.0.2.0/255.0.255.0", EntryError::BadMask),
            ("192.0.2.0/-1", EntryError::BadMask),
            ("192.0.2.0/999", EntryError::BadMask),
            (
                "192.168.1.5/24",
                EntryError::HostBits(net("192.168.1.0/24")),
            ),
            ("2001:db8::1/32", EntryError::HostBits(net("2001:db8::/32"))),
            ("host ", EntryError::Unreadable),
            ("host 192.0.2.7", EntryError::BadName),
            ("domain a..b", EntryError::BadName),
            ("domain -a.example", EntryError::BadName),
            ("domain two words", EntryError::BadName),
        ];
        for (text, error) in bad {
            assert_eq!(kind(text), Err(error), "{text}");
        }
    }

    #[test]
    fn origin_holds_file_and_line() {
        let origin = Origin::new(3, 41);
        assert_eq!((origin.file(), origin.line()), (3, 41));
        assert_eq!(Origin::new(0, u32::MAX).file(), 0);
    }
}

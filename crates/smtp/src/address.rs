//! Mailboxes and paths as RFC 5321 §4.1.2 spells them, kept as they were written.
//!
//! Never: a look-up, or an opinion on which domain is local.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;

/// `local@domain`. A quoted local part keeps its quotes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mailbox {
    /// The local part as written, quotes and all; compared exactly (RFC 5321 §2.4).
    pub local: Box<str>,
    /// The domain.
    pub domain: Domain,
}

/// The part behind the `@`. Names are compared without regard to ASCII case.
#[derive(Debug, Clone)]
pub enum Domain {
    /// A domain name, as written, without a trailing dot.
    Name(Box<str>),
    /// `[192.0.2.1]` or `[IPv6:2001:db8::1]`.
    Literal(IpAddr),
}

/// What MAIL carries.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ReversePath {
    /// `<>`: a notice, to which no notice may be sent.
    Null,
    /// An ordinary sender.
    Mailbox(Mailbox),
}

/// What RCPT carries.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ForwardPath {
    /// `<postmaster>`, the one recipient that needs no domain (RFC 5321 §4.5.1).
    Postmaster,
    /// An ordinary recipient.
    Mailbox(Mailbox),
}

/// Why a text is not an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressError {
    /// Not an address by the grammar.
    Syntax,
    /// A local part with no domain behind it.
    NoDomain,
    /// Longer than RFC 5321 §4.5.3.1 allows.
    TooLong,
    /// Characters beyond ASCII without SMTPUTF8 (RFC 6531 §3.5).
    NeedsUtf8,
}

impl Mailbox {
    /// Reads `local@domain` without brackets; characters beyond ASCII only where `utf8` says so.
    pub fn parse(text: &str, utf8: bool) -> Result<Mailbox, AddressError> {
        let _ = (text, utf8);
        Err(AddressError::Syntax)
    }
    /// The local part without its quoting: `"a b"` is `a b`.
    pub fn unquoted_local(&self) -> std::borrow::Cow<'_, str> {
        std::borrow::Cow::Borrowed(&self.local)
    }
    /// Whether it has characters beyond ASCII, so that only SMTPUTF8 can carry it.
    pub fn needs_utf8(&self) -> bool {
        !self.local.is_ascii() || matches!(&self.domain, Domain::Name(name) if !name.is_ascii())
    }
}

impl Domain {
    /// Reads a domain name or an address literal.
    pub fn parse(text: &str, utf8: bool) -> Result<Domain, AddressError> {
        let _ = (text, utf8);
        Err(AddressError::Syntax)
    }
    /// The name, if it is one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Domain::Name(name) => Some(name),
            Domain::Literal(_) => None,
        }
    }
}

impl std::str::FromStr for Mailbox {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Mailbox, AddressError> {
        Mailbox::parse(text, true)
    }
}

impl PartialEq for Domain {
    fn eq(&self, other: &Domain) -> bool {
        match (self, other) {
            (Domain::Name(one), Domain::Name(two)) => one.eq_ignore_ascii_case(two),
            (Domain::Literal(one), Domain::Literal(two)) => one == two,
            _ => false,
        }
    }
}

impl Eq for Domain {}

impl Hash for Domain {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Domain::Name(name) => name
                .bytes()
                .for_each(|byte| state.write_u8(byte.to_ascii_lowercase())),
            Domain::Literal(address) => address.hash(state),
        }
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local, self.domain)
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Domain::Name(name) => f.write_str(name),
            Domain::Literal(IpAddr::V4(address)) => write!(f, "[{address}]"),
            Domain::Literal(IpAddr::V6(address)) => write!(f, "[IPv6:{address}]"),
        }
    }
}

/// Without brackets; the null path is the empty text.
impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReversePath::Null => Ok(()),
            ReversePath::Mailbox(mailbox) => mailbox.fmt(f),
        }
    }
}

/// Without brackets.
impl fmt::Display for ForwardPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ForwardPath::Postmaster => f.write_str("postmaster"),
            ForwardPath::Mailbox(mailbox) => mailbox.fmt(f),
        }
    }
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AddressError::Syntax => "not a mail address",
            AddressError::NoDomain => "the address has no domain",
            AddressError::TooLong => "the address is too long",
            AddressError::NeedsUtf8 => "the address needs SMTPUTF8",
        })
    }
}

impl std::error::Error for AddressError {}

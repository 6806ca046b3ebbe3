//! Mailboxes and paths as RFC 5321 §4.1.2 spells them, kept as they were written.
//!
//! Never: a look-up, or an opinion on which domain is local.

use std::borrow::Cow;
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
        let (mailbox, rest) = mailbox(text, utf8)?;
        if rest.is_empty() {
            Ok(mailbox)
        } else {
            Err(AddressError::Syntax)
        }
    }

    /// The local part without its quoting: `"a b"` is `a b`.
    pub fn unquoted_local(&self) -> Cow<'_, str> {
        let Some(inner) = self
            .local
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
        else {
            return Cow::Borrowed(&self.local);
        };
        if !inner.contains('\\') {
            return Cow::Borrowed(inner);
        }
        let mut plain = String::with_capacity(inner.len());
        let mut letters = inner.chars();
        while let Some(letter) = letters.next() {
            plain.extend(if letter == '\\' {
                letters.next()
            } else {
                Some(letter)
            });
        }
        Cow::Owned(plain)
    }

    /// Whether it has characters beyond ASCII, so that only SMTPUTF8 can carry it.
    pub fn needs_utf8(&self) -> bool {
        !self.local.is_ascii() || self.domain.name().is_some_and(|name| !name.is_ascii())
    }
}

impl Domain {
    /// Reads a domain name or an address literal.
    pub fn parse(text: &str, utf8: bool) -> Result<Domain, AddressError> {
        let (domain, rest) = domain(text, utf8)?;
        if rest.is_empty() {
            Ok(domain)
        } else {
            Err(AddressError::Syntax)
        }
    }

    /// The name, if it is one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Domain::Name(name) => Some(name),
            Domain::Literal(_) => None,
        }
    }
}

/// A path between its brackets, and whether a source route stood before the mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path<T> {
    pub(crate) path: T,
    pub(crate) source_route: bool,
}

/// Reads `<…>` of MAIL at the start of `text`; gives what follows it too.
pub(crate) fn reverse_path(
    text: &str,
    utf8: bool,
) -> Result<(Path<ReversePath>, &str), AddressError> {
    if let Some(rest) = text.strip_prefix("<>") {
        return Ok((
            Path {
                path: ReversePath::Null,
                source_route: false,
            },
            rest,
        ));
    }
    let (path, rest) = bracketed(text, utf8)?;
    Ok((
        Path {
            path: ReversePath::Mailbox(path.path),
            source_route: path.source_route,
        },
        rest,
    ))
}

/// Reads `<…>` of RCPT at the start of `text`; gives what follows it too.
pub(crate) fn forward_path(
    text: &str,
    utf8: bool,
) -> Result<(Path<ForwardPath>, &str), AddressError> {
    const POSTMASTER: &str = "<postmaster>";
    if text
        .get(..POSTMASTER.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(POSTMASTER))
    {
        return Ok((
            Path {
                path: ForwardPath::Postmaster,
                source_route: false,
            },
            &text[POSTMASTER.len()..],
        ));
    }
    let (path, rest) = bracketed(text, utf8)?;
    Ok((
        Path {
            path: ForwardPath::Mailbox(path.path),
            source_route: path.source_route,
        },
        rest,
    ))
}

/// Whether `text` is a mailbox by the grammar, or `postmaster`.
pub(crate) fn is_recipient(text: &str) -> bool {
    text.eq_ignore_ascii_case("postmaster") || Mailbox::parse(text, true).is_ok()
}

fn bracketed(text: &str, utf8: bool) -> Result<(Path<Mailbox>, &str), AddressError> {
    let inner = text.strip_prefix('<').ok_or(AddressError::Syntax)?;
    let (source_route, start) = source_route(inner, utf8)?;
    let (mailbox, rest) = mailbox(start, utf8)?;
    let rest = rest.strip_prefix('>').ok_or(AddressError::Syntax)?;
    // RFC 5321 §4.5.3.1.3: 256 octets with the brackets and the route.
    if text.len() - rest.len() > 256 {
        return Err(AddressError::TooLong);
    }
    Ok((
        Path {
            path: mailbox,
            source_route,
        },
        rest,
    ))
}

/// `@one,@two:` before the mailbox: recognised, and dropped (RFC 5321 §4.1.2, A-d-l).
fn source_route(mut text: &str, utf8: bool) -> Result<(bool, &str), AddressError> {
    if !text.starts_with('@') {
        return Ok((false, text));
    }
    while let Some(rest) = text.strip_prefix('@') {
        let (_, rest) = domain(rest, utf8)?;
        match (rest.strip_prefix(','), rest.strip_prefix(':')) {
            (Some(more), _) if more.starts_with('@') => text = more,
            (_, Some(mailbox)) => return Ok((true, mailbox)),
            _ => break,
        }
    }
    Err(AddressError::Syntax)
}

fn mailbox(text: &str, utf8: bool) -> Result<(Mailbox, &str), AddressError> {
    let length = local_part(text, utf8)?;
    let (local, rest) = text.split_at(length);
    // RFC 5321 §4.5.3.1.1
    if length > 64 {
        return Err(AddressError::TooLong);
    }
    let Some(rest) = rest.strip_prefix('@') else {
        let ends = rest.is_empty() || rest.starts_with('>');
        return Err(if ends {
            AddressError::NoDomain
        } else {
            AddressError::Syntax
        });
    };
    let (domain, rest) = domain(rest, utf8)?;
    Ok((
        Mailbox {
            local: local.into(),
            domain,
        },
        rest,
    ))
}

/// The length of the local part at the start of `text`.
fn local_part(text: &str, utf8: bool) -> Result<usize, AddressError> {
    if text.starts_with('"') {
        quoted_string(text, utf8)
    } else {
        dot_string(text, utf8)
    }
}

/// RFC 5321 §4.1.2, Dot-string: atoms with single dots between them.
fn dot_string(text: &str, utf8: bool) -> Result<usize, AddressError> {
    let mut atom = 0;
    for (at, letter) in text.char_indices() {
        match letter {
            '.' if atom > 0 => atom = 0,
            _ if is_atext(letter) => atom += 1,
            _ if beyond_ascii(letter, utf8)? => atom += 1,
            _ if atom > 0 => return Ok(at),
            _ => return Err(AddressError::Syntax),
        }
    }
    if atom > 0 {
        Ok(text.len())
    } else {
        Err(AddressError::Syntax)
    }
}

/// RFC 5321 §4.1.2, Quoted-string: `text` begins with its opening quote.
fn quoted_string(text: &str, utf8: bool) -> Result<usize, AddressError> {
    let mut escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        match letter {
            ' '..='~' if escaped => escaped = false,
            // `""` names nobody.
            '"' if at > 1 => return Ok(at + 1),
            '"' => return Err(AddressError::Syntax),
            '\\' => escaped = true,
            ' '..='~' => {}
            _ if !escaped && beyond_ascii(letter, utf8)? => {}
            _ => return Err(AddressError::Syntax),
        }
    }
    Err(AddressError::Syntax)
}

fn domain(text: &str, utf8: bool) -> Result<(Domain, &str), AddressError> {
    match text.strip_prefix('[') {
        Some(inner) => literal(inner),
        None => name(text, utf8),
    }
}

/// RFC 5321 §4.1.3, behind the opening bracket. General literals have no tag registered but IPv6.
fn literal(inner: &str) -> Result<(Domain, &str), AddressError> {
    const TAG: &str = "IPv6:";
    let (inside, rest) = inner.split_once(']').ok_or(AddressError::Syntax)?;
    let tagged = inside
        .get(..TAG.len())
        .is_some_and(|tag| tag.eq_ignore_ascii_case(TAG));
    let address = if tagged {
        inside[TAG.len()..].parse().map(IpAddr::V6)
    } else {
        inside.parse().map(IpAddr::V4)
    };
    Ok((
        Domain::Literal(address.map_err(|_| AddressError::Syntax)?),
        rest,
    ))
}

/// Labels of letters, digits and inner hyphens. An underscore passes too: hosts that bear one do send mail.
fn name(text: &str, utf8: bool) -> Result<(Domain, &str), AddressError> {
    let mut end = text.len();
    for (at, letter) in text.char_indices() {
        let fits = letter.is_ascii_alphanumeric()
            || matches!(letter, '-' | '.' | '_')
            || (beyond_ascii(letter, utf8)? && !is_look_alike(letter));
        if !fits {
            end = at;
            break;
        }
    }
    let (name, rest) = text.split_at(end);
    // RFC 5321 §4.5.3.1.2
    if name.len() > 255 {
        return Err(AddressError::TooLong);
    }
    let last = name.rsplit('.').next().unwrap_or(name);
    // A name that ends in digits only would be taken for an address by whoever looks it up.
    if !name.split('.').all(is_label) || last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(AddressError::Syntax);
    }
    Ok((Domain::Name(name.into()), rest))
}

fn is_label(label: &str) -> bool {
    !label.is_empty() && label.len() <= 63 && !label.starts_with('-') && !label.ends_with('-')
}

/// RFC 5322 §3.2.3
fn is_atext(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(letter)
}

/// RFC 6531 §3.3: UTF-8 counts as a letter, where SMTPUTF8 was said; controls and spaces never do.
fn beyond_ascii(letter: char, utf8: bool) -> Result<bool, AddressError> {
    if letter.is_ascii() {
        return Ok(false);
    }
    if letter.is_control() || letter.is_whitespace() || is_invisible(letter) {
        return Err(AddressError::Syntax);
    }
    if utf8 {
        Ok(true)
    } else {
        Err(AddressError::NeedsUtf8)
    }
}

fn is_invisible(letter: char) -> bool {
    matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fffd}')
}

/// What IDNA would turn into a dot or another ASCII sign, so that the name looked up is not the name judged.
fn is_look_alike(letter: char) -> bool {
    matches!(letter, '\u{3002}' | '\u{ff01}'..='\u{ff5e}' | '\u{ff61}')
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

#[cfg(test)]
mod tests;

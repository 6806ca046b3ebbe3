//! EHLO keywords: those a server offers, in an order that never changes, and those a peer offers, read.
//!
//! Never: a guess at what a peer can do that it did not say.

/// What a peer said in its EHLO (or LHLO) answer; all absent after HELO.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extensions {
    /// `SIZE`: present, and the largest message if it named one above 0 (RFC 1870).
    pub size: Option<Option<u64>>,
    /// `PIPELINING` (RFC 2920).
    pub pipelining: bool,
    /// `8BITMIME` (RFC 6152).
    pub eight_bit: bool,
    /// `SMTPUTF8` (RFC 6531).
    pub smtputf8: bool,
    /// `CHUNKING` (RFC 3030).
    pub chunking: bool,
    /// `BINARYMIME` (RFC 3030).
    pub binary: bool,
    /// `DSN` (RFC 3461).
    pub dsn: bool,
    /// `ENHANCEDSTATUSCODES` (RFC 2034).
    pub enhanced_codes: bool,
    /// `STARTTLS` (RFC 3207).
    pub starttls: bool,
    /// The mechanisms behind `AUTH`, in upper case (RFC 4954), `AUTH=` lines included.
    pub auth: Vec<String>,
}

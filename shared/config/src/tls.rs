//! [access.tls]: certificates, and what is asked of the channel.

use std::path::PathBuf;

/// The section's settings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tls {
    /// Chosen by SNI; the first is the default.
    pub certificates: Vec<CertificatePair>,
    /// Nothing but EHLO, STARTTLS, NOOP, RSET and QUIT is answered in clear.
    pub require: bool,
    /// The weakest cipher allowed.
    pub min_strength: MinStrength,
    /// The oldest protocol allowed.
    pub min_version: MinVersion,
    /// The authority client certificates are asked of; as written.
    pub client_ca: Option<PathBuf>,
}

/// A certificate chain and its key, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificatePair {
    /// The PEM file with the chain, leaf first.
    pub certificate: PathBuf,
    /// The PEM file with the private key.
    pub key: PathBuf,
    /// The line of the definition this pair begins on, for findings about the files' contents.
    pub line: u32,
}

/// The weakest cipher allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum MinStrength {
    /// 128 bits.
    #[default]
    Bits128,
    /// 256 bits.
    Bits256,
}

impl MinStrength {
    /// The number of bits.
    pub fn bits(self) -> u32 {
        match self {
            MinStrength::Bits128 => 128,
            MinStrength::Bits256 => 256,
        }
    }
}

/// The oldest protocol allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum MinVersion {
    /// TLS 1.2.
    #[default]
    Tls12,
    /// TLS 1.3.
    Tls13,
}

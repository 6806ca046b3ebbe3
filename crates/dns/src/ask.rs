//! One question, and all that a name server's answer tells: for a person who wants to see why, and for DANE.
//!
//! [`crate::Lookup`] gives what mail needs; [`Ask`] also says who answered, over what, through which aliases, and
//! whether the resolver vouches for it.
//!
//! Never: a socket ([`crate::Direct`] has those); a second opinion on an answer.

use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};

use crate::lookup::{Error, Exchange, Kind};

/// Records of one answer kept; of a longer one the rest is counted.
pub const MOST_RECORDS: usize = 256;

/// Who answers single questions: [`crate::Direct`] from the network, [`crate::Resolver`] from this host's own name server,
/// [`crate::Zone`] from a table.
pub trait Ask {
    /// Asks for the records of one type at a name: any case, with or without the final dot, underscores too.
    fn ask(&self, name: &str, wanted: Type) -> impl Future<Output = Result<Told, Untold>> + Send;
}

/// The types of record that may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Type {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Mail exchanges.
    Mx,
    /// Names of an address.
    Ptr,
    /// The name that a name stands for: in [`Told::aliases`], and not followed further.
    Cname,
    /// Texts.
    Txt,
    /// Certificates that a TLS server may show (RFC 6698).
    Tlsa,
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Type::A => "A",
            Type::Aaaa => "AAAA",
            Type::Mx => "MX",
            Type::Ptr => "PTR",
            Type::Cname => "CNAME",
            Type::Txt => "TXT",
            Type::Tlsa => "TLSA",
        })
    }
}

/// An answer, which may be that there is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Who answered; none for a table.
    pub server: Option<SocketAddr>,
    /// Whether the answer had to come over TCP.
    pub over_tcp: bool,
    /// Whether the name server says that DNSSEC vouches for it (the AD bit): worth as much as the way to that server.
    pub vouched: bool,
    /// Whether the name exists, with whatever records.
    pub exists: bool,
    /// The names that CNAME records led to, in the order of the answer.
    pub aliases: Vec<Box<str>>,
    /// The records of the type asked for, [`MOST_RECORDS`] at most.
    pub data: Vec<Data>,
    /// How many more there were.
    pub left_out: usize,
}

/// No answer to believe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Untold {
    /// Who was asked last.
    pub server: Option<SocketAddr>,
    /// What went wrong, in a few words.
    pub reason: String,
}

impl Untold {
    /// As a look-up tells it: for now, whatever the reason.
    pub(crate) fn about(self, name: &str, kind: Kind) -> Error {
        Error::Temporary {
            name: name.to_owned(),
            kind,
            reason: match self.server {
                Some(server) => format!("{server}: {}", self.reason),
                None => self.reason,
            },
        }
    }
}

/// What one record holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// A or AAAA.
    Address(IpAddr),
    /// MX.
    Exchange(Exchange),
    /// PTR: in lower case, without the final dot.
    Pointer(Box<str>),
    /// TXT: its strings joined, as every policy on mail has it.
    Text(Box<[u8]>),
    /// TLSA.
    Association(Association),
}

/// A TLSA record (RFC 6698 §2.1), not yet judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Association {
    /// 0 to 3: how the certificate is to be trusted.
    pub usage: u8,
    /// 0 the whole certificate, 1 its public key.
    pub selector: u8,
    /// 0 as it is, 1 its SHA-256, 2 its SHA-512.
    pub matching: u8,
    /// What must be equal.
    pub data: Box<[u8]>,
}

impl fmt::Display for Data {
    /// As a zone file has it; bytes of a text that are no ASCII letters are written `\DDD` (RFC 1035 §5.1).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Data::Address(address) => write!(f, "{address}"),
            Data::Exchange(one) => write!(f, "{} {}.", one.preference, one.host),
            Data::Pointer(name) => write!(f, "{name}."),
            Data::Text(text) => quoted(f, text),
            Data::Association(one) => write!(f, "{one}"),
        }
    }
}

impl fmt::Display for Association {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} ", self.usage, self.selector, self.matching)?;
        self.data
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn quoted(f: &mut fmt::Formatter<'_>, text: &[u8]) -> fmt::Result {
    f.write_str("\"")?;
    for byte in text {
        match byte {
            b'"' | b'\\' => write!(f, "\\{}", char::from(*byte))?,
            b' '..=b'~' => write!(f, "{}", char::from(*byte))?,
            _ => write!(f, "\\{byte:03}")?,
        }
    }
    f.write_str("\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_read_as_in_a_zone_file() {
        let text = |bytes: &[u8]| Data::Text(bytes.into()).to_string();
        assert_eq!(text(b"v=spf1 -all"), "\"v=spf1 -all\"");
        assert_eq!(text(b"a\"b\\c\x00\xff\n"), r#""a\"b\\c\000\255\010""#);
        let exchange = |host: &str| {
            Data::Exchange(Exchange {
                preference: 0,
                host: host.into(),
            })
        };
        assert_eq!(exchange("").to_string(), "0 .");
        assert_eq!(exchange("mx.example").to_string(), "0 mx.example.");
        let one = Association {
            usage: 3,
            selector: 1,
            matching: 1,
            data: [0, 0xab].into(),
        };
        assert_eq!(one.to_string(), "3 1 1 00ab");
    }
}

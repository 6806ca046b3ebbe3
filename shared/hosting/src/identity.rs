//! An identity: an address a server listens on, and how TLS is spoken there.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How TLS is spoken on an identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsMode {
    /// Plain at first, STARTTLS where a certificate is there.
    #[default]
    Starttls,
    /// TLS from the first byte.
    Implicit,
    /// Never: a port for devices that cannot.
    None,
}

/// One address a server listens on. In a definition it is `"192.0.2.10:25"` or
/// `{ address = "192.0.2.10:465", tls = "implicit" }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Written")]
pub struct Identity {
    /// Address and port; the port is never 0 in a definition that was accepted.
    pub address: SocketAddr,
    /// How TLS is spoken there.
    pub tls: TlsMode,
}

/// The two forms a definition may use.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Short(SocketAddr),
    Long(Long),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Long {
    address: SocketAddr,
    #[serde(default)]
    tls: TlsMode,
}

impl From<Written> for Identity {
    fn from(written: Written) -> Identity {
        match written {
            Written::Short(address) => Identity {
                address,
                tls: TlsMode::default(),
            },
            Written::Long(Long { address, tls }) => Identity { address, tls },
        }
    }
}

impl Identity {
    /// Whether both cannot be listened on at once: the same address and port, or the same port where one is a wildcard
    /// of the same family.
    pub fn clashes_with(&self, other: &Identity) -> bool {
        let (mine, theirs) = (self.address.ip(), other.address.ip());
        self.address.port() == other.address.port()
            && mine.is_ipv4() == theirs.is_ipv4()
            && (mine == theirs || mine.is_unspecified() || theirs.is_unspecified())
    }
}

impl TlsMode {
    /// The mode as a definition writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            TlsMode::Starttls => "starttls",
            TlsMode::Implicit => "implicit",
            TlsMode::None => "none",
        }
    }
}

impl FromStr for TlsMode {
    type Err = ();

    fn from_str(text: &str) -> Result<TlsMode, ()> {
        [TlsMode::Starttls, TlsMode::Implicit, TlsMode::None]
            .into_iter()
            .find(|mode| mode.as_str() == text)
            .ok_or(())
    }
}

impl fmt::Display for TlsMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// `192.0.2.10:25`, with ` (implicit)` or ` (none)` where TLS is not the default.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tls {
            TlsMode::Starttls => write!(f, "{}", self.address),
            other => write!(f, "{} ({other})", self.address),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn identity(text: &str) -> Identity {
        Identity {
            address: text.parse().unwrap(),
            tls: TlsMode::Starttls,
        }
    }

    #[test]
    fn wildcards_clash_within_their_family() {
        for (a, b, clash) in [
            ("192.0.2.1:25", "192.0.2.1:25", true),
            ("192.0.2.1:25", "192.0.2.2:25", false),
            ("192.0.2.1:25", "192.0.2.1:26", false),
            ("0.0.0.0:25", "192.0.2.1:25", true),
            ("[::]:25", "192.0.2.1:25", false),
            ("[::]:25", "[::1]:25", true),
            ("[::]:25", "0.0.0.0:25", false),
        ] {
            assert_eq!(identity(a).clashes_with(&identity(b)), clash, "{a} {b}");
            assert_eq!(identity(b).clashes_with(&identity(a)), clash, "{b} {a}");
        }
    }

    #[test]
    fn both_written_forms_are_read() {
        #[derive(Deserialize)]
        struct Listen {
            listen: Vec<Identity>,
        }
        let read: Listen = toml::from_str(
            r#"listen = ["192.0.2.1:25", { address = "[::1]:465", tls = "implicit" }]"#,
        )
        .unwrap();
        assert_eq!(read.listen[0], identity("192.0.2.1:25"));
        assert_eq!(read.listen[1].to_string(), "[::1]:465 (implicit)");
        assert!(
            toml::from_str::<Listen>(r#"listen = [{ address = "[::1]:465", tsl = "none" }]"#)
                .is_err()
        );
    }
}

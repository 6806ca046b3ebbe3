//! What a client has offered, read from its first record: for the log line of a handshake that fails.
//!
//! ```text
//! record 22 · client hello · version · random · session id · cipher suites · compression · extensions (supported_versions)
//! ```
//! RFC 8446 §4.1.2, and §5.1 for the record. As much as is there is read: a hello that is cut off tells less.
//!
//! Never: an allocation; a word about a handshake that succeeds.

use std::fmt;
use std::io;

use rustls::{AlertDescription, CipherSuite, Error};

/// What is worth knowing of a client hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    newest: u16,
    ciphers: u16,
    ours: u16,
}

const TLS12: u16 = 0x0303;
const SUPPORTED_VERSIONS: u16 = 43;

impl Offer {
    /// Reads the beginning of a client's stream; `None`: that is no TLS.
    pub fn read(stream: &[u8]) -> Option<Offer> {
        let [22, 3, _, _, _, hello @ ..] = stream else {
            return None;
        };
        let mut hello = Octets(hello);
        let [1, ..] = hello.take(4)? else { return None };
        let mut offer = Offer {
            newest: hello.number()?,
            ciphers: 0,
            ours: 0,
        };
        // What is missing from here on is only not told.
        let _ = offer.read_lists(&mut hello);
        Some(offer)
    }

    fn read_lists(&mut self, hello: &mut Octets<'_>) -> Option<()> {
        hello.take(32)?;
        hello.list8()?;
        for suite in hello.list16()?.0.chunks_exact(2) {
            let suite = u16::from_be_bytes([suite[0], suite[1]]);
            // RFC 5746 §3.3 and RFC 7507 §2 are no ciphers, and neither is RFC 8701's grease.
            if !matches!(suite, 0x00ff | 0x5600) && !is_grease(suite) {
                self.ciphers += 1;
                self.ours += u16::from(is_ours(suite));
            }
        }
        hello.list8()?;
        let mut extensions = hello.list16()?;
        while let (Some(kind), Some(mut body)) = (extensions.number(), extensions.list16()) {
            if kind == SUPPORTED_VERSIONS {
                let versions = body.list8()?.0.chunks_exact(2);
                let versions = versions.map(|version| u16::from_be_bytes([version[0], version[1]]));
                let known = versions.filter(|version| !is_grease(*version));
                self.newest = known.max().unwrap_or(self.newest);
            }
        }
        Some(())
    }

    /// Whether nothing was offered that any setting of ours would take: too old, or no cipher in common.
    fn is_outdated(&self) -> bool {
        self.newest < TLS12 || (self.ciphers > 0 && self.ours == 0)
    }
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.newest {
            0x0300 => f.write_str("SSL 3.0")?,
            version @ 0x0301..=0x0304 => write!(f, "TLS 1.{}", version - 0x0301)?,
            other => write!(f, "version {other:#06x}")?,
        }
        match (self.ciphers, self.ours) {
            (0, _) => Ok(()),
            (ciphers, 0) => write!(f, " at most, {ciphers} ciphers, none of them good enough"),
            (ciphers, ours) => write!(f, " at most, {ciphers} ciphers, {ours} of them good enough"),
        }
    }
}

/// What can be done about a handshake that failed; empty where nothing general can be said.
pub fn advice(offer: Option<&Offer>, failure: Option<&io::Error>) -> &'static str {
    const OLD: &str = "an old device? TLS 1.2 with a modern cipher is the least: update it, or give it an identity of its own \
                       with tls = \"none\" on the inside network";
    let cause = failure.and_then(io::Error::get_ref);
    let cause = cause.and_then(|cause| cause.downcast_ref::<Error>());
    match (offer, cause) {
        (Some(offer), _) if offer.is_outdated() => OLD,
        (None, Some(_)) => {
            "the client speaks no TLS here: it should send EHLO and STARTTLS to an identity without implicit TLS"
        }
        (_, Some(Error::AlertReceived(alert))) => of_alert(*alert),
        (_, Some(Error::PeerIncompatible(_))) => {
            "client and server have no version, cipher or group in common: see min_version and min_strength"
        }
        (_, Some(Error::InvalidCertificate(_) | Error::NoCertificatesPresented)) => {
            "the client's certificate is not one of client_ca's"
        }
        _ => "",
    }
}

fn of_alert(alert: AlertDescription) -> &'static str {
    use AlertDescription as A;
    match alert {
        A::UnknownCA => {
            "the client does not know who issued the certificate: is the chain complete, or is it a self-signed one?"
        }
        A::CertificateExpired => {
            "the client finds the certificate expired: is it, or is the client's clock wrong?"
        }
        A::BadCertificate | A::CertificateUnknown | A::UnsupportedCertificate => {
            "the client does not like the certificate: does it name the host the client was told, and is the chain complete?"
        }
        A::ProtocolVersion | A::HandshakeFailure | A::InsufficientSecurity => {
            "the client wants another version or cipher"
        }
        _ => "",
    }
}

fn is_grease(number: u16) -> bool {
    let [high, low] = number.to_be_bytes();
    high == low && low & 0x0f == 0x0a
}

fn is_ours(suite: u16) -> bool {
    let suite = CipherSuite::from(suite);
    let provider = crate::provider();
    provider
        .cipher_suites
        .iter()
        .any(|ours| ours.suite() == suite)
}

/// What is left to read.
struct Octets<'a>(&'a [u8]);

impl<'a> Octets<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u16> {
        self.take(2).map(|two| u16::from_be_bytes([two[0], two[1]]))
    }

    /// A list behind its length; as much of it as is there.
    fn list16(&mut self) -> Option<Octets<'a>> {
        let length = usize::from(self.number()?);
        Some(Octets(self.take(length.min(self.0.len()))?))
    }

    fn list8(&mut self) -> Option<Octets<'a>> {
        let length = usize::from(*self.take(1)?.first()?);
        Some(Octets(self.take(length.min(self.0.len()))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record with a hello of this version, these ciphers and extensions.
    fn hello(version: u16, ciphers: &[u16], extensions: &[u8]) -> Vec<u8> {
        let list16 = |octets: &[u8]| {
            let length = u16::try_from(octets.len()).expect("short").to_be_bytes();
            [&length[..], octets].concat()
        };
        let ciphers: Vec<u8> = ciphers.iter().flat_map(|one| one.to_be_bytes()).collect();
        let mut body = version.to_be_bytes().to_vec();
        body.extend([7; 32]);
        body.push(0);
        body.extend(list16(&ciphers));
        body.extend([1, 0]);
        body.extend(list16(extensions));
        let length = u32::try_from(body.len()).expect("short").to_be_bytes();
        let message = [&[1][..], &length[1..], &body].concat();
        [&[22, 3, 1][..], &list16(&message)].concat()
    }

    #[test]
    fn an_old_printer_is_recognised() {
        let offer = Offer::read(&hello(0x0301, &[0x002f, 0x000a, 0x0005, 0x00ff], &[]));
        let offer = offer.expect("a hello");
        let shown = "TLS 1.0 at most, 3 ciphers, none of them good enough";
        assert_eq!(offer.to_string(), shown);
        assert!(advice(Some(&offer), None).contains("tls = \"none\""));
        // CBC alone is no better for being of TLS 1.2.
        let offer = Offer::read(&hello(0x0303, &[0xc013, 0x002f], &[])).expect("a hello");
        assert!(offer.is_outdated());
    }

    #[test]
    fn a_modern_client_shows_its_newest_version() {
        // Grease, TLS 1.3, TLS 1.2.
        let versions = [0, 43, 0, 7, 6, 0x1a, 0x1a, 3, 4, 3, 3];
        let other = [0, 23, 0, 0];
        let stream = hello(
            0x0303,
            &[0x1a1a, 0x1301, 0xc02f],
            &[&other[..], &versions].concat(),
        );
        let offer = Offer::read(&stream).expect("a hello");
        assert_eq!(
            offer.to_string(),
            "TLS 1.3 at most, 2 ciphers, 2 of them good enough"
        );
        assert_eq!(advice(Some(&offer), None), "");
        // Cut off anywhere, it tells less and harms nothing.
        for end in 0..stream.len() {
            if let Some(part) = Offer::read(&stream[..end]) {
                assert!(part.ciphers <= 2 && part.newest >= 0x0303);
            }
        }
    }

    #[test]
    fn what_is_no_tls_is_no_offer() {
        for stream in [
            &b"EHLO printer\r\n"[..],
            b"",
            b"\x16\x03",
            b"\x15\x03\x01\0\x02\x02\x28",
        ] {
            assert_eq!(Offer::read(stream), None);
        }
        let error = io::Error::new(io::ErrorKind::InvalidData, Error::DecryptError);
        assert!(advice(None, Some(&error)).contains("no TLS"));
        assert_eq!(advice(None, None), "");
    }
}

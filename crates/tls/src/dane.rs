//! Which TLSA records a certificate answers to (RFC 6698, and RFC 7672 for SMTP).
//!
//! | usage | selector | matching |
//! |---|---|---|
//! | 2 a certificate of the chain, 3 the server's own | 0 whole, 1 its public key | 0 as it is, 1 SHA-256, 2 SHA-512 |
//!
//! Never: a look-up; trust in a record that DNSSEC does not vouch for is the caller's to refuse.

use aws_lc_rs::digest;
use rustls_pki_types::CertificateDer;

use crate::certs::{Error, PemFile, certificates};
use crate::der::Certificate;

/// A chain of certificates, the server's own first.
#[derive(Debug)]
pub struct Chain(Vec<CertificateDer<'static>>);

/// Whether a record holds for a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// A certificate of the chain is the one it names.
    Holds,
    /// None is.
    Differs,
    /// No client uses such a record for SMTP: a usage other than 2 and 3 (RFC 7672 §3.1.3), an unknown selector or
    /// matching type, a digest of the wrong length.
    Unusable,
}

impl Chain {
    /// Reads a PEM file; every certificate in it can be taken apart.
    pub fn read(file: &PemFile) -> Result<Chain, Error> {
        let chain = certificates(file)?;
        for (at, one) in chain.iter().enumerate() {
            Certificate::parse(one).ok_or_else(|| Error::BadCertificate {
                path: file.path.clone(),
                number: at + 1,
            })?;
        }
        Ok(Chain(chain))
    }

    /// Compares with one record's four fields.
    pub fn compare(&self, usage: u8, selector: u8, matching: u8, data: &[u8]) -> Match {
        // RFC 7672 §3.1: 3 is about the server's own certificate, 2 about any that it shows.
        let candidates = match usage {
            2 => self.0.as_slice(),
            3 => &self.0[..self.0.len().min(1)],
            _ => return Match::Unusable,
        };
        let length = match matching {
            0 => data.len(),
            1 => digest::SHA256_OUTPUT_LEN,
            2 => digest::SHA512_OUTPUT_LEN,
            _ => return Match::Unusable,
        };
        if selector > 1 || data.len() != length || data.is_empty() {
            return Match::Unusable;
        }
        let holds = |one: &CertificateDer<'_>| associated(one, selector, matching) == data;
        if candidates.iter().any(holds) {
            Match::Holds
        } else {
            Match::Differs
        }
    }

    /// The SHA-256 of the server's own public key: what `3 1 1` records hold (RFC 7672 §3.1.1 recommends them).
    pub fn key_digest(&self) -> Vec<u8> {
        self.0
            .first()
            .map_or_else(Vec::new, |leaf| associated(leaf, 1, 1))
    }
}

/// What a record with these fields would hold for a certificate; empty where it cannot be taken apart.
fn associated(der: &CertificateDer<'_>, selector: u8, matching: u8) -> Vec<u8> {
    let selected = match selector {
        0 => Some(der.as_ref()),
        _ => Certificate::parse(der).map(|certificate| certificate.key_info),
    };
    let selected = selected.unwrap_or_default();
    match matching {
        0 => selected.to_vec(),
        1 => digest::digest(&digest::SHA256, selected).as_ref().to_vec(),
        _ => digest::digest(&digest::SHA512, selected).as_ref().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain() -> (Chain, Vec<u8>) {
        let made = rcgen::generate_simple_self_signed(["mx.example.com".to_owned()]).expect("made");
        let file = PemFile {
            path: "mx.pem".into(),
            text: made.cert.pem().into_bytes(),
        };
        let key = rcgen::PublicKeyData::subject_public_key_info(&made.signing_key);
        (Chain::read(&file).expect("a chain"), key)
    }

    #[test]
    fn a_record_is_compared_by_its_fields() {
        let (chain, key) = chain();
        let whole = chain.0[0].to_vec();
        let sha256 = |bytes: &[u8]| digest::digest(&digest::SHA256, bytes).as_ref().to_vec();
        let sha512 = |bytes: &[u8]| digest::digest(&digest::SHA512, bytes).as_ref().to_vec();
        let cases = [
            (3, 1, 1, sha256(&key), Match::Holds),
            (3, 1, 2, sha512(&key), Match::Holds),
            (3, 0, 1, sha256(&whole), Match::Holds),
            (2, 0, 2, sha512(&whole), Match::Holds),
            (3, 1, 0, key.clone(), Match::Holds),
            (3, 0, 0, whole.clone(), Match::Holds),
            (3, 0, 1, sha256(&key), Match::Differs),
            (3, 1, 1, vec![0; 32], Match::Differs),
            (3, 1, 1, vec![0; 31], Match::Unusable),
            (3, 1, 2, sha256(&key), Match::Unusable),
            (3, 1, 0, vec![], Match::Unusable),
            (0, 1, 1, sha256(&key), Match::Unusable),
            (1, 1, 1, sha256(&key), Match::Unusable),
            (4, 1, 1, sha256(&key), Match::Unusable),
            (3, 2, 1, sha256(&key), Match::Unusable),
            (3, 1, 3, sha256(&key), Match::Unusable),
        ];
        for (usage, selector, matching, data, expected) in cases {
            let found = chain.compare(usage, selector, matching, &data);
            assert_eq!(found, expected, "{usage} {selector} {matching}");
        }
        assert_eq!(chain.key_digest(), sha256(&key));
    }
}

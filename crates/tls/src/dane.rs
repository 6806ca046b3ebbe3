//! Which TLSA records a certificate answers to (RFC 6698, and RFC 7672 for SMTP).
//!
//! | usage | selector | matching |
//! |---|---|---|
//! | 2 a certificate of the chain, 3 the server's own | 0 whole, 1 its public key | 0 as it is, 1 SHA-256, 2 SHA-512 |
//!
//! | in a handshake | checked |
//! |---|---|
//! | a record with usage 3 fits | the server holds the key; neither names nor dates (RFC 7672 §3.1.1) |
//! | a record with usage 2 fits | the chain up to that certificate, dates, and one of the names (RFC 7672 §3.1.2, §3.2.2) |
//! | none fits | nothing more: refused |
//!
//! Never: a look-up; trust in a record that DNSSEC does not vouch for is the caller's to refuse.

use std::sync::Arc;

use aws_lc_rs::digest;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::certs::{Error, PemFile, certificates};
use crate::der::Certificate;

/// One TLSA record, as DNS has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// 2 and 3 are for SMTP.
    pub usage: u8,
    /// 0 the whole certificate, 1 its public key.
    pub selector: u8,
    /// 0 as it is, 1 its SHA-256, 2 its SHA-512.
    pub matching: u8,
    /// What must be equal.
    pub data: Box<[u8]>,
}

impl Pin {
    /// Whether a client can use it for SMTP; see [`Match::Unusable`].
    pub fn is_usable(&self) -> bool {
        let length = match self.matching {
            0 => self.data.len(),
            1 => digest::SHA256_OUTPUT_LEN,
            2 => digest::SHA512_OUTPUT_LEN,
            _ => return false,
        };
        matches!(self.usage, 2 | 3)
            && self.selector <= 1
            && self.data.len() == length
            && !self.data.is_empty()
    }
}

/// What a host must show, by its TLSA records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pins {
    /// The records; those of no use are passed over.
    pub records: Vec<Pin>,
    /// The name that they belong to: it is asked for (RFC 7672 §3.2.1), and good in the certificate.
    pub base: Box<str>,
    /// What else is good there: the host as MX has it, the domain whose mail it takes.
    pub names: Vec<Box<str>>,
}

impl Pins {
    /// Judges what the server shows.
    fn judge(
        &self,
        provider: &Arc<CryptoProvider>,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let shown = std::iter::once(leaf).chain(others);
        let chain = Chain(shown.cloned().map(CertificateDer::into_owned).collect());
        let mut refusal = None;
        for pin in self.records.iter().filter(|pin| pin.is_usable()) {
            for at in chain.fitting(pin) {
                if pin.usage == 3 {
                    return Ok(());
                }
                match self.vouched(provider, &chain.0[at], leaf, others, now) {
                    Ok(()) => return Ok(()),
                    Err(error) => refusal = Some(error),
                }
            }
            if let Some(anchor) = pin.anchor().filter(|_| chain.fitting(pin).is_empty()) {
                match self.vouched(provider, &anchor, leaf, others, now) {
                    Ok(()) => return Ok(()),
                    Err(error) => refusal = refusal.or(Some(error)),
                }
            }
        }
        Err(refusal.unwrap_or_else(|| self.no_match()))
    }

    /// Whether this authority vouches for the server under one of the names.
    fn vouched(
        &self,
        provider: &Arc<CryptoProvider>,
        anchor: &CertificateDer<'_>,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        // The library takes an authority as it is; one that the zone names may be out of date like any other.
        let over = Certificate::parse(anchor).is_none_or(|one| one.not_after < now.as_secs());
        if over {
            return Err(CertificateError::Expired.into());
        }
        let mut roots = RootCertStore::empty();
        roots.add(anchor.clone().into_owned())?;
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
                .build()
                .map_err(|error| rustls::Error::General(error.to_string()))?;
        let mut refusal = self.no_match();
        for name in std::iter::once(&self.base).chain(&self.names) {
            let Ok(name) = ServerName::try_from(&**name) else {
                continue;
            };
            match verifier.verify_server_cert(leaf, others, &name, &[], now) {
                Ok(_) => return Ok(()),
                Err(error) => refusal = error,
            }
        }
        Err(refusal)
    }

    fn no_match(&self) -> rustls::Error {
        let why = NoMatch(self.base.clone());
        CertificateError::Other(OtherError(Arc::new(why))).into()
    }
}

impl Pin {
    /// The authority that the record holds whole: the server need not show it.
    fn anchor(&self) -> Option<CertificateDer<'static>> {
        let whole = (self.usage, self.selector, self.matching) == (2, 0, 0);
        whole.then(|| CertificateDer::from(self.data.to_vec()))
    }
}

/// Why a server was refused.
#[derive(Debug, thiserror::Error)]
#[error("no TLSA record of {0} fits the certificate")]
struct NoMatch(Box<str>);

/// Refuses a server that shows nothing its TLSA records name.
#[derive(Debug)]
pub(crate) struct Verifier {
    pins: Pins,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    pub(crate) fn new(pins: &Pins, provider: &Arc<CryptoProvider>) -> Verifier {
        Verifier {
            pins: pins.clone(),
            provider: Arc::clone(provider),
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.pins
            .judge(&self.provider, leaf, intermediates, now)
            .map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, leaf, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, leaf, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

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
        let pin = Pin {
            usage,
            selector,
            matching,
            data: data.into(),
        };
        match (pin.is_usable(), self.fitting(&pin).as_slice()) {
            (false, _) => Match::Unusable,
            (true, []) => Match::Differs,
            (true, _) => Match::Holds,
        }
    }

    /// The places of the certificates that a usable record names.
    fn fitting(&self, pin: &Pin) -> Vec<usize> {
        // RFC 7672 §3.1: 3 is about the server's own certificate, 2 about any that it shows.
        let candidates = match pin.usage {
            2 => self.0.len(),
            _ => self.0.len().min(1),
        };
        let holds = |at: &usize| associated(&self.0[*at], pin.selector, pin.matching) == *pin.data;
        (0..candidates).filter(holds).collect()
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

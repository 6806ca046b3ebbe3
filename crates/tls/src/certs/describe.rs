//! A certificate as people look at it: whose it is, who issued it, until when, with what key.
//!
//! Never: a judgement; `judge` has those.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::der::{self, BOOLEAN, COMMON_NAME, Certificate, OID, Reader, SEQUENCE, SET};

/// What one certificate says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// `CN=R11, O=Let's Encrypt, C=US`.
    pub subject: String,
    /// The same of who issued it.
    pub issuer: String,
    /// DNS names in lower case and addresses; a common name counts for nothing (RFC 9525 §2).
    pub names: Vec<String>,
    /// Its first second, since 1970.
    pub not_before: u64,
    /// Its last second.
    pub not_after: u64,
    /// The key it is for.
    pub key: KeyKind,
    /// SHA-256 over the whole, `AB:CD:…` as `openssl x509 -fingerprint` writes it.
    pub fingerprint: String,
    /// Whether subject and issuer are the same.
    pub is_root: bool,
}

/// A public key's kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// On this curve.
    Ecdsa(&'static str),
    /// Of this many bits.
    Rsa(usize),
    /// Ed25519.
    Ed25519,
    /// None that is known here.
    Other,
}

impl std::fmt::Display for KeyKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            KeyKind::Ecdsa(curve) => write!(f, "ECDSA {curve}"),
            KeyKind::Rsa(bits) => write!(f, "RSA {bits}"),
            KeyKind::Ed25519 => write!(f, "Ed25519"),
            KeyKind::Other => write!(f, "of an unknown kind"),
        }
    }
}

impl Description {
    /// `None` where it cannot be read.
    pub fn of(der: &[u8]) -> Option<Description> {
        let certificate = Certificate::parse(der)?;
        let names = match certificate.names_hosts() {
            true => certificate.names.clone(),
            false => Vec::new(),
        };
        Some(Description {
            subject: distinguished_name(certificate.subject),
            issuer: distinguished_name(certificate.issuer),
            names,
            not_before: certificate.not_before,
            not_after: certificate.not_after,
            key: key_kind(&certificate),
            fingerprint: fingerprint(der),
            is_root: certificate.subject == certificate.issuer,
        })
    }

    /// Whether one of its names is `host`'s; `*` stands for one whole label, the first (RFC 6125 §6.4.3), and never for
    /// all that is right below a top-level domain.
    pub fn covers(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let parent = host.split_once('.').map(|(_, parent)| parent);
        let parent = parent.filter(|parent| parent.contains('.'));
        self.names
            .iter()
            .any(|own| *own == host || (parent.is_some() && own.strip_prefix("*.") == parent))
    }
}

/// The certificates in a file, in its order: PEM blocks, one certificate in DER, or the certificates of a PKCS#7 message
/// (`.p7b`), as Windows authorities send them. Empty where there is none.
pub fn certificates_in(bytes: &[u8]) -> Vec<CertificateDer<'static>> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(bytes)
        .filter_map(Result::ok)
        .collect();
    if !found.is_empty() {
        return found;
    }
    if Certificate::parse(bytes).is_some() {
        return vec![CertificateDer::from(bytes.to_vec())];
    }
    signed_data(bytes).unwrap_or_default()
}

/// Whether it is a PKCS#12 store (RFC 7292 §4): a sequence that begins with the number 3.
pub fn is_pkcs12(bytes: &[u8]) -> bool {
    Reader(bytes)
        .take(SEQUENCE)
        .and_then(|content| Reader(content).take(der::INTEGER))
        .is_some_and(|version| version == [3])
}

/// The certificates of a message of signed data that signs nothing (RFC 5652 §5.1).
fn signed_data(bytes: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
    let mut message = Reader(Reader(bytes).take(SEQUENCE)?);
    if message.take(OID)? != SIGNED_DATA {
        return None;
    }
    let mut data = Reader(Reader(message.take(0xa0)?).take(SEQUENCE)?);
    data.take(der::INTEGER)?;
    data.take(SET)?;
    data.take(SEQUENCE)?;
    let mut list = Reader(data.take(0xa0)?);
    let mut found = Vec::new();
    while let Some((whole, _)) = list.take_whole(SEQUENCE) {
        Certificate::parse(whole)?;
        found.push(CertificateDer::from(whole.to_vec()));
    }
    Some(found)
}

/// The most telling part first; what has no short name is left out.
pub(super) fn distinguished_name(name: &[u8]) -> String {
    let mut parts = Vec::new();
    let mut sets = Reader(name);
    while let Some(set) = sets.take(SET) {
        let mut set = Reader(set);
        while let Some(attribute) = set.take(SEQUENCE) {
            parts.extend(attribute_text(attribute));
        }
    }
    parts.reverse();
    parts.sort_by_key(|part| !part.starts_with("CN="));
    match parts.is_empty() {
        true => "(no name)".to_owned(),
        false => parts.join(", "),
    }
}

fn attribute_text(attribute: &[u8]) -> Option<String> {
    let mut attribute = Reader(attribute);
    let oid = attribute.take(OID)?;
    let short = match oid {
        _ if oid == COMMON_NAME => "CN",
        [0x55, 0x04, 0x06] => "C",
        [0x55, 0x04, 0x07] => "L",
        [0x55, 0x04, 0x08] => "ST",
        [0x55, 0x04, 0x0a] => "O",
        [0x55, 0x04, 0x0b] => "OU",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x19] => "DC",
        _ => return None,
    };
    let (tag, text) = attribute.next()?;
    Some(format!("{short}={}", characters(tag, text)))
}

/// A directory string: BMPString is UTF-16, all others are read as UTF-8.
fn characters(tag: u8, text: &[u8]) -> String {
    const BMP_STRING: u8 = 0x1e;
    if tag != BMP_STRING {
        return String::from_utf8_lossy(text).into_owned();
    }
    let units = text.chunks_exact(2);
    let units: Vec<u16> = units
        .map(|two| u16::from_be_bytes([two[0], two[1]]))
        .collect();
    String::from_utf16_lossy(&units)
}

pub(super) fn key_kind(certificate: &Certificate<'_>) -> KeyKind {
    /// id-ecPublicKey.
    const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
    let mut algorithm = Reader(certificate.key_algorithm);
    match algorithm.take(OID) {
        Some(oid) if oid == der::RSA => {
            der::rsa_bits(certificate.key_info).map_or(KeyKind::Other, KeyKind::Rsa)
        }
        Some(ECDSA) => match algorithm.take(OID) {
            Some([0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07]) => KeyKind::Ecdsa("P-256"),
            Some([0x2b, 0x81, 0x04, 0x00, 0x22]) => KeyKind::Ecdsa("P-384"),
            Some([0x2b, 0x81, 0x04, 0x00, 0x23]) => KeyKind::Ecdsa("P-521"),
            _ => KeyKind::Other,
        },
        Some(ED25519) => KeyKind::Ed25519,
        _ => KeyKind::Other,
    }
}

/// Whether it says that it may issue others (RFC 5280 §4.2.1.9).
pub(super) fn is_authority(certificate: &Certificate<'_>) -> bool {
    let constraints = certificate.extension(&[0x55, 0x1d, 0x13]);
    let constraints = constraints.and_then(|value| Reader(value).take(SEQUENCE));
    constraints.is_some_and(|list| Reader(list).take(BOOLEAN) == Some(&[0xff]))
}

/// Whether it may be a TLS server's; without the extension it may be anything's (RFC 5280 §4.2.1.12).
pub(super) fn serves(certificate: &Certificate<'_>) -> bool {
    const SERVER: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];
    const ANY: &[u8] = &[0x55, 0x1d, 0x25, 0x00];
    let Some(value) = certificate.extension(&[0x55, 0x1d, 0x25]) else {
        return true;
    };
    let mut purposes = Reader(Reader(value).take(SEQUENCE).unwrap_or_default());
    while let Some(purpose) = purposes.take(OID) {
        if purpose == SERVER || purpose == ANY {
            return true;
        }
    }
    false
}

/// Where its issuer's certificate can be fetched, if it says so (RFC 5280 §4.2.2.1).
pub(super) fn issuer_url(certificate: &Certificate<'_>) -> Option<String> {
    const AUTHORITY_INFORMATION: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x01];
    const ISSUERS: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x02];
    const URL: u8 = 0x86;
    let value = certificate.extension(AUTHORITY_INFORMATION)?;
    let mut list = Reader(Reader(value).take(SEQUENCE)?);
    while let Some(access) = list.take(SEQUENCE) {
        let mut access = Reader(access);
        if access.take(OID)? == ISSUERS
            && let Some(url) = access.take(URL)
        {
            return std::str::from_utf8(url).ok().map(str::to_owned);
        }
    }
    None
}

/// The name of a signature's algorithm, where it is too weak to trust.
pub(super) fn weak_signature(certificate: &Certificate<'_>) -> Option<&'static str> {
    const PKCS1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
    let oid = Reader(certificate.signature_algorithm).take(OID)?;
    match oid.strip_prefix(PKCS1) {
        Some([0x02]) => Some("MD2"),
        Some([0x04]) => Some("MD5"),
        Some([0x05]) => Some("SHA-1"),
        _ => (oid == [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01]).then_some("SHA-1"),
    }
}

fn fingerprint(der: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
    let octets: Vec<String> = digest
        .as_ref()
        .iter()
        .map(|octet| format!("{octet:02X}"))
        .collect();
    octets.join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority() -> Vec<u8> {
        use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};
        let mut params = CertificateParams::new(["mx.example.com".to_owned()]).expect("parameters");
        params.distinguished_name.push(DnType::CountryName, "DE");
        params
            .distinguished_name
            .push(DnType::CommonName, "An authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        params
            .self_signed(&key)
            .expect("a certificate")
            .der()
            .to_vec()
    }

    #[test]
    fn a_certificate_is_described() {
        let der = authority();
        let found = Description::of(&der).expect("a description");
        assert_eq!(found.subject, "CN=An authority, C=DE");
        assert_eq!(
            (found.names.as_slice(), found.is_root),
            (&["mx.example.com".to_owned()][..], true)
        );
        assert_eq!(found.key.to_string(), "ECDSA P-256");
        assert_eq!(found.fingerprint.len(), 95);
        let parsed = Certificate::parse(&der).expect("parsed");
        assert!(is_authority(&parsed) && !serves(&parsed));
        assert_eq!((weak_signature(&parsed), issuer_url(&parsed)), (None, None));
    }

    #[test]
    fn a_wildcard_stands_for_one_label() {
        let mut one = Description::of(&authority()).expect("a description");
        one.names = ["mx.example.com", "*.example.net", "*.org"]
            .map(str::to_owned)
            .to_vec();
        for (host, covered) in [
            ("mx.example.com", true),
            ("MX.Example.com.", true),
            ("mx2.example.com", false),
            ("a.example.net", true),
            ("a.b.example.net", false),
            ("example.net", false),
            ("example.org", false),
            ("", false),
        ] {
            assert_eq!(one.covers(host), covered, "{host}");
        }
    }

    #[test]
    fn cut_and_changed_bytes_never_panic() {
        let der = authority();
        let wrap = |tag: u8, content: &[u8]| {
            let length = content.len() as u16;
            [&[tag, 0x82][..], &length.to_be_bytes(), content].concat()
        };
        let body = [
            &[0x02, 0x01, 0x01, 0x31, 0x00, 0x30, 0x00][..],
            &wrap(0xa0, &der),
        ]
        .concat();
        let signed = wrap(0xa0, &wrap(SEQUENCE, &body));
        let oid = [
            0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02,
        ];
        let message = wrap(SEQUENCE, &[&oid[..], &signed].concat());
        assert_eq!(certificates_in(&message)[0].as_ref(), der);
        for bytes in [&der, &message] {
            for length in 0..bytes.len() {
                let _ = (
                    certificates_in(&bytes[..length]),
                    is_pkcs12(&bytes[..length]),
                );
            }
            for at in 0..bytes.len() {
                for byte in [0x00, 0x30, 0x7f, 0x80, 0x83, 0xff] {
                    let mut changed = bytes.clone();
                    changed[at] = byte;
                    for one in certificates_in(&changed) {
                        let _ = Description::of(&one);
                        let parsed = Certificate::parse(&one);
                        let _ =
                            parsed.map(|one| (is_authority(&one), serves(&one), issuer_url(&one)));
                    }
                }
            }
        }
    }
}

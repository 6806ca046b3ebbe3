//! Keys, certificates and requests made here, and PEM written.
//!
//! What is wrong with a certificate is for `postern-tls` to say, which a worker asks too.
//!
//! Never: a key on its way anywhere but into its file.

use std::time::Duration;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    RsaKeySize, date_time_ymd,
};

use crate::failure::Error;
use crate::render;

/// The kind of a new key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyKind {
    /// On P-256.
    Ecdsa,
    /// Of so many bits.
    Rsa(RsaBits),
}

/// The lengths of RSA keys that are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RsaBits {
    Bits2048,
    Bits3072,
    Bits4096,
}

impl std::str::FromStr for RsaBits {
    type Err = String;

    fn from_str(text: &str) -> Result<RsaBits, String> {
        match text {
            "2048" => Ok(RsaBits::Bits2048),
            "3072" => Ok(RsaBits::Bits3072),
            "4096" => Ok(RsaBits::Bits4096),
            _ => Err("an RSA key is made of 2048, 3072 or 4096 bits".to_owned()),
        }
    }
}

impl std::str::FromStr for KeyKind {
    type Err = String;

    /// `ecdsa`, `rsa` or `rsa-3072`.
    fn from_str(text: &str) -> Result<KeyKind, String> {
        match text.to_ascii_lowercase().as_str() {
            "ecdsa" => Ok(KeyKind::Ecdsa),
            "rsa" => Ok(KeyKind::Rsa(RsaBits::Bits3072)),
            other => match other.strip_prefix("rsa-") {
                Some(bits) => bits.parse().map(KeyKind::Rsa),
                None => Err("write ecdsa, rsa (3072 bits), rsa-2048 or rsa-4096".to_owned()),
            },
        }
    }
}

/// A key, and what a certificate or a request for it shall say.
pub(crate) struct Draft {
    pub(crate) key: KeyPair,
    /// The first is the common name too.
    pub(crate) names: Vec<String>,
    pub(crate) organization: Option<String>,
    pub(crate) country: Option<String>,
}

/// A new key.
pub(crate) fn new_key(kind: KeyKind) -> Result<KeyPair, Error> {
    let rsa = |size| KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size);
    let made = match kind {
        KeyKind::Ecdsa => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
        KeyKind::Rsa(RsaBits::Bits2048) => rsa(RsaKeySize::_2048),
        KeyKind::Rsa(RsaBits::Bits3072) => rsa(RsaKeySize::_3072),
        KeyKind::Rsa(RsaBits::Bits4096) => rsa(RsaKeySize::_4096),
    };
    made.map_err(failed("make a key"))
}

impl Draft {
    /// A certificate that vouches for itself, PEM, good for `days` from now.
    pub(crate) fn self_signed(&self, days: u32) -> Result<String, Error> {
        let now = render::now();
        let moment = |seconds| date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
        let mut params = self.params()?;
        // A client whose clock is behind takes it too.
        params.not_before = moment(now.saturating_sub(3600));
        params.not_after = moment(now + u64::from(days) * 86_400);
        params.is_ca = IsCa::ExplicitNoCa;
        let signed = params.self_signed(&self.key);
        Ok(signed.map_err(failed("make a certificate"))?.pem())
    }

    /// A request for an authority (PKCS#10, RFC 2986), PEM.
    pub(crate) fn request(&self) -> Result<String, Error> {
        let request = self.params()?.serialize_request(&self.key);
        let pem = request.and_then(|request| request.pem());
        pem.map_err(failed("make a request"))
    }

    fn params(&self) -> Result<CertificateParams, Error> {
        let mut params =
            CertificateParams::new(self.names.clone()).map_err(failed("use these names"))?;
        let mut subject = DistinguishedName::new();
        if let Some(country) = &self.country {
            subject.push(DnType::CountryName, country);
        }
        if let Some(organization) = &self.organization {
            subject.push(DnType::OrganizationName, organization);
        }
        // RFC 5280 §A.1: a common name ends at 64 characters; the alternative names are what counts.
        if let Some(name) = self.names.first().filter(|name| name.len() <= 64) {
            subject.push(DnType::CommonName, name);
        }
        params.distinguished_name = subject;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        Ok(params)
    }
}

fn failed(what: &str) -> impl Fn(rcgen::Error) -> Error + '_ {
    move |cause| Error::Failed(format!("cannot {what}: {cause}"))
}

/// DER as a PEM block (RFC 7468).
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}

//! Channel bindings: what ties a login to the TLS connection it came over (RFC 5056), so that it cannot be passed on.
//!
//! | Type | Is | Where |
//! |---|---|---|
//! | `tls-exporter` (RFC 9266) | 32 octets both ends derive | TLS 1.3; 1.2 could have it only with a guarantee the library does not show |
//! | `tls-server-end-point` (RFC 5929 §4) | the hash of the server's certificate, by its signature's algorithm | everywhere |
//!
//! Never: a decision whether a binding is needed.

use aws_lc_rs::digest;
use rustls::{ClientConnection, ConnectionCommon, ProtocolVersion, ServerConnection};

use crate::der::Certificate;

/// sha384WithRSAEncryption (RFC 8017 §A.2.4) and ecdsa-with-SHA384 (RFC 5758 §3.2), as they stand in a certificate.
const SHA384: [&[u8]; 2] = [
    b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c",
    b"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03",
];
/// The same with SHA-512.
const SHA512: [&[u8]; 2] = [
    b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d",
    b"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x04",
];

/// RFC 9266 §2.
const LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// The bindings of one connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bindings {
    /// `tls-exporter`, in TLS 1.3.
    pub exporter: Option<[u8; 32]>,
    /// `tls-server-end-point`; a server has one for each of its certificates, any of which its client may have been shown.
    pub end_points: Vec<Box<[u8]>>,
}

impl Bindings {
    /// Of a connection to a server, after its handshake.
    pub fn of_client(connection: &ClientConnection) -> Bindings {
        let certificates = connection.peer_certificates().unwrap_or_default();
        Bindings {
            exporter: exporter(connection),
            end_points: certificates
                .first()
                .into_iter()
                .map(|leaf| end_point(leaf))
                .collect(),
        }
    }

    /// Of a connection from a client to a server that has these certificates.
    pub(crate) fn of_server<'c>(
        connection: &ServerConnection,
        leaves: impl Iterator<Item = &'c [u8]>,
    ) -> Bindings {
        Bindings {
            exporter: exporter(connection),
            end_points: leaves.map(end_point).collect(),
        }
    }
}

fn exporter<Data>(connection: &ConnectionCommon<Data>) -> Option<[u8; 32]> {
    if connection.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
        return None;
    }
    connection
        .export_keying_material([0; 32], LABEL, Some(&[]))
        .ok()
}

/// RFC 5929 §4.1: the hash of the signature's algorithm, SHA-256 in place of MD5 and SHA-1; where the algorithm has no
/// single hash, SHA-256 is what the other implementations take.
pub fn end_point(certificate: &[u8]) -> Box<[u8]> {
    let algorithm =
        Certificate::parse(certificate).map_or(&[][..], |parsed| parsed.signature_algorithm);
    let is_one_of = |identifiers: &[&[u8]]| {
        let mut all = identifiers.iter();
        all.any(|identifier| algorithm.starts_with(identifier))
    };
    let hash = if is_one_of(&SHA384) {
        &digest::SHA384
    } else if is_one_of(&SHA512) {
        &digest::SHA512
    } else {
        &digest::SHA256
    };
    digest::digest(hash, certificate).as_ref().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_signature() {
        for (algorithm, length) in [
            (&rcgen::PKCS_ECDSA_P256_SHA256, 32),
            (&rcgen::PKCS_ECDSA_P384_SHA384, 48),
        ] {
            let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
            let parameters = rcgen::CertificateParams::new(vec!["mx.example".to_owned()]).unwrap();
            let certificate = parameters.self_signed(&key).unwrap();
            assert_eq!(end_point(certificate.der()).len(), length);
        }
        assert_eq!(end_point(b"no certificate").len(), 32);
    }
}

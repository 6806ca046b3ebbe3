//! `[access.tls]`: certificates, and what is asked of the channel.

use std::path::PathBuf;

use toml::de::DeValue;

use crate::fields::Fields;
use crate::reader::{Node, Reader};
use crate::values::clip;

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

impl Tls {
    pub(crate) fn read(fields: &mut Fields<'_, '_, '_>) -> Tls {
        let mut tls = Tls::default();
        fields.set(&mut tls.certificates, "certificates", |reader, node| {
            reader.list(node, &format!("[{PAIR}]"), certificate_pair)
        });
        fields.set(&mut tls.require, "require", Reader::truth);
        fields.set(&mut tls.min_strength, "min_strength", min_strength);
        fields.set(&mut tls.min_version, "min_version", min_version);
        fields.set_some(&mut tls.client_ca, "client_ca", |reader, node| {
            reader.path(node, "\"/etc/postern/clients-ca.pem\"")
        });
        tls
    }
}

const PAIR: &str = "{ certificate = \"/etc/postern/mx1.pem\", key = \"/etc/postern/mx1.key\" }";

fn certificate_pair<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<CertificatePair> {
    let table = reader.table(node, &["certificate", "key"], PAIR)?;
    let mut path = |name: &str| match table.get(name) {
        Some(node) => reader.path(node, "the path of a PEM file in quotes"),
        None => {
            reader.error(
                node.span(),
                format!("a certificate without `{name}`"),
                format!("write {PAIR}"),
            );
            None
        }
    };
    let (certificate, key) = (path("certificate"), path("key"));
    Some(CertificatePair {
        certificate: certificate?,
        key: key?,
        line: reader.line(node.span().start),
    })
}

fn min_strength<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<MinStrength> {
    match reader.number(node, 0..=u32::MAX)? {
        128 => Some(MinStrength::Bits128),
        256 => Some(MinStrength::Bits256),
        other => {
            let remedy = if other < 128 {
                "write 128: weaker encryption is never used"
            } else {
                "write 128 or 256"
            };
            reader.error(node.span(), format!("{other} is not a strength"), remedy);
            None
        }
    }
}

fn min_version<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<MinVersion> {
    if let DeValue::Float(number) = node.get_ref() {
        let remedy = format!("write \"{}\"", clip(number.as_str()));
        reader.error(node.span(), "a version stands in quotes", remedy);
        return None;
    }
    if let Some(old @ ("1.0" | "1.1" | "1" | "ssl3")) = node.get_ref().as_str() {
        reader.error(
            node.span(),
            format!("TLS {old} is not spoken: it is broken"),
            "write \"1.2\" or \"1.3\"",
        );
        return None;
    }
    reader.word(
        node,
        &[("1.2", MinVersion::Tls12), ("1.3", MinVersion::Tls13)],
    )
}

//! What a handshake agreed on, for `Received:`, logs and `sessions`.
//!
//! Never: key material.

use std::fmt;

use crate::der::Certificate;
use rustls::{
    CipherSuite, ClientConnection, CommonState, NamedGroup, ProtocolVersion, ServerConnection,
};

/// The facts of one connection. `Display` is the clause of a `Received:` field (RFC 8314 §4.3):
/// `tls TLS_AES_256_GCM_SHA384 group x25519`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: &'static str,
    /// The cipher suite's registered name.
    pub cipher: &'static str,
    /// The strength of its cipher: 128 or 256.
    pub bits: u16,
    /// The key exchange group's registered name; unknown for a resumed TLS 1.2 session.
    pub group: Option<&'static str>,
    /// The name the client asked for.
    pub sni: Option<Box<str>>,
    /// Whether a ticket spared the full handshake.
    pub resumed: bool,
    /// Whether the client has shown a certificate that the server's authority issued.
    pub client_certificate: bool,
}

impl Facts {
    /// Of a connection from a client, after its handshake.
    pub fn of_server(connection: &ServerConnection) -> Facts {
        Facts {
            sni: connection.server_name().map(Box::from),
            client_certificate: connection.peer_certificates().is_some(),
            ..Facts::common(connection)
        }
    }

    /// Of a connection to a server, after its handshake.
    pub fn of_client(connection: &ClientConnection) -> Facts {
        Facts::common(connection)
    }

    fn common(state: &CommonState) -> Facts {
        let suite = state.negotiated_cipher_suite().map(|suite| suite.suite());
        Facts {
            version: match state.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "TLS",
            },
            cipher: suite.map_or("unknown", cipher),
            bits: suite.map_or(0, bits),
            group: state
                .negotiated_key_exchange_group()
                .map(|group| group_name(group.name())),
            sni: None,
            resumed: state.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
            client_certificate: false,
        }
    }
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tls {}", self.cipher)?;
        match self.group {
            Some(group) => write!(f, " group {group}"),
            None => Ok(()),
        }
    }
}

/// Whom the certificate of a client names, which an authority of the server's has vouched for in the handshake: its mail
/// addresses, or, if it has none, its common name. Nobody where the client has shown none.
pub fn client_names(connection: &ServerConnection) -> Vec<String> {
    let leaf = connection.peer_certificates().and_then(<[_]>::first);
    let Some(certificate) = leaf.and_then(|leaf| Certificate::parse(leaf)) else {
        return Vec::new();
    };
    match certificate.mails.is_empty() {
        true => certificate.common_name.into_iter().collect(),
        false => certificate.mails,
    }
}

/// As IANA registers it; the library writes TLS 1.3's with a prefix of its own.
fn cipher(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or("unknown"),
    }
}

/// The key length of a suite's cipher.
pub(crate) fn bits(suite: CipherSuite) -> u16 {
    let name = cipher(suite);
    if name.contains("AES_256") || name.contains("CHACHA20") {
        256
    } else if name.contains("AES_128") {
        128
    } else {
        0
    }
}

fn group_name(group: NamedGroup) -> &'static str {
    match group {
        NamedGroup::X25519 => "x25519",
        NamedGroup::secp256r1 => "secp256r1",
        NamedGroup::secp384r1 => "secp384r1",
        NamedGroup::secp521r1 => "secp521r1",
        NamedGroup::X25519MLKEM768 => "X25519MLKEM768",
        NamedGroup::secp256r1MLKEM768 => "SecP256r1MLKEM768",
        NamedGroup::MLKEM768 => "MLKEM768",
        other => other.as_str().unwrap_or("unknown"),
    }
}

//! TLS towards other mail servers.
//!
//! | kind | the certificate | used where |
//! |---|---|---|
//! | opportunistic | any: encryption without authentication (RFC 7435) | no better is demanded |
//! | verified | chain to a root, name of the host | a smart host or route that requires it, MTA-STS |
//! | dane | what the host's TLSA records name ([`crate::dane`]) | a host that has such records |
//!
//! Each configuration is made at the first handshake that needs it: reading the system's roots takes time and memory
//! that an idle server should not pay.
//!
//! Never: a fall from verified to opportunistic.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::certs::{Error, PemFile};
use crate::dane::{Pins, Verifier};

/// Hosts whose tickets are kept.
const REMEMBERED: usize = 64;

/// One kind of TLS to other servers. Cheap to clone; clones share the configuration and the tickets.
#[derive(Clone, Debug)]
pub struct ClientTls(Arc<Inner>);

/// Clones are the same; two that were made apart are not, whatever they trust.
impl PartialEq for ClientTls {
    fn eq(&self, other: &ClientTls) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for ClientTls {}

#[derive(Debug)]
struct Inner {
    trust: Trust,
    config: OnceLock<Arc<ClientConfig>>,
}

#[derive(Debug)]
enum Trust {
    Anyone,
    SystemRoots,
    Roots(PemFile),
    Dane(Pins),
}

impl ClientTls {
    /// Encrypts, whoever the other side is.
    pub fn opportunistic() -> ClientTls {
        ClientTls::new(Trust::Anyone)
    }

    /// Encrypts to a server that a root of this system vouches for.
    pub fn verified() -> ClientTls {
        ClientTls::new(Trust::SystemRoots)
    }

    /// Encrypts to a server that one of these roots vouches for.
    pub fn verified_by(roots: PemFile) -> ClientTls {
        ClientTls::new(Trust::Roots(roots))
    }

    /// Encrypts to a server that these TLSA records name. For one host, and not kept: a ticket would outlive the records.
    pub fn dane(pins: Pins) -> ClientTls {
        ClientTls::new(Trust::Dane(pins))
    }

    fn new(trust: Trust) -> ClientTls {
        ClientTls(Arc::new(Inner {
            trust,
            config: OnceLock::new(),
        }))
    }

    /// The library's configuration, made at the first call.
    pub fn config(&self) -> Result<Arc<ClientConfig>, Error> {
        if let Some(config) = self.0.config.get() {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(configure(&self.0.trust)?);
        Ok(Arc::clone(self.0.config.get_or_init(|| config)))
    }

    /// Does the handshake with `host`: the name of the MX, smart host or LMTP server, or its address.
    ///
    /// The name goes out as SNI; an address does not (RFC 6066 §3). It waits as long as the server likes: put a
    /// deadline round it.
    pub async fn connect<IO>(&self, host: &str, stream: IO) -> io::Result<TlsStream<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let config = self.config().map_err(io::Error::other)?;
        let name = self.name(host)?;
        let connected = TlsConnector::from(config).connect(name, stream).await;
        connected.map_err(plain)
    }

    /// The name to ask for and to check.
    fn name(&self, host: &str) -> io::Result<ServerName<'static>> {
        let host = match &self.0.trust {
            Trust::Dane(pins) => &pins.base,
            _ => host,
        };
        let bare = host.strip_suffix('.').unwrap_or(host);
        match (ServerName::try_from(bare.to_owned()), &self.0.trust) {
            (Ok(name), _) => Ok(name),
            // An address sends no SNI, which is all that matters where nothing is checked.
            (Err(_), Trust::Anyone) => Ok(ServerName::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED))),
            (Err(_), _) => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{host} is not a name a certificate can bear"),
            )),
        }
    }
}

/// The words of a refusal of our own, which the library shows as a value.
fn plain(error: io::Error) -> io::Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    let words = match inner {
        Some(rustls::Error::InvalidCertificate(CertificateError::Other(why))) => why.0.to_string(),
        _ => return error,
    };
    io::Error::new(io::ErrorKind::InvalidData, words)
}

fn configure(trust: &Trust) -> Result<ClientConfig, Error> {
    let provider = crate::provider();
    let verifier: Arc<dyn ServerCertVerifier> = match trust {
        Trust::Anyone => Arc::new(AnyCertificate(provider.signature_verification_algorithms)),
        Trust::SystemRoots => verifier(system_roots()?, &provider)?,
        Trust::Roots(file) => verifier(crate::server::roots(file)?, &provider)?,
        Trust::Dane(pins) => Arc::new(Verifier::new(pins, &provider)),
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.resumption = match trust {
        Trust::Dane(_) => Resumption::disabled(),
        _ => Resumption::in_memory_sessions(REMEMBERED),
    };
    Ok(config)
}

fn verifier(
    roots: RootCertStore,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, Error> {
    let builder =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    builder.build().map_err(|error| Error::NoRoots {
        reason: error.to_string(),
    })
}

fn system_roots() -> Result<RootCertStore, Error> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let reason = found
            .errors
            .first()
            .map_or_else(|| "there are none".to_owned(), ToString::to_string);
        return Err(Error::NoRoots { reason });
    }
    Ok(roots)
}

/// Takes any certificate, and checks that the other side holds its key, so that a broken peer is still found out.
#[derive(Debug)]
struct AnyCertificate(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        tolerate(rustls::crypto::verify_tls12_signature(
            message, leaf, signature, &self.0,
        ))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        tolerate(rustls::crypto::verify_tls13_signature(
            message, leaf, signature, &self.0,
        ))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// A certificate that cannot be read (version 1, say) gives no key to check with; the alternative would be plain text.
fn tolerate(
    checked: Result<HandshakeSignatureValid, rustls::Error>,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    match checked {
        Err(rustls::Error::InvalidCertificate(why)) if why != CertificateError::BadSignature => {
            Ok(HandshakeSignatureValid::assertion())
        }
        checked => checked,
    }
}

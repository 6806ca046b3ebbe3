//! TLS towards clients: one configuration a generation, and the handshake.
//!
//! An idle connection is kept small: no session cache (tickets carry the state, sealed), one ticket a handshake, no
//! early data. What is left is the library's own read buffer of 4 KiB and its keys.
//!
//! Never: renegotiation, compression, early data, TLS below 1.2 (the library has none of them, or they are off).

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, ServerConnection, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::binding::Bindings;
use crate::certs::{self, CertificateFacts, Error, PairFiles, PemFile, Store};

/// The oldest version a client may speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MinVersion {
    /// TLS 1.2, with forward secrecy and AEAD ciphers only.
    #[default]
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// The weakest cipher a client may choose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strength {
    /// AES-128 and better.
    #[default]
    Bits128,
    /// AES-256 and ChaCha20.
    Bits256,
}

/// What a server asks of its clients.
#[derive(Clone, Debug, Default)]
pub struct ServerSettings {
    /// The oldest version.
    pub min_version: MinVersion,
    /// The weakest cipher.
    pub min_strength: Strength,
    /// Clients are asked for a certificate of one of these authorities; they may have none.
    pub client_ca: Option<PemFile>,
}

/// TLS as one generation of a server's definition wants it. Cheap to clone.
#[derive(Clone)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
    store: Arc<Store>,
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.certificates()).finish()
    }
}

impl ServerTls {
    /// Checks files and settings as a whole; all that is wrong with them is told at once.
    ///
    /// Tickets of another `ServerTls` are not taken: a resumption never outlives the generation.
    pub fn new(
        pairs: &[PairFiles],
        settings: &ServerSettings,
        now: SystemTime,
    ) -> Result<ServerTls, Vec<Error>> {
        let provider = Arc::new(strong_enough(settings.min_strength));
        let verifier = settings
            .client_ca
            .as_ref()
            .map(|file| client_verifier(file, &provider))
            .transpose();
        let store = Store::new(pairs, &provider, now);
        match (store, verifier) {
            (Ok(store), Ok(verifier)) => {
                let store = Arc::new(store);
                let config =
                    configure(Arc::clone(&store), settings.min_version, provider, verifier)
                        .map_err(|source| vec![Error::Setup { source }])?;
                Ok(ServerTls {
                    config: Arc::new(config),
                    store,
                })
            }
            (store, verifier) => {
                let mut errors = store.err().unwrap_or_default();
                errors.extend(verifier.err());
                Err(errors)
            }
        }
    }

    /// The library's configuration.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// The certificates in use, the default first.
    pub fn certificates(&self) -> impl ExactSizeIterator<Item = &CertificateFacts> {
        self.store.facts()
    }

    /// The channel bindings of a connection it accepted.
    pub fn bindings(&self, connection: &ServerConnection) -> Bindings {
        Bindings::of_server(connection, self.store.leaves())
    }

    /// Does the handshake. It waits as long as the client likes: put a deadline round it, and drop it when that is over.
    ///
    /// After it, `TlsStream::get_ref` gives the stream and the connection, and [`crate::Facts::of_server`] its facts.
    pub async fn accept<IO>(&self, stream: IO) -> io::Result<TlsStream<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        TlsAcceptor::from(Arc::clone(&self.config))
            .accept(stream)
            .await
    }
}

/// The provider with the ciphers that are strong enough.
fn strong_enough(strength: Strength) -> CryptoProvider {
    let mut provider = CryptoProvider::clone(&crate::provider());
    if strength == Strength::Bits256 {
        provider
            .cipher_suites
            .retain(|suite| crate::facts::bits(suite.suite()) >= 256);
    }
    provider
}

static FROM_12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];
static FROM_13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

fn configure(
    store: Arc<Store>,
    min_version: MinVersion,
    provider: Arc<CryptoProvider>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
) -> Result<ServerConfig, rustls::Error> {
    let versions = match min_version {
        MinVersion::Tls12 => FROM_12,
        MinVersion::Tls13 => FROM_13,
    };
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions)?;
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(store);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
    config.send_tls13_tickets = 1;
    Ok(config)
}

fn client_verifier(
    file: &PemFile,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let roots = Arc::new(roots(file)?);
    let builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider))
        .allow_unauthenticated();
    builder.build().map_err(|error| Error::NotPem {
        path: file.path.clone(),
        reason: error.to_string(),
    })
}

/// The authorities of a PEM file.
pub(crate) fn roots(file: &PemFile) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for (place, certificate) in certs::certificates(file)?.into_iter().enumerate() {
        let bad = |_| Error::BadAuthority {
            path: file.path.clone(),
            number: place + 1,
        };
        roots.add(certificate).map_err(bad)?;
    }
    Ok(roots)
}

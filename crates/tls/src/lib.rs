//! The door to TLS: certificates and keys checked before anything changes, and handshakes in both roles.
//!
//! ```text
//! PEM files ─▶ certs: parsed, fitted, dated ─▶ ServerTls ─▶ accept(stream) ─▶ TlsStream ─▶ Facts
//!                             ClientTls: opportunistic | verified | dane ─▶ connect(host, stream) ─┘
//!                                                   └─▶ Https: one document
//! ```
//!
//! One provider of cryptography, aws-lc-rs, named in every configuration and never the process's default.
//!
//! Never: opening the files of a server (root does, and passes them); SMTP; a decision whether TLS is needed.

pub mod certs;
pub mod dane;
pub mod https;
pub mod mta_sts;

mod binding;
mod client;
mod facts;
mod hello;
mod server;

mod der;

pub use binding::{Bindings, end_point};
pub use certs::{CertificateFacts, Error, PairFiles, PemFile};
pub use client::ClientTls;
pub use der::rsa_bits;
pub use facts::{Facts, client_names};
pub use hello::{Offer, advice};
pub use server::{MinVersion, ServerSettings, ServerTls, Strength};

/// The streams after a handshake.
pub use tokio_rustls::{client::TlsStream as ClientStream, server::TlsStream as ServerStream};

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};

/// The one provider of cryptography in this process; made once, shared by all configurations.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: std::sync::OnceLock<Arc<CryptoProvider>> = std::sync::OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(aws_lc_rs::default_provider())))
}

//! The certificates and keys of a server: checked as a whole, and chosen by the name a client asks for.
//!
//! | checked | an [`Error`] names |
//! |---|---|
//! | the file is PEM and holds certificates, or one key without a password | the file |
//! | the key fits the first certificate | both files, and the certificate that it does fit |
//! | each certificate is issued and signed by the next | the place in the chain |
//! | none is expired or not yet valid | the date |
//!
//! Never: opening a file; whether a client will trust the chain (its roots are not known here).

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::der::{self, Certificate};

mod describe;
mod judge;

pub use describe::{Description, KeyKind, certificates_in, is_pkcs12};
pub use judge::{Fault, Key, Measure, Order, Roots, SOON, in_order, judge};

/// A PEM file that somebody else has read; the path is for messages.
#[derive(Clone)]
pub struct PemFile {
    /// Where it came from, as the definition names it.
    pub path: PathBuf,
    /// What it holds.
    pub text: Vec<u8>,
}

impl fmt::Debug for PemFile {
    /// The path only: the text may be a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PemFile").field(&self.path).finish()
    }
}

/// A certificate chain and its key.
#[derive(Clone, Debug)]
pub struct PairFiles {
    /// The leaf first, then who issued it, and so on; the root may be left out.
    pub certificate: PemFile,
    /// PKCS#8, PKCS#1 or SEC1, without a password.
    pub key: PemFile,
}

/// What is worth showing of a certificate in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// The file of the chain.
    pub path: PathBuf,
    /// DNS names in lower case, wildcards as `*.example.com`, and addresses.
    pub names: Vec<String>,
    /// The leaf's first second.
    pub not_before: SystemTime,
    /// The last second of whatever in the chain ends first.
    pub not_after: SystemTime,
}

impl CertificateFacts {
    /// Of one certificate that another server has shown; the path is empty. `None` where it cannot be read.
    pub fn of_der(der: &[u8]) -> Option<CertificateFacts> {
        let certificate = Certificate::parse(der)?;
        let moment = |seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
        Some(CertificateFacts {
            path: PathBuf::new(),
            not_before: moment(certificate.not_before)?,
            not_after: moment(certificate.not_after)?,
            names: certificate.names,
        })
    }

    /// How long it is still good for; zero when it is over.
    pub fn remaining(&self, now: SystemTime) -> Duration {
        self.not_after.duration_since(now).unwrap_or_default()
    }

    /// Whether a client that asks for `name` is content with it.
    pub fn covers(&self, name: &str) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let parent = name.split_once('.').map(|(_, parent)| parent);
        self.names
            .iter()
            .any(|own| *own == name || (parent.is_some() && own.strip_prefix("*.") == parent))
    }
}

/// What is wrong with the files. [`Error::path`] says which, [`Error::remedy`] what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A server needs at least one pair.
    #[error("there is no certificate")]
    NoPair,
    /// The PEM text is damaged.
    #[error("{path}: not PEM: {reason}", path = .path.display())]
    NotPem {
        /// The file.
        path: PathBuf,
        /// What is damaged.
        reason: String,
    },
    /// No certificate in the file.
    #[error("{path}: holds no certificate", path = .path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The PEM is well, what it encloses is not.
    #[error("{path}: certificate {number} cannot be read", path = .path.display())]
    BadCertificate {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        number: usize,
    },
    /// No private key in the file.
    #[error("{path}: holds no private key", path = .path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The key is encrypted.
    #[error("{path}: the key is locked by a password", path = .path.display())]
    LockedKey {
        /// The file.
        path: PathBuf,
    },
    /// Of a kind or size that is not used.
    #[error("{path}: this key cannot be used", path = .path.display())]
    BadKey {
        /// The file.
        path: PathBuf,
        /// The library's reason.
        source: rustls::Error,
    },
    /// Key and certificate are strangers.
    #[error("{key}: the key does not fit the certificate in {certificate}{}", fits_other(.fits),
        key = .key.display(), certificate = .certificate.display())]
    KeyMismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// The certificate in the same file that it fits, counted from 1.
        fits: Option<usize>,
    },
    /// The chain is broken.
    #[error("{path}: certificate {number} was not issued by certificate {}", .number + 1, path = .path.display())]
    OutOfOrder {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        number: usize,
    },
    /// The issuer's name is right, its key is not.
    #[error("{path}: certificate {number} is not signed by the key of certificate {}", .number + 1,
        path = .path.display())]
    WrongIssuer {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        number: usize,
    },
    /// Over.
    #[error("{path}: certificate {number} expired on {on}", path = .path.display())]
    Expired {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        number: usize,
        /// The day, `2026-11-24`.
        on: String,
    },
    /// Not begun.
    #[error("{path}: certificate {number} is not valid before {on}", path = .path.display())]
    NotYetValid {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        number: usize,
        /// The day, `2026-11-24`.
        on: String,
    },
    /// An authority's certificate cannot serve as one.
    #[error("{path}: certificate {number} cannot be an authority", path = .path.display())]
    BadAuthority {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        number: usize,
    },
    /// The system's list of authorities is empty or cannot be read.
    #[error("the system's certificate authorities cannot be read: {reason}")]
    NoRoots {
        /// Why.
        reason: String,
    },
    /// The library refuses the whole.
    #[error("TLS cannot be set up")]
    Setup {
        /// The library's reason.
        #[from]
        source: rustls::Error,
    },
}

fn fits_other(fits: &Option<usize>) -> String {
    fits.map(|number| format!(" (it fits certificate {number} there)"))
        .unwrap_or_default()
}

impl Error {
    /// The file at fault, where it is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Error::NotPem { path, .. }
            | Error::NoCertificate { path }
            | Error::BadCertificate { path, .. }
            | Error::NoKey { path }
            | Error::LockedKey { path }
            | Error::BadKey { path, .. }
            | Error::KeyMismatch { key: path, .. }
            | Error::OutOfOrder { path, .. }
            | Error::WrongIssuer { path, .. }
            | Error::Expired { path, .. }
            | Error::NotYetValid { path, .. }
            | Error::BadAuthority { path, .. } => Some(path),
            Error::NoPair | Error::NoRoots { .. } | Error::Setup { .. } => None,
        }
    }

    /// What an administrator does about it.
    pub fn remedy(&self) -> String {
        match self {
            Error::NoPair => "name a certificate and its key in [access.tls] certificates".into(),
            Error::NotPem { .. } => "copy the file again, from BEGIN to END line".into(),
            Error::NoCertificate { .. } => "the file must hold -----BEGIN CERTIFICATE----- blocks".into(),
            Error::BadCertificate { .. } => "copy the certificate again from where it was issued".into(),
            Error::NoKey { .. } => "the file must hold a -----BEGIN PRIVATE KEY----- block".into(),
            Error::LockedKey { path } => {
                format!("take the password off: openssl pkey -in {} -out NEW.pem", path.display())
            }
            Error::BadKey { .. } => "use an ECDSA P-256 or P-384, Ed25519, or RSA key of 2048 to 8192 bits".into(),
            Error::KeyMismatch { fits: Some(_), .. } => "put that certificate first in the file".into(),
            Error::KeyMismatch { fits: None, .. } => "name the key that the certificate was requested with".into(),
            Error::OutOfOrder { .. } => {
                "order the file: the server's certificate, then its issuer, then the issuer's issuer".into()
            }
            Error::WrongIssuer { .. } => "get the issuer's current certificate and put it there".into(),
            Error::Expired { number: 1, .. } => "renew the certificate".into(),
            Error::Expired { .. } => "get the issuer's current certificate and put it there".into(),
            Error::NotYetValid { .. } => "wait until then, or set this host's clock right".into(),
            Error::BadAuthority { .. } => "name the authority's own certificate".into(),
            Error::NoRoots { .. } => "install the package ca-certificates".into(),
            Error::Setup { .. } => "see the diagnostics log for the library's reason".into(),
        }
    }
}

/// The checked pairs of one server, looked up by name. The first pair is the default.
#[derive(Debug)]
pub(crate) struct Store {
    pairs: Vec<Pair>,
    exact: HashMap<Box<str>, Vec<usize>>,
    /// By what stands behind `*.`.
    wildcard: HashMap<Box<str>, Vec<usize>>,
}

#[derive(Debug)]
struct Pair {
    facts: CertificateFacts,
    key: Arc<CertifiedKey>,
}

impl Store {
    /// Checks every pair; all that is wrong is told at once.
    pub(crate) fn new(
        files: &[PairFiles],
        provider: &CryptoProvider,
        now: SystemTime,
    ) -> Result<Store, Vec<Error>> {
        let mut errors = Vec::new();
        let mut store = Store {
            pairs: Vec::new(),
            exact: HashMap::new(),
            wildcard: HashMap::new(),
        };
        for pair in files {
            match check(pair, provider, now) {
                Ok(pair) => store.add(pair),
                Err(error) => errors.push(error),
            }
        }
        if files.is_empty() {
            errors.push(Error::NoPair);
        }
        if errors.is_empty() {
            Ok(store)
        } else {
            Err(errors)
        }
    }

    pub(crate) fn facts(&self) -> impl ExactSizeIterator<Item = &CertificateFacts> {
        self.pairs.iter().map(|pair| &pair.facts)
    }

    /// The certificates themselves, without their chains.
    pub(crate) fn leaves(&self) -> impl Iterator<Item = &[u8]> {
        let leaves = self.pairs.iter().filter_map(|pair| pair.key.cert.first());
        leaves.map(|leaf| leaf.as_ref())
    }

    fn add(&mut self, pair: Pair) {
        let number = self.pairs.len();
        for name in &pair.facts.names {
            let (map, name) = match name.strip_prefix("*.") {
                Some(parent) => (&mut self.wildcard, parent),
                None => (&mut self.exact, name.as_str()),
            };
            map.entry(name.into()).or_default().push(number);
        }
        self.pairs.push(pair);
    }

    /// The pairs for a name, an exact one before a wildcard (RFC 6125 §6.4.3: for the leftmost label only).
    fn named(&self, name: &str) -> impl Iterator<Item = &Pair> {
        let parent = name
            .split_once('.')
            .and_then(|(_, parent)| self.wildcard.get(parent));
        let numbers = self.exact.get(name).into_iter().chain(parent).flatten();
        numbers.map(|number| &self.pairs[*number])
    }
}

impl ResolvesServerCert for Store {
    /// The first pair with the name whose key the client can check; else the first of all that it can; else the default.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        let named = hello
            .server_name()
            .into_iter()
            .flat_map(|name| self.named(name));
        let usable = |pair: &&Pair| pair.key.key.choose_scheme(schemes).is_some();
        let chosen = named.chain(&self.pairs).find(usable).or(self.pairs.first());
        chosen.map(|pair| Arc::clone(&pair.key))
    }
}

fn check(files: &PairFiles, provider: &CryptoProvider, now: SystemTime) -> Result<Pair, Error> {
    let path = &files.certificate.path;
    let chain = certificates(&files.certificate)?;
    let parsed = parse(path, &chain)?;
    let key = private_key_der(&files.key)?;
    let key = private_key(key, files.key.path.clone(), provider)?;
    check_key(files, &parsed, key.as_ref())?;
    check_order(path, &parsed, provider)?;
    check_dates(path, &parsed, now)?;
    let not_after = parsed
        .iter()
        .map(|certificate| certificate.not_after)
        .min()
        .unwrap_or_default();
    let facts = CertificateFacts {
        path: path.clone(),
        names: parsed[0].names.clone(),
        not_before: UNIX_EPOCH + Duration::from_secs(parsed[0].not_before),
        not_after: UNIX_EPOCH + Duration::from_secs(not_after),
    };
    Ok(Pair {
        facts,
        key: Arc::new(CertifiedKey::new(chain, key)),
    })
}

/// The certificates of a PEM file, one at least.
pub fn certificates(file: &PemFile) -> Result<Vec<CertificateDer<'static>>, Error> {
    let path = || file.path.clone();
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&file.text).collect();
    let chain = found.map_err(|error| Error::NotPem {
        path: path(),
        reason: error.to_string(),
    })?;
    if chain.is_empty() {
        Err(Error::NoCertificate { path: path() })
    } else {
        Ok(chain)
    }
}

fn parse<'a>(path: &Path, chain: &'a [CertificateDer<'_>]) -> Result<Vec<Certificate<'a>>, Error> {
    let one = |(place, der): (usize, &'a CertificateDer<'_>)| {
        Certificate::parse(der).ok_or_else(|| Error::BadCertificate {
            path: path.to_owned(),
            number: place + 1,
        })
    };
    chain.iter().enumerate().map(one).collect()
}

fn private_key_der(file: &PemFile) -> Result<PrivateKeyDer<'static>, Error> {
    use rustls_pki_types::pem::Error as Pem;
    let path = file.path.clone();
    if is_locked(&file.text) {
        return Err(Error::LockedKey { path });
    }
    PrivateKeyDer::from_pem_slice(&file.text).map_err(|error| match error {
        Pem::NoItemsFound => Error::NoKey { path },
        // The library's text may quote a line, which may be the key's.
        Pem::Base64Decode(_) => Error::NotPem {
            path,
            reason: "damaged base64".to_owned(),
        },
        _ => Error::NotPem {
            path,
            reason: "a BEGIN or END line is missing".to_owned(),
        },
    })
}

fn private_key(
    key: PrivateKeyDer<'static>,
    path: PathBuf,
    provider: &CryptoProvider,
) -> Result<Arc<dyn SigningKey>, Error> {
    let loaded = provider.key_provider.load_private_key(key);
    loaded.map_err(|source| Error::BadKey { path, source })
}

/// PKCS#8 says so in its BEGIN line, the older forms in a header (RFC 1421).
fn is_locked(text: &[u8]) -> bool {
    let holds = |mark: &[u8]| text.windows(mark.len()).any(|window| window == mark);
    holds(b"BEGIN ENCRYPTED PRIVATE KEY") || holds(b"Proc-Type: 4,ENCRYPTED")
}

fn check_key(
    files: &PairFiles,
    chain: &[Certificate<'_>],
    key: &dyn SigningKey,
) -> Result<(), Error> {
    // A key that does not show its public half cannot be compared; none of the provider's does so.
    let Some(public) = key.public_key() else {
        return Ok(());
    };
    let fits = |certificate: &Certificate<'_>| public.as_ref() == certificate.key_info;
    match chain.iter().position(fits) {
        Some(0) => Ok(()),
        other => Err(Error::KeyMismatch {
            certificate: files.certificate.path.clone(),
            key: files.key.path.clone(),
            fits: other.map(|place| place + 1),
        }),
    }
}

fn check_order(
    path: &Path,
    chain: &[Certificate<'_>],
    provider: &CryptoProvider,
) -> Result<(), Error> {
    for (place, two) in chain.windows(2).enumerate() {
        let (path, number) = (path.to_owned(), place + 1);
        if two[0].issuer != two[1].subject {
            return Err(Error::OutOfOrder { path, number });
        }
        if !signed_by(&two[0], &two[1], provider) {
            return Err(Error::WrongIssuer { path, number });
        }
    }
    Ok(())
}

/// Whether `issuer`'s key signed `certificate`; yes where the algorithm is one that is not known here.
fn signed_by(
    certificate: &Certificate<'_>,
    issuer: &Certificate<'_>,
    provider: &CryptoProvider,
) -> bool {
    let mut known = false;
    for algorithm in provider.signature_verification_algorithms.all {
        if algorithm.signature_alg_id().as_ref() == certificate.signature_algorithm
            && algorithm.public_key_alg_id().as_ref() == issuer.key_algorithm
        {
            known = true;
            if algorithm
                .verify_signature(issuer.key, certificate.signed, certificate.signature)
                .is_ok()
            {
                return true;
            }
        }
    }
    !known
}

fn check_dates(path: &Path, chain: &[Certificate<'_>], now: SystemTime) -> Result<(), Error> {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    for (place, certificate) in chain.iter().enumerate() {
        let (path, number) = (path.to_owned(), place + 1);
        if certificate.not_after < now {
            return Err(Error::Expired {
                path,
                number,
                on: der::day(certificate.not_after),
            });
        }
        if certificate.not_before > now {
            return Err(Error::NotYetValid {
                path,
                number,
                on: der::day(certificate.not_before),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

//! What an authority sends, read: PEM, DER, PKCS#7 (`.p7b`), and the PKCS#12 store (`.pfx`) of the old Windows server.
//!
//! Never: a password in a message or on a command line.

use std::fs;
use std::io::{self, BufRead, IsTerminal};
use std::path::{Path, PathBuf};

use p12_keystore::Pkcs12Archive;
use p12_keystore::error::Error as Pkcs12Error;
use postern_tls::PemFile;
use postern_tls::certs::{Key, certificates_in, is_pkcs12};
use rustls_pki_types::CertificateDer;

use crate::failure::Error;

/// Where a store's password comes from.
#[derive(clap::Args)]
pub(super) struct Password {
    /// Read the password of the PKCS#12 file from the first line of standard input.
    #[arg(long, conflicts_with = "password_file")]
    password_stdin: bool,
    /// Read the password of the PKCS#12 file from the first line of a file.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// Certificates in no order, and the keys that came with them.
#[derive(Default)]
pub(super) struct Received {
    pub(super) certificates: Vec<CertificateDer<'static>>,
    pub(super) keys: Vec<Key>,
}

impl Received {
    /// Reads a file into it, asking for a password where it has one.
    pub(super) fn add(&mut self, path: &Path, password: &Password) -> Result<(), Error> {
        let bytes = read(path)?;
        if is_pkcs12(&bytes) {
            return self.add_store(path, &bytes, password);
        }
        let mut found = certificates_in(&bytes);
        if found.is_empty() {
            found = pkcs7_in_pem(&bytes);
        }
        if found.is_empty() {
            return Err(refused(
                path,
                "it holds no certificate: neither PEM nor DER, PKCS#7 or PKCS#12",
            ));
        }
        self.certificates.extend(found);
        Ok(())
    }

    /// Reads a PKCS#12 store into it.
    pub(super) fn add_pkcs12(&mut self, path: &Path, password: &Password) -> Result<(), Error> {
        let bytes = read(path)?;
        if !is_pkcs12(&bytes) {
            return Err(refused(
                path,
                "it is no PKCS#12 file; give it without --pkcs12",
            ));
        }
        self.add_store(path, &bytes, password)
    }

    fn add_store(&mut self, path: &Path, bytes: &[u8], password: &Password) -> Result<(), Error> {
        // Without a password is a kind of its own: an empty one.
        let store = match Pkcs12Archive::from_pkcs12(bytes, "") {
            Err(error) if is_locked(&error) => {
                let password = password.get(path)?;
                Pkcs12Archive::from_pkcs12(bytes, &password)
            }
            other => other,
        };
        let store = store.map_err(|error| unreadable_store(path, &error))?;
        let certificates = store.certs.iter().map(|bag| bag.cert.as_der().to_vec());
        self.certificates
            .extend(certificates.map(CertificateDer::from));
        for bag in &store.keys {
            self.keys.push(key_of(path, bag.key.as_der())?);
        }
        Ok(())
    }
}

/// A key in a file of its own.
pub(super) fn key_in(path: &Path) -> Result<Key, Error> {
    let file = PemFile {
        path: path.to_owned(),
        text: read(path)?,
    };
    Key::from_pem(&file).map_err(cannot_use)
}

fn key_of(path: &Path, der: &[u8]) -> Result<Key, Error> {
    let file = PemFile {
        path: path.to_owned(),
        text: Vec::new(),
    };
    Key::from_pkcs8(der.to_vec(), &file).map_err(cannot_use)
}

fn cannot_use(error: postern_tls::Error) -> Error {
    let path = error.path().map(|path| path.display().to_string());
    let whole = error.to_string();
    let path = path.unwrap_or_default();
    let reason = whole.strip_prefix(&format!("{path}: ")).unwrap_or(&whole);
    Error::Refused {
        subject: path.clone(),
        reason: format!("{reason}; {}", error.remedy()),
        findings: Vec::new(),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })
}

/// `-----BEGIN PKCS7-----`, as some authorities send it.
fn pkcs7_in_pem(bytes: &[u8]) -> Vec<CertificateDer<'static>> {
    use base64::Engine as _;
    let text = String::from_utf8_lossy(bytes);
    let inner = text
        .split_once("-----BEGIN PKCS7-----")
        .and_then(|(_, rest)| rest.split_once("-----END PKCS7-----"));
    let Some((inner, _)) = inner else {
        return Vec::new();
    };
    let packed: String = inner.split_whitespace().collect();
    let der = base64::engine::general_purpose::STANDARD.decode(packed);
    der.map_or_else(|_| Vec::new(), |der| certificates_in(&der))
}

/// Whether it is the password that keeps a store closed. Without a checksum a wrong one shows as bad padding.
fn is_locked(error: &Pkcs12Error) -> bool {
    match error {
        Pkcs12Error::MacError(_) | Pkcs12Error::UnpadError => true,
        Pkcs12Error::Pkcs5Error(text) => text.contains("decrypt"),
        _ => false,
    }
}

fn unreadable_store(path: &Path, error: &Pkcs12Error) -> Error {
    if is_locked(error) {
        return refused(path, "the password is wrong; nothing was changed");
    }
    let name = path.display();
    refused(
        path,
        &format!(
            "this PKCS#12 file cannot be read: {error}. Take it apart with: openssl pkcs12 -legacy -nodes -in {name} \
             -out NEW.pem, and assign NEW.pem with --key NEW.pem"
        ),
    )
}

fn refused(path: &Path, reason: &str) -> Error {
    Error::Refused {
        subject: path.display().to_string(),
        reason: reason.to_owned(),
        findings: Vec::new(),
    }
}

impl Password {
    fn get(&self, store: &Path) -> Result<String, Error> {
        if self.password_stdin {
            return first_line(&mut io::stdin().lock(), Path::new("standard input"));
        }
        if let Some(path) = &self.password_file {
            let bytes = read(path)?;
            return first_line(&mut bytes.as_slice(), path);
        }
        if !io::stdin().is_terminal() {
            return Err(Error::Usage {
                what: format!(
                    "{} has a password, and there is no terminal to ask on",
                    store.display()
                ),
                remedy: "give --password-stdin, or --password-file FILE".to_owned(),
            });
        }
        rpassword::prompt_password(format!("Password of {}: ", store.display())).map_err(|source| {
            Error::Read {
                path: "the terminal".into(),
                source,
            }
        })
    }
}

fn first_line(from: &mut dyn BufRead, path: &Path) -> Result<String, Error> {
    let mut line = String::new();
    from.read_line(&mut line).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

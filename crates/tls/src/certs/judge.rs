//! A certificate, its chain and its key judged before they are used: put in order, and all that is wrong told at once.
//!
//! ```text
//! certificates in any order, a key ─▶ in_order ─▶ leaf, issuer, issuer's issuer … ─▶ judge ─▶ faults
//! ```
//!
//! Never: opening a file of a server; a promise that clients will trust it (they have roots of their own).

use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::describe::{
    KeyKind, distinguished_name, is_authority, issuer_url, key_kind, serves, weak_signature,
};
use super::{Description, Error, PemFile, private_key, private_key_der, signed_by};
use crate::der::Certificate;

/// Days before its end from which a certificate is worth a warning.
pub const SOON: u64 = 21;
const DAY: u64 = 86_400;
/// NIST SP 800-131A, and what browsers and mail servers take.
const LEAST_RSA: usize = 2048;

/// A server's private key. Its `Debug` shows nothing of it.
pub struct Key {
    der: PrivateKeyDer<'static>,
    public: Vec<u8>,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

impl Key {
    /// PKCS#8, PKCS#1 or SEC1 in PEM, without a password.
    pub fn from_pem(file: &PemFile) -> Result<Key, Error> {
        Key::new(private_key_der(file)?, file)
    }

    /// PKCS#8 in DER; `file` is for messages.
    pub fn from_pkcs8(der: Vec<u8>, file: &PemFile) -> Result<Key, Error> {
        Key::new(PrivateKeyDer::Pkcs8(der.into()), file)
    }

    fn new(der: PrivateKeyDer<'static>, file: &PemFile) -> Result<Key, Error> {
        let path = || file.path.clone();
        let key = private_key(der.clone_key(), path(), &crate::provider())?;
        let public = key.public_key().ok_or_else(|| Error::BadKey {
            path: path(),
            source: rustls::Error::General("it has no public half".to_owned()),
        })?;
        Ok(Key {
            public: public.as_ref().to_vec(),
            der,
        })
    }

    /// The key itself, and its label in PEM.
    pub fn der(&self) -> (&'static str, &[u8]) {
        let label = match &self.der {
            PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
            PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
            _ => "PRIVATE KEY",
        };
        (label, self.der.secret_der())
    }

    /// Whether the certificate was made for it.
    pub fn fits(&self, certificate: &[u8]) -> bool {
        Certificate::parse(certificate).is_some_and(|one| one.key_info == self.public)
    }
}

/// The authorities this system trusts.
#[derive(Debug, Default)]
pub struct Roots(Vec<CertificateDer<'static>>);

impl Roots {
    /// The system's list; empty where it has none.
    pub fn of_system() -> Roots {
        Roots(rustls_native_certs::load_native_certs().certs)
    }

    /// Whether one of them has issued `certificate`.
    pub fn have_issued(&self, certificate: &[u8]) -> bool {
        Certificate::parse(certificate).is_some_and(|one| self.issued(&one))
    }

    /// Whether it is one of them.
    pub fn hold(&self, certificate: &[u8]) -> bool {
        self.0.iter().any(|root| root.as_ref() == certificate)
    }

    fn issued(&self, certificate: &Certificate<'_>) -> bool {
        let roots = self.0.iter().filter_map(|root| Certificate::parse(root));
        roots
            .filter(|root| root.subject == certificate.issuer)
            .any(|root| signed_by(certificate, &root, &crate::provider()))
    }
}

/// Certificates sorted out for one key.
#[derive(Debug, Default)]
pub struct Order {
    /// The key's own, who issued it, and so on.
    pub chain: Vec<CertificateDer<'static>>,
    /// What does not belong to it.
    pub others: Vec<CertificateDer<'static>>,
}

/// Puts certificates in order, from the one that `key` fits; of several that would do, one with all of `names`, and of
/// those the one that ends last. `None` where none fits.
pub fn in_order(
    mut certificates: Vec<CertificateDer<'static>>,
    key: &Key,
    names: &[String],
) -> Option<Order> {
    let named = |der: &CertificateDer<'_>| {
        Description::of(der).is_some_and(|one| names.iter().all(|name| one.covers(name)))
    };
    let (named, others): (Vec<_>, Vec<_>) = certificates.into_iter().partition(named);
    certificates = named;
    let fits = |one: &Certificate<'_>| one.key_info == key.public;
    let leaf = last_to_end(&certificates, fits);
    certificates.extend(others);
    let leaf = leaf.or_else(|| last_to_end(&certificates, fits))?;
    let mut chain = vec![certificates.swap_remove(leaf)];
    certificates.retain(|one| !chain.contains(one));
    while let Some(next) = issuer_among(chain.last()?, &certificates) {
        chain.push(certificates.swap_remove(next));
        certificates.retain(|one| !chain.contains(one));
    }
    Some(Order {
        chain,
        others: certificates,
    })
}

fn issuer_among(
    certificate: &CertificateDer<'_>,
    certificates: &[CertificateDer<'_>],
) -> Option<usize> {
    let certificate = Certificate::parse(certificate)?;
    if certificate.issuer == certificate.subject {
        return None;
    }
    last_to_end(certificates, |one| {
        one.subject == certificate.issuer && signed_by(&certificate, one, &crate::provider())
    })
}

fn last_to_end(
    certificates: &[CertificateDer<'_>],
    wanted: impl Fn(&Certificate<'_>) -> bool,
) -> Option<usize> {
    let end = |der: &CertificateDer<'_>| {
        let certificate = Certificate::parse(der)?;
        wanted(&certificate).then_some(certificate.not_after)
    };
    let ends = certificates.iter().enumerate();
    ends.filter_map(|(place, der)| Some((end(der)?, place)))
        .max()
        .map(|(_, place)| place)
}

/// What is wrong with a certificate, its chain or its key. The texts say it in plain words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It cannot be read.
    #[error("certificate {number} cannot be read")]
    Unreadable {
        /// Counted from 1.
        number: usize,
    },
    /// Key and certificate are strangers.
    #[error("the key does not fit the certificate for {subject}")]
    OtherKey {
        /// Whose certificate.
        subject: String,
    },
    /// Over.
    #[error("the certificate for {subject} expired on {on}")]
    Expired {
        /// Whose certificate.
        subject: String,
        /// The day.
        on: String,
        /// Whether it is the server's own.
        own: bool,
    },
    /// Over soon.
    #[error("the certificate for {subject} ends on {on}, in {}", in_days(*.days))]
    EndsSoon {
        /// Whose certificate.
        subject: String,
        /// The day.
        on: String,
        /// Whole days until then.
        days: u64,
    },
    /// Not begun.
    #[error("the certificate for {subject} is not valid before {on}")]
    NotYetValid {
        /// Whose certificate.
        subject: String,
        /// The day.
        on: String,
    },
    /// The next in the file is not the issuer.
    #[error(
        "the chain is out of order: after the certificate for {subject} comes {next}, not its issuer {issuer}"
    )]
    OutOfOrder {
        /// Whose certificate.
        subject: String,
        /// Who should follow.
        issuer: String,
        /// Who follows.
        next: String,
    },
    /// The issuer's name is right, its key is not.
    #[error("the certificate for {subject} is not signed by the key of {issuer} that is there")]
    WrongIssuer {
        /// Whose certificate.
        subject: String,
        /// The issuer.
        issuer: String,
    },
    /// Who issued it may not issue.
    #[error("{issuer} is no authority, but has issued the certificate for {subject}")]
    NoAuthority {
        /// Whose certificate.
        subject: String,
        /// The issuer.
        issuer: String,
    },
    /// A link is missing.
    #[error(
        "the chain is incomplete: {issuer}, who issued the certificate for {subject}, is not there and is no authority that this system knows"
    )]
    Incomplete {
        /// Whose certificate.
        subject: String,
        /// The missing issuer.
        issuer: String,
        /// Where it can be fetched, as the certificate says.
        url: Option<String>,
    },
    /// A name it should have.
    #[error("it does not name {host}, but {}", some(.names))]
    NotNamed {
        /// The wanted name.
        host: String,
        /// Those it has.
        names: Vec<String>,
    },
    /// An RSA key that is too short.
    #[error("the certificate for {subject} has an RSA key of {bits} bits, which is too weak")]
    WeakKey {
        /// Whose certificate.
        subject: String,
        /// Its length.
        bits: usize,
    },
    /// A signature that could be forged.
    #[error("the certificate for {subject} is signed with {algorithm}, which can be forged")]
    WeakSignature {
        /// Whose certificate.
        subject: String,
        /// `SHA-1`, `MD5`, `MD2`.
        algorithm: &'static str,
    },
    /// For mail signing, a client, code; not for a server.
    #[error(
        "the certificate for {subject} is not for servers: server authentication is not among its uses"
    )]
    NotForServers {
        /// Whose certificate.
        subject: String,
    },
}

impl Fault {
    /// Whether it is a warning only: the certificate works.
    pub fn is_warning(&self) -> bool {
        matches!(self, Fault::EndsSoon { .. })
    }

    /// Whether a server of ours refuses the pair for it; the rest is for clients to dislike.
    pub fn is_fatal(&self) -> bool {
        matches!(
            self,
            Fault::Unreadable { .. }
                | Fault::OtherKey { .. }
                | Fault::Expired { .. }
                | Fault::NotYetValid { .. }
                | Fault::OutOfOrder { .. }
                | Fault::WrongIssuer { .. }
        )
    }

    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Fault::Unreadable { .. } => "copy it again from where it was issued".to_owned(),
            Fault::OtherKey { .. } => {
                "name the key that it was requested with; in the file the server's own certificate stands first".to_owned()
            },
            Fault::Expired { own: true, .. } | Fault::EndsSoon { .. } => "renew the certificate".to_owned(),
            Fault::Expired { .. } | Fault::WrongIssuer { .. } => {
                "get the issuer's current certificate".to_owned()
            }
            Fault::NotYetValid { .. } => "wait until then, or set this host's clock right".to_owned(),
            Fault::OutOfOrder { .. } => {
                "order the file: the server's certificate, then its issuer, then the issuer's issuer".to_owned()
            }
            Fault::NoAuthority { .. } => "get the certificate of the authority itself".to_owned(),
            Fault::Incomplete { url, .. } => match url {
                Some(url) => format!("add the issuer's certificate, which is at {url}"),
                None => "add the certificate of the issuer, as the authority offers it".to_owned(),
            },
            Fault::NotNamed { host, .. } => format!("get one with {host} among its names"),
            Fault::WeakKey { .. } => "request one for a new key: ECDSA P-256, or RSA of 3072 bits".to_owned(),
            Fault::WeakSignature { .. } => "let the authority issue it anew, with SHA-256".to_owned(),
            Fault::NotForServers { .. } => "request a certificate for a web or mail server".to_owned(),
        }
    }
}

fn in_days(days: u64) -> String {
    match days {
        0 => "less than a day".to_owned(),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}

fn some(names: &[String]) -> String {
    const SHOWN: usize = 5;
    match names {
        [] => "no host at all".to_owned(),
        names if names.len() <= SHOWN => names.join(", "),
        names => format!(
            "{} and {} more",
            names[..SHOWN].join(", "),
            names.len() - SHOWN
        ),
    }
}

/// What a certificate is judged by.
#[derive(Clone, Copy, Debug)]
pub struct Measure<'a> {
    /// The names it must have.
    pub names: &'a [String],
    /// Seconds since 1970.
    pub now: u64,
    /// Who need not be in the chain.
    pub roots: &'a Roots,
}

/// All that is wrong with a chain, the server's own certificate first, and with its key if that is known.
pub fn judge(chain: &[CertificateDer<'_>], key: Option<&Key>, measure: Measure<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut parsed = Vec::new();
    for (place, der) in chain.iter().enumerate() {
        match Certificate::parse(der) {
            Some(certificate) => parsed.push(certificate),
            None => faults.push(Fault::Unreadable { number: place + 1 }),
        }
    }
    let (Some(leaf), Some(own)) = (parsed.first(), chain.first()) else {
        return faults;
    };
    if faults.is_empty() {
        faults.extend(key.filter(|key| !key.fits(own)).map(|_| Fault::OtherKey {
            subject: whose(leaf),
        }));
        faults.extend(judge_leaf(leaf, own, measure));
        for (place, certificate) in parsed.iter().enumerate() {
            faults.extend(judge_one(certificate, place == 0, measure.now));
        }
        faults.extend(
            parsed
                .windows(2)
                .filter_map(|two| judge_link(&two[0], &two[1])),
        );
        faults.extend(
            parsed
                .last()
                .and_then(|last| judge_end(last, measure.roots)),
        );
    }
    faults
}

fn judge_leaf(leaf: &Certificate<'_>, der: &[u8], measure: Measure<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    if let Some(described) = Description::of(der) {
        let missing = measure.names.iter().filter(|host| !described.covers(host));
        faults.extend(missing.map(|host| Fault::NotNamed {
            host: host.clone(),
            names: described.names.clone(),
        }));
    }
    if !serves(leaf) {
        faults.push(Fault::NotForServers {
            subject: whose(leaf),
        });
    }
    faults
}

/// Dates and strength.
fn judge_one(certificate: &Certificate<'_>, own: bool, now: u64) -> Vec<Fault> {
    let subject = || whose(certificate);
    let mut faults = Vec::new();
    let (begin, end) = (certificate.not_before, certificate.not_after);
    let on = crate::der::day;
    if end < now {
        faults.push(Fault::Expired {
            subject: subject(),
            on: on(end),
            own,
        });
    } else if begin > now {
        faults.push(Fault::NotYetValid {
            subject: subject(),
            on: on(begin),
        });
    } else if end < now + SOON * DAY {
        faults.push(Fault::EndsSoon {
            subject: subject(),
            on: on(end),
            days: (end - now) / DAY,
        });
    }
    if let KeyKind::Rsa(bits) = key_kind(certificate)
        && bits < LEAST_RSA
    {
        faults.push(Fault::WeakKey {
            subject: subject(),
            bits,
        });
    }
    // Nobody relies on what a root says of itself.
    let weak = weak_signature(certificate).filter(|_| certificate.issuer != certificate.subject);
    faults.extend(weak.map(|algorithm| Fault::WeakSignature {
        subject: subject(),
        algorithm,
    }));
    faults
}

fn judge_link(certificate: &Certificate<'_>, next: &Certificate<'_>) -> Option<Fault> {
    let (subject, issuer) = (whose(certificate), distinguished_name(certificate.issuer));
    if certificate.issuer != next.subject {
        let next = whose(next);
        return Some(Fault::OutOfOrder {
            subject,
            issuer,
            next,
        });
    }
    if !signed_by(certificate, next, &crate::provider()) {
        return Some(Fault::WrongIssuer { subject, issuer });
    }
    // Roots of the last century do not say what they are.
    let sound = is_authority(next) || next.issuer == next.subject;
    (!sound).then_some(Fault::NoAuthority { subject, issuer })
}

fn judge_end(last: &Certificate<'_>, roots: &Roots) -> Option<Fault> {
    // A system that knows no authority cannot say where a chain should end.
    let unknown = roots.0.is_empty() && is_authority(last);
    if unknown || last.issuer == last.subject || roots.issued(last) {
        return None;
    }
    Some(Fault::Incomplete {
        subject: whose(last),
        issuer: distinguished_name(last.issuer),
        url: issuer_url(last),
    })
}

/// Whose certificate it is: its first name, its common name where it names no host, or its whole subject.
fn whose(certificate: &Certificate<'_>) -> String {
    let first = certificate.names.first();
    let name = first.filter(|_| certificate.names_hosts());
    let name = name.or(certificate.common_name.as_ref());
    name.map_or_else(|| distinguished_name(certificate.subject), Clone::clone)
}

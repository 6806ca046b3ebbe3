//! `postern certificate assign`: what an authority sent, put in use if all of it is sound.
//!
//! ```text
//! read all ─▶ the key that fits ─▶ in order ─▶ judged ─▶ swapped
//!    └────────────┴──────────────────┴───────────┴──▶ refused, in words; nothing was changed
//! ```
//!
//! Never: a change after a fault.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use postern_hosting::Finding;
use postern_tls::certs::{
    Description, Fault, Key, Measure, Order, Roots, certificates_in, in_order, judge,
};
use rustls_pki_types::CertificateDer;

use super::received::{Password, Received, key_in};
use super::spot::{Spot, Which};
use super::{Places, make, swap};
use crate::ask;
use crate::certificates::pem;
use crate::failure::Error;
use crate::render;

/// Takes a certificate that an authority has issued, and puts it in use.
///
/// All of it is checked first: that the key fits, that the chain is complete, in date and strong enough, that it is for
/// servers, and names this one. If something is wrong it is said, and nothing is changed. Else both files are
/// exchanged at once; sessions in progress go on, and the pair before is kept as *.previous.
#[derive(Args)]
pub(super) struct Assign {
    #[command(flatten)]
    which: Which,
    /// The certificate and those of its issuers, in one file or several, in any order: PEM, DER, PKCS#7 or PKCS#12.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// A store with certificate, issuers and key, as Windows exports it (.pfx).
    #[arg(long, value_name = "FILE")]
    pkcs12: Option<PathBuf>,
    #[command(flatten)]
    password: Password,
    /// Its private key, PEM. Without this: the one that came with it, the one that waits since the request, or the one in use.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

/// A key that may be the certificate's, and what to call it.
struct Candidate {
    key: Key,
    name: String,
    is_pending: bool,
}

/// What was found sound.
struct Sound {
    chain: Vec<CertificateDer<'static>>,
    key: Candidate,
    warnings: Vec<Fault>,
}

impl Assign {
    pub(super) fn run(&self, places: &Places, out: &mut dyn Write) -> Result<(), Error> {
        let spot = self.which.spot(places)?;
        swap::refuse_links(&spot)?;
        let files = self.files()?;
        let received = self.read(&files)?;
        let named = self.pkcs12.iter().chain(&files).next();
        let named = named.cloned().unwrap_or_default();
        let sound = self.judge(&spot, received, &named)?;
        let former = std::fs::read(&spot.certificate).unwrap_or_default();
        let kept = put(&spot, &sound)?;
        tell(&spot, &sound, kept, out)?;
        warn(&sound, &former, out)?;
        spot.tell_rest(places, out)
    }

    /// The files that were named, or are named now.
    fn files(&self) -> Result<Vec<PathBuf>, Error> {
        if !self.files.is_empty() || self.pkcs12.is_some() {
            return Ok(self.files.clone());
        }
        if !io::stdin().is_terminal() {
            return Err(Error::Usage {
                what: "the certificate's file is missing, and there is no terminal to ask on"
                    .to_owned(),
                remedy: "name it: postern certificate assign SERVER FILE…".to_owned(),
            });
        }
        let question = "Files with the certificate and its issuers (several with spaces between)";
        ask::until(question, "", |answer| {
            let files: Vec<PathBuf> = answer.split_whitespace().map(PathBuf::from).collect();
            match files.iter().find(|file| !file.is_file()) {
                Some(file) => Err(format!("there is no file {}", file.display())),
                None if files.is_empty() => Err("name one at least".to_owned()),
                None => Ok(files),
            }
        })
    }

    fn read(&self, files: &[PathBuf]) -> Result<Received, Error> {
        let mut received = Received::default();
        if let Some(store) = &self.pkcs12 {
            received.add_pkcs12(store, &self.password)?;
        }
        for file in files {
            received.add(file, &self.password)?;
        }
        Ok(received)
    }

    /// The keys it may be for, the likeliest first.
    fn candidates(&self, spot: &Spot, keys: Vec<Key>) -> Result<Vec<Candidate>, Error> {
        let candidate = |key, name: String, is_pending| Candidate {
            key,
            name,
            is_pending,
        };
        if let Some(path) = &self.key {
            let name = path.display().to_string();
            return Ok(vec![candidate(key_in(path)?, name, false)]);
        }
        let came = keys.into_iter();
        let mut all: Vec<Candidate> = came
            .map(|key| candidate(key, "the key that came with it".to_owned(), false))
            .collect();
        let pending = spot.pending();
        if pending.exists() {
            let name = pending.display().to_string();
            all.push(candidate(key_in(&pending)?, name, true));
        }
        // One in use that is damaged is no reason to keep it.
        if let Ok(key) = key_in(&spot.key) {
            all.push(candidate(key, spot.key.display().to_string(), false));
        }
        Ok(all)
    }

    fn judge(&self, spot: &Spot, received: Received, named: &Path) -> Result<Sound, Error> {
        let candidates = self.candidates(spot, received.keys)?;
        let certificates = received.certificates;
        let (key, order) = fitting(candidates, &certificates, &spot.names)
            .map_err(|names| no_key(spot, named, &certificates, &names))?;
        let roots = Roots::of_system();
        let measure = Measure {
            names: &spot.names,
            now: render::now(),
            roots: &roots,
        };
        let faults = judge(&order.chain, Some(&key.key), measure);
        let faults = faults
            .into_iter()
            .map(|fault| impostor(fault, &order.others));
        let (warnings, faults): (Vec<_>, Vec<_>) = faults.partition(Fault::is_warning);
        if !faults.is_empty() {
            return Err(refused(spot, named, &faults));
        }
        Ok(Sound {
            chain: without_known_root(order.chain, &roots),
            key,
            warnings,
        })
    }
}

/// The first key that fits a certificate with the wanted names; else the first that fits one at all; else all their names.
fn fitting(
    candidates: Vec<Candidate>,
    certificates: &[CertificateDer<'static>],
    names: &[String],
) -> Result<(Candidate, Order), Vec<String>> {
    let mut tried = Vec::new();
    let mut second = None;
    for candidate in candidates {
        let Some(order) = in_order(certificates.to_vec(), &candidate.key, names) else {
            tried.push(candidate.name);
            continue;
        };
        let described = order.chain.first().and_then(|leaf| Description::of(leaf));
        if described.is_some_and(|leaf| names.iter().all(|name| leaf.covers(name))) {
            return Ok((candidate, order));
        }
        second = second.or(Some((candidate, order)));
    }
    second.ok_or(tried)
}

/// An issuer that is there under its name, but with another key, is not missing.
fn impostor(fault: Fault, others: &[CertificateDer<'_>]) -> Fault {
    match fault {
        Fault::Incomplete {
            subject, issuer, ..
        } if others
            .iter()
            .filter_map(|other| Description::of(other))
            .any(|other| other.subject == issuer) =>
        {
            Fault::WrongIssuer { subject, issuer }
        }
        other => other,
    }
}

/// Everybody who trusts a root has it; one of your own may be what a TLSA record names (RFC 7671 §5.2.2), and stays.
fn without_known_root(
    mut chain: Vec<CertificateDer<'static>>,
    roots: &Roots,
) -> Vec<CertificateDer<'static>> {
    if chain.len() > 1 && chain.last().is_some_and(|last| roots.hold(last)) {
        chain.pop();
    }
    chain
}

fn put(spot: &Spot, sound: &Sound) -> Result<bool, Error> {
    let chain = sound.chain.iter().map(|one| pem("CERTIFICATE", one));
    let (label, key) = sound.key.key.der();
    let kept = swap::swap(spot, &chain.collect::<String>(), &pem(label, key))?;
    if sound.key.is_pending {
        let pending = spot.pending();
        std::fs::remove_file(&pending).map_err(|source| Error::Write {
            path: pending,
            source,
        })?;
    }
    Ok(kept)
}

fn tell(spot: &Spot, sound: &Sound, kept: bool, out: &mut dyn Write) -> Result<(), Error> {
    let described: Vec<Description> = sound
        .chain
        .iter()
        .filter_map(|one| Description::of(one))
        .collect();
    if let Some(own) = described.first() {
        let end = render::moment(own.not_after);
        writeln!(
            out,
            "{} is for {}",
            spot.certificate.display(),
            own.names.join(", ")
        )?;
        writeln!(out, "issued by {}, good until {}", own.issuer, &end[..10])?;
        writeln!(out, "SHA-256 {}", own.fingerprint)?;
    }
    if kept {
        make::tell_kept(spot, out)?;
    }
    Ok(())
}

/// What is no fault: an end that is near, and names that the former certificate had and this one has not.
fn warn(sound: &Sound, former: &[u8], out: &mut dyn Write) -> Result<(), Error> {
    for warning in &sound.warnings {
        writeln!(out, "warning: {warning}")?;
    }
    let own = sound.chain.first().and_then(|one| Description::of(one));
    let before = certificates_in(former);
    let before = before.first().and_then(|one| Description::of(one));
    if let (Some(own), Some(before)) = (own, before) {
        let lost = before
            .names
            .into_iter()
            .filter(|name| !own.covers(name) && !own.names.contains(name));
        let lost: Vec<String> = lost.collect();
        if !lost.is_empty() {
            writeln!(
                out,
                "warning: the one before was for {} too",
                lost.join(", ")
            )?;
        }
    }
    Ok(())
}

fn refused(spot: &Spot, named: &Path, faults: &[Fault]) -> Error {
    let findings = faults
        .iter()
        .map(|fault| Finding::error(named, fault.to_string(), fault.remedy()));
    Error::Refused {
        subject: spot.server.to_string(),
        reason: "this certificate cannot be used; nothing was changed".to_owned(),
        findings: findings.collect(),
    }
}

fn no_key(
    spot: &Spot,
    named: &Path,
    certificates: &[CertificateDer<'_>],
    tried: &[String],
) -> Error {
    let whose = certificates.iter().filter_map(|one| Description::of(one));
    let whose: Vec<String> = whose
        .map(|one| one.names.first().cloned().unwrap_or(one.subject))
        .collect();
    let what = match tried {
        [] => format!(
            "there is no key for the certificate of {}",
            whose.join(", ")
        ),
        tried => format!(
            "the key does not fit: none of the certificates here ({}) was made for {}",
            whose.join(", "),
            tried.join(" or ")
        ),
    };
    let remedy = "name the key that it was requested with: --key FILE; \
                  or make a request of its own: postern certificate request";
    Error::Refused {
        subject: spot.server.to_string(),
        reason: "this certificate cannot be used; nothing was changed".to_owned(),
        findings: vec![Finding::error(
            named,
            what,
            format!("{remedy} {}", spot.server),
        )],
    }
}

//! The files a definition names, looked into as far as this user may: certificates and keys, accounts, recipients.
//!
//! Never: an error for a file that only root may read; posternd opens it as root.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use postern_config::{AccountFile, AccountSource, CertificatePair, Definition, Recipients};
use postern_hosting::{Finding, Hosting, Place, Severity};

use crate::certificates::{Fault, inspect};
use crate::failure::plain;
use crate::render;

/// The same finding, marked where `word` stands in the text, if it does.
pub(super) fn at(finding: Finding, text: &str, word: &str) -> Finding {
    match text.find(&format!("\"{word}\"")) {
        Some(start) => {
            let place = Place::of(text, start..start + word.len() + 2);
            finding.at(place)
        }
        None => finding,
    }
}

/// Looks into the files a definition names.
pub(super) fn check_files(definition: &Definition, text: &str, path: &Path) -> Vec<Finding> {
    let files = Files {
        definition: path,
        text,
    };
    let mut findings: Vec<Finding> = Vec::new();
    findings.extend(
        definition
            .tls
            .certificates
            .iter()
            .flat_map(|pair| files.check_pair(pair)),
    );
    if let Some(authority) = &definition.tls.client_ca {
        findings.extend(files.read(authority).err());
    }
    for source in &definition.authentication.accounts {
        if let AccountSource::File { path } = source {
            findings.extend(files.check_accounts(path));
        }
    }
    for domain in &definition.delivery.domains {
        if let Recipients::File(path) = &domain.recipients {
            findings.extend(files.read(path).err());
        }
    }
    findings
}

/// The files that one definition names, as it writes them.
struct Files<'a> {
    definition: &'a Path,
    text: &'a str,
}

impl Files<'_> {
    /// A finding marked at the path in the definition.
    fn finding(
        &self,
        severity: Severity,
        written: &Path,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        at(
            Finding::error(self.definition, what, remedy).with_severity(severity),
            self.text,
            &written.to_string_lossy(),
        )
    }

    fn read(&self, written: &Path) -> Result<Vec<u8>, Finding> {
        let located = Hosting::locate(self.definition, written);
        std::fs::read(&located).map_err(|cause| {
            let name = located.display();
            if cause.kind() == io::ErrorKind::PermissionDenied {
                let what = format!("{name} is not open to you, so it was not looked at");
                return self.finding(
                    Severity::Note,
                    written,
                    what,
                    "use sudo to have it checked; posternd opens it as root",
                );
            }
            let what = format!("{name} cannot be read: {}", plain(&cause));
            self.finding(
                Severity::Error,
                written,
                what,
                "put the file there, or correct the path",
            )
        })
    }

    fn check_pair(&self, pair: &CertificatePair) -> Vec<Finding> {
        let mut findings = Vec::new();
        let certificate = self
            .read(&pair.certificate)
            .map_err(|finding| findings.push(finding))
            .ok();
        let key = self
            .read(&pair.key)
            .map_err(|finding| findings.push(finding))
            .ok();
        if key.is_some() {
            findings.extend(self.others_may_read(&pair.key));
        }
        if let Some(certificate) = certificate {
            let key = key.as_deref().map(String::from_utf8_lossy);
            let faults = inspect(&certificate, key.as_deref(), render::now());
            findings.extend(faults.into_iter().map(|fault| self.fault(pair, fault)));
        }
        findings
    }

    fn fault(&self, pair: &CertificatePair, fault: Fault) -> Finding {
        let (certificate, key) = (pair.certificate.display(), pair.key.display());
        let renew = "renew the certificate";
        let (severity, written, what, remedy) = match fault {
            Fault::NoCertificate => (
                Severity::Error,
                &pair.certificate,
                format!("{certificate} holds no certificate"),
                "it must begin with -----BEGIN CERTIFICATE-----, the server's own first",
            ),
            Fault::NoKey => (
                Severity::Error,
                &pair.key,
                format!("{key} holds no private key that can be used"),
                "it must be PEM, not encrypted: PKCS#8, PKCS#1 or SEC1",
            ),
            Fault::OtherKey => (
                Severity::Error,
                &pair.key,
                format!("{key} does not belong to the first certificate of {certificate}"),
                "name the key the certificate was made for; the server's own certificate stands first",
            ),
            Fault::Expired(end) => (
                Severity::Error,
                &pair.certificate,
                format!("{certificate} ended on {}", render::moment(end)),
                renew,
            ),
            Fault::EndsSoon(end) => (
                Severity::Warning,
                &pair.certificate,
                format!("{certificate} ends on {}", render::moment(end)),
                renew,
            ),
            Fault::NotYet(begin) => (
                Severity::Warning,
                &pair.certificate,
                format!("{certificate} begins on {}", render::moment(begin)),
                "see whether this host's clock is right",
            ),
        };
        self.finding(severity, written, what, remedy)
    }

    fn check_accounts(&self, written: &Path) -> Vec<Finding> {
        let bytes = match self.read(written) {
            Ok(bytes) => bytes,
            Err(finding) => return vec![finding],
        };
        let located = Hosting::locate(self.definition, written);
        let Ok(text) = String::from_utf8(bytes) else {
            return vec![self.finding(
                Severity::Error,
                written,
                format!("{} is not UTF-8", located.display()),
                "save it as UTF-8",
            )];
        };
        let (accounts, mut findings) = AccountFile::parse(&text, &located);
        if findings.is_empty() && accounts.iter().next().is_none() {
            let what = format!("{} has no accounts: nobody can log in", located.display());
            findings.push(self.finding(
                Severity::Note,
                written,
                what,
                "postern account add makes one",
            ));
        }
        findings.extend(self.others_may_read(written));
        findings
    }

    /// A file with secrets should be its owner's alone.
    fn others_may_read(&self, written: &Path) -> Option<Finding> {
        let located = Hosting::locate(self.definition, written);
        let mode = std::fs::metadata(&located).ok()?.permissions().mode();
        (mode & 0o007 != 0).then(|| {
            let what = format!("every user of this host can read {}", located.display());
            self.finding(
                Severity::Warning,
                written,
                what,
                format!("chmod 600 {}", located.display()),
            )
        })
    }
}

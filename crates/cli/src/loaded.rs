//! A definition that no server has loaded, read as a worker would read it: with its list, recipient and account files.
//!
//! Never: a key read, a certificate judged; `postern check` does that.

use std::path::{Path, PathBuf};

use postern_config::{AccountFile, AccountSource, Finding, Severity};
use postern_hosting::Hosting;
use postern_policy::{Policy, Source};

use crate::failure::{Error, plain};

/// A definition's policy, and where it was read from.
pub(crate) struct Loaded {
    /// The rules.
    pub(crate) policy: Policy,
    path: PathBuf,
}

impl Loaded {
    /// Reads the definition at `path`, or says all that keeps a server from loading it.
    pub(crate) fn read(path: &Path) -> Result<Loaded, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
        let mut read = |written: &Path| {
            std::fs::read(Hosting::locate(path, written)).map_err(|cause| plain(&cause))
        };
        let (definition, findings) = postern_config::load(&text, path);
        let mut source = Source {
            path,
            text: &text,
            read: &mut read,
            findings,
        };
        let policy = definition.map(|mut definition| {
            let findings = definition.read_lists(&mut *source.read);
            source.findings.extend(findings);
            definition.forget_places();
            Policy::build(definition, &mut source)
        });
        let errors = errors(source.findings);
        match policy {
            Some(policy) if errors.is_empty() => Ok(Loaded {
                policy,
                path: path.to_owned(),
            }),
            _ => Err(Error::NotLoadable {
                path: path.to_owned(),
                findings: errors,
            }),
        }
    }

    /// The account files, in order.
    pub(crate) fn accounts(&self) -> Result<Vec<AccountFile>, Error> {
        let sources = self.policy.definition.authentication.accounts.iter();
        let files = sources.filter_map(|source| match source {
            AccountSource::File { path, .. } => Some(Hosting::locate(&self.path, path)),
            // A directory and Dovecot tell who is there to the running server only.
            _ => None,
        });
        files.map(|path| account_file(&path)).collect()
    }
}

fn account_file(path: &Path) -> Result<AccountFile, Error> {
    let bytes = std::fs::read(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })?;
    let (file, findings) = AccountFile::parse(&String::from_utf8_lossy(&bytes), path);
    match errors(findings) {
        errors if errors.is_empty() => Ok(file),
        findings => Err(Error::NotLoadable {
            path: path.to_owned(),
            findings,
        }),
    }
}

fn errors(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.retain(|finding| finding.severity == Severity::Error);
    findings
}

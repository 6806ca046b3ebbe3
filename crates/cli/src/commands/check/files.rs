//! The files a definition names, looked into as far as this user may: certificates and keys, accounts, lists, recipients.
//!
//! Never: an error for a file that only root may read; posternd opens it as root.

mod integrated;

use std::collections::HashSet;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use postern_config::{
    AccountFile, AccountSource, CertificatePair, Definition, LdapBind, LdapSource, OutboundLogin,
    Recipients, Who,
};
use postern_hosting::{Finding, Hosting, Severity};
use postern_tls::PemFile;
use postern_tls::certs::{self, Description, Fault, Key, Measure, Roots, certificates_in, judge};

use super::{at, host, recipients};
use crate::failure::plain;
use crate::render;

/// Looks into the files a definition names, and at what its lists, whole with their files, mean on this host.
pub(super) fn check_files(mut definition: Definition, text: &str, path: &Path) -> Vec<Finding> {
    let files = Files {
        definition: path,
        text,
    };
    let mut findings = files.check_certificates(&definition);
    if let Some(authority) = &definition.tls.client_ca {
        findings.extend(files.read(authority).err());
    }
    findings.extend(files.check_logins(&definition));
    findings.extend(files.check_ways_out(&definition));
    findings.extend(files.check_lists(&mut definition));
    findings.extend(definition.host_findings(&host::facts()));
    for domain in &definition.delivery.domains {
        if let Recipients::File(path) = &domain.recipients {
            findings.extend(files.check_recipients(&domain.name, path));
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
        self.read_as(written, &written.to_string_lossy())
    }

    /// Reads a file that the definition names as `entry`.
    fn read_as(&self, written: &Path, entry: &str) -> Result<Vec<u8>, Finding> {
        let entry = Path::new(entry);
        let located = Hosting::locate(self.definition, written);
        std::fs::read(&located).map_err(|cause| {
            let name = located.display();
            if cause.kind() == io::ErrorKind::PermissionDenied {
                let what = format!("{name} is not open to you, so it was not looked at");
                return self.finding(
                    Severity::Note,
                    entry,
                    what,
                    "use sudo to have it checked; posternd opens it as root",
                );
            }
            let what = format!("{name} cannot be read: {}", plain(&cause));
            self.finding(
                Severity::Error,
                entry,
                what,
                "put the file there, or correct the path",
            )
        })
    }

    fn check_certificates(&self, definition: &Definition) -> Vec<Finding> {
        let pairs = &definition.tls.certificates;
        let Some(first) = pairs.first() else {
            return Vec::new();
        };
        let roots = Roots::of_system();
        let mut findings = Vec::new();
        let mut known = Vec::new();
        for pair in pairs {
            let (more, own) = self.check_pair(pair, &roots);
            findings.extend(more);
            known.extend(own);
        }
        // Only if all of them could be read is it known that none has the name.
        let fqdn = &definition.general.fqdn;
        if known.len() < pairs.len() || known.iter().any(|own| own.covers(fqdn)) {
            return findings;
        }
        let what = match pairs.len() {
            1 => format!("{} does not name {fqdn}", first.certificate.display()),
            _ => format!("none of the certificates names {fqdn}"),
        };
        let names: Vec<String> = known.into_iter().flat_map(|own| own.names).collect();
        let remedy = match names.is_empty() {
            true => {
                format!("get one with {fqdn} among its names; clients that look will not send")
            }
            false => format!(
                "get one that does, or write the fqdn it is for: {}",
                some(&names)
            ),
        };
        findings.push(self.finding(Severity::Warning, &first.certificate, what, remedy));
        findings
    }

    /// What is wrong with a pair, and the server's own certificate if it can be read.
    fn check_pair(
        &self,
        pair: &CertificatePair,
        roots: &Roots,
    ) -> (Vec<Finding>, Option<Description>) {
        let mut findings = Vec::new();
        let mut read = |written: &PathBuf| {
            let text = self.read(written);
            text.map_err(|finding| findings.push(finding)).ok()
        };
        let (chain, key) = (read(&pair.certificate), read(&pair.key));
        if key.is_some() {
            findings.extend(self.others_may_read(&pair.key));
        }
        let key = key.and_then(|text| {
            let key = Key::from_pem(&pem_file(&pair.key, text));
            key.map_err(|error| findings.push(self.unusable(&pair.key, &error)))
                .ok()
        });
        let chain = chain.and_then(|text| {
            let chain = certs::certificates(&pem_file(&pair.certificate, text));
            chain
                .map_err(|error| findings.push(self.unusable(&pair.certificate, &error)))
                .ok()
        });
        let chain = chain.unwrap_or_default();
        let measure = Measure {
            names: &[],
            now: render::now(),
            roots,
        };
        let faults = judge(&chain, key.as_ref(), measure);
        findings.extend(faults.iter().map(|fault| self.fault(pair, fault)));
        (findings, chain.first().and_then(|own| Description::of(own)))
    }

    fn unusable(&self, written: &Path, error: &postern_tls::Error) -> Finding {
        self.finding(Severity::Error, written, error.to_string(), error.remedy())
    }

    fn fault(&self, pair: &CertificatePair, fault: &Fault) -> Finding {
        let severity = match fault.is_fatal() {
            true => Severity::Error,
            false => Severity::Warning,
        };
        let written = match fault {
            Fault::OtherKey { .. } => &pair.key,
            _ => &pair.certificate,
        };
        let what = format!("{}: {fault}", written.display());
        self.finding(severity, written, what, fault.remedy())
    }

    /// The account files, and the grants to accounts that none of them has.
    fn check_logins(&self, definition: &Definition) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut files = Vec::new();
        let sources = &definition.authentication.accounts;
        for source in sources {
            match source {
                AccountSource::File { path, nt_hashes } => {
                    let (file, more) = self.check_accounts(path);
                    findings.extend(more);
                    if let Some(hashes) = nt_hashes {
                        findings.extend(self.check_nt_hashes(definition, hashes, file.as_ref()));
                    }
                    let needed = file.as_ref().filter(|_| definition.needs_scram_keys());
                    findings.extend(needed.and_then(|file| self.without_keys(path, file)));
                    files.extend(file);
                }
                AccountSource::Ldap(settings) => findings.extend(self.check_directory(settings)),
                AccountSource::Windows { .. } => findings.extend(self.check_winbind()),
                AccountSource::Gssapi { keytab, .. } => {
                    findings.extend(self.check_keytab(definition, keytab));
                }
                AccountSource::Dovecot { .. } => {}
            }
        }
        // With a source that cannot be read, nobody is known not to be there.
        if files.len() == sources.len() && !files.is_empty() {
            findings.extend(self.check_grants(definition, &files));
        }
        findings
    }

    /// The files a directory's settings name; the directory itself is not asked.
    fn check_directory(&self, settings: &LdapSource) -> Vec<Finding> {
        let mut findings = Vec::new();
        if let Some(bind) = &settings.bind {
            let path = &bind.password_file;
            match self.read(path) {
                Ok(bytes) => {
                    findings.extend(self.others_may_read(path));
                    findings.extend(LdapBind::password_in(&bytes).err().map(|fault| {
                        let what = format!("{} {fault}", path.display());
                        let remedy = "write the password into it, and nothing else";
                        self.finding(Severity::Error, path, what, remedy)
                    }));
                }
                Err(finding) => findings.push(finding),
            }
        }
        findings.extend(
            settings
                .ca
                .as_ref()
                .and_then(|path| self.check_authorities(path)),
        );
        findings
    }

    /// The files that smart hosts and routes name: whom to trust there, and what to log in with.
    fn check_ways_out(&self, definition: &Definition) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut seen = HashSet::new();
        for security in definition.delivery.securities() {
            let authorities = security
                .ca
                .as_ref()
                .filter(|path| seen.insert(path.as_path()));
            findings.extend(authorities.and_then(|path| self.check_authorities(path)));
            let login = security.login.as_ref();
            let file = login.and_then(|login| Some((login, login.file()?)));
            if let Some((login, path)) = file.filter(|(_, path)| seen.insert(path)) {
                findings.extend(self.check_login_secret(login, path));
            }
        }
        findings
    }

    fn check_login_secret(&self, login: &OutboundLogin, path: &Path) -> Vec<Finding> {
        let bytes = match self.read(path) {
            Ok(bytes) => bytes,
            Err(finding) => return vec![finding],
        };
        let fault = login.secret_in(&bytes).err().map(|fault| {
            let what = format!("{} {fault}", path.display());
            self.finding(Severity::Error, path, what, login.remedy())
        });
        self.others_may_read(path)
            .into_iter()
            .chain(fault)
            .collect()
    }

    fn check_authorities(&self, path: &Path) -> Option<Finding> {
        match self.read(path) {
            Ok(bytes) if !certificates_in(&bytes).is_empty() => None,
            Ok(_) => {
                let what = format!("{} holds no certificate", path.display());
                let remedy = "it must begin with -----BEGIN CERTIFICATE-----";
                Some(self.finding(Severity::Error, path, what, remedy))
            }
            Err(finding) => Some(finding),
        }
    }

    fn check_grants(&self, definition: &Definition, files: &[AccountFile]) -> Vec<Finding> {
        let accounts = || files.iter().flat_map(AccountFile::iter);
        let login = &definition.authentication;
        let mut findings = Vec::new();
        for grant in login.submit.iter().chain(login.relay.iter()) {
            let (known, what) = match &grant.who {
                Who::Everybody => continue,
                Who::Account(name) => (
                    accounts().any(|account| same(&account.name, name)),
                    format!("no account file has an account {name}"),
                ),
                Who::Group(name) => (
                    accounts().any(|account| account.groups.iter().any(|group| same(group, name))),
                    format!("no account is in the group {name}"),
                ),
            };
            if known {
                continue;
            }
            let remedy = match &grant.who {
                Who::Account(name) => {
                    let whole = format!("{}@", name.to_lowercase());
                    let meant = accounts().find(|one| one.name.to_lowercase().starts_with(&whole));
                    meant.map(|account| format!("write \"{}\"", account.name))
                }
                _ => None,
            };
            let remedy = remedy.unwrap_or_else(|| "correct the name, or remove it".to_owned());
            let written = PathBuf::from(grant.to_string());
            findings.push(self.finding(Severity::Warning, &written, what, remedy));
        }
        findings
    }

    fn check_accounts(&self, written: &Path) -> (Option<AccountFile>, Vec<Finding>) {
        let bytes = match self.read(written) {
            Ok(bytes) => bytes,
            Err(finding) => return (None, vec![finding]),
        };
        let located = Hosting::locate(self.definition, written);
        let Ok(text) = String::from_utf8(bytes) else {
            return (None, vec![self.not_utf8(written)]);
        };
        let (accounts, mut findings) = AccountFile::parse(&text, &located);
        let is_whole = findings.is_empty();
        if is_whole && accounts.is_empty() {
            let what = format!("{} has no accounts: nobody can log in", located.display());
            findings.push(self.finding(
                Severity::Note,
                written,
                what,
                "postern account add makes one",
            ));
        }
        findings.extend(self.others_may_read(written));
        (is_whole.then_some(accounts), findings)
    }

    /// The accounts that cannot log in where only SCRAM is left.
    fn without_keys(&self, written: &Path, accounts: &AccountFile) -> Option<Finding> {
        let unkeyed = accounts.iter().filter(|account| account.scram.is_none());
        let names: Vec<String> = unkeyed.map(|account| account.name.clone()).collect();
        let first = names.first()?;
        let (more, they) = match names.len() {
            1 => (String::new(), "it has"),
            2..=4 => (String::new(), "they have"),
            all => (format!(" and {} more", all - 4), "they have"),
        };
        let what = format!(
            "{}{more} cannot log in: only SCRAM is offered, and {they} no keys for it",
            some(&names)
        );
        let server = self.definition.file_stem().unwrap_or_default();
        let remedy = format!(
            "give the password anew, which makes keys: postern account password {} {first}",
            server.to_string_lossy()
        );
        Some(self.finding(Severity::Warning, written, what, remedy))
    }

    fn not_utf8(&self, written: &Path) -> Finding {
        let located = Hosting::locate(self.definition, written);
        self.finding(
            Severity::Error,
            written,
            format!("{} is not UTF-8", located.display()),
            "save it as UTF-8",
        )
    }

    /// Reads the files of entries that the lists name, and judges the lists whole.
    fn check_lists(&self, definition: &mut Definition) -> Vec<Finding> {
        let mut unread: Vec<Finding> = Vec::new();
        let mut findings = definition.read_lists(&mut |path| {
            self.read_as(path, &format!("file {}", path.display()))
                .map_err(|finding| {
                    unread.push(finding);
                    UNREAD.to_owned()
                })
        });
        // Said once, and as a note where only root may read it.
        findings.retain(|finding| !finding.what.ends_with(UNREAD));
        findings.extend(unread);
        findings
    }

    /// A list of recipients: one local part a line.
    fn check_recipients(&self, domain: &str, written: &Path) -> Vec<Finding> {
        let bytes = match self.read(written) {
            Ok(bytes) => bytes,
            Err(finding) => return vec![finding],
        };
        match String::from_utf8(bytes) {
            Ok(text) => {
                let located = Hosting::locate(self.definition, written);
                recipients::check(domain, &text, &located)
            }
            Err(_) => vec![self.not_utf8(written)],
        }
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

/// Marks a list file that could not be read, for which there is a finding already.
const UNREAD: &str = "(unread)";

/// The first few of them.
fn pem_file(written: &Path, text: Vec<u8>) -> PemFile {
    PemFile {
        path: written.to_owned(),
        text,
    }
}

fn some(names: &[String]) -> String {
    let few: Vec<&str> = names.iter().take(4).map(String::as_str).collect();
    few.join(", ")
}

/// Equal without regard to case.
fn same(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}

//! What NTLM and Kerberos need of a host: NT hashes and a keytab that only root reads, and winbind.
//!
//! Never: a hash or a key shown; winbind or a domain controller asked.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use postern_config::{AccountFile, Definition};
use postern_hosting::{Finding, Hosting, Severity};
use postern_policy::find_account;
use postern_sasl::{NtHashes, Secret};

use super::{Files, some};
use crate::keytab::{self, Principal};

impl Files<'_> {
    /// The file of NT hashes that goes with an account file; `accounts`, if that could be read.
    pub(super) fn check_nt_hashes(
        &self,
        definition: &Definition,
        written: &Path,
        accounts: Option<&AccountFile>,
    ) -> Vec<Finding> {
        let located = Hosting::locate(self.definition, written);
        if !located.exists() {
            return vec![self.no_hashes_yet(written)];
        }
        let mut findings = Vec::from_iter(self.roots_alone(written));
        let bytes = match self.read(written) {
            Ok(bytes) => Secret::new(bytes),
            Err(finding) => {
                findings.push(finding);
                return findings;
            }
        };
        let Ok(text) = std::str::from_utf8(bytes.expose()) else {
            findings.push(self.not_utf8(written));
            return findings;
        };
        match NtHashes::parse(text) {
            Ok(hashes) => {
                let accounts = accounts.map(|file| (file, written));
                findings.extend(accounts.and_then(|(file, written)| {
                    self.left_behind(definition, written, &hashes, file)
                }));
            }
            // The line may hold a hash, so it is not shown.
            Err(error) => findings.push(self.finding(
                Severity::Error,
                written,
                format!("{}, {error}", located.display()),
                "mend the line, or remove it and give the password anew",
            )),
        }
        findings
    }

    fn no_hashes_yet(&self, written: &Path) -> Finding {
        let what = format!(
            "there is no {}",
            Hosting::locate(self.definition, written).display()
        );
        let remedy = format!(
            "postern account password {} ACCOUNT --ntlm makes it",
            self.server()
        );
        self.finding(Severity::Error, written, what, remedy)
    }

    /// NT hashes whose account is gone. They let nobody in here, and are as good as passwords that may be in use elsewhere.
    fn left_behind(
        &self,
        definition: &Definition,
        written: &Path,
        hashes: &NtHashes,
        accounts: &AccountFile,
    ) -> Option<Finding> {
        let default_domain = &definition.authentication.default_domain;
        let unknown = |name: &&str| find_account([accounts], name, default_domain).is_none();
        let names: Vec<String> = hashes.names().filter(unknown).map(str::to_owned).collect();
        let first = names.first()?;
        let more = match names.len() {
            0..=4 => String::new(),
            all => format!(" and {} more", all - 4),
        };
        let what = format!(
            "the account file has no {}{more}, whose NT hash was left behind: as good as a password, and of no use",
            some(&names)
        );
        let remedy = format!("postern account remove {} {first}", self.server());
        Some(self.finding(Severity::Warning, written, what, remedy))
    }

    /// The keytab, and whether it has the key that clients ask tickets for.
    pub(super) fn check_keytab(&self, definition: &Definition, written: &Path) -> Vec<Finding> {
        let bytes = match self.read(written) {
            Ok(bytes) => Secret::new(bytes),
            Err(finding) => return vec![finding],
        };
        let mut findings = Vec::from_iter(self.roots_alone(written));
        let name = written.display();
        match keytab::principals(bytes.expose()) {
            Ok(principals) => {
                findings.extend(self.no_key_of_ours(definition, written, &principals))
            }
            Err(fault) => findings.push(self.finding(
                Severity::Error,
                written,
                format!("{name} {fault}"),
                "have it made anew, by ktpass, ktutil, or samba-tool domain exportkeytab",
            )),
        }
        findings
    }

    /// Clients ask for tickets for smtp/ and the server's name.
    fn no_key_of_ours(
        &self,
        definition: &Definition,
        written: &Path,
        principals: &[Principal],
    ) -> Option<Finding> {
        let fqdn = &definition.general.fqdn;
        if principals.iter().any(|one| one.is_service("smtp", fqdn)) {
            return None;
        }
        let name = written.display();
        let shown: Vec<String> = principals.iter().map(ToString::to_string).collect();
        let holds = match principals {
            [] => "it is empty".to_owned(),
            _ => format!("it has keys for {}", some(&shown)),
        };
        let what = format!(
            "{name} has no key for smtp/{fqdn}, for which clients get their tickets; {holds}"
        );
        let remedy = format!(
            "add the name to the account in the domain (setspn -S smtp/{fqdn} ACCOUNT), and make the keytab anew"
        );
        Some(self.finding(Severity::Warning, written, what, remedy))
    }

    /// What root's alone must be, unlike a password's hash: whoever reads it is let in.
    fn roots_alone(&self, written: &Path) -> Option<Finding> {
        let located = Hosting::locate(self.definition, written);
        let found = std::fs::metadata(&located).ok()?;
        let name = located.display();
        let (why, remedy) = if found.mode() & 0o077 != 0 {
            ("others than root can read", format!("chmod 600 {name}"))
        } else if is_strangers(&found) {
            (
                "root is not the owner of",
                format!("chown root:root {name}"),
            )
        } else {
            return None;
        };
        let what = format!("{why} {name}, with which anybody could log in");
        Some(self.finding(Severity::Error, written, what, remedy))
    }

    /// Winbind's programs, which postern-authd starts.
    pub(super) fn check_winbind(&self) -> Option<Finding> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
        places.push(PathBuf::from("/usr/bin"));
        let is_there = |name: &str| places.iter().any(|place| place.join(name).is_file());
        let missing = ["ntlm_auth", "wbinfo"]
            .into_iter()
            .find(|name| !is_there(name))?;
        let what = format!("accounts of a domain need winbind, and {missing} is not installed");
        let remedy = "apt install winbind, then join the domain: net ads join";
        let key = Path::new("windows");
        Some(self.finding(Severity::Warning, key, what, remedy))
    }

    /// The server's name, for a command line.
    fn server(&self) -> String {
        let name = self.definition.file_stem().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }
}

/// Neither root's nor, where somebody tries a definition of his own, his.
fn is_strangers(found: &Metadata) -> bool {
    found.uid() != 0 && found.uid() != geteuid().as_raw()
}

//! The account file: who may log in, with what, as whom.
//!
//! ```toml
//! [accounts."alice"]
//! password = "$argon2id$v=19$m=…"     # both made by `postern account password`
//! scram = "SCRAM-SHA-256$65536:…"       # without it, the account cannot use SCRAM
//! addresses = ["alice@example.com"]    # what the account may send from; "@example.com": a whole domain
//! groups = ["staff"]
//! ```
//!
//! Never: a password in clear, or a hash in a finding or a log.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use postern_hosting::{Finding, Severity};
use toml::de::DeTable;

use crate::reader::{Node, Reader};
use crate::replace::{Owner, failed, lock_folder_of, replace_file};
use crate::values::{Misfit, clip, is_domain};
use crate::write::quote;

/// One account.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// Its name, as written.
    pub name: String,
    /// The argon2id hash, in PHC form.
    pub password: String,
    /// The keys for SCRAM-SHA-256, as `SCRAM-SHA-256$ITERATIONS:SALT$STORED:SERVER`; none: it cannot use SCRAM.
    pub scram: Option<String>,
    /// What it may send from; `@example.com` stands for a whole domain.
    pub addresses: Vec<String>,
    /// The groups it is in, without `@`.
    pub groups: Vec<String>,
}

/// All accounts of one file. Names are compared without case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountFile {
    accounts: BTreeMap<String, Account>,
}

/// Why an account file could not be written.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// A step of it failed.
    #[error("cannot {step} {}: {source}", path.display())]
    Write {
        /// What was being done.
        step: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Why an account file could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// What is in the file cannot be read whole: writing it anew would lose the rest.
    #[error("the account file has errors; mend it first")]
    Broken {
        /// What is wrong with it.
        findings: Vec<Finding>,
    },
    /// It could not be read or written.
    #[error(transparent)]
    File(#[from] AccountError),
}

impl std::fmt::Debug for Account {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Account")
            .field("name", &self.name)
            .field("password", &"***")
            .field("scram", &self.scram.as_ref().map(|_| "***"))
            .field("addresses", &self.addresses)
            .field("groups", &self.groups)
            .finish()
    }
}

impl AccountFile {
    /// Reads an account file. An account with an error is left out; the findings say why.
    pub fn parse(text: &str, path: &Path) -> (AccountFile, Vec<Finding>) {
        let mut reader = Reader::new(text, path);
        let mut file = AccountFile::default();
        if let Some(root) = reader.parse() {
            read(&mut reader, &root, &mut file);
        }
        (file, reader.finish())
    }

    /// The account of this name.
    pub fn get(&self, name: &str) -> Option<&Account> {
        self.accounts.get(&name.to_lowercase())
    }

    /// All accounts, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Account> {
        self.accounts.values()
    }

    /// How many accounts there are.
    pub fn len(&self) -> usize {
        self.accounts.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }

    /// Adds an account, or replaces the one of the same name, which is returned.
    pub fn set(&mut self, account: Account) -> Option<Account> {
        self.accounts.insert(account.name.to_lowercase(), account)
    }

    /// Takes an account out.
    pub fn remove(&mut self, name: &str) -> Option<Account> {
        self.accounts.remove(&name.to_lowercase())
    }

    /// The file as it is written. Comments of a former text are not kept.
    pub fn to_toml(&self) -> String {
        let mut text =
            String::from("# Accounts that may log in. Change them with `postern account`.\n");
        for account in self.accounts.values() {
            let list = |items: &[String]| {
                items
                    .iter()
                    .map(|item| quote(item))
                    .collect::<Vec<_>>()
                    .join(", ")
            };
            let scram = account.scram.as_ref();
            text.push_str(&format!(
                "\n[accounts.{}]\npassword = {}\n{}addresses = [{}]\ngroups = [{}]\n",
                quote(&account.name),
                quote(&account.password),
                scram.map_or_else(String::new, |keys| format!("scram = {}\n", quote(keys))),
                list(&account.addresses),
                list(&account.groups)
            ));
        }
        text
    }

    /// Writes the file anew, whole or not at all: mode 0600, owner and group kept, on disk when this returns.
    pub fn write_atomically(&self, path: &Path) -> Result<(), AccountError> {
        replace_file(path, self.to_toml().as_bytes(), Owner::Former)
    }

    /// Reads the file (none is an empty one), lets `change` at it, and writes it, while nobody else does the same.
    pub fn update<T>(
        path: &Path,
        change: impl FnOnce(&mut AccountFile) -> T,
    ) -> Result<T, UpdateError> {
        let changed = AccountFile::try_update(path, |file| Ok::<T, Infallible>(change(file)))?;
        Ok(match changed {
            Ok(answer) => answer,
        })
    }

    /// The same with a change that may fail; then the file stays as it is.
    pub fn try_update<T, E>(
        path: &Path,
        change: impl FnOnce(&mut AccountFile) -> Result<T, E>,
    ) -> Result<Result<T, E>, UpdateError> {
        let _lock = lock_folder_of(path)?;
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(failed("read", path)(error).into()),
        };
        let (mut file, findings) = AccountFile::parse(&text, path);
        if findings
            .iter()
            .any(|finding| finding.severity == Severity::Error)
        {
            return Err(UpdateError::Broken { findings });
        }
        let answer = change(&mut file);
        if answer.is_ok() {
            file.write_atomically(path)?;
        }
        Ok(answer)
    }
}

fn read<'t>(reader: &mut Reader<'t>, root: &DeTable<'t>, file: &mut AccountFile) {
    for (key, node) in root {
        if key.get_ref() != "accounts" {
            let remedy = "write [accounts.\"NAME\"], and password, addresses and groups below";
            reader.error(
                key.span(),
                format!("unknown key `{}`", clip(key.get_ref())),
                remedy,
            );
            continue;
        }
        let Some(accounts) = node.get_ref().as_table() else {
            reader.error(
                node.span(),
                "`accounts` is a section for each account",
                "write [accounts.\"NAME\"]",
            );
            continue;
        };
        for (key, node) in accounts {
            let name = key.get_ref();
            if name.is_empty() || name.contains(|c: char| c.is_control() || c.is_whitespace()) {
                reader.error(
                    key.span(),
                    format!("`{}` is not an account's name", clip(name)),
                    "write a name without spaces",
                );
                continue;
            }
            let Some(account) = account(reader, key.span(), name, node) else {
                continue;
            };
            if let Some(first) = file.set(account) {
                let what = format!(
                    "the account `{}` is here twice: case does not matter",
                    clip(&first.name)
                );
                reader.error(key.span(), what, "keep one of the two");
            }
        }
    }
}

fn account<'t>(
    reader: &mut Reader<'t>,
    place: std::ops::Range<usize>,
    name: &str,
    node: &Node<'t>,
) -> Option<Account> {
    let table = reader.table(
        node,
        &["password", "scram", "addresses", "groups"],
        "[accounts.\"NAME\"]",
    )?;
    let Some(password) = table.get("password") else {
        let remedy = format!("set one with `postern account password {}`", clip(name));
        reader.error(
            place,
            format!("the account `{}` has no password", clip(name)),
            remedy,
        );
        return None;
    };
    let password = password_hash(reader, password, name);
    let scram = match table.get("scram") {
        Some(node) => Some(scram_keys(reader, node, name)?),
        None => None,
    };
    let mut list = |key: &str, read: fn(&str) -> Result<String, Misfit>| match table.get(key) {
        Some(node) => reader.list(node, "a list of texts in quotes", |reader, member| {
            reader.parsed(member, "text in quotes", read)
        }),
        None => Some(Vec::new()),
    };
    let (addresses, groups) = (list("addresses", address), list("groups", group));
    Some(Account {
        name: name.to_owned(),
        password: password?,
        scram,
        addresses: addresses?,
        groups: groups?,
    })
}

/// What is there instead may be a password in clear: it is not quoted.
fn password_hash<'t>(reader: &mut Reader<'t>, node: &Node<'t>, name: &str) -> Option<String> {
    let hash = node
        .get_ref()
        .as_str()
        .filter(|text| text.starts_with("$argon2id$") && !text.contains(char::is_control));
    if hash.is_none() {
        let remedy = format!("set it with `postern account password {}`", clip(name));
        reader.error(node.span(), "the password is not an argon2id hash", remedy);
    }
    hash.map(str::to_owned)
}

/// RFC 5802 §9: salt, iteration count, StoredKey and ServerKey, in base64. Whether they fit is seen where they are used.
fn scram_keys<'t>(reader: &mut Reader<'t>, node: &Node<'t>, name: &str) -> Option<String> {
    let parts = |text: &str| {
        let (how, keys) = text.strip_prefix("SCRAM-SHA-256$")?.split_once('$')?;
        let (iterations, salt) = how.split_once(':')?;
        let (stored, server) = keys.split_once(':')?;
        let is_base64 = |text: &str| {
            let sign = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte);
            !text.is_empty() && text.bytes().all(sign)
        };
        let all = [salt, stored, server].into_iter().all(is_base64);
        (all && iterations.parse::<u32>().is_ok()).then_some(())
    };
    let text = node.get_ref().as_str();
    let keys = text.filter(|text| parts(text).is_some());
    if keys.is_none() {
        let remedy = format!("make them with `postern account password {}`", clip(name));
        reader.error(node.span(), "these are no keys for SCRAM-SHA-256", remedy);
    }
    keys.map(str::to_owned)
}

fn address(text: &str) -> Result<String, Misfit> {
    let fits =
        |(local, domain): (&str, &str)| !local.contains(char::is_whitespace) && is_domain(domain);
    match text.rsplit_once('@').is_some_and(fits) {
        true => Ok(text.to_owned()),
        false => {
            let remedy = "write \"alice@example.com\", or \"@example.com\" for a whole domain";
            Err(Misfit::new(
                format!("`{}` is not an address", clip(text)),
                remedy,
            ))
        }
    }
}

fn group(text: &str) -> Result<String, Misfit> {
    let bare = text.strip_prefix('@').unwrap_or(text);
    match bare.is_empty()
        || bare.contains(|c: char| c.is_whitespace() || matches!(c, '@' | '!' | '*'))
    {
        true => Err(Misfit::new(
            format!("`{}` is not a group", clip(text)),
            "write \"staff\"",
        )),
        false => Ok(bare.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2g";

    fn alice() -> Account {
        Account {
            name: "Alice".to_owned(),
            password: HASH.to_owned(),
            scram: Some("SCRAM-SHA-256$4096:c2FsdA==$c3RvcmVk:c2VydmVy".to_owned()),
            addresses: vec![
                "alice@example.com".to_owned(),
                "@lists.example.com".to_owned(),
            ],
            groups: vec!["staff".to_owned()],
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let mut file = AccountFile::default();
        file.set(alice());
        file.set(Account {
            name: "o\"dd\\name".to_owned(),
            scram: None,
            ..alice()
        });
        let (read, findings) = AccountFile::parse(&file.to_toml(), Path::new("a.toml"));
        assert_eq!((read, findings), (file.clone(), Vec::new()));
        assert_eq!(
            file.get("ALICE").map(|account| account.name.as_str()),
            Some("Alice")
        );
        assert_eq!(
            file.set(Account {
                name: "aLICE".to_owned(),
                ..alice()
            }),
            Some(alice())
        );
        assert!(file.remove("alice").is_some() && file.get("alice").is_none());
        let shown = format!("{:?}", alice());
        assert!(!shown.contains("argon2id") && !shown.contains("c2FsdA"));
    }

    #[test]
    fn each_mistake_is_found_and_no_secret_told() {
        let text = format!(
            "[accounts.bad]\npassword = \"hunter2\"\n[accounts.none]\n[accounts.good]\npassword = \"{HASH}\"\n\
             [accounts.GOOD]\npassword = \"{HASH}\"\nadresses = []\n[accounts.odd]\npassword = \"{HASH}\"\n\
             addresses = [\"odd\"]\ngroups = [\"a b\"]\n[account.x]\n\
             [accounts.keys]\npassword = \"{HASH}\"\nscram = \"SCRAM-SHA-256$4096:hunter2\"\n"
        );
        let (file, findings) = AccountFile::parse(&text, Path::new("a.toml"));
        let shown: Vec<String> = findings.iter().map(ToString::to_string).collect();
        let expected = [
            "a.toml:2:12: error: the password is not an argon2id hash (set it with `postern account password bad`)",
            "a.toml:3:11: error: the account `none` has no password (set one with `postern account password none`)",
            "a.toml:4:11: error: the account `GOOD` is here twice: case does not matter (keep one of the two)",
            "a.toml:8:1: error: unknown key `adresses` (write `addresses`)",
            "a.toml:11:14: error: `odd` is not an address (write \"alice@example.com\", or \"@example.com\" for a whole domain)",
            "a.toml:12:11: error: `a b` is not a group (write \"staff\")",
            "a.toml:13:2: error: unknown key `account` (write [accounts.\"NAME\"], and password, addresses and groups below)",
            "a.toml:16:9: error: these are no keys for SCRAM-SHA-256 (make them with `postern account password keys`)",
        ];
        assert_eq!(shown, expected);
        assert!(file.get("good").is_some() && file.get("bad").is_none());
        assert!(shown.iter().all(|line| !line.contains("hunter2")));
    }

    #[test]
    fn writing_replaces_whole_keeps_links_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (
            folder.path().join("real.toml"),
            folder.path().join("link.toml"),
        );
        fs::write(&path, "# mine\n").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        AccountFile::update(&link, |file| file.set(alice())).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let (read, findings) = AccountFile::parse(&fs::read_to_string(&path).unwrap(), &path);
        assert!(findings.is_empty() && read.len() == 1);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);

        fs::write(&path, "[accounts.x]\n").unwrap();
        assert!(
            matches!(AccountFile::update(&path, |_| ()), Err(UpdateError::Broken { findings }) if findings.len() == 1)
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "[accounts.x]\n");
        let nowhere = folder.path().join("none").join("a.toml");
        assert!(matches!(
            AccountFile::default().write_atomically(&nowhere),
            Err(AccountError::Write { step: "create", .. })
        ));
    }

    #[test]
    fn two_at_once_lose_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        std::thread::scope(|scope| {
            for number in 0..8 {
                let path = &path;
                scope.spawn(move || {
                    AccountFile::update(path, |file| {
                        file.set(Account {
                            name: format!("a{number}"),
                            ..alice()
                        })
                    })
                    .unwrap()
                });
            }
        });
        assert_eq!(
            AccountFile::parse(&fs::read_to_string(&path).unwrap(), &path)
                .0
                .len(),
            8
        );
    }
}

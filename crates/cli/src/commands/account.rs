//! `postern account …`: who may log in, in an account file; passwords are kept as argon2id hashes only.
//!
//! Never: shows a hash or a password; leaves a half-written file.

use std::fs::DirBuilder;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use postern_config::{AccountError, AccountFile, AccountSource, UpdateError};
use postern_hosting::{Hosting, ServerName, Severity};
use serde::Serialize;

use super::Places;
use crate::failure::Error;
use crate::passwords;
use crate::render::{self, Cell, Side, Table};

/// Adds, changes and removes the accounts that may log in to a server.
///
/// The account file is the one the server's definition names, or the one given with --file. A running
/// server uses a changed file after: postern reload SERVER.
#[derive(Args)]
pub(crate) struct Account {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Add(Add),
    Password(Password),
    Remove(Remove),
    List(List),
}

/// Where accounts are kept: `SERVER ACCOUNT`, or `--file PATH ACCOUNT`.
#[derive(Args)]
struct Whose {
    /// The server, and the account's name; only the latter with --file.
    #[arg(value_names = ["SERVER", "ACCOUNT"], num_args = 1..=2, required = true)]
    words: Vec<String>,
    /// The account file itself, instead of a server's.
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
}

/// Adds an account. Its password is asked for twice, without echo.
#[derive(Args)]
struct Add {
    #[command(flatten)]
    whose: Whose,
    /// An address it may send from; @example.com for a whole domain. The account's own name counts if it is an address.
    #[arg(long, value_name = "ADDRESS")]
    address: Vec<String>,
    /// A group it belongs to, for submit and relay in the definition.
    #[arg(long, value_name = "GROUP")]
    group: Vec<String>,
    /// Read the password from the first line of standard input.
    #[arg(long)]
    password_stdin: bool,
}

/// Gives an account another password.
#[derive(Args)]
struct Password {
    #[command(flatten)]
    whose: Whose,
    /// Read the password from the first line of standard input.
    #[arg(long)]
    password_stdin: bool,
}

/// Removes an account.
#[derive(Args)]
struct Remove {
    #[command(flatten)]
    whose: Whose,
}

/// Lists the accounts: names, addresses and groups, never passwords.
#[derive(Args)]
struct List {
    /// The server.
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    server: Option<ServerName>,
    /// The account file itself, instead of a server's.
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// Write JSON, for programs.
    #[arg(long)]
    json: bool,
}

impl Account {
    pub(crate) fn run(&self, places: &Places, out: &mut dyn Write) -> Result<(), Error> {
        match &self.verb {
            Verb::Add(add) => add.run(places, out),
            Verb::Password(password) => password.run(places, out),
            Verb::Remove(remove) => remove.run(places, out),
            Verb::List(list) => list.run(places, out),
        }
    }
}

impl Add {
    fn run(&self, places: &Places, out: &mut dyn Write) -> Result<(), Error> {
        let (name, file) = self.whose.open(places, Missing::Begin)?;
        well_formed(&name)?;
        if file.accounts.get(&name).is_some() {
            return Err(file.known_already(&name));
        }
        let kept = passwords::keep(&passwords::new_password(&name, self.password_stdin)?)?;
        let mut addresses = self.address.clone();
        if addresses.is_empty() && name.contains('@') {
            addresses.push(name.clone());
        }
        let addressless = addresses.is_empty();
        let account = postern_config::Account {
            name: name.clone(),
            password: kept.hash,
            scram: Some(kept.scram),
            addresses,
            groups: self.group.clone(),
        };
        // Looked at again: somebody may have added it while the password was typed.
        let added = file.update(|accounts| {
            accounts
                .get(&name)
                .is_none()
                .then(|| accounts.set(account))
                .is_some()
        })?;
        if !added {
            return Err(file.known_already(&name));
        }
        writeln!(out, "{name} added to {}", file.path.display())?;
        if addressless {
            writeln!(
                out,
                "note: it has no address and cannot send while sender_must_match is on; see --address"
            )?;
        }
        file.tell_reload(out)
    }
}

impl Password {
    fn run(&self, places: &Places, out: &mut dyn Write) -> Result<(), Error> {
        let (name, file) = self.whose.open(places, Missing::Refuse)?;
        if file.accounts.get(&name).is_none() {
            return Err(file.no_such(&name));
        }
        let kept = passwords::keep(&passwords::new_password(&name, self.password_stdin)?)?;
        let changed = file.update(|accounts| {
            let account = accounts.get(&name).cloned();
            account
                .map(|account| {
                    accounts.set(postern_config::Account {
                        password: kept.hash,
                        scram: Some(kept.scram),
                        ..account
                    })
                })
                .is_some()
        })?;
        if !changed {
            return Err(file.no_such(&name));
        }
        writeln!(out, "{name} has a new password in {}", file.path.display())?;
        file.tell_reload(out)
    }
}

impl Remove {
    fn run(&self, places: &Places, out: &mut dyn Write) -> Result<(), Error> {
        let (name, file) = self.whose.open(places, Missing::Refuse)?;
        if file.accounts.get(&name).is_none()
            || file.update(|accounts| accounts.remove(&name))?.is_none()
        {
            return Err(file.no_such(&name));
        }
        writeln!(out, "{name} removed from {}", file.path.display())?;
        file.tell_reload(out)
    }
}

/// What `--json` writes of an account.
#[derive(Serialize)]
struct Shown<'a> {
    name: &'a str,
    addresses: &'a [String],
    groups: &'a [String],
}

impl List {
    fn run(&self, places: &Places, out: &mut dyn Write) -> Result<(), Error> {
        let file = match (&self.file, &self.server) {
            (Some(path), _) => Opened::read(path.clone(), None, Missing::Refuse)?,
            (None, Some(server)) => Opened::read(
                of_server(server, places)?,
                Some(server.clone()),
                Missing::Refuse,
            )?,
            (None, None) => return Err(Error::Failed("neither a server nor a file".to_owned())),
        };
        let shown: Vec<Shown<'_>> = file
            .accounts
            .iter()
            .map(|account| Shown {
                name: &account.name,
                addresses: &account.addresses,
                groups: &account.groups,
            })
            .collect();
        if self.json {
            return render::json(out, &shown);
        }
        if shown.is_empty() {
            writeln!(out, "no accounts in {}", file.path.display())?;
            return Ok(());
        }
        let mut table = Table::new(&[
            ("ACCOUNT", Side::Left),
            ("ADDRESSES", Side::Left),
            ("GROUPS", Side::Left),
        ]);
        for one in shown {
            table.row(vec![
                Cell::new(one.name),
                Cell::new(one.addresses.join(", ")),
                Cell::new(one.groups.join(", ")),
            ]);
        }
        table.write(out, render::colours(&io::stdout()))?;
        Ok(())
    }
}

/// What to do where the account file is not there yet.
#[derive(PartialEq)]
enum Missing {
    Begin,
    Refuse,
}

/// An account file that was read, and whose it is.
struct Opened {
    path: PathBuf,
    server: Option<ServerName>,
    accounts: AccountFile,
}

impl Whose {
    fn open(&self, places: &Places, missing: Missing) -> Result<(String, Opened), Error> {
        let usage = |what: &str, remedy: &str| Error::Usage {
            what: what.to_owned(),
            remedy: remedy.to_owned(),
        };
        match (&self.file, self.words.as_slice()) {
            (Some(path), [account]) => {
                Ok((account.clone(), Opened::read(path.clone(), None, missing)?))
            }
            (Some(_), _) => Err(usage(
                "with --file only the account's name is given",
                "leave the server out",
            )),
            (None, [server, account]) => {
                let server: ServerName = server.parse().map_err(|why| Error::Usage {
                    what: format!("{server} is no server's name: {why}"),
                    remedy: String::new(),
                })?;
                let path = of_server(&server, places)?;
                Ok((account.clone(), Opened::read(path, Some(server), missing)?))
            }
            (None, _) => Err(usage(
                "the server or the account's name is missing",
                "give both, or the account file with --file",
            )),
        }
    }
}

impl Opened {
    /// Reads the file; one with errors is not worked on, since writing it anew would lose what was not understood.
    fn read(path: PathBuf, server: Option<ServerName>, missing: Missing) -> Result<Opened, Error> {
        let accounts = match std::fs::read_to_string(&path) {
            Ok(text) => {
                let (accounts, findings) = AccountFile::parse(&text, &path);
                if findings
                    .iter()
                    .any(|finding| finding.severity == Severity::Error)
                {
                    return Err(Error::Broken { path, findings });
                }
                accounts
            }
            Err(cause) if cause.kind() == io::ErrorKind::NotFound && missing == Missing::Begin => {
                AccountFile::default()
            }
            Err(source) => return Err(Error::Read { path, source }),
        };
        Ok(Opened {
            path,
            server,
            accounts,
        })
    }

    /// Changes the file while nobody else does; its folder is made if it is the first.
    fn update<T>(&self, change: impl FnOnce(&mut AccountFile) -> T) -> Result<T, Error> {
        let folder = self
            .path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|folder| !folder.exists()) {
            let made = DirBuilder::new().recursive(true).mode(0o750).create(folder);
            made.map_err(|source| Error::Write {
                path: folder.to_owned(),
                source,
            })?;
        }
        AccountFile::update(&self.path, change).map_err(|trouble| match trouble {
            UpdateError::Broken { findings } => Error::Broken {
                path: self.path.clone(),
                findings,
            },
            UpdateError::File(AccountError::Write { path, source, .. }) => {
                Error::Write { path, source }
            }
        })
    }

    fn known_already(&self, name: &str) -> Error {
        self.refused(format!(
            "there is an account {name} already; postern account password changes its password"
        ))
    }

    fn refused(&self, reason: String) -> Error {
        Error::Refused {
            subject: self.path.display().to_string(),
            reason,
            findings: Vec::new(),
        }
    }

    fn no_such(&self, name: &str) -> Error {
        self.refused(format!(
            "there is no account {name}; postern account list shows those there are"
        ))
    }

    fn tell_reload(&self, out: &mut dyn Write) -> Result<(), Error> {
        match &self.server {
            Some(server) => Ok(writeln!(
                out,
                "a running server uses it after: postern reload {server}"
            )?),
            None => Ok(()),
        }
    }
}

/// The account file that a server's definition names.
fn of_server(server: &ServerName, places: &Places) -> Result<PathBuf, Error> {
    let path = places.servers().join(format!("{server}.toml"));
    let text = std::fs::read_to_string(&path).map_err(|source| Error::Read {
        path: path.clone(),
        source,
    })?;
    let (definition, findings) = postern_config::load(&text, &path);
    let Some(definition) = definition else {
        return Err(Error::Broken { path, findings });
    };
    let mut files = definition
        .authentication
        .accounts
        .iter()
        .filter_map(|source| match source {
            AccountSource::File { path, .. } => Some(path),
            _ => None,
        });
    match (files.next(), files.next()) {
        (Some(one), None) => Ok(tidy(Hosting::locate(&path, one))),
        (None, _) => Err(none_named(&path, server)),
        (Some(_), Some(_)) => Err(Error::Usage {
            what: format!("{} names several account files", path.display()),
            remedy: "say which with --file PATH".to_owned(),
        }),
    }
}

/// The path without `..` in it, as far as its folder is there.
fn tidy(path: PathBuf) -> PathBuf {
    let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
    match (folder, path.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => path,
    }
}

fn none_named(path: &Path, server: &ServerName) -> Error {
    Error::Usage {
        what: format!("{} names no account file", path.display()),
        remedy: format!(
            "write accounts = [{{ file = \"../accounts/{server}.toml\" }}] below [access.authentication]"
        ),
    }
}

/// A name that can be sent by a client and written in a definition's lists.
fn well_formed(name: &str) -> Result<(), Error> {
    let bad = name.is_empty()
        || name.len() > 254
        || name.starts_with(['@', '!'])
        || name.chars().any(|c| c.is_control() || c.is_whitespace());
    if !bad {
        return Ok(());
    }
    let what = format!("{} cannot be an account's name", render::printable(name));
    Err(Error::Usage {
        what,
        remedy: "use one word, not beginning with @ or !".to_owned(),
    })
}

//! `postern account …`: who may log in, in an account file; passwords are kept as argon2id hashes only.
//!
//! | File | Knows |
//! |---|---|
//! | `place.rs` | which files a server's accounts are in |
//! | `hashes.rs` | the file of NT hashes, which are as good as passwords and have a file of their own |
//!
//! Never: shows a hash or a password; leaves a half-written file.

mod hashes;
mod place;

use std::io::{self, Write};

use clap::{Args, Subcommand};
use postern_hosting::ServerName;
use postern_sasl::{NtHash, NtHashes};
use serde::Serialize;

use super::Places;
use crate::failure::Error;
use crate::passwords;
use crate::render::{self, Cell, Side, Table};
use place::{Files, Missing, Opened, Place, Whose};

/// Adds, changes and removes the accounts that may log in to a server.
///
/// The account file is the one the server's definition names, or the one given with --file. posternd
/// watches it: a running server uses a changed file within some 5 seconds.
///
/// With --ntlm an account has an NT hash too, in the file that the definition names beside the account
/// file as nt_hashes. An NT hash IS the password: whoever reads it can log in with it, without guessing.
/// Only root may read that file, and it belongs in no backup.
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
    /// Keep an NT hash of the password too, for NTLM. It is as good as the password to whoever reads it.
    #[arg(long)]
    ntlm: bool,
    /// Read the password from the first line of standard input.
    #[arg(long)]
    password_stdin: bool,
}

/// Gives an account another password. If it has an NT hash, that is another then too.
#[derive(Args)]
struct Password {
    #[command(flatten)]
    whose: Whose,
    /// Keep an NT hash of the password too, for NTLM. It is as good as the password to whoever reads it.
    #[arg(long)]
    ntlm: bool,
    /// Read the password from the first line of standard input.
    #[arg(long)]
    password_stdin: bool,
}

/// Removes an account, and its NT hash.
#[derive(Args)]
struct Remove {
    #[command(flatten)]
    whose: Whose,
}

/// Lists the accounts: names, addresses, groups, and who has an NT hash; never passwords or hashes.
#[derive(Args)]
struct List {
    /// The server.
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    server: Option<ServerName>,
    #[command(flatten)]
    files: Files,
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
        may_have_nt_hash(&file, &name, self.ntlm)?;
        if file.accounts.get(&name).is_some() {
            return Err(file.known_already(&name));
        }
        let password = passwords::new_password(&name, self.password_stdin)?;
        let account = self.account(&name, passwords::keep(&password)?);
        let addressless = account.addresses.is_empty();
        // Looked at again: somebody may have added it while the password was typed.
        let added = file.update(|accounts, hashes| {
            if accounts.get(&name).is_some() {
                return Ok(false);
            }
            // One that was left behind would let its password in again.
            hashes.remove(&name);
            if self.ntlm {
                set_nt_hash(hashes, &name, &password)?;
            }
            accounts.set(account);
            Ok(true)
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
        if self.ntlm {
            warn_of_nt_hash(&file, out)?;
        }
        file.tell_when(out)
    }

    fn account(&self, name: &str, kept: passwords::Kept) -> postern_config::Account {
        let mut addresses = self.address.clone();
        if addresses.is_empty() && name.contains('@') {
            addresses.push(name.to_owned());
        }
        postern_config::Account {
            name: name.to_owned(),
            password: kept.hash,
            scram: Some(kept.scram),
            addresses,
            groups: self.group.clone(),
        }
    }
}

impl Password {
    fn run(&self, places: &Places, out: &mut dyn Write) -> Result<(), Error> {
        let (name, file) = self.whose.open(places, Missing::Refuse)?;
        if file.accounts.get(&name).is_none() {
            return Err(file.no_such(&name));
        }
        may_have_nt_hash(&file, &name, self.ntlm)?;
        let password = passwords::new_password(&name, self.password_stdin)?;
        let kept = passwords::keep(&password)?;
        let changed = file.update(|accounts, hashes| {
            let Some(account) = accounts.get(&name).cloned() else {
                return Ok(None);
            };
            // An NT hash of the former password would go on letting it in.
            let had_one = hashes.get(&name).is_some();
            if had_one || self.ntlm {
                set_nt_hash(hashes, &account.name, &password)?;
            }
            accounts.set(postern_config::Account {
                password: kept.hash,
                scram: Some(kept.scram),
                ..account
            });
            Ok(Some(had_one))
        })?;
        let Some(had_one) = changed else {
            return Err(file.no_such(&name));
        };
        writeln!(out, "{name} has a new password in {}", file.path.display())?;
        if had_one {
            let path = file.hash_file()?.path().display();
            writeln!(out, "its NT hash in {path} is another too")?;
        } else if self.ntlm {
            warn_of_nt_hash(&file, out)?;
        }
        file.tell_when(out)
    }
}

impl Remove {
    fn run(&self, places: &Places, out: &mut dyn Write) -> Result<(), Error> {
        let (name, file) = self.whose.open(places, Missing::Refuse)?;
        let (account, hash) = file.update(|accounts, hashes| {
            // Nor is a hash left behind that has no account any more.
            let removed = (accounts.remove(&name), hashes.remove(&name));
            match removed {
                (None, None) => Err(file.no_such(&name)),
                (account, hash) => Ok((account.is_some(), hash.is_some())),
            }
        })?;
        if account {
            writeln!(out, "{name} removed from {}", file.path.display())?;
        }
        if hash {
            let path = file.hash_file()?.path().display();
            writeln!(out, "its NT hash removed from {path}")?;
        }
        file.tell_when(out)
    }
}

/// Whether an NT hash can be kept, where one is asked for: before a password is typed.
fn may_have_nt_hash(file: &Opened, name: &str, asked: bool) -> Result<(), Error> {
    if !asked {
        return Ok(());
    }
    file.hash_file()?.read()?;
    set_nt_hash(&mut NtHashes::default(), name, "")
}

fn set_nt_hash(hashes: &mut NtHashes, name: &str, password: &str) -> Result<(), Error> {
    let set = hashes.set(name, NtHash::of(password));
    set.map(drop).map_err(|why| Error::Usage {
        what: format!("{} can have no NT hash: {why}", render::printable(name)),
        remedy: "use another name, or leave --ntlm out".to_owned(),
    })
}

fn warn_of_nt_hash(file: &Opened, out: &mut dyn Write) -> Result<(), Error> {
    let path = file.hash_file()?.path().display();
    Ok(writeln!(
        out,
        "its NT hash is in {path}\n\
         warning: an NT hash is as good as the password to whoever reads it; keep that file out of backups"
    )?)
}

/// What `--json` writes of an account.
#[derive(Serialize)]
struct Shown<'a> {
    name: &'a str,
    addresses: &'a [String],
    groups: &'a [String],
    nt_hash: bool,
}

impl List {
    fn run(&self, places: &Places, out: &mut dyn Write) -> Result<(), Error> {
        let place = match (self.files.named(), &self.server) {
            (Some(place), _) => place,
            (None, Some(server)) => Place::of_server(server, places)?,
            (None, None) => return Err(Error::Failed("neither a server nor a file".to_owned())),
        };
        let file = Opened::read(place, Missing::Refuse)?;
        let hashes = file.hashes.as_ref().map(|file| file.read()).transpose()?;
        let has_hash = |name: &str| hashes.as_ref().is_some_and(|all| all.get(name).is_some());
        let shown: Vec<Shown<'_>> = file
            .accounts
            .iter()
            .map(|account| Shown {
                name: &account.name,
                addresses: &account.addresses,
                groups: &account.groups,
                nt_hash: has_hash(&account.name),
            })
            .collect();
        if self.json {
            return render::json(out, &shown);
        }
        if shown.is_empty() {
            writeln!(out, "no accounts in {}", file.path.display())?;
            return Ok(());
        }
        let mut columns = vec![
            ("ACCOUNT", Side::Left),
            ("ADDRESSES", Side::Left),
            ("GROUPS", Side::Left),
        ];
        // Only where there could be one.
        columns.extend(hashes.as_ref().map(|_| ("NT HASH", Side::Left)));
        let mut table = Table::new(&columns);
        for one in shown {
            let mut row = vec![
                Cell::new(one.name),
                Cell::new(one.addresses.join(", ")),
                Cell::new(one.groups.join(", ")),
            ];
            let hash = if one.nt_hash { "yes" } else { "no" };
            row.extend(hashes.as_ref().map(|_| Cell::new(hash)));
            table.row(row);
        }
        table.write(out, render::colours(&io::stdout()))?;
        Ok(())
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

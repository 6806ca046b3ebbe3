//! Where a server's accounts are kept: the account file, and the file of NT hashes beside it.
//!
//! Never: a password; an account written while somebody else writes another.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use clap::Args;
use postern_config::{AccountError, AccountFile, AccountSource, UpdateError};
use postern_hosting::{Hosting, ServerName, Severity};
use postern_sasl::NtHashes;

use super::hashes::HashFile;
use crate::commands::Places;
use crate::failure::Error;

/// Where accounts are kept: `SERVER ACCOUNT`, or `--file PATH ACCOUNT`.
#[derive(Args)]
pub(super) struct Whose {
    /// The server, and the account's name; only the latter with --file.
    #[arg(value_names = ["SERVER", "ACCOUNT"], num_args = 1..=2, required = true)]
    words: Vec<String>,
    #[command(flatten)]
    files: Files,
}

/// Files that are named instead of a server.
#[derive(Args)]
pub(super) struct Files {
    /// The account file itself, instead of a server's.
    #[arg(long, value_name = "PATH")]
    pub(super) file: Option<PathBuf>,
    /// The file of NT hashes that goes with it; without it, an NT hash the account may have stays as it is.
    #[arg(long, value_name = "PATH", requires = "file")]
    pub(super) nt_hashes: Option<PathBuf>,
}

/// What to do where the account file is not there yet.
#[derive(PartialEq)]
pub(super) enum Missing {
    Begin,
    Refuse,
}

/// The files of a server, or those named.
pub(super) struct Place {
    /// The account file.
    path: PathBuf,
    hashes: Option<HashFile>,
    server: Option<ServerOf>,
}

/// The server that names the files.
struct ServerOf {
    name: ServerName,
    definition: PathBuf,
    /// The account file as the definition writes it.
    written: PathBuf,
}

/// An account file that was read, and whose it is.
pub(super) struct Opened {
    pub(super) path: PathBuf,
    pub(super) accounts: AccountFile,
    pub(super) hashes: Option<HashFile>,
    server: Option<ServerOf>,
}

impl Whose {
    pub(super) fn open(
        &self,
        places: &Places,
        missing: Missing,
    ) -> Result<(String, Opened), Error> {
        let usage = |what: &str, remedy: &str| Error::Usage {
            what: what.to_owned(),
            remedy: remedy.to_owned(),
        };
        match (self.files.named(), self.words.as_slice()) {
            (Some(place), [account]) => Ok((account.clone(), Opened::read(place, missing)?)),
            (Some(_), _) => Err(usage(
                "with --file only the account's name is given",
                "leave the server out",
            )),
            (None, [server, account]) => {
                let server: ServerName = server.parse().map_err(|why| Error::Usage {
                    what: format!("{server} is no server's name: {why}"),
                    remedy: String::new(),
                })?;
                let place = Place::of_server(&server, places)?;
                Ok((account.clone(), Opened::read(place, missing)?))
            }
            (None, _) => Err(usage(
                "the server or the account's name is missing",
                "give both, or the account file with --file",
            )),
        }
    }
}

impl Files {
    /// The files themselves, where they are named.
    pub(super) fn named(&self) -> Option<Place> {
        Some(Place {
            path: self.file.clone()?,
            hashes: self.nt_hashes.clone().map(HashFile::at),
            server: None,
        })
    }
}

impl Place {
    /// The account file that a server's definition names, and the file of NT hashes beside it.
    pub(super) fn of_server(server: &ServerName, places: &Places) -> Result<Place, Error> {
        let path = places.servers().join(format!("{server}.toml"));
        let text = std::fs::read_to_string(&path).map_err(|source| Error::Read {
            path: path.clone(),
            source,
        })?;
        let (definition, findings) = postern_config::load(&text, &path);
        let Some(definition) = definition else {
            return Err(Error::Broken { path, findings });
        };
        let sources = definition.authentication.accounts.into_iter();
        let mut files = sources.filter_map(|source| match source {
            AccountSource::File { path, nt_hashes } => Some((path, nt_hashes)),
            _ => None,
        });
        match (files.next(), files.next()) {
            (Some((written, hashes)), None) => {
                let located = |written: &Path| tidy(Hosting::locate(&path, written));
                Ok(Place {
                    hashes: hashes.map(|written| HashFile::at(located(&written))),
                    path: located(&written),
                    server: Some(ServerOf {
                        name: server.clone(),
                        definition: path,
                        written,
                    }),
                })
            }
            (None, _) => Err(none_named(&path, server)),
            (Some(_), Some(_)) => Err(Error::Usage {
                what: format!("{} names several account files", path.display()),
                remedy:
                    "say which with --file PATH, and with --nt-hashes PATH if NT hashes go with it"
                        .to_owned(),
            }),
        }
    }
}

impl Opened {
    /// Reads the file; one with errors is not worked on, since writing it anew would lose what was not understood.
    pub(super) fn read(place: Place, missing: Missing) -> Result<Opened, Error> {
        let Place {
            path,
            hashes,
            server,
        } = place;
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
            accounts,
            hashes,
            server,
        })
    }

    /// Changes the accounts and their NT hashes while nobody else does: both, or neither if the change fails. Where no
    /// file of NT hashes is named, there are none, and none are kept.
    pub(super) fn update<T>(
        &self,
        change: impl FnOnce(&mut AccountFile, &mut NtHashes) -> Result<T, Error>,
    ) -> Result<T, Error> {
        make_folder_of(&self.path, 0o750)?;
        let changed = AccountFile::try_update(&self.path, |accounts| match &self.hashes {
            Some(file) => file.update(&self.path, |hashes| change(accounts, hashes)),
            None => change(accounts, &mut NtHashes::default()),
        });
        changed.map_err(|trouble| match trouble {
            UpdateError::Broken { findings } => Error::Broken {
                path: self.path.clone(),
                findings,
            },
            UpdateError::File(AccountError::Write { path, source, .. }) => {
                Error::Write { path, source }
            }
        })?
    }

    /// The file of NT hashes, or what to write so that there is one.
    pub(super) fn hash_file(&self) -> Result<&HashFile, Error> {
        self.hashes.as_ref().ok_or_else(|| match &self.server {
            Some(server) => Error::Usage {
                what: format!(
                    "{} names no file for NT hashes beside {}",
                    server.definition.display(),
                    server.written.display()
                ),
                remedy: format!(
                    "write {{ file = \"{}\", nt_hashes = \"{}\" }} in accounts, and ntlm = true, below [access.authentication]",
                    server.written.display(),
                    server.written.with_extension("nt").display()
                ),
            },
            None => Error::Usage {
                what: "no file is named for the NT hash".to_owned(),
                remedy: "name it with --nt-hashes PATH".to_owned(),
            },
        })
    }

    pub(super) fn known_already(&self, name: &str) -> Error {
        self.refused(format!(
            "there is an account {name} already; postern account password changes its password"
        ))
    }

    pub(super) fn no_such(&self, name: &str) -> Error {
        self.refused(format!(
            "there is no account {name}; postern account list shows those there are"
        ))
    }

    fn refused(&self, reason: String) -> Error {
        Error::Refused {
            subject: self.path.display().to_string(),
            reason,
            findings: Vec::new(),
        }
    }

    /// When a running server knows of it.
    pub(super) fn tell_when(&self, out: &mut dyn io::Write) -> Result<(), Error> {
        match &self.server {
            Some(server) => Ok(writeln!(
                out,
                "{} uses it within some 5 seconds, if it is running",
                server.name
            )?),
            None => Ok(()),
        }
    }
}

/// Makes the folder of the first file in it.
pub(super) fn make_folder_of(path: &Path, mode: u32) -> Result<(), Error> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty() && !folder.exists());
    let Some(folder) = folder else {
        return Ok(());
    };
    let made = DirBuilder::new().recursive(true).mode(mode).create(folder);
    made.map_err(|source| Error::Write {
        path: folder.to_owned(),
        source,
    })
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

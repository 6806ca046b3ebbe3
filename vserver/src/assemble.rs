//! Definition and files → a Generation, whole or not at all.
//!
//! ```text
//! manifest + files ─▶ definition text ─▶ config::load ─▶ certificates · accounts · recipients · routes ─▶ Generation
//!                                            └─────────────── findings ───────────────┘
//! ```
//!
//! All that is wrong is found at once; with one error among the findings there is no generation.
//!
//! Never: a file opened by name. What the definition names, the supervisor has opened, or says why it could not.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use postern_access::{DomainSet, List, RelayRule, SenderRule};
use postern_config::{
    AccountFile, AccountSource, BareNewline, Definition, Finding, Identity, MinStrength,
    MinVersion, Place, Recipients, Severity, TlsMode,
};
use postern_control::worker::{Item, Manifest};
use postern_dns::Resolver;
use postern_sasl::Mechanism;
use postern_smtp as smtp;
use postern_tls::{ClientTls, PairFiles, PemFile, ServerSettings, ServerTls, Strength};

use crate::accounts::{Accounts, FileSource};
use crate::generation::{Generation, People, SessionSettings};
use crate::outbound;

/// A file the definition names is read up to this length: far beyond any list or chain.
const LONGEST: u64 = 64 << 20;

/// What the supervisor handed over.
pub(crate) struct Parcel {
    definition: Option<(PathBuf, File)>,
    files: HashMap<PathBuf, OwnedFd>,
    missing: HashMap<PathBuf, String>,
    listeners: Vec<(Identity, TcpListener)>,
}

/// A generation, ready to serve.
pub(crate) struct Assembled {
    /// The policy.
    pub generation: Generation,
    /// The sockets to accept on.
    pub listeners: Vec<(Identity, TcpListener)>,
    /// What is doubtful in the definition.
    pub findings: Vec<Finding>,
}

impl Parcel {
    /// Sorts what came with an order.
    pub(crate) fn open(
        manifest: &Manifest,
        files: Vec<OwnedFd>,
    ) -> Result<Parcel, postern_control::Error> {
        let mut parcel = Parcel {
            definition: None,
            files: HashMap::new(),
            missing: HashMap::new(),
            listeners: Vec::new(),
        };
        for (item, file) in manifest.with(files)? {
            match item {
                Item::Definition { path } => parcel.definition = Some((path, File::from(file))),
                Item::File { path } => drop(parcel.files.insert(path, file)),
                Item::Listener { identity } => {
                    parcel.listeners.push((identity, TcpListener::from(file)))
                }
            }
        }
        let missing = manifest
            .missing
            .iter()
            .map(|missing| (missing.path.clone(), missing.error.clone()));
        parcel.missing = missing.collect();
        Ok(parcel)
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, String> {
        let Some(file) = self.files.get(path) else {
            return Err(self
                .missing
                .get(path)
                .cloned()
                .unwrap_or_else(|| "the supervisor did not hand it over".to_owned()));
        };
        let file = file.try_clone().map_err(|error| error.to_string())?;
        read_whole(&mut File::from(file)).map_err(|error| error.to_string())
    }
}

/// Builds the generation, or says all that is wrong.
pub(crate) fn assemble(mut parcel: Parcel) -> Result<Assembled, Vec<Finding>> {
    let Some((path, mut file)) = parcel.definition.take() else {
        return Err(vec![Finding::error(
            Path::new("?"),
            "no definition came with the order",
            "restart posternd: its version may differ",
        )]);
    };
    let text = read_whole(&mut file)
        .and_then(|bytes| {
            String::from_utf8(bytes)
                .map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidData, error))
        })
        .map_err(|error| {
            vec![Finding::error(
                &path,
                format!("the definition cannot be read: {error}"),
                "make it a UTF-8 text file",
            )]
        })?;
    let (definition, findings) = postern_config::load(&text, &path);
    let mut builder = Builder {
        path: &path,
        text: &text,
        parcel: &parcel,
        findings,
    };
    let generation = definition.and_then(|definition| builder.build(definition));
    let findings = builder.findings;
    match generation {
        Some(generation)
            if !findings
                .iter()
                .any(|finding| finding.severity == Severity::Error) =>
        {
            Ok(Assembled {
                generation,
                listeners: parcel.listeners,
                findings,
            })
        }
        _ => Err(findings),
    }
}

struct Builder<'a> {
    path: &'a Path,
    text: &'a str,
    parcel: &'a Parcel,
    findings: Vec<Finding>,
}

impl Builder<'_> {
    fn build(&mut self, definition: Definition) -> Option<Generation> {
        let server_tls = self.server_tls(&definition);
        let accounts = self.accounts(&definition);
        let people = self.people(&definition);
        let local = definition.delivery.local_domains();
        let routes = outbound::routes_of(&definition, |domain| {
            people.get(domain).and_then(|people| people.known.clone())
        });
        let has_accounts = !accounts.is_empty();
        Some(Generation {
            sessions: SessionSettings::new(|mode| {
                session_settings(&definition, mode, server_tls.is_some(), has_accounts)
            }),
            server_tls,
            client_tls: ClientTls::opportunistic(),
            resolver: resolver(&definition),
            routes: Arc::new(routes),
            accounts,
            connection: definition.connection.rule(),
            sender: sender_rule(&definition, local.clone()),
            relay: relay_rule(&definition, local),
            people,
            definition: Arc::new(definition),
        })
    }

    fn server_tls(&mut self, definition: &Definition) -> Option<ServerTls> {
        let mut pairs = Vec::new();
        for pair in &definition.tls.certificates {
            let certificate = self.pem(&pair.certificate, "the certificate");
            let key = self.pem(&pair.key, "the key");
            pairs.push(PairFiles {
                certificate: certificate?,
                key: key?,
            });
        }
        if pairs.is_empty() {
            return None;
        }
        let settings = ServerSettings {
            min_version: match definition.tls.min_version {
                MinVersion::Tls12 => postern_tls::MinVersion::Tls12,
                MinVersion::Tls13 => postern_tls::MinVersion::Tls13,
            },
            min_strength: match definition.tls.min_strength {
                MinStrength::Bits128 => Strength::Bits128,
                MinStrength::Bits256 => Strength::Bits256,
            },
            ..ServerSettings::default()
        };
        ServerTls::new(&pairs, &settings, SystemTime::now())
            .inspect_err(|errors| {
                errors.iter().for_each(|error| {
                    self.complain(error.path(), error.to_string(), error.remedy())
                })
            })
            .ok()
    }

    fn pem(&mut self, path: &Path, what: &str) -> Option<PemFile> {
        let text = self.file(path, what)?;
        Some(PemFile {
            path: path.to_owned(),
            text,
        })
    }

    fn accounts(&mut self, definition: &Definition) -> Accounts {
        let mut sources = Vec::new();
        for source in &definition.authentication.accounts {
            // The other sources are errors of the definition in this build.
            let AccountSource::File { path } = source else {
                continue;
            };
            let Some(bytes) = self.file(path, "the account file") else {
                continue;
            };
            let (file, findings) = AccountFile::parse(&String::from_utf8_lossy(&bytes), path);
            self.findings.extend(findings);
            sources.push(Arc::new(FileSource::new(file)));
        }
        Accounts::new(sources, &definition.authentication.default_domain)
    }

    fn people(&mut self, definition: &Definition) -> HashMap<Box<str>, People> {
        let mut all = HashMap::new();
        for domain in &definition.delivery.domains {
            let known = match &domain.recipients {
                Recipients::Listed(names) => Some(
                    names
                        .iter()
                        .map(|name| name.to_lowercase().into())
                        .collect(),
                ),
                Recipients::File(path) => self
                    .file(path, "the list of recipients")
                    .map(|bytes| listed(&bytes)),
                Recipients::Any | Recipients::Ldap | Recipients::Lmtp => None,
            };
            let aliases = domain
                .aliases
                .iter()
                .map(|(name, names)| (name.to_lowercase().into(), names.clone()))
                .collect();
            all.insert(domain.name.to_lowercase().into(), People { known, aliases });
        }
        all
    }

    fn file(&mut self, path: &Path, what: &str) -> Option<Vec<u8>> {
        self.parcel
            .read(path)
            .inspect_err(|error| {
                self.complain(
                    Some(path),
                    format!("{what} {} cannot be read: {error}", path.display()),
                    "put the file there, readable to root",
                );
            })
            .ok()
    }

    /// An error about the definition, at the line that names `file`.
    fn complain(
        &mut self,
        file: Option<&Path>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let finding = Finding::error(self.path, what, remedy);
        let written = file.map(|file| format!("\"{}\"", file.display()));
        let place = written.and_then(|written| {
            self.text
                .find(&written)
                .map(|start| start..start + written.len())
        });
        self.findings.push(match place {
            Some(range) => finding.at(Place::of(self.text, range)),
            None => finding,
        });
    }
}

fn read_whole(file: &mut File) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// One local part a line; `#` begins a comment.
fn listed(bytes: &[u8]) -> HashSet<Box<str>> {
    let text = String::from_utf8_lossy(bytes);
    let names = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim());
    names
        .filter(|name| !name.is_empty())
        .map(|name| name.to_lowercase().into())
        .collect()
}

fn resolver(definition: &Definition) -> Resolver {
    match definition.delivery.external_dns.as_slice() {
        [] => Resolver::system(),
        servers => Resolver::with_servers(servers.to_vec()),
    }
}

fn sender_rule(definition: &Definition, local: DomainSet) -> SenderRule {
    let authentication = &definition.authentication;
    SenderRule {
        local,
        anonymous: authentication.anonymous,
        submit: authentication.submit.clone(),
        must_match: authentication.sender_must_match,
        anonymous_local: authentication.anonymous_local_sender,
    }
}

fn relay_rule(definition: &Definition, local: DomainSet) -> RelayRule {
    let relay = &definition.relay;
    RelayRule {
        local,
        domains: DomainSet::new(
            relay
                .domains
                .iter()
                .map(|(name, origin)| (name.as_str(), *origin)),
        ),
        authenticated: relay.authenticated,
        granted: definition.authentication.relay.clone(),
        mode: relay.mode,
        list: List::new(&relay.list),
    }
}

/// What a session on an identity of this kind offers.
fn session_settings(
    definition: &Definition,
    mode: TlsMode,
    certificate: bool,
    accounts: bool,
) -> smtp::Settings {
    let messages = &definition.messages;
    let authentication = &definition.authentication;
    let basic: Vec<&'static str> = match authentication.basic && accounts {
        true => Mechanism::ALL
            .iter()
            .map(|mechanism| mechanism.name())
            .collect(),
        false => Vec::new(),
    };
    smtp::Settings {
        max_message_size: messages.max_message_size,
        max_session_size: messages.max_session_size,
        max_messages: messages.max_messages_per_session,
        max_recipients: messages.max_recipients,
        max_errors: messages.max_errors,
        idle_timeout: definition.general.idle_timeout,
        bare_newline: match messages.bare_newline {
            BareNewline::Refuse => smtp::BareNewline::Refuse,
            BareNewline::Convert => smtp::BareNewline::Convert,
        },
        tls: match (mode, certificate) {
            (TlsMode::Implicit, _) => smtp::TlsOffer::Active,
            (TlsMode::Starttls, true) if definition.tls.require => smtp::TlsOffer::Required,
            (TlsMode::Starttls, true) => smtp::TlsOffer::Offered,
            (TlsMode::Starttls, false) | (TlsMode::None, _) => smtp::TlsOffer::None,
        },
        mechanisms_clear: if authentication.basic_requires_tls {
            Vec::new()
        } else {
            basic.clone()
        },
        mechanisms_tls: basic,
        ..smtp::Settings::new(definition.general.fqdn.clone())
    }
}

/// The generation of a definition that needs no files.
#[cfg(test)]
pub(crate) fn generation_of(text: &str) -> Generation {
    let parcel = Parcel {
        definition: None,
        files: HashMap::new(),
        missing: HashMap::new(),
        listeners: Vec::new(),
    };
    let path = Path::new("servers/test.toml");
    let (definition, findings) = postern_config::load(text, path);
    let mut builder = Builder {
        path,
        text,
        parcel: &parcel,
        findings,
    };
    let generation = definition.and_then(|definition| builder.build(definition));
    generation.unwrap_or_else(|| panic!("{:?}", builder.findings))
}

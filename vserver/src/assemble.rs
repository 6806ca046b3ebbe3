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

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use postern_config::{
    AccountFile, AccountSource, Authentication, Definition, Finding, Identity, LdapBind,
    LdapSource as LdapSettings, LoginSecret, MinStrength, MinVersion, OutboundLogin,
    OutboundSecurity, OutboundTls, Severity,
};
use postern_control::worker::{Item, Manifest};
use postern_delivery::security::{Login, Security};
use postern_dns::Resolver;
use postern_policy::{Means, Policy, Source, session_settings};
use postern_sasl::Secret;
use postern_tls::{ClientTls, PairFiles, PemFile, ServerSettings, ServerTls, Strength};

use crate::accounts::{self, Accounts, Authd, DovecotSource, FileSource, Integrated, LdapSource};
use crate::generation::{Generation, SessionSettings};
use crate::outbound;

/// A file the definition names is read up to this length: far beyond any list or chain.
const LONGEST: u64 = 64 << 20;

/// What the supervisor handed over.
pub(crate) struct Parcel {
    definition: Option<(PathBuf, File)>,
    files: HashMap<PathBuf, OwnedFd>,
    missing: HashMap<PathBuf, String>,
    listeners: Vec<(Identity, TcpListener)>,
    /// Links, by the numbers of their sources.
    authds: HashMap<usize, OwnedFd>,
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
            authds: HashMap::new(),
        };
        for (item, file) in manifest.with(files)? {
            match item {
                Item::Definition { path } => parcel.definition = Some((path, File::from(file))),
                Item::File { path } => drop(parcel.files.insert(path, file)),
                Item::Listener { identity } => {
                    parcel.listeners.push((identity, TcpListener::from(file)))
                }
                Item::Authd { source } => drop(parcel.authds.insert(source, file)),
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
        let mut file = File::from(file);
        // The place in the file is shared with whoever read it before; a pipe has none.
        let _ = file.rewind();
        read_whole(&mut file).map_err(|error| error.to_string())
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
    let authds = std::mem::take(&mut parcel.authds);
    let mut builder = Builder {
        authds: authds
            .into_iter()
            .map(|(source, link)| (source, Authd::new(Some(link))))
            .collect(),
        missing: &parcel.missing,
        source: Source {
            path: &path,
            text: &text,
            read: &mut |path| parcel.read(path),
            findings,
        },
    };
    let generation = definition.map(|definition| builder.build(definition));
    let findings = builder.source.findings;
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
    source: Source<'a>,
    authds: HashMap<usize, Arc<Authd>>,
    missing: &'a HashMap<PathBuf, String>,
}

impl Builder<'_> {
    fn build(&mut self, mut definition: Definition) -> Generation {
        let findings = definition.read_lists(&mut *self.source.read);
        self.source.findings.extend(findings);
        definition.forget_places();
        let server_tls = self.server_tls(&definition);
        let accounts = self.accounts(&definition);
        let policy = Policy::build(definition, &mut self.source);
        let definition = policy.definition.clone();
        let resolver = resolver(&definition);
        self.dane(&definition, &resolver);
        let routes = outbound::routes_of(
            &definition,
            |written| self.way_out(written),
            |domain| {
                let people = policy.people.get(domain);
                people.and_then(|people| people.known.clone())
            },
        );
        let means = Means {
            certificate: server_tls.is_some(),
            accounts: accounts.know_passwords(),
            scram: accounts.has_scram_keys(),
            certificates: server_tls.is_some() && definition.tls.client_ca.is_some(),
            kerberos: accounts.take_tickets(),
            ntlm: accounts.answer_ntlm(),
        };
        Generation {
            sessions: SessionSettings::new(|mode| session_settings(&definition, mode, means)),
            server_tls,
            client_tls: ClientTls::opportunistic(),
            resolver,
            routes: Arc::new(routes),
            accounts,
            policy,
            hosts: ArcSwap::default(),
            definition,
        }
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
        let client_ca = match &definition.tls.client_ca {
            Some(path) => Some(self.pem(path, "the authority of client certificates")?),
            None => None,
        };
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
            client_ca,
        };
        ServerTls::new(&pairs, &settings, SystemTime::now())
            .inspect_err(|errors| {
                errors.iter().for_each(|error| {
                    self.source
                        .complain(error.path(), error.to_string(), error.remedy())
                })
            })
            .ok()
    }

    fn pem(&mut self, path: &Path, what: &str) -> Option<PemFile> {
        let text = self.source.file(path, what)?;
        Some(PemFile {
            path: path.to_owned(),
            text,
        })
    }

    fn accounts(&mut self, definition: &Definition) -> Accounts {
        let authentication = &definition.authentication;
        let numbered = authentication.accounts.iter().enumerate();
        let sources: Vec<(usize, accounts::Source)> = numbered
            .filter_map(|(number, source)| Some((number, self.account_source(number, source)?)))
            .collect();
        let mut serving = |number: Option<usize>| {
            let number = number?;
            let mut its = sources.iter().filter(|(other, _)| *other == number);
            let accounts = its.find_map(|(_, source)| match source {
                accounts::Source::File(file) => Some(file.clone()),
                _ => None,
            });
            Some(self.integrated(number, authentication, accounts))
        };
        let ntlm = serving(authentication.ntlm_source());
        let kerberos = serving(authentication.kerberos_source());
        let sources = sources.into_iter().map(|(_, source)| source).collect();
        Accounts::new(sources, &authentication.default_domain).integrated(ntlm, kerberos)
    }

    fn account_source(
        &mut self,
        number: usize,
        source: &AccountSource,
    ) -> Option<accounts::Source> {
        match source {
            AccountSource::File { path, nt_hashes } => {
                let hashes = nt_hashes
                    .as_deref()
                    .is_none_or(|path| self.is_there(path, "the file of NT hashes"));
                self.account_file(path).filter(|_| hashes)
            }
            AccountSource::Ldap(settings) => self.directory(settings),
            AccountSource::Dovecot { path } => {
                Some(accounts::Source::Dovecot(DovecotSource::new(path.clone())))
            }
            AccountSource::Windows { domains } => Some(accounts::Source::Windows(Integrated {
                accounts: None,
                authd: self.authd(number),
                domains: domains.clone(),
            })),
            AccountSource::Gssapi { keytab, .. } => self
                .is_there(keytab, "the keytab")
                .then_some(accounts::Source::Kerberos),
        }
    }

    /// Whether root could open what only an authd reads.
    fn is_there(&mut self, path: &Path, what: &str) -> bool {
        let Some(error) = self.missing.get(path) else {
            return true;
        };
        let what = format!("{what} {} cannot be read: {error}", path.display());
        self.source.complain(
            Some(path),
            what,
            "make it, owned by root and with mode 0600",
        );
        false
    }

    fn integrated(
        &mut self,
        source: usize,
        authentication: &Authentication,
        accounts: Option<Arc<FileSource>>,
    ) -> Integrated {
        let domains = match &authentication.accounts[source] {
            AccountSource::Windows { domains } => domains,
            AccountSource::Gssapi { realms, .. } => realms,
            _ => &Vec::new(),
        };
        Integrated {
            accounts,
            authd: self.authd(source),
            domains: domains.clone(),
        }
    }

    /// The authd of a source; posternd tries again where it could not start one.
    fn authd(&mut self, source: usize) -> Arc<Authd> {
        self.authds
            .entry(source)
            .or_insert_with(|| Authd::new(None))
            .clone()
    }

    fn account_file(&mut self, path: &Path) -> Option<accounts::Source> {
        let bytes = self.source.file(path, "the account file")?;
        let (file, findings) = AccountFile::parse(&String::from_utf8_lossy(&bytes), path);
        self.source.findings.extend(findings);
        Some(accounts::Source::File(Arc::new(FileSource::new(file))))
    }

    fn directory(&mut self, settings: &LdapSettings) -> Option<accounts::Source> {
        let bind = settings.bind.as_ref();
        let password = bind.map(|bind| self.password(&bind.password_file));
        let tls = match &settings.ca {
            Some(path) => self.trust(path),
            None => Some(ClientTls::verified()),
        };
        let password = match password {
            Some(read) => Some(read?),
            None => None,
        };
        let source = LdapSource::new(settings, password, tls?);
        Some(accounts::Source::Ldap(Box::new(source)))
    }

    fn password(&mut self, path: &Path) -> Option<Secret> {
        let bytes = Secret::new(self.source.file(path, "the password file")?);
        match LdapBind::password_in(bytes.expose()) {
            Ok(password) => Some(Secret::new(password.to_vec())),
            Err(fault) => {
                self.source.complain(
                    Some(path),
                    format!("{} {fault}", path.display()),
                    "write the password into it, and nothing else",
                );
                None
            }
        }
    }

    fn way_out(&mut self, written: &OutboundSecurity) -> Security {
        let trust = written.ca.as_ref().and_then(|path| self.trust(path));
        let login = written.login.as_ref();
        let login = login.and_then(|login| self.next_hop_login(login));
        outbound::security(written, trust, login)
    }

    /// Whether anybody can be asked what DNSSEC vouches for. `/etc/resolv.conf` may be mended while we run, and until then
    /// mail waits: a reason to warn, not to stand still.
    fn dane(&mut self, definition: &Definition, resolver: &Resolver) {
        let mut securities = definition.delivery.securities();
        if securities.all(|security| security.tls != OutboundTls::Dane) {
            return;
        }
        let why = match resolver.trusted() {
            Ok(servers) if !servers.is_empty() => return,
            Ok(_) => "no name server in /etc/resolv.conf is on this host".to_owned(),
            Err(error) => format!("/etc/resolv.conf cannot be read: {error}"),
        };
        let what = format!(
            "mail with tls = \"dane\" waits: {why}, so nobody can be believed about DNSSEC"
        );
        let remedy = "run a resolver that validates (unbound) on this host, and write external_dns = [\"127.0.0.1\"] in [delivery]";
        let finding = Finding::error(self.source.path, what, remedy);
        let finding = finding.with_severity(Severity::Warning);
        self.source.findings.push(finding);
    }

    fn next_hop_login(&mut self, written: &OutboundLogin) -> Option<Login> {
        let secret = match &written.secret {
            LoginSecret::Written(secret) => Secret::from(secret.reveal()),
            LoginSecret::File(path) => {
                let bytes = self.source.file(path, "the secret of a login")?;
                let bytes = Secret::new(bytes);
                match written.secret_in(bytes.expose()) {
                    Ok(secret) => Secret::new(secret.to_vec()),
                    Err(fault) => {
                        let what = format!("{} {fault}", path.display());
                        self.source.complain(Some(path), what, written.remedy());
                        return None;
                    }
                }
            }
        };
        Some(outbound::login(written, secret))
    }

    fn trust(&mut self, path: &Path) -> Option<ClientTls> {
        let tls = ClientTls::verified_by(self.pem(path, "the certificates of `ca`")?);
        match tls.config() {
            Ok(_) => Some(tls),
            Err(error) => {
                self.source
                    .complain(error.path(), error.to_string(), error.remedy());
                None
            }
        }
    }
}

fn read_whole(file: &mut File) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn resolver(definition: &Definition) -> Resolver {
    match definition.delivery.external_dns.as_slice() {
        [] => Resolver::system(),
        servers => Resolver::with_servers(servers.to_vec()),
    }
}

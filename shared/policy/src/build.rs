//! Definition and files → a policy.
//!
//! Never: a key or a password; those stay with the worker.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use postern_access::{ConnectionRule, DomainSet, List, RelayRule, SenderRule};
use postern_config::{CertificatePair, Definition, Finding, Place, Recipients};

use crate::facts::mark;
use crate::people::{People, listed};
use crate::places::Places;

/// The rules of one definition, ready to decide.
pub struct Policy {
    /// What the administrator wrote. The entries of the two lists are in the rules, and taken out here.
    pub definition: Arc<Definition>,
    /// Who may connect.
    pub connection: ConnectionRule,
    /// Who may send as whom.
    pub sender: SenderRule,
    /// Who may send to whom.
    pub relay: RelayRule,
    /// Who is there in the local domains, by domain in lower case.
    pub people: HashMap<Box<str>, People>,
    /// Where the rules stand.
    pub places: Places,
    /// The certificate files as written, and a number that changes when one does; `None`: it could not be read.
    pub certificates: BTreeMap<String, Option<u64>>,
}

/// A definition's text, and how the files it names are read.
pub struct Source<'a> {
    /// Where the definition stands.
    pub path: &'a Path,
    /// Its text.
    pub text: &'a str,
    /// Reads a file the definition names, as it is written there; or says why it cannot.
    pub read: &'a mut dyn FnMut(&Path) -> Result<Vec<u8>, String>,
    /// What was found wrong.
    pub findings: Vec<Finding>,
}

impl Policy {
    /// Builds the rules; what is wrong with a file goes to the source's findings.
    pub fn build(mut definition: Definition, source: &mut Source<'_>) -> Policy {
        let people = people(&definition, source);
        let certificates = certificates(&definition, source);
        let places = Places::new(&definition, source.path);
        let local = definition.delivery.local_domains();
        let connection = definition.connection.rule();
        let sender = sender_rule(&definition, local.clone());
        let relay = relay_rule(&definition, local);
        // A hundred thousand entries are not kept twice.
        definition.connection.list = Vec::new();
        definition.relay.list = Vec::new();
        Policy {
            connection,
            sender,
            relay,
            people,
            places,
            certificates,
            definition: Arc::new(definition),
        }
    }
}

impl Source<'_> {
    /// The file, or nothing and a finding that says what it was for.
    pub fn file(&mut self, path: &Path, what: &str) -> Option<Vec<u8>> {
        match (self.read)(path) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                self.complain(
                    Some(path),
                    format!("{what} {} cannot be read: {error}", path.display()),
                    "put the file there, readable to root",
                );
                None
            }
        }
    }

    /// An error about the definition, at the line that names `file`.
    pub fn complain(
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

/// Whether a certificate can be used is not judged here.
fn certificates(definition: &Definition, source: &mut Source<'_>) -> BTreeMap<String, Option<u64>> {
    let mut marked = |pair: &CertificatePair| {
        let bytes = (source.read)(&pair.certificate).ok();
        let path = pair.certificate.display().to_string();
        (path, bytes.map(|bytes| mark(&bytes)))
    };
    let pairs = definition.tls.certificates.iter();
    pairs.map(&mut marked).collect()
}

fn people(definition: &Definition, source: &mut Source<'_>) -> HashMap<Box<str>, People> {
    let mut all = HashMap::new();
    for domain in &definition.delivery.domains {
        let known = match &domain.recipients {
            Recipients::Listed(names) => Some(
                names
                    .iter()
                    .map(|name| name.to_lowercase().into())
                    .collect(),
            ),
            Recipients::File(path) => source
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

/// The policy of a definition that names no file that is read.
#[cfg(test)]
pub(crate) fn policy_of(text: &str) -> Policy {
    let path = Path::new("/somewhere/servers/mx1.toml");
    let (definition, findings) = postern_config::load(text, path);
    let mut source = Source {
        path,
        text,
        read: &mut |_| Err("no file is read here".to_owned()),
        findings,
    };
    let definition = definition.unwrap_or_else(|| panic!("{:?}", source.findings));
    Policy::build(definition, &mut source)
}

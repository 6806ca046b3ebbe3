//! What a policy comes to, as values that can be written down and compared.
//!
//! Never: a password, or a hash that one could be guessed from; a certificate's key.

mod directories;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ipnet::IpNet;
use postern_access::{Found, List, Matched, Mode};
use postern_config::{
    Account, AccountSource, Authentication, ChannelBinding, Definition, MinVersion, RatePair,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::accounts::login_of;
use crate::build::Policy;
use crate::people::People;

/// What a policy comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The addresses listened on, and how TLS is spoken there.
    pub identities: BTreeMap<String, String>,
    /// Who may connect.
    pub connection: ListFacts,
    /// Who may relay without logging in.
    pub relay: ListFacts,
    /// Foreign domains that mail is taken for.
    pub relay_domains: BTreeSet<String>,
    /// Who may log in.
    pub accounts: BTreeMap<String, AccountFacts>,
    /// Directories by servers and base, and how each is asked, by setting.
    #[serde(default)]
    pub directories: BTreeMap<String, BTreeMap<String, String>>,
    /// The local domains.
    pub domains: BTreeMap<String, DomainFacts>,
    /// Certificates by path, and a number that changes when the file does; `None`: it could not be read.
    pub certificates: BTreeMap<String, Option<u64>>,
    /// Single settings of `[access]` by name, as they are in force.
    pub access: BTreeMap<String, String>,
    /// Limits by name, as they are in force.
    pub limits: BTreeMap<String, String>,
    /// The rest that a client can see, by name.
    pub others: BTreeMap<String, String>,
}

/// A list and its mode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListFacts {
    /// Whether only the listed may, or all but them.
    pub only: bool,
    /// Addresses and networks.
    pub networks: Vec<IpNet>,
    /// `host` and `domain` entries.
    pub names: BTreeSet<String>,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountFacts {
    /// Whether it may send.
    pub submits: bool,
    /// Whether it may relay.
    pub relays: bool,
    /// The addresses it may send from.
    pub addresses: BTreeSet<String>,
    /// Its groups.
    pub groups: BTreeSet<String>,
    /// Whether it has keys for SCRAM.
    #[serde(default)]
    pub scram: bool,
    /// A number that changes when the password does.
    pub password: u64,
}

/// A local domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainFacts {
    /// Where its mail goes.
    pub to: String,
    /// Who is there; `None`: everybody is taken.
    pub recipients: Option<BTreeSet<String>>,
    /// Other names, and what they stand for.
    pub aliases: BTreeMap<String, Vec<String>>,
}

impl Facts {
    /// What `policy` comes to, for these accounts.
    pub fn of<'a>(policy: &Policy, accounts: impl IntoIterator<Item = &'a Account>) -> Facts {
        let definition = &*policy.definition;
        let mut known = BTreeMap::new();
        for account in accounts {
            // The first source that has an account decides.
            let name = account.name.to_lowercase();
            known
                .entry(name)
                .or_insert_with(|| account_facts(policy, account));
        }
        Facts {
            identities: identities(definition),
            connection: list_facts(policy.connection.mode(), policy.connection.list()),
            relay: list_facts(policy.relay.mode, &policy.relay.list),
            relay_domains: definition
                .relay
                .domains
                .iter()
                .map(|(name, _)| name.clone())
                .collect(),
            accounts: known,
            directories: directories::facts(definition),
            domains: domains(policy),
            certificates: policy.certificates.clone(),
            access: access(definition),
            limits: limits(definition),
            others: others(definition),
        }
    }
}

/// A number that differs where the bytes differ, and leads back to nothing: the first 64 bits of their SHA-256. It is the
/// same in every process and every release, for a worker may be older than the command that asks it.
pub(crate) fn mark(bytes: &[u8]) -> u64 {
    let digest = Sha256::digest(bytes);
    digest
        .iter()
        .take(8)
        .fold(0, |mark, byte| mark << 8 | u64::from(*byte))
}

fn identities(definition: &Definition) -> BTreeMap<String, String> {
    let all = definition.general.listen.iter();
    all.map(|identity| {
        (
            identity.address.to_string(),
            identity.tls.as_str().to_owned(),
        )
    })
    .collect()
}

fn list_facts(mode: Mode, list: &List) -> ListFacts {
    let mut facts = ListFacts {
        only: mode == Mode::Only,
        networks: Vec::new(),
        names: BTreeSet::new(),
    };
    for Found { matched, .. } in list.entries() {
        match matched {
            Matched::Network(network) => facts.networks.push(network),
            name => drop(facts.names.insert(name.to_string())),
        }
    }
    facts
}

fn account_facts(policy: &Policy, account: &Account) -> AccountFacts {
    let login = login_of(account);
    AccountFacts {
        submits: policy.sender.submit.allow(&login),
        relays: policy.relay.authenticated && policy.relay.granted.allow(&login),
        addresses: account.addresses.iter().cloned().collect(),
        groups: account.groups.iter().cloned().collect(),
        scram: account.scram.is_some(),
        password: mark(account.password.as_bytes()),
    }
}

fn domains(policy: &Policy) -> BTreeMap<String, DomainFacts> {
    let all = policy.definition.delivery.domains.iter();
    all.map(|domain| {
        let people = policy.people.get(domain.name.as_str());
        let known = people.and_then(|people: &People| people.known.as_ref());
        let facts = DomainFacts {
            to: domain.to.to_string(),
            recipients: known.map(|known| known.iter().map(|name| name.to_string()).collect()),
            aliases: domain.aliases.clone(),
        };
        (domain.name.clone(), facts)
    })
    .collect()
}

fn access(definition: &Definition) -> BTreeMap<String, String> {
    let (authentication, tls) = (&definition.authentication, &definition.tls);
    let lockout = authentication.lockout.map_or_else(
        || "none".to_owned(),
        |rule| {
            let (within, block) = (time(rule.within), time(rule.block));
            format!(
                "{} wrong passwords in {within}, for {block}",
                rule.passwords
            )
        },
    );
    let grants = |grants: &postern_config::Grants| {
        let all: Vec<String> = grants.iter().map(ToString::to_string).collect();
        format!("[{}]", all.join(", "))
    };
    let version = match tls.min_version {
        MinVersion::Tls12 => "1.2",
        MinVersion::Tls13 => "1.3",
    };
    named([
        (
            "authentication.anonymous",
            authentication.anonymous.to_string(),
        ),
        ("authentication.accounts", sources(definition)),
        ("authentication.basic", authentication.basic.to_string()),
        (
            "authentication.basic_requires_tls",
            authentication.basic_requires_tls.to_string(),
        ),
        ("authentication.scram", authentication.scram.to_string()),
        (
            "authentication.integrated",
            is_negotiated(authentication).to_string(),
        ),
        (
            "authentication.ntlm",
            authentication.serves_ntlm().to_string(),
        ),
        (
            "authentication.ntlm.requires_tls",
            authentication.ntlm.requires_tls.to_string(),
        ),
        (
            "authentication.ntlm.channel_binding",
            match authentication.ntlm.channel_binding {
                ChannelBinding::Accept => "accept",
                ChannelBinding::Require => "require",
            }
            .to_owned(),
        ),
        (
            "authentication.default_domain",
            authentication.default_domain.clone(),
        ),
        ("authentication.submit", grants(&authentication.submit)),
        ("authentication.relay", grants(&authentication.relay)),
        (
            "authentication.sender_must_match",
            authentication.sender_must_match.to_string(),
        ),
        (
            "authentication.anonymous_local_sender",
            authentication.anonymous_local_sender.as_str().to_owned(),
        ),
        ("authentication.lockout", lockout),
        (
            "relay.authenticated",
            definition.relay.authenticated.to_string(),
        ),
        ("tls.require", tls.require.to_string()),
        ("tls.min_version", version.to_owned()),
        ("tls.min_strength", tls.min_strength.bits().to_string()),
    ])
}

/// Whether GSS-SPNEGO is offered anywhere: it is where tickets are taken, or NTLM.
fn is_negotiated(settings: &Authentication) -> bool {
    settings.serves_kerberos() || settings.serves_ntlm() && settings.is_integrated()
}

/// Where accounts come from; those of files are compared one by one, and how directories are asked beside.
fn sources(definition: &Definition) -> String {
    let all = definition.authentication.accounts.iter();
    let all = all.map(|source| match source {
        AccountSource::File { path, nt_hashes } => {
            let hashes = nt_hashes.as_ref();
            let hashes = hashes.map(|path| format!(" with NT hashes {}", path.display()));
            format!("file {}{}", path.display(), hashes.unwrap_or_default())
        }
        AccountSource::Ldap(ldap) => directories::name(ldap),
        AccountSource::Windows { domains } => format!("windows {}", domains.join(" ")),
        AccountSource::Gssapi { keytab, realms } => {
            let realms: String = realms.iter().map(|realm| format!(" {realm}")).collect();
            format!("gssapi {}{realms}", keytab.display())
        }
        AccountSource::Dovecot { path } => format!("dovecot {}", path.display()),
    });
    format!("[{}]", all.collect::<Vec<_>>().join(", "))
}

fn limits(definition: &Definition) -> BTreeMap<String, String> {
    let (general, messages) = (&definition.general, &definition.messages);
    named([
        (
            "general.max_connections",
            general.max_connections.to_string(),
        ),
        (
            "general.max_connections_per_ip",
            general.max_connections_per_ip.to_string(),
        ),
        ("general.idle_timeout", time(general.idle_timeout)),
        ("messages.max_message_size", size(messages.max_message_size)),
        ("messages.max_session_size", size(messages.max_session_size)),
        (
            "messages.max_messages_per_session",
            messages.max_messages_per_session.to_string(),
        ),
        (
            "messages.max_recipients",
            messages.max_recipients.to_string(),
        ),
        ("messages.max_errors", messages.max_errors.to_string()),
        ("messages.max_hops", messages.max_hops.to_string()),
        ("messages.anonymous_rate", rate(messages.anonymous_rate)),
        ("messages.account_rate", rate(messages.account_rate)),
    ])
}

fn others(definition: &Definition) -> BTreeMap<String, String> {
    let messages = &definition.messages;
    let balancers: Vec<String> = definition
        .general
        .proxy_from
        .iter()
        .map(ToString::to_string)
        .collect();
    let unresolved = messages.unresolved_to.as_ref();
    named([
        ("general.fqdn", definition.general.fqdn.clone()),
        ("general.proxy_from", format!("[{}]", balancers.join(", "))),
        (
            "messages.bare_newline",
            format!("{:?}", messages.bare_newline).to_lowercase(),
        ),
        (
            "messages.unresolved_to",
            unresolved.map_or_else(|| "none".to_owned(), ToString::to_string),
        ),
    ])
}

fn named<const N: usize>(pairs: [(&str, String); N]) -> BTreeMap<String, String> {
    pairs
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn time(time: Duration) -> String {
    match (time.as_secs(), time.subsec_millis()) {
        (seconds, 0) if seconds % 3600 == 0 && seconds > 0 => format!("{}h", seconds / 3600),
        (seconds, 0) if seconds % 60 == 0 && seconds > 0 => format!("{}m", seconds / 60),
        (seconds, 0) => format!("{seconds}s"),
        _ => format!("{}ms", time.as_millis()),
    }
}

fn size(bytes: u64) -> String {
    match bytes % 1_000_000 {
        0 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{bytes} B"),
    }
}

fn rate(pair: Option<RatePair>) -> String {
    let told = |rate: Option<postern_config::Rate>, of: &str| {
        rate.map(|rate| format!("{} {of} in {}", rate.count, time(rate.per)))
    };
    let pair = pair.map(|pair| {
        [
            told(pair.messages, "messages"),
            told(pair.recipients, "recipients"),
        ]
    });
    match pair {
        None => "none".to_owned(),
        Some(both) => both.into_iter().flatten().collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Facts of an older worker are compared with those of this command: the number may never change.
    #[test]
    fn a_mark_is_the_same_in_every_release() {
        assert_eq!(mark(b""), 0xe3b0_c442_98fc_1c14);
        assert_eq!(mark(b"abc"), 0xba78_16bf_8f01_cfea);
    }
}

//! An explanation without a server: the definition is read here, and names are looked up here.
//!
//! Never: a look-up that no rule asks for, or one that takes longer than the worker's.

use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use postern_access::ResolvedHosts;
use postern_control::query::{Case, Explanation};
use postern_dns::{Lookup, Resolver, reverse};
use postern_policy::explain::{Known, Names, Unfinished, explain as explain_case};
use postern_policy::{Means, Policy, find_account, login_of};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::failure::Error;
use crate::loaded::Loaded;

/// definition.md, `[access.connection]`.
const DEADLINE: Duration = Duration::from_secs(5);

/// Explains `case` under the definition at `path`.
pub(super) fn explain(path: &Path, case: &Case, no_dns: bool) -> Result<Explanation, Error> {
    let loaded = Loaded::read(path)?;
    let policy = &loaded.policy;
    let authentication = &policy.definition.authentication;
    // The files are private: they are read only where somebody logs in.
    let accounts = match &case.login {
        Some(_) => loaded.accounts()?,
        None => Vec::new(),
    };
    let login = case.login.as_deref();
    let account =
        login.and_then(|name| find_account(&accounts, name, &authentication.default_domain));
    let mut notes = Vec::new();
    let dns = if no_dns { None } else { Some(Dns::of(policy)?) };
    let hosts = hosts(policy, dns.as_ref(), &mut notes);
    let mut known = Known {
        means: Means {
            certificate: !policy.definition.tls.certificates.is_empty(),
            accounts: !authentication.accounts.is_empty(),
            scram: accounts
                .iter()
                .any(|file| file.iter().any(|account| account.scram.is_some())),
        },
        hosts: &hosts,
        names: Names::Unasked,
        login: account.map(login_of),
        now: Instant::now(),
    };
    let mut explained = explain_case(policy, case, &known);
    let names;
    if explained == Err(Unfinished::NamesWanted) {
        known.names = match &dns {
            Some(dns) => {
                names = dns.names(case.client, &mut notes);
                Names::Found(&names)
            }
            None => Names::LeftOut,
        };
        explained = explain_case(policy, case, &known);
    }
    match explained {
        Ok(mut explanation) => {
            notes.append(&mut explanation.notes);
            explanation.notes = notes;
            Ok(explanation)
        }
        Err(unfinished) => Err(Error::Usage {
            what: format!("{}: {unfinished}", path.display()),
            remedy: "name an address of `listen` with --on".to_owned(),
        }),
    }
}

fn host_names(policy: &Policy) -> Vec<&str> {
    let relay = policy.relay.list.hosts();
    let mut names: Vec<&str> = policy.connection.list().hosts().chain(relay).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn hosts(policy: &Policy, dns: Option<&Dns>, notes: &mut Vec<String>) -> ResolvedHosts {
    let names = host_names(policy);
    match dns {
        _ if names.is_empty() => ResolvedHosts::default(),
        Some(dns) => dns.hosts(&names, notes),
        None => {
            notes.push("left out (--no-dns): host entries, which match nobody here".to_owned());
            ResolvedHosts::default()
        }
    }
}

/// The definition's resolver, and something to wait on.
struct Dns {
    resolver: Resolver,
    runtime: Runtime,
}

impl Dns {
    fn of(policy: &Policy) -> Result<Dns, Error> {
        let servers = &policy.definition.delivery.external_dns;
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build();
        let runtime = runtime.map_err(|cause| Error::Usage {
            what: format!("cannot look names up: {cause}"),
            remedy: "leave look-ups out with --no-dns".to_owned(),
        });
        Ok(Dns {
            resolver: match servers.as_slice() {
                [] => Resolver::system(),
                servers => Resolver::with_servers(servers.to_vec()),
            },
            runtime: runtime?,
        })
    }

    /// The client's names, as far as they lead back.
    fn names(&self, client: IpAddr, notes: &mut Vec<String>) -> Vec<Box<str>> {
        let found = reverse::confirm(&self.resolver, client.to_canonical(), DEADLINE);
        match self.runtime.block_on(found) {
            Ok(confirmed) => confirmed.names,
            Err(error) => {
                notes.push(error.to_string());
                Vec::new()
            }
        }
    }

    fn hosts(&self, names: &[&str], notes: &mut Vec<String>) -> ResolvedHosts {
        let found = self.runtime.block_on(look_up(&self.resolver, names));
        let mut pairs = Vec::new();
        for (name, addresses) in &found {
            match addresses {
                Ok(addresses) => pairs.extend(addresses.iter().map(|one| (name.as_str(), *one))),
                Err(why) => notes.push(format!("host {name} matches nobody: {why}")),
            }
        }
        ResolvedHosts::new(pairs)
    }
}

type Found = (String, Result<Vec<IpAddr>, String>);

async fn look_up(resolver: &Resolver, names: &[&str]) -> Vec<Found> {
    let mut asked = JoinSet::new();
    for name in names {
        let (resolver, name) = (resolver.clone(), (*name).to_owned());
        asked.spawn(async move {
            let found = match timeout(DEADLINE, resolver.addresses(&name)).await {
                Ok(Ok(answer)) => Ok(answer.records),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("no answer in time".to_owned()),
            };
            (name, found)
        });
    }
    let mut all = asked.join_all().await;
    all.sort();
    all
}

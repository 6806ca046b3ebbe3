//! An explanation without a server: the definition is read here, and names are looked up here.
//!
//! Never: a look-up that no rule asks for, or one that takes longer than the worker's.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use postern_access::ResolvedHosts;
use postern_config::{Account, AccountFile, AccountSource, Authentication};
use postern_control::query::{Case, Explanation};
use postern_dns::{Lookup, Resolver, reverse};
use postern_policy::explain::{Known, Names, Unfinished, explain as explain_case};
use postern_policy::{
    Means, Policy, TAKEN_FOR_A_TICKETS, TAKEN_FOR_DOVECOTS, dovecots, find_account, login_of,
};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::failure::Error;
use crate::loaded::Loaded;

/// definition.md, `[access.connection]`; for all hosts together, as in the worker.
const DEADLINE: Duration = Duration::from_secs(5);
/// As many hosts are looked up at once.
const AT_ONCE: usize = 32;

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
    let who = match login {
        Some(name) => who(path, authentication, &accounts, name)?,
        None => Who::Nobody,
    };
    let keyed =
        login.and_then(|name| find_account(&accounts, name, &authentication.default_domain));
    let keyed = keyed.filter(|account| account.scram.is_some());
    let mut notes = Vec::new();
    let dns = if no_dns { None } else { Some(Dns::of(policy)?) };
    let hosts = hosts(policy, dns.as_ref(), &mut notes);
    let mut known = Known {
        means: Means {
            certificate: !policy.definition.tls.certificates.is_empty(),
            accounts: authentication.serves_passwords(),
            scram: accounts
                .iter()
                .any(|file| file.iter().any(|account| account.scram.is_some())),
            certificates: policy.definition.tls.client_ca.is_some(),
            kerberos: authentication.serves_kerberos(),
            ntlm: authentication.serves_ntlm(),
        },
        hosts: &hosts,
        names: Names::Unasked,
        login: who.account().map(login_of),
        keyed: keyed.map(login_of),
        now: Instant::now().into_std(),
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
            notes.extend(who.assumed().map(str::to_owned));
            explanation.notes = notes;
            Ok(explanation)
        }
        Err(unfinished) => Err(Error::Usage {
            what: format!("{}: {unfinished}", path.display()),
            remedy: "name an address of `listen` with --on".to_owned(),
        }),
    }
}

/// Whom a name at login means.
enum Who<'a> {
    Nobody,
    Account(&'a Account),
    /// Nobody's in a file, so that it may be one of Dovecot's.
    Dovecots(Account),
    /// Nobody's in a file, so that it may be one that a ticket names.
    Tickets(Account),
}

impl Who<'_> {
    fn account(&self) -> Option<&Account> {
        match self {
            Who::Nobody => None,
            Who::Account(account) => Some(account),
            Who::Dovecots(account) | Who::Tickets(account) => Some(account),
        }
    }

    /// What is only assumed.
    fn assumed(&self) -> Option<&'static str> {
        match self {
            Who::Nobody | Who::Account(_) => None,
            Who::Dovecots(_) => Some(TAKEN_FOR_DOVECOTS),
            Who::Tickets(_) => Some(TAKEN_FOR_A_TICKETS),
        }
    }
}

/// Asks the sources in order, as the worker does; a directory and a domain cannot be asked from here.
fn who<'a>(
    path: &Path,
    authentication: &Authentication,
    files: &'a [AccountFile],
    name: &str,
) -> Result<Who<'a>, Error> {
    let default_domain = &authentication.default_domain;
    let known = files;
    let mut files = files.iter();
    let mut dovecot = false;
    for source in &authentication.accounts {
        match source {
            AccountSource::File { .. } => {
                if let Some(account) = find_account(files.next(), name, default_domain) {
                    return Ok(Who::Account(account));
                }
            }
            AccountSource::Ldap(_) => return Err(ask_the_server(path, name, "LDAP")),
            AccountSource::Windows { .. } => return Err(ask_the_server(path, name, "winbind")),
            AccountSource::Dovecot { .. } => dovecot = true,
            AccountSource::Gssapi { .. } => {}
        }
    }
    Ok(match dovecot {
        true => Who::Dovecots(dovecots(name, default_domain)),
        false => by_ticket(authentication, known, name),
    })
}

/// Whom a ticket for this name lets in, where nobody has a password that it could be taken for.
fn by_ticket<'a>(authentication: &Authentication, files: &'a [AccountFile], name: &str) -> Who<'a> {
    let Some(ticket) = postern_policy::by_ticket(authentication, name) else {
        return Who::Nobody;
    };
    let find = |name: &String| find_account(files, name, &ticket.default_domain);
    match ticket.names.iter().find_map(find) {
        Some(account) => Who::Account(account),
        None => Who::Tickets(ticket.otherwise),
    }
}

/// Exit code 1 would say that the login is refused.
fn ask_the_server(path: &Path, name: &str, whom: &str) -> Error {
    let what = format!(
        "{}: whether {name} is an account is not known: only the running server can ask {whom}",
        path.display()
    );
    Error::Usage {
        what,
        remedy: "ask the server by its name, without --file; or leave --login out".to_owned(),
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
        let look_up = |name: String| {
            let resolver = self.resolver.clone();
            async move {
                let found = resolver.addresses(&name).await;
                found
                    .map(|answer| answer.records)
                    .map_err(|error| error.to_string())
            }
        };
        let until = Instant::now() + DEADLINE;
        let found = self.runtime.block_on(look_all_up(names, until, look_up));
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

/// All of them, some at once; those that are not known by `until` have no answer.
async fn look_all_up<F>(names: &[&str], until: Instant, look_up: impl Fn(String) -> F) -> Vec<Found>
where
    F: Future<Output = Result<Vec<IpAddr>, String>> + Send + 'static,
{
    let mut next = names.iter().map(|name| (*name).to_owned());
    let mut asked = JoinSet::new();
    let mut all = Vec::new();
    loop {
        for name in next.by_ref().take(AT_ONCE - asked.len()) {
            let found = look_up(name.clone());
            asked.spawn(async move {
                let found = timeout_at(until, found).await;
                (
                    name,
                    found.unwrap_or_else(|_| Err("no answer in time".to_owned())),
                )
            });
        }
        match asked.join_next().await {
            Some(found) => all.extend(found),
            None => break,
        }
    }
    all.sort();
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const NAMES: usize = 500;

    fn all_of<F>(until: Instant, look_up: impl Fn(String) -> F) -> Vec<Found>
    where
        F: Future<Output = Result<Vec<IpAddr>, String>> + Send + 'static,
    {
        let names: Vec<String> = (0..NAMES).map(|at| format!("h{at:03}.example")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.map_or_else(
            |_| Vec::new(),
            |it| it.block_on(look_all_up(&names, until, look_up)),
        )
    }

    #[test]
    fn hosts_are_looked_up_a_few_at_once() {
        let now = Arc::new(AtomicUsize::new(0));
        let most = Arc::new(AtomicUsize::new(0));
        let found = all_of(Instant::now() + Duration::from_secs(60), |_| {
            let (now, most) = (now.clone(), most.clone());
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                for _ in 0..10 {
                    tokio::task::yield_now().await;
                }
                now.fetch_sub(1, Ordering::Relaxed);
                Ok(Vec::new())
            }
        });
        assert_eq!(found.len(), NAMES);
        assert!(found.iter().all(|(_, addresses)| addresses.is_ok()));
        assert_eq!(most.load(Ordering::Relaxed), AT_ONCE);
    }

    #[test]
    fn one_deadline_is_for_all() {
        let begun = std::time::Instant::now();
        let found = all_of(Instant::now() + Duration::from_millis(200), |_| {
            std::future::pending::<Result<Vec<IpAddr>, String>>()
        });
        assert_eq!(found.len(), NAMES);
        assert!(found.iter().all(|(_, addresses)| addresses.is_err()));
        assert!(
            begun.elapsed() < Duration::from_secs(3),
            "{:?}",
            begun.elapsed()
        );
    }
}

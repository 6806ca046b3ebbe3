//! The addresses of the lists' `host` entries: looked up as a generation comes into force, and again as they run out.
//!
//! What was known stays in force while DNS cannot be asked, for a day at the longest; before that only an answer changes
//! it. A host that is gone from DNS matches nobody.
//!
//! Never: a wait for a name server in the way of a client.

use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use postern_access::ResolvedHosts;
use postern_dns::{Error, Lookup};
use postern_hosting::ServerName;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::generation::Generation;

/// How long one look-up may take; and all of them together before a generation serves. The rest goes on behind it.
const DEADLINE: Duration = Duration::from_secs(5);
/// As many look-ups at once.
const AT_ONCE: usize = 32;
/// No answer is asked for again sooner, or later, whatever its TTL.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// How long addresses count that could not be asked for again.
const STALE: Duration = Duration::from_secs(24 * 3600);
/// When to ask again for a host that is not there, and after a failure.
const ABSENT: Duration = Duration::from_secs(60);
const FAILED: Duration = Duration::from_secs(30);

/// The hosts of one generation.
#[derive(Default)]
pub(crate) struct Hosts {
    /// As access control wants them.
    pub resolved: ResolvedHosts,
    rows: Vec<Host>,
}

#[derive(Clone)]
struct Host {
    name: Box<str>,
    addresses: Vec<IpAddr>,
    /// When they came from DNS.
    seen: Instant,
    due: Instant,
}

impl Hosts {
    fn new(rows: Vec<Host>) -> Hosts {
        let pairs = rows.iter().flat_map(|host| {
            let addresses = host.addresses.iter();
            addresses.map(|address| (&*host.name, *address))
        });
        Hosts {
            resolved: ResolvedHosts::new(pairs),
            rows,
        }
    }
}

/// Looks all hosts of a new generation up, so that it knows them before it serves: for as long as [`DEADLINE`], then what
/// `before` knew of the others counts until [`keep`] has found them out.
pub(crate) async fn prepare(
    name: &ServerName,
    generation: &Generation,
    before: Option<&Generation>,
) {
    let before = before.map(|before| before.hosts.load_full());
    let now = Instant::now();
    let known = |name: &str| {
        let rows = before.iter().flat_map(|hosts| &hosts.rows);
        let mut same = rows.filter(|host| &*host.name == name);
        same.next().map_or_else(
            || (Vec::new(), now),
            |host| (host.addresses.clone(), host.seen),
        )
    };
    let names = generation.host_names().into_iter();
    let rows: Vec<Host> = names
        .map(|name| {
            let (addresses, seen) = known(name);
            Host {
                name: name.into(),
                addresses,
                seen,
                due: now,
            }
        })
        .collect();
    if rows.is_empty() {
        return;
    }
    let all = rows.len();
    generation.hosts.store(Arc::new(Hosts::new(rows.clone())));
    if timeout(DEADLINE, renew(name, generation, rows))
        .await
        .is_err()
    {
        tracing::warn!(server = %name, hosts = all, "not all hosts in lists could be looked up in time; it goes on");
    }
}

/// Keeps the hosts of a generation looked up until nobody uses it any more.
pub(crate) fn keep(name: ServerName, generation: &Arc<Generation>) {
    let weak: Weak<Generation> = Arc::downgrade(generation);
    if generation.hosts.load().rows.is_empty() {
        return;
    }
    tokio::spawn(async move {
        while let Some(due) = next(&weak) {
            sleep_until(due).await;
            let Some(generation) = weak.upgrade() else {
                return;
            };
            let rows = generation.hosts.load().rows.clone();
            renew(&name, &generation, rows).await;
        }
    });
}

fn next(generation: &Weak<Generation>) -> Option<Instant> {
    let generation = generation.upgrade()?;
    let hosts = generation.hosts.load();
    hosts.rows.iter().map(|host| host.due).min()
}

/// Looks up those whose time has come, some at once. What has been found counts as soon as a batch is in.
async fn renew(name: &ServerName, generation: &Generation, mut rows: Vec<Host>) {
    let now = Instant::now();
    let mut due: Vec<usize> = (0..rows.len()).filter(|&at| rows[at].due <= now).collect();
    // From the first on, as they are taken from the end.
    due.reverse();
    let mut asked = JoinSet::new();
    let mut news = 0;
    loop {
        while asked.len() < AT_ONCE
            && let Some(at) = due.pop()
        {
            let (resolver, host) = (generation.resolver.clone(), rows[at].name.clone());
            asked.spawn(async move { (at, look_up(&resolver, &host).await) });
        }
        match asked.join_next().await {
            Some(Ok((at, found))) => note(name, &mut rows[at], found),
            Some(Err(_)) => {}
            None => break,
        }
        news += 1;
        if news % AT_ONCE == 0 {
            generation.hosts.store(Arc::new(Hosts::new(rows.clone())));
        }
    }
    generation.hosts.store(Arc::new(Hosts::new(rows)));
}

async fn look_up<L: Lookup>(
    lookup: &L,
    host: &str,
) -> Option<Result<(Vec<IpAddr>, Duration), Error>> {
    let answer = timeout(DEADLINE, lookup.addresses(host)).await.ok()?;
    Some(answer.map(|answer| (answer.records, answer.ttl)))
}

fn note(
    server: &ServerName,
    host: &mut Host,
    found: Option<Result<(Vec<IpAddr>, Duration), Error>>,
) {
    let now = Instant::now();
    let wait = match found {
        Some(Ok((addresses, ttl))) => {
            (host.addresses, host.seen) = (addresses, now);
            ttl.clamp(SHORTEST, LONGEST)
        }
        Some(Err(error)) if !error.is_temporary() => {
            tracing::warn!(%server, host = %host.name, %error, "a host in a list matches nobody");
            (host.addresses, host.seen) = (Vec::new(), now);
            ABSENT
        }
        failed => {
            if now.duration_since(host.seen) > STALE {
                host.addresses = Vec::new();
            }
            let error = failed.and_then(Result::err);
            let error =
                error.map_or_else(|| "no answer in time".to_owned(), |error| error.to_string());
            tracing::warn!(%server, host = %host.name, kept = ?host.addresses, %error, "a host in a list cannot be looked up");
            FAILED
        }
    };
    host.due = now + wait;
}

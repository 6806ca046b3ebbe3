//! What domains promise of the TLS of their hosts (MTA-STS, RFC 8461): found, fetched, kept over restarts.
//!
//! | kept | the domain's TXT record | then |
//! |---|---|---|
//! | nothing, or past its time | none, broken, no answer | no policy |
//! | nothing, or past its time | an id | it is fetched; failing that there is none (§3.3) |
//! | a policy that holds | none, broken, no answer | that one (§5.1) |
//! | a policy that holds | its id | that one; fetched anew once half its time, or a day, is over (§10.2) |
//! | a policy that holds | another id | it is fetched; failing that the one that holds |
//!
//! Of one domain one fetch is under way at a time, however many connections wait for it; other domains do not.
//!
//! Never: a fetch without a deadline, or soon after one that failed; a policy past its time.

mod shelf;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use postern_dns::{Lookup, lookup};
use postern_tls::ClientTls;
use postern_tls::https::Https;
use postern_tls::mta_sts::{Policy, Record};
use tokio::sync::Mutex as Turn;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

use self::shelf::{Kept, Shelf};

/// Where policies are (RFC 8461 §3.3).
const PLACE: &str = "/.well-known/mta-sts.txt";
/// The port of HTTPS.
pub const HTTPS: u16 = 443;
/// RFC 8461 §3.3 suggests a minute; mail waits.
const PATIENCE: Duration = Duration::from_secs(30);

/// The policies that one server knows. Clones are the same.
#[derive(Clone, Debug)]
pub struct Policies(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shelf: Mutex<Shelf>,
    /// Whose policy is being fetched.
    turns: Mutex<HashMap<Box<str>, Arc<Turn<()>>>>,
    file: Option<PathBuf>,
    writing: Turn<()>,
    port: u16,
}

impl Default for Policies {
    /// Kept in memory only.
    fn default() -> Policies {
        Policies::new(None, HTTPS)
    }
}

impl Policies {
    /// Those kept in `file`, which need not exist; they are fetched at `port`, which is [`HTTPS`] but for tests. Blocks
    /// while it reads.
    pub fn new(file: Option<PathBuf>, port: u16) -> Policies {
        let shelf = match &file {
            Some(file) => Shelf::read(file, now()),
            None => Shelf::default(),
        };
        Policies(Arc::new(Inner {
            shelf: Mutex::new(shelf),
            turns: Mutex::default(),
            file,
            writing: Turn::default(),
            port,
        }))
    }

    /// The policy that holds for `domain` now. `tls` says whom to believe when it is fetched.
    pub async fn of<L: Lookup>(&self, domain: &str, dns: &L, tls: &ClientTls) -> Option<Policy> {
        let domain = lookup::ascii(domain).ok()?;
        let policy = self.current(&domain, dns, tls).await?;
        self.shelf().used(&domain, now());
        Some(policy)
    }

    /// Fetches anew what needs it and was used of late, so that no policy runs out because mail to its domain is rare.
    pub async fn refresh<L: Lookup>(&self, dns: &L, tls: &ClientTls) {
        let due = self.shelf().due(now());
        for domain in due {
            self.current(&domain, dns, tls).await;
        }
    }

    async fn current<L: Lookup>(&self, domain: &str, dns: &L, tls: &ClientTls) -> Option<Policy> {
        let published = published(domain, dns).await;
        let Some(id) = published else {
            return self.shelf().get(domain, now()).map(|kept| kept.policy);
        };
        if let Some(policy) = self.shelf().fresh(domain, &id, now()) {
            return Some(policy);
        }
        let turn = self.turn(domain);
        let policy = {
            let _mine = turn.lock().await;
            self.fetched(domain, id, dns, tls).await
        };
        self.leave(domain, turn);
        policy
    }

    /// Fetches, unless somebody else has done so meanwhile, or has just failed to.
    async fn fetched<L: Lookup>(
        &self,
        domain: &str,
        id: String,
        dns: &L,
        tls: &ClientTls,
    ) -> Option<Policy> {
        {
            let shelf = self.shelf();
            if let Some(policy) = shelf.fresh(domain, &id, now()) {
                return Some(policy);
            }
            if shelf.failed_lately(domain, &id, now()) {
                return shelf.get(domain, now()).map(|kept| kept.policy);
            }
        }
        match self.fetch(domain, dns, tls).await {
            Ok(policy) => {
                let kept = Kept {
                    id,
                    fetched: now(),
                    used: now(),
                    policy: policy.clone(),
                };
                self.shelf().put(domain, kept);
                self.write().await;
                Some(policy)
            }
            Err(reason) => {
                let kept = self.shelf().fail(domain, id, now());
                let kept = kept.map(|kept| kept.policy);
                tracing::warn!(domain, %reason, kept = kept.is_some(), "no MTA-STS policy could be fetched");
                kept
            }
        }
    }

    async fn fetch<L: Lookup>(
        &self,
        domain: &str,
        dns: &L,
        tls: &ClientTls,
    ) -> Result<Policy, String> {
        let until = Instant::now() + PATIENCE;
        let host = format!("mta-sts.{domain}");
        let addresses = timeout_at(until, dns.addresses(&host)).await;
        let addresses = addresses.map_err(|_| "DNS does not answer in time".to_owned())?;
        let addresses = addresses.map_err(|error| error.to_string())?.records;
        let https = Https::new(tls.clone(), self.0.port);
        let response = https.get(&host, &addresses, PLACE, until).await?;
        // RFC 8461 §3.3: elsewhere users may put pages of their own.
        let kind = response.content_type.unwrap_or_default();
        let essence = kind.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("text/plain") {
            return Err(format!("its content type is {kind:?}, not text/plain"));
        }
        let text = String::from_utf8_lossy(&response.body);
        Policy::parse(&text).map_err(|why| format!("the policy is broken: {why}"))
    }

    /// Writes down what is kept. A disk that fails costs a fetch after the next start, no more.
    async fn write(&self) {
        let Some(file) = self.0.file.clone() else {
            return;
        };
        let _mine = self.0.writing.lock().await;
        let text = self.shelf().to_text();
        let shown = file.clone();
        let written = spawn_blocking(move || shelf::write(&file, &text)).await;
        if let Ok(Err(error)) = written {
            tracing::warn!(file = %shown.display(), %error, "the policies of MTA-STS cannot be written down");
        }
    }

    fn turn(&self, domain: &str) -> Arc<Turn<()>> {
        let mut turns = lock(&self.0.turns);
        Arc::clone(turns.entry(domain.into()).or_default())
    }

    fn leave(&self, domain: &str, turn: Arc<Turn<()>>) {
        let mut turns = lock(&self.0.turns);
        drop(turn);
        if turns
            .get(domain)
            .is_some_and(|turn| Arc::strong_count(turn) == 1)
        {
            turns.remove(domain);
        }
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        lock(&self.0.shelf)
    }
}

/// Both are values that every method leaves whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The id that the domain publishes, if it publishes one and no more (RFC 8461 §3.1).
async fn published<L: Lookup>(domain: &str, dns: &L) -> Option<String> {
    let texts = dns.texts(&format!("_mta-sts.{domain}")).await.ok()?;
    let texts = texts
        .records
        .iter()
        .map(|text| String::from_utf8_lossy(text));
    let mut claimed = texts.filter(|text| Record::is_claimed(text));
    let record = Record::parse(&claimed.next()?).ok()?;
    claimed.next().is_none().then_some(record.id)
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}

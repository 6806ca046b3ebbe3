//! `winbind`: the accounts of the Windows domain that this host is a member of.
//!
//! | Question | Asked of |
//! |---|---|
//! | is this response right | `ntlm_auth`, one for each thread, kept: see [`helper`] |
//! | is this the password | the same: a response is made of it here, so that it reaches nobody |
//! | who is it, in which groups | `wbinfo`, and remembered for five minutes: see [`domain`] |
//! | what this host is called | winbind itself, once |
//!
//! A name is what winbind makes of it: the account has the name and domain of its SID. Each question has an end, and when
//! winbind hangs, the others do not wait for it too.
//!
//! Never: a handshake of winbind's own, which does not look at channel bindings; a password given to anybody.

mod challenge;
mod child;
mod domain;
mod helper;
mod status;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use postern_control::auth::{Account, RefusedKind, Terms};
use postern_sasl::{
    Credentials, Exchange, Login, Mechanism, NtProof, NtlmNames, NtlmRules, Peer, Rule, Secret,
    SessionBaseKey, Step, Surroundings, Want,
};

use crate::backend::{Backend, No, Proved};
use child::Error;
use domain::{Domain, Group, Host, Person, Tools};
use helper::{Helper, Verdict};
use status::Kind;

/// How long a question may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// For how long nobody else is asked after winbind did not answer.
const PAUSE: Duration = Duration::from_secs(3);
/// How long it is remembered who somebody is.
const FRESH: Duration = Duration::from_secs(300);
/// How many are remembered.
const REMEMBERED: usize = 4_096;
/// Samba cuts longer names short, and would mean somebody else.
const LONGEST_NAME: usize = 255;

/// winbind, as one thread asks it.
#[derive(Debug)]
pub(crate) struct Winbind {
    shared: Arc<Shared>,
    helper: Option<Helper>,
}

/// What all threads know.
#[derive(Debug)]
struct Shared {
    tools: Tools,
    patience: Duration,
    host: Mutex<Option<Host>>,
    people: Mutex<HashMap<(String, String), (Instant, Person)>>,
    /// Winbind has not answered: why, and until when it is not asked.
    away: Mutex<Option<(Instant, String)>>,
}

impl Winbind {
    /// Ready to be asked. Called once for each thread, before the first question; the error ends this process.
    pub(crate) fn open() -> Result<Winbind, String> {
        static SHARED: OnceLock<Arc<Shared>> = OnceLock::new();
        let tools = Tools {
            ntlm_auth: find("ntlm_auth")?,
            wbinfo: find("wbinfo")?,
            known: domain::Known::default(),
        };
        let shared = SHARED.get_or_init(|| Arc::new(Shared::new(tools, PATIENCE)));
        Ok(Winbind::with(Arc::clone(shared)))
    }

    fn with(shared: Arc<Shared>) -> Winbind {
        Winbind {
            shared,
            helper: None,
        }
    }

    /// Has winbind check a response.
    fn check(&mut self, proof: &NtProof, deadline: Instant) -> Result<SessionBaseKey, No> {
        let verdict = self.ask(proof, deadline);
        match verdict.map_err(|error| self.shared.missed(&error))? {
            Verdict::Right(Some(key)) => Ok(key),
            Verdict::Right(None) => Err(No::refused("winbind takes it for a guest")),
            Verdict::Wrong(words) if words.starts_with("Reading winbind reply failed") => {
                Err(self.shared.unheard(deadline))
            }
            // So Samba's controllers answer for a domain that is none in a name such as `alice@nowhere.example`.
            Verdict::Wrong(words)
                if status::is_no_memory(&words) && self.shared.is_nobody(proof, deadline) =>
            {
                Err(No::unknown(
                    "NT_STATUS_NO_SUCH_USER, by way of NT_STATUS_NO_MEMORY",
                ))
            }
            Verdict::Wrong(words) => Err(match status::read(&words) {
                (Kind::Wrong, why) => No::guessed(why),
                (Kind::Unknown, why) => No::unknown(why),
                (Kind::Barred, why) => No::refused(why),
                (Kind::Away, why) => No::unavailable(why),
            }),
        }
    }

    fn ask(&mut self, proof: &NtProof, deadline: Instant) -> Result<Verdict, Error> {
        if let Some(mut helper) = self.helper.take() {
            match helper.ask(proof, deadline) {
                Ok(verdict) => return Ok(self.keep(helper, verdict)),
                // It may have ended while nobody asked: another one is asked instead.
                Err(Error::Gone { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let mut helper = Helper::start(&self.shared.tools.ntlm_auth)?;
        let verdict = helper.ask(proof, deadline)?;
        Ok(self.keep(helper, verdict))
    }

    fn keep(&mut self, helper: Helper, verdict: Verdict) -> Verdict {
        self.helper = Some(helper);
        verdict
    }
}

impl Backend for Winbind {
    fn names(&mut self, host: &str) -> Result<Option<NtlmNames>, No> {
        let known = self.shared.host(self.shared.deadline())?;
        Ok(Some(names(&known, host)))
    }

    fn called(&mut self, proof: &NtProof, _terms: &Terms) -> Option<String> {
        plausible(&proof.domain, &proof.user).ok()?;
        let named = (proof.domain.as_str(), proof.user.as_str());
        self.shared.called(named, self.shared.deadline())
    }

    fn prove(&mut self, proof: &NtProof, terms: &Terms) -> Result<Proved, No> {
        let deadline = self.shared.deadline();
        self.shared.ready()?;
        plausible(&proof.domain, &proof.user)?;
        let key = self.check(proof, deadline)?;
        let account = (self.shared).account(
            (&proof.domain, &proof.user),
            &terms.domains,
            deadline,
            "NTLM",
        )?;
        Ok(Proved { key, account })
    }

    fn password(&mut self, name: &str, password: &str, domains: &[String]) -> Result<Account, No> {
        let deadline = self.shared.deadline();
        let host = self.shared.host(deadline)?;
        let (domain, user) = claim(name, domains, &host);
        plausible(domain, user)?;
        let proof = respond(&host, domain, user, password)?;
        self.check(&proof, deadline)
            .map_err(|no| self.shared.of(no, (domain, user), deadline))?;
        self.shared
            .account((domain, user), domains, deadline, "password")
    }

    fn find(&mut self, name: &str, domains: &[String]) -> Result<Account, No> {
        let deadline = self.shared.deadline();
        let host = self.shared.host(deadline)?;
        let (domain, user) = claim(name, domains, &host);
        plausible(domain, user)?;
        self.shared.account((domain, user), domains, deadline, "")
    }
}

impl Shared {
    fn new(tools: Tools, patience: Duration) -> Shared {
        Shared {
            tools,
            patience,
            host: Mutex::default(),
            people: Mutex::default(),
            away: Mutex::default(),
        }
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.patience
    }

    /// Whether winbind is worth asking.
    fn ready(&self) -> Result<(), No> {
        let mut away = hold(&self.away);
        match away.as_ref() {
            Some((until, why)) if Instant::now() < *until => Err(No::unavailable(why)),
            _ => {
                *away = None;
                Ok(())
            }
        }
    }

    /// Winbind gave no answer.
    fn missed(&self, error: &Error) -> No {
        let why = error.to_string();
        tracing::warn!("{why}");
        if matches!(error, Error::Late { hangs: true, .. }) {
            *hold(&self.away) = Some((Instant::now() + PAUSE, why.clone()));
        }
        No::unavailable(why)
    }

    /// A helper could not reach winbind.
    fn unheard(&self, deadline: Instant) -> No {
        No::unavailable(match self.tools.answers(deadline) {
            true => {
                "winbind does not let this process ask: its folder winbindd_privileged must be of group winbindd_priv, \
                 mode 0750; then restart posternd"
            }
            false => SILENT,
        })
    }

    /// What winbind says of this host.
    fn host(&self, deadline: Instant) -> Result<Host, No> {
        self.ready()?;
        let known = hold(&self.host).clone();
        if let Some(host) = known {
            return Ok(host);
        }
        let asked = self.tools.host(deadline);
        let host = asked.map_err(|error| self.missed(&error))?;
        let host = host.ok_or_else(|| No::unavailable(SILENT))?;
        *hold(&self.host) = Some(host.clone());
        Ok(host)
    }

    /// `CORP\alice`, whatever the client calls it; none where winbind knows nobody, or does not answer.
    fn called(&self, named: (&str, &str), deadline: Instant) -> Option<String> {
        let person = self.person(named, deadline).ok()?;
        Some(format!("{}\\{}", person.domain.name, person.name))
    }

    /// A wrong password is one of the account's, whatever the client calls it.
    fn of(&self, no: No, named: (&str, &str), deadline: Instant) -> No {
        match no {
            No::Refused { why, kind, .. } if kind == RefusedKind::Wrong => No::Refused {
                name: self.called(named, deadline),
                why,
                kind,
            },
            other => other,
        }
    }

    /// Who it is, of one of the domains.
    fn account(
        &self,
        named: (&str, &str),
        domains: &[String],
        deadline: Instant,
        proof: &str,
    ) -> Result<Account, No> {
        let host = self.host(deadline)?;
        let person = self.person(named, deadline)?;
        match taken(&person, domains, &host) {
            true => Ok(account(person, domains, &host, proof)),
            false => Err(No::refused(format!(
                "the domain {} is not among those taken here",
                person.domain.name
            ))),
        }
    }

    /// Who is called so, of whatever domain.
    fn person(&self, (domain, user): (&str, &str), deadline: Instant) -> Result<Person, No> {
        let host = self.host(deadline)?;
        let key = (domain.to_lowercase(), user.to_lowercase());
        if let Some(person) = self.remembered(&key) {
            return Ok(person);
        }
        let asked = self.tools.person(&host, (domain, user), deadline);
        let found = asked.map_err(|error| self.missed(&error))?;
        let person = found.ok_or_else(|| self.nobody(deadline))?;
        if person.whole {
            self.remember(key, &person);
        }
        Ok(person)
    }

    /// Whether winbind is sure that nobody is called so.
    fn is_nobody(&self, proof: &NtProof, deadline: Instant) -> bool {
        let claim = (proof.domain.as_str(), proof.user.as_str());
        let asked = |host| self.tools.person(&host, claim, deadline);
        let nobody = self
            .host(deadline)
            .is_ok_and(|host| matches!(asked(host), Ok(None)));
        proof.user.contains('@') && nobody && self.tools.reaches(deadline)
    }

    /// `wbinfo` says the same when there is nobody of that name and when it cannot know.
    fn nobody(&self, deadline: Instant) -> No {
        match self.tools.reaches(deadline) {
            true => No::unknown("winbind knows no account of this name"),
            false => No::unavailable(
                "winbind reaches no domain controller; `wbinfo --ping-dc` says more",
            ),
        }
    }

    fn remembered(&self, key: &(String, String)) -> Option<Person> {
        let people = hold(&self.people);
        let (since, person) = people.get(key)?;
        (since.elapsed() < FRESH).then(|| person.clone())
    }

    fn remember(&self, key: (String, String), person: &Person) {
        let mut people = hold(&self.people);
        if people.len() >= REMEMBERED {
            people.retain(|_, (since, _)| since.elapsed() < FRESH);
        }
        if people.len() >= REMEMBERED {
            people.clear();
        }
        people.insert(key, (Instant::now(), person.clone()));
    }
}

const SILENT: &str = "winbindd does not answer, or this host is in no domain: `wbinfo --ping` and `wbinfo -t` say more";

fn hold<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The path of a program of Samba's.
fn find(name: &str) -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    places.push(PathBuf::from("/usr/bin"));
    let files = places.into_iter().filter(|place| place.is_absolute());
    let mut files = files.map(|place| place.join(name));
    files
        .find(|file| Path::is_file(file))
        .ok_or_else(|| format!("`{name}` is not installed: install the package winbind"))
}

/// The names in a challenge: winbind's own, the DNS name as the server calls itself.
fn names(known: &Host, host: &str) -> NtlmNames {
    NtlmNames {
        netbios_computer: known.computer.clone(),
        netbios_domain: known.own.name.clone(),
        dns_computer: host.to_owned(),
        dns_domain: known.own.dns.clone(),
    }
}

/// Domain and user in a name as a person writes it. A bare name is of the one domain that is taken, or of the host's own.
fn claim<'a>(name: &'a str, domains: &'a [String], host: &'a Host) -> (&'a str, &'a str) {
    match (name.split_once('\\'), domains) {
        (Some(claim), _) => claim,
        _ if name.contains('@') => ("", name),
        (_, [one]) if one != "*" => (one, name),
        _ => (&host.own.name, name),
    }
}

/// Whether the names can be anybody's: what Samba would cut short, or stop at, is nobody's.
fn plausible(domain: &str, user: &str) -> Result<(), No> {
    let fits = |name: &str| name.len() <= LONGEST_NAME && !name.chars().any(char::is_control);
    let named = !user.is_empty() && !user.contains('\\') && !domain.contains('\\');
    match named && fits(domain) && fits(user) {
        true => Ok(()),
        false => Err(No::unknown(
            "NT_STATUS_NO_SUCH_USER, without asking: no account can have this name",
        )),
    }
}

fn taken(person: &Person, domains: &[String], host: &Host) -> bool {
    match domains {
        [] => person.domain.name == host.own.name,
        named => named
            .iter()
            .any(|name| name == "*" || person.domain.is_called(name)),
    }
}

/// Whether bare names are of this domain: it is the first listed, or the host's own.
fn at_home(domain: &Domain, domains: &[String], host: &Host) -> bool {
    match domains.first() {
        None => domain.name == host.own.name,
        Some(first) => domain.is_called(first),
    }
}

/// `sales` at home, `LAB\sales` elsewhere: one domain's groups never stand for another's.
fn group(group: &Group, domains: &[String], host: &Host) -> String {
    match at_home(&group.domain, domains, host) {
        true => group.name.clone(),
        false => format!("{}\\{}", group.domain.name, group.name),
    }
}

fn account(person: Person, domains: &[String], host: &Host, proof: &str) -> Account {
    Account {
        home: at_home(&person.domain, domains, host),
        name: person.name,
        domain: Some(person.domain.name),
        groups: (person.groups.iter())
            .map(|one| group(one, domains, host))
            .collect(),
        proof: proof.to_owned(),
        ..Account::default()
    }
}

/// The response that a client with this password would send: client and server are both played here.
fn respond(host: &Host, domain: &str, user: &str, password: &str) -> Result<NtProof, No> {
    let mut random = [0; 64];
    getrandom::fill(&mut random).map_err(No::unavailable)?;
    let (ours, theirs) = random.split_at(32);
    let octets = |half: &[u8]| std::array::from_fn(|at| half[at]);
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let time = postern_sasl::filetime(since.unwrap_or_default());
    let mut surroundings = Surroundings::new(octets(ours));
    surroundings.ntlm = Some(NtlmRules {
        names: names(host, ""),
        time,
        integrity_code: Rule::Require,
    });
    let credentials = Credentials {
        name: format!("{domain}\\{user}"),
        password: Secret::from(password),
    };
    let peer = Peer {
        random: octets(theirs),
        bindings: postern_sasl::Bindings::default(),
        plus_offered: false,
        host: String::new(),
        time,
    };
    let login = Login::facing(Mechanism::Ntlm, &credentials, peer);
    converse(login, Exchange::start(Mechanism::Ntlm, None, &surroundings))
        .ok_or_else(|| No::guessed("no account can have this name or password"))
}

fn converse(mut login: Login<'_>, begun: (Exchange, Step)) -> Option<NtProof> {
    let (mut exchange, mut step) = begun;
    loop {
        step = match step {
            Step::Challenge(challenge) => {
                let response = login.answer(&challenge).ok()?;
                exchange.step(response.expose())
            }
            Step::Want(Want::NtProof(proof)) => return Some(proof),
            Step::Want(_) | Step::Done(_) | Step::Refused(_) => return None,
        };
    }
}

#[cfg(test)]
mod tests;

//! Walks a SASL exchange against the accounts, and counts wrong guesses.
//!
//! Every attempt leaves one line in the audit log: address, mechanism, account, outcome and why; never a password.
//!
//! Never: a difference, in words or in time, between an unknown account and a wrong password.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use postern_access::{ClientKey, Lockout, LockoutRule};
use postern_policy::decide::login_refused;
use postern_sasl::{Exchange, Mechanism, Step, Surroundings, Want};
use postern_smtp::{Ask, AuthAnswer, AuthStep, Reply};

use crate::accounts::{Checked, LoggedIn, Occasion};
use crate::counters::count;
use crate::generation::Generation;
use crate::server::Server;

/// As many accounts, and as many addresses, are watched at once.
const WATCHED: usize = 20_000;

/// For the log, where a mechanism asks for more than a password.
const NO_SOURCE: &str = "no source of accounts serves this mechanism";

/// Wrong guesses of late, over all sessions and generations.
pub(crate) struct Guesses {
    accounts: Mutex<Lockout<String>>,
    clients: Mutex<Lockout<ClientKey>>,
    key: RandomState,
}

/// Where a session stands in AUTH.
#[derive(Default)]
pub(crate) struct Walk {
    exchange: Option<Exchange>,
}

/// Who tries, and how.
pub(crate) struct Attempt<'a> {
    /// The server.
    pub server: &'a Server,
    /// Its policy.
    pub generation: &'a Generation,
    /// The client.
    pub client: IpAddr,
    /// The address it came to.
    pub local: IpAddr,
    /// Version and cipher, inside TLS.
    pub tls: Option<&'a str>,
}

impl Walk {
    /// Drops a half-done exchange.
    pub(crate) fn abandon(&mut self) {
        self.exchange = None;
    }

    /// Answers one step. The account, once the exchange has succeeded.
    pub(crate) async fn step(
        &mut self,
        attempt: &Attempt<'_>,
        ask: Ask<'_, AuthStep>,
    ) -> Option<LoggedIn> {
        let Ok(mechanism) = ask.mechanism.parse::<Mechanism>() else {
            ask.refuse(Reply::new(504, "5.5.4", "Unrecognized authentication type"));
            return None;
        };
        let step = match (ask.first, self.exchange.take()) {
            (false, Some(mut exchange)) => {
                let step = exchange.step(ask.input.as_deref().unwrap_or_default());
                self.exchange = Some(exchange);
                step
            }
            _ => {
                // PLAIN and LOGIN, the only ones offered yet, make nothing of random octets.
                let surroundings = Surroundings::new([0; 32]);
                let (exchange, step) =
                    Exchange::start(mechanism, ask.input.as_deref(), &surroundings);
                self.exchange = Some(exchange);
                step
            }
        };
        match step {
            Step::Challenge(blob) => {
                ask.accept(AuthAnswer::Challenge(blob));
                None
            }
            Step::Refused(why) => {
                self.exchange = None;
                attempt.log(mechanism, "", "refused", &why.to_string());
                count(&attempt.server.counters.logins_refused);
                ask.refuse(login_refused());
                None
            }
            Step::Want(want) => {
                self.exchange = None;
                attempt.check(mechanism, want, ask).await
            }
            Step::Done(identity) => {
                self.exchange = None;
                attempt.refuse(mechanism, &identity.name, NO_SOURCE, ask)
            }
        }
    }
}

impl Attempt<'_> {
    async fn check(
        &self,
        mechanism: Mechanism,
        want: Want,
        ask: Ask<'_, AuthStep>,
    ) -> Option<LoggedIn> {
        let Want::Password {
            authzid,
            authcid,
            password,
        } = want
        else {
            return self.refuse(mechanism, "", NO_SOURCE, ask);
        };
        if authzid.is_some_and(|other| !other.eq_ignore_ascii_case(&authcid)) {
            return self.refuse(mechanism, &authcid, "asks to act as somebody else", ask);
        }
        let guesses = &self.server.guesses;
        let rule = self.generation.definition.authentication.lockout;
        if rule.is_some() && guesses.locked(&authcid, self.client) {
            return self.refuse(
                mechanism,
                &authcid,
                "locked out after too many wrong passwords",
                ask,
            );
        }
        let digest = guesses.key.hash_one(password.expose());
        let occasion = Occasion {
            client: self.client,
            local: self.local,
            secured: self.tls.is_some(),
        };
        let accounts = &self.generation.accounts;
        let why = match accounts.check(&occasion, &authcid, password).await {
            Ok(Checked::Right(found)) => {
                guesses.right(&authcid);
                self.log(mechanism, &found.account, "accepted", "");
                count(&self.server.counters.logins_accepted);
                ask.accept(AuthAnswer::Success {
                    identity: found.account.clone(),
                });
                return Some(found);
            }
            Ok(Checked::Wrong(why)) => why,
            Ok(Checked::Unknown) => "unknown account or wrong password".to_owned(),
            Err(unavailable) => {
                if let Some(rule) = rule.filter(|_| unavailable.guessed) {
                    guesses.wrong(&authcid, self.client, digest, rule);
                }
                self.log(mechanism, &authcid, "unavailable", &unavailable.to_string());
                ask.refuse(Reply::new(454, "4.7.0", "Temporary authentication failure"));
                return None;
            }
        };
        if let Some(rule) = rule {
            guesses.wrong(&authcid, self.client, digest, rule);
        }
        self.refuse(mechanism, &authcid, &why, ask)
    }

    fn refuse(
        &self,
        mechanism: Mechanism,
        account: &str,
        why: &str,
        ask: Ask<'_, AuthStep>,
    ) -> Option<LoggedIn> {
        self.log(mechanism, account, "refused", why);
        count(&self.server.counters.logins_refused);
        ask.refuse(login_refused());
        None
    }

    fn log(&self, mechanism: Mechanism, account: &str, outcome: &str, why: &str) {
        tracing::info!(
            target: "audit",
            server = %self.server.name,
            client = %self.client,
            mechanism = mechanism.name(),
            account = ?account,
            tls = self.tls.unwrap_or("none"),
            outcome,
            why,
            "login"
        );
    }
}

impl Guesses {
    /// Nothing guessed yet.
    pub(crate) fn new() -> Guesses {
        Guesses {
            accounts: Mutex::new(Lockout::new(WATCHED)),
            clients: Mutex::new(Lockout::new(WATCHED)),
            key: RandomState::new(),
        }
    }

    fn locked(&self, account: &str, client: IpAddr) -> bool {
        let now = Instant::now();
        lock(&self.accounts)
            .locked(&account.to_lowercase(), now)
            .is_some()
            || lock(&self.clients)
                .locked(&ClientKey::from(client), now)
                .is_some()
    }

    fn wrong(&self, account: &str, client: IpAddr, digest: u64, rule: LockoutRule) {
        let now = Instant::now();
        lock(&self.accounts).wrong(&account.to_lowercase(), digest, rule, now);
        lock(&self.clients).wrong(&ClientKey::from(client), digest, rule, now);
    }

    /// Only the account starts anew: an address that guesses many accounts must not clear itself with one it owns.
    fn right(&self, account: &str) {
        lock(&self.accounts).right(&account.to_lowercase(), Instant::now());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

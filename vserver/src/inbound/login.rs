//! Walks a SASL exchange against the accounts, and counts wrong guesses.
//!
//! Every attempt leaves one line in the audit log: address, mechanism, account, outcome and why; never a password.
//!
//! What a guess was is known of PLAIN and LOGIN: a password counts once however often it is sent. SCRAM shows nothing of it,
//! and each wrong proof counts.
//!
//! A refusal is answered at set times after the attempt began, later with each one in the session: it takes a guesser's time,
//! and tells nothing by its own. So is "come back later", or a flood that finds no room would try again at once.
//!
//! What an authd serves goes by `integrated.rs`.
//!
//! Never: a difference, in words or in time, between an unknown account and a wrong password.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use postern_policy::decide::login_refused;
use postern_sasl::{
    Bindings, Exchange, Mechanism, Refusal, ScramKeys, Secret, Step, Surroundings, Want,
};
use postern_smtp::{Ask, AuthAnswer, AuthStep, Reply};
use tokio::time::sleep_until;

use super::integrated::{self, UnderWay, is_integrated};
use crate::accounts::{Checked, LoggedIn, Occasion};
use crate::counters::count;
use crate::generation::Generation;
use crate::server::Server;

/// For the log, where a mechanism asks for more than a password.
pub(super) const NO_SOURCE: &str = "no source of accounts serves this mechanism";
pub(super) const OTHER: &str = "asks to act as somebody else";
pub(super) const LOCKED: &str = "locked out after too many wrong passwords";

/// Where a session stands in AUTH.
#[derive(Default)]
pub(crate) struct Walk {
    exchange: Option<Box<Exchange>>,
    /// One with an authd.
    under_way: Option<Box<UnderWay>>,
    /// Whose keys the exchange goes by.
    keyed: Option<LoggedIn>,
    /// Attempts refused so far, or not answered.
    refused: u32,
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
    /// What a login can be bound to.
    pub bindings: Bindings,
    /// Whether SCRAM-SHA-256-PLUS is among what was offered.
    pub plus_offered: bool,
    /// Whom the client's certificate names.
    pub certified: Vec<String>,
}

/// How an exchange ended.
pub(super) enum End {
    /// The client is this account; and, for the log, what proved it, where the mechanism does not say so.
    Account(LoggedIn, String),
    /// It is not; why, for the log.
    Refused {
        name: String,
        why: String,
        /// A guess at a password, by which it is known when it is made again.
        guess: Option<u64>,
    },
    /// Nobody could be asked.
    Unavailable {
        name: String,
        why: String,
        guess: Option<u64>,
    },
}

/// What is said to the client.
pub(super) enum Turn {
    Challenge(Vec<u8>),
    End(End),
}

impl Walk {
    /// Drops a half-done exchange.
    pub(crate) fn abandon(&mut self) {
        (self.exchange, self.keyed, self.under_way) = (None, None, None);
    }

    /// Whether the client's next blob is the first of its exchange.
    pub(crate) fn begins(&self) -> bool {
        self.exchange.is_none() && self.under_way.is_none()
    }

    /// Answers one step. The account, once the exchange has succeeded.
    pub(crate) async fn step(
        &mut self,
        attempt: &Attempt<'_>,
        ask: Ask<'_, AuthStep>,
    ) -> Option<LoggedIn> {
        let begun = Instant::now();
        let Ok(mechanism) = ask.mechanism.parse::<Mechanism>() else {
            ask.refuse(Reply::new(504, "5.5.4", "Unrecognized authentication type"));
            return None;
        };
        let turn = match is_integrated(mechanism) {
            true => {
                let step = integrated::step(&mut self.under_way, attempt, mechanism, &ask);
                Box::pin(step).await
            }
            false => self.turn(attempt, mechanism, &ask).await,
        };
        match turn {
            Turn::Challenge(blob) => {
                ask.accept(AuthAnswer::Challenge(blob));
                None
            }
            Turn::End(end) => {
                self.abandon();
                self.end(attempt, mechanism, begun, end, ask).await
            }
        }
    }

    async fn turn(
        &mut self,
        attempt: &Attempt<'_>,
        mechanism: Mechanism,
        asked: &AuthStep,
    ) -> Turn {
        let input = asked.input.as_deref();
        let (mut exchange, mut step) = match (asked.first, self.exchange.take()) {
            (false, Some(mut exchange)) => {
                let step = exchange.step(input.unwrap_or_default());
                (exchange, step)
            }
            _ => {
                let Some(surroundings) = attempt.surroundings() else {
                    return Turn::End(End::Unavailable {
                        name: String::new(),
                        why: "the system has no random octets".to_owned(),
                        guess: None,
                    });
                };
                let (exchange, step) = Exchange::start(mechanism, input, &surroundings);
                (Box::new(exchange), step)
            }
        };
        loop {
            step = match step {
                Step::Challenge(blob) => {
                    self.exchange = Some(exchange);
                    return Turn::Challenge(blob);
                }
                Step::Want(Want::ScramKeys { authzid, name }) => {
                    match attempt.keys(authzid.as_deref(), &name) {
                        Ok((keys, account)) => {
                            self.keyed = account;
                            exchange.give_keys(keys)
                        }
                        Err(end) => return Turn::End(end),
                    }
                }
                Step::Want(Want::Password {
                    authzid,
                    authcid,
                    password,
                }) => {
                    let checked = attempt.check(authzid.as_deref(), authcid, password);
                    return Turn::End(checked.await);
                }
                Step::Want(Want::Certificate { authzid }) => {
                    return Turn::End(attempt.certified(authzid.as_deref()).await);
                }
                Step::Want(_) => {
                    return Turn::End(attempt.refused(exchange.name(), NO_SOURCE, None));
                }
                Step::Done(identity) => {
                    return Turn::End(match self.keyed.take() {
                        Some(account) => End::Account(account, String::new()),
                        None => attempt.refused(Some(&identity.name), NO_SOURCE, None),
                    });
                }
                Step::Refused(why) => {
                    // The proof of another password looks like that of the same one: each counts.
                    let guess =
                        (why == Refusal::WrongPassword).then(|| attempt.server.guesses.unique());
                    return Turn::End(attempt.refused(exchange.name(), &why.to_string(), guess));
                }
            };
        }
    }

    async fn end(
        &mut self,
        attempt: &Attempt<'_>,
        mechanism: Mechanism,
        begun: Instant,
        end: End,
        ask: Ask<'_, AuthStep>,
    ) -> Option<LoggedIn> {
        match end {
            End::Account(found, proof) => {
                attempt.guessed_right(&found.account);
                attempt.log(mechanism, &found.account, "accepted", &proof);
                count(&attempt.server.counters.logins_accepted);
                ask.accept(AuthAnswer::Success {
                    identity: found.account.clone(),
                });
                return Some(found);
            }
            End::Refused { name, why, guess } => {
                attempt.log(mechanism, &name, "refused", &why);
                attempt.count_guess(&name, guess);
                count(&attempt.server.counters.logins_refused);
                sleep_until(answer_at(begun, Instant::now(), self.refused).into()).await;
                self.refused += 1;
                ask.refuse(login_refused());
            }
            End::Unavailable { name, why, guess } => {
                attempt.log(mechanism, &name, "unavailable", &why);
                attempt.count_guess(&name, guess);
                sleep_until(answer_at(begun, Instant::now(), self.refused).into()).await;
                self.refused += 1;
                ask.refuse(Reply::new(454, "4.7.0", "Temporary authentication failure"));
            }
        }
        None
    }
}

/// When a refusal is answered: half a second after the attempt began for the first in a session, twice as long for each
/// further one up to 8 s; or at the next half second after that, if the check took longer.
fn answer_at(begun: Instant, now: Instant, refused_before: u32) -> Instant {
    const STEP: Duration = Duration::from_millis(500);
    let least = STEP * 2u32.pow(refused_before.min(4));
    let taken = now.saturating_duration_since(begun);
    let steps = taken.as_millis().div_ceil(STEP.as_millis());
    begun + least.max(STEP * u32::try_from(steps).unwrap_or(u32::MAX))
}

impl Attempt<'_> {
    fn surroundings(&self) -> Option<Surroundings> {
        let mut random = [0; 32];
        getrandom::fill(&mut random).ok()?;
        Some(Surroundings {
            bindings: self.bindings.clone(),
            plus_offered: self.plus_offered,
            ..Surroundings::new(random)
        })
    }

    /// A lock that falls leaves a line of its own, which a fail2ban filter can go by.
    fn count_guess(&self, name: &str, guess: Option<u64>) {
        let rule = self.generation.definition.authentication.lockout;
        let (Some(rule), Some(guess)) = (rule, guess) else {
            return;
        };
        let name = self.generation.accounts.counted_name(name);
        let locked = self.server.guesses.wrong(&name, self.client, guess, rule);
        for (what, _) in ["account", "address"]
            .iter()
            .zip(locked)
            .filter(|(_, locked)| *locked)
        {
            count(&self.server.counters.lockouts);
            tracing::warn!(target: "audit", server = %self.server.name, client = %self.client, account = ?name, what, "locked out");
        }
    }

    pub(super) fn is_locked_out(&self, name: &str) -> bool {
        let rule = self.generation.definition.authentication.lockout;
        let name = self.generation.accounts.counted_name(name);
        rule.is_some() && self.server.guesses.locked(&name, self.client)
    }

    /// Its guesses are forgotten.
    pub(super) fn guessed_right(&self, name: &str) {
        let name = self.generation.accounts.counted_name(name);
        self.server.guesses.right(&name);
    }

    /// The keys of an account, made-up ones where it has none: the exchange then ends like one with a wrong password.
    fn keys(
        &self,
        authzid: Option<&str>,
        name: &str,
    ) -> Result<(ScramKeys, Option<LoggedIn>), End> {
        if authzid.is_some_and(|other| !other.eq_ignore_ascii_case(name)) {
            return Err(self.refused(Some(name), OTHER, None));
        }
        if self.is_locked_out(name) {
            return Err(self.refused(Some(name), LOCKED, None));
        }
        Ok(match self.generation.accounts.scram_keys(name) {
            Some((_, account)) if self.is_locked_out(&account.account) => {
                return Err(self.refused(Some(name), LOCKED, None));
            }
            Some((keys, account)) => (keys, Some(account)),
            None => (ScramKeys::invented(&self.server.secret, name), None),
        })
    }

    /// The account that the client's certificate names, the first of its names that is one in a file or a directory: a
    /// domain would say whose name it is, and not whether he may log in.
    async fn certified(&self, authzid: Option<&str>) -> End {
        for name in &self.certified {
            let found = match self.generation.accounts.find_listed(name).await {
                Ok(Checked::Right(found)) => found,
                Ok(Checked::Wrong(why)) => return self.refused(Some(name), &why, None),
                Ok(Checked::Unknown) => continue,
                Err(unavailable) => {
                    return End::Unavailable {
                        name: name.clone(),
                        why: unavailable.to_string(),
                        guess: None,
                    };
                }
            };
            let itself = authzid.is_none_or(|other| {
                other.eq_ignore_ascii_case(name) || other.eq_ignore_ascii_case(&found.account)
            });
            return match itself {
                true => End::Account(found, String::new()),
                false => self.refused(Some(name), OTHER, None),
            };
        }
        let name = self.certified.first().map(String::as_str);
        self.refused(name, "the certificate names no account", None)
    }

    async fn check(&self, authzid: Option<&str>, authcid: String, password: Secret) -> End {
        if authzid.is_some_and(|other| !other.eq_ignore_ascii_case(&authcid)) {
            return self.refused(Some(&authcid), OTHER, None);
        }
        if self.is_locked_out(&authcid) {
            return self.refused(Some(&authcid), LOCKED, None);
        }
        let guess = Some(self.server.guesses.digest(&password));
        let occasion = Occasion {
            client: self.client,
            local: self.local,
            secured: self.tls.is_some(),
        };
        let accounts = &self.generation.accounts;
        match accounts.check(&occasion, &authcid, password).await {
            // Guesses may have been made at another of its names.
            Ok(Checked::Right(found)) if self.is_locked_out(&found.account) => {
                self.refused(Some(&authcid), LOCKED, None)
            }
            Ok(Checked::Right(found)) => End::Account(found, String::new()),
            Ok(Checked::Wrong(why)) => self.refused(Some(&authcid), &why, guess),
            Ok(Checked::Unknown) => {
                self.refused(Some(&authcid), "unknown account or wrong password", guess)
            }
            Err(unavailable) => End::Unavailable {
                guess: guess.filter(|_| unavailable.guessed),
                why: unavailable.to_string(),
                name: authcid,
            },
        }
    }

    pub(super) fn refused(&self, name: Option<&str>, why: &str, guess: Option<u64>) -> End {
        End::Refused {
            name: name.unwrap_or_default().to_owned(),
            why: why.to_owned(),
            guess,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_come_at_set_times() {
        let begun = Instant::now();
        let after = |taken: u64, before: u32| {
            let now = begun + Duration::from_millis(taken);
            (answer_at(begun, now, before) - begun).as_millis()
        };
        for (taken, before, answered) in [
            (0, 0, 500),
            (3, 0, 500),
            (499, 0, 500),
            (501, 0, 1000),
            (40, 1, 1000),
            (40, 2, 2000),
            (2100, 2, 2500),
            (40, 4, 8000),
            (40, 40, 8000),
        ] {
            assert_eq!(
                after(taken, before),
                answered,
                "{taken} ms, {before} before"
            );
        }
    }
}

//! Walks an exchange of NTLM, GSSAPI or GSS-SPNEGO, blob by blob, with the postern-authd that serves it.
//!
//! ```text
//! client                 worker                              authd
//! AUTH, no blob ──────►  334, empty
//! first blob ─────────►  which source serves it ── Begin ──►
//!          ◄───────────  334 ◄────────────────── Challenge
//! answer ─────────────►  ────────────────────── Respond ──►
//!                        locked out? ◄──────────── Claims
//!                                     ───────── Proceed ──►
//!                        whose account is it ◄─── Account
//! ```
//!
//! Never: a look into a blob, but for whose it is.

use postern_config::ChannelBinding;
use postern_control::auth::{Account, Answer, Blob, Question, RefusedKind, Terms};
use postern_sasl::Mechanism;
use postern_smtp::AuthStep;

use super::login::{Attempt, End, LOCKED, NO_SOURCE, OTHER, Turn};
use crate::accounts::{Asked, Integrated};

/// An exchange with an authd under way.
pub(super) struct UnderWay {
    asked: Asked,
    by: Integrated,
    /// Whom the client has named.
    name: Option<String>,
}

/// Whether a mechanism is served by an authd.
pub(super) fn is_integrated(mechanism: Mechanism) -> bool {
    matches!(
        mechanism,
        Mechanism::Ntlm | Mechanism::Gssapi | Mechanism::GssSpnego
    )
}

/// Answers one step; what is left of the exchange is put into `under_way`.
pub(super) async fn step(
    under_way: &mut Option<Box<UnderWay>>,
    attempt: &Attempt<'_>,
    mechanism: Mechanism,
    said: &AuthStep,
) -> Turn {
    let begun = under_way.take().filter(|_| !said.first);
    let (mut exchange, question) = match (begun, said.input.as_deref()) {
        (Some(exchange), response) => {
            let question = Question::Respond {
                exchange: exchange.asked.exchange,
                response: Blob::from(response.unwrap_or_default()),
            };
            (exchange, question)
        }
        // RFC 4422 §5: where the client speaks first, the server's challenge is empty.
        (None, None) => return Turn::Challenge(Vec::new()),
        (None, Some(initial)) => match attempt.begin(mechanism, initial) {
            Some(begun) => begun,
            None => return Turn::End(attempt.refused(None, NO_SOURCE, None)),
        },
    };
    let turn = exchange.ask(attempt, question).await;
    if matches!(turn, Turn::Challenge(_)) {
        *under_way = Some(exchange);
    }
    turn
}

impl UnderWay {
    async fn ask(&mut self, attempt: &Attempt<'_>, mut question: Question) -> Turn {
        loop {
            let answer = match self.asked.ask(question).await {
                Ok(answer) => answer,
                Err(why) => return Turn::End(self.unavailable(None, why)),
            };
            match answer {
                Answer::Challenge { challenge, .. } => return Turn::Challenge(challenge.0),
                Answer::Claims { name, .. } if attempt.is_locked_out(&name) => {
                    return Turn::End(attempt.refused(Some(&name), LOCKED, None));
                }
                Answer::Claims { name, .. } if self.name.is_none() => {
                    self.name = Some(name);
                    question = Question::Proceed {
                        exchange: self.asked.exchange,
                    };
                }
                Answer::Account { account, .. } => {
                    return Turn::End(self.proved(attempt, &account).await);
                }
                Answer::Refused {
                    name, why, kind, ..
                } => {
                    // The proof of another password looks like that of the same one: each counts. So does one for a name
                    // that nobody has: whether anybody has it is not to be found out.
                    let guess =
                        (kind != RefusedKind::Barred).then(|| attempt.server.guesses.unique());
                    let name = self.name.take().or(name);
                    return Turn::End(attempt.refused(name.as_deref(), &why, guess));
                }
                Answer::Unavailable { name, why, .. } => {
                    return Turn::End(self.unavailable(name, why));
                }
                Answer::Claims { .. } | Answer::Hello { .. } => {
                    let why = "postern-authd answers what was not asked".to_owned();
                    return Turn::End(self.unavailable(None, why));
                }
            }
        }
    }

    fn unavailable(&mut self, name: Option<String>, why: String) -> End {
        End::Unavailable {
            name: self.name.take().or(name).unwrap_or_default(),
            why,
            guess: None,
        }
    }

    /// The client is who it says: which account is that?
    async fn proved(&mut self, attempt: &Attempt<'_>, account: &Account) -> End {
        let said = self.name.take().unwrap_or_else(|| shown(account));
        // A ticket claims nothing before: the address may be locked out, or the account.
        if attempt.is_locked_out(&said) {
            return attempt.refused(Some(&said), LOCKED, None);
        }
        let found = match attempt.generation.accounts.proved(&self.by, account).await {
            Ok(Ok(found)) => found,
            Ok(Err(why)) => return attempt.refused(Some(&said), &why, None),
            Err(unavailable) => return self.unavailable(Some(said), unavailable.to_string()),
        };
        let names = [&said, &shown(account), &account.name, &found.account];
        // Guesses may have been made at another of its names: a bare one means it where it is at home alone.
        let bare = account.home && attempt.is_locked_out(&account.name);
        let own = [&shown(account), &found.account];
        if bare || own.iter().any(|name| attempt.is_locked_out(name)) {
            return attempt.refused(Some(&said), LOCKED, None);
        }
        let is_itself = |other: &String| names.iter().any(|name| name.eq_ignore_ascii_case(other));
        if !account.authzid.as_ref().is_none_or(is_itself) {
            return attempt.refused(Some(&said), OTHER, None);
        }
        attempt.guessed_right(&said);
        let bound = if account.bound { ", bound to TLS" } else { "" };
        End::Account(found, format!("{}{bound}", account.proof))
    }
}

/// `CORP\alice`, `alice@CORP.EXAMPLE` by a ticket, or `alice`.
fn shown(account: &Account) -> String {
    match &account.domain {
        Some(realm) if account.proof == "Kerberos" => format!("{}@{realm}", account.name),
        Some(domain) => format!("{domain}\\{}", account.name),
        None => account.name.clone(),
    }
}

impl Attempt<'_> {
    /// A new exchange with whoever serves this; none does: `None`.
    fn begin(&self, mechanism: Mechanism, initial: &[u8]) -> Option<(Box<UnderWay>, Question)> {
        let authentication = &self.generation.definition.authentication;
        let ntlm = match self.tls {
            Some(_) => authentication.serves_ntlm(),
            None => authentication.serves_ntlm_in_clear(),
        };
        let by = self.generation.accounts.asked_for(initial, ntlm)?;
        let terms = Terms {
            host: self.generation.definition.general.fqdn.clone(),
            end_points: self
                .bindings
                .end_points
                .iter()
                .map(|hash| Blob::from(&**hash))
                .collect(),
            exporter: self
                .bindings
                .exporter
                .as_ref()
                .map(|key| Blob::from(&key[..])),
            binding_required: self.tls.is_some()
                && authentication.ntlm.channel_binding == ChannelBinding::Require,
            ntlm,
            domains: by.domains.clone(),
            default_domain: self.generation.accounts.default_domain().to_owned(),
        };
        let asked = by.begin();
        let question = Question::Begin {
            exchange: asked.exchange,
            mechanism: mechanism.name().to_owned(),
            initial: Blob::from(initial),
            terms: Box::new(terms),
        };
        let under_way = UnderWay {
            asked,
            by: by.clone(),
            name: None,
        };
        Some((Box::new(under_way), question))
    }
}

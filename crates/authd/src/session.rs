//! One exchange: the mechanism's own state, and who is asked for what it wants to know.
//!
//! ```text
//! Begin ─▶ Challenge ◀─▶ Respond ─▶ Claims ─▶ Proceed ─▶ the backend proves ─▶ Challenge … ─▶ Account
//!                                   (NTLM)              or a ticket is checked at once
//! ```
//!
//! Never: a proof checked before Proceed; NTLM where the terms have none; a mechanism whose secret the worker may hold.

use std::time::{SystemTime, UNIX_EPOCH};

use postern_control::auth::{Account, Answer, Blob, Terms};
use postern_sasl::{
    Bindings, Exchange, Identity, Inner, Mechanism, NtProof, NtlmRules, Refusal, Rule, Step,
    Surroundings, Ticket, Want, filetime,
};

use crate::backend::{Backend, No, Tickets};

/// The longest name, in octets: that of an account file.
const LONGEST_NAME: usize = 254;

/// An exchange under way.
pub(crate) struct Session {
    exchange: Exchange,
    terms: Terms,
    /// The claimed account, by the one name that guesses at it are counted by.
    called: Option<String>,
    tickets: Option<Box<dyn Tickets>>,
    /// Claimed, and not checked yet.
    claimed: Option<NtProof>,
    /// Proved by NTLM: name, domain and groups.
    proved: Option<Account>,
}

/// What the worker hears.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Send this to the client.
    Challenge(Vec<u8>),
    /// Whom it names.
    Claims(String),
    /// Who it is.
    Account(Box<Account>),
    /// Nobody, or nobody knows; and who it said it was.
    No(Option<String>, No),
}

type Went = (Option<Session>, Outcome);

impl Session {
    /// Takes the client's first blob.
    pub(crate) fn begin(
        mechanism: &str,
        initial: &[u8],
        terms: Terms,
        random: [u8; 32],
        backend: &mut dyn Backend,
    ) -> Went {
        match Session::new(mechanism, initial, terms, random, backend) {
            Ok((session, step)) => session.drive(step, backend),
            Err(no) => (None, Outcome::No(None, no)),
        }
    }

    fn new(
        mechanism: &str,
        initial: &[u8],
        terms: Terms,
        random: [u8; 32],
        backend: &mut dyn Backend,
    ) -> Result<(Session, Step), No> {
        let mechanism = match mechanism.parse() {
            Ok(known @ (Mechanism::Ntlm | Mechanism::GssSpnego | Mechanism::Gssapi)) => known,
            _ => return Err(No::refused("not a mechanism of this source")),
        };
        let tickets = backend.tickets(&terms);
        let mut surroundings = surroundings(&terms, random);
        surroundings.kerberos = tickets.is_some();
        if terms.ntlm
            && let Some(names) = backend.names(&terms.host)?
        {
            surroundings.ntlm = Some(NtlmRules {
                names,
                time: now(),
                integrity_code: Rule::Accept,
            });
        }
        let (exchange, step) = Exchange::start(mechanism, Some(initial), &surroundings);
        let session = Session {
            exchange,
            terms,
            called: None,
            tickets,
            claimed: None,
            proved: None,
        };
        Ok((session, step))
    }

    /// Takes the client's answer to the last challenge.
    pub(crate) fn respond(mut self, response: &[u8], backend: &mut dyn Backend) -> Went {
        if self.claimed.is_some() {
            return self.no(No::refused("an answer where none was asked for"));
        }
        let step = self.exchange.step(response);
        self.drive(step, backend)
    }

    /// The account claimed may be checked.
    pub(crate) fn proceed(mut self, backend: &mut dyn Backend) -> Went {
        let Some(proof) = self.claimed.take() else {
            return self.no(No::unavailable("nothing was claimed"));
        };
        match backend.prove(&proof, &self.terms) {
            Ok(proved) => {
                self.proved = Some(proved.account);
                let step = self.exchange.give_proof(Some(proved.key));
                self.drive(step, backend)
            }
            Err(no) => self.no(no),
        }
    }

    /// Goes on until somebody else is to say something. Each turn uses up a state of the exchange, of which it has few.
    fn drive(mut self, mut step: Step, backend: &mut dyn Backend) -> Went {
        loop {
            let want = match step {
                Step::Challenge(challenge) => return (Some(self), Outcome::Challenge(challenge)),
                Step::Done(identity) => return self.done(identity),
                Step::Refused(why) => return self.no(refused(why)),
                Step::Want(Want::NtProof(proof)) => return self.claims(proof, backend),
                Step::Want(want) => want,
            };
            step = match self.ask(want) {
                Ok(step) => step,
                Err(no) => return self.no(no),
            };
        }
    }

    fn claims(mut self, proof: NtProof, backend: &mut dyn Backend) -> Went {
        let name = proof.account();
        if name.len() > LONGEST_NAME {
            return (None, Outcome::No(None, refused(Refusal::TooLong)));
        }
        let name = backend.called(&proof, &self.terms).unwrap_or(name);
        self.called = Some(name.clone());
        self.claimed = Some(proof);
        (Some(self), Outcome::Claims(name))
    }

    /// Asks the Kerberos library.
    fn ask(&mut self, want: Want) -> Result<Step, No> {
        let tickets = self
            .tickets
            .as_mut()
            .ok_or_else(|| refused(Refusal::Unsupported))?;
        Ok(match want {
            Want::Kerberos(token) => match tickets.step(&token)? {
                Ticket::Refused => return Err(refused(Refusal::Ticket)),
                ticket => self.exchange.give_ticket(ticket),
            },
            Want::Wrap(octets) => self.exchange.give_wrapped(tickets.wrap(&octets)?),
            Want::Unwrap(octets) => {
                let unwrapped = tickets.unwrap(&octets)?;
                self.exchange.give_unwrapped(Some(&unwrapped))
            }
            _ => return Err(refused(Refusal::Unsupported)),
        })
    }

    fn done(self, identity: Identity) -> Went {
        let account = match self.exchange.inner() {
            Some(Inner::Kerberos) => {
                let tickets = self.tickets.as_ref();
                by_ticket(
                    &identity.name,
                    tickets.is_some_and(|tickets| tickets.at_home()),
                )
            }
            _ => self.proved.map(|proved| Account {
                proof: "NTLM".to_owned(),
                ..proved
            }),
        };
        let outcome = match account {
            Some(account) => Outcome::Account(Box::new(Account {
                authzid: identity.authzid,
                bound: identity.bound,
                ..account
            })),
            None => Outcome::No(Some(identity.name), No::refused("nothing was proved")),
        };
        (None, outcome)
    }

    fn no(self, no: No) -> Went {
        let said = self.exchange.name().map(str::to_owned);
        let name = self.called.or(said);
        (None, Outcome::No(name, no))
    }
}

impl Outcome {
    /// As it is said to the worker.
    pub(crate) fn into_answer(self, exchange: u32) -> Answer {
        match self {
            Outcome::Challenge(challenge) => Answer::Challenge {
                exchange,
                challenge: Blob(challenge),
            },
            Outcome::Claims(name) => Answer::Claims { exchange, name },
            Outcome::Account(account) => Answer::Account { exchange, account },
            Outcome::No(said, No::Refused { name, why, kind }) => Answer::Refused {
                exchange,
                name: name.or(said),
                why,
                kind,
            },
            Outcome::No(name, No::Unavailable { why }) => Answer::Unavailable {
                exchange,
                name,
                why,
            },
        }
    }
}

fn surroundings(terms: &Terms, random: [u8; 32]) -> Surroundings {
    let end_points = terms.end_points.iter();
    let exporter = terms.exporter.as_ref();
    Surroundings {
        bindings: Bindings {
            exporter: exporter.and_then(|blob| blob.0.as_slice().try_into().ok()),
            end_points: end_points.map(|blob| blob.0.clone().into()).collect(),
        },
        channel_binding: match terms.binding_required {
            true => Rule::Require,
            false => Rule::Accept,
        },
        ..Surroundings::new(random)
    }
}

fn now() -> u64 {
    // A clock before 1970 is no time at all, and no reason to end.
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    filetime(since.unwrap_or_default())
}

/// The exchange's own refusals; a wrong proof is the only guess at a password.
fn refused(why: Refusal) -> No {
    match why {
        Refusal::WrongPassword => No::guessed(why),
        _ => No::refused(why),
    }
}

/// `alice@REALM`.
fn by_ticket(principal: &str, home: bool) -> Option<Account> {
    let (name, realm) = principal.rsplit_once('@')?;
    Some(Account {
        name: name.to_owned(),
        domain: Some(realm.to_owned()),
        home,
        proof: "Kerberos".to_owned(),
        ..Account::default()
    })
}

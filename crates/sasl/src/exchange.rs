//! The server's half of one exchange, from AUTH to the point where it is known who the client is.
//!
//! | mechanism | server's states |
//! |---|---|
//! | PLAIN, EXTERNAL | wants the blob → the host checks, over |
//! | LOGIN | wants the name → wants the password → the host checks, over |
//! | SCRAM | client first → keys from the host → client final → client's empty answer → done |
//! | NTLM | NEGOTIATE → AUTHENTICATE → the proof's answer from the host → done |
//! | GSS-SPNEGO, GSSAPI | tokens, and the host's word on them → client's empty answer → [security layer] → done |
//!
//! Never: whether a password is right where the host has the password's hash; who may do what.

use crate::gssapi::{self, Kind};
use crate::mechanism::Mechanism;
use crate::ntlm::{self, NtHash, NtProof, SessionBaseKey};
use crate::refusal::Refusal;
use crate::scram::{self, ScramKeys};
use crate::secret::Secret;
use crate::spnego::Acceptor;
use crate::surroundings::Surroundings;
use crate::{external, login, plain};

/// The longest blob taken from a peer, in octets after base64 (12,288 of them in base64: RFC 4954 §4).
pub const LIMIT: usize = 9_216;

/// The server's half of one exchange.
///
/// After [`Step::Done`] or [`Step::Refused`] it is over: every further step is refused.
#[derive(Debug)]
pub struct Exchange {
    state: State,
    name: Option<String>,
    inner: Option<Inner>,
}

#[derive(Debug)]
enum State {
    Plain,
    Login(login::Server),
    External,
    Scram(scram::Server),
    Gss(gssapi::Server),
    Over,
}

/// What the host does next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this blob (334 with base64 in SMTP), and give the answer to [`Exchange::step`].
    Challenge(Vec<u8>),
    /// Find this out. What is done with the answer stands at each [`Want`].
    Want(Want),
    /// The client is who it says. The host finds the account, and whether it may log in; the exchange is over.
    Done(Identity),
    /// Say no. The exchange is over; the reason is for the log, the client hears the same as for a wrong password.
    Refused(Refusal),
}

/// What the host must find out.
#[derive(Debug, PartialEq, Eq)]
pub enum Want {
    /// Whether this is the account's password. The host says yes or no to the client itself; the exchange is over.
    Password {
        /// Whom the client wants to act as, where it named somebody else than itself: the host finds that both
        /// names mean one account, or refuses.
        authzid: Option<String>,
        /// Who the client says it is; never empty.
        authcid: String,
        /// The password, never empty, UTF-8, without NUL.
        password: Secret,
    },
    /// Whom the TLS certificate of the client names. The host says yes or no itself; the exchange is over.
    Certificate {
        /// Whom the client wants to act as, where it says so.
        authzid: Option<String>,
    },
    /// The account's keys, invented ones for an unknown account: [`Exchange::give_keys`].
    ScramKeys {
        /// As for a password.
        authzid: Option<String>,
        /// Who the client says it is; never empty.
        name: String,
    },
    /// Whether this proof is the account's: [`Exchange::give_proof`] or [`Exchange::check_with_hash`].
    NtProof(NtProof),
    /// What the Kerberos library makes of this token, SPNEGO's own around it included: [`Exchange::give_ticket`]. A
    /// library that has other mechanisms too may end with one of them: the host refuses what is not Kerberos.
    Kerberos(Vec<u8>),
    /// These octets wrapped by the Kerberos library, without confidentiality: [`Exchange::give_wrapped`].
    Wrap(Vec<u8>),
    /// These octets unwrapped by the Kerberos library: [`Exchange::give_unwrapped`].
    Unwrap(Vec<u8>),
}

/// What the Kerberos library says to a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ticket {
    /// It goes on: send this.
    Continue(Vec<u8>),
    /// The client is known.
    Accepted {
        /// What the client must still have, if anything.
        reply: Option<Vec<u8>>,
        /// `alice@REALM`.
        principal: String,
        /// Both sides sent the same channel binding (GSS_C_CHANNEL_BOUND_FLAG, 0x800).
        bound: bool,
    },
    /// The library would not.
    Refused,
}

/// The mechanism inside GSS-SPNEGO or GSSAPI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inner {
    /// NTLMv2.
    Ntlm,
    /// A ticket.
    Kerberos,
}

/// Who a client has proved to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The account's name as the mechanism has it: `alice`, or `alice@REALM` by Kerberos.
    pub name: String,
    /// Its Windows domain, where NTLM named one.
    pub domain: Option<String>,
    /// Whom it wants to act as, where it named somebody else than itself.
    pub authzid: Option<String>,
    /// Whether the login was bound to this TLS channel.
    pub bound: bool,
    /// The service the client believes it talks to (`SMTP/mx1.corp.example`), where NTLM named one.
    pub target: Option<String>,
}

impl Identity {
    pub(crate) fn named(name: String) -> Identity {
        Identity {
            name,
            domain: None,
            authzid: None,
            bound: false,
            target: None,
        }
    }
}

impl Exchange {
    /// Begins: `initial` is the initial response, `Some(&[])` where the client sent `=` (RFC 4954 §4).
    pub fn start(
        mechanism: Mechanism,
        initial: Option<&[u8]>,
        surroundings: &Surroundings,
    ) -> (Exchange, Step) {
        let mut exchange = Exchange {
            state: State::Over,
            name: None,
            inner: None,
        };
        let step = match (State::new(mechanism, surroundings), initial) {
            (Err(why), _) => Step::Refused(why),
            (Ok(state), None) => {
                exchange.state = state;
                Step::Challenge(prompt(mechanism).to_vec())
            }
            (Ok(state), Some(response)) => {
                exchange.state = state;
                exchange.step(response)
            }
        };
        (exchange, step)
    }

    /// Takes the client's answer to the last challenge. A cancelled exchange (`*`) is simply dropped by the host.
    pub fn step(&mut self, response: &[u8]) -> Step {
        let state = std::mem::replace(&mut self.state, State::Over);
        if response.len() > LIMIT {
            return Step::Refused(Refusal::TooLong);
        }
        let stepped = match state {
            State::Plain => plain::read(response).map(|want| (State::Over, Step::Want(want))),
            State::External => external::read(response).map(|want| (State::Over, Step::Want(want))),
            State::Login(server) => Ok(on(server.step(response), State::Login)),
            State::Scram(server) => Ok(on(server.step(response), State::Scram)),
            State::Gss(server) => server.step(response).map(|next| on(next, State::Gss)),
            State::Over => Err(Refusal::Over),
        };
        self.went(stepped)
    }

    /// Answers [`Want::ScramKeys`].
    pub fn give_keys(&mut self, keys: ScramKeys) -> Step {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Scram(server) => self.went(Ok(on(server.give_keys(keys), State::Scram))),
            _ => Step::Refused(Refusal::Over),
        }
    }

    /// Answers [`Want::NtProof`] with the session's key of whoever has checked the proof; none: it was wrong.
    pub fn give_proof(&mut self, key: Option<SessionBaseKey>) -> Step {
        self.answer(|server| server.give_proof(key))
    }

    /// Answers [`Want::NtProof`] with the account's hash, an invented one for an unknown account.
    pub fn check_with_hash(&mut self, hash: &NtHash) -> Step {
        self.answer(|server| server.check_with_hash(hash))
    }

    /// Answers [`Want::Kerberos`].
    pub fn give_ticket(&mut self, ticket: Ticket) -> Step {
        self.answer(|server| server.give_ticket(ticket))
    }

    /// Answers [`Want::Wrap`].
    pub fn give_wrapped(&mut self, wrapped: Vec<u8>) -> Step {
        self.answer(|server| server.give_wrapped(wrapped))
    }

    /// Answers [`Want::Unwrap`]; none where the library would not.
    pub fn give_unwrapped(&mut self, unwrapped: Option<&[u8]>) -> Step {
        self.answer(|server| server.give_unwrapped(unwrapped))
    }

    /// Who the client says it is, as soon as it has said so, and after a refusal too: for the log.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Which mechanism was chosen inside GSS-SPNEGO or GSSAPI, as soon as it is known; for NTLM alone, NTLM.
    pub fn inner(&self) -> Option<Inner> {
        self.inner
    }

    fn answer(
        &mut self,
        give: impl FnOnce(gssapi::Server) -> Result<(Option<gssapi::Server>, Step), Refusal>,
    ) -> Step {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Gss(server) => {
                let stepped = give(server).map(|next| on(next, State::Gss));
                self.went(stepped)
            }
            _ => Step::Refused(Refusal::Over),
        }
    }

    fn went(&mut self, stepped: Result<(State, Step), Refusal>) -> Step {
        let (state, step) = stepped.unwrap_or_else(|why| (State::Over, Step::Refused(why)));
        if let State::Gss(server) = &state {
            self.inner = server.inner().or(self.inner);
        }
        let name = match (&step, &state) {
            (_, State::Login(login::Server::Password { name })) => Some(name.clone()),
            (Step::Want(want), _) => want.name(),
            (Step::Done(identity), _) => Some(identity.name.clone()),
            _ => None,
        };
        // NTLM's claim comes with its domain, which says more than the name that is proved in the end.
        if self.name.is_none() {
            self.name = name;
        }
        self.state = state;
        step
    }
}

impl State {
    fn new(mechanism: Mechanism, surroundings: &Surroundings) -> Result<State, Refusal> {
        let boxed = || Box::new(surroundings.clone());
        let tokens = |kind| {
            State::Gss(gssapi::Server::Tokens(
                kind,
                Box::new(Acceptor::Begin(boxed())),
            ))
        };
        Ok(match mechanism {
            Mechanism::Plain => State::Plain,
            Mechanism::Login => State::Login(login::Server::default()),
            Mechanism::External => State::External,
            Mechanism::ScramSha256 => {
                State::Scram(scram::Server::First(scram::Kind::Bare, boxed()))
            }
            Mechanism::ScramSha256Plus if surroundings.bindings.is_empty() => {
                return Err(Refusal::BindingType);
            }
            Mechanism::ScramSha256Plus => {
                State::Scram(scram::Server::First(scram::Kind::Plus, boxed()))
            }
            Mechanism::Ntlm => {
                let opening = Acceptor::Opening(ntlm::Opening::new(surroundings)?, None);
                State::Gss(gssapi::Server::Tokens(Kind::Bare, Box::new(opening)))
            }
            Mechanism::GssSpnego => tokens(Kind::Bare),
            Mechanism::Gssapi => tokens(Kind::Layered),
            Mechanism::XOauth2 | Mechanism::OauthBearer => return Err(Refusal::Unsupported),
        })
    }
}

impl Want {
    fn name(&self) -> Option<String> {
        match self {
            Want::Password { authcid, .. } => Some(authcid.clone()),
            Want::ScramKeys { name, .. } => Some(name.clone()),
            Want::NtProof(proof) => Some(proof.account()),
            Want::Certificate { authzid } => authzid.clone(),
            Want::Kerberos(_) | Want::Wrap(_) | Want::Unwrap(_) => None,
        }
    }
}

/// The first challenge, where the client sent no initial response.
const fn prompt(mechanism: Mechanism) -> &'static [u8] {
    match mechanism {
        Mechanism::Login => login::NAME_PROMPT,
        // RFC 4422 §5: where the client speaks first, the server's challenge is empty. Exchange says "NTLM supported",
        // which is not even base64.
        _ => b"",
    }
}

fn on<S>((next, step): (Option<S>, Step), state: impl FnOnce(S) -> State) -> (State, Step) {
    (next.map_or(State::Over, state), step)
}

#[cfg(test)]
mod tests;

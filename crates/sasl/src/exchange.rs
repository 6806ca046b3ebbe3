//! One exchange, from AUTH to the point where the host must check something; and the client's half of it.
//!
//! | mechanism | server's states |
//! |---|---|
//! | PLAIN | wants the blob → done |
//! | LOGIN | wants the name → wants the password → done |
//!
//! Never: whether a password is right.

use std::fmt;

use crate::mechanism::Mechanism;
use crate::secret::Secret;
use crate::{login, plain};

/// The longest blob taken from a peer, in octets after base64 (12,288 of them in base64: RFC 4954 §4).
pub const LIMIT: usize = 9_216;

/// The server's half of one exchange.
///
/// After [`Step::Want`] or [`Step::Refused`] it is over: every further step is refused.
#[derive(Debug)]
pub struct Exchange {
    state: State,
}

#[derive(Debug)]
enum State {
    Plain,
    Login(login::Server),
    Over,
}

/// What the host does next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this blob (334 with base64 in SMTP), and give the answer to [`Exchange::step`].
    Challenge(Vec<u8>),
    /// Check this, and say yes or no to the client. The exchange is over.
    Want(Want),
    /// Say no. The exchange is over; the reason is for the log, the client hears the same as for a wrong password.
    Refused(Refusal),
}

/// What the host must check before it says yes.
#[derive(Debug, PartialEq, Eq)]
pub enum Want {
    /// A name and its password.
    Password {
        /// Whom the client wants to act as, where it named somebody else than itself: the host finds that both
        /// names mean one account, or refuses.
        authzid: Option<String>,
        /// Who the client says it is; never empty.
        authcid: String,
        /// The password, never empty, UTF-8, without NUL.
        password: Secret,
    },
}

/// Why an exchange ended without anything to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not the shape the mechanism prescribes.
    Malformed,
    /// The name is empty.
    NoName,
    /// The password is empty.
    NoPassword,
    /// A name or password is not UTF-8, or holds a NUL.
    NotText,
    /// More than [`LIMIT`], or a name or password beyond what any account has.
    TooLong,
    /// A step after the end.
    Over,
    /// Client only: the server asks for more than the mechanism has.
    UnexpectedChallenge,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::Malformed => "the response does not have the mechanism's form",
            Refusal::NoName => "the name is empty",
            Refusal::NoPassword => "the password is empty",
            Refusal::NotText => "name or password is not UTF-8 text",
            Refusal::TooLong => "the response is too long",
            Refusal::Over => "the exchange is over",
            Refusal::UnexpectedChallenge => "the server asks for more than the mechanism has",
        })
    }
}

impl std::error::Error for Refusal {}

impl Exchange {
    /// Begins: `initial` is the initial response, `Some(&[])` where the client sent `=` (RFC 4954 §4).
    pub fn start(mechanism: Mechanism, initial: Option<&[u8]>) -> (Exchange, Step) {
        let (state, prompt) = match mechanism {
            Mechanism::Plain => (State::Plain, Vec::new()),
            Mechanism::Login => (
                State::Login(login::Server::default()),
                login::NAME_PROMPT.to_vec(),
            ),
        };
        let mut exchange = Exchange { state };
        let step = match initial {
            Some(response) => exchange.step(response),
            None => Step::Challenge(prompt),
        };
        (exchange, step)
    }

    /// Takes the client's answer to the last challenge. A cancelled exchange (`*`) is simply dropped by the host.
    pub fn step(&mut self, response: &[u8]) -> Step {
        let state = std::mem::replace(&mut self.state, State::Over);
        if response.len() > LIMIT {
            return Step::Refused(Refusal::TooLong);
        }
        match state {
            State::Plain => plain::read(response).map_or_else(Step::Refused, Step::Want),
            State::Login(server) => {
                let (next, step) = server.step(response);
                self.state = next.map_or(State::Over, State::Login);
                step
            }
            State::Over => Step::Refused(Refusal::Over),
        }
    }
}

/// Who a client is.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The account's name.
    pub name: String,
    /// Its password.
    pub password: Secret,
}

/// The client's half of one exchange.
#[derive(Debug)]
pub struct Login<'a> {
    credentials: &'a Credentials,
    state: ClientState,
}

#[derive(Debug)]
enum ClientState {
    Plain,
    Login(login::Client),
    Over,
}

impl<'a> Login<'a> {
    /// Begins an exchange with these credentials.
    pub fn new(mechanism: Mechanism, credentials: &'a Credentials) -> Login<'a> {
        let state = match mechanism {
            Mechanism::Plain => ClientState::Plain,
            Mechanism::Login => ClientState::Login(login::Client::default()),
        };
        Login { credentials, state }
    }

    /// The initial response to send with AUTH, where the mechanism lets the client speak first. Call it at most once,
    /// before [`Login::answer`].
    ///
    /// LOGIN has none: servers differ in what they make of it.
    pub fn initial(&mut self) -> Option<Secret> {
        match self.state {
            ClientState::Plain => {
                self.state = ClientState::Over;
                Some(plain::write(self.credentials))
            }
            _ => None,
        }
    }

    /// The answer to a challenge; the text of a LOGIN prompt is not looked at.
    pub fn answer(&mut self, challenge: &[u8]) -> Result<Secret, Refusal> {
        match std::mem::replace(&mut self.state, ClientState::Over) {
            // RFC 4616 §2: the server's only challenge is empty, and stands for a missing initial response.
            ClientState::Plain if challenge.is_empty() => Ok(plain::write(self.credentials)),
            ClientState::Login(client) => {
                let (next, answer) = client.answer(self.credentials);
                self.state = next.map_or(ClientState::Over, ClientState::Login);
                Ok(answer)
            }
            ClientState::Plain | ClientState::Over => Err(Refusal::UnexpectedChallenge),
        }
    }
}

#[cfg(test)]
mod tests;

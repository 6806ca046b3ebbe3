//! The client's half of one exchange.
//!
//! Never: which mechanism to take; a secret sent a second time.

use crate::bearer::{self, Form};
use crate::exchange::LIMIT;
use crate::mechanism::Mechanism;
use crate::refusal::Refusal;
use crate::secret::Secret;
use crate::surroundings::Bindings;
use crate::{login, ntlm, plain, scram, spnego};

/// Who a client is.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The account's name; `DOMAIN\name` for NTLM, and empty for EXTERNAL where the certificate says enough.
    pub name: String,
    /// Its password, or an OAuth 2 token.
    pub password: Secret,
}

/// What a client knows of the server it logs in to.
#[derive(Clone, Debug)]
pub struct Peer {
    /// From the system's generator, never used before.
    pub random: [u8; 32],
    /// The TLS connection's bindings.
    pub bindings: Bindings,
    /// Whether the server offered SCRAM-SHA-256-PLUS.
    pub plus_offered: bool,
    /// The server's name, as the client called it.
    pub host: String,
    /// Now, as [`filetime`](crate::filetime) has it: for an NTLM server that does not send the time.
    pub time: u64,
}

/// The client's half of one exchange.
#[derive(Debug)]
pub struct Login<'a> {
    credentials: &'a Credentials,
    peer: Option<Peer>,
    state: State,
    complaint: Option<String>,
}

#[derive(Debug)]
enum State {
    /// It cannot even begin.
    Unable(Refusal),
    Plain,
    Login(login::Client),
    External,
    Bearer(Form),
    /// The token was sent.
    Borne(Form),
    Scram(scram::client::Client),
    Ntlm,
    /// NTLM's first message was sent.
    Negotiated(Vec<u8>),
    Spnego,
    Negotiating(spnego::client::Client),
    /// Nothing more to say, and all that the server must prove is proved.
    Over,
    /// Something went wrong; nothing may be taken for a login any more.
    Broken(Refusal),
}

impl<'a> Login<'a> {
    /// Begins an exchange with these credentials. SCRAM, NTLM and GSS-SPNEGO need [`Login::facing`], and refuse here.
    pub fn new(mechanism: Mechanism, credentials: &'a Credentials) -> Login<'a> {
        let state = match mechanism {
            Mechanism::Plain => State::Plain,
            Mechanism::Login => State::Login(login::Client::default()),
            Mechanism::External => State::External,
            Mechanism::XOauth2 => State::Bearer(Form::XOauth2),
            Mechanism::OauthBearer => State::Bearer(Form::OauthBearer),
            _ => State::Unable(Refusal::Unsupported),
        };
        Login {
            credentials,
            peer: None,
            state,
            complaint: None,
        }
    }

    /// Begins an exchange of any mechanism with this server. GSSAPI needs a library, and refuses.
    pub fn facing(mechanism: Mechanism, credentials: &'a Credentials, peer: Peer) -> Login<'a> {
        let scram = |kind| {
            scram::client::Client::new(kind, credentials, &peer)
                .map_or_else(State::Unable, State::Scram)
        };
        let state = match mechanism {
            Mechanism::ScramSha256 => Some(scram(scram::Kind::Bare)),
            Mechanism::ScramSha256Plus => Some(scram(scram::Kind::Plus)),
            Mechanism::Ntlm => Some(State::Ntlm),
            Mechanism::GssSpnego => Some(State::Spnego),
            _ => None,
        };
        let login = Login::new(mechanism, credentials);
        Login {
            peer: Some(peer),
            state: state.unwrap_or(login.state),
            ..login
        }
    }

    /// The initial response to send with AUTH, where the mechanism lets the client speak first. Call it at most once,
    /// before [`Login::answer`].
    ///
    /// LOGIN has none: servers differ in what they make of it. Neither has NTLM alone: Exchange greets first.
    pub fn initial(&mut self) -> Option<Secret> {
        match self.state {
            State::Login(_) | State::Ntlm => None,
            _ => self.first(),
        }
    }

    /// The answer to a challenge; the text of a LOGIN prompt is not looked at.
    pub fn answer(&mut self, challenge: &[u8]) -> Result<Secret, Refusal> {
        if challenge.len() > LIMIT {
            return self.broken(Refusal::TooLong);
        }
        // RFC 4422 §5: a server's empty challenge stands for a missing initial response. In place of NTLM's, servers
        // send words, and those seldom in base64.
        let words = matches!(self.state, State::Ntlm) && !ntlm::client::is_challenge(challenge);
        if (challenge.is_empty() || words)
            && let Some(first) = self.first()
        {
            return Ok(first);
        }
        self.further(challenge).or_else(|why| self.broken(why))
    }

    /// Whether the login may be taken for good once the server says yes: a server that must prove itself has done so.
    pub fn finish(&self) -> Result<(), Refusal> {
        match &self.state {
            State::Over | State::Borne(_) => Ok(()),
            State::Unable(why) | State::Broken(why) => Err(*why),
            _ => Err(Refusal::Unproven),
        }
    }

    /// What the server said against a token: JSON (RFC 7628 §3.2.2), for the log.
    pub fn complaint(&self) -> Option<&str> {
        self.complaint.as_deref()
    }

    fn first(&mut self) -> Option<Secret> {
        let (state, blob) = match std::mem::replace(&mut self.state, State::Over) {
            State::Plain => (State::Over, plain::write(self.credentials)),
            State::External => (State::Over, Secret::from(self.credentials.name.as_str())),
            State::Bearer(form) => (State::Borne(form), bearer::write(form, self.credentials)),
            State::Ntlm => {
                let message = ntlm::client::negotiate();
                (State::Negotiated(message.clone()), Secret::new(message))
            }
            State::Spnego => {
                let (client, token) = spnego::client::Client::initial();
                (State::Negotiating(client), token)
            }
            State::Scram(client @ scram::client::Client::First(_)) => {
                let (client, blob) = client.initial().ok()?;
                (State::Scram(client), blob)
            }
            other => {
                self.state = other;
                return None;
            }
        };
        self.state = state;
        Some(blob)
    }

    fn further(&mut self, challenge: &[u8]) -> Result<Secret, Refusal> {
        let (state, answer) = match std::mem::replace(&mut self.state, State::Over) {
            State::Login(client) => {
                let (next, answer) = client.answer(self.credentials);
                (next.map_or(State::Over, State::Login), answer)
            }
            State::Borne(form) => {
                self.complaint = Some(bearer::complaint(challenge));
                (
                    State::Broken(Refusal::PeerError),
                    bearer::acknowledgement(form),
                )
            }
            State::Scram(client) => {
                let (next, answer) = client.answer(challenge, self.credentials)?;
                (next.map_or(State::Over, State::Scram), answer)
            }
            State::Negotiated(negotiate) => {
                let peer = self.peer.as_ref().ok_or(Refusal::Unsupported)?;
                let (message, _) =
                    ntlm::client::authenticate(&negotiate, challenge, self.credentials, peer)?;
                (State::Over, Secret::new(message))
            }
            State::Negotiating(client) => {
                let peer = self.peer.as_ref().ok_or(Refusal::Unsupported)?;
                let (next, answer) = client.answer(challenge, self.credentials, peer)?;
                (next.map_or(State::Over, State::Negotiating), answer)
            }
            State::Unable(why) | State::Broken(why) => return Err(why),
            _ => return Err(Refusal::UnexpectedChallenge),
        };
        self.state = state;
        Ok(answer)
    }

    fn broken(&mut self, why: Refusal) -> Result<Secret, Refusal> {
        self.state = State::Broken(why);
        Err(why)
    }
}

#[cfg(test)]
mod tests;

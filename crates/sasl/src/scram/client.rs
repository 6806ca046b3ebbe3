//! The client's half of SCRAM.
//!
//! Never: taking a login for good before the server has proved that it knows the account.

use super::keys::Salted;
use super::message::{self, ServerFirst, encoded, escaped};
use super::{Kind, ScramKeys, hmac, nonce};
use crate::client::{Credentials, Peer};
use crate::constant;
use crate::refusal::Refusal;
use crate::secret::Secret;

/// Where the client stands.
#[derive(Debug)]
pub(crate) enum Client {
    First(Opening),
    Final(Opening),
    /// The signature the server must show.
    Proof(Secret),
}

/// What the first message says.
#[derive(Debug)]
pub(crate) struct Opening {
    header: String,
    binding: Vec<u8>,
    nonce: String,
    bare: String,
}

impl Client {
    /// Refused where -PLUS is asked for without a channel to bind to, or the name cannot be written.
    pub(crate) fn new(
        kind: Kind,
        credentials: &Credentials,
        peer: &Peer,
    ) -> Result<Client, Refusal> {
        Client::with_nonce(kind, credentials, peer, nonce(&peer.random))
    }

    pub(super) fn with_nonce(
        kind: Kind,
        credentials: &Credentials,
        peer: &Peer,
        nonce: String,
    ) -> Result<Client, Refusal> {
        let (flag, binding) = match (kind, peer.bindings.preferred()) {
            (Kind::Plus, None) => return Err(Refusal::BindingType),
            (Kind::Plus, Some((name, binding))) => (format!("p={name}"), binding),
            // RFC 5802 §6: `y` lets the server notice that somebody struck -PLUS out of its offer.
            (Kind::Bare, Some(_)) if !peer.plus_offered => ("y".to_owned(), &[][..]),
            (Kind::Bare, _) => ("n".to_owned(), &[][..]),
        };
        let name = message::prepared_name(&credentials.name)?;
        Ok(Client::First(Opening {
            header: format!("{flag},,"),
            binding: binding.to_vec(),
            bare: format!("n={},r={nonce}", escaped(&name)),
            nonce,
        }))
    }

    /// The first message, and the state to go on with.
    pub(crate) fn initial(self) -> Result<(Client, Secret), Refusal> {
        let Client::First(opening) = self else {
            return Err(Refusal::Over);
        };
        let blob = Secret::from(format!("{}{}", opening.header, opening.bare).as_str());
        Ok((Client::Final(opening), blob))
    }

    /// The answer to a challenge, and the state to go on with; none once the server has proved itself.
    pub(crate) fn answer(
        self,
        challenge: &[u8],
        credentials: &Credentials,
    ) -> Result<(Option<Client>, Secret), Refusal> {
        match self {
            Client::First(_) if !challenge.is_empty() => Err(Refusal::UnexpectedChallenge),
            Client::First(_) => self.initial().map(|(next, blob)| (Some(next), blob)),
            Client::Final(opening) => opening
                .answer(challenge, credentials)
                .map(|(next, blob)| (Some(next), blob)),
            Client::Proof(expected) => {
                let signature = message::server_final(challenge)?;
                if constant::same(&signature, expected.expose()) {
                    Ok((None, Secret::new(Vec::new())))
                } else {
                    Err(Refusal::Unproven)
                }
            }
        }
    }
}

impl Opening {
    fn answer(
        self,
        challenge: &[u8],
        credentials: &Credentials,
    ) -> Result<(Client, Secret), Refusal> {
        let sent = std::str::from_utf8(challenge).map_err(|_| Refusal::NotText)?;
        let server = ServerFirst::parse(sent)?;
        let theirs = server.nonce.strip_prefix(self.nonce.as_str());
        if theirs.is_none_or(str::is_empty) {
            return Err(Refusal::Nonce);
        }
        // Few rounds make the proof easy to guess from; many would stop the client.
        if !ScramKeys::BOUNDS.contains(&server.iterations) {
            return Err(Refusal::Iterations);
        }
        let bound = encoded(&[self.header.as_bytes(), self.binding.as_slice()].concat());
        let unproven = format!("c={bound},r={}", server.nonce);
        let messages = format!("{},{sent},{unproven}", self.bare);
        let salted = Salted::new(
            credentials.password.expose(),
            &server.salt,
            server.iterations,
        );
        let proof = encoded(salted.proof(&messages).as_slice());
        let signature = hmac(salted.server_key().as_slice(), &[messages.as_bytes()]);
        Ok((
            Client::Proof(Secret::new(signature.to_vec())),
            Secret::from(format!("{unproven},p={proof}").as_str()),
        ))
    }
}

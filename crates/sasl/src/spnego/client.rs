//! The client's half of SPNEGO, around NTLM.
//!
//! Never: Kerberos; a client with a ticket has a library for it.

use super::token::{self, NTLMSSP, Resp, State};
use crate::client::{Credentials, Peer};
use crate::ntlm::{self, Session};
use crate::refusal::Refusal;
use crate::secret::Secret;

/// Where the client stands.
#[derive(Debug)]
pub(crate) enum Client {
    /// NEGOTIATE and the list were sent.
    Challenge(Vec<u8>, Vec<u8>),
    /// AUTHENTICATE was sent, and the list signed.
    Signature(Box<Session>, Vec<u8>),
}

impl Client {
    /// The first token, and the state to go on with.
    pub(crate) fn initial() -> (Client, Secret) {
        let negotiate = ntlm::client::negotiate();
        let (token, list) = token::init(&[NTLMSSP], &negotiate);
        (Client::Challenge(negotiate, list), Secret::new(token))
    }

    /// The answer to a challenge, and the state to go on with; none once the server's signature is right.
    pub(crate) fn answer(
        self,
        challenge: &[u8],
        credentials: &Credentials,
        peer: &Peer,
    ) -> Result<(Option<Client>, Secret), Refusal> {
        let resp = Resp::parse(challenge)?;
        match (self, resp.state) {
            (_, Some(State::Reject)) => Err(Refusal::PeerError),
            (Client::Challenge(negotiate, list), _) => {
                let challenge = resp.token.ok_or(Refusal::Malformed)?;
                let (message, session) =
                    ntlm::client::authenticate(&negotiate, challenge, credentials, peer)?;
                let mut session = session.ok_or(Refusal::OldNtlm)?;
                let mic = session.sign_list(&list);
                let answer = Resp {
                    token: Some(&message),
                    mic: Some(&mic),
                    ..Resp::default()
                };
                let answer = Secret::new(answer.write());
                Ok((Some(Client::Signature(session, list)), answer))
            }
            (Client::Signature(mut session, list), Some(State::Completed)) => {
                let mic = resp.mic.ok_or(Refusal::Unproven)?;
                match session.verify_list(&list, mic) {
                    true => Ok((None, Secret::new(Vec::new()))),
                    false => Err(Refusal::Unproven),
                }
            }
            (Client::Signature(..), _) => Err(Refusal::UnexpectedChallenge),
        }
    }
}

//! GSSAPI (RFC 4752) and GSS-SPNEGO around what `spnego.rs` finds out.
//!
//! ```text
//! GSS-SPNEGO   tokens … ─▶ last token ─▶ "" ─▶ done
//! GSSAPI       tokens … ─▶ last token ─▶ "" ─▶ offer (wrapped) ─▶ choice (wrapped) ─▶ done
//! ```
//!
//! The offer is always the same: no security layer, since SMTP has TLS. Kerberos wraps in the host's library; NTLM, which
//! Exchange lets in here too, wraps with its session's keys.
//!
//! Never: a security layer.

use crate::exchange::{Identity, Inner, Step, Ticket, Want};
use crate::ntlm::{NtHash, Session, SessionBaseKey};
use crate::plain;
use crate::refusal::Refusal;
use crate::spnego::{Acceptor, Turn};

/// No layer, and room for no wrapped message (RFC 4752 §3.3).
pub(crate) const OFFER: [u8; 4] = [NO_LAYER, 0, 0, 0];
const NO_LAYER: u8 = 1;

/// What comes behind the tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// GSS-SPNEGO as Microsoft's peers speak it, and NTLM alone: nothing.
    Bare,
    /// GSSAPI: the security-layer step.
    Layered,
}

/// The server's half.
#[derive(Debug)]
pub(crate) enum Server {
    Tokens(Kind, Box<Acceptor>),
    /// The last token is on its way; the client has nothing more to say.
    LastToken(Kind, Known),
    /// The host wraps the offer.
    Wrapping(Known),
    /// The client chooses.
    Offered(Known),
    /// The host unwraps the choice.
    Unwrapping(Known),
}

/// Who the client is, and who can wrap.
#[derive(Debug)]
pub(crate) struct Known {
    identity: Identity,
    session: Option<Box<Session>>,
    inner: Inner,
}

type Stepped = Result<(Option<Server>, Step), Refusal>;

impl Server {
    /// The mechanism inside, once it is known.
    pub(crate) fn inner(&self) -> Option<Inner> {
        match self {
            Server::Tokens(_, acceptor) => acceptor.inner(),
            Server::LastToken(_, known)
            | Server::Wrapping(known)
            | Server::Offered(known)
            | Server::Unwrapping(known) => Some(known.inner),
        }
    }

    /// Takes a response; the state to go on with, where there is one.
    pub(crate) fn step(self, response: &[u8]) -> Stepped {
        match self {
            Server::Tokens(kind, acceptor) => turned(kind, acceptor.step(response)?),
            Server::LastToken(..) if !response.is_empty() => Err(Refusal::Malformed),
            Server::LastToken(Kind::Bare, known) => Ok((None, Step::Done(known.identity))),
            Server::LastToken(Kind::Layered, known) => known.offer(),
            Server::Offered(mut known) => match &mut known.session {
                Some(session) => {
                    let choice = session.unwrap(response).ok_or(Refusal::IntegrityCode)?;
                    known.chosen(&choice)
                }
                None => {
                    let want = Want::Unwrap(response.to_vec());
                    Ok((Some(Server::Unwrapping(known)), Step::Want(want)))
                }
            },
            Server::Wrapping(_) | Server::Unwrapping(_) => Err(Refusal::Over),
        }
    }

    pub(crate) fn give_proof(self, key: Option<SessionBaseKey>) -> Stepped {
        let (kind, acceptor) = self.tokens()?;
        turned(kind, acceptor.give_proof(key)?)
    }

    pub(crate) fn check_with_hash(self, hash: &NtHash) -> Stepped {
        let (kind, acceptor) = self.tokens()?;
        turned(kind, acceptor.check_with_hash(hash)?)
    }

    pub(crate) fn give_ticket(self, ticket: Ticket) -> Stepped {
        let (kind, acceptor) = self.tokens()?;
        turned(kind, acceptor.give_ticket(ticket)?)
    }

    /// The offer as the host's library wrapped it.
    pub(crate) fn give_wrapped(self, wrapped: Vec<u8>) -> Stepped {
        match self {
            Server::Wrapping(known) => Ok((Some(Server::Offered(known)), Step::Challenge(wrapped))),
            _ => Err(Refusal::Over),
        }
    }

    /// The choice as the host's library unwrapped it; none where it would not.
    pub(crate) fn give_unwrapped(self, choice: Option<&[u8]>) -> Stepped {
        match self {
            Server::Unwrapping(known) => known.chosen(choice.ok_or(Refusal::IntegrityCode)?),
            _ => Err(Refusal::Over),
        }
    }

    fn tokens(self) -> Result<(Kind, Box<Acceptor>), Refusal> {
        match self {
            Server::Tokens(kind, acceptor) => Ok((kind, acceptor)),
            _ => Err(Refusal::Over),
        }
    }
}

fn turned(kind: Kind, turn: Turn) -> Stepped {
    match turn {
        Turn::Send(next, token) => Ok((
            Some(Server::Tokens(kind, Box::new(next))),
            Step::Challenge(token),
        )),
        Turn::Want(next, want) => {
            Ok((Some(Server::Tokens(kind, Box::new(next))), Step::Want(want)))
        }
        Turn::Accepted {
            reply,
            identity,
            session,
            inner,
        } => {
            let known = Known {
                identity,
                session,
                inner,
            };
            match (reply, kind) {
                (Some(reply), _) => {
                    let next = Server::LastToken(kind, known);
                    Ok((Some(next), Step::Challenge(reply)))
                }
                (None, Kind::Bare) => Ok((None, Step::Done(known.identity))),
                (None, Kind::Layered) => known.offer(),
            }
        }
    }
}

impl Known {
    fn offer(mut self) -> Stepped {
        match (&mut self.session, self.inner) {
            (Some(session), _) => {
                let wrapped = session.wrap(&OFFER);
                Ok((Some(Server::Offered(self)), Step::Challenge(wrapped)))
            }
            (None, Inner::Kerberos) => {
                let want = Want::Wrap(OFFER.to_vec());
                Ok((Some(Server::Wrapping(self)), Step::Want(want)))
            }
            // Without extended session security there is nothing sound to wrap with.
            (None, Inner::Ntlm) => Err(Refusal::OldNtlm),
        }
    }

    fn chosen(mut self, choice: &[u8]) -> Stepped {
        let authzid = choice_of(choice)?;
        self.identity.authzid = authzid.filter(|other| *other != self.identity.name);
        Ok((None, Step::Done(self.identity)))
    }
}

/// The client's choice: its layer, its size (of no meaning without one), and whom it wants to act as.
fn choice_of(choice: &[u8]) -> Result<Option<String>, Refusal> {
    let (head, authzid) = choice.split_at_checked(4).ok_or(Refusal::Malformed)?;
    if head[0] != NO_LAYER {
        return Err(Refusal::SecurityLayer);
    }
    let authzid = plain::text(authzid)?;
    Ok((!authzid.is_empty()).then(|| authzid.to_owned()))
}

#[cfg(test)]
mod tests;

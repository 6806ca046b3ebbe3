//! SPNEGO (RFC 4178, MS-SPNG): which of Kerberos and NTLM, and then the one that was chosen.
//!
//! | The client's first token | What is done |
//! |---|---|
//! | `NTLMSSP` | NTLM without SPNEGO |
//! | a Kerberos token | the host's library has the word |
//! | SPNEGO, Kerberos is the first on its list that is switched on | the host's library has the word, SPNEGO included |
//! | SPNEGO, NTLM is the first that is switched on | NTLM, wrapped here |
//!
//! The list itself is signed with the NTLM session's keys: always where NTLM was not the client's first choice (somebody
//! may have struck the better one out), and where the client's messages carry an integrity code, as Windows does it.
//!
//! Never: a look into a Kerberos token.

pub(crate) mod client;
mod der;
pub(crate) mod token;

use crate::exchange::{Identity, Inner, Ticket, Want};
use crate::ntlm::{self, Accepted, NtHash, Session, SessionBaseKey};
use crate::refusal::Refusal;
use crate::surroundings::{Rule, Surroundings};
use token::{Init, KERBEROS, MS_KERBEROS, NTLMSSP, Resp, SPNEGO, State};

/// The server's half, up to the point where it is known who the client is.
#[derive(Debug)]
pub(crate) enum Acceptor {
    /// Whatever comes.
    Begin(Box<Surroundings>),
    /// Waits for NTLM's first message.
    Opening(ntlm::Opening, Option<Wrapping>),
    /// Waits for NTLM's last message.
    Challenged(ntlm::Challenged, Option<Wrapping>),
    /// Waits for the host's word on the proof.
    Presented(ntlm::Presented, Option<Wrapping>, Option<Vec<u8>>),
    /// Waits for the host's word on a ticket.
    Asked(Rule),
    /// Waits for the next token of Kerberos.
    Kerberos(Rule),
}

/// What of SPNEGO lies around NTLM.
#[derive(Debug)]
pub(crate) struct Wrapping {
    list: Vec<u8>,
    first_choice: bool,
}

/// What comes of a step.
#[derive(Debug)]
pub(crate) enum Turn {
    Send(Acceptor, Vec<u8>),
    Want(Acceptor, Want),
    Accepted {
        reply: Option<Vec<u8>>,
        identity: Identity,
        /// NTLM's keys; Kerberos' are in the host's library.
        session: Option<Box<Session>>,
        inner: Inner,
    },
}

type Turned = Result<Turn, Refusal>;

impl Acceptor {
    /// What was chosen, once it is known.
    pub(crate) fn inner(&self) -> Option<Inner> {
        match self {
            Acceptor::Begin(_) => None,
            Acceptor::Asked(_) | Acceptor::Kerberos(_) => Some(Inner::Kerberos),
            _ => Some(Inner::Ntlm),
        }
    }

    /// Takes the client's next token.
    pub(crate) fn step(self, response: &[u8]) -> Turned {
        match self {
            Acceptor::Begin(surroundings) => begin(*surroundings, response),
            Acceptor::Opening(opening, wrapping) => {
                let (message, _) = unwrapped(wrapping.as_ref(), response)?;
                negotiate(opening, wrapping, message, None)
            }
            Acceptor::Challenged(challenged, wrapping) => {
                let (message, mic) = unwrapped(wrapping.as_ref(), response)?;
                let (presented, proof) = challenged.authenticate(message)?;
                let next = Acceptor::Presented(presented, wrapping, mic.map(<[u8]>::to_vec));
                Ok(Turn::Want(next, Want::NtProof(proof)))
            }
            Acceptor::Kerberos(rule) => Ok(kerberos(rule, response)),
            Acceptor::Presented(..) | Acceptor::Asked(_) => Err(Refusal::Over),
        }
    }

    /// Takes the host's word on an NTLM proof.
    pub(crate) fn give_proof(self, key: Option<SessionBaseKey>) -> Turned {
        match self {
            Acceptor::Presented(presented, wrapping, mic) => {
                accepted(presented.give_proof(key)?, wrapping, mic)
            }
            _ => Err(Refusal::Over),
        }
    }

    /// Checks an NTLM proof against a hash the host has.
    pub(crate) fn check_with_hash(self, hash: &NtHash) -> Turned {
        match self {
            Acceptor::Presented(presented, wrapping, mic) => {
                accepted(presented.check_with_hash(hash)?, wrapping, mic)
            }
            _ => Err(Refusal::Over),
        }
    }

    /// Takes the host's word on a ticket.
    pub(crate) fn give_ticket(self, ticket: Ticket) -> Turned {
        let Acceptor::Asked(rule) = self else {
            return Err(Refusal::Over);
        };
        match ticket {
            Ticket::Continue(reply) => Ok(Turn::Send(Acceptor::Kerberos(rule), reply)),
            Ticket::Refused => Err(Refusal::Ticket),
            Ticket::Accepted { bound: false, .. } if rule == Rule::Require => {
                Err(Refusal::NoChannelBinding)
            }
            Ticket::Accepted {
                reply,
                principal,
                bound,
            } => Ok(Turn::Accepted {
                reply,
                identity: Identity {
                    bound,
                    ..Identity::named(principal)
                },
                session: None,
                inner: Inner::Kerberos,
            }),
        }
    }
}

fn begin(surroundings: Surroundings, response: &[u8]) -> Turned {
    if ntlm::message::is_ntlm(response) {
        return negotiate(ntlm::Opening::new(&surroundings)?, None, response, None);
    }
    match token::mechanism(response)? {
        SPNEGO => choose(&surroundings, response),
        KERBEROS | MS_KERBEROS if surroundings.kerberos => {
            Ok(kerberos(surroundings.channel_binding, response))
        }
        _ => Err(Refusal::NoMechanism),
    }
}

/// RFC 4178 §4.2.1: the first of the client's list that both sides have.
fn choose(surroundings: &Surroundings, response: &[u8]) -> Turned {
    let init = Init::parse(response)?;
    let known = |oid: &[u8]| match oid {
        KERBEROS | MS_KERBEROS => surroundings.kerberos,
        NTLMSSP => surroundings.ntlm.is_some(),
        _ => false,
    };
    let at = init.mechanisms.iter().position(|oid| known(oid));
    let at = at.ok_or(Refusal::NoMechanism)?;
    if init.mechanisms[at] != NTLMSSP {
        return Ok(kerberos(surroundings.channel_binding, response));
    }
    let opening = ntlm::Opening::new(surroundings)?;
    let wrapping = Wrapping {
        list: init.list.to_vec(),
        first_choice: at == 0,
    };
    match init.token.filter(|_| wrapping.first_choice) {
        Some(message) => negotiate(opening, Some(wrapping), message, Some(NTLMSSP)),
        // The token that came, if any, was another mechanism's: the client begins again.
        None => {
            let reply = Resp {
                state: Some(match wrapping.first_choice {
                    true => State::Incomplete,
                    false => State::RequestMic,
                }),
                mechanism: Some(NTLMSSP),
                ..Resp::default()
            };
            let reply = reply.write();
            Ok(Turn::Send(
                Acceptor::Opening(opening, Some(wrapping)),
                reply,
            ))
        }
    }
}

impl Inner {
    /// Which mechanism a client's first token asks for, of those that are `served`: what it brings, or the first on
    /// SPNEGO's list. Nothing is checked: for a host that has a process for each.
    pub fn asked_for(token: &[u8], served: impl Fn(Inner) -> bool) -> Option<Inner> {
        let of = |oid: &[u8]| match oid {
            KERBEROS | MS_KERBEROS => Some(Inner::Kerberos),
            NTLMSSP => Some(Inner::Ntlm),
            _ => None,
        };
        if ntlm::message::is_ntlm(token) {
            return Some(Inner::Ntlm).filter(|inner| served(*inner));
        }
        let listed = match token::mechanism(token).ok()? {
            SPNEGO => Init::parse(token).ok()?.mechanisms,
            one => vec![one],
        };
        let mut listed = listed.into_iter().filter_map(of);
        listed.find(|inner| served(*inner))
    }
}

fn kerberos(rule: Rule, response: &[u8]) -> Turn {
    let want = Want::Kerberos(response.to_vec());
    Turn::Want(Acceptor::Asked(rule), want)
}

fn negotiate(
    opening: ntlm::Opening,
    wrapping: Option<Wrapping>,
    message: &[u8],
    mechanism: Option<&[u8]>,
) -> Turned {
    let (challenged, challenge) = opening.negotiate(message)?;
    let reply = match wrapping {
        None => challenge,
        Some(_) => Resp {
            state: Some(State::Incomplete),
            mechanism,
            token: Some(&challenge),
            mic: None,
        }
        .write(),
    };
    Ok(Turn::Send(
        Acceptor::Challenged(challenged, wrapping),
        reply,
    ))
}

/// NTLM's message, and the signature of the list beside it.
fn unwrapped<'r>(
    wrapping: Option<&Wrapping>,
    response: &'r [u8],
) -> Result<(&'r [u8], Option<&'r [u8]>), Refusal> {
    if wrapping.is_none() {
        return Ok((response, None));
    }
    let resp = Resp::parse(response)?;
    if resp.state == Some(State::Reject) {
        return Err(Refusal::PeerError);
    }
    Ok((resp.token.ok_or(Refusal::Malformed)?, resp.mic))
}

/// The proof was right: the list is checked and signed.
fn accepted(accepted: Accepted, wrapping: Option<Wrapping>, mic: Option<Vec<u8>>) -> Turned {
    let Accepted {
        identity,
        mut session,
        signs,
    } = accepted;
    let reply = match wrapping {
        None => None,
        Some(wrapping) => {
            let needed = signs || !wrapping.first_choice;
            let mic = signature(&wrapping, session.as_deref_mut(), mic, needed)?;
            let reply = Resp {
                state: Some(State::Completed),
                mic: mic.as_ref().map(<[u8; 16]>::as_slice),
                ..Resp::default()
            };
            Some(reply.write())
        }
    };
    Ok(Turn::Accepted {
        reply,
        identity,
        session,
        inner: Inner::Ntlm,
    })
}

fn signature(
    wrapping: &Wrapping,
    session: Option<&mut Session>,
    mic: Option<Vec<u8>>,
    needed: bool,
) -> Result<Option<[u8; 16]>, Refusal> {
    match (mic, session) {
        (None, _) if needed => Err(Refusal::NoIntegrityCode),
        (None, _) => Ok(None),
        // NTLM without extended session security has nothing to check it with.
        (Some(_), None) => Err(Refusal::IntegrityCode),
        (Some(mic), Some(session)) => match session.verify_list(&wrapping.list, &mic) {
            true => Ok(Some(session.sign_list(&wrapping.list))),
            false => Err(Refusal::IntegrityCode),
        },
    }
}

#[cfg(test)]
mod tests;

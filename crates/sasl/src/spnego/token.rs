//! SPNEGO's tokens (RFC 4178 §4.2, MS-SPNG 2.2.1), both ways.
//!
//! ```text
//! NegTokenInit   60 { OID SPNEGO, [0] { [0] mechanisms [1] flags [2] token [3] hints or MIC [4] MIC } }
//! NegTokenResp   [1] { [0] state [1] mechanism [2] token [3] MIC }
//! ```
//!
//! Never: a choice among the mechanisms.

use super::der::{APPLICATION, ENUMERATED, OCTETS, OID, Reader, SEQUENCE, context, element, only};
use crate::refusal::Refusal;

/// 1.3.6.1.5.5.2
pub(crate) const SPNEGO: &[u8] = &[0x2b, 6, 1, 5, 5, 2];
/// 1.2.840.113554.1.2.2
pub(crate) const KERBEROS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x12, 1, 2, 2];
/// 1.2.840.48018.1.2.2: what Windows 2000 made of it by mistake, and every Windows since offers beside it.
pub(crate) const MS_KERBEROS: &[u8] = &[0x2a, 0x86, 0x48, 0x82, 0xf7, 0x12, 1, 2, 2];
/// 1.3.6.1.4.1.311.2.2.10
pub(crate) const NTLMSSP: &[u8] = &[0x2b, 6, 1, 4, 1, 0x82, 0x37, 2, 2, 0x0a];

/// More mechanisms than anybody has.
const LIST_LIMIT: usize = 32;

/// The mechanism an initial token of GSSAPI (RFC 2743 §3.1) is of.
pub(crate) fn mechanism(token: &[u8]) -> Result<&[u8], Refusal> {
    Reader::new(only(token, APPLICATION)?).take(OID)
}

/// NegState.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Completed = 0,
    Incomplete = 1,
    Reject = 2,
    RequestMic = 3,
}

/// A client's first token.
#[derive(Debug)]
pub(crate) struct Init<'a> {
    /// The list as it stands in the token: signatures are over it.
    pub(crate) list: &'a [u8],
    pub(crate) mechanisms: Vec<&'a [u8]>,
    /// Of the first of them.
    pub(crate) token: Option<&'a [u8]>,
}

impl<'a> Init<'a> {
    pub(crate) fn parse(token: &'a [u8]) -> Result<Init<'a>, Refusal> {
        let mut inner = Reader::new(only(token, APPLICATION)?);
        if inner.take(OID)? != SPNEGO {
            return Err(Refusal::Malformed);
        }
        let init = only(inner.rest(), context(0))?;
        let mut fields = Reader::new(only(init, SEQUENCE)?);
        let list = fields.take(context(0))?;
        // Flags, hints and a MIC that comes before there is a key: nothing is taken from them.
        fields.optional(context(1))?;
        let token = octets(fields.optional(context(2))?)?;
        fields.optional(context(3))?;
        fields.optional(context(4))?;
        fields.end()?;
        Ok(Init {
            list,
            mechanisms: mechanisms(list)?,
            token,
        })
    }
}

fn mechanisms(list: &[u8]) -> Result<Vec<&[u8]>, Refusal> {
    let mut reader = Reader::new(only(list, SEQUENCE)?);
    let mut mechanisms = Vec::new();
    while reader.end().is_err() {
        if mechanisms.len() == LIST_LIMIT {
            return Err(Refusal::TooLong);
        }
        mechanisms.push(reader.take(OID)?);
    }
    Ok(mechanisms)
}

/// A client's first token, with the list it must sign later.
pub(crate) fn init(mechanisms: &[&[u8]], token: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let oids: Vec<u8> = (mechanisms.iter())
        .flat_map(|oid| element(OID, oid))
        .collect();
    let list = element(SEQUENCE, &oids);
    let fields = [
        element(context(0), &list),
        element(context(2), &element(OCTETS, token)),
    ];
    let init = element(context(0), &element(SEQUENCE, &fields.concat()));
    let token = element(APPLICATION, &[element(OID, SPNEGO), init].concat());
    (token, list)
}

/// Every later token.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Resp<'a> {
    pub(crate) state: Option<State>,
    pub(crate) mechanism: Option<&'a [u8]>,
    pub(crate) token: Option<&'a [u8]>,
    pub(crate) mic: Option<&'a [u8]>,
}

impl<'a> Resp<'a> {
    pub(crate) fn parse(token: &'a [u8]) -> Result<Resp<'a>, Refusal> {
        let mut fields = Reader::new(only(only(token, context(1))?, SEQUENCE)?);
        let state = fields.optional(context(0))?.map(state).transpose()?;
        let mechanism = fields.optional(context(1))?;
        let mechanism = mechanism.map(|oid| only(oid, OID)).transpose()?;
        let token = octets(fields.optional(context(2))?)?;
        let mic = octets(fields.optional(context(3))?)?;
        fields.end()?;
        Ok(Resp {
            state,
            mechanism,
            token,
            // Some old implementations repeat the token there.
            mic: mic.filter(|_| mic != token),
        })
    }

    pub(crate) fn write(&self) -> Vec<u8> {
        let state = self.state.map(|state| element(ENUMERATED, &[state as u8]));
        let fields = [
            (0, state),
            (1, self.mechanism.map(|oid| element(OID, oid))),
            (2, self.token.map(|token| element(OCTETS, token))),
            (3, self.mic.map(|mic| element(OCTETS, mic))),
        ];
        let fields: Vec<u8> = (fields.into_iter())
            .filter_map(|(number, field)| Some(element(context(number), &field?)))
            .flatten()
            .collect();
        element(context(1), &element(SEQUENCE, &fields))
    }
}

fn octets(field: Option<&[u8]>) -> Result<Option<&[u8]>, Refusal> {
    field.map(|field| only(field, OCTETS)).transpose()
}

fn state(field: &[u8]) -> Result<State, Refusal> {
    match only(field, ENUMERATED)? {
        [0] => Ok(State::Completed),
        [1] => Ok(State::Incomplete),
        [2] => Ok(State::Reject),
        [3] => Ok(State::RequestMic),
        _ => Err(Refusal::Malformed),
    }
}

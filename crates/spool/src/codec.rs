//! Envelope and status as bytes: varints and length-prefixed strings, a version in front.
//!
//! ```text
//! envelope  version · flags · received · recipients · client · sender · [envid] [login] [helo] · recipient…
//! recipient flags (notify, orcpt?) · address · [orcpt]
//! status    version · flags · next_try · attempts · recipients · recipient…
//! recipient tag: 0 pending · 1 pending, last try follows · 2 done · 3 pending, last try as the one before
//! ```
//!
//! Never: trust in what is read. The checksum was right, yet every length is checked against what is there.

use crate::{BodyKind, Envelope, LastTry, Notify, Recipient, RecipientStatus, Ret, Status};
use std::net::IpAddr;

const VERSION: u8 = 1;

const SMTPUTF8: u8 = 1 << 2;
const HAS_ENVID: u8 = 1 << 5;
const HAS_LOGIN: u8 = 1 << 6;
const HAS_HELO: u8 = 1 << 7;
const HAS_ORCPT: u8 = 1 << 4;
const FROZEN: u8 = 1;
const DELAY_NOTIFIED: u8 = 2;

const PENDING: u8 = 0;
const PENDING_AFTER: u8 = 1;
const DONE: u8 = 2;
const PENDING_AFTER_THE_SAME: u8 = 3;

/// What the index keeps of an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EnvelopePeek {
    pub(crate) received: u64,
    pub(crate) recipients: u32,
}

/// What the index keeps of a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StatusPeek {
    pub(crate) next_try: u64,
    pub(crate) attempts: u32,
    pub(crate) frozen: bool,
}

/// Appends an envelope.
pub(crate) fn write_envelope(out: &mut Vec<u8>, envelope: &Envelope) {
    out.reserve(64 + envelope.recipients.len() * 32);
    out.push(VERSION);
    out.push(envelope_flags(envelope));
    write_number(out, envelope.received);
    write_number(out, envelope.recipients.len() as u64);
    write_client(out, envelope.client);
    write_text(out, &envelope.sender);
    for text in [&envelope.envid, &envelope.login, &envelope.helo]
        .into_iter()
        .flatten()
    {
        write_text(out, text);
    }
    for recipient in &envelope.recipients {
        let orcpt = if recipient.orcpt.is_some() {
            HAS_ORCPT
        } else {
            0
        };
        out.push(recipient.notify.bits() | orcpt);
        write_text(out, &recipient.address);
        if let Some(orcpt) = &recipient.orcpt {
            write_text(out, orcpt);
        }
    }
}

fn envelope_flags(envelope: &Envelope) -> u8 {
    let body = match envelope.body {
        BodyKind::SevenBit => 0,
        BodyKind::EightBit => 1,
        BodyKind::Binary => 2,
    };
    let ret = match envelope.ret {
        None => 0,
        Some(Ret::Full) => 1 << 3,
        Some(Ret::Headers) => 2 << 3,
    };
    let mut flags = body | ret;
    for (set, bit) in [
        (envelope.smtputf8, SMTPUTF8),
        (envelope.envid.is_some(), HAS_ENVID),
        (envelope.login.is_some(), HAS_LOGIN),
        (envelope.helo.is_some(), HAS_HELO),
    ] {
        if set {
            flags |= bit;
        }
    }
    flags
}

fn write_client(out: &mut Vec<u8>, client: Option<IpAddr>) {
    match client {
        None => out.push(0),
        Some(IpAddr::V4(address)) => {
            out.push(4);
            out.extend_from_slice(&address.octets());
        }
        Some(IpAddr::V6(address)) => {
            out.push(6);
            out.extend_from_slice(&address.octets());
        }
    }
}

/// Reads an envelope; `None` where the bytes are not one.
pub(crate) fn read_envelope(bytes: &[u8]) -> Option<Envelope> {
    let mut input = Input(bytes);
    let flags = input.version_and_flags()?;
    let received = input.number()?;
    let count = input.count()?;
    let client = input.client()?;
    let sender = input.text()?;
    let envid = if flags & HAS_ENVID != 0 {
        Some(input.text()?)
    } else {
        None
    };
    let login = if flags & HAS_LOGIN != 0 {
        Some(input.text()?)
    } else {
        None
    };
    let helo = if flags & HAS_HELO != 0 {
        Some(input.text()?)
    } else {
        None
    };
    let mut recipients = Vec::with_capacity(count);
    for _ in 0..count {
        let flags = input.byte()?;
        let address = input.text()?;
        let orcpt = if flags & HAS_ORCPT != 0 {
            Some(input.text()?)
        } else {
            None
        };
        recipients.push(Recipient {
            address,
            notify: Notify::from_bits(flags),
            orcpt,
        });
    }
    Some(Envelope {
        sender,
        recipients,
        received,
        body: match flags & 3 {
            0 => BodyKind::SevenBit,
            1 => BodyKind::EightBit,
            _ => BodyKind::Binary,
        },
        smtputf8: flags & SMTPUTF8 != 0,
        ret: match (flags >> 3) & 3 {
            0 => None,
            1 => Some(Ret::Full),
            _ => Some(Ret::Headers),
        },
        envid,
        login,
        client,
        helo,
    })
}

/// Reads only what the index keeps.
pub(crate) fn peek_envelope(bytes: &[u8]) -> Option<EnvelopePeek> {
    let mut input = Input(bytes);
    input.version_and_flags()?;
    Some(EnvelopePeek {
        received: input.number()?,
        recipients: input.count()? as u32,
    })
}

/// Appends a status.
pub(crate) fn write_status(out: &mut Vec<u8>, status: &Status) {
    let frozen = if status.frozen { FROZEN } else { 0 };
    let notified = if status.delay_notified {
        DELAY_NOTIFIED
    } else {
        0
    };
    out.push(VERSION);
    out.push(frozen | notified);
    write_number(out, status.next_try);
    write_number(out, u64::from(status.attempts));
    write_number(out, status.recipients.len() as u64);
    let mut before: Option<&LastTry> = None;
    for recipient in &status.recipients {
        match recipient {
            RecipientStatus::Done => out.push(DONE),
            RecipientStatus::Pending { last: None } => out.push(PENDING),
            RecipientStatus::Pending { last: Some(last) } if before == Some(last) => {
                out.push(PENDING_AFTER_THE_SAME);
            }
            RecipientStatus::Pending { last: Some(last) } => {
                out.push(PENDING_AFTER);
                write_number(out, last.at);
                write_text(out, &last.host);
                write_text(out, &last.reply);
                before = Some(last);
            }
        }
    }
}

/// Reads a status; `None` where the bytes are not one.
pub(crate) fn read_status(bytes: &[u8]) -> Option<Status> {
    let mut input = Input(bytes);
    let flags = input.version_and_flags()?;
    let next_try = input.number()?;
    let attempts = u32::try_from(input.number()?).ok()?;
    let count = input.count()?;
    let mut recipients = Vec::with_capacity(count);
    let mut before: Option<LastTry> = None;
    for _ in 0..count {
        recipients.push(match input.byte()? {
            PENDING => RecipientStatus::Pending { last: None },
            DONE => RecipientStatus::Done,
            PENDING_AFTER_THE_SAME => RecipientStatus::Pending {
                last: Some(before.clone()?),
            },
            PENDING_AFTER => {
                let last = LastTry {
                    at: input.number()?,
                    host: input.text()?,
                    reply: input.text()?,
                };
                before = Some(last.clone());
                RecipientStatus::Pending { last: Some(last) }
            }
            _ => return None,
        });
    }
    Some(Status {
        attempts,
        next_try,
        frozen: flags & FROZEN != 0,
        delay_notified: flags & DELAY_NOTIFIED != 0,
        recipients,
    })
}

/// Reads only what the index keeps.
pub(crate) fn peek_status(bytes: &[u8]) -> Option<StatusPeek> {
    let mut input = Input(bytes);
    let flags = input.version_and_flags()?;
    Some(StatusPeek {
        next_try: input.number()?,
        attempts: u32::try_from(input.number()?).ok()?,
        frozen: flags & FROZEN != 0,
    })
}

fn write_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    write_number(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// What is still to be read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn version_and_flags(&mut self) -> Option<u8> {
        if self.byte()? != VERSION {
            return None;
        }
        self.byte()
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7F);
            if shift == 63 && bits > 1 {
                return None;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    /// A number of things that take a byte each at least, so that no length makes us reserve more than was read.
    fn count(&mut self) -> Option<usize> {
        let count = usize::try_from(self.number()?).ok()?;
        (count <= self.0.len() && u32::try_from(count).is_ok()).then_some(count)
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::try_from(self.number()?).ok()?;
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes).ok().map(str::to_owned)
    }

    fn client(&mut self) -> Option<Option<IpAddr>> {
        Some(match self.byte()? {
            0 => None,
            4 => Some(IpAddr::from(<[u8; 4]>::try_from(self.take(4)?).ok()?)),
            6 => Some(IpAddr::from(<[u8; 16]>::try_from(self.take(16)?).ok()?)),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests;

//! NTLM's three messages (MS-NLMP 2.2.1) as octets: every length and offset of a peer is checked before it is followed.
//!
//! ```text
//! NEGOTIATE      signature 1 flags …
//! CHALLENGE      signature 2 target-name flags challenge(8) 0(8) target-info version │ payload
//! AUTHENTICATE   signature 3 lm nt domain user workstation key flags [version mic(16)] │ payload
//! field          length(2) length(2) offset(4), from the start of the message
//! ```
//!
//! Never: a key; whether what a message says is true.

use crate::refusal::Refusal;

pub(super) const SIGNATURE: &[u8; 8] = b"NTLMSSP\0";
/// Where the integrity code stands in an AUTHENTICATE that has one.
pub(super) const MIC: std::ops::Range<usize> = 72..88;
/// Names longer than this are nobody's account (in octets of UTF-16).
const NAME_LIMIT: usize = 510;
/// More pairs than any implementation sends.
const PAIR_LIMIT: usize = 32;

/// NegotiateFlags (MS-NLMP 2.2.2.5).
pub(super) mod flags {
    pub(crate) const UNICODE: u32 = 0x1;
    pub(crate) const OEM: u32 = 0x2;
    pub(crate) const REQUEST_TARGET: u32 = 0x4;
    pub(crate) const SIGN: u32 = 0x10;
    pub(crate) const SEAL: u32 = 0x20;
    pub(crate) const NTLM: u32 = 0x200;
    pub(crate) const ANONYMOUS: u32 = 0x800;
    pub(crate) const ALWAYS_SIGN: u32 = 0x8000;
    pub(crate) const TARGET_DOMAIN: u32 = 0x1_0000;
    pub(crate) const TARGET_SERVER: u32 = 0x2_0000;
    pub(crate) const EXTENDED: u32 = 0x8_0000;
    pub(crate) const TARGET_INFO: u32 = 0x80_0000;
    pub(crate) const VERSION: u32 = 0x200_0000;
    pub(crate) const KEY_128: u32 = 0x2000_0000;
    pub(crate) const KEY_EXCHANGE: u32 = 0x4000_0000;
    pub(crate) const KEY_56: u32 = 0x8000_0000;
}

/// AV pairs (MS-NLMP 2.2.2.1).
pub(super) mod pair {
    pub(crate) const END: u16 = 0;
    pub(crate) const NETBIOS_COMPUTER: u16 = 1;
    pub(crate) const NETBIOS_DOMAIN: u16 = 2;
    pub(crate) const DNS_COMPUTER: u16 = 3;
    pub(crate) const DNS_DOMAIN: u16 = 4;
    pub(crate) const FLAGS: u16 = 6;
    pub(crate) const TIMESTAMP: u16 = 7;
    pub(crate) const TARGET_NAME: u16 = 9;
    pub(crate) const CHANNEL_BINDINGS: u16 = 10;
    /// In [`FLAGS`]: an integrity code stands in the message.
    pub(crate) const HAS_MIC: u32 = 2;
}

/// Whether these octets begin like an NTLM message.
pub(crate) fn is_ntlm(message: &[u8]) -> bool {
    message.starts_with(SIGNATURE)
}

/// The flags of a NEGOTIATE. Its names are not looked at: nothing depends on them.
pub(super) fn negotiate(message: &[u8]) -> Result<u32, Refusal> {
    of_type(message, 1)?;
    word(message, 12)
}

#[derive(Debug)]
pub(super) struct Challenge<'m> {
    pub(super) flags: u32,
    pub(super) challenge: [u8; 8],
    pub(super) target_info: &'m [u8],
}

impl<'m> Challenge<'m> {
    pub(super) fn parse(message: &'m [u8]) -> Result<Challenge<'m>, Refusal> {
        of_type(message, 2)?;
        let flags = word(message, 20)?;
        field(message, 12, 32)?;
        Ok(Challenge {
            flags,
            challenge: octets(message, 24)?,
            target_info: match flags & flags::TARGET_INFO {
                0 => &[],
                _ => field(message, 40, 48)?,
            },
        })
    }
}

#[derive(Debug)]
pub(super) struct Authenticate<'m> {
    pub(super) lm: &'m [u8],
    pub(super) nt: &'m [u8],
    pub(super) domain: String,
    pub(super) user: String,
    pub(super) workstation: String,
    pub(super) key: &'m [u8],
    pub(super) flags: u32,
    /// Whether the payload leaves room for an integrity code.
    pub(super) has_mic_room: bool,
}

impl<'m> Authenticate<'m> {
    pub(super) fn parse(message: &'m [u8]) -> Result<Authenticate<'m>, Refusal> {
        of_type(message, 3)?;
        let flags = word(message, 60)?;
        let field = |at| field(message, at, 64);
        let name = |at| name(field(at)?, flags & flags::UNICODE != 0);
        let mut payload = message.len();
        for at in [12, 20, 28, 36, 44, 52] {
            if half(message, at)? > 0 {
                payload = payload.min(word(message, at + 4)? as usize);
            }
        }
        Ok(Authenticate {
            lm: field(12)?,
            nt: field(20)?,
            domain: name(28)?,
            user: name(36)?,
            workstation: name(44)?,
            key: field(52)?,
            flags,
            has_mic_room: payload >= MIC.end,
        })
    }
}

/// Takes AV pairs apart; the pair that ends them must be there.
pub(super) fn pairs(mut rest: &[u8]) -> Result<Vec<(u16, &[u8])>, Refusal> {
    let mut pairs = Vec::new();
    while pairs.len() < PAIR_LIMIT {
        let id = half(rest, 0)?;
        let length = usize::from(half(rest, 2)?);
        let value = rest.get(4..4 + length).ok_or(Refusal::Malformed)?;
        if id == pair::END {
            return Ok(pairs);
        }
        pairs.push((id, value));
        rest = &rest[4 + length..];
    }
    Err(Refusal::Malformed)
}

/// The value of a pair, where it is there; once.
pub(super) fn find<'m>(pairs: &[(u16, &'m [u8])], id: u16) -> Result<Option<&'m [u8]>, Refusal> {
    let mut found = pairs.iter().filter(|(one, _)| *one == id);
    match (found.next(), found.next()) {
        (one, None) => Ok(one.map(|(_, value)| *value)),
        // Two of a kind: which of them would the other side mean?
        _ => Err(Refusal::Malformed),
    }
}

/// Adds a pair.
pub(super) fn add(pairs: &mut Vec<u8>, id: u16, value: &[u8]) {
    pairs.extend_from_slice(&id.to_le_bytes());
    pairs.extend_from_slice(&length(value).to_le_bytes());
    pairs.extend_from_slice(value);
}

/// A message being written: fields point behind a header of a known length.
pub(super) struct Writer {
    header: Vec<u8>,
    payload: Vec<u8>,
    length: usize,
}

impl Writer {
    pub(super) fn new(kind: u32, length: usize) -> Writer {
        let mut header = SIGNATURE.to_vec();
        header.extend_from_slice(&kind.to_le_bytes());
        Writer {
            header,
            payload: Vec::new(),
            length,
        }
    }

    pub(super) fn octets(mut self, octets: &[u8]) -> Writer {
        self.header.extend_from_slice(octets);
        self
    }

    pub(super) fn field(mut self, value: &[u8]) -> Writer {
        let offset = u32::try_from(self.length + self.payload.len()).unwrap_or(u32::MAX);
        for part in [length(value), length(value)] {
            self.header.extend_from_slice(&part.to_le_bytes());
        }
        self.header.extend_from_slice(&offset.to_le_bytes());
        self.payload.extend_from_slice(value);
        self
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.header.resize(self.length, 0);
        self.header.extend_from_slice(&self.payload);
        self.header
    }
}

/// UTF-16LE, as all names are inside NTLM.
pub(crate) fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// A name as the negotiated alphabet has it.
pub(super) fn encoded(text: &str, flags: u32) -> Vec<u8> {
    match flags & flags::UNICODE {
        0 => (text.chars())
            .map(|letter| u8::try_from(letter).ok().filter(u8::is_ascii))
            .map(|letter| letter.unwrap_or(b'?'))
            .collect(),
        _ => utf16(text),
    }
}

pub(super) fn text16(octets: &[u8]) -> Result<String, Refusal> {
    let (pairs, rest) = octets.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(Refusal::Malformed);
    }
    let units: Vec<u16> = pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect();
    let text = String::from_utf16(&units).map_err(|_| Refusal::NotText)?;
    without_nul(text)
}

/// The OEM alphabet is unknown to the other side; what is not ASCII in it could be any name.
fn name(octets: &[u8], unicode: bool) -> Result<String, Refusal> {
    if octets.len() > NAME_LIMIT {
        return Err(Refusal::TooLong);
    }
    match unicode {
        true => text16(octets),
        false if octets.is_ascii() => without_nul(octets.iter().map(|o| char::from(*o)).collect()),
        false => Err(Refusal::NotText),
    }
}

fn without_nul(text: String) -> Result<String, Refusal> {
    match text.contains('\0') {
        true => Err(Refusal::NotText),
        false => Ok(text),
    }
}

fn of_type(message: &[u8], kind: u32) -> Result<(), Refusal> {
    match is_ntlm(message) && word(message, 8)? == kind {
        true => Ok(()),
        false => Err(Refusal::Malformed),
    }
}

/// What a field points at: inside the message, and behind its header.
fn field(message: &[u8], at: usize, header: usize) -> Result<&[u8], Refusal> {
    let length = usize::from(half(message, at)?);
    let offset = word(message, at + 4)? as usize;
    if length == 0 {
        return Ok(&[]);
    }
    let end = offset.checked_add(length).ok_or(Refusal::Malformed)?;
    if offset < header {
        return Err(Refusal::Malformed);
    }
    message.get(offset..end).ok_or(Refusal::Malformed)
}

fn octets<const N: usize>(message: &[u8], at: usize) -> Result<[u8; N], Refusal> {
    let found = message.get(at..).and_then(<[u8]>::first_chunk::<N>);
    found.copied().ok_or(Refusal::Malformed)
}

fn half(message: &[u8], at: usize) -> Result<u16, Refusal> {
    octets(message, at).map(u16::from_le_bytes)
}

pub(super) fn word(message: &[u8], at: usize) -> Result<u32, Refusal> {
    octets(message, at).map(u32::from_le_bytes)
}

/// What is written is far shorter than 64 KiB: names of a definition, and what a peer sent within the limit.
fn length(value: &[u8]) -> u16 {
    u16::try_from(value.len()).unwrap_or(u16::MAX)
}

//! NTLM (MS-NLMP): our own acceptor, NTLMv2 only. Off unless an administrator asks for it.
//!
//! ```text
//! NEGOTIATE ─▶ CHALLENGE ─▶ AUTHENTICATE ─▶ wants the proof checked ─▶ integrity code ─▶ channel binding ─▶ who it is
//! Opening      Challenged                   Presented                  by the session's key the proof gave
//! ```
//!
//! Each state is used up by its step: a challenge is answered once. The proof is compared, in constant time, before
//! anything else in the message is believed; whether an integrity code must be there stands inside what it proves.
//!
//! NTLM tells the client nothing of the server, and can be relayed where the client sends no channel binding.
//!
//! Never: LM, NTLMv1, anonymous; a password, or where hashes are kept.

pub(crate) mod client;
mod crypto;
mod hashes;
pub(crate) mod message;
mod proof;
mod session;

pub use hashes::{NotAnNtHashName, NotNtHashes, NtHashFault, NtHashes};
pub use proof::{NotAnNtHash, NtHash, NtProof, SessionBaseKey};
pub(crate) use session::{Session, Side};

use std::time::Duration;

use crate::constant;
use crate::exchange::Identity;
use crate::refusal::Refusal;
use crate::secret::Secret;
use crate::surroundings::{Bindings, NtlmNames, NtlmRules, Rule, Surroundings};
use crypto::{Key, hmac_md5, md5, rc4};
use message::{Authenticate, MIC, Writer, add, encoded, find, flags, pair, pairs, utf16, word};

/// What a client may have of us.
const OFFERED: u32 = flags::UNICODE
    | flags::OEM
    | flags::REQUEST_TARGET
    | flags::SIGN
    | flags::SEAL
    | flags::NTLM
    | flags::ALWAYS_SIGN
    | flags::EXTENDED
    | flags::VERSION
    | flags::KEY_128
    | flags::KEY_EXCHANGE
    | flags::KEY_56;

/// The blob behind a proof up to its pairs (MS-NLMP 2.2.2.7), and the shortest response: proof, blob, last pair.
const BLOB_HEADER: usize = 28;
const SHORTEST: usize = proof::PROOF + BLOB_HEADER + 4;

/// Windows' time: 100 ns since 1601, from the time since 1970.
pub fn filetime(since_1970: Duration) -> u64 {
    const SECONDS_TO_1970: u64 = 11_644_473_600;
    let ticks = u64::from(since_1970.subsec_nanos() / 100);
    (since_1970.as_secs().saturating_add(SECONDS_TO_1970))
        .saturating_mul(10_000_000)
        .saturating_add(ticks)
}

/// Waits for NEGOTIATE.
#[derive(Debug)]
pub(crate) struct Opening {
    rules: NtlmRules,
    binding: Rule,
    bindings: Bindings,
    challenge: [u8; 8],
}

/// Waits for AUTHENTICATE.
#[derive(Debug)]
pub(crate) struct Challenged {
    opening: Opening,
    flags: u32,
    /// NEGOTIATE and CHALLENGE, over which the integrity code is made too.
    spoken: Vec<u8>,
}

/// Waits for the proof's answer.
#[derive(Debug)]
pub(crate) struct Presented {
    challenged: Challenged,
    proof: NtProof,
    key: Vec<u8>,
    has_mic_room: bool,
    flags: u32,
    message: Vec<u8>,
}

/// Somebody who has proved himself.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) identity: Identity,
    pub(crate) session: Option<Box<Session>>,
    /// The messages carried an integrity code, and signing was agreed on: SPNEGO then signs too.
    pub(crate) signs: bool,
}

impl Opening {
    /// Refused where NTLM is not switched on.
    pub(crate) fn new(surroundings: &Surroundings) -> Result<Opening, Refusal> {
        let rules = surroundings.ntlm.clone().ok_or(Refusal::Unsupported)?;
        let random = &surroundings.random;
        Ok(Opening {
            rules,
            binding: surroundings.channel_binding,
            bindings: surroundings.bindings.clone(),
            challenge: std::array::from_fn(|at| random[at]),
        })
    }

    /// Takes a NEGOTIATE; the CHALLENGE to send.
    pub(crate) fn negotiate(self, message: &[u8]) -> Result<(Challenged, Vec<u8>), Refusal> {
        let asked = message::negotiate(message)?;
        let mut agreed = asked & OFFERED | flags::NTLM | flags::TARGET_INFO;
        match asked & (flags::UNICODE | flags::OEM) {
            0 => return Err(Refusal::Malformed),
            flags::OEM => {}
            _ => agreed &= !flags::OEM,
        }
        let challenge = challenge(agreed, self.challenge, &self.rules);
        let challenged = Challenged {
            flags: agreed,
            spoken: [message, &challenge].concat(),
            opening: self,
        };
        Ok((challenged, challenge))
    }
}

fn challenge(agreed: u32, challenge: [u8; 8], rules: &NtlmRules) -> Vec<u8> {
    let names = &rules.names;
    let (kind, target) = match names.netbios_domain == names.netbios_computer {
        true => (flags::TARGET_SERVER, &names.netbios_computer),
        false => (flags::TARGET_DOMAIN, &names.netbios_domain),
    };
    let (kind, target) = match agreed & flags::REQUEST_TARGET {
        0 => (0, Vec::new()),
        _ => (kind, encoded(target, agreed)),
    };
    // MS-NLMP 2.2.2.10: only the last octet has a meaning; no product is named before login.
    let version = match agreed & flags::VERSION {
        0 => [0; 8],
        _ => [10, 0, 0, 0, 0, 0, 0, 15],
    };
    Writer::new(2, 56)
        .field(&target)
        .octets(&(agreed | kind).to_le_bytes())
        .octets(&challenge)
        .octets(&[0; 8])
        .field(&target_info(names, rules.time))
        .octets(&version)
        .finish()
}

fn target_info(names: &NtlmNames, time: u64) -> Vec<u8> {
    let mut info = Vec::new();
    add(
        &mut info,
        pair::NETBIOS_DOMAIN,
        &utf16(&names.netbios_domain),
    );
    add(
        &mut info,
        pair::NETBIOS_COMPUTER,
        &utf16(&names.netbios_computer),
    );
    add(&mut info, pair::DNS_DOMAIN, &utf16(&names.dns_domain));
    add(&mut info, pair::DNS_COMPUTER, &utf16(&names.dns_computer));
    // With it the client sends an integrity code (MS-NLMP 3.1.5.1.2).
    add(&mut info, pair::TIMESTAMP, &time.to_le_bytes());
    add(&mut info, pair::END, &[]);
    info
}

impl Challenged {
    /// Takes an AUTHENTICATE; what must be checked before any of it is believed.
    pub(crate) fn authenticate(self, message: &[u8]) -> Result<(Presented, NtProof), Refusal> {
        let read = Authenticate::parse(message)?;
        let nobody = read.user.is_empty() && read.nt.is_empty();
        match read.nt.len() {
            _ if nobody || read.flags & flags::ANONYMOUS != 0 => return Err(Refusal::Anonymous),
            // 24 octets are NTLMv1, or LMv2 beside nothing.
            0 | 24 => return Err(Refusal::OldNtlm),
            length if length < SHORTEST || read.lm.len() > 24 => return Err(Refusal::Malformed),
            _ if read.user.is_empty() => return Err(Refusal::NoName),
            _ => {}
        }
        let proof = NtProof {
            domain: read.domain,
            user: read.user,
            workstation: read.workstation,
            server_challenge: self.opening.challenge,
            nt_response: Secret::new(read.nt.to_vec()),
        };
        let presented = Presented {
            // What either side did not ask for is not agreed.
            flags: read.flags & self.flags,
            challenged: self,
            proof: proof.clone(),
            key: read.key.to_vec(),
            has_mic_room: read.has_mic_room,
            message: message.to_vec(),
        };
        Ok((presented, proof))
    }
}

impl Presented {
    /// Checks the proof against the account's hash, and then the rest.
    pub(crate) fn check_with_hash(self, hash: &NtHash) -> Result<Accepted, Refusal> {
        let key = self.proof.session_key(hash);
        self.give_proof(key)
    }

    /// Takes the session's key from whoever has checked the proof (none: it was wrong), and checks the rest.
    pub(crate) fn give_proof(self, key: Option<SessionBaseKey>) -> Result<Accepted, Refusal> {
        let key = key.ok_or(Refusal::WrongPassword)?;
        let blob = self.proof.nt_response.expose();
        let pairs = pairs(blob.get(proof::PROOF + BLOB_HEADER..).unwrap_or_default())?;
        let key = self.exported_key(&key)?;
        let marks = find(&pairs, pair::FLAGS)?.map_or(Ok(0), |value| word(value, 0))?;
        let has_mic = marks & pair::HAS_MIC != 0;
        self.check_integrity(has_mic, &key)?;
        let bound = self.check_binding(find(&pairs, pair::CHANNEL_BINDINGS)?)?;
        let target = find(&pairs, pair::TARGET_NAME)?
            .map(message::text16)
            .transpose()?;
        let domain = Some(self.proof.domain).filter(|domain| !domain.is_empty());
        Ok(Accepted {
            session: Session::new(&key, self.flags, Side::Server),
            signs: has_mic && self.flags & flags::SIGN != 0,
            identity: Identity {
                domain,
                bound,
                target: target.filter(|target| !target.is_empty()),
                ..Identity::named(self.proof.user)
            },
        })
    }

    /// MS-NLMP 3.2.5.1.2: the client's own key, where keys are exchanged.
    fn exported_key(&self, base: &SessionBaseKey) -> Result<Key, Refusal> {
        let exchanged = self.flags & flags::KEY_EXCHANGE != 0;
        let protected = self.flags & (flags::SIGN | flags::SEAL) != 0;
        match <&[u8; 16]>::try_from(self.key.as_slice()) {
            Ok(key) if exchanged => Ok(rc4(base.expose(), key)),
            Err(_) if exchanged && protected => Err(Refusal::Malformed),
            _ => Ok(Key::new(*base.expose())),
        }
    }

    fn check_integrity(&self, announced: bool, key: &Key) -> Result<(), Refusal> {
        let opening = &self.challenged.opening;
        if !announced {
            return match opening.rules.integrity_code {
                Rule::Accept => Ok(()),
                Rule::Require => Err(Refusal::NoIntegrityCode),
            };
        }
        let sent = self
            .message
            .get(MIC)
            .filter(|_| self.has_mic_room)
            .ok_or(Refusal::NoIntegrityCode)?;
        let parts: [&[u8]; 4] = [
            &self.challenged.spoken,
            &self.message[..MIC.start],
            &[0; 16],
            &self.message[MIC.end..],
        ];
        match constant::same(hmac_md5(key.as_slice(), &parts).as_slice(), sent) {
            true => Ok(()),
            false => Err(Refusal::IntegrityCode),
        }
    }

    /// Whether the login is bound to this channel. All zeros are how a client says that it is bound to none.
    fn check_binding(&self, sent: Option<&[u8]>) -> Result<bool, Refusal> {
        let opening = &self.challenged.opening;
        match (sent.filter(|sent| **sent != [0; 16]), opening.binding) {
            (None, Rule::Accept) => Ok(false),
            (None, Rule::Require) => Err(Refusal::NoChannelBinding),
            (Some(sent), _) => {
                let known = opening.bindings.end_points.iter();
                let known = known.map(|hash| *binding_hash(hash));
                match constant::among(sent, known) {
                    true => Ok(true),
                    false => Err(Refusal::ChannelBinding),
                }
            }
        }
    }
}

/// MD5 of a gss_channel_bindings_struct without addresses (MS-NLMP 2.2.2.1, RFC 4121 §4.1.1.2).
fn binding_hash(end_point: &[u8]) -> Key {
    const NAME: &[u8] = b"tls-server-end-point:";
    let length = u32::try_from(NAME.len() + end_point.len()).unwrap_or(u32::MAX);
    md5(&[&[0; 16], &length.to_le_bytes(), NAME, end_point])
}

#[cfg(test)]
mod tests;

//! Signing and sealing with an NTLM session's key (MS-NLMP 3.4): SPNEGO's and GSSAPI's own messages are protected so.
//!
//! Never: sessions without extended session security, whose signature is a CRC.

use super::crypto::{Key, Rc4, hmac_md5, md5};
use super::message::flags;
use crate::constant;

/// Which end we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

/// A signature's length.
const SIGNATURE: usize = 16;

/// The keys of a session, both ways.
pub(crate) struct Session {
    ours: Half,
    theirs: Half,
}

struct Half {
    sign: Key,
    seal: Key,
    stream: Rc4,
    sequence: u32,
    /// With key exchange the checksum is sealed as well.
    sealed_checksum: bool,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Session {
    /// None without extended session security.
    pub(super) fn new(key: &Key, negotiated: u32, side: Side) -> Option<Box<Session>> {
        if negotiated & flags::EXTENDED == 0 {
            return None;
        }
        let client = Half::new(key, negotiated, "client-to-server");
        let server = Half::new(key, negotiated, "server-to-client");
        let (ours, theirs) = match side {
            Side::Client => (client, server),
            Side::Server => (server, client),
        };
        Some(Box::new(Session { ours, theirs }))
    }

    /// Signs the list of mechanisms. MS-SPNG 3.3.5.1: the stream begins anew behind it, the numbering goes on.
    pub(crate) fn sign_list(&mut self, list: &[u8]) -> [u8; SIGNATURE] {
        let signature = self.ours.signature(list);
        self.ours.rewind();
        signature
    }

    /// Whether this is the other side's signature of the list.
    pub(crate) fn verify_list(&mut self, list: &[u8], signature: &[u8]) -> bool {
        let right = self.theirs.signature(list);
        self.theirs.rewind();
        constant::same(&right, signature)
    }

    /// Seals a message: signature, then what it says. NTLM has no wrapping that only signs.
    pub(crate) fn wrap(&mut self, message: &[u8]) -> Vec<u8> {
        let mut sealed = message.to_vec();
        self.ours.stream.apply(&mut sealed);
        let mut wrapped = self.ours.signature(message).to_vec();
        wrapped.extend_from_slice(&sealed);
        wrapped
    }

    /// What a sealed message says; none where it was changed.
    pub(crate) fn unwrap(&mut self, wrapped: &[u8]) -> Option<Vec<u8>> {
        let (signature, sealed) = wrapped.split_at_checked(SIGNATURE)?;
        let mut message = sealed.to_vec();
        self.theirs.stream.apply(&mut message);
        constant::same(&self.theirs.signature(&message), signature).then_some(message)
    }
}

impl Half {
    fn new(key: &Key, negotiated: u32, way: &str) -> Half {
        let magic = |what: &str| format!("session key to {way} {what} key magic constant\0");
        // MS-NLMP 3.4.5.3: the sealing key is made of as much of the key as was negotiated.
        let length = match negotiated {
            _ if negotiated & flags::KEY_128 != 0 => 16,
            _ if negotiated & flags::KEY_56 != 0 => 7,
            _ => 5,
        };
        let seal = md5(&[&key[..length], magic("sealing").as_bytes()]);
        Half {
            sign: md5(&[key.as_slice(), magic("signing").as_bytes()]),
            stream: Rc4::new(seal.as_slice()),
            seal,
            sequence: 0,
            sealed_checksum: negotiated & flags::KEY_EXCHANGE != 0,
        }
    }

    fn rewind(&mut self) {
        self.stream = Rc4::new(self.seal.as_slice());
    }

    fn signature(&mut self, message: &[u8]) -> [u8; SIGNATURE] {
        let sequence = self.sequence.to_le_bytes();
        self.sequence = self.sequence.wrapping_add(1);
        let code = hmac_md5(self.sign.as_slice(), &[&sequence, message]);
        let mut signature = [0; SIGNATURE];
        signature[0] = 1;
        signature[4..12].copy_from_slice(&code[..8]);
        if self.sealed_checksum {
            self.stream.apply(&mut signature[4..12]);
        }
        signature[12..].copy_from_slice(&sequence);
        signature
    }
}

//! MD4, MD5 and RC4, which NTLM is made of, and nothing else here may use.
//!
//! Never: outside `ntlm`.

use hmac::{Hmac, KeyInit, Mac};
use md4::Md4;
use md5::{Digest, Md5};
use zeroize::{Zeroize, Zeroizing};

/// A key of NTLM, wiped when dropped.
pub(super) type Key = Zeroizing<[u8; 16]>;

pub(super) fn md4(octets: &[u8]) -> Key {
    Zeroizing::new(Md4::digest(octets).into())
}

pub(super) fn md5(parts: &[&[u8]]) -> Key {
    let mut hash = Md5::new();
    parts.iter().for_each(|part| hash.update(part));
    Zeroizing::new(hash.finalize().into())
}

pub(super) fn hmac_md5(key: &[u8], parts: &[&[u8]]) -> Key {
    let mut mac = Hmac::<Md5>::new_from_slice(key).expect("HMAC takes a key of any length");
    parts.iter().for_each(|part| mac.update(part));
    Zeroizing::new(mac.finalize().into_bytes().into())
}

/// RC4, whose stream goes on from call to call.
#[derive(Clone)]
pub(super) struct Rc4 {
    state: [u8; 256],
    i: u8,
    j: u8,
}

impl Rc4 {
    pub(super) fn new(key: &[u8]) -> Rc4 {
        let mut state: [u8; 256] = std::array::from_fn(|at| at.to_le_bytes()[0]);
        let mut j = 0_u8;
        for at in 0..state.len() {
            j = j.wrapping_add(state[at]).wrapping_add(key[at % key.len()]);
            state.swap(at, usize::from(j));
        }
        Rc4 { state, i: 0, j: 0 }
    }

    pub(super) fn apply(&mut self, octets: &mut [u8]) {
        for octet in octets {
            self.i = self.i.wrapping_add(1);
            self.j = self.j.wrapping_add(self.state[usize::from(self.i)]);
            self.state.swap(usize::from(self.i), usize::from(self.j));
            let sum = self.state[usize::from(self.i)].wrapping_add(self.state[usize::from(self.j)]);
            *octet ^= self.state[usize::from(sum)];
        }
    }
}

impl Drop for Rc4 {
    fn drop(&mut self) {
        self.state.zeroize();
    }
}

/// One key under another, as the key exchange sends it.
pub(super) fn rc4(key: &[u8], octets: &[u8; 16]) -> Key {
    let mut octets = Zeroizing::new(*octets);
    Rc4::new(key).apply(octets.as_mut_slice());
    octets
}

//! Accounts from a file: argon2id hashes as PHC strings.
//!
//! Never: a write. The file is `postern account`'s.

use std::sync::LazyLock;

use argon2::password_hash::PasswordHasher;
use argon2::password_hash::phc::{Output, PasswordHash};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use postern_config::{Account, AccountFile};
use postern_sasl::Secret;

use super::recent::Recent;

/// One account file, as it was when the generation was built.
pub(crate) struct FileSource {
    accounts: AccountFile,
    recent: Option<Recent>,
}

impl FileSource {
    /// These accounts.
    pub(crate) fn new(accounts: AccountFile) -> FileSource {
        FileSource {
            accounts,
            recent: Recent::new(),
        }
    }

    /// Whether this password of the account was right of late; and if not, what it is to be known by once it was.
    pub(super) fn recall(&self, account: &Account, password: &Secret) -> Recalled<'_> {
        let Some(recent) = &self.recent else {
            return Recalled::Unknown(None);
        };
        let mark = recent.mark(password, &account.name);
        match recent.holds(&mark) {
            true => Recalled::Right,
            false => Recalled::Unknown(Some((recent, mark))),
        }
    }

    /// The accounts.
    pub(crate) fn file(&self) -> &AccountFile {
        &self.accounts
    }
}

/// What is remembered of a password.
pub(super) enum Recalled<'s> {
    /// It was right of late.
    Right,
    /// Nothing; where it can be noted.
    Unknown(Option<(&'s Recent, [u8; 32])>),
}

/// The memory that checks work in, one after the other.
#[derive(Default)]
pub(crate) struct Room(Vec<Block>);

impl Room {
    /// The allocator gives a piece larger than this (glibc: 32 MiB, whatever it has learnt) back to the system as soon as it
    /// is free. Of smaller ones it keeps several for each thread there ever was. What is not used of it takes no memory.
    const LEAST: usize = (33 << 20) / Block::SIZE;

    /// So many blocks, whatever they hold; none where there is no memory for them.
    fn blocks(&mut self, count: usize) -> Option<&mut [Block]> {
        if self.0.capacity() < count {
            self.0 = Vec::new();
            self.0.try_reserve_exact(count.max(Room::LEAST)).ok()?;
        }
        if self.0.len() < count {
            self.0.resize(count, Block::default());
        }
        self.0.get_mut(..count)
    }
}

/// Whether `password` is the one of `hash`; the parameters are those in the hash. Takes tens of milliseconds and as much
/// memory as the hash asks for. A hash that cannot be read fits no password.
pub(crate) fn verify(hash: &str, password: &[u8], room: &mut Room) -> bool {
    let parsed = PasswordHash::new(hash);
    parsed.is_ok_and(|parsed| fits(&parsed, password, room).unwrap_or(false))
}

fn fits(hash: &PasswordHash, password: &[u8], room: &mut Room) -> Option<bool> {
    let (salt, expected) = (hash.salt.as_ref()?, hash.hash.as_ref()?);
    let algorithm = Algorithm::try_from(hash.algorithm.as_str()).ok()?;
    let version = hash
        .version
        .map_or(Ok(Version::default()), Version::try_from);
    let params = Params::try_from(hash).ok()?;
    let blocks = room.blocks(params.block_count())?;
    let mut buffer = [0; Output::MAX_LENGTH];
    let out = buffer.get_mut(..expected.len())?;
    Argon2::new(algorithm, version.ok()?, params)
        .hash_password_into_with_memory(password, salt, out, blocks)
        .ok()?;
    // Compared in constant time.
    Some(Output::new(out).ok()? == *expected)
}

/// A hash of the usual cost that no password is known for: made once, from random octets.
pub(crate) fn nobody() -> &'static str {
    static NOBODY: LazyLock<String> = LazyLock::new(|| {
        let mut password = [0_u8; 32];
        let filled = getrandom::fill(&mut password).is_ok();
        let hash = filled
            .then(|| Argon2::default().hash_password(&password).ok())
            .flatten();
        hash.map_or_else(String::new, |hash| hash.to_string())
    });
    &NOBODY
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each with the password `wonder.land-1`, or none.
    const HASHES: [(&str, bool); 4] = [
        (
            "$argon2id$v=19$m=19456,t=2,p=1$YWxpY2VhbGljZWFsaWNlMQ$3l9aybG6l2Fg+feovuYjTNUzvCODJcB0+aIYK63djQY",
            true,
        ),
        (
            "$argon2id$v=19$m=8,t=1,p=1$YWxpY2VhbGljZWFsaWNlMQ$YhOLIF8zm0pQPfG4Ej5ICxSNnyfnz6BMT8QzMpLMS38",
            true,
        ),
        ("$argon2id$v=19$m=8,t=1,p=1$YWxpY2VhbGljZWFsaWNlMQ", false),
        ("", false),
    ];

    #[test]
    fn one_room_serves_hashes_of_every_cost() {
        let mut room = Room::default();
        for (hash, right) in HASHES.into_iter().chain(HASHES) {
            assert_eq!(verify(hash, b"wonder.land-1", &mut room), right, "{hash}");
            assert!(!verify(hash, b"wonder.land-2", &mut room), "{hash}");
        }
        assert!(!verify(nobody(), b"wonder.land-1", &mut room));
    }
}

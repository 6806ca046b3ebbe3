//! `hashes`: NT hashes in a file of their own, for NTLM outside a domain.
//!
//! | The client says | Looked for |
//! |---|---|
//! | `alice` | `alice` |
//! | `alice@corp.example` | `alice@corp.example`, then `alice` |
//! | `CORP\alice` | `alice@CORP`, then `alice` |
//!
//! An unknown account has an invented hash, so that it is refused after the same work and in the same words.
//!
//! Never: a look at the file after the start; a hash in a word.

use postern_control::auth::Account;
use postern_sasl::{NtHash, NtHashes, NtProof, NtlmNames};
use zeroize::Zeroizing;

use crate::backend::{Backend, No, Proved};
use crate::run::{Failure, system};

/// NetBIOS names are at most this long.
const NETBIOS: usize = 15;

/// The hashes, and what unknown accounts' are invented with.
pub(crate) struct Hashes {
    hashes: NtHashes,
    secret: Zeroizing<[u8; 32]>,
}

impl Hashes {
    /// Reads the file; the error names the line.
    pub(crate) fn read(file: &[u8]) -> Result<Hashes, Failure> {
        let refused = |why: &dyn std::fmt::Display| {
            Failure::Secret(format!(
                "the file of NT hashes cannot be used: {why}; mend it, or write it with `postern account`"
            ))
        };
        let text = std::str::from_utf8(file).map_err(|error| {
            let before = file.get(..error.valid_up_to()).unwrap_or_default();
            let line = before.iter().filter(|octet| **octet == b'\n').count() + 1;
            refused(&format_args!("line {line}: not text in UTF-8"))
        })?;
        let mut secret = Zeroizing::new([0; 32]);
        getrandom::fill(secret.as_mut_slice()).map_err(system("draw random octets"))?;
        Ok(Hashes {
            hashes: NtHashes::parse(text).map_err(|error| refused(&error))?,
            secret,
        })
    }

    /// How many accounts there are.
    pub(crate) fn len(&self) -> usize {
        self.hashes.len()
    }

    /// The account's name as the file may have it, and its hash.
    fn known(&self, proof: &NtProof) -> Option<(String, &NtHash)> {
        let known = |name: String| self.hashes.get(&name).map(|hash| (name.clone(), hash));
        candidates(&proof.user, &proof.domain)
            .into_iter()
            .find_map(known)
    }
}

/// What to look for, in order.
fn candidates(user: &str, domain: &str) -> Vec<String> {
    let whole = match (user.split_once('@'), domain) {
        (Some(_), _) | (None, "") => user.to_owned(),
        (None, domain) => format!("{user}@{domain}"),
    };
    let bare = user.split_once('@').map_or(user, |(local, _)| local);
    vec![whole, bare.to_owned()]
}

impl Backend for Hashes {
    fn names(&mut self, host: &str) -> Result<Option<NtlmNames>, No> {
        Ok(Some(names(host)))
    }

    fn prove(&mut self, proof: &NtProof, _domains: &[String]) -> Result<Proved, No> {
        // Invented in any case: it is part of the work.
        let invented = NtHash::invented(self.secret.as_slice(), &proof.user);
        let known = self.known(proof);
        let hash = known.as_ref().map_or(&invented, |(_, hash)| hash);
        match (proof.session_key(hash), known) {
            (Some(key), Some((name, _))) => Ok(Proved {
                key,
                account: Account {
                    name,
                    home: true,
                    ..Account::default()
                },
            }),
            _ => Err(No::guessed(postern_sasl::Refusal::WrongPassword)),
        }
    }
}

/// What a server outside a domain calls itself: its first label, in both places.
fn names(host: &str) -> NtlmNames {
    let (label, domain) = host.split_once('.').unwrap_or((host, ""));
    let netbios: String = label.to_uppercase().chars().take(NETBIOS).collect();
    NtlmNames {
        netbios_computer: netbios.clone(),
        netbios_domain: netbios,
        dns_computer: host.to_owned(),
        dns_domain: domain.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const HASH: &str = "8846f7eaee8fb117ad06bdd830b7586c";

    #[test]
    fn a_bad_line_is_named() {
        let bad = |file: &[u8]| Hashes::read(file).map(|_| ()).unwrap_err().to_string();
        let text = format!("alice:{HASH}\nbob:12\n");
        assert!(bad(text.as_bytes()).contains("line 2:"));
        assert!(!bad(text.as_bytes()).contains("8846"));
        assert!(bad(b"# fine\n\n\xff:12").contains("line 3: not text"));
        assert_eq!(Hashes::read(b"").unwrap().len(), 0);
    }

    #[test]
    fn names_are_looked_for_with_their_domain_first() {
        assert_eq!(candidates("alice", ""), ["alice", "alice"]);
        assert_eq!(candidates("alice", "CORP"), ["alice@CORP", "alice"]);
        assert_eq!(candidates("a@b", "CORP"), ["a@b", "a"]);
        assert_eq!(candidates("a@b", ""), ["a@b", "a"]);
    }

    #[test]
    fn a_server_outside_a_domain_is_its_own_domain() {
        let named = names("mail-gateway-of-ours.corp.example");
        assert_eq!(named.netbios_computer, "MAIL-GATEWAY-OF");
        assert_eq!(named.netbios_domain, named.netbios_computer);
        assert_eq!(named.dns_domain, "corp.example");
        assert_eq!(names("mx1").dns_domain, "");
    }
}

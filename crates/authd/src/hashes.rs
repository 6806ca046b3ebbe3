//! `hashes`: NT hashes in a file of their own, for NTLM outside a domain.
//!
//! | The client says | Looked for |
//! |---|---|
//! | `alice` | `alice`, then `alice@` the default domain |
//! | `CORP\alice` | `alice@CORP`, then as `alice` |
//! | `alice@corp.example` | this alone; `alice` too, where corp.example is the default domain |
//!
//! The name of an account is as the file has it: so guesses at it count together, whatever the client calls it.
//!
//! An unknown account has an invented hash, so that it is refused after the same work and in the same words.
//!
//! Never: a look at the file after the start; a hash in a word.

use std::collections::HashMap;
use std::time::Instant;

use postern_control::auth::{Account, Terms};
use postern_sasl::{NtHash, NtHashes, NtProof, NtlmNames};
use zeroize::Zeroizing;

use crate::backend::{Backend, No, Proved};
use crate::guesses::Guesses;
use crate::run::{Failure, system};

/// NetBIOS names are at most this long.
const NETBIOS: usize = 15;

/// What a client hears of a wrong password, and of an unknown account.
const WRONG: postern_sasl::Refusal = postern_sasl::Refusal::WrongPassword;

/// The hashes, and what unknown accounts' are invented with.
pub(crate) struct Hashes {
    hashes: NtHashes,
    /// Names in lower case, and as the file has them.
    names: HashMap<String, String>,
    guesses: Guesses,
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
        let hashes = NtHashes::parse(text).map_err(|error| refused(&error))?;
        let name = |name: &str| (name.to_lowercase(), name.to_owned());
        Ok(Hashes {
            names: hashes.names().map(name).collect(),
            hashes,
            guesses: Guesses::default(),
            secret,
        })
    }

    /// How many accounts there are.
    pub(crate) fn len(&self) -> usize {
        self.hashes.len()
    }

    /// The account's name as the file has it, and its hash.
    fn known(&self, proof: &NtProof, terms: &Terms) -> Option<(&String, &NtHash)> {
        let known = |name: String| self.names.get(&name.to_lowercase());
        let mut names = candidates(&proof.user, &proof.domain, &terms.default_domain).into_iter();
        let name = names.find_map(known)?;
        Some((name, self.hashes.get(name)?))
    }
}

/// What to look for, in order.
fn candidates(user: &str, domain: &str, default_domain: &str) -> Vec<String> {
    let with = |domain: &str| (!domain.is_empty()).then(|| format!("{user}@{domain}"));
    let bare = Some(user.to_owned());
    let names = match user.rsplit_once('@') {
        None => [with(domain), bare, with(default_domain)],
        Some((local, domain)) => {
            let default = !default_domain.is_empty() && domain.eq_ignore_ascii_case(default_domain);
            [bare, default.then(|| local.to_owned()), None]
        }
    };
    names.into_iter().flatten().collect()
}

impl Backend for Hashes {
    fn names(&mut self, host: &str) -> Result<Option<NtlmNames>, No> {
        Ok(Some(names(host)))
    }

    fn called(&mut self, proof: &NtProof, terms: &Terms) -> Option<String> {
        self.known(proof, terms).map(|(name, _)| name.clone())
    }

    fn prove(&mut self, proof: &NtProof, terms: &Terms) -> Result<Proved, No> {
        // Invented in any case: it is part of the work.
        let invented = NtHash::invented(self.secret.as_slice(), &proof.user);
        let known = self.known(proof, terms);
        let hash = known.as_ref().map_or(&invented, |(_, hash)| hash);
        let (key, is_known) = (proof.session_key(hash), known.is_some());
        let name = known.map_or_else(|| proof.account(), |(name, _)| name.clone());
        let now = Instant::now();
        if self.guesses.too_many(&name, now) {
            return Err(No::unavailable(
                "too many wrong passwords for this account in a minute",
            ));
        }
        match key.filter(|_| is_known) {
            Some(key) => Ok(Proved {
                key,
                account: Account {
                    name,
                    home: true,
                    ..Account::default()
                },
            }),
            None => {
                self.guesses.wrong(&name, now);
                Err(match is_known {
                    true => No::guessed(WRONG),
                    false => No::unknown(WRONG),
                })
            }
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
        assert_eq!(candidates("alice", "", ""), ["alice"]);
        assert_eq!(candidates("alice", "PC7", ""), ["alice@PC7", "alice"]);
        let default = ["alice@PC7", "alice", "alice@ours.example"];
        assert_eq!(candidates("alice", "PC7", "ours.example"), default);
        assert_eq!(candidates("alice", "", "ours.example"), default[1..]);
        assert_eq!(candidates("a@b", "CORP", "ours.example"), ["a@b"]);
        assert_eq!(candidates("a@b", "", ""), ["a@b"]);
        assert_eq!(candidates("a@", "", ""), ["a@"]);
        assert_eq!(candidates("a@B", "CORP", "b"), ["a@B", "a"]);
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

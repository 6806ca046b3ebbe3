//! A password on its way into an account file: asked for without echo, or read from standard input, and kept only as a hash.
//!
//! Never: a password on a command line, in a log, or printed.

use std::io::{self, BufRead, IsTerminal};

use argon2::password_hash::PasswordHasher;
use argon2::{Algorithm, Argon2, Params, Version};

use postern_sasl::ScramKeys;

use crate::failure::Error;

/// Longer than any password a client sends: AUTH lines end at 12,288 bytes.
const LONGEST: usize = 1024;

/// The argon2id hash of a password as a PHC string, with the parameters that workers expect: 19 MiB, two passes, one lane.
fn hash(password: &str) -> Result<String, Error> {
    let params = Params::new(19_456, 2, 1, None)
        .map_err(|cause| Error::Failed(format!("argon2id: {cause}")))?;
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash = argon
        .hash_password(password.as_bytes())
        .map_err(|cause| Error::Failed(format!("argon2id: {cause}")))?;
    Ok(hash.to_string())
}

/// What is kept of a password: the hash for PLAIN and LOGIN, and the keys for SCRAM.
pub(crate) struct Kept {
    /// An argon2id PHC string.
    pub(crate) hash: String,
    /// `SCRAM-SHA-256$…`.
    pub(crate) scram: String,
}

/// Both of them, with salts of their own.
pub(crate) fn keep(password: &str) -> Result<Kept, Error> {
    let mut salt = [0u8; 16];
    getrandom::fill(&mut salt)
        .map_err(|cause| Error::Failed(format!("no random numbers: {cause}")))?;
    let keys = ScramKeys::derive(password.as_bytes(), &salt, ScramKeys::ITERATIONS);
    Ok(Kept {
        hash: hash(password)?,
        scram: keys.to_string(),
    })
}

/// A new password: the first line of standard input where `from_stdin`, or else asked twice on the terminal.
pub(crate) fn new_password(account: &str, from_stdin: bool) -> Result<String, Error> {
    let password = if from_stdin {
        first_line()?
    } else {
        ask_twice(account)?
    };
    acceptable(&password)?;
    Ok(password)
}

fn first_line() -> Result<String, Error> {
    let mut line = String::new();
    io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|source| Error::Read {
            path: "standard input".into(),
            source,
        })?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn ask_twice(account: &str) -> Result<String, Error> {
    if !io::stdin().is_terminal() {
        return Err(Error::Usage {
            what: "a password is asked for on a terminal, and this is none".to_owned(),
            remedy: "give --password-stdin and the password as the first line of standard input"
                .to_owned(),
        });
    }
    let ask = |prompt: String| {
        rpassword::prompt_password(prompt).map_err(|source| Error::Read {
            path: "the terminal".into(),
            source,
        })
    };
    let first = ask(format!("Password for {account}: "))?;
    acceptable(&first)?;
    let second = ask("The same again: ".to_owned())?;
    if first == second {
        Ok(first)
    } else {
        Err(Error::Failed(
            "the two passwords differ; nothing was changed".to_owned(),
        ))
    }
}

fn acceptable(password: &str) -> Result<(), Error> {
    let what = if password.is_empty() {
        "an empty password is not accepted"
    } else if password.len() > LONGEST {
        "a password longer than 1024 bytes is not accepted"
    } else if password.contains('\0') {
        // RFC 4616 §2: NUL separates the fields of AUTH PLAIN, so such a password could never be sent.
        "a password with a NUL character cannot be sent by any client"
    } else {
        return Ok(());
    };
    Err(Error::Usage {
        what: what.to_owned(),
        remedy: String::new(),
    })
}

/// A random password of 20 letters and digits, about 100 bits.
pub(crate) fn random() -> Result<String, Error> {
    // 32 signs that cannot be mistaken for one another, so that a byte's low five bits choose evenly.
    const SIGNS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = [0u8; 20];
    getrandom::fill(&mut bytes)
        .map_err(|cause| Error::Failed(format!("no random numbers: {cause}")))?;
    Ok(bytes
        .iter()
        .map(|byte| char::from(SIGNS[usize::from(byte & 31)]))
        .collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use argon2::password_hash::{PasswordVerifier, phc::PasswordHash};

    #[test]
    fn a_hash_is_argon2id_with_the_promised_parameters_and_fits_its_password_only() {
        let text = hash("correct horse").unwrap();
        assert!(
            text.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{text}"
        );
        let parsed = PasswordHash::new(&text).unwrap();
        assert!(
            Argon2::default()
                .verify_password(b"correct horse", &parsed)
                .is_ok()
        );
        assert!(
            Argon2::default()
                .verify_password(b"correct house", &parsed)
                .is_err()
        );
    }

    #[test]
    fn random_passwords_differ() {
        let one = random().unwrap();
        assert_eq!(one.len(), 20);
        assert_ne!(one, random().unwrap());
    }

    #[test]
    fn passwords_no_client_could_send_are_refused() {
        for bad in ["", "a\0b", &"x".repeat(1025)] {
            assert!(acceptable(bad).is_err());
        }
    }
}

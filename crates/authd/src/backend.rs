//! What a source of accounts can do, whatever it is: each thread has a [`Backend`] of its own.
//!
//! | Source | names, prove | password, find | tickets |
//! |---|---|---|---|
//! | `hashes` | yes | no | no |
//! | `winbind` | yes | yes | no |
//! | `kerberos` | no | no | yes |
//!
//! Never: a blob of SASL; what an exchange is.

use postern_control::auth::{Account, RefusedKind, Terms};
use postern_sasl::{NtProof, NtlmNames, SessionBaseKey, Ticket};

/// One source of accounts, as one thread asks it. What a source has not is what stands here.
pub(crate) trait Backend: Send {
    /// The names in an NTLM challenge by a server called `host`; none where the source has no NTLM.
    fn names(&mut self, host: &str) -> Result<Option<NtlmNames>, No> {
        let _ = host;
        Ok(None)
    }

    /// The one name of the account that a client claims, however it writes it; none where there is nobody, or nobody can say.
    fn called(&mut self, proof: &NtProof, terms: &Terms) -> Option<String> {
        let _ = (proof, terms);
        None
    }

    /// Whether this proof is an account's, of one of the domains (see [`Terms::domains`]).
    fn prove(&mut self, proof: &NtProof, terms: &Terms) -> Result<Proved, No> {
        let _ = (proof, terms);
        Err(No::unavailable("this source has no NTLM"))
    }

    /// Whether this is the account's password: neither is empty, nor holds a NUL.
    fn password(&mut self, name: &str, password: &str, domains: &[String]) -> Result<Account, No> {
        let _ = (name, password, domains);
        Err(No::unavailable("this source takes no passwords"))
    }

    /// What would be known of this account after a login. The name is not empty and holds no NUL.
    fn find(&mut self, name: &str, domains: &[String]) -> Result<Account, No> {
        let _ = (name, domains);
        Err(No::unavailable("this source cannot be asked for accounts"))
    }

    /// What checks one exchange's tickets; none where the source has no Kerberos.
    fn tickets(&mut self, terms: &Terms) -> Option<Box<dyn Tickets>> {
        let _ = terms;
        None
    }
}

/// Whose proof it is.
#[derive(Debug)]
pub(crate) struct Proved {
    /// What both sides have now; the integrity code is checked with it.
    pub(crate) key: SessionBaseKey,
    /// Who: name, domain and groups. The rest is filled in when the exchange is over.
    pub(crate) account: Account,
}

/// One exchange's context in the Kerberos library.
pub(crate) trait Tickets: Send {
    /// Takes the client's token. Never answers [`Ticket::Refused`], which says no reason.
    fn step(&mut self, token: &[u8]) -> Result<Ticket, No>;

    /// Whether the client's bare name means it and nobody else (see [`Account::home`]); asked when it is known.
    fn at_home(&self) -> bool;

    /// Wraps octets without confidentiality.
    fn wrap(&mut self, octets: &[u8]) -> Result<Vec<u8>, No>;

    /// Unwraps octets.
    fn unwrap(&mut self, octets: &[u8]) -> Result<Vec<u8>, No>;
}

/// Why there is no account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum No {
    /// The client is not who it says, or may not be.
    Refused {
        /// Who it said it was, where the source knows better than the exchange.
        name: Option<String>,
        /// Why, for the log.
        why: String,
        /// What follows.
        kind: RefusedKind,
    },
    /// It cannot be found out now.
    Unavailable {
        /// Why, for the log.
        why: String,
    },
}

impl No {
    /// Refused, and no guess at a password.
    pub(crate) fn refused(why: impl ToString) -> No {
        No::of(RefusedKind::Barred, why)
    }

    /// Refused: a wrong password.
    pub(crate) fn guessed(why: impl ToString) -> No {
        No::of(RefusedKind::Wrong, why)
    }

    /// Refused: the source has no such account.
    pub(crate) fn unknown(why: impl ToString) -> No {
        No::of(RefusedKind::Unknown, why)
    }

    fn of(kind: RefusedKind, why: impl ToString) -> No {
        No::Refused {
            name: None,
            why: why.to_string(),
            kind,
        }
    }

    /// It cannot be found out now.
    pub(crate) fn unavailable(why: impl ToString) -> No {
        No::Unavailable {
            why: why.to_string(),
        }
    }
}

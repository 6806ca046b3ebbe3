//! worker ↔ authd, over the pair that posternd made for one source of accounts.
//!
//! ```text
//! worker                                   authd
//! Hello ─────────────────────────────────►
//!                          ◄────────────── Hello
//! Begin 7 ───────────────────────────────►
//!                          ◄────────────── Challenge 7
//! Respond 7 ─────────────────────────────►
//!                          ◄────────────── Claims 7          (NTLM: whom it names, before anything is checked)
//! Proceed 7 ─────────────────────────────►                   (or Drop 7, if that account is locked out)
//!                          ◄────────────── Account 7 | Refused 7 | Unavailable 7
//! ```
//!
//! Each exchange has a number that the worker chose; many run at once, and each question but `Hello` and `Drop` has one
//! answer. After `Account`, `Refused` or `Unavailable` the number is free. The challenge is always authd's own: a worker
//! can ask whether a client is who it says, and cannot have a proof checked, or a key made, that was meant for another
//! server.
//!
//! Authd ends when the worker hangs up. The worker's questions are foreign input to authd.

use serde::{Deserialize, Serialize};

pub use blob::Blob;

mod blob;

/// What a worker asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Question {
    /// The first packet.
    Hello {
        /// See [`crate::VERSION`].
        version: u32,
    },
    /// A client begins, and has spoken: where a mechanism lets the server speak first, its empty challenge is the worker's.
    Begin {
        /// The number of the exchange, none in use.
        exchange: u32,
        /// `NTLM`, `GSSAPI` or `GSS-SPNEGO`.
        mechanism: String,
        /// The client's first blob.
        initial: Blob,
        /// What holds for this session.
        terms: Box<Terms>,
    },
    /// The client's answer to a challenge.
    Respond {
        /// Which exchange.
        exchange: u32,
        /// The answer.
        response: Blob,
    },
    /// The account claimed may be checked.
    Proceed {
        /// Which exchange.
        exchange: u32,
    },
    /// The client has given up, or is gone; or the account is locked out. Has no answer.
    Drop {
        /// Which exchange.
        exchange: u32,
    },
    /// Whether this is the account's password (`windows` only); answered `Account`, `Refused` or `Unavailable`.
    Password {
        /// The number of the exchange, none in use.
        exchange: u32,
        /// As the client wrote it: `alice`, `CORP\alice` or `alice@corp.example`.
        name: String,
        /// UTF-8, never empty.
        password: Blob,
        /// See [`Terms::domains`].
        domains: Vec<String>,
    },
    /// What would be known of this account if it logged in, without its password (`windows` only): for explanations and
    /// for client certificates. Answered `Account`, `Refused` (there is none) or `Unavailable`.
    Find {
        /// The number of the exchange, none in use.
        exchange: u32,
        /// As a client would write it.
        name: String,
        /// See [`Terms::domains`].
        domains: Vec<String>,
    },
}

/// What holds for a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// The server's own name, fully qualified: what an NTLM challenge outside a domain says.
    pub host: String,
    /// The TLS connection's `tls-server-end-point` (RFC 5929), one for each certificate the client may have been shown;
    /// empty outside TLS.
    pub end_points: Vec<Blob>,
    /// Its `tls-exporter` (RFC 9266), where there is one.
    pub exporter: Option<Blob>,
    /// Whether a login must be bound to the TLS connection, or only may.
    pub binding_required: bool,
    /// Whether NTLM is taken, alone and inside SPNEGO and GSSAPI.
    pub ntlm: bool,
    /// The Windows domains (`CORP`) or Kerberos realms (`CORP.EXAMPLE`) whose accounts are taken, compared without case.
    /// Empty: the source's own, which is the domain the host is a member of, or the keytab's realms. `*`: all.
    pub domains: Vec<String>,
    /// The domain of accounts whose names have none; empty where there is none. Hashes of `alice` and of
    /// `alice@example.test` are then those of one account.
    pub default_domain: String,
}

/// What authd answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Answer {
    /// The first packet.
    Hello {
        /// See [`crate::VERSION`].
        version: u32,
    },
    /// Send this to the client; its answer is a [`Question::Respond`].
    Challenge {
        /// Which exchange.
        exchange: u32,
        /// The blob.
        challenge: Blob,
    },
    /// The client says it is this account; nothing has been checked yet.
    Claims {
        /// Which exchange.
        exchange: u32,
        /// As it says, with its domain where it names one: `CORP\alice`.
        name: String,
    },
    /// The client is this account.
    Account {
        /// Which exchange.
        exchange: u32,
        /// Who.
        account: Box<Account>,
    },
    /// It is not.
    Refused {
        /// Which exchange.
        exchange: u32,
        /// Who it said it was, if it came to that.
        name: Option<String>,
        /// Why, for the log.
        why: String,
        /// What follows from it.
        kind: RefusedKind,
    },
    /// It cannot be found out now.
    Unavailable {
        /// Which exchange.
        exchange: u32,
        /// Who the client said it was, if it came to that.
        name: Option<String>,
        /// Why, for the log.
        why: String,
    },
}

/// What follows from a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefusedKind {
    /// A guess at a password: the proof or the password is not the account's.
    Wrong,
    /// The source has no such account: another may have it. Whoever proves himself by NTLM has guessed at a name.
    Unknown,
    /// Anything else; nobody has guessed.
    Barred,
}

/// Somebody authd knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// `alice`: without domain or realm.
    pub name: String,
    /// `CORP` by NTLM or winbind, `CORP.EXAMPLE` by Kerberos; none in a store of hashes.
    pub domain: Option<String>,
    /// Whether its bare name means it and nobody else here: it is of the first of [`Terms::domains`], or, where there are
    /// none, of the host's own domain or of the keytab's only realm; or the source is a store of hashes.
    pub home: bool,
    /// Its groups; winbind only. Those of the domain at home (see `home`) by their bare names, others as `LAB\mail users`;
    /// none of those that every Windows host has (`BUILTIN\Users`).
    pub groups: Vec<String>,
    /// Whom it wants to act as, where it named somebody.
    pub authzid: Option<String>,
    /// What proved it: `NTLM`, `Kerberos` or `password`; for the log.
    pub proof: String,
    /// Whether the login was bound to the TLS connection.
    pub bound: bool,
}

impl Question {
    /// Which exchange it belongs to.
    pub fn exchange(&self) -> Option<u32> {
        match self {
            Question::Hello { .. } => None,
            Question::Begin { exchange, .. }
            | Question::Respond { exchange, .. }
            | Question::Proceed { exchange }
            | Question::Drop { exchange }
            | Question::Password { exchange, .. }
            | Question::Find { exchange, .. } => Some(*exchange),
        }
    }
}

impl Answer {
    /// Which exchange it belongs to.
    pub fn exchange(&self) -> Option<u32> {
        match self {
            Answer::Hello { .. } => None,
            Answer::Challenge { exchange, .. }
            | Answer::Claims { exchange, .. }
            | Answer::Account { exchange, .. }
            | Answer::Refused { exchange, .. }
            | Answer::Unavailable { exchange, .. } => Some(*exchange),
        }
    }
}

#[cfg(test)]
mod tests;

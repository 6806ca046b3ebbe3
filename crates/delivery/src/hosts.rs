//! A way → a connection: hosts in order, each host's addresses in order, until one serves.
//!
//! | what happens | then |
//! |---|---|
//! | no connection, a greeting that refuses, EHLO or TLS or login that fails | the next address, the next host |
//! | no host left, `direct_first` | the smart hosts |
//! | no host left | deferred, with what the last one said |
//! | the domain does not exist · takes no mail · leads back here | failed |
//! | DNS did not answer | deferred |
//!
//! Never: a message; whoever gets the connection sends it.

use std::net::SocketAddr;

use postern_dns::mx::{self, Dice, MailHosts};
use postern_dns::{Error, Lookup};
use postern_smtp::EnhancedCode;

use crate::lmtp;
use crate::outcome::{Answer, Handed, Outcome};
use crate::route::{End, Endpoint, Hop, Host, Mx, Way};
use crate::security::Security;
use crate::smtp::{self, Connection, Terms};

/// So many addresses of one host are tried, and no more.
pub const MOST_ADDRESSES: usize = 8;

/// Finds a connection along a way; otherwise what becomes of all mail that goes this way now.
pub async fn reach<L: Lookup>(way: &Way, terms: &Terms, lookup: &L) -> Result<Connection, Outcome> {
    match &way.end {
        End::Mx { domain, mx } => match by_mx(domain, mx, terms, lookup).await {
            Err(_) if mx.fallback.is_some() => fall_back(mx, terms, lookup).await,
            other => other,
        },
        End::Hosts(hops, security) => by_hops(hops, security, terms, lookup).await,
        End::Lmtp(endpoint) => by_lmtp(endpoint, terms, lookup).await,
        End::Maildir(_) => Err(deferred(
            EnhancedCode(4, 3, 5),
            "a mailbox is not reached by a connection",
        )),
    }
}

async fn fall_back<L: Lookup>(mx: &Mx, terms: &Terms, lookup: &L) -> Result<Connection, Outcome> {
    match mx.fallback.as_deref().map(|way| &way.end) {
        Some(End::Hosts(hops, security)) => by_hops(hops, security, terms, lookup).await,
        _ => Err(deferred(
            EnhancedCode(4, 3, 5),
            "there is no smart host to fall back on",
        )),
    }
}

async fn by_mx<L: Lookup>(
    domain: &str,
    mx: &Mx,
    terms: &Terms,
    lookup: &L,
) -> Result<Connection, Outcome> {
    let is_self = |host: &str| host.eq_ignore_ascii_case(&terms.fqdn);
    // RFC 5321 §5.1.
    let hosts = match mx::find(lookup, domain, is_self, &mut Dice::random()).await {
        Ok(MailHosts::Try { hosts, .. }) => hosts,
        // RFC 7505 §4.
        Ok(MailHosts::Null) => {
            return Err(failed(
                EnhancedCode(5, 1, 10),
                format!("the domain {domain} takes no mail (null MX)"),
            ));
        }
        Ok(MailHosts::Loop) => {
            return Err(failed(
                EnhancedCode(5, 4, 6),
                format!("mail for {domain} leads back to this server"),
            ));
        }
        Err(error) => return Err(not_found(&error, EnhancedCode(5, 1, 2))),
    };
    let mut last = None;
    for host in &hosts {
        // A domain that is its own host, and does not exist, is a wrong domain.
        let missing = if **host == *domain {
            EnhancedCode(5, 1, 2)
        } else {
            EnhancedCode(5, 4, 4)
        };
        match by_name(host, mx.port, &mx.security, missing, terms, lookup).await {
            Ok(connection) => return Ok(connection),
            Err(outcome) => last = Some(worse(last, outcome)),
        }
    }
    Err(last.unwrap_or_else(|| deferred(EnhancedCode(4, 4, 4), "no host to try")))
}

async fn by_hops<L: Lookup>(
    hops: &[Hop],
    security: &Security,
    terms: &Terms,
    lookup: &L,
) -> Result<Connection, Outcome> {
    let mut last = None;
    for hop in hops {
        let tried = match &hop.host {
            Host::Name(name) => {
                by_name(
                    name,
                    hop.port,
                    security,
                    EnhancedCode(5, 4, 4),
                    terms,
                    lookup,
                )
                .await
            }
            Host::Address(address) => {
                one(
                    terms,
                    security,
                    &address.to_string(),
                    SocketAddr::new(*address, hop.port),
                )
                .await
            }
        };
        match tried {
            Ok(connection) => return Ok(connection),
            Err(outcome) => last = Some(worse(last, outcome)),
        }
    }
    let outcome = last.unwrap_or_else(|| deferred(EnhancedCode(4, 3, 5), "no host is named"));
    // What is wrong with hosts of the definition is the administrator's to mend: the mail waits.
    Err(Outcome::Deferred(outcome.answer().clone().softened()))
}

async fn by_lmtp<L: Lookup>(
    endpoint: &Endpoint,
    terms: &Terms,
    lookup: &L,
) -> Result<Connection, Outcome> {
    let addresses = match endpoint {
        Endpoint::Unix(_) => Vec::new(),
        Endpoint::Tcp(Hop {
            host: Host::Address(address),
            port,
        }) => vec![SocketAddr::new(*address, *port)],
        Endpoint::Tcp(Hop {
            host: Host::Name(name),
            port,
        }) => match lookup.addresses(name).await {
            Ok(answer) => answer
                .records
                .into_iter()
                .take(MOST_ADDRESSES)
                .map(|address| SocketAddr::new(address, *port))
                .collect(),
            Err(error) => return Err(deferred(EnhancedCode(4, 4, 3), error.to_string())),
        },
    };
    lmtp::open(terms, endpoint, &addresses)
        .await
        .map_err(Outcome::Deferred)
}

/// One host by name: all its addresses (RFC 5321 §5.1: the order DNS gave, IPv6 first).
async fn by_name<L: Lookup>(
    name: &str,
    port: u16,
    security: &Security,
    missing: EnhancedCode,
    terms: &Terms,
    lookup: &L,
) -> Result<Connection, Outcome> {
    let addresses = match lookup.addresses(name).await {
        Ok(answer) => answer.records,
        Err(error) => return Err(not_found(&error, missing)),
    };
    let mut last = None;
    for address in addresses.into_iter().take(MOST_ADDRESSES) {
        match one(terms, security, name, SocketAddr::new(address, port)).await {
            Ok(connection) => return Ok(connection),
            Err(outcome) => last = Some(worse(last, outcome)),
        }
    }
    Err(last.unwrap_or_else(|| deferred(EnhancedCode(4, 4, 4), "the host has no address")))
}

async fn one(
    terms: &Terms,
    security: &Security,
    name: &str,
    address: SocketAddr,
) -> Result<Connection, Outcome> {
    smtp::open(terms, security, name, address)
        .await
        .map_err(|answer| answer.into_outcome(Handed::Next))
}

/// Of two hosts' failures the one that leaves hope counts, and of two alike the later.
fn worse(before: Option<Outcome>, now: Outcome) -> Outcome {
    match (before, now) {
        (Some(before @ Outcome::Deferred(_)), Outcome::Failed(_)) => before,
        (_, now) => now,
    }
}

/// Only what a name server denies is final; all else may be better tomorrow.
fn not_found(error: &Error, code: EnhancedCode) -> Outcome {
    match error.is_temporary() {
        true => deferred(EnhancedCode(4, 4, 3), error.to_string()),
        false => failed(code, error.to_string()),
    }
}

fn deferred(code: EnhancedCode, text: impl Into<std::borrow::Cow<'static, str>>) -> Outcome {
    Outcome::Deferred(Answer::nobody(code, text))
}

fn failed(code: EnhancedCode, text: impl Into<std::borrow::Cow<'static, str>>) -> Outcome {
    Outcome::Failed(Answer::nobody(code, text))
}

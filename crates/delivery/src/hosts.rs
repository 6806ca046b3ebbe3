//! A way → a connection: hosts in order, each host's addresses in order, until one serves.
//!
//! | what happens | then |
//! |---|---|
//! | no connection, a greeting that refuses, EHLO or TLS or login that fails | the next address, the next host |
//! | no host left, `direct_first` | the smart hosts |
//! | no host left | deferred, with what the last one said |
//! | the domain does not exist · takes no mail · leads back here | failed |
//! | DNS did not answer, or DNSSEC says that the answer is forged | deferred |
//! | the host's TLSA records, or the domain's policy, are not met | the next address, the next host; never in clear |
//!
//! A host with TLSA records that DNSSEC vouches for is judged by them alone; what it has to do with the domain's policy
//! does not matter then (RFC 8461 §2).
//!
//! Never: a message; whoever gets the connection sends it.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use postern_dns::dane::Associations;
use postern_dns::mx::{self, Dice, MailHosts};
use postern_dns::{Ask, Error, Lookup};
use postern_smtp::EnhancedCode;
use postern_tls::ClientTls;
use postern_tls::dane::{Pin, Pins};
use postern_tls::mta_sts::{Policy, PolicyMode};

use crate::lmtp;
use crate::outcome::{Answer, Handed, Outcome};
use crate::route::{End, Endpoint, Hop, Host, Mx, Way};
use crate::security::{Security, Tls};
use crate::smtp::{self, Connection, Terms};

/// So many addresses of one host are tried, and no more.
pub const MOST_ADDRESSES: usize = 8;

/// Finds a connection along a way; otherwise what becomes of all mail that goes this way now.
pub async fn reach<L: Lookup + Ask>(
    way: &Way,
    terms: &Terms,
    lookup: &L,
) -> Result<Connection, Outcome> {
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

async fn fall_back<L: Lookup + Ask>(
    mx: &Mx,
    terms: &Terms,
    lookup: &L,
) -> Result<Connection, Outcome> {
    match mx.fallback.as_deref().map(|way| &way.end) {
        Some(End::Hosts(hops, security)) => by_hops(hops, security, terms, lookup).await,
        _ => Err(deferred(
            EnhancedCode(4, 3, 5),
            "there is no smart host to fall back on",
        )),
    }
}

async fn by_mx<L: Lookup + Ask>(
    domain: &str,
    mx: &Mx,
    terms: &Terms,
    lookup: &L,
) -> Result<Connection, Outcome> {
    let is_self = |host: &str| host.eq_ignore_ascii_case(&terms.fqdn);
    let mut dice = Dice::random();
    // RFC 5321 §5.1.
    let found = match mx.security.tls {
        Tls::Dane => mx::find_vouched(lookup, domain, is_self, &mut dice).await,
        _ => mx::find(lookup, domain, is_self, &mut dice).await,
    };
    let (hosts, secure) = match found {
        Ok(MailHosts::Try { hosts, secure, .. }) => (hosts, secure),
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
    let policy = policy(domain, &mx.security, terms, lookup).await;
    let mut last = None;
    for host in &hosts {
        // A domain that is its own host, and does not exist, is a wrong domain.
        let missing = if **host == *domain {
            EnhancedCode(5, 1, 2)
        } else {
            EnhancedCode(5, 4, 4)
        };
        let sought = Sought {
            host,
            port: mx.port,
            domain,
            security: &mx.security,
            // RFC 7672 §2.2.1: records of hosts that anybody may have named prove nothing.
            dane: secure && mx.security.tls == Tls::Dane,
            policy: policy.as_ref(),
            missing,
        };
        match by_name(&sought, terms, lookup).await {
            Ok(connection) => return Ok(connection),
            Err(outcome) => last = Some(worse(last, outcome)),
        }
    }
    Err(last.unwrap_or_else(|| deferred(EnhancedCode(4, 4, 4), "no host to try")))
}

async fn by_hops<L: Lookup + Ask>(
    hops: &[Hop],
    security: &Security,
    terms: &Terms,
    lookup: &L,
) -> Result<Connection, Outcome> {
    let mut last = None;
    for hop in hops {
        let tried = match &hop.host {
            Host::Name(name) => {
                // RFC 8461 §3.4: a host that is named stands for its own domain.
                let policy = policy(name, security, terms, lookup).await;
                let sought = Sought {
                    host: name,
                    port: hop.port,
                    domain: name,
                    security,
                    dane: security.tls == Tls::Dane,
                    policy: policy.as_ref(),
                    missing: EnhancedCode(5, 4, 4),
                };
                by_name(&sought, terms, lookup).await
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

async fn by_lmtp<L: Lookup + Ask>(
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

/// A host, and what is asked of it.
struct Sought<'a> {
    host: &'a str,
    port: u16,
    /// Whose mail it takes; where it was named by the definition, its own name.
    domain: &'a str,
    security: &'a Security,
    /// Whether its TLSA records count.
    dane: bool,
    policy: Option<&'a Policy>,
    /// The code where it does not exist.
    missing: EnhancedCode,
}

/// One host by name: all its addresses (RFC 5321 §5.1: the order DNS gave, IPv6 first).
async fn by_name<L: Lookup + Ask>(
    sought: &Sought<'_>,
    terms: &Terms,
    lookup: &L,
) -> Result<Connection, Outcome> {
    let (addresses, security) = sought.prepare(lookup).await?;
    let mut last = None;
    for address in addresses.into_iter().take(MOST_ADDRESSES) {
        let address = SocketAddr::new(address, sought.port);
        match one(terms, &security, sought.host, address).await {
            Ok(connection) => return Ok(connection),
            Err(outcome) => last = Some(worse(last, outcome)),
        }
    }
    Err(last.unwrap_or_else(|| deferred(EnhancedCode(4, 4, 4), "the host has no address")))
}

impl<'a> Sought<'a> {
    /// The host's addresses, and what must hold there.
    async fn prepare<L: Lookup + Ask>(
        &self,
        lookup: &L,
    ) -> Result<(Vec<IpAddr>, Cow<'a, Security>), Outcome> {
        let missing = |error: Error| not_found(&error, self.missing);
        if !self.dane {
            let answer = lookup.addresses(self.host).await.map_err(missing)?;
            return Ok((answer.records, self.by_policy()?));
        }
        let found = postern_dns::dane::find(lookup, self.host, self.port).await;
        let found = found.map_err(missing)?;
        let security = match found.associations {
            Some(associations) => Cow::Owned(self.by_dane(associations)),
            None => self.by_policy()?,
        };
        Ok((found.addresses, security))
    }

    fn by_dane(&self, found: Associations) -> Security {
        let pin = |one: postern_dns::Association| Pin {
            usage: one.usage,
            selector: one.selector,
            matching: one.matching,
            data: one.data,
        };
        let records: Vec<Pin> = found.records.into_iter().map(pin).collect();
        if !records.iter().any(Pin::is_usable) {
            return self.security.encrypted();
        }
        self.security.pinned(ClientTls::dane(Pins {
            records,
            base: found.base,
            // RFC 7672 §3.2.2.
            names: vec![self.host.into(), self.domain.into()],
        }))
    }

    /// What the domain's policy says of this host (RFC 8461 §4).
    fn by_policy(&self) -> Result<Cow<'a, Security>, Outcome> {
        let Some(policy) = self.policy else {
            return Ok(Cow::Borrowed(self.security));
        };
        let (host, domain) = (self.host, self.domain);
        match (policy.mode, policy.covers(host)) {
            (PolicyMode::Enforce, true) => Ok(Cow::Owned(self.security.enforced(domain))),
            (PolicyMode::Enforce, false) => Err(deferred(
                EnhancedCode(4, 7, 5),
                format!("the MTA-STS policy of {domain} does not name the host {host}"),
            )),
            (PolicyMode::Testing, false) => {
                tracing::info!(
                    domain,
                    host,
                    "not named by the MTA-STS policy, which is being tested"
                );
                Ok(Cow::Borrowed(self.security))
            }
            _ => Ok(Cow::Borrowed(self.security)),
        }
    }
}

/// The policy of a domain, if they are kept to here.
async fn policy<L: Lookup>(
    domain: &str,
    security: &Security,
    terms: &Terms,
    lookup: &L,
) -> Option<Policy> {
    if !security.mta_sts || postern_dns::lookup::literal(domain).is_some() {
        return None;
    }
    terms
        .policies
        .of(domain, lookup, terms.checking(security))
        .await
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

fn deferred(code: EnhancedCode, text: impl Into<Cow<'static, str>>) -> Outcome {
    Outcome::Deferred(Answer::nobody(code, text))
}

fn failed(code: EnhancedCode, text: impl Into<Cow<'static, str>>) -> Outcome {
    Outcome::Failed(Answer::nobody(code, text))
}

//! `check_host()` of RFC 7208 §4: what a record says of one address, and what a look at it costs.
//!
//! Never: more look-ups than the limit given, however the records refer to each other.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;

use postern_dns::{Ask, Told, Type, lookup};

use super::super::desk::{Desk, address, exchange};
use super::expand::{Template, Values};
use super::record::{Lengths, Mechanism, Qualifier, Record, is_claimed};

/// Look-ups that a receiver makes for one message (RFC 7208 §4.6.4).
pub(crate) const MOST_LOOKUPS: usize = 10;
/// Of these, look-ups that find nothing.
pub(crate) const MOST_VOIDS: usize = 2;
/// Names of one MX or PTR answer looked at.
const MOST_NAMES: usize = 10;
/// How deep records may refer to others; the limit of look-ups comes first.
const DEEPEST: usize = 64;
/// An address that no network of anybody's holds, to fill macros with.
const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 255));

/// What a record says of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It may send; by this term.
    Pass(String),
    /// It may not.
    Fail,
    /// It probably may not.
    SoftFail,
    /// Nothing is said.
    Neutral,
    /// There is no record.
    None,
    /// Receivers take the record for broken, and why.
    Permanent(String),
    /// A look-up failed.
    Temporary(String),
}

/// How a look at a record is limited.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) lookups: usize,
    pub(crate) voids: usize,
}

/// One look at a domain's record and those it refers to.
pub(crate) struct Walk<'a, A> {
    desk: &'a Desk<'a, A>,
    sender_domain: &'a str,
    helo: &'a str,
    /// The client; none to go everywhere and match nowhere but where everybody would.
    client: Option<IpAddr>,
    limits: Limits,
    /// Look-ups made so far that count.
    pub(crate) lookups: usize,
    /// Of these, those that found nothing.
    pub(crate) voids: usize,
    /// Whether a `ptr` was seen, which RFC 7208 §5.5 advises against.
    pub(crate) ptr: bool,
}

type Step<'s, T> = Pin<Box<dyn Future<Output = Result<T, Verdict>> + 's>>;

impl<'a, A: Ask> Walk<'a, A> {
    pub(crate) fn new(
        desk: &'a Desk<'a, A>,
        domain: &'a str,
        helo: &'a str,
        client: Option<IpAddr>,
        limits: Limits,
    ) -> Walk<'a, A> {
        Walk {
            desk,
            sender_domain: domain,
            helo,
            client: client.map(|address| address.to_canonical()),
            limits,
            lookups: 0,
            voids: 0,
            ptr: false,
        }
    }

    /// What the domain says of the client.
    pub(crate) async fn verdict(&mut self) -> Verdict {
        let domain = self.sender_domain.to_owned();
        self.of_domain(domain, 0)
            .await
            .unwrap_or_else(|verdict| verdict)
    }

    /// Broken and failed are errors, so that they end the whole look.
    fn of_domain(&mut self, domain: String, depth: usize) -> Step<'_, Verdict> {
        Box::pin(async move {
            if depth > DEEPEST {
                return Err(Verdict::Permanent(
                    "its records refer to each other without end".to_owned(),
                ));
            }
            let texts = self
                .desk
                .texts(&domain)
                .await
                .map_err(|untold| Verdict::Temporary(untold.to_string()))?;
            let mut claimed = texts.iter().filter(|text| is_claimed(text));
            let (Some(text), other) = (claimed.next(), claimed.next()) else {
                return Ok(Verdict::None);
            };
            if other.is_some() {
                return Err(Verdict::Permanent(format!(
                    "{domain} has more than one SPF record"
                )));
            }
            let record = Record::parse(text)
                .map_err(|why| Verdict::Permanent(format!("the record of {domain}: {why}")))?;
            self.of_record(&record, &domain, depth).await
        })
    }

    async fn of_record(
        &mut self,
        record: &Record,
        domain: &str,
        depth: usize,
    ) -> Result<Verdict, Verdict> {
        for directive in &record.directives {
            if self.matches(&directive.mechanism, domain, depth).await? {
                return Ok(match directive.qualifier {
                    Qualifier::Pass => Verdict::Pass(directive.text.clone()),
                    Qualifier::Fail => Verdict::Fail,
                    Qualifier::SoftFail => Verdict::SoftFail,
                    Qualifier::Neutral => Verdict::Neutral,
                });
            }
        }
        let Some(redirect) = &record.redirect else {
            return Ok(Verdict::Neutral);
        };
        self.count()?;
        let target = self.fill(Some(redirect), domain);
        match self.of_domain(target.clone(), depth + 1).await? {
            // RFC 7208 §6.1.
            Verdict::None => Err(Verdict::Permanent(format!(
                "redirect={target} leads to no SPF record"
            ))),
            verdict => Ok(verdict),
        }
    }

    async fn matches(
        &mut self,
        mechanism: &Mechanism,
        domain: &str,
        depth: usize,
    ) -> Result<bool, Verdict> {
        match mechanism {
            Mechanism::All => Ok(true),
            Mechanism::Network(network, length) => Ok(self
                .client
                .is_some_and(|client| within(client, *network, *length))),
            Mechanism::Include(template) => self.include(template, domain, depth).await,
            Mechanism::A(template, lengths) => {
                self.count()?;
                let host = self.fill(template.as_ref(), domain);
                self.has_address(&host, *lengths, true).await
            }
            Mechanism::Mx(template, lengths) => self.mx(template.as_ref(), domain, *lengths).await,
            Mechanism::Ptr(template) => self.pointer(template.as_ref(), domain).await,
            Mechanism::Exists(template) => {
                self.count()?;
                let host = self.fill(Some(template), domain);
                Ok(!self.ask(&host, Type::A, true).await?.data.is_empty())
            }
        }
    }

    /// RFC 7208 §5.2.
    async fn include(
        &mut self,
        template: &Template,
        domain: &str,
        depth: usize,
    ) -> Result<bool, Verdict> {
        self.count()?;
        let target = self.fill(Some(template), domain);
        match self.of_domain(target.clone(), depth + 1).await? {
            Verdict::Pass(_) => Ok(true),
            Verdict::None => Err(Verdict::Permanent(format!(
                "include:{target} leads to no SPF record"
            ))),
            _ => Ok(false),
        }
    }

    async fn mx(
        &mut self,
        template: Option<&Template>,
        domain: &str,
        lengths: Lengths,
    ) -> Result<bool, Verdict> {
        self.count()?;
        let target = self.fill(template, domain);
        let told = self.ask(&target, Type::Mx, true).await?;
        if told.data.len() + told.left_out > MOST_NAMES {
            return Err(Verdict::Permanent(format!(
                "mx: {target} has more than {MOST_NAMES} mail hosts"
            )));
        }
        for one in told
            .data
            .iter()
            .filter_map(exchange)
            .filter(|one| !one.host.is_empty())
        {
            if self.has_address(&one.host, lengths, false).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// RFC 7208 §5.5. Failures of the look-up count as no match.
    async fn pointer(
        &mut self,
        template: Option<&Template>,
        domain: &str,
    ) -> Result<bool, Verdict> {
        self.ptr = true;
        self.count()?;
        let target = self.fill(template, domain).to_ascii_lowercase();
        let Some(client) = self.client else {
            return Ok(false);
        };
        let Ok(told) = self
            .ask(&lookup::reverse_name(client), Type::Ptr, true)
            .await
        else {
            return Ok(false);
        };
        let names: Vec<String> = told
            .data
            .iter()
            .take(MOST_NAMES)
            .map(|name| name.to_string().trim_end_matches('.').to_owned())
            .collect();
        for name in names.iter().filter(|name| is_below(name, &target)) {
            let whole = Lengths { four: 32, six: 128 };
            if matches!(self.has_address(name, whole, false).await, Ok(true)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the client is at one of a host's addresses, or in the network round one.
    async fn has_address(
        &mut self,
        host: &str,
        lengths: Lengths,
        counts: bool,
    ) -> Result<bool, Verdict> {
        let six = self.client.is_some_and(|client| client.is_ipv6());
        let (wanted, length) = if six {
            (Type::Aaaa, lengths.six)
        } else {
            (Type::A, lengths.four)
        };
        let told = self.ask(host, wanted, counts).await?;
        let mut addresses = told.data.iter().filter_map(address);
        Ok(self
            .client
            .is_some_and(|client| addresses.any(|own| within(client, own, length))))
    }

    /// One question; where it counts as void and finds nothing, that is counted.
    async fn ask(&mut self, name: &str, wanted: Type, counts: bool) -> Result<Told, Verdict> {
        // A name that macros made and DNS cannot hold finds nothing (RFC 7208 §4.3).
        let told = match lookup::ascii(name) {
            Err(_) => Told::default(),
            Ok(_) => self
                .desk
                .ask(name, wanted)
                .await
                .map_err(|untold| Verdict::Temporary(format!("{wanted} {name}: {untold}")))?,
        };
        if counts && told.data.is_empty() {
            self.voids += 1;
            if self.voids > self.limits.voids {
                return Err(Verdict::Permanent(format!(
                    "more than {} of its look-ups find nothing, the last {wanted} {name}",
                    self.limits.voids
                )));
            }
        }
        Ok(told)
    }

    fn count(&mut self) -> Result<(), Verdict> {
        self.lookups += 1;
        if self.lookups > self.limits.lookups {
            return Err(Verdict::Permanent(format!(
                "it needs more than {} look-ups, of which receivers make {MOST_LOOKUPS} (RFC 7208 §4.6.4)",
                self.limits.lookups
            )));
        }
        Ok(())
    }

    fn fill(&self, template: Option<&Template>, domain: &str) -> String {
        let values = Values {
            address: self.client.unwrap_or(NOBODY),
            sender_domain: self.sender_domain,
            domain,
            helo: self.helo,
        };
        template.map_or_else(|| domain.to_owned(), |template| template.fill(values))
    }
}

/// Whether a name is the domain, or below it.
fn is_below(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Whether two addresses agree on the first bits.
fn within(client: IpAddr, network: IpAddr, length: u8) -> bool {
    let (one, other, width) = match (client, network) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            (u128::from(one.to_bits()), u128::from(other.to_bits()), 32)
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits(), other.to_bits(), 128u32),
        _ => return false,
    };
    let differ = one ^ other;
    let below = width.saturating_sub(u32::from(length));
    differ.checked_shr(below).is_none_or(|rest| rest == 0)
}

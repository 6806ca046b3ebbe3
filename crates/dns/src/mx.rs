//! Which hosts take the mail of a domain, in the order to try them (RFC 5321 §5.1).
//!
//! | the domain has | hosts to try |
//! |---|---|
//! | MX records | lowest preference first, equals shuffled |
//! | … with ourselves among them | only those preferred over us; none left: mail would loop |
//! | one MX with preference 0 and root as host | none, and the domain says so (RFC 7505) |
//! | no MX, but exists | the domain itself |
//!
//! Never: an answer where the look-up failed; the error is passed on, and the mail waits.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use crate::ask::{Ask, Data, Type};
use crate::lookup::{self, Answer, Error, Exchange, Kind, Lookup};

/// No domain needs more hosts tried; a longer list costs its tail.
pub const MOST_HOSTS: usize = 16;

/// Where the mail of a domain goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MailHosts {
    /// These, in this order; never empty, at most [`MOST_HOSTS`].
    Try {
        /// Host names in lower case, without final dot; or the address literal that was asked for.
        hosts: Vec<Box<str>>,
        /// How long the list holds.
        ttl: Duration,
        /// Whether DNSSEC vouches for the list.
        secure: bool,
    },
    /// Nowhere: the domain takes no mail (RFC 7505). `556 5.1.10` in a notice.
    Null,
    /// To ourselves: no host is preferred over us (RFC 5321 §5.1). `5.4.6` in a notice.
    Loop,
}

/// Looks up where mail for `domain` goes. `is_self` knows the names this host answers to.
///
/// A domain without MX is its own host (RFC 5321 §5.1), whose addresses are for the caller to look up.
pub async fn find<L: Lookup>(
    lookup: &L,
    domain: &str,
    is_self: impl Fn(&str) -> bool,
    dice: &mut Dice,
) -> Result<MailHosts, Error> {
    if lookup::literal(domain).is_some() {
        return Ok(MailHosts::Try {
            hosts: vec![domain.into()],
            ttl: Duration::MAX,
            secure: false,
        });
    }
    match lookup.mx(domain).await {
        Ok(answer) => Ok(order(answer, is_self, dice)),
        Err(Error::Empty { .. }) => {
            let host = lookup::ascii(domain)?;
            if is_self(&host) {
                return Ok(MailHosts::Loop);
            }
            Ok(MailHosts::Try {
                hosts: vec![host.into()],
                ttl: Duration::ZERO,
                secure: false,
            })
        }
        Err(error) => Err(error),
    }
}

/// The same, of one who knows what DNSSEC vouches for: only then the list may be secure.
pub async fn find_vouched<A: Ask>(
    ask: &A,
    domain: &str,
    is_self: impl Fn(&str) -> bool,
    dice: &mut Dice,
) -> Result<MailHosts, Error> {
    let alone = |host: &str, secure| MailHosts::Try {
        hosts: vec![host.into()],
        ttl: Duration::ZERO,
        secure,
    };
    if lookup::literal(domain).is_some() {
        return Ok(alone(domain, false));
    }
    let name = lookup::ascii(domain)?;
    let told = ask.ask(&name, Type::Mx).await;
    let told = told.map_err(|untold| untold.about(&name, Kind::Mx))?;
    let secure = told.vouched;
    let records: Vec<Exchange> = told.data.into_iter().filter_map(exchange).collect();
    match records.is_empty() {
        true if !told.exists => Err(Error::NotFound {
            name: name.into_owned(),
        }),
        true if is_self(&name) => Ok(MailHosts::Loop),
        true => Ok(alone(&name, secure)),
        false => {
            let answer = Answer {
                records,
                ttl: Duration::ZERO,
                secure,
            };
            Ok(order(answer, is_self, dice))
        }
    }
}

fn exchange(data: Data) -> Option<Exchange> {
    match data {
        Data::Exchange(one) => Some(one),
        _ => None,
    }
}

/// Puts MX records in the order to try them.
pub fn order(
    answer: Answer<Exchange>,
    is_self: impl Fn(&str) -> bool,
    dice: &mut Dice,
) -> MailHosts {
    let Answer {
        mut records,
        ttl,
        secure,
    } = answer;
    // RFC 7505 §3: a root host beside others is an error of the zone; the others count.
    records.retain(|record| !record.host.is_empty());
    if records.is_empty() {
        return MailHosts::Null;
    }
    // RFC 5321 §5.1: hosts as good as ourselves or worse would hand the mail back.
    let own = records
        .iter()
        .filter(|record| is_self(&record.host))
        .map(|record| record.preference)
        .min();
    if let Some(own) = own {
        records.retain(|record| record.preference < own);
        if records.is_empty() {
            return MailHosts::Loop;
        }
    }
    dice.shuffle(&mut records);
    records.sort_by_key(|record| record.preference);
    let mut hosts: Vec<Box<str>> = Vec::with_capacity(records.len().min(MOST_HOSTS));
    for record in records {
        if hosts.len() == MOST_HOSTS {
            break;
        }
        if !hosts.contains(&record.host) {
            hosts.push(record.host);
        }
    }
    MailHosts::Try { hosts, ttl, secure }
}

/// A source of chance for the order of equals; nothing secret hangs on it.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Seeded by the system.
    pub fn random() -> Dice {
        Dice(RandomState::new().hash_one(0u8))
    }

    /// The same throws for the same seed, for tests.
    pub fn seeded(seed: u64) -> Dice {
        Dice(seed)
    }

    /// The next 64 bits (splitmix64).
    pub fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// Shuffles in place (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = (self.throw() % (last as u64 + 1)) as usize;
            items.swap(last, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Zone;

    fn answer(records: &[(u16, &str)]) -> Answer<Exchange> {
        let exchange = |(preference, host): &(u16, &str)| Exchange {
            preference: *preference,
            host: (*host).into(),
        };
        Answer {
            records: records.iter().map(exchange).collect(),
            ttl: Duration::from_secs(60),
            secure: false,
        }
    }

    fn ordered(records: &[(u16, &str)], own: &str) -> MailHosts {
        order(answer(records), |host| host == own, &mut Dice::seeded(7))
    }

    fn hosts(found: MailHosts) -> Vec<String> {
        match found {
            MailHosts::Try { hosts, .. } => hosts.iter().map(|host| host.to_string()).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn lower_preference_is_tried_first() {
        let found = ordered(&[(30, "c"), (10, "a"), (20, "b"), (0, "z")], "");
        assert_eq!(hosts(found), ["z", "a", "b", "c"]);
    }

    #[test]
    fn equals_take_turns_and_stay_within_their_preference() {
        let mut first = std::collections::BTreeMap::new();
        let mut dice = Dice::seeded(1);
        for _ in 0..3000 {
            let found = hosts(order(
                answer(&[(10, "a"), (20, "z"), (10, "b"), (10, "c")]),
                |_| false,
                &mut dice,
            ));
            assert_eq!(found[3], "z");
            *first.entry(found[0].clone()).or_insert(0) += 1;
        }
        assert_eq!(first.len(), 3);
        assert!(
            first.values().all(|times| (800..1200).contains(times)),
            "{first:?}"
        );
    }

    #[test]
    fn a_null_mx_takes_no_mail() {
        assert_eq!(ordered(&[(0, "")], ""), MailHosts::Null);
        assert_eq!(hosts(ordered(&[(0, ""), (10, "a")], "")), ["a"]);
    }

    #[test]
    fn only_hosts_preferred_over_ourselves_are_tried() {
        let records = [(10, "a"), (20, "b"), (20, "us"), (30, "c")];
        assert_eq!(hosts(ordered(&records, "us")), ["a"]);
        assert_eq!(ordered(&[(10, "us"), (20, "b")], "us"), MailHosts::Loop);
        assert_eq!(ordered(&[(10, "us"), (10, "b")], "us"), MailHosts::Loop);
    }

    #[test]
    fn a_list_is_bounded_and_names_each_host_once() {
        let many: Vec<(u16, String)> = (0..100).map(|n| (n, format!("mx{}", n / 2))).collect();
        let many: Vec<(u16, &str)> = many.iter().map(|(n, host)| (*n, host.as_str())).collect();
        let found = hosts(ordered(&many, ""));
        assert_eq!(found.len(), MOST_HOSTS);
        assert_eq!(found[..3], ["mx0", "mx1", "mx2"]);
    }

    #[tokio::test]
    async fn a_list_is_secure_only_where_somebody_vouches_for_it() {
        let zone = Zone::default()
            .mx("signed.test", 10, "mx.test")
            .vouched("signed.test")
            .mx("plain.test", 10, "mx.test")
            .alias("alias.test", "signed.test")
            .mx("null.test", 0, ".")
            .address("bücher.test", "192.0.2.1")
            .vouched("bücher.test")
            .failing("forged.test");
        let found = async |domain: &str| {
            find_vouched(
                &zone,
                domain,
                |host| host == "us.test",
                &mut Dice::seeded(7),
            )
            .await
        };
        for (domain, host, vouched) in [
            ("signed.test", "mx.test", true),
            ("plain.test", "mx.test", false),
            ("alias.test", "mx.test", false),
            ("bücher.test", "xn--bcher-kva.test", true),
            ("[192.0.2.1]", "[192.0.2.1]", false),
        ] {
            match found(domain).await {
                Ok(MailHosts::Try { hosts, secure, .. }) => {
                    assert_eq!((&*hosts[0], secure), (host, vouched), "{domain}");
                }
                other => panic!("{domain}: {other:?}"),
            }
        }
        assert_eq!(found("null.test").await, Ok(MailHosts::Null));
        let missing = found("missing.test").await;
        assert!(matches!(missing, Err(Error::NotFound { .. })));
        let forged = found("forged.test").await;
        assert!(forged.is_err_and(|error| error.is_temporary()));
    }
}

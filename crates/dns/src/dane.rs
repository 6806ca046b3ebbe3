//! A host's addresses, and the TLSA records that DNSSEC vouches for (RFC 7672 §2.2).
//!
//! | the host's addresses | its name | records are looked for at |
//! |---|---|---|
//! | vouched for | its own | the name |
//! | vouched for | an alias | the name that it stands for; none there: the name |
//! | not vouched for | its own | nowhere: zones that are not signed often have servers that cannot even deny |
//! | not vouched for | an alias that is vouched for | the name |
//!
//! Never: records of a look-up that failed, nor "there are none" after one: the error is passed on, and the mail waits.

use std::net::IpAddr;

use crate::ask::{Ask, Association, Data, Told, Type, Untold};
use crate::lookup::{self, Error, Kind};

/// What DNS says of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its addresses, IPv6 first; never none.
    pub addresses: Vec<IpAddr>,
    /// Its TLSA records, if there are any that DNSSEC vouches for.
    pub associations: Option<Associations>,
}

/// TLSA records, never none of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Associations {
    /// The name they belong to: the host's, or that which it stands for.
    pub base: Box<str>,
    /// The records.
    pub records: Vec<Association>,
}

/// Looks a host up, with its TLSA records at `_PORT._tcp`.
pub async fn find<A: Ask>(ask: &A, host: &str, port: u16) -> Result<Host, Error> {
    if let Some(address) = lookup::literal(host) {
        return Ok(Host {
            addresses: vec![address],
            associations: None,
        });
    }
    let host = lookup::ascii(host)?;
    let (six, four) = tokio::join!(ask.ask(&host, Type::Aaaa), ask.ask(&host, Type::A));
    let found = merge(&host, six, four)?;
    let associations = match bases(ask, &host, &found).await? {
        [None, None] => None,
        [first, second] => associations(ask, [first, second], port).await?,
    };
    Ok(Host {
        addresses: found.data.into_iter().filter_map(address).collect(),
        associations,
    })
}

/// The names to look at, in order.
async fn bases<A: Ask>(ask: &A, host: &str, found: &Told) -> Result<[Option<Box<str>>; 2], Error> {
    match (found.vouched, found.aliases.last()) {
        (true, None) => Ok([Some(host.into()), None]),
        (true, Some(target)) => Ok([Some(target.clone()), Some(host.into())]),
        (false, None) => Ok([None, None]),
        (false, Some(_)) => {
            let alias = ask.ask(host, Type::Cname).await;
            let alias = alias.map_err(|untold| untold.about(host, Kind::Alias))?;
            let signed = alias.vouched && !alias.aliases.is_empty();
            Ok([signed.then(|| host.into()), None])
        }
    }
}

async fn associations<A: Ask>(
    ask: &A,
    bases: [Option<Box<str>>; 2],
    port: u16,
) -> Result<Option<Associations>, Error> {
    for base in bases.into_iter().flatten() {
        let name = format!("_{port}._tcp.{base}");
        let told = ask.ask(&name, Type::Tlsa).await;
        let told = told.map_err(|untold| untold.about(&name, Kind::Association))?;
        let records: Vec<Association> = told.data.into_iter().filter_map(association).collect();
        if told.vouched && !records.is_empty() {
            return Ok(Some(Associations { base, records }));
        }
    }
    Ok(None)
}

/// One family's addresses are enough; all that there are must be vouched for.
fn merge(host: &str, six: Result<Told, Untold>, four: Result<Told, Untold>) -> Result<Told, Error> {
    let (mut first, second) = match (six, four) {
        (Ok(six), Ok(four)) if six.data.is_empty() => (four, six),
        (Ok(six), Ok(four)) => (six, four),
        (Ok(told), Err(untold)) | (Err(untold), Ok(told)) => match told.data.is_empty() {
            true => return Err(untold.about(host, Kind::Address)),
            false => (told, Told::default()),
        },
        (Err(untold), Err(_)) => return Err(untold.about(host, Kind::Address)),
    };
    let name = host.to_owned();
    match first.data.is_empty() {
        true if first.exists || second.exists => Err(Error::Empty {
            name,
            kind: Kind::Address,
        }),
        true => Err(Error::NotFound { name }),
        false => {
            first.vouched &= second.data.is_empty() || second.vouched;
            first.data.extend(second.data);
            Ok(first)
        }
    }
}

fn address(data: Data) -> Option<IpAddr> {
    match data {
        Data::Address(address) => Some(address),
        _ => None,
    }
}

fn association(data: Data) -> Option<Association> {
    match data {
        Data::Association(one) => Some(one),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Zone;

    const PORT: u16 = 25;

    fn record() -> Association {
        Association {
            usage: 3,
            selector: 1,
            matching: 1,
            data: [7; 32].into(),
        }
    }

    fn tlsa(zone: Zone, host: &str) -> Zone {
        let name = format!("_25._tcp.{host}");
        zone.association(&name, record()).vouched(&name)
    }

    async fn base(zone: &Zone, host: &str) -> Result<Option<String>, Error> {
        let found = find(zone, host, PORT).await?;
        assert!(!found.addresses.is_empty());
        Ok(found.associations.map(|found| found.base.into()))
    }

    #[tokio::test]
    async fn records_are_looked_for_where_the_rfc_says() {
        let signed = || {
            Zone::default()
                .address("mx.test", "192.0.2.1")
                .vouched("mx.test")
        };
        let alias = || {
            signed()
                .alias("alias.test", "mx.test")
                .vouched("alias.test")
        };
        let outside = || {
            Zone::default()
                .alias("alias.test", "mx.test")
                .vouched("alias.test")
                .address("mx.test", "192.0.2.1")
        };
        let cases = [
            ("mx.test", tlsa(signed(), "mx.test"), Some("mx.test")),
            ("MX.test.", tlsa(signed(), "mx.test"), Some("mx.test")),
            ("mx.test", signed(), None),
            ("[192.0.2.1]", tlsa(signed(), "mx.test"), None),
            ("alias.test", tlsa(alias(), "mx.test"), Some("mx.test")),
            (
                "alias.test",
                tlsa(alias(), "alias.test"),
                Some("alias.test"),
            ),
            (
                "alias.test",
                tlsa(tlsa(alias(), "alias.test"), "mx.test"),
                Some("mx.test"),
            ),
            (
                "alias.test",
                tlsa(outside(), "alias.test"),
                Some("alias.test"),
            ),
            ("alias.test", tlsa(outside(), "mx.test"), None),
            // Nobody vouches for the records, or for the way to them.
            (
                "mx.test",
                signed().association("_25._tcp.mx.test", record()),
                None,
            ),
            (
                "mx.test",
                tlsa(Zone::default().address("mx.test", "192.0.2.1"), "mx.test"),
                None,
            ),
        ];
        for (number, (host, zone, expected)) in cases.into_iter().enumerate() {
            let found = base(&zone, host).await.expect("an answer");
            assert_eq!(found.as_deref(), expected, "case {number}: {host}");
        }
    }

    #[tokio::test]
    async fn a_look_up_that_fails_is_never_taken_for_no_record() {
        let signed = || {
            Zone::default()
                .address("mx.test", "192.0.2.1")
                .vouched("mx.test")
        };
        let cases = [
            signed().failing("_25._tcp.mx.test"),
            Zone::default().failing("mx.test"),
        ];
        for zone in cases {
            let error = base(&zone, "mx.test").await.expect_err("no answer");
            assert!(error.is_temporary(), "{error}");
        }
        // In a zone that is not signed nobody asks for what its server cannot answer.
        let zone = Zone::default()
            .address("mx.test", "192.0.2.1")
            .failing("_25._tcp.mx.test");
        assert_eq!(base(&zone, "mx.test").await, Ok(None));
        let missing = base(&Zone::default(), "mx.test").await;
        assert!(matches!(missing, Err(Error::NotFound { .. })));
    }
}

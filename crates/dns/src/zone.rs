//! A DNS that is a table: for tests of whatever asks.
//!
//! ```
//! # use postern_dns::Zone;
//! let zone = Zone::default()
//!     .mx("example.com", 10, "mx1.example.com")
//!     .address("mx1.example.com", "192.0.2.1")
//!     .pointer("192.0.2.1", "mx1.example.com")
//!     .failing("broken.example");
//! ```
//!
//! Never: a socket, a clock. Look-ups are counted, so that a test can say how many there were.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::lookup::{self, Answer, Error, Exchange, Kind, Lookup};

/// The table. Names it does not hold do not exist.
#[derive(Debug, Default)]
pub struct Zone {
    names: HashMap<String, Records>,
    asked: AtomicUsize,
}

#[derive(Debug, Default)]
struct Records {
    exchanges: Vec<Exchange>,
    addresses: Vec<IpAddr>,
    pointers: Vec<Box<str>>,
    failing: bool,
}

impl Zone {
    /// Adds an MX record; an empty host (or `.`) is the null MX.
    pub fn mx(mut self, domain: &str, preference: u16, host: &str) -> Zone {
        let host = host.trim_end_matches('.').to_lowercase().into();
        self.entry(domain)
            .exchanges
            .push(Exchange { preference, host });
        self
    }

    /// Adds an A or AAAA record; a text that is no address adds the name alone.
    pub fn address(mut self, host: &str, address: &str) -> Zone {
        let records = self.entry(host);
        records.addresses.extend(address.parse::<IpAddr>());
        self
    }

    /// Adds a PTR record.
    pub fn pointer(mut self, address: &str, name: &str) -> Zone {
        if let Ok(address) = address.parse() {
            self.entry(&lookup::reverse_name(address))
                .pointers
                .push(name.to_lowercase().into());
        }
        self
    }

    /// Makes every look-up of this name fail for now.
    pub fn failing(mut self, name: &str) -> Zone {
        self.entry(name).failing = true;
        self
    }

    /// How many questions were asked.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    fn entry(&mut self, name: &str) -> &mut Records {
        let key = lookup::ascii(name).map_or_else(|_| name.to_owned(), |name| name.into_owned());
        self.names.entry(key).or_default()
    }

    fn ask<T: Clone>(
        &self,
        name: &str,
        kind: Kind,
        pick: fn(&Records) -> &[T],
    ) -> Result<Answer<T>, Error> {
        let name = lookup::ascii(name)?.into_owned();
        self.asked.fetch_add(1, Ordering::Relaxed);
        match self.names.get(&name) {
            None => Err(Error::NotFound { name }),
            Some(records) if records.failing => Err(Error::Temporary {
                name,
                kind,
                reason: "the server failed".to_owned(),
            }),
            Some(records) if pick(records).is_empty() => Err(Error::Empty { name, kind }),
            Some(records) => Ok(Answer {
                records: pick(records).to_vec(),
                ttl: Duration::from_secs(60),
                secure: false,
            }),
        }
    }
}

impl Lookup for Zone {
    async fn mx(&self, domain: &str) -> Result<Answer<Exchange>, Error> {
        self.ask(domain, Kind::Mx, |records| &records.exchanges)
    }

    async fn addresses(&self, host: &str) -> Result<Answer<IpAddr>, Error> {
        if let Some(address) = lookup::literal(host) {
            return Ok(Answer {
                records: vec![address],
                ttl: Duration::MAX,
                secure: false,
            });
        }
        self.ask(host, Kind::Address, |records| &records.addresses)
    }

    async fn pointers(&self, address: IpAddr) -> Result<Answer<Box<str>>, Error> {
        self.ask(&lookup::reverse_name(address), Kind::Pointer, |records| {
            &records.pointers
        })
    }
}

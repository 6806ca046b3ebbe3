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

use crate::ask::{Ask, Association, Data, MOST_RECORDS, Told, Type, Untold};
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
    texts: Vec<Box<[u8]>>,
    associations: Vec<Association>,
    alias: Option<String>,
    failing: bool,
    vouched: bool,
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

    /// Adds a TXT record.
    pub fn text(mut self, name: &str, text: &str) -> Zone {
        self.entry(name).texts.push(text.as_bytes().into());
        self
    }

    /// Adds a TLSA record.
    pub fn association(mut self, name: &str, association: Association) -> Zone {
        self.entry(name).associations.push(association);
        self
    }

    /// Makes a name another name for `target`. Only [`Ask`] follows it.
    pub fn alias(mut self, name: &str, target: &str) -> Zone {
        self.entry(name).alias = Some(target.to_lowercase());
        self
    }

    /// Makes every answer about this name one that DNSSEC vouches for. Only [`Ask`] tells.
    pub fn vouched(mut self, name: &str) -> Zone {
        self.entry(name).vouched = true;
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

impl Records {
    fn data(&self, wanted: Type) -> Vec<Data> {
        let addresses = |four: bool| {
            let family = self.addresses.iter().filter(move |ip| ip.is_ipv4() == four);
            family.copied().map(Data::Address).collect()
        };
        match wanted {
            Type::A => addresses(true),
            Type::Aaaa => addresses(false),
            Type::Mx => self.exchanges.iter().cloned().map(Data::Exchange).collect(),
            Type::Cname => Vec::new(),
            Type::Ptr => self.pointers.iter().cloned().map(Data::Pointer).collect(),
            Type::Txt => self.texts.iter().cloned().map(Data::Text).collect(),
            Type::Tlsa => self
                .associations
                .iter()
                .cloned()
                .map(Data::Association)
                .collect(),
        }
    }
}

/// Aliases followed; a resolver gives up on a loop too.
const MOST_ALIASES: usize = 8;

impl Ask for Zone {
    async fn ask(&self, name: &str, wanted: Type) -> Result<Told, Untold> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let untold = |reason: String| Untold {
            server: None,
            reason,
        };
        let mut name = lookup::ascii(name)
            .map_err(|error| untold(error.to_string()))?
            .into_owned();
        let mut told = Told::default();
        let mut unvouched = false;
        while told.aliases.len() < MOST_ALIASES {
            let Some(records) = self.names.get(&name) else {
                return Ok(told);
            };
            if records.failing {
                return Err(untold("the server failed".to_owned()));
            }
            if let Some(target) = &records.alias {
                told.aliases.push(target.as_str().into());
                if wanted == Type::Cname {
                    (told.exists, told.vouched) = (true, records.vouched);
                    return Ok(told);
                }
                // One step that nobody vouches for is enough.
                unvouched |= !records.vouched;
                name.clone_from(target);
                continue;
            }
            (told.exists, told.vouched) = (true, records.vouched && !unvouched);
            told.data = records.data(wanted);
            told.left_out = told.data.len().saturating_sub(MOST_RECORDS);
            told.data.truncate(MOST_RECORDS);
            return Ok(told);
        }
        Err(untold("a loop of CNAME records".to_owned()))
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

    async fn texts(&self, name: &str) -> Result<Answer<Box<[u8]>>, Error> {
        self.ask(name, Kind::Text, |records| &records.texts)
    }

    async fn pointers(&self, address: IpAddr) -> Result<Answer<Box<str>>, Error> {
        self.ask(&lookup::reverse_name(address), Kind::Pointer, |records| {
            &records.pointers
        })
    }
}

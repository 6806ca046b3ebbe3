//! The real resolver: hickory, asked through [`Lookup`].
//!
//! It is built at the first question, so that a server that asks nothing pays nothing for it.
//!
//! Never: a search list; an answer later than the deadline; "there is none" where no name server said so.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts, ServerOrderingStrategy,
};
use hickory_resolver::lookup::Lookup as Found;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};

use crate::lookup::{self, Answer, Error, Exchange, Kind, Lookup};

/// Answers kept in memory at most.
const CACHE: u64 = 512;
/// Nothing is believed longer, so that a wrong zone mended is a wrong zone forgotten.
const LONGEST_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// The same for "there is none".
const LONGEST_NEGATIVE_TTL: Duration = Duration::from_secs(5 * 60);
/// Records of one answer looked at; a longer one costs its tail.
const MOST_RECORDS: usize = 64;

/// How a [`Resolver`] asks.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Asked in this order, the next one where one does not answer, UDP with TCP after truncation. Empty: the system's
    /// (`/etc/resolv.conf`, and `/etc/hosts` before it).
    pub servers: Vec<SocketAddr>,
    /// One question, all servers and tries together, ends here at the latest.
    pub deadline: Duration,
    /// One server has this long for one query.
    pub server_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            servers: Vec::new(),
            deadline: Duration::from_secs(10),
            server_timeout: Duration::from_secs(3),
        }
    }
}

/// Asks the network. Cheap to clone; clones share the cache.
///
/// Look-ups must be awaited on one tokio runtime, the first one's: it carries hickory's connections.
#[derive(Clone, Debug)]
pub struct Resolver(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    built: OnceLock<TokioResolver>,
}

impl Resolver {
    /// Asks the system's name servers.
    pub fn system() -> Resolver {
        Resolver::new(Settings::default())
    }

    /// Asks these, in order.
    pub fn with_servers(servers: Vec<SocketAddr>) -> Resolver {
        Resolver::new(Settings {
            servers,
            ..Settings::default()
        })
    }

    /// Asks as the settings say. Opens and reads nothing yet.
    pub fn new(settings: Settings) -> Resolver {
        Resolver(Arc::new(Inner {
            settings,
            built: OnceLock::new(),
        }))
    }

    /// The resolver itself; a system configuration that cannot be read is tried again at the next question.
    fn built(&self) -> Result<&TokioResolver, NetError> {
        if let Some(built) = self.0.built.get() {
            return Ok(built);
        }
        let built = self.0.settings.build()?;
        Ok(self.0.built.get_or_init(|| built))
    }

    /// One query, within the deadline.
    async fn query(&self, name: &str, record: RecordType, kind: Kind) -> Result<Found, Error> {
        let temporary = |reason: String| Error::Temporary {
            name: name.to_owned(),
            kind,
            reason,
        };
        let mut query = Name::from_ascii(name).map_err(|_| Error::BadName {
            name: name.to_owned(),
        })?;
        query.set_fqdn(true);
        let resolver = self.built().map_err(|error| temporary(error.to_string()))?;
        match tokio::time::timeout(self.0.settings.deadline, resolver.lookup(query, record)).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Err(explain(name, kind, &error)),
            Err(_) => Err(temporary("no answer within the deadline".to_owned())),
        }
    }

    async fn family(&self, host: &str, record: RecordType) -> Result<Answer<IpAddr>, Error> {
        let found = self.query(host, record, Kind::Address).await?;
        answer(host, Kind::Address, &found, |data| match data {
            RData::A(a) => Some(IpAddr::V4(a.0)),
            RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
            _ => None,
        })
    }
}

impl Lookup for Resolver {
    async fn mx(&self, domain: &str) -> Result<Answer<Exchange>, Error> {
        let domain = lookup::ascii(domain)?;
        let found = self.query(&domain, RecordType::MX, Kind::Mx).await?;
        answer(&domain, Kind::Mx, &found, |data| match data {
            RData::MX(mx) => Some(Exchange {
                preference: mx.preference,
                host: host(&mx.exchange),
            }),
            _ => None,
        })
    }

    async fn addresses(&self, host: &str) -> Result<Answer<IpAddr>, Error> {
        if let Some(address) = lookup::literal(host) {
            return Ok(Answer {
                records: vec![address],
                ttl: Duration::MAX,
                secure: false,
            });
        }
        let host = lookup::ascii(host)?;
        let (six, four) = tokio::join!(
            self.family(&host, RecordType::AAAA),
            self.family(&host, RecordType::A)
        );
        merge(six, four)
    }

    async fn pointers(&self, address: IpAddr) -> Result<Answer<Box<str>>, Error> {
        let name = lookup::reverse_name(address);
        let found = self.query(&name, RecordType::PTR, Kind::Pointer).await?;
        answer(&name, Kind::Pointer, &found, |data| match data {
            RData::PTR(name) => Some(host(&name.0)),
            _ => None,
        })
    }
}

impl Settings {
    fn build(&self) -> Result<TokioResolver, NetError> {
        let provider = TokioRuntimeProvider::default();
        let mut builder = if self.servers.is_empty() {
            TokioResolver::builder(provider)?
        } else {
            let servers = self
                .servers
                .iter()
                .map(|server| name_server(*server))
                .collect();
            TokioResolver::builder_with_config(ResolverConfig::from_name_servers(servers), provider)
        };
        self.adjust(builder.options_mut());
        builder.build()
    }

    fn adjust(&self, options: &mut ResolverOpts) {
        options.timeout = self.server_timeout;
        options.attempts = 1;
        options.edns0 = true;
        options.cache_size = CACHE;
        options.positive_max_ttl = Some(LONGEST_TTL);
        options.negative_max_ttl = Some(LONGEST_NEGATIVE_TTL);
        if !self.servers.is_empty() {
            options.use_hosts_file = ResolveHosts::Never;
            options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
            options.num_concurrent_reqs = 1;
        }
    }
}

fn name_server(server: SocketAddr) -> NameServerConfig {
    let mut config = NameServerConfig::udp_and_tcp(server.ip());
    for connection in &mut config.connections {
        connection.port = server.port();
    }
    config
}

/// Takes the records of the kind asked for; those of a CNAME chain on the way are passed over.
fn answer<T>(
    name: &str,
    kind: Kind,
    found: &Found,
    take: impl Fn(&RData) -> Option<T>,
) -> Result<Answer<T>, Error> {
    let records: Vec<T> = found
        .answers()
        .iter()
        .filter_map(|record| take(&record.data))
        .take(MOST_RECORDS)
        .collect();
    if records.is_empty() {
        return Err(Error::Empty {
            name: name.to_owned(),
            kind,
        });
    }
    let ttl = found
        .valid_until()
        .saturating_duration_since(Instant::now());
    // Nothing here asks for DNSSEC yet, so nothing may claim it.
    Ok(Answer {
        records,
        ttl,
        secure: false,
    })
}

/// A host as [`Exchange`] promises it.
fn host(name: &Name) -> Box<str> {
    let mut text = name.to_ascii();
    text.make_ascii_lowercase();
    text.trim_end_matches('.').into()
}

/// One family's addresses are enough; where there are none, a temporary failure outweighs "there is none".
fn merge(
    six: Result<Answer<IpAddr>, Error>,
    four: Result<Answer<IpAddr>, Error>,
) -> Result<Answer<IpAddr>, Error> {
    match (six, four) {
        (Ok(mut six), Ok(four)) => {
            six.records.extend(four.records);
            Ok(Answer {
                ttl: six.ttl.min(four.ttl),
                secure: six.secure && four.secure,
                ..six
            })
        }
        (Ok(one), Err(_)) | (Err(_), Ok(one)) => Ok(one),
        (Err(six), Err(four)) => Err(if six.is_temporary() { six } else { four }),
    }
}

/// Tells "there is none" from everything else.
fn explain(name: &str, kind: Kind, error: &NetError) -> Error {
    let name = name.to_owned();
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain => Error::NotFound { name },
            ResponseCode::NoError => Error::Empty { name, kind },
            code => Error::Temporary {
                name,
                kind,
                reason: format!("the name server answered {code}"),
            },
        },
        NetError::Dns(DnsError::ResponseCode(ResponseCode::NXDomain)) => Error::NotFound { name },
        NetError::Dns(DnsError::ResponseCode(code)) => Error::Temporary {
            name,
            kind,
            reason: format!("the name server answered {code}"),
        },
        NetError::Timeout => Error::Temporary {
            name,
            kind,
            reason: "no name server answered in time".to_owned(),
        },
        NetError::NoConnections => Error::Temporary {
            name,
            kind,
            reason: "no name server can be reached".to_owned(),
        },
        other => Error::Temporary {
            name,
            kind,
            reason: other.to_string(),
        },
    }
}

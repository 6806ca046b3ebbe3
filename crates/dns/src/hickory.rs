//! The real resolver: hickory, asked through [`Lookup`].
//!
//! It is built at the first question, so that a server that asks nothing pays nothing for it. Each name server has a
//! hickory of its own, and the order is kept here: hickory itself gives up a question at the first server that fails,
//! and shares one time-out among all of them.
//!
//! | a server | then |
//! |---|---|
//! | answers, or says there is none | that is it |
//! | says that it cannot (SERVFAIL, REFUSED), or nonsense | the next is asked |
//! | is silent or out of reach | the next is asked, and this one is asked last for a while |
//!
//! What DNSSEC vouches for is asked through [`Ask`], and only of name servers on this host: nobody on the way can forge
//! their word. Those keep the answers; here they are not kept.
//!
//! Never: a search list; an answer later than the deadline; "there is none" where no name server said so.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup as Found;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::system_conf::read_system_conf;

use crate::ask::{Ask, Told, Type, Untold};
use crate::direct::Direct;
use crate::lookup::{self, Answer, Error, Exchange, Kind, Lookup};

/// Answers kept in memory at most.
const CACHE: u64 = 512;
/// Nothing is believed longer, so that a wrong zone mended is a wrong zone forgotten.
const LONGEST_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// The same for "there is none".
const LONGEST_NEGATIVE_TTL: Duration = Duration::from_secs(5 * 60);
/// Records of one answer looked at; a longer one costs its tail.
const MOST_RECORDS: usize = 256;
/// Name servers asked in one look-up; the query budget is this for each kind of record, retransmissions apart.
const MOST_SERVERS: usize = 4;
/// A server that did not answer is asked last for so long.
const REST: Duration = Duration::from_secs(30);

/// Why nothing is asked that DNSSEC must vouch for.
const NO_TRUSTED: &str =
    "no name server on this host (127.0.0.1, ::1) could be asked whether DNSSEC vouches for it";

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
    servers: OnceLock<Vec<Server>>,
}

/// One name server.
#[derive(Debug)]
struct Server {
    hickory: TokioResolver,
    /// Since when it is known not to answer.
    silent: Mutex<Option<Instant>>,
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
            servers: OnceLock::new(),
        }))
    }

    /// The name servers; a system configuration that cannot be read is tried again at the next question.
    fn servers(&self) -> Result<&[Server], NetError> {
        if let Some(servers) = self.0.servers.get() {
            return Ok(servers);
        }
        let built = self.0.settings.build()?;
        Ok(self.0.servers.get_or_init(|| built))
    }

    /// One question, within the deadline.
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
        let servers = self
            .servers()
            .map_err(|error| temporary(error.to_string()))?;
        let asked = in_turn(servers, &query, record, self.0.settings.server_timeout);
        match tokio::time::timeout(self.0.settings.deadline, asked).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Err(explain(name, kind, &error)),
            Err(_) => Err(temporary("no answer within the deadline".to_owned())),
        }
    }

    /// The name servers on this host, which can be believed when they say that DNSSEC vouches for an answer.
    pub fn trusted(&self) -> Result<Vec<SocketAddr>, String> {
        let mut servers = match self.0.settings.servers.as_slice() {
            [] => Direct::system_servers()?,
            servers => servers.to_vec(),
        };
        servers.retain(|server| server.ip().to_canonical().is_loopback());
        Ok(servers)
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

    async fn texts(&self, name: &str) -> Result<Answer<Box<[u8]>>, Error> {
        let name = lookup::ascii(name)?;
        let found = self.query(&name, RecordType::TXT, Kind::Text).await?;
        answer(&name, Kind::Text, &found, |data| match data {
            RData::TXT(text) => Some(text.txt_data.concat().into()),
            _ => None,
        })
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

impl Ask for Resolver {
    async fn ask(&self, name: &str, wanted: Type) -> Result<Told, Untold> {
        let untold = |reason: String| Untold {
            server: None,
            reason,
        };
        let servers = self.trusted().map_err(untold)?;
        if servers.is_empty() {
            return Err(untold(NO_TRUSTED.to_owned()));
        }
        let Settings {
            deadline,
            server_timeout,
            ..
        } = self.0.settings;
        let direct = Direct::new(&servers, server_timeout);
        let told = tokio::time::timeout(deadline, direct.ask(name, wanted)).await;
        told.unwrap_or_else(|_| Err(untold("no answer within the deadline".to_owned())))
    }
}

/// Asks one server after the other, those known to be silent last; the first failure is the one told.
async fn in_turn(
    servers: &[Server],
    name: &Name,
    record: RecordType,
    patience: Duration,
) -> Result<Found, NetError> {
    let now = Instant::now();
    let (silent, awake): (Vec<&Server>, Vec<&Server>) =
        servers.iter().partition(|server| server.is_silent(now));
    let mut failure = None;
    for server in awake.into_iter().chain(silent).take(MOST_SERVERS) {
        match server.ask(name, record, patience).await {
            Err(error) if says_nothing(&error) => failure = failure.or(Some(error)),
            found => return found,
        }
    }
    Err(failure.unwrap_or(NetError::NoConnections))
}

impl Server {
    fn is_silent(&self, now: Instant) -> bool {
        let silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        silent.is_some_and(|since| now.saturating_duration_since(since) < REST)
    }

    async fn ask(
        &self,
        name: &Name,
        record: RecordType,
        patience: Duration,
    ) -> Result<Found, NetError> {
        let lookup = self.hickory.lookup(name.clone(), record);
        let found = tokio::time::timeout(patience, lookup)
            .await
            .unwrap_or(Err(NetError::Timeout));
        let gone = matches!(
            found,
            Err(NetError::Timeout | NetError::Io(_) | NetError::NoConnections)
        );
        *self.silent.lock().unwrap_or_else(PoisonError::into_inner) = gone.then(Instant::now);
        found
    }
}

/// Whether another server may know more: everything but "there is none".
fn says_nothing(error: &NetError) -> bool {
    let none = |code: &ResponseCode| matches!(code, ResponseCode::NXDomain | ResponseCode::NoError);
    match error {
        NetError::Dns(DnsError::NoRecordsFound(found)) => !none(&found.response_code),
        NetError::Dns(DnsError::ResponseCode(code)) => !none(code),
        _ => true,
    }
}

impl Settings {
    fn build(&self) -> Result<Vec<Server>, NetError> {
        let (configs, mut options) = if self.servers.is_empty() {
            let (config, options) = read_system_conf()?;
            (config.name_servers, options)
        } else {
            let mut options = ResolverOpts::default();
            options.use_hosts_file = ResolveHosts::Never;
            let configs = self
                .servers
                .iter()
                .map(|server| name_server(*server))
                .collect();
            (configs, options)
        };
        self.adjust(&mut options);
        configs
            .into_iter()
            .map(|config| Server::new(config, options.clone()))
            .collect()
    }

    fn adjust(&self, options: &mut ResolverOpts) {
        options.timeout = self.server_timeout;
        // The second is for a connection that the server has closed since.
        options.attempts = 1;
        options.edns0 = true;
        options.cache_size = CACHE;
        options.positive_max_ttl = Some(LONGEST_TTL);
        options.negative_max_ttl = Some(LONGEST_NEGATIVE_TTL);
    }
}

impl Server {
    fn new(config: NameServerConfig, options: ResolverOpts) -> Result<Server, NetError> {
        let config = ResolverConfig::from_name_servers(vec![config]);
        let mut builder =
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        Ok(Server {
            hickory: builder.build()?,
            silent: Mutex::new(None),
        })
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

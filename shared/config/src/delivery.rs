//! `[delivery]`: local domains, and the way out.

mod local;
mod login;
mod outbound;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use postern_access::{DomainSet, Origin};

use self::local::domains;
pub use self::login::{LoginKind, LoginSecret, OutboundLogin, PasswordMechanism};
pub(crate) use self::outbound::check_dane;
use self::outbound::{outbound_security, resolver, routes, smart_hosts};
use crate::fields::Fields;
use crate::reader::{Node, Reader};
use crate::target::{SmartHost, Target};

/// The section's settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// The local domains, none twice.
    pub domains: Vec<LocalDomain>,
    /// Waits before the first, second, … retry; the last one is repeated. Never empty.
    pub retry: Vec<Duration>,
    /// The sender is told of a delay after this.
    pub delay_notice: Duration,
    /// Mail is given back after this.
    pub expire: Duration,
    /// The same for local domains.
    pub local_delay_notice: Duration,
    /// The same for local domains.
    pub local_expire: Duration,
    /// Outgoing connections at once.
    pub max_outbound: u32,
    /// Outgoing connections at once to one domain.
    pub max_outbound_per_domain: u32,
    /// A next hop that says nothing for this long is given up for now.
    pub outbound_timeout: Duration,
    /// The port of next hops where none is written.
    pub outbound_port: u16,
    /// What must hold on the way out.
    pub outbound_security: OutboundSecurity,
    /// Where all foreign mail goes, tried in order; empty: by MX.
    pub smart_host: Vec<SmartHost>,
    /// By MX first, the smart host when that cannot work.
    pub direct_first: bool,
    /// Exceptions for single destination domains.
    pub routes: Vec<Route>,
    /// Replaces a local domain in MAIL FROM of outgoing mail.
    pub masquerade: Option<String>,
    /// Resolvers for outgoing look-ups, in order; empty: the system's.
    pub external_dns: Vec<SocketAddr>,
    /// Note in `Received:` whether the client's address and EHLO name agree.
    pub reverse_dns_on_messages: bool,
    /// A folder whose finished files are sent; `None`: off.
    pub pickup: Option<PathBuf>,
}

impl Default for Delivery {
    fn default() -> Delivery {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 60 * MINUTE;
        Delivery {
            domains: Vec::new(),
            retry: [10, 10, 10, 15]
                .map(|minutes| Duration::from_secs(minutes * MINUTE))
                .to_vec(),
            delay_notice: Duration::from_secs(12 * HOUR),
            expire: Duration::from_secs(48 * HOUR),
            local_delay_notice: Duration::from_secs(12 * HOUR),
            local_expire: Duration::from_secs(48 * HOUR),
            max_outbound: 1000,
            max_outbound_per_domain: 100,
            outbound_timeout: Duration::from_secs(10 * MINUTE),
            outbound_port: 25,
            outbound_security: OutboundSecurity::default(),
            smart_host: Vec::new(),
            direct_first: false,
            routes: Vec::new(),
            masquerade: None,
            external_dns: Vec::new(),
            reverse_dns_on_messages: false,
            pickup: None,
        }
    }
}

impl Delivery {
    /// The names of the local domains, each with its line: what access decides on.
    pub fn local_domains(&self) -> DomainSet {
        DomainSet::new(
            self.domains
                .iter()
                .map(|domain| (domain.name.as_str(), domain.origin)),
        )
    }

    /// What must hold on each way out that the definition names: the general one first, then the routes' own.
    pub fn securities(&self) -> impl Iterator<Item = &OutboundSecurity> {
        let routes = self.routes.iter();
        std::iter::once(&self.outbound_security)
            .chain(routes.filter_map(|route| route.security.as_ref()))
    }

    /// The local domain of this name, compared without case.
    pub fn local_domain(&self, name: &str) -> Option<&LocalDomain> {
        self.domains
            .iter()
            .find(|domain| domain.name.eq_ignore_ascii_case(name))
    }
}

/// A domain whose mail ends here.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalDomain {
    /// Its name, in lower case.
    pub name: String,
    /// Where its mail goes.
    pub to: Target,
    /// Who is there.
    pub recipients: Recipients,
    /// Other names for them.
    pub aliases: Aliases,
    /// Where it was written.
    pub origin: Origin,
}

/// Local part in lower case → where its mail goes: local parts of the same domain, or whole addresses.
pub type Aliases = BTreeMap<String, Vec<String>>;

/// Who is there in a local domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Recipients {
    /// Nobody said: everyone is taken.
    #[default]
    Any,
    /// These local parts, in lower case.
    Listed(Vec<String>),
    /// One local part a line in this file, as written.
    File(PathBuf),
    /// `{ ldap = … }`. Not in this build.
    Ldap,
    /// `"lmtp"`: asked of the LMTP server. Not in this build.
    Lmtp,
}

/// What must hold on the way out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OutboundSecurity {
    /// How TLS is used.
    pub tls: OutboundTls,
    /// Whether MTA-STS policies are fetched and kept to, where DANE does not decide.
    pub mta_sts: bool,
    /// A PEM file with the authorities that vouch for the next hop, and for the host of a policy; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// How we log in at the next hop.
    pub login: Option<OutboundLogin>,
}

/// How TLS is used on the way out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutboundTls {
    /// Never.
    None,
    /// Where it is offered, whatever the certificate.
    #[default]
    Opportunistic,
    /// Or not at all: certificate and name must be right.
    Required,
    /// As the TLSA records of the hosts say; as [`OutboundTls::Opportunistic`] where there are none.
    Dane,
}

/// An exception for one destination domain, for all domains below one, or for all there are.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// The destination, in lower case: `partner.example`, `*.partner.example` (all below it), or `*`.
    pub domain: String,
    /// Where its mail goes, tried in order; empty: by MX, whatever the smart host.
    pub host: Vec<SmartHost>,
    /// What must hold there; `None`: `outbound_security`.
    pub security: Option<OutboundSecurity>,
    /// Connections at once; `None`: `max_outbound_per_domain`.
    pub max_outbound: Option<u32>,
    /// Where it was written.
    pub origin: Origin,
}

impl Delivery {
    pub(crate) fn read(fields: &mut Fields<'_, '_, '_>) -> Delivery {
        let mut read = Delivery::default();
        fields.set(&mut read.domains, "domains", domains);
        fields.set(&mut read.retry, "retry", retry);
        let times = [
            (&mut read.delay_notice, "delay_notice"),
            (&mut read.expire, "expire"),
            (&mut read.local_delay_notice, "local_delay_notice"),
            (&mut read.local_expire, "local_expire"),
            (&mut read.outbound_timeout, "outbound_timeout"),
        ];
        for (into, name) in times {
            fields.set(into, name, |reader, node| reader.time(node, SECOND));
        }
        fields.set(&mut read.max_outbound, "max_outbound", |reader, node| {
            reader.number(node, 1..=1_000_000)
        });
        fields.set(
            &mut read.max_outbound_per_domain,
            "max_outbound_per_domain",
            |reader, node| reader.number(node, 1..=1_000_000),
        );
        fields.set(&mut read.outbound_port, "outbound_port", port);
        fields.set(
            &mut read.outbound_security,
            "outbound_security",
            outbound_security,
        );
        fields.set(&mut read.smart_host, "smart_host", smart_hosts);
        fields.set(&mut read.direct_first, "direct_first", Reader::truth);
        fields.set(&mut read.routes, "routes", routes);
        fields.set_some(&mut read.masquerade, "masquerade", |reader, node| {
            let domain = reader.domain(node)?;
            reader.not_yet(node.span(), "masquerading", "remove it");
            Some(domain)
        });
        fields.set(&mut read.external_dns, "external_dns", |reader, node| {
            reader.list(node, "[\"192.0.2.53\"]", resolver)
        });
        fields.set(
            &mut read.reverse_dns_on_messages,
            "reverse_dns_on_messages",
            |reader, node| {
                let wanted = reader.truth(node)?;
                if wanted {
                    reader.not_yet(node.span(), "noting reverse DNS in messages", "write false");
                }
                Some(wanted)
            },
        );
        fields.set_some(&mut read.pickup, "pickup", |reader, node| {
            let path = reader.path(node, "\"/var/spool/postern-pickup\"")?;
            reader.not_yet(
                node.span(),
                "a pickup folder",
                "remove it, and send through SMTP",
            );
            Some(path)
        });
        read
    }
}

const SECOND: Duration = Duration::from_secs(1);
fn retry<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<Vec<Duration>> {
    const EXAMPLE: &str = "[\"10m\", \"10m\", \"10m\", \"15m\"]";
    let waits = reader.list(node, EXAMPLE, |reader, member| reader.time(member, SECOND))?;
    if node
        .get_ref()
        .as_array()
        .is_some_and(|list| list.is_empty())
    {
        reader.error(
            node.span(),
            "without a wait nothing would be tried again",
            format!("write {EXAMPLE}"),
        );
    }
    (!waits.is_empty()).then_some(waits)
}

fn port<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<u16> {
    reader
        .number(node, 1..=65_535)
        .and_then(|port| port.try_into().ok())
}

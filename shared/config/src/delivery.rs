//! [delivery]: local domains, and the way out.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use postern_access::{DomainSet, Origin};
use toml::de::{DeTable, DeValue};

use crate::reader::{Fields, Node, Reader};
use crate::secret::Secret;
use crate::target::{SmartHost, Target};
use crate::values::{Misfit, clip, is_domain};

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
    /// Whether MTA-STS policies are fetched and kept to. Not in this build.
    pub mta_sts: bool,
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
    /// As the domain's TLSA records say. Not in this build.
    Dane,
}

/// How we log in at the next hop.
#[derive(Clone, Debug, PartialEq)]
pub enum OutboundLogin {
    /// `{ basic = { user = "…", password = "…" } }` or with `password_file`.
    Basic {
        /// The user's name.
        user: String,
        /// The password.
        secret: LoginSecret,
    },
    /// Kerberos. Not in this build.
    Integrated,
    /// A token. Not in this build.
    Xoauth2,
}

/// Where a password is.
#[derive(Clone, Debug, PartialEq)]
pub enum LoginSecret {
    /// In the definition.
    Written(Secret),
    /// In the first line of this file, as written.
    File(PathBuf),
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
const DOMAIN: &str = "{ name = \"example.com\", to = \"maildir:/var/mail/{domain}/{local}\" }";

fn domains<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<Vec<LocalDomain>> {
    let mut known: HashMap<String, u32> = HashMap::new();
    reader.list(node, &format!("[{DOMAIN}]"), |reader, member| {
        let domain = local_domain(reader, member)?;
        if let Some(line) = known.insert(domain.name.clone(), domain.origin.line()) {
            let what = format!(
                "the domain {} is here twice (first in line {line})",
                domain.name
            );
            reader.error(member.span(), what, "keep one of the two");
        }
        Some(domain)
    })
}

fn local_domain<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<LocalDomain> {
    let table = reader.table(node, &["name", "to", "recipients", "aliases"], DOMAIN)?;
    let mut required = |name: &str| {
        let written = table.get(name);
        if written.is_none() {
            reader.error(
                node.span(),
                format!("a local domain without `{name}`"),
                format!("write {DOMAIN}"),
            );
        }
        written
    };
    let (name, to) = (required("name"), required("to"));
    let name = name.and_then(|name| reader.domain(name));
    let to = to
        .and_then(|to| reader.parsed(to, "\"maildir:/var/mail/{domain}/{local}\"", Target::parse));
    let listed = table
        .get("recipients")
        .map(|node| (node, recipients(reader, node)));
    let aliases = match table.get("aliases") {
        Some(aliases_node) => aliases(reader, aliases_node)?,
        None => Aliases::new(),
    };
    let recipients = match listed {
        Some((_, recipients)) => recipients?,
        None => Recipients::Any,
    };
    if let Recipients::Listed(names) = &recipients {
        expect_alias_targets(reader, table, names, &aliases, name.as_deref());
    }
    let origin = Origin::new(0, reader.line(node.span().start));
    Some(LocalDomain {
        name: name?,
        to: to?,
        recipients,
        aliases,
        origin,
    })
}

fn recipients<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<Recipients> {
    const EXAMPLE: &str = "[\"alice\", \"bob\"] or the path of a file with one a line";
    match node.get_ref() {
        DeValue::Array(_) => {
            let names = reader.list(node, EXAMPLE, local_part)?;
            if names.is_empty() {
                reader.warn(
                    node.span(),
                    "nobody is in this domain",
                    "list its recipients, or remove `recipients` to take all",
                );
            }
            Some(Recipients::Listed(names))
        }
        DeValue::Table(_) => {
            let table = reader.table(node, &["ldap"], EXAMPLE)?;
            if table.is_empty() {
                reader.error(
                    node.span(),
                    "recipients of no source",
                    format!("write {EXAMPLE}"),
                );
            } else {
                reader.not_yet(
                    node.span(),
                    "recipients from LDAP",
                    format!("write {EXAMPLE}"),
                );
            }
            Some(Recipients::Ldap)
        }
        _ => match reader.text(node, EXAMPLE)? {
            "lmtp" => {
                let remedy = format!(
                    "write {EXAMPLE}, or remove it: whom the LMTP server refuses gets a report"
                );
                reader.not_yet(node.span(), "asking the LMTP server for recipients", remedy);
                Some(Recipients::Lmtp)
            }
            // The supervisor, which opens the file, knows a path by the same signs.
            path if path.contains(['/', '.']) => Some(Recipients::File(path.into())),
            other => {
                reader.error(
                    node.span(),
                    format!("`{}` is not a path", clip(other)),
                    format!("write {EXAMPLE}"),
                );
                None
            }
        },
    }
}

/// A local part in lower case; of an address of the domain itself only the local part is kept.
fn local_part<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<String> {
    reader.parsed(node, "a local part in quotes, such as \"alice\"", |text| {
        if let Some((local, _)) = text.split_once('@') {
            let remedy = format!("write \"{}\": the domain is this one", clip(local));
            return Err(Misfit::new(
                format!("`{}` is a whole address", clip(text)),
                remedy,
            ));
        }
        match text.is_empty() || text.contains(char::is_whitespace) || text.len() > 64 {
            true => Err(Misfit::new(
                format!("`{}` is not a local part", clip(text)),
                "write what stands before the @, such as \"alice\"",
            )),
            false => Ok(text.to_lowercase()),
        }
    })
}

fn aliases<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<Aliases> {
    const EXAMPLE: &str = "{ postmaster = \"alice\", sales = [\"alice\", \"bob@example.net\"] }";
    let Some(table) = node.get_ref().as_table() else {
        reader.error(
            node.span(),
            "aliases are a table",
            format!("write {EXAMPLE}"),
        );
        return None;
    };
    let mut read = Aliases::new();
    for (key, value) in table {
        let name = key.get_ref();
        if name.is_empty() || name.contains(['@', ' ']) || name.len() > 64 {
            reader.error(
                key.span(),
                format!("`{}` is not a local part", clip(name)),
                "write what stands before the @",
            );
            continue;
        }
        let targets = match value.get_ref() {
            DeValue::Array(_) => reader.list(value, EXAMPLE, alias_target)?,
            _ => alias_target(reader, value).into_iter().collect(),
        };
        if value
            .get_ref()
            .as_array()
            .is_some_and(|list| list.is_empty())
        {
            reader.error(
                value.span(),
                "an alias for nobody would lose mail",
                format!("write {EXAMPLE}, or remove it"),
            );
        }
        if read.insert(name.to_lowercase(), targets).is_some() {
            reader.error(
                key.span(),
                format!("the alias `{}` is here twice", clip(name)),
                "keep one of the two; case does not matter",
            );
        }
    }
    expect_no_circle(reader, node, &read);
    Some(read)
}

fn alias_target<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<String> {
    reader.parsed(node, "a local part or an address in quotes", |text| {
        let (local, domain) = match text.rsplit_once('@') {
            Some((local, domain)) => (local, Some(domain)),
            None => (text, None),
        };
        let fits = !local.is_empty()
            && !local.contains(char::is_whitespace)
            && domain.is_none_or(is_domain);
        match (fits, domain) {
            (true, None) => Ok(local.to_lowercase()),
            (true, Some(domain)) => Ok(format!("{local}@{}", domain.to_lowercase())),
            (false, _) => Err(Misfit::new(
                format!("`{}` is neither a local part nor an address", clip(text)),
                "write \"alice\" or \"alice@example.net\"",
            )),
        }
    })
}

/// An alias that leads back to itself through others of this domain would never arrive.
fn expect_no_circle<'t>(reader: &mut Reader<'t>, node: &Node<'t>, aliases: &Aliases) {
    // Every name from which some chain ends: taken away until nothing more ends. What is left goes in a circle.
    let mut left: HashMap<&str, &Vec<String>> = aliases
        .iter()
        .map(|(name, targets)| (name.as_str(), targets))
        .collect();
    loop {
        // To itself beside others is a copy kept here, and ends.
        let ends: Vec<&str> = left
            .iter()
            .filter(|(name, targets)| {
                targets
                    .iter()
                    .all(|target| target == *name || !left.contains_key(target.as_str()))
            })
            .map(|(name, _)| *name)
            .collect();
        if ends.is_empty() {
            break;
        }
        for name in ends {
            left.remove(name);
        }
    }
    let mut names: Vec<&str> = left.into_keys().collect();
    names.sort_unstable();
    if let Some(first) = names.first() {
        let what = format!(
            "the alias `{}` leads back to itself ({})",
            clip(first),
            clip(&names.join(", "))
        );
        reader.error(node.span(), what, "let one of them lead to a recipient");
    }
}

/// An alias for a local part that is neither listed nor an alias itself.
fn expect_alias_targets<'t>(
    reader: &mut Reader<'t>,
    table: &DeTable<'t>,
    names: &[String],
    aliases: &Aliases,
    domain: Option<&str>,
) {
    let Some(node) = table.get("aliases") else {
        return;
    };
    let known: HashSet<&str> = names
        .iter()
        .chain(aliases.keys())
        .map(String::as_str)
        .collect();
    for (alias, targets) in aliases {
        for target in targets {
            let local = match target.rsplit_once('@') {
                Some((local, at)) if Some(at) == domain => local.to_lowercase(),
                Some(_) => continue,
                None => target.clone(),
            };
            if !known.contains(local.as_str()) {
                let what = format!(
                    "the alias `{}` leads to `{}`, who is not in `recipients`",
                    clip(alias),
                    clip(target)
                );
                reader.error(
                    node.span(),
                    what,
                    "add the recipient, or lead the alias elsewhere",
                );
            }
        }
    }
}

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

fn outbound_security<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<OutboundSecurity> {
    if let Some(word) = node.get_ref().as_str() {
        let remedy = format!("write {{ tls = \"{}\" }}", clip(word));
        reader.error(node.span(), "outgoing security is a table", remedy);
        return None;
    }
    let table = reader.table(
        node,
        &["tls", "mta_sts", "login"],
        "{ tls = \"opportunistic\" }",
    )?;
    let mut security = OutboundSecurity::default();
    let words = [
        ("none", OutboundTls::None),
        ("opportunistic", OutboundTls::Opportunistic),
        ("required", OutboundTls::Required),
        ("dane", OutboundTls::Dane),
    ];
    if let Some(node) = table.get("tls")
        && let Some(tls) = reader.word(node, &words)
    {
        if tls == OutboundTls::Dane {
            reader.not_yet(
                node.span(),
                "DANE",
                "write \"required\" or \"opportunistic\"",
            );
        }
        security.tls = tls;
    }
    if let Some(node) = table.get("mta_sts")
        && let Some(wanted) = reader.truth(node)
    {
        if wanted {
            reader.not_yet(node.span(), "MTA-STS", "write false, or tls = \"required\"");
        }
        security.mta_sts = wanted;
    }
    if let Some(node) = table.get("login") {
        security.login = Some(login(reader, node)?);
        if security.tls == OutboundTls::None {
            let what = "a login is never sent outside TLS, and tls is \"none\"";
            reader.error(node.span(), what, "write tls = \"required\"");
        }
    }
    Some(security)
}

const LOGIN: &str = "{ basic = { user = \"gateway\", password = \"…\" } }";

fn login<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<OutboundLogin> {
    let table = reader.table(node, &["basic", "integrated", "xoauth2"], LOGIN)?;
    if table.len() != 1 {
        reader.error(
            node.span(),
            "a login is of one kind",
            format!("write {LOGIN}"),
        );
        return None;
    }
    let (key, value) = table.iter().next()?;
    match key.get_ref().as_ref() {
        "basic" => basic_login(reader, value),
        "integrated" => {
            reader.not_yet(
                key.span(),
                "logging in by Kerberos",
                format!("write {LOGIN}"),
            );
            Some(OutboundLogin::Integrated)
        }
        "xoauth2" => {
            reader.not_yet(key.span(), "logging in by token", format!("write {LOGIN}"));
            Some(OutboundLogin::Xoauth2)
        }
        _ => None,
    }
}

fn basic_login<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<OutboundLogin> {
    let table = reader.table(node, &["user", "password", "password_file"], LOGIN)?;
    let Some(user) = table.get("user") else {
        reader.error(
            node.span(),
            "a login without `user`",
            format!("write {LOGIN}"),
        );
        return None;
    };
    let user = reader
        .text(user, "the user's name in quotes")
        .map(str::to_owned);
    let secret = match (table.get("password"), table.get("password_file")) {
        (Some(password), None) => reader
            .text(password, "the password in quotes")
            .map(|text| LoginSecret::Written(Secret::new(text))),
        (None, Some(file)) => reader
            .path(file, "the path of a file in quotes")
            .map(LoginSecret::File),
        (Some(_), Some(file)) => {
            reader.error(
                file.span(),
                "there is a password already",
                "keep `password` or `password_file`",
            );
            None
        }
        (None, None) => {
            reader.error(
                node.span(),
                "a login without a password",
                "write `password`, or the path of a file as `password_file`",
            );
            None
        }
    };
    Some(OutboundLogin::Basic {
        user: user?,
        secret: secret?,
    })
}

/// One smart host, or several in a list.
fn smart_hosts<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<Vec<SmartHost>> {
    const EXAMPLE: &str = "\"relay.example.net:587\" or \"[192.0.2.25]\"";
    match node.get_ref() {
        DeValue::Array(_) => reader.list(node, EXAMPLE, |reader, member| {
            reader.parsed(member, EXAMPLE, SmartHost::parse)
        }),
        _ => reader
            .parsed(node, EXAMPLE, SmartHost::parse)
            .map(|host| vec![host]),
    }
}

fn routes<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<Vec<Route>> {
    const EXAMPLE: &str = "[{ domain = \"partner.example\", host = \"mail.partner.example:25\" }]";
    let mut known: HashMap<String, u32> = HashMap::new();
    reader.list(node, EXAMPLE, |reader, member| {
        let route = route(reader, member)?;
        if let Some(line) = known.insert(route.domain.clone(), route.origin.line()) {
            let what = format!(
                "the route for {} is here twice (first in line {line})",
                clip(&route.domain)
            );
            reader.error(member.span(), what, "keep one of the two");
        }
        Some(route)
    })
}

fn route<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<Route> {
    const EXAMPLE: &str = "{ domain = \"partner.example\", host = \"mail.partner.example:25\" }";
    let table = reader.table(
        node,
        &["domain", "host", "security", "max_outbound"],
        EXAMPLE,
    )?;
    let Some(domain) = table.get("domain") else {
        reader.error(
            node.span(),
            "a route without `domain`",
            format!("write {EXAMPLE}"),
        );
        return None;
    };
    let domain = pattern(reader, domain);
    let host = table.get("host").map(|node| smart_hosts(reader, node));
    let security = table
        .get("security")
        .and_then(|node| outbound_security(reader, node));
    let max_outbound = table
        .get("max_outbound")
        .and_then(|node| reader.number(node, 1..=1_000_000));
    let origin = Origin::new(0, reader.line(node.span().start));
    Some(Route {
        domain: domain?,
        host: host.unwrap_or(Some(Vec::new()))?,
        security,
        max_outbound,
        origin,
    })
}

/// `partner.example`, `*.partner.example` or `*`.
fn pattern<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<String> {
    match node.get_ref().as_str() {
        Some("*") => Some("*".to_owned()),
        Some(text) if text.strip_prefix("*.").is_some_and(is_domain) => Some(text.to_lowercase()),
        _ => reader.domain(node),
    }
}

fn resolver<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<SocketAddr> {
    reader.parsed(node, "\"192.0.2.53\" or \"[2001:db8::53]:53\"", |text| {
        let bare = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(text);
        let address = bare
            .parse::<IpAddr>()
            .map(|address| SocketAddr::new(address, 53))
            .or_else(|_| text.parse());
        address
            .ok()
            .filter(|address| address.port() != 0)
            .ok_or_else(|| {
                Misfit::new(
                    format!("`{}` is not a resolver's address", clip(text)),
                    "write its IP address, as in \"192.0.2.53\"",
                )
            })
    })
}

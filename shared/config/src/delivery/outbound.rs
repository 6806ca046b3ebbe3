//! How the way out is read: security, smart hosts, routes, resolvers.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use postern_access::Origin;
use toml::de::DeValue;

use super::login::login;
use super::{Delivery, OutboundSecurity, OutboundTls, Route};
use crate::reader::{Node, Reader};
use crate::settings::Section;
use crate::target::{Host, SmartHost};
use crate::values::{Misfit, clip, is_domain};

pub(super) fn outbound_security<'t>(
    reader: &mut Reader<'t>,
    node: &Node<'t>,
) -> Option<OutboundSecurity> {
    if let Some(word) = node.get_ref().as_str() {
        let remedy = format!("write {{ tls = \"{}\" }}", clip(word));
        reader.error(node.span(), "outgoing security is a table", remedy);
        return None;
    }
    let table = reader.table(
        node,
        &["tls", "mta_sts", "ca", "login"],
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
        security.tls = tls;
    }
    if let Some(node) = table.get("mta_sts")
        && let Some(wanted) = reader.truth(node)
    {
        if wanted && security.tls == OutboundTls::None {
            let what = "a policy of MTA-STS asks for TLS, and tls is \"none\"";
            reader.error(
                node.span(),
                what,
                "write tls = \"opportunistic\" or \"dane\"",
            );
        }
        security.mta_sts = wanted;
    }
    if let Some(node) = table.get("ca") {
        security.ca = reader.path(node, "\"/etc/postern/corp-ca.pem\"");
        let checked = security.tls == OutboundTls::Required
            || security.mta_sts
            || table.contains_key("login");
        if !checked {
            let what = "no certificate is checked on this way out, so `ca` is of no use";
            reader.warn(node.span(), what, "write tls = \"required\" too");
        }
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

/// What DANE needs of other settings: a resolver whose word counts, and hosts that have names.
pub(crate) fn check_dane(reader: &mut Reader<'_>, delivery: &Delivery) {
    if delivery
        .securities()
        .all(|security| security.tls != OutboundTls::Dane)
    {
        return;
    }
    let away = |server: &&SocketAddr| !server.ip().to_canonical().is_loopback();
    if let Some(server) = delivery.external_dns.iter().find(away) {
        let what = format!(
            "{} is not on this host: what it says of DNSSEC can be forged on the way, and tls = \"dane\" would be worth nothing",
            server.ip()
        );
        reader.error(
            reader.span_of(Section::Delivery, "external_dns"),
            what,
            "run a resolver that validates (unbound) on this host, and write external_dns = [\"127.0.0.1\"]",
        );
    }
    let nameless = |host: &&SmartHost| matches!(host.host, Host::Address(_));
    let general = delivery.outbound_security.tls == OutboundTls::Dane;
    if let Some(host) = delivery
        .smart_host
        .iter()
        .find(nameless)
        .filter(|_| general)
    {
        let what = format!("{host} is no name, and TLSA records belong to names");
        reader.warn(
            reader.span_of(Section::Delivery, "smart_host"),
            what,
            "write the host's name, or tls = \"required\"",
        );
    }
}

/// One smart host, or several in a list.
pub(super) fn smart_hosts<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<Vec<SmartHost>> {
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

pub(super) fn routes<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<Vec<Route>> {
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
    let login = security
        .as_ref()
        .and_then(|security| security.login.as_ref());
    if host.is_none() && login.is_some() {
        let what = "a login goes to a host that is named, and this route has none";
        reader.warn(node.span(), what, "write `host` too, or remove `login`");
    }
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

pub(super) fn resolver<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<SocketAddr> {
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

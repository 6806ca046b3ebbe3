//! The definition's ways as a table.
//!
//! Never: a decision of the definition's made again; `config` has checked it.

use std::collections::HashSet;
use std::sync::Arc;

use postern_config::{
    Definition, Endpoint as WrittenEndpoint, Host as WrittenHost, HostPort, LoginKind,
    OutboundLogin, OutboundSecurity, OutboundTls, PasswordMechanism, SmartHost, Target,
};
use postern_delivery::maildir::Template;
use postern_delivery::route::{Endpoint, Hop, Host, Local, Mx, Table, Via, Way};
use postern_delivery::security::{Login, Security, Tls};
use postern_sasl::{Mechanism, Secret};
use postern_tls::ClientTls;

/// The table of a definition. `security` makes what must hold on a way out of how it is written; `known` says who is there
/// in a local domain; none: everybody.
pub(crate) fn routes_of(
    definition: &Definition,
    mut security: impl FnMut(&OutboundSecurity) -> Security,
    known: impl Fn(&str) -> Option<HashSet<Box<str>>>,
) -> Table {
    let delivery = &definition.delivery;
    let port = delivery.outbound_port;
    let general = security(&delivery.outbound_security);
    let smart_host = match delivery.smart_host.as_slice() {
        [] => None,
        hosts => Some(Arc::new(Way::hosts(
            hops(hosts, port),
            general.clone(),
            false,
        ))),
    };
    // A login belongs to the smart host; hosts found by MX are not given it.
    let by_mx = |security: Security| Mx {
        port,
        security: Security {
            login: None,
            ..security
        },
        ..Mx::default()
    };
    let fallback = smart_host.clone().filter(|_| delivery.direct_first);
    let mut table = Table::new(Mx {
        fallback,
        ..by_mx(general.clone())
    });
    if let Some(way) = smart_host.filter(|_| !delivery.direct_first) {
        table.set_smart_host(way);
    }
    let unresolved = definition.messages.unresolved_to.as_ref();
    let unresolved = unresolved.map(|host| {
        Arc::new(Way::hosts(
            hops(std::slice::from_ref(host), port),
            plain(&general),
            true,
        ))
    });
    for domain in &delivery.domains {
        if let Some(way) = target(&domain.to, &general) {
            let local = Local {
                way: Arc::new(way),
                known: known(&domain.name),
                unresolved: unresolved.clone(),
            };
            table.add_local(&domain.name, local);
        }
    }
    for route in &delivery.routes {
        let security = route
            .security
            .as_ref()
            .map_or_else(|| general.clone(), &mut security);
        let via = match route.host.as_slice() {
            [] => Via::Mx(Mx {
                limit: route.max_outbound,
                ..by_mx(security)
            }),
            hosts => Via::Way(Arc::new(
                Way::hosts(hops(hosts, port), security, false).limited(route.max_outbound),
            )),
        };
        table.add_route(&route.domain, via);
    }
    table
}

fn target(target: &Target, general: &Security) -> Option<Way> {
    match target {
        // `config` has checked the template; one that cannot be read leaves its domain without a way, and the mail waits.
        Target::Maildir(template) => Template::parse(template.as_str()).ok().map(Way::maildir),
        Target::Lmtp(WrittenEndpoint::Unix(path)) => Some(Way::lmtp(Endpoint::Unix(path.clone()))),
        Target::Lmtp(WrittenEndpoint::Tcp(at)) => Some(Way::lmtp(Endpoint::Tcp(hop_at(at)))),
        Target::Smtp(at) => Some(Way::hosts(vec![hop_at(at)], plain(general), true)),
    }
}

/// The same, without the login: that is for the smart host.
fn plain(security: &Security) -> Security {
    Security {
        login: None,
        ..security.clone()
    }
}

fn hops(hosts: &[SmartHost], port: u16) -> Vec<Hop> {
    hosts
        .iter()
        .map(|at| Hop {
            host: host(&at.host),
            port: at.port.unwrap_or(port),
        })
        .collect()
}

fn hop_at(at: &HostPort) -> Hop {
    Hop {
        host: host(&at.host),
        port: at.port,
    }
}

fn host(host: &WrittenHost) -> Host {
    match host {
        WrittenHost::Name(name) => Host::Name(name.as_str().into()),
        WrittenHost::Address(address) => Host::Address(*address),
    }
}

/// What must hold on a way out, with what was read for it.
pub(crate) fn security(
    written: &OutboundSecurity,
    trust: Option<ClientTls>,
    login: Option<Login>,
) -> Security {
    let (tls, verify) = match written.tls {
        OutboundTls::None => (Tls::None, false),
        OutboundTls::Opportunistic => (Tls::Opportunistic, false),
        OutboundTls::Required => (Tls::Required, true),
        OutboundTls::Dane => (Tls::Dane, false),
    };
    Security {
        tls,
        mta_sts: written.mta_sts,
        verify,
        trust,
        login,
        ..Security::default()
    }
}

/// A login with its password or token.
pub(crate) fn login(written: &OutboundLogin, secret: Secret) -> Login {
    Login {
        user: Arc::from(written.user.as_str()),
        secret,
        mechanisms: match written.kind {
            LoginKind::Basic(None) => Login::BASIC,
            LoginKind::Basic(Some(PasswordMechanism::ScramSha256Plus)) => {
                &[Mechanism::ScramSha256Plus]
            }
            LoginKind::Basic(Some(PasswordMechanism::ScramSha256)) => &[Mechanism::ScramSha256],
            LoginKind::Basic(Some(PasswordMechanism::Plain)) => &[Mechanism::Plain],
            LoginKind::Basic(Some(PasswordMechanism::Login)) => &[Mechanism::Login],
            LoginKind::Integrated => Login::INTEGRATED,
            LoginKind::Xoauth2 => Login::TOKEN,
        },
    }
}

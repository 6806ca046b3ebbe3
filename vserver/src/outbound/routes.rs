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
    let mut ways = Ways::default();
    let smart_host = match delivery.smart_host.as_slice() {
        [] => None,
        hosts => {
            let way = Way::hosts(hops(hosts, port), general.clone(), false);
            Some(ways.own(way, "the smart host"))
        }
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
        let hops = hops(std::slice::from_ref(host), port);
        let way = Way::hosts(hops, plain(&general), true);
        ways.own(way, "unresolved_to")
    });
    for domain in &delivery.domains {
        if let Some(way) = target(&domain.to, &general) {
            let local = Local {
                way: ways.own(way, &domain.name),
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
            hosts => {
                let way = Way::hosts(hops(hosts, port), security, false);
                Via::Way(ways.own(way.limited(route.max_outbound), &route.domain))
            }
        };
        table.add_route(&route.domain, via);
    }
    table
}

/// The ways of one table, each name borne by one of them: the queue knows them by it, and mail that needs more security
/// must not go over a connection that was made with less.
#[derive(Default)]
struct Ways(Vec<Arc<Way>>);

impl Ways {
    /// The way; where another to the same place has its name already, it is named after whom it is for.
    fn own(&mut self, way: Way, whom: &str) -> Arc<Way> {
        if let Some(same) = self.0.iter().find(|one| ***one == way) {
            return Arc::clone(same);
        }
        let taken = self.0.iter().any(|one| one.name == way.name);
        let way = Arc::new(match taken {
            true => Way {
                name: Arc::from(format!("{} for {whom}", way.name)),
                ..way
            },
            false => way,
        });
        self.0.push(Arc::clone(&way));
        way
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_to_one_host_that_differ_have_names_that_differ() {
        let text = r#"
[general]
fqdn = "mx1.example.com"
listen = ["127.0.0.1:25"]

[delivery]
smart_host = "relay.test"
domains = [{ name = "local.test", to = "smtp:relay.test:25" }]
routes = [
    { domain = "a.test", host = "relay.test", security = { tls = "none" } },
    { domain = "b.test", host = "relay.test", security = { tls = "required" } },
    { domain = "c.test", host = "relay.test" },
    { domain = "d.test", host = "relay.test", max_outbound = 1 },
]
"#;
        let (definition, findings) = postern_config::load(text, "x.toml".as_ref());
        let definition = definition.unwrap_or_else(|| panic!("{findings:?}"));
        let of = |written: &OutboundSecurity| security(written, None, None);
        let table = routes_of(&definition, of, |_| None);
        for (domain, name) in [
            ("elsewhere.test", "smtp:relay.test:25"),
            ("local.test", "smtp:relay.test:25 for local.test"),
            ("a.test", "smtp:relay.test:25 for a.test"),
            ("b.test", "smtp:relay.test:25 for b.test"),
            ("c.test", "smtp:relay.test:25"),
            ("d.test", "smtp:relay.test:25 for d.test"),
        ] {
            let address = format!("x@{domain}");
            let choice = table.route(&address);
            assert_eq!(choice.map(|one| one.name().to_owned()), Ok(name.to_owned()));
        }
    }
}

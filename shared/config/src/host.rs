//! What a definition means on the host it is for: the addresses behind which strangers may appear.
//!
//! ```text
//! stranger ──▶ router with NAT ──▶ this host      the client's address is the router's
//! stranger ──▶ proxy or NAT of a bridge ──▶ container with the server     it is the bridge's
//! ```
//!
//! Never: looks at a host; whoever calls has, and says what is there.

use std::net::IpAddr;

use ipnet::IpNet;
use postern_access::{Entry, Mode};
use postern_hosting::{Finding, Severity};

use crate::coverage::network;
use crate::load::Definition;
use crate::whole::shown;

/// What is known of a host's network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// The addresses that others may come with.
    pub lenders: Vec<Lender>,
}

/// An address that clients from elsewhere may appear with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lender {
    /// The address.
    pub address: IpAddr,
    /// The interface it is reached by, or is on.
    pub interface: String,
    /// What it is.
    pub role: Role,
}

/// What an address is to a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A default gateway.
    Gateway,
    /// The host's own, on a bridge for containers or virtual machines.
    Bridge,
}

impl Lender {
    /// What `network`, which has the address, has to do with it.
    fn within(&self, network: IpNet) -> String {
        let role = match self.role {
            Role::Gateway => "this host's gateway on",
            Role::Bridge => "this host's own address on the bridge",
        };
        match network.prefix_len() == network.max_prefix_len() {
            true => format!("is {role} {}", self.interface),
            false => format!("holds {}, {role} {}", self.address, self.interface),
        }
    }
}

impl Role {
    /// How strangers come to have the address.
    fn why(self) -> &'static str {
        match self {
            Role::Gateway => {
                "if it forwards a port with NAT, all clients from outside come with that address"
            }
            Role::Bridge => {
                "what a proxy or NAT on it passes on from outside comes with that address"
            }
        }
    }
}

impl Definition {
    /// What the lists would let through on a host with these addresses. Nothing, while the lists are not whole.
    pub fn host_findings(&self, facts: &HostFacts) -> Vec<Finding> {
        let here = |lender: &&Lender| {
            self.is_reached_like(lender.address) && self.may_connect(lender.address)
        };
        let lenders = facts.lenders.iter().filter(here);
        lenders
            .flat_map(|lender| [self.would_relay(lender), self.would_believe(lender)])
            .flatten()
            .collect()
    }

    /// Whether a client of the network could reach it: not where it listens on loopback only, or in the other family.
    fn is_reached_like(&self, address: IpAddr) -> bool {
        let listen = self
            .general
            .listen
            .iter()
            .map(|identity| identity.address.ip());
        listen
            .filter(|ip| !ip.is_loopback())
            .any(|ip| ip.is_ipv4() == address.is_ipv4())
    }

    fn may_connect(&self, address: IpAddr) -> bool {
        let listed = narrowest(&self.connection.list, address).is_some();
        listed == (self.connection.mode == Mode::Only)
    }

    fn would_relay(&self, lender: &Lender) -> Option<Finding> {
        if self.relay.mode != Mode::Only {
            return None;
        }
        let (index, entry) = narrowest(&self.relay.list, lender.address)?;
        let what = format!(
            "{} may relay, and {}: {}, and would relay",
            entry.kind,
            lender.within(network(entry)?),
            lender.role.why()
        );
        let remedy = format!(
            "list the computers, or smaller networks without {}",
            lender.address
        );
        let finding =
            Finding::error(&self.sites.path, what, remedy).with_severity(Severity::Warning);
        Some(
            self.sites
                .at_entry(&self.sites.relay, index, entry, finding),
        )
    }

    fn would_believe(&self, lender: &Lender) -> Option<Finding> {
        let mut from = self.general.proxy_from.iter();
        let network = from.find(|network| network.contains(&lender.address))?;
        let what = format!(
            "proxy_from has {}, which {}: {}, and could claim any address",
            shown(network),
            lender.within(*network),
            lender.role.why()
        );
        let remedy = format!("write the balancers' addresses, without {}", lender.address);
        let finding =
            Finding::error(&self.sites.path, what, remedy).with_severity(Severity::Warning);
        Some(self.sites.at(self.sites.proxy_from, finding))
    }
}

/// The narrowest entry that holds the address, with its index.
fn narrowest(list: &[Entry], address: IpAddr) -> Option<(usize, &Entry)> {
    let holds = list.iter().enumerate().filter_map(|(index, entry)| {
        let network = network(entry)?;
        network
            .contains(&address)
            .then_some((network.prefix_len(), index, entry))
    });
    let (_, index, entry) = holds.max_by_key(|(length, index, _)| (*length, usize::MAX - index))?;
    Some((index, entry))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use super::*;
    use crate::load;

    fn facts() -> HostFacts {
        let lender = |address: &str, interface: &str, role| Lender {
            address: address.parse().unwrap(),
            interface: interface.to_owned(),
            role,
        };
        HostFacts {
            lenders: vec![
                lender("10.0.0.1", "eth0", Role::Gateway),
                lender("fe80::1", "eth0", Role::Gateway),
                lender("172.17.0.1", "docker0", Role::Bridge),
            ],
        }
    }

    fn found(listen: &str, settings: &str) -> Vec<String> {
        let text = format!(
            "[general]\nfqdn = \"mx1.example.com\"\n\
             listen = [{{ address = \"{listen}\", tls = \"none\" }}]\n{settings}"
        );
        let (definition, findings) = load(&text, Path::new("mx1.toml"));
        let definition = definition.unwrap_or_else(|| panic!("{findings:?}"));
        let findings = definition.host_findings(&facts());
        findings.iter().map(ToString::to_string).collect()
    }

    const RELAY: &str = "[access.relay]\nlist = [\"10.0.0.0/8\", \"172.16.0.0/12\", \"fe80::/10\", \"10.0.0.0/24\"]\n";

    #[test]
    fn addresses_that_strangers_borrow_are_named_where_the_list_holds_them() {
        assert_eq!(
            found("0.0.0.0:25", RELAY),
            [
                "mx1.toml:5:53: warning: 10.0.0.0/24 may relay, and holds 10.0.0.1, this host's gateway on eth0: \
                 if it forwards a port with NAT, all clients from outside come with that address, and would relay \
                 (list the computers, or smaller networks without 10.0.0.1)",
                "mx1.toml:5:23: warning: 172.16.0.0/12 may relay, and holds 172.17.0.1, this host's own address on the bridge \
                 docker0: what a proxy or NAT on it passes on from outside comes with that address, and would relay \
                 (list the computers, or smaller networks without 172.17.0.1)",
            ]
        );
        assert_eq!(found("[::]:25", RELAY).len(), 1);
    }

    #[test]
    fn balancers_are_not_gateways() {
        let found = found("0.0.0.0:25", "proxy_from = [\"172.17.0.0/24\"]\n");
        assert_eq!(found.len(), 1);
        assert!(found.first().unwrap().starts_with(
            "mx1.toml:4:14: warning: proxy_from has 172.17.0.0/24, which holds 172.17.0.1, this host's own address on the bridge docker0: "
        ));
    }

    #[test]
    fn who_cannot_come_is_not_warned_of() {
        assert_eq!(found("127.0.0.1:25", RELAY).len(), 0);
        let refused =
            format!("{RELAY}[access.connection]\nlist = [\"10.0.0.1\", \"172.17.0.0/16\"]\n");
        assert_eq!(found("0.0.0.0:25", &refused).len(), 0);
        let only =
            format!("{RELAY}[access.connection]\nmode = \"only\"\nlist = [\"10.0.0.0/24\"]\n");
        assert_eq!(found("0.0.0.0:25", &only).len(), 1);
        assert_eq!(
            found(
                "0.0.0.0:25",
                "[access.relay]\nlist = [\"10.0.0.2\", \"host a.example\"]\n"
            )
            .len(),
            0
        );
    }
}

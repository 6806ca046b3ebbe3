//! What this host has: the addresses that clients from elsewhere may appear with.
//!
//! | Asked | Gives |
//! |---|---|
//! | `/proc/net/route`, `/proc/net/ipv6_route` | default gateways (proc_net(5)) |
//! | the addresses of interfaces with `/sys/class/net/NAME/bridge` | the host's own on bridges (docker0, virbr0) |
//!
//! Never: an error. What cannot be read is not known, and nothing is said of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use nix::ifaddrs::getifaddrs;
use postern_config::{HostFacts, Lender, Role};

/// The facts of this host, as it is now.
pub(super) fn facts() -> HostFacts {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let mut lenders = gateways_v4(&read("/proc/net/route"));
    lenders.extend(gateways_v6(&read("/proc/net/ipv6_route")));
    lenders.extend(bridges());
    // Two routes by one gateway are told once.
    let mut known: Vec<Lender> = Vec::new();
    for lender in lenders {
        if known.iter().all(|other| other.address != lender.address) {
            known.push(lender);
        }
    }
    HostFacts { lenders: known }
}

/// RTF_UP and RTF_GATEWAY, and not RTF_REJECT (linux/route.h, linux/ipv6_route.h).
fn leads_on(flags: u32) -> bool {
    flags & 0x203 == 0x3
}

fn gateway(address: IpAddr, interface: &str) -> Lender {
    Lender {
        address,
        interface: interface.to_owned(),
        role: Role::Gateway,
    }
}

/// The default routes of `/proc/net/route`: numbers in hexadecimal, addresses as the processor keeps them.
fn gateways_v4(table: &str) -> Vec<Lender> {
    let route = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [interface, to, by, flags, _, _, _, mask, ..] = *fields.as_slice() else {
            return None;
        };
        let number = |field| u32::from_str_radix(field, 16).ok();
        let is_default = number(to)? == 0 && number(mask)? == 0 && leads_on(number(flags)?);
        let address = Ipv4Addr::from(number(by)?.to_ne_bytes());
        is_default.then(|| gateway(address.into(), interface))
    };
    table.lines().filter_map(route).collect()
}

/// The default routes of `/proc/net/ipv6_route`: numbers in hexadecimal, addresses in the order of the wire.
fn gateways_v6(table: &str) -> Vec<Lender> {
    let route = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [to, length, _, _, by, _, _, _, flags, interface] = *fields.as_slice() else {
            return None;
        };
        let number = |field| u128::from_str_radix(field, 16).ok();
        let flags = u32::from_str_radix(flags, 16).ok()?;
        let is_default = number(to)? == 0 && number(length)? == 0 && leads_on(flags);
        let address = Ipv6Addr::from(number(by)?);
        is_default.then(|| gateway(address.into(), interface))
    };
    table.lines().filter_map(route).collect()
}

/// The addresses of this host.
pub(super) fn addresses() -> Vec<IpAddr> {
    interfaces().map(|(address, _)| address).collect()
}

/// The addresses of this host, each with its interface.
fn interfaces() -> impl Iterator<Item = (IpAddr, String)> {
    getifaddrs().into_iter().flatten().filter_map(|one| {
        let address = one.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
        let v6 = address.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip()));
        Some((v4.or(v6)?, one.interface_name))
    })
}

fn bridges() -> Vec<Lender> {
    let is_bridge = |name: &str| {
        Path::new("/sys/class/net")
            .join(name)
            .join("bridge")
            .is_dir()
    };
    let on_bridges = interfaces().filter(|(_, interface)| is_bridge(interface));
    let lender = |(address, interface)| Lender {
        address,
        interface,
        role: Role::Bridge,
    };
    on_bridges.map(lender).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// An address as `/proc/net/route` shows it on this processor.
    fn shown(address: &str) -> String {
        let address: Ipv4Addr = address.parse().unwrap();
        format!("{:08X}", u32::from_ne_bytes(address.octets()))
    }

    #[test]
    fn default_gateways_are_found_in_the_table_of_ipv4() {
        let gateway = shown("192.0.2.1");
        let net = shown("10.0.0.0");
        let table = format!(
            "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
             eth0\t00000000\t{gateway}\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
             eth0\t{net}\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0\n\
             eth0\t{net}\t{gateway}\t0003\t0\t0\t0\t000000FF\t0\t0\t0\n\
             ppp0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n\
             *\t00000000\t00000000\t0203\t0\t0\t0\t00000000\t0\t0\t0\n\
             eth1\t00000000\n\
             eth1\tx\ty\tz\t0\t0\t0\t0\n"
        );
        let found = gateways_v4(&table);
        assert_eq!(
            found,
            [super::gateway("192.0.2.1".parse().unwrap(), "eth0")]
        );
    }

    #[test]
    fn default_gateways_are_found_in_the_table_of_ipv6() {
        let none = "0".repeat(32);
        let table = format!(
            "fe800000000000000000000000000000 40 {none} 00 {none} 00000100 00000002 00000000 00000001     eth0\n\
             {none} 00 {none} 00 fe800000000000000000000000000001 00000400 00000003 00000000 00000003     eth0\n\
             {none} 00 {none} 00 {none} ffffffff 00000001 00000000 00200200       lo\n\
             {none} 00 {none}\n"
        );
        let found = gateways_v6(&table);
        assert_eq!(found, [gateway("fe80::1".parse().unwrap(), "eth0")]);
    }

    #[test]
    fn rubbish_is_no_gateway() {
        for table in ["", "\n\n", "a b c", "\u{fffd}", "0 0 0 0 0 0 0 0 0 0"] {
            assert_eq!(gateways_v4(table), [], "{table:?}");
            assert_eq!(gateways_v6(table), [], "{table:?}");
        }
        // What this host has is read without a complaint.
        let _ = facts();
    }
}

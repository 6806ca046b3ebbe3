//! Set arithmetic over networks, against counting address by address.

use proptest::prelude::*;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::*;

fn nets(texts: &[&str]) -> Networks {
    let nets: Vec<IpNet> = texts.iter().map(|text| text.parse().unwrap()).collect();
    Networks::of(&nets)
}

fn shown(networks: &Networks) -> Vec<String> {
    networks.cover().map(|net| net.to_string()).collect()
}

#[test]
fn halves_are_the_whole_and_what_is_left_is_named_in_few_words() {
    let whole = nets(&["192.0.2.0/24"]);
    let halves = nets(&["192.0.2.128/25", "192.0.2.0/25", "192.0.2.7/32"]);
    assert_eq!(whole, halves);
    assert_eq!(
        shown(&whole.without(&nets(&["192.0.2.64/26"]))),
        ["192.0.2.0/26", "192.0.2.128/25"]
    );
    assert_eq!(shown(&nets(&[]).complement()), ["0.0.0.0/0", "::/0"]);
    assert_eq!(
        nets(&["0.0.0.0/1", "128.0.0.0/1", "::/0"]).complement(),
        nets(&[])
    );
    assert_eq!(
        shown(&nets(&["::/1", "8000::/2"]).complement()),
        ["0.0.0.0/0", "c000::/2"]
    );
    let edge = nets(&["255.255.255.255/32", "ffff::/16"]);
    assert_eq!(edge.complement().complement(), edge);
}

#[test]
fn a_hundred_thousand_take_no_time() {
    let net = |number: u32| -> IpNet {
        let address = IpAddr::V4((number << 9).into());
        IpNet::new(address, 24).unwrap()
    };
    let old: Vec<IpNet> = (0..100_000).map(net).collect();
    let new: Vec<IpNet> = (5..100_005).map(net).collect();
    let begun = Instant::now();
    let (old, new) = (Networks::of(&old), Networks::of(&new));
    assert_eq!(new.without(&old).cover().count(), 5);
    assert_eq!(old.without(&new).cover().count(), 5);
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
}

/// Networks in 10.0.0.0/24, and in the last /120 of IPv6.
fn small() -> impl Strategy<Value = Vec<IpNet>> {
    let one = (any::<bool>(), any::<u8>(), 0u8..=8).prop_map(|(v4, low, length)| {
        let net = match v4 {
            true => IpNet::new(IpAddr::V4([10, 0, 0, low].into()), 24 + length),
            false => {
                let address = u128::MAX - 255 + u128::from(low);
                IpNet::new(IpAddr::V6(address.into()), 120 + length)
            }
        };
        net.unwrap().trunc()
    });
    prop::collection::vec(one, 0..12)
}

fn one_by_one(nets: &[IpNet]) -> BTreeSet<IpAddr> {
    nets.iter()
        .flat_map(|net| match net {
            // `hosts` leaves the first and the last out.
            IpNet::V4(net) => (u32::from(net.network())..=u32::from(net.broadcast()))
                .map(|address| IpAddr::V4(address.into()))
                .collect::<Vec<_>>(),
            IpNet::V6(net) => (u128::from(net.network())..=u128::from(net.broadcast()))
                .map(|address| IpAddr::V6(address.into()))
                .collect(),
        })
        .collect()
}

proptest! {
    #[test]
    fn sets_are_what_counting_says(one in small(), other in small()) {
        let (a, b) = (Networks::of(&one), Networks::of(&other));
        let cover: Vec<IpNet> = a.without(&b).cover().collect();
        let counted: BTreeSet<IpAddr> = &one_by_one(&one) - &one_by_one(&other);
        prop_assert_eq!(one_by_one(&cover), counted.clone());
        // Told once each, and in no more networks than the library's own merging needs.
        let total: usize = cover.iter().map(|net| one_by_one(&[*net]).len()).sum();
        prop_assert_eq!(total, counted.len());
        prop_assert_eq!(IpNet::aggregate(&cover).len(), cover.len());
        prop_assert_eq!(a.complement().complement(), a.clone());
        prop_assert_eq!(a.without(&b.complement()), b.without(&a.complement()));
        prop_assert_eq!(a.without(&a.complement()), a);
    }
}

//! How fast a long list is built and asked: `cargo run --release -p postern-access --example lookup`.

use std::net::IpAddr;
use std::time::Instant;

use postern_access::{Entry, EntryKind, List, NameFacts, Origin};

const ENTRIES: u32 = 100_000;
const LOOKUPS: u32 = 2_000_000;

fn main() {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) as u32
    };
    let entries: Vec<Entry> = (0..ENTRIES)
        .filter_map(|line| {
            let length = 16 + (random() % 17) as u8;
            let net = ipnet::Ipv4Net::new(random().into(), length).ok()?.trunc();
            Some(Entry {
                kind: EntryKind::Network(net.into()),
                origin: Origin::new(0, line),
            })
        })
        .collect();
    let started = Instant::now();
    let list = List::new(&entries);
    println!(
        "{} different networks built in {:?}",
        list.len(),
        started.elapsed()
    );
    let addresses: Vec<IpAddr> = (0..LOOKUPS).map(|_| IpAddr::V4(random().into())).collect();
    let started = Instant::now();
    let found = addresses
        .iter()
        .filter(|address| list.find(**address, &NameFacts::NONE).is_some())
        .count();
    let took = started.elapsed();
    println!(
        "{LOOKUPS} look-ups, {found} found: {} ns each",
        took.as_nanos() / u128::from(LOOKUPS)
    );
}

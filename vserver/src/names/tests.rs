//! One look-up for all who wait, kept while it holds, and a failure that is no match.

use std::sync::atomic::Ordering;

use postern_dns::Zone;

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
        .block_on(test)
}

fn texts(names: &[Box<str>]) -> Vec<&str> {
    names.iter().map(|name| &**name).collect()
}

#[test]
fn a_name_is_looked_up_once_for_all_who_wait() {
    let zone = Zone::default()
        .pointer("192.0.2.7", "scanner.example.com")
        .address("scanner.example.com", "192.0.2.7");
    let (names, counters) = (Names::new(), Counters::default());
    assert!(names.at_hand(ip("192.0.2.7")).is_none());
    let both = run(async {
        tokio::join!(
            names.of(&zone, &counters, ip("192.0.2.7")),
            names.of(&zone, &counters, ip("192.0.2.7"))
        )
    });
    for found in [&both.0, &both.1, &names.at_hand(ip("192.0.2.7")).unwrap()] {
        assert_eq!(texts(found), ["scanner.example.com"]);
    }
    assert_eq!(counters.reverse_lookups.load(Ordering::Relaxed), 1);
    assert_eq!(zone.asked(), 2);
}

#[test]
fn a_lie_and_a_failure_are_no_names() {
    let zone = Zone::default()
        .pointer("192.0.2.8", "mail.bank.example")
        .address("mail.bank.example", "198.51.100.1")
        .pointer("192.0.2.9", "broken.example")
        .failing("broken.example");
    let (names, counters) = (Names::new(), Counters::default());
    for (client, failures) in [("192.0.2.8", 0), ("192.0.2.9", 1), ("192.0.2.10", 1)] {
        assert!(
            run(names.of(&zone, &counters, ip(client))).is_empty(),
            "{client}"
        );
        assert_eq!(
            counters.reverse_lookups_failed.load(Ordering::Relaxed),
            failures,
            "{client}"
        );
    }
    let asked = zone.asked();
    run(names.of(&zone, &counters, ip("192.0.2.9")));
    assert_eq!(zone.asked(), asked, "a failure holds for a while");
}

#[test]
fn the_table_is_bounded() {
    let (names, counters, zone) = (Names::new(), Counters::default(), Zone::default());
    run(async {
        for number in 0..25_000u32 {
            names.of(&zone, &counters, IpAddr::V4(number.into())).await;
        }
    });
    assert!(names.table().len() <= KEPT);
    assert!(names.at_hand(IpAddr::V4(24_999.into())).is_some());
}

/// Whoever answers for a network and is silent holds up that network only.
#[test]
fn no_network_takes_all_turns() {
    let (names, counters, zone) = (Names::new(), Counters::default(), Zone::default());
    let held: Vec<_> = (0..TURNS_A_NETWORK)
        .map(|last| {
            names
                .enter(format!("2001:db8:7:{last}::1").parse().unwrap())
                .unwrap()
        })
        .collect();
    assert!(names.enter(ip("2001:db8:7:ffff::1")).is_none());
    assert!(names.enter(ip("2001:db8:8::1")).is_some());
    // Refused its turn, it has no names, and that is not kept.
    assert!(run(names.of(&zone, &counters, ip("2001:db8:7::9"))).is_empty());
    assert!(names.at_hand(ip("2001:db8:7::9")).is_none());
    drop(held);
    assert!(lock(&names.networks).is_empty());
}

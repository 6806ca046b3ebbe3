//! Finding mail hosts and confirming names, against a table.

use std::net::IpAddr;
use std::time::Duration;

use postern_dns::Zone;
use postern_dns::lookup::{Error, Lookup};
use postern_dns::mx::{self, Dice, MailHosts};
use postern_dns::reverse::{self, Confirmed};

const DEADLINE: Duration = Duration::from_secs(5);

async fn find(zone: &Zone, domain: &str) -> Result<MailHosts, Error> {
    mx::find(
        zone,
        domain,
        |host| host == "us.example",
        &mut Dice::seeded(1),
    )
    .await
}

async fn hosts(zone: &Zone, domain: &str) -> Vec<String> {
    match find(zone, domain).await.expect("found") {
        MailHosts::Try { hosts, .. } => hosts.iter().map(|host| host.to_string()).collect(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn mail_goes_where_the_domain_says() {
    let zone = Zone::default()
        .mx("example.com", 20, "mx2.example.com")
        .mx("example.com", 10, "MX1.example.com.")
        .mx("xn--bcher-kva.example", 10, "mx.example.com")
        .mx("null.example", 0, ".")
        .mx("backup.example", 10, "mx1.example.com")
        .mx("backup.example", 20, "us.example")
        .mx("ours.example", 10, "us.example")
        .address("host.example", "192.0.2.1")
        .address("us.example", "192.0.2.2")
        .failing("broken.example");
    assert_eq!(
        hosts(&zone, "Example.Com").await,
        ["mx1.example.com", "mx2.example.com"]
    );
    assert_eq!(hosts(&zone, "bücher.example").await, ["mx.example.com"]);
    assert_eq!(hosts(&zone, "backup.example").await, ["mx1.example.com"]);
    assert_eq!(hosts(&zone, "Host.example.").await, ["host.example"]);
    assert_eq!(find(&zone, "null.example").await, Ok(MailHosts::Null));
    assert_eq!(find(&zone, "ours.example").await, Ok(MailHosts::Loop));
    assert_eq!(find(&zone, "us.example").await, Ok(MailHosts::Loop));
}

#[tokio::test]
async fn a_failed_look_up_is_never_an_answer() {
    let zone = Zone::default()
        .address("broken.example", "192.0.2.1")
        .failing("broken.example");
    assert!(
        find(&zone, "broken.example")
            .await
            .expect_err("failed")
            .is_temporary()
    );
    assert!(matches!(
        find(&zone, "nowhere.example").await,
        Err(Error::NotFound { .. })
    ));
    assert!(matches!(
        find(&zone, "no name").await,
        Err(Error::BadName { .. })
    ));
}

#[tokio::test]
async fn literals_are_their_own_hosts_and_nobody_is_asked() {
    let zone = Zone::default();
    assert_eq!(hosts(&zone, "[192.0.2.1]").await, ["[192.0.2.1]"]);
    assert_eq!(
        hosts(&zone, "[IPv6:2001:db8::1]").await,
        ["[IPv6:2001:db8::1]"]
    );
    let answer = zone
        .addresses("[IPv6:2001:db8::1]")
        .await
        .expect("an address");
    assert_eq!(
        answer.records,
        ["2001:db8::1".parse::<IpAddr>().expect("an address")]
    );
    assert_eq!(zone.asked(), 0);
}

async fn confirm(zone: &Zone, address: &str) -> Result<Vec<String>, Error> {
    let found = reverse::confirm(zone, address.parse().expect("an address"), DEADLINE).await?;
    Ok(found.names.iter().map(|name| name.to_string()).collect())
}

#[tokio::test]
async fn only_names_that_lead_back_are_believed() {
    let zone = Zone::default()
        .pointer("192.0.2.1", "good.example")
        .pointer("192.0.2.1", "liar.example")
        .pointer("192.0.2.1", "missing.example")
        .address("good.example", "192.0.2.9")
        .address("good.example", "192.0.2.1")
        .address("liar.example", "198.51.100.1")
        .pointer("2001:db8::1", "six.example")
        .address("six.example", "2001:db8::1");
    assert_eq!(
        confirm(&zone, "192.0.2.1").await,
        Ok(vec!["good.example".to_owned()])
    );
    assert_eq!(
        confirm(&zone, "::ffff:192.0.2.1").await,
        Ok(vec!["good.example".to_owned()])
    );
    assert_eq!(
        confirm(&zone, "2001:db8::1").await,
        Ok(vec!["six.example".to_owned()])
    );
    assert_eq!(confirm(&zone, "192.0.2.77").await, Ok(vec![]));
}

#[tokio::test]
async fn a_temporary_failure_counts_only_where_nothing_was_confirmed() {
    let zone = Zone::default()
        .pointer("192.0.2.1", "good.example")
        .pointer("192.0.2.1", "broken.example")
        .pointer("192.0.2.2", "broken.example")
        .address("good.example", "192.0.2.1")
        .failing("broken.example")
        .failing("3.2.0.192.in-addr.arpa");
    assert_eq!(
        confirm(&zone, "192.0.2.1").await,
        Ok(vec!["good.example".to_owned()])
    );
    assert!(
        confirm(&zone, "192.0.2.2")
            .await
            .expect_err("failed")
            .is_temporary()
    );
    assert!(
        confirm(&zone, "192.0.2.3")
            .await
            .expect_err("failed")
            .is_temporary()
    );
}

#[tokio::test]
async fn hundreds_of_names_cost_a_few_look_ups() {
    let mut zone = Zone::default();
    for number in 0..300 {
        zone = zone.pointer("192.0.2.1", &format!("host{number}.example"));
    }
    let address = "192.0.2.1".parse().expect("an address");
    let found = reverse::confirm(&zone, address, DEADLINE)
        .await
        .expect("confirmed");
    assert_eq!(
        found,
        Confirmed {
            names: vec![],
            ttl: Duration::from_secs(60)
        }
    );
    assert_eq!(zone.asked(), 1 + reverse::MOST_NAMES);
}

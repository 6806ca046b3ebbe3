//! What strangers publish, as functions over bytes: texts of a zone, and the policy of MTA-STS.

use std::time::Duration;

use postern_dns::Zone;
use postern_tls::mta_sts::{LONGEST, Policy, Record};
use postern_verify::dns::{Facts, Reach, View, check};

/// Publishes the bytes as every text that is looked at; each check ends in a row, whose remark has a bounded length.
pub(crate) fn zone(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let names = [
        "example.com",
        "_dmarc.example.com",
        "s1._domainkey.example.com",
        "_mta-sts.example.com",
        "_smtp._tls.example.com",
    ];
    let empty = Zone::default().mx("example.com", 1, "mx1.example.com");
    let zone = names
        .iter()
        .fold(empty, |zone, name| zone.text(name, &text));
    let facts = Facts {
        fqdn: "mx1.example.com".into(),
        addresses: vec![[192, 0, 2, 1].into()],
        local: vec!["example.com".into()],
        selectors: vec!["s1".into()],
        ..Facts::default()
    };
    let view = View {
        label: "table".into(),
        asker: zone,
    };
    let reach = Reach {
        https: None,
        deadline: Duration::from_secs(60),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let report = runtime
        .expect("a runtime")
        .block_on(check(&facts, &[view], &reach));
    for row in report.groups.iter().flat_map(|group| &group.rows) {
        assert!(
            row.remark.len() < bytes.len() * 3 + 4000,
            "{text}: {row:#?}"
        );
    }
}

/// Reads the bytes as a policy, and as the record that announces it.
pub(crate) fn mta_sts(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(policy) = Policy::parse(&text) {
        assert!(policy.max_age <= LONGEST && !policy.covers(""));
    }
    let _ = Record::parse(&text);
}

//! The checks of DNS against a table: every grade of every check, and zones that mean harm.

use std::time::Duration;

use postern_dns::{Association, Zone};
use postern_verify::dns::{Certificates, Facts, Grade, Reach, Report, Row, View, check};

#[path = "../../../tests/fuzz/verify.rs"]
mod fuzz;
#[path = "../../../tests/fuzz/mutate.rs"]
mod mutate;

const REACH: Reach = Reach {
    https: None,
    deadline: Duration::from_secs(20),
};

fn facts() -> Facts {
    Facts {
        fqdn: "mx1.example.com".into(),
        addresses: vec!["192.0.2.1".parse().expect("an address")],
        local: vec!["example.com".into()],
        ..Facts::default()
    }
}

/// All that `facts` asks for is there, and agrees.
fn good() -> Zone {
    Zone::default()
        .address("mx1.example.com", "192.0.2.1")
        .pointer("192.0.2.1", "mx1.example.com")
        .text("mx1.example.com", "v=spf1 a -all")
        .mx("example.com", 10, "mx1.example.com")
        .text("example.com", "v=spf1 mx -all")
        .text(
            "_dmarc.example.com",
            "v=DMARC1; p=reject; rua=mailto:x@example.com",
        )
        .text("_mta-sts.example.com", "v=STSv1; id=1")
        .text(
            "_smtp._tls.example.com",
            "v=TLSRPTv1; rua=mailto:x@example.com",
        )
}

async fn report(zone: Zone, facts: &Facts) -> Report {
    let view = View {
        label: "table".to_owned(),
        asker: zone,
    };
    check(facts, &[view], &REACH).await
}

async fn row(zone: Zone, facts: &Facts, subject: &str) -> Row {
    let report = report(zone, facts).await;
    let mut rows = report.groups.into_iter().rev().flat_map(|group| group.rows);
    rows.find(|row| row.subject == subject)
        .unwrap_or_else(|| panic!("no row {subject}"))
}

#[track_caller]
fn is(row: &Row, grade: Grade, remark: &str) {
    assert!(
        row.grade == grade && row.remark.contains(remark),
        "{row:#?}"
    );
}

#[tokio::test]
async fn a_good_zone_has_no_faults() {
    let report = report(good(), &facts()).await;
    for grade in [Grade::Missing, Grade::Contradictory, Grade::NotAsked] {
        assert_eq!(report.count(grade), 0, "{report:#?}");
    }
}

#[tokio::test]
async fn an_empty_zone_has_nothing_and_is_told_what_to_publish() {
    let report = report(Zone::default(), &facts()).await;
    let missing: Vec<&str> = report
        .groups
        .iter()
        .flat_map(|group| &group.rows)
        .filter(|row| row.grade == Grade::Missing)
        .map(|row| row.subject.as_str())
        .collect();
    assert_eq!(
        missing,
        [
            "address",
            "reverse 192.0.2.1",
            "MX",
            "SPF",
            "DMARC",
            "MTA-STS"
        ]
    );
    assert_eq!(report.count(Grade::Contradictory), 0);
    let lines: Vec<&String> = report
        .groups
        .iter()
        .flat_map(|group| &group.rows)
        .flat_map(|row| &row.publish)
        .collect();
    for line in [
        "mx1.example.com. 3600 IN A 192.0.2.1",
        "1.2.0.192.in-addr.arpa. 3600 IN PTR mx1.example.com.",
        "example.com. 3600 IN MX 10 mx1.example.com.",
        "example.com. 3600 IN TXT \"v=spf1 ip4:192.0.2.1 -all\"",
    ] {
        assert!(
            lines.iter().any(|one| *one == line),
            "{line} is not in {lines:#?}"
        );
    }
}

#[tokio::test]
async fn the_name_and_the_way_back() {
    let base = Zone::default;
    let facts = facts();
    let one = row(
        base().address("mx1.example.com", "192.0.2.9"),
        &facts,
        "address",
    )
    .await;
    is(
        &one,
        Grade::Contradictory,
        "mx1.example.com leads to 192.0.2.9, which is no address of this server (192.0.2.1)",
    );
    let one = row(
        base()
            .alias("mx1.example.com", "a.example.com")
            .address("a.example.com", "192.0.2.1"),
        &facts,
        "address",
    )
    .await;
    is(
        &one,
        Grade::Contradictory,
        "is an alias (CNAME) of a.example.com",
    );
    let one = row(base().failing("mx1.example.com"), &facts, "address").await;
    is(&one, Grade::NotAsked, "the server failed");
    let one = row(
        base().pointer("192.0.2.1", "other.example.com"),
        &facts,
        "reverse 192.0.2.1",
    )
    .await;
    is(
        &one,
        Grade::Contradictory,
        "is named other.example.com, not mx1.example.com",
    );
    let one = row(
        base().pointer("192.0.2.1", "mx1.example.com"),
        &facts,
        "reverse 192.0.2.1",
    )
    .await;
    is(&one, Grade::Contradictory, "does not lead back");
    let mut many = base().address("mx1.example.com", "192.0.2.1");
    for number in 0..1000 {
        many = many.pointer("192.0.2.1", &format!("host{number}.example.com"));
    }
    let one = row(many, &facts, "reverse 192.0.2.1").await;
    is(&one, Grade::Contradictory, "and 997 more");
    assert!(one.asked[0].answer.len() < 1100);
    let unknown = Facts {
        addresses: vec![],
        ..self::facts()
    };
    let one = row(good(), &unknown, "address").await;
    is(&one, Grade::Note, "--address");
}

#[tokio::test]
async fn behind_address_translation_nothing_is_claimed() {
    let facts = Facts {
        addresses: vec!["10.0.0.1".parse().expect("an address")],
        ..facts()
    };
    let report = report(good(), &facts).await;
    let rows: Vec<&Row> = report.groups.iter().flat_map(|group| &group.rows).collect();
    is(rows[0], Grade::Note, "--address");
    is(rows[1], Grade::Note, "10.0.0.1 has no name");
    is(&row(good(), &facts, "SPF").await, Grade::Found, "--address");
    for grade in [Grade::Missing, Grade::Contradictory, Grade::NotAsked] {
        assert_eq!(report.count(grade), 0, "{report:#?}");
    }
    // Inside, a private address is as good as any.
    let inside = Zone::default().address("mx1.example.com", "10.0.0.1");
    is(&row(inside, &facts, "address").await, Grade::Found, "");
}

#[tokio::test]
async fn the_mail_hosts_of_a_domain() {
    let facts = facts();
    let base = || Zone::default().address("mx1.example.com", "192.0.2.1");
    let cases = [
        (
            base().mx("example.com", 0, "."),
            Grade::Contradictory,
            "takes no mail",
        ),
        (
            base().mx("example.com", 10, "x.example.com"),
            Grade::Contradictory,
            "the MX x.example.com does not exist; no MX leads",
        ),
        (
            base()
                .mx("example.com", 10, "x.example.com")
                .alias("x.example.com", "mx1.example.com"),
            Grade::Contradictory,
            "the MX x.example.com is an alias",
        ),
        (
            base().mx("example.com", 10, "192.0.2.1"),
            Grade::Contradictory,
            "is an address; an MX holds a name",
        ),
        (
            base()
                .mx("example.com", 10, "x.example.com")
                .address("x.example.com", "192.0.2.9"),
            Grade::Contradictory,
            "no MX leads to this server; mail goes to x.example.com",
        ),
        (
            base()
                .mx("example.com", 10, "x.example.com")
                .address("x.example.com", "192.0.2.1"),
            Grade::Found,
            "",
        ),
        (
            base()
                .mx("example.com", 10, "mx1.example.com")
                .mx("example.com", 0, "."),
            Grade::Contradictory,
            "stands beside others",
        ),
        (
            base().address("example.com", "192.0.2.1"),
            Grade::Missing,
            "mail comes only because",
        ),
        (
            base().address("example.com", "192.0.2.9"),
            Grade::Missing,
            "not this server's",
        ),
        (
            base().failing("example.com"),
            Grade::NotAsked,
            "the server failed",
        ),
        (
            base()
                .mx("example.com", 10, "x.example.com")
                .failing("x.example.com"),
            Grade::NotAsked,
            "x.example.com",
        ),
    ];
    for (zone, grade, remark) in cases {
        is(&row(zone, &facts, "MX").await, grade, remark);
    }
    let relay = Facts {
        local: vec![],
        relayed: vec!["example.com".into()],
        ..self::facts()
    };
    let report = report(good(), &relay).await;
    assert_eq!(report.groups[1].rows.len(), 1);
}

#[tokio::test]
async fn spf_is_evaluated_as_receivers_do() {
    let facts = facts();
    let base = |text: &str| {
        Zone::default()
            .address("mx1.example.com", "192.0.2.1")
            .mx("example.com", 10, "mx1.example.com")
            .text("other.example.com", "v=spf1 ip4:192.0.2.0/30 -all")
            .text("soft.example.com", "v=spf1 ~all")
            .text("open.example.com", "v=spf1 +all")
            .address("1.2.0.192.in-addr.example.com", "127.0.0.2")
            .text("example.com", text)
    };
    let cases = [
        ("v=spf1 mx -all", Grade::Found, "1 of 10 look-ups"),
        ("v=spf1 ip4:192.0.2.0/24 -all", Grade::Found, ""),
        ("v=spf1 a:mx1.example.com/32 ~all", Grade::Found, ""),
        ("v=spf1 include:other.example.com -all", Grade::Found, ""),
        ("v=spf1 redirect=other.example.com", Grade::Found, ""),
        ("v=spf1 exists:%{ir}.%{v}.%{d} -all", Grade::Found, ""),
        ("v=spf1 mx", Grade::Found, "does not end with -all"),
        (
            "v=spf1 ptr:example.com mx -all",
            Grade::Found,
            "it uses ptr",
        ),
        (
            "v=spf1 -all",
            Grade::Contradictory,
            "at 192.0.2.1 fails, and is refused",
        ),
        ("v=spf1 ~all", Grade::Contradictory, "fails softly"),
        (
            "v=spf1 ip4:192.0.2.2",
            Grade::Contradictory,
            "is not covered (neutral)",
        ),
        (
            "v=spf1 include:soft.example.com ?all",
            Grade::Contradictory,
            "is not covered",
        ),
        (
            "v=spf1 +all",
            Grade::Contradictory,
            "+all lets everybody send",
        ),
        (
            "v=spf1 include:open.example.com -all",
            Grade::Contradictory,
            "include:open.example.com lets everybody send",
        ),
        (
            "v=spf1 ip4:0.0.0.0/1 ip4:128.0.0.0/1 -all",
            Grade::Contradictory,
            "a great part of the Internet",
        ),
        (
            "v=spf1 include:none.example.com -all",
            Grade::Contradictory,
            "leads to no SPF record",
        ),
        (
            "v=spf1 include:example.com -all",
            Grade::Contradictory,
            "more than 40 look-ups",
        ),
        (
            "v=spf1 a:n1.example.com a:n2.example.com a:n3.example.com mx -all",
            Grade::Contradictory,
            "3 of its look-ups find nothing",
        ),
        (
            "v=spf1 ipv4:192.0.2.1 -all",
            Grade::Contradictory,
            "\"ipv4:192.0.2.1\": there is no such mechanism",
        ),
    ];
    for (text, grade, remark) in cases {
        let row = row(base(text), &facts, "SPF").await;
        assert!(
            row.grade == grade && row.remark.contains(remark),
            "{text}: {row:#?}"
        );
    }
    let one = row(base("v=spf1 ip4:192.0.2.2 -all"), &facts, "SPF").await;
    assert_eq!(
        one.publish,
        ["example.com. 3600 IN TXT \"v=spf1 ip4:192.0.2.1 ip4:192.0.2.2 -all\""]
    );
    let two = row(
        base("v=spf1 mx -all").text("example.com", "v=spf1 -all"),
        &facts,
        "SPF",
    )
    .await;
    is(&two, Grade::Contradictory, "there are 2 SPF records");
    let other = row(base("google-site-verification=x"), &facts, "SPF").await;
    is(&other, Grade::Missing, "");
    assert_eq!(
        other.publish,
        ["example.com. 3600 IN TXT \"v=spf1 mx -all\""]
    );
}

#[tokio::test]
async fn spf_costs_are_counted_and_bounded() {
    let facts = facts();
    let mut zone = Zone::default().address("mx1.example.com", "192.0.2.1");
    let includes: Vec<String> = (0..11)
        .map(|number| format!("include:i{number}.example.com"))
        .collect();
    for number in 0..11 {
        zone = zone.text(&format!("i{number}.example.com"), "v=spf1 -all");
    }
    let text = format!("v=spf1 ip4:192.0.2.1 {} -all", includes.join(" "));
    let one = row(zone.text("example.com", &text), &facts, "SPF").await;
    is(&one, Grade::Contradictory, "it takes 11 look-ups of the 10");

    // Two records that include each other twice: 2^n paths, and a bound.
    let zone = Zone::default()
        .text(
            "example.com",
            "v=spf1 include:b.example.com include:b.example.com -all",
        )
        .text(
            "b.example.com",
            "v=spf1 include:example.com include:example.com -all",
        );
    let one = row(zone, &facts, "SPF").await;
    is(&one, Grade::Contradictory, "more than 40 look-ups");
}

#[tokio::test]
async fn dmarc_dkim_and_reports() {
    let named = Facts {
        selectors: vec!["s1".into()],
        ..facts()
    };
    let dmarc = |text: &str| Zone::default().text("_dmarc.example.com", text);
    let cases = [
        (
            dmarc("v=DMARC1; p=none; rua=mailto:a@example.com"),
            Grade::Found,
            "p=none only watches",
        ),
        (
            dmarc("v=DMARC1; p=reject"),
            Grade::Found,
            "nobody gets reports",
        ),
        (
            dmarc("v=DMARC1; p=never"),
            Grade::Contradictory,
            "p=\"never\"",
        ),
        (
            dmarc("v=DMARC1; p=none").text("_dmarc.example.com", "v=DMARC1; p=reject"),
            Grade::Contradictory,
            "there are 2 DMARC records",
        ),
        (
            dmarc("p=none"),
            Grade::Contradictory,
            "does not begin with v=DMARC1",
        ),
        (
            dmarc("v=DMARC1; p=reject; rua=mailto:a@far.example"),
            Grade::Contradictory,
            "far.example does not say that it takes reports",
        ),
        (
            dmarc("v=DMARC1; p=reject; rua=mailto:a@far.example")
                .text("example.com._report._dmarc.far.example", "v=DMARC1;"),
            Grade::Found,
            "",
        ),
        (
            Zone::default().failing("_dmarc.example.com"),
            Grade::NotAsked,
            "",
        ),
    ];
    for (zone, grade, remark) in cases {
        is(&row(zone, &named, "DMARC").await, grade, remark);
    }
    let below = Facts {
        local: vec!["mail.example.com".into()],
        ..facts()
    };
    let one = row(
        dmarc("v=DMARC1; p=reject; sp=none; rua=mailto:a@example.com"),
        &below,
        "DMARC",
    )
    .await;
    is(
        &one,
        Grade::Found,
        "by the record of example.com; p=none only watches",
    );

    let dkim = |text: &str| Zone::default().text("s1._domainkey.example.com", text);
    is(
        &row(dkim("v=DKIM1; p="), &named, "DKIM s1").await,
        Grade::Contradictory,
        "revoked",
    );
    is(
        &row(Zone::default(), &named, "DKIM s1").await,
        Grade::Missing,
        "",
    );
    let ed = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
    is(
        &row(dkim(ed), &named, "DKIM s1").await,
        Grade::Found,
        "Ed25519",
    );
    is(
        &row(good(), &facts(), "DKIM").await,
        Grade::Note,
        "--selector",
    );
}

#[tokio::test]
async fn tlsa_is_compared_with_the_certificate() {
    let made = rcgen::generate_simple_self_signed(["mx1.example.com".to_owned()]).expect("made");
    let pem = || ("mx1.pem".into(), made.cert.pem().into_bytes());
    let certificates = || Certificates::of([Ok(pem())]);
    let digest = certificates().chains[0].key_digest();
    let with = |certificates: Certificates| Facts {
        certificates,
        ..facts()
    };
    let name = "_25._tcp.mx1.example.com";
    let record = |usage: u8, data: &[u8]| Association {
        usage,
        selector: 1,
        matching: 1,
        data: data.into(),
    };
    let fits = || good().association(name, record(3, &digest));
    let cases = [
        (fits().vouched(name), with(certificates()), Grade::Found, ""),
        (
            fits().association(name, record(3, &[0; 32])).vouched(name),
            with(certificates()),
            Grade::Found,
            "1 of 2 fit another certificate",
        ),
        (fits(), with(certificates()), Grade::Note, "does not vouch"),
        (
            good().association(name, record(3, &[0; 32])).vouched(name),
            with(certificates()),
            Grade::Contradictory,
            "no record fits",
        ),
        (
            good().association(name, record(1, &digest)).vouched(name),
            with(certificates()),
            Grade::Contradictory,
            "no record is of use",
        ),
        (
            fits().vouched(name),
            with(Certificates::default()),
            Grade::Contradictory,
            "the server has no certificate",
        ),
        (
            fits().vouched(name),
            with(Certificates::of([Err("x.pem: permission denied".into())])),
            Grade::Note,
            "permission denied",
        ),
        (
            good().vouched(name),
            with(certificates()),
            Grade::Note,
            "the zone is signed",
        ),
        (good(), with(certificates()), Grade::Note, "there is none"),
    ];
    for (zone, facts, grade, remark) in cases {
        is(&row(zone, &facts, "TLSA").await, grade, remark);
    }
    let one = row(good().vouched(name), &with(certificates()), "TLSA").await;
    assert!(
        one.publish[0].starts_with("_25._tcp.mx1.example.com. 3600 IN TLSA 3 1 1 "),
        "{one:#?}"
    );
    // With DANE, a domain needs no MTA-STS.
    let zone = Zone::default()
        .address("mx1.example.com", "192.0.2.1")
        .mx("example.com", 10, "mx1.example.com")
        .association(name, record(3, &digest))
        .vouched(name);
    is(
        &row(zone, &with(certificates()), "MTA-STS").await,
        Grade::Note,
        "TLSA protects",
    );
}

#[tokio::test]
async fn views_that_differ_are_named() {
    let views = ["system", "external_dns"].map(|label| View {
        label: label.to_owned(),
        asker: good(),
    });
    let [first, mut second] = views;
    second.asker = Zone::default().address("mx1.example.com", "198.51.100.1");
    let report = check(&facts(), &[first, second], &REACH).await;
    let row = report.groups[0]
        .rows
        .iter()
        .find(|row| row.subject == "views")
        .expect("a row");
    is(
        row,
        Grade::Note,
        "system says 192.0.2.1; external_dns says 198.51.100.1",
    );
}

#[tokio::test]
async fn hostile_zones_end_in_plain_rows() {
    let long = format!(
        "{}.example.com",
        ["a".repeat(63), "b".repeat(63), "c".repeat(63)].join(".")
    );
    let zone = Zone::default()
        .alias("mx1.example.com", "loop.example.com")
        .alias("loop.example.com", "mx1.example.com")
        .mx("example.com", 1, &long)
        .text(
            "example.com",
            &format!("v=spf1 {} -all", "ip4:192.0.2.1 ".repeat(4000)),
        )
        .text("_dmarc.example.com", &"v=DMARC1; p=none; ".repeat(1000))
        .text("_mta-sts.example.com", "v=STSv1; \x1b[2J")
        .text(
            "s1._domainkey.example.com",
            &format!("p={}", "A".repeat(60_000)),
        );
    let mut zone = zone;
    for number in 0..1000 {
        zone = zone.mx("example.com", 10, &format!("host{number}.example.com"));
    }
    let facts = Facts {
        selectors: vec!["s1".into()],
        ..facts()
    };
    let report = report(zone, &facts).await;
    let rows: Vec<&Row> = report.groups.iter().flat_map(|group| &group.rows).collect();
    assert_eq!(rows.len(), 10);
    for row in rows {
        assert!(row.remark.len() < 2000, "{row:#?}");
        assert!(
            row.asked.iter().all(|asked| asked.answer.len() < 4000),
            "{row:#?}"
        );
    }
}

#[test]
fn mutated_texts_end_in_rows() {
    let seeds: &[&[u8]] = &[
        b"v=spf1 ip4:192.0.2.0/24 a:%{d2r}.example.com/24//64 mx include:example.com exists:%{ir}.%{v}.x.example.com -all",
        b"v=spf1 redirect=example.com exp=why.example.com ptr ip6:2001:db8::/32",
        b"v=DMARC1; p=reject; sp=none; pct=50; rua=mailto:a@far.example!10m,mailto:b@example.com",
        b"v=DKIM1; k=rsa; t=y:s; h=sha256; p=MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAKJ2",
        b"v=STSv1; id=20260101;",
        b"v=TLSRPTv1; rua=mailto:a@example.com",
    ];
    let words: &[&[u8]] = &[
        b"%{",
        b"}",
        b"%",
        b";",
        b"=",
        b":",
        b"/",
        b"//",
        b"..",
        b" ",
        b"v=spf1 ",
        b"mailto:",
        "\u{e9}".as_bytes(),
        b"\xff",
        &[b'9'; 40],
        &[b'a'; 300],
    ];
    mutate::play(seeds, words, 3_000, fuzz::zone);
}

#[test]
fn mutated_policies_are_read_or_refused() {
    let seeds: &[&[u8]] = &[
        b"version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\nmax_age: 604800\r\n",
        b"version: STSv1\nmode: none\nmax_age: 0\n",
        b"v=STSv1; id=20260101;",
    ];
    let words: &[&[u8]] = &[
        b"\n",
        b":",
        b"*.",
        b"mx: ",
        b"mode: testing\n",
        b"\xff",
        &[b'9'; 30],
    ];
    mutate::play(seeds, words, 30_000, fuzz::mta_sts);
}

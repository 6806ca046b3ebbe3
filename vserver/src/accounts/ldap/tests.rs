#![allow(clippy::unwrap_used)]

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::ber::{ENUMERATED, INTEGER, OCTETS, SEQUENCE, element, group, number};
use super::*;

fn outcome(code: u32, text: &str) -> Outcome {
    let text = text.to_owned();
    Outcome { code, text }
}

#[test]
fn outcomes_are_about_the_account_or_about_the_server() {
    let data = |number: &str| {
        let text = format!(
            "80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, data {number}, v1db1"
        );
        judge(outcome(49, &text)).ok().flatten()
    };
    assert_eq!(data("52e").as_deref(), Some("wrong password"));
    assert_eq!(data("533").as_deref(), Some("the account is disabled"));
    assert_eq!(
        data("775").as_deref(),
        Some("the account is locked out in the directory")
    );
    assert!(matches!(judge(outcome(0, "")), Ok(None)));
    assert!(matches!(judge(outcome(49, "")), Ok(Some(_))));
    // Busy, unavailable, strong authentication required, a referral.
    for code in [51, 52, 8, 10, 1, 80] {
        assert!(judge(outcome(code, "")).is_err(), "{code}");
    }
}

#[test]
fn addresses_are_whole_and_of_mail() {
    for (value, wanted) in [
        ("alice@example.test", Some("alice@example.test")),
        ("SMTP:alice@example.test", Some("alice@example.test")),
        ("smtp:a.b@example.test", Some("a.b@example.test")),
        ("X500:/o=Corp/cn=alice@x", None),
        ("sip:alice@example.test", None),
        ("alice", None),
        ("@example.test", None),
        ("*@example.test", None),
        ("smtp:@example.test", None),
        ("", None),
    ] {
        assert_eq!(address(value), wanted, "{value}");
    }
}

fn settings(port: u16) -> Settings {
    Settings {
        servers: vec![postern_config::LdapServer {
            host: postern_config::Host::Address([127, 0, 0, 1].into()),
            port,
            tls: postern_config::LdapTls::None,
        }],
        kind: LdapKind::OpenLdap,
        base: "dc=test".to_owned(),
        bind: None,
        filter: LdapFilter::parse("(|(uid={name})(mail={name}))").unwrap(),
        custom_filter: false,
        addresses: vec!["mail".to_owned()],
        ca: None,
        timeout: Duration::from_secs(2),
    }
}

/// What a source makes of a server that answers every message, the search with id 2, by `octets`, as often as it is told to.
async fn answered_by(octets: Vec<u8>, times: usize) -> Result<Checked, Unavailable> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut asked = [0; 1024];
            let _ = stream.read(&mut asked).await;
            for _ in 0..times {
                if stream.write_all(&octets).await.is_err() {
                    break;
                }
            }
            // Until the other side has enough: a server that closes would end it anyway.
            while stream.read(&mut asked).await.is_ok_and(|read| read > 0) {}
        }
    });
    let source = LdapSource::new(&settings(port), None, ClientTls::opportunistic());
    let checked = source.check("alice", &Secret::from("pw")).await;
    server.abort();
    checked
}

fn entry(dn: &str) -> Vec<u8> {
    let content = [element(OCTETS, dn.as_bytes()), group(SEQUENCE, &[])];
    group(SEQUENCE, &[number(INTEGER, 2), group(0x64, &content)])
}

fn done(code: u32) -> Vec<u8> {
    let content = [
        number(ENUMERATED, code),
        element(OCTETS, b""),
        element(OCTETS, b""),
    ];
    group(SEQUENCE, &[number(INTEGER, 2), group(0x65, &content)])
}

#[tokio::test]
async fn a_server_that_talks_nonsense_is_of_no_help_and_of_no_harm() {
    let reference = group(SEQUENCE, &[number(INTEGER, 2), element(0x73, b"")]);
    let referral = [reference.clone(), done(10)].concat();
    for (octets, times) in [
        (b"220 mail.example.test ESMTP\r\n".to_vec(), 1),
        (vec![0x30, 0x84, 0x7f, 0xff, 0xff, 0xff], 1),
        // Entries, more than were asked for; references, without an end.
        (entry("uid=a,dc=test"), 100_000),
        (reference, 1_000_000),
        (referral, 1),
        // Somebody else's answer, and half of one's own.
        (
            group(SEQUENCE, &[number(INTEGER, 9), element(0x73, b"")]),
            1,
        ),
        (done(0)[..5].to_vec(), 1),
        (done(52), 1),
        (vec![0x30; 5000], 1),
        (Vec::new(), 1),
    ] {
        let checked = answered_by(octets.clone(), times).await;
        let start = &octets[..octets.len().min(20)];
        assert!(checked.is_err(), "{start:?}: {checked:?}");
    }
}

#[tokio::test]
async fn two_accounts_of_one_name_are_refused() {
    let both = [entry("uid=a,dc=test"), entry("uid=b,dc=test")].concat();
    for octets in [
        [both.clone(), done(0)].concat(),
        [both, done(4)].concat(),
        [entry("uid=a,dc=test"), done(4)].concat(),
    ] {
        let checked = answered_by(octets, 1).await;
        let Ok(Checked::Wrong(why)) = checked else {
            panic!("{checked:?}");
        };
        assert!(why.starts_with("several accounts"), "{why}");
    }
    // An entry without a name would be a bind as nobody, which succeeds.
    let checked = answered_by([entry(""), done(0)].concat(), 1).await;
    assert!(matches!(checked, Ok(Checked::Wrong(_))), "{checked:?}");
}

/// An entry with these attributes, a value each.
fn described(attributes: &[(&str, &str)]) -> Vec<u8> {
    let attributes: Vec<Vec<u8>> = attributes
        .iter()
        .map(|(name, value)| {
            let values = group(0x31, &[element(OCTETS, value.as_bytes())]);
            group(SEQUENCE, &[element(OCTETS, name.as_bytes()), values])
        })
        .collect();
    let content = [
        element(OCTETS, b"cn=x,dc=test"),
        group(SEQUENCE, &attributes),
    ];
    group(SEQUENCE, &[number(INTEGER, 2), group(0x64, &content)])
}

#[test]
fn who_is_proved_is_found_by_an_accounts_name_alone() {
    let found = |attributes: &[(&str, &str)]| match message::parse(&described(attributes)) {
        Ok((_, message::Response::Entry(entry))) => entry,
        other => panic!("{other:?}"),
    };
    let mut settings = settings(1);
    settings.kind = LdapKind::ActiveDirectory;
    let of = |settings: &Settings| LdapSource::new(settings, None, ClientTls::opportunistic());
    let asked = |name, proved| Question {
        name,
        proved,
        password: None,
    };
    let directory = of(&settings);
    let alice = found(&[
        ("sAMAccountName", "Alice"),
        ("userPrincipalName", "alice@CORP.example"),
    ]);
    // Mail is what a person may write himself; some directories take an accent for none.
    let others = [
        found(&[("sAMAccountName", "bob"), ("mail", "alice@corp.example")]),
        found(&[("sAMAccountName", "alicé"), ("mail", "alice")]),
    ];
    for name in ["alice", "ALICE", "alice@corp.example"] {
        assert!(directory.is_meant(&alice, &asked(name, true)), "{name}");
        for other in &others {
            assert!(!directory.is_meant(other, &asked(name, true)), "{name}");
            assert!(directory.is_meant(other, &asked(name, false)), "{name}");
        }
    }
    let by = |directory: &LdapSource, name| directory.proved_attribute(&asked(name, true));
    assert_eq!(by(&directory, "alice"), Some("sAMAccountName"));
    assert_eq!(by(&directory, "alice@x"), Some("userPrincipalName"));
    settings.kind = LdapKind::OpenLdap;
    assert_eq!(by(&of(&settings), "alice@x"), Some("uid"));
    settings.custom_filter = true;
    assert_eq!(by(&of(&settings), "alice@x"), None);
}

#[test]
fn a_disabled_account_is_known_by_its_flags() {
    for (flags, is_disabled) in [("512", false), ("514", true), ("66050", true), ("", false)] {
        let octets = described(&[("userAccountControl", flags)]);
        let Ok((_, message::Response::Entry(entry))) = message::parse(&octets) else {
            panic!("no entry");
        };
        assert_eq!(disabled(&entry), is_disabled, "{flags}");
    }
}

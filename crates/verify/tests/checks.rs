//! Every check against a server that keeps the rules and one that breaks the one in question, and all of them against
//! peers that are no mail servers at all.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[path = "checks/server.rs"]
mod server;

#[path = "checks/doubts.rs"]
mod doubts;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use postern_verify::{
    Account, Channel, Check, Expected, Fault, Finding, Outcome, Pace, Report, Side, Target, verify,
};
use server::{ACCOUNT, LOCAL, Manners, SIZE, start};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn pace() -> Pace {
    Pace {
        wait: Duration::from_secs(5),
        pause: Duration::from_millis(60),
        back_off: Duration::from_millis(50),
        check: Duration::from_secs(30),
        whole: Duration::from_secs(60),
        wrong_passwords: 2,
    }
}

fn expected() -> Expected {
    Expected {
        host: Some("mx.example.test".into()),
        local_domain: Some(LOCAL.into()),
        null_recipient: Some(format!("null@{LOCAL}")),
        max_message_size: Some(SIZE),
        max_errors: Some(20),
        max_recipients: Some(100),
        max_connections_per_ip: Some(10),
        refuses_early_talkers: true,
        excluded: vec!["127.0.0.9".parse().unwrap()],
        ..Expected::default()
    }
}

fn block<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(future)
}

fn polite() -> Manners {
    Manners {
        excluded: Some("127.0.0.9".parse().unwrap()),
        ..Manners::default()
    }
}

async fn look(
    address: SocketAddr,
    expected: &Expected,
    checks: &[Check],
    pace: Pace,
) -> Result<Report, Fault> {
    let target = Target {
        address,
        source: None,
    };
    verify(target, expected, checks, pace, &mut |_| {}).await
}

fn run(manners: Manners, expected: Expected, checks: &[Check]) -> Report {
    block(async {
        let address = start(manners).await;
        look(address, &expected, checks, pace()).await.unwrap()
    })
}

fn titles(report: &Report, outcome: Outcome) -> Vec<&str> {
    let same = |finding: &&Finding| finding.outcome == outcome;
    report
        .findings
        .iter()
        .filter(same)
        .map(|finding| finding.title.as_str())
        .collect()
}

/// That exactly these lines of a check fail.
fn fails(manners: Manners, expected: Expected, check: Check, wanted: &[&str]) {
    let report = run(manners, expected, &[check]);
    assert_eq!(
        titles(&report, Outcome::Failed),
        wanted,
        "{:#?}",
        report.findings
    );
    for finding in report
        .findings
        .iter()
        .filter(|f| f.outcome == Outcome::Failed)
    {
        assert!(
            !finding.remedy.is_empty() && finding.check == check.name(),
            "{finding:?}"
        );
    }
}

/// One that requires TLS refuses RSET before it: that is no fault (RFC 3207 §4).
#[test]
fn a_server_that_keeps_the_rules_has_no_failed_line() {
    let required = Manners {
        require: true,
        ..polite()
    };
    let implicit = Manners {
        implicit: true,
        ..polite()
    };
    for (manners, channel) in [
        (polite(), Channel::Offered),
        (required, Channel::Required),
        (implicit, Channel::Implicit),
    ] {
        let report = run(
            manners,
            Expected {
                channel,
                ..expected()
            },
            &Check::ALL,
        );
        assert!(
            report.holds() && report.says_something(),
            "{channel:?} {:#?}",
            report.findings
        );
        assert!(
            report.count(Outcome::Passed) > 60,
            "{channel:?} {:?}",
            titles(&report, Outcome::NotTested)
        );
        assert!(report.wrong_passwords <= 2);
        assert_eq!(report.recordings.len(), report.connections);
    }
}

#[test]
fn what_is_not_known_is_not_tested_and_says_why() {
    let report = run(Manners::default(), Expected::default(), &Check::ALL);
    assert!(report.holds(), "{:#?}", report.findings);
    let untested: Vec<&Finding> = report
        .findings
        .iter()
        .filter(|f| f.outcome == Outcome::NotTested)
        .collect();
    for word in [
        "--from",
        "--local-domain",
        "--accept-recipient",
        "the limit is not known",
    ] {
        assert!(
            untested.iter().any(|f| f.why.contains(word)),
            "{word}: {untested:#?}"
        );
    }
}

#[test]
fn an_excluded_address_that_is_greeted_is_found() {
    for (implicit, channel) in [(false, Channel::Offered), (true, Channel::Implicit)] {
        let manners = Manners {
            implicit,
            ..Manners::default()
        };
        let expected = Expected {
            channel,
            ..expected()
        };
        let line = "a connection from 127.0.0.9 is refused";
        fails(manners, expected, Check::Excluded, &[line]);
    }
}

#[test]
fn products_and_versions_are_found() {
    let manners = Manners {
        greeting: "220 postfix.example.test ESMTP Postfix",
        help: "214 2.0.0 This is foomail 4.96",
        ..polite()
    };
    fails(
        manners,
        expected(),
        Check::Banner,
        &[
            "the greeting tells no product or version",
            "HELP tells no product or version",
        ],
    );
}

#[test]
fn login_in_clear_is_found_offered_or_not() {
    let open = Manners {
        auth_in_clear: true,
        ..polite()
    };
    fails(
        open,
        expected(),
        Check::Login,
        &[
            "no password is readable in clear",
            "AUTH PLAIN in clear is refused",
        ],
    );
    let secret = Manners {
        auth_secretly: true,
        ..polite()
    };
    fails(
        secret,
        expected(),
        Check::Login,
        &["AUTH PLAIN in clear is refused"],
    );
    let any = Manners {
        any_password: true,
        ..polite()
    };
    fails(
        any,
        expected(),
        Check::Login,
        &[
            "AUTH PLAIN inside TLS cannot be read on the wire",
            "AUTH LOGIN inside TLS cannot be read on the wire",
        ],
    );
}

#[test]
fn a_given_account_logs_in_inside_tls_and_its_password_is_nowhere() {
    let login = Account {
        name: ACCOUNT.0.into(),
        password: ACCOUNT.1.into(),
    };
    let manners = Manners {
        auth_in_clear: true,
        ..polite()
    };
    let report = run(
        manners,
        Expected {
            login: Some(login),
            ..expected()
        },
        &Check::ALL,
    );
    // Only the made-up account was tried in clear, and refused there.
    assert_eq!(report.wrong_passwords, 1);
    let shown = format!("{:?}", report.findings);
    assert!(
        shown.contains("235 2.7.0 welcome") && !shown.contains(ACCOUNT.1),
        "{shown}"
    );
    for recording in &report.recordings {
        for side in [Side::Client, Side::Server] {
            let bytes = recording.bytes(side);
            for secret in [ACCOUNT.0, ACCOUNT.1] {
                assert_eq!(
                    postern_verify::readable::find(&bytes, secret.as_bytes()),
                    None
                );
            }
        }
    }
}

#[test]
fn a_given_account_that_is_refused_is_not_tried_again() {
    let login = Account {
        name: ACCOUNT.0.into(),
        password: "not-the-password".into(),
    };
    let expected = Expected {
        login: Some(login),
        ..expected()
    };
    let report = run(polite(), expected, &Check::ALL);
    assert_eq!(report.wrong_passwords, 1);
    let shown = format!("{:?}", report.findings);
    assert_eq!(shown.matches("535 5.7.8").count(), 2, "{shown}");
    assert!(shown.contains("is not tried again"), "{shown}");
}

#[test]
fn a_channel_that_is_no_channel_is_found() {
    let required = || Expected {
        channel: Channel::Required,
        ..expected()
    };
    fails(
        polite(),
        required(),
        Check::Channel,
        &["commands before STARTTLS are refused"],
    );
    let mute = Manners {
        require: true,
        refuses_noop: true,
        ..polite()
    };
    fails(
        mute,
        required(),
        Check::Channel,
        &["EHLO and NOOP work before STARTTLS"],
    );
    let none = Manners {
        starttls: false,
        ..polite()
    };
    fails(none, expected(), Check::Channel, &["STARTTLS is offered"]);
    let forgets = Manners {
        no_tls_behind: true,
        ..polite()
    };
    fails(forgets, expected(), Check::Channel, &["TLS can be spoken"]);
    let twice = Manners {
        starttls_twice: true,
        ..polite()
    };
    fails(
        twice,
        expected(),
        Check::Channel,
        &["STARTTLS is not offered inside TLS"],
    );
    let old = Manners {
        old_tls: true,
        ..polite()
    };
    fails(
        old,
        expected(),
        Check::Channel,
        &["TLS 1.0 is refused", "TLS 1.1 is refused"],
    );
    let other = Expected {
        host: Some("mail.example.test".into()),
        ..expected()
    };
    fails(
        polite(),
        other,
        Check::Channel,
        &["the certificate names the host and is in date"],
    );
}

#[test]
fn text_injected_before_tls_that_is_run_inside_is_found() {
    let manners = Manners {
        runs_injected: true,
        ..polite()
    };
    fails(
        manners,
        expected(),
        Check::Injection,
        &["plaintext injected before STARTTLS is dropped"],
    );
}

#[test]
fn each_way_to_relay_is_found_by_its_own_line() {
    let one = |relays: fn(&str) -> bool, wanted: &[&str]| {
        let report = run(Manners { relays, ..polite() }, expected(), &[Check::Relay]);
        let failed = titles(&report, Outcome::Failed);
        for title in wanted {
            assert!(
                failed.contains(&format!("no relay: {title}").as_str()),
                "{title}: {failed:?}"
            );
        }
        failed.len()
    };
    let all = one(
        |_| true,
        &[
            "Q304897 test 1, from outside to outside",
            "percent hack",
            "source route",
        ],
    );
    assert_eq!(all, 36);
    let percent = one(
        |path| path.contains('%'),
        &[
            "Q304897 test 6, percent without a domain",
            "percent hack",
            "quoted percent hack",
            "source route with percent hack",
        ],
    );
    assert!(percent < 10, "{percent}");
    assert_eq!(
        one(
            |path| path.contains('!') && !path.contains('@'),
            &["bang path", "bang path over the local domain"]
        ),
        2
    );
    assert_eq!(
        one(
            |path| !path.is_ascii(),
            &[
                "look-alike of the local domain",
                "full-width @",
                "full-width @ at the local domain",
            ]
        ),
        3
    );
    assert_eq!(one(|path| !path.starts_with('<'), &["without brackets"]), 1);
}

#[test]
fn a_recipient_put_off_is_no_proof() {
    let manners = Manners {
        recipient_code: 450,
        ..polite()
    };
    let report = run(manners, expected(), &[Check::Relay]);
    assert_eq!(
        report.count(Outcome::NotTested),
        36,
        "{:#?}",
        report.findings
    );
}

#[test]
fn each_false_end_of_data_is_found() {
    for (end, title) in [
        ("\n.\n", "LF.LF does not end a message"),
        ("\r.\r", "CR.CR does not end a message"),
        ("\r\n.\r", "CRLF.CR does not end a message"),
    ] {
        let ends: &'static [&'static str] = Box::leak(Box::new([end]));
        let report = run(
            Manners { ends, ..polite() },
            expected(),
            &[Check::Smuggling],
        );
        assert!(
            titles(&report, Outcome::Failed).contains(&title),
            "{:#?}",
            report.findings
        );
    }
    let closes = Manners {
        bare_newline_closes: true,
        ..polite()
    };
    fails(closes, expected(), Check::Smuggling, &[]);
}

#[test]
fn names_that_are_told_are_found() {
    for name in ["postmaster", "nobody"] {
        let manners = Manners {
            verifies: Some(name),
            ..polite()
        };
        fails(
            manners,
            expected(),
            Check::Users,
            &[
                "VRFY does not tell who has a mailbox",
                "EXPN does not tell who has a mailbox",
            ],
        );
    }
}

#[test]
fn what_is_answered_behind_quit_is_found() {
    let manners = Manners {
        answers_behind_quit: true,
        ..polite()
    };
    fails(
        manners,
        expected(),
        Check::Turns,
        &["what stands behind QUIT is not answered"],
    );
}

#[test]
fn limits_that_do_not_hold_are_found() {
    for (manners, title) in [
        (
            Manners {
                size: Some(5000),
                ..polite()
            },
            "a message declared too large is refused at MAIL",
        ),
        (
            Manners {
                size: None,
                ..polite()
            },
            "a message declared too large is refused at MAIL",
        ),
        (
            Manners {
                longest_line: usize::MAX,
                ..polite()
            },
            "an endless command line is refused",
        ),
        (
            Manners {
                max_errors: 2000,
                ..polite()
            },
            "too many bad commands end the session",
        ),
        (
            Manners {
                max_recipients: 2000,
                ..polite()
            },
            "too many recipients are refused",
        ),
        (
            Manners {
                max_connections: 2000,
                ..polite()
            },
            "too many connections of one address are refused",
        ),
    ] {
        fails(manners, expected(), Check::Limits, &[title]);
    }
}

/// What a peer does that is no mail server.
type Hostile = fn(tokio::net::TcpStream) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

async fn hostile(peer: Hostile) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(peer(stream));
        }
    });
    address
}

#[test]
fn peers_that_are_no_mail_servers_hold_up_nothing() {
    let peers: [(&str, Hostile); 8] = [
        ("silence", |mut s| {
            Box::pin(async move {
                let _ = s.read_to_end(&mut Vec::new()).await;
            })
        }),
        ("close", |s| Box::pin(async move { drop(s) })),
        ("close behind the greeting", |mut s| {
            Box::pin(async move {
                let _ = s.write_all(b"220 x\r\n").await;
            })
        }),
        ("garbage", |mut s| {
            Box::pin(async move {
                let _ = s.write_all(&[0x16, 0xff, 0, 0x1b, 0x80]).await;
                let _ = s.read_to_end(&mut Vec::new()).await;
            })
        }),
        ("half a reply", |mut s| {
            Box::pin(async move {
                let _ = s.write_all(b"220-x\r\n22").await;
                let _ = s.read_to_end(&mut Vec::new()).await;
            })
        }),
        ("an endless line", |mut s| {
            Box::pin(async move { while s.write_all(&[b'2'; 4096]).await.is_ok() {} })
        }),
        ("endless lines", |mut s| {
            Box::pin(async move { while s.write_all(b"220-x\r\n").await.is_ok() {} })
        }),
        ("yes to everything", |mut s| {
            Box::pin(async move {
                let _ = s.write_all(b"220 x\r\n").await;
                let mut bytes = [0; 4096];
                while s.read(&mut bytes).await.is_ok_and(|read| read > 0) {
                    let _ = s.write_all(b"250 yes\r\n").await;
                }
            })
        }),
    ];
    for (name, peer) in peers {
        let begin = Instant::now();
        let pace = Pace {
            wait: Duration::from_millis(200),
            check: Duration::from_secs(3),
            ..pace()
        };
        let report = block(async {
            let address = hostile(peer).await;
            look(address, &expected(), &Check::ALL, pace).await.unwrap()
        });
        assert!(
            begin.elapsed() < Duration::from_secs(30),
            "{name}: {:?}",
            begin.elapsed()
        );
        for check in Check::ALL {
            assert!(
                report.findings.iter().any(|f| f.check == check.name()),
                "{name}: {check}"
            );
        }
    }
}

#[test]
fn nobody_there_is_an_error_and_no_report() {
    let gone = block(async {
        let address = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        look(address, &expected(), &Check::ALL, pace()).await
    });
    assert!(matches!(gone, Err(Fault::Connect(_))));
}

#[test]
fn all_ends_in_its_time() {
    let begin = Instant::now();
    let pace = Pace {
        wait: Duration::from_secs(20),
        check: Duration::from_secs(20),
        whole: Duration::from_millis(300),
        ..pace()
    };
    let report = block(async {
        let silent: Hostile = |mut s| {
            Box::pin(async move {
                let _ = s.read_to_end(&mut Vec::new()).await;
            })
        };
        look(hostile(silent).await, &expected(), &Check::ALL, pace)
            .await
            .unwrap()
    });
    assert!(begin.elapsed() < Duration::from_secs(10));
    assert!(!report.says_something());
    assert!(
        report
            .findings
            .iter()
            .any(|f| f.title == "what was left to test"),
        "{:#?}",
        report.findings
    );
}

//! Every kind of report, compared with a file people can read. `UPDATE_GOLDEN=1` writes the files anew.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use postern_delivery::notice::{self, Action, Notice, Report};
use postern_smtp::EnhancedCode;
use postern_spool::{Body, BodyKind, Envelope, Notify, Recipient, Ret};

const NOON: u64 = 1_795_521_600_000;
const HOUR: u64 = 3_600_000;
const MESSAGE: &[u8] = b"Received: from client (client.test [192.0.2.99])\r\n\tby mx1.test with ESMTP id 0000100000001\r\n\
From: Alice <alice@example.com>\r\nTo: bob@example.net\r\nSubject: Quarterly\r\n figures\r\nMessage-ID: <1@example.com>\r\n\
\r\nThe figures are fine.\r\n";

struct Case {
    envelope: Envelope,
    message: Vec<u8>,
    reports: Vec<(usize, Action, EnhancedCode, &'static str, &'static str)>,
}

fn case() -> Case {
    let mut envelope = Envelope::new(
        "alice@example.com",
        vec![Recipient::new("bob@example.net")],
        NOON - 2 * HOUR,
    );
    envelope.helo = Some("client".into());
    Case {
        envelope,
        message: MESSAGE.to_vec(),
        reports: Vec::new(),
    }
}

fn compose(case: &Case) -> (String, notice::Composed) {
    let header = notice::header_of(&mut Body::Inline(case.message.clone())).unwrap();
    let reports: Vec<Report<'_>> = case
        .reports
        .iter()
        .map(|(index, action, status, host, reply)| Report {
            recipient: &case.envelope.recipients[*index],
            action: *action,
            status: *status,
            host,
            reply,
            tried: Some(NOON),
        })
        .collect();
    let notice = Notice {
        fqdn: "mx1.test",
        id: "0000100000002",
        about: "0000100000001",
        envelope: &case.envelope,
        now: NOON,
        expires: NOON + 46 * HOUR,
        reports: &reports,
        header: &header,
        boundary: "=_0123456789abcdef",
    };
    let composed = notice::compose(&notice);
    let mut all = composed.head.clone();
    if composed.whole {
        all.extend_from_slice(&case.message);
    }
    all.extend_from_slice(&composed.tail);
    (String::from_utf8(all).unwrap(), composed)
}

fn golden(name: &str, case: &Case) -> notice::Composed {
    let (text, composed) = compose(case);
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    assert_eq!(
        text.matches('\n').count(),
        text.matches("\r\n").count(),
        "a bare LF"
    );
    assert!(
        text.lines().all(|line| line.len() <= 998),
        "a line beyond RFC 5322's limit"
    );
    let shown = text.replace("\r\n", "\n");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &shown).unwrap();
    }
    let want = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        shown,
        want,
        "{} differs; UPDATE_GOLDEN=1 accepts it",
        path.display()
    );
    composed
}

const NO_SUCH_USER: &str = "550 5.1.1 no such user here";

#[test]
fn failed() {
    let mut case = case();
    case.reports.push((
        0,
        Action::Failed,
        EnhancedCode(5, 1, 1),
        "mail.example.net [192.0.2.7]:25",
        NO_SUCH_USER,
    ));
    let composed = golden("failed.eml", &case);
    assert_eq!(
        (composed.body, composed.smtputf8),
        (BodyKind::SevenBit, false)
    );
}

#[test]
fn failed_with_the_whole_message_and_its_dsn_parameters() {
    let mut case = case();
    case.envelope.ret = Some(Ret::Full);
    case.envelope.envid = Some("order+2B42+0D+0AEvil:+20x".into());
    case.envelope.recipients = vec![
        Recipient {
            address: "bob@example.net".into(),
            notify: Notify::FAILURE,
            orcpt: Some("rfc822;robert+40example.org".into()),
        },
        Recipient {
            address: "carol@example.net".into(),
            notify: Notify::FAILURE,
            orcpt: None,
        },
    ];
    case.reports.push((
        0,
        Action::Failed,
        EnhancedCode(5, 1, 1),
        "mail.example.net [192.0.2.7]:25",
        NO_SUCH_USER,
    ));
    case.reports.push((
        1,
        Action::Failed,
        EnhancedCode(4, 4, 7),
        "",
        "4.4.1 no host of example.net could be reached",
    ));
    let composed = golden("failed_full.eml", &case);
    assert!(composed.whole);
}

#[test]
fn delayed() {
    let mut case = case();
    case.reports.push((
        0,
        Action::Delayed,
        EnhancedCode(4, 4, 1),
        "mail.example.net [192.0.2.7]:25",
        "4.4.1 connection refused",
    ));
    golden("delayed.eml", &case);
}

#[test]
fn delivered_and_relayed() {
    let mut case = case();
    case.envelope.ret = Some(Ret::Full);
    case.reports.push((
        0,
        Action::Delivered,
        EnhancedCode(2, 0, 0),
        "maildir",
        "2.0.0 delivered to the mailbox",
    ));
    assert!(
        !golden("delivered.eml", &case).whole,
        "RET speaks of failures only"
    );
    case.reports[0] = (
        0,
        Action::Relayed,
        EnhancedCode(2, 0, 0),
        "mail.example.net [192.0.2.7]:25",
        "250 2.0.0 queued as 17",
    );
    golden("relayed.eml", &case);
}

#[test]
fn failed_with_letters_beyond_ascii() {
    let mut case = case();
    case.envelope.smtputf8 = true;
    case.envelope.body = BodyKind::EightBit;
    case.envelope.sender = "jürgen@exämple.com".into();
    case.envelope.recipients[0].address = "жанна@пример.test".into();
    case.message = "Subject: Grüße\r\n\r\nÄ\r\n".into();
    case.reports.push((
        0,
        Action::Failed,
        EnhancedCode(5, 6, 7),
        "mail.example.net [192.0.2.7]:25",
        "5.6.7 the host does not offer SMTPUTF8",
    ));
    let composed = golden("failed_utf8.eml", &case);
    assert_eq!(
        (composed.body, composed.smtputf8),
        (BodyKind::EightBit, true)
    );
}

#[test]
fn a_binary_message_is_not_returned_whole() {
    let mut case = case();
    case.envelope.ret = Some(Ret::Full);
    case.envelope.body = BodyKind::Binary;
    case.reports
        .push((0, Action::Failed, EnhancedCode(5, 1, 1), "", "x"));
    assert!(!compose(&case).1.whole);
}

#[test]
fn notify_says_what_is_owed() {
    use Action::*;
    let all = [Failed, Delayed, Delivered, Relayed];
    for (notify, want) in [
        (Notify::UNSAID, [true, true, false, false]),
        (Notify::NEVER, [false; 4]),
        (Notify::FAILURE, [true, false, false, false]),
        (Notify::DELAY, [false, true, false, false]),
        (Notify::SUCCESS, [false, false, true, true]),
        (Notify::SUCCESS | Notify::FAILURE | Notify::DELAY, [true; 4]),
    ] {
        assert_eq!(
            all.map(|action| notice::owed("a@b", notify, action)),
            want,
            "{notify:?}"
        );
        assert_eq!(
            all.map(|action| notice::owed("", notify, action)),
            [false; 4],
            "the null sender is never answered"
        );
    }
}

#[test]
fn a_header_is_found_and_bounded() {
    let header = |text: &[u8]| notice::header_of(&mut Body::Inline(text.to_vec())).unwrap();
    assert_eq!(header(b"A: b\r\nC: d\r\n\r\nbody"), b"A: b\r\nC: d\r\n");
    assert_eq!(header(b"A: b\r\n"), b"A: b\r\n");
    assert_eq!(header(b"\r\nbody"), b"");
    assert_eq!(header(b""), b"");
    let long = b"A: 0123456789\r\n".repeat(10_000);
    let cut = header(&long);
    assert!(cut.len() <= notice::HEADER_LIMIT && cut.ends_with(b"\r\n"));
}

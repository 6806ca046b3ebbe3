//! How it ends: well, at the end of the link; with one clear line, wherever it cannot go on.

use std::os::fd::AsFd;

use postern_control::auth::{Answer, Question};
use rustix::net::{SendFlags, send};

use crate::ntlm::file;
use crate::stage::{Authd, terms};

/// Sends octets as they are, and waits for the end.
fn nonsense(mut authd: Authd, octets: &[u8], greeted: bool) -> String {
    if greeted {
        authd.greet();
    }
    send(authd.link.as_fd(), octets, SendFlags::empty()).unwrap();
    let end = authd.ends();
    assert_eq!(end.status.code(), Some(70), "{}", end.log);
    end.log
}

fn hashes() -> Authd {
    Authd::spawn(&["mx1", "hashes"], file(&["alice"]).as_bytes())
}

#[test]
fn it_ends_well_when_the_worker_hangs_up() {
    for greeted in [false, true] {
        let mut authd = hashes();
        if greeted {
            authd.greet();
            authd.begin("NTLM", &crate::by_hand::negotiate(), &terms(&[]));
        }
        let end = authd.hang_up();
        assert_eq!(end.status.code(), Some(0), "{}", end.log);
        assert!(!end.log.contains("ERROR"), "{}", end.log);
    }
}

#[test]
fn nonsense_ends_it_with_one_clear_line() {
    for octets in [
        b"\xff\0\xfe".as_slice(),
        b"{}",
        br#"{"Begin":{}}"#,
        br#"{"Respond":{"exchange":-1,"response":""}}"#,
        br#"{"Respond":{"exchange":1,"response":"0g"}}"#,
        br#"{"Proceed":{"exchange":1,"more":2}}"#,
        &[b'['; 60_000],
        &[b'a'; 70_000],
    ] {
        let log = nonsense(hashes(), octets, true);
        assert!(
            log.contains("the link to the worker: malformed packet"),
            "{log}"
        );
        assert_eq!(log.matches("ERROR").count(), 1, "{log}");
    }
}

#[test]
fn words_out_of_order_end_it_too() {
    let log = nonsense(hashes(), br#"{"Proceed":{"exchange":1}}"#, false);
    assert!(log.contains("a question before Hello"), "{log}");
    let log = nonsense(hashes(), br#"{"Hello":{"version":1}}"#, true);
    assert!(log.contains("a second Hello"), "{log}");
    let log = nonsense(hashes(), br#"{"Hello":{"version":77}}"#, false);
    assert!(log.contains("version 77"), "{log}");
}

#[test]
fn a_number_used_twice_is_answered() {
    let mut authd = hashes();
    authd.greet();
    let (exchange, _) = authd.begin("NTLM", &crate::by_hand::negotiate(), &terms(&[]));
    let again = authd.ask(&Question::Begin {
        exchange,
        mechanism: "NTLM".to_owned(),
        initial: crate::by_hand::negotiate().as_slice().into(),
        terms: Box::new(terms(&[])),
    });
    assert!(matches!(again, Answer::Unavailable { .. }), "{again:?}");
}

#[test]
fn a_bad_line_among_the_hashes_is_named() {
    let text = format!("# ours\n{}bob:12\n", file(&["alice"]));
    let end = Authd::spawn(&["mx1", "hashes"], text.as_bytes()).ends();
    assert_eq!(end.status.code(), Some(78), "{}", end.log);
    assert!(end.log.contains("line 3: "), "{}", end.log);
    assert!(end.log.contains("32 hexadecimal digits"), "{}", end.log);
}

#[test]
fn whoever_calls_it_wrongly_hears_how_it_is_called() {
    for arguments in [
        &["mx1"][..],
        &[],
        &["mx1", "plain"],
        &["mx1", "hashes", "3"],
        &["mx1", "kerberos", "x"],
        &["mx1", "kerberos", "3", "4"],
    ] {
        let end = Authd::spawn(arguments, b"").ends();
        let expected = match arguments.get(1) {
            Some(&"kerberos") if cfg!(not(feature = "kerberos")) => 78,
            _ => 64,
        };
        assert_eq!(
            end.status.code(),
            Some(expected),
            "{arguments:?} {}",
            end.log
        );
    }
}

#[cfg(feature = "kerberos")]
#[test]
fn what_is_no_keytab_is_refused_at_the_start() {
    for (keytab, why) in [
        (&b""[..], "the keytab is empty"),
        (b"alice:12\n", "the keytab is no keytab"),
        (
            b"\x05\x02\0\0\0\x40abc",
            "the keytab is cut off, or damaged",
        ),
    ] {
        let end = Authd::spawn(&["mx1", "kerberos"], keytab).ends();
        assert_eq!(end.status.code(), Some(78), "{}", end.log);
        assert!(end.log.contains(why), "{}", end.log);
    }
}

#[cfg(not(feature = "kerberos"))]
#[test]
fn a_build_without_kerberos_says_so() {
    let end = Authd::spawn(&["mx1", "kerberos"], b"\x05\x02").ends();
    assert_eq!(end.status.code(), Some(78), "{}", end.log);
    assert!(end.log.contains("built without Kerberos"), "{}", end.log);
}

#[test]
fn it_is_shut_off_before_it_answers() {
    let mut authd = hashes();
    authd.greet();
    let status = authd.proc("status");
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    let limits = authd.proc("limits");
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let zeros = core
        .unwrap_or_default()
        .split_whitespace()
        .filter(|word| *word == "0");
    assert_eq!(zeros.count(), 2, "{limits}");
}

#![allow(clippy::unwrap_used)]

use super::*;

fn checked(line: &str) -> Result<Checked, String> {
    let (id, answer) = Answer::parse(line.as_bytes()).unwrap();
    assert_eq!(id, 7);
    answer.judge()
}

#[test]
fn answers_mean_what_dovecot_documents() {
    let Ok(Checked::Right(alice)) = checked("OK\t7\tuser=alice@example.test\toriginal_user=a")
    else {
        panic!();
    };
    assert_eq!(alice.account, "alice@example.test");
    assert_eq!(alice.addresses, ["alice@example.test"]);
    let Ok(Checked::Right(bob)) = checked("OK\t7\tuser=bob") else {
        panic!();
    };
    assert!(bob.addresses.is_empty());
    assert!(matches!(
        checked("FAIL\t7\tuser=alice"),
        Ok(Checked::Unknown)
    ));
    for wrong in [
        "FAIL\t7\tuser=a\tcode=user_disabled",
        "FAIL\t7\tuser=a\treason=go away",
        "OK\t7\tuser=a\tnologin\treason=moved",
    ] {
        assert!(matches!(checked(wrong), Ok(Checked::Wrong(_))), "{wrong}");
    }
    for temporary in [
        "FAIL\t7\tuser=a\ttemp",
        "FAIL\t7\tuser=a\tcode=temp_fail",
        "CONT\t7\tabcd",
        "OK\t7",
        "OK\t7\tuser=",
    ] {
        assert!(checked(temporary).is_err(), "{temporary}");
    }
    for other in ["", "OK", "OK\tx", "MECH\tPLAIN", "OK\t-1", "OK\t4294967296"] {
        assert!(Answer::parse(other.as_bytes()).is_none(), "{other}");
    }
}

#[test]
fn escapes_are_undone() {
    assert_eq!(
        field(b"user=a\x01tb\x011\x01n"),
        ("user".to_owned(), "a\tb\u{1}\n".to_owned())
    );
    assert_eq!(field(b"temp\x01"), ("temp".to_owned(), String::new()));
}

#[test]
fn a_request_says_where_it_comes_from() {
    let mut occasion = Occasion {
        client: "192.0.2.7".parse().unwrap(),
        local: "2001:db8::1".parse().unwrap(),
        secured: true,
    };
    let said = request(&occasion, "bob", &Secret::from("pw\t\n"));
    assert_eq!(
        String::from_utf8_lossy(said.expose()),
        "PLAIN\tservice=smtp\tsecured\tno-penalty\tlip=2001:db8::1\trip=192.0.2.7\tresp=AGJvYgBwdwkK\n"
    );
    occasion.secured = false;
    let said = request(&occasion, "bob", &Secret::from("pw"));
    assert!(!String::from_utf8_lossy(said.expose()).contains("secured"));
}

#[test]
fn lines_come_in_pieces() {
    let mut lines = Lines(b"DONE\nOK\t1\tus".to_vec());
    assert_eq!(lines.next().as_deref(), Some(&b"DONE"[..]));
    assert_eq!(lines.next(), None);
    lines.0.extend_from_slice(b"er=a\n");
    assert_eq!(lines.next().as_deref(), Some(&b"OK\t1\tuser=a"[..]));
}

#![allow(clippy::unwrap_used)]

use super::*;

fn entry_message() -> Vec<u8> {
    let value = |text: &[u8]| element(OCTETS, text);
    let attribute = |name: &str, values: &[Vec<u8>]| {
        group(SEQUENCE, &[value(name.as_bytes()), group(SET, values)])
    };
    let listed = [
        attribute("mail", &[value(b"alice@example.test"), value(b"\xff")]),
        attribute("proxyAddresses;range=0-1", &[value(b"SMTP:a@example.test")]),
    ];
    let content = [value(b"uid=alice,dc=test"), group(SEQUENCE, &listed)];
    message(7, group(0x64, &content))
}

#[test]
fn a_bind_is_as_rfc_4511_has_it() {
    let sent = bind(1, "cn=a", &Secret::from("pw"));
    let wanted = b"\x30\x12\x02\x01\x01\x60\x0d\x02\x01\x03\x04\x04cn=a\x80\x02pw";
    assert_eq!(sent.expose(), wanted);
    let long = "x".repeat(300);
    let sent = bind(70_000, &long, &Secret::from(long.as_str()));
    let mut message = Content(sent.expose()).expect(SEQUENCE).unwrap();
    assert_eq!(message.expect(INTEGER).unwrap().number(), Ok(70_000));
    let mut asked = message.expect(0x60).unwrap();
    assert_eq!(asked.expect(INTEGER).unwrap().number(), Ok(3));
    assert_eq!(asked.expect(OCTETS).unwrap().0, long.as_bytes());
    assert_eq!(asked.expect(0x80).unwrap().0, long.as_bytes());
    assert_eq!((asked.next(), message.next()), (Ok(None), Ok(None)));
}

#[test]
fn a_name_stays_one_value_of_the_filter() {
    let wanted = LdapFilter::parse("(|(uid={name})(cn=a*{name}*z))").unwrap();
    let name = "*)(uid=*\0";
    let octets = filter(&wanted, name);
    let mut either = Content(&octets).expect(0xa1).unwrap();
    let mut equal = either.expect(0xa3).unwrap();
    assert_eq!(equal.expect(OCTETS).unwrap().0, b"uid");
    assert_eq!(equal.expect(OCTETS).unwrap().0, name.as_bytes());
    let mut parts = either.expect(0xa4).unwrap();
    assert_eq!(parts.expect(OCTETS).unwrap().0, b"cn");
    let mut parts = parts.expect(SEQUENCE).unwrap();
    assert_eq!(parts.expect(0x80).unwrap().0, b"a");
    assert_eq!(parts.expect(0x81).unwrap().0, name.as_bytes());
    assert_eq!(parts.expect(0x82).unwrap().0, b"z");
    assert_eq!(either.next(), Ok(None));
}

#[test]
fn a_rule_of_the_server_is_named() {
    let wanted = LdapFilter::parse("(member:dn:1.2.3:={name})").unwrap();
    let octets = filter(&wanted, "cn=x");
    let mut parts = Content(&octets).expect(0xa9).unwrap();
    assert_eq!(parts.expect(0x81).unwrap().0, b"1.2.3");
    assert_eq!(parts.expect(0x82).unwrap().0, b"member");
    assert_eq!(parts.expect(0x83).unwrap().0, b"cn=x");
    assert_eq!(parts.expect(0x84).unwrap().0, [0xff]);
}

#[test]
fn entries_are_read_with_what_is_text_in_them() {
    let (id, response) = parse(&entry_message()).unwrap();
    let Response::Entry(entry) = response else {
        panic!("{response:?}");
    };
    assert_eq!((id, entry.dn.as_str()), (7, "uid=alice,dc=test"));
    let mails: Vec<&str> = entry.values("MAIL").collect();
    assert_eq!(mails, ["alice@example.test"]);
    assert_eq!(entry.values("proxyaddresses").count(), 1);
}

#[test]
fn outcomes_carry_the_words_of_the_server() {
    let parts = [
        number(ENUMERATED, 49),
        element(OCTETS, b""),
        element(OCTETS, b"data 52e\0"),
    ];
    let octets = message(2, group(0x61, &parts));
    let wanted = Outcome {
        code: 49,
        text: "data 52e".to_owned(),
    };
    assert_eq!(parse(&octets), Ok((2, Response::Bound(wanted))));
}

/// Every cut, every octet flipped and every octet replaced: an error or an answer, never a panic.
#[test]
fn damaged_messages_do_no_harm() {
    let whole = entry_message();
    for cut in 0..whole.len() {
        let _ = parse(&whole[..cut]);
    }
    for at in 0..whole.len() {
        for octet in [0, 1, 0x30, 0x7f, 0x80, 0x81, 0x84, 0xff, !whole[at]] {
            let mut damaged = whole.clone();
            damaged[at] = octet;
            let _ = parse(&damaged);
        }
    }
    let bomb = [0x30, 0x84, 0x7f, 0xff, 0xff, 0xff].repeat(1000);
    assert_eq!(parse(&bomb), Err(Malformed));
}

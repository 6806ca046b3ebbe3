//! Addresses good and bad, as tables.

use super::*;

#[test]
fn mailboxes_that_are_kept_as_written() {
    for text in [
        "a@b.c",
        "John.Doe+tag@Example.COM",
        "!#$%&'*+-/=?^_`{|}~@x.org",
        "\"a b\"@c.d",
        "\"a@b\"@c.d",
        "\"a\\\"b\"@c.d",
        "\"a>b\"@c.d",
        "user%domain@c.d",
        "host!user@c.d",
        "a@[192.0.2.1]",
        "a@[IPv6:2001:db8::1]",
        "a@localhost",
        "a@my_host.example",
        "a@1and1.com",
        "a@xn--bcher-kva.example",
    ] {
        assert_eq!(
            Mailbox::parse(text, false)
                .map(|mailbox| mailbox.to_string())
                .as_deref(),
            Ok(text)
        );
    }
}

#[test]
fn texts_that_are_no_mailbox() {
    use AddressError::*;
    for (text, error) in [
        ("", Syntax),
        ("a", NoDomain),
        ("\"a\"", NoDomain),
        ("@b.c", Syntax),
        ("a@", Syntax),
        ("a@@b.c", Syntax),
        ("a@b.c@d.e", Syntax),
        ("a@b.c.", Syntax),
        ("a@.b.c", Syntax),
        ("a@b..c", Syntax),
        ("a@-b.c", Syntax),
        ("a@b-.c", Syntax),
        ("a@192.0.2.1", Syntax),
        (".a@b.c", Syntax),
        ("a.@b.c", Syntax),
        ("a..b@b.c", Syntax),
        ("a b@b.c", Syntax),
        ("a(c)@b.c", Syntax),
        ("a,b@b.c", Syntax),
        ("\"a@b.c", Syntax),
        ("\"\"@b.c", Syntax),
        ("\"a\"b@b.c", Syntax),
        ("\"a\tb\"@b.c", Syntax),
        ("a@b.c ", Syntax),
        (" a@b.c", Syntax),
        ("<a@b.c>", Syntax),
        ("a@[192.0.2.1", Syntax),
        ("a@[192.0.2.256]", Syntax),
        ("a@[192.0.2.01]", Syntax),
        ("a@[::1]", Syntax),
        ("a@[IPv6:::1%1]", Syntax),
        ("a@[X:1]", Syntax),
        ("a@[]", Syntax),
        ("a\0@b.c", Syntax),
        ("a@b\0.c", Syntax),
        ("m\u{fc}ller@b.c", NeedsUtf8),
        ("a@b\u{fc}cher.example", NeedsUtf8),
        ("\"m\u{fc}\"@b.c", NeedsUtf8),
        ("a\u{a0}b@b.c", Syntax),
    ] {
        assert_eq!(Mailbox::parse(text, false), Err(error), "{text:?}");
    }
}

#[test]
fn utf8_where_it_was_announced() {
    for text in [
        "m\u{fc}ller@b\u{fc}cher.example",
        "\"m \u{fc}\"@b.c",
        "\u{7528}\u{6237}@\u{4f8b}\u{5b50}.\u{5e7f}\u{544a}",
    ] {
        assert!(Mailbox::parse(text, true).unwrap().needs_utf8(), "{text}");
    }
    // A dot that only IDNA sees as one, an invisible sign, a direction override.
    for text in [
        "a@b\u{3002}c.d",
        "a@b\u{ff0e}c",
        "a\u{200b}@b.c",
        "a@b\u{202e}.c",
        "\"\\\u{fc}\"@b.c",
    ] {
        assert_eq!(
            Mailbox::parse(text, true),
            Err(AddressError::Syntax),
            "{text}"
        );
    }
}

#[test]
fn lengths() {
    let long = |local: usize, label: usize, labels: usize| {
        let domain = vec!["d".repeat(label); labels].join(".");
        Mailbox::parse(&format!("{}@{domain}", "l".repeat(local)), false)
    };
    assert!(long(64, 63, 2).is_ok());
    assert_eq!(long(65, 3, 2), Err(AddressError::TooLong));
    assert_eq!(long(1, 64, 2), Err(AddressError::Syntax));
    assert!(long(1, 63, 3).is_ok());
    assert_eq!(long(1, 63, 5), Err(AddressError::TooLong));
    let path = format!(
        "<{}@{}>",
        "l".repeat(64),
        ["d".repeat(63), "d".repeat(63), "d".repeat(62)].join(".")
    );
    assert_eq!(path.len(), 257);
    assert_eq!(forward_path(&path, false), Err(AddressError::TooLong));
}

#[test]
fn reverse_paths() {
    let parsed = |text| {
        reverse_path(text, false)
            .map(|(path, rest)| (path.path.to_string(), path.source_route, rest))
    };
    assert_eq!(
        parsed("<> BODY=7BIT"),
        Ok((String::new(), false, " BODY=7BIT"))
    );
    assert_eq!(parsed("<a@b.c>"), Ok(("a@b.c".into(), false, "")));
    assert_eq!(
        parsed("<@x.y,@[192.0.2.1]:a@b.c>"),
        Ok(("a@b.c".into(), true, ""))
    );
    assert_eq!(
        parsed("<\"a> b\"@b.c> X"),
        Ok(("\"a> b\"@b.c".into(), false, " X"))
    );
    for text in [
        "",
        "<",
        "a@b.c",
        "<a@b.c",
        "< a@b.c>",
        "<a@b.c >",
        "<@x.y>",
        "<@x.y,a@b.c>",
        "<@x.y:>",
        "<@:a@b.c>",
        "<<a@b.c>>",
    ] {
        assert_eq!(parsed(text), Err(AddressError::Syntax), "{text}");
    }
    assert_eq!(parsed("<postmaster>"), Err(AddressError::NoDomain));
}

#[test]
fn forward_paths() {
    let parsed =
        |text| forward_path(text, false).map(|(path, rest)| (path.path, path.source_route, rest));
    assert_eq!(
        parsed("<PostMaster> NOTIFY=NEVER"),
        Ok((ForwardPath::Postmaster, false, " NOTIFY=NEVER"))
    );
    assert_eq!(parsed("<>"), Err(AddressError::Syntax));
    assert_eq!(parsed("<user>"), Err(AddressError::NoDomain));
    assert!(matches!(
        parsed("<@a.b:postmaster@c.d>"),
        Ok((ForwardPath::Mailbox(_), true, ""))
    ));
}

#[test]
fn comparison_and_quotes() {
    let mailbox = |text: &str| text.parse::<Mailbox>().unwrap();
    assert_eq!(mailbox("a@Example.com"), mailbox("a@eXAMPLE.COM"));
    assert_ne!(mailbox("A@example.com"), mailbox("a@example.com"));
    assert_eq!(mailbox("\"a \\\"b\\\\\"@c.d").unquoted_local(), "a \"b\\");
    assert_eq!(mailbox("\"abc\"@c.d").unquoted_local(), "abc");
    assert_eq!(mailbox("abc@c.d").unquoted_local(), "abc");
    assert_eq!(
        mailbox("a@[ipv6:2001:DB8:0::1]").to_string(),
        "a@[IPv6:2001:db8::1]"
    );
}

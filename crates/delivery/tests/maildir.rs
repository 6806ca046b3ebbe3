//! Delivery to mailboxes in temporary folders.
#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use postern_delivery::maildir::{self, Letter, Template};
use postern_delivery::{Handed, Outcome};
use postern_spool::{Body, BodyKind};
use tempfile::TempDir;

fn base() -> (TempDir, Template) {
    let folder = tempfile::tempdir().unwrap();
    let template =
        Template::parse(&format!("{}/{{domain}}/{{local}}", folder.path().display())).unwrap();
    (folder, template)
}

fn deliver(template: &Template, name: &str, address: &str, body: &[u8], kind: BodyKind) -> Outcome {
    let body = RefCell::new(Body::Inline(body.to_vec()));
    let letter = Letter {
        name: name.into(),
        sender: "a@b.test",
        address,
        kind,
        body: &body,
    };
    maildir::deliver(template, &[letter]).remove(0)
}

fn files(folder: impl AsRef<Path>) -> Vec<String> {
    fs::read_dir(folder)
        .unwrap()
        .map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
        .collect()
}

fn refused(outcome: &Outcome, code: &str, words: &str) {
    let text = outcome.answer().to_string();
    assert!(text.starts_with(code) && text.contains(words), "{text}");
    assert!(!matches!(outcome, Outcome::Delivered(..)));
}

#[test]
fn a_message_lands_in_new_with_its_trace_lines() {
    let (folder, template) = base();
    let outcome = deliver(
        &template,
        "1.M2Q3R0.mx",
        "Bob@Example.COM",
        b"Subject: x\r\n\r\na\rb\r\n.\r\n",
        BodyKind::SevenBit,
    );
    assert!(
        matches!(outcome, Outcome::Delivered(_, Handed::Mailbox)),
        "{outcome:?}"
    );
    let mailbox = folder.path().join("example.com/bob");
    assert_eq!(
        files(mailbox.join("new")),
        ["Return-Path: <a@b.test>\nDelivered-To: Bob@Example.COM\nSubject: x\n\na\rb\n.\n"]
    );
    assert!(files(mailbox.join("tmp")).is_empty() && files(mailbox.join("cur")).is_empty());
    assert_eq!(
        fs::metadata(&mailbox).unwrap().permissions().mode() & 0o777,
        0o700
    );
    let letter = fs::read_dir(mailbox.join("new"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    assert_eq!(
        letter.metadata().unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[test]
fn binary_keeps_its_line_ends() {
    let (folder, template) = base();
    deliver(&template, "n", "b@c", b"x\r\ny", BodyKind::Binary);
    assert!(files(folder.path().join("c/b/new"))[0].ends_with("x\r\ny"));
}

#[test]
fn the_same_message_again_is_recognised_and_another_is_not_lost() {
    let (folder, template) = base();
    for _ in 0..2 {
        assert!(matches!(
            deliver(&template, "same", "b@c", b"x\r\n", BodyKind::SevenBit),
            Outcome::Delivered(..)
        ));
    }
    assert_eq!(files(folder.path().join("c/b/new")).len(), 1);
    refused(
        &deliver(&template, "same", "b@c", b"longer\r\n", BodyKind::SevenBit),
        "4.3.0",
        "cannot store",
    );
    fs::write(folder.path().join("c/b/tmp/left"), "half").unwrap();
    assert!(matches!(
        deliver(&template, "left", "b@c", b"x\r\n", BodyKind::SevenBit),
        Outcome::Delivered(..)
    ));
    assert_eq!(files(folder.path().join("c/b/new")).len(), 2);
}

#[test]
fn many_letters_at_once_have_an_outcome_each() {
    let (folder, template) = base();
    let bodies: Vec<RefCell<Body>> = (0..40)
        .map(|n| RefCell::new(Body::Inline(format!("{n}\r\n").into_bytes())))
        .collect();
    let addresses: Vec<String> = (0..40)
        .map(|n| {
            if n % 10 == 9 {
                "../x@c".into()
            } else {
                format!("u{}@c", n % 3)
            }
        })
        .collect();
    let letters: Vec<Letter<'_>> = bodies
        .iter()
        .zip(&addresses)
        .enumerate()
        .map(|(n, (body, address))| Letter {
            name: format!("n{n}"),
            sender: "",
            address,
            kind: BodyKind::SevenBit,
            body,
        })
        .collect();
    let outcomes = maildir::deliver(&template, &letters);
    for (n, outcome) in outcomes.iter().enumerate() {
        match n % 10 {
            9 => refused(outcome, "5.1.3", "cannot name"),
            _ => assert!(matches!(outcome, Outcome::Delivered(..)), "{outcome:?}"),
        }
    }
    let total: usize = (0..3)
        .map(|n| files(folder.path().join(format!("c/u{n}/new"))).len())
        .sum();
    assert_eq!(total, 36);
}

#[test]
fn no_address_leads_out_of_the_template() {
    let (folder, template) = base();
    for address in [
        "../x@c",
        "a/b@c",
        ".hidden@c",
        "\"..\"@c",
        "\"a/b\"@c",
        "\"\"@c",
        "x@..",
        "x@a/b",
        "x@.",
        "a\0b@c",
        "nodomain",
    ] {
        refused(
            &deliver(&template, "n", address, b"x", BodyKind::SevenBit),
            "5.1.3",
            "cannot name",
        );
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    deliver(
        &template,
        "n",
        "\"John \\\"Q\\\" Smith\"@c",
        b"x",
        BodyKind::SevenBit,
    );
    assert_eq!(files(folder.path().join("c/john \"q\" smith/new")).len(), 1);
    deliver(&template, "n", "{domain}@c", b"x", BodyKind::SevenBit);
    assert_eq!(files(folder.path().join("c/{domain}/new")).len(), 1);
}

#[test]
fn a_link_is_not_followed() {
    let (folder, template) = base();
    let elsewhere = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("c")).unwrap();
    symlink(elsewhere.path(), folder.path().join("c/b")).unwrap();
    refused(
        &deliver(&template, "n", "b@c", b"x", BodyKind::SevenBit),
        "4.3.5",
        "link",
    );
    fs::create_dir(folder.path().join("c/d")).unwrap();
    symlink(elsewhere.path(), folder.path().join("c/d/new")).unwrap();
    refused(
        &deliver(&template, "n", "d@c", b"x", BodyKind::SevenBit),
        "4.3.5",
        "link",
    );
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

#[test]
fn a_base_that_is_not_there_is_a_reason_to_wait() {
    let (folder, _) = base();
    let template =
        Template::parse(&format!("{}/mounted/{{local}}", folder.path().display())).unwrap();
    refused(
        &deliver(&template, "n", "b@c", b"x", BodyKind::SevenBit),
        "4.3.5",
        "does not exist",
    );
    fs::write(folder.path().join("mounted"), "").unwrap();
    refused(
        &deliver(&template, "n", "b@c", b"x", BodyKind::SevenBit),
        "4.3.5",
        "not a folder",
    );
}

#[test]
fn templates_are_checked() {
    for (text, base) in [
        ("/var/mail/{domain}/{local}", "/var/mail"),
        ("/var/mail/mail-{local}/Maildir", "/var/mail"),
        ("/home/one/Maildir", "/home/one"),
        ("/home/one/Maildir/", "/home/one"),
        ("demo/{local}", "demo"),
        ("{local}", "."),
        ("/{local}", "/"),
    ] {
        assert_eq!(
            Template::parse(text).unwrap().base(),
            Path::new(base),
            "{text}"
        );
    }
    for bad in ["", "/", "/a/../{local}", "/a/{user}", "/a/{local"] {
        assert!(Template::parse(bad).is_err(), "{bad}");
    }
}

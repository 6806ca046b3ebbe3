//! `postern account …`: the account file, from the outside.

#![allow(clippy::unwrap_used)]

mod common;

use std::os::unix::fs::PermissionsExt;

use common::{Etc, golden, postern, postern_with};

const DEFINITION: &str = r#"[general]
fqdn = "mail.example.com"
listen = ["192.0.2.10:587"]

[access.authentication]
accounts = [{ file = "../accounts/clients.toml" }]
"#;

fn etc() -> Etc {
    let etc = Etc::new();
    etc.write("servers/clients.toml", DEFINITION);
    std::fs::create_dir(etc.path().join("accounts")).unwrap();
    etc
}

fn file(etc: &Etc) -> String {
    std::fs::read_to_string(etc.path().join("accounts/clients.toml")).unwrap()
}

#[test]
fn an_account_is_added_hashed_closed_to_others_and_listed() {
    let etc = etc();
    let add = |name: &str, more: &[&str]| {
        etc.postern_with(
            &[
                &["account", "add", "clients", name, "--password-stdin"],
                more,
            ]
            .concat(),
            "pa ss\u{e9}\n",
        )
    };
    let run = add("alice@example.com", &[]);
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    golden("account-add.txt", &etc.anonymous(&run.out));
    let run = add(
        "scanner",
        &[
            "--address",
            "scanner@example.com",
            "--address",
            "@devices.example.com",
            "--group",
            "devices",
        ],
    );
    assert_eq!(run.code, 0, "{}", run.err);
    let text = file(&etc);
    assert!(
        text.contains("$argon2id$v=19$m=19456,t=2,p=1$") && !text.contains("pa ss"),
        "{text}"
    );
    let mode = std::fs::metadata(etc.path().join("accounts/clients.toml"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let run = etc.postern(&["account", "list", "clients"]);
    golden("account-list.txt", &run.out);
    let run = etc.postern(&["account", "list", "clients", "--json"]);
    let value: serde_json::Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(
        value[1],
        serde_json::json!({ "name": "scanner", "addresses": ["scanner@example.com", "@devices.example.com"], "groups": ["devices"] })
    );
    assert!(!run.out.contains("argon2"));
    assert_eq!(etc.postern(&["check", "clients"]).code, 0);
}

#[test]
fn a_password_is_changed_and_the_rest_kept() {
    let etc = etc();
    etc.postern_with(
        &[
            "account",
            "add",
            "clients",
            "bob",
            "--address",
            "bob@example.com",
            "--password-stdin",
        ],
        "one\n",
    );
    let before = file(&etc);
    let run = etc.postern_with(
        &["account", "password", "clients", "BOB", "--password-stdin"],
        "two\n",
    );
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    let after = file(&etc);
    assert_ne!(before, after);
    assert!(after.contains("bob@example.com"));
    assert_eq!(
        etc.postern(&["account", "remove", "clients", "bob"]).code,
        0
    );
    assert!(
        etc.postern(&["account", "list", "clients"])
            .out
            .starts_with("no accounts in ")
    );
}

#[test]
fn mistakes_change_nothing() {
    let etc = etc();
    etc.postern_with(
        &["account", "add", "clients", "bob", "--password-stdin"],
        "one\n",
    );
    let before = file(&etc);
    for (arguments, input, code, says) in [
        (
            &["add", "clients", "Bob", "--password-stdin"][..],
            "two\n",
            1,
            "there is an account Bob already",
        ),
        (
            &["add", "clients", "eve", "--password-stdin"],
            "\n",
            2,
            "an empty password is not accepted",
        ),
        (
            &["add", "clients", "eve"],
            "x\n",
            2,
            "give --password-stdin",
        ),
        (
            &["add", "clients", "e ve", "--password-stdin"],
            "x\n",
            2,
            "cannot be an account's name",
        ),
        (
            &["password", "clients", "eve", "--password-stdin"],
            "x\n",
            1,
            "there is no account eve",
        ),
        (
            &["remove", "clients", "eve"],
            "",
            1,
            "there is no account eve",
        ),
        (
            &["add", "clients", "--password-stdin"],
            "x\n",
            2,
            "is missing",
        ),
        (
            &["add", "nobody", "eve", "--password-stdin"],
            "x\n",
            2,
            "cannot read",
        ),
    ] {
        let run = etc.postern_with(&[&["account"], arguments].concat(), input);
        assert_eq!(run.code, code, "{arguments:?} {}", run.err);
        assert!(run.err.contains(says), "{arguments:?} {}", run.err);
        assert_eq!(file(&etc), before);
    }
}

#[test]
fn a_file_with_errors_is_left_as_it_is() {
    let etc = etc();
    etc.write("accounts/clients.toml", "[accounts.bob]\npassword = 1\n");
    let run = etc.postern_with(
        &["account", "add", "clients", "eve", "--password-stdin"],
        "x\n",
    );
    assert_eq!(run.code, 2);
    assert!(
        run.err.contains("accounts/clients.toml:2:12"),
        "{}",
        run.err
    );
    assert_eq!(file(&etc), "[accounts.bob]\npassword = 1\n");
}

#[test]
fn a_file_can_be_named_without_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("accounts.toml");
    let path = path.to_str().unwrap();
    assert_eq!(
        postern_with(
            &[
                "account",
                "add",
                "--file",
                path,
                "alice",
                "--password-stdin"
            ],
            "x\n"
        )
        .code,
        0
    );
    assert!(
        postern(&["account", "list", "--file", path])
            .out
            .contains("alice")
    );
    assert_eq!(
        postern(&["account", "remove", "--file", path, "clients", "alice"]).code,
        2
    );
    assert_eq!(
        postern(&["account", "remove", "--file", path, "alice"]).code,
        0
    );
}

#[test]
fn a_server_without_an_account_file_says_what_to_write() {
    let etc = Etc::new();
    etc.write(
        "servers/mx1.toml",
        "[general]\nfqdn = \"mx1.example.com\"\nlisten = [\"192.0.2.10:25\"]\n",
    );
    let run = etc.postern(&["account", "list", "mx1"]);
    assert_eq!(run.code, 2);
    assert!(
        run.err
            .contains("accounts = [{ file = \"../accounts/mx1.toml\" }]"),
        "{}",
        run.err
    );
}

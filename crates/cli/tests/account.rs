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
        serde_json::json!({ "name": "scanner", "addresses": ["scanner@example.com", "@devices.example.com"], "groups": ["devices"], "nt_hash": false })
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

/// A server whose accounts may have NT hashes.
fn with_nt_hashes() -> Etc {
    let etc = etc();
    let file = "{ file = \"../accounts/clients.toml\"";
    let both = format!("{file}, nt_hashes = \"../accounts/clients.nt\"");
    let ntlm = DEFINITION
        .replace(file, &both)
        .replace("accounts =", "ntlm = true\naccounts =");
    etc.write("servers/clients.toml", &ntlm);
    etc
}

fn hashes(etc: &Etc) -> String {
    std::fs::read_to_string(etc.path().join("accounts/clients.nt")).unwrap_or_default()
}

/// Runs `postern account VERB clients MORE` with a password, which must go well.
fn account(etc: &Etc, words: &[&str], password: &str) -> String {
    let run = etc.postern_with(
        &[&["account", words[0], "clients"], &words[1..]].concat(),
        &format!("{password}\n"),
    );
    assert_eq!((run.code, run.err.as_str()), (0, ""), "{words:?}");
    etc.anonymous(&run.out)
}

/// The NT hashes of "password" and "Password" (MS-NLMP 4.2.2.1.2).
const LOWER: &str = "8846f7eaee8fb117ad06bdd830b7586c";
const UPPER: &str = "a4f49c406510bdcab6824ee7c30fd852";

#[test]
fn an_nt_hash_is_kept_apart_follows_the_password_and_goes_with_the_account() {
    let etc = with_nt_hashes();
    let add = ["add", "alice@example.com", "--ntlm", "--password-stdin"];
    golden("account-add-ntlm.txt", &account(&etc, &add, "password"));
    assert!(hashes(&etc).ends_with(&format!("\nalice@example.com:{LOWER}\n")));
    assert!(!file(&etc).contains(LOWER));
    let path = etc.path().join("accounts/clients.nt");
    let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o600);
    account(&etc, &["add", "bob@example.com", "--password-stdin"], "x");
    let list = etc.postern(&["account", "list", "clients"]).out;
    golden("account-list-ntlm.txt", &list);
    // Somebody has opened it; written anew it is closed.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let change = ["password", "ALICE@example.com", "--password-stdin"];
    golden(
        "account-password-ntlm.txt",
        &account(&etc, &change, "Password"),
    );
    assert!(hashes(&etc).ends_with(&format!("\nalice@example.com:{UPPER}\n")));
    assert_eq!(mode(), 0o600);
    let list = etc.postern(&["account", "list", "clients", "--json"]).out;
    let value: serde_json::Value = serde_json::from_str(&list).unwrap();
    assert_eq!(
        (&value[0]["nt_hash"], &value[1]["nt_hash"]),
        (&true.into(), &false.into())
    );
    assert!(!list.contains(UPPER));
    account(
        &etc,
        &["password", "bob@example.com", "--ntlm", "--password-stdin"],
        "password",
    );
    assert!(hashes(&etc).ends_with(&format!("\nbob@example.com:{LOWER}\n")));
    let removed = account(&etc, &["remove", "Alice@example.com"], "");
    golden("account-remove-ntlm.txt", &removed);
    assert!(!hashes(&etc).contains("alice") && hashes(&etc).contains("bob"));
}

#[test]
fn no_password_goes_on_working_for_ntlm_that_was_taken_back() {
    let etc = with_nt_hashes();
    // Somebody has edited the account out, and its hash was left behind.
    etc.write(
        "accounts/clients.nt",
        &format!("Eve:{LOWER}\nmallory:{LOWER}\n"),
    );
    account(&etc, &["add", "eve", "--password-stdin"], "another");
    assert!(!hashes(&etc).contains("Eve:"));
    assert_eq!(
        account(&etc, &["remove", "mallory"], ""),
        "its NT hash removed from [ETC]/accounts/clients.nt\n\
         clients uses it within some 5 seconds, if it is running\n"
    );
    assert!(!hashes(&etc).contains(LOWER));
}

#[test]
fn where_no_file_is_named_for_nt_hashes_it_is_said_what_to_write() {
    let etc = etc();
    let run = etc.postern_with(
        &[
            "account",
            "add",
            "clients",
            "alice",
            "--ntlm",
            "--password-stdin",
        ],
        "x\n",
    );
    assert_eq!(run.code, 2);
    golden("account-no-nt-hashes.txt", &etc.anonymous(&run.err));
    assert!(!etc.path().join("accounts/clients.toml").exists());
}

#[test]
fn a_broken_file_of_nt_hashes_changes_nothing_and_is_not_repeated() {
    let etc = with_nt_hashes();
    account(&etc, &["add", "bob", "--password-stdin"], "one");
    let before = file(&etc);
    etc.write("accounts/clients.nt", &format!("# mine\nbob: {LOWER}0\n"));
    for words in [
        &["add", "clients", "eve", "--ntlm", "--password-stdin"][..],
        &["add", "clients", "eve", "--password-stdin"],
        &["password", "clients", "bob", "--password-stdin"],
        &["remove", "clients", "bob"],
        &["list", "clients"],
    ] {
        let run = etc.postern_with(&[&["account"], words].concat(), "two\n");
        assert_eq!(run.code, 2, "{words:?} {}", run.err);
        assert!(
            run.err.contains("line 2: what stands after the colon"),
            "{}",
            run.err
        );
        assert!(!run.err.contains("8846"), "{}", run.err);
        assert_eq!(file(&etc), before);
    }
}

#[test]
fn files_can_be_named_without_a_server_both_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let named = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (path, nt) = (named("accounts.toml"), named("secret/a.nt"));
    let run = |words: &[&str]| {
        let run = postern_with(&[&["account"], words].concat(), "password\n");
        (run.code, run.err)
    };
    let add = [
        "add",
        "--file",
        &path,
        "--nt-hashes",
        &nt,
        "alice",
        "--ntlm",
        "--password-stdin",
    ];
    assert_eq!(run(&add), (0, String::new()));
    assert!(std::fs::read_to_string(&nt).unwrap().contains(LOWER));
    assert_eq!(
        run(&["remove", "--file", &path, "--nt-hashes", &nt, "alice"]).0,
        0
    );
    assert!(!std::fs::read_to_string(&nt).unwrap().contains("alice"));
    let (code, err) = run(&[
        "add",
        "--file",
        &path,
        "alice",
        "--ntlm",
        "--password-stdin",
    ]);
    assert!(code == 2 && err.contains("--nt-hashes PATH"), "{err}");
    let (code, err) = run(&[
        "add",
        "--file",
        &path,
        "--nt-hashes",
        &nt,
        "#x",
        "--ntlm",
        "--password-stdin",
    ]);
    assert!(code == 2 && err.contains("can have no NT hash"), "{err}");
}

//! `postern new`: options in, or answers on a terminal, and a definition out.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::Write;

use common::{Etc, golden};

#[test]
fn the_least_that_is_asked_for_makes_a_good_definition() {
    let etc = Etc::new();
    let run = etc.postern(&[
        "new",
        "mx1",
        "--fqdn",
        "mx1.example.com",
        "--listen",
        "192.0.2.10:25",
    ]);
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    assert!(
        run.out
            .starts_with(&format!("wrote {}/servers/mx1.toml\n", etc.text())),
        "{}",
        run.out
    );
    let check = etc.postern(&["check", "mx1"]);
    assert_eq!(check.code, 0, "{}", check.out);
    let text = std::fs::read_to_string(etc.path().join("servers/mx1.toml")).unwrap();
    for setting in postern_config::SETTINGS {
        assert!(text.contains(setting.name), "{} is not shown", setting.name);
    }
}

#[test]
fn every_option_reaches_the_definition() {
    let etc = Etc::new();
    let run = etc.postern(&[
        "new",
        "mx1",
        "--fqdn",
        "mx1.example.com",
        "--listen",
        "192.0.2.10:25",
        "--listen",
        "[2001:db8::1]:465,implicit",
        "--listen",
        "10.0.0.1:2525,none",
        "--certificate",
        "/etc/c.pem",
        "--key",
        "/etc/k.pem",
        "--domain",
        "example.com",
        "--domain",
        "example.org",
        "--to",
        "lmtp:unix:/run/lmtp",
        "--recipient",
        "alice",
        "--anonymous",
        "--accounts",
        "/etc/a.toml",
        "--relay",
        "10.0.0.0/8",
        "--smart-host",
        "relay.example.net:587",
        "--description",
        "in \"and\" out",
    ]);
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    let path = etc.path().join("servers/mx1.toml");
    let (definition, findings) =
        postern_config::load(&std::fs::read_to_string(&path).unwrap(), &path);
    let definition = definition.unwrap_or_else(|| panic!("{findings:?}"));
    assert_eq!(definition.general.description, "in \"and\" out");
    let listen: Vec<String> = definition
        .general
        .listen
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        listen,
        [
            "192.0.2.10:25",
            "[2001:db8::1]:465 (implicit)",
            "10.0.0.1:2525 (none)"
        ]
    );
    assert!(definition.authentication.anonymous);
    assert_eq!(definition.authentication.accounts.len(), 1);
    assert_eq!(
        definition.tls.certificates[0].key.to_str(),
        Some("/etc/k.pem")
    );
    assert_eq!(definition.relay.list.len(), 1);
    let domains: Vec<&str> = definition
        .delivery
        .domains
        .iter()
        .map(|domain| domain.name.as_str())
        .collect();
    assert_eq!(domains, ["example.com", "example.org"]);
    assert_eq!(definition.delivery.smart_host.len(), 1);
}

#[test]
fn what_is_there_is_overwritten_by_force_only() {
    let etc = Etc::new();
    let path = etc.write("servers/mx1.toml", "# mine\n");
    let arguments = [
        "new",
        "mx1",
        "--fqdn",
        "mx1.example.com",
        "--listen",
        "192.0.2.10:25",
    ];
    let run = etc.postern(&arguments);
    assert_eq!(run.code, 1);
    assert_eq!(
        etc.anonymous(&run.err),
        "error: [ETC]/servers/mx1.toml: it is there already; --force overwrites it\n"
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "# mine\n");
    assert_eq!(
        etc.postern(&[&arguments[..], &["--force"]].concat()).code,
        0
    );
    assert!(
        std::fs::read_to_string(&path)
            .unwrap()
            .contains("mx1.example.com")
    );
}

#[test]
fn answers_that_make_no_definition_write_nothing_and_say_why() {
    let etc = Etc::new();
    let run = etc.postern(&["new", "mx1", "--fqdn", "mx1", "--listen", "192.0.2.10:25"]);
    assert_eq!(run.code, 2);
    assert!(
        run.err.contains("fqdn = \"mx1\"") && run.err.contains("^^^^^"),
        "{}",
        run.err
    );
    assert!(!etc.path().join("servers/mx1.toml").exists());
}

#[test]
fn without_a_terminal_what_is_missing_is_named() {
    let etc = Etc::new();
    let run = etc.postern(&["new", "mx1"]);
    assert_eq!(run.code, 2);
    assert!(
        run.err
            .starts_with("error: --fqdn is missing, and there is no terminal to ask on\n"),
        "{}",
        run.err
    );
    for wrong in [
        &["new", "MX 1"][..],
        &["new", "mx1", "--listen", "mail:25"],
        &["new", "mx1", "--certificate", "c.pem"],
    ] {
        assert_eq!(etc.postern(wrong).code, 2, "{wrong:?}");
    }
}

#[test]
fn on_a_terminal_what_was_not_given_is_asked_for_and_a_bad_answer_again() {
    let etc = Etc::new();
    let terminal = nix::pty::openpty(None, None).unwrap();
    let answers = [
        "mail",
        "mail.example.com",
        "192.0.2.10:587 192.0.2.10:465,implicit",
        "no",
        "/etc/ssl/mail.pem",
        "",
        "",
        "example.com, example.org",
        "lmtp:unix:/run/lmtp",
        "relay.example.net:587",
    ];
    std::fs::File::from(terminal.master.try_clone().unwrap())
        .write_all((answers.join("\n") + "\n").as_bytes())
        .unwrap();
    let output = common::command(&["--config", etc.text(), "new", "clients"])
        .stdin(terminal.slave)
        .output()
        .unwrap();
    let asked = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{asked}");
    golden(
        "new-questions.txt",
        &etc.anonymous(&asked.replace(": ", ":\n")),
    );
    let path = etc.path().join("servers/clients.toml");
    let (definition, findings) =
        postern_config::load(&std::fs::read_to_string(&path).unwrap(), &path);
    let definition = definition.unwrap_or_else(|| panic!("{findings:?}"));
    assert_eq!(definition.general.fqdn, "mail.example.com");
    assert_eq!(definition.general.listen.len(), 2);
    assert_eq!(
        definition.tls.certificates[0].key.to_str(),
        Some("/etc/ssl/privkey.pem")
    );
    assert_eq!(definition.authentication.accounts.len(), 1);
    assert_eq!(definition.delivery.domains.len(), 2);
    assert_eq!(definition.delivery.smart_host.len(), 1);
}

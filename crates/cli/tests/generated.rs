//! Help, completions and manual pages: made from one source, and complete.

#![allow(clippy::unwrap_used)]

mod common;

use common::{golden, postern};

#[test]
fn help_names_every_verb_and_the_exit_codes() {
    let run = postern(&["--help"]);
    assert_eq!(run.code, 0);
    golden("help.txt", &run.out);
}

#[test]
fn completions_are_there_for_each_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let run = postern(&["completions", shell]);
        assert_eq!(run.code, 0);
        for word in ["status", "restart", "password-stdin", "freeze"] {
            assert!(run.out.contains(word), "{shell} does not know {word}");
        }
    }
    assert_eq!(postern(&["completions", "dos"]).code, 2);
}

#[test]
fn there_is_a_manual_page_for_every_command_and_every_setting() {
    let folder = tempfile::tempdir().unwrap();
    let run = postern(&["man", folder.path().to_str().unwrap()]);
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    let page = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    for command in [
        "",
        "-status",
        "-start",
        "-stop",
        "-pause",
        "-resume",
        "-restart",
        "-reload",
        "-check",
        "-verify",
        "-check-dns",
        "-explain",
        "-diff",
        "-new",
        "-account",
        "-account-add",
        "-certificate",
        "-certificate-new",
        "-certificate-request",
        "-certificate-assign",
        "-certificate-show",
        "-queue",
        "-queue-list",
        "-queue-delete",
        "-demo",
        "-completions",
    ] {
        assert!(
            page(&format!("postern{command}.1")).contains(".SH SYNOPSIS"),
            "{command}"
        );
    }
    assert!(page("postern.1").contains("Exit codes"));
    let definition = page("postern-definition.5");
    for setting in postern_config::SETTINGS {
        assert!(
            definition.contains(&format!(".B {}", setting.name.replace('-', "\\-"))),
            "{}",
            setting.name
        );
    }
    for name in ["posternd.8", "postern-vserver.8"] {
        assert!(page(name).contains(".SH DESCRIPTION"), "{name}");
    }
    assert!(!folder.path().join("postern-man.1").exists());
}

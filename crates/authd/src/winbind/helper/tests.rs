//! Against helpers that do not do their part. The real one is asked in tests/windows.rs.

use super::{Helper, Verdict, question};
use crate::winbind::child::Error;
use postern_sasl::{NtProof, Secret};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

fn proof(user: &str) -> NtProof {
    NtProof {
        domain: "CORP".to_owned(),
        user: user.to_owned(),
        workstation: String::new(),
        server_challenge: [0x1f; 8],
        nt_response: Secret::new(vec![0xa5; 60]),
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

/// A helper that reads a question, and then does as `script` says.
fn helper(name: &str, script: &str) -> (PathBuf, Helper) {
    let unique = format!("postern-helper-{}-{name}", std::process::id());
    let path = std::env::temp_dir().join(unique);
    let text = format!(
        "#!/bin/sh\nask() {{ while read -r line && [ \"$line\" != . ]; do :; done; }}\n{script}\n"
    );
    fs::write(&path, text).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("rights");
    let started = started(&path);
    (path, started)
}

/// While another test's child is between fork and exec, it holds the script open for writing: "text file busy".
fn started(path: &Path) -> Helper {
    let end = soon();
    loop {
        match Helper::start(path) {
            Ok(helper) => return helper,
            Err(error) if Instant::now() > end => panic!("{error}"),
            Err(_) => std::thread::yield_now(),
        }
    }
}

const NO: &str = "printf 'Authenticated: No\\nAuthentication-Error: The specified account does not exist.\\n.\\n.\\n'";
const YES: &str =
    "printf 'Authenticated: Yes\\nUser-Session-Key: 00112233445566778899AABBCCDDEEFF\\n.\\n'";

#[test]
fn an_answer_belongs_to_its_question() {
    let (path, mut helper) = helper(
        "turns",
        &format!("ask; {NO}; ask; {YES}; ask; {NO}; ask; {NO}; ask"),
    );
    let wrong = Verdict::Wrong("The specified account does not exist.".to_owned());
    for (turn, right) in [false, true, false, false].into_iter().enumerate() {
        let verdict = helper.ask(&proof("alice"), soon()).expect("a verdict");
        assert_eq!(verdict != wrong, right, "{turn}");
    }
    fs::remove_file(path).expect("it is there");
}

#[test]
fn a_hostile_helper_is_not_believed() {
    let key = "User-Session-Key: 00112233445566778899AABBCCDDEEFF";
    let answers = [
        "Authenticated: Yes\\nAuthentication-Error: x\\n.\\n".to_owned(),
        "Authenticated: Yes\\nUser-Session-Key: 0011\\n.\\n".to_owned(),
        "Authenticated: Yes\\nUser-Session-Key: 00112233445566778899aabbccddeeXX\\n.\\n".to_owned(),
        format!("Authenticated: Yes\\n{key}\\n{key}\\n.\\n"),
        format!("Authenticated: No\\n{key}\\n.\\n"),
        "Authenticated: No\\n.\\n".to_owned(),
        "authenticated: yes\\n.\\n".to_owned(),
        "Error: hex decode failed\\n.\\n".to_owned(),
        "a\\nb\\nc\\nd\\ne\\n.\\n".to_owned(),
        "\\377\\n.\\n".to_owned(),
    ];
    for (index, answer) in answers.iter().enumerate() {
        let (path, mut helper) = helper(
            &format!("hostile-{index}"),
            &format!("ask; printf '{answer}'; ask"),
        );
        let heard = helper.ask(&proof("alice"), soon());
        assert!(
            matches!(heard, Err(Error::Nonsense { .. })),
            "{answer}: {heard:?}"
        );
        fs::remove_file(path).expect("it is there");
    }
}

/// An answer before the question would be taken for the next one's.
#[test]
fn an_answer_before_the_question_is_not_believed() {
    let (path, mut helper) = helper(
        "early",
        &format!("{YES}; printf done > \"$0.done\"; ask; ask"),
    );
    let done = path.with_extension("done");
    let end = soon();
    while !done.exists() && Instant::now() < end {
        std::thread::yield_now();
    }
    let heard = helper.ask(&proof("alice"), soon());
    assert!(matches!(heard, Err(Error::Nonsense { .. })), "{heard:?}");
    fs::remove_file(path).expect("it is there");
    fs::remove_file(done).expect("it is there");
}

#[test]
fn a_helper_that_dies_hangs_or_never_ends_is_given_up() {
    let (path, mut dead) = helper("dead", "ask");
    assert!(matches!(
        dead.ask(&proof("a"), soon()),
        Err(Error::Gone { .. })
    ));
    fs::remove_file(path).expect("it is there");
    let (path, mut half) = helper("half", "ask; echo 'Authenticated: Yes'");
    assert!(matches!(
        half.ask(&proof("a"), soon()),
        Err(Error::Gone { .. })
    ));
    fs::remove_file(path).expect("it is there");
    let (path, mut hung) = helper("hung", "ask; echo 'Authenticated: Yes'; read -r line");
    let begun = Instant::now();
    let heard = hung.ask(&proof("a"), begun + Duration::from_millis(300));
    assert!(matches!(heard, Err(Error::Late { .. })), "{heard:?}");
    drop(hung);
    assert!(begun.elapsed() < Duration::from_secs(5));
    fs::remove_file(path).expect("it is there");
    let (path, mut endless) = helper("endless", "ask; exec yes | tr -d '\\n'");
    let heard = endless.ask(&proof("a"), soon());
    assert!(matches!(heard, Err(Error::Nonsense { .. })), "{heard:?}");
    fs::remove_file(path).expect("it is there");
    let missing = Helper::start(Path::new("/nowhere/ntlm_auth"));
    assert!(matches!(missing, Err(Error::Start { .. })));
}

#[test]
fn nothing_in_a_name_is_a_line() {
    for name in [
        "a\nPassword: x\n.\n",
        "a:: b",
        "a: b",
        ".",
        "",
        "jörg",
        "\0",
    ] {
        let question = question(&proof(name));
        let lines: Vec<&str> = question.lines().collect();
        assert_eq!(lines.len(), 6, "{name:?}");
        assert_eq!(lines[5], ".");
        let value = lines[2].strip_prefix("Username:: ").expect("a name");
        assert!(
            value
                .bytes()
                .all(|o| o.is_ascii_alphanumeric() || b"+/=".contains(&o))
        );
    }
}

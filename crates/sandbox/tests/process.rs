//! The real calls, each in a process of its own: what they take away does not come back.

use std::os::fd::AsRawFd;
use std::process::Command;

use postern_sandbox::{Limits, Posture, apply, harden, strays};

/// Runs one of the tests below alone, in a child, with a word in its environment that lets it act.
fn alone(test: &str) {
    let child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env("POSTERN_SANDBOX_CHILD", test)
        .output()
        .expect("a child");
    assert!(
        child.status.success(),
        "{}",
        String::from_utf8_lossy(&child.stderr)
    );
}

fn in_child(test: &str) -> bool {
    std::env::var_os("POSTERN_SANDBOX_CHILD").is_some_and(|value| value == test)
}

#[test]
fn limits_hold_and_cannot_be_raised() {
    let test = "limits_hold_and_cannot_be_raised";
    if !in_child(test) {
        return alone(test);
    }
    let limits = Limits {
        memory: Some(64 << 20),
        open_files: Some(100),
        threads: None,
    };
    assert_eq!(apply(&limits).expect("applied").open_files, 100);
    harden().expect("hardened");
    let posture = Posture::read().expect("read");
    assert_eq!(
        (posture.open_files.soft, posture.open_files.hard),
        (Some(100), Some(100))
    );
    assert_eq!(
        (posture.memory.soft, posture.core.hard),
        (Some(64 << 20), Some(0))
    );
    assert!(!posture.dumpable);
    // Of this thread: the harness has another that was not hardened, and the posture shows the weakest.
    assert!(nix::sys::prctl::get_no_new_privs().expect("read"));
    assert!(
        serde_json::to_string(&posture)
            .expect("json")
            .contains("\"dumpable\":false")
    );

    let more = Limits {
        open_files: Some(5000),
        ..Limits::default()
    };
    assert_eq!(apply(&more).expect("applied").open_files, 100);
    let mut much: Vec<u8> = Vec::new();
    assert!(
        std::hint::black_box(&mut much)
            .try_reserve_exact(128 << 20)
            .is_err()
    );
}

#[test]
fn no_wish_means_the_hard_limit() {
    let test = "no_wish_means_the_hard_limit";
    if !in_child(test) {
        return alone(test);
    }
    let hard = Posture::read().expect("read").open_files.hard;
    let applied = apply(&Limits::default()).expect("applied");
    assert_eq!(Some(applied.open_files), hard);
    assert_eq!(Posture::read().expect("read").open_files.soft, hard);
}

#[test]
fn a_leaked_descriptor_shows() {
    let file = std::fs::File::open("/dev/null").expect("open");
    let number = file.as_raw_fd();
    let found = strays(&[]).expect("read");
    let stray = found
        .iter()
        .find(|stray| stray.number == number)
        .expect("seen");
    assert_eq!(stray.target.to_str(), Some("/dev/null"));
    assert!(
        strays(&[number])
            .expect("read")
            .iter()
            .all(|stray| stray.number != number)
    );
}

//! The real calls, each in a process of its own: what they take away does not come back.

use std::os::fd::AsRawFd;
use std::process::Command;

use postern_sandbox::{Confined, Limits, Posture, Reach, apply, confine, harden, strays};

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

#[test]
fn only_what_is_named_stays_within_reach() {
    let test = "only_what_is_named_stays_within_reach";
    if !in_child(test) {
        return alone(test);
    }
    let folder = std::env::temp_dir().join(format!("postern-sandbox-{}", std::process::id()));
    let (read, write) = (folder.join("read"), folder.join("write"));
    for folder in [&read, &write] {
        std::fs::create_dir_all(folder).expect("made");
        std::fs::write(folder.join("file"), "text").expect("written");
    }
    let open = std::fs::File::open(folder.join("read/file")).expect("open");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("an address");
    let reach = Reach {
        read: &[&read, "/nowhere".as_ref()],
        write: &[&write],
    };
    let confined = confine(&reach).expect("confined");
    if confined == Confined::Not {
        // Said, and no failure: the kernel has none.
        return eprintln!("files are shut off {}", confined.as_str());
    }
    assert!(std::fs::read(read.join("file")).is_ok());
    assert!(std::fs::write(read.join("other"), "").is_err());
    assert!(std::fs::write(write.join("other"), "").is_ok());
    assert!(std::fs::read("/etc/passwd").is_err());
    assert!(std::fs::read_dir(&folder).is_err());
    assert!(Command::new("/bin/true").status().is_err());
    assert!(open.metadata().is_ok(), "what is open stays open");
    if confined == Confined::Fully {
        assert!(std::net::TcpStream::connect(address).is_err());
        assert!(std::net::TcpListener::bind("127.0.0.1:0").is_err());
    }
    for file in [write.join("file"), write.join("other")] {
        std::fs::remove_file(file).expect("its own");
    }
    assert!(std::fs::remove_file(read.join("file")).is_err());
}

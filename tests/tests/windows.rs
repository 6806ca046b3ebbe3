//! Windows authentication against a real domain: Samba's controller with Kerberos and winbind, and real clients.

#[path = "windows/authd.rs"]
mod authd;
#[path = "windows/capture.rs"]
mod capture;
#[path = "windows/post.rs"]
mod post;
#[path = "windows/servers.rs"]
mod servers;

use authd::{Authd, End, terms};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use post::Post;
use postern_control::auth::{Account, Blob, RefusedKind, Terms};
use postern_sasl::Mechanism;
use postern_tests::peers::{Member, Samba};
use postern_tests::stage::PATIENCE;
use postern_tests::wire::Wire;
use postern_tests::{Failure, Outcome, program, wait};
use servers::Servers;
use std::time::{Duration, Instant};

/// As posternd starts it: neither root nor in any group but winbind's.
const UNPRIVILEGED: [&str; 4] = [
    "setpriv",
    "--reuid=nobody",
    "--regid=winbindd_priv",
    "--clear-groups",
];

fn is_alice(account: &Account, proof: &str) {
    assert_eq!(account.name, "alice");
    assert_eq!(account.domain.as_deref(), Some("CORP"));
    assert_eq!(account.proof, proof);
    // A group in a group counts.
    for group in ["sales", "staff", "Domain Users"] {
        assert!(
            account.groups.iter().any(|known| known == group),
            "{account:?}"
        );
    }
}

#[test]
fn winbind_knows_who_they_are() -> Outcome {
    program::need_root("AD's ports are below 1024")?;
    let folder = tempfile::tempdir()?;
    let samba = Samba::with_winbind(&folder.path().join("samba"))?;
    let authd = Authd::start("winbind", folder.path(), &UNPRIVILEGED)?;
    let right = Samba::ALICE.1;
    for name in [
        "alice",
        r"CORP\alice",
        r"corp\ALICE",
        r"corp.postern.test\alice",
        "alice@corp.postern.test",
        "alice@CORP.POSTERN.TEST",
    ] {
        is_alice(&authd.password((name, right), &[])?.account()?, "password");
        is_alice(&authd.find(name, &[])?.account()?, "");
        for mechanism in [Mechanism::Ntlm, Mechanism::GssSpnego] {
            let end = authd.ntlm(mechanism, (name, right), &terms(), |_| ())?;
            is_alice(&end.account()?, "NTLM");
        }
    }
    let jörg = authd.password(Samba::JÖRG, &["CORP"])?.account()?;
    assert_eq!(jörg.name, "jörg");
    assert!(jörg.groups.contains(&"Süd-Vertrieb".to_owned()), "{jörg:?}");
    authd
        .ntlm(Mechanism::Ntlm, Samba::JÖRG, &terms(), |_| ())?
        .account()?;
    // Helpers that have died are not asked: others are started.
    assert!(authd.kill_helpers()? > 0);
    for _ in 0..8 {
        let end = authd.ntlm(Mechanism::Ntlm, Samba::ALICE, &terms(), |_| ())?;
        is_alice(&end.account()?, "NTLM");
    }
    refusals(&authd)?;
    bindings(&authd)?;
    drop(samba);
    for end in [
        authd.password(Samba::ALICE, &[])?,
        authd.ntlm(Mechanism::Ntlm, Samba::ALICE, &terms(), |_| ())?,
        authd.find("carol", &[])?,
    ] {
        assert!(
            matches!(&end, End::Unavailable(why) if why.contains("winbind")),
            "{end:?}"
        );
    }
    Ok(())
}

/// On a host that is no controller, the names in the challenge must be the host's own, or the controller refuses.
#[test]
fn a_member_asks_its_controller() -> Outcome {
    program::need_root("AD's ports are below 1024")?;
    let folder = tempfile::tempdir()?;
    let samba = Samba::with_members(&folder.path().join("samba"))?;
    let member = Member::join(&folder.path().join("member"), &samba)?;
    let authd = Authd::start("winbind", folder.path(), &UNPRIVILEGED)?;
    let right = Samba::ALICE.1;
    for name in [
        "alice",
        r"corp.postern.test\alice",
        "alice@corp.postern.test",
    ] {
        is_alice(&authd.password((name, right), &[])?.account()?, "password");
        is_alice(&authd.find(name, &[])?.account()?, "");
        let end = authd.ntlm(Mechanism::Ntlm, (name, right), &terms(), |_| ())?;
        is_alice(&end.account()?, "NTLM");
    }
    let jörg = authd.password(Samba::JÖRG, &[])?.account()?;
    assert!(jörg.groups.contains(&"Süd-Vertrieb".to_owned()), "{jörg:?}");
    refusals(&authd)?;
    drop(samba);
    let login = || authd.ntlm(Mechanism::Ntlm, Samba::ALICE, &terms(), |_| ());
    let end = login()?;
    assert!(matches!(end, End::Unavailable(_)), "{end:?}");
    let end = authd.find("carol", &[])?;
    assert!(matches!(end, End::Unavailable(_)), "{end:?}");
    drop(member);
    Ok(())
}

/// Who is not let in, why, and what follows.
fn refusals(authd: &Authd) -> Outcome {
    use RefusedKind::{Barred, Unknown, Wrong};
    let right = Samba::ALICE.1;
    let long = "x".repeat(300);
    for ((name, password), why, kind) in [
        (("alice", "Wrong.land1"), "NT_STATUS_WRONG_PASSWORD", Wrong),
        (
            ("mallory", "Wrong.land1"),
            "NT_STATUS_WRONG_PASSWORD",
            Wrong,
        ),
        (("nobody", right), "NT_STATUS_NO_SUCH_USER", Unknown),
        ((r"NOWHERE\alice", right), "NT_STATUS_NO_SUCH_USER", Unknown),
        (
            ("nobody@nowhere.test", right),
            "NT_STATUS_NO_SUCH_USER",
            Unknown,
        ),
        (
            ("nobody@corp.postern.test", right),
            "NT_STATUS_NO_SUCH_USER",
            Unknown,
        ),
        (Samba::MALLORY, "NT_STATUS_ACCOUNT_DISABLED", Barred),
        (Samba::FRANK, "NT_STATUS_PASSWORD_MUST_CHANGE", Barred),
        (Samba::ERIN, "NT_STATUS_ACCOUNT_EXPIRED", Barred),
        (Samba::HEIDI, "NT_STATUS_INVALID_LOGON_HOURS", Barred),
        (
            ("alice\nNT-Domain: CORP", right),
            "NT_STATUS_NO_SUCH_USER",
            Unknown,
        ),
        (("alice\n.\n", right), "NT_STATUS_NO_SUCH_USER", Unknown),
        (
            (r"CORP\CORP\alice", right),
            "NT_STATUS_NO_SUCH_USER",
            Unknown,
        ),
    ] {
        let wanted = |end: &End| matches!(end, End::Refused(heard, is) if heard.contains(why) && *is == kind);
        let end = authd.password((name, password), &[])?;
        assert!(wanted(&end), "{name:?}: {end:?}");
        let end = authd.ntlm(Mechanism::Ntlm, (name, password), &terms(), |_| ())?;
        assert!(wanted(&end), "{name:?}: {end:?}");
    }
    let end = authd.password((&long, right), &[])?;
    assert!(matches!(end, End::Refused(..)), "{end:?}");
    // A group is no account; nor is a domain that is not taken.
    for name in ["sales", "nobody", "*", "-h", "--help"] {
        let end = authd.find(name, &[])?;
        assert!(matches!(end, End::Refused(_, Unknown)), "{name}: {end:?}");
    }
    for domains in [&["EAST"][..], &["EAST", "WEST"]] {
        let end = authd.password((r"CORP\alice", right), domains)?;
        assert!(
            matches!(&end, End::Refused(why, Barred) if why.contains("not among")),
            "{end:?}"
        );
    }
    let alice = authd.password((r"CORP\alice", right), &["CORP.postern.test"])?;
    is_alice(&alice.account()?, "password");
    // Where a bare name is another domain's, or nobody's, so is a bare group.
    for domains in [&["*"][..], &["EAST", "corp"]] {
        let alice = authd.password((r"CORP\alice", right), domains)?.account()?;
        assert_eq!((alice.name.as_str(), alice.home), ("alice", false));
        let whole = |group: &String| group.starts_with("CORP\\");
        assert!(alice.groups.iter().all(whole), "{alice:?}");
        assert!(
            alice.groups.contains(&r"CORP\staff".to_owned()),
            "{alice:?}"
        );
    }
    Ok(())
}

/// winbind says yes to the proof in each of these: the rest is ours to check.
fn bindings(authd: &Authd) -> Outcome {
    let bound = Terms {
        end_points: vec![Blob(vec![7; 32])],
        ..terms()
    };
    let required = Terms {
        binding_required: true,
        ..bound.clone()
    };
    let end = authd.ntlm(Mechanism::Ntlm, Samba::ALICE, &required, |_| ())?;
    assert!(end.account()?.bound);
    let own = |message: &mut Vec<u8>| {
        // A bit of the flags, which only the integrity code protects.
        message[60] ^= 0x10;
    };
    let end = authd.ntlm(Mechanism::Ntlm, Samba::ALICE, &bound, own)?;
    assert!(matches!(end, End::Refused(..)), "{end:?}");
    let end = authd.ntlm(Mechanism::Ntlm, Samba::ALICE, &bound, |message| {
        message.truncate(message.len() - 1);
    })?;
    assert!(matches!(end, End::Refused(..)), "{end:?}");
    Ok(())
}

#[test]
fn clients_log_in_as_windows_does() -> Outcome {
    program::need_root("AD's ports are below 1024")?;
    let folder = tempfile::tempdir()?;
    let samba = Samba::with_winbind(&folder.path().join("samba"))?;
    // Not in winbind's group.
    let outsider = [
        "setpriv",
        "--reuid=nobody",
        "--regid=nogroup",
        "--clear-groups",
    ];
    let authd = Authd::start("winbind", folder.path(), &outsider)?;
    let end = authd.password(Samba::ALICE, &[])?;
    assert!(
        matches!(&end, End::Unavailable(why) if why.contains("winbindd_priv")),
        "{end:?}"
    );
    let servers = Servers::start(&samba)?;
    servers.accept()?;
    servers.refuse()?;
    servers.bind()?;
    servers.take_tickets()?;
    servers.grant()?;
    servers.serve_programs()?;
    servers.show_nothing()
}

/// Established sessions go on whatever becomes of winbind, and of the process that asks it; others are told to come later.
#[test]
fn a_domain_that_is_away_is_later() -> Outcome {
    program::need_root("AD's ports are below 1024")?;
    let folder = tempfile::tempdir()?;
    let samba = Samba::with_winbind(&folder.path().join("samba"))?;
    let mut post = Post::new()?;
    let address = post.add("post", &["{ windows = \"CORP\" }"], |wanted| {
        wanted
            .authentication("basic_requires_tls", "false")
            .authentication("relay", "[\"@staff\"]")
    })?;
    post.start()?;
    let plain = STANDARD.encode(format!("\0alice\0{}", Samba::ALICE.1));
    let login = || -> Result<(Wire, String), Failure> {
        let mut wire = Wire::open(address)?;
        let reply = wire.say(&format!("AUTH PLAIN {plain}"))?;
        Ok((wire, reply))
    };
    let (mut early, reply) = login()?;
    assert!(reply.starts_with("235"), "{reply}");
    // So it is explained, without a password: the domain's groups decide.
    for (login, code) in [(r"CORP\alice", 0), ("bob", 1), ("nobody", 1)] {
        let sender = format!("{}@corp.postern.test", login.trim_start_matches(r"CORP\"));
        let words = ["explain", "post", "--from", "127.0.0.1", "--login", login];
        let more = ["--sender", &sender, "--to", "carol@elsewhere.test"];
        let explained = post.stage.postern(&[&words[..], &more].concat())?;
        assert_eq!(
            explained.status.code(),
            Some(code),
            "{login}: {explained:?}"
        );
    }
    samba.freeze_winbind()?;
    let (mut later, reply) = login()?;
    assert!(reply.starts_with("454 4.7.0"), "{reply}");
    later.expect("250", "NOOP")?;
    early.expect("250", "MAIL FROM:<alice@corp.postern.test>")?;
    early.expect("250", "RCPT TO:<carol@elsewhere.test>")?;
    samba.wake_winbind()?;
    let back = || login().is_ok_and(|(_, reply)| reply.starts_with("235"));
    wait::until_true("winbind to be asked again", PATIENCE, back)?;
    let row = post.stage.row("post")?;
    let authd = row.authds.first().ok_or("there is no authd")?;
    kill(Pid::from_raw(i32::try_from(authd.pid)?), Signal::SIGKILL)?;
    let begun = Instant::now();
    let again = || {
        let row = post.stage.row("post");
        let another = row.is_ok_and(|row| row.authds.iter().any(|other| other.pid != authd.pid));
        another && back()
    };
    wait::until_true("another authd", PATIENCE, again)?;
    assert!(begun.elapsed() < Duration::from_secs(15));
    early.expect("250", "RCPT TO:<dave@elsewhere.test>")?;
    drop(samba);
    let gone = || login().is_ok_and(|(_, reply)| reply.starts_with("454 4.7.0"));
    wait::until_true("the domain to be missed", PATIENCE, gone)
}

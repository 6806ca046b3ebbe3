//! What posternd does for the authds of a server, and for files that change; all of it with pretended processes.

#![allow(clippy::unwrap_used)]

mod stage;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use postern_control::client::{AuthdRow, Request};
use postern_hosting::ServerState;
use stage::*;

/// A server with a keytab, hashes and a domain, and an account file; it runs.
fn running(keytab: &str) -> (Stage, std::net::SocketAddr) {
    let mut stage = Stage::new();
    let address = free_address();
    let sources = "[access.authentication]\naccounts = [{ gssapi = \"mx.keytab\" }, { file = \"a.toml\", nt_hashes = \"a.nt\" }, { windows = \"CORP\" }]\n";
    for (file, text) in [("mx.keytab", keytab), ("a.toml", "accounts"), ("a.nt", "hashes")] {
        write_private(&stage.path("etc/servers").join(file), text);
    }
    stage.define("mx", &format!("{}{sources}", definition(address, "nothing")));
    stage.start();
    stage.reaches("mx", ServerState::Running);
    (stage, address)
}

fn write_private(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn pids(stage: &Stage) -> Vec<u32> {
    stage.row("mx").authds.iter().map(|authd| authd.pid).collect()
}

fn given(stage: &Stage, authd: &AuthdRow) -> String {
    let file = stage.path("state").join(format!("mx.{}", authd.kind)).join(format!("given-{}", authd.pid));
    until("it has noted what it was given", || std::fs::read_to_string(&file).ok())
}

#[test]
fn each_source_has_its_own_process_user_and_file() {
    let (stage, _) = running("tickets");
    let row = stage.row("mx");
    let kinds: Vec<&str> = row.authds.iter().map(|authd| authd.kind.as_str()).collect();
    assert_eq!(kinds, ["kerberos", "hashes", "winbind"]);
    for (authd, file) in row.authds.iter().zip(["tickets", "hashes", ""]) {
        assert_eq!(given(&stage, authd), format!("mx {} {}\n{file}", authd.kind, authd.uid));
        let folder = std::fs::metadata(stage.path("state").join(format!("mx.{}", authd.kind))).unwrap();
        assert_eq!(folder.permissions().mode() & 0o777, 0o700);
    }
    if is_root() {
        let mut uids: Vec<u32> = row.authds.iter().map(|authd| authd.uid).chain(row.uid).collect();
        uids.sort_unstable();
        uids.dedup();
        assert_eq!(uids.len(), 4, "{row:?}");
    }
    // Whoever hangs up ends them.
    stage.done(|server| Request::Stop { server }, "mx");
    until("they have ended", || pids(&stage).is_empty().then_some(()));
}

#[test]
fn a_reload_gives_the_generation_its_own() {
    let (stage, _) = running("tickets");
    let before = pids(&stage);
    stage.done(|server| Request::Reload { server }, "mx");
    until("those of the generation before have ended", || {
        let now = pids(&stage);
        (now.len() == 3 && now.iter().all(|pid| !before.contains(pid))).then_some(())
    });
}

#[test]
fn one_that_dies_is_made_good() {
    let (stage, address) = running("tickets");
    let worker = session(address).greeting.1;
    let first = pids(&stage);
    kill(pid(first[0]), Signal::SIGKILL).unwrap();
    until("all of them are new", || {
        let now = pids(&stage);
        (now.len() == 3 && now.iter().all(|pid| !first.contains(pid))).then_some(())
    });
    assert_eq!(session(address).greeting.1, worker, "the worker is another");
    assert!(stage.log().contains("authd kerberos, process"), "{}", stage.log());
}

#[test]
fn one_that_cannot_live_does_not_take_the_server_with_it() {
    let (stage, address) = running("crash");
    let worker = session(address).greeting.1;
    until("it has been tried again", || (stage.log().matches("authd kerberos, process").count() >= 6).then_some(()));
    until("it is tried less often", || stage.log().contains("not again before 4s have passed").then_some(()));
    assert_eq!(session(address).greeting, (220, worker, "nothing".to_owned()));
}

/// Nothing but another file can help it: it is not tried again and again, and shown.
#[test]
fn one_that_can_do_nothing_waits_for_another_file() {
    let (stage, address) = running("hopeless");
    let worker = session(address).greeting.1;
    until("it is shown", || stage.row("mx").detail.contains("can do nothing").then_some(()));
    let others = pids(&stage);
    assert_eq!(others.len(), 2);
    let path = stage.path("etc/servers/mx.keytab");
    write_private(&path, "tickets");
    until("all are there", || (pids(&stage).len() == 3).then_some(()));
    until("nothing is shown", || stage.row("mx").detail.is_empty().then_some(()));
    assert_eq!(session(address).greeting.1, worker);
}

/// What others can read is no secret: the worker is told, and the server does not start with it.
#[test]
fn a_secret_that_others_can_read_is_not_used() {
    let (stage, _) = running("tickets");
    let before = pids(&stage);
    let path = stage.path("etc/servers/mx.keytab");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (_, findings) = stage.refused(|server| Request::Reload { server }, "mx");
    assert!(findings[0].to_string().contains("chmod 600"), "{findings:?}");
    until("only those of the old generation are left", || (pids(&stage) == before).then_some(()));
}

/// An edited definition is an operator's to put in force: a file that changes meanwhile does not do it.
#[test]
fn an_edited_definition_waits_for_an_order() {
    let (stage, address) = running("tickets");
    let before = pids(&stage);
    let text = std::fs::read_to_string(stage.definition_path("mx")).unwrap();
    for edited in [text.replace("nothing", "another word"), "no definition = at all [".to_owned()] {
        stage.define("mx", &edited);
        write_private(&stage.path("etc/servers/a.toml"), &format!("accounts, {} octets", edited.len()));
        until("it is shown", || stage.row("mx").detail.contains("waits for a reload").then_some(()));
    }
    assert_eq!(stage.log().matches("has changed: it is reloaded").count(), 0, "{}", stage.log());
    assert_eq!(session(address).greeting.2, "nothing");
    // Only a dead authd is worth a try, and that is not made every two seconds.
    kill(pid(before[0]), Signal::SIGKILL).unwrap();
    until("it is tried, and later", || stage.log().contains("not again before 4s have passed").then_some(()));
    assert_eq!(stage.log().matches("it lacks an authd").count(), 3, "{}", stage.log());
    stage.define("mx", &text);
    stage.done(|server| Request::Reload { server }, "mx");
    until("all are there", || (pids(&stage).len() == 3).then_some(()));
    assert!(stage.row("mx").detail.is_empty(), "{}", stage.row("mx").detail);
}

#[test]
fn a_missing_program_does_not_take_the_server_with_it() {
    let mut stage = Stage::new();
    let address = free_address();
    std::fs::remove_file(stage.path("postern-authd")).unwrap();
    let text = definition(address, "nothing") + "[access.authentication]\naccounts = [{ windows = \"CORP\" }]\n";
    stage.define("mx", &text);
    stage.start();
    stage.reaches("mx", ServerState::Running);
    until("it is said", || stage.log().contains("cannot execute").then_some(()));
    assert_eq!(session(address).greeting.0, 220);
}

#[test]
fn a_changed_file_is_a_reload() {
    let (stage, address) = running("tickets");
    let before = (session(address).greeting.1, pids(&stage));
    // As `postern account` does it: another file takes the place.
    let fresh = stage.path("etc/servers/fresh");
    write_private(&fresh, "other accounts");
    std::fs::rename(&fresh, stage.path("etc/servers/a.toml")).unwrap();
    until("it has been reloaded", || stage.log().contains("a file it names has changed").then_some(()));
    until("the generation is new", || pids(&stage).iter().all(|pid| !before.1.contains(pid)).then_some(()));
    assert_eq!(session(address).greeting.1, before.0);
    // One that is gone refuses the reload, once; the old generation stands, and one that is back is another change.
    let reloads = || stage.log().matches("a file it names has changed").count();
    std::fs::remove_file(stage.path("etc/servers/a.toml")).unwrap();
    until("it has been noticed", || (reloads() == 2).then_some(()));
    until("it is refused", || stage.log().contains("mx: its definition is refused").then_some(()));
    write_private(&stage.path("etc/servers/a.toml"), "accounts again");
    until("it has been noticed", || (reloads() == 3).then_some(()));
    assert_eq!(session(address).greeting, (220, before.0, "nothing".to_owned()));
}

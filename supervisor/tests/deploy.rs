//! What is delivered for systemd, as systemd itself sees it.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

fn deploy(below: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(below)
}

fn run(program: &str, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(program);
    let output = command.args(arguments).env("SYSTEMD_COLORS", "0").output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; it is in the Debian package systemd"));
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// The unit with programs that exist on any host.
fn unit(folder: &Path) -> PathBuf {
    let text = std::fs::read_to_string(deploy("systemd/posternd.service")).unwrap();
    let text = text.replace("/usr/sbin/posternd", "/bin/true").replace("/usr/bin/postern", "/bin/true");
    let unit = folder.join("posternd.service");
    std::fs::write(&unit, text.replace("man:posternd(8) man:postern(1)", "https://example.com")).unwrap();
    unit
}

#[test]
fn systemd_has_nothing_to_say_against_the_unit() {
    let folder = tempfile::tempdir().unwrap();
    let unit = unit(folder.path());
    // It only warns of a key it does not know, and succeeds: any word is too much.
    let (_, said) = run("systemd-analyze", &["verify", unit.to_str().unwrap()]);
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("posternd")).collect();
    assert!(ours.is_empty(), "{said}");
}

#[test]
fn the_unit_is_exposed_no_more_than_it_must_be() {
    let folder = tempfile::tempdir().unwrap();
    let unit = unit(folder.path());
    let arguments = ["security", "--offline=yes", "--no-pager", "--threshold=45", unit.to_str().unwrap()];
    let (within, said) = run("systemd-analyze", &arguments);
    assert!(within, "{said}");
}

#[test]
fn folders_and_group_are_understood() {
    let root = tempfile::tempdir().unwrap();
    let at = format!("--root={}", root.path().display());
    let group = deploy("sysusers.d/postern.conf");
    std::fs::create_dir(root.path().join("etc")).unwrap();
    let (done, said) = run("systemd-sysusers", &[&at, group.to_str().unwrap()]);
    let groups = std::fs::read_to_string(root.path().join("etc/group")).unwrap_or_default();
    assert!(done && groups.contains("postern:"), "{said}");
    // Only root can make folders that are root's.
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let folders = deploy("tmpfiles.d/postern.conf");
    let (done, said) = run("systemd-tmpfiles", &["--create", &at, folders.to_str().unwrap()]);
    assert!(done && root.path().join("var/lib/postern").is_dir(), "{said}");
}

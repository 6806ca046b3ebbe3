//! `postern check`: what administrators read about their mistakes. One golden file a story.

#![allow(clippy::unwrap_used)]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use common::{Etc, golden, postern};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};

const GOOD: &str = r#"[general]
fqdn = "mx1.example.com"
listen = ["192.0.2.10:25"]

[access.authentication]
anonymous = true

[delivery]
domains = [{ name = "example.com", to = "maildir:/var/mail/{domain}/{local}", recipients = ["alice"] }]
"#;

/// A certificate of these years, and its key, PEM.
fn pair(from: i32, to: i32) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["mx1.example.com".to_owned()]).unwrap();
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(to, 1, 1);
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn secret(etc: &Etc, name: &str, text: &str) {
    let path = etc.write(name, text);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn with_tls(certificate: &str, key: &str) -> String {
    format!(
        "{GOOD}\n[access.tls]\ncertificates = [\n    {{ certificate = \"{certificate}\", key = \"{key}\" }},\n]\n"
    )
}

#[test]
fn a_good_definition_is_good() {
    let etc = Etc::new();
    let (certificate, key) = pair(2020, 2090);
    secret(&etc, "tls/cert.pem", &certificate);
    secret(&etc, "tls/key.pem", &key);
    etc.write(
        "servers/mx1.toml",
        &with_tls("../tls/cert.pem", "../tls/key.pem"),
    );
    etc.write("postern.toml", "log = \"debug\"\n");
    let run = etc.postern(&["check"]);
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    assert_eq!(
        etc.anonymous(&run.out),
        "[ETC]/postern.toml: good\n[ETC]/servers/mx1.toml: good\n"
    );
}

#[test]
fn each_mistake_has_its_line_its_mark_and_its_remedy() {
    let etc = Etc::new();
    etc.write(
        "servers/mx1.toml",
        r#"[general]
listen = ["192.0.2.10:25"]
max_conections = 500

[access.connection]
mode = "only"
list = ["192.0.2.0/33"]

[access.tls]
certificates = [{ certificate = "cert.pem", key = "key.pem" }]

[messages]
max_message_size = "25 MBit"
"#,
    );
    let run = etc.postern(&["check", "mx1"]);
    assert_eq!((run.code, run.err.as_str()), (1, ""));
    golden("check-mistakes.txt", &etc.anonymous(&run.out));
}

#[test]
fn files_a_definition_names_are_looked_into() {
    let etc = Etc::new();
    let (certificate, key) = pair(2020, 2090);
    let (expired, its_key) = pair(2001, 2002);
    secret(&etc, "servers/cert.pem", &certificate);
    secret(&etc, "servers/key.pem", &key);
    secret(&etc, "servers/expired.pem", &expired);
    secret(&etc, "servers/its-key.pem", &its_key);
    etc.write("servers/open-key.pem", &key);
    std::fs::set_permissions(
        etc.path().join("servers/open-key.pem"),
        std::fs::Permissions::from_mode(0o644),
    )
    .unwrap();
    secret(
        &etc,
        "servers/accounts.toml",
        "[accounts.alice]\npassword = \"secret\"\n",
    );
    let stories = [
        ("absent", ("nowhere.pem", "key.pem")),
        ("other-key", ("cert.pem", "its-key.pem")),
        ("expired", ("expired.pem", "its-key.pem")),
        ("swapped", ("key.pem", "cert.pem")),
        ("open", ("cert.pem", "open-key.pem")),
    ];
    for (number, (server, tls)) in stories.into_iter().enumerate() {
        // An address each, so that they do not clash.
        let text =
            with_tls(tls.0, tls.1).replace("192.0.2.10:25", &format!("192.0.2.10:250{number}"));
        etc.write(&format!("servers/{server}.toml"), &text);
    }
    let accounts = GOOD
        .replace(
            "anonymous = true",
            "accounts = [{ file = \"accounts.toml\" }]",
        )
        .replace(":25\"", ":26\"");
    etc.write("servers/plain.toml", &accounts);
    let mut story = String::new();
    for (server, code) in [
        ("absent", 1),
        ("other-key", 1),
        ("expired", 1),
        ("swapped", 1),
        ("open", 0),
        ("plain", 1),
    ] {
        let run = etc.postern(&["check", server]);
        assert_eq!(run.code, code, "{server}: {}", run.out);
        story.push_str(&run.out);
    }
    golden("check-files.txt", &etc.anonymous(&story));
}

#[test]
fn a_clash_names_both_files_and_lines() {
    let etc = Etc::new();
    etc.write("servers/mx1.toml", GOOD);
    etc.write(
        "servers/mx2.toml",
        &GOOD.replace("192.0.2.10:25", "0.0.0.0:25"),
    );
    etc.write(
        "servers/mx3.toml",
        &GOOD.replace("192.0.2.10:25", "192.0.2.11:25"),
    );
    let run = etc.postern(&["check"]);
    assert_eq!(run.code, 1);
    golden("check-clash.txt", &etc.anonymous(&run.out));
    // The neighbours count even where only one file is looked at.
    let run = etc.postern(&["check", "mx1"]);
    assert_eq!(run.code, 1);
    assert!(run.out.contains("mx2.toml:3"), "{}", run.out);
}

#[test]
fn a_file_outside_the_folder_is_checked_against_those_inside() {
    let etc = Etc::new();
    etc.write("servers/mx1.toml", GOOD);
    let draft = etc.write("drafts/mx1-new.toml", GOOD);
    let run = etc.postern(&["check", draft.to_str().unwrap()]);
    assert_eq!(run.code, 1);
    assert!(
        run.out.contains("clashes with 192.0.2.10:25 in"),
        "{}",
        run.out
    );
}

#[test]
fn json_has_the_findings_with_their_places() {
    let etc = Etc::new();
    etc.write("servers/mx1.toml", &GOOD.replace("anonymous", "anonymus"));
    etc.write("servers/mx2.toml", &GOOD.replace(":25\"", ":26\""));
    let run = etc.postern(&["check", "--json"]);
    assert_eq!(run.code, 1);
    let value: serde_json::Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(value["errors"], 1);
    let files = value["files"].as_array().unwrap();
    assert_eq!(files.len(), 2);
    let errors: Vec<_> = files[0]["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["severity"] == "error")
        .collect();
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0]["place"]["line"], 6);
    assert_eq!(
        errors[0]["what"],
        "unknown key `anonymus` in [access.authentication]"
    );
    let second = files[1]["findings"].as_array().unwrap();
    assert!(
        second.iter().all(|one| one["severity"] == "warning"),
        "{second:?}"
    );
}

#[test]
fn a_file_that_is_not_there_is_exit_code_2() {
    let etc = Etc::new();
    let run = etc.postern(&["check", "mx1"]);
    assert_eq!(run.code, 2);
    golden("check-absent.txt", &etc.anonymous(&run.out));
    let run = postern(&["--config", "/nonexistent/postern", "check"]);
    assert_eq!(run.code, 2);
    assert!(
        run.err.starts_with(
            "error: cannot read /nonexistent/postern/servers: No such file or directory\n"
        ),
        "{}",
        run.err
    );
}

#[test]
fn a_name_no_server_can_have_is_an_error() {
    let etc = Etc::new();
    etc.write("servers/My Server.toml", GOOD);
    let run = etc.postern(&["check"]);
    assert_eq!(run.code, 1);
    assert!(
        run.out.contains("My Server cannot be the name of a server"),
        "{}",
        run.out
    );
}

#[test]
fn host_settings_are_checked_too() {
    let etc = Etc::new();
    etc.write("servers/mx1.toml", GOOD);
    etc.write(
        "postern.toml",
        "control_group = \"no-such-group-here\"\nuids = \"0-10\"\n",
    );
    let run = etc.postern(&["check"]);
    assert_eq!(run.code, 1);
    etc.write("postern.toml", "control_group = \"no-such-group-here\"\n");
    let run = etc.postern(&["check"]);
    assert_eq!(run.code, 0);
    assert!(
        run.out
            .contains("warning: there is no group no-such-group-here on this host"),
        "{}",
        run.out
    );
}

#[test]
fn the_examples_that_are_shipped_have_no_errors() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/etc/postern");
    let mut count = 0;
    for entry in std::fs::read_dir(folder.join("servers")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let (definition, findings) = postern_config::load(&text, &path);
        assert_eq!(findings, [], "{}", path.display());
        assert!(definition.is_some());
        postern_hosting::Hosting::from_toml(&text, &path).unwrap();
        count += 1;
    }
    assert_eq!(count, 3);
    let path = folder.join("postern.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(
        postern_hosting::HostSettings::from_toml(&text, &path),
        Ok(postern_hosting::HostSettings::default())
    );
    // What the example shows as defaults is what the defaults are.
    let shown: String = text
        .lines()
        .filter_map(|line| line.strip_prefix("# "))
        .filter(|line| line.contains(" = "))
        .map(|line| format!("{line}\n"))
        .collect();
    let read = postern_hosting::HostSettings::from_toml(&shown, &path).unwrap();
    assert_eq!(
        read,
        postern_hosting::HostSettings {
            control_group: Some("postern".into()),
            ..Default::default()
        }
    );
}

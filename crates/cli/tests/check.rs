//! `postern check`: what administrators read about their mistakes. One golden file a story.

#![allow(clippy::unwrap_used)]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
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
fn files_of_entries_are_read_and_their_bad_lines_shown() {
    let etc = Etc::new();
    etc.write(
        "lists/blocked.txt",
        "# spammers\n198.51.100.0/24\n198.51.100.7/24  # meant as a net\n\"203.0.113.9\",\n",
    );
    etc.write("lists/relay.txt", "192.0.2.7\n\n64.0.0.0/2\n");
    let lists = "[access.connection]\nlist = [\"file ../lists/blocked.txt\", \"file gone.txt\"]\n";
    etc.write("servers/blocked.toml", &format!("{GOOD}\n{lists}"));
    let relay = "[access.relay]\nlist = [\"file ../lists/relay.txt\"]\n";
    let relay = format!("{GOOD}\n{relay}").replace(":25\"", ":26\"");
    etc.write("servers/relay.toml", &relay);
    let run = etc.postern(&["check"]);
    assert_eq!((run.code, run.err.as_str()), (1, ""));
    golden("check-lists.txt", &etc.anonymous(&run.out));
}

/// What only root may read is a note to others, and no error.
#[test]
fn a_list_that_this_user_may_not_read_is_a_note() {
    let etc = Etc::new();
    let lists = "[access.connection]\nlist = [\"file blocked.txt\"]\n";
    etc.write("servers/mx1.toml", &format!("{GOOD}\n{lists}"));
    let open = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let list = etc.write("servers/blocked.txt", "nonsense here\n");
    open(&list, 0o000);
    // Root may read everything, so somebody else looks, with a copy of the command within his reach.
    let command = etc.path().join("postern");
    // Not written by this process: a test beside this one that forks meanwhile would keep it from being executed.
    let copied = std::process::Command::new("cp")
        .arg(env!("CARGO_BIN_EXE_postern"))
        .arg(&command)
        .status();
    assert!(copied.unwrap().success());
    for path in [etc.path(), &etc.path().join("servers"), &command] {
        open(path, 0o755);
    }
    let mut check = std::process::Command::new(command);
    check
        .args(["--config", etc.text(), "check"])
        .current_dir("/");
    if rustix::process::geteuid().is_root() {
        check.uid(65_534);
    }
    let run = check.output().unwrap();
    let out = String::from_utf8(run.stdout).unwrap();
    assert_eq!(run.status.code(), Some(0), "{out}");
    assert!(
        out.contains("note: ")
            && out.contains("blocked.txt is not open to you")
            && !out.contains("error"),
        "{out}"
    );
}

#[test]
fn a_certificate_should_name_the_server_and_last() {
    let etc = Etc::new();
    let key = KeyPair::generate().unwrap();
    secret(&etc, "servers/key.pem", &key.serialize_pem());
    let write = |name: &str, names: &[&str], days: i64| {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        let epoch = date_time_ymd(1970, 1, 1);
        let now = std::time::UNIX_EPOCH.elapsed().unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after =
            epoch + now + std::time::Duration::from_secs(86_400) * days.try_into().unwrap();
        secret(&etc, name, &params.self_signed(&key).unwrap().pem());
    };
    write(
        "servers/other.pem",
        &["mail.example.org", "*.example.org"],
        400,
    );
    write("servers/none.pem", &[], 400);
    write("servers/wild.pem", &["*.example.com"], 22);
    write("servers/soon.pem", &["mx1.example.com"], 20);
    let stories = [
        ("other", vec!["other.pem does not name mx1.example.com"]),
        ("none", vec!["none.pem does not name mx1.example.com"]),
        ("wild", vec![]),
        (
            "soon",
            vec!["soon.pem: the certificate for mx1.example.com ends on "],
        ),
    ];
    for (name, warnings) in stories {
        let text = with_tls(&format!("{name}.pem"), "key.pem");
        etc.write("servers/mx1.toml", &text);
        let run = etc.postern(&["check", "mx1"]);
        assert_eq!(run.code, 0, "{}", run.out);
        assert_eq!(
            run.out.matches("warning:").count(),
            warnings.len(),
            "{}",
            run.out
        );
        for warning in &warnings {
            assert!(run.out.contains(warning), "{}", run.out);
        }
        // Those who want warnings to count say so.
        let run = etc.postern(&["check", "mx1", "--strict"]);
        assert_eq!(run.code, i32::from(!warnings.is_empty()), "{}", run.out);
    }
    // One of several is enough.
    let pairs = "{ certificate = \"other.pem\", key = \"key.pem\" }, { certificate = \"wild.pem\", key = \"key.pem\" }";
    etc.write(
        "servers/mx1.toml",
        &format!("{GOOD}\n[access.tls]\ncertificates = [{pairs}]\n"),
    );
    let run = etc.postern(&["check", "mx1", "--strict"]);
    assert_eq!(run.code, 0, "{}", run.out);
}

#[test]
fn servers_that_deliver_to_each_other_are_named() {
    let etc = Etc::new();
    let server = |name: &str, port: u16, next: &str| {
        let text = format!(
            "[general]\nfqdn = \"{name}.example.com\"\nlisten = [{{ address = \"127.0.0.1:{port}\", tls = \"none\" }}]\n\n\
             [access.authentication]\nanonymous = true\n\n[delivery]\nsmart_host = [\"{next}\"]\n"
        );
        etc.write(&format!("servers/{name}.toml"), &text);
    };
    server("one", 2501, "two.example.com:2502");
    server("two", 2502, "[127.0.0.1]:2501");
    server("alone", 2503, "localhost:2503");
    let run = etc.postern(&["check"]);
    assert_eq!((run.code, run.err.as_str()), (0, ""), "{}", run.out);
    golden("check-loops.txt", &etc.anonymous(&run.out));
    // The neighbours count even where only one is looked at.
    let run = etc.postern(&["check", "one"]);
    assert!(run.out.contains("one → two → one"), "{}", run.out);
}

#[test]
fn grants_and_recipients_that_match_nobody_are_named() {
    let etc = Etc::new();
    let hash = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$iIpfuwAHYnqTvRrzxQ9Dqn0RbXfLBF/fpSKzKgOQXMw";
    secret(
        &etc,
        "accounts/mx1.toml",
        &format!("[accounts.\"alice@example.com\"]\npassword = \"{hash}\"\ngroups = [\"staff\"]\n"),
    );
    etc.write(
        "servers/people.txt",
        "alice\nbob@example.com\ncarol, dave\n",
    );
    etc.write(
        "servers/mx1.toml",
        r#"[general]
fqdn = "mx1.example.com"
listen = [{ address = "127.0.0.1:25", tls = "none" }]

[access.authentication]
basic_requires_tls = false
accounts = [{ file = "../accounts/mx1.toml" }]
submit = ["@Staff", "alice", "erin"]
relay = ["@interns", "ALICE@example.com"]

[delivery]
domains = [{ name = "example.com", to = "lmtp:unix:/run/dovecot/lmtp", recipients = "people.txt" }]
"#,
    );
    let run = etc.postern(&["check"]);
    assert_eq!((run.code, run.err.as_str()), (0, ""), "{}", run.out);
    golden("check-nobody.txt", &etc.anonymous(&run.out));
}

/// In a network of its own, with a gateway and a bridge like docker's.
/// Where only SCRAM is offered, who has no keys cannot log in.
#[test]
fn accounts_without_keys_are_named_where_they_need_them() {
    let etc = Etc::new();
    let hash = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$iIpfuwAHYnqTvRrzxQ9Dqn0RbXfLBF/fpSKzKgOQXMw";
    let keys = "SCRAM-SHA-256$4096:YWxpY2VhbGljZWFsaWNlMQ==$bQDbGXf+hVlOpLgApsIlEgguixNgOSANIU6/Ayt5XdI=:Oka+awOY6pveE3CrhdFfVLe0puPlToKxGh54ck6cd1w=";
    let mut accounts = format!("[accounts.alice]\npassword = \"{hash}\"\nscram = \"{keys}\"\n");
    for name in ["bob", "carol", "dave", "erin", "frank"] {
        accounts += &format!("[accounts.{name}]\npassword = \"{hash}\"\n");
    }
    secret(&etc, "accounts/mx1.toml", &accounts);
    let definition = |more: &str| {
        format!(
            "[general]\nfqdn = \"mx1.example.com\"\nlisten = [{{ address = \"127.0.0.1:25\", tls = \"none\" }}]\n\
             [access.authentication]\naccounts = [{{ file = \"../accounts/mx1.toml\" }}]\n{more}"
        )
    };
    etc.write("servers/mx1.toml", &definition(""));
    let run = etc.postern(&["check", "mx1"]);
    assert_eq!((run.code, run.err.as_str()), (0, ""), "{}", run.out);
    golden("check-keys.txt", &etc.anonymous(&run.out));
    etc.write(
        "servers/mx1.toml",
        &definition("basic_requires_tls = false\n"),
    );
    let run = etc.postern(&["check", "mx1"]);
    assert!(!run.out.contains("keys"), "{}", run.out);
}

#[test]
fn the_files_of_a_directory_are_looked_into() {
    let etc = Etc::new();
    let source = |password: &str, ca: &str| {
        format!(
            "    {{ ldap = {{ servers = [\"ldaps://dc1\"], base = \"dc=x\", bind_dn = \"cn=p,dc=x\", \
             bind_password_file = \"{password}\", ca = \"{ca}\" }} }},\n"
        )
    };
    secret(&etc, "servers/good.password", "one\n");
    secret(&etc, "servers/two.password", "one\ntwo\n");
    etc.write("servers/open.password", "one\n");
    etc.write("servers/ca.pem", &pair(2020, 2090).0);
    etc.write("servers/empty.pem", "");
    let sources = [
        source("good.password", "ca.pem"),
        source("two.password", "empty.pem"),
        source("open.password", "nowhere.pem"),
    ];
    let accounts = format!("accounts = [\n{}]\nrelay = [\"@staff\"]", sources.concat());
    let text = GOOD.replace("anonymous = true", &format!("anonymous = true\n{accounts}"));
    etc.write("servers/mx1.toml", &text);
    let run = etc.postern(&["check", "mx1"]);
    assert_eq!((run.code, run.err.as_str()), (1, ""));
    golden("check-directories.txt", &etc.anonymous(&run.out));
}

#[test]
fn the_files_of_a_smart_host_are_looked_into() {
    let etc = Etc::new();
    secret(&etc, "servers/good.password", "one\n");
    secret(&etc, "servers/two.password", "one\ntwo\n");
    etc.write("servers/open.token", "ya29.x\n");
    secret(
        &etc,
        "servers/bad.token",
        "{ \"access_token\": \"ya29.x\" }\n",
    );
    etc.write("servers/ca.pem", &pair(2020, 2090).0);
    etc.write("servers/empty.pem", "");
    let route = |domain: &str, login: &str| {
        format!(
            "    {{ domain = \"{domain}\", host = \"mail.{domain}:587\", security = {{ ca = \"ca.pem\", login = {{ {login} }} }} }},\n"
        )
    };
    let routes = [
        route(
            "a.example",
            "xoauth2 = { user = \"u\", token_file = \"open.token\" }",
        ),
        route(
            "b.example",
            "xoauth2 = { user = \"u\", token_file = \"bad.token\" }",
        ),
        route(
            "c.example",
            "integrated = { user = \"u\", password_file = \"two.password\" }",
        ),
        route(
            "d.example",
            "basic = { user = \"u\", password_file = \"good.password\" }",
        ),
        route(
            "e.example",
            "basic = { user = \"u\", password_file = \"nowhere.password\" }",
        ),
    ];
    let security = "outbound_security = { tls = \"required\", ca = \"empty.pem\" }";
    let text = format!("{GOOD}{security}\nroutes = [\n{}]\n", routes.concat());
    etc.write("servers/mx1.toml", &text);
    let run = etc.postern(&["check", "mx1"]);
    assert_eq!((run.code, run.err.as_str()), (1, ""), "{}", run.out);
    golden("check-smart-host.txt", &etc.anonymous(&run.out));
}

#[test]
fn the_files_of_ntlm_and_kerberos_are_looked_into() {
    const HASH: &str = "8846f7eaee8fb117ad06bdd830b7586c";
    let etc = Etc::new();
    let (certificate, key) = pair(2020, 2090);
    secret(&etc, "servers/cert.pem", &certificate);
    secret(&etc, "servers/key.pem", &key);
    let keytab = include_bytes!("keytabs/ktutil.keytab");
    for (name, bytes, mode) in [
        ("open.keytab", &keytab[..], 0o640),
        ("cut.keytab", &keytab[..100], 0o600),
        ("good.keytab", keytab, 0o600),
    ] {
        let path = etc.write(&format!("servers/{name}"), "");
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let accounts =
        "[accounts.alice]\npassword = \"$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2g\"\n";
    secret(&etc, "servers/a.toml", accounts);
    etc.write(
        "servers/open.nt",
        &format!("alice:{HASH}\nmallory:{HASH}\n"),
    );
    secret(&etc, "servers/bad.nt", &format!("alice:{HASH}0\n"));
    secret(&etc, "servers/good.nt", &format!("alice:{HASH}\n"));
    let check = |fqdn: &str, sources: &str| {
        let login = format!("anonymous = true\nntlm = true\naccounts = [\n{sources}]");
        let text = with_tls("cert.pem", "key.pem")
            .replace("mx1.example.com", fqdn)
            .replace("anonymous = true", &login);
        etc.write("servers/mx1.toml", &text);
        let run = etc.postern(&["check", "mx1"]);
        assert!(!run.out.contains("8846"), "{}", run.out);
        (run.code, etc.anonymous(&run.out))
    };
    let (code, out) = check(
        "mx1.example.com",
        "    { file = \"a.toml\", nt_hashes = \"open.nt\" },\n\
         \x20   { file = \"a.toml\", nt_hashes = \"bad.nt\" },\n\
         \x20   { file = \"a.toml\", nt_hashes = \"nowhere.nt\" },\n\
         \x20   { gssapi = \"open.keytab\" },\n\
         \x20   { gssapi = \"cut.keytab\" },\n\
         \x20   { gssapi = \"nowhere.keytab\" },\n",
    );
    assert_eq!(code, 1);
    golden("check-integrated.txt", &out);
    let (code, out) = check(
        "mx1.corp.example",
        "    { file = \"a.toml\", nt_hashes = \"good.nt\" },\n    { gssapi = \"good.keytab\" },\n",
    );
    let complains = |line: &str| !line.starts_with("note") && line.contains(": ");
    let of_them = |line: &str| complains(line) && line.contains("good.");
    assert!(code == 0 && !out.lines().any(of_them), "{out}");
}

#[test]
fn a_gateway_or_bridge_in_the_relay_list_is_warned_of() {
    const NETWORK: &str = "mount -t sysfs sysfs /sys && ip link add docker0 type bridge \
        && ip addr add 172.30.0.1/16 dev docker0 && ip link add v0 type veth peer name v1 \
        && ip addr add 10.99.0.2/24 dev v0 && ip link set v0 up && ip link set v1 up \
        && ip route add default via 10.99.0.1 && exec \"$0\" \"$@\"";
    let etc = Etc::new();
    etc.write(
        "lists/inside.txt",
        "# the office\n10.99.0.0/24\n10.99.1.0/24\n",
    );
    let relay = "[access.relay]\nlist = [\"172.16.0.0/12\", \"file ../lists/inside.txt\"]\n";
    etc.write("servers/mx1.toml", &format!("{GOOD}\n{relay}"));
    let run = std::process::Command::new("unshare")
        .args(["--map-root-user", "--net", "--mount", "sh", "-c", NETWORK])
        .args([
            env!("CARGO_BIN_EXE_postern"),
            "--config",
            etc.text(),
            "check",
        ])
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8(run.stdout).unwrap(),
        String::from_utf8(run.stderr).unwrap(),
    );
    assert_eq!((run.status.code(), err.as_str()), (Some(0), ""), "{out}");
    golden("check-host.txt", &etc.anonymous(&out));
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
    assert_eq!(count, 4);
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

//! Definitions, good and bad, as root reads them.

#![allow(clippy::unwrap_used)]

use super::*;

const FULL: &str = r#"
[general]
fqdn = "mail.example.com"
description = "in and out"
listen = ["192.0.2.10:25", { address = "[2001:db8::1]:465", tls = "implicit" }]
user = "mx1"
autostart = false
drain_timeout = "2m"
limits = { memory = "64 MiB", open_files = 4096, threads = 6 }
max_connections = "a setting of the worker's, whatever it holds"

[access.tls]
certificates = [{ certificate = "a.pem", key = "a.key" }, { certificate = "/b.pem", key = "a.key" }]
client_ca = "ca.pem"

[access.authentication]
accounts = [{ file = "accounts/mx1.toml" }, { ldap = "ldaps://x" }, { ldap = { bind_password_file = "ldap.password", ca = "corp.pem" } }]

[access.connection]
list = ["192.0.2.7", "file lists/blocked.txt", 3, "host file"]

[access.relay]
list = ["  file\t/etc/relay list.txt ", "file lists/blocked.txt", "file", "file ", "files x"]

[delivery]
domains = [
  { name = "a", to = "maildir:x", recipients = "lists/a" },
  { name = "b", to = "lmtp:y", recipients = ["x", "y"] },
  { name = "c", to = "lmtp:y", recipients = "lmtp" },
]
outbound_security = { ca = "roots.pem", login = { basic = { user = "u", password_file = "relay.password" } } }
routes = [
  { domain = "a.test", security = { login = { xoauth2 = { user = "u", token_file = "/run/token" } } } },
  { domain = "b.test", security = { login = { integrated = { user = "u", password_file = "corp.password" } } } },
  { domain = "c.test", security = { ca = 3, login = { basic = { user = "u", password = "p" }, integrated = true } } },
  { domain = "d.test", security = "none" },
  { domain = "e.test", security = { ca = "roots.pem", login = { basic = { password_file = "relay.password" } } } },
]
"#;

fn read_text(text: &str) -> Result<Hosting, Vec<Finding>> {
    Hosting::from_toml(text, Path::new("/etc/postern/servers/mx1.toml"))
}

#[test]
fn everything_root_needs_is_read_and_nothing_else() {
    let hosting = read_text(FULL).unwrap();
    let shown: Vec<String> = hosting.listen.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["192.0.2.10:25", "[2001:db8::1]:465 (implicit)"]);
    assert_eq!(hosting.listen_places[1].line, 5);
    assert_eq!(hosting.user.as_deref(), Some("mx1"));
    assert_eq!(hosting.user_place.map(|place| place.line), Some(6));
    assert_eq!(
        (hosting.autostart, hosting.drain_timeout),
        (false, Duration::from_secs(120))
    );
    let limits = ProcessLimits {
        memory: Some(64 << 20),
        open_files: Some(4096),
        threads: Some(6),
    };
    assert_eq!(hosting.limits, limits);
    let files: Vec<&str> = hosting
        .files
        .iter()
        .filter_map(|path| path.to_str())
        .collect();
    assert_eq!(
        files,
        [
            "a.pem",
            "a.key",
            "/b.pem",
            "ca.pem",
            "accounts/mx1.toml",
            "ldap.password",
            "corp.pem",
            "lists/blocked.txt",
            "/etc/relay list.txt",
            "lists/a",
            "roots.pem",
            "relay.password",
            "/run/token",
            "corp.password"
        ]
    );
}

#[test]
fn the_least_definition_has_defaults() {
    let hosting = read_text("[general]\nlisten = [\"[::1]:2525\"]\n").unwrap();
    assert!(hosting.autostart && hosting.user.is_none() && hosting.files.is_empty());
    assert_eq!(hosting.drain_timeout, Duration::from_secs(600));
    assert_eq!(hosting.limits, ProcessLimits::default());
}

#[test]
fn a_relative_file_is_meant_from_the_definitions_folder() {
    let definition = Path::new("/etc/postern/servers/mx1.toml");
    assert_eq!(
        Hosting::locate(definition, Path::new("a.pem")),
        Path::new("/etc/postern/servers/a.pem")
    );
    assert_eq!(
        Hosting::locate(definition, Path::new("/b.pem")),
        Path::new("/b.pem")
    );
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    let cases = [
        ("", None, "no [general]"),
        ("[general]\n", None, "no `listen`"),
        ("[general]\nlisten = []\n", Some(2), "not a list"),
        (
            "[general]\nlisten = [\"mail:25\"]\n",
            Some(2),
            "not an address",
        ),
        (
            "[general]\nlisten = [\"192.0.2.1\"]\n",
            Some(2),
            "not an address",
        ),
        ("[general]\nlisten = [\"192.0.2.1:0\"]\n", Some(2), "port 0"),
        ("[general]\nlisten = [7]\n", Some(2), "not an address"),
        (
            "[general]\nlisten = [{ tls = \"none\" }]\n",
            Some(2),
            "without `address`",
        ),
        (
            "[general]\nlisten = [{ address = \"[::1]:25\", tsl = 1 }]\n",
            Some(2),
            "unknown key `tsl`",
        ),
        (
            "[general]\nlisten = [{ address = \"[::1]:25\", tls = \"no\" }]\n",
            Some(2),
            "`tls` is not",
        ),
        (
            "[general]\nlisten = [\"[::1]:25\",\n\"[::]:25\"]\n",
            Some(3),
            "together with [::1]:25",
        ),
        (
            "[general]\nlisten = [\"[::1]:25\"]\nautostart = \"yes\"\n",
            Some(3),
            "neither true nor",
        ),
        (
            "[general]\nlisten = [\"[::1]:25\"]\nlimits = { memory = 3 }\n",
            Some(3),
            "`memory`",
        ),
        (
            "[general]\nlisten = [\"[::1]:25\"]\nlimits = { cpu = 1 }\n",
            Some(3),
            "`cpu` cannot",
        ),
        (
            "[general]\nlisten = [\"[::1]:25\"]\nlimits = { files = 1 }\n",
            Some(3),
            "unknown key `files`",
        ),
        (
            "[general]\nlisten = [\"[::1]:25\"]\ndrain_timeout = \"soon\"\n",
            Some(3),
            "`drain_timeout`",
        ),
        ("[general]\nlisten = [\"[::1]:25\"\n", Some(2), ""),
    ];
    for (text, line, words) in cases {
        let findings = read_text(text).unwrap_err();
        assert_eq!(findings.len(), 1, "{text}: {findings:?}");
        assert_eq!(
            findings[0].place.map(|place| place.line),
            line,
            "{text}: {findings:?}"
        );
        assert!(findings[0].what.contains(words), "{text}: {findings:?}");
    }
}

#[test]
fn all_errors_are_found_at_once() {
    let text = "[general]\nlisten = [\"x\", \"[::1]:25\", \"y\"]\nuser = 3\nautostart = 1\n";
    assert_eq!(read_text(text).unwrap_err().len(), 4);
}

#[test]
fn what_a_worker_must_not_hold_is_an_authds() {
    let text = r#"
[general]
listen = ["192.0.2.10:25"]
[access.authentication]
accounts = [{ file = "a.toml" }, { file = "b.toml", nt_hashes = "b.nt" }, { windows = "CORP" }, { gssapi = "/mx1.keytab" },
            { gssapi = { keytab = "mx2.keytab", realms = ["X"] } }, { gssapi = {} }, { file = "c.toml", nt_hashes = 3 }, 7]
"#;
    let hosting = read_text(text).unwrap();
    let shown = |authd: &Authd| {
        let file = authd
            .file
            .as_ref()
            .map(|path| path.to_str().unwrap().to_owned());
        (authd.source, authd.kind.as_str(), file)
    };
    let shown: Vec<_> = hosting.authds.iter().map(shown).collect();
    let expected = [
        (1, "hashes", Some("b.nt".to_owned())),
        (2, "winbind", None),
        (3, "kerberos", Some("/mx1.keytab".to_owned())),
        (4, "kerberos", Some("mx2.keytab".to_owned())),
    ];
    assert_eq!(shown, expected);
    // The worker never gets them.
    let files: Vec<_> = hosting
        .files
        .iter()
        .map(|path| path.to_str().unwrap())
        .collect();
    assert_eq!(files, ["a.toml", "b.toml", "c.toml"]);
}

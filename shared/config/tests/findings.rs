//! Findings as people read them: each `golden/NAME.toml` has its `NAME.findings` beside it.
//!
//! The files of entries they name are in `golden/lists`.
//!
//! `UPDATE_GOLDEN=1 cargo test -p postern-config` writes them anew, to be read before they are committed.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use postern_config::{Severity, load};

#[test]
fn findings_read_as_recorded() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut names: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "toml")
    });
    names.sort();
    assert!(names.len() >= 10);
    for path in names {
        let text = fs::read_to_string(&path).unwrap();
        let name = Path::new(path.file_name().unwrap());
        let (mut definition, mut findings) = load(&text, name);
        if let Some(definition) = &mut definition {
            findings.extend(definition.read_lists(&mut |list| {
                fs::read(folder.join(list)).map_err(|_| "No such file or directory".to_owned())
            }));
        }
        let shown: String = findings
            .iter()
            .map(|finding| format!("{finding}\n"))
            .collect();
        let errors = findings
            .iter()
            .any(|finding| finding.severity == Severity::Error);
        let listed = definition
            .as_ref()
            .is_some_and(|one| !one.list_files.is_empty());
        assert!(
            definition.is_none() == errors || listed,
            "{}",
            name.display()
        );
        for finding in &findings {
            assert!(
                !finding.what.is_empty() && !finding.remedy.is_empty(),
                "{finding}"
            );
            assert!(
                finding.place.is_none_or(
                    |place| finding.path != name || text.get(place.start..place.end).is_some()
                ),
                "{finding}"
            );
        }
        let golden = path.with_extension("findings");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &shown).unwrap();
        }
        assert_eq!(
            shown,
            fs::read_to_string(&golden).unwrap(),
            "{}",
            name.display()
        );
        assert!(
            !shown.contains("hunter2") && !shown.contains("secret\""),
            "{}",
            name.display()
        );
    }
}

#[test]
fn a_flood_of_mistakes_is_cut_short() {
    let entries = "\"x y\",\n".repeat(10_000);
    let text = format!("[access.connection]\nlist = [\n{entries}]\n");
    let (definition, findings) = load(&text, Path::new("mx1.toml"));
    assert!(definition.is_none());
    assert_eq!(findings.len(), 51);
    assert!(findings[50].what.contains("more findings are not shown"));
    let told: usize = findings
        .iter()
        .map(|finding| finding.what.len() + finding.remedy.len() + 100)
        .sum();
    assert!(told < 32 << 10, "must fit a packet of 64 KiB: {told}");
}

/// A summary is as grave as what it stands for: many warnings refuse nothing, and an error behind them is said.
#[test]
fn a_flood_of_warnings_refuses_nothing() {
    let head = "[general]\nfqdn = \"mx1.example.com\"\nlisten = [\"127.0.0.1:25\"]\n";
    let names = |count: usize| {
        let name = |number: usize| {
            let letter = |at: usize| char::from(b'a' + u8::try_from(at % 26).unwrap());
            format!("\"{}{}x\"", letter(number / 26), letter(number))
        };
        (0..count).map(name).collect::<Vec<_>>().join(", ")
    };
    let warned = format!("{head}[access.relay]\ndomains = [{}]\n", names(80));
    let (definition, findings) = load(&warned, Path::new("mx1.toml"));
    assert_eq!(findings.len(), 51);
    let last = findings.last().unwrap();
    assert!(last.what.contains("31 more findings"), "{last}");
    assert_eq!(last.severity, Severity::Warning);
    assert!(definition.is_some());
    let wrong =
        format!("{warned}[messages]\nmax_message_size = \"1 MB\"\nmax_session_size = \"64 KiB\"\n");
    let (definition, findings) = load(&wrong, Path::new("mx1.toml"));
    assert!(definition.is_none());
    let errors = findings
        .iter()
        .filter(|one| one.severity == Severity::Error);
    assert!(
        errors
            .clone()
            .any(|one| one.what.contains("max_session_size"))
    );
    assert_eq!(errors.count(), 1);
}

/// Whoever cannot log in is told so, and what would let him.
#[test]
fn ways_to_log_in_that_are_left() {
    let told = |listen: &str, written: &str| -> Vec<String> {
        let text = format!(
            "[general]\nfqdn = \"mx1.example.com\"\nlisten = [{listen}]\n[access.tls]\n\
             certificates = [{{ certificate = \"c.pem\", key = \"k.pem\" }}]\n\
             [access.authentication]\n{written}\n"
        );
        let (_, findings) = load(&text, Path::new("mx1.toml"));
        findings.iter().map(ToString::to_string).collect()
    };
    let (tls, none) = (
        "\"127.0.0.1:25\"",
        "{ address = \"127.0.0.1:25\", tls = \"none\" }",
    );
    let file = "accounts = [{ file = \"a.toml\" }]";
    let dovecot = "accounts = [{ dovecot = \"/run/dovecot/auth-client\" }]";
    for (listen, written) in [
        (tls, file.to_owned()),
        (tls, format!("{file}\nbasic = false")),
        (none, file.to_owned()),
        (
            none,
            format!("{file}\nbasic_requires_tls = false\nscram = false"),
        ),
        (tls, format!("{dovecot}\nscram = false")),
    ] {
        assert_eq!(told(listen, &written), [""; 0], "{listen} {written}");
    }
    for (listen, written, what) in [
        (
            tls,
            format!("{file}\nbasic = false\nscram = false"),
            "nobody can log in: basic is false (write basic = true, or write scram = true for accounts in files)",
        ),
        (
            none,
            format!("{file}\nscram = false"),
            "nobody can log in: basic_requires_tls is true, and there is no TLS (give it a certificate in [access.tls] and an identity with TLS, or write scram = true for accounts in files)",
        ),
        (
            tls,
            format!("{dovecot}\nbasic = false"),
            "nobody can log in: basic is false (write basic = true)",
        ),
        (
            tls,
            "accounts = [{ file = \"a.toml\" }, { dovecot = \"/run/d\" }]\nbasic = false"
                .to_owned(),
            "accounts that are in no file cannot log in: basic is false, and SCRAM is for accounts in files (write basic = true)",
        ),
    ] {
        let told = told(listen, &written);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].ends_with(what), "{told:?}");
    }
}

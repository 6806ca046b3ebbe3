//! Lists with files in them, read from memory.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use super::*;
use crate::load;

const HEAD: &str = "[general]\nfqdn = \"mx1.example.com\"\n\
    listen = [{ address = \"127.0.0.1:25\", tls = \"none\" }]\n\
    [access.authentication]\nanonymous = true\n";

fn read(text: &str, files: &[(&str, &str)]) -> (Definition, Vec<Finding>) {
    let files: HashMap<&str, &str> = files.iter().copied().collect();
    let (definition, findings) = load(
        &format!("{HEAD}{text}"),
        Path::new("/etc/postern/servers/mx1.toml"),
    );
    assert_eq!(findings, []);
    let mut definition = definition.unwrap();
    let findings = definition.read_lists(&mut |path| {
        let text = files.get(path.to_str().unwrap()).copied();
        text.map(|text| text.as_bytes().to_vec())
            .ok_or_else(|| "not there".to_owned())
    });
    (definition, findings)
}

fn shown(list: &[Entry]) -> Vec<String> {
    let place = |entry: &Entry| (entry.origin.file(), entry.origin.line());
    list.iter()
        .map(|entry| format!("{} {:?}", entry.kind, place(entry)))
        .collect()
}

#[test]
fn entries_of_files_stand_where_the_files_are_named() {
    let text = "[access.connection]\nlist = [\"192.0.2.1\", \"file b\", \"192.0.2.2\", \"file a\"]\n\
        [access.relay]\nlist = [\"file a\", \"file c\", \"192.0.2.3\"]\n";
    let files = [
        ("a", "# a\n10.0.0.1\n"),
        ("b", "10.0.1.1\r\n\r\n10.0.1.2"),
        ("c", "domain example.com"),
    ];
    let (definition, findings) = read(text, &files);
    assert_eq!(findings, []);
    assert_eq!(definition.list_files, ["b", "a", "c"].map(PathBuf::from));
    // Root opens the same files.
    let hosting = Hosting::from_toml(&format!("{HEAD}{text}"), Path::new("mx1.toml")).unwrap();
    assert_eq!(hosting.files, definition.list_files);
    assert_eq!(
        shown(&definition.connection.list),
        [
            "192.0.2.1 (0, 7)",
            "10.0.1.1 (1, 1)",
            "10.0.1.2 (1, 3)",
            "192.0.2.2 (0, 7)",
            "10.0.0.1 (2, 2)"
        ]
    );
    assert_eq!(
        shown(&definition.relay.list),
        [
            "10.0.0.1 (2, 2)",
            "domain example.com (3, 1)",
            "192.0.2.3 (0, 9)"
        ]
    );
}

#[test]
fn each_file_is_read_once_and_only_once() {
    let (mut definition, _) = load(
        &format!(
            "{HEAD}[access.connection]\nlist = [\"file a\"]\n[access.relay]\nlist = [\"file a\"]\n"
        ),
        Path::new("mx1.toml"),
    );
    let definition = definition.as_mut().unwrap();
    let mut count = 0;
    for _ in 0..2 {
        let findings = definition.read_lists(&mut |_| {
            count += 1;
            Ok(b"192.0.2.7".to_vec())
        });
        assert_eq!(findings, []);
    }
    assert_eq!(count, 1);
    assert_eq!(definition.relay.list.len(), 1);
}

#[test]
fn a_finding_about_an_entry_is_at_its_place_in_its_file() {
    let text = "[access.relay]\nlist = [\"192.0.2.1\", \"file ../relay.txt\"]\n";
    let (_, findings) = read(text, &[("../relay.txt", "# wide\n  0.0.0.0/0\n")]);
    let finding = findings.first().unwrap();
    assert_eq!(finding.path, Path::new("/etc/postern/servers/../relay.txt"));
    let place = finding.place.unwrap();
    assert_eq!(
        (place.line, place.column, place.start, place.end),
        (2, 3, 9, 18)
    );
    // The second entry of the definition, on a long line.
    let text = "[access.relay]\nlist = [\"192.0.2.1\", \"file a\", \"ü\", \"0.0.0.0/0\"]\n"
        .replace("\"ü\", ", "");
    let (_, findings) = read(&text, &[("a", "192.0.2.7")]);
    let place = findings.first().unwrap().place.unwrap();
    assert_eq!((place.line, place.column), (7, 32));
}

#[test]
fn a_list_that_lacks_its_file_is_not_judged() {
    let text = "[access.relay]\nmode = \"all-except\"\nlist = [\"file a\"]\n";
    let (_, findings) = read(text, &[]);
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(
        findings.first().unwrap().what,
        "the list file a cannot be read: not there"
    );
    let (_, findings) = read(text, &[("a", "192.0.2.7")]);
    assert!(
        findings
            .first()
            .unwrap()
            .what
            .contains("relay for everyone")
    );
}

#[test]
fn findings_of_many_bad_files_fit_a_packet() {
    let names: Vec<String> = (0..Sites::MOST_FILES).map(|n| format!("f{n}")).collect();
    let entries: String = names
        .iter()
        .map(|name| format!("\"file {name}\","))
        .collect();
    let text = format!("[access.connection]\nlist = [{entries}]\n");
    let bad = "x".repeat(500) + "\n";
    let bad = bad.repeat(100);
    let files: Vec<(&str, &str)> = names.iter().map(|name| (&**name, &*bad)).collect();
    let (_, findings) = read(&text, &files);
    assert_eq!(findings.len(), 51);
    let told: usize = findings.iter().map(|one| one.to_string().len()).sum();
    assert!(told < 32 << 10, "{told}");
    let more = format!("[access.connection]\nlist = [{entries} \"file more\"]\n");
    let (definition, findings) = load(&format!("{HEAD}{more}"), Path::new("mx1.toml"));
    assert!(definition.is_none());
    assert_eq!(findings.first().unwrap().what, "more than 100 list files");
}

#[test]
fn a_file_that_may_be_cut_off_is_refused() {
    let long = vec![b'\n'; LONGEST];
    let mut findings = Vec::new();
    parse(&long, 1, Path::new("a"), &mut findings);
    assert!(
        findings
            .first()
            .unwrap()
            .what
            .contains("longer than 64 MiB")
    );
}

#[test]
fn many_warnings_are_cut_short_and_stay_warnings() {
    let text = "[access.relay]\nlist = [\"file a\"]\n";
    let country = |at: usize| {
        let letter = |at: usize| char::from(b'a' + u8::try_from(at % 26).unwrap());
        format!("domain co.{}{}\n", letter(at / 26), letter(at))
    };
    let mut entries: String = (0..60).map(country).collect();
    entries.push_str(
        &(0..60)
            .map(|at| format!("{}.0.0.0/8\n", at + 20))
            .collect::<String>(),
    );
    let (_, findings) = read(text, &[("a", &entries)]);
    let registries = findings
        .iter()
        .filter(|one| one.what.starts_with("strangers may"));
    assert_eq!(registries.count(), 20);
    let path = Path::new("mx1.toml");
    let warning = Finding::error(path, "w", "r").with_severity(Severity::Warning);
    let mut many = vec![warning; 70];
    cut_short(path, &mut many);
    assert_eq!(many.len(), 51);
    assert_eq!(many[50].severity, Severity::Warning);
    many.extend(vec![Finding::error(path, "e", "r"); 60]);
    cut_short(path, &mut many);
    assert!(many.iter().all(|one| one.severity == Severity::Error));
    assert_eq!(many[50].what, "61 more findings are not shown");
}

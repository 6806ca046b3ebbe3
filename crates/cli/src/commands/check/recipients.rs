//! A file of recipients: lines that nobody's address will ever match.
//!
//! The worker takes every line as a local part, so that one such line must not keep a server from starting; it only
//! has the mail of that person refused.
//!
//! Never: whether somebody is there.

use std::path::Path;

use postern_hosting::{Finding, Place, Severity};

/// So many lines are named; the rest is counted.
const MOST: usize = 20;

/// Looks at the lines of the file `path` of a local domain.
pub(super) fn check(domain: &str, text: &str, path: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (mut start, mut bad, mut people) = (0, 0usize, 0usize);
    for line in text.split('\n') {
        let name = line.split('#').next().unwrap_or_default();
        let from = start + name.len() - name.trim_start().len();
        start += line.len() + 1;
        let name = name.trim();
        if name.is_empty() {
            continue;
        }
        people += 1;
        let Some((what, remedy)) = misfit(domain, name) else {
            continue;
        };
        bad += 1;
        if bad <= MOST {
            let finding = Finding::error(path, what, remedy).with_severity(Severity::Warning);
            findings.push(finding.at(Place::of(text, from..from + name.len())));
        }
    }
    let whole = |severity, what: String, remedy: &str| {
        Finding::error(path, what, remedy).with_severity(severity)
    };
    if bad > MOST {
        let what = format!("{} more lines match nobody", bad - MOST);
        findings.push(whole(Severity::Note, what, "mend those above first"));
    }
    if people == 0 {
        let what = format!("nobody is in {domain}: the list of recipients is empty");
        findings.push(whole(Severity::Warning, what, "write a local part a line"));
    }
    findings
}

/// Why no address in the domain has this local part, and what to write.
fn misfit(domain: &str, name: &str) -> Option<(String, String)> {
    let shown: String = name.chars().take(48).flat_map(char::escape_debug).collect();
    // A quoted local part may hold anything (RFC 5321 §4.1.2), but it is looked up without its quotes.
    if let Some((local, host)) = name.rsplit_once('@') {
        return Some(match host.eq_ignore_ascii_case(domain) {
            true => (
                format!("`{shown}` matches nobody: only the part before @ stands here"),
                format!("write {local}"),
            ),
            false => (
                format!("`{shown}` matches nobody in {domain}"),
                "list it with its own domain".to_owned(),
            ),
        });
    }
    let odd = |c: char| {
        c.is_whitespace() || c.is_control() || matches!(c, '"' | ',' | ';' | ':' | '<' | '>')
    };
    name.contains(odd).then(|| {
        (
            format!("`{shown}` is no local part: it matches nobody"),
            "write one local part a line, as in alice".to_owned(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_match_nobody_are_named() {
        let text = "# people\nalice\n  bob@example.com # once\ncarol@example.org\n\nalice, bob\n\"eve\"\njörg\n";
        let found: Vec<String> = check("example.com", text, Path::new("people"))
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            found,
            [
                "people:3:3: warning: `bob@example.com` matches nobody: only the part before @ stands here (write bob)",
                "people:4:1: warning: `carol@example.org` matches nobody in example.com (list it with its own domain)",
                "people:6:1: warning: `alice, bob` is no local part: it matches nobody (write one local part a line, as in alice)",
                "people:7:1: warning: `\\\"eve\\\"` is no local part: it matches nobody (write one local part a line, as in alice)",
            ]
        );
    }

    #[test]
    fn a_flood_is_counted_and_nobody_is_said() {
        let found = check("a.example", &"x y\n".repeat(100), Path::new("people"));
        assert_eq!(found.len(), 21);
        assert_eq!(
            found.last().map(|one| one.what.as_str()),
            Some("80 more lines match nobody")
        );
        let found = check("a.example", "# none\n", Path::new("people"));
        assert_eq!(found.len(), 1);
    }
}

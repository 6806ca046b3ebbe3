//! What a check says: a grade, what was asked and answered, a remark, and what to publish.
//!
//! Never: colours, columns; whoever shows it decides how.

use serde::Serialize;

/// How a check ended, the worse the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grade {
    /// It is there, and agrees with the server.
    Found,
    /// Nothing is wrong; there is something to know.
    Note,
    /// No name server could be asked, or none answered in time.
    NotAsked,
    /// It is not there.
    Missing,
    /// It is there, and says something else than the server does, or than its standard allows.
    Contradictory,
}

impl Grade {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Grade::Found => "found",
            Grade::Note => "note",
            Grade::NotAsked => "not asked",
            Grade::Missing => "missing",
            Grade::Contradictory => "contradictory",
        }
    }
}

/// One question and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// `MX example.com`, or the address of a document.
    pub question: String,
    /// Who answered, or was to.
    pub of: String,
    /// As a zone file has it, or why there is none; cut where it is long.
    pub answer: String,
    /// Whether the answer had to come over TCP.
    pub over_tcp: bool,
    /// Whether the resolver says that DNSSEC vouches for it.
    pub vouched: bool,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// What was checked: `address`, `MX`, `SPF` …
    pub subject: String,
    /// How it ended.
    pub grade: Grade,
    /// What was asked for it, in order.
    pub asked: Vec<Asked>,
    /// Why it has this grade; empty where there is nothing to add.
    pub remark: String,
    /// Lines of a zone file (or of a document, which the line before it names) that would mend it.
    pub publish: Vec<String>,
}

/// The checks of one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Group {
    /// The server's name, or a domain.
    pub name: String,
    /// Its checks, in order.
    pub rows: Vec<Row>,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The server first, then its domains as the definition lists them.
    pub groups: Vec<Group>,
}

impl Report {
    /// How many checks ended with this grade.
    pub fn count(&self, grade: Grade) -> usize {
        let rows = self.groups.iter().flat_map(|group| &group.rows);
        rows.filter(|row| row.grade == grade).count()
    }
}

/// A line of a zone file.
pub(super) fn line(name: &str, kind: &str, data: impl std::fmt::Display) -> String {
    format!("{name}. 3600 IN {kind} {data}")
}

/// A TXT line; a text of more than 255 bytes is several strings (RFC 1035 §3.3).
pub(super) fn text_line(name: &str, text: &str) -> String {
    let escaped = |piece: &[u8]| postern_dns::Data::Text(piece.into()).to_string();
    let strings: Vec<String> = text.as_bytes().chunks(255).map(escaped).collect();
    line(name, "TXT", strings.join(" "))
}

/// At most `limit` characters of a stranger's text.
pub(super) fn clipped(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

//! A finding: what is wrong in a definition, where, and what to write instead.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, Serializer};

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The definition is not used.
    Error,
    /// It is used, and probably not what was meant.
    Warning,
    /// Worth knowing.
    Note,
}

/// A place in a text. Lines and columns count from 1, columns in characters; `start..end` are bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The line of `start`.
    pub line: u32,
    /// The column of `start`, in characters.
    pub column: u32,
    /// The first byte meant.
    pub start: usize,
    /// The byte after the last one meant.
    pub end: usize,
}

impl Place {
    /// The place of the bytes `range` in `text`; a range beyond the text is cut to it.
    pub fn of(text: &str, range: Range<usize>) -> Place {
        let mut start = range.start.min(text.len());
        while !text.is_char_boundary(start) {
            start -= 1;
        }
        let before = &text[..start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Place {
            line: count(before.bytes().filter(|byte| *byte == b'\n').count()),
            column: count(before[line_start..].chars().count()),
            start,
            end: range.end.clamp(start, text.len()),
        }
    }
}

fn count(from_zero: usize) -> u32 {
    u32::try_from(from_zero)
        .unwrap_or(u32::MAX - 1)
        .saturating_add(1)
}

/// One thing found wrong, in words for an administrator.
///
/// Shown as `servers/mx1.toml:41:9: error: what (remedy)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// The file it is in.
    #[serde(serialize_with = "lossily")]
    pub path: PathBuf,
    /// The place in that file; `None` for the file as a whole.
    pub place: Option<Place>,
    /// What is wrong.
    pub what: String,
    /// What to do, or to write instead.
    pub remedy: String,
}

impl Finding {
    /// An error about the file as a whole.
    pub fn error(path: &Path, what: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding {
            severity: Severity::Error,
            path: path.to_owned(),
            place: None,
            what: what.into(),
            remedy: remedy.into(),
        }
    }

    /// The same finding, at a place.
    pub fn at(mut self, place: Place) -> Finding {
        self.place = Some(place);
        self
    }

    /// The same finding, fit for a terminal and a log: what a worker found may quote what anybody wrote.
    pub fn plain(mut self) -> Finding {
        let path = self.path.to_string_lossy();
        if path.contains(char::is_control) {
            self.path = path.replace(char::is_control, "\u{fffd}").into();
        }
        for text in [&mut self.what, &mut self.remedy] {
            if text.contains(char::is_control) {
                *text = text.replace(char::is_control, "\u{fffd}");
            }
        }
        self
    }

    /// The same finding, with another severity.
    pub fn with_severity(mut self, severity: Severity) -> Finding {
        self.severity = severity;
        self
    }
}

/// JSON is UTF-8; a path that is not is shown as well as it can be.
fn lossily<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(place) = &self.place {
            write!(f, ":{}:{}", place.line, place.column)?;
        }
        write!(f, ": {}: {}", self.severity, self.what)?;
        if self.remedy.is_empty() {
            Ok(())
        } else {
            write!(f, " ({})", self.remedy)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn places_count_characters() {
        let text = "a = 1\nüb = \"x\"\n";
        let at = text.find("\"x\"").unwrap();
        let place = Place::of(text, at..at + 3);
        assert_eq!(
            (place.line, place.column, place.start, place.end),
            (2, 6, at, at + 3)
        );
        assert_eq!(Place::of(text, 0..1).line, 1);
        assert_eq!(Place::of(text, 1000..2000).start, text.len());
        // The middle of a character is its beginning.
        assert_eq!(Place::of(text, 7..8).column, 1);
    }

    #[test]
    fn a_plain_finding_commands_no_terminal() {
        let finding = Finding::error(Path::new("a\r"), "\u{1b}[2Jx\n", "y\u{9b}").plain();
        assert_eq!(
            finding.to_string(),
            "a\u{fffd}: error: \u{fffd}[2Jx\u{fffd} (y\u{fffd})"
        );
    }

    #[test]
    fn a_finding_reads_as_one_line() {
        let finding = Finding::error(
            Path::new("servers/mx1.toml"),
            "unknown key `fqnd`",
            "write `fqdn`",
        );
        assert_eq!(
            finding.to_string(),
            "servers/mx1.toml: error: unknown key `fqnd` (write `fqdn`)"
        );
        let placed = finding
            .at(Place {
                line: 41,
                column: 9,
                start: 0,
                end: 1,
            })
            .with_severity(Severity::Warning);
        assert_eq!(
            placed.to_string(),
            "servers/mx1.toml:41:9: warning: unknown key `fqnd` (write `fqdn`)"
        );
    }
}

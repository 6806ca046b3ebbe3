//! One line of a report: what was looked at, how it came out, the words that prove it, and what to do.
//!
//! Never: a secret.

use serde::Serialize;

use crate::wire::Said;

/// How it came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It holds.
    Passed,
    /// It does not.
    Failed,
    /// Nobody knows; the finding says why.
    NotTested,
}

impl Outcome {
    /// As a report writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Passed => "passed",
            Outcome::Failed => "failed",
            Outcome::NotTested => "not tested",
        }
    }
}

/// One line of a report.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// The check it belongs to, by the name that `--only` takes.
    pub check: &'static str,
    /// What should hold.
    pub title: String,
    /// Whether it does.
    pub outcome: Outcome,
    /// What was seen, or why nothing was.
    pub why: String,
    /// What was sent and answered, the latest lines.
    pub said: Vec<Said>,
    /// What to do where it failed; else empty.
    pub remedy: String,
}

impl Finding {
    /// It holds.
    pub(crate) fn passed(title: impl Into<String>, why: impl Into<String>) -> Finding {
        Finding::new(Outcome::Passed, title.into(), why.into(), String::new())
    }

    /// It does not, and what to do.
    pub(crate) fn failed(
        title: impl Into<String>,
        why: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        Finding::new(Outcome::Failed, title.into(), why.into(), remedy.into())
    }

    /// It was not tested, and why.
    pub(crate) fn untested(title: impl Into<String>, why: impl Into<String>) -> Finding {
        Finding::new(Outcome::NotTested, title.into(), why.into(), String::new())
    }

    fn new(outcome: Outcome, title: String, why: String, remedy: String) -> Finding {
        Finding {
            check: "",
            title,
            outcome,
            why,
            said: Vec::new(),
            remedy,
        }
    }

    /// The same with what was said.
    pub(crate) fn with(self, said: &[Said]) -> Finding {
        Finding {
            said: said.to_owned(),
            ..self
        }
    }
}

//! Text in, definition and findings out.

use std::path::Path;

use postern_hosting::{Finding, Severity};

use crate::{Authentication, Delivery, General, ListRule, Messages, Relay, Tls};

/// A whole definition. Each section has its defaults; `general.fqdn` and `general.listen` have none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Definition {
    /// [general]
    pub general: General,
    /// [access.authentication]
    pub authentication: Authentication,
    /// [access.tls]
    pub tls: Tls,
    /// [access.connection]
    pub connection: ListRule,
    /// [access.relay]
    pub relay: Relay,
    /// [messages]
    pub messages: Messages,
    /// [delivery]
    pub delivery: Delivery,
}

/// Reads a definition. All that is wrong is found at once, in the order of the text; with one error among the
/// findings there is no definition.
pub fn load(text: &str, path: &Path) -> (Option<Definition>, Vec<Finding>) {
    let (definition, findings) = crate::reader::read(text, path);
    let broken = findings
        .iter()
        .any(|finding| finding.severity == Severity::Error);
    (definition.filter(|_| !broken), findings)
}

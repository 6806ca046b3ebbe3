//! Text in, definition and findings out.

use std::path::Path;

use postern_hosting::{Finding, Severity};
use toml::de::DeTable;

use crate::checks::check;
use crate::fields::{Fields, expect_sections};
use crate::reader::Reader;
use crate::settings::Section;
use crate::{Authentication, Delivery, General, ListRule, Messages, Relay, Tls};

/// A whole definition. Each section has its defaults; `general.fqdn` and `general.listen` have none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Definition {
    /// `[general]`
    pub general: General,
    /// `[access.authentication]`
    pub authentication: Authentication,
    /// `[access.tls]`
    pub tls: Tls,
    /// `[access.connection]`
    pub connection: ListRule,
    /// `[access.relay]`
    pub relay: Relay,
    /// `[messages]`
    pub messages: Messages,
    /// `[delivery]`
    pub delivery: Delivery,
}

/// Reads a definition. All that is wrong is found at once, in the order of the text; with one error among the
/// findings there is no definition. At most 50 findings are given, and how many more there are.
pub fn load(text: &str, path: &Path) -> (Option<Definition>, Vec<Finding>) {
    let mut reader = Reader::new(text, path);
    let definition = reader.parse().map(|root| read(&mut reader, &root));
    let findings = reader.finish();
    let broken = findings
        .iter()
        .any(|finding| finding.severity == Severity::Error);
    (definition.filter(|_| !broken), findings)
}

fn read<'t>(reader: &mut Reader<'t>, root: &DeTable<'t>) -> Definition {
    expect_sections(reader, root);
    let definition = Definition {
        general: General::read(&mut Fields::open(reader, root, Section::General)),
        authentication: Authentication::read(&mut Fields::open(
            reader,
            root,
            Section::Authentication,
        )),
        tls: Tls::read(&mut Fields::open(reader, root, Section::Tls)),
        connection: ListRule::read(&mut Fields::open(reader, root, Section::Connection)),
        relay: Relay::read(&mut Fields::open(reader, root, Section::Relay)),
        messages: Messages::read(&mut Fields::open(reader, root, Section::Messages)),
        delivery: Delivery::read(&mut Fields::open(reader, root, Section::Delivery)),
    };
    check(reader, &definition);
    definition
}

//! Text in, definition and findings out.

use std::path::{Path, PathBuf};

use postern_hosting::{Finding, Severity};
use toml::de::DeTable;

use crate::checks::check;
use crate::fields::{Fields, expect_sections};
use crate::lists::Sites;
use crate::reader::Reader;
use crate::settings::Section;
use crate::whole;
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
    /// The files of entries that the two lists name, as written, in the order of their numbers: the first is number 1
    /// in an [`Origin`](postern_access::Origin). [`Definition::read_lists`] reads them.
    pub list_files: Vec<PathBuf>,
    pub(crate) sites: Sites,
}

/// Reads a definition. All that is wrong is found at once, in the order of the text; with one error among the
/// findings there is no definition. At most 50 findings are given, and how many more there are.
///
/// No file is opened: where [`Definition::list_files`] names some, the definition is fit for use only after
/// [`Definition::read_lists`], which also says what is wrong with the lists as a whole.
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
    let mut definition = Definition {
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
        list_files: Vec::new(),
        sites: Sites::default(),
    };
    check(reader, &definition);
    definition.sites = reader.take_sites();
    definition.list_files.clone_from(&definition.sites.files);
    if definition.sites.are_whole() {
        whole::check(&definition)
            .into_iter()
            .for_each(|finding| reader.add(finding));
    }
    definition
}

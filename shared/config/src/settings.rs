//! The list of all settings: what each is called, its default, what it does.
//!
//! The example of `postern new`, the manual page and the search for the nearest key all come from it.

/// A section of a definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Section {
    /// [general]
    General,
    /// [access.authentication]
    Authentication,
    /// [access.tls]
    Tls,
    /// [access.connection]
    Connection,
    /// [access.relay]
    Relay,
    /// [messages]
    Messages,
    /// [delivery]
    Delivery,
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The section it stands in.
    pub section: Section,
    /// Its name.
    pub name: &'static str,
    /// Its default as a definition would write it; `None`: it has none.
    pub default: Option<&'static str>,
    /// An example, where the default does not show the form.
    pub example: Option<&'static str>,
    /// What it does, in one line.
    pub about: &'static str,
}

/// Every setting, in the order of the property sheet.
pub static SETTINGS: &[Setting] = &[];

/// The setting of this name in this section.
pub fn source_of(section: Section, name: &str) -> Option<&'static Setting> {
    SETTINGS
        .iter()
        .find(|setting| setting.section == section && setting.name == name)
}

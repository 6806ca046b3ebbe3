//! A section's settings by name, and what stands where no setting or section is known.
//!
//! Never: what a value means; that is the section's.

use toml::Spanned;
use toml::de::{DeString, DeTable};

use crate::nearest::nearest;
use crate::reader::{Node, Reader, kind};
use crate::settings::{SETTINGS, Section};
use crate::values::clip;

/// The settings of one section.
pub(crate) struct Fields<'r, 'd, 't> {
    pub(crate) reader: &'r mut Reader<'t>,
    pub(crate) section: Section,
    table: Option<&'d DeTable<'t>>,
}

impl<'r, 'd, 't> Fields<'r, 'd, 't> {
    /// Opens a section, absent or not, and finds fault with keys it does not have.
    pub(crate) fn open(
        reader: &'r mut Reader<'t>,
        root: &'d DeTable<'t>,
        section: Section,
    ) -> Fields<'r, 'd, 't> {
        let mut fields = Fields {
            reader,
            section,
            table: None,
        };
        fields.table = fields.find(root);
        if let Some(table) = fields.table {
            for key in table.keys() {
                fields.expect_known(key);
            }
        }
        fields
    }

    fn find(&mut self, root: &'d DeTable<'t>) -> Option<&'d DeTable<'t>> {
        let mut table = root;
        let mut span = None;
        for part in self.section.path() {
            let (key, node) = table.get_key_value(*part)?;
            span = Some(key.span());
            // A section that is not a table is found fault with where sections are checked.
            table = node.get_ref().as_table()?;
        }
        if let Some(span) = span {
            self.reader.begin(self.section, span);
        }
        Some(table)
    }

    fn expect_known(&mut self, key: &Spanned<DeString<'t>>) {
        let written = key.get_ref().as_ref();
        let in_section = || {
            SETTINGS
                .iter()
                .filter(|setting| setting.section == self.section)
        };
        if in_section().any(|setting| setting.name == written) {
            return;
        }
        let what = format!(
            "unknown key `{}` in [{}]",
            clip(written),
            self.section.name()
        );
        let remedy = if let Some(remedy) = elsewhere(written) {
            remedy
        } else if let Some(name) = nearest(written, in_section().map(|setting| setting.name)) {
            format!("write `{name}`")
        } else if let Some(setting) = nearest_anywhere(written) {
            format!("perhaps `{}` in [{}]", setting.name, setting.section.name())
        } else {
            format!(
                "known here: {}",
                in_section()
                    .map(|setting| setting.name)
                    .collect::<Vec<_>>()
                    .join(", ")
            )
        };
        self.reader.error(key.span(), what, remedy);
    }

    /// The value of a setting, if it is written.
    pub(crate) fn get(&mut self, name: &'static str) -> Option<&'d Node<'t>> {
        let node = self.table?.get(name)?;
        self.reader.note(self.section, name, node.span());
        Some(node)
    }

    /// Reads a setting into its place; if it is not written, or does not fit, what is there stays.
    pub(crate) fn set<T>(
        &mut self,
        into: &mut T,
        name: &'static str,
        read: impl FnOnce(&mut Reader<'t>, &'d Node<'t>) -> Option<T>,
    ) {
        if let Some(node) = self.get(name)
            && let Some(value) = read(self.reader, node)
        {
            *into = value;
        }
    }

    /// The same where nothing written means `None`.
    pub(crate) fn set_some<T>(
        &mut self,
        into: &mut Option<T>,
        name: &'static str,
        read: impl FnOnce(&mut Reader<'t>, &'d Node<'t>) -> Option<T>,
    ) {
        self.set(into, name, |reader, node| read(reader, node).map(Some));
    }
}

/// Where a known setting belongs.
fn elsewhere(written: &str) -> Option<String> {
    let sections: Vec<String> = SETTINGS
        .iter()
        .filter(|setting| setting.name == written)
        .map(|setting| format!("[{}]", setting.section.name()))
        .collect();
    (!sections.is_empty()).then(|| format!("`{written}` belongs in {}", sections.join(" or ")))
}

fn nearest_anywhere(written: &str) -> Option<&'static crate::Setting> {
    let name = nearest(written, SETTINGS.iter().map(|setting| setting.name))?;
    SETTINGS.iter().find(|setting| setting.name == name)
}

/// Finds fault with what stands at the top or in [access] and is no section.
pub(crate) fn expect_sections<'t>(reader: &mut Reader<'t>, root: &DeTable<'t>) {
    let mut top: Vec<&'static str> = Section::ALL
        .iter()
        .filter_map(|section| section.path().first().copied())
        .collect();
    top.dedup();
    for (key, node) in root {
        expect_section(reader, key, node, "", &top);
    }
    if let Some(access) = root
        .get("access")
        .and_then(|node| node.get_ref().as_table())
    {
        let inner: Vec<&'static str> = Section::ALL
            .iter()
            .filter_map(|section| section.path().get(1).copied())
            .collect();
        for (key, node) in access {
            expect_section(reader, key, node, "access.", &inner);
        }
    }
}

fn expect_section<'t>(
    reader: &mut Reader<'t>,
    key: &Spanned<DeString<'t>>,
    node: &Node<'t>,
    within: &str,
    known: &[&'static str],
) {
    let written = key.get_ref().as_ref();
    let is_table = node.get_ref().is_table();
    if known.contains(&written) {
        if !is_table {
            let what = format!(
                "`{within}{written}` is a section, not {}",
                kind(node.get_ref())
            );
            reader.error(
                key.span(),
                what,
                format!("write [{within}{written}], and its settings below"),
            );
        }
        return;
    }
    let section = Section::ALL
        .iter()
        .find(|section| section.path().last().is_some_and(|last| *last == written));
    let names = || Section::ALL.iter().map(|section| section.name());
    let whole = format!("{within}{written}");
    // `relay` is both: a table was meant as the section.
    let remedy = if let Some(remedy) = elsewhere(written).filter(|_| section.is_none() || !is_table)
    {
        remedy
    } else if let Some(section) = section {
        format!("write [{}]", section.name())
    } else if let Some(name) = nearest(written, known.iter().copied()) {
        match is_table {
            true => format!("write [{within}{name}]"),
            false => format!("settings stand in a section; perhaps [{within}{name}]"),
        }
    } else if let Some(name) = nearest(&whole, names()) {
        format!("write [{name}]")
    } else if let Some(setting) = nearest_anywhere(written).filter(|_| !is_table) {
        format!("perhaps `{}` in [{}]", setting.name, setting.section.name())
    } else {
        format!(
            "the sections are {}",
            names()
                .map(|name| format!("[{name}]"))
                .collect::<Vec<_>>()
                .join(", ")
        )
    };
    let what = match is_table {
        true => format!("unknown section [{}]", clip(&whole)),
        false => format!("unknown key `{}`", clip(&whole)),
    };
    reader.error(key.span(), what, remedy);
}

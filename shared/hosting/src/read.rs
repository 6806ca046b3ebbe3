//! Walking a parsed definition: values with their places, findings collected instead of stopping at the first.

use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::{Finding, Place};

/// A value with its place in the text.
pub(crate) type Node<'t> = Spanned<DeValue<'t>>;

/// The text being read, and what was found wrong in it so far.
pub(crate) struct Reader<'t> {
    text: &'t str,
    path: &'t Path,
    pub(crate) findings: Vec<Finding>,
}

impl<'t> Reader<'t> {
    pub(crate) fn new(text: &'t str, path: &'t Path) -> Reader<'t> {
        Reader {
            text,
            path,
            findings: Vec::new(),
        }
    }

    /// The whole text as a table, or the first thing that is no TOML.
    pub(crate) fn parse(&mut self) -> Option<DeTable<'t>> {
        match DeTable::parse(self.text) {
            Ok(table) => Some(table.into_inner()),
            Err(error) => {
                let span = error.span().unwrap_or(0..0);
                self.complain(
                    span,
                    error.message().to_owned(),
                    "see https://toml.io for how TOML is written",
                );
                None
            }
        }
    }

    /// Where `span` is in the text.
    pub(crate) fn place(&self, span: Range<usize>) -> Place {
        Place::of(self.text, span)
    }

    /// Notes an error at a place.
    pub(crate) fn complain(
        &mut self,
        span: Range<usize>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let place = self.place(span);
        self.findings
            .push(Finding::error(self.path, what, remedy).at(place));
    }

    /// Notes an error about the file as a whole.
    pub(crate) fn miss(&mut self, what: impl Into<String>, remedy: impl Into<String>) {
        self.findings.push(Finding::error(self.path, what, remedy));
    }

    /// `table[key]`, parsed by `parse`; a wrong kind or a bad value is a finding, an absent key is `None`.
    pub(crate) fn text<T>(
        &mut self,
        table: &DeTable<'t>,
        key: &str,
        remedy: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let node = table.get(key)?;
        let parsed = node.get_ref().as_str().and_then(parse);
        if parsed.is_none() {
            self.complain(node.span(), format!("`{key}` is not understood"), remedy);
        }
        parsed
    }

    /// `table[key]` as a whole number of at least `least`.
    pub(crate) fn number(&mut self, table: &DeTable<'t>, key: &str, least: u64) -> Option<u64> {
        let node = table.get(key)?;
        let parsed = whole_number(node.get_ref()).filter(|value| *value >= least);
        if parsed.is_none() {
            self.complain(
                node.span(),
                format!("`{key}` is not a usable number"),
                format!("write a whole number from {least} up"),
            );
        }
        parsed
    }

    /// `table[key]` as true or false.
    pub(crate) fn truth(&mut self, table: &DeTable<'t>, key: &str) -> Option<bool> {
        let node = table.get(key)?;
        let parsed = node.get_ref().as_bool();
        if parsed.is_none() {
            self.complain(
                node.span(),
                format!("`{key}` is neither true nor false"),
                "write true or false, without quotes",
            );
        }
        parsed
    }

    /// Every key of `table` that is not in `known` is a finding.
    pub(crate) fn only(&mut self, table: &DeTable<'t>, known: &[&str]) {
        for key in table
            .keys()
            .filter(|key| !known.contains(&key.get_ref().as_ref()))
        {
            self.complain(
                key.span(),
                format!("unknown key `{}`", key.get_ref()),
                format!("known are {}", known.join(", ")),
            );
        }
    }
}

/// The value of a TOML integer that fits 64 bits and is not negative.
fn whole_number(value: &DeValue<'_>) -> Option<u64> {
    let integer = value.as_integer()?;
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// `table[key]` where it is a table.
pub(crate) fn section<'a, 't>(table: &'a DeTable<'t>, key: &str) -> Option<&'a DeTable<'t>> {
    table.get(key)?.get_ref().as_table()
}

/// The members of `table[key]` where it is a list; nothing otherwise.
pub(crate) fn members<'a, 't>(
    table: &'a DeTable<'t>,
    key: &str,
) -> impl Iterator<Item = &'a Node<'t>> {
    table
        .get(key)
        .and_then(|node| node.get_ref().as_array())
        .into_iter()
        .flat_map(|list| list.iter())
}

//! Walks a parsed definition: each value with its place, findings collected instead of stopping at the first.
//!
//! A section file asks for its settings by name through `fields.rs`; a value that does not fit is a finding, and the
//! default stays.
//!
//! Never: an opinion on what a value means; that is the section's, or `checks.rs`'s where two values meet.

use std::collections::HashMap;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::time::Duration;

use postern_hosting::{Finding, Place, Severity};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::lists::{ListSites, Sites};
use crate::nearest::nearest;
use crate::settings::Section;
use crate::values::{self, Misfit, clip};

/// A value with its place in the text.
pub(crate) type Node<'t> = Spanned<DeValue<'t>>;

/// The text being read, and what was found wrong in it so far.
pub(crate) struct Reader<'t> {
    text: &'t str,
    path: &'t Path,
    findings: Vec<Finding>,
    /// Findings beyond the bound: how many, and the gravest.
    unsaid: usize,
    gravest_unsaid: Severity,
    line_starts: Vec<usize>,
    /// Where each setting that was written stands: its value.
    written: HashMap<(Section, &'static str), Range<usize>>,
    /// Where each section that was written begins.
    sections: HashMap<Section, Range<usize>>,
    /// Where the entries of the lists stand.
    pub(crate) sites: Sites,
}

impl<'t> Reader<'t> {
    /// Findings shown of one file at most. They travel in one packet of 64 KiB.
    const MOST: usize = 50;
    /// No time in a definition is longer: what is added to a clock must not run over.
    const LONGEST: Duration = Duration::from_secs(3650 * 86_400);

    pub(crate) fn new(text: &'t str, path: &'t Path) -> Reader<'t> {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let line_starts = std::iter::once(0)
            .chain(newlines.map(|(at, _)| at + 1))
            .collect();
        Reader {
            text,
            path,
            findings: Vec::new(),
            unsaid: 0,
            gravest_unsaid: Severity::Note,
            line_starts,
            written: HashMap::new(),
            sections: HashMap::new(),
            sites: Sites::default(),
        }
    }

    /// The whole text as a table; all that is no TOML is found at once.
    pub(crate) fn parse(&mut self) -> Option<DeTable<'t>> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in &errors {
            let span = error.span().unwrap_or(0..0);
            let found = self.text.get(span.clone()).unwrap_or_default();
            // What stands there without quotes may be a password: not told again.
            let before = self.text.get(..span.start).unwrap_or_default();
            let is_secret = before
                .rsplit('\n')
                .next()
                .is_some_and(|line| line.contains("password"));
            let remedy = syntax_remedy(error.message(), if is_secret { "" } else { found });
            self.error(span, format!("not TOML: {}", error.message()), remedy);
        }
        errors.is_empty().then(|| table.into_inner())
    }

    /// The findings in the order of the text.
    pub(crate) fn finish(mut self) -> Vec<Finding> {
        self.findings.sort_by_key(|finding| {
            finding
                .place
                .map_or((0, 0), |place| (place.start, place.end))
        });
        if self.unsaid > 0 {
            let more = not_shown(self.path, self.unsaid, self.gravest_unsaid);
            self.findings.push(more);
        }
        self.findings
    }

    /// Remembers where a section begins.
    pub(crate) fn begin(&mut self, section: Section, span: Range<usize>) {
        self.sections.insert(section, span);
    }

    /// Remembers where the value of a setting stands.
    pub(crate) fn note(&mut self, section: Section, name: &'static str, span: Range<usize>) {
        self.written.insert((section, name), span);
    }

    /// The text that is read.
    pub(crate) fn written(&self) -> &'t str {
        self.text
    }

    /// The place of these bytes.
    pub(crate) fn place(&self, span: Range<usize>) -> Place {
        Place::of(self.text, span)
    }

    /// Where the entries of a section's list stand.
    pub(crate) fn sites_of(&mut self, section: Section) -> &mut ListSites {
        match section {
            Section::Relay => &mut self.sites.relay,
            _ => &mut self.sites.connection,
        }
    }

    /// All that is remembered of the lists, for findings that come after the reading.
    pub(crate) fn take_sites(&mut self) -> Sites {
        let mut sites = std::mem::take(&mut self.sites);
        let place = |section, name| self.span_of(section, name).map(|span| self.place(span));
        sites.path = self.path.to_owned();
        let lines = self.written.iter();
        sites.lines = lines
            .map(|(setting, span)| (*setting, self.line(span.start)))
            .collect();
        for (section, list) in [
            (Section::Connection, &mut sites.connection),
            (Section::Relay, &mut sites.relay),
        ] {
            list.mode = place(section, "mode");
            list.list = place(section, "list");
        }
        sites.proxy_from = place(Section::General, "proxy_from");
        sites.allow_everyone = place(Section::Relay, "allow_everyone");
        sites
    }

    /// Takes over a finding. Beyond the bound an error takes the place of something less grave: what keeps the server from
    /// starting is said.
    pub(crate) fn add(&mut self, mut finding: Finding) {
        if self.findings.len() < Self::MOST {
            self.findings.push(finding);
            return;
        }
        let mut lesser = self.findings.iter_mut().rev();
        if finding.severity == Severity::Error
            && let Some(lesser) = lesser.find(|one| one.severity != Severity::Error)
        {
            std::mem::swap(lesser, &mut finding);
        }
        self.unsaid += 1;
        self.gravest_unsaid = self.gravest_unsaid.min(finding.severity);
    }

    /// The line a byte is in, 1-based.
    pub(crate) fn line(&self, at: usize) -> u32 {
        self.line_starts
            .partition_point(|start| *start <= at)
            .try_into()
            .unwrap_or(u32::MAX)
    }

    /// Where the value of a setting stands, if it was written.
    pub(crate) fn span_of(&self, section: Section, name: &'static str) -> Option<Range<usize>> {
        self.written.get(&(section, name)).cloned()
    }

    /// Where a finding about something that is not there belongs: the section's header, or the whole file.
    pub(crate) fn span_of_section(&self, section: Section) -> Option<Range<usize>> {
        self.sections.get(&section).cloned()
    }

    /// Where a setting stands, or else its section.
    pub(crate) fn span_near(&self, section: Section, name: &'static str) -> Option<Range<usize>> {
        self.span_of(section, name)
            .or_else(|| self.span_of_section(section))
    }

    pub(crate) fn error(
        &mut self,
        span: impl Into<Option<Range<usize>>>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.find(Severity::Error, span.into(), what.into(), remedy.into());
    }

    pub(crate) fn warn(
        &mut self,
        span: impl Into<Option<Range<usize>>>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.find(Severity::Warning, span.into(), what.into(), remedy.into());
    }

    /// Neither wrong nor unwise, and worth knowing.
    pub(crate) fn note_that(
        &mut self,
        span: impl Into<Option<Range<usize>>>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.find(Severity::Note, span.into(), what.into(), remedy.into());
    }

    pub(crate) fn misfit(&mut self, span: Range<usize>, misfit: Misfit) {
        self.error(span, misfit.what, misfit.remedy);
    }

    /// A value this build cannot honour: said, never ignored.
    pub(crate) fn not_yet(&mut self, span: Range<usize>, what: &str, remedy: impl Into<String>) {
        self.error(span, format!("{what}: this build cannot do it yet"), remedy);
    }

    fn find(
        &mut self,
        severity: Severity,
        span: Option<Range<usize>>,
        what: String,
        remedy: String,
    ) {
        let finding = Finding::error(self.path, what, remedy).with_severity(severity);
        self.add(match span {
            Some(span) => finding.at(Place::of(self.text, span)),
            None => finding,
        });
    }
}

/// So many are left out; as grave as the gravest of them, as if that had been said.
pub(crate) fn not_shown(path: &Path, count: usize, gravest: Severity) -> Finding {
    let what = format!("{count} more findings are not shown");
    Finding::error(path, what, "mend those above first").with_severity(gravest)
}

/// What to write where the text is no TOML, for the slips that are made most.
fn syntax_remedy(message: &str, found: &str) -> String {
    let word = found.lines().next().unwrap_or_default().trim();
    if message.contains("duplicate key") {
        return "keep one of the two".to_owned();
    }
    if message.contains("must be quoted") && !word.is_empty() && !word.contains('"') {
        return format!("write \"{}\"", clip(word));
    }
    "text stands in quotes, lists in [ ], tables in { }; see https://toml.io".to_owned()
}

/// What kind of value this is, in words.
pub(crate) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Single values. Each answers `None` after having found fault.
impl<'t> Reader<'t> {
    fn wrong_kind(&mut self, node: &Node<'t>, wanted: &str, example: &str) {
        self.error(
            node.span(),
            format!("{wanted} is wanted here, not {}", kind(node.get_ref())),
            format!("write {example}"),
        );
    }

    /// Text in quotes; control characters are never meant.
    pub(crate) fn text<'d>(&mut self, node: &'d Node<'t>, example: &str) -> Option<&'d str> {
        let Some(text) = node.get_ref().as_str() else {
            self.wrong_kind(node, "text", example);
            return None;
        };
        if text.contains(char::is_control) {
            self.error(
                node.span(),
                "there is a control character in the text",
                "remove it",
            );
            return None;
        }
        Some(text)
    }

    /// Text that `parse` understands.
    pub(crate) fn parsed<T>(
        &mut self,
        node: &Node<'t>,
        example: &str,
        parse: impl FnOnce(&str) -> Result<T, Misfit>,
    ) -> Option<T> {
        match parse(self.text(node, example)?) {
            Ok(value) => Some(value),
            Err(misfit) => {
                self.misfit(node.span(), misfit);
                None
            }
        }
    }

    pub(crate) fn truth(&mut self, node: &Node<'t>) -> Option<bool> {
        let truth = node.get_ref().as_bool();
        if truth.is_none() {
            self.wrong_kind(node, "true or false", "true or false, without quotes");
        }
        truth
    }

    /// A whole number within `range`.
    pub(crate) fn number(&mut self, node: &Node<'t>, range: RangeInclusive<u32>) -> Option<u32> {
        let (least, most) = (*range.start(), *range.end());
        let Some(integer) = node.get_ref().as_integer() else {
            self.wrong_kind(node, "a whole number", "a whole number, without quotes");
            return None;
        };
        let number = i128::from_str_radix(integer.as_str(), integer.radix()).unwrap_or(i128::MAX);
        let fit = u32::try_from(number)
            .ok()
            .filter(|number| range.contains(number));
        if fit.is_none() {
            let bound = match number < i128::from(least) {
                true => format!("write {least} or more"),
                false => format!("write {most} or less"),
            };
            self.error(
                node.span(),
                format!("{} is out of bounds", clip(&integer.to_string())),
                bound,
            );
        }
        fit
    }

    /// A size of at least one byte.
    pub(crate) fn size(&mut self, node: &Node<'t>) -> Option<u64> {
        if let Some(number) = node.get_ref().as_integer() {
            let remedy = format!(
                "write the unit too, in quotes: \"{} B\", or as \"25 MB\"",
                clip(number.as_str())
            );
            self.error(node.span(), "a size without a unit", remedy);
            return None;
        }
        let size = self.parsed(node, "a size in quotes, such as \"25 MB\"", values::size)?;
        if size == 0 {
            self.error(
                node.span(),
                "a size of nothing lets nothing through",
                "write a size such as \"25 MB\"",
            );
            return None;
        }
        Some(size)
    }

    /// A time of at least `least`, and of ten years at most.
    pub(crate) fn time(&mut self, node: &Node<'t>, least: Duration) -> Option<Duration> {
        if let Some(number) = node.get_ref().as_integer() {
            let number = clip(number.as_str());
            let remedy = format!("write the unit too, in quotes: \"{number}s\" or \"{number}m\"");
            self.error(node.span(), "a time without a unit", remedy);
            return None;
        }
        let time = self.parsed(node, "a time in quotes, such as \"10m\"", values::time)?;
        if time < least {
            self.error(
                node.span(),
                "the time is too short",
                format!("write \"{}\" or more", values::show_time(least)),
            );
            return None;
        }
        if time > Self::LONGEST {
            self.error(
                node.span(),
                "the time is longer than ten years",
                "write a shorter one",
            );
            return None;
        }
        Some(time)
    }

    /// One of a few words.
    pub(crate) fn word<T: Copy>(
        &mut self,
        node: &Node<'t>,
        words: &[(&'static str, T)],
    ) -> Option<T> {
        let quoted = words
            .iter()
            .map(|(word, _)| format!("\"{word}\""))
            .collect::<Vec<_>>()
            .join(", ");
        let text = self.text(node, &quoted)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let remedy = match nearest(text, words.iter().map(|(word, _)| *word)) {
            Some(word) => format!("write \"{word}\""),
            None if words.len() == 1 => format!("write {quoted}"),
            None => format!("write one of {quoted}"),
        };
        self.error(
            node.span(),
            format!("`{}` is not known here", clip(text)),
            remedy,
        );
        None
    }

    /// A path that is not empty.
    pub(crate) fn path(&mut self, node: &Node<'t>, example: &str) -> Option<PathBuf> {
        let text = self.text(node, example)?;
        if text.is_empty() {
            self.error(node.span(), "the path is empty", format!("write {example}"));
            return None;
        }
        Some(PathBuf::from(text))
    }

    /// A domain name in lower case.
    pub(crate) fn domain(&mut self, node: &Node<'t>) -> Option<String> {
        self.parsed(
            node,
            "a domain in quotes, such as \"example.com\"",
            |text| {
                if values::is_domain(text) {
                    return Ok(text.to_lowercase());
                }
                let shorter = text.trim_end_matches('.').trim_start_matches(['.', '@']);
                let remedy = match values::is_domain(shorter) {
                    true => format!("write \"{}\"", shorter.to_lowercase()),
                    false => "write a domain such as \"example.com\"".to_owned(),
                };
                Err(Misfit::new(
                    format!("`{}` is not a domain", clip(text)),
                    remedy,
                ))
            },
        )
    }

    /// Every member of a list that `read` understands.
    pub(crate) fn list<'d, T>(
        &mut self,
        node: &'d Node<'t>,
        example: &str,
        mut read: impl FnMut(&mut Reader<'t>, &'d Node<'t>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Some(list) = node.get_ref().as_array() else {
            self.wrong_kind(node, "a list", example);
            return None;
        };
        Some(
            list.iter()
                .filter_map(|member| read(self, member))
                .collect(),
        )
    }

    /// A table; keys that are not in `known` are found fault with.
    pub(crate) fn table<'d>(
        &mut self,
        node: &'d Node<'t>,
        known: &[&'static str],
        example: &str,
    ) -> Option<&'d DeTable<'t>> {
        let Some(table) = node.get_ref().as_table() else {
            self.wrong_kind(node, "a table", example);
            return None;
        };
        for key in table
            .keys()
            .filter(|key| !known.contains(&key.get_ref().as_ref()))
        {
            let written = key.get_ref();
            let remedy = match nearest(written, known.iter().copied()) {
                Some(name) => format!("write `{name}`"),
                None => format!("known here: {}", known.join(", ")),
            };
            self.error(
                key.span(),
                format!("unknown key `{}`", clip(written)),
                remedy,
            );
        }
        Some(table)
    }
}

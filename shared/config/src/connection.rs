//! `[access.connection]`: who may connect.

use std::ops::Range;
use std::path::Path;

use postern_access::{ConnectionRule, Entry, EntryError, List, Mode, Origin};
use postern_hosting::Hosting;

use crate::fields::Fields;
use crate::lists::{ListSites, Pending, Sites, Spot};
use crate::reader::{Node, Reader};
use crate::settings::Section;
use crate::values::{self, Misfit, clip};

/// One list and one mode.
#[derive(Clone, Debug, PartialEq)]
pub struct ListRule {
    /// What the list means.
    pub mode: Mode,
    /// Its entries, each with its line.
    pub list: Vec<Entry>,
}

impl Default for ListRule {
    /// Everybody may connect.
    fn default() -> ListRule {
        ListRule {
            mode: Mode::AllExcept,
            list: Vec::new(),
        }
    }
}

impl ListRule {
    /// The rule, ready to decide.
    pub fn rule(&self) -> ConnectionRule {
        ConnectionRule::new(self.mode, List::new(&self.list))
    }
}

impl ListRule {
    pub(crate) fn read(fields: &mut Fields<'_, '_, '_>) -> ListRule {
        let mut rule = ListRule::default();
        fields.set(&mut rule.mode, "mode", mode);
        fields.set(&mut rule.list, "list", |reader, node| {
            entries(reader, Section::Connection, node)
        });
        rule
    }
}

pub(crate) fn mode<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<Mode> {
    reader.word(
        node,
        &[Mode::Only, Mode::AllExcept].map(|mode| (mode.as_str(), mode)),
    )
}

/// The entries of a list. Where each stands, and the files that are named, go to the reader's sites.
pub(crate) fn entries<'t>(
    reader: &mut Reader<'t>,
    section: Section,
    node: &Node<'t>,
) -> Option<Vec<Entry>> {
    const EXAMPLE: &str =
        "\"192.0.2.7\", \"192.0.2.0/24\", \"host NAME\", \"domain NAME\" or \"file PATH\"";
    let mut sites = ListSites::default();
    let mut cursor = Cursor::default();
    let entries = reader.list(
        node,
        "[\"192.0.2.7\", \"198.51.100.0/24\"]",
        |reader, member| {
            if let Some(path) = member.get_ref().as_str().and_then(Hosting::list_file) {
                pending(reader, member.span(), path, &mut sites);
                return None;
            }
            let entry = entry(reader, member, EXAMPLE)?;
            let column = cursor.column(reader.written(), member.span().start);
            let span = member.span();
            sites.spots.push(Spot::new(span.start, span.len(), column));
            Some(entry)
        },
    );
    *reader.sites_of(section) = sites;
    entries
}

/// Remembers a file of entries, to be read by [`crate::Definition::read_lists`].
fn pending(reader: &mut Reader<'_>, span: Range<usize>, path: &Path, sites: &mut ListSites) {
    let Some(number) = reader.sites.number(path) else {
        let what = format!("more than {} list files", Sites::MOST_FILES);
        reader.error(span, what, "put their entries into fewer files");
        return;
    };
    if sites.pending.iter().any(|other| other.number == number) {
        let what = format!("{} is in this list twice", clip(&path.to_string_lossy()));
        reader.warn(span, what, "keep one of the two");
        return;
    }
    sites.pending.push(Pending {
        at: sites.spots.len(),
        number,
        place: reader.place(span),
    });
}

/// Columns of places that come one after the other, without counting a long line anew for each.
#[derive(Default)]
struct Cursor {
    at: usize,
    column: usize,
}

impl Cursor {
    fn column(&mut self, text: &str, at: usize) -> usize {
        let passed = text.get(self.at..at).unwrap_or_default();
        self.column = match passed.rsplit_once('\n') {
            Some((_, line)) => line.chars().count(),
            None => self.column + passed.chars().count(),
        };
        self.at = at;
        self.column + 1
    }
}

/// One entry.
pub(crate) fn entry<'t>(reader: &mut Reader<'t>, node: &Node<'t>, example: &str) -> Option<Entry> {
    let origin = Origin::new(0, reader.line(node.span().start));
    reader.parsed(node, example, |text| {
        Entry::parse(text, origin).map_err(|error| entry_misfit(text, &error, example, "\""))
    })
}

/// What is wrong with an entry; `quote` is what stands around one where it is written.
pub(crate) fn entry_misfit(text: &str, error: &EntryError, example: &str, quote: &str) -> Misfit {
    let write = |entry: &str| format!("write {quote}{entry}{quote}");
    let remedy = match error {
        EntryError::HostBits(network) => {
            let network = write(&network.to_string());
            match text.split_once('/') {
                Some((address, _)) => format!(
                    "{network}, or {quote}{}{quote} for that one computer",
                    clip(address)
                ),
                None => network,
            }
        }
        EntryError::BadMask => {
            "write a prefix length as in 192.0.2.0/24, or a mask as in 192.0.2.0/255.255.255.0"
                .to_owned()
        }
        EntryError::BadName => {
            format!("write a name in the DNS, as in {quote}domain example.com{quote}")
        }
        EntryError::Unreadable => match meant(text) {
            Some(entry) => write(&clip(&entry)),
            None => format!("write {example}"),
        },
    };
    Misfit::new(format!("`{}`: {error}", clip(text)), remedy)
}

/// The entry that was probably meant.
fn meant(text: &str) -> Option<String> {
    let text = text.trim();
    let below = text
        .strip_prefix("*.")
        .or_else(|| text.strip_prefix(['.', '@']));
    match below {
        Some(domain) if values::is_host_name(domain) => Some(format!("domain {domain}")),
        _ if text == "file" => Some("file PATH".to_owned()),
        _ if text.starts_with('/') || text.starts_with("./") => Some(format!("file {text}")),
        _ if values::is_host_name(text) => Some(format!("host {text}")),
        _ => None,
    }
}

//! The two lists of computers: where their entries stand, and the files of entries they name.
//!
//! ```text
//! list = ["192.0.2.7", "file blocked.txt", "10.0.0.0/8"]      load():        192.0.2.7  10.0.0.0/8
//!                       └─▶ one entry a line, # comments      read_lists():  192.0.2.7  the file's entries  10.0.0.0/8
//! ```
//!
//! A list with files is whole only after [`Definition::read_lists`]; what depends on the whole list is judged then.
//!
//! Never: opens a file; whoever calls reads it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use postern_access::{Entry, Origin};
use postern_hosting::{Finding, Hosting, Place, Severity};

use crate::connection::entry_misfit;
use crate::load::Definition;
use crate::reader::not_shown;
use crate::settings::Section;
use crate::values::{Misfit, clip};
use crate::whole;

/// Where the entries of the lists stand. Two definitions that say the same are equal wherever it stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sites {
    /// The definition.
    pub(crate) path: PathBuf,
    /// The line of the value of each setting that is written.
    pub(crate) lines: HashMap<(Section, &'static str), u32>,
    /// The files of entries, as written, in the order of their numbers; located from the definition's folder.
    pub(crate) files: Vec<PathBuf>,
    /// Of `[access.connection]`.
    pub(crate) connection: ListSites,
    /// Of `[access.relay]`.
    pub(crate) relay: ListSites,
    /// `[general] proxy_from`.
    pub(crate) proxy_from: Option<Place>,
    /// `[access.relay] allow_everyone`.
    pub(crate) allow_everyone: Option<Place>,
}

impl PartialEq for Sites {
    fn eq(&self, _: &Sites) -> bool {
        true
    }
}

/// Where one list and its entries stand.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListSites {
    /// `mode`.
    pub(crate) mode: Option<Place>,
    /// `list`.
    pub(crate) list: Option<Place>,
    /// The entries, in the order of the list; their lines are in their origins.
    pub(crate) spots: Vec<Spot>,
    /// The files that are still to be read.
    pub(crate) pending: Vec<Pending>,
}

/// Where an entry stands in its file, in 8 bytes: there may be a hundred thousand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot {
    start: u32,
    length: u16,
    column: u16,
}

/// An entry `file PATH`.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    /// Before which entry of the list its entries belong.
    pub(crate) at: usize,
    /// The file's number, from 1.
    pub(crate) number: u8,
    /// Where it is named.
    pub(crate) place: Place,
}

impl Spot {
    pub(crate) fn new(start: usize, length: usize, column: usize) -> Spot {
        Spot {
            start: u32::try_from(start).unwrap_or(u32::MAX),
            length: u16::try_from(length).unwrap_or(u16::MAX),
            column: u16::try_from(column).unwrap_or(u16::MAX),
        }
    }

    fn place(self, line: u32) -> Place {
        let start = self.start as usize;
        Place {
            line,
            column: u32::from(self.column),
            start,
            end: start + usize::from(self.length),
        }
    }
}

impl Sites {
    /// The most files of entries in one definition: they travel to the worker in one packet of 253 files.
    pub(crate) const MOST_FILES: usize = 100;

    /// The number of a file; `None`: there are too many.
    pub(crate) fn number(&mut self, path: &Path) -> Option<u8> {
        let known = self.files.iter().position(|file| file == path);
        let index = known.unwrap_or_else(|| {
            self.files.push(path.to_owned());
            self.files.len() - 1
        });
        (index < Self::MOST_FILES)
            .then(|| u8::try_from(index + 1).ok())
            .flatten()
    }

    /// Whether all entries are here.
    pub(crate) fn are_whole(&self) -> bool {
        self.connection.pending.is_empty() && self.relay.pending.is_empty()
    }

    /// Where the file of this number is.
    fn located(&self, number: u8) -> PathBuf {
        match usize::from(number).checked_sub(1) {
            Some(index) => self.files.get(index).map_or_else(
                || self.path.clone(),
                |file| Hosting::locate(&self.path, file),
            ),
            None => self.path.clone(),
        }
    }

    /// The finding, at the place of the entry number `index` of a list.
    pub(crate) fn at_entry(
        &self,
        list: &ListSites,
        index: usize,
        entry: &Entry,
        mut finding: Finding,
    ) -> Finding {
        finding.path = self.located(entry.origin.file());
        match list.spots.get(index) {
            Some(spot) => finding.at(spot.place(entry.origin.line())),
            None => finding,
        }
    }

    /// The finding, at a place in the definition if it is known.
    pub(crate) fn at(&self, place: Option<Place>, mut finding: Finding) -> Finding {
        finding.path.clone_from(&self.path);
        match place {
            Some(place) => finding.at(place),
            None => finding,
        }
    }
}

/// What one file holds.
#[derive(Default)]
struct ListFile {
    entries: Vec<Entry>,
    spots: Vec<Spot>,
}

impl Definition {
    /// Reads the files of entries that the lists name, puts their entries in place, and judges the lists as a whole.
    ///
    /// `read` gets each path as it is written. Afterwards the lists are whole; with an error among the findings the
    /// definition must not be used. A definition without such files needs no call, and none does harm.
    pub fn read_lists(
        &mut self,
        read: &mut dyn FnMut(&Path) -> Result<Vec<u8>, String>,
    ) -> Vec<Finding> {
        if self.sites.are_whole() {
            return Vec::new();
        }
        let mut findings = Vec::new();
        let mut files: Vec<ListFile> = Vec::new();
        for (number, path) in (1u8..).zip(&self.list_files) {
            files.push(match read(path) {
                Ok(bytes) => parse(&bytes, number, &self.sites.located(number), &mut findings),
                Err(cause) => {
                    findings.push(unreadable(&self.sites, number, path, &cause));
                    ListFile::default()
                }
            });
        }
        fill(
            &mut self.connection.list,
            &mut self.sites.connection,
            &files,
        );
        fill(&mut self.relay.list, &mut self.sites.relay, &files);
        // A list that lacks entries would be judged wrongly.
        if findings
            .iter()
            .all(|finding| finding.severity != Severity::Error)
        {
            findings.extend(whole::check(self));
        }
        cut_short(&self.sites.path, &mut findings);
        findings
    }

    /// The line that a setting's value begins on; `None`: it is not written, and the default holds.
    pub fn line_of(&self, section: Section, name: &'static str) -> Option<u32> {
        self.sites.lines.get(&(section, name)).copied()
    }

    /// Forgets where the entries stand, once no finding about them can come any more: 8 bytes an entry.
    pub fn forget_places(&mut self) {
        self.sites.connection.spots = Vec::new();
        self.sites.relay.spots = Vec::new();
    }
}

fn unreadable(sites: &Sites, number: u8, path: &Path, cause: &str) -> Finding {
    let pending = [&sites.connection, &sites.relay]
        .into_iter()
        .flat_map(|list| &list.pending);
    let place = pending
        .filter(|pending| pending.number == number)
        .map(|pending| pending.place)
        .next();
    let what = format!(
        "the list file {} cannot be read: {cause}",
        clip(&path.to_string_lossy())
    );
    let remedy = "put the file there, readable to root, or correct the path";
    sites.at(place, Finding::error(&sites.path, what, remedy))
}

/// Findings travel in one packet; what is beyond a bound is counted.
fn cut_short(path: &Path, findings: &mut Vec<Finding>) {
    const MOST: usize = 50;
    if let Some(more) = findings.len().checked_sub(MOST).filter(|&more| more > 0) {
        // Errors stay: a warning must not hide what keeps the server from starting.
        findings.sort_by_key(|finding| finding.severity);
        let gravest = findings[MOST].severity;
        findings.truncate(MOST);
        findings.push(not_shown(path, more, gravest));
    }
}

/// Puts the entries of the files where the files are named.
fn fill(list: &mut Vec<Entry>, sites: &mut ListSites, files: &[ListFile]) {
    let pending = std::mem::take(&mut sites.pending);
    if pending.is_empty() {
        return;
    }
    let mut entries = std::mem::take(list).into_iter();
    let mut spots = std::mem::take(&mut sites.spots).into_iter();
    let mut taken = 0;
    for Pending { at, number, .. } in pending {
        list.extend(entries.by_ref().take(at - taken));
        sites.spots.extend(spots.by_ref().take(at - taken));
        taken = at;
        if let Some(file) = files.get(usize::from(number) - 1) {
            list.extend_from_slice(&file.entries);
            sites.spots.extend_from_slice(&file.spots);
        }
    }
    list.extend(entries);
    sites.spots.extend(spots);
}

/// The longest file of entries: a reader may have cut a longer one off in the middle of an entry.
const LONGEST: usize = 64 << 20;

/// One entry a line; `#` begins a comment. Every line that is no entry is found fault with, the first 20 by name.
fn parse(bytes: &[u8], number: u8, path: &Path, findings: &mut Vec<Finding>) -> ListFile {
    const MOST: usize = 20;
    let mut file = ListFile::default();
    if bytes.len() >= LONGEST {
        let what = "the list file is longer than 64 MiB";
        findings.push(Finding::error(path, what, "split it, or list networks"));
        return file;
    }
    let mut bad = 0usize;
    let mut start = 0;
    for (line, bytes) in (1u32..).zip(bytes.split(|byte| *byte == b'\n')) {
        match read_line(bytes, Origin::new(number, line)) {
            Ok(None) => {}
            Ok(Some((entry, spot))) => {
                file.entries.push(entry);
                file.spots.push(spot.moved(start));
            }
            Err((spot, misfit)) if bad < MOST => {
                bad += 1;
                let finding = Finding::error(path, misfit.what, misfit.remedy);
                findings.push(finding.at(spot.moved(start).place(line)));
            }
            Err(_) => bad += 1,
        }
        start += bytes.len() + 1;
    }
    if bad > MOST {
        let what = format!("{} more lines of this file are no entries", bad - MOST);
        findings.push(
            Finding::error(path, what, "mend those above first").with_severity(Severity::Note),
        );
    }
    if bad == 0 && file.entries.is_empty() {
        let what = "the list file holds no entry";
        let remedy = "write an address, a network, `host NAME` or `domain NAME` a line";
        findings.push(Finding::error(path, what, remedy).with_severity(Severity::Warning));
    }
    file
}

/// The entry of a line and where it stands in the line, nothing, or what is wrong.
fn read_line(bytes: &[u8], origin: Origin) -> Result<Option<(Entry, Spot)>, (Spot, Misfit)> {
    let Ok(whole) = std::str::from_utf8(bytes) else {
        let misfit = Misfit::new("the line is not UTF-8", "save the file as UTF-8");
        return Err((Spot::new(0, bytes.len(), 1), misfit));
    };
    // Some editors begin a file with a byte order mark.
    let bare = match origin.line() {
        1 => whole.trim_start_matches('\u{feff}'),
        _ => whole,
    };
    let text = bare.split('#').next().unwrap_or_default().trim();
    if text.is_empty() {
        return Ok(None);
    }
    let before = bare.len() - bare.trim_start().len() + whole.len() - bare.len();
    let column = whole.get(..before).map_or(0, |text| text.chars().count()) + 1;
    let spot = Spot::new(before, text.len(), column);
    match Entry::parse(text, origin) {
        Ok(entry) => Ok(Some((entry, spot))),
        Err(error) => Err((spot, line_misfit(text, &error))),
    }
}

fn line_misfit(text: &str, error: &postern_access::EntryError) -> Misfit {
    if Hosting::list_file(text).is_some() {
        let what = format!("`{}`: a list file names no other", clip(text));
        return Misfit::new(what, "name that file in the definition's list");
    }
    // Copied from a definition, quotes and comma included.
    let bare = text.trim_matches(['"', '\'', ',', ' ']);
    if bare != text && Entry::parse(bare, Origin::default()).is_ok() {
        let what = format!(
            "`{}`: an entry in a list file has no quotes and no comma",
            clip(text)
        );
        return Misfit::new(what, format!("write {}", clip(bare)));
    }
    entry_misfit(
        text,
        error,
        "192.0.2.7, 192.0.2.0/24, host NAME or domain NAME",
        "",
    )
}

impl Spot {
    /// The same spot of a line that begins at `start`.
    fn moved(self, start: usize) -> Spot {
        Spot {
            start: self
                .start
                .saturating_add(u32::try_from(start).unwrap_or(u32::MAX)),
            ..self
        }
    }
}

#[cfg(test)]
mod tests;

//! How answers look: tables, findings with their source lines, durations and sizes, JSON; colours on a terminal only.
//!
//! Never: decides anything; never lets a stranger's control characters (a reply, an address) reach the terminal.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Element, Level, Origin, Renderer, Snippet};
use postern_hosting::{Finding, Severity};
use serde::Serialize;

use crate::failure::Error;

/// Whether a stream may be coloured: it is a terminal, and NO_COLOR (no-color.org) is not set.
pub(crate) fn colours(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A colour, by what it says.
#[derive(Clone, Copy)]
pub(crate) enum Tone {
    Plain,
    Good,
    Doubtful,
    Bad,
    Strong,
    Faint,
}

/// `text` in a tone, or as it is where there are no colours.
pub(crate) fn toned(text: &str, tone: Tone, colours: bool) -> String {
    let code = match tone {
        _ if !colours => return text.to_owned(),
        Tone::Plain => return text.to_owned(),
        Tone::Good => "32",
        Tone::Doubtful => "33",
        Tone::Bad => "31",
        Tone::Strong => "1",
        Tone::Faint => "2",
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// A cell of a table.
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    pub(crate) fn new(text: impl Into<String>) -> Cell {
        Cell {
            text: printable(&text.into()),
            tone: Tone::Plain,
        }
    }

    pub(crate) fn toned(self, tone: Tone) -> Cell {
        Cell { tone, ..self }
    }
}

/// Which side of its column a cell leans to.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Side {
    Left,
    Right,
}

/// Rows in columns, two spaces apart; the last column is not padded.
pub(crate) struct Table {
    columns: Vec<(&'static str, Side)>,
    rows: Vec<Vec<Cell>>,
    above: Option<Vec<usize>>,
}

impl Table {
    pub(crate) fn new(columns: &[(&'static str, Side)]) -> Table {
        Table {
            columns: columns.to_vec(),
            rows: Vec::new(),
            above: None,
        }
    }

    /// The same table, to go on below one with these widths: without a heading, and no narrower.
    pub(crate) fn below(self, widths: Vec<usize>) -> Table {
        Table {
            above: Some(widths),
            ..self
        }
    }

    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// Writes all of it, the heading first; tells the widths of its columns.
    pub(crate) fn write(&self, out: &mut dyn Write, colours: bool) -> io::Result<Vec<usize>> {
        let widths = self.widths();
        let head: Vec<Cell> = self
            .columns
            .iter()
            .map(|(title, _)| Cell::new(*title).toned(Tone::Strong))
            .collect();
        if self.above.is_none() {
            self.write_row(out, &head, &widths, colours)?;
        }
        self.rows
            .iter()
            .try_for_each(|row| self.write_row(out, row, &widths, colours))?;
        Ok(widths)
    }

    fn widths(&self) -> Vec<usize> {
        let width = |column: usize| {
            let cells = self
                .rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.text.chars().count());
            let above = self
                .above
                .as_ref()
                .and_then(|widths| widths.get(column))
                .copied();
            cells
                .max()
                .unwrap_or(0)
                .max(self.columns[column].0.chars().count())
                .max(above.unwrap_or(0))
        };
        (0..self.columns.len()).map(width).collect()
    }

    fn write_row(
        &self,
        out: &mut dyn Write,
        row: &[Cell],
        widths: &[usize],
        colours: bool,
    ) -> io::Result<()> {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let pad = " ".repeat(widths[column].saturating_sub(cell.text.chars().count()));
            let text = toned(&cell.text, cell.tone, colours);
            match self.columns[column].1 {
                Side::Left => line.extend([text.as_str(), &pad]),
                Side::Right => line.extend([pad.as_str(), &text]),
            }
            line.push_str("  ");
        }
        writeln!(out, "{}", line.trim_end())
    }
}

/// `text` with everything that could move a terminal's cursor, or hide, written as an escape.
pub(crate) fn printable(text: &str) -> String {
    let harmless = |c: char| {
        !c.is_control()
            && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if text.chars().all(harmless) {
        return text.to_owned();
    }
    text.chars()
        .map(|c| {
            if harmless(c) {
                c.to_string()
            } else {
                c.escape_default().to_string()
            }
        })
        .collect()
}

/// The texts that findings point into, read once each and only from files this user may read.
#[derive(Default)]
pub(crate) struct Sources {
    texts: BTreeMap<PathBuf, Option<String>>,
}

impl Sources {
    /// With a text that is not in its file yet.
    pub(crate) fn with(path: &Path, text: &str) -> Sources {
        Sources {
            texts: BTreeMap::from([(path.to_owned(), Some(text.to_owned()))]),
        }
    }

    fn text(&mut self, path: &Path) -> Option<&str> {
        let read = || std::fs::read_to_string(path).ok();
        self.texts
            .entry(path.to_owned())
            .or_insert_with(read)
            .as_deref()
    }
}

/// A finding as the compiler of this program would show it: what, the source line, a mark under the place, the remedy.
pub(crate) fn finding(finding: &Finding, sources: &mut Sources, colours: bool) -> String {
    let level = match finding.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let path = finding.path.display().to_string();
    let text = sources.text(&finding.path);
    let what = printable(&finding.what);
    let remedy = printable(&finding.remedy);
    let place: Element<'_> = match (&finding.place, text) {
        (Some(place), Some(text)) if text.get(place.start..place.end).is_some() => {
            let mark = AnnotationKind::Primary.span(place.start..place.end);
            Snippet::source(text)
                .path(path.as_str())
                .annotation(mark)
                .into()
        }
        // The file is not readable here, or has changed since: the place is named, the line cannot be shown.
        (Some(place), _) => Origin::path(path.as_str())
            .line(place.line as usize)
            .char_column(place.column as usize)
            .into(),
        (None, _) => Origin::path(path.as_str()).into(),
    };
    let mut group = level.primary_title(what.as_str()).element(place);
    if !remedy.is_empty() {
        group = group.element(Level::HELP.message(remedy.as_str()));
    }
    let renderer = if colours {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    renderer.decor_style(DecorStyle::Ascii).render(&[group])
}

/// An error for standard error: the cause, the findings with their lines, the remedy.
pub(crate) fn error(error: &Error, colours: bool) -> String {
    let mut text = format!(
        "{} {}",
        toned("error:", Tone::Bad, colours),
        printable(&error.to_string())
    );
    if let Some(remedy) = error.remedy() {
        text.push_str(&format!(
            "\n  {} {}",
            toned("help:", Tone::Strong, colours),
            printable(&remedy)
        ));
    }
    let mut sources = Sources::default();
    for one in error.findings() {
        text.push_str("\n\n");
        text.push_str(&finding(one, &mut sources, colours));
    }
    text
}

/// A value as JSON, indented, with a line feed behind it.
pub(crate) fn json(out: &mut dyn Write, value: &impl Serialize) -> Result<(), Error> {
    serde_json::to_writer_pretty(&mut *out, value).map_err(io::Error::from)?;
    Ok(writeln!(out)?)
}

/// Seconds since 1970, now.
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// A length of time in its two greatest units: `12s`, `5m`, `3h 05m`, `2d 04h`.
pub(crate) fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m"),
        (0, hours, minutes) => format!("{hours}h {minutes:02}m"),
        (days, hours, _) => format!("{days}d {hours:02}h"),
    }
}

/// How long ago a moment was, or how far ahead it is: `3h 05m ago`, `in 10m`.
pub(crate) fn from_now(moment: u64, now: u64) -> String {
    if moment > now {
        format!("in {}", duration(moment - now))
    } else {
        format!("{} ago", duration(now - moment))
    }
}

/// A moment as `2026-01-31 23:59:59 UTC`.
pub(crate) fn moment(unix: u64) -> String {
    let (year, month, day) = civil(unix / 86_400);
    let (hour, minute, second) = (unix / 3600 % 24, unix / 60 % 60, unix % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// A moment as the Date: field of a message has it (RFC 5322 §3.3), in UTC.
pub(crate) fn mail_date(unix: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (year, month, day) = civil(unix / 86_400);
    let weekday = usize::try_from(unix / 86_400 % 7).map_or("Thu", |at| DAYS[at]);
    let month = usize::try_from(month - 1).map_or("Jan", |at| MONTHS[at]);
    let (hour, minute, second) = (unix / 3600 % 24, unix / 60 % 60, unix % 60);
    format!("{weekday}, {day} {month} {year} {hour:02}:{minute:02}:{second:02} +0000")
}

/// Days since 1970-01-01 as a date of the Gregorian calendar (Hinnant's `civil_from_days`, for days that are not negative).
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// A number of bytes, in the units of the definition: `812 B`, `4.1 kB`, `25.0 MB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use postern_hosting::Place;

    #[test]
    fn durations_sizes_and_moments_read_well() {
        assert_eq!(
            ["12s", "5m", "3h 05m", "2d 04h"],
            [12, 300, 11_100, 188_000]
                .map(duration)
                .each_ref()
                .map(String::as_str)
        );
        assert_eq!(
            ["999 B", "1.0 kB", "25.0 MB", "1.0 GB"],
            [999, 1000, 25_000_000, 999_999_999]
                .map(size)
                .each_ref()
                .map(String::as_str)
        );
        assert_eq!(moment(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(mail_date(951_825_599), "Tue, 29 Feb 2000 11:59:59 +0000");
        assert_eq!(moment(951_825_599), "2000-02-29 11:59:59 UTC");
        assert_eq!(moment(1_767_225_600), "2026-01-01 00:00:00 UTC");
        assert_eq!(
            (from_now(100, 160), from_now(160, 100)),
            ("1m ago".to_owned(), "in 1m".to_owned())
        );
    }

    #[test]
    fn control_characters_of_strangers_are_shown_not_obeyed() {
        assert_eq!(
            printable("550 no\x1b[2J\r\n\u{202e}"),
            "550 no\\u{1b}[2J\\r\\n\\u{202e}"
        );
        assert_eq!(printable("Grüße"), "Grüße");
    }

    #[test]
    fn a_table_pads_by_characters_and_colours_outside_the_padding() {
        let mut table = Table::new(&[
            ("NAME", Side::Left),
            ("N", Side::Right),
            ("NOTE", Side::Left),
        ]);
        table.row(vec![
            Cell::new("mé").toned(Tone::Good),
            Cell::new("7"),
            Cell::new(""),
        ]);
        table.row(vec![Cell::new("clients"), Cell::new("123"), Cell::new("x")]);
        let mut out = Vec::new();
        table.write(&mut out, false).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "NAME       N  NOTE\nmé         7\nclients  123  x\n"
        );
    }

    #[test]
    fn a_finding_without_a_readable_file_still_names_its_place() {
        let place = Place {
            line: 41,
            column: 9,
            start: 900,
            end: 905,
        };
        let one = Finding {
            severity: Severity::Error,
            path: "/nowhere/mx1.toml".into(),
            place: Some(place),
            what: "no such network".into(),
            remedy: "write it as 192.0.2.0/24".into(),
        };
        let text = finding(&one, &mut Sources::default(), false);
        assert!(
            text.contains("error: no such network") && text.contains("/nowhere/mx1.toml:41:9"),
            "{text}"
        );
        assert!(text.contains("help: write it as 192.0.2.0/24"), "{text}");
    }
}

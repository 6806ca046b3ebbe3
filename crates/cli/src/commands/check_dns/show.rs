//! How the report of `check-dns` looks: a table for each name, what is wrong below it, and at the end what to publish.
//!
//! Never: a stranger's control characters on the terminal, or his text at full length in a table.

use std::io::{self, Write};
use std::net::IpAddr;
use std::path::Path;

use postern_dns::Direct;
use postern_verify::dns::{Facts, Grade, Group, Report, Row, View};
use serde::Serialize;

use crate::failure::Error;
use crate::render::{self, Cell, Side, Table, Tone, printable, toned};

/// Characters of an answer shown in a table.
const SHOWN: usize = 100;

/// What `--json` writes.
#[derive(Serialize)]
struct Shown<'a> {
    definition: &'a Path,
    fqdn: &'a str,
    addresses: &'a [IpAddr],
    resolvers: Vec<Asker<'a>>,
    groups: &'a [Group],
    found: usize,
    notes: usize,
    missing: usize,
    contradictory: usize,
    not_asked: usize,
}

#[derive(Serialize)]
struct Asker<'a> {
    label: &'a str,
    servers: Vec<String>,
}

pub(super) fn json(
    definition: &Path,
    facts: &Facts,
    views: &[View<Direct>],
    report: &Report,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let asker = |view| asker(view);
    let shown = Shown {
        definition,
        fqdn: &facts.fqdn,
        addresses: &facts.addresses,
        resolvers: views.iter().map(asker).collect(),
        groups: &report.groups,
        found: report.count(Grade::Found),
        notes: report.count(Grade::Note),
        missing: report.count(Grade::Missing),
        contradictory: report.count(Grade::Contradictory),
        not_asked: report.count(Grade::NotAsked),
    };
    render::json(out, &shown)
}

fn asker(view: &View<Direct>) -> Asker<'_> {
    Asker {
        label: &view.label,
        servers: view
            .asker
            .servers()
            .map(|server| server.to_string())
            .collect(),
    }
}

pub(super) fn table(
    facts: &Facts,
    views: &[View<Direct>],
    report: &Report,
    questions: bool,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let colours = render::colours(&io::stdout());
    for view in views {
        let Asker { label, servers } = asker(view);
        writeln!(out, "asked: {} ({label})", servers.join(", "))?;
    }
    for group in &report.groups {
        writeln!(
            out,
            "\n{}{}",
            toned(&printable(&group.name), Tone::Strong, colours),
            of_server(facts, group)
        )?;
        rows(group, colours, out)?;
        if questions {
            asked(group, out)?;
        }
    }
    publish(report, colours, out)?;
    writeln!(out, "\n{}", summary(report))?;
    Ok(())
}

/// The addresses that the server is known by, behind its name.
fn of_server(facts: &Facts, group: &Group) -> String {
    let addresses: Vec<String> = facts.addresses.iter().map(ToString::to_string).collect();
    match (group.name == facts.fqdn, addresses.is_empty()) {
        (true, false) => format!(", at {}", addresses.join(", ")),
        _ => String::new(),
    }
}

fn rows(group: &Group, colours: bool, out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new(&[
        ("CHECK", Side::Left),
        ("RESULT", Side::Left),
        ("ANSWER", Side::Left),
    ]);
    for row in &group.rows {
        table.row(vec![
            Cell::new(row.subject.as_str()),
            Cell::new(row.grade.word()).toned(tone(row.grade)),
            Cell::new(clipped(&answers(row))),
        ]);
    }
    table.write(out, colours)?;
    for row in group.rows.iter().filter(|row| says_more(row)) {
        writeln!(
            out,
            "  {}: {}",
            printable(&row.subject),
            printable(&row.remark)
        )?;
    }
    Ok(())
}

/// Whether the remark is not in the answer already.
fn says_more(row: &Row) -> bool {
    let told = row.grade == Grade::NotAsked && answers(row).starts_with("no answer: ");
    !row.remark.is_empty() && !told
}

/// What was asked first is what the row is about, but for addresses, which come in two families.
fn answers(row: &Row) -> String {
    let first = row.asked.first().map_or("", |one| one.answer.as_str());
    if row.subject != "address" {
        return first.to_owned();
    }
    let told = row.asked.iter().map(|one| one.answer.as_str());
    let told: Vec<&str> = told
        .filter(|answer| !answer.ends_with("no such record"))
        .collect();
    match told.as_slice() {
        [] => first.to_owned(),
        [one, other] if one != other => format!("{one}, {other}"),
        [one, ..] => (*one).to_owned(),
    }
}

fn clipped(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

fn tone(grade: Grade) -> Tone {
    match grade {
        Grade::Found => Tone::Good,
        Grade::Note => Tone::Plain,
        Grade::Missing | Grade::NotAsked => Tone::Doubtful,
        Grade::Contradictory => Tone::Bad,
    }
}

/// Every question, for `--questions`.
fn asked(group: &Group, out: &mut dyn Write) -> io::Result<()> {
    for row in &group.rows {
        for one in &row.asked {
            let marks = match (one.over_tcp, one.vouched) {
                (true, true) => " [TCP, DNSSEC]",
                (true, false) => " [TCP]",
                (false, true) => " [DNSSEC]",
                (false, false) => "",
            };
            let line = format!(
                "{}: {} @ {}{marks}: {}",
                row.subject, one.question, one.of, one.answer
            );
            writeln!(out, "    {}", printable(&line))?;
        }
    }
    Ok(())
}

/// Lines for the zones, each once. What is missing or wrong comes before what would be good to have.
fn publish(report: &Report, colours: bool, out: &mut dyn Write) -> io::Result<()> {
    let rows = || report.groups.iter().flat_map(|group| &group.rows);
    for (optional, title) in [(false, "to publish:"), (true, "and, if you like:")] {
        let mut lines: Vec<&str> = Vec::new();
        for row in rows().filter(|row| (row.grade == Grade::Note) == optional) {
            let new = row
                .publish
                .iter()
                .map(String::as_str)
                .filter(|line| line.starts_with(';') || !lines.contains(line));
            let new: Vec<&str> = new.collect();
            lines.extend(new);
        }
        if !lines.is_empty() {
            writeln!(out, "\n{}", toned(title, Tone::Strong, colours))?;
        }
        for line in lines {
            writeln!(out, "{}", printable(line))?;
        }
    }
    Ok(())
}

fn summary(report: &Report) -> String {
    let grades = [
        Grade::Contradictory,
        Grade::Missing,
        Grade::NotAsked,
        Grade::Found,
    ];
    let counted = grades.map(|grade| (report.count(grade), grade.word()));
    let words: Vec<String> = counted
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    words.join(", ")
}

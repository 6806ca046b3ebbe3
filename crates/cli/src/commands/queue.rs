//! `postern queue …`: what waits in a server's queue, why, and what is to become of it.
//!
//! A queue is read page by page and written as it comes, so that a million messages cost no more memory than a screenful.
//!
//! Never: reads the spool; the worker is asked.

use std::io::{IsTerminal, Write};

use clap::{Args, Subcommand};
use postern_control::query::{
    Answer, MessageDetail, Question, QueueRow, QueueState, RecipientRow, Which,
};
use postern_hosting::ServerName;

use super::Places;
use crate::connect::{Desk, Worker};
use crate::failure::Error;
use crate::render::{self, Cell, Side, Table, Tone};

/// How many messages a page asks for; a packet may hold fewer.
const PAGE: u32 = 500;

/// Lists, shows, wakes and deletes messages in a server's queue.
#[derive(Args)]
pub(crate) struct Queue {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    List(List),
    Show(Show),
    /// Tries messages now, whatever their next time was.
    Retry(Choice),
    Delete(Delete),
    /// Keeps messages, and does not try to deliver them until they are thawed.
    Freeze(Choice),
    /// Lets frozen messages be delivered again.
    Thaw(Choice),
}

/// Lists the messages, oldest first.
#[derive(Args)]
struct List {
    /// The server.
    server: ServerName,
    /// At most so many.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Only those to this domain or host, by the recipients that are shown.
    #[arg(long, value_name = "DOMAIN")]
    destination: Option<String>,
    /// Only those after this id.
    #[arg(long, value_name = "ID")]
    after: Option<String>,
    /// Write JSON, for programs: an array with one message a line.
    #[arg(long)]
    json: bool,
}

/// Shows one message: its envelope, each recipient, and what the other side said last.
#[derive(Args)]
struct Show {
    /// The server.
    server: ServerName,
    /// The message's id.
    id: String,
    /// Write JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// Which messages.
#[derive(Args)]
struct Choice {
    /// The server.
    server: ServerName,
    #[command(flatten)]
    which: Chosen,
}

#[derive(Args)]
struct Chosen {
    /// Messages, by id.
    #[arg(value_name = "ID", required_unless_present_any = ["all", "destination"], conflicts_with_all = ["all", "destination"])]
    ids: Vec<String>,
    /// All with a recipient still to be reached at this domain or host.
    #[arg(long, value_name = "DOMAIN", conflicts_with = "all")]
    destination: Option<String>,
    /// Every message in the queue.
    #[arg(long)]
    all: bool,
}

/// Deletes messages. They are gone for good; only --notify tells their senders.
#[derive(Args)]
struct Delete {
    #[command(flatten)]
    choice: Choice,
    /// Send each sender a non-delivery report.
    #[arg(long)]
    notify: bool,
    /// Do not ask, where all or a whole destination is meant.
    #[arg(long)]
    yes: bool,
}

impl Queue {
    pub(crate) fn run(&self, places: &Places, out: &mut dyn Write) -> Result<(), Error> {
        let worker = |server| Desk::connect(&places.control)?.introduce(server);
        match &self.verb {
            Verb::List(list) => list.run(&worker(&list.server)?, out),
            Verb::Show(show) => show.run(&worker(&show.server)?, out),
            Verb::Retry(choice) => {
                choice.change(&worker(&choice.server)?, "to be tried now", out, |which| {
                    Question::Retry { which }
                })
            }
            Verb::Freeze(choice) => {
                choice.change(&worker(&choice.server)?, "frozen", out, |which| {
                    Question::Freeze { which }
                })
            }
            Verb::Thaw(choice) => choice.change(&worker(&choice.server)?, "thawed", out, |which| {
                Question::Thaw { which }
            }),
            Verb::Delete(delete) => {
                delete.sure()?;
                let notify = delete.notify;
                let said = if notify {
                    "deleted, senders notified"
                } else {
                    "deleted"
                };
                let worker = worker(&delete.choice.server)?;
                delete
                    .choice
                    .change(&worker, said, out, |which| Question::Delete {
                        which,
                        notify,
                    })
            }
        }
    }
}

impl List {
    fn run(&self, worker: &Worker, out: &mut dyn Write) -> Result<(), Error> {
        let mut page = Page::new(self.json);
        let mut after = self.after.clone();
        let mut left = self.limit.unwrap_or(u64::MAX);
        loop {
            let (rows, more) = ask(worker, after.take())?;
            after = rows.last().map(|row| row.id.clone());
            let wanted: Vec<QueueRow> = rows
                .into_iter()
                .filter(|row| self.wants(row))
                .take(usize::try_from(left).unwrap_or(usize::MAX))
                .collect();
            left -= wanted.len() as u64;
            page.write(&wanted, out)?;
            if !more || left == 0 || after.is_none() {
                return page.end(out);
            }
        }
    }

    /// A row names its destination and three of its recipients; that is what can be compared.
    fn wants(&self, row: &QueueRow) -> bool {
        let Some(wanted) = &self.destination else {
            return true;
        };
        let domains = row
            .recipients
            .iter()
            .filter_map(|address| address.rsplit_once('@'));
        row.destination.eq_ignore_ascii_case(wanted)
            || domains
                .into_iter()
                .any(|(_, domain)| domain.eq_ignore_ascii_case(wanted))
    }
}

fn ask(worker: &Worker, after: Option<String>) -> Result<(Vec<QueueRow>, bool), Error> {
    match worker.ask(&Question::Queue { after, limit: PAGE })? {
        Answer::Queue { rows, more } => Ok((rows, more)),
        other => Err(worker.nonsense(&other)),
    }
}

/// Writes page after page in one form.
struct Page {
    json: bool,
    colours: bool,
    now: u64,
    written: u64,
    widths: Option<Vec<usize>>,
}

impl Page {
    fn new(json: bool) -> Page {
        Page {
            json,
            colours: render::colours(&std::io::stdout()),
            now: render::now(),
            written: 0,
            widths: None,
        }
    }

    fn write(&mut self, rows: &[QueueRow], out: &mut dyn Write) -> Result<(), Error> {
        if self.json {
            return rows.iter().try_for_each(|row| self.write_json(row, out));
        }
        if rows.is_empty() {
            return Ok(());
        }
        let mut table = Table::new(&[
            ("ID", Side::Left),
            ("STATE", Side::Left),
            ("AGE", Side::Right),
            ("SIZE", Side::Right),
            ("TRIES", Side::Right),
            ("NEXT", Side::Left),
            ("SENDER", Side::Left),
            ("RECIPIENTS", Side::Left),
            ("LAST REPLY", Side::Left),
        ]);
        if let Some(widths) = self.widths.take() {
            table = table.below(widths);
        }
        rows.iter().for_each(|row| table.row(cells(row, self.now)));
        self.written += rows.len() as u64;
        self.widths = Some(table.write(out, self.colours)?);
        Ok(())
    }

    fn write_json(&mut self, row: &QueueRow, out: &mut dyn Write) -> Result<(), Error> {
        out.write_all(if self.written == 0 { b"[\n" } else { b",\n" })?;
        self.written += 1;
        Ok(serde_json::to_writer(out, row).map_err(std::io::Error::from)?)
    }

    fn end(&self, out: &mut dyn Write) -> Result<(), Error> {
        match (self.json, self.written) {
            (true, 0) => writeln!(out, "[]")?,
            (true, _) => writeln!(out, "\n]")?,
            (false, 0) => writeln!(out, "no messages")?,
            (false, _) => {}
        }
        Ok(())
    }
}

fn cells(row: &QueueRow, now: u64) -> Vec<Cell> {
    vec![
        Cell::new(&row.id),
        Cell::new(row.state.as_str()).toned(tone(row.state)),
        Cell::new(render::duration(now.saturating_sub(row.received))),
        Cell::new(render::size(row.size)),
        Cell::new(row.attempts.to_string()),
        Cell::new(row.next_try.map_or_else(
            || "-".to_owned(),
            |next| render::from_now(next.max(now), now),
        )),
        Cell::new(sender(&row.sender)),
        Cell::new(recipients(row)),
        Cell::new(row.last_reply.clone().unwrap_or_default()),
    ]
}

fn tone(state: QueueState) -> Tone {
    match state {
        QueueState::Active => Tone::Good,
        QueueState::Ready => Tone::Plain,
        QueueState::Retry => Tone::Doubtful,
        QueueState::Frozen => Tone::Faint,
    }
}

fn sender(address: &str) -> String {
    if address.is_empty() {
        "<>".to_owned()
    } else {
        address.to_owned()
    }
}

fn recipients(row: &QueueRow) -> String {
    let shown = u32::try_from(row.recipients.len()).unwrap_or(u32::MAX);
    let more = row.recipient_count.saturating_sub(shown);
    let names = row.recipients.join(", ");
    if more == 0 {
        names
    } else {
        format!("{names} and {more} more")
    }
}

impl Show {
    fn run(&self, worker: &Worker, out: &mut dyn Write) -> Result<(), Error> {
        match worker.ask(&Question::Show {
            id: self.id.clone(),
        })? {
            Answer::Message(detail) if self.json => render::json(out, &detail),
            Answer::Message(detail) => show(&detail, out),
            other => Err(worker.nonsense(&other)),
        }
    }
}

fn show(detail: &MessageDetail, out: &mut dyn Write) -> Result<(), Error> {
    let (row, now) = (&detail.row, render::now());
    let when = |at: u64| format!("{} ({})", render::moment(at), render::from_now(at, now));
    let mut line =
        |title: &str, text: String| writeln!(out, "{title:<12}{}", render::printable(&text));
    line("id", row.id.clone())?;
    line("state", row.state.as_str().to_owned())?;
    line("received", when(row.received))?;
    line(
        "size",
        format!("{} ({} bytes)", render::size(row.size), row.size),
    )?;
    line("sender", sender(&row.sender))?;
    if let Some(envid) = &detail.envid {
        line("envelope id", envid.clone())?;
    }
    line("tries", row.attempts.to_string())?;
    if let Some(next) = row.next_try {
        line("next try", when(next))?;
    }
    line("given up", when(detail.expires))?;
    writeln!(out)?;
    let mut table = Table::new(&[
        ("RECIPIENT", Side::Left),
        ("STATE", Side::Left),
        ("HOST", Side::Left),
        ("TRIED", Side::Left),
        ("LAST REPLY", Side::Left),
    ]);
    detail
        .recipients
        .iter()
        .for_each(|recipient| table.row(recipient_cells(recipient, now)));
    table.write(out, render::colours(&std::io::stdout()))?;
    if detail.left_out > 0 {
        writeln!(out, "and {} more", detail.left_out)?;
    }
    Ok(())
}

fn recipient_cells(recipient: &RecipientRow, now: u64) -> Vec<Cell> {
    let or_dash = |text: &Option<String>| Cell::new(text.clone().unwrap_or_else(|| "-".to_owned()));
    vec![
        Cell::new(&recipient.address),
        Cell::new(&recipient.state),
        or_dash(&recipient.host),
        Cell::new(
            recipient
                .last_try
                .map_or_else(|| "-".to_owned(), |at| render::from_now(at.min(now), now)),
        ),
        or_dash(&recipient.last_reply),
    ]
}

impl Choice {
    fn change(
        &self,
        worker: &Worker,
        said: &str,
        out: &mut dyn Write,
        question: impl Fn(Which) -> Question,
    ) -> Result<(), Error> {
        let mut total = 0;
        for which in self.which.each() {
            match worker.ask(&question(which))? {
                Answer::Changed { count } => total += count,
                other => return Err(worker.nonsense(&other)),
            }
        }
        let noun = if total == 1 { "message" } else { "messages" };
        writeln!(out, "{total} {noun} {said}")?;
        // A destination without messages is an answer; an id that is not there was a mistake.
        if total == 0 && !self.which.ids.is_empty() {
            Err(Error::Said)
        } else {
            Ok(())
        }
    }
}

impl Chosen {
    fn each(&self) -> Vec<Which> {
        match &self.destination {
            _ if self.all => vec![Which::All],
            Some(destination) => vec![Which::Destination(destination.clone())],
            None => self.ids.iter().cloned().map(Which::Message).collect(),
        }
    }
}

impl Delete {
    /// Deleting more than named messages is asked about on a terminal, and needs --yes elsewhere.
    fn sure(&self) -> Result<(), Error> {
        let which = &self.choice.which;
        if self.yes || !which.ids.is_empty() {
            return Ok(());
        }
        let meant = match &which.destination {
            Some(destination) => format!("all messages of {} to {destination}", self.choice.server),
            None => format!("all messages of {}", self.choice.server),
        };
        if !std::io::stdin().is_terminal() {
            let what = format!("{meant} would be deleted");
            return Err(Error::Usage {
                what,
                remedy: "say --yes if that is meant".to_owned(),
            });
        }
        if crate::ask::yes(&format!("Delete {meant}?"))? {
            Ok(())
        } else {
            Err(Error::Failed("nothing was deleted".to_owned()))
        }
    }
}

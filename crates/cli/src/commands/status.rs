//! `postern status`: which servers there are, and how they are.
//!
//! When certificates end is read from their files, as far as this user may.
//!
//! Never: asks a worker; what the supervisor knows is enough, and it answers also when a worker does not.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use postern_control::client::{HostRow, ServerRow};
use postern_hosting::{ServerName, ServerState};
use postern_tls::certs::SOON;
use serde::Serialize;

use super::Places;
use super::certificate;
use crate::connect::Desk;
use crate::failure::Error;
use crate::render::{self, Cell, Side, Table, Tone};

/// Shows the servers: state, addresses, process, sessions, queue and certificate.
#[derive(Args)]
pub(crate) struct Status {
    /// Only these servers.
    #[arg(value_name = "NAME")]
    names: Vec<ServerName>,
    /// Write JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// What `--json` writes.
#[derive(Serialize)]
struct Shown<'a> {
    host: &'a HostRow,
    servers: &'a [ServerRow],
    certificates: &'a [Ending],
}

/// A certificate of a server, and when it or its chain ends.
#[derive(Serialize)]
struct Ending {
    server: ServerName,
    certificate: PathBuf,
    not_after: u64,
}

impl Ending {
    fn days(&self, now: u64) -> u64 {
        self.not_after.saturating_sub(now) / 86_400
    }

    fn tone(&self, now: u64) -> Tone {
        match self.days(now) {
            ..7 => Tone::Bad,
            7..SOON => Tone::Doubtful,
            _ => Tone::Plain,
        }
    }
}

impl Status {
    pub(crate) fn run(&self, places: &Places, out: &mut dyn Write) -> Result<(), Error> {
        let (host, rows) = Desk::connect(&places.control)?.servers()?;
        let rows = chosen(rows, &self.names)?;
        let endings = endings(&rows, places);
        if self.json {
            let shown = Shown {
                host: &host,
                servers: &rows,
                certificates: &endings,
            };
            return render::json(out, &shown);
        }
        show(&host, &rows, &endings, out)
    }
}

/// The rows asked for, in the order asked for; all where none is named.
fn chosen(mut rows: Vec<ServerRow>, names: &[ServerName]) -> Result<Vec<ServerRow>, Error> {
    if names.is_empty() {
        return Ok(rows);
    }
    let take = |name: &ServerName| match rows.iter().position(|row| row.name == *name) {
        Some(at) => Ok(rows.swap_remove(at)),
        None => Err(Error::Refused {
            subject: name.to_string(),
            reason: "there is no server of this name; see postern status".to_owned(),
            findings: Vec::new(),
        }),
    };
    let mut once: Vec<&ServerName> = Vec::new();
    names.iter().for_each(|name| {
        if !once.contains(&name) {
            once.push(name)
        }
    });
    once.into_iter().map(take).collect()
}

fn endings(rows: &[ServerRow], places: &Places) -> Vec<Ending> {
    let of = |row: &ServerRow| {
        let server = row.name.clone();
        let ends = certificate::ends(&server, places).into_iter();
        ends.map(move |(certificate, not_after)| Ending {
            server: server.clone(),
            certificate,
            not_after,
        })
    };
    rows.iter().flat_map(of).collect()
}

fn show(
    host: &HostRow,
    rows: &[ServerRow],
    endings: &[Ending],
    out: &mut dyn Write,
) -> Result<(), Error> {
    let colours = render::colours(&std::io::stdout());
    let now = render::now();
    if rows.is_empty() {
        writeln!(
            out,
            "no servers; postern new NAME writes a first definition"
        )?;
    } else {
        table(rows, endings, now).write(out, colours)?;
    }
    let troubled = rows.iter().filter(|row| !row.detail.is_empty());
    let mut notes: Vec<String> = troubled.map(|row| note(row, colours)).collect();
    notes.extend(rows.iter().flat_map(authds));
    let soon = endings.iter().filter(|one| one.days(now) < SOON);
    notes.extend(soon.map(|one| ends_soon(one, now, colours)));
    if !notes.is_empty() {
        writeln!(out)?;
        notes.iter().try_for_each(|note| writeln!(out, "{note}"))?;
    }
    let own = "isolation is weaker: posternd does not run as root, so all workers share its user";
    let note = if host.note.is_empty() && !host.isolated {
        own
    } else {
        host.note.as_str()
    };
    if !note.is_empty() {
        writeln!(
            out,
            "\n{} {}",
            render::toned("note:", Tone::Doubtful, colours),
            render::printable(note)
        )?;
    }
    Ok(())
}

fn table(rows: &[ServerRow], endings: &[Ending], now: u64) -> Table {
    let mut table = Table::new(&[
        ("NAME", Side::Left),
        ("STATE", Side::Left),
        ("ADDRESSES", Side::Left),
        ("PID", Side::Right),
        ("UID", Side::Right),
        ("SESSIONS", Side::Right),
        ("QUEUE", Side::Right),
        ("CERTIFICATE", Side::Right),
        ("SINCE", Side::Left),
    ]);
    for row in rows {
        let number = |value: Option<u32>| {
            Cell::new(value.map_or_else(|| "-".to_owned(), |value| value.to_string()))
        };
        let addresses: Vec<String> = row.addresses.iter().map(ToString::to_string).collect();
        table.row(vec![
            Cell::new(row.name.to_string()),
            Cell::new(row.state.to_string()).toned(tone(row.state)),
            Cell::new(if addresses.is_empty() {
                "-".to_owned()
            } else {
                addresses.join(", ")
            }),
            number(row.pid),
            number(row.uid),
            Cell::new(row.sessions.to_string()),
            Cell::new(row.queued.to_string()),
            first_to_end(&row.name, endings, now),
            Cell::new(render::from_now(row.since.min(now), now)),
        ]);
    }
    table
}

/// How long the certificate that ends first is good.
fn first_to_end(server: &ServerName, endings: &[Ending], now: u64) -> Cell {
    let own = endings.iter().filter(|one| one.server == *server);
    match own.min_by_key(|one| one.not_after) {
        None => Cell::new("-"),
        Some(one) if one.not_after < now => Cell::new("expired").toned(Tone::Bad),
        Some(one) => {
            let days = one.days(now);
            let unit = if days == 1 { "day" } else { "days" };
            Cell::new(format!("{days} {unit}")).toned(one.tone(now))
        }
    }
}

/// `mx1: /etc/…/certificate.pem ends in 12d 04h; renew it`.
fn ends_soon(ending: &Ending, now: u64, colours: bool) -> String {
    let path = ending.certificate.display();
    let when = match ending.not_after < now {
        true => format!("has ended {}", render::from_now(ending.not_after, now)),
        false => format!("ends {}", render::from_now(ending.not_after, now)),
    };
    let when = render::toned(&when, ending.tone(now), colours);
    format!("{}: {path} {when}; renew it", ending.server)
}

fn tone(state: ServerState) -> Tone {
    match state {
        ServerState::Running => Tone::Good,
        ServerState::Failed | ServerState::Refused => Tone::Bad,
        ServerState::Stopped => Tone::Faint,
        _ => Tone::Doubtful,
    }
}

/// Why a server is as it is, in one line: `mx1 waiting: …`.
fn note(row: &ServerRow, colours: bool) -> String {
    let state = render::toned(row.state.as_str(), tone(row.state), colours);
    format!("{} {state}: {}", row.name, render::printable(&row.detail))
}

/// The processes that hold what its workers must not, a line each: `mx1: authd kerberos is process 4712, uid 64001`.
fn authds(row: &ServerRow) -> impl Iterator<Item = String> {
    let name = &row.name;
    row.authds.iter().map(move |authd| {
        let kind = render::printable(&authd.kind);
        format!(
            "{name}: authd {kind} is process {}, uid {}",
            authd.pid, authd.uid
        )
    })
}

//! `postern lockouts`: who guessed passwords of late, who is locked out, and how to let him in again.
//!
//! Never: a password, or anything of one.

use std::io::Write;
use std::net::IpAddr;

use clap::Args;
use postern_control::query::{Answer, Guessed, LockoutRow, Question};
use postern_hosting::ServerName;

use super::Places;
use crate::connect::{Desk, Worker};
use crate::failure::Error;
use crate::render::{self, Cell, Side, Table, Tone};

/// Shows accounts and addresses with wrong passwords of late, and releases those locked out.
///
/// Different wrong passwords count, a password once however often it is sent. The rule is `lockout` in
/// [access.authentication]; what is counted is forgotten when the server restarts.
#[derive(Args)]
pub(crate) struct Lockouts {
    /// The server.
    server: ServerName,
    /// Forget the wrong passwords of this account or address; may be given again.
    #[arg(
        long,
        value_name = "ACCOUNT or ADDRESS",
        conflicts_with = "release_all"
    )]
    release: Vec<String>,
    /// Forget all of them.
    #[arg(long)]
    release_all: bool,
    /// Write JSON, for programs.
    #[arg(long)]
    json: bool,
}

impl Lockouts {
    pub(crate) fn run(&self, places: &Places, out: &mut dyn Write) -> Result<(), Error> {
        let worker = Desk::connect(&places.control)?.introduce(&self.server)?;
        if self.release_all {
            let count = release(&worker, Guessed::All)?;
            return Ok(writeln!(out, "{count} released")?);
        }
        if self.release.is_empty() {
            return self.show(&worker, out);
        }
        let mut missing = Vec::new();
        for name in &self.release {
            match release(&worker, guessed(name))? {
                0 => missing.push(name.as_str()),
                _ => writeln!(out, "{name} released")?,
            }
        }
        match missing.as_slice() {
            [] => Ok(()),
            missing => Err(Error::Failed(format!(
                "nothing is counted against {}",
                missing.join(", ")
            ))),
        }
    }

    fn show(&self, worker: &Worker, out: &mut dyn Write) -> Result<(), Error> {
        let (rows, more) = match worker.ask(&Question::Lockouts)? {
            Answer::Lockouts { rows, more } => (rows, more),
            other => return Err(worker.nonsense(&other)),
        };
        if self.json {
            return render::json(out, &rows);
        }
        if rows.is_empty() {
            return Ok(writeln!(out, "nobody guesses")?);
        }
        let now = render::now();
        let mut table = Table::new(&[
            ("ACCOUNT OR ADDRESS", Side::Left),
            ("WRONG", Side::Right),
            ("LOCKED OUT", Side::Left),
        ]);
        rows.iter().for_each(|row| table.row(cells(row, now)));
        table.write(out, render::colours(&std::io::stdout()))?;
        if more {
            writeln!(out, "and more")?;
        }
        Ok(())
    }
}

fn guessed(name: &str) -> Guessed {
    // `2001:db8:7::/64`, as it is shown.
    let address = name.strip_suffix("/64").unwrap_or(name);
    match address.parse::<IpAddr>() {
        Ok(address) => Guessed::Address(address),
        Err(_) => Guessed::Account(name.to_owned()),
    }
}

fn release(worker: &Worker, which: Guessed) -> Result<u64, Error> {
    match worker.ask(&Question::Release { which })? {
        Answer::Changed { count } => Ok(count),
        other => Err(worker.nonsense(&other)),
    }
}

fn cells(row: &LockoutRow, now: u64) -> Vec<Cell> {
    let name = row.account.as_deref().or(row.address.as_deref());
    let until = match row.until {
        Some(until) => {
            let left = render::duration(until.saturating_sub(now));
            Cell::new(format!("for {left} more")).toned(Tone::Bad)
        }
        None => Cell::new("-"),
    };
    let wrong = match row.until {
        Some(_) => "-".to_owned(),
        None => row.wrong.to_string(),
    };
    vec![Cell::new(name.unwrap_or_default()), Cell::new(wrong), until]
}

//! `postern start stop pause resume restart reload NAME…`: one order to the supervisor for each server, one after the other.
//!
//! Never: gives up on the other servers because one refused.

use std::io::{IsTerminal, Write};
use std::sync::mpsc;
use std::time::Duration;

use clap::Args;
use postern_control::client::{Reply, Request, ServerRow};
use postern_hosting::{Finding, ServerName, ServerState};

use super::Places;
use crate::connect::Desk;
use crate::failure::Error;
use crate::render::{self, Sources, Tone};

/// Which servers an order is for.
#[derive(Args)]
pub(crate) struct Servers {
    /// The servers, by name.
    #[arg(
        value_name = "NAME",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    names: Vec<ServerName>,
    /// Every server; but for start, every one that is not stopped.
    #[arg(long)]
    all: bool,
}

/// The orders there are.
#[derive(Clone, Copy)]
pub(crate) enum Order {
    Start,
    Stop,
    Pause,
    Resume,
    Restart,
    Reload,
}

impl Order {
    fn request(self, server: ServerName) -> Request {
        match self {
            Order::Start => Request::Start { server },
            Order::Stop => Request::Stop { server },
            Order::Pause => Request::Pause { server },
            Order::Resume => Request::Resume { server },
            Order::Restart => Request::Restart { server },
            Order::Reload => Request::Reload { server },
        }
    }

    /// What is being waited for.
    fn waiting(self) -> &'static str {
        match self {
            Order::Start => "starting; waiting until it accepts connections",
            Order::Stop => "stopping; waiting for its sessions to end",
            Order::Pause | Order::Resume => "waiting for its worker",
            Order::Restart => "restarting; waiting until the successor accepts connections",
            Order::Reload => "reloading; waiting for the new generation",
        }
    }
}

impl Servers {
    pub(crate) fn run(
        &self,
        order: Order,
        places: &Places,
        out: &mut dyn Write,
    ) -> Result<(), Error> {
        let desk = Desk::connect(&places.control)?;
        let names = if self.all {
            all(&desk, order)?
        } else {
            self.names.clone()
        };
        if names.is_empty() {
            writeln!(out, "there are no servers for that")?;
        }
        let mut refused = false;
        for name in names {
            refused |= !give(&desk, order, &name, out)?;
            out.flush()?;
        }
        if refused { Err(Error::Said) } else { Ok(()) }
    }
}

/// Every server an order may be meant for: what an operator stopped stays stopped until it is started.
fn all(desk: &Desk, order: Order) -> Result<Vec<ServerName>, Error> {
    let meant =
        |row: &ServerRow| matches!(order, Order::Start) || row.state != ServerState::Stopped;
    Ok(desk
        .servers()?
        .1
        .into_iter()
        .filter(meant)
        .map(|row| row.name)
        .collect())
}

/// Gives one order and says how it ended; false where it was refused.
fn give(desk: &Desk, order: Order, name: &ServerName, out: &mut dyn Write) -> Result<bool, Error> {
    let reply = patiently(order, name, || desk.order(&order.request(name.clone())))?;
    match reply {
        Reply::Done { message, findings } => {
            writeln!(out, "{}", render::printable(&done(name, &message)))?;
            show(&findings, out)?;
            Ok(true)
        }
        Reply::Refused { reason, findings } => {
            let colours = render::colours(&std::io::stdout());
            let label = render::toned("refused:", Tone::Bad, colours);
            let reason = refused(name, &reason);
            writeln!(out, "{name}: {label} {}", render::printable(&reason))?;
            show(&findings, out)?;
            Ok(false)
        }
        other => Err(desk.nonsense(&other)),
    }
}

/// `mx1 is running` as it is; anything else with the name in front.
fn done(name: &ServerName, message: &str) -> String {
    let begins = message
        .strip_prefix(name.as_str())
        .is_some_and(|rest| rest.starts_with([' ', ':']));
    if begins {
        message.to_owned()
    } else {
        format!("{name}: {message}")
    }
}

/// The reason without the name, which stands in front already.
fn refused(name: &ServerName, reason: &str) -> String {
    match reason.strip_prefix(name.as_str()) {
        Some(rest) if rest.starts_with(": ") => rest[2..].to_owned(),
        Some(rest) if rest.starts_with(" is ") => format!("it{rest}"),
        _ => reason.to_owned(),
    }
}

/// Does `work`; where it takes more than a moment, a person at the terminal is told what is being waited for.
fn patiently<T>(order: Order, name: &ServerName, work: impl FnOnce() -> T) -> T {
    const MOMENT: Duration = Duration::from_secs(2);
    if !std::io::stderr().is_terminal() {
        return work();
    }
    std::thread::scope(|scope| {
        let (done, waiting) = mpsc::channel::<()>();
        scope.spawn(move || {
            if waiting.recv_timeout(MOMENT) == Err(mpsc::RecvTimeoutError::Timeout) {
                let _ = writeln!(
                    std::io::stderr(),
                    "{name}: {} (Ctrl-C ends the waiting, not the order)",
                    order.waiting()
                );
            }
        });
        let result = work();
        drop(done);
        result
    })
}

fn show(findings: &[Finding], out: &mut dyn Write) -> Result<(), Error> {
    let colours = render::colours(&std::io::stdout());
    let mut sources = Sources::default();
    for finding in findings {
        writeln!(out, "\n{}", render::finding(finding, &mut sources, colours))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_name_is_said_once() {
        let name: ServerName = "mx".parse().unwrap();
        for (message, shown) in [
            ("mx is running", "mx is running"),
            ("mx: reloaded", "mx: reloaded"),
            ("mx1 is running", "mx: mx1 is running"),
            ("reloaded", "mx: reloaded"),
        ] {
            assert_eq!(done(&name, message), shown);
        }
        for (reason, shown) in [
            ("mx is not running", "it is not running"),
            ("mx: its definition is refused", "its definition is refused"),
            ("address in use", "address in use"),
        ] {
            assert_eq!(refused(&name, reason), shown);
        }
    }
}

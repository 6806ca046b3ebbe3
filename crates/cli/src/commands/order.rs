//! `postern start stop pause resume restart reload NAME…`: one order to the supervisor for each server, one after the other.
//!
//! Never: gives up on the other servers because one refused.

use std::io::{IsTerminal, Write};
use std::sync::mpsc;
use std::time::Duration;

use clap::Args;
use postern_control::client::{Reply, Request};
use postern_hosting::{Finding, ServerName};

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
    /// Every server.
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
            desk.servers()?.1.into_iter().map(|row| row.name).collect()
        } else {
            self.names.clone()
        };
        if names.is_empty() {
            writeln!(out, "there are no servers")?;
        }
        let mut refused = false;
        for name in names {
            refused |= !give(&desk, order, &name, out)?;
            out.flush()?;
        }
        if refused { Err(Error::Said) } else { Ok(()) }
    }
}

/// Gives one order and says how it ended; false where it was refused.
fn give(desk: &Desk, order: Order, name: &ServerName, out: &mut dyn Write) -> Result<bool, Error> {
    let reply = patiently(order, name, || desk.order(&order.request(name.clone())))?;
    match reply {
        Reply::Done { message, findings } => {
            writeln!(out, "{name}: {}", render::printable(&message))?;
            show(&findings, out)?;
            Ok(true)
        }
        Reply::Refused { reason, findings } => {
            let colours = render::colours(&std::io::stdout());
            let label = render::toned("refused:", Tone::Bad, colours);
            writeln!(out, "{name}: {label} {}", render::printable(&reason))?;
            show(&findings, out)?;
            Ok(false)
        }
        other => Err(desk.nonsense(&other)),
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

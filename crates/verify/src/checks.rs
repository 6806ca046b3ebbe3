//! The list of checks, in the order they are run: what holds up nobody first, what fills a server last.
//!
//! Each check is a file: it opens conversations through [`Inspection`], and ends with findings. A conversation that
//! breaks off ends its check with a line that says so.
//!
//! Never: mail left behind; more wrong passwords than [`Pace`](crate::Pace) allows.

mod banner;
mod channel;
mod excluded;
mod injection;
mod limits;
mod login;
mod relay;
mod smuggling;
mod turns;
mod users;

use std::fmt;
use std::str::FromStr;

use crate::finding::Finding;
use crate::inspection::Inspection;
use crate::wire::Fault;

/// A check, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Connections from excluded addresses.
    Excluded,
    /// Names and passwords on the wire.
    Login,
    /// The secure channel.
    Channel,
    /// Plaintext injected before STARTTLS.
    Injection,
    /// Relay probes.
    Relay,
    /// Smuggling probes.
    Smuggling,
    /// What greeting, EHLO and HELP tell.
    Banner,
    /// Whether VRFY and EXPN tell who has a mailbox.
    Users,
    /// Clients that speak out of turn.
    Turns,
    /// Limits.
    Limits,
}

impl Check {
    /// All of them, in the order they are run.
    pub const ALL: [Check; 10] = [
        Check::Excluded,
        Check::Banner,
        Check::Login,
        Check::Channel,
        Check::Injection,
        Check::Relay,
        Check::Smuggling,
        Check::Users,
        Check::Turns,
        Check::Limits,
    ];

    /// As `--only` takes it.
    pub const fn name(self) -> &'static str {
        match self {
            Check::Excluded => "excluded",
            Check::Login => "login",
            Check::Channel => "channel",
            Check::Injection => "injection",
            Check::Relay => "relay",
            Check::Smuggling => "smuggling",
            Check::Banner => "banner",
            Check::Users => "users",
            Check::Turns => "turns",
            Check::Limits => "limits",
        }
    }

    /// Runs it to its end, and no longer than its time.
    pub(crate) async fn run(self, inspection: &mut Inspection<'_>) {
        inspection.begin(self.name());
        let limit = inspection.pace.check * self.parts();
        match tokio::time::timeout(limit, self.go(inspection)).await {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => {
                inspection.find(Finding::untested(
                    "the rest of this check",
                    fault.to_string(),
                ));
            }
            Err(_) => inspection.find(Finding::untested(
                "the rest of this check",
                format!("it was not done within {} s", limit.as_secs()),
            )),
        }
    }

    /// Parts that have the time of a check each.
    fn parts(self) -> u32 {
        match self {
            Check::Limits => limits::PARTS,
            _ => 1,
        }
    }

    async fn go(self, inspection: &mut Inspection<'_>) -> Result<(), Fault> {
        match self {
            Check::Excluded => excluded::run(inspection).await,
            Check::Login => login::run(inspection).await,
            Check::Channel => channel::run(inspection).await,
            Check::Injection => injection::run(inspection).await,
            Check::Relay => relay::run(inspection).await,
            Check::Smuggling => smuggling::run(inspection).await,
            Check::Banner => banner::run(inspection).await,
            Check::Users => users::run(inspection).await,
            Check::Turns => turns::run(inspection).await,
            Check::Limits => limits::run(inspection).await,
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Check {
    type Err = String;

    fn from_str(text: &str) -> Result<Check, String> {
        let named = |check: &Check| check.name() == text;
        Check::ALL.into_iter().find(named).ok_or_else(|| {
            let names = Check::ALL.map(Check::name);
            format!("there is no such check; there are {}", names.join(", "))
        })
    }
}

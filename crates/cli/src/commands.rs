//! The list of commands, what they share, and how one of them is run.
//!
//! Never: the work of a command; each has its file.

pub(crate) mod account;
pub(crate) mod certificate;
pub(crate) mod check;
pub(crate) mod check_dns;
pub(crate) mod completions;
pub(crate) mod demo;
pub(crate) mod diff;
pub(crate) mod explain;
pub(crate) mod lockouts;
pub(crate) mod man;
pub(crate) mod new;
pub(crate) mod order;
pub(crate) mod queue;
pub(crate) mod status;
pub(crate) mod verify;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::failure::Error;
use crate::render;

/// Where the supervisor's control socket is if `--control` does not say.
pub(crate) const DEFAULT_CONTROL: &str = "/run/postern/control";

/// Below `postern --help`, and in postern(1).
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  refused, or failed
  2  the command line is wrong, or a file cannot be read or written
  3  posternd cannot be reached

From commands that judge, 1 says:
  check      a definition has errors (with --strict: or warnings)
  explain    something is refused
  diff       something changes
  check-dns  something is missing or contradictory
  verify     something that was tested does not hold
  (2, of all these: it could not be found out)

Colours are used on a terminal only, and not where NO_COLOR is set.";

/// Orders and questions for Postern, the SMTP gateway of virtual servers.
#[derive(Parser)]
#[command(name = "postern", version, after_help = EXIT_CODES, max_term_width = 100, infer_subcommands = true)]
pub(crate) struct CommandLine {
    #[command(flatten)]
    places: Places,
    #[command(subcommand)]
    verb: Verb,
}

/// Where things are on this host.
#[derive(Args, Clone)]
pub(crate) struct Places {
    /// The control socket of the supervisor.
    #[arg(long, global = true, value_name = "PATH", default_value = DEFAULT_CONTROL, help_heading = "Places")]
    pub(crate) control: PathBuf,
    /// The folder with postern.toml and servers/.
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        default_value = "/etc/postern",
        help_heading = "Places"
    )]
    pub(crate) config: PathBuf,
}

impl Places {
    /// The folder with one definition a server.
    pub(crate) fn servers(&self) -> PathBuf {
        self.config.join("servers")
    }
}

#[derive(Subcommand)]
enum Verb {
    Status(status::Status),
    /// Starts servers, and waits until they accept connections.
    Start(order::Servers),
    /// Stops servers: sessions are ended, a message being received is finished first.
    ///
    /// A stopped server stays stopped, over a restart of posternd too, until it is started.
    Stop(order::Servers),
    /// Lets servers turn new connections away with 421; sessions and deliveries go on.
    Pause(order::Servers),
    /// Lets paused servers accept connections again.
    Resume(order::Servers),
    /// Replaces the processes of servers; no connection is refused, no session cut.
    ///
    /// The successor accepts connections before its predecessor stops. Sessions in progress finish
    /// under the predecessor, for at most the definition's drain_timeout.
    Restart(order::Servers),
    /// Reads definitions again; a definition with errors changes nothing.
    ///
    /// Sessions in progress finish under the rules they began with.
    Reload(order::Servers),
    Check(check::Check),
    CheckDns(Box<check_dns::CheckDns>),
    Explain(Box<explain::Explain>),
    Diff(diff::Diff),
    Verify(Box<verify::Verify>),
    New(Box<new::New>),
    Account(account::Account),
    Certificate(Box<certificate::Certificate>),
    Lockouts(lockouts::Lockouts),
    Queue(queue::Queue),
    Demo(demo::Demo),
    Completions(completions::Completions),
    #[command(hide = true)]
    Man(man::Man),
}

/// Reads the command line, does what it says, shows what went wrong. The whole program.
pub(crate) fn run() -> ExitCode {
    let command_line = CommandLine::parse();
    let mut out = io::BufWriter::new(io::stdout().lock());
    let done = dispatch(&command_line, &mut out).and_then(|()| Ok(out.flush()?));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.reader_left() => ExitCode::SUCCESS,
        Err(error) => {
            let _ = out.flush();
            if !matches!(error, Error::Said | Error::SaidUnreadable) {
                let _ = writeln!(
                    io::stderr(),
                    "{}",
                    render::error(&error, render::colours(&io::stderr()))
                );
            }
            ExitCode::from(error.code())
        }
    }
}

fn dispatch(command_line: &CommandLine, out: &mut dyn Write) -> Result<(), Error> {
    let places = &command_line.places;
    match &command_line.verb {
        Verb::Status(status) => status.run(places, out),
        Verb::Start(servers) => servers.run(order::Order::Start, places, out),
        Verb::Stop(servers) => servers.run(order::Order::Stop, places, out),
        Verb::Pause(servers) => servers.run(order::Order::Pause, places, out),
        Verb::Resume(servers) => servers.run(order::Order::Resume, places, out),
        Verb::Restart(servers) => servers.run(order::Order::Restart, places, out),
        Verb::Reload(servers) => servers.run(order::Order::Reload, places, out),
        Verb::Check(check) => check.run(places, out),
        Verb::CheckDns(check) => check.run(places, out),
        Verb::Explain(explain) => explain.run(places, out),
        Verb::Diff(diff) => diff.run(places, out),
        Verb::Verify(verify) => verify.run(places, out),
        Verb::New(new) => new.run(places, out),
        Verb::Account(account) => account.run(places, out),
        Verb::Certificate(certificate) => certificate.run(places, out),
        Verb::Lockouts(lockouts) => lockouts.run(places, out),
        Verb::Queue(queue) => queue.run(places, out),
        Verb::Demo(demo) => demo.run(out),
        Verb::Completions(completions) => completions.run(out),
        Verb::Man(man) => man.run(out),
    }
}

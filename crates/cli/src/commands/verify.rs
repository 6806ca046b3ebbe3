//! `postern verify`: proves from outside that a server's rules hold, ours or anybody's.
//!
//! ```text
//! TARGET ─▶ target: addresses, and what to expect of each (a definition, then the options)
//!            └▶ postern_verify::verify, address by address ─▶ show: a line as it is found · JSON · pcap
//! ```
//!
//! Never: posternd or a worker asked; what they say of themselves proves nothing.

mod show;
mod target;

use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use postern_verify::{Account, Channel, Check, Pace, Recording, Secret, pcap};

use super::Places;
use crate::failure::Error;
use show::Shown;
use target::Place;

/// Tests a running server from outside: connections, login, TLS, relay, smuggling, limits.
///
/// TARGET is the name of a server, whose definition says what to expect, or HOST:PORT of any server (port 25 if none is
/// given). Each line passed, failed, or was not tested, and says why.
///
/// It leaves no mail behind: foreign recipients are in a domain that cannot exist, or the one that is named, and no
/// message is ever sent to its end. Without --login it makes up an account, and tries one wrong password twice at most. The limit of connections of
/// one address is tried where it is known and at most 200; for a moment, no further connection from here is taken then.
#[derive(Args)]
#[command(after_help = VERIFY_CODES)]
pub(crate) struct Verify {
    /// A server by name, or HOST:PORT.
    #[arg(value_name = "TARGET")]
    target: String,
    /// Connect from this local address too, which must be refused; may be repeated.
    #[arg(
        long,
        value_name = "ADDRESS",
        visible_alias = "excluded-from",
        help_heading = "What to expect"
    )]
    from: Vec<IpAddr>,
    /// How TLS should be spoken.
    #[arg(long, value_name = "HOW", help_heading = "What to expect")]
    tls: Option<Tls>,
    /// The name that the certificate should bear.
    #[arg(long, value_name = "NAME", help_heading = "What to expect")]
    host: Option<String>,
    /// A domain that the server takes mail for.
    #[arg(long, value_name = "DOMAIN", help_heading = "What to expect")]
    local_domain: Option<String>,
    /// A recipient that is accepted and that nobody reads, for the smuggling probes.
    #[arg(long, value_name = "ADDRESS", help_heading = "What to use")]
    accept_recipient: Option<String>,
    /// The foreign recipient of the relay probes, in a domain that exists; no message follows.
    #[arg(long, value_name = "ADDRESS", value_parser = mailbox, help_heading = "What to use")]
    foreign_recipient: Option<String>,
    /// The sender of the relay probes that come from outside.
    #[arg(long, value_name = "ADDRESS", value_parser = mailbox, help_heading = "What to use")]
    foreign_sender: Option<String>,
    /// Log in with this account; its password is sent inside TLS only.
    #[arg(
        long,
        value_name = "ACCOUNT",
        requires = "password_file",
        help_heading = "What to use"
    )]
    login: Option<String>,
    /// The file whose first line is the account's password.
    #[arg(
        long,
        value_name = "FILE",
        requires = "login",
        help_heading = "What to use"
    )]
    password_file: Option<PathBuf>,
    /// The local address that all other connections come from.
    #[arg(long, value_name = "ADDRESS", help_heading = "What to use")]
    source: Option<IpAddr>,
    /// Only this check; may be repeated.
    #[arg(long, value_name = "CHECK")]
    only: Vec<Check>,
    /// All but this check; may be repeated.
    #[arg(long, value_name = "CHECK", conflicts_with = "only")]
    skip: Vec<Check>,
    /// The longest wait for an answer, in seconds; one that must not come is waited for a third as long, at least 3.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=300))]
    timeout: u64,
    /// Write the recorded sessions to a file for Wireshark.
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
    /// Show what was sent and answered for every line, not only where it failed.
    #[arg(long)]
    dialogue: bool,
    /// Write JSON, for programs.
    #[arg(long, conflicts_with = "dialogue")]
    json: bool,
}

const VERIFY_CODES: &str = "\
Checks: excluded, banner, login, channel, injection, relay, smuggling, users, turns, limits

Exit codes:
  0  everything that was tested holds
  1  something does not hold
  2  nothing could be tested: unreachable, or the command line is wrong; or every plain relay probe was refused for
     another reason than relaying, so that whether the server relays is not known";

/// An address as it may stand in a relay probe: no sign in it that is a trick of its own.
fn mailbox(text: &str) -> Result<String, String> {
    let (name, domain) = text.split_once('@').ok_or("an address has an @")?;
    let plain = |part: &str| {
        let dot = part.starts_with('.') || part.ends_with('.');
        let sign = |c: char| c.is_ascii_alphanumeric() || "._+-=".contains(c);
        !part.is_empty() && !dot && part.chars().all(sign)
    };
    match plain(name) && plain(domain) {
        true => Ok(text.to_owned()),
        false => Err("write a plain address, name@example.org".to_owned()),
    }
}

/// How TLS should be spoken.
#[derive(Clone, Copy, ValueEnum)]
enum Tls {
    /// Not at all.
    None,
    /// STARTTLS is offered.
    Offered,
    /// Nothing works before STARTTLS.
    Required,
    /// From the first byte.
    Implicit,
}

impl Tls {
    fn channel(self) -> Channel {
        match self {
            Tls::None => Channel::None,
            Tls::Offered => Channel::Offered,
            Tls::Required => Channel::Required,
            Tls::Implicit => Channel::Implicit,
        }
    }
}

impl Verify {
    pub(crate) fn run(&self, places: &Places, out: &mut dyn Write) -> Result<(), Error> {
        let login = self.credentials()?;
        let checks = self.checks();
        let mut found = target::places(&self.target, self.tls.map(Tls::channel), places)?;
        for place in &mut found {
            self.complete(place, login.as_ref());
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|cause| Error::Failed(format!("cannot make a runtime: {cause}")))?;
        let (mut shown, mut recordings) = (Shown::new(&self.target), Vec::new());
        let mut pace = self.pace();
        for place in &found {
            let mut lines = show::Lines::begin(place, &shown, self.dialogue, self.json, out)?;
            let target = postern_verify::Target {
                address: place.address,
                source: self.source,
            };
            let mut tell = |finding: &postern_verify::Finding| lines.one(finding);
            let run = postern_verify::verify(target, &place.expected, &checks, pace, &mut tell);
            let done = runtime.block_on(run);
            lines.end(done.as_ref().err())?;
            match done {
                Ok(mut report) => {
                    pace.wrong_passwords =
                        pace.wrong_passwords.saturating_sub(report.wrong_passwords);
                    recordings.append(&mut report.recordings);
                    shown.reports.push(report);
                }
                Err(fault) => shown.unreachable(place.address, &fault),
            }
        }
        self.capture(&recordings)?;
        shown.finish(self.json, self.pcap.as_deref(), out)
    }

    /// What the options say, where they say something.
    fn complete(&self, place: &mut Place, login: Option<&Account>) {
        let expected = &mut place.expected;
        expected.excluded.clone_from(&self.from);
        expected.login = login.cloned();
        expected.null_recipient.clone_from(&self.accept_recipient);
        expected
            .foreign_recipient
            .clone_from(&self.foreign_recipient);
        expected.foreign_sender.clone_from(&self.foreign_sender);
        if self.host.is_some() {
            expected.host.clone_from(&self.host);
        }
        if self.local_domain.is_some() {
            expected.local_domain.clone_from(&self.local_domain);
        }
    }

    fn checks(&self) -> Vec<Check> {
        Check::ALL
            .into_iter()
            .filter(|check| self.only.is_empty() || self.only.contains(check))
            .filter(|check| !self.skip.contains(check))
            .collect()
    }

    fn pace(&self) -> Pace {
        let wait = Duration::from_secs(self.timeout);
        let usual = Pace::default();
        Pace {
            wait,
            pause: usual.pause.max(wait / 3),
            check: usual.check.max(wait * 6),
            whole: usual.whole.max(wait * 30),
            ..usual
        }
    }

    fn credentials(&self) -> Result<Option<Account>, Error> {
        let (Some(name), Some(path)) = (&self.login, &self.password_file) else {
            return Ok(None);
        };
        let text = fs::read_to_string(path).map_err(|source| Error::Read {
            path: path.clone(),
            source,
        })?;
        match text.lines().next() {
            Some(password) if !password.is_empty() => Ok(Some(Account {
                name: name.clone(),
                password: Secret::from(password),
            })),
            _ => Err(Error::Usage {
                what: format!("the first line of {} is empty", path.display()),
                remedy: format!("write the password of {name} there"),
            }),
        }
    }

    fn capture(&self, recordings: &[Recording]) -> Result<(), Error> {
        let Some(path) = &self.pcap else {
            return Ok(());
        };
        let write = || {
            let mut file = std::io::BufWriter::new(fs::File::create(path)?);
            pcap::write(&mut file, recordings)?;
            file.flush()
        };
        write().map_err(|source| Error::Write {
            path: path.clone(),
            source,
        })
    }
}

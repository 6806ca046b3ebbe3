//! What `postern verify` prints: a line as soon as it is found, the words behind it where it failed, a sum at the end.
//!
//! Never: what decides the exit code but the lines themselves.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;

use postern_verify::{Channel, Fault, Finding, Outcome, Report, Side};
use serde::Serialize;

use super::target::Place;
use crate::failure::Error;
use crate::render::{self, Tone, printable};

const RELAY_UNKNOWN: &str = "whether this server is an open relay is not known: no plain relay probe was refused for relaying; name a foreign address in a domain that exists (--foreign-recipient, --foreign-sender)";

/// Everything that was found; what `--json` writes.
#[derive(Serialize)]
pub(super) struct Shown {
    target: String,
    passed: usize,
    failed: usize,
    not_tested: usize,
    pub(super) reports: Vec<Report>,
    unreachable: Vec<Unreachable>,
}

#[derive(Serialize)]
struct Unreachable {
    address: SocketAddr,
    why: String,
}

impl Shown {
    pub(super) fn new(target: &str) -> Shown {
        Shown {
            target: target.to_owned(),
            passed: 0,
            failed: 0,
            not_tested: 0,
            reports: Vec::new(),
            unreachable: Vec::new(),
        }
    }

    pub(super) fn unreachable(&mut self, address: SocketAddr, fault: &Fault) {
        let why = fault.to_string();
        self.unreachable.push(Unreachable { address, why });
    }

    /// Whether each plain relay probe of an address was refused for another reason than relaying.
    fn relay_unknown(&self) -> bool {
        let unproved = |report: &Report| report.relay_proved == Some(false);
        self.reports.iter().any(unproved)
    }

    /// The sum, and how it ends: something failed, nothing was tested, or all is well.
    pub(super) fn finish(
        mut self,
        json: bool,
        pcap: Option<&Path>,
        out: &mut dyn Write,
    ) -> Result<(), Error> {
        let count = |outcome| {
            self.reports
                .iter()
                .map(|report| report.count(outcome))
                .sum()
        };
        self.passed = count(Outcome::Passed);
        self.failed = count(Outcome::Failed);
        self.not_tested = count(Outcome::NotTested);
        if json {
            render::json(out, &self)?;
        } else {
            self.sum(pcap, out)?;
        }
        if self.failed > 0 {
            Err(Error::Said)
        } else if !self.unreachable.is_empty() || self.passed == 0 || self.relay_unknown() {
            Err(Error::SaidUnreadable)
        } else {
            Ok(())
        }
    }

    fn sum(&self, pcap: Option<&Path>, out: &mut dyn Write) -> io::Result<()> {
        let colours = render::colours(&io::stdout());
        let tone = |count, tone| if count > 0 { tone } else { Tone::Plain };
        let failed = render::toned(
            &format!("{} failed", self.failed),
            tone(self.failed, Tone::Bad),
            colours,
        );
        let connections: usize = self.reports.iter().map(|report| report.connections).sum();
        writeln!(
            out,
            "{} passed, {failed}, {} not tested; {connections} connections",
            self.passed, self.not_tested
        )?;
        if self.relay_unknown() {
            writeln!(out, "{}", render::toned(RELAY_UNKNOWN, Tone::Bad, colours))?;
        }
        match pcap {
            Some(path) => writeln!(out, "their bytes are in {}", path.display()),
            None => Ok(()),
        }
    }
}

/// The lines of one address, written as they come.
pub(super) struct Lines<'o> {
    out: &'o mut dyn Write,
    colours: bool,
    dialogue: bool,
    json: bool,
    broken: io::Result<()>,
}

impl<'o> Lines<'o> {
    /// With the heading of this address.
    pub(super) fn begin(
        place: &Place,
        shown: &Shown,
        dialogue: bool,
        json: bool,
        out: &'o mut dyn Write,
    ) -> Result<Lines<'o>, Error> {
        let colours = render::colours(&io::stdout());
        if !json {
            let channel = match place.expected.channel {
                Channel::None => "no TLS",
                Channel::Offered => "STARTTLS is to be offered",
                Channel::Required => "STARTTLS is to be required",
                Channel::Implicit => "TLS from the first byte",
            };
            let address = place.address.to_string();
            let target = match &shown.target {
                target if *target == address => address,
                target => format!("{} at {address}", printable(target)),
            };
            let heading = format!("{target} ({channel})");
            writeln!(out, "{}", render::toned(&heading, Tone::Strong, colours))?;
            out.flush()?;
        }
        Ok(Lines {
            out,
            colours,
            dialogue,
            json,
            broken: Ok(()),
        })
    }

    /// One more.
    pub(super) fn one(&mut self, finding: &Finding) {
        if !self.json && self.broken.is_ok() {
            self.broken = self.write(finding);
        }
    }

    fn write(&mut self, finding: &Finding) -> io::Result<()> {
        let (tone, failed) = match finding.outcome {
            Outcome::Passed => (Tone::Good, false),
            Outcome::Failed => (Tone::Bad, true),
            Outcome::NotTested => (Tone::Faint, false),
        };
        // Padded before it is coloured: the codes have no width.
        let outcome = format!("{:<10}", finding.outcome.as_str());
        writeln!(
            self.out,
            "{}  {:<9}  {}: {}",
            render::toned(&outcome, tone, self.colours),
            finding.check,
            printable(&finding.title),
            printable(&finding.why),
        )?;
        if failed || self.dialogue {
            for said in &finding.said {
                let arrow = match said.from {
                    Side::Client => ">",
                    Side::Server => "<",
                };
                let line = format!("{arrow} {}", printable(&said.text));
                writeln!(
                    self.out,
                    "            {}",
                    render::toned(&line, Tone::Faint, self.colours)
                )?;
            }
        }
        if failed && !finding.remedy.is_empty() {
            let help = render::toned("help:", Tone::Strong, self.colours);
            writeln!(
                self.out,
                "            {help} {}",
                printable(&finding.remedy)
            )?;
        }
        self.out.flush()
    }

    /// The last word about this address.
    pub(super) fn end(mut self, fault: Option<&Fault>) -> Result<(), Error> {
        std::mem::replace(&mut self.broken, Ok(()))?;
        if self.json {
            return Ok(());
        }
        if let Some(fault) = fault {
            let outcome = render::toned("not tested", Tone::Bad, self.colours);
            writeln!(self.out, "{outcome}  {}", printable(&fault.to_string()))?;
        }
        writeln!(self.out)?;
        Ok(self.out.flush()?)
    }
}

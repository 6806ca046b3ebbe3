//! `postern explain`: what a client would hear, and which rule says so.
//!
//! ```text
//! NAME          its worker answers, under the policy in force
//! --file FILE   the same code here, on a definition that no server has loaded
//! ```
//!
//! Never: a message sent, a connection made to a server's address.

mod file;

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::Args;
use postern_control::query::{Answer, Case, Explanation, Question, Stage, StageKind};
use postern_hosting::ServerName;

use super::Places;
use crate::connect::Desk;
use crate::failure::Error;
use crate::render::{self, Tone};

/// Explains what a client would hear, rule by rule; nothing is sent.
///
/// Each decision of a session is shown in order, with the rules that were looked at, the place of each
/// in the file, a mark (=>) at those that decided, and the reply as the client would see it.
///
/// Exit code 0: all is accepted; 1: something is refused; 2 and up: it could not be explained.
#[derive(Args)]
pub(crate) struct Explain {
    /// The server, which must run; not needed with --file.
    #[arg(value_name = "NAME", required_unless_present = "file")]
    name: Option<ServerName>,
    /// The client's address.
    #[arg(long, value_name = "ADDRESS")]
    from: IpAddr,
    /// A name of the client, taken as confirmed instead of looked up; may be given again.
    #[arg(long = "name", value_name = "RDNS")]
    names: Vec<String>,
    /// The account the client logs in to, with the right password.
    #[arg(long, value_name = "ACCOUNT")]
    login: Option<String>,
    /// The client uses STARTTLS.
    #[arg(long)]
    tls: bool,
    /// The name the client says in EHLO.
    #[arg(long, value_name = "NAME")]
    ehlo: Option<String>,
    /// The address of the server that the client comes to; without it, the first.
    #[arg(long, value_name = "ADDRESS:PORT")]
    on: Option<SocketAddr>,
    /// The sender; '' is the null sender, and what stands in <> is said as it is.
    #[arg(long, value_name = "ADDRESS")]
    sender: Option<String>,
    /// A recipient; may be given again.
    #[arg(long = "to", value_name = "ADDRESS")]
    recipients: Vec<String>,
    /// Explain this definition, which need not be loaded; posternd is not asked.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// With --file: look no names up.
    #[arg(long, requires = "file")]
    no_dns: bool,
    /// Write JSON, for programs.
    #[arg(long)]
    json: bool,
}

impl Explain {
    pub(crate) fn run(&self, places: &Places, out: &mut dyn Write) -> Result<(), Error> {
        let explanation = match &self.file {
            Some(path) => file::explain(path, &self.case(), self.no_dns)?,
            None => self.ask(places)?,
        };
        if self.json {
            render::json(out, &explanation)?;
        } else {
            show(&explanation, render::colours(&io::stdout()), out)?;
        }
        match explanation.accepted {
            true => Ok(()),
            false => Err(Error::Said),
        }
    }

    fn case(&self) -> Case {
        Case {
            client: self.from,
            names: (!self.names.is_empty()).then(|| self.names.clone()),
            local: self.on,
            tls: self.tls,
            login: self.login.clone(),
            ehlo: self.ehlo.clone(),
            sender: self.sender.clone(),
            recipients: self.recipients.clone(),
        }
    }

    fn ask(&self, places: &Places) -> Result<Explanation, Error> {
        let Some(name) = &self.name else {
            return Err(cannot("no server is named", places, "NAME"));
        };
        let refused = |error| match error {
            Error::Refused {
                subject, reason, ..
            } => cannot(&format!("{subject}: {reason}"), places, name.as_str()),
            other => other,
        };
        let worker = Desk::connect(&places.control)?;
        let worker = worker.introduce(name).map_err(refused)?;
        match worker
            .ask(&Question::Explain(Box::new(self.case())))
            .map_err(refused)?
        {
            Answer::Explained(explanation) => Ok(*explanation),
            other => Err(worker.nonsense(&other)),
        }
    }
}

/// Exit code 1 says that mail is refused; what keeps an explanation from being given must not look like it.
fn cannot(what: &str, places: &Places, name: &str) -> Error {
    let file = places.servers().join(format!("{name}.toml"));
    Error::Usage {
        what: what.to_owned(),
        remedy: format!(
            "a definition is explained without its server by --file {}",
            file.display()
        ),
    }
}

fn show(explanation: &Explanation, colours: bool, out: &mut dyn Write) -> Result<(), Error> {
    let stages = explanation.stages.iter();
    stages
        .clone()
        .try_for_each(|stage| block(stage, colours, out))?;
    for note in &explanation.notes {
        let mark = render::toned("note:", Tone::Faint, colours);
        writeln!(out, "{mark} {}", render::printable(note))?;
    }
    let refused = stages.filter(|stage| !stage.accepted);
    let refused: Vec<&Stage> = refused.collect();
    match refused.as_slice() {
        [] => writeln!(out, "{}", render::toned("accepted", Tone::Good, colours))?,
        all => {
            let names: Vec<String> = all.iter().map(|stage| title(stage)).collect();
            let word = render::toned("refused", Tone::Bad, colours);
            writeln!(out, "{word}: {}", names.join(", "))?;
        }
    }
    Ok(())
}

fn title(stage: &Stage) -> String {
    let word = match stage.kind {
        StageKind::Connection => "connection from",
        other => other.as_str(),
    };
    format!("{word} {}", render::printable(&stage.subject))
}

/// One decision: what was asked, the rules with their places, the reply.
fn block(stage: &Stage, colours: bool, out: &mut dyn Write) -> Result<(), Error> {
    let (verdict, tone) = match stage.accepted {
        true => ("accepted", Tone::Good),
        false => ("refused", Tone::Bad),
    };
    let title = render::toned(&title(stage), Tone::Strong, colours);
    writeln!(out, "{title}: {}", render::toned(verdict, tone, colours))?;
    let rules = stage.steps.iter().map(|step| render::printable(&step.rule));
    let width = rules.clone().map(|rule| rule.chars().count()).max();
    let width = width.unwrap_or(0).min(WIDEST);
    for (step, rule) in stage.steps.iter().zip(rules) {
        let mark = if step.matched { "=>" } else { "  " };
        let pad = " ".repeat(width.saturating_sub(rule.chars().count()));
        let tone = if step.matched {
            Tone::Strong
        } else {
            Tone::Plain
        };
        let place = step
            .place
            .as_deref()
            .map_or_else(String::new, render::printable);
        let place = render::toned(&place, Tone::Faint, colours);
        let line = format!(
            "  {mark} {}{pad}  {place}",
            render::toned(&rule, tone, colours)
        );
        writeln!(out, "{}", line.trim_end())?;
    }
    for line in stage.reply.lines() {
        writeln!(
            out,
            "     {}",
            render::toned(&render::printable(line), tone, colours)
        )?;
    }
    Ok(writeln!(out)?)
}

/// Places stand behind the rules up to this width; a longer rule pushes only its own.
const WIDEST: usize = 72;

//! `postern new NAME`: a first definition, commented, from answers on the terminal or from options.
//!
//! Never: overwrites without --force; writes a definition that its own reader refuses.

use std::fs::{OpenOptions, Permissions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use clap::Args;
use postern_config::{Answers, NewDomain};
use postern_hosting::{Hosting, Identity, ServerName, Severity, TlsMode};

use super::Places;
use crate::ask;
use crate::failure::Error;
use crate::render::{self, Sources};

/// Writes a commented definition for a new server.
///
/// On a terminal what is not given is asked for. Nothing is started: postern check NAME looks at the
/// result, postern start NAME starts it.
#[derive(Args)]
pub(crate) struct New {
    /// The server's name: lower-case letters, digits and hyphens.
    name: ServerName,
    /// Its name in greetings and Received: lines, fully qualified.
    #[arg(long, value_name = "HOST")]
    fqdn: Option<String>,
    /// An address to listen on, ADDRESS:PORT, with ,implicit or ,none behind it where TLS is not by STARTTLS.
    #[arg(long, value_name = "ADDRESS:PORT[,TLS]", value_parser = identity)]
    listen: Vec<Identity>,
    /// The certificate chain, PEM, the server's own first.
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// The certificate's private key, PEM.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
    /// A local domain; --to says where its mail goes.
    #[arg(long, value_name = "DOMAIN")]
    domain: Vec<String>,
    /// Where the mail of the domains goes: maildir:/var/mail/{domain}/{local}, lmtp:unix:/run/dovecot/lmtp, smtp:HOST:25.
    #[arg(long, value_name = "TARGET", requires = "domain")]
    to: Option<String>,
    /// A recipient of the domains, by local part; without any, everyone is taken.
    #[arg(long, value_name = "LOCAL", requires = "domain")]
    recipient: Vec<String>,
    /// Senders need not log in: a gateway that takes mail from everywhere for its own domains.
    #[arg(long)]
    anonymous: bool,
    /// The account file of those who may log in.
    #[arg(long, value_name = "FILE")]
    accounts: Option<PathBuf>,
    /// A computer or network that may relay without logging in.
    #[arg(long, value_name = "NETWORK")]
    relay: Vec<String>,
    /// Where mail for other domains goes, HOST:PORT; without one, to their MX hosts.
    #[arg(long, value_name = "HOST")]
    smart_host: Vec<String>,
    /// Shown in lists.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Overwrite the definition that is there.
    #[arg(long)]
    force: bool,
}

/// Where mail of a local domain goes if nobody says.
const MAILDIR: &str = "maildir:/var/mail/{domain}/{local}";

impl New {
    pub(crate) fn run(&self, places: &Places, out: &mut dyn Write) -> Result<(), Error> {
        let path = places.servers().join(format!("{}.toml", self.name));
        if path.exists() && !self.force {
            let reason = "it is there already; --force overwrites it".to_owned();
            return Err(Error::Refused {
                subject: path.display().to_string(),
                reason,
                findings: Vec::new(),
            });
        }
        let answers = if io::stdin().is_terminal() {
            self.ask(places)?
        } else {
            self.given()?
        };
        let text = postern_config::new_definition(&answers);
        refuse_broken(&text, &path)?;
        write(&path, &text, self.force)?;
        writeln!(out, "wrote {}", path.display())?;
        self.next_steps(&answers, &path, out)
    }

    /// What the options say, all that has no default being required.
    fn given(&self) -> Result<Answers, Error> {
        let missing = |option: &str| Error::Usage {
            what: format!("{option} is missing, and there is no terminal to ask on"),
            remedy: "postern new --help lists the options".to_owned(),
        };
        let fqdn = self.fqdn.clone().ok_or_else(|| missing("--fqdn"))?;
        if self.listen.is_empty() {
            return Err(missing("--listen"));
        }
        Ok(self.answers(fqdn, self.listen.clone()))
    }

    fn answers(&self, fqdn: String, listen: Vec<Identity>) -> Answers {
        let to = self.to.clone().unwrap_or_else(|| MAILDIR.to_owned());
        let recipients = (!self.recipient.is_empty()).then(|| self.recipient.clone());
        let domain = |name: &String| NewDomain {
            name: name.clone(),
            to: to.clone(),
            recipients: recipients.clone(),
        };
        Answers {
            description: self.description.clone(),
            fqdn,
            listen,
            anonymous: self.anonymous,
            certificate: self.certificate.clone().zip(self.key.clone()),
            accounts: self.accounts.clone(),
            relay_list: self.relay.clone(),
            domains: self.domain.iter().map(domain).collect(),
            smart_host: self.smart_host.clone(),
        }
    }

    /// Asks for what was not given. An empty answer takes what stands in brackets.
    fn ask(&self, places: &Places) -> Result<Answers, Error> {
        let fqdn = match &self.fqdn {
            Some(fqdn) => fqdn.clone(),
            None => ask::until("Fully qualified name of the server", "", fully_qualified)?,
        };
        let listen = if self.listen.is_empty() {
            ask::until(
                "Listen on (ADDRESS:PORT, several with spaces between)",
                "0.0.0.0:587",
                identities,
            )?
        } else {
            self.listen.clone()
        };
        let mut answers = self.answers(fqdn, listen);
        if !self.anonymous {
            answers.anonymous = ask::yes(
                "Take mail from everywhere for local domains, without a login (a gateway)?",
            )?;
        }
        if answers.certificate.is_none() {
            answers.certificate = ask_certificate()?;
        }
        if answers.accounts.is_none() && !answers.anonymous {
            let usual = places.config.join(format!("accounts/{}.toml", self.name));
            answers.accounts =
                some(ask::line("Account file", &usual.to_string_lossy())?).map(PathBuf::from);
        }
        if answers.domains.is_empty() {
            answers.domains = self.ask_domains()?;
        }
        if answers.smart_host.is_empty() {
            answers.smart_host = words(&ask::line(
                "Smart host for all other mail, HOST:PORT (empty: deliver to the MX)",
                "",
            )?);
        }
        Ok(answers)
    }

    fn ask_domains(&self) -> Result<Vec<NewDomain>, Error> {
        let names = words(&ask::line(
            "Local domains (several with spaces between, or empty)",
            "",
        )?);
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let to = match &self.to {
            Some(to) => to.clone(),
            None => ask::line("Where their mail goes (maildir:, lmtp: or smtp:)", MAILDIR)?,
        };
        Ok(names
            .into_iter()
            .map(|name| NewDomain {
                name,
                to: to.clone(),
                recipients: None,
            })
            .collect())
    }

    fn next_steps(
        &self,
        answers: &Answers,
        definition: &Path,
        out: &mut dyn Write,
    ) -> Result<(), Error> {
        let name = &self.name;
        if answers.accounts.is_some() {
            writeln!(
                out,
                "  postern account add {name} USER@DOMAIN   adds an account"
            )?;
        }
        let certificate = answers.certificate.as_ref();
        let located = certificate.map(|(path, _)| Hosting::locate(definition, path));
        if located.is_some_and(|path| !path.exists()) {
            writeln!(
                out,
                "  postern certificate new {name}   makes a first certificate, self-signed"
            )?;
        }
        writeln!(out, "  postern check {name}   looks whether all is there")?;
        writeln!(out, "  postern start {name}   starts it")?;
        Ok(())
    }
}

fn ask_certificate() -> Result<Option<(PathBuf, PathBuf)>, Error> {
    let Some(certificate) = some(ask::line(
        "Certificate chain, a PEM file (empty: none, so no TLS)",
        "",
    )?) else {
        return Ok(None);
    };
    let beside = Path::new(&certificate).with_file_name("privkey.pem");
    let key = ask::line("Its private key, a PEM file", &beside.to_string_lossy())?;
    Ok(Some((certificate.into(), key.into())))
}

fn some(answer: String) -> Option<String> {
    (!answer.is_empty()).then_some(answer)
}

fn words(answer: &str) -> Vec<String> {
    answer
        .split([' ', ','])
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

fn fully_qualified(answer: &str) -> Result<String, String> {
    if answer.trim_matches('.').contains('.') {
        Ok(answer.to_owned())
    } else {
        Err("with its domain, such as mail.example.com".to_owned())
    }
}

fn identities(answer: &str) -> Result<Vec<Identity>, String> {
    answer.split_whitespace().map(identity).collect()
}

/// `ADDRESS:PORT`, or `ADDRESS:PORT,MODE`.
fn identity(text: &str) -> Result<Identity, String> {
    let (address, mode) = text
        .split_once(',')
        .unwrap_or((text, TlsMode::Starttls.as_str()));
    let address = address.parse().map_err(|_| {
        "write an IP address and a port, such as 192.0.2.10:25 or [2001:db8::10]:25".to_owned()
    })?;
    let tls = mode
        .parse()
        .map_err(|()| "behind the comma stands starttls, implicit or none".to_owned())?;
    Ok(Identity { address, tls })
}

/// What was answered may not make a definition; then nothing is written, and the reader's findings say why.
fn refuse_broken(text: &str, path: &Path) -> Result<(), Error> {
    let (_, findings) = postern_config::load(text, path);
    let errors: Vec<_> = findings
        .into_iter()
        .filter(|one| one.severity == Severity::Error)
        .collect();
    if errors.is_empty() {
        return Ok(());
    }
    let colours = render::colours(&io::stderr());
    let mut sources = Sources::with(path, text);
    let shown: Vec<String> = errors
        .iter()
        .map(|one| render::finding(one, &mut sources, colours))
        .collect();
    writeln!(io::stderr(), "{}\n", shown.join("\n\n"))?;
    Err(Error::Usage {
        what: "these answers make no definition; nothing was written".to_owned(),
        remedy: "correct them as said above".to_owned(),
    })
}

/// Writes the file whole or not at all: 0640, for root and the group that may read definitions.
fn write(path: &Path, text: &str, force: bool) -> Result<(), Error> {
    let tell = |source| Error::Write {
        path: path.to_owned(),
        source,
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(tell)?;
    if !force {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o640)
            .open(path)
            .map_err(tell)?;
        return file
            .write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(tell);
    }
    let draft = path.with_extension("toml.new");
    std::fs::write(&draft, text).map_err(tell)?;
    std::fs::set_permissions(&draft, Permissions::from_mode(0o640)).map_err(tell)?;
    std::fs::rename(&draft, path).map_err(tell)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn identities_are_read_in_all_three_modes() {
        for (text, shown) in [
            ("192.0.2.10:25", "192.0.2.10:25"),
            ("[::1]:465,implicit", "[::1]:465 (implicit)"),
            ("127.0.0.1:25,none", "127.0.0.1:25 (none)"),
        ] {
            assert_eq!(identity(text).unwrap().to_string(), shown);
        }
        assert!(identity("mail.example.com:25").is_err());
        assert!(identity("127.0.0.1:25,ssl").is_err());
    }
}

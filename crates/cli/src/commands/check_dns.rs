//! `postern check-dns`: what DNS says of a server and of its domains, and what to publish.
//!
//! ```text
//! definition ─▶ facts (name, addresses, domains, certificates) ─▶ postern_verify::dns::check ─▶ show: table, lines · JSON
//! ```
//!
//! Never: posternd or a worker asked, and nothing is changed; the definition need not be in use.

mod facts;
mod show;

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use postern_config::Definition;
use postern_dns::Direct;
use postern_verify::dns::{self, Grade, Reach, Report, View};

use super::Places;
use crate::failure::{Error, plain};

/// Asks DNS about a server's name and its domains, and says what to publish.
///
/// The server's name must lead to its addresses, and they back to it. Of each local domain MX, SPF, DMARC, MTA-STS and
/// (with --selector) DKIM are looked at; of the server TLSA, beside its certificates; of relay domains the MX. The name
/// is asked of this host's resolvers and of those in external_dns; the rest of external_dns, where that is set.
#[derive(Args)]
#[command(after_help = CODES)]
pub(crate) struct CheckDns {
    /// A server by name, or a file (with a slash or .toml in it).
    #[arg(
        value_name = "NAME|FILE",
        required_unless_present = "file",
        conflicts_with = "file"
    )]
    which: Option<PathBuf>,
    /// A definition that is not installed.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// A further domain to look at as if it were local; may be repeated.
    #[arg(long, value_name = "DOMAIN", help_heading = "What to look at")]
    domain: Vec<String>,
    /// The selector of a DKIM key; may be repeated.
    #[arg(long, value_name = "SELECTOR", help_heading = "What to look at")]
    selector: Vec<String>,
    /// The server's address as others see it, where that is not the one it listens on; may be repeated.
    #[arg(long, value_name = "ADDRESS", help_heading = "What to look at")]
    address: Vec<IpAddr>,
    /// Ask this resolver instead of all others; may be repeated, the next where one does not answer.
    #[arg(long, value_name = "ADDRESS[:PORT]", value_parser = resolver, help_heading = "Whom to ask")]
    resolver: Vec<SocketAddr>,
    /// Do not fetch the policies of MTA-STS.
    #[arg(long, help_heading = "Whom to ask")]
    no_https: bool,
    /// Trust these root certificates when policies are fetched, instead of the system's.
    #[arg(long, value_name = "FILE", help_heading = "Whom to ask")]
    ca: Option<PathBuf>,
    /// Fetch policies from this port; for tests.
    #[arg(long, value_name = "PORT", default_value_t = 443, hide = true)]
    https_port: u16,
    /// The longest wait for one answer, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60), help_heading = "Whom to ask")]
    timeout: u64,
    /// The end of all questions, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600), help_heading = "Whom to ask")]
    deadline: u64,
    /// Show every question, whom it was put to, and the answer.
    #[arg(long)]
    questions: bool,
    /// Write JSON, for programs.
    #[arg(long, conflicts_with = "questions")]
    json: bool,
}

const CODES: &str = "\
Exit codes:
  0  all was found; notes do not count
  1  something is missing or contradictory
  2  something could not be asked and nothing else is wrong, or a file cannot be read";

impl CheckDns {
    pub(crate) fn run(&self, places: &Places, out: &mut dyn Write) -> Result<(), Error> {
        let path = self.path(places);
        let definition = facts::load(&path, out)?;
        let facts = facts::gather(self, &definition, &path)?;
        let views = self.views(&definition)?;
        let reach = self.reach()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|cause| Error::Failed(format!("cannot make a runtime: {cause}")))?;
        let report = runtime.block_on(dns::check(&facts, &views, &reach));
        if self.json {
            show::json(&path, &facts, &views, &report, out)?;
        } else {
            show::table(&facts, &views, &report, self.questions, out)?;
        }
        verdict(&report)
    }

    fn path(&self, places: &Places) -> PathBuf {
        match (&self.file, &self.which) {
            (Some(file), _) => file.clone(),
            (None, which) => super::check::meant(which.as_deref().unwrap_or("".as_ref()), places),
        }
    }

    /// Whom to ask. The first is asked of everything: how the outside sees it, where that is known.
    fn views(&self, definition: &Definition) -> Result<Vec<View<Direct>>, Error> {
        let patience = Duration::from_secs(self.timeout);
        let view = |label: &str, servers: &[SocketAddr]| View {
            label: label.to_owned(),
            asker: Direct::new(servers, patience),
        };
        if !self.resolver.is_empty() {
            return Ok(vec![view("--resolver", &self.resolver)]);
        }
        let external = &definition.delivery.external_dns;
        let mut views = Vec::new();
        if !external.is_empty() {
            views.push(view("external_dns", external));
        }
        match Direct::system_servers() {
            Ok(servers) => views.push(view("system", &servers)),
            // What cannot be read is no reason to leave the others unasked.
            Err(_) if !views.is_empty() => {}
            Err(cause) => {
                return Err(Error::Usage {
                    what: format!("/etc/resolv.conf names no resolver that can be asked: {cause}"),
                    remedy: "name one with --resolver ADDRESS".to_owned(),
                });
            }
        }
        Ok(views)
    }

    fn reach(&self) -> Result<Reach, Error> {
        let roots = match &self.ca {
            None => None,
            Some(path) => Some((path.clone(), facts::read(path)?)),
        };
        Ok(Reach {
            https: (!self.no_https).then(|| dns::https(roots, self.https_port)),
            deadline: Duration::from_secs(self.deadline),
        })
    }
}

fn verdict(report: &Report) -> Result<(), Error> {
    if report.count(Grade::Missing) + report.count(Grade::Contradictory) > 0 {
        return Err(Error::Said);
    }
    match report.count(Grade::NotAsked) {
        0 => Ok(()),
        _ => Err(Error::SaidUnreadable),
    }
}

/// `192.0.2.53`, `192.0.2.53:5353`, `2001:db8::53`, `[2001:db8::53]:5353`.
fn resolver(text: &str) -> Result<SocketAddr, String> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(SocketAddr::new(address, 53));
    }
    text.parse().map_err(|_| {
        "a resolver is an address, with or without a port: 192.0.2.53, [2001:db8::53]:53".to_owned()
    })
}

/// Why a file cannot be read, for a remark.
fn why(path: &std::path::Path, cause: &std::io::Error) -> String {
    format!("{} cannot be read: {}", path.display(), plain(cause))
}

#[cfg(test)]
mod tests {
    use super::resolver;

    #[test]
    fn resolvers_are_addresses_with_or_without_a_port() {
        for (text, expected) in [
            ("192.0.2.53", "192.0.2.53:53"),
            ("192.0.2.53:5353", "192.0.2.53:5353"),
            ("2001:db8::53", "[2001:db8::53]:53"),
            ("[2001:db8::53]", "[2001:db8::53]:53"),
            ("[2001:db8::53]:5353", "[2001:db8::53]:5353"),
        ] {
            assert_eq!(
                resolver(text).map(|address| address.to_string()),
                Ok(expected.to_owned())
            );
        }
        assert!(resolver("dns.example").is_err() && resolver("192.0.2.53:x").is_err());
    }
}

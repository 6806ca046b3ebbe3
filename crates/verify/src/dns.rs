//! What DNS says of a server and of its domains, and what to publish.
//!
//! | the server's name | each local domain | each relay domain |
//! |---|---|---|
//! | addresses, the way back, SPF of the name, TLSA | MX, SPF, DMARC, DKIM, MTA-STS, TLS-RPT | MX |
//!
//! ```text
//! Facts ──▶ check ── Desk: each question once, one deadline ──▶ Ask (a resolver)
//!             └──▶ Report: rows of grade, question, answer, remark, lines to publish
//! ```
//!
//! Never: a change of anything; a question without a bound, whatever a zone answers.

mod desk;
mod dkim;
mod dmarc;
mod fqdn;
mod mta_sts;
mod mx;
mod row;
mod spf;
mod tags;
mod tlsa;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use postern_dns::Ask;
use postern_tls::dane::Chain;
use postern_tls::{ClientTls, PemFile};
use tokio::time::Instant;

pub use self::fqdn::is_public;
pub use self::row::{Asked, Grade, Group, Report, Row};
pub use postern_tls::https::Https;

use self::desk::Desk;

/// How policies are fetched: trusting the roots of this system, or those of a PEM file (path, text), at a port that is
/// 443 but for tests.
pub fn https(roots: Option<(PathBuf, Vec<u8>)>, port: u16) -> Https {
    let tls = match roots {
        None => ClientTls::verified(),
        Some((path, text)) => ClientTls::verified_by(PemFile { path, text }),
    };
    Https::new(tls, port)
}

/// What is to be expected: the server as its definition has it.
#[derive(Debug, Default)]
pub struct Facts {
    /// The name it greets with, in lower case, A-labels, without final dot.
    pub fqdn: String,
    /// The addresses that the name should have; none where they are not known.
    pub addresses: Vec<IpAddr>,
    /// Domains whose mail ends here, written as `fqdn` is.
    pub local: Vec<String>,
    /// Domains whose mail is taken and sent on.
    pub relayed: Vec<String>,
    /// Selectors of DKIM keys, the same for each local domain.
    pub selectors: Vec<String>,
    /// What the server shows in TLS.
    pub certificates: Certificates,
}

impl Facts {
    /// The addresses that others may see; a private one says nothing of how mail comes in or goes out.
    fn public(&self) -> Vec<IpAddr> {
        let addresses = self.addresses.iter().copied();
        addresses.filter(|address| is_public(*address)).collect()
    }
}

/// The server's certificates.
#[derive(Debug, Default)]
pub struct Certificates {
    /// Those that could be read.
    pub chains: Vec<Chain>,
    /// Why the others could not.
    pub unread: Vec<String>,
}

impl Certificates {
    /// Of PEM files (path, text), or of what kept one from being read.
    pub fn of(files: impl IntoIterator<Item = Result<(PathBuf, Vec<u8>), String>>) -> Certificates {
        let mut certificates = Certificates::default();
        for file in files {
            let pem = file.map(|(path, text)| PemFile { path, text });
            match pem.and_then(|pem| Chain::read(&pem).map_err(|error| error.to_string())) {
                Ok(chain) => certificates.chains.push(chain),
                Err(why) => certificates.unread.push(why),
            }
        }
        certificates
    }
}

/// Whom to ask, and what to call him in the report.
#[derive(Debug)]
pub struct View<A> {
    /// `system`, `external_dns`, `--resolver`.
    pub label: String,
    /// Answers the questions.
    pub asker: A,
}

/// How far the checks go.
#[derive(Debug)]
pub struct Reach {
    /// How the policy of MTA-STS is fetched; it is not where this is none.
    pub https: Option<Https>,
    /// The end of all of it.
    pub deadline: Duration,
}

/// Checks all of it. The server's name is asked of every view, all else of the first.
pub async fn check<A: Ask>(facts: &Facts, views: &[View<A>], reach: &Reach) -> Report {
    let until = Instant::now() + reach.deadline;
    let desks: Vec<Desk<'_, A>> = views
        .iter()
        .map(|view| Desk::new(&view.asker, &view.label, until))
        .collect();
    let mut report = Report::default();
    let Some(desk) = desks.first() else {
        return report;
    };
    let (server, dane) = server(facts, views, &desks).await;
    report.groups.push(server);
    for domain in &facts.local {
        report
            .groups
            .push(local(desk, facts, domain, reach.https.as_ref(), dane).await);
    }
    for domain in &facts.relayed {
        let (row, _) = mx::check(desk, facts, domain).await;
        report.groups.push(Group {
            name: domain.clone(),
            rows: vec![row],
        });
    }
    report
}

/// The server's own name; and whether DANE protects the way to it.
async fn server<A: Ask>(facts: &Facts, views: &[View<A>], desks: &[Desk<'_, A>]) -> (Group, bool) {
    let (mut rows, mut seen) = (Vec::new(), Vec::new());
    let mut dane = false;
    for (view, desk) in views.iter().zip(desks) {
        let (more, addresses) = fqdn::check(desk, facts).await;
        rows.extend(more.into_iter().map(|row| match views {
            [_] => row,
            _ => Row {
                subject: format!("{} ({})", row.subject, view.label),
                ..row
            },
        }));
        seen.push((view.label.as_str(), addresses));
    }
    rows.extend(fqdn::compare(&seen));
    if let Some(desk) = desks.first() {
        rows.push(greeting_spf(desk, facts).await);
        let (row, reliable) = tlsa::check(desk, facts).await;
        rows.push(row);
        dane = reliable;
    }
    let group = Group {
        name: facts.fqdn.clone(),
        rows,
    };
    (group, dane)
}

/// The name in EHLO stands for notices, whose sender is empty (RFC 7208 §2.4): to lack a record is no fault.
async fn greeting_spf<A: Ask>(desk: &Desk<'_, A>, facts: &Facts) -> Row {
    let row = spf::check(desk, facts, &facts.fqdn, false).await;
    match row.grade {
        Grade::Missing => Row {
            grade: Grade::Note,
            remark: "notices, which have no sender, are judged by this name (RFC 7208 §2.4)"
                .to_owned(),
            publish: vec![row::text_line(&facts.fqdn, "v=spf1 a -all")],
            ..row
        },
        _ => row,
    }
}

async fn local<A: Ask>(
    desk: &Desk<'_, A>,
    facts: &Facts,
    domain: &str,
    https: Option<&Https>,
    dane: bool,
) -> Group {
    let (row, hosts) = mx::check(desk, facts, domain).await;
    let mut rows = vec![row];
    rows.push(spf::check(desk, facts, domain, hosts.ours).await);
    rows.push(dmarc::check(desk, domain).await);
    if facts.selectors.is_empty() {
        rows.push(dkim::not_asked(desk));
    }
    for selector in &facts.selectors {
        rows.push(dkim::check(desk, domain, selector).await);
    }
    rows.push(mta_sts::check(desk, facts, domain, &hosts, https, dane && hosts.ours).await);
    rows.push(mta_sts::reporting(desk, domain).await);
    Group {
        name: domain.to_owned(),
        rows,
    }
}

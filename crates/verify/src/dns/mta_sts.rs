//! MTA-STS: the record, the policy behind it, and whether its hosts are those of the MX (RFC 8461).
//!
//! Never: a policy taken from a server whose certificate does not hold, or after a redirect.

use std::time::Duration;

use postern_dns::Ask;
use postern_tls::https::Https;
use postern_tls::mta_sts::{Policy, PolicyMode, Record};
use tokio::time::Instant;

use super::Facts;
use super::desk::Desk;
use super::mx::Hosts;
use super::row::{Grade, Row, text_line};
use super::tags::has_version;

/// RFC 8461 §3.3 suggests a minute; who waits at a prompt has less.
const PATIENCE: Duration = Duration::from_secs(10);
/// RFC 8461 §3.2 advises weeks.
const SHORT: u64 = 86_400;

/// The row of a domain. `dane` says that its hosts are protected by TLSA already.
pub(super) async fn check<A: Ask>(
    desk: &Desk<'_, A>,
    facts: &Facts,
    domain: &str,
    hosts: &Hosts,
    https: Option<&Https>,
    dane: bool,
) -> Row {
    let name = format!("_mta-sts.{domain}");
    let texts = match desk.texts(&name).await {
        Ok(texts) => texts,
        Err(untold) => return desk.not_asked("MTA-STS", &untold),
    };
    let claimed: Vec<&String> = texts
        .iter()
        .filter(|text| Record::is_claimed(text))
        .collect();
    let contradictory = |remark: String| {
        desk.row("MTA-STS", Grade::Contradictory, remark)
            .with(publish(facts, domain, hosts))
    };
    match claimed.as_slice() {
        [] if !texts.is_empty() => {
            contradictory(format!("the text at {name} does not begin with v=STSv1;"))
        }
        [] if dane => desk.row(
            "MTA-STS",
            Grade::Note,
            "there is none; TLSA protects the way to this server already",
        ),
        [] => {
            let remark = "senders may be led to a forged server, or to one without TLS";
            desk.row("MTA-STS", Grade::Missing, remark)
                .with(publish(facts, domain, hosts))
        }
        [one] => match Record::parse(one) {
            Err(why) => contradictory(format!("the record is broken: {why}")),
            Ok(_) => of_policy(desk, facts, domain, hosts, https).await,
        },
        more => contradictory(format!(
            "there are {} records, so senders take none (RFC 8461 §3.1)",
            more.len()
        )),
    }
}

async fn of_policy<A: Ask>(
    desk: &Desk<'_, A>,
    facts: &Facts,
    domain: &str,
    hosts: &Hosts,
    https: Option<&Https>,
) -> Row {
    let Some(https) = https else {
        return desk.row(
            "MTA-STS",
            Grade::Note,
            "the policy was not fetched (--no-https)",
        );
    };
    let host = format!("mta-sts.{domain}");
    let contradictory = |remark: String| {
        desk.row("MTA-STS", Grade::Contradictory, remark)
            .with(publish(facts, domain, hosts))
    };
    let addresses = match desk.addresses(&host).await {
        Err(untold) => return desk.not_asked("MTA-STS", &untold),
        Ok(found) => found.list,
    };
    if addresses.is_empty() {
        return contradictory(format!(
            "the record is there, but {host}, where the policy must be, has no address"
        ));
    }
    let place = format!("https://{host}/.well-known/mta-sts.txt");
    let until = desk.until().min(Instant::now() + PATIENCE);
    let fetched = https
        .get(&host, &addresses, "/.well-known/mta-sts.txt", until)
        .await;
    let shown = fetched
        .as_ref()
        .map_or_else(Clone::clone, |response| one_line(&response.body));
    desk.note_other(format!("GET {place}"), host.clone(), shown);
    let response = match fetched {
        Ok(response) => response,
        Err(why) => return contradictory(format!("senders find no policy at {place}: {why}")),
    };
    match Policy::parse(&String::from_utf8_lossy(&response.body)) {
        Err(why) => contradictory(format!("the policy at {place} is broken: {why}")),
        Ok(policy) => match uncovered(&policy, hosts) {
            Some(fault) => contradictory(fault),
            None => desk.row(
                "MTA-STS",
                Grade::Found,
                notes(&policy, response.content_type.as_deref()).join("; "),
            ),
        },
    }
}

fn one_line(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    text.lines()
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join(", ")
}

fn uncovered(policy: &Policy, hosts: &Hosts) -> Option<String> {
    if policy.mode == PolicyMode::None {
        return None;
    }
    let outside: Vec<&str> = hosts
        .names
        .iter()
        .map(|name| &**name)
        .filter(|name| !policy.covers(name))
        .take(4)
        .collect();
    let outcome = match policy.mode {
        PolicyMode::Enforce => "senders do not deliver to it",
        _ => "senders report it",
    };
    (!outside.is_empty()).then(|| {
        format!(
            "the policy does not name the MX {}: {outcome}",
            outside.join(", ")
        )
    })
}

fn notes(policy: &Policy, content_type: Option<&str>) -> Vec<String> {
    let mut notes = Vec::new();
    match policy.mode {
        PolicyMode::Enforce => {}
        PolicyMode::Testing => notes.push(
            "mode testing: broken TLS is reported, and mail delivered all the same".to_owned(),
        ),
        PolicyMode::None => notes.push("mode none: it asks for nothing".to_owned()),
    }
    if policy.max_age.as_secs() < SHORT {
        notes.push(format!(
            "max_age is {} s; a policy should hold for weeks",
            policy.max_age.as_secs()
        ));
    }
    // RFC 8461 §3.2.
    if !content_type.is_some_and(|kind| kind.to_ascii_lowercase().starts_with("text/plain")) {
        notes.push("its content type is not text/plain, which some senders insist on".to_owned());
    }
    notes
}

/// A record, and a policy to begin with.
fn publish(facts: &Facts, domain: &str, hosts: &Hosts) -> Vec<String> {
    let mut lines = vec![
        text_line(&format!("_mta-sts.{domain}"), "v=STSv1; id=1;"),
        format!(
            "; a new id with every change of https://mta-sts.{domain}/.well-known/mta-sts.txt, which holds:"
        ),
        ";   version: STSv1".to_owned(),
        ";   mode: testing".to_owned(),
    ];
    let ours = std::iter::once(facts.fqdn.as_str());
    let theirs = hosts.names.iter().map(|name| &**name);
    // Hosts that lead elsewhere are what is to be mended.
    let theirs = theirs.filter(|name| hosts.ours && *name != facts.fqdn);
    lines.extend(
        ours.chain(theirs)
            .take(8)
            .map(|name| format!(";   mx: {name}")),
    );
    lines.push(";   max_age: 604800".to_owned());
    lines
}

/// TLS reporting (RFC 8460): a note, whatever it says.
pub(super) async fn reporting<A: Ask>(desk: &Desk<'_, A>, domain: &str) -> Row {
    let name = format!("_smtp._tls.{domain}");
    let texts = match desk.texts(&name).await {
        Ok(texts) => texts,
        Err(untold) => return desk.not_asked("TLS-RPT", &untold),
    };
    let claimed: Vec<&String> = texts
        .iter()
        .filter(|text| has_version(text, "TLSRPTv1"))
        .collect();
    match claimed.as_slice() {
        [] => {
            let publish = vec![text_line(
                &name,
                &format!("v=TLSRPTv1; rua=mailto:postmaster@{domain}"),
            )];
            desk.row(
                "TLS-RPT",
                Grade::Note,
                "nobody is told of failed TLS (RFC 8460)",
            )
            .with(publish)
        }
        [one] if one.contains("rua=mailto:") || one.contains("rua=https:") => {
            desk.row("TLS-RPT", Grade::Found, "")
        }
        [_] => desk.row(
            "TLS-RPT",
            Grade::Note,
            "its rua= is neither mailto: nor https:, so no report is sent",
        ),
        more => desk.row(
            "TLS-RPT",
            Grade::Note,
            format!(
                "there are {} records, so none counts (RFC 8460 §3)",
                more.len()
            ),
        ),
    }
}

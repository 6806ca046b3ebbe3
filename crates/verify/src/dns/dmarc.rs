//! DMARC: what receivers shall do with mail that proves nothing (RFC 7489).
//!
//! ```text
//! _dmarc.DOMAIN TXT, else that of a domain above ── one record ── tags ── each foreign address of rua, ruf: asked there
//! ```
//!
//! Never: a public suffix list; the domains above are tried one by one, down to two labels.

use postern_dns::Ask;

use super::desk::Desk;
use super::row::{Grade, Row, text_line};
use super::tags::{Tags, has_version};

/// Domains above a domain that are tried.
const MOST_PARENTS: usize = 4;
/// Foreign receivers of reports that are asked about.
const MOST_RECEIVERS: usize = 8;

/// What mail that fails is to meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    None,
    Quarantine,
    Reject,
}

/// A record that is fit for use.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record {
    policy: Policy,
    subdomains: Option<Policy>,
    percent: u8,
    /// The domains that reports go to.
    receivers: Vec<String>,
    aggregate: bool,
}

/// The row of a domain.
pub(super) async fn check<A: Ask>(desk: &Desk<'_, A>, domain: &str) -> Row {
    let name = format!("_dmarc.{domain}");
    let publish = vec![text_line(
        &name,
        &format!("v=DMARC1; p=quarantine; rua=mailto:postmaster@{domain}"),
    )];
    for (place, holder) in holders(domain).enumerate() {
        let texts = match desk.texts(&format!("_dmarc.{holder}")).await {
            Ok(texts) => texts,
            Err(untold) => return desk.not_asked("DMARC", &untold),
        };
        let claimed: Vec<&String> = texts
            .iter()
            .filter(|text| has_version(text, "DMARC1"))
            .collect();
        match claimed.as_slice() {
            [] if texts.is_empty() => {}
            [] => {
                let remark = format!(
                    "the text at _dmarc.{holder} does not begin with v=DMARC1; so it counts for nothing"
                );
                return desk
                    .row("DMARC", Grade::Contradictory, remark)
                    .with(publish);
            }
            [one] => return of_record(desk, domain, (holder, place > 0), one, publish).await,
            more => {
                let remark = format!(
                    "there are {} DMARC records, so receivers take none (RFC 7489 §6.6.3)",
                    more.len()
                );
                return desk
                    .row("DMARC", Grade::Contradictory, remark)
                    .with(publish);
            }
        }
    }
    let remark = format!(
        "receivers are not told what to do with mail that forges {domain}; begin with p=none to watch only"
    );
    desk.row("DMARC", Grade::Missing, remark).with(publish)
}

/// The domain, and those above it that have two labels or more.
fn holders(domain: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(domain), |name| {
        name.split_once('.').map(|(_, parent)| parent)
    })
    .take_while(move |name| *name == domain || name.contains('.'))
    .take(1 + MOST_PARENTS)
}

async fn of_record<A: Ask>(
    desk: &Desk<'_, A>,
    domain: &str,
    holder: (&str, bool),
    text: &str,
    publish: Vec<String>,
) -> Row {
    let record = match Record::parse(text) {
        Ok(record) => record,
        Err(why) => {
            let remark = format!("the record is broken: {why}");
            return desk
                .row("DMARC", Grade::Contradictory, remark)
                .with(publish);
        }
    };
    let (mut faults, mut wanted) = (Vec::new(), Vec::new());
    for receiver in record
        .receivers
        .iter()
        .filter(|one| is_foreign(one, domain))
        .take(MOST_RECEIVERS)
    {
        let name = format!("{}._report._dmarc.{receiver}", holder.0);
        match desk.texts(&name).await {
            Ok(texts) if texts.iter().any(|text| has_version(text, "DMARC1")) => {}
            Ok(_) => {
                faults.push(format!("{receiver} does not say that it takes reports on {}, so none are sent (RFC 7489 §7.1)", holder.0));
                wanted.push(text_line(&name, "v=DMARC1;"));
            }
            Err(untold) => return desk.not_asked("DMARC", &untold),
        }
    }
    if !faults.is_empty() {
        return desk
            .row("DMARC", Grade::Contradictory, faults.join("; "))
            .with(wanted);
    }
    desk.row("DMARC", Grade::Found, notes(&record, holder).join("; "))
}

fn notes(record: &Record, (holder, inherited): (&str, bool)) -> Vec<String> {
    let mut notes = Vec::new();
    if inherited {
        notes.push(format!("by the record of {holder}"));
    }
    let policy = if inherited {
        record.subdomains.unwrap_or(record.policy)
    } else {
        record.policy
    };
    if policy == Policy::None {
        notes.push("p=none only watches: forged mail is delivered".to_owned());
    }
    if record.percent < 100 {
        notes.push(format!("it holds for {} of 100 messages", record.percent));
    }
    if !record.aggregate {
        notes.push("no rua=: nobody gets reports".to_owned());
    }
    notes
}

impl Record {
    /// RFC 7489 §6.3.
    pub(super) fn parse(text: &str) -> Result<Record, String> {
        let tags = Tags::parse(text)?;
        if tags.get("v") != Some("DMARC1") || tags.place("v") != Some(0) {
            return Err("v=DMARC1 must stand first".to_owned());
        }
        let policy = tags.get("p").ok_or_else(|| "p= is missing".to_owned())?;
        for tag in ["adkim", "aspf"] {
            if !matches!(tags.get(tag), None | Some("r" | "s")) {
                return Err(format!("{tag}= is r or s"));
            }
        }
        let percent = tags.get("pct").unwrap_or("100");
        let percent = percent.parse().ok().filter(|percent| *percent <= 100);
        let interval = tags.get("ri").unwrap_or("86400");
        if interval.parse::<u32>().is_err() {
            return Err("ri= is a number of seconds".to_owned());
        }
        let mut receivers = addresses(tags.get("rua").unwrap_or_default())?;
        receivers.extend(addresses(tags.get("ruf").unwrap_or_default())?);
        receivers.sort();
        receivers.dedup();
        Ok(Record {
            policy: policy_of("p", policy)?,
            subdomains: tags
                .get("sp")
                .map(|text| policy_of("sp", text))
                .transpose()?,
            percent: percent.ok_or_else(|| "pct= is a number from 0 to 100".to_owned())?,
            receivers,
            aggregate: tags.get("rua").is_some_and(|text| !text.is_empty()),
        })
    }
}

fn policy_of(tag: &str, text: &str) -> Result<Policy, String> {
    match text.to_ascii_lowercase().as_str() {
        "none" => Ok(Policy::None),
        "quarantine" => Ok(Policy::Quarantine),
        "reject" => Ok(Policy::Reject),
        _ => Err(format!(
            "{tag}={text:?} is none of none, quarantine, reject"
        )),
    }
}

/// The domains of `mailto:` URIs, each with an optional `!10m` behind it.
fn addresses(list: &str) -> Result<Vec<String>, String> {
    let mut domains = Vec::new();
    for uri in list.split(',').map(str::trim).filter(|uri| !uri.is_empty()) {
        let (scheme, rest) = uri
            .split_once(':')
            .ok_or_else(|| format!("{uri:?} is no URI; write mailto:{uri}"))?;
        if !scheme.eq_ignore_ascii_case("mailto") {
            continue;
        }
        let address = rest.split(['!', '?']).next().unwrap_or_default();
        let domain = address
            .rsplit_once('@')
            .map(|(_, domain)| domain)
            .filter(|domain| postern_dns::lookup::ascii(domain).is_ok());
        let domain = domain.ok_or_else(|| format!("{uri:?} holds no mail address"))?;
        domains.push(domain.to_ascii_lowercase());
    }
    Ok(domains)
}

/// Whether reports leave the domain's own house: neither of the two is below the other.
fn is_foreign(receiver: &str, domain: &str) -> bool {
    let below = |one: &str, other: &str| {
        one.strip_suffix(other)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    !below(receiver, domain) && !below(domain, receiver)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_or_the_fault_is_named() {
        let good = "v=DMARC1; p=Reject; sp=none; adkim=s; aspf=r; pct=50; ri=3600; fo=1; rua=mailto:a@example.com!10m,mailto:b@other.example; ruf=mailto:a@example.com";
        let record = Record::parse(good).expect("a record");
        assert_eq!(
            (record.policy, record.subdomains, record.percent),
            (Policy::Reject, Some(Policy::None), 50)
        );
        assert_eq!(record.receivers, ["example.com", "other.example"]);
        let cases = [
            ("p=none; v=DMARC1", "v=DMARC1 must stand first"),
            ("v=DMARC1", "p= is missing"),
            ("v=DMARC1; p=no", "p=\"no\" is none of"),
            ("v=DMARC1; p=none; adkim=x", "adkim= is r or s"),
            ("v=DMARC1; p=none; pct=101", "pct= is a number"),
            ("v=DMARC1; p=none; pct=-1", "pct= is a number"),
            (
                "v=DMARC1; p=none; rua=a@b.example",
                "\"a@b.example\" is no URI",
            ),
            (
                "v=DMARC1; p=none; rua=mailto:ab.example",
                "\"mailto:ab.example\" holds no mail address",
            ),
            ("v=DMARC1; p=none; p=none", "the tag p stands twice"),
        ];
        for (text, expected) in cases {
            let error = Record::parse(text).expect_err(text);
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }

    #[test]
    fn domains_above_are_tried_down_to_two_labels() {
        assert_eq!(
            holders("a.b.example.com").collect::<Vec<_>>(),
            ["a.b.example.com", "b.example.com", "example.com"]
        );
        assert_eq!(holders("localhost").collect::<Vec<_>>(), ["localhost"]);
        assert!(
            is_foreign("example.net", "example.com") && is_foreign("notexample.com", "example.com")
        );
        assert!(
            !is_foreign("example.com", "a.example.com")
                && !is_foreign("a.example.com", "example.com")
        );
    }
}

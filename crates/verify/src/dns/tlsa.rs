//! DANE: the TLSA records at `_25._tcp.FQDN`, beside the certificates that the server shows (RFC 7672).
//!
//! | TLSA, and DNSSEC vouches | a certificate fits | grade |
//! |---|---|---|
//! | yes | yes | found |
//! | yes | no | contradictory: senders that use DANE do not deliver |
//! | none | | a note, with what to publish where the zone is signed: nothing depends on it |
//! | without DNSSEC | | a note: nobody may use them |
//!
//! Never: a connection to the server; the files of its definition are compared.

use std::fmt::Write as _;

use postern_dns::{Ask, Association, Data, Type};
use postern_tls::dane::{Chain, Match};

use super::desk::Desk;
use super::row::{Grade, Row, line};
use super::{Certificates, Facts};

/// The row, and whether senders can rely on DANE for this server.
pub(super) async fn check<A: Ask>(desk: &Desk<'_, A>, facts: &Facts) -> (Row, bool) {
    let name = format!("_25._tcp.{}", facts.fqdn);
    let told = match desk.ask(&name, Type::Tlsa).await {
        Ok(told) => told,
        Err(untold) => return (desk.not_asked("TLSA", &untold), false),
    };
    let records: Vec<&Association> = told.data.iter().filter_map(association).collect();
    let publish = publish(&name, &facts.certificates);
    if records.is_empty() {
        return (absent(desk, told.vouched, publish), false);
    }
    let verdict = judge(&records, &facts.certificates);
    let row = match verdict {
        Err(fault) => desk.row("TLSA", Grade::Contradictory, fault).with(publish),
        Ok(_) if !told.vouched => desk.row("TLSA", Grade::Note, UNVOUCHED),
        Ok(None) => desk.row("TLSA", Grade::Note, unread(&facts.certificates)),
        Ok(Some(remark)) => desk.row("TLSA", Grade::Found, remark),
    };
    let reliable = row.grade == Grade::Found;
    (row, reliable)
}

const UNVOUCHED: &str = "the resolver does not vouch for it (no AD bit), and without DNSSEC nobody may use it: sign the zone, or ask a validating resolver with --resolver";

fn absent<A: Ask>(desk: &Desk<'_, A>, vouched: bool, publish: Vec<String>) -> Row {
    if vouched {
        let remark =
            "the zone is signed, so TLSA would keep senders from a forged server (RFC 7672)";
        return desk.row("TLSA", Grade::Note, remark).with(publish);
    }
    let remark = "there is none; it is of use only where DNSSEC signs the zone, and the resolver vouches for nothing here";
    desk.row("TLSA", Grade::Note, remark)
}

fn association(data: &Data) -> Option<&Association> {
    match data {
        Data::Association(one) => Some(one),
        _ => None,
    }
}

/// A remark where a certificate fits, nothing where none can be compared, or what is wrong.
fn judge(records: &[&Association], certificates: &Certificates) -> Result<Option<String>, String> {
    if certificates.chains.is_empty() && certificates.unread.is_empty() {
        return Err(
            "the server has no certificate, and senders that use DANE deliver by TLS only"
                .to_owned(),
        );
    }
    if certificates.chains.is_empty() {
        return Ok(None);
    }
    let matches: Vec<Match> = records
        .iter()
        .map(|record| best(record, &certificates.chains))
        .collect();
    let count = |wanted: Match| matches.iter().filter(|one| **one == wanted).count();
    let (holds, differs, unusable) = (
        count(Match::Holds),
        count(Match::Differs),
        count(Match::Unusable),
    );
    if holds == 0 && differs == 0 {
        return Err("no record is of use for SMTP: usage 2 or 3, selector 0 or 1, matching 0, 1 or 2, and a digest of full length (RFC 7672 §3.1)".to_owned());
    }
    if holds == 0 {
        return Err(
            "no record fits the server's certificate, so senders that use DANE do not deliver"
                .to_owned(),
        );
    }
    let mut remarks = Vec::new();
    if differs > 0 {
        remarks.push(format!(
            "{differs} of {} fit another certificate: a coming one, or one to take away",
            records.len()
        ));
    }
    if unusable > 0 {
        remarks.push(format!(
            "{unusable} of {} are of no use for SMTP (RFC 7672 §3.1)",
            records.len()
        ));
    }
    Ok(Some(remarks.join("; ")))
}

/// With several certificates, chosen by name, one that fits is enough.
fn best(record: &Association, chains: &[Chain]) -> Match {
    let compared = chains
        .iter()
        .map(|chain| chain.compare(record.usage, record.selector, record.matching, &record.data));
    compared
        .reduce(|one, other| if one == Match::Holds { one } else { other })
        .unwrap_or(Match::Differs)
}

fn unread(certificates: &Certificates) -> String {
    format!(
        "it is not compared with a certificate: {}",
        certificates.unread.join("; ")
    )
}

/// `3 1 1`, which outlives a renewal with the same key.
fn publish(name: &str, certificates: &Certificates) -> Vec<String> {
    let digests = certificates.chains.iter().map(|chain| {
        chain
            .key_digest()
            .iter()
            .fold(String::new(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            })
    });
    digests
        .map(|digest| line(name, "TLSA", format_args!("3 1 1 {digest}")))
        .collect()
}

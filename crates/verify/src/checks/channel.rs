//! The secure channel: nothing works before it where it is required, what follows is TLS, and good TLS.
//!
//! | line | from |
//! |---|---|
//! | commands before STARTTLS are refused | replies in clear |
//! | every byte behind the 220 is a TLS record | the recording |
//! | version, cipher | the handshake |
//! | the certificate names the host, and is in date | the handshake; whether a root of this system vouches for it is noted |
//! | TLS 1.0, TLS 1.1 are refused | a hand-written hello, and the first record that answers |
//! | STARTTLS is not offered twice | EHLO inside TLS |
//!
//! Never: a failure because a certificate is self-signed; who may trust it is not known here.

use std::time::{SystemTime, UNIX_EPOCH};

use postern_tls::{CertificateFacts, ClientTls};

use crate::expected::Channel;
use crate::finding::Finding;
use crate::inspection::Inspection;
use crate::records::{self, Old, Reaction};
use crate::reply::Answer;
use crate::tap::Side;
use crate::wire::{Fault, Secured, Wire};

const REQUIRE: &str = "set require = true in [access.tls]";
const OFFER: &str = "name a certificate in [access.tls] certificates";
const LET_THROUGH: &str = "refuse neither EHLO nor NOOP before STARTTLS (RFC 3207 §4)";
const OLD: &str = "let the server take TLS 1.2 and 1.3 only (RFC 8996)";

pub(super) async fn run(inspection: &mut Inspection<'_>) -> Result<(), Fault> {
    if inspection.expected.channel == Channel::None {
        inspection.find(Finding::untested(
            "the secure channel",
            "this address is to have none",
        ));
        return Ok(());
    }
    if inspection.expected.channel != Channel::Implicit {
        required(inspection).await?;
        if !offered(inspection).await? {
            return Ok(());
        }
    }
    let wire = match inspection.private().await {
        Ok(wire) => wire,
        Err(fault @ Fault::Tls(_)) => {
            inspection.find(Finding::failed(
                "TLS can be spoken",
                fault.to_string(),
                "look at the certificate and its key: postern check",
            ));
            return Ok(());
        }
        Err(fault) => return Err(fault),
    };
    inside(inspection, wire).await;
    for old in [Old::Tls10, Old::Tls11] {
        let finding = dead(inspection, old).await?;
        inspection.find(finding);
    }
    Ok(())
}

async fn offered(inspection: &mut Inspection<'_>) -> Result<bool, Fault> {
    let wire = inspection.introduced().await?;
    let there = wire.offers("STARTTLS").is_some();
    let title = "STARTTLS is offered";
    let finding = if there {
        Finding::passed(title, "EHLO offers it")
    } else {
        Finding::failed(title, "EHLO does not offer it", OFFER)
    };
    inspection.find(finding.with(wire.said()));
    wire.leave().await;
    Ok(there)
}

/// Each of these must be refused in clear; the codes that say "not here" are as good as 530.
const SHUT: [&str; 6] = [
    "MAIL FROM:<>",
    "RCPT TO:<verify@postern-verify.invalid>",
    "DATA",
    "VRFY postmaster",
    "AUTH PLAIN",
    "BDAT 0",
];

async fn required(inspection: &mut Inspection<'_>) -> Result<(), Fault> {
    let title = "commands before STARTTLS are refused";
    if inspection.expected.channel != Channel::Required {
        let why = "the secure channel is not required here";
        inspection.find(Finding::untested(title, why));
        return Ok(());
    }
    let mut wire = inspection.introduced().await?;
    wire.forget();
    let mut open: Vec<String> = Vec::new();
    for command in SHUT {
        let answer = wire.say(command).await?;
        if !shut(command, &answer) {
            open.push(format!("{command} is answered {answer}"));
        }
        // Nothing may come of an accepted one.
        if answer.is_positive() {
            break;
        }
    }
    let finding = if open.is_empty() {
        let why = format!("{} commands, each refused", SHUT.len());
        Finding::passed(title, why)
    } else {
        Finding::failed(title, open.join("; "), REQUIRE)
    };
    inspection.find(finding.with(wire.said()));
    wire.leave().await;
    allowed(inspection).await
}

/// MAIL has to be told why; the others may be refused for any reason of their own.
fn shut(command: &str, answer: &Answer) -> bool {
    match command {
        "MAIL FROM:<>" => answer.code == 530,
        _ => answer.is_refusal(),
    }
}

/// EHLO and NOOP are what a client may say on its way to STARTTLS (RFC 3207 §4), QUIT apart. RSET is not among them.
async fn allowed(inspection: &mut Inspection<'_>) -> Result<(), Fault> {
    let title = "EHLO and NOOP work before STARTTLS";
    let mut wire = inspection.introduced().await?;
    wire.forget();
    let answer = wire.say("NOOP").await?;
    let finding = match (answer.code, wire.hello().await) {
        (250, Ok(())) => Finding::passed(title, "as RFC 3207 §4 has it"),
        (250, Err(Fault::Refused { answer, .. })) => {
            Finding::failed(title, format!("EHLO is answered {answer}"), LET_THROUGH)
        }
        (250, Err(fault)) => return Err(fault),
        _ => Finding::failed(title, format!("NOOP is answered {answer}"), LET_THROUGH),
    };
    inspection.find(finding.with(wire.said()));
    wire.leave().await;
    Ok(())
}

/// What an encrypted session shows.
async fn inside(inspection: &mut Inspection<'_>, mut wire: Wire) {
    let Some(secured) = wire.secured().cloned() else {
        return;
    };
    if inspection.expected.channel != Channel::Implicit {
        let title = "STARTTLS is not offered inside TLS";
        let finding = match wire.offers("STARTTLS") {
            None => Finding::passed(title, "EHLO inside TLS leaves it out"),
            Some(_) => Finding::failed(
                title,
                "EHLO offers it again",
                "the server breaks RFC 3207 §4.2: update it",
            ),
        };
        inspection.find(finding);
    }
    // Some traffic to look at.
    let _ = wire.say("NOOP").await;
    let tape = wire.tape();
    wire.leave().await;
    let recording = tape.now();
    let finding = encrypted(
        &recording.bytes(Side::Client),
        &recording.bytes(Side::Server),
        &secured,
    );
    inspection.find(finding);
    inspection.find(version(&secured));
    let trust = vouched(inspection).await;
    let finding = match &secured.certificate {
        Some(facts) => certificate(facts, inspection.expected.host.as_deref(), &trust),
        None => Finding::failed(
            "the certificate names the host and is in date",
            "it cannot be read",
            "get an X.509 version 3 certificate",
        ),
    };
    inspection.find(finding);
}

fn encrypted(client: &[u8], server: &[u8], secured: &Secured) -> Finding {
    let title = "every byte behind the handshake's begin is TLS";
    let behind = |bytes: &[u8], from: usize| records::walk(bytes.get(from..).unwrap_or_default());
    let (sent, came) = secured.clear;
    match (behind(client, sent), behind(server, came)) {
        (Ok(out), Ok(back)) => Finding::passed(
            title,
            format!(
                "{out} records in {} bytes sent, {back} in {} received",
                client.len() - sent,
                server.len() - came
            ),
        ),
        (Err(why), _) | (_, Err(why)) => Finding::failed(title, why, "update the server"),
    }
}

fn version(secured: &Secured) -> Finding {
    let facts = &secured.facts;
    let title = "version and cipher are good";
    let why = format!(
        "{}, {}, {} bits{}",
        facts.version,
        facts.cipher,
        facts.bits,
        facts
            .group
            .map(|group| format!(", {group}"))
            .unwrap_or_default()
    );
    match (facts.version, facts.bits) {
        ("TLSv1.2" | "TLSv1.3", 128..) => Finding::passed(title, why),
        _ => Finding::failed(title, why, OLD),
    }
}

fn certificate(facts: &CertificateFacts, host: Option<&str>, trust: &str) -> Finding {
    let title = "the certificate names the host and is in date";
    let now = SystemTime::now();
    let days = facts.remaining(now).as_secs() / 86_400;
    let names = facts
        .names
        .iter()
        .take(8)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    let names = crate::reply::clip(&names);
    let why = format!(
        "for {names}; {days} days left, until {}; {trust}",
        date(facts.not_after)
    );
    if facts.not_after <= now {
        return Finding::failed(title, format!("expired: {why}"), "renew it");
    }
    if facts.not_before > now {
        return Finding::failed(title, format!("not valid yet: {why}"), "look at the clocks");
    }
    match host {
        Some(host) if !facts.covers(host) => Finding::failed(
            title,
            format!("{host} is not among its names: {why}"),
            "get a certificate with the name that clients use, or set fqdn to a name it has",
        ),
        _ => Finding::passed(title, why),
    }
}

/// `2026-11-24`.
fn date(moment: SystemTime) -> String {
    let days = moment
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs() / 86_400);
    // Howard Hinnant's civil_from_days, for days since 1970.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    format!("{:04}-{month:02}-{day:02}", year + era * 400 + next)
}

/// Whether the roots of this system vouch for it: a second handshake says.
async fn vouched(inspection: &mut Inspection<'_>) -> String {
    let checked = async {
        let mut wire = inspection.connect_from(inspection.target.source).await?;
        if inspection.expected.channel != Channel::Implicit {
            wire.answer().await?;
            wire.hello().await?;
            wire.say("STARTTLS").await?;
        }
        let wire = wire
            .secure(&ClientTls::verified(), &inspection.host())
            .await?;
        wire.leave().await;
        Ok::<(), Fault>(())
    };
    match checked.await {
        Ok(()) => "a root of this system vouches for it".to_owned(),
        Err(Fault::Tls(why)) => format!("no root of this system vouches for it ({why})"),
        Err(fault) => {
            format!("whether a root of this system vouches for it is not known ({fault})")
        }
    }
}

/// A hello of a version that should be dead.
async fn dead(inspection: &mut Inspection<'_>, old: Old) -> Result<Finding, Fault> {
    let title = format!("{} is refused", old.name());
    let mut wire = inspection.connect_from(inspection.target.source).await?;
    if inspection.expected.channel != Channel::Implicit {
        wire.answer().await?;
        wire.hello().await?;
        let answer = wire.say("STARTTLS").await?;
        if answer.code != 220 {
            return Ok(Finding::untested(title, answer.to_string()).with(wire.said()));
        }
    }
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|error| Fault::Broken(error.to_string()))?;
    let shown = format!("(a ClientHello of {})", old.name());
    wire.send_as(&old.hello(random), &shown).await?;
    let mut bytes = Vec::new();
    let finding = loop {
        match wire.raw(inspection.pace.wait).await {
            Ok(more) => bytes.extend(more),
            Err(fault) if fault.is_close() => break Finding::passed(title, "the server closes"),
            Err(fault) => break Finding::untested(title, fault.to_string()),
        }
        match records::reaction(&bytes) {
            Reaction::Unclear => {}
            Reaction::Refused => break Finding::passed(title, "an alert"),
            Reaction::Accepted(minor) if minor <= 2 => {
                let why = format!("the server goes on with TLS 1.{}", minor.saturating_sub(1));
                break Finding::failed(title, why, OLD);
            }
            Reaction::Accepted(_) => break Finding::passed(title, "the server offers a newer one"),
        }
    };
    Ok(finding.with(wire.said()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01"),
            (951_825_599, "2000-02-29"),
            (1_767_225_600, "2026-01-01"),
        ] {
            assert_eq!(date(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }
}

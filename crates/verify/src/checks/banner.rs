//! Greeting, EHLO and HELP name no product and no version: who looks for a hole should have to try.
//!
//! The server's own name is left out of the look: a host may be called postfix.example.com.
//!
//! Never: a guess from what a server does; only what it says counts.

use std::net::IpAddr;

use crate::finding::Finding;
use crate::inspection::Inspection;
use crate::reply::Answer;
use crate::wire::Fault;

/// Names of mail servers, in lower case; `_` in none of them.
const PRODUCTS: [&str; 40] = [
    "postern",
    "postfix",
    "exim",
    "sendmail",
    "qmail",
    "netqmail",
    "opensmtpd",
    "microsoft",
    "exchange",
    "haraka",
    "courier",
    "dovecot",
    "stalwart",
    "maddy",
    "chasquid",
    "zimbra",
    "mdaemon",
    "hmailserver",
    "mailenable",
    "domino",
    "lotus",
    "groupwise",
    "kerio",
    "icewarp",
    "surgemail",
    "axigen",
    "communigate",
    "powermta",
    "halon",
    "mercury",
    "xmail",
    "xeams",
    "smartermail",
    "james",
    "momentum",
    "mailcow",
    "iredmail",
    "proxmox",
    "debian",
    "ubuntu",
];

const REMEDY: &str = "take the product out of the greeting (Postfix: smtpd_banner = $myhostname ESMTP; Exim: smtp_banner; Sendmail: SmtpGreetingMessage)";

pub(super) async fn run(inspection: &mut Inspection<'_>) -> Result<(), Fault> {
    let mut wire = inspection.connect().await?;
    let greeting = wire.answer().await?;
    report(
        inspection,
        "the greeting tells no product or version",
        &greeting,
        1,
    );
    if greeting.code != 220 {
        return Err(Fault::Refused {
            what: "the connection",
            answer: greeting,
        });
    }
    let hello = wire.say("EHLO postern-verify.invalid").await?;
    report(inspection, "EHLO tells no product or version", &hello, 1);
    let help = wire.say("HELP").await?;
    report(inspection, "HELP tells no product or version", &help, 0);
    wire.leave().await;
    Ok(())
}

/// The first `names` words of the first line are the server's name.
fn report(inspection: &mut Inspection<'_>, title: &str, answer: &Answer, names: usize) {
    let mut lines = answer.lines.iter();
    let first = lines.next().map_or("", String::as_str);
    let first: Vec<&str> = first.split_whitespace().skip(names).collect();
    let text = lines.fold(first.join(" "), |text, line| text + "\n" + line);
    let finding = match telling(&text) {
        Some(word) => Finding::failed(title, format!("it says {word}: {answer}"), REMEDY),
        None => Finding::passed(title, answer.to_string()),
    };
    inspection.find(finding);
}

/// A word of `text` that names a product or is a version.
fn telling(text: &str) -> Option<&str> {
    let apart = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_'));
    text.lines().find_map(|line| {
        line.split(apart)
            .map(|word| word.trim_matches('.'))
            .enumerate()
            .find(|(place, word)| {
                names_product(word) || (!enhanced(*place, word) && is_version(word))
            })
            .map(|(_, word)| word)
    })
}

fn names_product(word: &str) -> bool {
    PRODUCTS.iter().any(|name| word.eq_ignore_ascii_case(name))
}

/// `3.7.11`, `v8.17`: numbers with dots that are no address.
fn is_version(word: &str) -> bool {
    let digits = word.strip_prefix(['v', 'V']).unwrap_or(word);
    let mut parts = digits.split('.');
    let number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    parts.clone().count() > 1
        && parts.next().is_some_and(number)
        && parts
            .next()
            .is_some_and(|part| part.starts_with(|c: char| c.is_ascii_digit()))
        && digits.parse::<IpAddr>().is_err()
}

/// The enhanced status code that stands first in a line (RFC 2034).
fn enhanced(place: usize, word: &str) -> bool {
    place == 0 && word.split('.').count() == 3 && word.starts_with(['2', '4', '5'])
}

#[cfg(test)]
mod tests {
    use super::telling;

    #[test]
    fn products_and_versions_are_found() {
        for (text, word) in [
            ("ESMTP Postfix (Debian/GNU)", "Postfix"),
            ("ESMTP Exim 4.96 Tue, 24 Nov 2026", "Exim"),
            (
                "Microsoft ESMTP MAIL Service, Version: 6.0.3790.4675 ready",
                "Microsoft",
            ),
            ("ESMTP foomail/3.7.11", "3.7.11"),
            ("ESMTP v8.17rc1", "v8.17rc1"),
            ("2.0.0 This is sendmail version 8", "sendmail"),
            ("2.0.0 ready\n2.0.0 1.2.3", "1.2.3"),
        ] {
            assert_eq!(telling(text), Some(word), "{text}");
        }
    }

    #[test]
    fn names_addresses_sizes_and_codes_are_none() {
        for text in [
            "ESMTP",
            "ESMTP ready at Tue, 24 Nov 2026 11:00:00 +0000",
            "Hello [192.0.2.1], pleased to meet you",
            "SIZE 26214400\nENHANCEDSTATUSCODES\nAUTH PLAIN LOGIN SCRAM-SHA-256",
            "2.0.0 Commands: EHLO MAIL RCPT",
            "5.5.1 no HELP here. See rfc5321",
        ] {
            assert_eq!(telling(text), None, "{text}");
        }
    }
}

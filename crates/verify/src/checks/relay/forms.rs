//! The probes: the seven of Microsoft's article Q304897, and the ways of writing a foreign address that servers have
//! fallen for.
//!
//! `{N}@{F}` is the foreign recipient, `{S}` and `{E}` are the foreign senders, `{L}` a local one, `{A}` the server's address in brackets, `{X}` the local domain with a
//! letter that only looks like its own.
//!
//! Never: a form whose last hop is local.

use std::net::IpAddr;

use crate::expected::Expected;
use crate::inspection::NOWHERE;

/// What a probe tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trick {
    /// Nothing: a foreign recipient as everybody writes it.
    None,
    /// Its sender.
    Sender,
    /// How the recipient is written; any sender will do.
    Recipient,
}

/// One probe.
pub(super) struct Probe {
    name: String,
    sender: Option<String>,
    recipient: Option<String>,
    pub(super) trick: Trick,
}

impl Probe {
    /// As it stands in the report.
    pub(super) fn title(&self) -> String {
        format!("no relay: {}", self.name)
    }

    /// Sender and recipient, with their brackets; `None` where a local domain is missing.
    pub(super) fn written(&self) -> Option<(String, String)> {
        Some((self.sender.clone()?, self.recipient.clone()?))
    }
}

/// Sender, recipient, what it tries, what it is; the numbers are the article's.
const ARTICLE: [(&str, &str, Trick, &str); 7] = [
    (
        "<{S}>",
        PLAIN,
        Trick::None,
        "Q304897 test 1, from outside to outside",
    ),
    (
        "<spamtest>",
        PLAIN,
        Trick::Sender,
        "Q304897 test 2, sender without a domain",
    ),
    ("<>", PLAIN, Trick::None, "Q304897 test 3, null sender"),
    (
        "<spamtest@{L}>",
        PLAIN,
        Trick::Sender,
        "Q304897 test 4, forged local sender",
    ),
    (
        "<spamtest@{A}>",
        PLAIN,
        Trick::Sender,
        "Q304897 test 5, sender in the server's address",
    ),
    (
        "<spamtest>",
        "<{N}%{F}>",
        Trick::Recipient,
        "Q304897 test 6, percent without a domain",
    ),
    (
        "<spamtest>",
        "<\"{N}@{F}\">",
        Trick::Recipient,
        "Q304897 test 7, quoted without a domain",
    ),
];

/// The foreign recipient as everybody writes it.
const PLAIN: &str = "<{N}@{F}>";

/// Recipient, what it is.
const CLASSIC: [(&str, &str); 28] = [
    ("{N}@{F}", "without brackets"),
    ("<{N}@{UF}>", "in capitals"),
    ("<{N}@{F}.>", "trailing dot"),
    ("<{N}@{L}.{F}>", "the local domain in front"),
    ("<{N}%{F}@{L}>", "percent hack"),
    ("<{N}%{F}@{A}>", "percent hack to the server's address"),
    ("<{N}%{F}%{L}@{L}>", "percent hack, twice"),
    ("<\"{N}@{F}\"@{L}>", "quoted"),
    ("<\"{N}@{F}\"@{A}>", "quoted, to the server's address"),
    ("<\"{N}%{F}\"@{L}>", "quoted percent hack"),
    ("<\"{F}!{N}\"@{L}>", "quoted bang path"),
    ("<\"{N}\"@{F}>", "quoted local part"),
    ("<{N}@{F}@{L}>", "doubled @"),
    ("<{N}@{L}@{F}>", "doubled @, the other way"),
    ("<{N}@{F}@{A}>", "doubled @ to the server's address"),
    ("<{F}!{N}>", "bang path"),
    ("<{F}!{N}@{L}>", "bang path at the local domain"),
    ("<{F}!{N}@{A}>", "bang path at the server's address"),
    ("<{L}!{F}!{N}>", "bang path over the local domain"),
    ("<@{L}:{N}@{F}>", "source route"),
    ("<@{A}:{N}@{F}>", "source route over the server's address"),
    ("<@{L}:{N}%{F}@{L}>", "source route with percent hack"),
    ("<{N}@[{F}]>", "the name in brackets"),
    ("<{N}@[192.0.2.1]>", "foreign address"),
    ("<{N}@[IPv6:2001:db8::1]>", "foreign IPv6 address"),
    ("<{N}\u{ff20}{F}>", "full-width @"),
    ("<{N}\u{ff20}{F}@{L}>", "full-width @ at the local domain"),
    ("<{N}@{X}>", "look-alike of the local domain"),
];

/// Who stands for the foreign world.
struct Foreign {
    name: String,
    domain: String,
    sender: Option<String>,
}

impl Foreign {
    /// As the command line says it, or a domain that cannot exist (RFC 6761 §6.4).
    fn of(expected: &Expected) -> Foreign {
        let given = expected.foreign_recipient.as_deref();
        let (name, domain) = given
            .and_then(|address| address.rsplit_once('@'))
            .unwrap_or(("relaytest", NOWHERE));
        Foreign {
            name: name.to_owned(),
            domain: domain.to_owned(),
            sender: expected.foreign_sender.clone(),
        }
    }

    fn fill(&self, pattern: &str) -> String {
        let sender = |domain: &str| match &self.sender {
            Some(sender) => sender.clone(),
            None => format!("spamtest@{domain}"),
        };
        pattern
            .replace("{S}", &sender(&self.domain))
            .replace("{E}", &sender("example.net"))
            .replace("{N}", &self.name)
            .replace("{F}", &self.domain)
            .replace("{UF}", &self.domain.to_ascii_uppercase())
    }
}

/// All probes against a server at `address`.
pub(super) fn all(expected: &Expected, address: IpAddr) -> Vec<Probe> {
    let (foreign, local) = (Foreign::of(expected), expected.local_domain.as_deref());
    let write = |pattern: &str| fill(&foreign.fill(pattern), local, address);
    let probe = |sender: &str, recipient: &str, trick, name: &str| Probe {
        name: name.to_owned(),
        sender: write(sender),
        recipient: write(recipient),
        trick,
    };
    let article = ARTICLE
        .iter()
        .map(|(sender, recipient, trick, name)| probe(sender, recipient, *trick, name));
    let classic = CLASSIC
        .iter()
        .map(|(recipient, name)| probe("<{E}>", recipient, Trick::Recipient, name));
    let exists = "a foreign sender with a domain that exists";
    let plain = probe("<{E}>", PLAIN, Trick::None, exists);
    article.chain([plain]).chain(classic).collect()
}

fn fill(pattern: &str, local: Option<&str>, address: IpAddr) -> Option<String> {
    let literal = match address {
        IpAddr::V4(ip) => format!("[{ip}]"),
        IpAddr::V6(ip) => format!("[IPv6:{ip}]"),
    };
    let mut text = pattern.replace("{A}", &literal);
    if text.contains("{L}") {
        text = text.replace("{L}", local?);
    }
    if text.contains("{X}") {
        text = text.replace("{X}", &look_alike(local?)?);
    }
    Some(text)
}

/// The domain with one Latin letter exchanged for its Cyrillic likeness.
fn look_alike(domain: &str) -> Option<String> {
    const PAIRS: [(char, char); 5] = [
        ('a', '\u{430}'),
        ('e', '\u{435}'),
        ('o', '\u{43e}'),
        ('c', '\u{441}'),
        ('p', '\u{440}'),
    ];
    PAIRS.iter().find_map(|(own, like)| {
        let place = domain.find(*own)?;
        let (before, after) = (&domain[..place], &domain[place + own.len_utf8()..]);
        Some(format!("{before}{like}{after}"))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_probe_is_filled_in_and_leads_to_nowhere() {
        let expected = Expected {
            local_domain: Some("example.com".into()),
            ..Expected::default()
        };
        let probes = all(&expected, "192.0.2.25".parse().unwrap());
        assert_eq!(probes.len(), 36);
        for probe in &probes {
            let (sender, recipient) = probe.written().unwrap();
            assert!(
                !sender.contains('{') && !recipient.contains('{'),
                "{recipient}"
            );
            let nowhere = recipient.to_lowercase().contains(NOWHERE)
                || recipient.contains("192.0.2.1]")
                || recipient.contains("2001:db8::1")
                || !recipient.is_ascii();
            assert!(nowhere, "{recipient}");
        }
        assert!(
            probes
                .iter()
                .any(|p| p.recipient.as_deref() == Some("<relaytest@ex\u{430}mple.com>"))
        );
    }

    #[test]
    fn without_a_local_domain_the_forms_that_need_none_are_left() {
        let probes = all(&Expected::default(), "2001:db8::25".parse().unwrap());
        let written = probes.iter().filter_map(Probe::written).count();
        assert!((15..25).contains(&written), "{written}");
        assert!(
            probes
                .iter()
                .any(|p| p.sender.as_deref() == Some("<spamtest@[IPv6:2001:db8::25]>"))
        );
    }

    #[test]
    fn a_real_foreign_address_takes_the_place_of_nowhere() {
        let expected = Expected {
            foreign_recipient: Some("probe@far.test".into()),
            foreign_sender: Some("me@near.test".into()),
            ..Expected::default()
        };
        let probes = all(&expected, "192.0.2.25".parse().unwrap());
        let written: Vec<_> = probes.iter().filter_map(Probe::written).collect();
        assert_eq!(
            written[0],
            ("<me@near.test>".to_owned(), "<probe@far.test>".to_owned())
        );
        assert!(
            written.iter().all(|(sender, recipient)| {
                !recipient.contains(NOWHERE) && !sender.contains("example.net")
            }),
            "{written:?}"
        );
    }
}

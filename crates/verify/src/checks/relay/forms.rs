//! The probes: the seven of Microsoft's article Q304897, and the ways of writing a foreign address that servers have
//! fallen for.
//!
//! `{F}` is the foreign domain, `{L}` a local one, `{A}` the server's address in brackets, `{X}` the local domain with a
//! letter that only looks like its own.
//!
//! Never: a form whose last hop is local.

use std::net::IpAddr;

use super::{NOBODY, NOWHERE, plain};

/// One probe.
pub(super) struct Probe {
    name: String,
    sender: Option<String>,
    recipient: Option<String>,
    /// Whether the null sender will do where this one is refused.
    pub(super) any_sender: bool,
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

/// Sender, recipient, what it is; the numbers are the article's.
const ARTICLE: [(&str, &str, &str); 7] = [
    (
        "<spamtest@{F}>",
        "<{N}@{F}>",
        "Q304897 test 1, from outside to outside",
    ),
    (
        "<spamtest>",
        "<{N}@{F}>",
        "Q304897 test 2, sender without a domain",
    ),
    ("<>", "<{N}@{F}>", "Q304897 test 3, null sender"),
    (
        "<spamtest@{L}>",
        "<{N}@{F}>",
        "Q304897 test 4, forged local sender",
    ),
    (
        "<spamtest@{A}>",
        "<{N}@{F}>",
        "Q304897 test 5, sender in the server's address",
    ),
    (
        "<spamtest>",
        "<{N}%{F}>",
        "Q304897 test 6, percent without a domain",
    ),
    (
        "<spamtest>",
        "<\"{N}@{F}\">",
        "Q304897 test 7, quoted without a domain",
    ),
];

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

/// All probes against a server at `address` with this local domain.
pub(super) fn all(local: Option<&str>, address: IpAddr) -> Vec<Probe> {
    let write = |pattern: &str| fill(pattern, local, address);
    let article = ARTICLE.iter().map(|(sender, recipient, name)| Probe {
        name: (*name).to_owned(),
        sender: write(sender),
        recipient: write(recipient),
        // Where the recipient is the trick, any sender will do.
        any_sender: *recipient != "<{N}@{F}>",
    });
    let classic = CLASSIC.iter().map(|(recipient, name)| Probe {
        name: (*name).to_owned(),
        sender: write("<spamtest@example.net>"),
        recipient: write(recipient),
        any_sender: true,
    });
    let foreign = Probe {
        name: "a foreign sender with a domain that exists".to_owned(),
        sender: write("<spamtest@example.net>"),
        recipient: Some(plain()),
        any_sender: false,
    };
    article.chain([foreign]).chain(classic).collect()
}

fn fill(pattern: &str, local: Option<&str>, address: IpAddr) -> Option<String> {
    let mut text = pattern
        .replace("{N}", NOBODY)
        .replace("{F}", NOWHERE)
        .replace("{UF}", &NOWHERE.to_ascii_uppercase());
    let literal = match address {
        IpAddr::V4(ip) => format!("[{ip}]"),
        IpAddr::V6(ip) => format!("[IPv6:{ip}]"),
    };
    text = text.replace("{A}", &literal);
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
        let probes = all(Some("example.com"), "192.0.2.25".parse().unwrap());
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
        let probes = all(None, "2001:db8::25".parse().unwrap());
        let written = probes.iter().filter_map(Probe::written).count();
        assert!((15..25).contains(&written), "{written}");
        assert!(
            probes
                .iter()
                .any(|p| p.sender.as_deref() == Some("<spamtest@[IPv6:2001:db8::25]>"))
        );
    }
}

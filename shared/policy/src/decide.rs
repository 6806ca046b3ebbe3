//! Answers the session's questions from policy: the one place that words refusals.
//!
//! Never: a side effect. What follows from an answer (an envelope, a counter, a log line) is the caller's.

use std::net::IpAddr;

use postern_access::{Full, Login, NameFacts, Reason, RelayQuestion, SenderQuestion, Verdict};
use postern_smtp::{Domain, ForwardPath, Mail, Mailbox, Rcpt, Reply, ReversePath};

use crate::build::Policy;
use crate::people::Person;

/// Other names lead to other names at most this often.
const ALIAS_DEPTH: u8 = 8;
/// Other names lead to at most this many recipients.
const ALIAS_LIMIT: usize = 1000;

/// Whether this client may connect at all. `facts` may be empty where the rule does not need names.
pub fn connection(policy: &Policy, client: IpAddr, facts: &NameFacts<'_>) -> Result<(), Reply> {
    match policy.connection.decide(client, facts).allowed {
        true => Ok(()),
        false => Err(connection_refused(policy)),
    }
}

/// The greeting for one who may not connect.
pub fn connection_refused(policy: &Policy) -> Reply {
    Reply::new(
        554,
        "5.7.1",
        format!("{} Connection refused", policy.definition.general.fqdn),
    )
}

/// The greeting for one who meets a limit.
pub fn full(full: Full) -> Reply {
    match full {
        Full::Total => Reply::new(421, "4.3.2", "Too many connections, try again later"),
        Full::Client => Reply::new(
            421,
            "4.3.2",
            "Too many connections from your address, try again later",
        ),
    }
}

/// The greeting while the server is paused, and the last word when it stops.
pub fn unavailable(policy: &Policy) -> Reply {
    Reply::new(
        421,
        "4.3.2",
        format!(
            "{} Service not available, try again later",
            policy.definition.general.fqdn
        ),
    )
}

/// The answer to a login that fails, whatever the reason: an unknown account looks like a wrong password.
pub fn login_refused() -> Reply {
    Reply::new(535, "5.7.8", "Authentication unsuccessful")
}

/// Whether this client may send as this sender.
pub fn sender(policy: &Policy, login: Option<&Login<'_>>, mail: &Mail) -> Result<Verdict, Reply> {
    let verdict = ask_sender(login, mail, |question| policy.sender.decide(question));
    sender_by(verdict, mail)
}

/// Puts the question of a sender to access control.
pub(crate) fn ask_sender<T>(
    login: Option<&Login<'_>>,
    mail: &Mail,
    put: impl FnOnce(&SenderQuestion<'_>) -> T,
) -> T {
    let domain;
    let sender = match &mail.sender {
        ReversePath::Null => None,
        ReversePath::Mailbox(mailbox) => {
            domain = written(&mailbox.domain);
            Some((&*mailbox.local, domain.as_ref()))
        }
    };
    put(&SenderQuestion { login, sender })
}

/// What a verdict on the sender means to the client.
pub(crate) fn sender_by(verdict: Verdict, mail: &Mail) -> Result<Verdict, Reply> {
    if verdict.allowed {
        return Ok(verdict);
    }
    Err(match verdict.reason {
        Reason::MustLogIn => Reply::new(530, "5.7.1", "Client was not authenticated"),
        Reason::NotGranted => Reply::new(550, "5.7.1", "This account may not send"),
        Reason::ForeignAddress => Reply::new(
            553,
            "5.7.1",
            format!("{} is not an address of this account", mail.sender),
        ),
        Reason::AnonymousLocal => {
            Reply::new(550, "5.7.1", format!("Log in to send as {}", mail.sender))
        }
        _ => Reply::new(550, "5.7.1", "Sender refused"),
    })
}

/// Who asks for a recipient.
pub struct Asker<'a> {
    /// The client's address.
    pub client: IpAddr,
    /// What is known of its names; may be empty where [`needs_names`] says so.
    pub facts: &'a NameFacts<'a>,
    /// Its login.
    pub login: Option<&'a Login<'a>>,
}

/// What a recipient becomes in the envelope.
#[derive(Debug, PartialEq, Eq)]
pub enum Accepted {
    /// As written.
    AsWritten,
    /// These addresses instead, never none.
    Instead(Vec<String>),
}

/// Whether mail is taken for this recipient, and for whom it is then.
pub fn recipient(policy: &Policy, asker: &Asker<'_>, rcpt: &Rcpt) -> Result<Accepted, Reply> {
    let verdict = ask(asker, rcpt, |question| policy.relay.decide(question));
    recipient_by(policy, &verdict, rcpt)
}

/// Whether the client's names could change the answer to [`recipient`].
pub fn needs_names(policy: &Policy, asker: &Asker<'_>, rcpt: &Rcpt) -> bool {
    ask(asker, rcpt, |question| {
        policy.relay.needs_names(question, asker.facts.hosts)
    })
}

/// Puts the question of a recipient to relay control.
pub(crate) fn ask<T>(
    asker: &Asker<'_>,
    rcpt: &Rcpt,
    put: impl FnOnce(&RelayQuestion<'_>) -> T,
) -> T {
    let domain;
    let (local, name) = match &rcpt.recipient {
        ForwardPath::Postmaster => ("postmaster", None),
        ForwardPath::Mailbox(mailbox) => {
            domain = written(&mailbox.domain);
            (&*mailbox.local, Some(domain.as_ref()))
        }
    };
    put(&RelayQuestion {
        client: asker.client,
        facts: asker.facts,
        login: asker.login,
        local,
        domain: name,
        source_route: rcpt.source_route,
    })
}

/// What a verdict of relay control means for this recipient.
pub(crate) fn recipient_by(
    policy: &Policy,
    verdict: &Verdict,
    rcpt: &Rcpt,
) -> Result<Accepted, Reply> {
    match (verdict.allowed, verdict.reason, &rcpt.recipient) {
        (true, Reason::LocalDomain, ForwardPath::Mailbox(mailbox)) => resolve(policy, mailbox),
        (true, _, ForwardPath::Mailbox(_)) => Ok(Accepted::AsWritten),
        (true, _, ForwardPath::Postmaster) => postmaster(policy),
        (false, Reason::BadDomain, _) => Err(Reply::new(
            550,
            "5.1.2",
            format!("{} has no usable domain", rcpt.recipient),
        )),
        (false, ..) => Err(unable_to_relay(&rcpt.recipient)),
    }
}

/// Whether a refusal is the one that relay control gives.
pub fn unable_to_relay(recipient: &ForwardPath) -> Reply {
    Reply::new(550, "5.7.1", format!("Unable to relay for {recipient}"))
}

fn resolve(policy: &Policy, mailbox: &Mailbox) -> Result<Accepted, Reply> {
    let address = mailbox.to_string();
    match find(policy, mailbox) {
        Person::Known => Ok(Accepted::AsWritten),
        Person::Unknown if policy.definition.messages.unresolved_to.is_some() => {
            Ok(Accepted::AsWritten)
        }
        // RFC 5321 §4.5.1: mail for the postmaster of a domain served here is taken.
        Person::Unknown if mailbox.local.eq_ignore_ascii_case("postmaster") => {
            Ok(Accepted::AsWritten)
        }
        Person::Unknown => Err(Reply::new(550, "5.1.1", format!("{address} User unknown"))),
        Person::Alias(names) => {
            let mut found = Vec::new();
            follow(policy, names, domain_of(mailbox), ALIAS_DEPTH, &mut found);
            if found.is_empty() {
                return Err(Reply::new(550, "5.1.1", format!("{address} User unknown")));
            }
            Ok(Accepted::Instead(found))
        }
    }
}

/// `<postmaster>` is the postmaster of the first local domain.
fn postmaster(policy: &Policy) -> Result<Accepted, Reply> {
    let Some(domain) = policy.definition.delivery.domains.first() else {
        return Err(Reply::new(550, "5.1.1", "There is no postmaster here"));
    };
    let address = format!("postmaster@{}", domain.name);
    match Mailbox::parse(&address, true) {
        Ok(mailbox) => resolve(policy, &mailbox).map(|accepted| match accepted {
            Accepted::AsWritten => Accepted::Instead(vec![address]),
            instead => instead,
        }),
        Err(_) => Err(Reply::new(550, "5.1.1", "There is no postmaster here")),
    }
}

/// Who a recipient of a local domain is.
pub(crate) fn find<'g>(policy: &'g Policy, mailbox: &Mailbox) -> Person<'g> {
    let Some(name) = mailbox.domain.name() else {
        return Person::Known;
    };
    let people = match policy.people.get(name) {
        Some(people) => Some(people),
        None => policy.people.get(name.to_lowercase().as_str()),
    };
    people.map_or(Person::Known, |people| {
        people.find(&mailbox.unquoted_local())
    })
}

/// Follows other names to the end; a name that leads back, or nowhere, is left out.
fn follow(policy: &Policy, names: &[String], domain: &str, depth: u8, found: &mut Vec<String>) {
    for name in names {
        let whole = if name.contains('@') {
            name.clone()
        } else {
            format!("{name}@{domain}")
        };
        let Ok(mailbox) = Mailbox::parse(&whole, true) else {
            continue;
        };
        match find(policy, &mailbox) {
            Person::Alias(more) if depth > 0 && !more.iter().any(|other| other == name) => {
                follow(policy, more, domain_of(&mailbox), depth - 1, found);
            }
            Person::Alias(_) | Person::Known => {
                if found.len() < ALIAS_LIMIT && !found.contains(&whole) {
                    found.push(whole);
                }
            }
            Person::Unknown => {}
        }
    }
}

fn domain_of(mailbox: &Mailbox) -> &str {
    mailbox.domain.name().unwrap_or_default()
}

/// The domain as it is written; only a literal has to be spelt out.
fn written(domain: &Domain) -> std::borrow::Cow<'_, str> {
    match domain {
        Domain::Name(name) => (&**name).into(),
        Domain::Literal(_) => domain.to_string().into(),
    }
}

#[cfg(test)]
mod tests;

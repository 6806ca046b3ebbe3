//! Answers an explained session's questions as the worker would, and keeps the trail.
//!
//! Never: a wording of its own for a reply; those are `decide.rs`'s.

use std::net::IpAddr;

use postern_access::{Login, Matched, NameFacts, Reason, Step, Verdict};
use postern_config::{Definition, Section};
use postern_control::query::{Case, StepRow};
use postern_sasl::Mechanism;
use postern_smtp::{Ask, AuthAnswer, AuthStep, Event, ForwardPath, Mail, Mailbox, Rcpt, Reply};

use super::{Known, Names, Unfinished};
use crate::build::Policy;
use crate::decide::{self, Accepted, Asker};
use crate::people::Person;

/// As many addresses of an alias are told.
const TOLD: usize = 8;

/// Which setting decides where a trail names no place, by the beginning of the rule's name.
const SETTINGS: [(&str, Section, &str); 10] = [
    ("connection.list:", Section::Connection, "mode"),
    ("relay.list:", Section::Relay, "mode"),
    ("relay.authenticated", Section::Relay, "authenticated"),
    (
        "authentication.anonymous:",
        Section::Authentication,
        "anonymous",
    ),
    (
        "authentication.anonymous_local_sender",
        Section::Authentication,
        "anonymous_local_sender",
    ),
    ("authentication.submit", Section::Authentication, "submit"),
    ("authentication.relay", Section::Authentication, "relay"),
    (
        "authentication.sender_must_match",
        Section::Authentication,
        "sender_must_match",
    ),
    ("relay.domains:", Section::Relay, "domains"),
    ("delivery.domains:", Section::Delivery, "domains"),
];

/// Who answers.
pub(super) struct Judge<'a> {
    pub(super) policy: &'a Policy,
    case: &'a Case,
    /// IPv4-mapped addresses are IPv4, as at the door.
    client: IpAddr,
    known: &'a Known<'a>,
    given: Option<Vec<Box<str>>>,
    login: Option<Login<'a>>,
}

type Steps = Vec<StepRow>;

impl<'a> Judge<'a> {
    pub(super) fn new(policy: &'a Policy, case: &'a Case, known: &'a Known<'a>) -> Judge<'a> {
        let plain = |name: &String| {
            let name = name.strip_suffix('.').unwrap_or(name);
            name.to_ascii_lowercase().into_boxed_str()
        };
        let given = case.names.as_ref();
        Judge {
            policy,
            case,
            client: case.client.to_canonical(),
            known,
            given: given.map(|names| names.iter().map(plain).collect()),
            login: None,
        }
    }

    /// Whether the client is greeted.
    pub(super) fn connection(&self) -> Result<(bool, Steps), Unfinished> {
        let mut steps = Vec::new();
        let (rule, client) = (&self.policy.connection, self.client);
        let from = &self.definition().general.proxy_from;
        if from.iter().any(|network| network.contains(&client)) {
            let what = format!("general.proxy_from: {client} says who its client is");
            steps.push(self.setting(Section::General, "proxy_from", what, false));
        }
        let wanted = rule.needs_names(client, self.known.hosts);
        let has_domains = || has_domains(rule.list());
        let names = self.names(wanted, has_domains, &mut steps)?;
        let verdict = rule.explain(client, &self.facts(names));
        self.tell(&verdict, &mut steps);
        Ok((verdict.allowed, steps))
    }

    /// Answers one question of the session.
    pub(super) fn answer(&mut self, event: Event<'_>, steps: &mut Steps) -> Result<(), Unfinished> {
        match event {
            Event::Hello(ask) => drop(ask.accept(())),
            Event::Auth(ask) => self.auth(ask, steps),
            Event::Mail(ask) => self.mail(ask, steps),
            Event::Rcpt(ask) => self.rcpt(ask, steps)?,
            // Nothing of these is ever said; an open question answers itself.
            _ => {}
        }
        Ok(())
    }

    fn auth(&mut self, ask: Ask<'_, AuthStep>, steps: &mut Steps) {
        let asked = self.case.login.as_deref().unwrap_or_default();
        let found = match is_scram(ask.mechanism) {
            true => self.known.keyed,
            false => self.known.login,
        };
        let Some(login) = found else {
            let what = match self.known.login {
                Some(login) => format!(
                    "authentication.accounts: {} has no keys for SCRAM, and nothing else is offered",
                    login.account
                ),
                None => format!("authentication.accounts: there is no {asked}"),
            };
            steps.push(self.setting(Section::Authentication, "accounts", what, true));
            ask.refuse(decide::login_refused());
            return;
        };
        let groups = match login.groups {
            [] => String::new(),
            groups => format!(", in @{}", groups.join(", @")),
        };
        let what = format!("authentication.accounts: {}{groups}", login.account);
        steps.push(self.setting(Section::Authentication, "accounts", what, true));
        self.login = Some(login);
        ask.accept(AuthAnswer::Success {
            identity: login.account.to_owned(),
        });
    }

    fn mail(&self, ask: Ask<'_, Mail>, steps: &mut Steps) {
        let rule = &self.policy.sender;
        let verdict = decide::ask_sender(self.login.as_ref(), &ask, |it| rule.explain(it));
        self.tell(&verdict, steps);
        match decide::sender_by(verdict, &ask) {
            Ok(verdict) => {
                if verdict.marked {
                    steps.push(plain("the message is marked as not authenticated", false));
                }
                ask.accept(());
            }
            Err(reply) => drop(ask.refuse(reply)),
        }
    }

    fn rcpt(&self, ask: Ask<'_, Rcpt>, steps: &mut Steps) -> Result<(), Unfinished> {
        let unnamed = self.facts(&[]);
        let mut asker = Asker {
            client: self.client,
            facts: &unnamed,
            login: self.login.as_ref(),
        };
        let wanted = decide::needs_names(self.policy, &asker, &ask);
        let has_domains = || has_domains(&self.policy.relay.list);
        let mut looked_up = Vec::new();
        let named = self.facts(self.names(wanted, has_domains, &mut looked_up)?);
        asker.facts = &named;
        let verdict = decide::ask(&asker, &ask, |it| self.policy.relay.explain(it));
        // The names are asked for only where the list is: told right before it.
        self.tell(&verdict, steps);
        if is_by_list(steps) {
            let at = steps.len() - 1;
            steps.splice(at..at, looked_up);
        }
        let result = decide::recipient_by(self.policy, &verdict, &ask);
        if verdict.allowed && verdict.reason == Reason::LocalDomain {
            steps.extend(self.person(&ask.recipient, &result));
        }
        match result {
            Ok(_) => drop(ask.accept(())),
            Err(reply) => drop(ask.refuse(reply)),
        }
        Ok(())
    }

    /// Who a recipient of a local domain is.
    fn person(&self, recipient: &ForwardPath, result: &Result<Accepted, Reply>) -> Steps {
        let domains = &self.definition().delivery.domains;
        let (mailbox, mut steps) = match recipient {
            ForwardPath::Mailbox(mailbox) => (mailbox.clone(), Vec::new()),
            ForwardPath::Postmaster => {
                let first = domains.first().map(|domain| &domain.name);
                let Some(mailbox) =
                    first.and_then(|name| Mailbox::parse(&format!("postmaster@{name}"), true).ok())
                else {
                    return vec![plain("there is no local domain to be postmaster of", true)];
                };
                let what = format!("<postmaster> is {mailbox}");
                (mailbox, vec![plain(&what, false)])
            }
        };
        let name = mailbox.domain.name().unwrap_or_default();
        let local = self.definition().delivery.local_domain(name);
        let place = local.map(|domain| self.policy.places.of(domain.origin));
        let (what, place) = match (decide::find(self.policy, &mailbox), result) {
            (Person::Known, _) if self.are_listed(name) => {
                (format!("recipients: {mailbox} is listed"), place)
            }
            (Person::Known, _) => (
                format!("recipients: {name} lists none, all are taken"),
                place,
            ),
            (Person::Alias(_), Ok(Accepted::Instead(addresses))) => {
                (format!("aliases: {mailbox} is {}", few(addresses)), place)
            }
            (Person::Alias(_), _) => (format!("aliases: {mailbox} leads nowhere"), place),
            (Person::Unknown, Err(_)) => (format!("recipients: {mailbox} is not listed"), place),
            (Person::Unknown, Ok(_)) => self.unlisted(&mailbox),
        };
        steps.push(StepRow {
            rule: what,
            place,
            matched: true,
        });
        steps
    }

    /// Not listed, and taken all the same.
    fn unlisted(&self, mailbox: &Mailbox) -> (String, Option<String>) {
        match &self.definition().messages.unresolved_to {
            Some(host) => (
                format!("messages.unresolved_to: {mailbox} is not listed, and goes to {host}"),
                Some(self.place(Section::Messages, "unresolved_to")),
            ),
            None => (
                format!("{mailbox} is not listed, but a postmaster is always taken"),
                None,
            ),
        }
    }

    fn are_listed(&self, domain: &str) -> bool {
        let people = self.policy.people.get(domain.to_lowercase().as_str());
        people.is_some_and(|people| people.known.is_some())
    }

    /// `[access.tls] require`.
    pub(super) fn require(&self, matched: bool) -> StepRow {
        let what = "tls.require: true".to_owned();
        self.setting(Section::Tls, "require", what, matched)
    }

    /// Whether TLS can be spoken at all.
    pub(super) fn certificates(&self) -> StepRow {
        let what = match self.known.means.certificate {
            true => "tls.certificates: there is one",
            false => "tls.certificates: there is none",
        };
        self.setting(Section::Tls, "certificates", what.to_owned(), true)
    }

    /// Which mechanisms are offered, and why no other.
    pub(super) fn offer(&self, offered: &[&str], secure: bool) -> Steps {
        let authentication = &self.definition().authentication;
        let setting = |name, what: String, matched| {
            self.setting(Section::Authentication, name, what, matched)
        };
        let means = self.known.means;
        if !(means.accounts || means.kerberos || means.ntlm) {
            let what = "authentication.accounts: there are none".to_owned();
            return vec![setting("accounts", what, true)];
        }
        let nothing = offered.is_empty();
        let mut steps = vec![match authentication.basic {
            _ if !means.accounts => {
                let what = "authentication.accounts: a keytab only, which takes no passwords";
                setting("accounts", what.to_owned(), nothing)
            }
            true => {
                let what = format!(
                    "authentication.basic_requires_tls: {}",
                    authentication.basic_requires_tls
                );
                setting("basic_requires_tls", what, nothing)
            }
            false => setting("basic", "authentication.basic: false".to_owned(), nothing),
        }];
        if nothing {
            steps.extend(self.not_integrated(secure));
            let why = match (authentication.scram, self.known.means.scram) {
                (false, _) => "false",
                (true, false) => "no account has keys",
                (true, true) => "outside TLS only where there is none to be had",
            };
            steps.push(setting(
                "scram",
                format!("authentication.scram: {why}"),
                true,
            ));
        } else {
            let within = if secure { "inside TLS" } else { "in clear" };
            let what = format!("offered {within}: {}", offered.join(", "));
            steps.push(plain(&what, false));
        }
        steps
    }

    /// Why neither tickets nor NTLM are taken, where a source could.
    fn not_integrated(&self, secure: bool) -> Option<StepRow> {
        let settings = &self.definition().authentication;
        let (name, why) = if settings.kerberos_source().is_some() && !settings.is_integrated() {
            ("integrated", "authentication.integrated: false")
        } else if !secure && settings.binding_required() {
            (
                "ntlm",
                "authentication.ntlm: a channel binding is required, and there is no channel in clear",
            )
        } else if !secure && (settings.serves_kerberos() || settings.serves_ntlm()) {
            (
                "integrated",
                "authentication.integrated: outside TLS only where there is none to be had",
            )
        } else {
            return None;
        };
        Some(self.setting(Section::Authentication, name, why.to_owned(), true))
    }

    /// A setting as a step, with its place.
    pub(super) fn setting(
        &self,
        section: Section,
        name: &'static str,
        rule: String,
        matched: bool,
    ) -> StepRow {
        StepRow {
            rule,
            place: Some(self.place(section, name)),
            matched,
        }
    }

    fn place(&self, section: Section, name: &'static str) -> String {
        let places = &self.policy.places;
        places.of_setting(self.definition(), section, name)
    }

    fn definition(&self) -> &'a Definition {
        &self.policy.definition
    }

    fn facts<'n>(&self, client: &'n [Box<str>]) -> NameFacts<'n>
    where
        'a: 'n,
    {
        NameFacts {
            client,
            hosts: self.known.hosts,
        }
    }

    /// The client's names, if a rule asks for them; what became of that is told where a rule could ask.
    fn names(
        &self,
        wanted: bool,
        could: impl FnOnce() -> bool,
        steps: &mut Steps,
    ) -> Result<&[Box<str>], Unfinished> {
        if !wanted {
            if could() {
                steps.push(plain("reverse look-up: not needed", false));
            }
            return Ok(&[]);
        }
        let (names, how): (&[Box<str>], _) = match (&self.given, self.known.names) {
            (Some(given), _) => (given, "names as given"),
            (None, Names::Found(found)) => (found, "confirmed names"),
            (None, Names::Unasked) => return Err(Unfinished::NamesWanted),
            (None, Names::LeftOut) => {
                let what = "reverse look-up: left out, so no domain entry matches";
                steps.push(plain(what, false));
                return Ok(&[]);
            }
        };
        let shown = match names {
            [] => "reverse look-up: no confirmed name".to_owned(),
            names => format!("reverse look-up: {how} {}", names.join(", ")),
        };
        steps.push(plain(&shown, false));
        Ok(names)
    }

    fn tell(&self, verdict: &Verdict, steps: &mut Steps) {
        steps.extend(verdict.trail.iter().map(|step| self.row(step)));
    }

    fn row(&self, step: &Step) -> StepRow {
        let place = match step.origin {
            Some(origin) => Some(self.policy.places.of(origin)),
            None => {
                let mut settings = SETTINGS.iter();
                let found = settings.find(|(rule, ..)| step.rule.starts_with(rule));
                found.map(|(_, section, name)| self.place(*section, name))
            }
        };
        StepRow {
            rule: step.rule.clone(),
            place,
            matched: step.matched,
        }
    }
}

fn plain(rule: &str, matched: bool) -> StepRow {
    StepRow {
        rule: rule.to_owned(),
        place: None,
        matched,
    }
}

fn is_scram(mechanism: &str) -> bool {
    let mechanism = mechanism.parse::<Mechanism>();
    matches!(
        mechanism,
        Ok(Mechanism::ScramSha256 | Mechanism::ScramSha256Plus)
    )
}

fn is_by_list(steps: &[StepRow]) -> bool {
    steps
        .last()
        .is_some_and(|step| step.rule.starts_with("relay.list:"))
}

fn has_domains(list: &postern_access::List) -> bool {
    list.entries()
        .any(|entry| matches!(entry.matched, Matched::Domain(_)))
}

fn few(addresses: &[String]) -> String {
    let told = addresses.len().min(TOLD);
    let shown = addresses[..told].join(", ");
    match addresses.len() - told {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

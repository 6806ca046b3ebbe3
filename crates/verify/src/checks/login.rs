//! A password is never readable on the wire: no login that shows it is offered or taken in clear, and of the sessions
//! recorded here inside TLS neither name nor password can be read, in clear or in base64. SCRAM in clear shows the name:
//! that is said, and is no failure.
//!
//! In clear only a made-up account is ever tried. Inside TLS it is the given account, or the same made-up one with one
//! wrong password, as often as [`Pace::wrong_passwords`](crate::Pace) allows: so few that no lockout begins.
//!
//! Never: the given password outside TLS.

use postern_sasl::Secret;

use crate::expected::{Account, Channel};
use crate::finding::Finding;
use crate::inspection::{Inspection, Mechanism, log_in};
use crate::readable::{self, Form};
use crate::tap::{Recording, Side};
use crate::wire::{Fault, Wire};

const IN_CLEAR: &str = "set basic_requires_tls = true in [access.authentication], so that AUTH PLAIN and LOGIN work inside TLS only";

pub(super) async fn run(inspection: &mut Inspection<'_>) -> Result<(), Fault> {
    let made_up = made_up()?;
    if inspection.expected.channel != Channel::Implicit {
        in_clear(inspection, &made_up).await?;
    }
    inside(inspection, &made_up).await
}

/// A name and password that nobody has.
fn made_up() -> Result<Account, Fault> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut random = [0; 36];
    getrandom::fill(&mut random).map_err(|error| Fault::Broken(error.to_string()))?;
    let text: String = random
        .iter()
        .map(|byte| char::from(LETTERS[usize::from(byte % 32)]))
        .collect();
    let (name, password) = text.split_at(12);
    Ok(Account {
        name: format!("verify-{name}"),
        password: Secret::from(password),
    })
}

async fn in_clear(inspection: &mut Inspection<'_>, made_up: &Account) -> Result<(), Fault> {
    let mut wire = inspection.introduced().await?;
    let title = "no password is readable in clear";
    let open: Vec<String> = wire
        .mechanisms()
        .into_iter()
        .filter(|m| reveals(m))
        .collect();
    let finding = match (open.is_empty(), wire.offers("AUTH")) {
        (false, _) => Finding::failed(
            title,
            format!("AUTH {} is offered before TLS", open.join(" ")),
            IN_CLEAR,
        ),
        (true, Some(others)) => Finding::passed(title, harmless(others)),
        (true, None) => Finding::passed(title, "EHLO in clear offers no AUTH"),
    };
    inspection.find(finding.with(wire.said()));
    wire.forget();
    let title = "AUTH PLAIN in clear is refused";
    let blob = made_up.blob();
    let answer = wire
        .say_as(
            &format!("AUTH PLAIN {blob}"),
            "AUTH PLAIN (a made-up account)",
        )
        .await?;
    let why = answer.to_string();
    let finding = match answer.code {
        235 => Finding::failed(
            title,
            format!("a made-up account was let in: {why}"),
            IN_CLEAR,
        ),
        334 => Finding::failed(title, format!("the exchange was begun: {why}"), IN_CLEAR),
        535 => {
            inspection.wrong_passwords += 1;
            Finding::failed(
                title,
                format!("the password was looked at: {why}"),
                IN_CLEAR,
            )
        }
        500.. => Finding::passed(title, why),
        _ => Finding::untested(title, why),
    };
    inspection.find(finding.with(wire.said()));
    wire.leave().await;
    Ok(())
}

async fn inside(inspection: &mut Inspection<'_>, made_up: &Account) -> Result<(), Fault> {
    let title = "login inside TLS cannot be read on the wire";
    let wire = inspection.private().await?;
    let (offered, secure) = (wire.mechanisms(), wire.secured().is_some());
    let said = wire.said().to_owned();
    wire.leave().await;
    let why = match (secure, offered.is_empty()) {
        (false, _) => Some("there is no TLS here"),
        (true, true) => Some("no login is offered here"),
        (true, false) => None,
    };
    if let Some(why) = why {
        inspection.find(Finding::untested(title, why).with(&said));
        return Ok(());
    }
    // What shows a password comes first, for wrong ones are few.
    let spoken = |name: &String| Mechanism::ALL.into_iter().find(|m| m.name() == name);
    for mechanism in Mechanism::ALL {
        if offered.iter().any(|name| name == mechanism.name()) {
            let finding = one(inspection, mechanism, made_up).await?;
            inspection.find(finding);
        }
    }
    for name in offered.iter().filter(|name| spoken(name).is_none()) {
        let why = match name.ends_with("-PLUS") {
            true => "this command does not bind a login to its channel",
            false => "this command does not speak it",
        };
        let title = format!("AUTH {name} cannot be read on the wire");
        inspection.find(Finding::untested(title, why));
    }
    Ok(())
}

/// A session with a login, and a look at its bytes.
async fn one(
    inspection: &mut Inspection<'_>,
    mechanism: Mechanism,
    made_up: &Account,
) -> Result<Finding, Fault> {
    let title = format!(
        "AUTH {} inside TLS cannot be read on the wire",
        mechanism.name()
    );
    let given = inspection.expected.login.as_ref();
    if given.is_none() && inspection.wrong_passwords >= inspection.pace.wrong_passwords {
        let why =
            "wrong passwords are few on purpose, and they are used up; --login ACCOUNT spends none";
        return Ok(Finding::untested(title, why));
    }
    if given.is_some() && inspection.login_refused {
        return Ok(Finding::untested(title, Fault::NoLogin.to_string()));
    }
    let account = given.unwrap_or(made_up);
    let mut wire = inspection.private().await?;
    if wire.secured().is_none() {
        return Ok(Finding::untested(title, "there was no TLS this time").with(wire.said()));
    }
    wire.forget();
    let before = counts(&wire.tape().lock());
    let answer = log_in(&mut wire, mechanism, account).await;
    // What breaks off may be counted by the server as well.
    if !matches!(&answer, Ok(answer) if answer.code == 235) {
        inspection.wrong_passwords = inspection.wrong_passwords.saturating_add(1);
        inspection.login_refused = given.is_some();
    }
    let said = wire.said().to_owned();
    let answer = match answer {
        Ok(answer) => answer,
        Err(Fault::Scram(why)) => return Ok(Finding::untested(title, why).with(&said)),
        Err(fault) => return Err(fault),
    };
    let finding = match (answer.code, given.is_some()) {
        (235, false) => Finding::failed(
            title,
            format!("a made-up account was let in: {answer}"),
            "find out which account source takes any password",
        ),
        (235, true) | (500.., _) => judge(&title, &wire, before, account, &answer.to_string()),
        _ => Finding::untested(title, answer.to_string()),
    };
    wire.leave().await;
    Ok(finding.with(&said))
}

fn judge(
    title: &str,
    wire: &Wire,
    before: (usize, usize),
    account: &Account,
    answer: &str,
) -> Finding {
    let recording = wire.tape().now();
    let (sent, came) = counts(&recording);
    let of = match readable_part(&recording, before, account) {
        None => {
            let (sent, came) = (sent - before.0, came - before.1);
            return Finding::passed(
                title,
                format!(
                    "neither name nor password in the {sent} bytes sent and {came} received; {answer}"
                ),
            );
        }
        Some((what, Form::Clear)) => format!("{what} stands in the recorded bytes"),
        Some((what, Form::Base64)) => format!("{what} stands in the recorded bytes, in base64"),
    };
    Finding::failed(title, of, IN_CLEAR)
}

/// What can be read of the account in the bytes behind `before`, each way.
fn readable_part(
    recording: &Recording,
    before: (usize, usize),
    account: &Account,
) -> Option<(&'static str, Form)> {
    let ways = [(Side::Client, before.0), (Side::Server, before.1)];
    let secrets = [
        ("the name", account.name.as_bytes()),
        ("the password", account.password.expose()),
    ];
    ways.into_iter().find_map(|(side, from)| {
        let bytes = recording.bytes(side);
        let bytes = bytes.get(from..).unwrap_or_default();
        secrets
            .iter()
            .find_map(|(what, secret)| Some((*what, readable::find(bytes, secret)?)))
    })
}

fn counts(recording: &Recording) -> (usize, usize) {
    (recording.count(Side::Client), recording.count(Side::Server))
}

/// Whether whoever reads the wire can log in with what he has read: passwords, and bearer tokens.
fn reveals(mechanism: &str) -> bool {
    matches!(mechanism, "PLAIN" | "LOGIN" | "XOAUTH2" | "OAUTHBEARER")
}

/// What is offered in clear, where none of it shows a password.
fn harmless(offered: &str) -> String {
    let named = |m: &&str| {
        let m = m.to_ascii_uppercase();
        m.starts_with("SCRAM-") || matches!(m.as_str(), "CRAM-MD5" | "DIGEST-MD5" | "NTLM")
    };
    let naming: Vec<&str> = offered.split_whitespace().filter(named).collect();
    match naming.is_empty() {
        true => format!("only {offered}, which show no password"),
        false => format!(
            "only {offered}, which show no password; but {} shows the account's name",
            naming.join(" ")
        ),
    }
}

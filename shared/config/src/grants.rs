//! `submit` and `relay` of `[access.authentication]`: grants that grant nothing, or not what they seem to.
//!
//! Never: whether an account exists; only who reads the account files knows.

use postern_access::{Grant, Grants, Who};

use crate::load::Definition;
use crate::reader::Reader;
use crate::settings::Section;

pub(crate) fn check(reader: &mut Reader<'_>, definition: &Definition) {
    let login = &definition.authentication;
    for (name, grants) in [("submit", &login.submit), ("relay", &login.relay)] {
        if login.accounts.is_empty() {
            idle(reader, name, grants, "there are no accounts");
            continue;
        }
        only_denies(reader, name, grants);
        contradicts(reader, name, grants);
    }
    if login.accounts.is_empty() {
        return;
    }
    if login.submit.iter().next().is_none() && !login.anonymous {
        let span = reader.span_of(Section::Authentication, "submit");
        reader.warn(
            span,
            "nobody can send: submit grants it to nobody, and anonymous is false",
            "write who may send, such as [\"*\"]",
        );
    }
    if !definition.relay.authenticated {
        idle(
            reader,
            "relay",
            &login.relay,
            "authenticated is false in [access.relay]",
        );
    }
    relays_without_sending(reader, &login.submit, &login.relay);
}

fn grants_nobody(grants: &Grants) -> bool {
    grants.iter().all(|grant| grant.denies)
}

/// Grants that were written, are not the default, and decide nothing.
fn idle(reader: &mut Reader<'_>, name: &'static str, grants: &Grants, why: &str) {
    let span = reader.span_of(Section::Authentication, name);
    if let Some(span) = span.filter(|_| *grants != Grants::everybody()) {
        let what = format!("`{name}` counts for nothing: {why}");
        reader.warn(span, what, "remove it");
    }
}

/// `["!alice"]` was meant as everybody else.
fn only_denies(reader: &mut Reader<'_>, name: &'static str, grants: &Grants) {
    if grants.iter().next().is_none() || !grants_nobody(grants) {
        return;
    }
    let denied: Vec<String> = grants
        .iter()
        .map(|grant| format!(", \"{grant}\""))
        .collect();
    let span = reader.span_of(Section::Authentication, name);
    let what =
        format!("`{name}` only denies, and who is not named is not granted either: it is nobody's");
    reader.warn(span, what, format!("write [\"*\"{}]", denied.concat()));
}

/// Granted and denied at once: deny wins.
fn contradicts(reader: &mut Reader<'_>, name: &'static str, grants: &Grants) {
    let both = |grant: &&Grant| {
        !grant.denies
            && grants
                .iter()
                .any(|other| other.denies && same(&other.who, &grant.who))
    };
    if let Some(grant) = grants.iter().find(both) {
        let span = reader.span_of(Section::Authentication, name);
        let what = format!("`{name}` both grants and denies {grant}: deny wins");
        reader.warn(span, what, "keep one of the two");
    }
}

/// To relay a message is to send it first.
fn relays_without_sending(reader: &mut Reader<'_>, submit: &Grants, relay: &Grants) {
    let denied = |grant: &&Grant| {
        !grant.denies
            && grant.who != Who::Everybody
            && submit
                .iter()
                .any(|other| other.denies && same(&other.who, &grant.who))
    };
    if let Some(grant) = relay.iter().find(denied) {
        let span = reader.span_of(Section::Authentication, "relay");
        let what =
            format!("`relay` grants {grant} what `submit` denies: who may not send cannot relay");
        reader.warn(span, what, "keep one of the two");
    }
}

fn same(one: &Who, other: &Who) -> bool {
    let lower = |who: &Who| match who {
        Who::Everybody => (0, String::new()),
        Who::Account(name) => (1, name.to_lowercase()),
        Who::Group(name) => (2, name.to_lowercase()),
    };
    lower(one) == lower(other)
}

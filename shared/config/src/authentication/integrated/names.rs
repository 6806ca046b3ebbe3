//! Whose a bare name is where domains and tickets prove who somebody is, and other sources say what account that is.
//!
//! ```text
//! { windows = "CORP" }, { gssapi = … realms = ["LAB.EXAMPLE"] }    alice: of CORP, or of LAB.EXAMPLE?  ─▶ warning
//! { windows = "CORP" }, { file = … }                               CORP's alice is the file's alice    ─▶ note
//! ```
//!
//! Never: a look into a file.

use std::ops::Range;

use super::super::{AccountSource, Authentication};
use super::KEYTAB;
use crate::reader::Reader;
use crate::values::clip;

impl Authentication {
    /// Whether a source proves who somebody is, and leaves it to the others what account that is.
    fn proves(&self, number: usize) -> bool {
        match self.accounts.get(number) {
            Some(AccountSource::Windows { .. }) => true,
            Some(AccountSource::Gssapi { .. }) => {
                self.is_integrated() && self.kerberos_source() == Some(number)
            }
            _ => false,
        }
    }

    /// The domain or realm that is listed first of a source that proves; none where all are taken, or none is listed.
    fn home_of(&self, number: usize) -> Option<&str> {
        let names = match self.accounts.get(number).filter(|_| self.proves(number))? {
            AccountSource::Windows { domains } => domains,
            AccountSource::Gssapi { realms, .. } => realms,
            _ => return None,
        };
        let first = names.first().map(String::as_str);
        first.filter(|first| *first != "*")
    }

    /// Whether somebody whom a domain or a ticket proves may have an account or an address by his bare name.
    fn finds_by_bare_names(&self) -> bool {
        let finds = |source: &AccountSource| {
            matches!(source, AccountSource::File { .. } | AccountSource::Ldap(_))
        };
        !self.default_domain.is_empty() || self.accounts.iter().any(finds)
    }
}

/// Several domains, where the name alone finds an account or makes an address: that is the first one's, or nobody's.
pub(super) fn alone(
    reader: &mut Reader<'_>,
    settings: &Authentication,
    source: &AccountSource,
    place: &Range<usize>,
) {
    let (kind, names) = match source {
        AccountSource::Windows { domains } => ("domain", domains),
        AccountSource::Gssapi { realms, .. } => ("realm", realms),
        _ => return,
    };
    let by_name = settings.finds_by_bare_names();
    if by_name && names.is_empty() {
        let what = "which realm bare names are of is the keytab's to say: its only one, and none where it has several";
        let remedy = format!("list it: {{ keytab = {KEYTAB}, realms = [\"CORP.EXAMPLE\"] }}");
        reader.note_that(place.clone(), what, remedy);
    }
    if by_name && (names.len() > 1 || names.iter().any(|name| name == "*")) {
        let (what, remedy) = match names.first().filter(|first| *first != "*") {
            Some(first) => (
                format!(
                    "people of other {kind}s than {first} are no account's by their names alone"
                ),
                format!("name their accounts with the {kind} before or behind, or list one {kind}"),
            ),
            None => (
                format!("where every {kind} is taken, nobody is found by a bare name"),
                format!(
                    "name accounts with the {kind} before or behind, or list the {kind}s, your own first"
                ),
            ),
        };
        reader.note_that(place.clone(), what, remedy);
    }
}

/// Two domains whose people are both meant by bare names.
pub(super) fn homes(reader: &mut Reader<'_>, settings: &Authentication, sources: &[Range<usize>]) {
    if !settings.finds_by_bare_names() {
        return;
    }
    let numbered = settings.accounts.iter().enumerate();
    let mut homes = numbered.filter_map(|(number, _)| Some((number, settings.home_of(number)?)));
    let Some((_, first)) = homes.next() else {
        return;
    };
    let others: Vec<_> = homes.filter(|(_, home)| !is_one(first, home)).collect();
    for (number, home) in others {
        let what = format!(
            "bare names mean people of both {} and {}: one's alice is taken for the other's",
            clip(first),
            clip(home)
        );
        let remedy = "list the same domain first in both; if it is one by two names, leave accounts with bare names and default_domain out";
        if let Some(place) = sources.get(number) {
            reader.warn(place.clone(), what, remedy);
        }
    }
}

/// Whether two names are one domain's: a realm's first label is, as a rule, its NetBIOS name.
fn is_one(one: &str, other: &str) -> bool {
    let label = |name: &str| name.split('.').next().unwrap_or_default().to_lowercase();
    match one.contains('.') && other.contains('.') {
        true => one.eq_ignore_ascii_case(other),
        false => label(one) == label(other),
    }
}

/// What a source lends to those whom a domain or a ticket proves.
pub(super) fn lent(
    reader: &mut Reader<'_>,
    settings: &Authentication,
    source: &AccountSource,
    place: &Range<usize>,
) {
    let mut provers = (0..settings.accounts.len()).filter(|number| settings.proves(*number));
    match source {
        AccountSource::Ldap(ldap) if ldap.custom_filter && provers.next().is_some() => {
            let what = "people whom a domain or a ticket has proved are found by this filter as it is: who can write \
                        an attribute in it can be taken for another";
            let remedy =
                "let it compare names of accounts alone (sAMAccountName, uid), or leave it out";
            reader.note_that(place.clone(), what, remedy);
        }
        AccountSource::File { .. } => {
            if let Some(home) = provers.find_map(|number| settings.home_of(number)) {
                let what = format!(
                    "who is called alice in {home} logs in as alice of this file, whoever gave him that name",
                    home = clip(home)
                );
                let remedy = "if the two are not the same people, name this file's accounts with a domain of their own";
                reader.note_that(place.clone(), what, remedy);
            }
        }
        _ => {}
    }
}

//! Which account a name at login means.
//!
//! Never: a password looked at.

use postern_access::Login;
use postern_config::{Account, AccountFile, AccountSource, Authentication};

/// What an explanation says where Dovecot may have the account: nobody is told without the password.
pub const TAKEN_FOR_DOVECOTS: &str =
    "Dovecot tells nobody without the password: it is taken to have this account";

/// What an explanation says where only a ticket could tell: a keytab names nobody.
pub const TAKEN_FOR_A_TICKETS: &str =
    "a keytab tells nobody who is there: the client is taken to have a ticket for this name";

/// The account of this name in the first file that has it; `default_domain` completes a name without a domain (empty: it
/// stays as it is).
pub fn find_account<'a>(
    files: impl IntoIterator<Item = &'a AccountFile>,
    name: &str,
    default_domain: &str,
) -> Option<&'a Account> {
    let whole = completed(name, default_domain);
    let get = |file: &'a AccountFile| {
        let completed = || file.get(whole.as_deref()?);
        file.get(name).or_else(completed)
    };
    files.into_iter().find_map(get)
}

/// The account that Dovecot has if it has one of this name: it is named with its domain, and named like an address it has
/// that address.
pub fn dovecots(name: &str, default_domain: &str) -> Account {
    let name = completed(name, default_domain).unwrap_or_else(|| name.to_owned());
    // What would stand for a whole domain is no address.
    let is_address = name.contains('@') && !name.starts_with(['@', '*']);
    Account {
        addresses: is_address.then(|| name.clone()).into_iter().collect(),
        groups: Vec::new(),
        password: String::new(),
        scram: None,
        name,
    }
}

/// The name with the default domain, if it has none and there is one. `CORP\alice` has one.
pub fn completed(name: &str, default_domain: &str) -> Option<String> {
    let bare = !name.contains(['@', '\\']) && !default_domain.is_empty();
    bare.then(|| format!("{name}@{default_domain}"))
}

/// Whether the accounts of `domain` are meant by their bare names too: it is the one domain or realm whose accounts are
/// taken, or the first of those `listed`. Otherwise one domain's alice would be another's.
pub fn is_home(domain: Option<&str>, listed: &[String]) -> bool {
    let is = |home: &String| domain.is_none_or(|domain| home.eq_ignore_ascii_case(domain));
    listed.first().is_none_or(is)
}

/// The names that somebody is looked for by whom a domain or a ticket has proved, in order: `alice@corp.example` or
/// `CORP\alice`, then `alice` where the domain is at [home](is_home). The first that another source knows is the account.
pub fn windows_names(name: &str, domain: Option<&str>, home: bool) -> Vec<String> {
    let mut names: Vec<String> = domain
        .map(|domain| whole(name, domain))
        .into_iter()
        .collect();
    // A domain's name never stands for somebody outside it: a realm may well have one that is called `boss@example.com`.
    if domain.is_none() || (home && is_bare(name)) {
        names.push(name.to_owned());
    }
    names
}

/// The account of somebody whom a domain or a ticket has proved and no other source knows. It has one address: in the
/// default domain (empty where the domain is not at [home](is_home)), or in the realm.
pub fn windows_account(
    name: &str,
    domain: Option<&str>,
    default_domain: &str,
    groups: &[String],
) -> Account {
    let whole = domain.map(|domain| whole(name, domain));
    let address = match (completed(name, default_domain), &whole) {
        _ if !is_bare(name) => None,
        (Some(address), _) => Some(address),
        (None, Some(whole)) => domain.is_some_and(is_realm).then(|| whole.clone()),
        (None, None) => None,
    };
    Account {
        name: address.clone().or(whole).unwrap_or_else(|| name.to_owned()),
        addresses: address.into_iter().collect(),
        groups: groups.to_vec(),
        password: String::new(),
        scram: None,
    }
}

/// Whom a ticket names, as far as the definition shows it.
pub struct ByTicket {
    /// The names that he is looked for by, in order.
    pub names: Vec<String>,
    /// What completes them; empty: nothing.
    pub default_domain: String,
    /// Who he is if no other source knows him.
    pub otherwise: Account,
}

/// Whom a ticket for the name `written` lets in, for explanations; none where somebody could have a password for it, or
/// where no tickets are taken.
pub fn by_ticket(settings: &Authentication, written: &str) -> Option<ByTicket> {
    let by_password = settings.basic && settings.serves_passwords();
    if by_password || !settings.serves_kerberos() {
        return None;
    }
    let source = settings.kerberos_source()?;
    let Some(AccountSource::Gssapi { realms, .. }) = settings.accounts.get(source) else {
        return None;
    };
    let (name, realm) = windows_login(written);
    let home = is_home(realm, realms);
    let default_domain = if home { &*settings.default_domain } else { "" };
    Some(ByTicket {
        names: windows_names(name, realm, home),
        default_domain: default_domain.to_owned(),
        otherwise: windows_account(name, realm, default_domain, &[]),
    })
}

/// A name at login as account and domain: `CORP\alice`, `alice@corp.example`, `alice`.
pub fn windows_login(written: &str) -> (&str, Option<&str>) {
    if let Some((domain, name)) = written.split_once('\\') {
        return (name, Some(domain));
    }
    match written.rsplit_once('@') {
        Some((name, domain)) => (name, Some(domain)),
        None => (written, None),
    }
}

/// With its domain: as an address where it is a realm, else as Windows writes it.
fn whole(name: &str, domain: &str) -> String {
    match is_realm(domain) {
        true => format!("{name}@{}", domain.to_lowercase()),
        false => format!("{}\\{name}", domain.to_uppercase()),
    }
}

/// No NetBIOS name has a point in it, and every realm of a domain has one.
fn is_realm(domain: &str) -> bool {
    domain.contains('.')
}

/// Whether a name says nothing but whom: no domain, no service on a host, nothing that would stand for a whole domain.
fn is_bare(name: &str) -> bool {
    let odd = |c: char| c.is_whitespace() || c.is_control() || "@\\/*\"<>,:;".contains(c);
    !name.is_empty() && !name.contains(odd)
}

/// The account as access control wants it.
pub fn login_of(account: &Account) -> Login<'_> {
    Login {
        account: &account.name,
        groups: &account.groups,
        addresses: &account.addresses,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domains_account_is_looked_for_by_its_whole_name_first() {
        for (name, domain, expected) in [
            (
                "alice",
                Some("CORP.Example"),
                &["alice@corp.example", "alice"][..],
            ),
            ("alice", Some("corp"), &["CORP\\alice", "alice"]),
            ("Alice", None, &["Alice"]),
            ("alice@example.com", None, &["alice@example.com"]),
            // Somebody else's name, had in a realm.
            (
                "boss@example.com",
                Some("CORP.EXAMPLE"),
                &["boss@example.com@corp.example"],
            ),
            ("EU\\boss", Some("CORP"), &["CORP\\EU\\boss"]),
            ("host/mx1", Some("CORP.EXAMPLE"), &["host/mx1@corp.example"]),
        ] {
            assert_eq!(
                windows_names(name, domain, true),
                expected,
                "{name} {domain:?}"
            );
        }
    }

    #[test]
    fn what_no_source_knows_has_one_address_or_none() {
        for (name, domain, default_domain, called, address) in [
            (
                "alice",
                Some("CORP"),
                "example.com",
                "alice@example.com",
                true,
            ),
            (
                "alice",
                Some("CORP.EXAMPLE"),
                "example.com",
                "alice@example.com",
                true,
            ),
            ("alice", Some("CORP"), "", "CORP\\alice", false),
            (
                "alice",
                Some("CORP.EXAMPLE"),
                "",
                "alice@corp.example",
                true,
            ),
            ("alice", None, "", "alice", false),
            ("alice", None, "example.com", "alice@example.com", true),
            (
                "*",
                Some("CORP.EXAMPLE"),
                "example.com",
                "*@corp.example",
                false,
            ),
            (
                "",
                Some("CORP.EXAMPLE"),
                "example.com",
                "@corp.example",
                false,
            ),
            (
                "b@example.com",
                Some("CORP.EXAMPLE"),
                "",
                "b@example.com@corp.example",
                false,
            ),
            (
                "host/mx1",
                Some("CORP.EXAMPLE"),
                "example.com",
                "host/mx1@corp.example",
                false,
            ),
        ] {
            let groups = ["staff".to_owned()];
            let account = windows_account(name, domain, default_domain, &groups);
            let addresses: &[String] = match address {
                true => &[called.to_owned()],
                false => &[],
            };
            assert_eq!((&*account.name, &*account.addresses), (called, addresses));
            assert_eq!(account.groups, groups);
            // Neither may log in by a password, or be taken for somebody who may.
            assert!(account.password.is_empty() && account.scram.is_none());
        }
    }

    #[test]
    fn a_bare_name_is_of_one_domain() {
        let listed = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        for (domain, names, home) in [
            (Some("CORP"), &[][..], true),
            (None, &["CORP"], true),
            (Some("corp"), &["CORP", "LAB"], true),
            (Some("LAB"), &["CORP", "LAB"], false),
            (Some("CORP"), &["*"], false),
        ] {
            let listed: Vec<String> = listed(names);
            assert_eq!(is_home(domain, &listed), home, "{domain:?} {names:?}");
        }
        assert_eq!(windows_names("alice", Some("LAB"), false), ["LAB\\alice"]);
        let account = windows_account("alice", Some("LAB"), "", &[]);
        assert_eq!((&*account.name, account.addresses.len()), ("LAB\\alice", 0));
    }

    #[test]
    fn a_name_with_a_domain_is_not_completed() {
        for (name, domain, whole) in [
            ("alice", "example.test", Some("alice@example.test")),
            ("alice", "", None),
            ("alice@lab.test", "example.test", None),
            ("LAB\\alice", "example.test", None),
        ] {
            assert_eq!(completed(name, domain).as_deref(), whole, "{name}");
        }
    }

    #[test]
    fn a_ticket_lets_somebody_in_where_no_password_can() {
        let gssapi = |realms: &[&str]| AccountSource::Gssapi {
            keytab: "k".into(),
            realms: realms.iter().map(|one| (*one).to_owned()).collect(),
        };
        let settings = |accounts| Authentication {
            accounts,
            default_domain: "example.test".to_owned(),
            ..Authentication::default()
        };
        let file = AccountSource::File {
            path: "a".into(),
            nt_hashes: None,
        };
        let named = |settings: &Authentication| {
            by_ticket(settings, "alice@CORP.EXAMPLE").map(|by| (by.names, by.otherwise.name))
        };
        let alone = settings(vec![gssapi(&["CORP.EXAMPLE"])]);
        let both = vec!["alice@corp.example".to_owned(), "alice".to_owned()];
        assert_eq!(
            named(&alone),
            Some((both.clone(), "alice@example.test".to_owned()))
        );
        let other = settings(vec![gssapi(&["LAB.EXAMPLE", "CORP.EXAMPLE"])]);
        let whole = "alice@corp.example".to_owned();
        assert_eq!(named(&other), Some((vec![whole.clone()], whole)));
        let mut beside = settings(vec![file, gssapi(&["CORP.EXAMPLE"])]);
        assert_eq!(named(&beside), None);
        beside.basic = false;
        assert_eq!(named(&beside).map(|(names, _)| names), Some(both));
        assert_eq!(named(&settings(Vec::new())), None);
    }

    #[test]
    fn a_name_at_login_is_read_as_windows_writes_it() {
        assert_eq!(windows_login("CORP\\alice"), ("alice", Some("CORP")));
        assert_eq!(
            windows_login("alice@CORP.EXAMPLE"),
            ("alice", Some("CORP.EXAMPLE"))
        );
        assert_eq!(windows_login("alice"), ("alice", None));
    }
}

//! Which account a name at login means.
//!
//! Never: a password looked at.

use postern_access::Login;
use postern_config::{Account, AccountFile};

/// What an explanation says where Dovecot may have the account: nobody is told without the password.
pub const TAKEN_FOR_DOVECOTS: &str =
    "Dovecot tells nobody without the password: it is taken to have this account";

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

/// The name with the default domain, if it has none and there is one.
pub fn completed(name: &str, default_domain: &str) -> Option<String> {
    let bare = !name.contains('@') && !default_domain.is_empty();
    bare.then(|| format!("{name}@{default_domain}"))
}

/// The account as access control wants it.
pub fn login_of(account: &Account) -> Login<'_> {
    Login {
        account: &account.name,
        groups: &account.groups,
        addresses: &account.addresses,
    }
}

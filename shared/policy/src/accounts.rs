//! Which account a name at login means.
//!
//! Never: a password looked at.

use postern_access::Login;
use postern_config::{Account, AccountFile};

/// The account of this name in the first file that has it; `default_domain` completes a name without a domain (empty: it
/// stays as it is).
pub fn find_account<'a>(
    files: impl IntoIterator<Item = &'a AccountFile>,
    name: &str,
    default_domain: &str,
) -> Option<&'a Account> {
    let whole = match name.contains('@') || default_domain.is_empty() {
        true => None,
        false => Some(format!("{name}@{default_domain}")),
    };
    let get = |file: &'a AccountFile| {
        let completed = || file.get(whole.as_deref()?);
        file.get(name).or_else(completed)
    };
    files.into_iter().find_map(get)
}

/// The account as access control wants it.
pub fn login_of(account: &Account) -> Login<'_> {
    Login {
        account: &account.name,
        groups: &account.groups,
        addresses: &account.addresses,
    }
}

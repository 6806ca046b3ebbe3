//! Which accounts a privilege is granted to: names, `@group`, `*`; with `!` in front it is denied, and deny wins.
//!
//! ```text
//! ["*", "!@interns"]      everybody but the interns
//! ["alice", "@staff"]     alice and the staff
//! []                      nobody
//! ```

use std::fmt;
use std::str::FromStr;

/// A client that is logged in.
#[derive(Clone, Copy, Debug)]
pub struct Login<'a> {
    /// The account's name, as the account source knows it.
    pub account: &'a str,
    /// The groups it is in, without `@`.
    pub groups: &'a [String],
    /// The addresses it may send from; `@example.com` and `*@example.com` stand for a whole domain.
    pub addresses: &'a [String],
}

/// Whom a grant names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Who {
    /// Every account.
    Everybody,
    /// One account, compared without case.
    Account(Box<str>),
    /// The members of a group, compared without case.
    Group(Box<str>),
}

/// One entry of `submit` or `relay`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Grant {
    /// Whom it names.
    pub who: Who,
    /// Whether it denies (`!` in front).
    pub denies: bool,
}

/// The text names nobody: it is empty, or only `!` or `@`, or has a space or a second mark in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantError;

impl fmt::Display for GrantError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("not an account, `@group` or `*`, with `!` in front to deny")
    }
}

impl std::error::Error for GrantError {}

impl FromStr for Grant {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Grant, GrantError> {
        let (denies, name) = match text.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let who = match name.strip_prefix('@') {
            Some(group) => Who::Group(usable(group)?),
            None if name == "*" => Who::Everybody,
            None => Who::Account(usable(name)?),
        };
        Ok(Grant { who, denies })
    }
}

fn usable(name: &str) -> Result<Box<str>, GrantError> {
    let bad = |c: char| c.is_whitespace() || c.is_control() || c == '*';
    if name.is_empty() || name.starts_with(['!', '@']) || name.contains(bad) {
        return Err(GrantError);
    }
    Ok(name.into())
}

impl fmt::Display for Grant {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let deny = if self.denies { "!" } else { "" };
        match &self.who {
            Who::Everybody => write!(out, "{deny}*"),
            Who::Account(name) => write!(out, "{deny}{name}"),
            Who::Group(name) => write!(out, "{deny}@{name}"),
        }
    }
}

/// All grants of one privilege.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Grants(Vec<Grant>);

impl Grants {
    /// These grants, in the order written.
    pub fn new(grants: Vec<Grant>) -> Grants {
        Grants(grants)
    }

    /// `["*"]`: everybody who is logged in.
    pub fn everybody() -> Grants {
        Grants(vec![Grant {
            who: Who::Everybody,
            denies: false,
        }])
    }

    /// The grants, in the order written.
    pub fn iter(&self) -> impl Iterator<Item = &Grant> {
        self.0.iter()
    }

    /// Whether the privilege is granted; deny wins, and silence is no.
    pub fn allow(&self, login: &Login<'_>) -> bool {
        self.deciding(login).is_some_and(|grant| !grant.denies)
    }

    /// The grant that decides: the first that denies, or else the first that allows.
    pub fn deciding(&self, login: &Login<'_>) -> Option<&Grant> {
        let matching = |denies: bool| {
            self.0
                .iter()
                .find(move |grant| grant.denies == denies && grant.names(login))
        };
        matching(true).or_else(|| matching(false))
    }
}

impl Grant {
    fn names(&self, login: &Login<'_>) -> bool {
        match &self.who {
            Who::Everybody => true,
            Who::Account(name) => same(name, login.account),
            Who::Group(name) => login.groups.iter().any(|group| same(name, group)),
        }
    }
}

/// Equal without regard to case. Beyond ASCII too: `!Jörg` must not be escaped by logging in as `JÖRG`.
fn same(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b)
        || (!(a.is_ascii() && b.is_ascii())
            && a.chars()
                .flat_map(char::to_lowercase)
                .eq(b.chars().flat_map(char::to_lowercase)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(grants: &[&str], account: &str, groups: &[&str]) -> bool {
        let grants = Grants::new(grants.iter().map(|text| text.parse().unwrap()).collect());
        let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        grants.allow(&Login {
            account,
            groups: &groups,
            addresses: &[],
        })
    }

    #[test]
    fn deny_wins_wherever_it_stands() {
        let cases = [
            (&["*"][..], "alice", &[][..], true),
            (&[], "alice", &[], false),
            (&["alice"], "ALICE", &[], true),
            (&["alice"], "bob", &[], false),
            (&["*", "!alice"], "alice", &[], false),
            (&["!alice", "*"], "Alice", &[], false),
            (&["!alice", "alice"], "alice", &[], false),
            (&["!alice"], "bob", &[], false),
            (&["@staff"], "bob", &["Staff"], true),
            (
                &["@staff", "!@interns"],
                "bob",
                &["staff", "interns"],
                false,
            ),
            (&["*", "!*"], "bob", &[], false),
            (&["!jörg", "*"], "JÖRG", &[], false),
        ];
        for (grants, account, groups, expected) in cases {
            assert_eq!(
                allowed(grants, account, groups),
                expected,
                "{grants:?} {account} {groups:?}"
            );
        }
    }

    #[test]
    fn grants_read_back_as_written() {
        for text in [
            "*",
            "!*",
            "alice",
            "!alice",
            "@staff",
            "!@staff",
            "alice@example.com",
        ] {
            assert_eq!(text.parse::<Grant>().unwrap().to_string(), text);
        }
        for text in ["", "!", "@", "!@", "a b", "!!a", "@@a", "al*"] {
            assert_eq!(text.parse::<Grant>(), Err(GrantError), "{text}");
        }
    }
}

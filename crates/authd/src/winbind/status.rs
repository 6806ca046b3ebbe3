//! What a domain controller says to a login: `ntlm_auth` gives Samba's words for an NT_STATUS, not its name.
//!
//! | Kind | The client hears | Counts as a guess |
//! |---|---|---|
//! | [`Kind::Wrong`] | refused | yes |
//! | [`Kind::Unknown`] | refused, unless another source knows it | as a guess at a name |
//! | [`Kind::Barred`] | refused | no: the password was right, or does not matter |
//! | [`Kind::Away`] | later | no |
//!
//! What is not in the table is [`Kind::Away`]: a right password must not be refused because a controller is ill.
//!
//! Never: Samba's words in a reply to a client.

/// What a status means for a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Not its password.
    Wrong,
    /// No such account.
    Unknown,
    /// The account may not log in.
    Barred,
    /// It cannot be found out now.
    Away,
}

/// Samba 4.7 and later; the beginning suffices where the words go on.
const STATUSES: [(&str, Kind, &str); 24] = [
    (
        "NT_STATUS_WRONG_PASSWORD",
        Kind::Wrong,
        "When trying to update a password, this return status indicates that the value provided as the current password is not correct",
    ),
    (
        "NT_STATUS_LOGON_FAILURE",
        Kind::Wrong,
        "The attempted logon is invalid",
    ),
    (
        "NT_STATUS_NO_SUCH_USER",
        Kind::Unknown,
        "The specified account does not exist",
    ),
    (
        "NT_STATUS_NO_SUCH_DOMAIN",
        Kind::Unknown,
        "The specified domain did not exist",
    ),
    (
        "NT_STATUS_ACCOUNT_DISABLED",
        Kind::Barred,
        "The referenced account is currently disabled",
    ),
    (
        "NT_STATUS_ACCOUNT_EXPIRED",
        Kind::Barred,
        "The user account has expired",
    ),
    (
        "NT_STATUS_PASSWORD_EXPIRED",
        Kind::Barred,
        "The user account password has expired",
    ),
    (
        "NT_STATUS_PASSWORD_MUST_CHANGE",
        Kind::Barred,
        "The user password must be changed before logging on the first time",
    ),
    (
        "NT_STATUS_INVALID_LOGON_HOURS",
        Kind::Barred,
        "The user account has time restrictions",
    ),
    (
        "NT_STATUS_INVALID_WORKSTATION",
        Kind::Barred,
        "The user account is restricted so that it cannot be used to log on from the source workstation",
    ),
    (
        "NT_STATUS_ACCOUNT_LOCKED_OUT",
        Kind::Barred,
        "The user account has been automatically locked",
    ),
    (
        "NT_STATUS_ACCOUNT_RESTRICTION",
        Kind::Barred,
        "Indicates a referenced user name and authentication information are valid, but some user account restriction",
    ),
    (
        "NT_STATUS_LOGON_TYPE_NOT_GRANTED",
        Kind::Barred,
        "A user has requested a type of logon",
    ),
    (
        "NT_STATUS_AUTHENTICATION_FIREWALL_FAILED",
        Kind::Barred,
        "Logon Failure: The machine you are logging onto is protected by an authentication firewall",
    ),
    (
        "NT_STATUS_NOLOGON_WORKSTATION_TRUST_ACCOUNT",
        Kind::Barred,
        "The account used is a computer account",
    ),
    (
        "NT_STATUS_NOLOGON_SERVER_TRUST_ACCOUNT",
        Kind::Barred,
        "The account used is a server trust account",
    ),
    (
        "NT_STATUS_NOLOGON_INTERDOMAIN_TRUST_ACCOUNT",
        Kind::Barred,
        "The account used is an interdomain trust account",
    ),
    (
        "NT_STATUS_NTLM_BLOCKED",
        Kind::Away,
        "The authentication failed because NTLM was blocked",
    ),
    (
        "NT_STATUS_NO_LOGON_SERVERS",
        Kind::Away,
        "No logon servers are currently available",
    ),
    (
        "NT_STATUS_DOMAIN_CONTROLLER_NOT_FOUND",
        Kind::Away,
        "A domain controller for this domain was not found",
    ),
    (
        "NT_STATUS_NO_TRUST_SAM_ACCOUNT",
        Kind::Away,
        "The SAM database on the Windows Server does not have a computer account",
    ),
    (
        "NT_STATUS_TRUSTED_RELATIONSHIP_FAILURE",
        Kind::Away,
        "The logon request failed because the trust relationship",
    ),
    (
        "NT_STATUS_ACCESS_DENIED",
        Kind::Away,
        "{Access Denied} A process has requested access",
    ),
    ("NT_STATUS_IO_TIMEOUT", Kind::Away, "{Device Timeout}"),
];

/// What these words mean, and what the log calls it.
pub(super) fn read(words: &str) -> (Kind, String) {
    let known = STATUSES
        .iter()
        .find(|(name, _, start)| words == *name || words.starts_with(start));
    match known {
        Some((name, kind, _)) => (*kind, format!("the domain says {name}{}", advice(name))),
        None => (Kind::Away, format!("the domain says `{words}`")),
    }
}

/// Whether these words are those of NT_STATUS_NO_MEMORY.
pub(super) fn is_no_memory(words: &str) -> bool {
    words == "NT_STATUS_NO_MEMORY" || words.starts_with("{Not Enough Quota}")
}

fn advice(name: &str) -> &'static str {
    match name {
        "NT_STATUS_NTLM_BLOCKED" => {
            ": it takes no NTLM; use { ldap = … } or { gssapi = … } for its accounts"
        }
        "NT_STATUS_NO_LOGON_SERVERS" | "NT_STATUS_DOMAIN_CONTROLLER_NOT_FOUND" => {
            ": winbind reaches no domain controller; `wbinfo --ping-dc` says more"
        }
        "NT_STATUS_NO_TRUST_SAM_ACCOUNT"
        | "NT_STATUS_TRUSTED_RELATIONSHIP_FAILURE"
        | "NT_STATUS_ACCESS_DENIED" => {
            ": this host's account in the domain does not hold; `wbinfo -t` says more, `net ads join` renews it"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, read};

    #[test]
    fn words_have_a_name() {
        let cases = [
            (
                "When trying to update a password, this return status indicates that the value provided as the current password is not correct.",
                Kind::Wrong,
                "NT_STATUS_WRONG_PASSWORD",
            ),
            (
                "The referenced account is currently disabled and cannot be logged on to.",
                Kind::Barred,
                "NT_STATUS_ACCOUNT_DISABLED",
            ),
            (
                "NT_STATUS_ACCOUNT_LOCKED_OUT",
                Kind::Barred,
                "NT_STATUS_ACCOUNT_LOCKED_OUT",
            ),
            (
                "No logon servers are currently available to service the logon request.",
                Kind::Away,
                "NT_STATUS_NO_LOGON_SERVERS",
            ),
            ("Der Server ist müde.", Kind::Away, "Der Server ist müde."),
        ];
        for (words, kind, name) in cases {
            let (found, why) = read(words);
            assert_eq!(found, kind, "{words}");
            assert!(why.contains(name), "{why}");
        }
    }
}

//! [access.authentication]: who may log in, how, and what a login grants.

use std::path::PathBuf;

use postern_access::{AnonymousLocalSender, Grants, LockoutRule};

/// The section's settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Authentication {
    /// A session may send MAIL without logging in.
    pub anonymous: bool,
    /// AUTH PLAIN and LOGIN.
    pub basic: bool,
    /// Outside TLS, basic is neither offered nor accepted.
    pub basic_requires_tls: bool,
    /// AUTH GSSAPI and GSS-SPNEGO; `None`: where an account source can serve it.
    pub integrated: Option<bool>,
    /// AUTH NTLM.
    pub ntlm: Ntlm,
    /// AUTH SCRAM-SHA-256, and -PLUS inside TLS.
    pub scram: bool,
    /// Completes an account name written without a domain; empty: nothing does.
    pub default_domain: String,
    /// Where accounts come from, in order.
    pub accounts: Vec<AccountSource>,
    /// Who may send at all.
    pub submit: Grants,
    /// Who may relay.
    pub relay: Grants,
    /// A logged-in client sends only from addresses of its own account.
    pub sender_must_match: bool,
    /// What an anonymous session gets that claims a sender in a local domain.
    pub anonymous_local_sender: AnonymousLocalSender,
    /// Wrong passwords; `None`: nobody is ever locked out.
    pub lockout: Option<LockoutRule>,
}

impl Default for Authentication {
    fn default() -> Authentication {
        Authentication {
            anonymous: false,
            basic: true,
            basic_requires_tls: true,
            integrated: None,
            ntlm: Ntlm::default(),
            scram: true,
            default_domain: String::new(),
            accounts: Vec::new(),
            submit: Grants::everybody(),
            relay: Grants::everybody(),
            sender_must_match: true,
            anonymous_local_sender: AnonymousLocalSender::Reject,
            lockout: Some(LockoutRule::default()),
        }
    }
}

/// One source of accounts.
#[derive(Clone, Debug, PartialEq)]
pub enum AccountSource {
    /// `{ file = "/etc/postern/accounts/mx1.toml" }`: an account file.
    File {
        /// Its path, as written.
        path: PathBuf,
    },
    /// `{ ldap = … }`: Active Directory and others. Not in this build.
    Ldap,
    /// `{ windows = … }`: a domain, through winbind. Not in this build.
    Windows,
    /// `{ gssapi = … }`: a keytab. Not in this build.
    Gssapi,
    /// `{ dovecot = … }`: its auth socket. Not in this build.
    Dovecot,
}

/// AUTH NTLM: `false`, `true`, or a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ntlm {
    /// Whether it is offered.
    pub enabled: bool,
    /// Inside TLS only.
    pub requires_tls: bool,
    /// What is asked of a client's channel binding.
    pub channel_binding: ChannelBinding,
}

impl Default for Ntlm {
    fn default() -> Ntlm {
        Ntlm {
            enabled: false,
            requires_tls: true,
            channel_binding: ChannelBinding::Accept,
        }
    }
}

/// What is asked of a client's channel binding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChannelBinding {
    /// Checked where it is sent.
    #[default]
    Accept,
    /// Refused where it is not sent.
    Require,
}

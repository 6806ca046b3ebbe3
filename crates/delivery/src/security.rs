//! What must hold on a connection to a next hop before a message, or a password, goes over it.
//!
//! | `tls` | STARTTLS offered | not offered | handshake failed |
//! |---|---|---|---|
//! | none | clear | clear | – |
//! | opportunistic | TLS, whoever it is | clear | a new connection, in clear |
//! | required | TLS | refused | refused |
//!
//! A login is never sent outside TLS (RFC 4954 §4), and then the certificate must be that of the host named in the
//! definition: a password given to whoever answers would be worth no more than one sent in clear. So a login turns
//! `opportunistic` into `required`.
//!
//! Never: a handshake; this file only says what is wanted of one.

use std::fmt;
use std::sync::Arc;

/// How much TLS a connection needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tls {
    /// STARTTLS is not used even where it is offered.
    None,
    /// Used where it is offered and works: protects from those who listen, not from those who interfere (RFC 7435).
    #[default]
    Opportunistic,
    /// No TLS, no mail.
    Required,
}

/// What must hold on a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Security {
    /// How much TLS.
    pub tls: Tls,
    /// Whether the certificate must be valid for the host's name. A login implies it.
    pub verify: bool,
    /// Who to log in as, if the next hop wants that.
    pub login: Option<Login>,
}

/// A name and password for a next hop.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The account's name there.
    pub user: Arc<str>,
    /// Its password.
    pub password: Arc<str>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login {{ user: {:?}, password: *** }}", self.user)
    }
}

/// What to do next on a connection in clear, once its extensions are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Go on in clear.
    Clear,
    /// Say STARTTLS; the certificate is checked or not.
    StartTls {
        /// Whether the certificate must be valid for the host's name.
        verify: bool,
    },
    /// This host will not do, and why.
    Refuse(&'static str),
}

/// What a peer was found to be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// It offers STARTTLS.
    pub offers_starttls: bool,
    /// A handshake with it has failed just now.
    pub handshake_failed: bool,
}

impl Security {
    /// Whether nothing may pass in clear.
    pub fn demands_tls(&self) -> bool {
        self.login.is_some() || self.tls == Tls::Required
    }

    /// Whether the certificate decides.
    pub fn demands_name(&self) -> bool {
        self.verify || self.login.is_some()
    }

    /// What to do with a peer in clear.
    pub fn next(&self, seen: Seen) -> Next {
        match (self.demands_tls(), self.tls, seen) {
            (
                true,
                _,
                Seen {
                    handshake_failed: true,
                    ..
                },
            ) => Next::Refuse("TLS is required here, and the handshake failed"),
            (
                true,
                _,
                Seen {
                    offers_starttls: false,
                    ..
                },
            ) => Next::Refuse("TLS is required here, and the host does not offer STARTTLS"),
            (true, ..) => Next::StartTls {
                verify: self.demands_name(),
            },
            (
                false,
                Tls::Opportunistic,
                Seen {
                    offers_starttls: true,
                    handshake_failed: false,
                },
            ) => Next::StartTls { verify: false },
            _ => Next::Clear,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login() -> Option<Login> {
        Some(Login {
            user: Arc::from("u"),
            password: Arc::from("secret"),
        })
    }

    #[test]
    fn the_table_in_the_header() {
        use Next::*;
        let verified = StartTls { verify: true };
        let any = StartTls { verify: false };
        let refused = |next| matches!(next, Refuse(_));
        for (tls, login, offers, failed, want) in [
            (Tls::None, None, true, false, Some(Clear)),
            (Tls::None, None, false, false, Some(Clear)),
            (Tls::Opportunistic, None, true, false, Some(any)),
            (Tls::Opportunistic, None, false, false, Some(Clear)),
            (Tls::Opportunistic, None, true, true, Some(Clear)),
            (Tls::Required, None, true, false, Some(any)),
            (Tls::Required, None, false, false, None),
            (Tls::Required, None, true, true, None),
            (Tls::None, login(), true, false, Some(verified)),
            (Tls::Opportunistic, login(), false, false, None),
            (Tls::Opportunistic, login(), true, true, None),
        ] {
            let security = Security {
                tls,
                verify: false,
                login,
            };
            let next = security.next(Seen {
                offers_starttls: offers,
                handshake_failed: failed,
            });
            match want {
                Some(want) => assert_eq!(next, want, "{security:?} {offers} {failed}"),
                None => assert!(refused(next), "{security:?} {offers} {failed}"),
            }
        }
    }

    #[test]
    fn a_password_is_not_printed() {
        assert!(!format!("{:?}", login()).contains("secret"));
    }
}

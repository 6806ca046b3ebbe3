//! What must hold on a connection to a next hop before a message, or a password, goes over it.
//!
//! | `tls` | STARTTLS offered | not offered | handshake failed |
//! |---|---|---|---|
//! | none | clear | clear | – |
//! | opportunistic | TLS, whoever it is | clear | a new connection, in clear |
//! | required | TLS | refused | refused |
//! | dane | as opportunistic | as opportunistic | as opportunistic |
//!
//! For one host that may become `required`, by whoever says so first:
//!
//! | says | the certificate |
//! |---|---|
//! | the host's TLSA records (with `dane`) | must be one that they name (RFC 7672 §2.2) |
//! | … none of them of use | may be anyone's |
//! | the domain's MTA-STS policy (with `mta_sts`), enforced | must be valid for the host, which the policy must name |
//!
//! A login is never sent outside TLS (RFC 4954 §4), and then the certificate must be that of the host named in the
//! definition: a password given to whoever answers would be worth no more than one sent in clear. So a login turns
//! `opportunistic` into `required`.
//!
//! Of what a host offers the first of [`Login::mechanisms`] is used, and nothing else on that connection.
//!
//! Never: a handshake; this file only says what is wanted of one.

use std::fmt;
use std::sync::Arc;

use postern_sasl::{Bindings, Mechanism, Secret};
use postern_tls::ClientTls;

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
    /// Whatever the host's TLSA records say.
    Dane,
}

/// Who demands TLS, where it is demanded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Demand {
    /// The definition.
    #[default]
    Definition,
    /// The host's TLSA records.
    Dane,
    /// The MTA-STS policy of this domain.
    Policy(Arc<str>),
}

impl fmt::Display for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Demand::Definition => f.write_str("TLS is required here"),
            Demand::Dane => f.write_str("TLS is required by the TLSA records of the host (DANE)"),
            Demand::Policy(domain) => {
                write!(f, "TLS is required by the MTA-STS policy of {domain}")
            }
        }
    }
}

/// What must hold on a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Security {
    /// How much TLS.
    pub tls: Tls,
    /// Whether MTA-STS policies are kept to.
    pub mta_sts: bool,
    /// Who demands TLS, if it is demanded.
    pub demand: Demand,
    /// Whether the certificate must be valid for the host's name. A login implies it.
    pub verify: bool,
    /// Who vouches for that certificate, where it is not the system's authorities.
    pub trust: Option<ClientTls>,
    /// Who to log in as, if the next hop wants that.
    pub login: Option<Login>,
}

/// Who to be at a next hop, and how to show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The account's name there; `DOMAIN\\name` for Windows.
    pub user: Arc<str>,
    /// Its password, or its token.
    pub secret: Secret,
    /// What may be used, the best first.
    pub mechanisms: &'static [Mechanism],
}

impl Login {
    /// With a name and password: the host need not be shown the password if it takes a proof.
    pub const BASIC: &'static [Mechanism] = &[
        Mechanism::ScramSha256Plus,
        Mechanism::ScramSha256,
        Mechanism::Plain,
        Mechanism::Login,
    ];
    /// With an OAuth 2 token.
    pub const TOKEN: &'static [Mechanism] = &[Mechanism::OauthBearer, Mechanism::XOauth2];
    /// With a Windows account's name and password.
    pub const INTEGRATED: &'static [Mechanism] = &[Mechanism::GssSpnego, Mechanism::Ntlm];

    /// The best of what a host offers on a connection with these bindings.
    pub fn choose(&self, offered: &[String], bindings: &Bindings) -> Option<Mechanism> {
        let usable = |one: &Mechanism| {
            offered.iter().any(|name| name == one.name())
                && !(one.needs_channel() && bindings.is_empty())
        };
        self.mechanisms.iter().copied().find(usable)
    }
}

/// What to do next on a connection in clear, once its extensions are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Go on in clear.
    Clear,
    /// Say STARTTLS; the certificate is checked or not.
    StartTls {
        /// Whether the certificate must be valid for the host's name.
        verify: bool,
    },
    /// This host will not do, and why.
    Refuse(String),
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
    /// The same for a host whose certificate must be one that `tls` knows from its TLSA records.
    pub fn pinned(&self, tls: ClientTls) -> Security {
        Security {
            trust: Some(tls),
            verify: true,
            ..self.demanded(Demand::Dane)
        }
    }

    /// The same for a host whose TLSA records are of no use but to say that it has TLS (RFC 7672 §2.2).
    pub fn encrypted(&self) -> Security {
        self.demanded(Demand::Dane)
    }

    /// The same for a host that the policy of `domain` names.
    pub fn enforced(&self, domain: &str) -> Security {
        Security {
            verify: true,
            ..self.demanded(Demand::Policy(Arc::from(domain)))
        }
    }

    fn demanded(&self, demand: Demand) -> Security {
        Security {
            tls: Tls::Required,
            demand,
            ..self.clone()
        }
    }

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
        let hoped_for = matches!(self.tls, Tls::Opportunistic | Tls::Dane);
        match (
            self.demands_tls(),
            seen.offers_starttls,
            seen.handshake_failed,
        ) {
            (true, _, true) => Next::Refuse(format!("{}, and the handshake failed", self.demand)),
            (true, false, _) => Next::Refuse(format!(
                "{}, and the host does not offer STARTTLS",
                self.demand
            )),
            (true, true, false) => Next::StartTls {
                verify: self.demands_name(),
            },
            (false, true, false) if hoped_for => Next::StartTls { verify: false },
            _ => Next::Clear,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login() -> Option<Login> {
        Some(account())
    }

    fn account() -> Login {
        Login {
            user: Arc::from("u"),
            secret: Secret::from("hunter2"),
            mechanisms: Login::BASIC,
        }
    }

    #[test]
    fn the_table_in_the_header() {
        use Next::*;
        let verified = StartTls { verify: true };
        let any = StartTls { verify: false };
        let refused = |next: Next| matches!(next, Refuse(_));
        for (tls, login, offers, failed, want) in [
            (Tls::None, None, true, false, Some(Clear)),
            (Tls::None, None, false, false, Some(Clear)),
            (Tls::Opportunistic, None, true, false, Some(any.clone())),
            (Tls::Opportunistic, None, false, false, Some(Clear)),
            (Tls::Opportunistic, None, true, true, Some(Clear)),
            (Tls::Required, None, true, false, Some(any.clone())),
            (Tls::Required, None, false, false, None),
            (Tls::Required, None, true, true, None),
            (Tls::Dane, None, true, false, Some(any.clone())),
            (Tls::Dane, None, false, false, Some(Clear)),
            (Tls::Dane, None, true, true, Some(Clear)),
            (Tls::Dane, login(), true, false, Some(verified.clone())),
            (Tls::None, login(), true, false, Some(verified.clone())),
            (Tls::Opportunistic, login(), false, false, None),
            (Tls::Opportunistic, login(), true, true, None),
        ] {
            let security = Security {
                tls,
                login,
                ..Security::default()
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
    fn what_one_host_demands_is_never_less() {
        let general = Security {
            tls: Tls::Dane,
            mta_sts: true,
            ..Security::default()
        };
        let absent = Seen {
            offers_starttls: false,
            handshake_failed: false,
        };
        let failed = Seen {
            offers_starttls: true,
            handshake_failed: true,
        };
        for (security, verify, words) in [
            (general.pinned(ClientTls::opportunistic()), true, "DANE"),
            (general.encrypted(), false, "DANE"),
            (general.enforced("a.test"), true, "policy of a.test"),
        ] {
            let offered = security.next(Seen {
                handshake_failed: false,
                ..failed
            });
            assert_eq!(offered, Next::StartTls { verify });
            for seen in [absent, failed] {
                match security.next(seen) {
                    Next::Refuse(why) => assert!(why.contains(words), "{why}"),
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    #[test]
    fn the_best_of_what_is_offered_is_chosen() {
        use Mechanism::{
            GssSpnego, Ntlm, OauthBearer, Plain, ScramSha256, ScramSha256Plus, XOauth2,
        };
        let bound = Bindings {
            exporter: Some([1; 32]),
            ..Bindings::default()
        };
        let all = "LOGIN PLAIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS OAUTHBEARER XOAUTH2 NTLM GSS-SPNEGO CRAM-MD5";
        for (mechanisms, offered, bindings, want) in [
            (Login::BASIC, all, &bound, Some(ScramSha256Plus)),
            (Login::BASIC, all, &Bindings::default(), Some(ScramSha256)),
            (Login::BASIC, "LOGIN PLAIN NTLM", &bound, Some(Plain)),
            (Login::BASIC, "LOGIN", &bound, Some(Mechanism::Login)),
            (Login::BASIC, "CRAM-MD5 XOAUTH2 NTLM", &bound, None),
            (Login::TOKEN, all, &bound, Some(OauthBearer)),
            (Login::TOKEN, "PLAIN XOAUTH2", &bound, Some(XOauth2)),
            (Login::TOKEN, "PLAIN SCRAM-SHA-256", &bound, None),
            (Login::INTEGRATED, all, &bound, Some(GssSpnego)),
            (Login::INTEGRATED, "NTLM PLAIN GSSAPI", &bound, Some(Ntlm)),
            (Login::INTEGRATED, "GSSAPI", &bound, None),
            (&[Plain], all, &bound, Some(Plain)),
        ] {
            let offered: Vec<String> = offered.split(' ').map(str::to_owned).collect();
            let login = Login {
                mechanisms,
                ..account()
            };
            assert_eq!(login.choose(&offered, bindings), want, "{offered:?}");
        }
    }

    #[test]
    fn a_password_is_not_printed() {
        assert!(!format!("{:?}", login()).contains("hunter2"));
    }
}

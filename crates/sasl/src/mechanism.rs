//! The list of mechanisms, their registered names, and what is known of each.
//!
//! | Mechanism | Whoever reads the wire reads | Password guessed from a capture | Server's half |
//! |---|---|---|---|
//! | PLAIN, LOGIN | the password | – | yes |
//! | XOAUTH2, OAUTHBEARER | a token | – | no |
//! | EXTERNAL | a name | no | yes |
//! | NTLM | a name | quickly | yes |
//! | SCRAM-SHA-256 | a name | slowly | yes |
//! | GSS-SPNEGO, GSSAPI | a name | with Kerberos: no | yes |
//! | SCRAM-SHA-256-PLUS | a name; bound to the channel | slowly | yes |
//!
//! Never: which of them a session may use; the host decides that from its definition and the state of the channel.

use std::fmt;
use std::str::FromStr;

/// A mechanism at least one end of which can be spoken here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// RFC 4616: name and password in one blob.
    Plain,
    /// draft-murchison-sasl-login: name, then password, each asked for. Obsolete, and what printers speak.
    Login,
    /// Google's and Microsoft's way to send an OAuth 2 token. A client's half only.
    XOauth2,
    /// RFC 7628: an OAuth 2 token. A client's half only.
    OauthBearer,
    /// RFC 4422 Appendix A: the certificate shown in TLS.
    External,
    /// MS-NLMP alone, as MS-SMTPNTLM has it: NTLMv2.
    Ntlm,
    /// RFC 7677.
    ScramSha256,
    /// MS-SPNG as a mechanism: Kerberos or NTLM, negotiated.
    GssSpnego,
    /// RFC 4752: Kerberos; Exchange lets NTLM in here too.
    Gssapi,
    /// RFC 7677, bound to the TLS channel.
    ScramSha256Plus,
}

impl Mechanism {
    /// Every mechanism, strongest last; the order is the one offered to clients.
    pub const ALL: [Mechanism; 10] = [
        Mechanism::Plain,
        Mechanism::Login,
        Mechanism::XOauth2,
        Mechanism::OauthBearer,
        Mechanism::External,
        Mechanism::Ntlm,
        Mechanism::ScramSha256,
        Mechanism::GssSpnego,
        Mechanism::Gssapi,
        Mechanism::ScramSha256Plus,
    ];

    /// The registered name, as it stands in EHLO and AUTH.
    pub const fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::Login => "LOGIN",
            Mechanism::XOauth2 => "XOAUTH2",
            Mechanism::OauthBearer => "OAUTHBEARER",
            Mechanism::External => "EXTERNAL",
            Mechanism::Ntlm => "NTLM",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::GssSpnego => "GSS-SPNEGO",
            Mechanism::Gssapi => "GSSAPI",
            Mechanism::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
        }
    }

    /// Whether whoever reads the wire reads the password. Such a mechanism belongs inside TLS only.
    pub const fn reveals_password(self) -> bool {
        matches!(self, Mechanism::Plain | Mechanism::Login)
    }

    /// Whether whoever reads the wire can log in with what was read: a password or a token.
    pub const fn reveals_secret(self) -> bool {
        self.reveals_password() || matches!(self, Mechanism::XOauth2 | Mechanism::OauthBearer)
    }

    /// Whether it cannot be had without a TLS channel to bind to, or whose certificate is the proof.
    pub const fn needs_channel(self) -> bool {
        matches!(self, Mechanism::ScramSha256Plus | Mechanism::External)
    }

    /// Whether it is what Windows calls integrated: a domain's tickets or NTLM.
    pub const fn is_integrated(self) -> bool {
        matches!(
            self,
            Mechanism::Ntlm | Mechanism::GssSpnego | Mechanism::Gssapi
        )
    }

    /// Whether it is one of the SCRAM family, whose keys an account must hold.
    pub const fn is_scram(self) -> bool {
        matches!(self, Mechanism::ScramSha256 | Mechanism::ScramSha256Plus)
    }

    /// Whether a server can speak it here.
    pub const fn has_server(self) -> bool {
        !matches!(self, Mechanism::XOauth2 | Mechanism::OauthBearer)
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The name is none of [`Mechanism::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownMechanism;

impl fmt::Display for UnknownMechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown SASL mechanism")
    }
}

impl std::error::Error for UnknownMechanism {}

impl FromStr for Mechanism {
    type Err = UnknownMechanism;

    /// Case is ignored: RFC 4954 §4 takes the name as a case-insensitive keyword.
    fn from_str(text: &str) -> Result<Mechanism, UnknownMechanism> {
        let named = |m: &Mechanism| m.name().eq_ignore_ascii_case(text);
        Mechanism::ALL
            .into_iter()
            .find(named)
            .ok_or(UnknownMechanism)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_whatever_their_case() {
        for mechanism in Mechanism::ALL {
            assert_eq!(mechanism.name().parse(), Ok(mechanism));
            assert_eq!(mechanism.name().to_lowercase().parse(), Ok(mechanism));
        }
        for unknown in ["", "PLAI", "PLAIN ", "SCRAM-SHA-1", "plain\0"] {
            assert_eq!(
                unknown.parse::<Mechanism>(),
                Err(UnknownMechanism),
                "{unknown:?}"
            );
        }
    }

    #[test]
    fn only_basic_reveals_a_password() {
        let basic: Vec<_> = Mechanism::ALL
            .into_iter()
            .filter(|one| one.reveals_password())
            .collect();
        assert_eq!(basic, [Mechanism::Plain, Mechanism::Login]);
        assert!(
            Mechanism::ALL
                .iter()
                .all(|one| one.reveals_secret() || one.has_server())
        );
    }
}

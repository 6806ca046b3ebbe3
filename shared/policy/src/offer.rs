//! What a session on each kind of identity offers: TLS, mechanisms, limits.
//!
//! Never: a certificate or an account; only whether there are any.

use postern_config::{Authentication, BareNewline, Definition, TlsMode};
use postern_sasl::Mechanism;
use postern_smtp as smtp;

/// What the server has at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Means {
    /// A certificate, so that TLS can be spoken.
    pub certificate: bool,
    /// Accounts with passwords, or that a certificate may name.
    pub accounts: bool,
    /// Accounts with SCRAM keys.
    pub scram: bool,
    /// An authority whose certificates clients may show.
    pub certificates: bool,
    /// Somebody who reads tickets.
    pub kerberos: bool,
    /// Somebody who checks NTLM's responses.
    pub ntlm: bool,
}

/// The session settings of an identity of this kind.
pub fn session_settings(definition: &Definition, mode: TlsMode, means: Means) -> smtp::Settings {
    let messages = &definition.messages;
    let can_tls = means.certificate && mode != TlsMode::None;
    smtp::Settings {
        max_message_size: messages.max_message_size,
        max_session_size: messages.max_session_size,
        max_messages: messages.max_messages_per_session,
        max_recipients: messages.max_recipients,
        max_errors: messages.max_errors,
        idle_timeout: definition.general.idle_timeout,
        bare_newline: match messages.bare_newline {
            BareNewline::Refuse => smtp::BareNewline::Refuse,
            BareNewline::Convert => smtp::BareNewline::Convert,
        },
        tls: match (mode, means.certificate) {
            (TlsMode::Implicit, _) => smtp::TlsOffer::Active,
            (TlsMode::Starttls, true) if definition.tls.require => smtp::TlsOffer::Required,
            (TlsMode::Starttls, true) => smtp::TlsOffer::Offered,
            (TlsMode::Starttls, false) | (TlsMode::None, _) => smtp::TlsOffer::None,
        },
        mechanisms_clear: mechanisms_in_clear(definition, means, !can_tls),
        mechanisms_tls: mechanisms_in_tls(definition, means),
        ..smtp::Settings::new(definition.general.fqdn.clone())
    }
}

/// Inside TLS: all that is switched on, the strongest last.
fn mechanisms_in_tls(definition: &Definition, means: Means) -> Vec<&'static str> {
    let authentication = &definition.authentication;
    names(|mechanism| match mechanism {
        Mechanism::ScramSha256 | Mechanism::ScramSha256Plus => authentication.scram && means.scram,
        // The session offers it only to a client that has shown one.
        Mechanism::External => means.certificates && means.accounts,
        integrated if integrated.is_integrated() => {
            let kerberos = means.kerberos && authentication.serves_kerberos();
            let ntlm = means.ntlm && authentication.serves_ntlm();
            is_served(integrated, authentication, kerberos, ntlm)
        }
        other => other.reveals_password() && authentication.basic && means.accounts,
    })
}

/// Whether one of Windows's mechanisms is offered where tickets, and NTLM, are taken.
fn is_served(one: Mechanism, settings: &Authentication, kerberos: bool, ntlm: bool) -> bool {
    match one {
        Mechanism::Gssapi => kerberos,
        Mechanism::GssSpnego => kerberos || ntlm && settings.is_integrated(),
        Mechanism::Ntlm => ntlm,
        _ => false,
    }
}

/// In clear: basic only where it may be; SCRAM, tickets and NTLM only where the identity cannot have TLS. They reveal no
/// password, but from SCRAM and NTLM a weak one is guessed, and NTLM is relayed: it has a switch of its own.
fn mechanisms_in_clear(definition: &Definition, means: Means, no_tls: bool) -> Vec<&'static str> {
    let authentication = &definition.authentication;
    names(|mechanism| match mechanism {
        Mechanism::ScramSha256 => authentication.scram && means.scram && no_tls,
        integrated if integrated.is_integrated() => {
            let kerberos = means.kerberos && authentication.serves_kerberos_in_clear();
            let ntlm = means.ntlm && authentication.serves_ntlm_in_clear();
            no_tls && is_served(integrated, authentication, kerberos, ntlm)
        }
        other => {
            other.reveals_password()
                && authentication.basic
                && means.accounts
                && !authentication.basic_requires_tls
        }
    })
}

fn names(offered: impl Fn(Mechanism) -> bool) -> Vec<&'static str> {
    let all = Mechanism::ALL.into_iter();
    all.filter(|mechanism| offered(*mechanism))
        .map(Mechanism::name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::policy_of;

    const ALL: Means = Means {
        certificate: true,
        accounts: true,
        scram: true,
        certificates: true,
        kerberos: true,
        ntlm: true,
    };

    /// What is offered inside TLS and in clear, for such settings of `[access.authentication]`.
    fn offered(settings: &str, mode: TlsMode, means: Means) -> [String; 2] {
        let text = format!(
            "[general]\nfqdn = \"mx.example.com\"\nlisten = [\"127.0.0.1:25\"]\n\
             [access.tls]\ncertificates = [{{ certificate = \"c.pem\", key = \"k.pem\" }}]\n\
             [access.authentication]\n{settings}\n"
        );
        let settings = session_settings(&policy_of(&text).definition, mode, means);
        [settings.mechanisms_tls, settings.mechanisms_clear].map(|names| names.join(" "))
    }

    #[test]
    fn windows_mechanisms_are_offered_as_their_sources_and_switches_say() {
        const BASIC: &str = "basic = false\nscram = false";
        const NO_CERTIFICATES: Means = Means {
            certificates: false,
            ..ALL
        };
        let keytab = "{ gssapi = \"k\" }";
        let windows = "{ windows = \"CORP\" }";
        let hashes = "{ file = \"a\", nt_hashes = \"a.nt\" }";
        let bound = "ntlm = { channel_binding = \"require\" }";
        let clear = "ntlm = { requires_tls = false }";
        for (switches, sources, inside, outside) in [
            ("", vec!["{ file = \"a\" }", hashes, windows], "", ""),
            ("", vec![keytab], "GSS-SPNEGO GSSAPI", "GSS-SPNEGO GSSAPI"),
            ("integrated = false", vec![keytab], "", ""),
            ("ntlm = true", vec![hashes], "NTLM GSS-SPNEGO", ""),
            ("ntlm = true", vec![windows], "NTLM GSS-SPNEGO", ""),
            ("ntlm = true\nintegrated = false", vec![windows], "NTLM", ""),
            (
                "ntlm = true",
                vec![windows, keytab],
                "NTLM GSS-SPNEGO GSSAPI",
                "GSS-SPNEGO GSSAPI",
            ),
            (clear, vec![windows], "NTLM GSS-SPNEGO", "NTLM GSS-SPNEGO"),
            (bound, vec![windows, keytab], "NTLM GSS-SPNEGO GSSAPI", ""),
        ] {
            let settings = format!("{BASIC}\n{switches}\naccounts = [{}]", sources.join(", "));
            let [tls, clear] = offered(&settings, TlsMode::None, NO_CERTIFICATES);
            assert_eq!((&*tls, &*clear), (inside, outside), "{settings}");
            // Where TLS is to be had, none of them is offered outside it.
            let [tls, clear] = offered(&settings, TlsMode::Starttls, NO_CERTIFICATES);
            assert_eq!((&*tls, &*clear), (inside, ""), "{settings}");
        }
    }

    #[test]
    fn what_has_nobody_to_check_it_is_not_offered() {
        let settings = "ntlm = true\naccounts = [{ windows = \"CORP\" }, { gssapi = \"k\" }]";
        let without = |means| offered(settings, TlsMode::Starttls, means)[0].clone();
        let every = "PLAIN LOGIN EXTERNAL NTLM SCRAM-SHA-256 GSS-SPNEGO GSSAPI SCRAM-SHA-256-PLUS";
        assert_eq!(without(ALL), every);
        let no_ntlm = Means { ntlm: false, ..ALL };
        assert_eq!(without(no_ntlm), every.replace(" NTLM", ""));
        let no_tickets = Means {
            kerberos: false,
            ..ALL
        };
        assert_eq!(without(no_tickets), every.replace(" GSSAPI", ""));
        let neither = Means {
            ntlm: false,
            ..no_tickets
        };
        let rest = "PLAIN LOGIN EXTERNAL SCRAM-SHA-256 SCRAM-SHA-256-PLUS";
        assert_eq!(without(neither), rest);
    }

    #[test]
    fn a_keytab_takes_no_passwords() {
        let settings = "scram = false\naccounts = [{ gssapi = \"k\" }]";
        let means = Means {
            accounts: false,
            ..ALL
        };
        let [tls, _] = offered(settings, TlsMode::Starttls, means);
        assert_eq!(tls, "GSS-SPNEGO GSSAPI");
    }
}

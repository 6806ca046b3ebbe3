//! What a session on each kind of identity offers: TLS, mechanisms, limits.
//!
//! Never: a certificate or an account; only whether there are any.

use postern_config::{BareNewline, Definition, TlsMode};
use postern_sasl::Mechanism;
use postern_smtp as smtp;

/// What the server has at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Means {
    /// A certificate, so that TLS can be spoken.
    pub certificate: bool,
    /// Accounts, so that somebody can log in.
    pub accounts: bool,
    /// Accounts with SCRAM keys.
    pub scram: bool,
    /// An authority whose certificates clients may show.
    pub certificates: bool,
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
        other => other.reveals_password() && authentication.basic && means.accounts,
    })
}

/// In clear: basic only where it may be, SCRAM only where the identity cannot have TLS. It reveals no password, but from
/// what it does reveal a weak one is guessed.
fn mechanisms_in_clear(definition: &Definition, means: Means, no_tls: bool) -> Vec<&'static str> {
    let authentication = &definition.authentication;
    names(|mechanism| match mechanism {
        Mechanism::ScramSha256 => authentication.scram && means.scram && no_tls,
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

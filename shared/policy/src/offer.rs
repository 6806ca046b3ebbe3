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
}

/// The session settings of an identity of this kind.
pub fn session_settings(definition: &Definition, mode: TlsMode, means: Means) -> smtp::Settings {
    let messages = &definition.messages;
    let authentication = &definition.authentication;
    let basic: Vec<&'static str> = match authentication.basic && means.accounts {
        true => Mechanism::ALL
            .iter()
            .filter(|mechanism| mechanism.reveals_password())
            .map(|mechanism| mechanism.name())
            .collect(),
        false => Vec::new(),
    };
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
        mechanisms_clear: if authentication.basic_requires_tls {
            Vec::new()
        } else {
            basic.clone()
        },
        mechanisms_tls: basic,
        ..smtp::Settings::new(definition.general.fqdn.clone())
    }
}

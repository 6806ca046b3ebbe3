//! What a session is told: once for all sessions of a listener, and once after a handshake.
//!
//! Never: a setting that only a host can obey.

use std::time::Duration;

/// What a session must know, shared by all sessions of a listener. 0 means no limit, everywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The name in the greeting and in EHLO.
    pub fqdn: String,
    /// Octets of one message; offered in SIZE.
    pub max_message_size: u64,
    /// Octets of all bodies of one session; beyond it the session ends.
    pub max_session_size: u64,
    /// Messages in one session; MAIL beyond it answers 421.
    pub max_messages: u32,
    /// Accepted recipients of one message; RCPT beyond it answers 452.
    pub max_recipients: u32,
    /// Bad commands in one session; beyond it the session ends.
    pub max_errors: u32,
    /// How long a client may be silent.
    pub idle_timeout: Duration,
    /// What to do with a bare CR or LF in a message.
    pub bare_newline: BareNewline,
    /// TLS as this listener has it.
    pub tls: TlsOffer,
    /// SASL mechanisms offered outside TLS, in upper case.
    pub mechanisms_clear: Vec<&'static str>,
    /// SASL mechanisms offered inside TLS, in upper case.
    pub mechanisms_tls: Vec<&'static str>,
}

/// What to do with a bare CR or LF in a message. In neither case does it end a line, or the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BareNewline {
    /// `550 5.6.0` when the message is complete.
    #[default]
    Refuse,
    /// Becomes CRLF.
    Convert,
}

/// TLS on a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsOffer {
    /// None to be had.
    #[default]
    None,
    /// STARTTLS is offered.
    Offered,
    /// STARTTLS is offered, and little else works before it.
    Required,
    /// The session runs inside TLS from its first byte.
    Active,
}

/// What a handshake found that the session must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Secured {
    /// The client showed a certificate that was verified: EXTERNAL is offered if the settings name it.
    pub client_certificate: bool,
}

impl Settings {
    /// The defaults of a definition, for this name.
    pub fn new(fqdn: impl Into<String>) -> Settings {
        Settings {
            fqdn: fqdn.into(),
            max_message_size: 25 << 20,
            max_session_size: 250 << 20,
            max_messages: 1000,
            max_recipients: 1000,
            max_errors: 20,
            idle_timeout: Duration::from_secs(600),
            bare_newline: BareNewline::Refuse,
            tls: TlsOffer::None,
            mechanisms_clear: Vec::new(),
            mechanisms_tls: Vec::new(),
        }
    }
}

//! What a server tells an exchange of the world, since an exchange looks at nothing itself: fresh random octets, the
//! TLS channel, and what is switched on.
//!
//! Never: where any of it comes from.

/// What ties a login to its TLS connection (RFC 5056); empty outside TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bindings {
    /// `tls-exporter` (RFC 9266): in TLS 1.3.
    pub exporter: Option<[u8; 32]>,
    /// `tls-server-end-point` (RFC 5929): of each certificate the client may have been shown; a client has one.
    pub end_points: Vec<Box<[u8]>>,
}

impl Bindings {
    /// Whether there is nothing to bind to.
    pub fn is_empty(&self) -> bool {
        self.exporter.is_none() && self.end_points.is_empty()
    }

    /// What the type of this name may stand for here; empty where it is not to be had.
    pub(crate) fn named(&self, name: &[u8]) -> Vec<&[u8]> {
        match name {
            b"tls-exporter" => self.exporter.iter().map(<[u8; 32]>::as_slice).collect(),
            b"tls-server-end-point" => self.end_points.iter().map(AsRef::as_ref).collect(),
            _ => Vec::new(),
        }
    }

    /// The one a client uses: the exporter where there is one, since it is of this connection alone.
    pub(crate) fn preferred(&self) -> Option<(&'static str, &[u8])> {
        let end_point = || self.end_points.first().map(AsRef::as_ref);
        match &self.exporter {
            Some(exporter) => Some(("tls-exporter", exporter.as_slice())),
            None => end_point().map(|hash| ("tls-server-end-point", hash)),
        }
    }
}

/// How much of a protection is asked for. What was sent and is wrong is refused in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rule {
    /// Checked where the client sends it.
    #[default]
    Accept,
    /// A client that does not send it is refused.
    Require,
}

/// The names in an NTLM challenge. On a member of a domain they must be the member's own, or the controllers refuse.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NtlmNames {
    /// `MX1`: at most 15 letters.
    pub netbios_computer: String,
    /// `CORP`, or the computer's name again outside a domain.
    pub netbios_domain: String,
    /// `mx1.corp.example`.
    pub dns_computer: String,
    /// `corp.example`; may be empty.
    pub dns_domain: String,
}

/// How NTLM is taken, alone and inside SPNEGO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NtlmRules {
    /// Who the server says it is.
    pub names: NtlmNames,
    /// Now, as [`filetime`](crate::filetime) has it.
    pub time: u64,
    /// Whether each login must carry a message integrity code.
    pub integrity_code: Rule,
}

/// What one exchange is told by the server that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// From the system's generator, never used before: nonces and challenges are made of it.
    pub random: [u8; 32],
    /// The TLS connection's bindings.
    pub bindings: Bindings,
    /// Whether SCRAM-SHA-256-PLUS stood in the offer of this session.
    pub plus_offered: bool,
    /// Whether NTLM and Kerberos logins must be bound to the channel.
    pub channel_binding: Rule,
    /// NTLM, where it is switched on.
    pub ntlm: Option<NtlmRules>,
    /// Whether the host can check Kerberos tickets.
    pub kerberos: bool,
}

impl Surroundings {
    /// Without a channel, and with nothing switched on that needs more than random octets.
    pub fn new(random: [u8; 32]) -> Surroundings {
        Surroundings {
            random,
            bindings: Bindings::default(),
            plus_offered: false,
            channel_binding: Rule::Accept,
            ntlm: None,
            kerberos: false,
        }
    }
}

//! What should hold for a server, and how it may be asked.
//!
//! Never: where that is known from; a definition and a command line look the same here.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postern_sasl::Secret;

/// How TLS should be spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Channel {
    /// Not at all: a port for devices that cannot.
    None,
    /// STARTTLS is there for who wants it.
    #[default]
    Offered,
    /// Nothing works before STARTTLS.
    Required,
    /// From the first byte.
    Implicit,
}

/// An account to log in with.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// Its password.
    pub password: Secret,
}

impl Account {
    /// The blob of AUTH PLAIN (RFC 4616), in base64.
    pub(crate) fn blob(&self) -> String {
        let (name, password) = (self.name.as_bytes(), self.password.expose());
        STANDARD.encode([b"\0", name, b"\0", password].concat())
    }
}

/// What a server should be like. What is `None` or empty is not known, and what needs it is not tested.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// The name its certificate should bear.
    pub host: Option<String>,
    /// How TLS should be spoken.
    pub channel: Channel,
    /// Local addresses from which connections should be refused.
    pub excluded: Vec<IpAddr>,
    /// A domain it takes mail for.
    pub local_domain: Option<String>,
    /// An account to log in with; a made-up one otherwise.
    pub login: Option<Account>,
    /// A recipient that is taken and read by nobody: `postmaster@…` of a test system, an alias to nowhere.
    pub null_recipient: Option<String>,
    /// The foreign recipient of the relay probes; else one in a domain that cannot exist. DATA never follows it.
    pub foreign_recipient: Option<String>,
    /// The sender of the probes that come from outside.
    pub foreign_sender: Option<String>,
    /// The largest message, in bytes.
    pub max_message_size: Option<u64>,
    /// Bad commands borne in one session.
    pub max_errors: Option<u32>,
    /// Recipients of one message.
    pub max_recipients: Option<u32>,
    /// Connections of one client address.
    pub max_connections_per_ip: Option<u32>,
    /// Whether a client that speaks before the greeting is turned away.
    pub refuses_early_talkers: bool,
}

/// How a server may be asked.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The longest wait for one answer.
    pub wait: Duration,
    /// How long an answer that must not come is waited for, at least; and at least four times as long as the slowest reply
    /// of the session took.
    pub pause: Duration,
    /// How long a 421 is respected before the one more try.
    pub back_off: Duration,
    /// The longest time for one check; for each limit by itself.
    pub check: Duration,
    /// The longest time for all.
    pub whole: Duration,
    /// How many wrong passwords may be tried, so that nobody is locked out.
    pub wrong_passwords: u8,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            wait: Duration::from_secs(10),
            pause: Duration::from_secs(3),
            back_off: Duration::from_secs(3),
            check: Duration::from_secs(120),
            whole: Duration::from_secs(900),
            wrong_passwords: 2,
        }
    }
}

/// Which server, and from where.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Where it listens.
    pub address: SocketAddr,
    /// The local address to connect from; the system's choice otherwise.
    pub source: Option<IpAddr>,
}

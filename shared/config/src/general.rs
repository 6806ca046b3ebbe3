//! [general]: what the server is called, where it listens, how much it takes.

use std::time::Duration;

use ipnet::IpNet;
use postern_hosting::{Hosting, Identity, ProcessLimits};

/// The section's settings.
#[derive(Clone, Debug, PartialEq)]
pub struct General {
    /// Shown in lists.
    pub description: String,
    /// The server's name in its greeting, EHLO, `Received:` and notices; fully qualified.
    pub fqdn: String,
    /// Where it listens; never empty, no clash inside.
    pub listen: Vec<Identity>,
    /// The user its worker runs as; `None`: a uid of its own.
    pub user: Option<String>,
    /// Balancers whose PROXY header is believed.
    pub proxy_from: Vec<IpNet>,
    /// Whether it runs without having been asked for.
    pub autostart: bool,
    /// Sessions at once.
    pub max_connections: u32,
    /// Sessions at once of one client address (IPv6: its /64).
    pub max_connections_per_ip: u32,
    /// An inactive session ends after this.
    pub idle_timeout: Duration,
    /// What the worker process may use.
    pub limits: ProcessLimits,
    /// How long a predecessor may finish its sessions.
    pub drain_timeout: Duration,
}

impl Default for General {
    /// The defaults; `fqdn` and `listen` have none and are empty.
    fn default() -> General {
        General {
            description: String::new(),
            fqdn: String::new(),
            listen: Vec::new(),
            user: None,
            proxy_from: Vec::new(),
            autostart: true,
            max_connections: 1000,
            max_connections_per_ip: 50,
            idle_timeout: Duration::from_secs(600),
            limits: ProcessLimits::default(),
            drain_timeout: Hosting::DRAIN_TIMEOUT,
        }
    }
}

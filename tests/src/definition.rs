//! The text of a definition file, put together from what a test wants to say.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;

/// The sections of a definition in their order.
const SECTIONS: [&str; 7] = [
    "general",
    "access.authentication",
    "access.tls",
    "access.connection",
    "access.relay",
    "messages",
    "delivery",
];

/// A definition being written. Setting a key again replaces it.
#[derive(Clone)]
pub struct Definition {
    lines: [Vec<(String, String)>; 7],
}

impl Definition {
    /// A server `fqdn` that listens on `listen` in the clear, offers STARTTLS where a certificate is given, and takes
    /// mail from anybody on loopback for anywhere.
    pub fn open_relay(fqdn: &str, listen: SocketAddr) -> Definition {
        let empty = Definition {
            lines: Default::default(),
        };
        empty
            .general("fqdn", text(fqdn))
            .general("listen", format!("[\"{listen}\"]"))
            .authentication("anonymous", "true")
            .relay("list", "[\"127.0.0.0/8\"]")
    }

    /// Sets a key of `[general]`.
    pub fn general(self, key: &str, value: impl fmt::Display) -> Definition {
        self.set(0, key, value)
    }

    /// Sets a key of `[access.authentication]`.
    pub fn authentication(self, key: &str, value: impl fmt::Display) -> Definition {
        self.set(1, key, value)
    }

    /// Sets a key of `[access.tls]`.
    pub fn tls(self, key: &str, value: impl fmt::Display) -> Definition {
        self.set(2, key, value)
    }

    /// Sets a key of `[access.connection]`.
    pub fn connection(self, key: &str, value: impl fmt::Display) -> Definition {
        self.set(3, key, value)
    }

    /// Sets a key of `[access.relay]`.
    pub fn relay(self, key: &str, value: impl fmt::Display) -> Definition {
        self.set(4, key, value)
    }

    /// Sets a key of `[messages]`.
    pub fn messages(self, key: &str, value: impl fmt::Display) -> Definition {
        self.set(5, key, value)
    }

    /// Sets a key of `[delivery]`.
    pub fn delivery(self, key: &str, value: impl fmt::Display) -> Definition {
        self.set(6, key, value)
    }

    /// Everything that is not local goes to `host`.
    pub fn smart_host(self, host: SocketAddr) -> Definition {
        self.delivery("smart_host", format!("\"[{}]:{}\"", host.ip(), host.port()))
    }

    /// Mail for `domain` goes to `to`.
    pub fn local(self, domain: &str, to: &str) -> Definition {
        self.delivery(
            "domains",
            format!("[{{ name = {}, to = {} }}]", text(domain), text(to)),
        )
    }

    /// One pair of certificate and key.
    pub fn certificate(self, certificate: &Path, key: &Path) -> Definition {
        let pair = format!(
            "[{{ certificate = {}, key = {} }}]",
            path(certificate),
            path(key)
        );
        self.tls("certificates", pair)
    }

    /// Accounts from a file.
    pub fn accounts(self, file: &Path) -> Definition {
        self.authentication("accounts", format!("[{{ file = {} }}]", path(file)))
    }

    fn set(mut self, section: usize, key: &str, value: impl fmt::Display) -> Definition {
        let lines = &mut self.lines[section];
        lines.retain(|(known, _)| known != key);
        lines.push((key.to_owned(), value.to_string()));
        self
    }
}

impl fmt::Display for Definition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (section, lines) in SECTIONS.iter().zip(&self.lines) {
            if !lines.is_empty() {
                writeln!(f, "[{section}]")?;
            }
            for (key, value) in lines {
                writeln!(f, "{key} = {value}")?;
            }
        }
        Ok(())
    }
}

/// A TOML string.
pub fn text(value: &str) -> String {
    // What JSON escapes, and how, TOML understands.
    serde_json::Value::from(value).to_string()
}

fn path(value: &Path) -> String {
    text(&value.to_string_lossy())
}

//! Where mail goes: `maildir:…`, `lmtp:…`, `smtp:…`, and smart hosts.
//!
//! | Written | Meaning |
//! |---|---|
//! | `maildir:/var/mail/{domain}/{local}` | a Maildir for each recipient |
//! | `lmtp:unix:/run/dovecot/lmtp` | LMTP over a Unix socket |
//! | `lmtp:[::1]:24`, `lmtp:mail.example.net:24` | LMTP over TCP |
//! | `smtp:host:25`, `smtp:[192.0.2.25]:25` | SMTP to that very host |
//! | `relay.example.net:587`, `[192.0.2.25]` | a smart host; brackets: no look-up |
//!
//! Never: a look-up.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;

use crate::values::{Misfit, clip, is_host_name};

/// A host by name or by address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// Looked up when it is needed; in lower case.
    Name(String),
    /// Used as it is.
    Address(IpAddr),
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// The host.
    pub host: Host,
    /// The port, never 0.
    pub port: u16,
}

/// A smart host; without a port, `outbound_port` is meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SmartHost {
    /// The host.
    pub host: Host,
    /// The port where one is written, never 0.
    pub port: Option<u16>,
}

/// Where an LMTP server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A Unix socket; the path is absolute.
    Unix(PathBuf),
    /// A TCP port.
    Tcp(HostPort),
}

/// A Maildir's path with `{domain}` and `{local}` in it, which stand for whole or parts of a path component.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MaildirTemplate(String);

/// Where the mail of a local domain goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Into a Maildir.
    Maildir(MaildirTemplate),
    /// To an LMTP server.
    Lmtp(Endpoint),
    /// To an SMTP server.
    Smtp(HostPort),
}

impl MaildirTemplate {
    /// The template as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The folder for one recipient, or `None` if its names cannot be a path component: empty, `.`, `..`, or with a
    /// slash or NUL in it. The domain is put in lower case; of the local part what is given is used.
    pub fn folder(&self, local: &str, domain: &str) -> Option<PathBuf> {
        let fits = |name: &str| !matches!(name, "" | "." | "..") && !name.contains(['/', '\0']);
        if !fits(local) || !fits(domain) {
            return None;
        }
        // One pass: a local part that reads `{domain}` stays what it is.
        let mut path = String::with_capacity(self.0.len() + local.len() + domain.len());
        let mut rest = self.0.as_str();
        while let Some(at) = rest.find('{') {
            let (before, from) = rest.split_at(at);
            path.push_str(before);
            rest = if let Some(after) = from.strip_prefix("{local}") {
                path.push_str(local);
                after
            } else if let Some(after) = from.strip_prefix("{domain}") {
                path.extend(domain.chars().map(|c| c.to_ascii_lowercase()));
                after
            } else {
                path.push('{');
                &from[1..]
            };
        }
        path.push_str(rest);
        // `{local}` may be part of a component only: `.{local}` with `.` would climb.
        let path = PathBuf::from(path);
        let climbs = path
            .components()
            .any(|part| part == std::path::Component::ParentDir);
        (!climbs).then_some(path)
    }

    fn parse(text: &str) -> Result<MaildirTemplate, Misfit> {
        const REMEDY: &str = "write \"maildir:/var/mail/{domain}/{local}\"";
        if !text.starts_with('/') {
            return Err(Misfit::new("a Maildir's path must be absolute", REMEDY));
        }
        if text.split('/').any(|part| part == "..") || text.contains('\0') {
            return Err(Misfit::new(
                "a Maildir's path must not climb with `..`",
                REMEDY,
            ));
        }
        let plain = text.replace("{domain}", "").replace("{local}", "");
        if plain.contains(['{', '}']) {
            return Err(Misfit::new(
                "a Maildir's path knows only {domain} and {local}",
                REMEDY,
            ));
        }
        Ok(MaildirTemplate(text.to_owned()))
    }
}

impl Target {
    pub(crate) fn parse(text: &str) -> Result<Target, Misfit> {
        const REMEDY: &str = "write \"maildir:/var/mail/{domain}/{local}\", \"lmtp:unix:/run/dovecot/lmtp\", \
                              \"lmtp:[::1]:24\" or \"smtp:host:25\"";
        match text.split_once(':') {
            Some(("maildir", path)) => MaildirTemplate::parse(path).map(Target::Maildir),
            Some(("lmtp", rest)) => Endpoint::parse(rest).map(Target::Lmtp),
            Some(("smtp", rest)) => HostPort::parse(rest, "smtp:host:25").map(Target::Smtp),
            _ if text.starts_with('/') => Err(Misfit::new(
                "a bare path is no target",
                format!("write \"maildir:{}\"", clip(text)),
            )),
            _ => Err(Misfit::new(
                "not a target: it begins with neither maildir:, lmtp: nor smtp:",
                REMEDY,
            )),
        }
    }
}

impl Endpoint {
    fn parse(text: &str) -> Result<Endpoint, Misfit> {
        let Some(path) = text.strip_prefix("unix:") else {
            return HostPort::parse(text, "lmtp:[::1]:24").map(Endpoint::Tcp);
        };
        if !path.starts_with('/') || path.contains('\0') {
            return Err(Misfit::new(
                "a socket's path must be absolute",
                "write \"lmtp:unix:/run/dovecot/lmtp\"",
            ));
        }
        // A path in a socket address has room for 107 bytes (unix(7)).
        if path.len() > 107 {
            return Err(Misfit::new(
                "a socket's path may have 107 bytes at most",
                "use a shorter path",
            ));
        }
        Ok(Endpoint::Unix(path.into()))
    }
}

impl HostPort {
    fn parse(text: &str, example: &str) -> Result<HostPort, Misfit> {
        let SmartHost { host, port } = SmartHost::parse(text)?;
        match port {
            Some(port) => Ok(HostPort { host, port }),
            None => Err(Misfit::new(
                format!("`{}` has no port", clip(text)),
                format!("write the port too, as in \"{example}\""),
            )),
        }
    }
}

impl SmartHost {
    pub(crate) fn parse(text: &str) -> Result<SmartHost, Misfit> {
        const REMEDY: &str = "write \"relay.example.net:587\" or \"[192.0.2.25]\"";
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let Some((inner, after)) = rest.split_once(']') else {
                    return Err(Misfit::new(
                        format!("`{}` has no closing bracket", clip(text)),
                        REMEDY,
                    ));
                };
                let address = inner
                    .strip_prefix("IPv6:")
                    .unwrap_or(inner)
                    .parse()
                    .map_err(|_| {
                        Misfit::new(
                            format!("`{}` in brackets is no IP address", clip(inner)),
                            format!(
                                "write \"{}\" without brackets, or an address in them",
                                clip(inner)
                            ),
                        )
                    })?;
                (
                    Host::Address(address),
                    after
                        .strip_prefix(':')
                        .or((!after.is_empty()).then_some("")),
                )
            }
            None if text.parse::<Ipv6Addr>().is_ok() => {
                return Err(Misfit::new(
                    "an IPv6 address is written in brackets",
                    format!("write \"[{text}]\""),
                ));
            }
            None => match text.split_once(':') {
                Some((host, port)) => (Host::parse(host)?, Some(port)),
                None => (Host::parse(text)?, None),
            },
        };
        let port = match port {
            None => None,
            Some(port) => Some(parse_port(port).ok_or_else(|| {
                Misfit::new(
                    format!("`{}` ends with no usable port", clip(text)),
                    "write a port from 1 to 65535, as in \"relay.example.net:587\"",
                )
            })?),
        };
        Ok(SmartHost { host, port })
    }
}

/// Digits only: `+25` is no port.
fn parse_port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| *port != 0 && digits)
}

impl Host {
    fn parse(text: &str) -> Result<Host, Misfit> {
        if let Ok(address) = text.parse() {
            return Ok(Host::Address(address));
        }
        if is_host_name(text) {
            return Ok(Host::Name(text.to_ascii_lowercase()));
        }
        Err(Misfit::new(
            format!("`{}` is no host name and no address", clip(text)),
            "write \"relay.example.net:587\" or \"[192.0.2.25]\"",
        ))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => out.write_str(name),
            Host::Address(address) => write!(out, "[{address}]"),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.host, self.port)
    }
}

impl fmt::Display for SmartHost {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(out, "{}:{port}", self.host),
            None => self.host.fmt(out),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Maildir(template) => write!(out, "maildir:{}", template.0),
            Target::Lmtp(Endpoint::Unix(path)) => write!(out, "lmtp:unix:{}", path.display()),
            Target::Lmtp(Endpoint::Tcp(at)) => write!(out, "lmtp:{at}"),
            Target::Smtp(at) => write!(out, "smtp:{at}"),
        }
    }
}

macro_rules! from_str {
    ($($target:ty),*) => {$(
        impl FromStr for $target {
            type Err = String;

            fn from_str(text: &str) -> Result<$target, String> {
                <$target>::parse(text).map_err(|misfit| format!("{} ({})", misfit.what, misfit.remedy))
            }
        }
    )*};
}
from_str!(Target, SmartHost);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_read_back_as_written() {
        for text in [
            "maildir:/var/mail/{domain}/{local}",
            "lmtp:unix:/run/dovecot/lmtp",
            "lmtp:[::1]:24",
            "lmtp:mail.example.net:24",
            "smtp:host:25",
            "smtp:[192.0.2.25]:25",
        ] {
            assert_eq!(
                text.parse::<Target>()
                    .map(|target| target.to_string())
                    .as_deref(),
                Ok(text)
            );
        }
        for text in [
            "relay.example.net:587",
            "[192.0.2.25]",
            "[2001:db8::25]:587",
            "relay.example.net",
        ] {
            assert_eq!(
                text.parse::<SmartHost>()
                    .map(|host| host.to_string())
                    .as_deref(),
                Ok(text)
            );
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for text in [
            "",
            "maildir:mail",
            "maildir:/a/../b",
            "maildir:/a/{user}",
            "/var/mail",
            "lmtp:unix:run",
            "lmtp:[::1]",
            "smtp:host",
            "smtp::25",
            "smtp:host:0",
            "smtp:host:+25",
            "smtp:host:65536",
            "pipe:/bin/sh",
            "smtp:a b:25",
            "smtp:10.0.0:25",
        ] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
        for text in [
            "",
            "[192.0.2.25",
            "[relay.example.net]",
            "::1",
            "[::1]x",
            "[::1]:",
            "relay:",
            "-a.example",
        ] {
            assert!(text.parse::<SmartHost>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_maildir_never_climbs() {
        let template = MaildirTemplate::parse("/m/{domain}/{local}").unwrap();
        assert_eq!(
            template.folder("{domain}", "EX.test"),
            Some("/m/ex.test/{domain}".into())
        );
        for local in ["", ".", "..", "a/b", "a\0"] {
            assert_eq!(template.folder(local, "ex.test"), None, "{local:?}");
        }
        let template = MaildirTemplate::parse("/m/.{local}").unwrap();
        assert_eq!(template.folder(".", "ex.test"), None);
        assert_eq!(template.folder("a.b", "ex.test"), Some("/m/.a.b".into()));
    }
}

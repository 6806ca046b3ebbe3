//! The list of all settings: what each is called, its default, what it does.
//!
//! The example of `postern new`, the manual page and the search for the nearest key all come from it.

/// A section of a definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Section {
    /// `[general]`
    General,
    /// `[access.authentication]`
    Authentication,
    /// `[access.tls]`
    Tls,
    /// `[access.connection]`
    Connection,
    /// `[access.relay]`
    Relay,
    /// `[messages]`
    Messages,
    /// `[delivery]`
    Delivery,
}

impl Section {
    /// All sections, in the order of the property sheet.
    pub const ALL: [Section; 7] = [
        Section::General,
        Section::Authentication,
        Section::Tls,
        Section::Connection,
        Section::Relay,
        Section::Messages,
        Section::Delivery,
    ];

    /// The name as it stands in brackets.
    pub fn name(self) -> &'static str {
        match self {
            Section::General => "general",
            Section::Authentication => "access.authentication",
            Section::Tls => "access.tls",
            Section::Connection => "access.connection",
            Section::Relay => "access.relay",
            Section::Messages => "messages",
            Section::Delivery => "delivery",
        }
    }

    /// What the section is for, in one line.
    pub fn about(self) -> &'static str {
        match self {
            Section::General => "What the server is called, where it listens, how much it takes.",
            Section::Authentication => "Who may log in, how, and what a login grants.",
            Section::Tls => "Certificates, and what is asked of the channel.",
            Section::Connection => "Who may connect. Asked before any command.",
            Section::Relay => "Who may send on to foreign domains.",
            Section::Messages => "How large, how many, and what becomes of the odd ones.",
            Section::Delivery => "Local domains, and the way out.",
        }
    }

    pub(crate) fn path(self) -> &'static [&'static str] {
        match self {
            Section::General => &["general"],
            Section::Authentication => &["access", "authentication"],
            Section::Tls => &["access", "tls"],
            Section::Connection => &["access", "connection"],
            Section::Relay => &["access", "relay"],
            Section::Messages => &["messages"],
            Section::Delivery => &["delivery"],
        }
    }
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The section it stands in.
    pub section: Section,
    /// Its name.
    pub name: &'static str,
    /// Its default as a definition would write it; `None`: it has none, and the setting is off or required.
    pub default: Option<&'static str>,
    /// How it is written, where the default does not show it.
    pub example: Option<&'static str>,
    /// What it does, in a few plain sentences.
    pub about: &'static str,
    /// Whether this build can do it.
    pub done: bool,
}

/// The setting of this name in this section.
pub fn source_of(section: Section, name: &str) -> Option<&'static Setting> {
    SETTINGS
        .iter()
        .find(|setting| setting.section == section && setting.name == name)
}

/// One row of the list below: name, default, example, meaning; `later` where this build cannot do it yet.
macro_rules! setting {
    ($section:ident, $name:literal, $default:expr, $example:expr, $about:literal) => {
        Setting {
            section: Section::$section,
            name: $name,
            default: $default,
            example: $example,
            about: $about,
            done: true,
        }
    };
    (later $section:ident, $name:literal, $default:expr, $example:expr, $about:literal) => {
        Setting {
            section: Section::$section,
            name: $name,
            default: $default,
            example: $example,
            about: $about,
            done: false,
        }
    };
}

/// Every setting, in the order of the property sheet.
#[rustfmt::skip]
pub static SETTINGS: &[Setting] = &[
    setting!(General, "description", Some(r#""""#), Some(r#""Gateway for example.com""#),
        "Shown in lists."),
    setting!(General, "fqdn", None, Some(r#""mx1.example.com""#),
        "Required. The server's name in its greeting, EHLO, Received: and notices; fully qualified."),
    setting!(General, "listen", None, Some(r#"["192.0.2.10:25", { address = "192.0.2.10:465", tls = "implicit" }]"#),
        "Required. Where it listens. tls is starttls (the default), implicit, or none for a port for devices."),
    setting!(General, "user", None, Some(r#""postern-mx1""#),
        "The user its worker runs as. Without it: a uid of its own from the host's range."),
    setting!(General, "proxy_from", Some("[]"), Some(r#"["192.0.2.80", "198.51.100.0/28"]"#),
        "Balancers whose PROXY v1 or v2 header is believed. Any other peer that sends one is refused."),
    setting!(General, "autostart", Some("true"), None,
        "Started with the host. The operator's last word wins: what was stopped stays stopped."),
    setting!(General, "max_connections", Some("1000"), None,
        "Sessions at once. Over it: 421 4.3.2, and close."),
    setting!(General, "max_connections_per_ip", Some("50"), None,
        "Sessions at once of one client address (of one /64 with IPv6)."),
    setting!(General, "idle_timeout", Some(r#""10m""#), None,
        "An inactive session ends with 421 4.4.2."),
    setting!(General, "limits", None, Some(r#"{ memory = "256 MB", open_files = 20000, threads = 8 }"#),
        "What the worker process may use. Without it: what the system gives."),
    setting!(General, "drain_timeout", Some(r#""10m""#), None,
        "After a restart, how long the former worker may finish its sessions."),

    setting!(Authentication, "anonymous", Some("false"), None,
        "A session may send without logging in. Off: 530 5.7.1. A gateway that takes mail from the Internet turns it on."),
    setting!(Authentication, "basic", Some("true"), None,
        "AUTH PLAIN and LOGIN."),
    setting!(Authentication, "basic_requires_tls", Some("true"), None,
        "Outside TLS, basic is neither offered nor accepted (538 5.7.11)."),
    setting!(Authentication, "integrated", None, Some("true"),
        "AUTH GSSAPI and GSS-SPNEGO: the password never crosses the wire. Without it: where an account source serves it (gssapi; with ntlm, windows and nt_hashes too). false: neither is offered."),
    setting!(Authentication, "ntlm", Some("false"), Some(r#"{ requires_tls = true, channel_binding = "require" }"#),
        "NTLM, alone and inside GSS-SPNEGO, by an account source that serves it: windows, or a file with nt_hashes. NTLMv2 only, inside TLS only unless said otherwise. It can be relayed where clients send no channel binding; channel_binding = require (the default is accept) refuses those, for Kerberos too."),
    setting!(Authentication, "scram", Some("true"), None,
        "AUTH SCRAM-SHA-256 and -PLUS inside TLS, for accounts that have keys; in clear only where the identity has no TLS."),
    setting!(Authentication, "default_domain", Some(r#""""#), Some(r#""example.com""#),
        "Completes an account name written without a domain."),
    setting!(Authentication, "accounts", Some("[]"),
        Some(r#"[{ file = "/etc/postern/accounts/mx1.toml" }, { file = "/etc/postern/accounts/staff.toml", nt_hashes = "/etc/postern/accounts/staff.nt" }, { dovecot = "/run/dovecot/auth-client" }, { windows = "CORP" }, { gssapi = { keytab = "/etc/postern/mx1.keytab", realms = ["CORP.EXAMPLE"] } }, { ldap = { servers = ["ldaps://dc1.corp.example"], base = "DC=corp,DC=example", bind_dn = "postern@corp.example", bind_password_file = "/etc/postern/ldap.password" } }]"#),
        "Where accounts come from, in order; the first source that knows an account decides. nt_hashes: a file of its own that only root reads, for NTLM; postern account --ntlm writes it. windows: a domain through winbind (several in a list; \"*\": all it knows). gssapi: Kerberos tickets by a keytab (or its path alone: the keytab's own realms). ldap also takes kind (ad, or openldap), filter with {name} in it, addresses (attributes), ca (a file), timeout (5s), and tls = none for ldap:// on loopback; otherwise ldap:// means StartTLS."),
    setting!(Authentication, "submit", Some(r#"["*"]"#), Some(r#"["@staff", "scanner", "!alice"]"#),
        "Who may send at all: accounts, @group, or ! in front to deny; deny wins."),
    setting!(Authentication, "relay", Some(r#"["*"]"#), Some(r#"["*", "!@interns"]"#),
        "Who may send to foreign domains; written like submit."),
    setting!(Authentication, "sender_must_match", Some("true"), None,
        "A logged-in client sends only from addresses of its own account (553 5.7.1)."),
    setting!(Authentication, "anonymous_local_sender", Some(r#""reject""#), None,
        "An anonymous session that claims a sender in a local domain: reject, mark, or accept."),
    setting!(Authentication, "lockout", Some(r#"{ passwords = 10, within = "10m", block = "15m" }"#), None,
        "So many distinct wrong passwords in such a time lock out for such a time; false: never."),

    setting!(Tls, "certificates", Some("[]"), Some(r#"[{ certificate = "/etc/postern/mx1.pem", key = "/etc/postern/mx1.key" }]"#),
        "Several are chosen by the name the client asks for; the first is the default."),
    setting!(Tls, "require", Some("false"), None,
        "Require a secure channel: anything but EHLO, STARTTLS, NOOP, RSET and QUIT answers 530 5.7.0 before TLS."),
    setting!(Tls, "min_strength", Some("128"), None,
        "The weakest encryption in bits: 128 or 256."),
    setting!(Tls, "min_version", Some(r#""1.2""#), None,
        "The oldest TLS version: 1.2 or 1.3."),
    setting!(Tls, "client_ca", None, Some(r#""/etc/postern/clients-ca.pem""#),
        "Ask for client certificates of this authority, and take AUTH EXTERNAL: the account is the one that a mail address in the certificate names, or its common name if it has no address."),

    setting!(Connection, "mode", Some(r#""all-except""#), None,
        "only: the list below may connect. all-except: all but the list."),
    setting!(Connection, "list", Some("[]"), Some(r#"["192.0.2.7", "198.51.100.0/24", "2001:db8::/32", "host scanner.example.com", "domain example.org", "file blocked.txt"]"#),
        "Computers, groups of computers, and domains; file names a file with one entry a line. Refused is refused with 554 5.7.1 instead of a greeting."),

    setting!(Relay, "mode", Some(r#""only""#), None,
        "only: the list below may relay without logging in. all-except: all but the list."),
    setting!(Relay, "list", Some("[]"), Some(r#"["192.0.2.0/255.255.255.0", "host scanner.example.com"]"#),
        "Computers, groups of computers, and domains, written like the list above."),
    setting!(Relay, "authenticated", Some("true"), None,
        "Clients that log in may relay whatever the list says, if [access.authentication] relay grants it."),
    setting!(Relay, "domains", Some("[]"), Some(r#"["branch.example.net"]"#),
        "Foreign domains mail is always taken for."),
    setting!(Relay, "allow_everyone", Some("false"), None,
        "A definition that would relay for everyone is refused unless this says so."),

    setting!(Messages, "max_message_size", Some(r#""25 MB""#), None,
        "Offered in SIZE. Over it: 552 5.3.4."),
    setting!(Messages, "max_session_size", Some(r#""250 MB""#), None,
        "All messages of one session together. Over it: 552 5.3.4, then close."),
    setting!(Messages, "max_messages_per_connection", Some("20"), None,
        "Outgoing: then a new connection is opened."),
    setting!(Messages, "max_messages_per_session", Some("1000"), None,
        "Incoming: messages of one session."),
    setting!(Messages, "max_recipients", Some("1000"), None,
        "Per message; the next one is answered 452 4.5.3, so that the client sends a second message. Never below 100."),
    setting!(Messages, "max_errors", Some("20"), None,
        "Bad commands in one session; then 421, and close."),
    setting!(later Messages, "ndr_copy_to", None, Some(r#""postmaster@example.com""#),
        "Who gets a copy of each non-delivery report."),
    setting!(Messages, "badmail", Some(r#""kept""#), None,
        "A report that cannot be delivered is kept with its reason, never dropped."),
    setting!(Messages, "unresolved_to", None, Some(r#""mail.example.net:25""#),
        "Where recipients of a local domain go that are not found."),
    setting!(Messages, "bare_newline", Some(r#""refuse""#), None,
        "A bare CR or LF in a message: refuse it (550 5.6.0), or convert it to CRLF."),
    setting!(Messages, "max_hops", Some("30"), None,
        "Received: lines; beyond it a non-delivery report with 5.4.6."),
    setting!(Messages, "anonymous_rate", None, Some(r#"{ messages = "100/1h", recipients = "500/1h" }"#),
        "How much one anonymous client address may send in a time; over it: 451 4.7.1."),
    setting!(Messages, "account_rate", None, Some(r#""1000/1d""#),
        "How much one account may send in a time; over it: 451 4.7.1. A bare rate counts messages."),

    setting!(Delivery, "domains", Some("[]"),
        Some(r#"[{ name = "example.com", to = "maildir:/var/mail/{domain}/{local}", recipients = ["alice", "bob"], aliases = { postmaster = "alice" } }]"#),
        "Local domains. to: maildir:PATH, lmtp:unix:PATH, lmtp:HOST:PORT or smtp:HOST:PORT. recipients: a list, or a file with one a line."),
    setting!(Delivery, "retry", Some(r#"["10m", "10m", "10m", "15m"]"#), None,
        "Waits before the first, second, third, and each subsequent retry."),
    setting!(Delivery, "delay_notice", Some(r#""12h""#), None,
        "The sender is told once that delivery takes longer."),
    setting!(Delivery, "expire", Some(r#""2d""#), None,
        "Then the message goes back with a non-delivery report."),
    setting!(Delivery, "local_delay_notice", Some(r#""12h""#), None,
        "The same for local domains."),
    setting!(Delivery, "local_expire", Some(r#""2d""#), None,
        "The same for local domains."),
    setting!(Delivery, "max_outbound", Some("1000"), None,
        "Outgoing connections at once."),
    setting!(Delivery, "max_outbound_per_domain", Some("100"), None,
        "Outgoing connections at once to one domain."),
    setting!(Delivery, "outbound_timeout", Some(r#""10m""#), None,
        "A next hop that says nothing for this long is given up for now."),
    setting!(Delivery, "outbound_port", Some("25"), None,
        "The port of next hops where none is written."),
    setting!(Delivery, "outbound_security", Some(r#"{ tls = "opportunistic" }"#),
        Some(r#"{ tls = "required", login = { basic = { user = "gateway", password_file = "/etc/postern/relay.password" } } }"#),
        "tls: none, opportunistic, required, or dane (as the hosts' TLSA records say; needs a validating resolver on this host). mta_sts: keep to the policies of domains (RFC 8461). ca: who vouches for the next hop, instead of the system's authorities. login: how we log in there: basic (a password), integrated (a Windows account), or xoauth2 (a token_file)."),
    setting!(Delivery, "smart_host", None, Some(r#"["relay.example.net:587", "[192.0.2.25]"]"#),
        "Where all foreign mail goes, tried in order; brackets: no look-up. Without it: by MX."),
    setting!(Delivery, "direct_first", Some("false"), None,
        "By MX first, the smart host when that cannot work."),
    setting!(Delivery, "routes", Some("[]"),
        Some(r#"[{ domain = "partner.example", host = "mail.partner.example:25", security = { tls = "required" } }]"#),
        "Exceptions for destination domains: one, all below one (*.partner.example), or all (*)."),
    setting!(later Delivery, "masquerade", None, Some(r#""example.com""#),
        "Replaces a local domain in MAIL FROM of outgoing mail, not in the header."),
    setting!(Delivery, "external_dns", Some("[]"), Some(r#"["192.0.2.53", "[2001:db8::53]:53"]"#),
        "Resolvers for outgoing look-ups, in order. Empty: the system's."),
    setting!(later Delivery, "reverse_dns_on_messages", Some("false"), None,
        "Note in Received: whether the client's address and EHLO name agree; never a refusal."),
    setting!(later Delivery, "pickup", None, Some(r#""/var/spool/postern-pickup""#),
        "A folder: a finished message file is sent and removed."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_in_order_and_names_nothing_twice() {
        let mut order: Vec<Section> = SETTINGS.iter().map(|setting| setting.section).collect();
        order.dedup();
        assert_eq!(order, Section::ALL);
        for setting in SETTINGS {
            let same = SETTINGS
                .iter()
                .filter(|other| (other.section, other.name) == (setting.section, setting.name));
            assert_eq!(same.count(), 1, "{}", setting.name);
            assert!(source_of(setting.section, setting.name).is_some());
            assert!(
                setting.default.is_some() || setting.example.is_some(),
                "{}",
                setting.name
            );
        }
    }
}

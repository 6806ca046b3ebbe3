//! Where two settings meet: what is wrong, or unwise, though each alone is well written.
//!
//! Never: a file, a look-up; whether a key fits its certificate is found when both are opened.

use postern_hosting::{Identity, TlsMode};

use crate::delivery::check_dane;
use crate::grants;
use crate::load::Definition;
use crate::reader::Reader;
use crate::settings::Section;
use crate::whole::is_top_level;
use crate::{AccountSource, Authentication};

pub(crate) fn check(reader: &mut Reader<'_>, definition: &Definition) {
    required(reader);
    tls(reader, definition);
    logins(reader, definition);
    grants::check(reader, definition);
    domains(reader, definition);
    messages(reader, definition);
    delivery(reader, definition);
}

/// What has no default.
fn required(reader: &mut Reader<'_>) {
    let general = reader.span_of_section(Section::General);
    if reader.span_of(Section::General, "fqdn").is_none() {
        let remedy = "write fqdn = \"mx1.example.com\", the server's whole name in the DNS";
        reader.error(
            general.clone(),
            "[general] has no `fqdn`: the server would not know its own name",
            remedy,
        );
    }
    let remedy = "write listen = [\"192.0.2.10:25\"], with an address of this host and a port";
    if reader.span_of(Section::General, "listen").is_none() {
        reader.error(
            general,
            "[general] has no `listen`: the server would be reached by nobody",
            remedy,
        );
    }
}

fn tls(reader: &mut Reader<'_>, definition: &Definition) {
    const REMEDY: &str =
        "write certificates = [{ certificate = \"….pem\", key = \"….pem\" }] in [access.tls]";
    let any = |mode: TlsMode| {
        definition
            .general
            .listen
            .iter()
            .any(|identity| identity.tls == mode)
    };
    let listen = reader.span_of(Section::General, "listen");
    let require = reader.span_of(Section::Tls, "require");
    if definition.tls.require && any(TlsMode::None) {
        let what =
            "a secure channel is required, and an identity with tls = \"none\" can have none";
        reader.error(
            listen.clone(),
            what,
            "write tls = \"starttls\" there, or require = false in [access.tls]",
        );
    }
    // A pair that was not understood has its own finding.
    let tried = reader
        .span_of(Section::Tls, "certificates")
        .is_some_and(|span| span.len() > "[]".len());
    if tried || !definition.tls.certificates.is_empty() {
        return;
    }
    if definition.tls.require {
        reader.error(
            require,
            "a secure channel is required, and there is no certificate to make one",
            REMEDY,
        );
    }
    if any(TlsMode::Implicit) {
        reader.error(
            listen,
            "an identity with tls = \"implicit\" needs a certificate, and there is none",
            REMEDY,
        );
    } else if any(TlsMode::Starttls) && !loopback_only(definition) {
        let remedy = format!("{REMEDY}, or tls = \"none\" on the identity if that is meant");
        reader.warn(
            listen,
            "there is no certificate: STARTTLS is not offered, all mail and logins travel in clear",
            remedy,
        );
    }
}

fn logins(reader: &mut Reader<'_>, definition: &Definition) {
    let Authentication {
        anonymous,
        basic_requires_tls,
        accounts,
        ..
    } = &definition.authentication;
    let written =
        |reader: &Reader<'_>, name: &'static str| reader.span_near(Section::Authentication, name);
    if accounts.is_empty() {
        // A source that was not understood has its own finding.
        let tried = reader
            .span_of(Section::Authentication, "accounts")
            .is_some_and(|span| span.len() > "[]".len());
        if !anonymous && !tried {
            let span = written(reader, "anonymous");
            let remedy =
                "write accounts = [{ file = \"PATH\" }], or anonymous = true for a gateway";
            reader.warn(
                span,
                "nobody can send: there are no accounts, and anonymous is false",
                remedy,
            );
        }
        return;
    }
    integrated_logins(reader, definition);
    if !definition.takes_passwords() {
        return without_passwords(reader, definition);
    }
    if let Some(identity) = in_clear(definition).filter(|_| !basic_requires_tls) {
        let span = written(reader, "basic_requires_tls");
        let what = format!(
            "passwords may travel in clear to {}: basic_requires_tls is false",
            identity.address
        );
        reader.warn(span, what, "write basic_requires_tls = true");
    }
}

/// NTLM and Kerberos, where there is no TLS for them.
fn integrated_logins(reader: &mut Reader<'_>, definition: &Definition) {
    let login = &definition.authentication;
    let ntlm = reader.span_of(Section::Authentication, "ntlm");
    let remedy = "give it a certificate in [access.tls] and an identity with TLS";
    if login.serves_ntlm() && !login.serves_ntlm_in_clear() && !definition.can_tls() {
        let why = match login.binding_required() {
            true => "a channel binding is required",
            false => "its requires_tls is true",
        };
        let what = format!("NTLM is offered nowhere: {why}, and there is no TLS");
        return reader.warn(ntlm, what, remedy);
    }
    let unbound = definition
        .without_tls()
        .filter(|_| login.binding_required() && login.serves_kerberos());
    if let Some(identity) = unbound {
        let what = format!(
            "a channel binding is required, and {} has no TLS to be bound to: no ticket is taken there",
            identity.address
        );
        let remedy = "give that identity TLS, or write channel_binding = \"accept\"";
        reader.warn(ntlm, what, remedy);
    }
}

/// What is left is SCRAM, for accounts in files that have keys, and certificates, NTLM and Kerberos.
fn without_passwords(reader: &mut Reader<'_>, definition: &Definition) {
    let Authentication {
        basic,
        scram,
        accounts,
        ..
    } = &definition.authentication;
    let is_file = |source: &AccountSource| matches!(source, AccountSource::File { .. });
    let span = reader.span_near(Section::Authentication, "accounts");
    let (why, mut remedy) = match basic {
        _ if !definition.authentication.serves_passwords() => (
            "the only source of accounts is a keytab, and tickets are not taken",
            "write integrated = true, or add a source of accounts with passwords".to_owned(),
        ),
        false => ("basic is false", "write basic = true".to_owned()),
        true => (
            "basic_requires_tls is true, and there is no TLS",
            "give it a certificate in [access.tls] and an identity with TLS".to_owned(),
        ),
    };
    if definition.takes_certificates() || definition.takes_integrated() {
        return;
    }
    if *scram && accounts.iter().any(is_file) {
        if !accounts.iter().all(is_file) {
            let what = format!(
                "accounts that are in no file cannot log in: {why}, and SCRAM is for accounts in files"
            );
            reader.warn(span, what, remedy);
        }
        return;
    }
    if !scram {
        remedy += ", or write scram = true for accounts in files";
    }
    reader.warn(span, format!("nobody can log in: {why}"), remedy);
}

impl Definition {
    /// Whether the accounts in files can log in by SCRAM and by nothing else, so that they need keys.
    pub fn needs_scram_keys(&self) -> bool {
        self.authentication.scram
            && !self.takes_passwords()
            && !self.takes_certificates()
            && !self.takes_integrated()
    }

    /// Whether basic is offered anywhere.
    fn takes_passwords(&self) -> bool {
        let authentication = &self.authentication;
        authentication.basic
            && authentication.serves_passwords()
            && (!authentication.basic_requires_tls || self.can_tls())
    }

    /// Whether NTLM or Kerberos is offered anywhere.
    fn takes_integrated(&self) -> bool {
        let login = &self.authentication;
        let in_tls = login.serves_ntlm() || login.serves_kerberos();
        let in_clear = login.serves_ntlm_in_clear() || login.serves_kerberos_in_clear();
        in_tls && self.can_tls() || in_clear && self.without_tls().is_some()
    }

    fn takes_certificates(&self) -> bool {
        self.tls.client_ca.is_some() && self.can_tls()
    }

    fn can_tls(&self) -> bool {
        let mut listen = self.general.listen.iter();
        !self.tls.certificates.is_empty() && listen.any(|identity| identity.tls != TlsMode::None)
    }

    /// The first identity that cannot have TLS.
    fn without_tls(&self) -> Option<&Identity> {
        let none = self.tls.certificates.is_empty();
        let mut listen = self.general.listen.iter();
        listen.find(|identity| identity.tls == TlsMode::None || none)
    }
}

/// The first identity at which somebody from elsewhere could log in outside TLS, were it allowed.
fn in_clear(definition: &Definition) -> Option<&Identity> {
    let mut listen = definition.general.listen.iter();
    listen
        .find(|identity| identity.tls != TlsMode::Implicit && !identity.address.ip().is_loopback())
        .filter(|_| !definition.tls.require)
}

fn loopback_only(definition: &Definition) -> bool {
    definition
        .general
        .listen
        .iter()
        .all(|identity| identity.address.ip().is_loopback())
}

fn domains(reader: &mut Reader<'_>, definition: &Definition) {
    let local = definition.delivery.local_domains();
    for (name, _) in &definition.relay.domains {
        if is_top_level(name) {
            let span = reader.span_of(Section::Relay, "domains");
            let what = format!(
                "{name} is a top-level domain: only mail for addresses like user@{name} is taken, for none below it"
            );
            reader.warn(
                span,
                what,
                format!("write whole domains, such as \"example.{name}\""),
            );
        }
        if local.contains(name) {
            let span = reader.span_of(Section::Relay, "domains");
            reader.warn(
                span,
                format!("{name} is a local domain too; as a relay domain it counts for nothing"),
                "keep one of the two",
            );
        }
    }
}

fn messages(reader: &mut Reader<'_>, definition: &Definition) {
    let messages = &definition.messages;
    if messages.max_session_size < messages.max_message_size {
        let span = reader
            .span_of(Section::Messages, "max_session_size")
            .or_else(|| reader.span_of(Section::Messages, "max_message_size"));
        let what = "max_session_size is smaller than max_message_size: the largest message could never come";
        reader.error(
            span,
            what,
            "write a larger max_session_size, or a smaller max_message_size",
        );
    }
    // RFC 5321 §4.5.3.1.7: 64 KiB at least must be taken.
    if messages.max_message_size < 64 << 10 {
        let span = reader.span_of(Section::Messages, "max_message_size");
        reader.warn(
            span,
            "every server should take messages of 64 KiB at least",
            "write \"64 KiB\" or more",
        );
    }
}

fn delivery(reader: &mut Reader<'_>, definition: &Definition) {
    let delivery = &definition.delivery;
    check_dane(reader, delivery);
    if delivery.direct_first && delivery.smart_host.is_empty() {
        let span = reader.span_of(Section::Delivery, "direct_first");
        reader.warn(
            span,
            "direct_first does nothing: there is no smart_host",
            "write smart_host too, or remove it",
        );
    }
    let pairs = [
        (
            delivery.delay_notice,
            delivery.expire,
            "delay_notice",
            "expire",
        ),
        (
            delivery.local_delay_notice,
            delivery.local_expire,
            "local_delay_notice",
            "local_expire",
        ),
    ];
    for (notice, expire, notice_name, expire_name) in pairs {
        let span = reader
            .span_of(Section::Delivery, notice_name)
            .or_else(|| reader.span_of(Section::Delivery, expire_name));
        if notice >= expire && span.is_some() {
            let what = format!(
                "{notice_name} is not before {expire_name}: the notice would never be sent"
            );
            reader.warn(span, what, format!("write a shorter {notice_name}"));
        }
    }
}

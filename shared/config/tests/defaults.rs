//! Every default is what the product's description of its settings says, in code, in the list of settings, and in the
//! example file.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::Duration;

use postern_config::{
    AnonymousLocalSender, Answers, Badmail, BareNewline, ChannelBinding, Definition, Grants,
    Identity, MinStrength, MinVersion, Mode, NewDomain, OutboundTls, SETTINGS, TlsMode, load,
    new_definition,
};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const NEEDED: &str = "fqdn = \"mx1.example.com\"\nlisten = [\"192.0.2.1:25\"]\n";

fn read(text: &str) -> Definition {
    let (definition, findings) = load(text, Path::new("mx1.toml"));
    definition.unwrap_or_else(|| panic!("{text}\n{findings:#?}"))
}

#[test]
fn the_smallest_definition_has_all_defaults() {
    let read = read(&format!("[general]\n{NEEDED}"));
    let general = &read.general;
    assert_eq!(
        (
            general.description.as_str(),
            general.proxy_from.len(),
            general.autostart
        ),
        ("", 0, true)
    );
    assert_eq!(
        (general.max_connections, general.max_connections_per_ip),
        (1000, 50)
    );
    assert_eq!(
        (general.idle_timeout, general.drain_timeout),
        (10 * MINUTE, 10 * MINUTE)
    );
    assert_eq!(
        general.listen,
        [Identity {
            address: "192.0.2.1:25".parse().unwrap(),
            tls: TlsMode::Starttls
        }]
    );

    let login = &read.authentication;
    assert!(
        !login.anonymous
            && login.basic
            && login.basic_requires_tls
            && login.scram
            && login.sender_must_match
    );
    assert!(
        login.integrated.is_none()
            && !login.ntlm.enabled
            && login.ntlm.requires_tls
            && login.ntlm.channel_binding == ChannelBinding::Accept
            && !login.serves_ntlm()
            && !login.serves_kerberos()
            && login.accounts.is_empty()
    );
    assert_eq!(login.default_domain, "");
    assert_eq!(
        (&login.submit, &login.relay),
        (&Grants::everybody(), &Grants::everybody())
    );
    assert_eq!(login.anonymous_local_sender, AnonymousLocalSender::Reject);
    let lockout = login.lockout.unwrap();
    assert_eq!(
        (lockout.passwords, lockout.within, lockout.block),
        (10, 10 * MINUTE, 15 * MINUTE)
    );

    assert!(read.tls.certificates.is_empty() && !read.tls.require && read.tls.client_ca.is_none());
    assert_eq!(
        (read.tls.min_strength, read.tls.min_version),
        (MinStrength::Bits128, MinVersion::Tls12)
    );
    assert_eq!(
        (read.connection.mode, read.connection.list.len()),
        (Mode::AllExcept, 0)
    );
    assert_eq!(
        (
            read.relay.mode,
            read.relay.list.len(),
            read.relay.domains.len()
        ),
        (Mode::Only, 0, 0)
    );
    assert!(read.relay.authenticated && !read.relay.allow_everyone);

    let messages = &read.messages;
    assert_eq!(
        (messages.max_message_size, messages.max_session_size),
        (25_000_000, 250_000_000)
    );
    assert_eq!(
        (
            messages.max_messages_per_connection,
            messages.max_messages_per_session
        ),
        (20, 1000)
    );
    assert_eq!(
        (
            messages.max_recipients,
            messages.max_errors,
            messages.max_hops
        ),
        (1000, 20, 30)
    );
    assert_eq!(
        (messages.badmail, messages.bare_newline),
        (Badmail::Kept, BareNewline::Refuse)
    );
    assert!(messages.ndr_copy_to.is_none() && messages.unresolved_to.is_none());
    assert!(messages.anonymous_rate.is_none() && messages.account_rate.is_none());

    let delivery = &read.delivery;
    assert_eq!(
        delivery.retry,
        [10 * MINUTE, 10 * MINUTE, 10 * MINUTE, 15 * MINUTE]
    );
    assert_eq!(
        (delivery.delay_notice, delivery.expire),
        (12 * HOUR, 48 * HOUR)
    );
    assert_eq!(
        (delivery.local_delay_notice, delivery.local_expire),
        (12 * HOUR, 48 * HOUR)
    );
    assert_eq!(
        (delivery.max_outbound, delivery.max_outbound_per_domain),
        (1000, 100)
    );
    assert_eq!(
        (delivery.outbound_timeout, delivery.outbound_port),
        (10 * MINUTE, 25)
    );
    assert_eq!(delivery.outbound_security.tls, OutboundTls::Opportunistic);
    assert!(!delivery.outbound_security.mta_sts && delivery.outbound_security.login.is_none());
    assert!(
        delivery.domains.is_empty() && delivery.smart_host.is_empty() && delivery.routes.is_empty()
    );
    assert!(!delivery.direct_first && !delivery.reverse_dns_on_messages);
    assert!(
        delivery.masquerade.is_none()
            && delivery.external_dns.is_empty()
            && delivery.pickup.is_none()
    );
}

#[test]
fn a_default_written_out_changes_nothing() {
    let plain = read(&format!("[general]\n{NEEDED}"));
    for setting in SETTINGS {
        let Some(default) = setting.default else {
            continue;
        };
        let line = format!("{} = {default}\n", setting.name);
        let text = match setting.section.name() {
            "general" => format!("[general]\n{NEEDED}{line}"),
            section => format!("[general]\n{NEEDED}[{section}]\n{line}"),
        };
        assert_eq!(read(&text), plain, "{line}");
    }
}

#[test]
fn every_example_reads_or_says_that_it_comes_later() {
    for setting in SETTINGS {
        let Some(example) = setting.example else {
            continue;
        };
        let line = format!("{} = {example}\n", setting.name);
        let needed: String = NEEDED
            .lines()
            .filter(|line| !line.starts_with(&format!("{} =", setting.name)))
            .map(|line| format!("{line}\n"))
            .collect();
        let text = match setting.section.name() {
            "general" => format!("[general]\n{needed}{line}"),
            section => format!("[general]\n{needed}[{section}]\n{line}"),
        };
        // They need somebody to serve them.
        let text = match setting.name {
            "ntlm" => text + "accounts = [{ windows = \"CORP\" }]\n",
            "integrated" => text + "accounts = [{ gssapi = \"mx1.keytab\" }]\n",
            _ => text,
        };
        let (definition, findings) = load(&text, Path::new("mx1.toml"));
        let later = findings
            .iter()
            .any(|finding| finding.what.contains("cannot do it yet"));
        assert_eq!(later, !setting.done, "{line}{findings:#?}");
        let implicit = line.contains("implicit");
        assert_eq!(
            definition.is_some(),
            setting.done && !implicit,
            "{line}{findings:#?}"
        );
    }
}

#[test]
fn a_new_definition_reads_without_a_finding() {
    let answers = Answers {
        description: Some("Tür \"1\" \\ zwei".to_owned()),
        fqdn: "mx1.example.com".to_owned(),
        listen: vec![
            Identity {
                address: "192.0.2.1:25".parse().unwrap(),
                tls: TlsMode::Starttls,
            },
            Identity {
                address: "[2001:db8::1]:465".parse().unwrap(),
                tls: TlsMode::Implicit,
            },
        ],
        anonymous: true,
        certificate: Some(("/etc/postern/mx1.pem".into(), "/etc/postern/mx1.key".into())),
        accounts: Some("/etc/postern/accounts/mx1.toml".into()),
        relay_list: vec!["192.0.2.0/24".to_owned(), "198.51.100.7".to_owned()],
        domains: vec![NewDomain {
            name: "example.com".to_owned(),
            to: "maildir:/var/mail/{domain}/{local}".to_owned(),
            recipients: Some(vec!["alice".to_owned(), "bob".to_owned()]),
        }],
        smart_host: vec!["relay.example.net:587".to_owned()],
    };
    let text = new_definition(&answers);
    let (definition, findings) = load(&text, Path::new("mx1.toml"));
    assert_eq!(findings, [], "{text}");
    let definition = definition.unwrap();
    assert_eq!(definition.general.description, "Tür \"1\" \\ zwei");
    assert_eq!(definition.relay.list.len(), 2);
    for setting in SETTINGS {
        let shown = |line: &str| {
            line.trim_start_matches("# ")
                .starts_with(&format!("{} = ", setting.name))
        };
        assert!(
            text.lines().any(shown),
            "{} is not in the example",
            setting.name
        );
    }
    assert!(
        text.lines().all(|line| line.chars().count() <= 160),
        "{text}"
    );
}

#[test]
fn the_comments_of_a_new_definition_hold_what_is_in_force() {
    let answers = Answers {
        fqdn: "mx1.example.com".to_owned(),
        listen: vec![Identity {
            address: "192.0.2.1:25".parse().unwrap(),
            tls: TlsMode::Starttls,
        }],
        ..Answers::default()
    };
    let text = new_definition(&answers);
    let plain = read(&text);
    let names: Vec<String> = SETTINGS
        .iter()
        .filter(|setting| setting.default.is_some())
        .map(|setting| format!("# {} = ", setting.name))
        .collect();
    let uncommented: String = text
        .lines()
        .map(
            |line| match names.iter().any(|name| line.starts_with(name)) {
                true => format!("{}\n", line.trim_start_matches("# ")),
                false => format!("{line}\n"),
            },
        )
        .collect();
    assert_ne!(text, uncommented);
    assert_eq!(read(&uncommented), plain);
}

//! Pairs of definitions, and the changes between them.

use super::*;
use crate::{Policy, Source};
use postern_config::AccountFile;
use std::path::Path;

const ACCOUNTS: &str = "[accounts.alice]\npassword = \"$argon2id$v=19$m=8,t=1,p=1$YWxpY2VhbGljZWFsaWNlMQ$YhOLIF8zm0pQPfG4Ej5ICxSNnyfnz6BMT8QzMpLMS38\"\naddresses = [\"alice@example.com\"]\ngroups = [\"staff\"]\n";

fn facts_of(rest: &str, accounts: &str) -> Facts {
    let text =
        format!("[general]\nfqdn = \"mx.example.com\"\nlisten = [\"127.0.0.1:2525\"]\n{rest}");
    let path = Path::new("servers/mx1.toml");
    let (definition, findings) = postern_config::load(&text, path);
    let mut source = Source {
        path,
        text: &text,
        read: &mut |path| Ok(path.display().to_string().into_bytes()),
        findings,
    };
    let definition = definition.unwrap_or_else(|| panic!("{:?}", source.findings));
    let policy = Policy::build(definition, &mut source);
    let (accounts, _) = AccountFile::parse(accounts, Path::new("accounts.toml"));
    Facts::of(&policy, accounts.iter())
}

fn told(old: &str, new: &str) -> Vec<String> {
    shown(&diff(&facts_of(old, ACCOUNTS), &facts_of(new, ACCOUNTS)))
}

fn shown(changes: &[Change]) -> Vec<String> {
    let one = |change: &Change| {
        let sign = match change.effect {
            Effect::Gained => '+',
            Effect::Lost => '-',
            Effect::Changed => '~',
        };
        let mut line = format!("{} {sign} {}", change.subject.as_str(), change.what);
        if !change.who.is_empty() {
            line += &format!(": {}", change.who.join(", "));
        }
        if change.more > 0 {
            line += &format!(" and {} more", change.more);
        }
        line
    };
    changes.iter().map(one).collect()
}

fn connection(mode: &str, list: &str) -> String {
    format!("[access.connection]\nmode = \"{mode}\"\nlist = [{list}]\n")
}

#[test]
fn a_list_written_otherwise_is_no_change() {
    let whole = connection("only", "\"192.0.2.0/24\", \"domain a.example\"");
    let parts = connection(
        "only",
        "\"domain A.example\", \"192.0.2.128/255.255.255.128\", \"192.0.2.0/25\", \"192.0.2.9\"",
    );
    assert_eq!(told(&whole, &parts), [""; 0]);
}

#[test]
fn who_gains_and_loses_is_named_as_few_networks() {
    let old = connection("only", "\"192.0.2.0/24\", \"domain a.example\"");
    let new = connection(
        "only",
        "\"192.0.2.0/25\", \"198.51.100.7\", \"domain b.example\"",
    );
    assert_eq!(
        told(&old, &new),
        [
            "connection + may connect: 198.51.100.7",
            "connection + may connect: domain b.example",
            "connection - may no longer connect: 192.0.2.128/25",
            "connection - may no longer connect: domain a.example",
        ]
    );
    let excepted = connection("all-except", "\"192.0.2.0/24\", \"domain b.example\"");
    assert_eq!(
        told("", &excepted),
        [
            "connection - may no longer connect: 192.0.2.0/24",
            "connection - may no longer connect: domain b.example",
        ]
    );
    assert_eq!(
        told(&excepted, ""),
        [
            "connection + may connect: 192.0.2.0/24",
            "connection + may connect: domain b.example",
        ]
    );
}

#[test]
fn a_mode_turned_round_is_told_by_what_it_does() {
    let only = connection("only", "\"0.0.0.0/1\", \"::/0\", \"domain a.example\"");
    let excepted = connection("all-except", "\"128.0.0.0/1\", \"domain b.example\"");
    assert_eq!(
        told(&only, &excepted),
        [
            "connection ~ connection.mode: only → all-except",
            "connection ~ but not these, by name: may no longer connect: domain b.example",
        ]
    );
    assert_eq!(
        told("", &connection("only", "\"192.0.2.1\"")),
        [
            "connection - everybody but these may no longer connect: 192.0.2.1",
            "connection ~ connection.mode: all-except → only",
        ]
    );
}

#[test]
fn accounts_are_told_by_what_they_may() {
    let more = format!(
        "{}\n[accounts.bob]\npassword = \"$argon2id$v=19$m=8,t=1,p=1$Ym9iYm9iYm9iYm9iYm9iMQ$y0cBnLeivHtZL4/6CaeJA4W05pZlWg76FK56yGxYR4M\"\naddresses = []\ngroups = [\"interns\"]\n",
        ACCOUNTS
            .replace("alice@example.com", "alice@example.net")
            .replace("YhOLIF8", "YhOLIF9")
    );
    let rule = "[access.authentication]\nrelay = [\"*\", \"!@interns\"]\n";
    let changes = diff(&facts_of("", ACCOUNTS), &facts_of(rule, &more));
    assert_eq!(
        shown(&changes),
        [
            "relay ~ authentication.relay: [*] → [*, !@interns]",
            "login + may log in: bob",
            "login + may send, logged in: bob",
            "login + alice may send from: alice@example.net",
            "login - alice may no longer send from: alice@example.com",
            "login ~ have another password: alice",
        ]
    );
    let none = "[access.relay]\nauthenticated = false\n";
    assert_eq!(
        told("", none),
        [
            "relay - may no longer relay, logged in: alice",
            "relay - nobody may relay any longer for being logged in (relay.authenticated: true → false)",
        ]
    );
}

#[test]
fn the_rest_is_told_by_subject() {
    let old = "[messages]\nmax_errors = 10\n[delivery]\ndomains = [{ name = \"example.com\", to = \"lmtp:[::1]:24\", recipients = [\"alice\", \"bob\"], aliases = { a = [\"alice\"] } }, { name = \"old.example\", to = \"lmtp:[::1]:24\" }]\n";
    let new = "[access.tls]\nmin_version = \"1.3\"\n[access.relay]\nlist = [\"192.0.2.0/24\"]\ndomains = [\"branch.example.net\"]\n[delivery]\ndomains = [{ name = \"example.com\", to = \"lmtp:[::1]:24\", recipients = [\"bob\", \"carol\"] }, { name = \"new.example\", to = \"lmtp:[::1]:24\" }]\n";
    assert_eq!(
        told(old, new),
        [
            "relay + may relay without logging in: 192.0.2.0/24",
            "relay + mail for these domains is taken from anybody: branch.example.net",
            "tls - TLS 1.2 may no longer be spoken (tls.min_version: 1.2 → 1.3)",
            "domain + recipients of example.com: carol",
            "domain + new.example is local (lmtp:[::1]:24)",
            "domain - no longer recipients of example.com: alice",
            "domain - no longer aliases in example.com: a = alice",
            "domain - old.example is no longer local",
            "limit ~ messages.max_errors: 10 → 20",
        ]
    );
}

#[test]
fn facts_survive_being_written_down() {
    let facts = facts_of(
        &connection("only", "\"192.0.2.0/24\", \"2001:db8::/32\""),
        ACCOUNTS,
    );
    let text = serde_json::to_string(&facts).unwrap();
    assert!(!text.contains("argon2"), "{text}");
    assert_eq!(serde_json::from_str::<Facts>(&text).unwrap(), facts);
}

#[test]
fn the_shorter_way_to_say_whom_is_taken() {
    let only = connection("only", "\"192.0.2.1\", \"198.51.100.0/24\"");
    let nobody = connection("only", "");
    let everybody = connection("only", "\"0.0.0.0/0\", \"::/0\"");
    assert_eq!(
        told(&only, ""),
        [
            "connection + everybody but these may connect: 192.0.2.1, 198.51.100.0/24",
            "connection ~ connection.mode: only → all-except",
        ]
    );
    assert_eq!(
        told(&everybody, &nobody),
        ["connection - everybody may no longer connect"]
    );
    assert_eq!(
        told(&nobody, &only),
        ["connection + may connect: 192.0.2.1, 198.51.100.0/24"]
    );
}

#[test]
fn rules_for_clients_are_told_by_who_may() {
    let open = "[access.authentication]\nanonymous = true\nanonymous_local_sender = \"mark\"\nbasic_requires_tls = false\nsender_must_match = false\n";
    let strict = "[access.authentication]\nscram = false\nbasic = false\n";
    assert_eq!(
        told(open, strict),
        [
            "login - anonymous sessions may no longer send (authentication.anonymous: true → false)",
            "login - anonymous sessions may no longer send as somebody of a local domain (authentication.anonymous_local_sender: mark → reject)",
            "login - clients may no longer log in by PLAIN and LOGIN (authentication.basic: true → false)",
            "login - passwords may no longer be sent outside TLS (authentication.basic_requires_tls: false → true)",
            "login - accounts with keys may no longer log in by SCRAM (authentication.scram: true → false)",
            "login - accounts may no longer send from addresses that are not theirs (authentication.sender_must_match: false → true)",
        ]
    );
    let gained = told(strict, open);
    assert_eq!(gained.len(), 6, "{gained:?}");
    assert!(
        gained.iter().all(|change| change.starts_with("login + ")),
        "{gained:?}"
    );
    let accept = open.replace("mark", "accept");
    assert_eq!(
        told(open, &accept),
        ["login ~ authentication.anonymous_local_sender: mark → accept"]
    );
    // What an older worker does not tell is neither a gain nor a loss.
    let mut old = facts_of(strict, ACCOUNTS);
    old.access.remove("authentication.scram");
    assert_eq!(
        shown(&diff(&old, &facts_of(strict, ACCOUNTS))),
        ["login ~ authentication.scram: unknown → false"]
    );
}

#[test]
fn a_directory_is_told_by_how_it_is_asked() {
    let directory = |more: &str| {
        format!(
            "[access.authentication]\naccounts = [{{ ldap = {{ servers = [\"ldaps://dc1.corp.example\"], base = \"DC=corp,DC=example\", {more} }} }}]\n"
        )
    };
    let old = directory("kind = \"openldap\"");
    let new = directory(
        "bind_dn = \"post@corp.example\", bind_password_file = \"/etc/p\", filter = \"(uid={name})\", addresses = [\"mailAlternate\"], timeout = \"9s\"",
    );
    let changes = told(&old, &new);
    let about = "login ~ ldap dc1.corp.example:636 below DC=corp,DC=example: ";
    let names: Vec<&str> = changes
        .iter()
        .filter_map(|change| change.strip_prefix(about)?.split(": ").next())
        .collect();
    assert_eq!(
        names,
        ["addresses", "bind_dn", "filter", "kind", "timeout"],
        "{changes:?}"
    );
    assert_eq!(changes.len(), 5, "{changes:?}");
    assert!(changes[3].ends_with("kind: openldap → ad"), "{changes:?}");
    let starttls = new.replace("ldaps://dc1.corp.example", "ldap://dc1.corp.example:636");
    assert_eq!(
        told(&new, &starttls),
        [format!("{about}tls: ldaps → starttls")]
    );
    // One that comes is told with the sources.
    assert_eq!(told("", &old).len(), 1);
}

#[test]
fn keys_for_scram_that_come_and_go_are_told() {
    let keys = format!(
        "{ACCOUNTS}scram = \"SCRAM-SHA-256$4096:YWxpY2VhbGljZWFsaWNlMQ==$bQDbGXf+hVlOpLgApsIlEgguixNgOSANIU6/Ayt5XdI=:Oka+awOY6pveE3CrhdFfVLe0puPlToKxGh54ck6cd1w=\"\n"
    );
    let changes = diff(&facts_of("", ACCOUNTS), &facts_of("", &keys));
    assert_eq!(shown(&changes), ["login + have keys for SCRAM: alice"]);
}

#[test]
fn windows_logins_that_come_and_go_are_told() {
    let section = |rest: &str| format!("[access.authentication]\n{rest}\n");
    let file = section("accounts = [{ file = \"a.toml\" }]");
    let hashes = section("ntlm = true\naccounts = [{ file = \"a.toml\", nt_hashes = \"a.nt\" }]");
    let from_file_to_hashes = [
        "login + clients may log in by what Windows negotiates (GSS-SPNEGO) (authentication.integrated: false → true)",
        "login + clients may log in by NTLM (authentication.ntlm: false → true)",
        "login ~ authentication.accounts: [file a.toml] → [file a.toml with NT hashes a.nt]",
    ];
    assert_eq!(told(&file, &hashes), from_file_to_hashes);
    let bound = "ntlm = { channel_binding = \"require\" }\naccounts = ";
    let free = section("ntlm = { requires_tls = false }\naccounts = [{ windows = \"CORP\" }]");
    let sources =
        "[{ windows = \"CORP\" }, { gssapi = { keytab = \"k\", realms = [\"X.EXAMPLE\"] } }]";
    let bound = section(&format!("{bound}{sources}"));
    let changes = told(&free, &bound);
    assert_eq!(
        changes,
        [
            "login - logins by NTLM and Kerberos must be bound to their TLS connection (authentication.ntlm.channel_binding: accept → require)",
            "login - NTLM may no longer be used outside TLS (authentication.ntlm.requires_tls: false → true)",
            "login ~ authentication.accounts: [windows CORP] → [windows CORP, gssapi k X.EXAMPLE]",
        ]
    );
}

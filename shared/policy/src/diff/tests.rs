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
            "connection - may no longer connect: 0.0.0.0/1, 128.0.0.0/2, 192.0.0.0/23, 192.0.2.0, 192.0.2.2/31, \
             192.0.2.4/30, 192.0.2.8/29, 192.0.2.16/28, 192.0.2.32/27, 192.0.2.64/26, 192.0.2.128/25, \
             192.0.3.0/24, 192.0.4.0/22, 192.0.8.0/21, 192.0.16.0/20, 192.0.32.0/19, 192.0.64.0/18, \
             192.0.128.0/17, 192.1.0.0/16, 192.2.0.0/15 and 13 more",
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
            "relay ~ relay.authenticated: true → false",
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
            "tls ~ tls.min_version: 1.2 → 1.3",
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

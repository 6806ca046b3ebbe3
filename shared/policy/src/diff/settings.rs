//! Single settings: who gains or loses by those that are rules for clients, and the rest as it is written.
//!
//! Never: a list; those are compared by what they hold.

use std::collections::BTreeMap;

use super::{Changes, Effect, Subject};

/// A setting that lets somebody do something, or keeps him from it.
struct Rule {
    name: &'static str,
    /// Whether this value lets them.
    lets: fn(&str) -> bool,
    /// Who may, and who may no longer.
    words: [&'static str; 2],
}

const RULES: [Rule; 13] = [
    Rule {
        name: "authentication.anonymous",
        lets: is_true,
        words: [
            "anonymous sessions may send",
            "anonymous sessions may no longer send",
        ],
    },
    Rule {
        name: "authentication.anonymous_local_sender",
        lets: |value| value != "reject",
        words: [
            "anonymous sessions may send as somebody of a local domain",
            "anonymous sessions may no longer send as somebody of a local domain",
        ],
    },
    Rule {
        name: "authentication.basic",
        lets: is_true,
        words: [
            "clients may log in by PLAIN and LOGIN",
            "clients may no longer log in by PLAIN and LOGIN",
        ],
    },
    Rule {
        name: "authentication.basic_requires_tls",
        lets: is_false,
        words: [
            "passwords may be sent outside TLS",
            "passwords may no longer be sent outside TLS",
        ],
    },
    Rule {
        name: "authentication.scram",
        lets: is_true,
        words: [
            "accounts with keys may log in by SCRAM",
            "accounts with keys may no longer log in by SCRAM",
        ],
    },
    Rule {
        name: "authentication.integrated",
        lets: is_true,
        words: [
            "clients may log in by what Windows negotiates (GSS-SPNEGO)",
            "clients may no longer log in by what Windows negotiates (GSS-SPNEGO)",
        ],
    },
    Rule {
        name: "authentication.ntlm",
        lets: is_true,
        words: [
            "clients may log in by NTLM",
            "clients may no longer log in by NTLM",
        ],
    },
    Rule {
        name: "authentication.ntlm.requires_tls",
        lets: is_false,
        words: [
            "NTLM may be used outside TLS",
            "NTLM may no longer be used outside TLS",
        ],
    },
    Rule {
        name: "authentication.ntlm.channel_binding",
        lets: |value| value == "accept",
        words: [
            "logins by NTLM and Kerberos need not be bound to their TLS connection",
            "logins by NTLM and Kerberos must be bound to their TLS connection",
        ],
    },
    Rule {
        name: "authentication.sender_must_match",
        lets: is_false,
        words: [
            "accounts may send from addresses that are not theirs",
            "accounts may no longer send from addresses that are not theirs",
        ],
    },
    Rule {
        name: "relay.authenticated",
        lets: is_true,
        words: [
            "who is logged in may relay, as authentication.relay says",
            "nobody may relay any longer for being logged in",
        ],
    },
    Rule {
        name: "tls.require",
        lets: is_false,
        words: [
            "clients without TLS may send",
            "clients without TLS may no longer send",
        ],
    },
    Rule {
        name: "tls.min_version",
        lets: |value| value == "1.2",
        words: ["TLS 1.2 may be spoken", "TLS 1.2 may no longer be spoken"],
    },
];

fn is_true(value: &str) -> bool {
    value == "true"
}

fn is_false(value: &str) -> bool {
    value == "false"
}

impl Changes {
    pub(super) fn settings(
        &mut self,
        old: &BTreeMap<String, String>,
        new: &BTreeMap<String, String>,
    ) {
        for (name, after) in new {
            let before = old.get(name).map(String::as_str);
            if before != Some(after) {
                self.setting(name, before, after);
            }
        }
    }

    /// A worker of an older release does not tell all: what was in force is unknown then.
    fn setting(&mut self, name: &str, before: Option<&str>, after: &str) {
        let shown = |text: &str| match text {
            "" => "\"\"".to_owned(),
            text => text.to_owned(),
        };
        let written = format!("{} → {}", shown(before.unwrap_or("unknown")), shown(after));
        let rule = RULES.iter().find(|rule| rule.name == name);
        let lets = rule.zip(before).map(|(rule, before)| {
            let [may, may_not] = rule.words;
            ((rule.lets)(before), (rule.lets)(after), may, may_not)
        });
        let (effect, what) = match lets {
            Some((false, true, may, _)) => (Effect::Gained, format!("{may} ({name}: {written})")),
            Some((true, false, _, may_not)) => {
                (Effect::Lost, format!("{may_not} ({name}: {written})"))
            }
            _ => (Effect::Changed, format!("{name}: {written}")),
        };
        self.add(subject(name), effect, what, []);
    }

    /// How directories are asked; one that comes or goes is told with the sources of accounts.
    pub(super) fn directories(
        &mut self,
        old: &BTreeMap<String, BTreeMap<String, String>>,
        new: &BTreeMap<String, BTreeMap<String, String>>,
    ) {
        for (directory, after) in new {
            let Some(before) = old.get(directory) else {
                continue;
            };
            for (name, after) in after {
                let before = before.get(name).map_or("unknown", String::as_str);
                if before != after {
                    let what = format!("{directory}: {name}: {before} → {after}");
                    self.add(Subject::Login, Effect::Changed, what, []);
                }
            }
        }
    }
}

fn subject(name: &str) -> Subject {
    match name.split('.').next() {
        _ if name == "authentication.relay" => Subject::Relay,
        Some("tls") => Subject::Tls,
        Some("authentication") => Subject::Login,
        Some("relay") => Subject::Relay,
        _ if is_limit(name) => Subject::Limit,
        _ => Subject::Setting,
    }
}

fn is_limit(name: &str) -> bool {
    let (_, last) = name.split_once('.').unwrap_or_default();
    last.starts_with("max_") || last.ends_with("_rate") || last.ends_with("_timeout")
}

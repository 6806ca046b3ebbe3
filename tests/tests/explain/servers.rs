//! The servers of the table, and the names that their rules ask for.

use postern_tests::peers::Dns;
use postern_tests::stage::{Stage, private};
use postern_tests::{Failure, wait};
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

/// The records of `example.test`.
const RECORDS: &str = "scanner A 192.0.2.3
bad A 127.0.9.3
bad A 127.0.9.1
relay.spam A 192.0.2.9
pc.office A 192.0.2.1
liar.office A 192.0.2.77
";

/// The names of addresses in 192.0.2.0/24; that of 192.0.2.2 is a lie, and 192.0.2.4 has none.
const REVERSE: &str = "9 PTR relay.spam.example.test.
1 PTR pc.office.example.test.
2 PTR liar.office.example.test.
";

/// Who speaks for clients that are not on loopback.
pub(crate) const BALANCER: &str = "127.0.0.250";

const GATE: &str = r#"[general]
fqdn = "gate.example.test"
listen = [LISTEN]
proxy_from = ["BALANCER"]

[access.authentication]
anonymous = true
basic_requires_tls = false
accounts = [{ file = "ACCOUNTS" }]
relay = ["*", "!bob"]

[access.tls]
certificates = [{ certificate = "CERTIFICATE", key = "KEY" }]

[access.connection]
list = [
  "127.0.0.66",
  "127.0.4.0/24",
  "127.0.4.16/28",
  "2001:db8:bad::/48",
  "domain spam.example.test",
  "file lists/blocked.txt",
]

[access.relay]
list = ["127.0.0.2", "127.0.2.0/24", "::1", "2001:db8::/32",
        "host scanner.example.test", "domain office.example.test"]
domains = ["branch.test"]

[delivery]
external_dns = ["RESOLVER"]

[[delivery.domains]]
name = "example.test"
to = "maildir:MAIL/{domain}/{local}"
recipients = "lists/people.txt"
aliases = { sales = ["alice", "carol@far.test"], circle = ["nobody"] }

[[delivery.domains]]
name = "second.test"
to = "maildir:MAIL/{domain}/{local}"
"#;

const BLOCKED: &str = "# Found guilty.
127.0.7.0/29     # some
127.0.7.8/31

host bad.example.test
";

const PEOPLE: &str = "alice
bob              # the builder
";

const CLOSED: &str = r#"[general]
fqdn = "closed.example.test"
listen = [LISTEN]
proxy_from = ["BALANCER"]

[access.authentication]
accounts = [{ file = "ACCOUNTS" }]
submit = ["*", "!@staff"]

[access.tls]
certificates = [{ certificate = "CERTIFICATE", key = "KEY" }]

[access.connection]
mode = "only"
list = ["127.0.0.1", "127.0.5.0/255.255.255.0", "::1", "domain office.example.test"]

[access.relay]
authenticated = false

[delivery]
external_dns = ["RESOLVER"]
domains = [{ name = "example.test", to = "maildir:MAIL/{domain}/{local}" }]
"#;

const LOOSE: &str = r#"[general]
fqdn = "loose.example.test"
listen = [LISTEN]
proxy_from = ["BALANCER"]

[access.authentication]
anonymous = true
basic_requires_tls = false
accounts = [{ file = "ACCOUNTS" }]
relay = ["@staff"]
sender_must_match = false

[access.tls]
certificates = [{ certificate = "CERTIFICATE", key = "KEY" }]

[access.relay]
mode = "all-except"
list = ["127.0.6.0/24"]
allow_everyone = true

[messages]
unresolved_to = "[127.0.0.1]:9"

[delivery]
domains = [{ name = "example.test", to = "maildir:MAIL/{domain}/{local}", recipients = ["alice"] }]
"#;

const SENDERS: &str = r#"[general]
fqdn = "senders.example.test"
listen = [LISTEN]
proxy_from = ["BALANCER"]

[access.authentication]
anonymous = true
anonymous_local_sender = "WORD"

[access.tls]
certificates = [{ certificate = "CERTIFICATE", key = "KEY" }]

[delivery]
domains = [{ name = "example.test", to = "maildir:MAIL/{domain}/{local}" }]
"#;

const SECURE: &str = r#"[general]
fqdn = "secure.example.test"
listen = [LISTEN]
proxy_from = ["BALANCER"]

[access.authentication]
anonymous = true
accounts = [{ file = "ACCOUNTS" }]

[access.tls]
certificates = [{ certificate = "CERTIFICATE", key = "KEY" }]
require = true

[delivery]
domains = [{ name = "example.test", to = "maildir:MAIL/{domain}/{local}", recipients = ["alice"] }]
"#;

/// Only SCRAM, for those who have keys.
const KEYS: &str = r#"[general]
fqdn = "keys.example.test"
listen = [LISTEN]
proxy_from = ["BALANCER"]

[access.authentication]
basic = false
accounts = [{ file = "KEYED" }]

[access.tls]
certificates = [{ certificate = "CERTIFICATE", key = "KEY" }]

[delivery]
domains = [{ name = "example.test", to = "maildir:MAIL/{domain}/{local}" }]
"#;

/// alice has keys, bob has none; both have the password of their stage's account.
const KEYED: &str = r#"[accounts."alice"]
password = "$argon2id$v=19$m=8,t=1,p=1$YWxpY2VhbGljZWFsaWNlMQ$YhOLIF8zm0pQPfG4Ej5ICxSNnyfnz6BMT8QzMpLMS38"
scram = "SCRAM-SHA-256$4096:YWxpY2VhbGljZWFsaWNlMQ==$bQDbGXf+hVlOpLgApsIlEgguixNgOSANIU6/Ayt5XdI=:Oka+awOY6pveE3CrhdFfVLe0puPlToKxGh54ck6cd1w="
addresses = ["alice@example.test"]

[accounts."bob"]
password = "$argon2id$v=19$m=8,t=1,p=1$Ym9iYm9iYm9iYm9iYm9iMQ$y0cBnLeivHtZL4/6CaeJA4W05pZlWg76FK56yGxYR4M"
addresses = ["bob@example.test"]
"#;

/// The servers, where they listen, and the name server they ask.
pub(crate) struct Servers {
    pub(crate) stage: Stage,
    /// `gate:implicit` → its address.
    pub(crate) addresses: BTreeMap<String, SocketAddr>,
    _dns: Dns,
}

impl Servers {
    /// Starts all of them.
    pub(crate) fn start() -> Result<Servers, Failure> {
        let mut stage = Stage::new()?;
        let dns = Dns::with_reverse(&stage.path("dns"), RECORDS, REVERSE)?;
        let mut addresses = BTreeMap::new();
        fs::create_dir_all(stage.path("etc/servers/lists"))?;
        for (name, text) in [("blocked", BLOCKED), ("people", PEOPLE)] {
            fs::write(stage.path(&format!("etc/servers/lists/{name}.txt")), text)?;
        }
        private(&stage.path("etc/keyed.toml"), KEYED)?;
        let (mark, accept) = (
            SENDERS.replace("WORD", "mark"),
            SENDERS.replace("WORD", "accept"),
        );
        let all = [
            ("gate", GATE),
            ("closed", CLOSED),
            ("loose", LOOSE),
            ("mark", &mark),
            ("accept", &accept),
            ("secure", SECURE),
            ("keys", KEYS),
        ];
        for (name, text) in all {
            let listen = listen(name, &mut addresses)?;
            let text = filled(text, &stage, &listen, dns.resolver);
            stage.define_text(name, &text)?;
        }
        stage.start_with(&all.map(|(name, _)| name))?;
        Ok(Servers {
            stage,
            addresses,
            _dns: dns,
        })
    }
}

/// One address of each kind.
fn listen(name: &str, addresses: &mut BTreeMap<String, SocketAddr>) -> Result<String, Failure> {
    let plain = wait::free_address()?;
    let (implicit, none) = (wait::free_address()?, wait::free_address()?);
    let v6: SocketAddr = format!("[::1]:{}", wait::free_port()?).parse()?;
    for (kind, address) in [
        ("", plain),
        (":implicit", implicit),
        (":none", none),
        (":v6", v6),
    ] {
        addresses.insert(format!("{name}{kind}"), address);
    }
    // Where TLS is required, no address may be without.
    let device = match name {
        "secure" => String::new(),
        _ => format!("{{ address = \"{none}\", tls = \"none\" }}, "),
    };
    Ok(format!(
        "\"{plain}\", {{ address = \"{implicit}\", tls = \"implicit\" }}, {device}\"{v6}\""
    ))
}

fn filled(text: &str, stage: &Stage, listen: &str, resolver: SocketAddr) -> String {
    let path = |path: &Path| path.to_string_lossy().into_owned();
    [
        ("LISTEN", listen.to_owned()),
        ("KEYED", path(&stage.path("etc/keyed.toml"))),
        ("ACCOUNTS", path(&stage.accounts())),
        ("CERTIFICATE", path(&stage.certificate())),
        ("BALANCER", BALANCER.to_owned()),
        ("KEY", path(&stage.key())),
        ("MAIL", path(&stage.path("mail"))),
        ("RESOLVER", resolver.to_string()),
    ]
    .iter()
    .fold(text.to_owned(), |text, (word, value)| {
        text.replace(word, value)
    })
}

//! No way of writing a recipient widens what may be relayed: the probes of Microsoft's article Q304897, and the classic list.
//!
//! Each is tried from an address that may connect but not relay, in a session of its own: bad recipients are slowed.

use postern_tests::definition::Definition;
use postern_tests::sink::Sink;
use postern_tests::stage::Stage;
use postern_tests::wire::Wire;
use postern_tests::{Failure, Outcome, wait};
use std::net::SocketAddr;

/// Q304897, "How to block open SMTP relaying": sender, recipient. The local domain is northwindtraders.com.
const Q304897: [(&str, &str); 7] = [
    ("<spamtest@contoso.net>", "<relaytest@contoso.net>"),
    ("<spamtest>", "<relaytest@contoso.net>"),
    ("<>", "<relaytest@contoso.net>"),
    ("<spamtest@northwindtraders.com>", "<relaytest@contoso.net>"),
    ("<spamtest@[10.10.10.10]>", "<relaytest@contoso.net>"),
    ("<spamtest>", "<relaytest%contoso.net>"),
    ("<spamtest>", "<\"nobody@mail-contoso.org\">"),
];

/// Recipients that would leave the house if any part of it read them another way.
const TRICKS: [&str; 41] = [
    "relaytest@contoso.net",
    "RelayTest@CONTOSO.NET",
    "relaytest@contoso.net.",
    "relaytest@northwindtraders.com.contoso.net",
    "relaytest@contoso.net@northwindtraders.com",
    "relaytest@northwindtraders.com@contoso.net",
    "\"relaytest@contoso.net\"@northwindtraders.com",
    "\"relaytest@contoso.net\"",
    "\"relaytest\"@contoso.net",
    "\"relaytest%contoso.net\"@northwindtraders.com",
    "\"contoso.net!relaytest\"@northwindtraders.com",
    "relaytest%contoso.net@northwindtraders.com",
    "relaytest%contoso.net@NORTHWINDTRADERS.COM",
    "relaytest%contoso.net@[127.0.0.1]",
    "relaytest%contoso.net",
    "a%b%contoso.net@northwindtraders.com",
    "contoso.net!relaytest@northwindtraders.com",
    "contoso.net!relaytest",
    "northwindtraders.com!contoso.net!relaytest",
    "@northwindtraders.com:relaytest@contoso.net",
    "@northwindtraders.com,@contoso.net:relaytest@contoso.net",
    "@northwindtraders.com:relaytest%contoso.net@northwindtraders.com",
    "@contoso.net:relaytest@northwindtraders.com",
    "relaytest@[contoso.net]",
    "relaytest@[192.0.2.25]",
    "relaytest@[IPv6:2001:db8::25]",
    "relaytest@[127.0.0.1]",
    "relaytest@contoso.net@[127.0.0.1]",
    "\"relaytest@contoso.net\"@[127.0.0.1]",
    "relaytest@contoso.net%northwindtraders.com",
    "relaytest@northwindtraders.com%contoso.net",
    "relaytest@northwindtraders.com.",
    "relaytest@northwindtraders\\.com",
    "relaytest@northwindtraders.com\\@contoso.net",
    "relaytest\\@contoso.net@northwindtraders.com",
    "relaytest@ northwindtraders.com",
    "relaytest@n\u{43e}rthwindtraders.com",
    "relaytest@northwindtraders\u{ff0e}com",
    "relaytest\u{ff20}contoso.net@northwindtraders.com@contoso.net",
    "relaytest\u{ff20}contoso.net@northwindtraders.com",
    "relaytest@contoso.net (northwindtraders.com)",
];

fn server() -> Result<(Stage, SocketAddr, Sink), Failure> {
    let mut stage = Stage::new()?;
    let sink = Sink::start()?;
    let address = wait::free_address()?;
    let mailboxes = stage.path("state/gate/mail/{domain}/{local}");
    let definition = Definition::open_relay("gate.northwindtraders.com", address)
        .relay("list", "[\"192.0.2.0/24\"]")
        .local(
            "northwindtraders.com",
            &format!("maildir:{}", mailboxes.display()),
        )
        .authentication("anonymous_local_sender", "\"accept\"")
        .smart_host(sink.address);
    stage.define("gate", &definition)?;
    stage.start_with(&["gate"])?;
    Ok((stage, address, sink))
}

/// The reply to a recipient; a sender that is refused already is an answer too.
fn probe(address: SocketAddr, sender: &str, recipient: &str) -> Result<String, Failure> {
    let mut wire = Wire::open(address)?;
    let utf8 = if recipient.is_ascii() {
        ""
    } else {
        " SMTPUTF8"
    };
    let reply = wire.say(&format!("MAIL FROM:{sender}{utf8}"))?;
    if !reply.starts_with("250") {
        return Ok(reply);
    }
    wire.say(&format!("RCPT TO:{recipient}"))
}

#[test]
fn the_probes_of_q304897_are_refused() -> Outcome {
    let (_stage, address, sink) = server()?;
    for (sender, recipient) in Q304897 {
        let reply = probe(address, sender, recipient)?;
        assert!(reply.starts_with('5'), "{sender} {recipient}: {reply}");
        if recipient == "<relaytest@contoso.net>" && sender != "<spamtest>" {
            assert_eq!(reply, "550 5.7.1 Unable to relay for relaytest@contoso.net");
        }
    }
    assert_eq!(sink.connections(), 0);
    Ok(())
}

#[test]
fn no_spelling_relays() -> Outcome {
    let (stage, address, sink) = server()?;
    for trick in TRICKS {
        for recipient in [format!("<{trick}>"), trick.to_owned()] {
            for sender in [
                "<spamtest@contoso.org>",
                "<>",
                "<spamtest@northwindtraders.com>",
            ] {
                let reply = probe(address, sender, &recipient)?;
                assert!(reply.starts_with('5'), "{sender} {recipient}: {reply}");
            }
        }
    }
    // The recipient they imitate is taken, so that the refusals above mean something.
    let reply = probe(
        address,
        "<spamtest@contoso.org>",
        "<relaytest@northwindtraders.com>",
    )?;
    assert_eq!(reply, "250 2.1.5 recipient OK");
    assert_eq!(stage.counters("gate")?.get("queued"), Some(&0));
    assert_eq!(sink.connections(), 0);
    Ok(())
}

//! What a server must not take: torn line ends, too much, too many, what it is told to refuse.

use postern_tests::definition::Definition;
use postern_tests::sink::Sink;
use postern_tests::stage::Stage;
use postern_tests::wire::{Wire, stuffed};
use postern_tests::{Failure, Outcome, mail, maildir, wait};
use std::net::SocketAddr;

fn server(
    change: impl FnOnce(&Stage, Definition) -> Definition,
) -> Result<(Stage, SocketAddr, Sink), Failure> {
    let mut stage = Stage::new()?;
    let sink = Sink::start()?;
    let address = wait::free_address()?;
    let definition = change(
        &stage,
        Definition::open_relay("gate.example.test", address).smart_host(sink.address),
    );
    stage.define("gate", &definition)?;
    stage.start_with(&["gate"])?;
    Ok((stage, address, sink))
}

fn envelope(wire: &mut Wire) -> Outcome {
    wire.expect("250", "MAIL FROM:<a@client.test>")?;
    wire.expect("250", "RCPT TO:<b@far.test>")?;
    wire.expect("354", "DATA").map(drop)
}

/// Every ending of data but CRLF.CRLF is part of the message, and a message with a bare CR or LF is refused: nothing
/// behind it is ever taken for a command.
#[test]
fn nothing_is_smuggled() -> Outcome {
    let (_stage, address, sink) = server(|_, d| d)?;
    let inner = "MAIL FROM:<evil@client.test>\r\nRCPT TO:<victim@far.test>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n.\r\n";
    for end in [
        "\n.\n",
        "\n.\r\n",
        "\r\n.\n",
        "\r.\r",
        "\r.\r\n",
        "\r\n.\r",
        "\r\n\x00.\r\n",
        "\n\r.\r\n",
    ] {
        let mut wire = Wire::open(address)?;
        envelope(&mut wire)?;
        wire.send(format!("Subject: outer\r\n\r\ntext{end}{inner}").as_bytes())?;
        let reply = wire.reply()?;
        assert!(reply.starts_with("550 5.6.0"), "{end:?}: {reply}");
        wire.expect("250", "NOOP")?;
        // The session is intact after the refusal.
        let reply = wire.message(
            "a@client.test",
            "b@far.test",
            &mail::with_header("after", b"x\r\n"),
        )?;
        assert!(reply.starts_with("250"), "{end:?}: {reply}");
    }
    sink.wait(8)?;
    assert!(
        sink.taken()
            .iter()
            .all(|t| String::from_utf8_lossy(&t.content).contains("Subject: after"))
    );
    Ok(())
}

#[test]
fn bare_line_ends_are_converted_where_the_definition_says_so() -> Outcome {
    let (_stage, address, sink) = server(|_, d| d.messages("bare_newline", "\"convert\""))?;
    let mut wire = Wire::open(address)?;
    envelope(&mut wire)?;
    wire.send(b"Subject: old device\n\none\rtwo\n.\nthree\r\n.\r\n")?;
    assert!(wire.reply()?.starts_with("250"));
    let taken = sink.wait(1)?;
    let content = mail::without_trace(&taken[0].content);
    mail::compare(
        "converted",
        b"Subject: old device\r\n\r\none\r\ntwo\r\n.\r\nthree\r\n",
        content,
    )
}

#[test]
fn commands_end_with_crlf_only() -> Outcome {
    let (_stage, address, _sink) = server(|_, d| d)?;
    let mut wire = Wire::open(address)?;
    wire.send(b"NOOP\nRSET\r\n")?;
    let reply = wire.reply()?;
    assert!(
        reply.starts_with("500") || reply.starts_with("501"),
        "{reply}"
    );
    wire.expect("250", "NOOP").map(drop)
}

#[test]
fn a_message_beyond_the_limit_is_refused_early_and_late() -> Outcome {
    let (stage, address, sink) = server(|_, d| d.messages("max_message_size", "\"64 KiB\""))?;
    let mut wire = Wire::open(address)?;
    assert!(wire.say("EHLO client.test")?.contains("SIZE 65536"));
    wire.expect("552 5.3.4", "MAIL FROM:<a@client.test> SIZE=65537")?;
    envelope(&mut wire)?;
    wire.send(&stuffed(&mail::of_size("large", 70_000)))?;
    assert!(wire.reply()?.starts_with("552 5.3.4"));
    // BDAT is refused with the chunk that goes beyond.
    wire.expect("250", "MAIL FROM:<a@client.test>")?;
    wire.expect("250", "RCPT TO:<b@far.test>")?;
    wire.send(format!("BDAT 70000 LAST\r\n{}", "x".repeat(70_000)).as_bytes())?;
    assert!(wire.reply()?.starts_with("552 5.3.4"));
    wire.say("RSET")?;
    let reply = wire.message(
        "a@client.test",
        "b@far.test",
        &mail::of_size("fits", 65_000),
    )?;
    assert!(reply.starts_with("250"), "{reply}");
    sink.wait(1)?;
    stage.wait_empty("gate")
}

#[test]
fn sessions_are_limited() -> Outcome {
    let (_stage, address, _sink) = server(|_, d| {
        d.general("max_connections", 3)
            .general("idle_timeout", "\"1s\"")
            .messages("max_errors", 5)
            .messages("max_recipients", 100)
    })?;
    let mut held = vec![
        Wire::open(address)?,
        Wire::open(address)?,
        Wire::open(address)?,
    ];
    let refused = Wire::connect(address)?;
    assert!(
        refused.greeting.starts_with("421 4.3.2"),
        "{}",
        refused.greeting
    );
    // Idle: told so, then closed.
    assert!(held[0].reply()?.starts_with("421 4.4.2"));
    drop(held);
    wait::until_true("room for a session", postern_tests::stage::PATIENCE, || {
        Wire::open(address).is_ok()
    })?;

    let mut wire = Wire::open(address)?;
    for _ in 0..4 {
        let reply = wire.say("XYZZY")?;
        assert!(reply.starts_with("500"), "{reply}");
    }
    let last = wire.say("XYZZY").and_then(|reply| {
        if reply.starts_with("421") {
            Ok(reply)
        } else {
            wire.say("XYZZY")
        }
    })?;
    assert!(last.starts_with("421"), "{last}");
    assert!(wire.closed());

    let mut wire = Wire::open(address)?;
    wire.expect("250", "MAIL FROM:<a@client.test>")?;
    for number in 0..100 {
        wire.expect("250", &format!("RCPT TO:<b{number}@far.test>"))?;
    }
    wire.expect("452 4.5.3", "RCPT TO:<one-more@far.test>")
        .map(drop)
}

#[test]
fn one_address_has_its_share_only() -> Outcome {
    let (_stage, address, _sink) = server(|_, d| d.general("max_connections_per_ip", 2))?;
    let _held = (Wire::open(address)?, Wire::open(address)?);
    let refused = Wire::connect(address)?;
    assert!(refused.greeting.starts_with("421"), "{}", refused.greeting);
    Ok(())
}

#[test]
fn an_address_that_may_not_connect_is_told_so() -> Outcome {
    let (_stage, address, _sink) = server(|_, d| {
        d.connection("mode", "\"all-except\"")
            .connection("list", "[\"127.0.0.0/8\"]")
    })?;
    let mut refused = Wire::connect(address)?;
    assert!(
        refused.greeting.starts_with("554 5.7.1"),
        "{}",
        refused.greeting
    );
    assert!(refused.closed());
    Ok(())
}

#[test]
fn a_stranger_relays_nothing_and_tricks_do_not_help() -> Outcome {
    let (_stage, address, sink) = server(|stage, d| {
        d.relay("list", "[]").local(
            "example.test",
            &format!("maildir:{}/{{local}}", stage.path("mail").display()),
        )
    })?;
    let mut wire = Wire::open(address)?;
    wire.expect("250", "MAIL FROM:<a@client.test>")?;
    for recipient in [
        "<b@far.test>",
        "<b%far.test@example.test@far.test>",
        "<@example.test:b@far.test>",
        "<\"b@far.test\"@far.test>",
        "<far.test!b@far.test>",
        "<b@[192.0.2.1]>",
        "<b@sub.example.test>",
    ] {
        let reply = wire.say(&format!("RCPT TO:{recipient}"))?;
        assert!(reply.starts_with('5'), "{recipient}: {reply}");
    }
    assert!(
        wire.say("RCPT TO:<c@far.test>")?
            .starts_with("550 5.7.1 Unable to relay for c@far.test")
    );
    drop(wire);
    // A local part that looks like an address elsewhere goes nowhere else.
    let mut wire = Wire::open(address)?;
    wire.expect("250", "MAIL FROM:<a@client.test>")?;
    for recipient in [
        "b%far.test@example.test",
        "far.test!b@example.test",
        "\"b@far.test\"@example.test",
    ] {
        let reply = wire.say(&format!("RCPT TO:<{recipient}>"))?;
        assert!(reply.starts_with(['2', '5']), "{recipient}: {reply}");
    }
    wire.expect("250", "RCPT TO:<postmaster@example.test>")?;
    wire.expect("354", "DATA")?;
    wire.expect("250", "Subject: x\r\n\r\nx\r\n.")?;
    maildir::wait(&_stage.path("mail/postmaster"), 1)?;
    assert_eq!(sink.count(), 0);
    Ok(())
}

#[test]
fn without_login_where_one_is_wanted_there_is_no_mail() -> Outcome {
    let (_stage, address, _sink) = server(|_, d| d.authentication("anonymous", "false"))?;
    let mut wire = Wire::open(address)?;
    wire.expect("530 5.7.1", "MAIL FROM:<a@client.test>")
        .map(drop)
}

#[test]
fn where_tls_is_required_there_is_nothing_without() -> Outcome {
    let (_stage, address, _sink) = server(|stage, d| {
        d.certificate(&stage.certificate(), &stage.key())
            .tls("require", "true")
    })?;
    let mut wire = Wire::open(address)?;
    for line in ["MAIL FROM:<a@client.test>", "AUTH PLAIN", "VRFY a", "HELP"] {
        wire.expect("530 5.7.0 Must issue a STARTTLS command first", line)?;
    }
    for line in ["NOOP", "RSET", "EHLO again.test"] {
        wire.expect("250", line)?;
    }
    // What was pipelined behind STARTTLS in the clear is never obeyed (RFC 3207 §6).
    wire.send(b"STARTTLS\r\nNOOP\r\n")?;
    assert!(wire.reply()?.starts_with("220"));
    Ok(())
}

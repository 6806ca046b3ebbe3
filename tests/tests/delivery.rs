//! Mail leaves: to Postfix as smart host and as mail exchanger, to Dovecot by LMTP, into Maildirs; and comes back as a
//! report where it cannot.

use postern_control::query::{Answer, Question, Which};
use postern_tests::definition::{Definition, text};
use postern_tests::peers::{Dns, Dovecot, Postfix};
use postern_tests::sink::{At, Sink};
use postern_tests::stage::Stage;
use postern_tests::wire::Wire;
use postern_tests::{Failure, Outcome, mail, maildir, wait};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

const SENDER: &str = "alice@client.test";

/// One server `out` that takes from anybody here, with `change` made to its definition.
fn server(
    change: impl FnOnce(&Stage, Definition) -> Definition,
) -> Result<(Stage, SocketAddr), Failure> {
    let mut stage = Stage::new()?;
    let address = wait::free_address()?;
    let definition = Definition::open_relay("out.example.test", address)
        .authentication("anonymous_local_sender", "\"accept\"")
        .delivery("retry", "[\"1s\", \"1s\", \"1s\", \"1s\"]");
    let definition = change(&stage, definition);
    stage.define("out", &definition)?;
    stage.start_with(&["out"])?;
    Ok((stage, address))
}

fn send(to: SocketAddr, sender: &str, recipient: &str, content: &[u8]) -> Outcome {
    let reply = Wire::open(to)?.message(sender, recipient, content)?;
    if reply.starts_with("250 2.6.0") {
        Ok(())
    } else {
        Err(format!("{recipient}: {reply}").into())
    }
}

/// Sends every sample, and compares what lies in the Maildir `folder` afterwards.
fn samples_arrive(to: SocketAddr, recipient: &str, folder: &Path, but: &[&str]) -> Outcome {
    let samples: Vec<_> = mail::samples()
        .into_iter()
        .filter(|sample| !but.contains(&sample.name))
        .collect();
    for sample in &samples {
        send(to, SENDER, recipient, &sample.content)?;
    }
    let arrived: Vec<_> = maildir::wait(folder, samples.len())?
        .iter()
        .map(|content| mail::with_crlf(content))
        .collect();
    for sample in &samples {
        let header = format!("X-Test: {}\r\n", sample.name);
        let found = arrived
            .iter()
            .find(|content| memchr::memmem::find(content, header.as_bytes()).is_some());
        let found = found.ok_or_else(|| format!("{} did not arrive", sample.name))?;
        mail::compare(sample.name, &sample.content, mail::without_trace(found))?;
    }
    Ok(())
}

/// Postfix that delivers all of `example.test` into one Maildir; TLS offered.
fn postfix(folder: &Path) -> Result<(Postfix, PathBuf), Failure> {
    let pair = rcgen::generate_simple_self_signed(["mx1.example.test".to_owned()])?;
    let chain = folder.join("chain.pem");
    std::fs::create_dir_all(folder)?;
    std::fs::write(&chain, pair.signing_key.serialize_pem() + &pair.cert.pem())?;
    let uid = nix::unistd::User::from_name("postfix")?
        .ok_or("there is no user `postfix`")?
        .uid;
    let settings = format!(
        "virtual_mailbox_domains = example.test
virtual_mailbox_base = {folder}/mail
virtual_mailbox_maps = static:all/
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{uid}
virtual_minimum_uid = 1
virtual_mailbox_limit = 0
default_transport = error:nothing goes further
relay_transport = error:nothing goes further
smtpd_tls_security_level = may
smtpd_tls_chain_files = {chain}
smtpd_tls_received_header = yes
",
        folder = folder.display(),
        chain = chain.display()
    );
    Ok((Postfix::start(folder, &settings)?, folder.join("mail/all")))
}

#[test]
fn postfix_as_smart_host_gets_what_was_sent_and_over_tls() -> Outcome {
    let folder = tempfile::tempdir()?;
    let (peer, mailbox) = postfix(folder.path())?;
    let (_stage, address) = server(|_, d| d.smart_host(peer.address))?;
    // Postfix breaks no line below 2,048 characters, and changes nothing else in transit.
    samples_arrive(address, "bob@example.test", &mailbox, &[])
        .map_err(|e| format!("{e}\n{}", peer.log()))?;
    let trace = mail::trace(&mail::with_crlf(&maildir::read(&mailbox)[0]));
    assert!(
        trace.contains("with ESMTPS") && trace.contains("TLS"),
        "it came without TLS:\n{trace}"
    );
    assert!(
        trace.contains("by out.example.test"),
        "no trace of ours:\n{trace}"
    );
    Ok(())
}

#[test]
fn postfix_as_mail_exchanger_is_found_by_dns() -> Outcome {
    let folder = tempfile::tempdir()?;
    let (peer, mailbox) = postfix(&folder.path().join("postfix"))?;
    // Nobody listens on 127.0.0.2: the second one it is.
    let records = "@ MX 10 mx1\n@ MX 20 mx2\nmx1 A 127.0.0.2\nmx2 A 127.0.0.1";
    let dns = Dns::start(&folder.path().join("dns"), records)?;
    let (_stage, address) = server(|_, d| {
        d.delivery("external_dns", format!("[\"{}\"]", dns.resolver))
            .delivery("outbound_port", peer.address.port())
    })?;
    samples_arrive(address, "bob@example.test", &mailbox, &[])
        .map_err(|e| format!("{e}\n{}", peer.log()).into())
}

#[test]
fn domains_that_take_no_mail_are_reported_at_once() -> Outcome {
    let folder = tempfile::tempdir()?;
    let dns = Dns::start(folder.path(), "nullmx MX 0 .\nnomx TXT \"nothing here\"")?;
    let (stage, address) = server(|stage, d| {
        d.local(
            "client.test",
            &format!("maildir:{}/{{local}}", stage.path("mail").display()),
        )
        .delivery("external_dns", format!("[\"{}\"]", dns.resolver))
    })?;
    for (domain, status) in [
        ("nullmx.example.test", "5.1.10"),
        ("missing.example.test", "5.1.2"),
        ("nomx.example.test", "5."),
    ] {
        let before = maildir::read(&stage.path("mail/alice")).len();
        send(
            address,
            SENDER,
            &format!("bob@{domain}"),
            &mail::with_header("refused", b"x\r\n"),
        )?;
        let reports = maildir::wait(&stage.path("mail/alice"), before + 1)?;
        let found = reports
            .iter()
            .map(|r| String::from_utf8_lossy(r))
            .find(|r| r.contains(&format!("bob@{domain}")));
        let report = found.ok_or_else(|| format!("no report about {domain}"))?;
        assert!(report.contains(&format!("Status: {status}")), "{report}");
    }
    stage.wait_empty("out")
}

#[test]
fn dovecot_by_lmtp_answers_for_each_recipient() -> Outcome {
    let folder = tempfile::tempdir()?;
    let dovecot = Dovecot::start(folder.path())?;
    let ways = [
        format!("lmtp:{}", dovecot.lmtp),
        format!("lmtp:unix:{}", dovecot.lmtp_socket.display()),
    ];
    for (round, way) in ways.iter().enumerate() {
        let (stage, address) = server(|stage, d| {
            let reports = format!("maildir:{}/{{local}}", stage.path("mail").display());
            d.delivery(
                "domains",
                format!("[{{ name = \"example.test\", to = {} }}, {{ name = \"client.test\", to = {} }}]", text(way), text(&reports)),
            )
        })?;
        if round == 0 {
            samples_arrive(
                address,
                "alice@example.test",
                &dovecot.mailbox("alice"),
                &[],
            )
            .map_err(|e| format!("{e}\n{}", dovecot.log()))?;
        }
        let mut wire = Wire::open(address)?;
        wire.expect("250", &format!("MAIL FROM:<{SENDER}>"))?;
        for name in ["bob", "nobody", "alice"] {
            wire.expect("250", &format!("RCPT TO:<{name}@example.test>"))?;
        }
        wire.expect("354", "DATA")?;
        wire.expect("250", "Subject: for three\r\n\r\ntext\r\n.")?;
        maildir::wait(&dovecot.mailbox("bob"), round + 1)?;
        let report = maildir::wait(&stage.path("mail/alice"), 1)?;
        let report = String::from_utf8_lossy(&report[0]);
        assert!(
            report.contains("Final-Recipient: rfc822; nobody@example.test")
                || report.contains("Final-Recipient: rfc822;nobody@example.test"),
            "{report}"
        );
        assert!(
            !report.contains("bob@example.test") || !report.contains("Final-Recipient: rfc822;bob"),
            "{report}"
        );
        stage.wait_empty("out")?;
    }
    Ok(())
}

#[test]
fn maildirs_hold_what_was_sent() -> Outcome {
    let (stage, address) = server(|stage, d| {
        d.local(
            "example.test",
            &format!(
                "maildir:{}/{{domain}}/{{local}}",
                stage.path("mail").display()
            ),
        )
    })?;
    let folder = stage.path("mail/example.test/bob");
    samples_arrive(address, "bob@example.test", &folder, &[])?;
    assert_eq!(
        std::fs::read_dir(folder.join("tmp"))?.count(),
        0,
        "something was left in tmp"
    );
    let one = mail::with_crlf(&maildir::read(&folder)[0]);
    let trace = mail::trace(&one);
    assert!(
        trace.starts_with(&format!("Return-Path: <{SENDER}>")),
        "{trace}"
    );
    // RFC 5321 §4.4: from whom, by whom, with what, and when.
    for part in [
        "from client.example.test",
        "127.0.0.1",
        "by out.example.test",
        "with ESMTP",
        ";",
    ] {
        assert!(trace.contains(part), "no `{part}` in\n{trace}");
    }
    stage.wait_empty("out")
}

#[test]
fn a_local_part_never_leads_out_of_its_folder() -> Outcome {
    let (stage, address) = server(|stage, d| {
        d.local(
            "example.test",
            &format!(
                "maildir:{}/{{domain}}/{{local}}",
                stage.path("mail").display()
            ),
        )
    })?;
    let before: Vec<_> = std::fs::read_dir(stage.path("mail"))?
        .filter_map(|e| Some(e.ok()?.file_name()))
        .collect();
    for local in [
        "../escaped",
        "a/../../escaped",
        "..",
        "/tmp/escaped",
        "\"../escaped\"",
        "\"a/b\"",
    ] {
        // Whether it is refused or put somewhere safe is not for this test to say.
        Wire::open(address)?.message(
            SENDER,
            &format!("{local}@example.test"),
            b"Subject: x\r\n\r\nx\r\n",
        )?;
    }
    stage.wait_empty("out")?;
    let after = std::fs::read_dir(stage.path("mail"))?.filter_map(|e| Some(e.ok()?.file_name()));
    let new: Vec<_> = after
        .filter(|name| !before.contains(name) && name != "example.test")
        .collect();
    assert!(new.is_empty() && !stage.path("escaped").exists(), "{new:?}");
    Ok(())
}

#[test]
fn a_refused_message_comes_back_as_a_report() -> Outcome {
    let sink = Sink::scripted(Box::new(|at| match at {
        At::Rcpt(text) if text.contains("nobody") => {
            Some("550 5.1.1 there is nobody of that name".to_owned())
        }
        At::Rcpt(text) if text.contains("late") => Some("250 2.1.5 ok".to_owned()),
        At::Body(taken) if taken.recipients.iter().any(|r| r.contains("late")) => {
            Some("554 5.7.1 not that text".to_owned())
        }
        _ => None,
    }))?;
    let (stage, address) = server(|stage, d| {
        d.local(
            "client.test",
            &format!("maildir:{}/{{local}}", stage.path("mail").display()),
        )
        .smart_host(sink.address)
    })?;
    let mut wire = Wire::open(address)?;
    wire.expect(
        "250",
        &format!("MAIL FROM:<{SENDER}> ENVID=abc+2Bd RET=HDRS"),
    )?;
    wire.expect(
        "250",
        "RCPT TO:<nobody@far.test> ORCPT=rfc822;somebody@far.test",
    )?;
    wire.expect("250", "RCPT TO:<friend@far.test>")?;
    wire.expect("250", "RCPT TO:<silent@far.test> NOTIFY=NEVER")?;
    wire.expect("354", "DATA")?;
    wire.send(b"Subject: secret subject\r\nX-Test: ndr\r\n\r\nbody text\r\n.\r\n")?;
    assert!(wire.reply()?.starts_with("250"));
    sink.wait(1)?;
    let report = maildir::wait(&stage.path("mail/alice"), 1)?;
    let report = mail::with_crlf(&report[0]);
    let report = String::from_utf8_lossy(&report);
    for part in [
        "Return-Path: <>",
        "To: <alice@client.test>",
        "Content-Type: multipart/report",
        "report-type=delivery-status",
        "Content-Type: message/delivery-status",
        "Reporting-MTA: dns;",
        "Original-Envelope-Id: abc+d",
        "Final-Recipient: rfc822;",
        "nobody@far.test",
        "Original-Recipient: rfc822;",
        "Action: failed",
        "Status: 5.1.1",
        "Diagnostic-Code: smtp;",
        "550 5.1.1 there is nobody of that name",
        "secret subject",
        "Auto-Submitted: auto-replied",
    ] {
        // Header names and types are compared as they stand: this is what other programs read.
        let plain = report
            .replace("rfc822; ", "rfc822;")
            .replace("dns; ", "dns;")
            .replace("smtp; ", "smtp;");
        assert!(
            plain.to_lowercase().contains(&part.to_lowercase()),
            "no `{part}` in\n{report}"
        );
    }
    assert!(
        !report.contains("body text"),
        "RET=HDRS, and the body came back:\n{report}"
    );
    send(
        address,
        SENDER,
        "late@far.test",
        &mail::with_header("late", b"x\r\n"),
    )?;
    let reports = maildir::wait(&stage.path("mail/alice"), 2)?;
    assert!(
        reports
            .iter()
            .any(|r| String::from_utf8_lossy(r).contains("554 5.7.1 not that text"))
    );
    stage.wait_empty("out")
}

#[test]
fn there_is_no_report_about_a_report() -> Outcome {
    let sink = Sink::scripted(Box::new(|at| {
        matches!(at, At::Rcpt(_)).then(|| "550 5.1.1 no".to_owned())
    }))?;
    let (stage, address) = server(|_, d| d.smart_host(sink.address))?;
    send(
        address,
        "",
        "nobody@far.test",
        &mail::with_header("null", b"x\r\n"),
    )?;
    stage.wait_empty("out")?;
    // A sender whose own host takes no report: the report is kept as badmail, and nothing goes round in circles.
    send(
        address,
        SENDER,
        "nobody@far.test",
        &mail::with_header("circle", b"x\r\n"),
    )?;
    stage.wait_empty("out")?;
    assert_eq!(sink.count(), 0);
    Ok(())
}

#[test]
fn what_fails_for_now_is_tried_again() -> Outcome {
    // Each in turn, then all is well: refused at the door, at MAIL, at RCPT, at DATA, after the body, and cut off twice.
    let step = AtomicUsize::new(0);
    let sink = Sink::scripted(Box::new(move |at| {
        let turn = |n: usize, text: &str| {
            step.compare_exchange(n, n + 1, Ordering::SeqCst, Ordering::SeqCst)
                .ok()
                .map(|_| text.to_owned())
        };
        match at {
            At::Connect => turn(0, "421 4.3.2 not now"),
            At::Mail(_) => turn(1, "451 4.3.0 not now").or_else(|| turn(4, "")),
            At::Rcpt(_) => turn(2, "450 4.2.1 not now"),
            At::Data => turn(3, "451 4.3.0 not now"),
            At::Body(_) => turn(5, "452 4.3.1 not now").or_else(|| turn(6, "")),
        }
    }))?;
    let (stage, address) = server(|_, d| d.smart_host(sink.address))?;
    let content = mail::with_header("again", b"x\r\n");
    send(address, SENDER, "bob@far.test", &content)?;
    let taken = sink.wait(1)?;
    mail::compare("again", &content, mail::without_trace(&taken[0].content))?;
    stage.wait_empty("out")?;
    assert_eq!(sink.count(), 1);
    Ok(())
}

#[test]
fn only_the_recipients_that_are_left_are_tried_again() -> Outcome {
    let tried = AtomicUsize::new(0);
    let sink = Sink::scripted(Box::new(move |at| match at {
        At::Rcpt(text) if text.contains("busy") && tried.fetch_add(1, Ordering::SeqCst) == 0 => {
            Some("450 4.2.1 busy".to_owned())
        }
        _ => None,
    }))?;
    let (stage, address) = server(|_, d| d.smart_host(sink.address))?;
    let mut wire = Wire::open(address)?;
    wire.expect("250", &format!("MAIL FROM:<{SENDER}>"))?;
    wire.expect("250", "RCPT TO:<one@far.test>")?;
    wire.expect("250", "RCPT TO:<busy@far.test>")?;
    wire.expect("354", "DATA")?;
    wire.expect("250", "Subject: x\r\n\r\nx\r\n.")?;
    let taken = sink.wait(2)?;
    let recipients: Vec<String> = taken.iter().flat_map(|t| t.recipients.clone()).collect();
    assert_eq!(taken.len(), 2);
    assert!(
        recipients[0].contains("one@far.test") && recipients[1].contains("busy@far.test"),
        "{recipients:?}"
    );
    stage.wait_empty("out")
}

#[test]
fn an_operator_retries_and_deletes() -> Outcome {
    let open = std::sync::Arc::new(AtomicUsize::new(0));
    let gate = std::sync::Arc::clone(&open);
    let sink = Sink::scripted(Box::new(move |at| {
        (matches!(at, At::Mail(_)) && gate.load(Ordering::SeqCst) == 0)
            .then(|| "451 4.3.0 later".to_owned())
    }))?;
    let (stage, address) = server(|_, d| d.smart_host(sink.address).delivery("retry", "[\"1h\"]"))?;
    for number in 0..3 {
        send(
            address,
            SENDER,
            &format!("bob{number}@far.test"),
            &mail::with_header(&format!("op{number}"), b"x\r\n"),
        )?;
    }
    let rows = wait::until(
        "three messages to wait",
        postern_tests::stage::PATIENCE,
        || {
            stage.queue("out").ok().filter(|rows| {
                rows.len() == 3
                    && rows
                        .iter()
                        .all(|row| row.attempts >= 1 && row.next_try.is_some())
            })
        },
    )?;
    assert!(
        rows.iter()
            .all(|row| row.last_reply.as_deref().is_some_and(|r| r.contains("451"))),
        "{rows:?}"
    );
    let inquiry = stage.inquire("out")?;
    let one = Which::Message(rows[0].id.clone());
    assert_eq!(
        inquiry.ask(&Question::Delete {
            which: one,
            notify: false
        })?,
        Answer::Changed { count: 1 }
    );
    open.store(1, Ordering::SeqCst);
    assert_eq!(
        inquiry.ask(&Question::Retry { which: Which::All })?,
        Answer::Changed { count: 2 }
    );
    sink.wait(2)?;
    stage.wait_empty("out")?;
    let taken = sink.taken();
    let arrived: Vec<_> = taken.iter().map(|t| t.recipients.join(" ")).collect();
    assert_eq!(arrived.len(), 2, "{arrived:?}");
    Ok(())
}

#[test]
fn a_message_that_cannot_go_expires_into_a_report() -> Outcome {
    let (stage, address) = server(|stage, d| {
        let nobody = SocketAddr::from(([127, 0, 0, 1], 9));
        d.local(
            "client.test",
            &format!("maildir:{}/{{local}}", stage.path("mail").display()),
        )
        .smart_host(nobody)
        .delivery("expire", "\"3s\"")
        .delivery("delay_notice", "\"1s\"")
    })?;
    send(
        address,
        SENDER,
        "bob@far.test",
        &mail::with_header("expires", b"x\r\n"),
    )?;
    let found = wait::until(
        "a delay notice and a report",
        postern_tests::stage::PATIENCE,
        || {
            let all: Vec<String> = maildir::read(&stage.path("mail/alice"))
                .iter()
                .map(|r| String::from_utf8_lossy(r).into_owned())
                .collect();
            let has = |action: &str| all.iter().any(|r| r.contains(action));
            (has("Action: delayed") && has("Action: failed")).then_some(all)
        },
    )?;
    assert_eq!(found.len(), 2, "one notice, then the report");
    stage.wait_empty("out")
}

#[test]
fn connections_carry_many_messages() -> Outcome {
    let sink = Sink::start()?;
    let (stage, address) = server(|_, d| d.smart_host(sink.address))?;
    let mut wire = Wire::open(address)?;
    for number in 0..200 {
        let reply = wire.message(
            SENDER,
            "bob@far.test",
            &mail::with_header(&format!("many{number}"), b"x\r\n"),
        )?;
        assert!(reply.starts_with("250"), "{reply}");
    }
    sink.wait(200)?;
    stage.wait_empty("out")?;
    assert!(
        sink.connections() < 150,
        "{} connections for 200 messages",
        sink.connections()
    );
    assert_eq!(sink.count(), 200);
    Ok(())
}

#[test]
fn a_loop_ends_by_counting_hops() -> Outcome {
    let (stage, address) = server(|stage, d| {
        d.local(
            "client.test",
            &format!("maildir:{}/{{local}}", stage.path("mail").display()),
        )
        .messages("max_hops", 5)
    })?;
    let mut content = Vec::new();
    for hop in 0..6 {
        content.extend(
            format!(
                "Received: from h{hop}.test by h{}.test; Tue, 24 Nov 2026 07:00:00 +0000\r\n",
                hop + 1
            )
            .into_bytes(),
        );
    }
    content.extend(mail::with_header("loop", b"x\r\n"));
    let reply = Wire::open(address)?.message(SENDER, "bob@client.test", &content)?;
    if reply.starts_with("250") {
        let report = maildir::wait(&stage.path("mail/alice"), 1)?;
        assert!(String::from_utf8_lossy(&report[0]).contains("5.4.6"));
    } else {
        assert!(reply.contains("5.4.6"), "{reply}");
    }
    assert!(maildir::read(&stage.path("mail/bob")).is_empty());
    Ok(())
}

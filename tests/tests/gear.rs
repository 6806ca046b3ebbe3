//! The gear itself: does mail pass unchanged through real peers and the sink, with nothing of ours between?

use postern_tests::peers::{Dns, Dovecot, Postfix};
use postern_tests::sink::Sink;
use postern_tests::wire::Wire;
use postern_tests::{Outcome, mail};

#[test]
fn postfix_hands_on_to_the_sink_what_it_was_given() -> Outcome {
    let folder = tempfile::tempdir()?;
    let sink = Sink::start()?;
    let relay = format!(
        "relayhost = [{}]:{}\n",
        sink.address.ip(),
        sink.address.port()
    );
    let postfix = Postfix::start(folder.path(), &relay)?;
    let samples: Vec<_> = mail::samples()
        .into_iter()
        .filter(|s| s.name != "every-byte")
        .collect();
    let mut wire = Wire::open(postfix.address)?;
    for sample in &samples {
        let reply = wire.message("alice@client.test", "bob@elsewhere.test", &sample.content)?;
        assert!(reply.starts_with("250"), "{}: {reply}", sample.name);
    }
    let taken = sink.wait(samples.len())?;
    for sample in &samples {
        let header = format!("X-Test: {}\r\n", sample.name);
        let found = taken
            .iter()
            .find(|t| String::from_utf8_lossy(&t.content).contains(&header))
            .ok_or("it did not arrive")?;
        mail::compare(
            sample.name,
            &sample.content,
            mail::without_trace(&found.content),
        )?;
    }
    Ok(())
}

#[test]
fn dovecot_takes_mail_by_lmtp_for_whom_it_knows() -> Outcome {
    let folder = tempfile::tempdir()?;
    let dovecot = Dovecot::start(folder.path())?;
    let mut wire = Wire::connect(dovecot.lmtp)?;
    wire.expect("250", "LHLO client.test")?;
    wire.expect("250", "MAIL FROM:<a@client.test>")?;
    wire.expect("250", "RCPT TO:<alice@example.test>")?;
    wire.expect("550", "RCPT TO:<nobody@example.test>")?;
    wire.expect("354", "DATA")?;
    wire.expect("250", "Subject: x\r\n\r\nhello\r\n.")?;
    postern_tests::maildir::wait(&dovecot.mailbox("alice"), 1)?;
    Ok(())
}

#[test]
fn the_resolver_answers_from_the_zone() -> Outcome {
    let folder = tempfile::tempdir()?;
    Dns::start(folder.path(), "@ MX 10 mx1\nmx1 A 127.0.0.1")?;
    Ok(())
}

//! What dialogues cannot show: time, memory, copies, and that cutting the input changes nothing.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::ask::{AuthAnswer, Queued};

fn settings() -> Settings {
    let mut settings = Settings::new("mx.example.com");
    settings.tls = TlsOffer::Offered;
    settings.mechanisms_clear = vec!["PLAIN", "LOGIN"];
    settings
}

fn greeted(settings: Settings) -> (Session, Instant) {
    let now = Instant::now();
    let mut session = Session::new(Arc::new(settings), now);
    session.greet(now);
    (session, now)
}

/// Says yes to everything; gives back the bodies and the names of the questions.
fn agree(session: &mut Session, log: &mut Vec<String>) {
    while let Some(event) = session.poll() {
        match event {
            Event::Body(piece) => {
                let text = String::from_utf8_lossy(piece).into_owned();
                match log.last_mut() {
                    Some(last) if last.starts_with("body ") => last.push_str(&text),
                    _ => log.push(format!("body {text}")),
                }
                continue;
            }
            ref other => {
                // How much of a body came before its refusal, and whether it was refused before the end of
                // the session, is a matter of chance.
                match other {
                    Event::Reset => drop(log.pop_if(|last| last.starts_with("body "))),
                    Event::Closed => {
                        while log
                            .pop_if(|last| last.starts_with("body ") || last == "Reset")
                            .is_some()
                        {}
                    }
                    _ => {}
                }
                log.push(format!("{other:?}"));
            }
        }
        match event {
            Event::Hello(ask) => drop(ask.accept(())),
            Event::Auth(ask) if ask.first => drop(ask.accept(AuthAnswer::Challenge(b"?".to_vec()))),
            Event::Auth(ask) => {
                drop(ask.refuse(Reply::new(535, "5.7.8", "Authentication unsuccessful")))
            }
            Event::Mail(ask) => drop(ask.accept(())),
            Event::Rcpt(ask) => drop(ask.accept(())),
            Event::Data(ask) => drop(ask.accept(())),
            Event::Deposit(ask) => drop(ask.accept(Queued { id: "ID".into() })),
            _ => {}
        }
    }
}

fn said(session: &mut Session) -> String {
    String::from_utf8(session.take_output()).unwrap()
}

fn open_transaction(session: &mut Session, now: Instant) {
    session.receive(now, b"EHLO a\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<d@e.f>\r\n");
    agree(session, &mut Vec::new());
    session.take_output();
}

#[test]
fn a_session_that_waits_is_small() {
    assert!(size_of::<Session>() <= 512, "{}", size_of::<Session>());
    let (mut session, now) = greeted(settings());
    open_transaction(&mut session, now);
    assert_eq!(
        (session.input.buffer().capacity(), session.output.capacity()),
        (0, 0)
    );
    session.buffer().reserve(65_536);
    session.receive(now, b"NOO");
    assert!(session.poll().is_none());
    assert!(session.input.buffer().capacity() <= 64);
    session.receive(now, b"P\r\n");
    assert!(session.poll().is_none());
    assert_eq!(session.input.buffer().capacity(), 0);
}

#[test]
fn everything_can_go_to_another_thread() {
    fn send<T: Send>() {}
    send::<Session>();
    send::<Event<'_>>();
    send::<Ask<'_, Mail>>();
    send::<Ask<'_, AuthStep>>();
    send::<crate::Client>();
}

#[test]
fn a_body_is_not_copied() {
    let (mut session, now) = greeted(settings());
    open_transaction(&mut session, now);
    session.receive(now, b"DATA\r\n");
    agree(&mut session, &mut Vec::new());
    let text = b"some line\r\n".repeat(1000);
    session.buffer().reserve(65_536);
    session.buffer().extend_from_slice(&text);
    session.received(now);
    let range = session.buffer().as_ptr_range();
    match session.poll() {
        Some(Event::Body(piece)) => assert!(piece == text && range.contains(&piece.as_ptr())),
        other => panic!("{other:?}"),
    };
}

#[test]
fn endless_input_costs_no_memory() {
    for start in [
        &b""[..],
        b"AUTH LOGIN\r\n",
        b"AUTH ",
        b"MAIL FROM:<a@b.c>\r\nRCPT TO:<d@e.f>\r\nDATA\r\n",
        b"BDAT 99999999999999\r\n",
        b"\n",
    ] {
        let (mut session, now) = greeted(settings());
        session.receive(now, b"EHLO a\r\n");
        session.receive(now, start);
        let mut log = Vec::new();
        for _ in 0..2000 {
            agree(&mut session, &mut log);
            log.clear();
            assert!(session.input.buffer().capacity() <= 2 * AUTH_LIMIT);
            session.take_output();
            session.receive(now, &[b'x'; 1000]);
        }
    }
}

#[test]
fn replies_before_a_wait_can_be_written() {
    let (mut session, now) = greeted(settings());
    session.take_output();
    session.receive(now, b"EHLO a\r\nNOOP\r\nMAIL FROM:<a@b.c>\r\nNOOP\r\n");
    let Some(Event::Hello(hello)) = session.poll() else {
        panic!()
    };
    hello.accept(());
    let Some(Event::Mail(mut mail)) = session.poll() else {
        panic!()
    };
    let before = String::from_utf8(mail.take_output()).unwrap();
    assert!(before.ends_with("250 2.0.0 OK\r\n"));
    assert_eq!(mail.accept(()).sender.to_string(), "a@b.c");
    assert!(session.poll().is_none());
    assert_eq!(
        said(&mut session),
        "250 2.1.0 sender OK\r\n250 2.0.0 OK\r\n"
    );
}

#[test]
fn half_a_command_buys_no_time() {
    let (mut session, now) = greeted(settings());
    let second = Duration::from_secs(1);
    let deadline = session.deadline().unwrap();
    session.receive(now + second, b"NOO");
    assert!(session.poll().is_none());
    assert_eq!(session.deadline(), Some(deadline));
    session.receive(now + second, b"P\r\n");
    assert!(session.poll().is_none());
    assert_eq!(session.deadline(), Some(deadline + second));
    session.expire(deadline);
    assert!(!session.has_ended());
    session.take_output();
    session.expire(deadline + second);
    assert!(session.has_ended() && session.deadline().is_none());
    assert_eq!(
        said(&mut session),
        "421 4.4.2 mx.example.com Timeout waiting for client input\r\n"
    );
    assert!(matches!(session.poll(), Some(Event::Closed)));
    assert!(session.poll().is_none());
}

#[test]
fn time_the_host_took_is_not_the_clients() {
    let (mut session, now) = greeted(settings());
    session.receive(now, b"EHLO a\r\n");
    agree(&mut session, &mut Vec::new());
    let late = session.deadline().unwrap() + Duration::from_secs(60);
    session.expire(late);
    assert!(!session.has_ended());
    assert_eq!(session.deadline(), Some(late + Duration::from_secs(600)));
    session.expire(late + Duration::from_secs(600));
    assert!(session.has_ended());
}

#[test]
fn who_is_idle() {
    let (mut session, now) = greeted(settings());
    assert!(session.is_idle() && !session.is_secure() && !session.spoke_early());
    session.receive(now, b"NO");
    assert!(session.poll().is_none());
    assert!(!session.is_idle());
    session.receive(now, b"OP\r\n");
    assert!(session.poll().is_none());
    assert!(session.is_idle());
    open_transaction(&mut session, now);
    assert!(!session.is_idle());
    session.refuse(Reply::new(421, "4.3.2", "Bye"));
    assert!(session.has_ended());
    session.refuse(Reply::new(421, "4.3.2", "Bye"));
    assert_eq!(said(&mut session), "421 4.3.2 Bye\r\n");
}

#[test]
fn who_logged_in_is_known() {
    let (mut session, now) = greeted(settings());
    session.receive(
        now,
        b"EHLO a\r\nAUTH PLAIN AGEAYg==\r\nMAIL FROM:<a@b.c>\r\n",
    );
    let Some(Event::Hello(hello)) = session.poll() else {
        panic!()
    };
    hello.accept(());
    let Some(Event::Auth(step)) = session.poll() else {
        panic!()
    };
    assert_eq!(
        format!("{:?}", *step),
        "AuthStep { mechanism: \"PLAIN\", first: true, input: Some(\"***\") }"
    );
    let step = step.accept(AuthAnswer::Success {
        identity: "a".into(),
    });
    assert_eq!(step.input.as_deref(), Some(&b"\0a\0b"[..]));
    let Some(Event::Mail(mail)) = session.poll() else {
        panic!()
    };
    assert_eq!(mail.identity(), Some("a"));
    mail.accept(());
    assert_eq!(session.identity(), Some("a"));
}

/// Lines and bits of lines, so that whole conversations come about, and broken ones.
fn conversation() -> impl Strategy<Value = Vec<u8>> {
    let parts = prop::sample::select(vec![
        &b"EHLO a\r\n"[..],
        b"HELO a\r\n",
        b"MAIL FROM:<a@b.c>\r\n",
        b"MAIL FROM:<a@b.c> BODY=BINARYMIME SIZE=10\r\n",
        b"RCPT TO:<d@e.f>\r\n",
        b"RCPT TO:<d@e.f>\r\n",
        b"DATA\r\n",
        b"DATA\r\n",
        b"BDAT 5\r\nabc\r\n",
        b"BDAT 3 LAST\r\na\r\n",
        b"BDAT 0 LAST\r\n",
        b"a\r\n.\r\n",
        b"..\r\n.\r\n",
        b".\r\n",
        b"\n.\r\n",
        b"RSET\r\n",
        b"NOOP\r\n",
        b"QUIT\r\n",
        b"STARTTLS\r\n",
        b"AUTH LOGIN\r\n",
        b"AUTH PLAIN AA==\r\n",
        b"YQ==\r\n",
        b"*\r\n",
        b"BDAT x\r\n",
        b"\r",
        b"\n",
        b"\0",
        b"x",
    ]);
    let usual = b"EHLO a\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<d@e.f>\r\n";
    (any::<bool>(), prop::collection::vec(parts, 0..30)).prop_map(|(begun, parts)| {
        let start = if begun { &usual[..] } else { b"" };
        [start, &parts.concat()].concat()
    })
}

fn play(text: &[u8], cuts: &[usize], settings: &Settings) -> (Vec<String>, String) {
    let (mut session, now) = greeted(settings.clone());
    let (mut log, mut output, mut rest) = (Vec::new(), String::new(), text);
    for cut in cuts.iter().copied().chain([usize::MAX]) {
        let (piece, after) = rest.split_at(cut.min(rest.len()));
        session.receive(now, piece);
        agree(&mut session, &mut log);
        output.push_str(&said(&mut session));
        rest = after;
    }
    log.pop_if(|last| last.starts_with("body "));
    (log, output)
}

proptest! {
    #[test]
    fn cutting_the_input_changes_nothing(
        text in conversation(),
        cuts in prop::collection::vec(0_usize..12, 0..80),
        convert: bool,
        tight: bool,
    ) {
        let mut settings = settings();
        if convert {
            settings.bare_newline = BareNewline::Convert;
        }
        if tight {
            (settings.max_message_size, settings.max_session_size, settings.max_errors) = (6, 30, 3);
        }
        let (whole_log, whole_output) = play(&text, &[], &settings);
        let (log, output) = play(&text, &cuts, &settings);
        prop_assert_eq!(output, whole_output);
        prop_assert_eq!(log, whole_log);
    }

    #[test]
    fn every_reply_is_a_reply(text in conversation()) {
        let (_, output) = play(&text, &[], &settings());
        prop_assert!(output.ends_with("\r\n"));
        for line in output.split_terminator("\r\n") {
            let (code, rest) = line.split_at(3);
            prop_assert!(code.parse::<u16>().is_ok_and(|code| (200..600).contains(&code)), "{}", line);
            prop_assert!(rest.starts_with([' ', '-']) && line.len() <= 510 && !line.contains(['\r', '\n']), "{}", line);
        }
    }
}

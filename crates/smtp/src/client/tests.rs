//! The client against a peer written down: what it says in one write, what it makes of the answers.

use super::*;
use crate::params::{BodyKind, Notify, Ret};

/// A client that has said EHLO to a peer with these extensions and taken `Ready`.
fn ready(lmtp: bool, prefer_chunking: bool, extensions: &str) -> Client {
    let fqdn = "mx.example.com".to_owned();
    let mut client = Client::new(ClientSettings {
        fqdn,
        lmtp,
        prefer_chunking,
    });
    client.receive(b"220 peer\r\n");
    assert_eq!(
        said(&mut client),
        if lmtp {
            "LHLO mx.example.com\r\n"
        } else {
            "EHLO mx.example.com\r\n"
        }
    );
    let words: Vec<&str> = std::iter::once("peer")
        .chain(extensions.split(','))
        .collect();
    let (last, first) = words.split_last().unwrap();
    let lines: String = first.iter().map(|word| format!("250-{word}\r\n")).collect();
    client.receive(format!("{lines}250 {last}\r\n").as_bytes());
    assert_eq!(events(&mut client), [ClientEvent::Ready]);
    client
}

fn said(client: &mut Client) -> String {
    String::from_utf8(client.take_output()).unwrap()
}

fn events(client: &mut Client) -> Vec<ClientEvent> {
    std::iter::from_fn(|| client.poll()).collect()
}

fn hear(client: &mut Client, text: &str) -> Vec<ClientEvent> {
    client.receive(text.as_bytes());
    events(client)
}

fn to<'a>(address: &'a str) -> Recipient<'a> {
    Recipient {
        address,
        ..Recipient::default()
    }
}

fn message<'a>(recipients: &'a [Recipient<'a>]) -> Transaction<'a> {
    Transaction {
        sender: "s@example.com",
        recipients,
        size: 5,
        ..Transaction::default()
    }
}

fn recipient(index: usize, code: u16, text: &'static str) -> ClientEvent {
    ClientEvent::Recipient {
        index,
        reply: Reply::plain(code, text),
    }
}

fn done(index: Option<usize>, code: u16, text: &'static str, last: bool) -> ClientEvent {
    ClientEvent::Done {
        index,
        reply: Reply::plain(code, text),
        last,
    }
}

fn failed(stage: Stage, reply: Option<(u16, &'static str)>) -> ClientEvent {
    ClientEvent::Failed {
        stage,
        reply: reply.map(|(code, text)| Reply::plain(code, text)),
    }
}

fn closed(stage: Stage, reply: Option<(u16, &'static str)>) -> ClientEvent {
    ClientEvent::Closed {
        stage,
        reply: reply.map(|(code, text)| Reply::plain(code, text)),
    }
}

#[test]
fn a_busy_connection_costs_one_round_trip_a_message() {
    let mut client = ready(false, false, "PIPELINING,SIZE 1000,8BITMIME");
    let recipients = [to("a@x.org"), to("b@x.org")];
    let transaction = message(&recipients);
    let commands =
        "MAIL FROM:<s@example.com> SIZE=5\r\nRCPT TO:<a@x.org>\r\nRCPT TO:<b@x.org>\r\nDATA\r\n";
    client.begin(&transaction).unwrap();
    assert_eq!(client.begin(&transaction), Err(Unfit::NotReady));
    assert_eq!(said(&mut client), commands);
    let send = ClientEvent::SendBody { dots: true };
    let answers = "250 s\r\n250 a\r\n250 b\r\n354 go\r\n";
    assert_eq!(
        hear(&mut client, answers),
        [recipient(0, 250, "a"), recipient(1, 250, "b"), send.clone()]
    );
    for _ in 0..3 {
        client.body(b".hi");
        client.body(b"\r\n");
        client.end_body();
        assert_eq!(client.stage(), Stage::EndOfData);
        assert!(client.can_begin());
        client.begin(&transaction).unwrap();
        assert_eq!(said(&mut client), format!("..hi\r\n.\r\n{commands}"));
        let told = hear(&mut client, &format!("250 kept\r\n{answers}"));
        assert_eq!(
            told,
            [
                done(None, 250, "kept", true),
                recipient(0, 250, "a"),
                recipient(1, 250, "b"),
                send.clone()
            ]
        );
    }
    client.end_body();
    client.quit();
    assert_eq!(said(&mut client), ".\r\nQUIT\r\n");
    let told = hear(&mut client, "250 kept\r\n221 bye\r\n");
    assert_eq!(
        told,
        [
            done(None, 250, "kept", true),
            closed(Stage::Quit, Some((221, "bye")))
        ]
    );
    assert!(client.has_ended());
}

#[test]
fn without_pipelining_one_command_at_a_time() {
    let mut client = ready(false, false, "SIZE");
    let recipients = [to("a@x.org"), to("b@x.org")];
    client.begin(&message(&recipients)).unwrap();
    for (say, answer) in [
        ("MAIL FROM:<s@example.com> SIZE=5\r\n", "250 s\r\n"),
        ("RCPT TO:<a@x.org>\r\n", "550 no\r\n"),
        ("RCPT TO:<b@x.org>\r\n", "250 b\r\n"),
        ("DATA\r\n", "354 go\r\n"),
    ] {
        assert_eq!(said(&mut client), say);
        client.receive(answer.as_bytes());
    }
    assert_eq!(
        events(&mut client),
        [
            recipient(0, 550, "no"),
            recipient(1, 250, "b"),
            ClientEvent::SendBody { dots: true }
        ]
    );
    client.body(b"hi\r\n");
    client.end_body();
    client.begin(&message(&recipients)).unwrap();
    assert_eq!(said(&mut client), "hi\r\n.\r\n");
    assert_eq!(
        hear(&mut client, "250 kept\r\n"),
        [done(None, 250, "kept", true)]
    );
    assert_eq!(said(&mut client), "MAIL FROM:<s@example.com> SIZE=5\r\n");
    // MAIL refused: nothing more is said for this message.
    assert_eq!(
        hear(&mut client, "451 later\r\n"),
        [failed(Stage::Mail, Some((451, "later")))]
    );
    assert_eq!(said(&mut client), "");
    client.begin(&message(&recipients)).unwrap();
    assert_eq!(said(&mut client), "RSET\r\n");
    client.receive(b"250 reset\r\n");
    assert_eq!(said(&mut client), "MAIL FROM:<s@example.com> SIZE=5\r\n");
}

#[test]
fn refusals_of_a_pipelined_message() {
    let recipients = [to("a@x.org"), to("b@x.org")];
    let refused = [
        recipient(0, 550, "a"),
        recipient(1, 551, "b"),
        failed(Stage::Rcpt(1), None),
    ];
    for (answers, expected, then) in [
        (
            "550 s\r\n503 a\r\n503 b\r\n503 d\r\n",
            vec![failed(Stage::Mail, Some((550, "s")))],
            "",
        ),
        ("250 s\r\n550 a\r\n551 b\r\n554 d\r\n", refused.to_vec(), ""),
        // RFC 2920 §3.1: a server that says 354 all the same gets an empty message.
        (
            "250 s\r\n550 a\r\n551 b\r\n354 d\r\n",
            refused[..2].to_vec(),
            ".\r\n",
        ),
        (
            "250 s\r\n250 a\r\n551 b\r\n452 d\r\n",
            vec![
                recipient(0, 250, "a"),
                recipient(1, 551, "b"),
                failed(Stage::Data, Some((452, "d"))),
            ],
            "",
        ),
    ] {
        let mut client = ready(false, false, "PIPELINING");
        client.begin(&message(&recipients)).unwrap();
        said(&mut client);
        assert_eq!(hear(&mut client, answers), expected, "{answers}");
        assert_eq!(said(&mut client), then);
        if !then.is_empty() {
            assert!(!client.can_begin());
            assert_eq!(hear(&mut client, "554 nobody\r\n"), refused[2..]);
        }
        client.begin(&message(&recipients)).unwrap();
        assert!(
            said(&mut client).starts_with("RSET\r\nMAIL FROM:"),
            "{answers}"
        );
        assert_eq!(
            hear(&mut client, "250 r\r\n250 s\r\n250 a\r\n250 b\r\n354 d\r\n").len(),
            3
        );
    }
}

#[test]
fn chunks_go_with_their_envelope() {
    let mut client = ready(false, true, "PIPELINING,CHUNKING");
    let recipients = [to("a@x.org")];
    for reset in ["", "RSET\r\n"] {
        client.begin(&message(&recipients)).unwrap();
        assert_eq!(events(&mut client), [ClientEvent::SendBody { dots: false }]);
        client.body(b".hi\r\n");
        client.end_body();
        let expected = format!(
            "{reset}MAIL FROM:<s@example.com>\r\nRCPT TO:<a@x.org>\r\nBDAT 5 LAST\r\n.hi\r\n"
        );
        assert_eq!(said(&mut client), expected);
    }
    // Two under way are enough.
    assert!(!client.can_begin());
    let told = hear(
        &mut client,
        "250 s\r\n250 a\r\n250 kept\r\n250 r\r\n250 s\r\n550 a\r\n554 nobody\r\n",
    );
    assert_eq!(
        told,
        [
            recipient(0, 250, "a"),
            done(None, 250, "kept", true),
            recipient(0, 550, "a"),
            failed(Stage::Rcpt(0), None)
        ]
    );
    assert!(client.is_idle());
}

#[test]
fn a_large_chunk_waits_for_its_recipients() {
    let mut client = ready(false, true, "PIPELINING,CHUNKING");
    let recipients = [to("a@x.org")];
    let transaction = Transaction {
        size: 1 << 20,
        ..message(&recipients)
    };
    client.begin(&transaction).unwrap();
    assert_eq!(
        said(&mut client),
        "MAIL FROM:<s@example.com>\r\nRCPT TO:<a@x.org>\r\n"
    );
    assert_eq!(
        hear(&mut client, "250 s\r\n250 a\r\n"),
        [
            recipient(0, 250, "a"),
            ClientEvent::SendBody { dots: false }
        ]
    );
    assert_eq!(said(&mut client), "BDAT 1048576 LAST\r\n");
    // Less than announced: only a closed connection can say so.
    client.body(b"short");
    client.end_body();
    assert_eq!(
        events(&mut client),
        [failed(Stage::Body, None), closed(Stage::Body, None)]
    );
}

#[test]
fn lmtp_answers_one_by_one() {
    let mut client = ready(true, false, "PIPELINING");
    let recipients = [to("a@x.org"), to("b@x.org"), to("c@x.org")];
    client.begin(&message(&recipients)).unwrap();
    said(&mut client);
    assert_eq!(
        hear(
            &mut client,
            "250 s\r\n250 a\r\n550 b\r\n250 c\r\n354 go\r\n"
        )
        .len(),
        4
    );
    client.body(b"hi\r\n");
    client.end_body();
    client.begin(&message(&recipients)).unwrap();
    assert_eq!(
        hear(&mut client, "250 kept\r\n452 full\r\n250 s\r\n"),
        [
            done(Some(0), 250, "kept", false),
            done(Some(2), 452, "full", true)
        ]
    );
    assert_eq!(client.stage(), Stage::Rcpt(0));
    // LMTP has no HELO to fall back to.
    let mut client = Client::new(ClientSettings {
        fqdn: "x".into(),
        lmtp: true,
        prefer_chunking: false,
    });
    client.receive(b"220 peer\r\n500 what?\r\n");
    assert_eq!(
        events(&mut client),
        [closed(Stage::Hello, Some((500, "what?")))]
    );
    assert_eq!(said(&mut client), "LHLO x\r\nQUIT\r\n");
}

#[test]
fn hello_falls_back() {
    let mut client = Client::new(ClientSettings {
        fqdn: "x".into(),
        lmtp: false,
        prefer_chunking: false,
    });
    assert_eq!(
        (client.stage(), hear(&mut client, "220-a\r\n220 b\r\n")),
        (Stage::Greeting, vec![])
    );
    assert_eq!(said(&mut client), "EHLO x\r\n");
    client.receive(b"502 what?\r\n");
    assert_eq!(said(&mut client), "HELO x\r\n");
    assert_eq!(hear(&mut client, "250 hello\r\n"), [ClientEvent::Ready]);
    assert_eq!(*client.extensions(), Extensions::default());
    let recipients = [to("a@x.org")];
    let wanting = Transaction {
        body: BodyKind::EightBit,
        ret: Some(Ret::Full),
        envid: Some("e"),
        ..message(&recipients)
    };
    client.begin(&wanting).unwrap();
    assert_eq!(said(&mut client), "MAIL FROM:<s@example.com>\r\n");
}

#[test]
fn refused_at_the_door() {
    for (greeting, farewell) in [
        ("554 go away\r\n", "QUIT\r\n"),
        ("421 busy\r\n", ""),
        ("450 later\r\n", "QUIT\r\n"),
    ] {
        let mut client = Client::new(ClientSettings {
            fqdn: "x".into(),
            lmtp: false,
            prefer_chunking: false,
        });
        let told = hear(&mut client, greeting);
        assert!(matches!(
            &told[..],
            [ClientEvent::Closed {
                stage: Stage::Greeting,
                reply: Some(_)
            }]
        ));
        assert_eq!(said(&mut client), farewell);
    }
}

#[test]
fn tls_and_login() {
    let mut client = ready(false, false, "STARTTLS,PIPELINING");
    client.start_tls();
    assert_eq!(said(&mut client), "STARTTLS\r\n");
    assert_eq!(hear(&mut client, "220 go\r\n"), [ClientEvent::TlsReady]);
    // The peer's handshake is none of ours.
    assert_eq!(hear(&mut client, "250 injected\r\n"), []);
    client.secured();
    assert_eq!(
        (said(&mut client).as_str(), client.extensions().starttls),
        ("EHLO mx.example.com\r\n", false)
    );
    assert_eq!(
        hear(&mut client, "250-peer\r\n250 AUTH PLAIN LOGIN\r\n"),
        [ClientEvent::Ready]
    );
    assert_eq!(client.extensions().auth, ["PLAIN", "LOGIN"]);
    client.login("PLAIN", Some(b"\0u\0p"));
    assert_eq!(said(&mut client), "AUTH PLAIN AHUAcA==\r\n");
    let refusal = Reply::new(535, "5.7.8", "no");
    assert_eq!(
        hear(&mut client, "535 5.7.8 no\r\n"),
        [ClientEvent::Refused {
            stage: Stage::Auth,
            reply: refusal
        }]
    );
    client.login("LOGIN", None);
    assert_eq!(said(&mut client), "AUTH LOGIN\r\n");
    assert_eq!(
        hear(&mut client, "334 VXNlcm5hbWU6\r\n"),
        [ClientEvent::Challenge(b"Username:".to_vec())]
    );
    client.respond(Some(b"u"));
    assert_eq!(said(&mut client), "dQ==\r\n");
    assert_eq!(
        hear(&mut client, "334 \r\n"),
        [ClientEvent::Challenge(vec![])]
    );
    client.respond(Some(b""));
    assert_eq!(said(&mut client), "\r\n");
    assert_eq!(
        hear(&mut client, "235 welcome\r\n"),
        [ClientEvent::LoggedIn]
    );
    client.login("PLAIN", Some(b""));
    assert_eq!(said(&mut client), "AUTH PLAIN =\r\n");
    assert_eq!(hear(&mut client, "334 not base64!\r\n"), []);
    assert_eq!(said(&mut client), "*\r\n");
}

#[test]
fn a_mechanism_may_be_greeted_in_words() {
    let mut client = ready(false, false, "AUTH NTLM");
    client.login("NTLM", None);
    assert_eq!(said(&mut client), "AUTH NTLM\r\n");
    assert_eq!(
        hear(&mut client, "334 NTLM supported\r\n"),
        [ClientEvent::Challenge(vec![])]
    );
    client.respond(Some(b"x"));
    assert_eq!(said(&mut client), "eA==\r\n");
    // Once only: from here on it must be base64.
    assert_eq!(hear(&mut client, "334 go on!\r\n"), []);
    assert_eq!(said(&mut client), "*\r\n");
}

#[test]
fn words_behind_starttls_end_the_connection() {
    let mut client = ready(false, false, "STARTTLS");
    client.start_tls();
    assert_eq!(
        hear(&mut client, "220 go\r\n250 injected\r\n"),
        [ClientEvent::TlsReady, closed(Stage::StartTls, None)]
    );
    let mut client = ready(false, false, "STARTTLS");
    client.start_tls();
    let reply = Reply::plain(454, "no");
    assert_eq!(
        hear(&mut client, "454 no\r\n"),
        [ClientEvent::Refused {
            stage: Stage::StartTls,
            reply
        }]
    );
    assert!(client.can_begin());
}

#[test]
fn broken_connections_say_where() {
    let recipients = [to("a@x.org")];
    for (answers, send, expected) in [
        (
            "",
            false,
            vec![failed(Stage::Mail, None), closed(Stage::Mail, None)],
        ),
        (
            "250 s\r\n",
            false,
            vec![failed(Stage::Rcpt(0), None), closed(Stage::Rcpt(0), None)],
        ),
        (
            "250 s\r\n250 a\r\n354 d\r\n",
            false,
            vec![failed(Stage::Body, None), closed(Stage::Body, None)],
        ),
        (
            "250 s\r\n250 a\r\n354 d\r\n",
            true,
            vec![
                failed(Stage::EndOfData, None),
                closed(Stage::EndOfData, None),
            ],
        ),
    ] {
        let mut client = ready(false, false, "PIPELINING");
        client.begin(&message(&recipients)).unwrap();
        hear(&mut client, answers);
        if send {
            client.end_body();
        }
        client.disconnected();
        client.disconnected();
        assert_eq!(events(&mut client), expected, "{answers:?}");
    }
    // An eager message is whole on its way: nobody knows.
    let mut client = ready(false, true, "PIPELINING,CHUNKING");
    client
        .begin(&Transaction {
            size: 0,
            ..message(&recipients)
        })
        .unwrap();
    client.end_body();
    events(&mut client);
    client.disconnected();
    assert_eq!(
        events(&mut client),
        [failed(Stage::EndOfData, None), closed(Stage::Mail, None)]
    );
}

#[test]
fn a_421_ends_it_wherever_it_comes() {
    let recipients = [to("a@x.org"), to("b@x.org")];
    let bye = Some((421, "bye"));
    let mut client = ready(false, false, "PIPELINING");
    assert_eq!(hear(&mut client, "421 bye\r\n"), [closed(Stage::Idle, bye)]);
    let mut client = ready(false, false, "PIPELINING");
    client.begin(&message(&recipients)).unwrap();
    assert_eq!(
        hear(&mut client, "250 s\r\n421 bye\r\n"),
        [
            recipient(0, 421, "bye"),
            failed(Stage::Rcpt(0), bye),
            closed(Stage::Rcpt(0), bye)
        ]
    );
    // The answer to one message, and the end of the next.
    let mut client = ready(false, false, "PIPELINING");
    client.begin(&message(&recipients)).unwrap();
    hear(&mut client, "250 s\r\n250 a\r\n250 b\r\n354 d\r\n");
    client.end_body();
    client.begin(&message(&recipients)).unwrap();
    assert_eq!(
        hear(&mut client, "421 bye\r\n"),
        [
            done(None, 421, "bye", true),
            failed(Stage::Mail, bye),
            closed(Stage::EndOfData, bye)
        ]
    );
}

#[test]
fn nonsense_ends_it() {
    let recipients = [to("a@x.org")];
    for nonsense in [
        "hello\r\n",
        "250-a\r\n354 b\r\n",
        "250 s\r\n250 a\r\n250 not 354\r\n",
    ] {
        let mut client = ready(false, false, "PIPELINING");
        client.begin(&message(&recipients)).unwrap();
        let told = hear(&mut client, nonsense);
        assert!(
            matches!(told.last(), Some(ClientEvent::Closed { reply: None, .. })),
            "{nonsense:?}: {told:?}"
        );
    }
    let mut client = ready(false, false, "PIPELINING");
    client.begin(&message(&recipients)).unwrap();
    client.receive(&b"250-more\r\n".repeat(1 << 20));
    assert_eq!(
        events(&mut client),
        [failed(Stage::Mail, None), closed(Stage::Mail, None)]
    );
}

#[test]
fn many_recipients_go_in_windows() {
    let addresses: Vec<String> = (0..1000).map(|nth| format!("r{nth}@x.org")).collect();
    let recipients: Vec<Recipient<'_>> = addresses.iter().map(|address| to(address)).collect();
    let mut client = ready(false, false, "PIPELINING");
    client.begin(&message(&recipients)).unwrap();
    let mut accepted = 0;
    loop {
        let commands = said(&mut client);
        let count = commands.lines().count();
        assert!((1..=100).contains(&count), "{count}");
        let mut told = Vec::new();
        for command in commands.lines() {
            told.extend(hear(
                &mut client,
                if command == "DATA" {
                    "354 go\r\n"
                } else {
                    "250 ok\r\n"
                },
            ));
        }
        accepted += told
            .iter()
            .filter(|event| matches!(event, ClientEvent::Recipient { .. }))
            .count();
        if told.contains(&ClientEvent::SendBody { dots: true }) {
            break;
        }
    }
    assert_eq!(accepted, 1000);
}

#[test]
fn parameters_where_they_are_offered() {
    let mut client = ready(
        false,
        false,
        "PIPELINING,SIZE,8BITMIME,SMTPUTF8,DSN,CHUNKING,BINARYMIME",
    );
    let recipient = Recipient {
        address: "\u{fc}@x.org",
        notify: Notify::NEVER,
        orcpt: Some("rfc822;a@b.c"),
    };
    let recipients = [recipient];
    let transaction = Transaction {
        sender: "",
        body: BodyKind::EightBit,
        smtputf8: true,
        ret: Some(Ret::Headers),
        envid: Some("QQ1"),
        ..message(&recipients)
    };
    client.begin(&transaction).unwrap();
    assert_eq!(
        said(&mut client),
        "MAIL FROM:<> SIZE=5 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=QQ1\r\n\
         RCPT TO:<\u{fc}@x.org> NOTIFY=NEVER ORCPT=rfc822;a@b.c\r\nDATA\r\n"
    );
    let mut client = ready(false, false, "PIPELINING,CHUNKING,BINARYMIME");
    let recipients = [Recipient {
        address: "a@x.org",
        ..recipient
    }];
    client
        .begin(&Transaction {
            body: BodyKind::Binary,
            ..message(&recipients)
        })
        .unwrap();
    assert_eq!(
        said(&mut client),
        "MAIL FROM:<s@example.com> BODY=BINARYMIME\r\nRCPT TO:<a@x.org>\r\nBDAT 5 LAST\r\n"
    );
}

#[test]
fn what_cannot_go_to_this_peer() {
    let recipients = [to("a@x.org")];
    let utf8 = [to("\u{fc}@x.org")];
    let injected = [to("a@x.org>\r\nDATA\r\n<x@y.z")];
    let plain = message(&recipients);
    let mut client = ready(false, false, "SIZE 10,CHUNKING");
    for (transaction, unfit) in [
        (Transaction { size: 11, ..plain }, Unfit::TooLarge(10)),
        (
            Transaction {
                body: BodyKind::Binary,
                ..plain
            },
            Unfit::Binary,
        ),
        (
            Transaction {
                smtputf8: true,
                ..plain
            },
            Unfit::Smtputf8,
        ),
        (
            Transaction {
                recipients: &utf8,
                ..plain
            },
            Unfit::Smtputf8,
        ),
        (
            Transaction {
                recipients: &injected,
                ..plain
            },
            Unfit::Address,
        ),
        (
            Transaction {
                sender: "a b@c.d",
                ..plain
            },
            Unfit::Address,
        ),
        (
            Transaction {
                recipients: &[],
                ..plain
            },
            Unfit::Address,
        ),
    ] {
        assert_eq!(client.begin(&transaction), Err(unfit));
        assert!(!client.has_output());
    }
    assert_eq!(client.begin(&plain), Ok(()));
}

#[test]
fn a_client_that_waits_is_small() {
    assert!(size_of::<Client>() <= 512, "{}", size_of::<Client>());
}

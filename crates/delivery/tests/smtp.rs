//! Deliveries to peers that play a part: polite ones, broken ones, slow ones.

#![allow(clippy::unwrap_used)]

mod scripted;

use std::sync::Arc;
use std::time::Duration;

use postern_delivery::route::{Mx, Table, Way};
use postern_delivery::security::{Security, Tls};
use postern_delivery::{Connection, Outcome, Rest, Terms, hosts};
use postern_dns::Zone;
use postern_spool::BodyKind;
use scripted::*;
use tokio::io::AsyncWriteExt;

async fn reach(way: &Way, terms: &Terms) -> Result<Connection, Outcome> {
    hosts::reach(way, terms, &Zone::default()).await
}

/// Connects, carries, and tells how the connection stands.
async fn run(way: &Way, terms: &Terms, tray: &mut Tray) -> (Connection, Rest) {
    let mut connection = reach(way, terms).await.expect("the peer serves");
    let rest = connection.run(tray).await;
    (connection, rest)
}

#[tokio::test]
async fn a_message_goes_by_data_with_its_dots_doubled() {
    let (address, play) = listen("127.0.0.1:0", |_, mut peer| async move {
        peer.greet(&["PIPELINING", "8BITMIME", "DSN"]).await;
        let body = peer.take_one().await;
        peer.farewell().await;
        Some(body)
    })
    .await;
    let mut tray = Tray::with(vec![parcel(
        0,
        &["a@b.test", "c@d.test"],
        b"x\r\n.\r\n..y\r\n",
    )]);
    let (connection, rest) = run(&way_to(address), &terms(), &mut tray).await;
    assert_eq!(rest, Rest::Idle);
    connection.quit().await;
    assert_eq!(play.await.unwrap(), "x\r\n..\r\n...y\r\n");
    assert_eq!(tray.told(0), ["delivered 250 2.0.0 queued"; 2]);
}

#[tokio::test]
async fn messages_follow_each_other_without_a_wait() {
    let (address, play) = listen("127.0.0.1:0", |_, mut peer| async move {
        peer.greet(&["PIPELINING", "CHUNKING"]).await;
        // Both come before anything is answered.
        let mut replies = Vec::new();
        for n in 0..2 {
            let mut line = peer.hear().await;
            if line == "RSET" {
                replies.push("250 reset");
                line = peer.hear().await;
            }
            assert_eq!(line, "MAIL FROM:<from@example.com>");
            peer.expect(&format!("RCPT TO:<u{n}@b.test>")).await;
            peer.expect("BDAT 6 LAST").await;
            assert_eq!(peer.octets(6).await, b".\r\nx\r\n");
            replies.extend(["250 ok", "250 ok", "250 queued"]);
        }
        peer.say(&replies).await;
        peer.farewell().await;
        Some(())
    })
    .await;
    let messages = (0..2)
        .map(|n| parcel(n, &[&format!("u{n}@b.test")], b".\r\nx\r\n"))
        .collect();
    let mut tray = Tray::with(messages);
    let (connection, _) = run(&way_to(address), &terms(), &mut tray).await;
    connection.quit().await;
    play.await.unwrap();
    for n in 0..2 {
        assert_eq!(tray.told(n), ["delivered 250 2.0.0 queued"]);
    }
}

#[tokio::test]
async fn the_next_message_rides_with_the_body_of_the_one_before() {
    let (address, play) = listen("127.0.0.1:0", |_, mut peer| async move {
        peer.greet(&["PIPELINING"]).await;
        for n in 0..3 {
            if n == 0 {
                peer.expect("MAIL").await;
                peer.expect("RCPT").await;
                peer.expect("DATA").await;
            }
            peer.say(&["250 ok", "250 ok", "354 go"]).await;
            peer.data().await;
            if n < 2 {
                peer.expect("MAIL").await;
                peer.expect("RCPT").await;
                peer.expect("DATA").await;
            }
            peer.say(&["250 queued"]).await;
        }
        peer.farewell().await;
        Some(())
    })
    .await;
    let mut tray = Tray::with((0..3).map(|n| parcel(n, &["a@b.test"], b"x\r\n")).collect());
    let (connection, _) = run(&way_to(address), &terms(), &mut tray).await;
    connection.quit().await;
    play.await.unwrap();
    assert_eq!(tray.done.len(), 3);
}

#[tokio::test]
async fn recipients_are_judged_one_by_one() {
    let (address, _play) = listen("127.0.0.1:0", |_, mut peer| async move {
        peer.greet(&["PIPELINING", "ENHANCEDSTATUSCODES"]).await;
        for _ in 0..5 {
            peer.hear().await;
        }
        peer.say(&[
            "250 ok",
            "250 2.1.5 ok",
            "550 5.1.1 no such user",
            "452 4.2.2 full",
            "354 go",
        ])
        .await;
        peer.data().await;
        peer.say(&["250 2.6.0 queued"]).await;
        peer.hear().await;
        Some(())
    })
    .await;
    let mut tray = Tray::with(vec![parcel(0, &["a@b", "c@d", "e@f"], b"x\r\n")]);
    run(&way_to(address), &terms(), &mut tray).await;
    assert_eq!(
        tray.told(0),
        [
            "delivered 250 2.6.0 queued",
            "failed 550 5.1.1 no such user",
            "deferred 452 4.2.2 full"
        ]
    );
}

#[tokio::test]
async fn a_refused_sender_leaves_the_connection_good() {
    let (address, play) = listen("127.0.0.1:0", |_, mut peer| async move {
        peer.greet(&[]).await;
        peer.expect("MAIL").await;
        peer.say(&["550 5.7.1 not you"]).await;
        loop {
            match peer.hear().await.as_str() {
                "RSET" => peer.say(&["250 ok"]).await,
                line => break assert!(line.starts_with("MAIL"), "{line}"),
            }
        }
        peer.say(&["250 ok"]).await;
        peer.expect("RCPT").await;
        peer.say(&["250 ok"]).await;
        peer.expect("DATA").await;
        peer.say(&["354 go"]).await;
        peer.data().await;
        peer.say(&["250 queued"]).await;
        peer.farewell().await;
        Some(())
    })
    .await;
    let mut tray = Tray::with(vec![
        parcel(0, &["a@b"], b"x\r\n"),
        parcel(1, &["a@b"], b"x\r\n"),
    ]);
    let (connection, rest) = run(&way_to(address), &terms(), &mut tray).await;
    assert_eq!(rest, Rest::Idle);
    connection.quit().await;
    play.await.unwrap();
    assert_eq!(tray.told(0), ["failed 550 5.7.1 not you"]);
    assert_eq!(tray.told(1), ["delivered 250 2.0.0 queued"]);
}

#[tokio::test]
async fn a_connection_carries_so_many_messages_and_no_more() {
    let (address, _play) = listen("127.0.0.1:0", |_, mut peer| async move {
        peer.greet(&[]).await;
        peer.take_one().await;
        peer.take_one().await;
        peer.farewell().await;
        Some(())
    })
    .await;
    let mut tray = Tray::with((0..3).map(|n| parcel(n, &["a@b"], b"x\r\n")).collect());
    let terms = Terms {
        limit: 2,
        ..terms()
    };
    let (connection, rest) = run(&way_to(address), &terms, &mut tray).await;
    assert_eq!(
        (rest, tray.done.len(), tray.waiting.len()),
        (Rest::Spent, 2, 1)
    );
    connection.quit().await;
}

#[tokio::test]
async fn a_host_that_cannot_be_had_defers() {
    let (closed, play) = listen("127.0.0.1:0", |_, _| async { Some(()) }).await;
    play.abort();
    let _ = play.await;
    let outcome = reach(&way_to(closed), &terms()).await.err().unwrap();
    assert!(
        told(&outcome).starts_with("deferred 4.4.1 cannot connect"),
        "{}",
        told(&outcome)
    );
    for (greeting, want) in [
        ("421 4.3.2 too busy", "deferred 421 4.3.2 too busy"),
        ("554 5.7.1 go away", "deferred 554 4.7.1 go away"),
        (
            "what?",
            "deferred 4.4.2 lost the connection while waiting for its greeting",
        ),
    ] {
        let (address, _play) = listen("127.0.0.1:0", move |_, mut peer: Peer| async move {
            peer.say(&[greeting]).await;
            peer.hear().await;
            Some(())
        })
        .await;
        let outcome = reach(&way_to(address), &terms()).await.err().unwrap();
        assert!(
            told(&outcome).starts_with(want),
            "{greeting}: {}",
            told(&outcome)
        );
    }
}

#[tokio::test]
async fn helo_serves_where_ehlo_does_not() {
    let (address, _play) = listen("127.0.0.1:0", |_, mut peer| async move {
        peer.say(&["220 old"]).await;
        peer.expect("EHLO").await;
        peer.say(&["500 what"]).await;
        peer.expect("HELO mx1.test").await;
        peer.say(&["250 hello"]).await;
        peer.take_one().await;
        Some(())
    })
    .await;
    let mut tray = Tray::with(vec![parcel(0, &["a@b"], b"x\r\n")]);
    run(&way_to(address), &terms(), &mut tray).await;
    assert_eq!(tray.told(0), ["delivered 250 2.0.0 queued"]);
}

#[tokio::test]
async fn a_host_that_closes_amid_the_body_defers() {
    let (address, _play) = listen("127.0.0.1:0", |_, mut peer| async move {
        peer.greet(&[]).await;
        peer.expect("MAIL").await;
        peer.say(&["250 ok"]).await;
        peer.expect("RCPT").await;
        peer.say(&["250 ok"]).await;
        peer.expect("DATA").await;
        peer.say(&["354 go"]).await;
        Some(())
    })
    .await;
    let mut tray = Tray::with(vec![parcel(0, &["a@b"], &b"0123456789\r\n".repeat(10_000))]);
    let (_, rest) = run(&way_to(address), &terms(), &mut tray).await;
    assert!(matches!(rest, Rest::Broken(_)));
    assert!(
        tray.told(0)[0].starts_with("deferred 4.4.2 lost the connection"),
        "{:?}",
        tray.told(0)
    );
    assert!(
        !tray.done[0].again,
        "a first message that breaks the connection is not tried again at once"
    );
}

#[tokio::test]
async fn a_connection_closed_between_messages_costs_nothing() {
    let (address, _play) = listen("127.0.0.1:0", |_, mut peer| async move {
        peer.greet(&[]).await;
        peer.take_one().await;
        peer.expect("MAIL").await;
        peer.say(&["421 4.4.2 you took too long"]).await;
        Some(())
    })
    .await;
    let mut tray = Tray::with(vec![
        parcel(0, &["a@b"], b"x\r\n"),
        parcel(1, &["a@b"], b"x\r\n"),
    ]);
    let (_, rest) = run(&way_to(address), &terms(), &mut tray).await;
    assert!(matches!(rest, Rest::Broken(_)));
    assert_eq!(tray.told(0), ["delivered 250 2.0.0 queued"]);
    let second = tray
        .done
        .iter()
        .find(|delivery| delivery.parcel.tag == 1)
        .unwrap();
    assert!(second.again, "it may go at once over another connection");
}

#[tokio::test]
async fn an_early_refusal_is_heard_although_the_write_fails() {
    let (address, _play) = listen("127.0.0.1:0", |_, mut peer| async move {
        peer.greet(&[]).await;
        peer.expect("MAIL").await;
        peer.say(&["250 ok"]).await;
        peer.expect("RCPT").await;
        peer.say(&["250 ok"]).await;
        peer.expect("DATA").await;
        peer.say(&["354 go"]).await;
        peer.hear().await;
        peer.say(&["552 5.3.4 too large"]).await;
        while !peer.hear().await.is_empty() {}
        Some(())
    })
    .await;
    let mut tray = Tray::with(vec![parcel(
        0,
        &["a@b"],
        &b"0123456789\r\n".repeat(400_000),
    )]);
    let terms = Terms {
        timeout: Duration::from_secs(5),
        ..terms()
    };
    run(&way_to(address), &terms, &mut tray).await;
    assert!(
        tray.told(0)[0].contains("5.3.4") || tray.told(0)[0].starts_with("deferred"),
        "{:?}",
        tray.told(0)
    );
}

#[tokio::test]
async fn a_silent_host_is_given_up() {
    let (address, _play) = listen("127.0.0.1:0", |_, mut peer| async move {
        peer.greet(&[]).await;
        peer.expect("MAIL").await;
        peer.hear().await;
        Some(())
    })
    .await;
    let mut tray = Tray::with(vec![parcel(0, &["a@b"], b"x\r\n")]);
    let terms = Terms {
        timeout: Duration::from_millis(200),
        ..terms()
    };
    let (_, rest) = run(&way_to(address), &terms, &mut tray).await;
    assert!(matches!(rest, Rest::Broken(_)));
    assert!(
        tray.told(0)[0].contains("while stating the sender: no answer in time"),
        "{:?}",
        tray.told(0)
    );
}

#[tokio::test]
async fn a_host_that_drips_is_given_up_too() {
    let (address, _play) = listen("127.0.0.1:0", |_, mut peer| async move {
        peer.say(&["220-peer"]).await;
        while peer.stream.write_all(b"220-still here\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Some(())
    })
    .await;
    let terms = Terms {
        timeout: Duration::from_millis(300),
        ..terms()
    };
    let outcome = reach(&way_to(address), &terms).await.err().unwrap();
    assert!(
        told(&outcome).starts_with("deferred 4.4.2"),
        "{}",
        told(&outcome)
    );
}

#[tokio::test]
async fn ten_megabytes_of_reply_are_not_taken_in() {
    let (address, _play) = listen("127.0.0.1:0", |_, mut peer| async move {
        peer.greet(&[]).await;
        peer.expect("MAIL").await;
        let line = "250-".to_owned() + &"x".repeat(1000) + "\r\n";
        for _ in 0..10_000 {
            if peer.stream.write_all(line.as_bytes()).await.is_err() {
                break;
            }
        }
        Some(())
    })
    .await;
    let mut tray = Tray::with(vec![parcel(0, &["a@b"], b"x\r\n")]);
    let (_, rest) = run(&way_to(address), &terms(), &mut tray).await;
    assert!(matches!(rest, Rest::Broken(_)));
    assert!(
        tray.told(0)[0].starts_with("deferred"),
        "{:?}",
        tray.told(0)
    );
}

#[tokio::test]
async fn what_a_host_cannot_take_fails_before_it_is_sent() {
    let (address, _play) = listen("127.0.0.1:0", |_, mut peer| async move {
        peer.greet(&["SIZE 100"]).await;
        peer.take_one().await;
        Some(())
    })
    .await;
    let mut messages: Vec<_> = (0..4).map(|n| parcel(n, &["a@b.test"], b"x\r\n")).collect();
    messages[0].envelope.smtputf8 = true;
    messages[0].envelope.recipients[0].address = "jürgen@b.test".into();
    messages[1].envelope.body = BodyKind::Binary;
    messages[2] = parcel(2, &["a@b.test"], &[b'x'; 200]);
    // 8-bit goes as it is: see the reasons in carry.rs.
    messages[3].envelope.body = BodyKind::EightBit;
    let mut tray = Tray::with(messages);
    run(&way_to(address), &terms(), &mut tray).await;
    assert!(
        tray.told(0)[0].starts_with("failed 5.6.7"),
        "{:?}",
        tray.told(0)
    );
    assert!(
        tray.told(1)[0].starts_with("failed 5.6.3"),
        "{:?}",
        tray.told(1)
    );
    assert!(
        tray.told(2)[0].starts_with("failed 5.3.4"),
        "{:?}",
        tray.told(2)
    );
    assert_eq!(tray.told(3), ["delivered 250 2.0.0 queued"]);
}

#[tokio::test]
async fn a_broken_handshake_is_gone_round_in_clear_unless_tls_is_required() {
    let part = |_, mut peer: Peer| async move {
        peer.greet(&["STARTTLS"]).await;
        match peer.hear().await.as_str() {
            "STARTTLS" => {
                peer.say(&["220 go ahead"]).await;
                peer.stream
                    .write_all(b"this is no handshake\r\n")
                    .await
                    .unwrap();
                None
            }
            line => {
                assert!(line.starts_with("MAIL"), "{line}");
                peer.say(&["250 ok"]).await;
                peer.expect("RCPT").await;
                peer.say(&["250 ok"]).await;
                peer.expect("DATA").await;
                peer.say(&["354 go"]).await;
                peer.data().await;
                peer.say(&["250 queued"]).await;
                Some(())
            }
        }
    };
    let (address, play) = listen("127.0.0.1:0", part).await;
    let required = Security {
        tls: Tls::Required,
        ..Security::default()
    };
    let strict = Way::hosts(
        vec![postern_delivery::route::Hop::at(address)],
        required,
        false,
    );
    let outcome = reach(&strict, &terms()).await.err().unwrap();
    assert!(
        told(&outcome).starts_with("deferred 4.7.5 the TLS handshake failed"),
        "{}",
        told(&outcome)
    );
    let mut tray = Tray::with(vec![parcel(0, &["a@b"], b"x\r\n")]);
    run(&way_to(address), &terms(), &mut tray).await;
    assert_eq!(tray.told(0), ["delivered 250 2.0.0 queued"]);
    play.await.unwrap();
}

#[tokio::test]
async fn required_tls_that_is_not_offered_defers() {
    let (address, _play) = listen("127.0.0.1:0", |_, mut peer| async move {
        peer.greet(&[]).await;
        peer.farewell().await;
        Some(())
    })
    .await;
    let required = Security {
        tls: Tls::Required,
        verify: true,
        ..Security::default()
    };
    let way = Way::hosts(
        vec![postern_delivery::route::Hop::at(address)],
        required,
        false,
    );
    let outcome = reach(&way, &terms()).await.err().unwrap();
    assert!(
        told(&outcome).starts_with("deferred 4.7.10 TLS is required"),
        "{}",
        told(&outcome)
    );
}

fn mx(domain: &str, port: u16) -> Arc<Way> {
    let table = Table::new(Mx {
        port,
        ..Mx::default()
    });
    table.route(&format!("a@{domain}")).unwrap().way()
}

#[tokio::test]
async fn mail_hosts_are_tried_in_their_order() {
    let (good, play) = listen("127.0.0.3:0", |_, mut peer| async move {
        peer.greet(&[]).await;
        peer.take_one().await;
        Some(())
    })
    .await;
    let refusing = format!("127.0.0.2:{}", good.port());
    let (_, refused) = listen(&refusing, |_, mut peer| async move {
        peer.say(&["421 4.3.2 later"]).await;
        Some(())
    })
    .await;
    let zone = Zone::default()
        .mx("many.test", 10, "gone.test")
        .mx("many.test", 20, "refusing.test")
        .mx("many.test", 30, "good.test")
        .address("refusing.test", "127.0.0.2")
        .address("good.test", "127.0.0.3");
    let mut connection = hosts::reach(&mx("many.test", good.port()), &terms(), &zone)
        .await
        .expect("the third serves");
    let mut tray = Tray::with(vec![parcel(0, &["a@many.test"], b"x\r\n")]);
    connection.run(&mut tray).await;
    play.await.unwrap();
    refused.await.unwrap();
    assert_eq!(
        &*tray.done[0].outcomes[0].answer().host,
        format!("good.test [127.0.0.3]:{}", good.port())
    );
}

#[tokio::test]
async fn domains_without_a_host_fail_and_failing_look_ups_wait() {
    let zone = Zone::default()
        .mx("null.test", 0, "")
        .mx("own.test", 10, "mx1.test")
        .mx("broken.test", 10, "nowhere.test")
        .address("exists.test", "127.0.0.1")
        .failing("failing.test");
    for (domain, want) in [
        ("null.test", "failed 5.1.10"),
        ("own.test", "failed 5.4.6"),
        ("broken.test", "failed 5.4.4"),
        ("missing.test", "failed 5.1.2"),
        ("failing.test", "deferred 4.4.3"),
    ] {
        let outcome = hosts::reach(&mx(domain, 1), &terms(), &zone)
            .await
            .err()
            .unwrap();
        assert!(
            told(&outcome).starts_with(want),
            "{domain}: {}",
            told(&outcome)
        );
    }
}

#[tokio::test]
async fn mail_is_not_sent_to_ourselves() {
    let (address, _play) = listen("127.0.0.1:0", |_, _| async { None::<()> }).await;
    let zone = Zone::default()
        .mx("loop.test", 10, "other-name.test")
        .address("other-name.test", "127.0.0.1");
    let unspecified = std::net::SocketAddr::new("0.0.0.0".parse().unwrap(), address.port());
    for own in [address, unspecified] {
        let terms = Terms {
            own: Arc::from([own]),
            ..terms()
        };
        let outcome = hosts::reach(&mx("loop.test", address.port()), &terms, &zone)
            .await
            .err()
            .unwrap();
        assert!(
            told(&outcome).starts_with("failed 5.4.6"),
            "{}",
            told(&outcome)
        );
        // A definition that says so is the administrator's to mend.
        let outcome = reach(&way_to(address), &terms).await.err().unwrap();
        assert!(
            told(&outcome).starts_with("deferred 4.4.6"),
            "{}",
            told(&outcome)
        );
    }
}

#[tokio::test]
async fn the_smart_host_takes_over_where_the_direct_way_ends() {
    let (address, _play) = listen("127.0.0.1:0", |_, mut peer| async move {
        peer.greet(&[]).await;
        peer.take_one().await;
        Some(())
    })
    .await;
    let table = Table::new(Mx {
        fallback: Some(Arc::new(way_to(address))),
        ..Mx::default()
    });
    let way = table.route("a@missing.test").unwrap().way();
    let mut connection = hosts::reach(&way, &terms(), &Zone::default())
        .await
        .expect("the smart host serves");
    let mut tray = Tray::with(vec![parcel(0, &["a@missing.test"], b"x\r\n")]);
    connection.run(&mut tray).await;
    assert_eq!(tray.told(0), ["delivered 250 2.0.0 queued"]);
}

//! LMTP: a reply for each recipient, over TCP and over a socket in the file system.

#![allow(clippy::unwrap_used)]

mod scripted;

use postern_delivery::route::{Endpoint, Hop, Way};
use postern_delivery::{Handed, Outcome, hosts};
use postern_dns::Zone;
use scripted::*;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixListener;

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(peer: &mut Peer<S>) {
    peer.say(&["220 lmtp"]).await;
    peer.expect("LHLO mx1.test").await;
    peer.offer(&["PIPELINING"]).await;
    for _ in 0..6 {
        peer.hear().await;
    }
    peer.say(&[
        "250 ok",
        "250 ok",
        "550 5.1.1 nobody",
        "250 ok",
        "250 ok",
        "354 go",
    ])
    .await;
    peer.data().await;
    peer.say(&["250 2.0.0 stored", "452 4.2.2 full", "554 5.6.0 refused"])
        .await;
    peer.farewell().await;
}

async fn deliver(way: Way) -> Tray {
    let mut tray = Tray::with(vec![parcel(0, &["a@l", "b@l", "c@l", "d@l"], b"x\r\n")]);
    let mut connection = hosts::reach(&way, &terms(), &Zone::default())
        .await
        .expect("it serves");
    connection.run(&mut tray).await;
    connection.quit().await;
    tray
}

fn check(tray: &Tray) {
    let want = [
        "delivered 250 2.0.0 stored",
        "failed 550 5.1.1 nobody",
        "deferred 452 4.2.2 full",
        "failed 554 5.6.0 refused",
    ];
    assert_eq!(tray.told(0), want);
    assert!(
        matches!(
            tray.done[0].outcomes[0],
            Outcome::Delivered(_, Handed::Mailbox)
        ),
        "delivery is final here"
    );
}

#[tokio::test]
async fn each_recipient_has_a_reply_over_tcp() {
    let (address, play) = listen("127.0.0.1:0", |_, mut peer| async move {
        serve(&mut peer).await;
        Some(())
    })
    .await;
    check(&deliver(Way::lmtp(Endpoint::Tcp(Hop::at(address)))).await);
    play.await.unwrap();
}

#[tokio::test]
async fn each_recipient_has_a_reply_over_a_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lmtp");
    let listener = UnixListener::bind(&path).unwrap();
    let play = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        serve(&mut Peer::new(stream)).await;
    });
    check(&deliver(Way::lmtp(Endpoint::Unix(path))).await);
    play.await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_not_there_defers() {
    let folder = tempfile::tempdir().unwrap();
    let way = Way::lmtp(Endpoint::Unix(folder.path().join("lmtp")));
    let outcome = hosts::reach(&way, &terms(), &Zone::default())
        .await
        .err()
        .unwrap();
    assert!(
        told(&outcome).starts_with("deferred 4.4.1 cannot connect"),
        "{}",
        told(&outcome)
    );
}

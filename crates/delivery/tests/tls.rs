//! STARTTLS towards real handshakes, and logins inside them.

#![allow(clippy::unwrap_used)]

mod scripted;

use std::sync::Arc;

use postern_delivery::route::{Hop, Way};
use postern_delivery::security::{Login, Security, Tls};
use postern_delivery::{Outcome, Terms, hosts};
use postern_dns::Zone;
use postern_sasl::Secret;
use postern_tls::ServerTls;
use scripted::*;

/// Greets, does STARTTLS, and goes on inside as `extensions` say; then plays `logins` and takes one message.
async fn serve(
    mut peer: Peer,
    tls: ServerTls,
    extensions: &'static [&'static str],
    logins: &'static [(&'static str, &'static str)],
) -> Option<()> {
    peer.greet(&["STARTTLS", "AUTH PLAIN"]).await;
    match peer.hear().await.as_str() {
        "STARTTLS" => {}
        "QUIT" | "" => return None,
        line => panic!("{line} in clear"),
    }
    peer.say(&["220 go"]).await;
    let stream = tls.accept(peer.stream.into_inner()).await.ok()?;
    let mut peer = Peer::new(stream);
    peer.expect("EHLO mx1.test").await;
    peer.offer(extensions).await;
    for (line, reply) in logins {
        assert_eq!(peer.hear().await, *line);
        peer.say(&[reply]).await;
    }
    if logins
        .last()
        .is_some_and(|(_, reply)| reply.starts_with('5'))
    {
        return Some(());
    }
    peer.take_one().await;
    Some(())
}

async fn deliver(
    security: Security,
    terms: Terms,
    tls: ServerTls,
    extensions: &'static [&'static str],
    logins: &'static [(&'static str, &'static str)],
) -> Result<Tray, Outcome> {
    let (address, _play) = listen("127.0.0.1:0", move |_, peer| {
        serve(peer, tls.clone(), extensions, logins)
    })
    .await;
    let hop = Hop {
        host: postern_delivery::route::Host::Name("relay.test".into()),
        port: address.port(),
    };
    let zone = Zone::default().address("relay.test", "127.0.0.1");
    let way = Way::hosts(vec![hop], security, false);
    let mut connection = hosts::reach(&way, &terms, &zone).await?;
    assert_eq!(connection.tls().map(|version| &**version), Some("TLSv1.3"));
    let mut tray = Tray::with(vec![parcel(0, &["a@b.test"], b"x\r\n")]);
    connection.run(&mut tray).await;
    Ok(tray)
}

fn required(login: Option<Login>) -> Security {
    Security {
        tls: Tls::Required,
        verify: true,
        login,
        ..Security::default()
    }
}

fn login() -> Option<Login> {
    Some(Login {
        user: Arc::from("user"),
        secret: Secret::from("secret"),
        mechanisms: Login::BASIC,
    })
}

#[tokio::test]
async fn hoped_for_tls_takes_any_certificate() {
    let (tls, _) = certificate("somebody.test");
    let tray = deliver(Security::default(), terms(), tls, &[], &[])
        .await
        .unwrap();
    assert_eq!(tray.told(0), ["delivered 250 2.0.0 queued"]);
}

#[tokio::test]
async fn required_tls_takes_only_the_right_one() {
    let (tls, root) = certificate("relay.test");
    let tray = deliver(required(None), trusting(root), tls.clone(), &[], &[])
        .await
        .unwrap();
    assert_eq!(tray.told(0), ["delivered 250 2.0.0 queued"]);
    let (other, other_root) = certificate("somebody.test");
    for (tls, root) in [(tls, other_root.clone()), (other, other_root)] {
        let outcome = deliver(required(None), trusting(root), tls, &[], &[])
            .await
            .err()
            .unwrap();
        assert!(
            told(&outcome).starts_with("deferred 4.7.5 the TLS handshake failed"),
            "{}",
            told(&outcome)
        );
    }
}

#[tokio::test]
async fn logins_are_made_inside() {
    const PLAIN: &[(&str, &str)] = &[("AUTH PLAIN AHVzZXIAc2VjcmV0", "235 2.7.0 welcome")];
    const LOGIN: &[(&str, &str)] = &[
        ("AUTH LOGIN", "334 VXNlcm5hbWU6"),
        ("dXNlcg==", "334 UGFzc3dvcmQ6"),
        ("c2VjcmV0", "235 2.7.0 welcome"),
    ];
    for (offered, logins) in [(&["AUTH LOGIN PLAIN"], PLAIN), (&["AUTH LOGIN"], LOGIN)] {
        let (tls, root) = certificate("relay.test");
        let tray = deliver(required(login()), trusting(root), tls, offered, logins)
            .await
            .unwrap();
        assert_eq!(tray.told(0), ["delivered 250 2.0.0 queued"]);
    }
}

#[tokio::test]
async fn a_wrong_password_lets_the_mail_wait() {
    const REFUSED: &[(&str, &str)] = &[("AUTH PLAIN AHVzZXIAc2VjcmV0", "535 5.7.8 no")];
    let (tls, root) = certificate("relay.test");
    let outcome = deliver(
        required(login()),
        trusting(root),
        tls,
        &["AUTH PLAIN"],
        REFUSED,
    )
    .await
    .err()
    .unwrap();
    assert!(
        told(&outcome).starts_with("deferred 535 4.7.8 the login by PLAIN was refused: no"),
        "{}",
        told(&outcome)
    );
}

#[tokio::test]
async fn a_host_without_a_known_mechanism_gets_no_password() {
    let (tls, root) = certificate("relay.test");
    let outcome = deliver(
        required(login()),
        trusting(root),
        tls,
        &["AUTH CRAM-MD5"],
        &[],
    )
    .await
    .err()
    .unwrap();
    assert!(
        told(&outcome).starts_with("deferred 4.7.4"),
        "{}",
        told(&outcome)
    );
}

#[tokio::test]
async fn a_login_is_never_made_to_a_stranger() {
    let (tls, _) = certificate("somebody.test");
    let opportunistic = Security {
        tls: Tls::Opportunistic,
        login: login(),
        ..Security::default()
    };
    let (_, root) = certificate("relay.test");
    let outcome = deliver(opportunistic, trusting(root), tls, &["AUTH PLAIN"], &[])
        .await
        .err()
        .unwrap();
    assert!(
        told(&outcome).starts_with("deferred 4.7.5"),
        "{}",
        told(&outcome)
    );
}

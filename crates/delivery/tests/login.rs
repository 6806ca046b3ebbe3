//! Logins inside real TLS at hosts that know the account, that only say so, and that have something against it.

#![allow(clippy::unwrap_used)]

mod scripted;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postern_delivery::route::{Hop, Host, Way};
use postern_delivery::security::{Login, Security};
use postern_delivery::{Outcome, Terms, hosts};
use postern_dns::Zone;
use postern_sasl::{
    Bindings, Exchange, Identity, Mechanism, NtHash, NtlmNames, NtlmRules, Rule, ScramKeys, Secret,
    Step, Surroundings, Want,
};
use postern_tls::{ClientTls, ServerStream, ServerTls};
use scripted::*;
use tokio::net::TcpStream;

const PASSWORD: &str = "hunter2";
const TOKEN: &str = "ya29.a-token_that.nobody/may+see=";

type Inside = Peer<ServerStream<TcpStream>>;

/// Does STARTTLS, and offers these mechanisms inside.
async fn secured(mut peer: Peer, tls: &ServerTls, offered: &str) -> Option<Inside> {
    peer.greet(&["STARTTLS"]).await;
    peer.expect("STARTTLS").await;
    peer.say(&["220 go"]).await;
    let mut peer = Peer::new(tls.accept(peer.stream.into_inner()).await.ok()?);
    peer.expect("EHLO mx1.test").await;
    peer.offer(&[&format!("AUTH {offered}")]).await;
    Some(peer)
}

/// What a host knows that has every mechanism there is.
fn surroundings(tls: &ServerTls, peer: &Inside) -> Surroundings {
    let found = tls.bindings(peer.stream.get_ref().get_ref().1);
    Surroundings {
        bindings: Bindings {
            exporter: found.exporter,
            end_points: found.end_points,
        },
        plus_offered: true,
        channel_binding: Rule::Require,
        ntlm: Some(NtlmRules {
            names: NtlmNames {
                netbios_computer: "EX1".to_owned(),
                netbios_domain: "CORP".to_owned(),
                dns_computer: "ex1.corp.test".to_owned(),
                dns_domain: "corp.test".to_owned(),
            },
            time: 134_000_000_000_000_000,
            integrity_code: Rule::Require,
        }),
        ..Surroundings::new([7; 32])
    }
}

/// Walks through one login as a host does that knows the account's password; `change` may falsify what it says.
async fn accept(
    peer: &mut Inside,
    surroundings: Surroundings,
    password: &str,
    change: impl Fn(Vec<u8>) -> Vec<u8>,
) -> Option<Identity> {
    let line = peer.expect("AUTH ").await;
    let mut words = line.split(' ').skip(1);
    let mechanism = words.next().unwrap().parse().unwrap();
    let initial = words.next().map(|blob| STANDARD.decode(blob).unwrap());
    let (mut exchange, mut step) = Exchange::start(mechanism, initial.as_deref(), &surroundings);
    loop {
        step = match step {
            Step::Challenge(blob) => {
                let blob = STANDARD.encode(change(blob));
                peer.say(&[&format!("334 {blob}")]).await;
                match peer.hear().await.as_str() {
                    "*" => {
                        peer.say(&["501 5.7.0 cancelled"]).await;
                        return None;
                    }
                    answer => exchange.step(&STANDARD.decode(answer).unwrap()),
                }
            }
            Step::Want(Want::ScramKeys { .. }) => exchange.give_keys(ScramKeys::derive(
                password.as_bytes(),
                b"salt of sixteen!",
                4096,
            )),
            Step::Want(Want::NtProof(_)) => exchange.check_with_hash(&NtHash::of(password)),
            Step::Done(identity) => {
                peer.say(&["235 2.7.0 welcome"]).await;
                return Some(identity);
            }
            Step::Refused(why) => {
                peer.say(&[&format!("535 5.7.8 {why}")]).await;
                return None;
            }
            Step::Want(want) => panic!("{want:?}"),
        }
    }
}

fn login(mechanisms: &'static [Mechanism], secret: &str) -> Login {
    Login {
        user: Arc::from("user"),
        secret: Secret::from(secret),
        mechanisms,
    }
}

/// Logs in at the host that plays `part` inside TLS; how that went, and what the host has to tell.
async fn attempt<F, T>(
    login: Login,
    offered: &'static str,
    part: impl Fn(Inside, ServerTls) -> F + Clone + Send + 'static,
) -> (Result<(), String>, T)
where
    F: Future<Output = T> + Send,
    T: Send + 'static,
{
    let (tls, root) = certificate("relay.test");
    let (address, play) = listen("127.0.0.1:0", move |_, peer| {
        let (tls, part) = (tls.clone(), part.clone());
        async move {
            let inside = secured(peer, &tls, offered).await?;
            Some(part(inside, tls).await)
        }
    })
    .await;
    // The system's authorities know nothing of this host; the definition names one that does.
    let security = Security {
        trust: Some(ClientTls::verified_by(root)),
        login: Some(login),
        ..Security::default()
    };
    let hop = Hop {
        host: Host::Name("relay.test".into()),
        port: address.port(),
    };
    let terms = Terms {
        timeout: Duration::from_secs(2),
        ..terms()
    };
    let zone = Zone::default().address("relay.test", "127.0.0.1");
    let way = Way::hosts(vec![hop], security, false);
    let outcome = match hosts::reach(&way, &terms, &zone).await {
        Ok(connection) => {
            connection.quit().await;
            Ok(())
        }
        Err(outcome @ Outcome::Deferred(_)) => Err(told(&outcome)),
        Err(outcome) => panic!("not deferred: {outcome:?}"),
    };
    (outcome, play.await.unwrap())
}

/// The rest of what the client says, up to QUIT and with it.
async fn to_the_end(peer: &mut Inside) -> Vec<String> {
    let mut heard = Vec::new();
    loop {
        let line = peer.hear().await;
        if line == "QUIT" {
            peer.say(&["221 2.0.0 bye"]).await;
            return heard;
        }
        if line.is_empty() {
            heard.push("(closed)".to_owned());
            return heard;
        }
        peer.say(&["500 5.5.1 what?"]).await;
        heard.push(line);
    }
}

/// Words of the host, each after a line that must be so; what else the client says.
async fn play(mut peer: Inside, dialogue: &[(&str, &str)]) -> Vec<String> {
    for (line, reply) in dialogue {
        assert_eq!(peer.hear().await, *line);
        peer.say(&[reply]).await;
    }
    to_the_end(&mut peer).await
}

fn encoded(text: &str) -> String {
    STANDARD.encode(text)
}

const EVERYTHING: &str =
    "LOGIN PLAIN XOAUTH2 OAUTHBEARER NTLM SCRAM-SHA-256 GSS-SPNEGO GSSAPI SCRAM-SHA-256-PLUS";

#[tokio::test]
async fn a_password_is_proved_and_bound_to_the_channel() {
    for (mechanisms, offered, bound) in [
        (Login::BASIC, EVERYTHING, true),
        (&[Mechanism::ScramSha256], EVERYTHING, false),
        (Login::INTEGRATED, EVERYTHING, true),
        (Login::INTEGRATED, "NTLM PLAIN LOGIN", true),
    ] {
        let (outcome, identity) = attempt(
            login(mechanisms, PASSWORD),
            offered,
            |mut peer, tls| async move {
                let surroundings = surroundings(&tls, &peer);
                let identity = accept(&mut peer, surroundings, PASSWORD, |blob| blob).await;
                assert_eq!(to_the_end(&mut peer).await, [""; 0]);
                identity
            },
        )
        .await;
        assert_eq!(outcome, Ok(()), "{mechanisms:?}");
        let identity = identity.unwrap();
        assert_eq!(identity.bound, bound, "{mechanisms:?}");
        if mechanisms == Login::INTEGRATED {
            assert_eq!(identity.target.as_deref(), Some("SMTP/relay.test"));
        }
    }
}

#[tokio::test]
async fn exchange_greets_ntlm_in_words() {
    let (outcome, identity) = attempt(
        Login {
            user: Arc::from("CORP\\svc"),
            ..login(Login::INTEGRATED, PASSWORD)
        },
        "GSSAPI NTLM",
        |mut peer, tls| async move {
            let surroundings = surroundings(&tls, &peer);
            peer.expect("AUTH NTLM").await;
            peer.say(&["334 NTLM supported"]).await;
            let first = STANDARD.decode(peer.hear().await).unwrap();
            let (mut exchange, step) =
                Exchange::start(Mechanism::Ntlm, Some(&first), &surroundings);
            let Step::Challenge(challenge) = step else {
                panic!("{step:?}")
            };
            peer.say(&[&format!("334 {}", STANDARD.encode(challenge))])
                .await;
            let last = STANDARD.decode(peer.hear().await).unwrap();
            let Step::Want(Want::NtProof(proof)) = exchange.step(&last) else {
                panic!("no proof")
            };
            assert_eq!(proof.account(), "CORP\\svc");
            let step = exchange.check_with_hash(&NtHash::of(PASSWORD));
            peer.say(&["235 2.7.0 welcome"]).await;
            to_the_end(&mut peer).await;
            step
        },
    )
    .await;
    assert_eq!(outcome, Ok(()));
    assert!(matches!(identity, Step::Done(identity) if identity.bound));
}

#[tokio::test]
async fn a_host_that_cannot_prove_itself_is_not_handed_the_password() {
    // The signature of somebody who does not know the password.
    let (outcome, rest) = attempt(
        login(Login::BASIC, PASSWORD),
        "PLAIN LOGIN SCRAM-SHA-256",
        |mut peer, tls| async move {
            let surroundings = Surroundings {
                plus_offered: false,
                ..surroundings(&tls, &peer)
            };
            let falsify = |blob: Vec<u8>| match blob.starts_with(b"v=") {
                true => [b"v=", STANDARD.encode([7; 32]).as_bytes()].concat(),
                false => blob,
            };
            accept(&mut peer, surroundings, PASSWORD, falsify).await;
            to_the_end(&mut peer).await
        },
    )
    .await;
    assert_eq!(
        outcome.unwrap_err(),
        "deferred 4.7.5 the login by SCRAM-SHA-256 was broken off: the server did not prove that it knows the account"
    );
    assert_eq!(rest, [""; 0]);
    // One that says yes to anything.
    for steps in [0, 1] {
        let (outcome, rest) = attempt(
            login(Login::BASIC, PASSWORD),
            "PLAIN SCRAM-SHA-256",
            move |mut peer, _| async move {
                let line = peer.expect("AUTH SCRAM-SHA-256 ").await;
                if steps > 0 {
                    let first = STANDARD.decode(line.rsplit_once(' ').unwrap().1).unwrap();
                    let first = String::from_utf8(first).unwrap();
                    // There is a channel to bind to, and no offer to do so: `y` tells whoever struck it out.
                    assert!(first.starts_with("y,,n=user,r="), "{first}");
                    let nonce = first.rsplit_once("r=").unwrap().1;
                    let salt = STANDARD.encode("salt of sixteen!");
                    let challenge = format!("r={nonce}more,s={salt},i=4096");
                    peer.say(&[&format!("334 {}", encoded(&challenge))]).await;
                    peer.hear().await;
                }
                peer.say(&["235 2.7.0 come in"]).await;
                to_the_end(&mut peer).await
            },
        )
        .await;
        let told = outcome.unwrap_err();
        assert!(
            told.ends_with("did not prove that it knows the account"),
            "{told}"
        );
        assert_eq!(rest, [""; 0]);
    }
}

#[tokio::test]
async fn a_refused_proof_is_not_followed_by_the_password() {
    // A wrong password, and an offer that somebody shortened on its way: the host sees that by the client's `y`.
    for (password, why) in [
        ("another", "unknown account or wrong password"),
        (
            PASSWORD,
            "the offer of channel binding was taken away on its way",
        ),
    ] {
        let (outcome, rest) = attempt(
            login(Login::BASIC, PASSWORD),
            "PLAIN LOGIN SCRAM-SHA-256",
            move |mut peer, tls| async move {
                let surroundings = Surroundings {
                    plus_offered: password == PASSWORD,
                    ..surroundings(&tls, &peer)
                };
                accept(&mut peer, surroundings, password, |blob| blob).await;
                to_the_end(&mut peer).await
            },
        )
        .await;
        assert_eq!(
            outcome.unwrap_err(),
            format!("deferred 535 4.7.8 the login by SCRAM-SHA-256 was refused: {why}")
        );
        assert_eq!(rest, [""; 0]);
    }
}

#[tokio::test]
async fn one_mechanism_may_be_kept_to() {
    let (outcome, _) = attempt(
        login(&[Mechanism::Login], PASSWORD),
        EVERYTHING,
        |peer, _| async move {
            let (user, password) = (encoded("user"), encoded(PASSWORD));
            let dialogue = [
                ("AUTH LOGIN", "334 VXNlcm5hbWU6"),
                (&user, "334 UGFzc3dvcmQ6"),
                (&password, "235 2.7.0 welcome"),
            ];
            play(peer, &dialogue).await
        },
    )
    .await;
    assert_eq!(outcome, Ok(()));
    let (outcome, rest) = attempt(
        login(&[Mechanism::ScramSha256Plus], PASSWORD),
        "PLAIN SCRAM-SHA-256",
        |peer, _| async move { play(peer, &[]).await },
    )
    .await;
    assert_eq!(
        outcome.unwrap_err(),
        "deferred 4.7.4 the host offers no way to log in that may be used here (SCRAM-SHA-256-PLUS)"
    );
    assert_eq!(rest, [""; 0]);
}

#[tokio::test]
async fn a_token_goes_by_the_standard_where_it_may() {
    for (offered, blob) in [
        (
            "PLAIN XOAUTH2 OAUTHBEARER",
            format!("n,a=user,\x01auth=Bearer {TOKEN}\x01\x01"),
        ),
        (
            "PLAIN XOAUTH2",
            format!("user=user\x01auth=Bearer {TOKEN}\x01\x01"),
        ),
    ] {
        let (outcome, rest) = attempt(login(Login::TOKEN, TOKEN), offered, move |peer, _| {
            let mechanism = offered.rsplit_once(' ').unwrap().1;
            let line = format!("AUTH {mechanism} {}", encoded(&blob));
            async move { play(peer, &[(&line, "235 2.7.0 welcome")]).await }
        })
        .await;
        assert_eq!((outcome, rest), (Ok(()), vec![]));
    }
}

#[tokio::test]
async fn a_long_token_follows_the_command() {
    static LONG: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| "x".repeat(2_000));
    let (outcome, rest) = attempt(
        login(Login::TOKEN, &LONG),
        "XOAUTH2",
        |peer, _| async move {
            let blob = encoded(&format!("user=user\x01auth=Bearer {}\x01\x01", *LONG));
            let dialogue = [("AUTH XOAUTH2", "334 "), (&*blob, "235 2.7.0 welcome")];
            play(peer, &dialogue).await
        },
    )
    .await;
    assert_eq!((outcome, rest), (Ok(()), vec![]));
}

#[tokio::test]
async fn a_refused_token_is_acknowledged_and_told_without_it() {
    for (offered, acknowledged) in [("XOAUTH2", ""), ("OAUTHBEARER", "AQ==")] {
        let (outcome, rest) = attempt(
            login(Login::TOKEN, TOKEN),
            offered,
            move |mut peer, _| async move {
                peer.expect(&format!("AUTH {offered} ")).await;
                let json = format!(
                    "{{\"status\":\"invalid_token\",\"scope\":\"mail {TOKEN}\",\"hint\":\"{TOKEN}\"}}"
                );
                peer.say(&[&format!("334 {}", encoded(&json))]).await;
                assert_eq!(peer.hear().await, acknowledged);
                peer.say(&[&format!("535 5.7.8 {TOKEN} is no good")]).await;
                to_the_end(&mut peer).await
            },
        )
        .await;
        assert_eq!(
            outcome.unwrap_err(),
            format!(
                "deferred 535 4.7.8 the login by {offered} was refused: status invalid_token, scope mail ***: *** is no good"
            )
        );
        assert_eq!(rest, [""; 0]);
    }
}

#[tokio::test]
async fn whatever_a_host_says_the_mail_waits() {
    let plain = || format!("AUTH PLAIN {}", encoded("\0user\0hunter2"));
    for (reply, want) in [
        (
            "454 4.7.0 try later",
            "deferred 454 4.7.0 the login by PLAIN was refused: try later",
        ),
        (
            "534 5.7.9 too weak",
            "deferred 534 4.7.9 the login by PLAIN was refused: too weak",
        ),
        (
            "500 what?",
            "deferred 500 4.0.0 the login by PLAIN was refused: what?",
        ),
        (
            "334 bW9yZQ==",
            "deferred 4.7.5 the login by PLAIN was broken off: the server asks for more than the mechanism has",
        ),
    ] {
        let (outcome, rest) = attempt(
            login(Login::BASIC, PASSWORD),
            "PLAIN",
            move |peer, _| async move { play(peer, &[(&plain(), reply)]).await },
        )
        .await;
        assert_eq!(outcome.unwrap_err(), want);
        let want: &[&str] = if reply.starts_with("334") {
            &["*"]
        } else {
            &[]
        };
        assert_eq!(rest, want);
    }
    // One that never ends, and one that says nothing.
    let (outcome, ()) = attempt(
        login(Login::BASIC, PASSWORD),
        "PLAIN",
        |mut peer, _| async move {
            while !peer.hear().await.is_empty() {
                peer.say(&["334 "]).await;
            }
        },
    )
    .await;
    assert!(outcome.unwrap_err().starts_with("deferred 4.7.5"));
    let (outcome, ()) = attempt(
        login(Login::BASIC, PASSWORD),
        "PLAIN",
        |mut peer, _| async move { while !peer.hear().await.is_empty() {} },
    )
    .await;
    assert_eq!(
        outcome.unwrap_err(),
        "deferred 4.4.2 lost the connection while logging in: no answer in time"
    );
}

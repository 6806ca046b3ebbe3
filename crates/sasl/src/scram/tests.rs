use proptest::prelude::*;

use super::*;
use crate::client::{Credentials, Login, Peer};
use crate::exchange::Exchange;
use crate::mechanism::Mechanism;
use crate::stage::{self, PASSWORD, credentials, meet, peer, surroundings};
use crate::surroundings::Bindings;

const BARE: Mechanism = Mechanism::ScramSha256;
const PLUS: Mechanism = Mechanism::ScramSha256Plus;

// RFC 7677 §3
const SERVER_NONCE: &str = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
const SERVER_FIRST: &str =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const CLIENT_FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
const SERVER_FINAL: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

fn published_keys() -> ScramKeys {
    let salt = message::decoded("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    ScramKeys::derive(b"pencil", &salt, 4_096)
}

#[test]
fn the_server_speaks_as_rfc_7677_has_it() {
    let server = Server::Keys(Opening {
        identity: Identity::named("user".to_owned()),
        bare: "n=user,r=rOprNGfwEbeRWgbNEkqO".to_owned(),
        nonce: SERVER_NONCE.to_owned(),
        bindings: vec![b"n,,".to_vec()],
    });
    let (server, step) = server.give_keys(published_keys());
    assert_eq!(step, Step::Challenge(SERVER_FIRST.into()));
    let (server, step) = server.unwrap().step(CLIENT_FINAL.as_bytes());
    assert_eq!(step, Step::Challenge(SERVER_FINAL.into()));
    let (_, step) = server.unwrap().step(b"");
    assert_eq!(step, Step::Done(Identity::named("user".to_owned())));
}

#[test]
fn the_client_speaks_as_rfc_7677_has_it() {
    let user = credentials("user", "pencil");
    let nonce = "rOprNGfwEbeRWgbNEkqO".to_owned();
    let client = client::Client::with_nonce(Kind::Bare, &user, &peer(), nonce).unwrap();
    let (client, first) = client.initial().unwrap();
    assert_eq!(first.expose(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
    let (client, last) = client.answer(SERVER_FIRST.as_bytes(), &user).unwrap();
    assert_eq!(last.expose(), CLIENT_FINAL.as_bytes());
    let (client, end) = client
        .unwrap()
        .answer(SERVER_FINAL.as_bytes(), &user)
        .unwrap();
    assert!(client.is_none() && end.expose().is_empty());
}

fn with_end_point() -> Peer {
    Peer {
        bindings: Bindings {
            exporter: None,
            end_points: vec![Box::from([2; 48])],
        },
        ..peer()
    }
}

#[test]
fn client_and_server_meet() {
    let clear = Peer {
        bindings: Bindings::default(),
        ..peer()
    };
    for (mechanism, peer) in [
        (BARE, peer()),
        (BARE, clear),
        (PLUS, peer()),
        (PLUS, with_end_point()),
    ] {
        for name in ["alice", "a=b,c", "jürgen@exämple.com"] {
            let alice = credentials(name, PASSWORD);
            let client = Login::facing(mechanism, &alice, peer.clone());
            let (step, client) = meet(client, mechanism, &surroundings());
            let identity = Identity {
                bound: mechanism == PLUS,
                ..Identity::named(name.to_owned())
            };
            assert_eq!(step, Step::Done(identity), "{mechanism}");
            assert_eq!(client, Ok(()));
        }
    }
}

#[test]
fn however_a_password_is_typed_it_is_one() {
    // RFC 4013 §3: soft hyphen, and a letter that is two.
    for (kept, typed) in [
        ("IX", "I\u{ad}X"),
        ("\u{e9}", "e\u{301}"),
        ("\u{1f511}\u{7}", "\u{1f511}\u{7}"),
    ] {
        let one = ScramKeys::derive(kept.as_bytes(), b"salt", 4_096);
        assert!(one == ScramKeys::derive(typed.as_bytes(), b"salt", 4_096));
    }
    assert!(ScramKeys::derive(b"a", b"s", 4_096) != ScramKeys::derive(b"A", b"s", 4_096));
}

#[test]
fn a_wrong_password_fails_at_the_end_and_keeps_the_name() {
    let alice = credentials("alice", "wrong");
    for mechanism in [BARE, PLUS] {
        let mut client = Login::facing(mechanism, &alice, peer());
        let first = client.initial().unwrap();
        let (mut server, step) = stage::start(mechanism, Some(first.expose()), &surroundings());
        let Step::Challenge(challenge) = step else {
            panic!("{step:?}");
        };
        let answer = client.answer(&challenge).unwrap();
        let step = server.step(answer.expose());
        assert_eq!(step, Step::Refused(Refusal::WrongPassword));
        assert_eq!(server.name(), Some("alice"));
        assert_eq!(server.step(b""), Step::Refused(Refusal::Over));
    }
}

#[test]
fn an_unknown_account_looks_like_a_wrong_password() {
    let invented = |name| ScramKeys::invented(b"secret of the host", name);
    assert!(invented("nobody") == invented("NoBody"));
    assert!(invented("nobody") != invented("nobodi"));
    assert!(invented("nobody") != ScramKeys::invented(b"another", "nobody"));
    let nobody = credentials("nobody", PASSWORD);
    let mut client = Login::facing(BARE, &nobody, peer());
    let first = client.initial().unwrap();
    let (mut server, _) = Exchange::start(BARE, Some(first.expose()), &surroundings());
    let Step::Challenge(challenge) = server.give_keys(invented("nobody")) else {
        panic!("no challenge");
    };
    let answer = client.answer(&challenge).unwrap();
    assert_eq!(
        server.step(answer.expose()),
        Step::Refused(Refusal::WrongPassword)
    );
}

#[test]
fn bad_first_messages_are_refused_with_their_reason() {
    let long = format!("n,,n={},r=abc", "n".repeat(256));
    let cases: &[(Mechanism, &str, Refusal)] = &[
        (BARE, "", Refusal::Malformed),
        (BARE, "n", Refusal::Malformed),
        (BARE, "n,,", Refusal::Malformed),
        (BARE, "n,,n=alice", Refusal::Malformed),
        (BARE, "n,,r=abc,n=alice", Refusal::Malformed),
        (BARE, "n,,n=alice,r=", Refusal::Malformed),
        (BARE, "n,,n=alice,r=a b", Refusal::Malformed),
        (BARE, "n,,n=alice,r=\u{e9}", Refusal::Malformed),
        (BARE, "n,,m=x,n=alice,r=abc", Refusal::Malformed),
        (BARE, "n,,n=alice,r=abc,m=x", Refusal::Malformed),
        (BARE, "n,,n=alice,r=abc,xx", Refusal::Malformed),
        (BARE, "x,,n=alice,r=abc", Refusal::Malformed),
        (BARE, "n,b=bob,n=alice,r=abc", Refusal::Malformed),
        (BARE, "n,a=\u{ad},n=alice,r=abc", Refusal::NoName),
        (BARE, "n,,n=,r=abc", Refusal::NoName),
        (BARE, "n,,n=\u{ad},r=abc", Refusal::NoName),
        (BARE, "n,,n=al=ice,r=abc", Refusal::Malformed),
        (BARE, "n,,n=al=2cice,r=abc", Refusal::Malformed),
        (BARE, "n,,n=alice=,r=abc", Refusal::Malformed),
        (BARE, "n,,n=al=\u{e9},r=abc", Refusal::Malformed),
        (BARE, "n,,n=al\u{7}ice,r=abc", Refusal::NotText),
        (BARE, "n,,n=al\0ice,r=abc", Refusal::NotText),
        (BARE, &long, Refusal::TooLong),
        (BARE, "y,,n=alice,r=abc", Refusal::Downgrade),
        (BARE, "p=tls-exporter,,n=alice,r=abc", Refusal::Malformed),
        (PLUS, "n,,n=alice,r=abc", Refusal::Malformed),
        (PLUS, "y,,n=alice,r=abc", Refusal::Malformed),
        (PLUS, "p=,,n=alice,r=abc", Refusal::BindingType),
        (PLUS, "p=tls-unique,,n=alice,r=abc", Refusal::BindingType),
        (PLUS, "p=TLS-EXPORTER,,n=alice,r=abc", Refusal::BindingType),
    ];
    for (mechanism, first, why) in cases {
        let (_, step) = stage::start(*mechanism, Some(first.as_bytes()), &surroundings());
        assert_eq!(step, Step::Refused(*why), "{mechanism} {first:?}");
    }
    let (_, step) = stage::start(BARE, Some(b"n,,n=\xff,r=abc"), &surroundings());
    assert_eq!(step, Step::Refused(Refusal::NotText));
}

#[test]
fn what_may_be_sent_is_taken() {
    let unbound = Surroundings {
        plus_offered: false,
        ..surroundings()
    };
    for first in [
        "y,,n=alice,r=abc",
        "n,a=alice,n=alice,r=abc",
        "n,a=,n=alice,r=abc",
        "n,,n=alice,r=abc,x=later",
    ] {
        let (_, step) = Exchange::start(BARE, Some(first.as_bytes()), &unbound);
        let want = Want::ScramKeys {
            authzid: None,
            name: "alice".to_owned(),
        };
        assert_eq!(step, Step::Want(want), "{first}");
    }
    let (_, step) = Exchange::start(BARE, Some(b"n,a=b=2Cob,n=alice,r=abc"), &unbound);
    let want = Want::ScramKeys {
        authzid: Some("b,ob".to_owned()),
        name: "alice".to_owned(),
    };
    assert_eq!(step, Step::Want(want));
}

#[test]
fn plus_outside_tls_is_refused() {
    let clear = Surroundings {
        bindings: Bindings::default(),
        ..surroundings()
    };
    let (_, step) = stage::start(PLUS, None, &clear);
    assert_eq!(step, Step::Refused(Refusal::BindingType));
    let alice = credentials("alice", PASSWORD);
    let mut client = Login::facing(
        PLUS,
        &alice,
        Peer {
            bindings: Bindings::default(),
            ..peer()
        },
    );
    assert!(client.initial().is_none());
    assert_eq!(client.answer(b""), Err(Refusal::BindingType));
    assert_eq!(client.finish(), Err(Refusal::BindingType));
}

/// A client that has spoken, the server's first message, and the client's last.
fn halfway(mechanism: Mechanism, peer: Peer) -> (Exchange, String) {
    let alice: &'static Credentials = Box::leak(Box::new(credentials("alice", PASSWORD)));
    let mut client = Login::facing(mechanism, alice, peer);
    let first = client.initial().unwrap();
    let (server, step) = stage::start(mechanism, Some(first.expose()), &surroundings());
    let Step::Challenge(challenge) = step else {
        panic!("{step:?}");
    };
    let last = client.answer(&challenge).unwrap();
    (server, String::from_utf8(last.expose().to_vec()).unwrap())
}

#[test]
fn bad_last_messages_are_refused_with_their_reason() {
    let (_, good) = halfway(PLUS, peer());
    let (head, proof) = good.rsplit_once(",p=").unwrap();
    let nonce = head.split_once(",r=").unwrap().1;
    let bare = encoded(b"n,,");
    let other = encoded(b"p=tls-exporter,,another channel, 32 octets long!!");
    let cases = [
        (String::new(), Refusal::Malformed),
        (head.to_owned(), Refusal::Malformed),
        (format!("{head},p="), Refusal::WrongPassword),
        (format!("{head},p=!"), Refusal::Malformed),
        (format!("{head},p={}", &proof[4..]), Refusal::WrongPassword),
        (format!("{head},m=x,p={proof}"), Refusal::Malformed),
        (format!("{head},x=y,p={proof}"), Refusal::WrongPassword),
        (format!("{head}x,p={proof}"), Refusal::Nonce),
        (
            format!("c={bare},r={nonce},p={proof}"),
            Refusal::ChannelBinding,
        ),
        (
            format!("c={other},r={nonce},p={proof}"),
            Refusal::ChannelBinding,
        ),
        (format!("c=,r={nonce},p={proof}"), Refusal::ChannelBinding),
        (format!("c=?,r={nonce},p={proof}"), Refusal::Malformed),
        (format!("r={nonce},c={bare},p={proof}"), Refusal::Malformed),
    ];
    for (last, why) in cases {
        let (mut server, _) = halfway(PLUS, peer());
        assert_eq!(server.step(last.as_bytes()), Step::Refused(why), "{last}");
    }
    let (mut server, _) = halfway(PLUS, peer());
    assert!(matches!(server.step(good.as_bytes()), Step::Challenge(_)));
    assert_eq!(server.step(b"more"), Step::Refused(Refusal::Malformed));
}

#[test]
fn a_login_does_not_go_over_another_channel() {
    let relayed = Peer {
        bindings: Bindings {
            exporter: Some([4; 32]),
            end_points: Vec::new(),
        },
        ..peer()
    };
    let (mut server, last) = halfway(PLUS, relayed);
    assert_eq!(
        server.step(last.as_bytes()),
        Step::Refused(Refusal::ChannelBinding)
    );
}

#[test]
fn no_bit_may_change_and_no_end_may_be_missing() {
    let (_, good) = halfway(BARE, peer());
    for at in 0..good.len() {
        let (mut server, _) = halfway_quick();
        let cut = server.step(&good.as_bytes()[..at]);
        assert!(matches!(cut, Step::Refused(_)), "{at}");
        for bit in 0..8 {
            let mut bent = good.clone().into_bytes();
            bent[at] ^= 1 << bit;
            let (mut server, _) = halfway_quick();
            assert!(matches!(server.step(&bent), Step::Refused(_)), "{at} {bit}");
        }
    }
}

/// The server of [`halfway`], without the rounds of the client.
fn halfway_quick() -> (Exchange, ScramKeys) {
    use std::sync::LazyLock;
    static KEYS: LazyLock<ScramKeys> =
        LazyLock::new(|| ScramKeys::derive(PASSWORD.as_bytes(), b"salt and pepper", 4_096));
    let alice = credentials("alice", PASSWORD);
    let first = Login::facing(BARE, &alice, peer()).initial().unwrap();
    let (mut server, _) = Exchange::start(BARE, Some(first.expose()), &surroundings());
    server.give_keys(KEYS.clone());
    (server, KEYS.clone())
}

#[test]
fn the_client_takes_no_unsound_server() {
    let nonce = nonce(&peer().random);
    let more = "x".repeat(crate::LIMIT);
    let cases = [
        (
            format!("r={nonce}abc,s=c2FsdA==,i=4095"),
            Refusal::Iterations,
        ),
        (
            format!("r={nonce}abc,s=c2FsdA==,i=1000001"),
            Refusal::Iterations,
        ),
        (
            format!("r={nonce}abc,s=c2FsdA==,i=99999999999"),
            Refusal::Iterations,
        ),
        (
            format!("r={nonce}abc,s=c2FsdA==,i=+4096"),
            Refusal::Malformed,
        ),
        (format!("r={nonce}abc,s=c2FsdA==,i="), Refusal::Iterations),
        (format!("r={nonce}abc,s=,i=4096"), Refusal::Malformed),
        (
            format!("r={nonce}abc,i=4096,s=c2FsdA=="),
            Refusal::Malformed,
        ),
        (format!("r={nonce},s=c2FsdA==,i=4096"), Refusal::Nonce),
        (format!("r=abc{nonce},s=c2FsdA==,i=4096"), Refusal::Nonce),
        (
            format!("m=x,r={nonce}abc,s=c2FsdA==,i=4096"),
            Refusal::Malformed,
        ),
        (String::new(), Refusal::Malformed),
        (more, Refusal::Malformed),
    ];
    let alice = credentials("alice", PASSWORD);
    for (challenge, why) in cases {
        let mut client = Login::facing(BARE, &alice, peer());
        client.initial().unwrap();
        assert_eq!(client.answer(challenge.as_bytes()), Err(why), "{challenge}");
        assert_eq!(client.finish(), Err(why));
    }
    for (last, why) in [
        ("e=invalid-proof", Refusal::PeerError),
        ("v=AAAA", Refusal::Unproven),
        ("v=", Refusal::Unproven),
        ("", Refusal::Malformed),
    ] {
        let mut client = Login::facing(BARE, &alice, peer());
        client.initial().unwrap();
        let first = format!("r={nonce}abc,s=c2FsdA==,i=4096");
        client.answer(first.as_bytes()).unwrap();
        assert_eq!(client.finish(), Err(Refusal::Unproven), "235 too early");
        assert_eq!(client.answer(last.as_bytes()), Err(why));
        assert_eq!(client.finish(), Err(why));
    }
}

#[test]
fn a_client_that_could_bind_says_so() {
    let alice = credentials("alice", PASSWORD);
    let offered = |plus_offered| {
        let peer = Peer {
            plus_offered,
            ..peer()
        };
        let first = Login::facing(BARE, &alice, peer).initial().unwrap();
        first.expose()[..2].to_vec()
    };
    assert_eq!(offered(false), b"y,");
    assert_eq!(offered(true), b"n,");
    let struck = Peer {
        plus_offered: false,
        ..peer()
    };
    let client = Login::facing(BARE, &alice, struck);
    let (step, _) = meet(client, BARE, &surroundings());
    assert_eq!(step, Step::Refused(Refusal::Downgrade));
}

#[test]
fn keys_are_written_and_read_as_postgresql_does() {
    let keys = published_keys();
    let text = keys.to_string();
    // As `gsasl --mkpasswd` makes them.
    let expected = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
    assert_eq!(text, expected);
    assert!(text.parse::<ScramKeys>() == Ok(keys));
    let (how, secrets) = text.rsplit_once('$').unwrap();
    for bad in [
        String::new(),
        how.to_owned(),
        text.replace("256", "1"),
        text.replace(":W22", ":W2"),
        text.replace("4096", "4095"),
        text.replace("4096", "1000001"),
        text.replace("W22ZaJ0SNY7soEsUEjb6gQ==", ""),
        format!("{how}${}", &secrets[4..]),
        format!("{text}AAAA"),
    ] {
        assert!(bad.parse::<ScramKeys>() == Err(NotScramKeys), "{bad}");
    }
    assert_eq!(format!("{:?}", published_keys()), "***");
}

#[test]
fn answers_nobody_asked_for_end_the_exchange() {
    let (mut server, keys) = halfway_quick();
    assert_eq!(server.give_keys(keys.clone()), Step::Refused(Refusal::Over));
    let (mut server, _) = Exchange::start(BARE, Some(b"n,,n=alice,r=abc"), &surroundings());
    assert_eq!(server.step(b"c=biws"), Step::Refused(Refusal::Over));
    assert_eq!(server.give_keys(keys), Step::Refused(Refusal::Over));
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(first in "([npy]|p=[a-z-]{0,20}),(a=[a-z=2C3D]{0,6})?,(n=|m=)?[a-z=2C3D]{0,8},(r=)?[!-~]{0,8}.{0,6}", last in ".{0,40}") {
        for mechanism in [BARE, PLUS] {
            let (mut server, step) = Exchange::start(mechanism, Some(first.as_bytes()), &surroundings());
            if let Step::Want(Want::ScramKeys { name, .. }) = step {
                prop_assert!(!name.is_empty() && !name.contains('\0'));
                let keys = ScramKeys::invented(b"", &name);
                prop_assert!(matches!(server.give_keys(keys), Step::Challenge(_)));
                prop_assert!(matches!(server.step(last.as_bytes()), Step::Refused(_)));
            }
        }
    }
}

use super::*;
use crate::exchange::{Exchange, Step, Want};
use crate::stage::{credentials, peer, surroundings};

#[test]
fn tokens_are_sent_as_providers_want_them() {
    let user = credentials("some,one@example.com", "ya29.vF9dft4qmTc2");
    let blob = |mechanism| {
        let mut login = Login::new(mechanism, &user);
        let first = login.initial().unwrap();
        assert_eq!(login.finish(), Ok(()));
        assert_eq!(login.complaint(), None);
        first.expose().to_vec()
    };
    assert_eq!(
        blob(Mechanism::XOauth2),
        b"user=some,one@example.com\x01auth=Bearer ya29.vF9dft4qmTc2\x01\x01"
    );
    assert_eq!(
        blob(Mechanism::OauthBearer),
        b"n,a=some=2Cone@example.com,\x01auth=Bearer ya29.vF9dft4qmTc2\x01\x01"
    );
}

#[test]
fn a_refused_token_is_acknowledged_and_told() {
    let user = credentials("user", "stale");
    let json = b"{\"status\":\"invalid_token\"}\r\n";
    for (mechanism, acknowledged) in [
        (Mechanism::XOauth2, b"".as_slice()),
        (Mechanism::OauthBearer, b"\x01"),
    ] {
        let mut login = Login::facing(mechanism, &user, peer());
        // The server asks with an empty challenge where it takes no initial response.
        assert!(login.answer(b"").unwrap().expose().ends_with(b"\x01\x01"));
        assert_eq!(login.answer(json).unwrap().expose(), acknowledged);
        assert_eq!(login.complaint(), Some("{\"status\":\"invalid_token\"}  "));
        assert_eq!(login.finish(), Err(Refusal::PeerError));
        assert_eq!(login.answer(json), Err(Refusal::PeerError));
    }
    let mut login = Login::new(Mechanism::XOauth2, &user);
    login.initial();
    login.answer(&[b'x'; 5_000]).unwrap();
    assert_eq!(login.complaint().unwrap().len(), 1_024);
    let mut login = Login::new(Mechanism::XOauth2, &user);
    login.initial();
    assert_eq!(login.answer(&[b'x'; LIMIT + 1]), Err(Refusal::TooLong));
}

#[test]
fn servers_take_no_tokens_here() {
    for mechanism in [Mechanism::XOauth2, Mechanism::OauthBearer] {
        let (_, step) = Exchange::start(mechanism, None, &surroundings());
        assert_eq!(step, Step::Refused(Refusal::Unsupported));
    }
}

#[test]
fn external_names_whom_to_act_as_or_nobody() {
    for (name, authzid) in [("", None), ("bob", Some("bob".to_owned()))] {
        let user = credentials(name, "");
        let mut login = Login::new(Mechanism::External, &user);
        let first = login.initial().unwrap();
        let (mut exchange, step) =
            Exchange::start(Mechanism::External, Some(first.expose()), &surroundings());
        assert_eq!(step, Step::Want(Want::Certificate { authzid }));
        assert_eq!(exchange.step(b""), Step::Refused(Refusal::Over));
        assert_eq!(login.finish(), Ok(()));
    }
    for (blob, why) in [
        (b"\xff".as_slice(), Refusal::NotText),
        (b"a\0b", Refusal::NotText),
        (&[b'a'; 256], Refusal::TooLong),
    ] {
        let (_, step) = Exchange::start(Mechanism::External, Some(blob), &surroundings());
        assert_eq!(step, Step::Refused(why));
    }
    let (_, step) = Exchange::start(Mechanism::External, None, &surroundings());
    assert_eq!(step, Step::Challenge(Vec::new()));
}

#[test]
fn nothing_that_needs_a_peer_begins_without_one() {
    let user = credentials("user", "pw");
    for mechanism in [
        Mechanism::ScramSha256,
        Mechanism::ScramSha256Plus,
        Mechanism::Ntlm,
        Mechanism::GssSpnego,
        Mechanism::Gssapi,
    ] {
        let mut login = Login::new(mechanism, &user);
        assert!(login.initial().is_none());
        assert_eq!(login.answer(b""), Err(Refusal::Unsupported), "{mechanism}");
        assert_eq!(login.finish(), Err(Refusal::Unsupported));
    }
}

#[test]
fn nothing_prints_a_secret() {
    let user = credentials("CORP\\alice", "hunter2");
    for mechanism in Mechanism::ALL {
        let mut login = Login::facing(mechanism, &user, peer());
        let first = login.initial();
        let text = format!("{login:?} {first:?}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

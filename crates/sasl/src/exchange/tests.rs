use proptest::prelude::*;

use super::*;
use crate::client::{Credentials, Login};

/// The mechanisms that hand a password to the host, which need nothing from their surroundings.
const BASIC: [Mechanism; 2] = [Mechanism::Plain, Mechanism::Login];

fn start(mechanism: Mechanism, initial: Option<&[u8]>) -> (Exchange, Step) {
    Exchange::start(mechanism, initial, &Surroundings::new([7; 32]))
}

fn want(authzid: Option<&str>, authcid: &str, password: &str) -> Step {
    Step::Want(Want::Password {
        authzid: authzid.map(str::to_owned),
        authcid: authcid.to_owned(),
        password: Secret::from(password),
    })
}

fn plain(blob: &[u8]) -> Step {
    start(Mechanism::Plain, Some(blob)).1
}

#[test]
fn plain_is_read_as_rfc_4616_has_it() {
    let name_255 = "n".repeat(255);
    let longest = format!("\0{name_255}\0p");
    let cases: &[(&[u8], Step)] = &[
        (
            b"\0tim\0tanstaaftanstaaf",
            want(None, "tim", "tanstaaftanstaaf"),
        ),
        (
            b"Ursel\0Kurt\0xipj3plmq",
            want(Some("Ursel"), "Kurt", "xipj3plmq"),
        ),
        (b"tim\0tim\0pw", want(None, "tim", "pw")),
        (
            "\0jürgen@exämple.com\0gehëim".as_bytes(),
            want(None, "jürgen@exämple.com", "gehëim"),
        ),
        (longest.as_bytes(), want(None, &name_255, "p")),
    ];
    for (blob, expected) in cases {
        assert_eq!(&plain(blob), expected, "{}", blob.escape_ascii());
    }
}

#[test]
fn malformed_plain_is_refused_with_its_reason() {
    let long = format!("\0{}\0p", "n".repeat(256));
    let vast = vec![b'a'; LIMIT + 1];
    let cases: &[(&[u8], Refusal)] = &[
        (b"", Refusal::Malformed),
        (b"tim", Refusal::Malformed),
        (b"\0tim", Refusal::Malformed),
        (b"\0tim\0pw\0", Refusal::Malformed),
        (b"\0tim\0pw\0more", Refusal::Malformed),
        (b"\0\0pw", Refusal::NoName),
        (b"tim\0\0pw", Refusal::NoName),
        (b"\0\0", Refusal::NoName),
        (b"\0tim\0", Refusal::NoPassword),
        (b"\0t\xffm\0pw", Refusal::NotText),
        (b"\0tim\0\xc3", Refusal::NotText),
        (b"\xfe\0tim\0pw", Refusal::NotText),
        (long.as_bytes(), Refusal::TooLong),
        (&vast, Refusal::TooLong),
    ];
    for (blob, why) in cases {
        assert_eq!(plain(blob), Step::Refused(*why), "{}", blob.escape_ascii());
    }
}

#[test]
fn plain_without_initial_response_gets_an_empty_challenge() {
    let (mut exchange, step) = start(Mechanism::Plain, None);
    assert_eq!(step, Step::Challenge(Vec::new()));
    assert_eq!(exchange.step(b"\0tim\0pw"), want(None, "tim", "pw"));
    assert_eq!(exchange.step(b"\0tim\0pw"), Step::Refused(Refusal::Over));
}

#[test]
fn login_asks_for_name_and_password_to_the_letter() {
    let (mut exchange, step) = start(Mechanism::Login, None);
    assert_eq!(step, Step::Challenge(b"Username:".to_vec()));
    assert_eq!(
        exchange.step(b"alice"),
        Step::Challenge(b"Password:".to_vec())
    );
    assert_eq!(exchange.step(b"secret"), want(None, "alice", "secret"));
    assert_eq!(exchange.step(b"secret"), Step::Refused(Refusal::Over));
}

#[test]
fn login_takes_the_name_as_initial_response() {
    let (mut exchange, step) = start(Mechanism::Login, Some(b"alice"));
    assert_eq!(step, Step::Challenge(b"Password:".to_vec()));
    assert_eq!(exchange.step(b"secret"), want(None, "alice", "secret"));
}

#[test]
fn bad_login_responses_end_the_exchange() {
    let cases: &[(&[&[u8]], Refusal)] = &[
        (&[b""], Refusal::NoName),
        (&[b"al\0ice"], Refusal::NotText),
        (&[b"\xff"], Refusal::NotText),
        (&[&[b'a'; 256]], Refusal::TooLong),
        (&[&[b'a'; LIMIT + 1]], Refusal::TooLong),
        (&[b"alice", b""], Refusal::NoPassword),
        (&[b"alice", b"p\0w"], Refusal::NotText),
        (&[b"alice", b"\xc3\x28"], Refusal::NotText),
        (&[b"alice", &[b'p'; 256]], Refusal::TooLong),
    ];
    for (responses, why) in cases {
        let (mut exchange, mut step) = start(Mechanism::Login, None);
        for response in *responses {
            assert!(matches!(step, Step::Challenge(_)), "{step:?}");
            step = exchange.step(response);
        }
        assert_eq!(step, Step::Refused(*why));
        assert_eq!(exchange.step(b"alice"), Step::Refused(Refusal::Over));
    }
}

#[test]
fn an_empty_initial_response_is_a_response() {
    let (_, step) = start(Mechanism::Login, Some(b""));
    assert_eq!(step, Step::Refused(Refusal::NoName));
    assert_eq!(plain(b""), Step::Refused(Refusal::Malformed));
}

#[test]
fn nothing_prints_a_password() {
    let credentials = Credentials {
        name: "alice".into(),
        password: Secret::from("hunter2"),
    };
    let client = Login::new(Mechanism::Login, &credentials);
    for text in [
        format!("{:?}", plain(b"\0alice\0hunter2")),
        format!("{client:?}"),
    ] {
        assert!(text.contains("***") && !text.contains("hunter2"), "{text}");
    }
}

/// Runs both halves against each other.
fn meet(mechanism: Mechanism, credentials: &Credentials) -> Step {
    let mut client = Login::new(mechanism, credentials);
    let initial = client.initial();
    let (mut server, mut step) = start(mechanism, initial.as_ref().map(Secret::expose));
    for _ in 0..4 {
        let Step::Challenge(challenge) = &step else {
            break;
        };
        let answer = client.answer(challenge).expect("an answer");
        step = server.step(answer.expose());
    }
    step
}

#[test]
fn client_and_server_meet() {
    let credentials = Credentials {
        name: "alice".into(),
        password: Secret::from("s p ä c e"),
    };
    for mechanism in BASIC {
        assert_eq!(
            meet(mechanism, &credentials),
            want(None, "alice", "s p ä c e"),
            "{mechanism}"
        );
    }
}

#[test]
fn a_client_does_not_send_its_password_twice() {
    let credentials = Credentials {
        name: "alice".into(),
        password: Secret::from("pw"),
    };
    let mut plain = Login::new(Mechanism::Plain, &credentials);
    assert!(plain.initial().is_some());
    assert_eq!(plain.answer(b""), Err(Refusal::UnexpectedChallenge));
    let mut plain = Login::new(Mechanism::Plain, &credentials);
    assert_eq!(plain.answer(b"say it"), Err(Refusal::UnexpectedChallenge));
    let mut login = Login::new(Mechanism::Login, &credentials);
    assert!(login.initial().is_none());
    assert!(login.answer(b"").is_ok() && login.answer(b"").is_ok());
    assert_eq!(login.answer(b""), Err(Refusal::UnexpectedChallenge));
}

proptest! {
    /// Whatever comes, an exchange ends within its steps, and what it wants checked keeps its promises.
    #[test]
    fn any_bytes_end_in_a_want_or_a_refusal(
        mechanism in prop::sample::select(BASIC.to_vec()),
        first in prop::option::of(prop::collection::vec(any::<u8>(), 0..64)),
        rest in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 3),
    ) {
        let (mut exchange, mut step) = start(mechanism, first.as_deref());
        for response in &rest {
            if !matches!(step, Step::Challenge(_)) { break }
            step = exchange.step(response);
        }
        prop_assert!(!matches!(step, Step::Challenge(_)));
        if let Step::Want(Want::Password { authcid, password, .. }) = step {
            prop_assert!(!authcid.is_empty() && !authcid.contains('\0'));
            prop_assert!(!password.expose().is_empty() && !password.expose().contains(&0));
        }
    }

    /// A good blob with a few bytes changed, cut or doubled never panics and never yields a NUL.
    #[test]
    fn a_mutated_blob_is_read_or_refused(
        name in "[a-zä]{1,12}", password in "[ -~]{1,20}",
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 1..6),
    ) {
        let mut blob = format!("\0{name}\0{password}").into_bytes();
        for (place, byte, kind) in changes {
            if blob.is_empty() { break }
            let at = place.index(blob.len());
            match kind {
                0 => blob[at] = byte,
                1 => { blob.remove(at); }
                _ => blob.insert(at, byte),
            }
        }
        if let Step::Want(Want::Password { authcid, .. }) = plain(&blob) {
            prop_assert!(!authcid.contains('\0'));
        }
    }
}

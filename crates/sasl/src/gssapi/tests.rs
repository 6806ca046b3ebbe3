use super::*;
use crate::client::Login;
use crate::exchange::Exchange;
use crate::mechanism::Mechanism;
use crate::ntlm::client::{authenticate, negotiate};
use crate::spnego::token;
use crate::stage::{self, PASSWORD, credentials, meet, peer, surroundings};

const GSSAPI: Mechanism = Mechanism::Gssapi;

fn refused(why: Refusal) -> Step {
    Step::Refused(why)
}

/// Kerberos up to the wrapped offer.
fn offered(reply: Option<&[u8]>) -> (Exchange, Step) {
    let token = token::init(&[token::KERBEROS], b"ticket").0;
    let (mut server, _) = Exchange::start(GSSAPI, Some(&token), &surroundings());
    let mut step = server.give_ticket(Ticket::Accepted {
        reply: reply.map(<[u8]>::to_vec),
        principal: "alice@CORP.EXAMPLE".to_owned(),
        bound: false,
    });
    if let Some(reply) = reply {
        assert_eq!(step, Step::Challenge(reply.to_vec()));
        step = server.step(b"");
    }
    (server, step)
}

#[test]
fn kerberos_ends_with_no_layer() {
    for reply in [None, Some(b"AP-REP".as_slice())] {
        let (mut server, step) = offered(reply);
        assert_eq!(step, Step::Want(Want::Wrap(vec![1, 0, 0, 0])));
        let step = server.give_wrapped(b"wrapped".to_vec());
        assert_eq!(step, Step::Challenge(b"wrapped".to_vec()));
        let step = server.step(b"sealed");
        assert_eq!(step, Step::Want(Want::Unwrap(b"sealed".to_vec())));
        let identity = Identity::named("alice@CORP.EXAMPLE".to_owned());
        assert_eq!(
            server.give_unwrapped(Some(b"\x01\0\0\0")),
            Step::Done(identity)
        );
        assert_eq!(server.inner(), Some(Inner::Kerberos));
    }
}

#[test]
fn what_the_client_chooses_is_checked() {
    let choose = |choice: Option<&[u8]>| {
        let (mut server, _) = offered(None);
        server.give_wrapped(Vec::new());
        server.step(b"sealed");
        server.give_unwrapped(choice)
    };
    let named = |authzid: &str| Identity {
        authzid: Some(authzid.to_owned()),
        ..Identity::named("alice@CORP.EXAMPLE".to_owned())
    };
    assert_eq!(choose(Some(b"\x01\0\0\0bob")), Step::Done(named("bob")));
    let own = Identity::named("alice@CORP.EXAMPLE".to_owned());
    assert_eq!(
        choose(Some(b"\x01\0\0\0alice@CORP.EXAMPLE")),
        Step::Done(own)
    );
    let long = [b"\x01\0\0\0".as_slice(), &[b'a'; 256]].concat();
    let cases: [(Option<&[u8]>, Refusal); 8] = [
        (None, Refusal::IntegrityCode),
        (Some(b""), Refusal::Malformed),
        (Some(b"\x01\0\0"), Refusal::Malformed),
        (Some(b"\x02\0\x10\0"), Refusal::SecurityLayer),
        (Some(b"\x04\0\x10\0"), Refusal::SecurityLayer),
        (Some(b"\x07\0\0\0"), Refusal::SecurityLayer),
        (Some(b"\x01\0\0\0\xff"), Refusal::NotText),
        (Some(&long), Refusal::TooLong),
    ];
    for (choice, why) in cases {
        assert_eq!(choose(choice), refused(why), "{choice:?}");
    }
}

#[test]
fn steps_out_of_turn_end_it() {
    let (mut server, _) = offered(None);
    assert_eq!(server.step(b""), refused(Refusal::Over));
    let (mut server, _) = offered(None);
    assert_eq!(
        server.give_unwrapped(Some(b"\x01\0\0\0")),
        refused(Refusal::Over)
    );
    let (mut server, _) = offered(None);
    server.give_wrapped(Vec::new());
    assert_eq!(server.give_wrapped(Vec::new()), refused(Refusal::Over));
    let token = token::init(&[token::KERBEROS], b"ticket").0;
    let (mut server, _) = Exchange::start(GSSAPI, Some(&token), &surroundings());
    server.give_ticket(Ticket::Accepted {
        reply: Some(b"AP-REP".to_vec()),
        principal: "alice@CORP.EXAMPLE".to_owned(),
        bound: false,
    });
    assert_eq!(server.step(b"not empty"), refused(Refusal::Malformed));
}

/// NTLM inside GSSAPI, as Exchange has it, up to the wrapped offer; the client's keys.
fn ntlm_offered() -> (Exchange, Vec<u8>, Box<Session>) {
    let first = negotiate();
    let (mut server, step) = stage::start(GSSAPI, Some(&first), &surroundings());
    let Step::Challenge(challenge) = step else {
        panic!("{step:?}");
    };
    let alice = credentials("alice", PASSWORD);
    let (last, session) = authenticate(&first, &challenge, &alice, &peer()).unwrap();
    match stage::step(&mut server, &last) {
        Step::Challenge(offer) => (server, offer, session.unwrap()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn ntlm_wraps_the_layer_step_with_its_own_keys() {
    let (mut server, offer, mut client) = ntlm_offered();
    assert_eq!(client.unwrap(&offer), Some(OFFER.to_vec()));
    let step = server.step(&client.wrap(b"\x01\0\0\0"));
    assert!(matches!(step, Step::Done(_)), "{step:?}");
    let (mut server, offer, mut client) = ntlm_offered();
    client.unwrap(&offer);
    let step = server.step(&client.wrap(b"\x02\0\x10\0"));
    assert_eq!(step, refused(Refusal::SecurityLayer));
    let (_, _, mut client) = ntlm_offered();
    let good = client.wrap(b"\x01\0\0\0");
    for at in 0..good.len() {
        let mut bent = good.clone();
        bent[at] ^= 1;
        let (mut server, ..) = ntlm_offered();
        assert_eq!(server.step(&bent), refused(Refusal::IntegrityCode), "{at}");
        let (mut server, ..) = ntlm_offered();
        assert_eq!(server.step(&good[..at]), refused(Refusal::IntegrityCode));
    }
}

#[test]
fn ntlm_inside_spnego_inside_gssapi_goes_on_numbering() {
    let alice = credentials("alice", PASSWORD);
    let first = negotiate();
    let (token, list) = token::init(&[token::NTLMSSP], &first);
    let (mut server, step) = stage::start(GSSAPI, Some(&token), &surroundings());
    let Step::Challenge(reply) = step else {
        panic!("{step:?}");
    };
    let challenge = token::Resp::parse(&reply).unwrap().token.unwrap();
    let (last, session) = authenticate(&first, challenge, &alice, &peer()).unwrap();
    let mut session = session.unwrap();
    let mic = session.sign_list(&list);
    let last = token::Resp {
        token: Some(&last),
        mic: Some(&mic),
        ..token::Resp::default()
    };
    let Step::Challenge(reply) = stage::step(&mut server, &last.write()) else {
        panic!("no signature");
    };
    let mic = token::Resp::parse(&reply).unwrap().mic.unwrap();
    assert!(session.verify_list(&list, mic));
    let Step::Challenge(offer) = server.step(b"") else {
        panic!("no offer");
    };
    assert_eq!(session.unwrap(&offer), Some(OFFER.to_vec()));
    let step = server.step(&session.wrap(b"\x01\0\0\0"));
    assert!(matches!(step, Step::Done(_)), "{step:?}");
}

#[test]
fn the_client_has_no_library_for_it() {
    let alice = credentials("alice", PASSWORD);
    let client = Login::facing(GSSAPI, &alice, peer());
    let (_, client) = meet(client, GSSAPI, &surroundings());
    assert_eq!(client, Err(Refusal::Unsupported));
}

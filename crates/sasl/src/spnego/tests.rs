use proptest::prelude::*;

use super::*;
use crate::client::Login;
use crate::exchange::{Exchange, Step};
use crate::mechanism::Mechanism;
use crate::ntlm::client::{authenticate, negotiate};
use crate::stage::{self, PASSWORD, credentials, meet, peer, surroundings};

const SPNEGO: Mechanism = Mechanism::GssSpnego;

/// A server without a Kerberos library.
fn ntlm_only() -> Surroundings {
    Surroundings {
        kerberos: false,
        ..surroundings()
    }
}

fn challenge(step: Step) -> Vec<u8> {
    match step {
        Step::Challenge(blob) => blob,
        other => panic!("{other:?}"),
    }
}

fn refused(why: Refusal) -> Step {
    Step::Refused(why)
}

#[test]
fn tokens_have_the_shape_of_rfc_4178() {
    // What Windows sends for NTLM alone, with NTLM's message cut short.
    let (token, list) = token::init(&[NTLMSSP], b"NTLMSSP\0");
    let expected = [
        b"\x60\x28\x06\x06\x2b\x06\x01\x05\x05\x02".as_slice(),
        b"\xa0\x1e\x30\x1c",
        b"\xa0\x0e\x30\x0c\x06\x0a\x2b\x06\x01\x04\x01\x82\x37\x02\x02\x0a",
        b"\xa2\x0a\x04\x08NTLMSSP\0",
    ]
    .concat();
    assert_eq!(token, expected);
    let init = Init::parse(&token).unwrap();
    assert_eq!(init.list, list);
    assert_eq!(init.mechanisms, [NTLMSSP]);
    assert_eq!(init.token, Some(b"NTLMSSP\0".as_slice()));

    let resp = Resp {
        state: Some(State::Incomplete),
        mechanism: Some(NTLMSSP),
        token: Some(b"xyz"),
        mic: Some(b"mic"),
    };
    let expected = [
        b"\xa1\x23\x30\x21\xa0\x03\x0a\x01\x01".as_slice(),
        b"\xa1\x0c\x06\x0a\x2b\x06\x01\x04\x01\x82\x37\x02\x02\x0a",
        b"\xa2\x05\x04\x03xyz\xa3\x05\x04\x03mic",
    ]
    .concat();
    assert_eq!(resp.write(), expected);
    assert_eq!(Resp::parse(&expected), Ok(resp));
    // The end of a login without signatures.
    let end = Resp {
        state: Some(State::Completed),
        ..Resp::default()
    };
    assert_eq!(end.write(), b"\xa1\x07\x30\x05\xa0\x03\x0a\x01\x00");
}

#[test]
fn lengths_are_written_and_read() {
    for length in [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000] {
        let content = vec![7; length];
        let element = der::element(der::OCTETS, &content);
        assert_eq!(der::only(&element, der::OCTETS), Ok(content.as_slice()));
        let longer = [element.as_slice(), b"x"].concat();
        assert_eq!(der::only(&longer, der::OCTETS), Err(Refusal::Malformed));
    }
    for bad in [
        b"".as_slice(),
        b"\x04",
        b"\x04\x80",
        b"\x04\x81",
        b"\x04\x82\x01",
        b"\x04\x84\xff\xff\xff\xff",
        b"\x04\x88\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x04\xff",
        b"\x04\x83\xff\xff\xff",
        b"\x04\x02a",
        b"\x05\x00",
    ] {
        assert_eq!(
            der::only(bad, der::OCTETS),
            Err(Refusal::Malformed),
            "{bad:?}"
        );
    }
}

#[test]
fn an_old_token_that_repeats_itself_is_not_signed() {
    let resp = Resp {
        token: Some(b"same"),
        mic: Some(b"same"),
        ..Resp::default()
    };
    assert_eq!(Resp::parse(&resp.write()).unwrap().mic, None);
}

#[test]
fn client_and_server_meet() {
    let alice = credentials("CORP\\alice", PASSWORD);
    for surroundings in [ntlm_only(), surroundings()] {
        let client = Login::facing(SPNEGO, &alice, peer());
        let (step, client) = meet(client, SPNEGO, &surroundings);
        let Step::Done(identity) = step else {
            panic!("{step:?}");
        };
        assert!(identity.bound && identity.name == "alice");
        assert_eq!(client, Ok(()));
    }
    let wrong = credentials("CORP\\alice", "wrong");
    let client = Login::facing(SPNEGO, &wrong, peer());
    let (step, _) = meet(client, SPNEGO, &ntlm_only());
    assert_eq!(step, refused(Refusal::WrongPassword));
}

#[test]
fn ntlm_without_spnego_is_taken_in_its_place() {
    let alice = credentials("CORP\\alice", PASSWORD);
    let client = Login::facing(Mechanism::Ntlm, &alice, peer());
    let (step, _) = meet(client, SPNEGO, &surroundings());
    assert!(matches!(step, Step::Done(_)), "{step:?}");
}

/// A client whose list begins with something else: NTLM's messages, and the signature as it should be.
struct Second {
    server: Exchange,
    message: Vec<u8>,
    mic: [u8; 16],
    session: Box<Session>,
    list: Vec<u8>,
}

fn second() -> Second {
    let (first, list) = token::init(&[MS_KERBEROS, KERBEROS, NTLMSSP], b"a ticket");
    let (mut server, step) = stage::start(SPNEGO, Some(&first), &ntlm_only());
    let reply = challenge(step);
    let resp = Resp::parse(&reply).unwrap();
    assert_eq!(
        (resp.state, resp.mechanism),
        (Some(State::RequestMic), Some(NTLMSSP))
    );
    let first = negotiate();
    let token = Resp {
        token: Some(&first),
        ..Resp::default()
    };
    let reply = challenge(stage::step(&mut server, &token.write()));
    let resp = Resp::parse(&reply).unwrap();
    assert_eq!(resp.state, Some(State::Incomplete));
    let alice = credentials("alice", PASSWORD);
    let (message, session) = authenticate(&first, resp.token.unwrap(), &alice, &peer()).unwrap();
    let mut session = session.unwrap();
    Second {
        server,
        message,
        mic: session.sign_list(&list),
        session,
        list,
    }
}

#[test]
fn a_second_choice_must_sign_the_list() {
    let mut good = second();
    let last = Resp {
        token: Some(&good.message),
        mic: Some(&good.mic),
        ..Resp::default()
    };
    let reply = challenge(stage::step(&mut good.server, &last.write()));
    let resp = Resp::parse(&reply).unwrap();
    assert_eq!(resp.state, Some(State::Completed));
    assert!(good.session.verify_list(&good.list, resp.mic.unwrap()));
    assert_eq!(good.server.inner(), Some(Inner::Ntlm));
    assert!(matches!(good.server.step(b""), Step::Done(_)));

    let bent = {
        let mut mic = good.mic;
        mic[5] ^= 1;
        mic
    };
    for (mic, why) in [
        (None, Refusal::NoIntegrityCode),
        (Some(&bent[..]), Refusal::IntegrityCode),
        (Some(&bent[..4]), Refusal::IntegrityCode),
    ] {
        let mut server = second();
        let last = Resp {
            token: Some(&server.message),
            mic,
            ..Resp::default()
        };
        assert_eq!(stage::step(&mut server.server, &last.write()), refused(why));
    }
}

#[test]
fn a_first_choice_with_an_integrity_code_signs_too() {
    let first = negotiate();
    let (token, _) = token::init(&[NTLMSSP], &first);
    let (mut server, step) = stage::start(SPNEGO, Some(&token), &ntlm_only());
    let reply = challenge(step);
    let resp = Resp::parse(&reply).unwrap();
    assert_eq!(resp.mechanism, Some(NTLMSSP));
    let alice = credentials("alice", PASSWORD);
    let (message, _) = authenticate(&first, resp.token.unwrap(), &alice, &peer()).unwrap();
    let last = Resp {
        token: Some(&message),
        ..Resp::default()
    };
    let step = stage::step(&mut server, &last.write());
    assert_eq!(step, refused(Refusal::NoIntegrityCode));
}

#[test]
fn the_list_is_what_was_sent() {
    // Somebody struck Kerberos out of the list: the client signs what it sent.
    let first = negotiate();
    let (_, sent) = token::init(&[KERBEROS, NTLMSSP], b"ticket");
    let (token, _) = token::init(&[NTLMSSP], &first);
    let (mut server, step) = stage::start(SPNEGO, Some(&token), &ntlm_only());
    let reply = challenge(step);
    let resp = Resp::parse(&reply).unwrap();
    let alice = credentials("alice", PASSWORD);
    let (message, session) = authenticate(&first, resp.token.unwrap(), &alice, &peer()).unwrap();
    let mic = session.unwrap().sign_list(&sent);
    let last = Resp {
        token: Some(&message),
        mic: Some(&mic),
        ..Resp::default()
    };
    let step = stage::step(&mut server, &last.write());
    assert_eq!(step, refused(Refusal::IntegrityCode));
}

#[test]
fn kerberos_goes_to_the_host_whole() {
    let ticket = der::element(
        der::APPLICATION,
        &[&der::element(der::OID, KERBEROS), b"AP-REQ".as_slice()].concat(),
    );
    for token in [
        ticket.clone(),
        token::init(&[MS_KERBEROS, KERBEROS, NTLMSSP], &ticket).0,
        token::init(&[&[1, 2, 3], KERBEROS, NTLMSSP], b"another's").0,
    ] {
        let (mut server, step) = Exchange::start(SPNEGO, Some(&token), &surroundings());
        assert_eq!(step, Step::Want(Want::Kerberos(token)));
        assert_eq!(server.inner(), Some(Inner::Kerberos));
        let step = server.give_ticket(Ticket::Continue(b"more".to_vec()));
        assert_eq!(step, Step::Challenge(b"more".to_vec()));
        let step = server.step(b"again");
        assert_eq!(step, Step::Want(Want::Kerberos(b"again".to_vec())));
        let step = server.give_ticket(accepted_ticket(Some(b"last"), true));
        assert_eq!(step, Step::Challenge(b"last".to_vec()));
        let identity = Identity {
            bound: true,
            ..Identity::named("alice@CORP.EXAMPLE".to_owned())
        };
        assert_eq!(server.step(b""), Step::Done(identity));
        assert_eq!(server.name(), Some("alice@CORP.EXAMPLE"));
    }
}

fn accepted_ticket(reply: Option<&[u8]>, bound: bool) -> Ticket {
    Ticket::Accepted {
        reply: reply.map(<[u8]>::to_vec),
        principal: "alice@CORP.EXAMPLE".to_owned(),
        bound,
    }
}

#[test]
fn tickets_are_refused_for_their_reason() {
    let token = token::init(&[KERBEROS], b"ticket").0;
    let strict = Surroundings {
        channel_binding: Rule::Require,
        ..surroundings()
    };
    let (mut server, _) = Exchange::start(SPNEGO, Some(&token), &strict);
    let step = server.give_ticket(accepted_ticket(None, false));
    assert_eq!(step, refused(Refusal::NoChannelBinding));
    let (mut server, _) = Exchange::start(SPNEGO, Some(&token), &strict);
    assert!(matches!(
        server.give_ticket(accepted_ticket(None, true)),
        Step::Done(_)
    ));
    let (mut server, _) = Exchange::start(SPNEGO, Some(&token), &surroundings());
    assert_eq!(
        server.give_ticket(Ticket::Refused),
        refused(Refusal::Ticket)
    );
    assert_eq!(server.give_ticket(Ticket::Refused), refused(Refusal::Over));
    let (mut server, _) = Exchange::start(SPNEGO, Some(&token), &surroundings());
    assert_eq!(server.step(b"impatient"), refused(Refusal::Over));
    let (mut server, _) = Exchange::start(SPNEGO, Some(&token), &surroundings());
    assert_eq!(server.give_proof(None), refused(Refusal::Over));
}

#[test]
fn first_tokens_that_lead_nowhere_are_refused() {
    let off = Surroundings {
        ntlm: None,
        kerberos: false,
        ..surroundings()
    };
    let both = token::init(&[KERBEROS, NTLMSSP], b"x").0;
    let raw = der::element(der::APPLICATION, &der::element(der::OID, KERBEROS));
    let other = der::element(der::APPLICATION, &der::element(der::OID, &[1, 2, 3]));
    let many = token::init(&[NTLMSSP; 33], b"x").0;
    let none = token::init(&[], b"x").0;
    let text = b"\x60\x0a\x06\x06\x2b\x06\x01\x05\x05\x02\xa0\x00".to_vec();
    let deep = der::element(der::APPLICATION, &[0x30, 0x80].repeat(4_000));
    let cases: [(&Surroundings, &[u8], Refusal); 9] = [
        (&off, &both, Refusal::NoMechanism),
        (&off, &raw, Refusal::NoMechanism),
        (&off, &negotiate(), Refusal::Unsupported),
        (&surroundings(), &other, Refusal::NoMechanism),
        (&surroundings(), &none, Refusal::NoMechanism),
        (&surroundings(), &many, Refusal::TooLong),
        (&surroundings(), &text, Refusal::Malformed),
        (&surroundings(), &deep, Refusal::Malformed),
        (&surroundings(), b"", Refusal::Malformed),
    ];
    for (surroundings, token, why) in cases {
        let (_, step) = stage::start(SPNEGO, Some(token), surroundings);
        assert_eq!(
            step,
            refused(why),
            "{}",
            token[..token.len().min(40)].escape_ascii()
        );
    }
}

#[test]
fn no_end_may_be_missing_and_no_bit_breaks_anything() {
    let (first, _) = token::init(&[NTLMSSP], &negotiate());
    for at in 0..first.len() {
        let (_, step) = stage::start(SPNEGO, Some(&first[..at]), &surroundings());
        assert!(matches!(step, Step::Refused(_)), "{at}");
        for bit in 0..8 {
            let mut bent = first.clone();
            bent[at] ^= 1 << bit;
            let (_, step) = stage::start(SPNEGO, Some(&bent), &surroundings());
            assert!(!matches!(step, Step::Done(_)), "{at} {bit}");
        }
    }
    let good = second();
    let last = Resp {
        token: Some(&good.message),
        mic: Some(&good.mic),
        ..Resp::default()
    };
    let last = last.write();
    for at in 0..last.len() {
        let step = stage::step(&mut second().server, &last[..at]);
        assert!(matches!(step, Step::Refused(_)), "{at}");
        for bit in 0..8 {
            let mut bent = last.clone();
            bent[at] ^= 1 << bit;
            let step = stage::step(&mut second().server, &bent);
            assert!(matches!(step, Step::Refused(_)), "{at} {bit}: {step:?}");
        }
    }
}

#[test]
fn the_client_wants_the_servers_signature() {
    let alice = credentials("alice", PASSWORD);
    let last = |resp: Resp<'_>| {
        let mut client = Login::facing(SPNEGO, &alice, peer());
        let first = client.initial().unwrap();
        let (_, step) = stage::start(SPNEGO, Some(first.expose()), &ntlm_only());
        client.answer(&challenge(step)).unwrap();
        assert_eq!(client.finish(), Err(Refusal::Unproven));
        client.answer(&resp.write()).unwrap_err()
    };
    let completed = Some(State::Completed);
    for (state, mic, why) in [
        (completed, None, Refusal::Unproven),
        (completed, Some(&[1; 16]), Refusal::Unproven),
        (Some(State::Reject), None, Refusal::PeerError),
        (Some(State::Incomplete), None, Refusal::UnexpectedChallenge),
    ] {
        let resp = Resp {
            state,
            mic: mic.map(<[u8; 16]>::as_slice),
            ..Resp::default()
        };
        assert_eq!(last(resp), why);
    }
}

proptest! {
    #[test]
    fn any_octets_are_read_or_refused(first in prop::collection::vec(any::<u8>(), 0..120), rest in prop::collection::vec(any::<u8>(), 0..120)) {
        for first in [first.clone(), der::element(der::APPLICATION, &[der::element(der::OID, token::SPNEGO), first].concat())] {
            let (mut server, step) = stage::start(SPNEGO, Some(&first), &surroundings());
            if let Step::Challenge(_) = step {
                let step = stage::step(&mut server, &rest);
                prop_assert!(!matches!(step, Step::Done(_)));
            }
        }
    }

    #[test]
    fn what_is_written_is_read(state in 0..4_u8, token in prop::option::of(prop::collection::vec(any::<u8>(), 0..300)), mic in prop::option::of(prop::collection::vec(any::<u8>(), 0..20))) {
        let state = [State::Completed, State::Incomplete, State::Reject, State::RequestMic][usize::from(state)];
        let resp = Resp { state: Some(state), mechanism: None, token: token.as_deref(), mic: mic.as_deref().filter(|_| mic != token) };
        let written = resp.write();
        prop_assert_eq!(Resp::parse(&written), Ok(resp));
    }
}

#[test]
fn it_is_seen_which_mechanism_a_token_asks_for() {
    let both = |_| true;
    let ntlm = |inner| inner == Inner::Ntlm;
    let kerberos = |inner| inner == Inner::Kerberos;
    let (list, _) = token::init(&[KERBEROS, NTLMSSP], b"token");
    assert_eq!(Inner::asked_for(&list, both), Some(Inner::Kerberos));
    assert_eq!(Inner::asked_for(&list, ntlm), Some(Inner::Ntlm));
    let (list, _) = token::init(&[NTLMSSP, MS_KERBEROS], b"token");
    assert_eq!(Inner::asked_for(&list, both), Some(Inner::Ntlm));
    assert_eq!(Inner::asked_for(&list, kerberos), Some(Inner::Kerberos));
    let bare = b"NTLMSSP\0\x01\0\0\0";
    assert_eq!(Inner::asked_for(bare, both), Some(Inner::Ntlm));
    assert_eq!(Inner::asked_for(bare, kerberos), None);
    for nothing in [&b""[..], b"\x60", b"\x60\x84\xff\xff\xff\xff", b"hello"] {
        assert_eq!(Inner::asked_for(nothing, both), None);
    }
}

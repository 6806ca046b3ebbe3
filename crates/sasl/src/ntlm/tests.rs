use proptest::prelude::*;

use super::*;
use crate::client::{Credentials, Login, Peer};
use crate::exchange::{Exchange, Inner, Step};
use crate::mechanism::Mechanism;
use crate::stage::{self, PASSWORD, credentials, meet, peer, surroundings};

const NTLM: Mechanism = Mechanism::Ntlm;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let octet = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(octet).collect()
}

/// MS-NLMP 4.2.1 and 4.2.4: the document's own exchange.
mod published {
    pub(super) const CHALLENGE: [u8; 8] = [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef];
    pub(super) const FLAGS: u32 = 0xe28a_8233;
    pub(super) const TARGET_INFO: &str = "
        02000c0044006f006d00610069006e00 01000c00530065007200760065007200 00000000";
    pub(super) const PROOF: &str = "68cd0ab851e51c96aabc927bebef6a1c";
    pub(super) const BASE_KEY: &str = "8de40ccadbc14a82f15cb0ad0de95ca3";
    pub(super) const CHALLENGE_MESSAGE: &str = "
        4e544c4d53535000 02000000 0c000c0038000000 33828ae2 0123456789abcdef 0000000000000000
        2400240044000000 06007017 0000000f 530065007200760065007200
        02000c0044006f006d00610069006e00 01000c00530065007200760065007200 00000000";
    pub(super) const AUTHENTICATE: &str = "
        4e544c4d53535000 03000000 180018006c000000 5400540084000000 0c000c0048000000 0800080054000000
        100010005c000000 10001000d8000000 358288e2 0501280a0000000f
        44006f006d00610069006e00 5500730065007200 43004f004d0050005500540045005200
        86c35097ac9cec102554764a57cccc19aaaaaaaaaaaaaaaa
        68cd0ab851e51c96aabc927bebef6a1c
        0101000000000000 0000000000000000 aaaaaaaaaaaaaaaa 00000000
        02000c0044006f006d00610069006e00 01000c00530065007200760065007200 00000000 00000000
        c5dad2544fc9799094ce1ce90bc9d03e";
}

#[test]
fn keys_and_responses_are_those_of_the_document() {
    let hash = NtHash::of("Password");
    assert_eq!(*hash.to_hex(), "a4f49c406510bdcab6824ee7c30fd852");
    let account = hash.account_key("User", "Domain");
    assert_eq!(account.as_slice(), hex("0c868a403bfd7a93a3001ef22ef02e3f"));
    let info = hex(published::TARGET_INFO);
    let response = client::respond(&account, published::CHALLENGE, [0xaa; 8], 0, &info);
    assert_eq!(response.nt[..16], hex(published::PROOF));
    assert_eq!(response.key.as_slice(), hex(published::BASE_KEY));
    assert_eq!(
        rc4(response.key.as_slice(), &[0x55; 16]).as_slice(),
        hex("c5dad2544fc9799094ce1ce90bc9d03e")
    );
    let read = hex(published::CHALLENGE_MESSAGE);
    let read = message::Challenge::parse(&read).unwrap();
    assert_eq!(read.challenge, published::CHALLENGE);
    assert_eq!(read.target_info, info);
}

#[test]
fn the_documents_authenticate_is_accepted() {
    let challenged = Challenged {
        opening: Opening {
            challenge: published::CHALLENGE,
            ..Opening::new(&surroundings()).unwrap()
        },
        flags: published::FLAGS,
        spoken: Vec::new(),
    };
    let message = hex(published::AUTHENTICATE);
    let (presented, proof) = challenged.authenticate(&message).unwrap();
    assert_eq!(proof.account(), "Domain\\User");
    assert_eq!(proof.workstation, "COMPUTER");
    let key = proof.session_key(&NtHash::of("Password")).unwrap();
    assert_eq!(key.expose().as_slice(), hex(published::BASE_KEY));
    assert!(proof.session_key(&NtHash::of("password")).is_none());
    assert_eq!(*presented.exported_key(&key).unwrap(), [0x55; 16]);
    let accepted = presented.give_proof(Some(key)).unwrap();
    let identity = Identity {
        domain: Some("Domain".to_owned()),
        ..Identity::named("User".to_owned())
    };
    assert_eq!(accepted.identity, identity);
}

#[test]
fn sealing_is_that_of_the_document() {
    let key = Key::new([0x55; 16]);
    let session = |side| Session::new(&key, published::FLAGS, side).unwrap();
    let plain = utf16("Plaintext");
    let sealed = session(Side::Client).wrap(&plain);
    assert_eq!(
        sealed,
        hex("01000000 7fb38ec5c55d4976 00000000 54e50165bf1936dc996020c1811b0f06fb5f")
    );
    assert_eq!(session(Side::Server).unwrap(&sealed), Some(plain));
    let bent = |at: usize| {
        let mut sealed = sealed.clone();
        sealed[at] ^= 1;
        session(Side::Server).unwrap(&sealed)
    };
    assert!((0..sealed.len()).all(|at| bent(at).is_none()));
    assert!((0..sealed.len()).all(|at| session(Side::Server).unwrap(&sealed[..at]).is_none()));
    assert!(session(Side::Client).unwrap(&sealed).is_none());
    assert!(Session::new(&key, flags::UNICODE, Side::Client).is_none());
}

#[test]
fn a_hash_is_written_and_read() {
    let hash = NtHash::of(PASSWORD);
    assert!(hash.to_hex().parse::<NtHash>() == Ok(hash.clone()));
    for bad in [
        "",
        "a4f49c406510bdcab6824ee7c30fd85",
        "+4f49c406510bdcab6824ee7c30fd852",
        "ä4f49c406510bdcab6824ee7c30fd85",
    ] {
        assert!(bad.parse::<NtHash>() == Err(NotAnNtHash), "{bad}");
    }
    assert_eq!(format!("{hash:?}"), "***");
    assert!(NtHash::invented(b"s", "Nobody") == NtHash::invented(b"s", "nobody"));
    assert!(NtHash::invented(b"s", "nobody") != NtHash::invented(b"t", "nobody"));
}

#[test]
fn windows_time_begins_in_1601() {
    assert_eq!(filetime(Duration::ZERO), 116_444_736_000_000_000);
    assert_eq!(filetime(Duration::new(1, 200)), 116_444_736_010_000_002);
    assert_eq!(filetime(Duration::MAX), u64::MAX);
}

/// A good exchange up to the last message.
struct Halfway {
    server: Exchange,
    negotiate: Vec<u8>,
    challenge: Vec<u8>,
    last: Vec<u8>,
}

fn halfway_as(credentials: &Credentials, peer: &Peer, surroundings: &Surroundings) -> Halfway {
    let negotiate = client::negotiate();
    let (server, step) = stage::start(NTLM, Some(&negotiate), surroundings);
    let Step::Challenge(challenge) = step else {
        panic!("{step:?}");
    };
    let (last, _) = client::authenticate(&negotiate, &challenge, credentials, peer).unwrap();
    Halfway {
        server,
        negotiate,
        challenge,
        last,
    }
}

fn halfway() -> Halfway {
    halfway_as(
        &credentials("CORP\\alice", PASSWORD),
        &peer(),
        &surroundings(),
    )
}

fn alice(bound: bool) -> Identity {
    Identity {
        domain: Some("CORP".to_owned()),
        bound,
        target: Some("SMTP/mx1.corp.example".to_owned()),
        ..Identity::named("alice".to_owned())
    }
}

fn refused(why: Refusal) -> Step {
    Step::Refused(why)
}

#[test]
fn client_and_server_meet() {
    let client = credentials("CORP\\alice", PASSWORD);
    let client = Login::facing(NTLM, &client, peer());
    assert_eq!(
        meet(client, NTLM, &surroundings()),
        (Step::Done(alice(true)), Ok(()))
    );
    let upn = credentials("straße@corp.example", PASSWORD);
    let client = Login::facing(NTLM, &upn, peer());
    let (step, _) = meet(client, NTLM, &surroundings());
    let Step::Done(identity) = step else {
        panic!("{step:?}");
    };
    assert_eq!(
        (identity.name.as_str(), identity.domain),
        ("straße@corp.example", None)
    );
}

#[test]
fn another_process_may_check_the_proof() {
    let mut halfway = halfway();
    let Step::Want(crate::Want::NtProof(proof)) = halfway.server.step(&halfway.last) else {
        panic!("no proof");
    };
    assert_eq!(halfway.server.name(), Some("CORP\\alice"));
    assert_eq!(halfway.server.inner(), Some(Inner::Ntlm));
    let key = proof.session_key(&NtHash::of(PASSWORD)).unwrap();
    let key = SessionBaseKey::new(*key.expose());
    assert_eq!(
        halfway.server.give_proof(Some(key)),
        Step::Done(alice(true))
    );
}

#[test]
fn a_wrong_password_and_an_unknown_account_look_the_same() {
    for hash in [NtHash::of("wrong"), NtHash::invented(b"secret", "alice")] {
        let mut halfway = halfway();
        halfway.server.step(&halfway.last);
        let step = halfway.server.check_with_hash(&hash);
        assert_eq!(step, refused(Refusal::WrongPassword));
        assert_eq!(halfway.server.name(), Some("CORP\\alice"));
    }
    let mut halfway = halfway();
    halfway.server.step(&halfway.last);
    assert_eq!(
        halfway.server.give_proof(None),
        refused(Refusal::WrongPassword)
    );
}

#[test]
fn a_challenge_is_answered_once() {
    let mut halfway = halfway();
    assert_eq!(
        stage::step(&mut halfway.server, &halfway.last),
        Step::Done(alice(true))
    );
    assert_eq!(
        stage::step(&mut halfway.server, &halfway.last),
        refused(Refusal::Over)
    );
    // The same message to another challenge.
    let fresh = Surroundings {
        random: [8; 32],
        ..surroundings()
    };
    let (mut server, _) = stage::start(NTLM, Some(&halfway.negotiate), &fresh);
    assert_eq!(
        stage::step(&mut server, &halfway.last),
        refused(Refusal::WrongPassword)
    );
    // A wrong answer uses the challenge up as well.
    let (mut server, _) = stage::start(NTLM, Some(&halfway.negotiate), &surroundings());
    assert_eq!(
        stage::step(&mut server, &[0; 88]),
        refused(Refusal::Malformed)
    );
    assert_eq!(
        stage::step(&mut server, &halfway.last),
        refused(Refusal::Over)
    );
}

#[test]
fn no_step_can_be_left_out() {
    let halfway = halfway();
    let (_, step) = stage::start(NTLM, Some(&halfway.last), &surroundings());
    assert_eq!(step, refused(Refusal::Malformed));
    let (_, step) = stage::start(NTLM, Some(&halfway.challenge), &surroundings());
    assert_eq!(step, refused(Refusal::Malformed));
    let (mut server, _) = stage::start(NTLM, Some(&halfway.negotiate), &surroundings());
    assert_eq!(server.give_proof(None), refused(Refusal::Over));
    let (mut server, _) = stage::start(NTLM, Some(&halfway.negotiate), &surroundings());
    server.step(&halfway.last);
    assert_eq!(server.step(&halfway.last), refused(Refusal::Over));
    let off = Surroundings {
        ntlm: None,
        ..surroundings()
    };
    let (_, step) = stage::start(NTLM, Some(&halfway.negotiate), &off);
    assert_eq!(step, refused(Refusal::Unsupported));
}

#[test]
fn no_bit_may_change_and_no_end_may_be_missing() {
    let Halfway { last, .. } = halfway();
    for at in 0..last.len() {
        let mut server = halfway().server;
        let step = stage::step(&mut server, &last[..at]);
        assert!(matches!(step, Step::Refused(_)), "cut at {at}: {step:?}");
        for bit in 0..8 {
            let mut bent = last.clone();
            bent[at] ^= 1 << bit;
            let mut server = halfway().server;
            let step = stage::step(&mut server, &bent);
            assert!(matches!(step, Step::Refused(_)), "{at} {bit}: {step:?}");
        }
    }
    let mut server = halfway().server;
    let longer = [last.as_slice(), b"x"].concat();
    assert_eq!(
        stage::step(&mut server, &longer),
        refused(Refusal::IntegrityCode)
    );
}

#[test]
fn the_earlier_messages_are_protected_too() {
    let Halfway {
        last, negotiate, ..
    } = halfway();
    let mut bent = negotiate;
    // A bit that changes no flag of the challenge.
    bent[31] ^= 1;
    let (mut server, _) = stage::start(NTLM, Some(&bent), &surroundings());
    assert_eq!(
        stage::step(&mut server, &last),
        refused(Refusal::IntegrityCode)
    );
}

#[test]
fn forged_messages_are_refused() {
    let Halfway { last, .. } = halfway();
    let at = word(&last, 24).unwrap() as usize;
    let flags_at = {
        // id 6, length 4, HAS_MIC
        let pair = [6, 0, 4, 0, 2, 0, 0, 0];
        last.windows(8).position(|window| window == pair).unwrap() + 4
    };
    let forge = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut forged = last.clone();
        change(&mut forged);
        stage::step(&mut halfway().server, &forged)
    };
    // Garbage for a proof, with and without an integrity code; the announcement of the code struck out.
    assert_eq!(
        forge(&|m| m[at..at + 16].fill(0)),
        refused(Refusal::WrongPassword)
    );
    assert_eq!(
        forge(&|m| {
            m[at..at + 16].fill(0);
            m[MIC].fill(0);
        }),
        refused(Refusal::WrongPassword)
    );
    assert_eq!(forge(&|m| m[MIC].fill(0)), refused(Refusal::IntegrityCode));
    assert_eq!(
        forge(&|m| {
            m[MIC].fill(0);
            m[flags_at] = 0;
        }),
        refused(Refusal::WrongPassword)
    );
    // The key exchange taken away: the code was made with the client's key.
    assert_eq!(forge(&|m| m[52..54].fill(0)), refused(Refusal::Malformed));
    assert_eq!(forge(&|m| m[63] &= !0x40), refused(Refusal::IntegrityCode));
}

#[test]
fn no_field_leads_outside() {
    let Halfway { last, .. } = halfway();
    for at in [12, 20, 28, 36, 44, 52] {
        let used = last[at] != 0;
        let lead = |offset: u32, length: u16| {
            let mut message = last.clone();
            message[at..at + 2].copy_from_slice(&length.to_le_bytes());
            message[at + 4..at + 8].copy_from_slice(&offset.to_le_bytes());
            stage::step(&mut halfway().server, &message)
        };
        let end = u32::try_from(last.len()).unwrap();
        for (offset, length) in [
            (end, 2),
            (end - 1, 2),
            (u32::MAX, 2),
            (u32::MAX, u16::MAX),
            (u32::MAX - 1, 2),
            (0, 2),
            (63, 2),
            (88, u16::MAX),
        ] {
            let step = lead(offset, length);
            assert_eq!(step, refused(Refusal::Malformed), "{at} {offset} {length}");
        }
        // An empty field points nowhere, wherever it points.
        if !used {
            assert_eq!(lead(u32::MAX, 0), refused(Refusal::IntegrityCode));
        }
    }
}

/// A message as curl sends it: OEM, no code, no room for one.
fn curl(user: &[u8], domain: &str, nt: &[u8], flags: u32) -> Vec<u8> {
    Writer::new(3, 64)
        .field(&[1; 24])
        .field(nt)
        .field(domain.as_bytes())
        .field(user)
        .field(b"WORKSTATION")
        .field(&[])
        .octets(&flags.to_le_bytes())
        .finish()
}

const CURL: u32 = 0x0088_8206;

fn curl_opening(surroundings: &Surroundings) -> (Exchange, Vec<u8>) {
    let first = Writer::new(1, 32)
        .octets(&0x0008_8206_u32.to_le_bytes())
        .finish();
    let (server, step) = stage::start(NTLM, Some(&first), surroundings);
    match step {
        Step::Challenge(challenge) => (server, challenge),
        other => panic!("{other:?}"),
    }
}

fn curl_response(challenge: &[u8], user: &str, domain: &str) -> Vec<u8> {
    let read = message::Challenge::parse(challenge).unwrap();
    let account = NtHash::of(PASSWORD).account_key(user, domain);
    client::respond(&account, read.challenge, [9; 8], 1, read.target_info).nt
}

#[test]
fn curl_without_unicode_or_code_is_accepted() {
    let (mut server, challenge) = curl_opening(&surroundings());
    let read = message::Challenge::parse(&challenge).unwrap();
    assert_eq!(read.flags & (flags::UNICODE | flags::OEM), flags::OEM);
    assert_eq!(challenge[56..60], *b"CORP");
    let nt = curl_response(&challenge, "alice", "CORP");
    let step = stage::step(&mut server, &curl(b"alice", "CORP", &nt, CURL));
    let identity = Identity {
        bound: false,
        target: None,
        ..alice(false)
    };
    assert_eq!(step, Step::Done(identity));
}

#[test]
fn what_is_required_is_required() {
    let strict = |binding, code| {
        let mut strict = surroundings();
        strict.channel_binding = binding;
        strict.ntlm.as_mut().unwrap().integrity_code = code;
        strict
    };
    for (binding, code, why) in [
        (Rule::Accept, Rule::Require, Refusal::NoIntegrityCode),
        (Rule::Require, Rule::Accept, Refusal::NoChannelBinding),
    ] {
        let (mut server, challenge) = curl_opening(&strict(binding, code));
        let nt = curl_response(&challenge, "alice", "CORP");
        let step = stage::step(&mut server, &curl(b"alice", "CORP", &nt, CURL));
        assert_eq!(step, refused(why));
    }
    let both = strict(Rule::Require, Rule::Require);
    let mut good = halfway_as(&credentials("CORP\\alice", PASSWORD), &peer(), &both);
    assert_eq!(
        stage::step(&mut good.server, &good.last),
        Step::Done(alice(true))
    );
}

#[test]
fn a_code_that_is_announced_must_have_room() {
    let (mut server, challenge) = curl_opening(&surroundings());
    let read = message::Challenge::parse(&challenge).unwrap();
    let account = NtHash::of(PASSWORD).account_key("alice", "CORP");
    let mut info = Vec::new();
    add(&mut info, pair::FLAGS, &2_u32.to_le_bytes());
    add(&mut info, pair::END, &[]);
    let nt = client::respond(&account, read.challenge, [9; 8], 1, &info).nt;
    let step = stage::step(&mut server, &curl(b"alice", "CORP", &nt, CURL));
    assert_eq!(step, refused(Refusal::NoIntegrityCode));
}

#[test]
fn old_and_broken_responses_are_refused() {
    let unicode = CURL & !flags::OEM | flags::UNICODE;
    let long = [b'a'; 511];
    let cases: &[(&[u8], &[u8], u32, Refusal)] = &[
        (b"alice", &[7; 24], CURL, Refusal::OldNtlm),
        (b"alice", &[], CURL, Refusal::OldNtlm),
        (b"", &[], CURL, Refusal::Anonymous),
        (
            b"alice",
            &[7; 60],
            CURL | flags::ANONYMOUS,
            Refusal::Anonymous,
        ),
        (b"", &[7; 60], CURL, Refusal::NoName),
        (b"alice", &[7; 16], CURL, Refusal::Malformed),
        (b"alice", &[7; 47], CURL, Refusal::Malformed),
        (b"alice", &[7; 48], CURL, Refusal::WrongPassword),
        (b"al\xefce", &[7; 60], CURL, Refusal::NotText),
        (b"al\0ce", &[7; 60], CURL, Refusal::NotText),
        (b"alice", &[7; 60], unicode, Refusal::Malformed),
        (b"\0\xd8", &[7; 60], unicode, Refusal::NotText),
        (b"a\0\0\0", &[7; 60], unicode, Refusal::NotText),
        (&long, &[7; 60], CURL, Refusal::TooLong),
    ];
    for (user, nt, flags, why) in cases {
        let (mut server, _) = curl_opening(&surroundings());
        let step = stage::step(&mut server, &curl(user, "", nt, *flags));
        assert_eq!(step, refused(*why), "{}", user.escape_ascii());
    }
}

#[test]
fn pairs_are_believed_only_where_they_are_whole() {
    let good = |info: &[u8]| {
        let (mut server, challenge) = curl_opening(&surroundings());
        let read = message::Challenge::parse(&challenge).unwrap();
        let account = NtHash::of(PASSWORD).account_key("alice", "CORP");
        let nt = client::respond(&account, read.challenge, [9; 8], 1, info).nt;
        stage::step(&mut server, &curl(b"alice", "CORP", &nt, CURL))
    };
    let many = hex(&"0b000000".repeat(40));
    for info in [
        "01000400aabbccdd 0200ffff",
        "0600020002 00 00000000",
        "060004000000000006000400020000000000 0000",
        "0a00010000 00000000",
        "09000100aa 00000000",
        "0900020000d8 00000000",
    ] {
        let step = good(&hex(info));
        assert!(matches!(step, Step::Refused(_)), "{info}: {step:?}");
        assert_ne!(step, refused(Refusal::WrongPassword), "{info}");
    }
    assert_eq!(good(&many), refused(Refusal::Malformed));
    assert!(matches!(good(&hex("0b000000 00000000")), Step::Done(_)));
}

#[test]
fn the_channel_binding_is_checked_wherever_it_is_sent() {
    use crate::surroundings::Bindings;
    let of = |hash: &[u8]| Bindings {
        exporter: None,
        end_points: vec![Box::from(hash)],
    };
    let none = Bindings::default;
    let cases = [
        (of(&[1; 32]), of(&[1; 32]), Rule::Require, Ok(true)),
        (of(&[1; 32]), of(&[1; 32]), Rule::Accept, Ok(true)),
        (of(&[2; 48]), stage::bindings(), Rule::Require, Ok(true)),
        (
            of(&[1; 32]),
            of(&[2; 32]),
            Rule::Accept,
            Err(Refusal::ChannelBinding),
        ),
        (
            of(&[1; 32]),
            none(),
            Rule::Accept,
            Err(Refusal::ChannelBinding),
        ),
        // All zeros.
        (none(), of(&[1; 32]), Rule::Accept, Ok(false)),
        (none(), none(), Rule::Accept, Ok(false)),
        (
            none(),
            of(&[1; 32]),
            Rule::Require,
            Err(Refusal::NoChannelBinding),
        ),
        (
            none(),
            none(),
            Rule::Require,
            Err(Refusal::NoChannelBinding),
        ),
    ];
    for (theirs, ours, rule, expected) in cases {
        let shown = format!("{theirs:?} {ours:?} {rule:?}");
        let surroundings = Surroundings {
            bindings: ours,
            channel_binding: rule,
            ..surroundings()
        };
        let peer = Peer {
            bindings: theirs,
            ..peer()
        };
        let client = credentials("CORP\\alice", PASSWORD);
        let (step, _) = meet(Login::facing(NTLM, &client, peer), NTLM, &surroundings);
        let expected = expected.map_or_else(Step::Refused, |bound| Step::Done(alice(bound)));
        assert_eq!(step, expected, "{shown}");
    }
}

#[test]
fn names_are_offered_as_the_definition_has_them() {
    let Halfway { challenge, .. } = halfway();
    let read = message::Challenge::parse(&challenge).unwrap();
    let found = pairs(read.target_info).unwrap();
    let text = |id| message::text16(find(&found, id).unwrap().unwrap()).unwrap();
    assert_eq!(text(pair::NETBIOS_COMPUTER), "MX1");
    assert_eq!(text(pair::NETBIOS_DOMAIN), "CORP");
    assert_eq!(text(pair::DNS_COMPUTER), "mx1.corp.example");
    assert_eq!(text(pair::DNS_DOMAIN), "corp.example");
    assert_eq!(read.challenge, [7; 8]);
    assert_ne!(read.flags & flags::TARGET_DOMAIN, 0);
    let mut alone = surroundings();
    alone.ntlm.as_mut().unwrap().names.netbios_domain = "MX1".to_owned();
    let (_, step) = stage::start(NTLM, Some(&client::negotiate()), &alone);
    let Step::Challenge(challenge) = step else {
        panic!("{step:?}");
    };
    let read = message::Challenge::parse(&challenge).unwrap();
    assert_ne!(read.flags & flags::TARGET_SERVER, 0);
}

#[test]
fn the_client_takes_no_broken_challenge() {
    let Halfway {
        negotiate,
        challenge,
        ..
    } = halfway();
    let alice = credentials("alice", PASSWORD);
    for at in 0..challenge.len() {
        let cut = client::authenticate(&negotiate, &challenge[..at], &alice, &peer());
        assert!(cut.is_err(), "{at}");
    }
    let (_, oem) = curl_opening(&surroundings());
    let answered = client::authenticate(&negotiate, &oem, &alice, &peer());
    assert_eq!(answered.unwrap_err(), Refusal::Unsupported);
    // Exchange's greeting, which is not even base64.
    let mut login = Login::facing(NTLM, &alice, peer());
    assert!(login.initial().is_none());
    assert_eq!(login.answer(b"NTLM supported").unwrap().expose(), negotiate);
}

proptest! {
    #[test]
    fn any_octets_are_read_or_refused(first in prop::collection::vec(any::<u8>(), 0..200), rest in prop::collection::vec(any::<u8>(), 0..300)) {
        let first = [b"NTLMSSP\0\x01\0\0\0".as_slice(), &first].concat();
        let rest = [b"NTLMSSP\0\x03\0\0\0".as_slice(), &rest].concat();
        let (mut server, step) = stage::start(NTLM, Some(&first), &surroundings());
        if let Step::Challenge(_) = step {
            let step = stage::step(&mut server, &rest);
            prop_assert!(matches!(step, Step::Refused(_)));
        }
    }

    /// Any change of a good message, behind a right proof too, is seen or harmless, and never a panic.
    #[test]
    fn any_pairs_behind_a_right_proof_are_read_or_refused(info in prop::collection::vec(any::<u8>(), 0..80)) {
        let (mut server, challenge) = curl_opening(&surroundings());
        let read = message::Challenge::parse(&challenge).unwrap();
        let account = NtHash::of(PASSWORD).account_key("alice", "CORP");
        let nt = client::respond(&account, read.challenge, [9; 8], 1, &info).nt;
        stage::step(&mut server, &curl(b"alice", "CORP", &nt, CURL));
    }
}

//! The halves of every SASL mechanism, as functions over bytes: blobs divided by 0xfe, for binary mechanisms by length.

use postern_sasl::{
    Bindings, Credentials, Exchange, Login, Mechanism, NtHash, NtlmNames, NtlmRules, Peer, Rule,
    ScramKeys, Secret, Step, Surroundings, Ticket, Want,
};

/// PLAIN, LOGIN and EXTERNAL: each ends within its steps, and what it wants checked keeps its promises.
pub(crate) fn exchange(bytes: &[u8]) {
    for mechanism in [Mechanism::Plain, Mechanism::Login, Mechanism::External] {
        let mut responses = bytes.split(|byte| *byte == 0xfe);
        walk(mechanism, responses.next(), &mut responses);
        walk(mechanism, None, &mut bytes.split(|byte| *byte == 0xfe));
    }
}

/// SCRAM, both halves. `{nonce}` stands for the other side's nonce, which nobody could guess.
pub(crate) fn scram(bytes: &[u8]) {
    for mechanism in [Mechanism::ScramSha256, Mechanism::ScramSha256Plus] {
        let mut responses = bytes.split(|byte| *byte == 0xfe);
        walk(mechanism, responses.next(), &mut responses);
        let text = String::from_utf8_lossy(bytes).replace("{nonce}", CLIENT_NONCE);
        answer(mechanism, &mut text.as_bytes().split(|byte| *byte == b'\n'));
    }
}

/// NTLM alone, both halves.
pub(crate) fn ntlm(bytes: &[u8]) {
    let blobs = divided(bytes);
    let mut blobs = blobs.iter().copied();
    walk(Mechanism::Ntlm, blobs.next(), &mut blobs);
    answer(Mechanism::Ntlm, &mut divided(bytes).into_iter());
}

/// GSS-SPNEGO and GSSAPI, with NTLM and with tickets; and the client of GSS-SPNEGO.
pub(crate) fn spnego(bytes: &[u8]) {
    for mechanism in [Mechanism::GssSpnego, Mechanism::Gssapi] {
        let mut blobs = divided(bytes).into_iter();
        walk(mechanism, blobs.next(), &mut blobs);
    }
    answer(Mechanism::GssSpnego, &mut divided(bytes).into_iter());
}

/// The nonce a client makes of the random octets it is given here.
const CLIENT_NONCE: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH";

/// Each blob behind its length in two bytes.
pub(crate) fn divided(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut blobs = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length)).min(rest.len());
        let (blob, rest) = rest.split_at(length);
        blobs.push(blob);
        bytes = rest;
    }
    blobs
}

pub(crate) fn surroundings() -> Surroundings {
    Surroundings {
        bindings: Bindings {
            exporter: Some([1; 32]),
            end_points: vec![Box::from([2; 32])],
        },
        kerberos: true,
        ntlm: Some(NtlmRules {
            names: NtlmNames {
                netbios_computer: "MX1".into(),
                netbios_domain: "CORP".into(),
                ..NtlmNames::default()
            },
            time: 1,
            integrity_code: Rule::Accept,
        }),
        ..Surroundings::new([7; 32])
    }
}

/// The server's half. Nobody's account is right here, except that tickets are: nobody else may come in.
fn walk<'a>(
    mechanism: Mechanism,
    initial: Option<&[u8]>,
    responses: &mut impl Iterator<Item = &'a [u8]>,
) {
    let (mut exchange, mut step) = Exchange::start(mechanism, initial, &surroundings());
    let (mut steps, mut ticket) = (0, false);
    loop {
        assert!(steps <= 12, "{mechanism} asks without end");
        steps += 1;
        step = match step {
            Step::Challenge(_) => match responses.next() {
                Some(response) => exchange.step(response),
                None => return,
            },
            Step::Want(want) => match answered(&mut exchange, want, &mut ticket) {
                Some(step) => step,
                None => return,
            },
            Step::Done(identity) => {
                assert!(
                    ticket && !identity.name.is_empty(),
                    "{mechanism} let {identity:?} in"
                );
                break;
            }
            Step::Refused(_) => break,
        };
    }
    assert!(matches!(exchange.step(b"more"), Step::Refused(_)));
}

fn answered(exchange: &mut Exchange, want: Want, ticket: &mut bool) -> Option<Step> {
    Some(match want {
        Want::Password {
            authzid,
            authcid,
            password,
        } => {
            assert!(!authcid.is_empty() && !authcid.contains('\0'));
            assert!(!password.expose().is_empty() && !password.expose().contains(&0));
            assert!(authzid.is_none_or(|other| !other.is_empty() && other != authcid));
            assert!(matches!(exchange.step(b"more"), Step::Refused(_)));
            return None;
        }
        Want::Certificate { authzid } => {
            assert!(authzid.is_none_or(|other| !other.is_empty() && !other.contains('\0')));
            return None;
        }
        Want::ScramKeys { authzid, name } => {
            assert!(!name.is_empty() && !name.contains('\0'));
            assert!(authzid.is_none_or(|other| !other.is_empty() && other != name));
            exchange.give_keys(ScramKeys::invented(b"nobody's", &name))
        }
        Want::NtProof(proof) => {
            assert!(!proof.user.is_empty() && proof.nt_response.expose().len() > 24);
            exchange.check_with_hash(&NtHash::invented(b"nobody's", &proof.user))
        }
        Want::Kerberos(token) => {
            *ticket = true;
            exchange.give_ticket(match token.len() % 4 {
                0 => Ticket::Refused,
                1 => Ticket::Continue(token),
                rest => Ticket::Accepted {
                    reply: (rest == 2).then_some(token),
                    principal: "alice@CORP".into(),
                    bound: rest == 2,
                },
            })
        }
        Want::Wrap(offer) => exchange.give_wrapped(offer),
        Want::Unwrap(choice) => exchange.give_unwrapped(Some(&choice)),
    })
}

/// The client's half: it sends its password to nobody, and takes no server that does not know it.
fn answer<'a>(mechanism: Mechanism, challenges: &mut impl Iterator<Item = &'a [u8]>) {
    let credentials = Credentials {
        name: "CORP\\alice".into(),
        password: Secret::from("correct horse battery"),
    };
    let peer = Peer {
        random: [7; 32],
        bindings: surroundings().bindings,
        plus_offered: true,
        host: "mx1.corp.example".into(),
        time: 1,
    };
    let mut login = Login::facing(mechanism, &credentials, peer);
    login.initial();
    for challenge in challenges.take(4) {
        let Ok(blob) = login.answer(challenge) else {
            break;
        };
        let sent = blob.expose().windows(7).any(|window| window == b"correct");
        assert!(!sent, "{mechanism} sends the password");
    }
    // NTLM proves nothing of the server.
    assert!(mechanism == Mechanism::Ntlm || login.finish().is_err());
}

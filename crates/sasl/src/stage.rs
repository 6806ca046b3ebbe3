//! What the tests of all mechanisms stand on: a client, a server, and the way between them.

use crate::client::{Credentials, Login, Peer};
use crate::exchange::{Exchange, Step, Want};
use crate::mechanism::Mechanism;
use crate::ntlm::NtHash;
use crate::scram::ScramKeys;
use crate::secret::Secret;
use crate::surroundings::{Bindings, NtlmNames, NtlmRules, Rule, Surroundings};

pub(crate) const PASSWORD: &str = "s p ä c e";

pub(crate) fn credentials(name: &str, password: &str) -> Credentials {
    Credentials {
        name: name.to_owned(),
        password: Secret::from(password),
    }
}

/// A TLS 1.3 connection to a server with two certificates.
pub(crate) fn bindings() -> Bindings {
    Bindings {
        exporter: Some([3; 32]),
        end_points: vec![Box::from([1; 32]), Box::from([2; 48])],
    }
}

/// A server with everything switched on.
pub(crate) fn surroundings() -> Surroundings {
    Surroundings {
        bindings: bindings(),
        plus_offered: true,
        kerberos: true,
        ntlm: Some(NtlmRules {
            names: NtlmNames {
                netbios_computer: "MX1".to_owned(),
                netbios_domain: "CORP".to_owned(),
                dns_computer: "mx1.corp.example".to_owned(),
                dns_domain: "corp.example".to_owned(),
            },
            time: 134_000_000_000_000_000,
            integrity_code: Rule::Accept,
        }),
        ..Surroundings::new([7; 32])
    }
}

/// The client's view of it.
pub(crate) fn peer() -> Peer {
    Peer {
        random: std::array::from_fn(|at| u8::try_from(at).unwrap()),
        bindings: Bindings {
            exporter: Some([3; 32]),
            end_points: vec![Box::from([2; 48])],
        },
        plus_offered: true,
        host: "mx1.corp.example".to_owned(),
        time: 0,
    }
}

/// A host whose only account has this password; SCRAM keys and NT hash are there.
pub(crate) fn answered(exchange: &mut Exchange, step: Step) -> Step {
    match step {
        Step::Want(Want::ScramKeys { .. }) => {
            let keys = ScramKeys::derive(PASSWORD.as_bytes(), b"salt and pepper", 4_096);
            exchange.give_keys(keys)
        }
        Step::Want(Want::NtProof(_)) => exchange.check_with_hash(&NtHash::of(PASSWORD)),
        other => other,
    }
}

/// Begins, and lets the host answer.
pub(crate) fn start(
    mechanism: Mechanism,
    initial: Option<&[u8]>,
    surroundings: &Surroundings,
) -> (Exchange, Step) {
    let (mut exchange, step) = Exchange::start(mechanism, initial, surroundings);
    let step = answered(&mut exchange, step);
    (exchange, step)
}

/// Goes on, and lets the host answer.
pub(crate) fn step(exchange: &mut Exchange, response: &[u8]) -> Step {
    let step = exchange.step(response);
    answered(exchange, step)
}

/// Both halves against each other: how it ends for the server, and for the client.
pub(crate) fn meet(
    mut client: Login<'_>,
    mechanism: Mechanism,
    surroundings: &Surroundings,
) -> (Step, Result<(), crate::Refusal>) {
    let initial = client.initial();
    let initial = initial.as_ref().map(Secret::expose);
    let (mut server, mut step) = start(mechanism, initial, surroundings);
    for _ in 0..8 {
        let Step::Challenge(challenge) = &step else {
            break;
        };
        match client.answer(challenge) {
            Ok(answer) => step = self::step(&mut server, answer.expose()),
            Err(why) => return (step, Err(why)),
        }
    }
    (step, client.finish())
}

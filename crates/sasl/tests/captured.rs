//! NTLM of another make, captured: the same octets in must bring the same octets out, and let the same account in.
//!
//! The client binds to the channel, wants an integrity code, signs SPNEGO's list, and under GSSAPI unseals the offer
//! of no layer and seals its choice.

use postern_sasl::{
    Bindings, Exchange, Inner, Mechanism, NtHash, NtlmNames, NtlmRules, Refusal, Rule, Step,
    Surroundings, Want,
};

const CAPTURED: &str = include_str!("captured/pyspnego.txt");

fn surroundings() -> Surroundings {
    Surroundings {
        bindings: Bindings {
            exporter: None,
            end_points: vec![Box::from([1; 32])],
        },
        channel_binding: Rule::Require,
        ntlm: Some(NtlmRules {
            names: NtlmNames {
                netbios_computer: "MX1".to_owned(),
                netbios_domain: "CORP".to_owned(),
                dns_computer: "mx1.corp.example".to_owned(),
                dns_domain: "corp.example".to_owned(),
            },
            time: 134_000_000_000_000_000,
            integrity_code: Rule::Require,
        }),
        ..Surroundings::new([7; 32])
    }
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex"))
        .collect()
}

/// Plays one exchange: each `S` is what comes of the `C` before it.
fn play(mechanism: Mechanism, lines: &[(&str, &str)], password: &str) -> Step {
    let mut exchange = None;
    let mut step = Step::Refused(Refusal::Over);
    for (who, said) in lines {
        match *who {
            "C" => {
                step = match &mut exchange {
                    None => {
                        let (begun, step) =
                            Exchange::start(mechanism, Some(&hex(said)), &surroundings());
                        exchange = Some(begun);
                        step
                    }
                    Some(exchange) => exchange.step(&hex(said)),
                };
                if let (Step::Want(Want::NtProof(_)), Some(exchange)) = (&step, &mut exchange) {
                    step = exchange.check_with_hash(&NtHash::of(password));
                }
                if let Step::Refused(_) = step {
                    return step;
                }
            }
            _ => assert_eq!(step, Step::Challenge(hex(said)), "{mechanism}"),
        }
    }
    assert_eq!(exchange.and_then(|one| one.inner()), Some(Inner::Ntlm));
    step
}

/// The exchanges of the file.
fn exchanges() -> Vec<(Mechanism, Vec<(&'static str, &'static str)>)> {
    let mut exchanges = Vec::new();
    let lines = CAPTURED.lines().filter(|line| !line.starts_with('#'));
    for line in lines {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("M", name) => exchanges.push((name.parse().expect("a mechanism"), Vec::new())),
            (who @ ("C" | "S"), said) => {
                let last = exchanges.last_mut().map(|(_, lines)| lines);
                last.expect("a mechanism first").push((who, said));
            }
            _ => {}
        }
    }
    exchanges
}

#[test]
fn pyspnego_logs_in_as_it_did() {
    assert_eq!(exchanges().len(), 3);
    for (mechanism, lines) in exchanges() {
        let Step::Done(identity) = play(mechanism, &lines, "s p ä c e") else {
            panic!("{mechanism} refused");
        };
        assert_eq!(identity.name, "alice");
        assert_eq!(identity.domain.as_deref(), Some("CORP"));
        assert_eq!(identity.target.as_deref(), Some("SMTP/mx1.corp.example"));
        assert!(identity.bound, "{mechanism}");
    }
}

#[test]
fn and_not_with_another_password() {
    for (mechanism, lines) in exchanges() {
        let step = play(mechanism, &lines, "space");
        assert_eq!(step, Step::Refused(Refusal::WrongPassword), "{mechanism}");
    }
}

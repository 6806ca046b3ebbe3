//! Many exchanges at once, and what they cost.

use std::time::Instant;

use postern_control::auth::{Answer, Question};
use postern_sasl::Mechanism;

use crate::ntlm::{authd, credentials, first, login, password};
use crate::stage::{account, challenge, refused, terms, unavailable};

#[test]
fn exchanges_do_not_get_in_each_others_way() {
    let mut authd = authd();
    // alice and bob with their passwords, and every third with the other's.
    let people: Vec<_> = (0..45)
        .map(|at| match at % 3 {
            0 => credentials("alice", &password("alice")),
            1 => credentials("bob", &password("bob")),
            _ => credentials("bob", &password("alice")),
        })
        .collect();
    let mut open: Vec<_> = people
        .iter()
        .map(|credentials| {
            let mut login = login(Mechanism::GssSpnego, credentials, None);
            let (exchange, answer) = authd.begin("GSS-SPNEGO", &first(&mut login), &terms(&[]));
            (exchange, login, challenge(answer))
        })
        .collect();
    open.reverse();
    for (exchange, login, challenge) in &mut open {
        let response = login.answer(challenge).unwrap();
        let answer = authd.respond(*exchange, response.expose());
        assert!(matches!(answer, Answer::Claims { .. }), "{answer:?}");
    }
    open.sort_by_key(|(exchange, ..)| exchange % 7);
    for (exchange, login, _) in &mut open {
        let answer = authd.proceed(*exchange);
        // Numbers begin at 1.
        let expected = match *exchange % 3 {
            1 => "alice",
            2 => "bob",
            _ => {
                assert!(refused(answer).2);
                continue;
            }
        };
        login.answer(&challenge(answer)).unwrap();
        assert_eq!(account(authd.respond(*exchange, b"")).name, expected);
    }
}

#[test]
fn exchanges_left_open_make_room_for_later_ones() {
    let mut authd = authd();
    let credentials = credentials("alice", &password("alice"));
    let mut open = Vec::new();
    for _ in 0..2_000 {
        let mut login = login(Mechanism::Ntlm, &credentials, None);
        let (exchange, answer) = authd.begin("NTLM", &first(&mut login), &terms(&[]));
        open.push((exchange, login, challenge(answer)));
    }
    let (resident, _) = authd.memory();
    assert!(resident < 256 * 1024, "{resident} KiB");
    for (at, (exchange, login, challenge)) in open.iter_mut().enumerate() {
        let response = login.answer(challenge).unwrap();
        let answer = authd.respond(*exchange, response.expose());
        match at < 2_000 - 1_024 {
            true => drop(unavailable(answer)),
            false => assert!(matches!(answer, Answer::Claims { .. }), "{answer:?}"),
        }
    }
}

#[test]
fn what_was_dropped_is_gone() {
    let mut authd = authd();
    let credentials = credentials("alice", &password("alice"));
    let mut login = login(Mechanism::Ntlm, &credentials, None);
    let (exchange, answer) = authd.begin("NTLM", &first(&mut login), &terms(&[]));
    let response = login.answer(&challenge(answer)).unwrap();
    authd.link.send(&Question::Drop { exchange }, &[]).unwrap();
    authd
        .link
        .send(
            &Question::Drop {
                exchange: 4_000_000_000,
            },
            &[],
        )
        .unwrap();
    unavailable(authd.respond(exchange, response.expose()));
}

#[test]
fn what_one_exchange_costs_is_printed() {
    let mut authd = authd();
    let credentials = credentials("alice", &password("alice"));
    let start = Instant::now();
    const ROUNDS: u32 = 300;
    for _ in 0..ROUNDS {
        let mut login = login(Mechanism::Ntlm, &credentials, None);
        let (exchange, answer) = authd.begin("NTLM", &first(&mut login), &terms(&[]));
        let response = login.answer(&challenge(answer)).unwrap();
        authd.respond(exchange, response.expose());
        account(authd.proceed(exchange));
    }
    let each = start.elapsed() / ROUNDS;
    let (resident, proportional) = authd.memory();
    println!(
        "NTLM: {each:?} an exchange; {resident} KiB resident, {proportional} KiB proportional"
    );
    // A bound on nonsense, whatever else this machine does.
    assert!(resident < 256 * 1024, "{resident} KiB");
}

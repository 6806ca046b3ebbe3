//! The server's half of every SASL mechanism, as a function over bytes: responses divided by 0xfe.

use postern_sasl::{Exchange, Mechanism, Step, Surroundings, Want};

/// Each exchange ends within its steps, and what it wants checked keeps its promises.
pub(crate) fn exchange(bytes: &[u8]) {
    for mechanism in [Mechanism::Plain, Mechanism::Login] {
        let mut responses = bytes.split(|byte| *byte == 0xfe);
        walk(mechanism, responses.next(), &mut responses);
        walk(mechanism, None, &mut bytes.split(|byte| *byte == 0xfe));
    }
}

fn walk<'a>(
    mechanism: Mechanism,
    initial: Option<&[u8]>,
    responses: &mut impl Iterator<Item = &'a [u8]>,
) {
    let (mut exchange, mut step) = Exchange::start(mechanism, initial, &Surroundings::new([7; 32]));
    let mut steps = 0;
    while let (Step::Challenge(_), Some(response)) = (&step, responses.next()) {
        step = exchange.step(response);
        steps += 1;
        assert!(steps <= 2, "{mechanism} asks without end");
    }
    if let Step::Want(Want::Password {
        authzid,
        authcid,
        password,
    }) = step
    {
        assert!(!authcid.is_empty() && !authcid.contains('\0'));
        assert!(!password.expose().is_empty() && !password.expose().contains(&0));
        assert!(authzid.is_none_or(|other| !other.is_empty() && other != authcid));
        assert!(matches!(exchange.step(b"more"), Step::Refused(_)));
    }
}

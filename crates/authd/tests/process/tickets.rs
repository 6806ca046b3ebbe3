//! Kerberos against a real KDC: what is taken, and all that is not.

use std::time::Instant;

use postern_control::auth::{Account, Answer, RefusedKind, Terms};

use crate::realm::{Realm, SERVICE};
use crate::stage::{Authd, DEADLINE, account, challenge, refused, terms, unavailable};

const OURS: [u8; 32] = [1; 32];
const SECOND: [u8; 32] = [2; 32];
const THEIRS: [u8; 32] = [3; 32];

/// What a client of ours is bound to, as `ticket_client` has it.
fn bound_to(end_point: &[u8]) -> String {
    let binding = [b"tls-server-end-point:", end_point].concat();
    binding.iter().map(|octet| format!("{octet:02x}")).collect()
}

impl Realm {
    fn authd(&self) -> Authd {
        self.authd_with(&self.keytab("smtp"), "krb5.conf")
    }

    fn authd_with(&self, keytab: &[u8], settings: &str) -> Authd {
        let folder = self.path("authd");
        std::fs::create_dir_all(&folder).unwrap();
        let settings = self.path(settings);
        let environment = [("KRB5_CONFIG", settings.to_str().unwrap())];
        let mut authd = Authd::spawn_in(&folder, &["mx1", "kerberos"], keytab, &environment);
        authd.greet();
        authd
    }

    /// A whole login by `GSSAPI`, or with `spnego` among the options by `GSS-SPNEGO`.
    fn log_in_to(&self, authd: &mut Authd, options: &[&str], terms: &Terms) -> Answer {
        let layered = !options.contains(&"spnego");
        let mechanism = if layered { "GSSAPI" } else { "GSS-SPNEGO" };
        let mut client = self.client(options);
        let (exchange, mut answer) = authd.begin(mechanism, &client.says().unwrap(), terms);
        loop {
            let token = match answer {
                Answer::Challenge { challenge, .. } => challenge.0,
                answer => return answer,
            };
            client.hears(&token);
            let said = client.says().unwrap_or_default();
            answer = authd.respond(exchange, &said);
            if said.is_empty() {
                break;
            }
        }
        if layered {
            assert_eq!(client.says(), None);
            client.hears(&challenge(answer));
            answer = authd.respond(exchange, &client.says().unwrap());
        }
        answer
    }

    /// A token that was never sent.
    fn token(&self, options: &[&str]) -> Vec<u8> {
        self.client(options).says().unwrap()
    }
}

fn alice(bound: bool) -> Account {
    Account {
        name: "alice".to_owned(),
        domain: Some("CORP.EXAMPLE".to_owned()),
        home: true,
        proof: "Kerberos".to_owned(),
        bound,
        ..Account::default()
    }
}

#[test]
fn a_ticket_lets_in_by_each_mechanism() {
    let realm = Realm::new();
    let mut authd = realm.authd();
    let plain = Terms::default();
    assert_eq!(
        account(realm.log_in_to(&mut authd, &[], &plain)),
        alice(false)
    );
    let spnego = realm.log_in_to(&mut authd, &["spnego"], &plain);
    assert_eq!(account(spnego), alice(false));
    // The keytab is not to be had by number, and by no name.
    let end = authd.hang_up();
    assert_eq!(end.status.code(), Some(0), "{}", end.log);
    assert!(end.log.contains(SERVICE), "{}", end.log);
}

#[test]
fn a_ticket_is_bound_to_its_channel() {
    let realm = Realm::new();
    let mut authd = realm.authd();
    let outcome = |answer: Answer| match answer {
        Answer::Account { account, .. } => Ok(account.bound),
        answer => {
            let (_, why, guess) = refused(answer);
            assert!(!guess);
            Err(why)
        }
    };
    let (equal, other, different) = (bound_to(&OURS), bound_to(&SECOND), bound_to(&THEIRS));
    let passed_on = "Incorrect channel bindings were supplied";
    let unbound = || Err("the login is not bound to the channel".to_owned());
    for mechanism in ["", "spnego"] {
        for required in [false, true] {
            let mut log_in = |binding: &str, end_points: &[&[u8]]| {
                let options: Vec<&str> = [mechanism, binding]
                    .into_iter()
                    .filter(|o| !o.is_empty())
                    .collect();
                let terms = Terms {
                    binding_required: required,
                    ..terms(end_points)
                };
                outcome(realm.log_in_to(&mut authd, &options, &terms))
            };
            for end_points in [
                &[&OURS[..]][..],
                &[&OURS[..], &SECOND[..]],
                &[&SECOND[..], &OURS[..]],
            ] {
                assert_eq!(log_in(&equal, end_points), Ok(true));
                let why = log_in(&different, end_points).unwrap_err();
                assert!(why.starts_with(passed_on), "{why}");
                match required {
                    false => assert_eq!(log_in("", end_points), Ok(false)),
                    true => assert_eq!(log_in("", end_points), unbound()),
                }
            }
            assert_eq!(log_in(&other, &[&OURS, &SECOND]), Ok(true));
            // Outside TLS nothing can be compared.
            match required {
                false => assert_eq!(log_in(&equal, &[]), Ok(false)),
                true => assert_eq!(log_in(&equal, &[]), unbound()),
            }
        }
    }
}

#[test]
fn a_token_read_on_the_wire_is_of_no_use_even_after_a_reload() {
    let realm = Realm::new();
    let keytab = realm.keytab("smtp");
    let mut authd = realm.authd_with(&keytab, "krb5.conf");
    let token = realm.token(&[]);
    let (_, answer) = authd.begin("GSSAPI", &token, &Terms::default());
    challenge(answer);
    let replayed = |authd: &mut Authd| {
        for end_points in [&[][..], &[&OURS[..], &SECOND[..]]] {
            let (_, answer) = authd.begin("GSSAPI", &token, &terms(end_points));
            let (_, why, guess) = refused(answer);
            assert_eq!((why.as_str(), guess), ("Request is a replay", false));
        }
    };
    replayed(&mut authd);
    assert_eq!(authd.hang_up().status.code(), Some(0));
    let mut again = realm.authd_with(&keytab, "krb5.conf");
    replayed(&mut again);
}

#[test]
fn a_ticket_for_somebody_else_is_refused() {
    let realm = Realm::new();
    let mut authd = realm.authd();
    let mut client = realm.client_of("HTTP/mx1.corp.example@CORP.EXAMPLE", &[]);
    let (_, answer) = authd.begin("GSSAPI", &client.says().unwrap(), &Terms::default());
    let (_, why, guess) = refused(answer);
    assert!(!guess);
    assert!(why.contains("HTTP/mx1.corp.example@CORP.EXAMPLE"), "{why}");
    // The same name and version, another key: as where a keytab is another domain's.
    let mut other = realm.authd_with(&Realm::new().keytab("smtp"), "krb5.conf");
    let (_, answer) = other.begin("GSSAPI", &realm.token(&[]), &Terms::default());
    let (_, why, guess) = refused(answer);
    assert!(!guess);
    assert!(why.contains("cannot decrypt ticket"), "{why}");
}

#[test]
fn a_realm_that_is_not_named_is_refused() {
    let realm = Realm::new();
    let mut authd = realm.authd();
    let mut log_in = |realms: &[&str]| {
        let terms = Terms {
            domains: realms.iter().map(ToString::to_string).collect(),
            ..Terms::default()
        };
        realm.log_in_to(&mut authd, &["spnego"], &terms)
    };
    for (realms, home) in [
        (&["corp.example"][..], true),
        (&["OTHER.EXAMPLE", "CORP.EXAMPLE"], false),
        (&["*"], false),
    ] {
        let expected = Account {
            home,
            ..alice(false)
        };
        assert_eq!(account(log_in(realms)), expected, "{realms:?}");
    }
    let (name, why, guess) = refused(log_in(&["OTHER.EXAMPLE"]));
    assert_eq!(name.as_deref(), Some("alice@CORP.EXAMPLE"));
    assert_eq!(
        why,
        "the realm CORP.EXAMPLE is not one whose accounts are taken"
    );
    assert!(!guess);
}

/// Tokens of this moment, presented until time has made them bad.
fn until_refused(authd: &mut Authd, tokens: &[Vec<u8>]) -> String {
    let start = Instant::now();
    let mut tokens = tokens.iter();
    let mut next = start;
    loop {
        assert!(start.elapsed() < DEADLINE, "still taken");
        if Instant::now() < next {
            std::thread::yield_now();
            continue;
        }
        next += std::time::Duration::from_millis(400);
        let token = tokens.next().expect("enough tokens");
        match authd.begin("GSSAPI", token, &Terms::default()) {
            (_, Answer::Challenge { .. }) => {}
            (_, answer) => return refused(answer).1,
        }
    }
}

#[test]
fn what_is_too_old_is_refused_and_the_log_hears_why() {
    let realm = Realm::new();
    let keytab = realm.keytab("smtp");
    let mut strict = realm.authd_with(&keytab, "strict.conf");
    let tokens: Vec<_> = (0..20).map(|_| realm.token(&[])).collect();
    let why = until_refused(&mut strict, &tokens);
    // The client's library sends no ticket that its own clock calls expired: skew is what comes first.
    assert_eq!(why, "Clock skew too great");
}

#[test]
fn a_token_changed_or_cut_off_on_its_way_is_refused() {
    let realm = Realm::new();
    let mut authd = realm.authd();
    for option in [&[][..], &["spnego"]] {
        let token = realm.token(option);
        for at in 0..token.len() {
            let mut changed = token.clone();
            changed[at] ^= 0x55;
            let flipped = [&token[..at], &[token[at] ^ 1], &token[at + 1..]].concat();
            for broken in [&changed[..], &flipped, &token[..at]] {
                match authd.begin("GSS-SPNEGO", broken, &Terms::default()).1 {
                    Answer::Refused { kind, .. } => assert_eq!(kind, RefusedKind::Barred),
                    // Outside what the ticket protects: a name, a preference. Nobody is let in by that alone.
                    Answer::Challenge { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
        }
    }
    assert_eq!(authd.hang_up().status.code(), Some(0));
}

#[test]
fn where_replays_cannot_be_kept_nobody_is_refused_for_it() {
    let realm = Realm::new();
    std::fs::create_dir_all(realm.path("authd/replay")).unwrap();
    let mut authd = realm.authd();
    let (_, answer) = authd.begin("GSSAPI", &realm.token(&[]), &Terms::default());
    let why = unavailable(answer);
    println!("{why}");
}

#[test]
fn ntlm_is_not_taken_where_there_are_tickets_alone() {
    let realm = Realm::new();
    let mut authd = realm.authd();
    for mechanism in ["NTLM", "GSSAPI", "GSS-SPNEGO"] {
        let (_, answer) = authd.begin(mechanism, &crate::by_hand::negotiate(), &terms(&[]));
        assert!(!refused(answer).2, "{mechanism}");
    }
}

#[test]
fn what_a_ticket_costs_is_printed() {
    let realm = Realm::new();
    let mut authd = realm.authd();
    const ROUNDS: usize = 50;
    let tokens: Vec<_> = (0..2 * ROUNDS).map(|_| realm.token(&[])).collect();
    let mut measure = |tokens: &[Vec<u8>], end_points: &[&[u8]]| {
        let start = Instant::now();
        for token in tokens {
            challenge(authd.begin("GSSAPI", token, &terms(end_points)).1);
        }
        start.elapsed() / u32::try_from(tokens.len()).unwrap()
    };
    let one = measure(&tokens[..ROUNDS], &[&OURS]);
    let several = measure(&tokens[ROUNDS..], &[&OURS, &SECOND]);
    let (resident, proportional) = authd.memory();
    println!(
        "Kerberos: {one:?} a token, {several:?} with two certificates; {resident} KiB resident, {proportional} KiB proportional"
    );
    // A bound on nonsense, whatever else this machine does.
    assert!(resident < 256 * 1024, "{resident} KiB");
}

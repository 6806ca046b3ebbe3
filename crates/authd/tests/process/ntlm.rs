//! NTLM against a file of hashes: what is taken, and all that is not.

use postern_control::auth::{Account, Answer, Blob, Question, Terms};
use postern_sasl::{Bindings, Credentials, Login, Mechanism, NtHash, Peer, Secret};

use crate::by_hand::{self, Kind};
use crate::stage::{Authd, account, challenge, refused, terms, unavailable};

/// Accounts whose password is their name, backwards.
pub(crate) fn file(names: &[&str]) -> String {
    let line = |name: &&str| {
        let hash = NtHash::of(&password(name));
        format!("{name}:{}\n", hash.to_hex().as_str())
    };
    names.iter().map(line).collect()
}

pub(crate) fn password(name: &str) -> String {
    name.chars().rev().collect()
}

pub(crate) fn authd() -> Authd {
    let names = [
        "alice",
        "bob",
        "carol@corp.example",
        "carol@CORP",
        "dave@ours.example",
    ];
    Authd::start("hashes", file(&names).as_bytes())
}

pub(crate) fn credentials(name: &str, password: &str) -> Credentials {
    Credentials {
        name: name.to_owned(),
        password: Secret::from(password),
    }
}

pub(crate) fn login<'a>(
    mechanism: Mechanism,
    credentials: &'a Credentials,
    end_point: Option<&[u8]>,
) -> Login<'a> {
    let peer = Peer {
        random: [7; 32],
        bindings: Bindings {
            exporter: None,
            end_points: end_point.map(Box::from).into_iter().collect(),
        },
        plus_offered: false,
        host: "mx1.corp.example".to_owned(),
        time: 1,
    };
    Login::facing(mechanism, credentials, peer)
}

/// What the client says first.
pub(crate) fn first(login: &mut Login<'_>) -> Vec<u8> {
    let first = login.initial();
    let first = first.unwrap_or_else(|| login.answer(b"").unwrap());
    first.expose().to_vec()
}

/// A whole login; the claim, where it came to one, and how it ended.
fn log_in(
    authd: &mut Authd,
    mechanism: Mechanism,
    (name, password): (&str, &str),
    end_point: Option<&[u8]>,
    terms: &Terms,
) -> (Option<String>, Answer) {
    let credentials = credentials(name, password);
    let mut login = login(mechanism, &credentials, end_point);
    let (exchange, mut answer) = authd.begin(mechanism.name(), &first(&mut login), terms);
    let mut claim = None;
    loop {
        answer = match answer {
            Answer::Challenge { challenge, .. } => {
                let response = login.answer(&challenge.0).unwrap();
                authd.respond(exchange, response.expose())
            }
            Answer::Claims { name, .. } => {
                claim = Some(name);
                authd.proceed(exchange)
            }
            answer => return (claim, answer),
        };
    }
}

fn ntlm(authd: &mut Authd, name: &str, password: &str) -> (Option<String>, Answer) {
    log_in(authd, Mechanism::Ntlm, (name, password), None, &terms(&[]))
}

#[test]
fn who_knows_the_password_is_let_in_by_each_mechanism() {
    let mut authd = authd();
    let known = ("CORP\\alice", "ecila");
    for mechanism in [Mechanism::Ntlm, Mechanism::GssSpnego] {
        let (claim, answer) = log_in(&mut authd, mechanism, known, None, &terms(&[]));
        assert_eq!(claim.as_deref(), Some("alice"), "{mechanism:?}");
        let expected = Account {
            name: "alice".to_owned(),
            home: true,
            proof: "NTLM".to_owned(),
            ..Account::default()
        };
        assert_eq!(account(answer), expected, "{mechanism:?}");
    }
    assert_eq!(authd.hang_up().status.code(), Some(0));
}

#[test]
fn a_name_with_its_domain_goes_before_the_name_alone() {
    let mut authd = authd();
    for (said, password, found) in [
        ("alice", "ecila", "alice"),
        ("ALICE", "ecila", "alice"),
        ("alice@ours.example", "ecila", "alice"),
        ("PC7\\dave", "elpmaxe.sruo@evad", "dave@ours.example"),
        ("dave", "elpmaxe.sruo@evad", "dave@ours.example"),
        (
            "carol@corp.example",
            "elpmaxe.proc@lorac",
            "carol@corp.example",
        ),
        ("CORP\\carol", "PROC@lorac", "carol@CORP"),
    ] {
        let (claim, answer) = ntlm(&mut authd, said, password);
        assert_eq!(claim.as_deref(), Some(found), "{said}");
        assert_eq!(account(answer).name, found, "{said}");
        let (claim, answer) = ntlm(&mut authd, said, "wrong");
        assert_eq!(
            (claim, refused(answer).0),
            (Some(found.to_owned()), Some(found.to_owned()))
        );
    }
    // Another's domain, and another alice.
    let (claim, answer) = ntlm(&mut authd, "alice@else.where", "ecila");
    assert_eq!(claim.as_deref(), Some("alice@else.where"));
    assert!(refused(answer).2);
    let (_, answer) = ntlm(&mut authd, "carol", "PROC@lorac");
    assert!(refused(answer).2);
}

#[test]
fn a_wrong_password_and_an_unknown_account_sound_the_same() {
    let mut authd = authd();
    let (_, wrong) = ntlm(&mut authd, "CORP\\alice", "secret");
    let (_, unknown) = ntlm(&mut authd, "CORP\\nobody", "secret");
    let why = "unknown account or wrong password";
    assert_eq!(
        refused(wrong),
        (Some("alice".to_owned()), why.to_owned(), true)
    );
    assert_eq!(
        refused(unknown),
        (Some("CORP\\nobody".to_owned()), why.to_owned(), true)
    );
}

#[test]
fn who_guesses_without_end_is_not_heard_for_a_while() {
    let mut authd = authd();
    // However the name is written; and a name that nobody has gives no more away.
    for names in [["alice", "ANY\\ALICE"], ["nobody", "nobody"]] {
        for at in 0..20 {
            let (_, answer) = ntlm(&mut authd, names[at % 2], "wrong");
            assert!(refused(answer).2, "{names:?} {at}");
        }
        for password in ["wrong", "ecila"] {
            let why = unavailable(ntlm(&mut authd, names[0], password).1);
            assert!(why.contains("too many wrong passwords"), "{why}");
        }
    }
    account(ntlm(&mut authd, "bob", "bob").1);
}

#[test]
fn a_login_is_bound_to_its_channel() {
    let (ours, second, theirs) = ([1_u8; 32], [2_u8; 32], [3_u8; 32]);
    let mut authd = authd();
    let mut bound = |end_point: Option<&[u8]>, required: bool| {
        let terms = Terms {
            binding_required: required,
            ..terms(&[&ours, &second])
        };
        let answers = [Mechanism::Ntlm, Mechanism::GssSpnego].map(|mechanism| {
            log_in(&mut authd, mechanism, ("alice", "ecila"), end_point, &terms).1
        });
        answers.map(|answer| match answer {
            Answer::Account { account, .. } => Ok(account.bound),
            answer => Err(refused(answer)),
        })
    };
    let no = |why: &str| Err((Some("alice".to_owned()), why.to_owned(), false));
    for required in [false, true] {
        assert_eq!(bound(Some(&ours), required), [Ok(true), Ok(true)]);
        assert_eq!(bound(Some(&second), required), [Ok(true), Ok(true)]);
        let passed_on = no("the login is bound to another channel");
        assert_eq!(
            bound(Some(&theirs), required),
            [passed_on.clone(), passed_on]
        );
    }
    assert_eq!(bound(None, false), [Ok(false), Ok(false)]);
    let unbound = no("the login is not bound to the channel");
    assert_eq!(bound(None, true), [unbound.clone(), unbound]);
}

/// What a message made by hand comes to.
fn by_hand(authd: &mut Authd, user: &str, password: &str, kind: Kind) -> Answer {
    let (exchange, answer) = authd.begin("NTLM", &by_hand::negotiate(), &terms(&[]));
    let message = by_hand::authenticate(&challenge(answer), user, password, kind);
    match authd.respond(exchange, &message) {
        Answer::Claims { .. } => authd.proceed(exchange),
        answer => answer,
    }
}

#[test]
fn a_client_without_an_integrity_code_is_let_in_and_older_ones_are_not() {
    let mut authd = authd();
    let good = by_hand(&mut authd, "alice", "ecila", Kind::Plain);
    assert_eq!(account(good).name, "alice");
    for (kind, why, guess) in [
        (Kind::Forged, "unknown account or wrong password", true),
        (Kind::V1, "LM and NTLMv1 are not taken", false),
        (Kind::LmAlone, "LM and NTLMv1 are not taken", false),
        (Kind::Anonymous, "anonymous NTLM is not taken", false),
    ] {
        let (_, said, guessed) = refused(by_hand(&mut authd, "alice", "ecila", kind));
        assert_eq!((said.as_str(), guessed), (why, guess));
    }
}

/// A login's last message, changed by `change` before it is sent.
fn changed(
    authd: &mut Authd,
    mechanism: Mechanism,
    name: &str,
    change: impl Fn(&mut Vec<u8>),
) -> Answer {
    let credentials = credentials(name, &password(name));
    let mut login = login(mechanism, &credentials, None);
    let (exchange, answer) = authd.begin(mechanism.name(), &first(&mut login), &terms(&[]));
    let response = login.answer(&challenge(answer)).unwrap();
    let mut message = response.expose().to_vec();
    change(&mut message);
    match authd.respond(exchange, &message) {
        Answer::Claims { .. } => authd.proceed(exchange),
        answer => answer,
    }
}

#[test]
fn a_message_changed_or_cut_off_on_its_way_is_refused() {
    // Many, by turns: wrong proofs of one account are answered a few times only.
    let names: Vec<String> = (100..300).map(|at| format!("user{at}")).collect();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut authd = Authd::start("hashes", file(&all).as_bytes());
    let mut turns = all.iter().cycle();
    let mut next = || turns.next().unwrap();
    let length = std::cell::Cell::new(0);
    let whole = changed(&mut authd, Mechanism::Ntlm, next(), |message| {
        length.set(message.len());
    });
    let length = length.get();
    assert_eq!(account(whole).name, "user100");
    assert!(length > 200);
    for at in 0..length {
        for bit in [1, 0x80] {
            refused(changed(&mut authd, Mechanism::Ntlm, next(), |message| {
                message[at] ^= bit;
            }));
        }
        let cut = changed(&mut authd, Mechanism::Ntlm, next(), |message| {
            message.truncate(at)
        });
        refused(cut);
    }
    for at in 0..40 {
        let cut = changed(&mut authd, Mechanism::GssSpnego, next(), |token| {
            token.truncate(at)
        });
        refused(cut);
    }
    assert_eq!(authd.hang_up().status.code(), Some(0));
}

#[test]
fn a_message_read_on_the_wire_is_of_no_use() {
    let mut authd = authd();
    let credentials = credentials("alice", "ecila");
    let mut login = login(Mechanism::Ntlm, &credentials, None);
    let negotiate = first(&mut login);
    let (exchange, answer) = authd.begin("NTLM", &negotiate, &terms(&[]));
    let response = login.answer(&challenge(answer)).unwrap();
    let (other, _) = authd.begin("NTLM", &negotiate, &terms(&[]));
    authd.respond(exchange, response.expose());
    account(authd.proceed(exchange));
    // To another challenge, to no challenge, and to one that was answered.
    authd.respond(other, response.expose());
    assert!(refused(authd.proceed(other)).2);
    let (_, first) = authd.begin("NTLM", response.expose(), &terms(&[]));
    assert!(!refused(first).2);
    assert!(unavailable(authd.respond(exchange, response.expose())).contains("no such exchange"));
    assert!(unavailable(authd.proceed(exchange)).contains("no such exchange"));
}

#[test]
fn nothing_is_checked_before_the_worker_says_so() {
    let mut authd = authd();
    let credentials = credentials("alice", "ecila");
    let mut login = login(Mechanism::Ntlm, &credentials, None);
    let (exchange, answer) = authd.begin("NTLM", &first(&mut login), &terms(&[]));
    // Nothing was claimed yet.
    unavailable(authd.proceed(exchange));
    let response = login.answer(&challenge(answer)).unwrap();
    unavailable(authd.respond(exchange, response.expose()));
}

#[test]
fn ntlm_that_is_switched_off_is_refused_alone_and_inside_spnego() {
    let mut authd = authd();
    let terms = Terms {
        ntlm: false,
        ..terms(&[])
    };
    for mechanism in [Mechanism::Ntlm, Mechanism::GssSpnego, Mechanism::Gssapi] {
        let mechanism_of_login = match mechanism {
            Mechanism::Gssapi => Mechanism::Ntlm,
            other => other,
        };
        let credentials = credentials("alice", "ecila");
        let first = first(&mut login(mechanism_of_login, &credentials, None));
        let (_, answer) = authd.begin(mechanism.name(), &first, &terms);
        assert!(!refused(answer).2, "{mechanism:?}");
    }
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "ntlm ", ""] {
        let (_, answer) = authd.begin(mechanism, b"\0alice\0ecila", &terms);
        assert_eq!(refused(answer).1, "not a mechanism of this source");
    }
}

#[test]
fn hashes_are_asked_for_nothing_but_ntlm() {
    let mut authd = authd();
    let password = authd.ask(&Question::Password {
        exchange: 900,
        name: "alice".to_owned(),
        password: Blob::from(b"ecila".as_slice()),
        domains: Vec::new(),
    });
    assert_eq!(unavailable(password), "this source takes no passwords");
    let found = authd.ask(&Question::Find {
        exchange: 901,
        name: "alice".to_owned(),
        domains: Vec::new(),
    });
    assert_eq!(
        unavailable(found),
        "this source cannot be asked for accounts"
    );
}

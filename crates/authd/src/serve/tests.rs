//! The conversation with a worker that knows its part, and with one that does not.

#![allow(clippy::unwrap_used)]

use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use postern_control::auth::{Blob, RefusedKind};
use rustix::net::{SendFlags, send};

use super::*;
use crate::hashes::Hashes;

#[path = "../../../../tests/fuzz/mutate.rs"]
mod mutate;

/// Knows everybody; whoever is called `slow`, when it is told to go on.
struct Slow {
    arrived: Sender<()>,
    go_on: Receiver<()>,
}

impl Backend for Slow {
    fn find(&mut self, name: &str, _domains: &[String]) -> Result<Account, No> {
        if name == "slow" {
            self.arrived.send(()).unwrap();
            self.go_on.recv().unwrap();
        }
        let groups = match name {
            "popular" => vec!["a group".to_owned(); 10_000],
            _ => Vec::new(),
        };
        Ok(Account {
            name: name.to_owned(),
            groups,
            ..Account::default()
        })
    }
}

/// A conversation with two threads, and the means to hold them up.
struct Stage {
    link: Link,
    arrived: Receiver<()>,
    go_on: Vec<Sender<()>>,
    served: JoinHandle<Result<(), Failure>>,
}

impl Stage {
    fn new() -> Stage {
        let (link, theirs) = Link::pair().unwrap();
        link.set_timeout(Some(Duration::from_secs(10))).unwrap();
        let (here, arrived) = channel();
        let backend = || {
            let (go_on, told) = channel();
            let slow = Slow {
                arrived: here.clone(),
                go_on: told,
            };
            (go_on, Box::new(slow) as Box<dyn Backend>)
        };
        let (go_on, backends) = [backend(), backend()].into_iter().unzip();
        let served = std::thread::spawn(move || serve(theirs, backends));
        let stage = Stage {
            link,
            arrived,
            go_on,
            served,
        };
        stage.say(Question::Hello { version: VERSION });
        assert!(matches!(stage.hear(), Answer::Hello { .. }));
        stage
    }

    fn say(&self, question: Question) {
        self.link.send(&question, &[]).unwrap();
    }

    fn find(&self, exchange: u32, name: &str) {
        self.say(Question::Find {
            exchange,
            name: name.to_owned(),
            domains: Vec::new(),
        });
    }

    fn hear(&self) -> Answer {
        match self.link.receive().unwrap() {
            Received::Packet(answer, _) => answer,
            Received::Closed => panic!("closed"),
        }
    }
}

#[test]
fn one_that_waits_does_not_hold_up_another() {
    let stage = Stage::new();
    stage.find(1, "slow");
    stage.arrived.recv().unwrap();
    stage.find(2, "alice");
    assert_eq!(stage.hear().exchange(), Some(2));
    for go_on in &stage.go_on {
        go_on.send(()).unwrap();
    }
    assert_eq!(stage.hear().exchange(), Some(1));
}

#[test]
fn what_was_dropped_meanwhile_is_not_answered() {
    let stage = Stage::new();
    stage.find(1, "slow");
    stage.arrived.recv().unwrap();
    stage.say(Question::Drop { exchange: 1 });
    stage.find(1, "alice");
    match stage.hear() {
        Answer::Account { account, .. } => assert_eq!(account.name, "alice"),
        other => panic!("{other:?}"),
    }
    for go_on in &stage.go_on {
        go_on.send(()).unwrap();
    }
    drop(stage.link);
    assert!(stage.served.join().unwrap().is_ok());
}

#[test]
fn an_answer_that_fits_no_packet_is_answered_too() {
    let stage = Stage::new();
    stage.find(1, "popular");
    match stage.hear() {
        Answer::Unavailable {
            exchange: 1, why, ..
        } => assert!(why.contains("does not fit"), "{why}"),
        other => panic!("{other:?}"),
    }
    stage.find(2, "");
    assert!(matches!(
        stage.hear(),
        Answer::Refused {
            exchange: 2,
            kind: RefusedKind::Barred,
            ..
        }
    ));
}

/// A conversation that is led from here, packet by packet.
fn conversation() -> (Conversation, Link) {
    let (link, theirs) = Link::pair().unwrap();
    link.set_nonblocking(true).unwrap();
    let conversation = Conversation {
        link: theirs,
        receiving: Mutex::new(()),
        table: Mutex::new(Table::new()),
    };
    (conversation, link)
}

/// Says each line as a packet of its own, until one ends the conversation.
fn talk(lines: &[u8], backend: &mut dyn Backend) {
    let (conversation, worker) = conversation();
    for line in lines.split(|octet| *octet == b'\n') {
        // An empty packet is the end of the link.
        if send(worker.as_fd(), line, SendFlags::empty()).is_err() {
            return;
        }
        match conversation.turn(backend) {
            Ok(true) => {}
            Ok(false) | Err(_) => return,
        }
        while let Ok(Received::Packet(answer, _)) = worker.receive::<Answer>() {
            assert!(answer.exchange().is_some());
        }
    }
}

#[test]
fn conversations_survive_mutation() {
    let begin = |exchange, mechanism: &str, blob: &[u8]| Question::Begin {
        exchange,
        mechanism: mechanism.to_owned(),
        initial: Blob::from(blob),
        terms: Box::new(postern_control::auth::Terms {
            host: "mx1.corp.example".to_owned(),
            end_points: vec![Blob(vec![1; 32]), Blob(vec![2; 48])],
            exporter: Some(Blob(vec![3; 32])),
            binding_required: false,
            ntlm: true,
            domains: vec!["CORP".to_owned()],
            default_domain: "corp.example".to_owned(),
        }),
    };
    let negotiate = [&b"NTLMSSP\0\x01\0\0\0\x07\x82\x08\0"[..], &[0; 16]].concat();
    let ticket = b"\x60\x0d\x06\x09\x2a\x86\x48\x86\xf7\x12\x01\x02\x02AP";
    let questions = [
        begin(1, "NTLM", &negotiate),
        begin(2, "GSS-SPNEGO", &negotiate),
        begin(3, "GSSAPI", ticket),
        Question::Respond {
            exchange: 1,
            response: Blob(b"NTLMSSP\0\x03\0\0\0".repeat(9)),
        },
        Question::Proceed { exchange: 1 },
        Question::Password {
            exchange: 4,
            name: "alice".to_owned(),
            password: Blob(b"secret".to_vec()),
            domains: Vec::new(),
        },
        Question::Find {
            exchange: 5,
            name: "alice".to_owned(),
            domains: Vec::new(),
        },
        Question::Drop { exchange: 2 },
    ];
    let (here, there) = Link::pair().unwrap();
    let line = |question: &Question| {
        here.send(question, &[]).unwrap();
        let mut octets = vec![0; postern_control::LONGEST];
        let (length, _) = rustix::net::recv(
            there.as_fd(),
            &mut octets[..],
            rustix::net::RecvFlags::empty(),
        )
        .unwrap();
        octets.truncate(length);
        octets
    };
    let whole = questions.iter().map(line).collect::<Vec<_>>().join(&b'\n');
    let one = line(&questions[0]);
    let words: [&[u8]; 10] = [
        b"\n",
        b"\"",
        b"{",
        b"}",
        b"-1",
        b"99999999999",
        b"null",
        b"4e544c4d53535000",
        b"\xff",
        br#"{"Proceed":{"exchange":1}}"#,
    ];
    let hashes = Hashes::read(b"alice:8846f7eaee8fb117ad06bdd830b7586c").unwrap();
    let backend = std::cell::RefCell::new(hashes);
    mutate::play(&[&whole, &one], &words, 5_000, |lines| {
        talk(lines, &mut *backend.borrow_mut());
    });
}

//! Where the checks ask: each question once, all within one deadline, and noted for the row that is being made.
//!
//! Never: more than [`MOST_QUESTIONS`] questions, whatever a zone says.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;

use postern_dns::{Ask, Data, Exchange, Told, Type, Untold};
use tokio::time::{Instant, timeout_at};

use super::row::{Asked, Grade, Row, clipped};

/// Questions in one run; a hostile zone gets no more.
const MOST_QUESTIONS: usize = 2000;
/// Questions noted in one row.
const MOST_NOTED: usize = 64;
/// Records of one answer noted.
const MOST_SHOWN: usize = 16;
/// Characters of one answer noted.
const LONGEST: usize = 1000;

/// The answer, or why there is none.
pub(super) type Answer = Result<Told, Untold>;

/// One way to ask, with a memory.
pub(super) struct Desk<'a, A> {
    asker: &'a A,
    label: &'a str,
    until: Instant,
    memory: RefCell<HashMap<(String, Type), Answer>>,
    noted: RefCell<Vec<Asked>>,
    asked: Cell<usize>,
}

/// A host's addresses of both families.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    pub(super) list: Vec<IpAddr>,
    pub(super) aliases: Vec<Box<str>>,
    pub(super) exists: bool,
}

impl<'a, A: Ask> Desk<'a, A> {
    pub(super) fn new(asker: &'a A, label: &'a str, until: Instant) -> Desk<'a, A> {
        Desk {
            asker,
            label,
            until,
            memory: RefCell::default(),
            noted: RefCell::default(),
            asked: Cell::new(0),
        }
    }

    /// The end of all questions.
    pub(super) fn until(&self) -> Instant {
        self.until
    }

    /// Asks, unless that was asked before.
    pub(super) async fn ask(&self, name: &str, wanted: Type) -> Answer {
        let key = (name.to_ascii_lowercase(), wanted);
        let known = self.memory.borrow().get(&key).cloned();
        let answer = match known {
            Some(answer) => answer,
            None => {
                let answer = self.ask_anew(name, wanted).await;
                self.memory.borrow_mut().insert(key, answer.clone());
                answer
            }
        };
        self.note(name, wanted, &answer);
        answer
    }

    async fn ask_anew(&self, name: &str, wanted: Type) -> Answer {
        let untold = |reason: &str| Untold {
            server: None,
            reason: reason.to_owned(),
        };
        if self.asked.get() >= MOST_QUESTIONS {
            return Err(untold("too many questions were asked before it"));
        }
        self.asked.set(self.asked.get() + 1);
        match timeout_at(self.until, self.asker.ask(name, wanted)).await {
            Ok(answer) => answer,
            Err(_) => Err(untold("the time for all questions was over")),
        }
    }

    /// A and AAAA. One family is enough for an answer; a failure counts where there is none.
    pub(super) async fn addresses(&self, host: &str) -> Result<Addresses, Untold> {
        let (four, six) = (
            self.ask(host, Type::A).await,
            self.ask(host, Type::Aaaa).await,
        );
        let (four, six) = match (four, six) {
            (Ok(four), Ok(six)) => (four, six),
            (Ok(one), Err(_)) | (Err(_), Ok(one)) if !one.data.is_empty() => (one, Told::default()),
            (Err(error), _) | (_, Err(error)) => return Err(error),
        };
        let all = four.data.iter().chain(&six.data);
        Ok(Addresses {
            list: all.filter_map(address).collect(),
            exists: four.exists || six.exists,
            aliases: four.aliases,
        })
    }

    /// The texts at a name, as far as they are UTF-8; bytes that are not are shown as �.
    pub(super) async fn texts(&self, name: &str) -> Result<Vec<String>, Untold> {
        let told = self.ask(name, Type::Txt).await?;
        Ok(told.data.iter().filter_map(text).collect())
    }

    fn note(&self, name: &str, wanted: Type, answer: &Answer) {
        let question = format!("{wanted} {name}");
        let mut noted = self.noted.borrow_mut();
        if noted.len() >= MOST_NOTED || noted.iter().any(|one| one.question == question) {
            return;
        }
        let server = match answer {
            Ok(told) => told.server,
            Err(untold) => untold.server,
        };
        let told = answer.as_ref().ok();
        noted.push(Asked {
            question,
            of: server.map_or_else(
                || self.label.to_owned(),
                |server| format!("{server} ({})", self.label),
            ),
            answer: shown(answer),
            over_tcp: told.is_some_and(|told| told.over_tcp),
            vouched: told.is_some_and(|told| told.vouched),
        });
    }

    /// Notes something that was not asked of DNS.
    pub(super) fn note_other(&self, question: String, of: String, answer: String) {
        self.noted.borrow_mut().push(Asked {
            question,
            of,
            answer: clipped(&answer, LONGEST),
            over_tcp: false,
            vouched: false,
        });
    }

    /// A row with all that was noted since the last one.
    pub(super) fn row(
        &self,
        subject: impl Into<String>,
        grade: Grade,
        remark: impl Into<String>,
    ) -> Row {
        Row {
            subject: subject.into(),
            grade,
            asked: self.noted.take(),
            remark: remark.into(),
            publish: Vec::new(),
        }
    }

    /// A row for a question that could not be put.
    pub(super) fn not_asked(&self, subject: impl Into<String>, untold: &Untold) -> Row {
        self.row(
            subject,
            Grade::NotAsked,
            format!("it could not be asked: {untold}"),
        )
    }
}

impl Row {
    pub(super) fn with(self, publish: Vec<String>) -> Row {
        Row { publish, ..self }
    }
}

pub(super) fn address(data: &Data) -> Option<IpAddr> {
    match data {
        Data::Address(address) => Some(*address),
        _ => None,
    }
}

pub(super) fn exchange(data: &Data) -> Option<&Exchange> {
    match data {
        Data::Exchange(exchange) => Some(exchange),
        _ => None,
    }
}

fn text(data: &Data) -> Option<String> {
    match data {
        Data::Text(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    }
}

/// An answer in a line.
fn shown(answer: &Answer) -> String {
    let told = match answer {
        Ok(told) => told,
        Err(untold) => return clipped(&format!("no answer: {untold}"), LONGEST),
    };
    let mut parts: Vec<String> = told
        .aliases
        .iter()
        .map(|alias| format!("CNAME {alias}."))
        .collect();
    let mut data: Vec<String> = told
        .data
        .iter()
        .take(MOST_SHOWN)
        .map(ToString::to_string)
        .collect();
    // A resolver turns the records of an answer round; a report should not change with it.
    data.sort();
    parts.append(&mut data);
    match told.data.len().saturating_sub(MOST_SHOWN) + told.left_out {
        0 => {}
        more => parts.push(format!("and {more} more")),
    }
    if told.data.is_empty() {
        parts.push(
            if told.exists {
                "no such record"
            } else {
                "no such name"
            }
            .to_owned(),
        );
    }
    clipped(&parts.join(", "), LONGEST)
}

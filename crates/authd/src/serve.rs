//! The conversation with the worker: questions in, answers out, many exchanges at once.
//!
//! ```text
//! each thread   [ receive · take its exchange out of the table ]  one at a time
//!               ask the backend: as long as it takes, beside the others
//!               [ put the exchange back ] · send the answer
//! ```
//!
//! Never: a panic on a question; an answer to an exchange that was dropped meanwhile; two threads in one exchange.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use postern_control::auth::{Account, Answer, Question};
use postern_control::{Error, Link, Received, VERSION};

use crate::backend::{Backend, No};
use crate::run::{Failure, system};
use crate::session::{Outcome, Session};
use crate::table::{Table, Turn};

/// Answers until the worker hangs up: one thread for each backend.
pub(crate) fn serve(link: Link, backends: Vec<Box<dyn Backend>>) -> Result<(), Failure> {
    if !greet(&link)? {
        return Ok(());
    }
    let conversation = Arc::new(Conversation {
        link,
        receiving: Mutex::new(()),
        table: Mutex::new(Table::new()),
    });
    let (ended, end) = channel();
    for backend in backends {
        let (conversation, ended) = (conversation.clone(), ended.clone());
        std::thread::Builder::new()
            .name("authd".to_owned())
            .stack_size(512 * 1024)
            .spawn(move || answer_all(&conversation, backend, &ended))
            .map_err(system("start a thread"))?;
    }
    drop(ended);
    // The first that ends ends all: the others wait for the same link.
    end.recv().unwrap_or_else(|_| {
        Err(Failure::System {
            doing: "go on",
            source: std::io::Error::other("all threads are gone"),
        })
    })
}

/// Both sides say their version; `false` where the worker has gone before.
fn greet(link: &Link) -> Result<bool, Failure> {
    match link.receive() {
        Ok(Received::Packet(Question::Hello { version: VERSION }, _)) => {}
        Ok(Received::Packet(Question::Hello { version }, _)) => {
            return Err(Error::Version { theirs: version }.into());
        }
        Ok(Received::Packet(..)) => {
            return Err(Error::Unexpected("a question before Hello".to_owned()).into());
        }
        Ok(Received::Closed) | Err(Error::Closed) => return Ok(false),
        Err(error) => return Err(error.into()),
    }
    match link.send(&Answer::Hello { version: VERSION }, &[]) {
        Err(Error::Closed) => Ok(false),
        sent => Ok(sent.map(|()| true)?),
    }
}

struct Conversation {
    link: Link,
    /// Held while a packet is received and its exchange taken out: questions of one exchange keep their order.
    receiving: Mutex<()>,
    table: Mutex<Table<Session>>,
}

/// A question with what it needs.
struct Job {
    number: u32,
    turn: Turn,
    task: Task,
}

enum Task {
    Begin(Question),
    Respond(Session, Vec<u8>),
    Proceed(Session),
}

/// What a packet comes to.
enum Next {
    Work(Box<Job>),
    Answer(Answer),
    Nothing,
    End,
}

fn answer_all(
    conversation: &Conversation,
    mut backend: Box<dyn Backend>,
    ended: &Sender<Result<(), Failure>>,
) {
    let end = loop {
        match conversation.turn(backend.as_mut()) {
            Ok(true) => {}
            Ok(false) | Err(Failure::Link(Error::Closed)) => break Ok(()),
            Err(failure) => break Err(failure),
        }
    };
    // Nobody listens where another thread has ended before.
    let _ = ended.send(end);
}

impl Conversation {
    /// One question, from receiving it to its answer; `false` at the end of the link.
    fn turn(&self, backend: &mut dyn Backend) -> Result<bool, Failure> {
        let next = {
            let _mine = lock(&self.receiving);
            self.next()?
        };
        match next {
            Next::End => return Ok(false),
            Next::Nothing => {}
            Next::Answer(answer) => self.send(answer)?,
            Next::Work(job) => self.work(*job, backend)?,
        }
        Ok(true)
    }

    fn next(&self) -> Result<Next, Failure> {
        Ok(match self.link.receive()? {
            Received::Closed => Next::End,
            // No question has files; what came is closed here.
            Received::Packet(question, _) => self.sort(question)?,
        })
    }

    /// Finds the exchange a question belongs to.
    fn sort(&self, question: Question) -> Result<Next, Failure> {
        let now = Instant::now();
        let mut table = lock(&self.table);
        let (number, taken) = match question {
            Question::Hello { .. } => {
                return Err(Error::Unexpected("a second Hello".to_owned()).into());
            }
            Question::Drop { exchange } => {
                table.forget(exchange);
                return Ok(Next::Nothing);
            }
            Question::Respond { exchange, response } => {
                let respond = |session| Task::Respond(session, response.0);
                let taken = table.take(exchange, now);
                (
                    exchange,
                    taken.map(|(session, turn)| (respond(session), turn)),
                )
            }
            Question::Proceed { exchange } => {
                let taken = table.take(exchange, now);
                let proceed = |(session, turn)| (Task::Proceed(session), turn);
                (exchange, taken.map(proceed))
            }
            question @ (Question::Begin { exchange, .. }
            | Question::Password { exchange, .. }
            | Question::Find { exchange, .. }) => {
                let turn = table.begin(exchange, now);
                (exchange, turn.map(|turn| (Task::Begin(question), turn)))
            }
        };
        Ok(match taken {
            Some((task, turn)) => Next::Work(Box::new(Job { number, turn, task })),
            None => Next::Answer(Answer::Unavailable {
                exchange: number,
                name: None,
                why: "no such exchange: it is over, has waited too long, or its number was used twice"
                    .to_owned(),
            }),
        })
    }

    fn work(&self, job: Job, backend: &mut dyn Backend) -> Result<(), Failure> {
        let (session, outcome) = match job.task {
            Task::Begin(question) => begin(question, backend)?,
            Task::Respond(session, response) => session.respond(&response, backend),
            Task::Proceed(session) => session.proceed(backend),
        };
        let wanted = lock(&self.table).put_back(job.number, job.turn, session, Instant::now());
        match wanted {
            true => self.send(outcome.into_answer(job.number)),
            false => Ok(()),
        }
    }

    fn send(&self, answer: Answer) -> Result<(), Failure> {
        let exchange = answer.exchange();
        match (self.link.send(&answer, &[]), exchange) {
            (Err(Error::TooLong(what)), Some(exchange)) => {
                lock(&self.table).forget(exchange);
                let instead = Answer::Unavailable {
                    exchange,
                    name: None,
                    why: format!("the answer does not fit a packet: {what}"),
                };
                Ok(self.link.send(&instead, &[])?)
            }
            (sent, _) => Ok(sent?),
        }
    }
}

/// A new exchange; a question for a password or an account is over with its first answer.
fn begin(
    question: Question,
    backend: &mut dyn Backend,
) -> Result<(Option<Session>, Outcome), Failure> {
    Ok(match question {
        Question::Begin {
            mechanism,
            initial,
            terms,
            ..
        } => {
            let mut random = [0; 32];
            getrandom::fill(&mut random).map_err(system("draw random octets"))?;
            Session::begin(&mechanism, &initial.0, *terms, random, backend)
        }
        Question::Password {
            name,
            password,
            domains,
            ..
        } => {
            let found = password_of(&password.0)
                .and_then(|password| Ok((password, name_of(&name)?)))
                .and_then(|(password, name)| backend.password(name, password, &domains));
            (None, found_or_not(found, "password", &name))
        }
        Question::Find { name, domains, .. } => {
            let found = name_of(&name).and_then(|name| backend.find(name, &domains));
            (None, found_or_not(found, "", &name))
        }
        _ => (None, Outcome::No(None, No::refused("not a beginning"))),
    })
}

fn password_of(octets: &[u8]) -> Result<&str, No> {
    match std::str::from_utf8(octets) {
        Ok(text) if !text.is_empty() && !text.contains('\0') => Ok(text),
        _ => Err(No::refused("the password is empty, or not text")),
    }
}

fn name_of(name: &str) -> Result<&str, No> {
    match name.is_empty() || name.contains('\0') {
        true => Err(No::refused("the name is empty, or not text")),
        false => Ok(name),
    }
}

fn found_or_not(found: Result<Account, No>, proof: &str, name: &str) -> Outcome {
    match found {
        Ok(account) => Outcome::Account(Box::new(Account {
            proof: proof.to_owned(),
            ..account
        })),
        Err(no) => Outcome::No(Some(name.to_owned()), no),
    }
}

/// A thread that died in here left nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

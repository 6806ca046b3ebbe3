//! The processes that hold what this worker must not: NT hashes, a keytab, winbind's pipe. They are asked over links.
//!
//! ```text
//! ask ─▶ order ─▶ one task a link: sends questions, hands answers back by the numbers of their exchanges
//!                 the link breaks: whoever waits is told so; posternd reloads this server with a new process
//! ```
//!
//! Never: a secret; an answer believed for another exchange; a wait without an end.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use postern_control::auth::{Answer, Question};
use postern_control::{Error, Link, Received, VERSION};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::packets::Packets;

/// An answer takes no longer.
const WHOLE: Duration = Duration::from_secs(20);
/// As many questions wait to be said.
const WAITING: usize = 64;

/// One authd.
pub(crate) struct Authd {
    orders: OnceLock<mpsc::Sender<Order>>,
    link: std::sync::Mutex<Option<OwnedFd>>,
    last: AtomicU32,
}

/// A question, and who waits for its answer; nobody waits after `Drop`.
struct Order {
    question: Question,
    answer: Option<oneshot::Sender<Answer>>,
}

/// An exchange under way. Dropped before its end, authd is told.
pub(crate) struct Asked {
    authd: Arc<Authd>,
    /// Its number.
    pub exchange: u32,
    over: bool,
}

impl Authd {
    /// The one at the other end of `link`; none: it could not be started.
    pub(crate) fn new(link: Option<OwnedFd>) -> Arc<Authd> {
        Arc::new(Authd {
            orders: OnceLock::new(),
            link: std::sync::Mutex::new(link),
            last: AtomicU32::new(0),
        })
    }

    /// A new exchange.
    pub(crate) fn begin(self: &Arc<Authd>) -> Asked {
        Asked {
            authd: self.clone(),
            exchange: self.last.fetch_add(1, Ordering::Relaxed),
            over: false,
        }
    }

    fn orders(&self) -> Option<&mpsc::Sender<Order>> {
        if let Some(orders) = self.orders.get() {
            return Some(orders);
        }
        let mut link = self.link.lock().ok()?;
        if let Some(link) = link.take() {
            let (sender, receiver) = mpsc::channel(WAITING);
            tokio::spawn(run(Link::from(link), receiver));
            let _ = self.orders.set(sender);
        }
        self.orders.get()
    }
}

impl Asked {
    /// Asks, and waits for the answer. The error says why there is none.
    pub(crate) async fn ask(&mut self, question: Question) -> Result<Answer, String> {
        let gone = || "postern-authd is not running; posternd starts it again".to_owned();
        let orders = self.authd.orders().ok_or_else(gone)?;
        let (answer, answered) = oneshot::channel();
        let order = Order {
            question,
            answer: Some(answer),
        };
        let asked = async {
            orders.send(order).await.map_err(|_| gone())?;
            answered.await.map_err(|_| gone())
        };
        let late = || format!("postern-authd did not answer in {WHOLE:?}");
        let answer = timeout(WHOLE, asked).await.map_err(|_| late())??;
        self.over = matches!(
            answer,
            Answer::Account { .. } | Answer::Refused { .. } | Answer::Unavailable { .. }
        );
        Ok(answer)
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let question = Question::Drop {
            exchange: self.exchange,
        };
        let order = Order {
            question,
            answer: None,
        };
        // A full queue is no harm: an exchange nobody goes on with is forgotten there, too.
        if let Some(orders) = self.authd.orders.get() {
            let _ = orders.try_send(order);
        }
    }
}

/// Carries questions and answers until the authd hangs up, or nobody can ask any more.
async fn run(link: Link, mut orders: mpsc::Receiver<Order>) {
    if let Err(why) = converse(link, &mut orders).await {
        tracing::warn!(why, "postern-authd is gone");
    }
}

async fn converse(link: Link, orders: &mut mpsc::Receiver<Order>) -> Result<(), String> {
    let link = Packets::new(link).map_err(said)?;
    let hello = Question::Hello { version: VERSION };
    link.send(&hello).await.map_err(said)?;
    match next(&link).await? {
        Answer::Hello { version: VERSION } => {}
        other => return Err(format!("it begins with {other:?}")),
    }
    let mut waiting = Waiting::default();
    let mut unsaid: Option<Order> = None;
    loop {
        let idle = unsaid.is_none();
        let say = async {
            match &mut unsaid {
                Some(order) => order.say(&link).await,
                None => std::future::pending().await,
            }
        };
        // Answers are taken while a question waits for room: the authd may be waiting for room, too.
        tokio::select! {
            asked = say => {
                let order = unsaid.take();
                if asked? {
                    order.into_iter().for_each(|order| waiting.put(order));
                }
            }
            order = orders.recv(), if idle => {
                let Some(order) = order else { return Ok(()) };
                waiting.forget(&order.question);
                unsaid = Some(order);
            }
            answer = next(&link) => waiting.answered(answer?),
        }
    }
}

impl Order {
    /// Sends the question as soon as there is room; `false`: nobody waits for its answer any more, and it is not asked.
    async fn say(&mut self, link: &Packets) -> Result<bool, String> {
        let given_up = async {
            match &mut self.answer {
                Some(answer) => answer.closed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = given_up => Ok(false),
            sent = link.send(&self.question) => sent.map(|()| true).map_err(said),
        }
    }
}

/// Who waits for an answer, by the numbers of the exchanges.
#[derive(Default)]
struct Waiting(HashMap<u32, oneshot::Sender<Answer>>);

impl Waiting {
    fn put(&mut self, order: Order) {
        // `Drop` may have found no room among the orders.
        if self.0.len() >= WAITING {
            self.0.retain(|_, asker| !asker.is_closed());
        }
        if let Some((exchange, asker)) = order.question.exchange().zip(order.answer) {
            self.0.insert(exchange, asker);
        }
    }

    /// Nobody waits after `Drop`.
    fn forget(&mut self, question: &Question) {
        if let Question::Drop { exchange } = question {
            self.0.remove(exchange);
        }
    }

    /// Who does not wait any more has been told that it took too long.
    fn answered(&mut self, answer: Answer) {
        let asker = answer
            .exchange()
            .and_then(|exchange| self.0.remove(&exchange));
        asker.map(|asker| asker.send(answer));
    }
}

/// The next answer. Dropping the future loses nothing.
async fn next(link: &Packets) -> Result<Answer, String> {
    match link.receive().await.map_err(said)? {
        Received::Packet(answer, files) if files.is_empty() => Ok(answer),
        Received::Packet(..) => Err("an answer with files".to_owned()),
        Received::Closed => Err("it hung up".to_owned()),
    }
}

fn said(error: Error) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests;

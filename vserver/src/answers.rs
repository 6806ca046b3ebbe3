//! Answers an introduced client: what is counted, who is inside, what is queued, and what to do with it.
//!
//! Who may ask was decided at the supervisor's desk; every change leaves a line in the audit log here.
//!
//! Never: an answer longer than a packet; a client that can hold up mail.

mod explain;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use postern_control::query::{Answer, Guessed, Question, Which};
use postern_control::{Link, Received, VERSION};
use tokio::time::timeout;

use crate::packets::Packets;
use crate::server::Server;

/// A client that asks nothing for this long is let go.
const PATIENCE: Duration = Duration::from_secs(600);
/// At most so many rows are gathered for a page; a packet cuts it further.
const PAGE: u32 = 500;

/// Answers until the client goes.
pub(crate) fn spawn(server: Arc<Server>, link: Link, uid: u32) {
    tokio::spawn(async move {
        if let Err(error) = converse(&server, link, uid).await {
            tracing::debug!(server = %server.name, %error, "a control client went away");
        }
    });
}

async fn converse(
    server: &Arc<Server>,
    link: Link,
    uid: u32,
) -> Result<(), postern_control::Error> {
    let link = Packets::new(link)?;
    while let Ok(received) = timeout(PATIENCE, link.receive()).await {
        let Received::Packet(question, _) = received? else {
            break;
        };
        let (answer, file) = match serde_json::from_value(question) {
            Ok(Question::Facts) => facts(server).await,
            Ok(question) => (answer(server, question, uid).await, None),
            Err(error) => (unknown(&error), None),
        };
        let files: Vec<_> = file.iter().map(OwnedFd::as_fd).collect();
        timeout(PATIENCE, link.send_with(&answer, &files))
            .await
            .unwrap_or(Err(postern_control::Error::WouldBlock))?;
    }
    Ok(())
}

/// A client of a later release may ask what nobody here knows: its other questions are still answered.
fn unknown(error: &serde_json::Error) -> Answer {
    Answer::Unknown {
        reason: format!(
            "the worker does not understand the question ({error}); it may be of an older release"
        ),
    }
}

async fn facts(server: &Arc<Server>) -> (Answer, Option<OwnedFd>) {
    let generation = server.generation.load_full();
    match explain::facts(generation).await {
        Ok(file) => (Answer::Facts, Some(file)),
        Err(error) => {
            let reason = format!("the facts cannot be written down: {error}");
            (Answer::Unknown { reason }, None)
        }
    }
}

async fn answer(server: &Arc<Server>, question: Question, uid: u32) -> Answer {
    let outbound = &server.outbound;
    match question {
        Question::Hello { version } if version == VERSION => Answer::Hello { version },
        Question::Hello { version } => Answer::Unknown {
            reason: format!("version {version} is not spoken here, but {VERSION}"),
        },
        Question::Counters => Answer::Counters(counters(server)),
        Question::Sessions { after } => {
            let rows = server.door.rows(after, PAGE as usize + 1);
            let more = rows.len() > PAGE as usize;
            Answer::sessions(rows.into_iter().take(PAGE as usize).collect(), more)
        }
        Question::Queue { after, limit } => {
            queue(server, after.as_deref(), limit.clamp(1, PAGE)).await
        }
        Question::Lockouts => {
            let rule = server.generation.load().definition.authentication.lockout;
            Answer::lockouts(rule.map_or_else(Vec::new, |rule| server.guesses.rows(rule)))
        }
        Question::Release { which } => {
            tracing::info!(target: "audit", server = %server.name, uid, ?which, "lockouts released");
            let which = match which {
                Guessed::Account(name) => {
                    let generation = server.generation.load();
                    Guessed::Account(generation.accounts.counted_name(&name))
                }
                other => other,
            };
            Answer::Changed {
                count: server.guesses.release(&which),
            }
        }
        Question::Show { id } => match outbound.detail(&id).await {
            Some(detail) => Answer::message(detail),
            None => Answer::Unknown {
                reason: format!("there is no message {id} in the queue"),
            },
        },
        Question::Retry { which } => {
            audit(server, uid, "retry", &which);
            Answer::Changed {
                count: outbound.retry(which).await,
            }
        }
        Question::Delete { which, notify } => {
            audit(
                server,
                uid,
                if notify {
                    "delete with a report"
                } else {
                    "delete"
                },
                &which,
            );
            Answer::Changed {
                count: outbound.delete(which, notify).await,
            }
        }
        Question::Freeze { which } => {
            audit(server, uid, "freeze", &which);
            Answer::Changed {
                count: outbound.freeze(which).await,
            }
        }
        Question::Thaw { which } => {
            audit(server, uid, "thaw", &which);
            Answer::Changed {
                count: outbound.thaw(which).await,
            }
        }
        Question::Explain(case) => explain::explain(server, &case).await,
        // Its answer has a file, and is given where files are sent.
        Question::Facts => facts(server).await.0,
    }
}

async fn queue(server: &Arc<Server>, after: Option<&str>, limit: u32) -> Answer {
    let mut rows = server.outbound.rows(after, limit as usize + 1).await;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    Answer::queue(rows, more)
}

fn counters(server: &Arc<Server>) -> std::collections::BTreeMap<String, u64> {
    let mut all = server.counters.all();
    all.extend(server.outbound.counters());
    all.insert("sessions".to_owned(), u64::from(server.door.count()));
    all.insert("queued".to_owned(), server.spool.count());
    all.insert("track_lines_dropped".to_owned(), server.journal.dropped());
    all
}

fn audit(server: &Arc<Server>, uid: u32, verb: &str, which: &Which) {
    tracing::info!(target: "audit", server = %server.name, uid, verb, ?which, "queue");
}

//! What an operator sees of the queue, and orders.
//!
//! Pages are read from the spool on a thread that may wait for the disk; the scheduler adds what is the case now.
//!
//! Never: a whole queue in memory; a message in a carrier's hands taken away (what was ordered is done when it is back).

use std::collections::HashSet;
use std::sync::Arc;

use postern_control::query::{MessageDetail, QueueRow, QueueState, RecipientRow, Which};
use postern_delivery::Outcome;
use postern_spool::{Message, QueueId, RecipientStatus, Settlement, Spool, Status, Summary};
use postern_track::Event;
use tokio::task::spawn_blocking;

use super::judge::{Times, ms};
use super::scheduler::Part;
use super::settle::Attempt;
use super::{Core, Outbound};
use crate::server::unix_ms;

/// Messages looked through at once, when those for a destination are looked for.
const PAGE: usize = 256;
/// Recipients shown in a row.
const SHOWN: usize = 3;

impl Outbound {
    /// Messages in the order of their ids, those after `after`.
    pub(crate) async fn rows(&self, after: Option<&str>, limit: usize) -> Vec<QueueRow> {
        let after = match after.map(str::parse::<QueueId>) {
            Some(Ok(id)) => Some(id),
            Some(Err(_)) => return Vec::new(),
            None => None,
        };
        let core = Arc::clone(&self.0);
        let read = spawn_blocking(move || {
            let list = core.parts.spool.list(after, limit);
            list.into_iter()
                .filter_map(|summary| {
                    Some(core.row(&summary, &claim(&core.parts.spool, summary.id)?))
                })
                .collect()
        });
        read.await.unwrap_or_default()
    }

    /// One message in full.
    pub(crate) async fn detail(&self, id: &str) -> Option<MessageDetail> {
        let id: QueueId = id.parse().ok()?;
        let core = Arc::clone(&self.0);
        let read = spawn_blocking(move || {
            let summary = core.parts.spool.summary(id)?;
            let message = claim(&core.parts.spool, id)?;
            Some(core.detail(&summary, &message))
        });
        read.await.ok().flatten()
    }

    /// Tries messages now, whatever they wait for; says how many.
    pub(crate) async fn retry(&self, which: Which) -> u64 {
        let core = &self.0;
        let one = matches!(which, Which::Message(_));
        let lanes = core.lanes(&which);
        let chosen = self.find(which).await;
        core.change(|queue, todo| {
            if one {
                // It may wait in a lane that is shut: it is routed anew, and its lane opened for it.
                queue.withdraw(|id| chosen.contains(&id));
            }
            let mut count = 0;
            for id in chosen {
                let Some(entry) = queue.book.get(&id).filter(|entry| !entry.frozen) else {
                    continue;
                };
                count += 1;
                if entry.parts == 0 {
                    queue.begin(id, true, todo);
                }
            }
            for lane in lanes {
                queue.reopen(lane.as_deref(), unix_ms(), todo);
            }
            count
        })
    }

    /// Deletes messages, with a report to their senders or without; says how many.
    pub(crate) async fn delete(&self, which: Which, notify: bool) -> u64 {
        let core = &self.0;
        let chosen = self.find(which).await;
        core.change(|queue, _| queue.withdraw(|id| chosen.contains(&id)));
        let mut count = 0;
        for id in chosen {
            // What is in a carrier's hands is deleted when it comes back undelivered.
            let now_free = {
                let mut queue = core.lock();
                let Some(entry) = queue.book.get_mut(&id) else {
                    continue;
                };
                entry.doomed = Some(notify);
                let free = entry.active == 0;
                if free {
                    (entry.parts, entry.active, entry.next) = (1, 1, 0);
                }
                free
            };
            count += 1;
            core.parts.journal.note(
                unix_ms(),
                &Event::Deleted {
                    id: &id.to_string(),
                    notified: notify,
                },
            );
            if now_free {
                core.remove(id).await;
            }
        }
        count
    }

    /// Holds messages back until they are thawed; says how many.
    pub(crate) async fn freeze(&self, which: Which) -> u64 {
        self.set_frozen(which, Frost::Freeze).await
    }

    /// Lets held messages go; says how many.
    pub(crate) async fn thaw(&self, which: Which) -> u64 {
        self.set_frozen(which, Frost::Thaw).await
    }

    async fn set_frozen(&self, which: Which, frost: Frost) -> u64 {
        let core = &self.0;
        let frozen = frost == Frost::Freeze;
        let chosen = self.find(which).await;
        let changed = core.change(|queue, _| {
            if frozen {
                queue.withdraw(|id| chosen.contains(&id));
            }
            let mut changed = Vec::new();
            for id in chosen {
                let Some(entry) = queue
                    .book
                    .get_mut(&id)
                    .filter(|entry| entry.frozen != frozen)
                else {
                    continue;
                };
                (entry.frozen, entry.next) = (frozen, 0);
                changed.push((id, entry.active == 0));
            }
            changed
        });
        let ids: Vec<QueueId> = changed.iter().map(|(id, _)| *id).collect();
        let writer = Arc::clone(core);
        let written = spawn_blocking(move || {
            changed
                .into_iter()
                .for_each(|(id, free)| writer.write_frost(id, free, frozen))
        });
        // A runtime that ends leaves the messages as they were.
        let _ = written.await;
        core.change(|queue, todo| {
            for id in ids.iter().filter(|_| !frozen) {
                if queue.book.get(id).is_some_and(|entry| entry.parts == 0) {
                    queue.begin(*id, false, todo);
                }
            }
        });
        ids.len() as u64
    }

    /// The messages meant.
    async fn find(&self, which: Which) -> HashSet<QueueId> {
        match which {
            Which::All => self.0.lock().book.keys().copied().collect(),
            Which::Message(id) => id.parse().into_iter().collect(),
            Which::Destination(name) => {
                let core = Arc::clone(&self.0);
                spawn_blocking(move || core.bound_for(&name))
                    .await
                    .unwrap_or_default()
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Frost {
    Freeze,
    Thaw,
}

fn claim(spool: &Spool, id: QueueId) -> Option<Message> {
    spool
        .claim(id)
        .inspect_err(|error| tracing::warn!(%id, %error, "a message cannot be read"))
        .ok()
        .flatten()
}

impl Core {
    fn row(&self, summary: &Summary, message: &Message) -> QueueRow {
        let now = unix_ms();
        let envelope = &message.envelope;
        let status = self.status(message);
        let destination = self.destination(message, &status);
        let queue = self.lock();
        let shut = queue.shut(&destination, now);
        let (state, next_try) = match queue.book.get(&summary.id) {
            Some(entry) if entry.frozen => (QueueState::Frozen, None),
            Some(entry) if entry.active > 0 => (QueueState::Active, None),
            Some(entry) if entry.parts > 0 => match shut {
                Some((until, _)) => (QueueState::Retry, Some(until / 1000)),
                None => (QueueState::Ready, None),
            },
            Some(entry) if entry.next > 0 => (QueueState::Retry, Some(entry.next / 1000)),
            Some(_) => (QueueState::Ready, None),
            None if summary.frozen => (QueueState::Frozen, None),
            None => (QueueState::Retry, Some(summary.next_try / 1000)),
        };
        // What holds its destination up is newer than what it last heard itself.
        let last_reply = shut
            .map(|(_, outcome)| said(outcome))
            .or_else(|| status.recipients.iter().find_map(last_reply));
        QueueRow {
            id: summary.id.to_string(),
            received: summary.received / 1000,
            size: summary.size,
            sender: envelope.sender.clone(),
            recipients: envelope
                .recipients
                .iter()
                .take(SHOWN)
                .map(|recipient| recipient.address.clone())
                .collect(),
            recipient_count: u32::try_from(envelope.recipients.len()).unwrap_or(u32::MAX),
            state,
            next_try,
            attempts: status.attempts,
            last_reply,
            destination,
        }
    }

    fn detail(&self, summary: &Summary, message: &Message) -> MessageDetail {
        let row = self.row(summary, message);
        let status = self.status(message);
        let generation = self.parts.generation.load();
        let envelope = &message.envelope;
        let local = envelope
            .recipients
            .iter()
            .all(|recipient| generation.routes.is_local(&recipient.address));
        let expire = Times::of(&generation.definition).clock(local).expire;
        let recipients =
            envelope
                .recipients
                .iter()
                .zip(&status.recipients)
                .map(|(recipient, status)| {
                    let (state, last) = match status {
                        RecipientStatus::Done => ("done", None),
                        RecipientStatus::Pending { last } => ("pending", last.as_ref()),
                    };
                    RecipientRow {
                        address: recipient.address.clone(),
                        state: state.to_owned(),
                        host: last
                            .map(|last| last.host.clone())
                            .filter(|host| !host.is_empty()),
                        last_reply: last.map(|last| last.reply.clone()),
                        last_try: last.map(|last| last.at / 1000),
                    }
                });
        MessageDetail {
            recipients: recipients.collect(),
            left_out: 0,
            expires: envelope.received.saturating_add(ms(expire)) / 1000,
            envid: envelope.envid.clone(),
            row,
        }
    }

    fn status(&self, message: &Message) -> Status {
        let queue = self.lock();
        let split = queue
            .book
            .get(&message.id)
            .and_then(|entry| entry.split.as_ref());
        split.map_or_else(|| message.status.clone(), |split| split.status.clone())
    }

    /// The way of the first recipient still to be reached.
    fn destination(&self, message: &Message, status: &Status) -> String {
        let generation = self.parts.generation.load();
        let pending = message
            .envelope
            .recipients
            .iter()
            .zip(&status.recipients)
            .find(|(_, status)| **status != RecipientStatus::Done);
        let way = pending.and_then(|(recipient, _)| {
            generation
                .routes
                .route(&recipient.address)
                .ok()
                .map(|way| way.name().to_owned())
        });
        way.unwrap_or_default()
    }

    /// The lanes an operator means; `None`: all.
    fn lanes(&self, which: &Which) -> Vec<Option<String>> {
        match which {
            Which::All => vec![None],
            Which::Message(_) => Vec::new(),
            Which::Destination(name) => {
                let generation = self.parts.generation.load();
                let name = name.to_lowercase();
                let by_domain = generation
                    .routes
                    .route(&format!("x@{name}"))
                    .ok()
                    .map(|way| way.name().to_owned());
                by_domain.into_iter().chain([name]).map(Some).collect()
            }
        }
    }

    /// Messages with a recipient still to be reached in this domain or by this way. Blocks.
    fn bound_for(&self, name: &str) -> HashSet<QueueId> {
        let generation = self.parts.generation.load();
        let spool = &self.parts.spool;
        let meant = |address: &str| {
            let domain = address.rsplit_once('@').map_or("", |(_, domain)| domain);
            domain.eq_ignore_ascii_case(name)
                || generation
                    .routes
                    .route(address)
                    .is_ok_and(|way| way.name().eq_ignore_ascii_case(name))
        };
        let mut found = HashSet::new();
        let mut after = None;
        loop {
            let page = spool.list(after, PAGE);
            let Some(last) = page.last() else {
                return found;
            };
            after = Some(last.id);
            for message in page.iter().filter_map(|summary| claim(spool, summary.id)) {
                let status = self.status(&message);
                let mut pending = message
                    .envelope
                    .recipients
                    .iter()
                    .zip(&status.recipients)
                    .filter(|(_, one)| **one != RecipientStatus::Done);
                if pending.any(|(recipient, _)| meant(&recipient.address)) {
                    found.insert(message.id);
                }
            }
        }
    }

    /// Settles a doomed message that nobody has in hand: what is still to be reached fails, by the administrator's word.
    async fn remove(self: &Arc<Core>, id: QueueId) {
        let spool = self.parts.spool.clone();
        let message = spawn_blocking(move || claim(&spool, id))
            .await
            .ok()
            .flatten();
        let Some(message) = message else {
            self.lock().book.remove(&id);
            return self.parts.spool.settle(id, Settlement::Gone);
        };
        let status = self.status(&message);
        let pending = |place: &usize| {
            matches!(
                status.recipients.get(*place),
                Some(RecipientStatus::Pending { .. })
            )
        };
        let places: Vec<usize> = (0..status.recipients.len()).filter(pending).collect();
        let outcomes = vec![Outcome::Failed(Core::removed()); places.len()];
        self.settle(Attempt {
            part: Part::All,
            ..Attempt::new(message, places, outcomes)
        })
        .await;
    }

    /// Makes the frost last over a restart. What is in a carrier's hands has it written down when it comes back. Blocks.
    fn write_frost(&self, id: QueueId, free: bool, frozen: bool) {
        let event_id = id.to_string();
        let event = if frozen {
            Event::Frozen { id: &event_id }
        } else {
            Event::Thawed { id: &event_id }
        };
        self.parts.journal.note(unix_ms(), &event);
        if let Some(message) = free.then(|| claim(&self.parts.spool, id)).flatten() {
            let status = Status {
                frozen,
                ..self.status(&message)
            };
            if let Some(split) = self
                .lock()
                .book
                .get_mut(&id)
                .and_then(|entry| entry.split.as_mut())
            {
                split.status.frozen = frozen;
            }
            self.parts.spool.settle(id, Settlement::Keep(status));
        }
    }
}

fn last_reply(status: &RecipientStatus) -> Option<String> {
    match status {
        RecipientStatus::Pending { last: Some(last) } if last.host.is_empty() => {
            Some(last.reply.clone())
        }
        RecipientStatus::Pending { last: Some(last) } => {
            Some(format!("{}: {}", last.host, last.reply))
        }
        _ => None,
    }
}

fn said(outcome: &Outcome) -> String {
    let answer = outcome.answer();
    if answer.host.is_empty() {
        answer.to_string()
    } else {
        format!("{}: {answer}", answer.host)
    }
}

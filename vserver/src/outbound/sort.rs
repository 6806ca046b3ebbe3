//! Due messages, read from the spool and routed by the generation in force now, so that mail that waited through a
//! reload goes where it goes today.
//!
//! Never: an attempt; a read on the runtime's threads, for these messages may long have left the page cache.

use std::sync::Arc;

use postern_delivery::route::Choice;
use postern_delivery::{Answer, Outcome};
use postern_smtp::EnhancedCode;
use postern_spool::{Error, Message, RecipientStatus};
use tokio::task::spawn_blocking;

use super::scheduler::{Part, Queue, Ticket, Todo, Unsorted};
use super::settle::Attempt;
use super::{Core, split_of};
use crate::server::unix_ms;

/// Messages read at once.
const BATCH: usize = 64;
/// A message that cannot be read now is looked at again after this (ms).
const UNREADABLE: u64 = 60_000;

/// Sorts until there is nothing to sort.
pub(super) async fn sort(core: Arc<Core>) {
    loop {
        let batch = core.lock().take_unsorted(BATCH);
        if batch.is_empty() {
            return;
        }
        let spool = core.parts.spool.clone();
        let read = spawn_blocking(move || {
            batch
                .into_iter()
                .map(|one| (spool.claim(one.id), one))
                .collect::<Vec<_>>()
        });
        let Ok(read) = read.await else { return };
        for (message, unsorted) in read {
            match message {
                Ok(Some(message)) => core.route(unsorted, message),
                Ok(None) => core.forget(&unsorted),
                Err(Error::Damaged { id, kept }) => {
                    tracing::error!(%id, kept = %kept.display(), "a message is damaged on disk and was set aside");
                    core.forget(&unsorted);
                }
                Err(error) => core.put_off(&unsorted, &error),
            }
        }
    }
}

impl Core {
    /// A message has left the spool: nothing is left of it here.
    pub(super) fn forget(&self, unsorted: &Unsorted) {
        self.lock().book.remove(&unsorted.id);
    }

    pub(super) fn put_off(self: &Arc<Core>, unsorted: &Unsorted, error: &Error) {
        tracing::warn!(id = %unsorted.id, %error, "a message cannot be read now");
        self.change(|queue, todo| {
            queue.land(unsorted);
            queue.wait(unsorted.id, unix_ms() + UNREADABLE, todo);
        });
    }

    fn route(self: &Arc<Core>, unsorted: Unsorted, message: Message) {
        let now = unix_ms();
        let mut failed = Vec::new();
        let mut nothing_left = false;
        self.change(|queue, todo| {
            // Under the lock, as in `accepted`.
            let generation = self.parts.generation.load();
            let places = queue.places(&unsorted, &message);
            nothing_left = places.is_empty() && queue.is_over(&unsorted, &message);
            let mut ways: Vec<(Choice<'_>, Vec<usize>)> = Vec::new();
            for place in places {
                let Some(recipient) = message.envelope.recipients.get(place) else {
                    continue;
                };
                match generation.routes.route(&recipient.address) {
                    Err(answer) => failed.push((place, Outcome::Failed(answer))),
                    Ok(choice) => match ways
                        .iter_mut()
                        .find(|(other, _)| other.name() == choice.name())
                    {
                        Some((_, places)) => places.push(place),
                        None => ways.push((choice, vec![place])),
                    },
                }
            }
            queue.spread(
                now,
                &unsorted,
                &message,
                ways,
                failed.iter().map(|(place, _)| *place).collect(),
                todo,
            );
        });
        if !failed.is_empty() {
            let places = failed.iter().map(|(place, _)| *place).collect();
            let outcomes = failed.into_iter().map(|(_, outcome)| outcome).collect();
            self.settle_later(Attempt::new(message, places, outcomes));
        } else if nothing_left {
            self.parts
                .spool
                .settle(unsorted.id, postern_spool::Settlement::Gone);
        }
    }

    /// What to say of a message that an operator deletes.
    pub(super) fn removed() -> Answer {
        // Exchange's administrators know 4.3.2 for this.
        Answer::nobody(
            EnhancedCode(4, 3, 2),
            "the message was removed from the queue by an administrator",
        )
    }
}

impl Queue {
    /// The recipients meant: pending, and not under way in another part.
    fn places(&self, unsorted: &Unsorted, message: &Message) -> Vec<usize> {
        let Some(entry) = self.book.get(&unsorted.id) else {
            return Vec::new();
        };
        let status = entry
            .split
            .as_ref()
            .map_or(&message.status, |split| &split.status);
        let pending = |place: &usize| {
            matches!(
                status.recipients.get(*place),
                Some(RecipientStatus::Pending { .. })
            )
        };
        match &unsorted.part {
            Part::Some(places) => places.iter().copied().filter(pending).collect(),
            Part::All => {
                let out = |place: &usize| {
                    entry
                        .split
                        .as_ref()
                        .is_some_and(|split| split.out.get(*place) == Some(&true))
                };
                (0..status.recipients.len())
                    .filter(|place| pending(place) && !out(place))
                    .collect()
            }
        }
    }

    /// Whether nothing of the message is left to do, although the spool still has it.
    fn is_over(&mut self, unsorted: &Unsorted, message: &Message) -> bool {
        let Some(entry) = self.book.get(&unsorted.id) else {
            return false;
        };
        let status = entry
            .split
            .as_ref()
            .map_or(&message.status, |split| &split.status);
        let over = entry.parts <= 1
            && status
                .recipients
                .iter()
                .all(|one| *one == RecipientStatus::Done);
        if over {
            self.book.remove(&unsorted.id);
        }
        over
    }

    /// One part of a message is in nobody's hands any more.
    pub(super) fn land(&mut self, unsorted: &Unsorted) {
        if let Some(entry) = self.book.get_mut(&unsorted.id) {
            entry.parts = entry.parts.saturating_sub(1);
            entry.come_back(&unsorted.part);
        }
    }

    /// Puts the parts of a message into the lanes of their ways. `failed` have none, and are settled by the caller.
    fn spread(
        &mut self,
        now: u64,
        unsorted: &Unsorted,
        message: &Message,
        ways: Vec<(Choice<'_>, Vec<usize>)>,
        failed: Vec<usize>,
        todo: &mut Todo,
    ) {
        self.land(unsorted);
        let Some(entry) = self.book.get_mut(&unsorted.id) else {
            return;
        };
        if entry.frozen || entry.doomed.is_some() {
            return;
        }
        let parts = ways.len() + usize::from(!failed.is_empty());
        if parts > 1 && entry.split.is_none() {
            entry.split = Some(split_of(message.status.clone()));
        }
        entry.parts += u32::try_from(parts).unwrap_or(u32::MAX);
        entry.active += u32::from(!failed.is_empty());
        if let Some(split) = &mut entry.split {
            for place in ways.iter().flat_map(|(_, places)| places).chain(&failed) {
                split.out[*place] = true;
            }
        }
        let whole = entry.split.is_none();
        let received = message.envelope.received;
        for (choice, places) in ways {
            let part = if whole {
                Part::All
            } else {
                Part::Some(places.into())
            };
            let ticket = Ticket {
                id: unsorted.id,
                part,
                received,
                since: now,
                again: false,
            };
            self.push(now, &choice, ticket, unsorted.urgent, todo);
        }
    }
}

//! Outcome → done, retry, delay notice, NDR, badmail.
//!
//! ```text
//! outcomes ─▶ judged ─▶ tracked ─▶ (notices deposited, badmail kept) ─▶ written down: gone, or kept until its next try
//! ```
//!
//! A failure is written down only after its report is on disk: a crash between the two makes a second report, never none.
//!
//! Never: an attempt.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use postern_delivery::notice::Action;
use postern_delivery::{Handed, Outcome};
use postern_spool::{LastTry, Message, Notify, RecipientStatus, Settlement, Status};
use postern_track::Event;
use tokio::task::spawn_blocking;

use super::Core;
use super::judge::{Judgement, Owed, Times, Tried};
use super::scheduler::{Part, Queue, Todo};
use crate::server::unix_ms;

/// A notice that could not be stored is tried again after this (ms).
const NOTICE_RETRY: u64 = 60_000;

/// A message, or a part of it, that was tried.
pub(super) struct Attempt {
    pub(super) message: Message,
    /// The recipients tried.
    pub(super) places: Vec<usize>,
    /// One for each of them.
    pub(super) outcomes: Vec<Outcome>,
    pub(super) part: Part,
    /// Whether the local clocks run; unknown where there was no way.
    pub(super) local: Option<bool>,
    /// The protocol version, if it went in TLS.
    pub(super) tls: Option<Arc<str>>,
}

impl Attempt {
    pub(super) fn new(message: Message, places: Vec<usize>, outcomes: Vec<Outcome>) -> Attempt {
        let part = Part::Some(places.clone().into());
        Attempt {
            message,
            places,
            outcomes,
            part,
            local: None,
            tls: None,
        }
    }

    /// Whether all went well and nobody wants to hear of it.
    fn is_plain_success(&self) -> bool {
        self.outcomes
            .iter()
            .all(|outcome| matches!(outcome, Outcome::Delivered(..)))
            && self
                .message
                .envelope
                .recipients
                .iter()
                .all(|recipient| !recipient.notify.contains(Notify::SUCCESS))
    }
}

impl Core {
    /// Writes an attempt down, at once if that takes no wait, otherwise soon.
    pub(super) fn settle_later(self: &Arc<Core>, attempt: Attempt) {
        if attempt.is_plain_success() {
            self.track(&attempt, None, 0);
            let statuses = attempt
                .places
                .iter()
                .map(|place| (*place, RecipientStatus::Done))
                .collect();
            return self.write_down(&attempt, statuses, 0, false);
        }
        let judgement = self.judge(&attempt);
        if judgement.owed.is_empty() && judgement.bad.is_empty() {
            self.track(&attempt, Some(&judgement), judgement.next);
            return self.write_down(&attempt, judgement.statuses, judgement.next, false);
        }
        self.settling.fetch_add(1, Ordering::AcqRel);
        let core = Arc::clone(self);
        self.runtime.spawn(async move {
            core.settle_judged(attempt, judgement).await;
            core.settled();
        });
    }

    /// Writes an attempt down.
    pub(super) async fn settle(self: &Arc<Core>, attempt: Attempt) {
        let judgement = self.judge(&attempt);
        self.settle_judged(attempt, judgement).await;
    }

    /// One of what [`Core::settling`] counts is written down.
    pub(super) fn settled(&self) {
        self.settling.fetch_sub(1, Ordering::AcqRel);
        self.quieter.notify_waiters();
    }

    fn judge(&self, attempt: &Attempt) -> Judgement {
        let (tries, noticed, doomed) = self.before(attempt);
        let generation = self.parts.generation.load();
        let times = Times::of(&generation.definition);
        let tried: Vec<Tried> = attempt
            .places
            .iter()
            .zip(&attempt.outcomes)
            .map(|(place, outcome)| Tried {
                place: *place,
                outcome: match (doomed, outcome) {
                    (Some(_), Outcome::Deferred(_)) => Outcome::Failed(Core::removed()),
                    (_, outcome) => outcome.clone(),
                },
                local: attempt.local.unwrap_or(true),
            })
            .collect();
        let mut judgement =
            times.judge(unix_ms(), &attempt.message.envelope, tries, noticed, &tried);
        if let Some(notify) = doomed {
            // The administrator knows; only the sender may have to be told.
            judgement.bad.clear();
            judgement.owed.retain(|_| notify);
        }
        judgement
    }

    /// How often it was tried before, whether its sender was told of a delay, and whether it is to be deleted.
    fn before(&self, attempt: &Attempt) -> (u32, bool, Option<bool>) {
        let queue = self.lock();
        let status = &attempt.message.status;
        match queue.book.get(&attempt.message.id) {
            Some(entry) => match &entry.split {
                Some(split) => {
                    let tries = attempt
                        .places
                        .iter()
                        .filter_map(|place| split.tries.get(*place))
                        .max();
                    (
                        tries.copied().unwrap_or(0),
                        split.status.delay_notified,
                        entry.doomed,
                    )
                }
                None => (status.attempts, status.delay_notified, entry.doomed),
            },
            None => (status.attempts, status.delay_notified, None),
        }
    }

    async fn settle_judged(self: &Arc<Core>, attempt: Attempt, judgement: Judgement) {
        self.track(&attempt, Some(&judgement), judgement.next);
        if judgement.owed.is_empty() && judgement.bad.is_empty() {
            return self.write_down(&attempt, judgement.statuses, judgement.next, false);
        }
        let core = Arc::clone(self);
        // A closed runtime leaves the message in the spool, as it was.
        let _ = spawn_blocking(move || core.notify(attempt, judgement)).await;
    }

    /// Makes the notices, then writes down. Blocks.
    fn notify(self: &Arc<Core>, mut attempt: Attempt, judgement: Judgement) {
        let Judgement {
            mut statuses,
            mut next,
            owed,
            bad,
            delay_noticed,
            ..
        } = judgement;
        let mut untold = Vec::new();
        for kind in [
            Action::Failed,
            Action::Delayed,
            Action::Delivered,
            Action::Relayed,
        ] {
            let group: Vec<&Owed> = owed.iter().filter(|owed| owed.action == kind).collect();
            if group.is_empty() {
                continue;
            }
            if let Err(error) = self.send_notice(&mut attempt.message, kind, &group) {
                tracing::error!(id = %attempt.message.id, %error, "a notice could not be stored");
                // Only a failure nobody was told of is worth trying again.
                untold.extend(
                    group
                        .iter()
                        .filter(|_| kind == Action::Failed)
                        .map(|owed| (owed.place, owed.answer.clone())),
                );
            }
        }
        if let (false, Err(error)) = (
            bad.is_empty(),
            self.keep_badmail(&mut attempt.message, &bad),
        ) {
            tracing::error!(id = %attempt.message.id, %error, "badmail could not be kept");
            untold.extend(bad.iter().map(|bad| (bad.place, bad.answer.clone())));
        }
        for (place, answer) in untold {
            let last = LastTry {
                at: unix_ms(),
                host: answer.host.to_string(),
                reply: answer.to_string(),
            };
            if let Some((_, status)) = statuses.iter_mut().find(|(at, _)| *at == place) {
                *status = RecipientStatus::Pending { last: Some(last) };
            }
            let again = unix_ms() + NOTICE_RETRY;
            next = if next == 0 { again } else { next.min(again) };
        }
        self.write_down(&attempt, statuses, next, delay_noticed);
    }

    /// Writes down what became of the recipients tried: the message is gone, or kept until its next try.
    fn write_down(
        self: &Arc<Core>,
        attempt: &Attempt,
        statuses: Vec<(usize, RecipientStatus)>,
        next: u64,
        delay_noticed: bool,
    ) {
        self.change(|queue, todo| {
            // In this order under the lock, or an older status of a message that goes two ways could come last.
            let settlement = queue.write_down(attempt, statuses, next, delay_noticed, todo);
            if let Some(settlement) = settlement {
                self.parts.spool.settle(attempt.message.id, settlement);
            }
        });
    }

    fn track(&self, attempt: &Attempt, judgement: Option<&Judgement>, next: u64) {
        let id = attempt.message.id.to_string();
        let envelope = &attempt.message.envelope;
        let now = unix_ms();
        let delay = now.saturating_sub(envelope.received);
        for (place, outcome) in attempt.places.iter().zip(&attempt.outcomes) {
            let Some(recipient) = envelope
                .recipients
                .get(*place)
                .map(|recipient| recipient.address.as_str())
            else {
                continue;
            };
            let reply = outcome.answer().to_string();
            let host = &*outcome.answer().host;
            let expired = judgement.is_some_and(|judgement| judgement.expired.contains(place));
            let (event, count) = match outcome {
                Outcome::Delivered(_, Handed::Mailbox) => (
                    Event::Delivered {
                        id: &id,
                        recipient,
                        host,
                        reply: &reply,
                        delay,
                    },
                    &self.counts.delivered,
                ),
                Outcome::Delivered(..) => {
                    let tls = attempt.tls.as_deref();
                    (
                        Event::Relayed {
                            id: &id,
                            recipient,
                            host,
                            reply: &reply,
                            tls,
                            delay,
                        },
                        &self.counts.relayed,
                    )
                }
                Outcome::Deferred(_) if expired => (
                    Event::Expired {
                        id: &id,
                        recipient,
                        reply: &reply,
                    },
                    &self.counts.failed,
                ),
                Outcome::Deferred(_) => (
                    Event::Deferred {
                        id: &id,
                        recipient,
                        host,
                        reply: &reply,
                        next_try: next,
                    },
                    &self.counts.deferred,
                ),
                Outcome::Failed(_) => (
                    Event::Failed {
                        id: &id,
                        recipient,
                        host,
                        reply: &reply,
                    },
                    &self.counts.failed,
                ),
            };
            count.fetch_add(1, Ordering::Relaxed);
            self.parts.journal.note(now, &event);
        }
    }
}

impl Queue {
    /// Brings a message's status up to date; what the spool is to be told, if anything is known of the message.
    fn write_down(
        &mut self,
        attempt: &Attempt,
        statuses: Vec<(usize, RecipientStatus)>,
        next: u64,
        delay_noticed: bool,
        todo: &mut Todo,
    ) -> Option<Settlement> {
        let id = attempt.message.id;
        let entry = self.book.get_mut(&id)?;
        entry.parts = entry.parts.saturating_sub(1);
        entry.active = entry.active.saturating_sub(1);
        entry.come_back(&attempt.part);
        let deferred = next > 0;
        let status = match &mut entry.split {
            None => &mut attempt.message.status.clone(),
            Some(split) => {
                for place in attempt.places.iter().filter(|_| deferred) {
                    if let Some(tries) = split.tries.get_mut(*place) {
                        *tries += 1;
                        split.status.attempts = split.status.attempts.max(*tries);
                    }
                }
                &mut split.status
            }
        };
        for (place, one) in statuses {
            if let Some(at) = status.recipients.get_mut(place) {
                *at = one;
            }
        }
        status.delay_notified |= delay_noticed;
        if status
            .recipients
            .iter()
            .all(|one| *one == RecipientStatus::Done)
        {
            self.book.remove(&id);
            return Some(Settlement::Gone);
        }
        status.frozen = entry.frozen;
        let mut kept: Status = status.clone();
        if entry.split.is_none() {
            kept.attempts += u32::from(deferred);
        }
        if deferred && !entry.frozen {
            self.wait(id, next, todo);
        }
        kept.next_try = self
            .book
            .get(&id)
            .filter(|entry| entry.parts == 0)
            .map_or(0, |entry| entry.next);
        Some(Settlement::Keep(kept))
    }
}

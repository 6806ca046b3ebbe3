//! Outcome → done, retry, delay notice, NDR, badmail.
//!
//! ```text
//! outcomes ─▶ judged ─▶ tracked ─▶ (notices deposited, badmail kept) ─▶ written down: gone, or kept until its next try
//! ```
//!
//! A failure is written down only after its report is on disk: a crash between the two makes a second report, never none.
//!
//! Never: an attempt.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};

use postern_delivery::notice::{self, Action, Notice, Report};
use postern_delivery::{Handed, Outcome};
use postern_spool::{
    Body, Deposit, Envelope, Error, LastTry, Message, Notify, QueueId, Recipient, RecipientStatus,
    Settlement, Status,
};
use postern_track::{Event, Notice as Tracked};
use tokio::task::spawn_blocking;

use super::Core;
use super::judge::{Judgement, Owed, Times, Tried, ms};
use super::scheduler::{Part, Queue, Todo};
use crate::server::unix_ms;

/// A notice that could not be stored is tried again after this (ms).
const NOTICE_RETRY: u64 = 60_000;
/// A body is copied into a report in pieces of this size.
const PIECE: usize = 64 * 1024;

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

/// Why a notice could not be kept.
#[derive(Debug, thiserror::Error)]
enum NoticeError {
    #[error("{0}")]
    Spool(#[from] Error),
    #[error("{0}")]
    Read(#[from] io::Error),
    #[error("the spool is closing")]
    Closing,
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

    /// Deposits a notice about some recipients, and puts it on its way. Blocks until it is on disk.
    fn send_notice(
        self: &Arc<Core>,
        message: &mut Message,
        kind: Action,
        group: &[&Owed],
    ) -> Result<(), NoticeError> {
        self.deposit_notice(message, kind, group).map(|notice_id| {
            self.counts.notices.fetch_add(1, Ordering::Relaxed);
            let event = Event::Noticed {
                id: &message.id.to_string(),
                notice: match kind {
                    Action::Failed => Tracked::Failure,
                    Action::Delayed => Tracked::Delay,
                    Action::Delivered | Action::Relayed => Tracked::Success,
                },
                notice_id: &notice_id.to_string(),
                recipient: &message.envelope.sender,
            };
            self.parts.journal.note(unix_ms(), &event);
        })
    }

    fn deposit_notice(
        self: &Arc<Core>,
        message: &mut Message,
        kind: Action,
        group: &[&Owed],
    ) -> Result<QueueId, NoticeError> {
        let definition = Arc::clone(&self.parts.generation.load().definition);
        let now = unix_ms();
        let header = notice::header_of(&mut message.body)?;
        let mut deposit = self.parts.spool.deposit()?;
        let replies: Vec<String> = group.iter().map(|owed| owed.answer.to_string()).collect();
        let reports: Vec<Report<'_>> = group
            .iter()
            .zip(&replies)
            .filter_map(|(owed, reply)| {
                let recipient = message.envelope.recipients.get(owed.place)?;
                let host = &*owed.answer.host;
                Some(Report {
                    recipient,
                    action: owed.action,
                    status: owed.status,
                    host,
                    reply,
                    tried: Some(now),
                })
            })
            .collect();
        let composed = notice::compose(&Notice {
            fqdn: &definition.general.fqdn,
            id: &deposit.id().to_string(),
            about: &message.id.to_string(),
            envelope: &message.envelope,
            now,
            expires: message
                .envelope
                .received
                .saturating_add(ms(definition.delivery.expire)),
            reports: &reports,
            header: &header,
            boundary: &notice::boundary(),
        });
        deposit.write(&composed.head)?;
        if composed.whole {
            copy(&mut message.body, &mut deposit)?;
        }
        deposit.write(&composed.tail)?;
        let to = |address: &str| Recipient {
            notify: Notify::NEVER,
            ..Recipient::new(address)
        };
        let copy_to = definition
            .messages
            .ndr_copy_to
            .as_deref()
            .filter(|_| kind == Action::Failed);
        let recipients = std::iter::once(message.envelope.sender.as_str())
            .chain(copy_to)
            .map(to)
            .collect();
        let envelope = Envelope {
            body: composed.body,
            smtputf8: composed.smtputf8,
            ..Envelope::new("", recipients, now)
        };
        let id = self.commit(deposit, &envelope)?;
        self.accepted(id, &envelope);
        Ok(id)
    }

    fn commit(&self, deposit: Deposit, envelope: &Envelope) -> Result<QueueId, NoticeError> {
        let (done, committed) = mpsc::channel();
        self.parts.spool.commit(deposit, envelope, move |result| {
            // Nobody waiting any more: the process is ending.
            let _ = done.send(result);
        });
        Ok(committed.recv().map_err(|_| NoticeError::Closing)??.id)
    }

    /// Keeps a message that cannot be delivered and has no sender to tell: `badmail/ID.eml`, and the reason beside it.
    fn keep_badmail(&self, message: &mut Message, bad: &[Owed]) -> io::Result<()> {
        let folder = self.parts.state.join("badmail");
        match fs::DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let id = message.id.to_string();
        let envelope = &message.envelope;
        let reasons: Vec<_> = bad
            .iter()
            .map(|bad| {
                let recipient = envelope.recipients.get(bad.place).map(|recipient| recipient.address.as_str());
                serde_json::json!({ "recipient": recipient, "host": &*bad.answer.host, "reply": bad.answer.to_string() })
            })
            .collect();
        let reason = serde_json::json!({
            "id": id, "received": envelope.received, "kept": unix_ms(), "sender": envelope.sender, "failed": reasons,
        });
        write_file(&folder.join(format!("{id}.eml")), &mut message.body)?;
        write_file(
            &folder.join(format!("{id}.json")),
            &mut Body::Inline(format!("{reason:#}\n").into_bytes()),
        )?;
        File::open(&folder)?.sync_all()?;
        self.counts.badmail.fetch_add(1, Ordering::Relaxed);
        let why = bad
            .first()
            .map(|bad| bad.answer.to_string())
            .unwrap_or_default();
        self.parts.journal.note(
            unix_ms(),
            &Event::Badmail {
                id: &id,
                reply: &why,
            },
        );
        Ok(())
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

fn copy(body: &mut Body, deposit: &mut Deposit) -> Result<(), NoticeError> {
    match body {
        Body::Inline(bytes) => deposit.write(bytes)?,
        Body::File(file) => {
            file.rewind();
            let mut piece = vec![0; PIECE];
            loop {
                match file.read(&mut piece)? {
                    0 => break,
                    count => deposit.write(&piece[..count])?,
                }
            }
        }
    }
    Ok(())
}

fn write_file(path: &Path, body: &mut Body) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    match body {
        Body::Inline(bytes) => file.write_all(bytes)?,
        Body::File(body) => {
            body.rewind();
            io::copy(body, &mut file)?;
        }
    }
    file.sync_all()
}

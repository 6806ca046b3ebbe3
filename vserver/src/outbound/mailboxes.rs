//! Mailboxes on this host: a batch of a lane's messages at a time, on a thread that may wait for the disk.
//!
//! Never: a mailbox written on the runtime's threads.

use std::cell::RefCell;
use std::sync::Arc;

use postern_delivery::Outcome;
use postern_delivery::maildir::{self, Letter, Template};
use postern_spool::Message;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::Core;
use super::scheduler::{Start, Ticket};
use super::settle::Attempt;
use crate::server::unix_ms;

/// Mailbox files written before their folders are synced.
const MAILDIR_BATCH: usize = 32;

/// Writes mailboxes, a batch at a time, on a thread that may wait for the disk.
pub(super) async fn write(core: Arc<Core>, start: &Start, template: &Template) {
    let (lane, serial) = (&start.lane, start.serial);
    core.lock().connected(lane, serial);
    loop {
        core.settled_enough().await;
        let now = unix_ms();
        let tickets = core.change(|queue, todo| {
            let mut tickets = Vec::new();
            while tickets.len() < MAILDIR_BATCH {
                match queue.take(lane, serial, now, todo) {
                    Some(ticket) => tickets.push(ticket),
                    None => break,
                }
            }
            tickets
        });
        if tickets.is_empty() {
            break;
        }
        let begun = Instant::now();
        let (writer, template) = (Arc::clone(&core), template.clone());
        let Ok(attempts) = spawn_blocking(move || write_batch(&writer, &template, tickets)).await
        else {
            break;
        };
        let each = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
            / attempts.len().max(1) as u64;
        for attempt in attempts {
            core.lock().worked(lane, serial, now, each);
            core.settle_later(attempt);
        }
    }
    core.change(|queue, todo| queue.leave(lane, serial, true, unix_ms(), todo));
    core.quieter.notify_waiters();
}

/// Blocks.
fn write_batch(core: &Arc<Core>, template: &Template, tickets: Vec<Ticket>) -> Vec<Attempt> {
    let read = tickets.into_iter().filter_map(|ticket| {
        let (message, places) = core.usable(&ticket, core.parts.spool.claim(ticket.id))?;
        let Message {
            id,
            envelope,
            status,
            body,
        } = message;
        Some((
            id,
            envelope,
            status,
            RefCell::new(body),
            places,
            ticket.part,
        ))
    });
    let read: Vec<_> = read.collect();
    let tag = format!(
        "{}.{}",
        core.name(),
        core.parts.generation.load().definition.general.fqdn
    );
    let mut letters = Vec::new();
    for (id, envelope, _, body, places, _) in &read {
        for place in places {
            let Some(recipient) = envelope.recipients.get(*place) else {
                continue;
            };
            letters.push(Letter {
                name: maildir::unique_name(envelope.received, &id.to_string(), *place, &tag),
                sender: &envelope.sender,
                address: &recipient.address,
                kind: envelope.body,
                body,
            });
        }
    }
    let mut outcomes = maildir::deliver(template, &letters).into_iter();
    let finished = read
        .into_iter()
        .map(|(id, envelope, status, body, places, part)| {
            let outcomes: Vec<Outcome> = outcomes.by_ref().take(places.len()).collect();
            let message = Message {
                id,
                envelope,
                status,
                body: body.into_inner(),
            };
            Attempt {
                part,
                local: Some(true),
                ..Attempt::new(message, places, outcomes)
            }
        });
    finished.collect()
}

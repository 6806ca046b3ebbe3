//! Notices and badmail: what is kept of a message so that its failure is not.
//!
//! A notice is a message of its own with the null sender, deposited like any other and sent the way its recipient's mail
//! goes. Everything here blocks until what it makes is on disk.
//!
//! Never: a decision on whether a notice is owed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};

use postern_config::Definition;
use postern_delivery::notice::{self, Action, Composed, Notice, Report};
use postern_spool::{Body, Deposit, Envelope, Error, Message, Notify, QueueId, Recipient};
use postern_track::{Event, Notice as Tracked};

use super::Core;
use super::judge::{Owed, ms};
use crate::server::unix_ms;

/// A body is copied into a report in pieces of this size.
const PIECE: usize = 64 * 1024;

/// Why a notice could not be kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoticeError {
    #[error("{0}")]
    Spool(#[from] Error),
    #[error("{0}")]
    Read(#[from] io::Error),
    #[error("the spool is closing")]
    Closing,
}

impl Core {
    /// Deposits a notice about some recipients, and puts it on its way. Blocks until it is on disk.
    pub(super) fn send_notice(
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
        let header = notice::header_of(&mut message.body)?;
        let mut deposit = self.parts.spool.deposit()?;
        let composed = compose(
            &definition,
            &deposit.id().to_string(),
            message,
            group,
            &header,
        );
        deposit.write(&composed.head)?;
        if composed.whole {
            copy(&mut message.body, &mut deposit)?;
        }
        deposit.write(&composed.tail)?;
        let to = |address: &str| Recipient {
            notify: Notify::NEVER,
            ..Recipient::new(address)
        };
        let copy_to = definition.messages.ndr_copy_to.as_deref();
        let recipients = std::iter::once(message.envelope.sender.as_str())
            .chain(copy_to.filter(|_| kind == Action::Failed))
            .map(to)
            .collect();
        let envelope = Envelope {
            body: composed.body,
            smtputf8: composed.smtputf8,
            ..Envelope::new("", recipients, unix_ms())
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
    pub(super) fn keep_badmail(&self, message: &mut Message, bad: &[Owed]) -> io::Result<()> {
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

fn compose(
    definition: &Definition,
    id: &str,
    message: &Message,
    group: &[&Owed],
    header: &[u8],
) -> Composed {
    let now = unix_ms();
    let envelope = &message.envelope;
    let replies: Vec<String> = group.iter().map(|owed| owed.answer.to_string()).collect();
    let reports: Vec<Report<'_>> = group
        .iter()
        .zip(&replies)
        .filter_map(|(owed, reply)| {
            Some(Report {
                recipient: envelope.recipients.get(owed.place)?,
                action: owed.action,
                status: owed.status,
                host: &owed.answer.host,
                reply,
                tried: Some(now),
            })
        })
        .collect();
    let expire = definition.delivery.expire;
    notice::compose(&Notice {
        fqdn: &definition.general.fqdn,
        id,
        about: &message.id.to_string(),
        envelope,
        now,
        expires: envelope.received.saturating_add(ms(expire)),
        reports: &reports,
        header,
        boundary: &notice::boundary(),
    })
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

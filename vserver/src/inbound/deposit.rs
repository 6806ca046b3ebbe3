//! Body → trace header, message checks → spool → 250.
//!
//! A small body is gathered in memory. A large one goes to its file in big pieces, written off the runtime's thread, so
//! that a slow disk holds up this session only.
//!
//! Never: a look at the message beyond its header section; a 250 before the spool says the message is on disk.

use std::sync::Arc;

use postern_smtp::Reply;
use postern_spool::{Committed, Deposit, Envelope, Error, QueueId, Spool};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use super::trace::HopCount;

/// What is gathered in memory before the spool's file is written to.
const PIECE: usize = 256 * 1024;
/// From here on a message is written off the thread; the spool keeps smaller ones in memory itself.
const SMALL: u64 = 96 * 1024;

/// A message on its way in.
pub(crate) struct Incoming {
    /// None once writing failed.
    deposit: Option<Deposit>,
    held: Vec<u8>,
    hops: HopCount,
    failure: Option<Error>,
    id: QueueId,
}

impl Incoming {
    /// Begins a message; its id is known from here on.
    pub(crate) fn begin(spool: &Spool) -> Result<Incoming, Error> {
        let deposit = spool.deposit()?;
        Ok(Incoming {
            id: deposit.id(),
            deposit: Some(deposit),
            held: Vec::new(),
            hops: HopCount::default(),
            failure: None,
        })
    }

    /// Its id.
    pub(crate) fn id(&self) -> QueueId {
        self.id
    }

    /// Adds what this server writes above the message.
    pub(crate) fn prepend(&mut self, header: &[u8]) {
        self.write_now(header);
    }

    /// Adds a piece of the message. A failure is kept for [`Incoming::commit`]: the client is told when it has said all.
    pub(crate) async fn write(&mut self, piece: &[u8]) {
        self.hops.look(piece);
        let size = self.deposit.as_ref().map_or(0, Deposit::len);
        if size + piece.len() as u64 <= SMALL && self.held.is_empty() {
            return self.write_now(piece);
        }
        if self.deposit.is_some() {
            self.held.extend_from_slice(piece);
            if self.held.len() >= PIECE {
                self.write_held().await;
            }
        }
    }

    /// How many `Received:` fields it came with.
    pub(crate) fn hops(&self) -> u32 {
        self.hops.hops()
    }

    /// Puts it on disk together with its envelope. Returns once it is there.
    pub(crate) async fn commit(
        mut self,
        spool: &Spool,
        envelope: &Arc<Envelope>,
    ) -> Result<Committed, Error> {
        if !self.held.is_empty() {
            self.write_held().await;
        }
        let Some(deposit) = self.deposit else {
            return Err(self.failure.unwrap_or(Error::Closed));
        };
        let (done, answer) = oneshot::channel();
        spool.commit(deposit, &**envelope, move |result| {
            // The session may be gone by now; the message stays, as it would if the connection broke after 250.
            let _ = done.send(result);
        });
        answer.await.unwrap_or(Err(Error::Closed))
    }

    fn write_now(&mut self, piece: &[u8]) {
        let Some(deposit) = &mut self.deposit else {
            return;
        };
        if let Err(error) = deposit.write(piece) {
            self.fail(error);
        }
    }

    async fn write_held(&mut self) {
        let Some(mut deposit) = self.deposit.take() else {
            return;
        };
        let mut held = std::mem::take(&mut self.held);
        let written = spawn_blocking(move || {
            let result = deposit.write(&held);
            held.clear();
            (deposit, held, result)
        })
        .await;
        match written {
            Ok((deposit, held, result)) => {
                self.deposit = Some(deposit);
                self.held = held;
                if let Err(error) = result {
                    self.fail(error);
                }
            }
            // The runtime is going down.
            Err(_) => self.fail(Error::Closed),
        }
    }

    fn fail(&mut self, error: Error) {
        self.deposit = None;
        self.held = Vec::new();
        self.failure = Some(error);
    }
}

/// What a client is told of a spool that did not take a message: nothing was accepted, it may come back.
pub(crate) fn refusal(error: &Error) -> Reply {
    match error {
        Error::Full => Reply::new(452, "4.3.1", "Insufficient system storage, try again later"),
        _ => Reply::new(
            451,
            "4.3.0",
            "The message could not be stored, try again later",
        ),
    }
}

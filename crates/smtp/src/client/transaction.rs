//! One message: MAIL, RCPT, DATA or BDAT, the body, and what is said to it.
//!
//! Never: a second DATA before the first message has gone whole.

use std::io::Write;

use super::stage::{Awaited, Stage};
use super::{Client, ClientEvent, State, WINDOW};
use crate::address;
use crate::body::DotStuffer;
use crate::params::{BodyKind, Notify, Ret};
use crate::reply::Reply;

/// One message to send. Texts carry no brackets.
#[derive(Debug, Clone, Copy, Default)]
pub struct Transaction<'a> {
    /// The sender; empty for the null path.
    pub sender: &'a str,
    /// The recipients, at least one.
    pub recipients: &'a [Recipient<'a>],
    /// Octets of the body, exactly, before dots are doubled.
    pub size: u64,
    /// What is in it.
    pub body: BodyKind,
    /// Whether an address or a header needs SMTPUTF8.
    pub smtputf8: bool,
    /// `RET=`, sent where the peer offers DSN.
    pub ret: Option<Ret>,
    /// `ENVID=`, as xtext, sent where the peer offers DSN.
    pub envid: Option<&'a str>,
}

/// One recipient of a [`Transaction`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Recipient<'a> {
    /// The address.
    pub address: &'a str,
    /// `NOTIFY=`, sent where the peer offers DSN.
    pub notify: Notify,
    /// `ORCPT=`, as `type;xtext`, sent where the peer offers DSN.
    pub orcpt: Option<&'a str>,
}

/// Why a message cannot go to this peer at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// It needs SMTPUTF8, which the peer does not offer.
    Smtputf8,
    /// It is BINARYMIME, which the peer does not offer.
    Binary,
    /// It is larger than the peer takes.
    TooLarge(u64),
    /// There is no recipient, or an address that cannot be written on a command line.
    Address,
    /// The client is not ready for a transaction now.
    NotReady,
}

/// The largest body sent by BDAT behind its RCPT commands, before it is known whether any was accepted.
const EAGER_LIMIT: u64 = 64 * 1024;

/// A transaction not answered whole.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) progress: Progress,
    /// Replies to come, of commands in the script too.
    pub(super) pending: usize,
    pub(super) recipients: usize,
    /// By index, in order.
    pub(super) accepted: Vec<usize>,
    /// MAIL or DATA was refused.
    pub(super) refusal: Option<(Stage, Reply)>,
    pub(super) transfer: Transfer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// Up to the body.
    Asking,
    /// `SendBody` was raised.
    Sending,
    /// The body is gone whole.
    Sent,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Transfer {
    Data(DotStuffer),
    /// BDAT in one chunk: `left` octets to come. An eager one does not wait for the answers to RCPT.
    Chunk {
        left: u64,
        eager: bool,
    },
}

impl Client {
    /// Whether [`Client::begin`] may be called: ready, the body of the transaction before sent whole, and the one
    /// before that answered.
    pub fn can_begin(&self) -> bool {
        let is_sent = self
            .transactions
            .back()
            .is_none_or(|open| open.progress == Progress::Sent);
        self.state == State::Ready && is_sent && self.transactions.len() <= 1 && !self.is_quitting()
    }

    /// Whether all is answered and told.
    pub fn is_idle(&self) -> bool {
        self.state == State::Ready
            && self.awaited.is_empty()
            && self.transactions.is_empty()
            && self.events.is_empty()
    }

    /// Begins a transaction. Allowed again as soon as the body of the one before is sent: with PIPELINING
    /// both travel in one write, and a busy connection costs one round trip a message (RFC 2920 §3.1).
    pub fn begin(&mut self, transaction: &Transaction<'_>) -> Result<(), Unfit> {
        if !self.can_begin() {
            return Err(Unfit::NotReady);
        }
        self.fits(transaction)?;
        if std::mem::take(&mut self.needs_reset) {
            self.command(Awaited::Reset, b"RSET");
        }
        let transfer = self.transfer(transaction);
        self.transactions.push_back(Open {
            progress: Progress::Asking,
            pending: 1 + transaction.recipients.len(),
            recipients: transaction.recipients.len(),
            accepted: Vec::new(),
            refusal: None,
            transfer,
        });
        let mut line = Vec::with_capacity(128);
        self.write_mail(transaction, &mut line);
        self.command(Awaited::Mail, &line);
        for (index, recipient) in transaction.recipients.iter().enumerate() {
            line.clear();
            self.write_rcpt(recipient, &mut line);
            self.command(Awaited::Rcpt(index), &line);
        }
        match transfer {
            Transfer::Data(_) if self.extensions.pipelining => self.data(),
            Transfer::Chunk { left, eager: true } => self.chunk(left),
            _ => {}
        }
        Ok(())
    }

    /// A piece of the body, copied into the output, dots doubled where needed.
    pub fn body(&mut self, piece: &[u8]) {
        let Some(open) = self
            .transactions
            .back_mut()
            .filter(|open| open.progress == Progress::Sending)
        else {
            return;
        };
        match &mut open.transfer {
            Transfer::Data(stuffer) => stuffer.encode_into(piece, &mut self.output),
            Transfer::Chunk { left, .. } if *left >= piece.len() as u64 => {
                *left -= piece.len() as u64;
                self.output.extend_from_slice(piece);
            }
            // More than was announced would be read as commands.
            Transfer::Chunk { .. } => self.end(Stage::Body, None),
        }
    }

    /// The body given to [`Client::body`] is complete. A BDAT body shorter than announced ends the connection.
    pub fn end_body(&mut self) {
        match self.sending().map(|open| open.transfer) {
            Some(Transfer::Data(stuffer)) => {
                self.output.extend_from_slice(stuffer.finish());
                self.body_sent();
            }
            Some(Transfer::Chunk { left: 0, .. }) => self.body_sent(),
            Some(Transfer::Chunk { .. }) => self.end(Stage::Body, None),
            None => {}
        }
    }

    /// The host wrote the body itself, with its end, after all output taken before.
    pub fn body_sent(&mut self) {
        let is_lmtp = self.settings.lmtp;
        let Some(open) = self.sending() else { return };
        open.progress = Progress::Sent;
        let is_eager = matches!(open.transfer, Transfer::Chunk { eager: true, .. });
        if is_lmtp {
            // RFC 2033 §4.2: one reply for each accepted recipient, in their order.
            open.pending += open.accepted.len();
            let count = open.accepted.len();
            let accepted = open.accepted.clone();
            let each = accepted
                .into_iter()
                .enumerate()
                .map(|(nth, index)| Awaited::Message(Some(index), nth + 1 == count));
            self.awaited.extend(each);
        } else {
            open.pending += 1;
            self.awaited.push_back(Awaited::Message(None, true));
        }
        // Where no recipient was accepted, peers differ on whether BDAT LAST ends the transaction.
        self.needs_reset |= is_eager;
    }

    fn sending(&mut self) -> Option<&mut Open> {
        self.transactions
            .back_mut()
            .filter(|open| open.progress == Progress::Sending)
    }

    pub(super) fn transaction_reply(&mut self, awaited: Awaited, reply: Reply) {
        let Some(open) = self.transactions.front_mut() else {
            return;
        };
        open.pending = open.pending.saturating_sub(1);
        match awaited {
            Awaited::Mail if !reply.is_positive() => {
                open.refusal = Some((Stage::Mail, reply));
                self.drop_script();
            }
            Awaited::Rcpt(index) if open.refusal.is_none() => {
                if reply.is_positive() {
                    open.accepted.push(index);
                }
                self.events
                    .push_back(ClientEvent::Recipient { index, reply });
            }
            Awaited::Data => return self.data_reply(reply),
            Awaited::Message(index, last)
                if open.refusal.is_none() && !open.accepted.is_empty() =>
            {
                self.events
                    .push_back(ClientEvent::Done { index, reply, last });
                if last {
                    self.transactions.pop_front();
                }
                return;
            }
            _ => {}
        }
        self.settle();
    }

    fn data_reply(&mut self, reply: Reply) {
        let Some(open) = self.transactions.front_mut() else {
            return;
        };
        let is_wanted = open.refusal.is_none() && !open.accepted.is_empty();
        match reply.code {
            354 if is_wanted => {
                open.progress = Progress::Sending;
                self.events.push_back(ClientEvent::SendBody { dots: true });
            }
            // RFC 2920 §3.1: a server may want the message of nobody. It gets an empty one.
            354 => {
                open.pending += 1;
                self.output.extend_from_slice(b".\r\n");
                self.awaited.push_back(Awaited::Nothing);
            }
            200..400 => self.end(Stage::Data, None),
            _ => {
                if is_wanted {
                    open.refusal = Some((Stage::Data, reply));
                }
                self.settle();
            }
        }
    }

    /// All replies before the body are in: on to the body, or to the end of the transaction.
    fn settle(&mut self) {
        let Some(open) = self
            .transactions
            .front_mut()
            .filter(|open| open.pending == 0)
        else {
            return;
        };
        if open.refusal.is_none() && !open.accepted.is_empty() {
            match open.transfer {
                Transfer::Data(_) => self.data(),
                Transfer::Chunk { left, .. } => self.chunk(left),
            }
            return;
        }
        if let Some(open) = self.transactions.pop_front() {
            self.needs_reset |= open.progress != Progress::Sent;
            self.events.push_back(open.failed(None, None));
        }
    }

    fn data(&mut self) {
        if let Some(open) = self.transactions.back_mut() {
            open.pending += 1;
        }
        self.command(Awaited::Data, b"DATA");
    }

    fn chunk(&mut self, size: u64) {
        if let Some(open) = self.transactions.back_mut() {
            open.progress = Progress::Sending;
        }
        // A Vec takes all that is written to it.
        let _ = write!(self.output, "BDAT {size} LAST\r\n");
        self.events.push_back(ClientEvent::SendBody { dots: false });
    }

    /// What is in line for the open transaction need not be said any more.
    fn drop_script(&mut self) {
        let before = self.script.len();
        self.script.retain(|(awaited, _)| *awaited == Awaited::Quit);
        let dropped = before - self.script.len();
        if let Some(open) = self.transactions.back_mut() {
            open.pending = open.pending.saturating_sub(dropped);
        }
    }

    fn transfer(&self, transaction: &Transaction<'_>) -> Transfer {
        let chunks = self.extensions.chunking
            && (self.settings.prefer_chunking || transaction.body == BodyKind::Binary);
        if !chunks {
            return Transfer::Data(DotStuffer::new());
        }
        // RSET and MAIL go before the recipients.
        let fits_the_window = self.script.is_empty()
            && self.awaited.len() + transaction.recipients.len() + 2 <= WINDOW;
        let eager = self.extensions.pipelining
            && !self.settings.lmtp
            && transaction.size <= EAGER_LIMIT
            && fits_the_window;
        Transfer::Chunk {
            left: transaction.size,
            eager,
        }
    }

    fn fits(&self, transaction: &Transaction<'_>) -> Result<(), Unfit> {
        let sender = Some(transaction.sender).filter(|sender| !sender.is_empty());
        let recipients = || {
            transaction
                .recipients
                .iter()
                .map(|recipient| recipient.address)
        };
        if transaction.recipients.is_empty()
            || !sender
                .into_iter()
                .chain(recipients())
                .all(address::is_recipient)
        {
            return Err(Unfit::Address);
        }
        let is_ascii = transaction.sender.is_ascii() && recipients().all(str::is_ascii);
        if !self.extensions.smtputf8 && (transaction.smtputf8 || !is_ascii) {
            return Err(Unfit::Smtputf8);
        }
        if transaction.body == BodyKind::Binary
            && !(self.extensions.binary && self.extensions.chunking)
        {
            return Err(Unfit::Binary);
        }
        match self.extensions.size.flatten() {
            Some(limit) if transaction.size > limit => Err(Unfit::TooLarge(limit)),
            _ => Ok(()),
        }
    }

    // A Vec takes all that is written to it: below, results of write! say nothing.

    fn write_mail(&self, transaction: &Transaction<'_>, line: &mut Vec<u8>) {
        let peer = &self.extensions;
        let _ = write!(line, "MAIL FROM:<{}>", transaction.sender);
        if peer.size.is_some() {
            let _ = write!(line, " SIZE={}", transaction.size);
        }
        match transaction.body {
            BodyKind::EightBit if peer.eight_bit => line.extend_from_slice(b" BODY=8BITMIME"),
            BodyKind::Binary => line.extend_from_slice(b" BODY=BINARYMIME"),
            _ => {}
        }
        let is_ascii = transaction.sender.is_ascii()
            && transaction
                .recipients
                .iter()
                .all(|one| one.address.is_ascii());
        if peer.smtputf8 && (transaction.smtputf8 || !is_ascii) {
            line.extend_from_slice(b" SMTPUTF8");
        }
        if peer.dsn {
            match transaction.ret {
                Some(Ret::Full) => line.extend_from_slice(b" RET=FULL"),
                Some(Ret::Headers) => line.extend_from_slice(b" RET=HDRS"),
                None => {}
            }
            if let Some(envid) = transaction.envid.filter(|text| is_param(text)) {
                let _ = write!(line, " ENVID={envid}");
            }
        }
    }

    fn write_rcpt(&self, recipient: &Recipient<'_>, line: &mut Vec<u8>) {
        let _ = write!(line, "RCPT TO:<{}>", recipient.address);
        if self.extensions.dsn {
            if !recipient.notify.is_default() {
                let _ = write!(line, " NOTIFY={}", recipient.notify);
            }
            if let Some(orcpt) = recipient.orcpt.filter(|text| is_param(text)) {
                let _ = write!(line, " ORCPT={orcpt}");
            }
        }
    }
}

impl Open {
    /// How it ended, without a word on its body: for a reason of its own, or with the connection.
    pub(super) fn failed(self, stage: Option<Stage>, reply: Option<Reply>) -> ClientEvent {
        let is_broken = stage.is_some() || reply.is_some();
        match (self.refusal, self.progress) {
            (Some((stage, reply)), _) => ClientEvent::Failed {
                stage,
                reply: Some(reply),
            },
            // Every one was refused by name.
            (None, _) if !is_broken => ClientEvent::Failed {
                stage: Stage::Rcpt(self.recipients.saturating_sub(1)),
                reply: None,
            },
            (None, Progress::Sent) => ClientEvent::Failed {
                stage: Stage::EndOfData,
                reply,
            },
            (None, Progress::Sending) => ClientEvent::Failed {
                stage: Stage::Body,
                reply,
            },
            // What was awaited may belong to the message before.
            (None, Progress::Asking) => ClientEvent::Failed {
                stage: stage
                    .filter(|stage| matches!(stage, Stage::Rcpt(_) | Stage::Data))
                    .unwrap_or(Stage::Mail),
                reply,
            },
        }
    }
}

/// Parameters come from a queue, not from a parser: nothing in them may end the line.
fn is_param(text: &str) -> bool {
    !text.is_empty() && !text.contains(|letter: char| letter.is_control() || letter == ' ')
}

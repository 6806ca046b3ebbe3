//! DATA and BDAT: a message on its way in.
//!
//! A body found wanting is refused at once inside, and the client hears of it at the end: until then what it
//! sends is swallowed.
//!
//! Never: more of a message than is in the buffer.

use std::ops::Range;

use super::transaction::{
    HELLO_FIRST, MESSAGE_TOO_LARGE, NEED_MAIL, Phase, SESSION_TOO_LARGE, Transaction, over,
};
use super::{BareNewline, MUST_STARTTLS, Raised, Session, Stage, Step};
use crate::ask::{Data, Deposit, Question, Queued};
use crate::body::{BodyError, Decoded, Decoder, Form};
use crate::params::BodyKind;
use crate::reply::Reply;

#[derive(Debug)]
pub(super) struct Message {
    decoder: Decoder,
    octets: u64,
    eight_bit: bool,
    /// What the client will hear.
    refusal: Option<Box<Reply>>,
}

/// A body, or a chunk of one, on its way in.
#[derive(Debug)]
pub(super) struct Receiving {
    transaction: Transaction,
    message: Message,
    /// `None`: DATA.
    chunk: Option<Chunk>,
}

#[derive(Debug, Clone, Copy)]
struct Chunk {
    size: u64,
    left: u64,
    last: bool,
}

/// A chunk of which nothing is wanted: its octets must go all the same (RFC 3030 §2).
#[derive(Debug)]
pub(super) struct Skipping {
    left: u64,
    reply: &'static str,
    /// Where the session stands afterwards.
    phase: Phase,
    /// The transaction ends with it.
    reset: bool,
}

/// A piece of a body.
#[derive(Debug)]
pub(super) enum Piece {
    Input(Range<usize>),
    Newline(&'static [u8]),
}

const NEED_RCPT: &str = "503 5.5.2 Need Rcpt command";
const NO_RECIPIENTS: &str = "554 5.5.1 no valid recipients";

impl Session {
    pub(super) fn data(&mut self) -> Step {
        let transaction = match self.transaction() {
            Ok(transaction) => transaction,
            Err(refusal) => return refusal,
        };
        // RFC 3030 §2: never both in one message, and BINARYMIME only by BDAT.
        if transaction.message.is_some() {
            return self.bad("503 5.5.1 DATA cannot follow BDAT");
        }
        if transaction.recipients == 0 && transaction.any_refused {
            return self.fine(NO_RECIPIENTS);
        }
        if transaction.recipients == 0 {
            return self.bad(NEED_RCPT);
        }
        if transaction.body == BodyKind::Binary {
            return self.bad("503 5.5.1 BINARYMIME needs BDAT");
        }
        self.receive_message(None)
    }

    pub(super) fn bdat(&mut self, size: u64, last: bool) -> Step {
        let chunk = Chunk {
            size,
            left: size,
            last,
        };
        if self.needs_tls() {
            return self.skip_chunk(chunk, Err(MUST_STARTTLS));
        }
        if self.hello.is_none() {
            return self.skip_chunk(chunk, Err(HELLO_FIRST));
        }
        match &self.stage {
            Stage::Command(Phase::MailRefused) => self.skip_chunk(chunk, Ok(NEED_MAIL)),
            Stage::Command(Phase::Open(open)) if open.recipients == 0 && open.any_refused => {
                self.skip_chunk(chunk, Ok(NO_RECIPIENTS))
            }
            Stage::Command(Phase::Open(open)) if open.recipients == 0 => {
                self.skip_chunk(chunk, Err(NEED_RCPT))
            }
            Stage::Command(Phase::Open(_)) => self.receive_message(Some(chunk)),
            _ => self.skip_chunk(chunk, Err(NEED_MAIL)),
        }
    }

    /// Whether chunks of a message have come, and more will.
    pub(super) fn is_amid_message(&self) -> bool {
        matches!(&self.stage, Stage::Command(Phase::Open(open)) if open.message.is_some())
    }

    /// Takes the open transaction out of its place, to receive a body or a chunk of one.
    fn receive_message(&mut self, chunk: Option<Chunk>) -> Step {
        let Stage::Command(Phase::Open(mut transaction)) =
            std::mem::replace(&mut self.stage, Stage::Command(Phase::Idle))
        else {
            return Step::Again;
        };
        let question = Data {
            recipients: transaction.recipients,
            size: transaction.size,
        };
        let earlier = transaction.message.take();
        let is_new = earlier.is_none();
        let message = earlier.unwrap_or_else(|| {
            let form = match (chunk, transaction.body) {
                (None, _) => Form::Dots,
                (Some(_), BodyKind::Binary) => Form::Octets,
                (Some(_), _) => Form::Lines,
            };
            Message::new(Decoder::new(
                form,
                self.settings.bare_newline == BareNewline::Convert,
            ))
        });
        let announced = message
            .octets
            .saturating_add(chunk.map_or(0, |chunk| chunk.size));
        let is_hopeless =
            message.refusal.is_none() && over(announced, self.settings.max_message_size);
        self.stage = Stage::Receiving(Receiving {
            transaction,
            message,
            chunk,
        });
        match (is_hopeless, is_new) {
            (true, _) => self.refuse_message(Reply::from(MESSAGE_TOO_LARGE)),
            (false, true) => Step::Raise(Raised::Data(question)),
            (false, false) => Step::Again,
        }
    }

    pub(super) fn body(&mut self) -> Step {
        let Stage::Receiving(receiving) = &mut self.stage else {
            return Step::Wait;
        };
        let rest = self.input.rest();
        let available = match receiving.chunk {
            Some(chunk) if chunk.left == 0 => return self.chunk_end(),
            Some(chunk) => usize::try_from(chunk.left)
                .unwrap_or(usize::MAX)
                .min(rest.len()),
            None => rest.len(),
        };
        if available == 0 {
            return Step::Wait;
        }
        let start = self.input.taken();
        let (used, decoded) = receiving.message.decoder.step(&rest[..available]);
        if let Some(chunk) = &mut receiving.chunk {
            chunk.left -= used as u64;
        }
        self.input.advance(used);
        self.progress();
        // As they came, so that it does not matter what becomes of them.
        self.octets = self.octets.saturating_add(used as u64);
        if over(self.octets, self.settings.max_session_size) {
            return self.last_words(SESSION_TOO_LARGE);
        }
        match decoded {
            Decoded::Piece(range) => {
                self.piece(Piece::Input(start + range.start..start + range.end))
            }
            Decoded::Newline(newline) => self.piece(Piece::Newline(newline)),
            Decoded::Error(error) => self.refuse_message(body_error(error)),
            Decoded::End => self.message_end(),
            Decoded::More => Step::Again,
        }
    }

    fn piece(&mut self, piece: Piece) -> Step {
        let bytes = match &piece {
            Piece::Input(range) => self.input.at(range.clone()),
            Piece::Newline(newline) => newline,
        };
        let Stage::Receiving(Receiving { message, .. }) = &mut self.stage else {
            return Step::Again;
        };
        if message.refusal.is_some() {
            return Step::Again;
        }
        message.octets += bytes.len() as u64;
        message.eight_bit = message.eight_bit || !bytes.is_ascii();
        if over(message.octets, self.settings.max_message_size) {
            return self.refuse_message(Reply::from(MESSAGE_TOO_LARGE));
        }
        Step::Raise(Raised::Body(piece))
    }

    /// Refuses the message being received. The client hears `reply` at its end.
    fn refuse_message(&mut self, reply: Reply) -> Step {
        if let Stage::Receiving(Receiving { message, .. }) = &mut self.stage {
            message.refusal = Some(Box::new(reply));
            message.decoder.discard();
        }
        Step::Raise(Raised::Reset)
    }

    fn chunk_end(&mut self) -> Step {
        let Stage::Receiving(receiving) = &mut self.stage else {
            return Step::Again;
        };
        let Some(chunk) = receiving.chunk else {
            return Step::Again;
        };
        if chunk.last {
            return match receiving.message.decoder.finish() {
                // Once this is dealt with, there is no more to finish.
                Some(Decoded::Newline(newline)) => self.piece(Piece::Newline(newline)),
                Some(Decoded::Error(error)) => self.refuse_message(body_error(error)),
                _ => self.message_end(),
            };
        }
        let Stage::Receiving(Receiving {
            mut transaction,
            message,
            ..
        }) = std::mem::replace(&mut self.stage, Stage::Command(Phase::Idle))
        else {
            return Step::Again;
        };
        match message.refusal.as_deref().cloned() {
            Some(reply) => self.answer(&reply),
            None => self.say_parts(&["250 2.0.0 ", &chunk.size.to_string(), " octets received"]),
        }
        if !self.has_ended() {
            transaction.message = Some(message);
            self.stage = Stage::Command(Phase::Open(transaction));
        }
        Step::Again
    }

    fn message_end(&mut self) -> Step {
        let Stage::Receiving(Receiving {
            transaction,
            message,
            chunk,
        }) = std::mem::replace(&mut self.stage, Stage::Command(Phase::Idle))
        else {
            return Step::Again;
        };
        self.messages += 1;
        if let Some(reply) = message.refusal {
            self.answer(&reply);
            return Step::Again;
        }
        let binary = chunk.is_some() && transaction.body == BodyKind::Binary;
        Step::Raise(Raised::Deposit(Deposit {
            size: message.octets,
            eight_bit: message.eight_bit,
            binary,
        }))
    }

    /// Swallows a chunk, then replies; `Err` counts as a bad command.
    fn skip_chunk(&mut self, chunk: Chunk, reply: Result<&'static str, &'static str>) -> Step {
        if reply.is_err() {
            self.errors += 1;
            if self.has_erred_too_often() {
                return self.too_many_errors();
            }
        }
        let (Ok(reply) | Err(reply)) = reply;
        let phase = match std::mem::replace(&mut self.stage, Stage::Command(Phase::Idle)) {
            Stage::Command(phase) => phase,
            _ => Phase::Idle,
        };
        let reset = chunk.last && matches!(phase, Phase::Open(_));
        let phase = if chunk.last { Phase::Idle } else { phase };
        self.stage = Stage::Skipping(Skipping {
            left: chunk.left,
            reply,
            phase,
            reset,
        });
        Step::Again
    }

    pub(super) fn skip(&mut self) -> Step {
        let Stage::Skipping(skipping) = &mut self.stage else {
            return Step::Again;
        };
        let here = self.input.rest().len();
        let count = usize::try_from(skipping.left)
            .unwrap_or(usize::MAX)
            .min(here);
        skipping.left -= count as u64;
        let (left, reply, reset) = (skipping.left, skipping.reply, skipping.reset);
        self.input.advance(count);
        self.octets = self.octets.saturating_add(count as u64);
        if over(self.octets, self.settings.max_session_size) {
            return self.last_words(SESSION_TOO_LARGE);
        }
        if count > 0 {
            self.progress();
        }
        if left > 0 {
            return Step::Wait;
        }
        if let Stage::Skipping(Skipping { phase, .. }) =
            std::mem::replace(&mut self.stage, Stage::Command(Phase::Idle))
        {
            self.stage = Stage::Command(phase);
        }
        self.say(reply);
        if reset {
            Step::Raise(Raised::Reset)
        } else {
            Step::Again
        }
    }
}

impl Question for Data {
    type Answer = ();

    fn settle(&self, session: &mut Session, answer: Result<(), Reply>) {
        let Stage::Receiving(receiving) = &mut session.stage else {
            return;
        };
        match (answer, receiving.chunk) {
            (Ok(()), None) => session.say("354 Start mail input; end with <CRLF>.<CRLF>"),
            (Ok(()), Some(_)) => {}
            (Err(reply), Some(_)) if reply.code != 421 => {
                receiving.message.refusal = Some(Box::new(reply));
                receiving.message.decoder.discard();
            }
            (Err(reply), _) => {
                // The transaction stands: the client may try DATA again, or RSET.
                if let Stage::Receiving(receiving) =
                    std::mem::replace(&mut session.stage, Stage::Command(Phase::Idle))
                {
                    session.stage = Stage::Command(Phase::Open(receiving.transaction));
                }
                session.answer(&reply);
            }
        }
    }
}

impl Question for Deposit {
    type Answer = Queued;

    fn settle(&self, session: &mut Session, answer: Result<Queued, Reply>) {
        match answer {
            Ok(Queued { id }) => {
                session.say_parts(&["250 2.6.0 <", &id, "> Queued mail for delivery"])
            }
            Err(reply) => session.answer(&reply),
        }
    }
}

impl Message {
    fn new(decoder: Decoder) -> Message {
        Message {
            decoder,
            octets: 0,
            eight_bit: false,
            refusal: None,
        }
    }
}

fn body_error(error: BodyError) -> Reply {
    Reply::new(
        550,
        "5.6.0",
        match error {
            BodyError::BareNewline => "Lines end with CRLF, a bare CR or LF is not accepted",
            BodyError::Nul => "A NUL is not accepted",
        },
    )
}

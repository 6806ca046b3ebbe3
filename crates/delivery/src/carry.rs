//! Messages over one connection, as many at once as the peer's extensions allow, and an outcome for each recipient.
//!
//! ```text
//! BDAT   MAIL RCPT BDAT body · MAIL RCPT BDAT body · …      all in one write
//! DATA   MAIL RCPT DATA · body . MAIL RCPT DATA · body .    one write and one read a message
//! ```
//!
//! A BODY=8BITMIME message goes to a peer that does not offer 8BITMIME as it is. Turning it into quoted-printable
//! would break its signatures, and returning it would lose mail that nearly every server today takes unharmed.
//! BINARYMIME and SMTPUTF8 have no such practice: those fail (5.6.3, 5.6.7; RFC 3030 §3, RFC 6531 §3.2).
//!
//! Never: a decision on when a message is tried again.

use std::collections::VecDeque;
use std::io::Read;

use postern_smtp::{ClientEvent, EnhancedCode, Reply, Stage, Transaction, Unfit};
use postern_spool::{Body, BodyFile, Envelope};

use crate::outcome::{Answer, Handed, Outcome};
use crate::smtp::Connection;
use crate::transport::{Break, Step};

/// A further message is begun only while the bodies under way, of which [`postern_smtp::Client`] allows two without an
/// answer, have fewer bytes than this.
pub const WINDOW_BYTES: usize = 256 * 1024;
/// A body in a file is sent in pieces of this size.
const PIECE: usize = 64 * 1024;

/// A message to carry.
#[derive(Debug)]
pub struct Parcel<T> {
    /// The caller's own.
    pub tag: T,
    /// The message's envelope.
    pub envelope: Envelope,
    /// The sender to state, where it is not the envelope's (`masquerade`).
    pub sender: Option<String>,
    /// Which recipients of the envelope, by their places; at least one.
    pub recipients: Vec<usize>,
    /// The message.
    pub body: Body,
}

/// What became of a parcel.
#[derive(Debug)]
pub struct Delivery<T> {
    /// The parcel.
    pub parcel: Parcel<T>,
    /// One outcome for each of [`Parcel::recipients`].
    pub outcomes: Vec<Outcome>,
    /// The connection broke before the peer said anything about this message, and had worked before: the message may be
    /// tried at once over another one.
    pub again: bool,
}

/// Where messages come from and outcomes go to.
pub trait Feed {
    /// The caller's own for each message.
    type Tag;
    /// The next message for this connection, if there is one now.
    fn next(&mut self) -> impl Future<Output = Option<Parcel<Self::Tag>>> + Send;
    /// Takes what became of one.
    fn done(&mut self, delivery: Delivery<Self::Tag>);
}

/// How a connection stands after a run.
#[derive(Debug, PartialEq, Eq)]
pub enum Rest {
    /// Nothing more to carry; the connection is good for more.
    Idle,
    /// It has carried as many messages as one may: say QUIT.
    Spent,
    /// It is of no more use.
    Broken(Answer),
}

/// A message under way.
struct Flight<T> {
    parcel: Parcel<T>,
    outcomes: Vec<Option<Outcome>>,
}

/// The messages under way on one connection.
struct Flights<T> {
    queue: VecDeque<Flight<T>>,
    /// Bytes of bodies under way.
    bytes: usize,
}

impl Connection {
    /// Carries messages until there are no more, the connection may carry no more, or it breaks. Every parcel taken
    /// from `feed` comes back to it.
    pub async fn run<F: Feed>(&mut self, feed: &mut F) -> Rest {
        let mut flights = Flights {
            queue: VecDeque::new(),
            bytes: 0,
        };
        let broken = match self.carry(feed, &mut flights).await {
            Ok(rest) => return rest,
            Err(answer) => answer,
        };
        let worked = self.carried > flights.queue.len() as u32;
        for flight in flights.queue {
            let again = worked && flight.outcomes.iter().all(Option::is_none);
            feed.done(flight.finish(&broken, again));
        }
        Rest::Broken(broken)
    }

    async fn carry<F: Feed>(
        &mut self,
        feed: &mut F,
        flights: &mut Flights<F::Tag>,
    ) -> Result<Rest, Answer> {
        let mut dry = false;
        loop {
            while let Some(event) = self.client.poll() {
                self.wire.allow(self.patience());
                self.take(event, feed, flights).await?;
                dry = false;
            }
            if !dry && self.may_begin(flights) {
                match feed.next().await {
                    Some(parcel) => self.begin(parcel, feed, flights),
                    None => dry = true,
                }
                continue;
            }
            if self.client.has_output() {
                self.flush().await?;
                continue;
            }
            if flights.queue.is_empty() {
                return Ok(if self.spent() {
                    Rest::Spent
                } else {
                    Rest::Idle
                });
            }
            self.listen().await?;
        }
    }

    fn spent(&self) -> bool {
        self.carried >= self.limit
    }

    fn may_begin<T>(&self, flights: &Flights<T>) -> bool {
        !self.spent() && flights.bytes < WINDOW_BYTES && self.client.can_begin()
    }

    fn begin<F: Feed>(
        &mut self,
        parcel: Parcel<F::Tag>,
        feed: &mut F,
        flights: &mut Flights<F::Tag>,
    ) {
        let started = {
            let envelope = &parcel.envelope;
            let recipients: Vec<_> = parcel
                .recipients
                .iter()
                .filter_map(|at| envelope.recipients.get(*at))
                .map(recipient)
                .collect();
            let transaction = Transaction {
                sender: parcel.sender.as_deref().unwrap_or(&envelope.sender),
                recipients: &recipients,
                size: parcel.body.len(),
                body: body_kind(envelope.body),
                smtputf8: envelope.smtputf8,
                ret: envelope.ret.map(ret),
                envid: envelope.envid.as_deref(),
            };
            self.client.begin(&transaction)
        };
        let flight = Flight {
            outcomes: vec![None; parcel.recipients.len()],
            parcel,
        };
        match started {
            Ok(()) => {
                self.carried += 1;
                flights.bytes += flight.bytes();
                flights.queue.push_back(flight);
                self.wire.allow(self.patience());
            }
            Err(unfit) => feed.done(flight.finish(&self.unfit(unfit), false)),
        }
    }

    async fn take<F: Feed>(
        &mut self,
        event: ClientEvent,
        feed: &mut F,
        flights: &mut Flights<F::Tag>,
    ) -> Result<(), Answer> {
        match event {
            ClientEvent::Recipient { index, reply } if !reply.is_positive() => {
                let refused = self.answer(&reply).into_outcome(Handed::Next);
                if let Some(flight) = flights.queue.front_mut() {
                    flight.put(index, refused);
                }
            }
            ClientEvent::Recipient { .. } => {}
            ClientEvent::SendBody { dots: _ } => self.send_body(flights).await?,
            ClientEvent::Done { index, reply, last } => {
                let outcome = self.answer(&reply).into_outcome(self.handed());
                if let Some(flight) = flights.queue.front_mut() {
                    match index {
                        Some(index) => flight.put(index, outcome),
                        None => flight.put_all(&outcome),
                    }
                }
                if last {
                    let unanswered = self.ours(
                        EnhancedCode(4, 5, 0),
                        "the host gave fewer answers than recipients",
                    );
                    self.end_front(flights, feed, &unanswered);
                }
            }
            // A 421 is about the connection, and ends it: no message was judged (RFC 5321 §3.8).
            ClientEvent::Failed {
                reply: Some(reply), ..
            } if reply.code == 421 => {
                return Err(self.answer(&reply));
            }
            ClientEvent::Failed {
                reply: Some(reply), ..
            } => {
                let answer = self.answer(&reply);
                self.end_front(flights, feed, &answer);
            }
            ClientEvent::Failed { stage, reply: None } => {
                return Err(self.lost(stage, &Break::Closed));
            }
            ClientEvent::Closed { stage, reply } => {
                return Err(match reply {
                    Some(reply) => self.answer(&reply).softened(),
                    None => self.lost(stage, &Break::Closed),
                });
            }
            // What belongs to the start of a connection does not come here.
            _ => return Err(self.ours(EnhancedCode(4, 5, 0), "the host answered out of turn")),
        }
        Ok(())
    }

    fn end_front<F: Feed>(&self, flights: &mut Flights<F::Tag>, feed: &mut F, rest: &Answer) {
        if let Some(flight) = flights.queue.pop_front() {
            flights.bytes -= flight.bytes();
            feed.done(flight.finish(rest, false));
        }
    }

    /// Sends the body of the message begun last.
    async fn send_body<T>(&mut self, flights: &mut Flights<T>) -> Result<(), Answer> {
        match flights
            .queue
            .back_mut()
            .map(|flight| &mut flight.parcel.body)
        {
            Some(Body::Inline(bytes)) => self.client.body(bytes),
            Some(Body::File(_)) => return self.send_file(flights).await,
            None => {}
        }
        self.client.end_body();
        Ok(())
    }

    async fn send_file<T>(&mut self, flights: &mut Flights<T>) -> Result<(), Answer> {
        let Some(flight) = flights.queue.back_mut() else {
            return Ok(());
        };
        let placeholder = Body::Inline(Vec::new());
        let Body::File(mut file) = std::mem::replace(&mut flight.parcel.body, placeholder) else {
            return Ok(());
        };
        file.rewind();
        let mut piece = vec![0; PIECE];
        let result = loop {
            let (count, read, buffer) = read_piece(file, piece).await?;
            (file, piece) = (read, buffer);
            match count {
                Ok(0) => break Ok(()),
                Ok(count) => self.client.body(&piece[..count]),
                // The body is damaged on disk: what was sent must not be ended, so that the peer takes nothing.
                Err(error) => {
                    break Err(self.ours(
                        EnhancedCode(4, 3, 0),
                        format!("cannot read the message: {error}"),
                    ));
                }
            }
            if let Err(answer) = self.flush().await {
                break Err(answer);
            }
            self.wire.allow(self.patience());
        };
        flight.parcel.body = Body::File(file);
        result.map(|()| self.client.end_body())
    }

    /// Writes what is to be written.
    pub(crate) async fn flush(&mut self) -> Result<(), Answer> {
        let output = self.client.take_output();
        let mut sent = 0;
        loop {
            match self.wire.write(&output, &mut sent).await {
                Ok(Step::Written) => return Ok(()),
                Ok(Step::Read(count)) => self.client.receive(self.wire.input(count)),
                Err(broken) => return Err(self.last_words(broken).await),
            }
        }
    }

    /// Reads once, and takes it in.
    pub(crate) async fn listen(&mut self) -> Result<(), Answer> {
        match self.wire.read().await {
            Ok(count) => {
                self.client.receive(self.wire.input(count));
                Ok(())
            }
            Err(Break::Closed) => {
                self.client.disconnected();
                Ok(())
            }
            Err(broken) => Err(self.lost(self.client.stage(), &broken)),
        }
    }

    /// A peer that refuses and closes breaks our write: its words may still be there to read.
    async fn last_words(&mut self, broken: Break) -> Answer {
        if matches!(broken, Break::TimedOut) {
            return self.lost(self.client.stage(), &broken);
        }
        while let Ok(count) = self.wire.read().await {
            self.client.receive(self.wire.input(count));
        }
        let stage = self.client.stage();
        self.client.disconnected();
        while let Some(event) = self.client.poll() {
            if let ClientEvent::Closed {
                reply: Some(reply), ..
            }
            | ClientEvent::Failed {
                reply: Some(reply), ..
            } = event
            {
                return self.answer(&reply).softened();
            }
        }
        self.lost(stage, &broken)
    }

    fn handed(&self) -> Handed {
        match (self.is_lmtp(), self.client.extensions().dsn) {
            (true, _) => Handed::Mailbox,
            (false, true) => Handed::Next,
            (false, false) => Handed::NextWithoutDsn,
        }
    }

    pub(crate) fn answer(&self, reply: &Reply) -> Answer {
        let class = u8::try_from(reply.code / 100).unwrap_or(4);
        let general = EnhancedCode(if matches!(class, 2 | 4 | 5) { class } else { 4 }, 0, 0);
        // RFC 2034 §4: a code of another class than the reply's means nothing.
        let enhanced = reply
            .enhanced
            .filter(|code| code.0 == general.0)
            .unwrap_or(general);
        Answer::replied(&self.host, reply.code, enhanced, &reply.text)
    }

    pub(crate) fn ours(
        &self,
        enhanced: EnhancedCode,
        text: impl Into<std::borrow::Cow<'static, str>>,
    ) -> Answer {
        Answer::ours(&self.host, enhanced, text)
    }

    /// The connection was lost, while this was awaited.
    pub(crate) fn lost(&self, stage: Stage, broken: &Break) -> Answer {
        let what = match stage {
            Stage::Greeting => "waiting for its greeting",
            Stage::Hello => "saying EHLO",
            Stage::StartTls => "starting TLS",
            Stage::Auth => "logging in",
            Stage::Mail => "stating the sender",
            Stage::Rcpt(_) => "stating a recipient",
            Stage::Data => "asking to send the message",
            Stage::Body => "sending the message",
            Stage::EndOfData => "waiting for it to confirm the message",
            Stage::Reset | Stage::Quit | Stage::Idle => "the connection was idle",
        };
        self.ours(
            EnhancedCode(4, 4, 2),
            format!("lost the connection while {what}: {broken}"),
        )
    }

    fn unfit(&self, unfit: Unfit) -> Answer {
        match unfit {
            Unfit::Smtputf8 => self.ours(
                EnhancedCode(5, 6, 7),
                "the host does not offer SMTPUTF8, which this message needs",
            ),
            Unfit::Binary => self.ours(
                EnhancedCode(5, 6, 3),
                "the host does not offer BINARYMIME, which this message needs",
            ),
            Unfit::TooLarge(limit) => self.ours(
                EnhancedCode(5, 3, 4),
                format!("the message is larger than the {limit} bytes the host takes"),
            ),
            Unfit::Address => self.ours(
                EnhancedCode(5, 1, 3),
                "an address of this message cannot be written on a command line",
            ),
            Unfit::NotReady => self.ours(
                EnhancedCode(4, 5, 0),
                "the connection was not ready for a message",
            ),
        }
    }
}

/// Reads a piece of a body on a thread that may wait for the disk.
async fn read_piece(
    mut file: BodyFile,
    mut piece: Vec<u8>,
) -> Result<(std::io::Result<usize>, BodyFile, Vec<u8>), Answer> {
    let read = tokio::task::spawn_blocking(move || {
        let count = file.read(&mut piece);
        (count, file, piece)
    });
    read.await
        .map_err(|_| Answer::nobody(EnhancedCode(4, 3, 0), "the server is stopping"))
}

impl<T> Flight<T> {
    /// Its share of the window; a body in a file is not held in memory.
    fn bytes(&self) -> usize {
        match &self.parcel.body {
            Body::Inline(bytes) => bytes.len(),
            Body::File(_) => 0,
        }
    }

    fn put(&mut self, index: usize, outcome: Outcome) {
        if let Some(place) = self.outcomes.get_mut(index) {
            place.get_or_insert(outcome);
        }
    }

    fn put_all(&mut self, outcome: &Outcome) {
        for place in &mut self.outcomes {
            place.get_or_insert_with(|| outcome.clone());
        }
    }

    /// Whoever has no outcome yet gets this one.
    fn finish(mut self, rest: &Answer, again: bool) -> Delivery<T> {
        let rest = || rest.clone().into_outcome(Handed::Next);
        let outcomes = self
            .outcomes
            .drain(..)
            .map(|outcome| outcome.unwrap_or_else(rest))
            .collect();
        Delivery {
            parcel: self.parcel,
            outcomes,
            again,
        }
    }
}

fn recipient(recipient: &postern_spool::Recipient) -> postern_smtp::Recipient<'_> {
    postern_smtp::Recipient {
        address: &recipient.address,
        notify: notify(recipient.notify),
        orcpt: recipient.orcpt.as_deref(),
    }
}

fn notify(notify: postern_spool::Notify) -> postern_smtp::Notify {
    use postern_smtp::Notify as Wire;
    use postern_spool::Notify as Kept;
    let pairs = [
        (Kept::NEVER, Wire::NEVER),
        (Kept::SUCCESS, Wire::SUCCESS),
        (Kept::FAILURE, Wire::FAILURE),
        (Kept::DELAY, Wire::DELAY),
    ];
    pairs
        .into_iter()
        .filter(|(kept, _)| notify.contains(*kept))
        .fold(Wire::default(), |all, (_, wire)| all.with(wire))
}

fn body_kind(kind: postern_spool::BodyKind) -> postern_smtp::BodyKind {
    match kind {
        postern_spool::BodyKind::SevenBit => postern_smtp::BodyKind::SevenBit,
        postern_spool::BodyKind::EightBit => postern_smtp::BodyKind::EightBit,
        postern_spool::BodyKind::Binary => postern_smtp::BodyKind::Binary,
    }
}

fn ret(ret: postern_spool::Ret) -> postern_smtp::Ret {
    match ret {
        postern_spool::Ret::Full => postern_smtp::Ret::Full,
        postern_spool::Ret::Headers => postern_smtp::Ret::Headers,
    }
}

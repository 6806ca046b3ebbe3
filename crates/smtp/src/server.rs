//! One session as a server: bytes in, questions out, bytes out.
//!
//! ```text
//! Fresh ──greet──→ Command ⇄ Login          (AUTH lines)
//!                  Command ⇄ Receiving      (DATA, a BDAT chunk)
//!                  Command ⇄ Skipping       (a BDAT chunk nobody wants)
//!                  Command → Handshake ──secured──→ Command
//!                  any     → Leaving → Closed
//! ```
//!
//! The loop around it, for any transport:
//!
//! ```
//! # use std::{io::{Read, Write}, sync::Arc, time::Instant};
//! # use postern_smtp::{Event, Queued, Reply, Secured, Session, Settings};
//! fn serve(mut stream: impl Read + Write, settings: Arc<Settings>) -> std::io::Result<()> {
//!     let mut session = Session::new(settings, Instant::now());
//!     session.greet(Instant::now());
//!     let (mut envelope, mut message) = (Vec::new(), Vec::new());
//!     loop {
//!         // 1. Answer everything that is asked.
//!         while let Some(event) = session.poll() {
//!             match event {
//!                 Event::Hello(ask) => drop(ask.accept(())),
//!                 Event::Auth(ask) => drop(ask.refuse(Reply::new(535, "5.7.8", "Authentication unsuccessful"))),
//!                 Event::AuthAbandoned => {}
//!                 Event::Mail(ask) => envelope = vec![ask.accept(()).sender.to_string()],
//!                 Event::Rcpt(ask) => envelope.push(ask.accept(()).recipient.to_string()),
//!                 Event::Data(ask) => drop(ask.accept(())),
//!                 Event::Body(piece) => message.extend_from_slice(piece),
//!                 // 250 only once it is on disk. An async host awaits its disk with the ask in hand.
//!                 Event::Deposit(ask) => drop(ask.accept(Queued { id: "ID1".to_owned() })),
//!                 Event::Reset => message.clear(),
//!                 // The event borrows the session; what these two ask for is done below.
//!                 Event::StartTls | Event::Closed => {}
//!             }
//!         }
//!         // 2. Write what there is to say, whole.
//!         stream.write_all(&session.take_output())?;
//!         if session.has_ended() {
//!             return Ok(());
//!         }
//!         if session.awaits_handshake() {
//!             // Shake hands on the stream, then:
//!             session.secured(Instant::now(), Secured::default());
//!         }
//!         // 3. Wait for input, until the deadline at most; if that comes first: session.expire(now).
//!         let _until = session.deadline();
//!         let mut bytes = [0; 4096];
//!         match stream.read(&mut bytes)? {
//!             0 => return Ok(()),
//!             count => session.receive(Instant::now(), &bytes[..count]),
//!         }
//!     }
//! }
//! # struct Wire(&'static [u8], Vec<u8>);
//! # impl Read for Wire { fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> { self.0.read(out) } }
//! # impl Write for Wire {
//! #     fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> { self.1.write(bytes) }
//! #     fn flush(&mut self) -> std::io::Result<()> { Ok(()) }
//! # }
//! # let mut wire = Wire(b"EHLO a\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.c>\r\nDATA\r\nhi\r\n.\r\nQUIT\r\n", Vec::new());
//! # serve(&mut wire, Arc::new(Settings::new("mx.example.com"))).unwrap();
//! # let said = String::from_utf8(wire.1).unwrap();
//! # assert!(said.starts_with("220 mx.example.com ESMTP\r\n") && said.contains("250 2.6.0 <ID1>") && said.contains("221 2.0.0"));
//! ```
//!
//! Without a copy, read into [`Session::buffer`] and call [`Session::received`] instead of `receive`. Read pieces of
//! 64 KiB at most: the output of one round is bounded by what was read in it.
//!
//! Never: a socket, a clock, a policy.

mod auth;
mod greeting;
mod handshake;
mod receiving;
mod settings;
mod stranger;
mod transaction;

use std::sync::Arc;
use std::time::Instant;

use crate::ask::{Ask, AuthStep, Data, Deposit, Event, Hello, Mail, Rcpt};
use crate::command::{self, Command, CommandError};
use crate::line::{AUTH_LIMIT, COMMAND_LIMIT, Input, LineError};
use crate::reply::Reply;
use receiving::{Piece, Receiving, Skipping};
pub use settings::{BareNewline, Secured, Settings, TlsOffer};
pub use stranger::Stranger;
use transaction::Phase;

/// What a client may send before it is greeted; one that sends more is cut off.
const EARLY_LIMIT: usize = 4096;

/// One session. See the module for the loop around it.
#[derive(Debug)]
pub struct Session {
    settings: Arc<Settings>,
    input: Input,
    output: Vec<u8>,
    stage: Stage,
    /// How the client said hello; nothing yet, or STARTTLS made it void.
    hello: Option<Greeted>,
    identity: Option<Box<str>>,
    security: Security,
    closing: Option<Box<Reply>>,
    /// Of the last input.
    now: Instant,
    deadline: Instant,
    /// Since the last input the host was asked something, and time may have passed on its side.
    host_took_time: bool,
    spoke_early: bool,
    stranger: Option<Stranger>,
    errors: u32,
    messages: u32,
    /// Octets of all bodies so far, of refused ones too.
    octets: u64,
}

#[derive(Debug)]
enum Stage {
    Fresh,
    Command(Phase),
    /// Lines go to this mechanism.
    Login(&'static str),
    Receiving(Receiving),
    Skipping(Skipping),
    Handshake,
    /// The last words are in the output; the host does not know yet.
    Leaving,
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Greeted {
    Helo,
    Ehlo,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Security {
    Clear,
    Tls(Secured),
}

/// What one step of a session comes to.
enum Step {
    Raise(Raised),
    Again,
    Wait,
}

/// An event before it borrows the session.
enum Raised {
    Hello(Hello),
    StartTls,
    Auth(AuthStep),
    AuthAbandoned,
    Mail(Mail),
    Rcpt(Rcpt),
    Data(Data),
    Body(Piece),
    Deposit(Deposit),
    Reset,
    Closed,
}

impl Session {
    /// A session that has said nothing yet. Call [`Session::greet`] or [`Session::refuse`] next; inside implicit
    /// TLS [`Session::secured`] before that, if there are facts to tell.
    pub fn new(settings: Arc<Settings>, now: Instant) -> Session {
        let security = if settings.tls == TlsOffer::Active {
            Security::Tls(Secured::default())
        } else {
            Security::Clear
        };
        Session {
            deadline: now + settings.idle_timeout,
            settings,
            input: Input::default(),
            output: Vec::new(),
            stage: Stage::Fresh,
            hello: None,
            identity: None,
            security,
            closing: None,
            now,
            host_took_time: false,
            spoke_early: false,
            stranger: None,
            errors: 0,
            messages: 0,
            octets: 0,
        }
    }

    /// Puts out the greeting, or refuses a client that did not wait for it (RFC 5321 §4.3.1). Call once.
    pub fn greet(&mut self, now: Instant) {
        if matches!(self.stage, Stage::Fresh) {
            self.now = now;
            self.progress();
            if self.spoke_early {
                self.turn_away_early();
                return;
            }
            self.say_parts(&["220 ", &Arc::clone(&self.settings).fqdn, " ESMTP"]);
            self.stage = Stage::Command(Phase::Idle);
        }
    }

    /// Puts out `reply` now and ends the session: a connection refused at the door, or cut off. [`Event::Closed`] follows.
    pub fn refuse(&mut self, reply: Reply) {
        if !self.has_ended() {
            reply.write_to(&mut self.output);
            self.leave();
        }
    }

    /// Whether the client spoke before it was greeted. Asked before or after [`Session::greet`].
    pub fn spoke_early(&self) -> bool {
        self.spoke_early
    }

    /// Who it was, if this was no SMTP client at all.
    pub fn stranger(&self) -> Option<Stranger> {
        self.stranger
    }

    /// Commands refused so far for their form or their place, and wrong guesses at passwords.
    pub fn errors(&self) -> u32 {
        self.errors
    }

    /// Takes in what the client sent (copied). Call [`Session::poll`] until `None` afterwards.
    pub fn receive(&mut self, now: Instant, bytes: &[u8]) {
        self.buffer().extend_from_slice(bytes);
        self.received(now);
    }

    /// Where to read to without a copy: append to it (`read_buf`), with room reserved, then call
    /// [`Session::received`]. [`Session::poll`] frees it once all of it is used up, so that a session that waits
    /// holds no buffer: best reserve only when the transport is readable.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        self.input.buffer()
    }

    /// Says that [`Session::buffer`] was appended to. Call [`Session::poll`] until `None` afterwards.
    pub fn received(&mut self, now: Instant) {
        self.now = now;
        self.host_took_time = false;
        match self.stage {
            Stage::Fresh => {
                self.spoke_early |= !self.input.is_empty();
                if self.input.rest().len() > EARLY_LIMIT {
                    self.refuse(Reply::new(421, "4.7.0", "Wait for the greeting"));
                }
            }
            // RFC 3207 §4.2: nothing said before the handshake counts after it.
            Stage::Handshake | Stage::Leaving | Stage::Closed => self.input.clear(),
            _ => {}
        }
    }

    /// What to do next; `None` when more input is needed. Call again after each event.
    pub fn poll(&mut self) -> Option<Event<'_>> {
        let raised = loop {
            match self.step() {
                Step::Raise(raised) => break raised,
                Step::Again => {}
                Step::Wait => {
                    self.input.release();
                    return None;
                }
            }
        };
        self.host_took_time = true;
        Some(raised.into_event(self))
    }

    /// Whether there is output to write.
    pub fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Moves the output out, to be written whole before the next read. Empty, and free of cost, when there is none.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// When to call [`Session::expire`]; ask again after every round and every `expire`. `None` once it has ended.
    pub fn deadline(&self) -> Option<Instant> {
        (!self.has_ended()).then_some(self.deadline)
    }

    /// The deadline has come: `421 4.4.2` and the end, unless the time was spent on the host's side; then it is
    /// only put off. Call [`Session::poll`] until `None` afterwards.
    pub fn expire(&mut self, now: Instant) {
        if self.host_took_time {
            self.host_took_time = false;
            self.deadline = now + self.settings.idle_timeout;
        }
        if now >= self.deadline && !self.has_ended() {
            self.say_parts(&[
                "421 4.4.2 ",
                &Arc::clone(&self.settings).fqdn,
                " Timeout waiting for client input",
            ]);
            self.leave();
        }
    }

    /// Ends the session at the next command with `reply` (421); a message being received is finished first.
    pub fn closing(&mut self, reply: Reply) {
        self.closing = Some(Box::new(reply));
    }

    /// Whether nothing is under way: no transaction, no login, no half command. Such a session can be cut with
    /// [`Session::refuse`] without harm.
    pub fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Command(Phase::Idle | Phase::MailRefused))
            && self.input.is_empty()
    }

    /// Whether the last words are said: write out what is left, then close.
    pub fn has_ended(&self) -> bool {
        matches!(self.stage, Stage::Leaving | Stage::Closed)
    }

    /// Whether [`Event::StartTls`] was raised and [`Session::secured`] not yet called.
    pub fn awaits_handshake(&self) -> bool {
        matches!(self.stage, Stage::Handshake)
    }

    /// Whether the session runs inside TLS.
    pub fn is_secure(&self) -> bool {
        self.security != Security::Clear
    }

    /// Who logged in.
    pub fn identity(&self) -> Option<&str> {
        self.identity.as_deref()
    }

    fn step(&mut self) -> Step {
        match self.stage {
            Stage::Fresh | Stage::Handshake | Stage::Closed => Step::Wait,
            Stage::Leaving => {
                self.stage = Stage::Closed;
                Step::Raise(Raised::Closed)
            }
            Stage::Command(_) => self.command_line(),
            Stage::Login(mechanism) => self.login_line(mechanism),
            Stage::Receiving(_) => self.body(),
            Stage::Skipping(_) => self.skip(),
        }
    }

    fn turn_away_early(&mut self) {
        self.stranger = Stranger::recognise(self.input.rest());
        let reply = self.stranger.map(Stranger::reply);
        self.last_words(reply.unwrap_or("554 5.5.1 Wait for the greeting"));
    }

    fn command_line(&mut self) -> Step {
        if let Some(stranger) = Stranger::recognise(self.input.rest()) {
            return self.turn_away(stranger);
        }
        let Some(line) = self.input.line(COMMAND_LIMIT) else {
            return Step::Wait;
        };
        self.progress();
        let line = match line {
            Ok(range) => range,
            Err(error) => return self.line_error(error),
        };
        // The buffer is set aside while its line is read, so that nothing is copied.
        let input = std::mem::take(&mut self.input);
        let text = std::str::from_utf8(input.at(line.clone()))
            .ok()
            .filter(|text| !text.contains(is_control));
        let step = match text.map(command::parse) {
            Some(parsed) => self.obey(parsed),
            None => self.bad("500 5.5.2 Syntax error"),
        };
        // STARTTLS and the end of a session throw away what was buffered.
        if !matches!(self.stage, Stage::Handshake | Stage::Leaving) {
            self.input = input;
            if matches!(step, Step::Raise(Raised::Auth(_))) {
                self.input.wipe(line);
            }
        }
        step
    }

    fn obey(&mut self, parsed: Result<Command<'_>, CommandError>) -> Step {
        let chunk_follows = matches!(parsed, Ok(Command::Bdat { .. }));
        if self.closing.is_some()
            && parsed != Ok(Command::Quit)
            && !(chunk_follows && self.is_amid_message())
        {
            return self.close();
        }
        if let Ok(Command::Bdat { size, last }) = parsed {
            return self.bdat(size, last);
        }
        if self.needs_tls() && !is_allowed_before_tls(&parsed) {
            return self.bad(MUST_STARTTLS);
        }
        let command = match parsed {
            Ok(command) => command,
            Err(error) => return self.command_error(error),
        };
        match command {
            Command::Ehlo(name) => Step::Raise(Raised::Hello(Hello {
                name: name.into(),
                extended: true,
            })),
            Command::Helo(name) => Step::Raise(Raised::Hello(Hello {
                name: name.into(),
                extended: false,
            })),
            Command::Mail(arguments) => self.mail(arguments),
            Command::Rcpt(arguments) => self.rcpt(arguments),
            Command::Data => self.data(),
            Command::Bdat { .. } => Step::Again,
            Command::Rset => self.rset(),
            Command::Noop => self.fine("250 2.0.0 OK"),
            Command::Vrfy => self.fine("252 2.1.5 Cannot VRFY user, but will take message"),
            Command::Help => self.fine(
                "214 2.0.0 EHLO HELO STARTTLS AUTH MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT",
            ),
            Command::Quit => self.quit(),
            Command::StartTls => self.start_tls(),
            Command::Auth { mechanism, initial } => self.auth(mechanism, initial),
        }
    }

    fn quit(&mut self) -> Step {
        self.say_parts(&[
            "221 2.0.0 ",
            &Arc::clone(&self.settings).fqdn,
            " Service closing transmission channel",
        ]);
        self.leave();
        Step::Again
    }

    fn close(&mut self) -> Step {
        if let Some(reply) = self.closing.take() {
            reply.write_to(&mut self.output);
        }
        self.leave();
        Step::Again
    }

    fn line_error(&mut self, error: LineError) -> Step {
        self.bad(match error {
            LineError::BareNewline => "500 5.5.2 Lines end with CRLF, not with a bare CR or LF",
            LineError::TooLong => "500 5.5.2 Line too long",
        })
    }

    fn command_error(&mut self, error: CommandError) -> Step {
        match error {
            CommandError::Unrecognized => self.bad("500 5.3.3 Unrecognized command"),
            CommandError::NotImplemented => self.bad("502 5.5.1 Command not implemented"),
            CommandError::Arguments => self.bad("501 5.5.4 Invalid arguments"),
            // What follows would be read as commands, though it is a message.
            CommandError::ChunkSize => self.last_words("501 5.5.4 Invalid chunk size"),
            // Nor may a web page speak to a mail server through somebody's browser.
            CommandError::Http => self.turn_away(Stranger::Http),
        }
    }

    fn turn_away(&mut self, stranger: Stranger) -> Step {
        self.stranger = Some(stranger);
        self.last_words(stranger.reply())
    }

    /// A command refused for its form or its place: counted.
    fn bad(&mut self, line: &str) -> Step {
        self.errors += 1;
        if self.has_erred_too_often() {
            self.too_many_errors()
        } else {
            self.fine(line)
        }
    }

    /// A wrong guess at a password, refused by the host: counted too.
    fn refuse_counted(&mut self, reply: &Reply) {
        self.errors += 1;
        if self.has_erred_too_often() {
            self.too_many_errors();
        } else {
            self.answer(reply);
        }
    }

    fn has_erred_too_often(&self) -> bool {
        self.settings.max_errors > 0 && self.errors > self.settings.max_errors
    }

    fn too_many_errors(&mut self) -> Step {
        self.last_words("421 4.7.0 Too many errors, closing transmission channel")
    }

    fn fine(&mut self, line: &str) -> Step {
        self.say(line);
        Step::Again
    }

    fn last_words(&mut self, line: &str) -> Step {
        self.say(line);
        self.leave();
        Step::Again
    }

    fn say(&mut self, line: &str) {
        self.say_parts(&[line]);
    }

    fn say_parts(&mut self, parts: &[&str]) {
        parts
            .iter()
            .for_each(|part| self.output.extend_from_slice(part.as_bytes()));
        self.output.extend_from_slice(b"\r\n");
    }

    /// Says a reply of the host. RFC 5321 §3.8: 421 closes, whatever it answers.
    fn answer(&mut self, reply: &Reply) {
        reply.write_to(&mut self.output);
        if reply.code == 421 {
            self.leave();
        }
    }

    fn leave(&mut self) {
        self.stage = Stage::Leaving;
        self.input.clear();
    }

    /// The client did something worth waiting for.
    fn progress(&mut self) {
        self.deadline = self.now + self.settings.idle_timeout;
    }
}

const MUST_STARTTLS: &str = "530 5.7.0 Must issue a STARTTLS command first";

/// definition.md, `[access.tls] require`; RFC 3207 §4.
fn is_allowed_before_tls(parsed: &Result<Command<'_>, CommandError>) -> bool {
    matches!(parsed, Ok(Command::Ehlo(_) | Command::StartTls | Command::Noop | Command::Rset | Command::Quit))
        // These end the session.
        || matches!(parsed, Err(CommandError::ChunkSize | CommandError::Http))
}

fn is_control(letter: char) -> bool {
    letter.is_ascii_control() && letter != '\t'
}

impl Raised {
    fn into_event(self, session: &mut Session) -> Event<'_> {
        match self {
            Raised::Hello(hello) => Event::Hello(Ask::new(session, hello)),
            Raised::StartTls => Event::StartTls,
            Raised::Auth(step) => Event::Auth(Ask::new(session, step)),
            Raised::AuthAbandoned => Event::AuthAbandoned,
            Raised::Mail(mail) => Event::Mail(Ask::new(session, mail)),
            Raised::Rcpt(rcpt) => Event::Rcpt(Ask::new(session, rcpt)),
            Raised::Data(data) => Event::Data(Ask::new(session, data)),
            Raised::Body(Piece::Input(range)) => Event::Body(session.input.at(range)),
            Raised::Body(Piece::Newline(newline)) => Event::Body(newline),
            Raised::Deposit(deposit) => Event::Deposit(Ask::new(session, deposit)),
            Raised::Reset => Event::Reset,
            Raised::Closed => Event::Closed,
        }
    }
}

#[cfg(test)]
mod tests;

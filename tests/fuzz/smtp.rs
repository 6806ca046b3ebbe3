//! The parsers of crates/smtp as functions over bytes: whatever comes, they must not panic, and what they promise must hold.
//!
//! Never: a random number; the bytes decide everything, so that a finding can be played again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use postern_smtp::body::{Decoded, Decoder, DotStuffer, Form};
use postern_smtp::params::{MailParams, RcptParams, xtext_decode, xtext_encode};
use postern_smtp::{
    AuthAnswer, BareNewline, Client, ClientEvent, ClientSettings, Domain, Event, Mailbox, Queued,
    Recipient, Reply, Secured, Session, Settings, TlsOffer, Transaction, command,
};

/// What a target is called, and what it is.
type Target = (&'static str, fn(&[u8]));

/// All targets by name.
pub(crate) const TARGETS: [Target; 6] = [
    ("command", command),
    ("address", address),
    ("params", params),
    ("body", body),
    ("session", session),
    ("client", client),
];

/// A command line, and what may follow MAIL and RCPT.
pub(crate) fn command(bytes: &[u8]) {
    let Ok(line) = std::str::from_utf8(bytes) else {
        return;
    };
    let _ = command::parse(line);
    if let Ok(mail) = command::mail(line) {
        let again = command::mail(&format!(
            "FROM:<{}> {}",
            mail.sender,
            if mail.smtputf8 { "SMTPUTF8" } else { "" }
        ));
        assert_eq!(again.map(|again| again.sender), Ok(mail.sender));
    }
    for utf8 in [false, true] {
        if let Ok(rcpt) = command::rcpt(line, utf8) {
            let again = command::rcpt(&format!("TO:<{}>", rcpt.recipient), utf8);
            assert_eq!(again.map(|again| again.recipient), Ok(rcpt.recipient));
        }
    }
}

/// A mailbox, a domain.
pub(crate) fn address(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    for utf8 in [false, true] {
        if let Ok(mailbox) = Mailbox::parse(text, utf8) {
            assert!(utf8 || text.is_ascii());
            assert!(!text.contains(char::is_control) && mailbox.local.len() <= 64);
            assert_eq!(
                Mailbox::parse(&mailbox.to_string(), utf8).as_ref(),
                Ok(&mailbox)
            );
            assert!(!mailbox.unquoted_local().is_empty());
            assert_eq!(mailbox.needs_utf8(), !mailbox.to_string().is_ascii());
        }
        if let Ok(domain) = Domain::parse(text, utf8) {
            assert!(!text.ends_with('.') && !text.contains(['@', ' ', '>']));
            assert_eq!(Domain::parse(&domain.to_string(), utf8), Ok(domain));
        }
    }
}

/// Parameters and xtext.
pub(crate) fn params(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(params) = MailParams::parse(text) {
        assert!(
            params
                .envid
                .is_none_or(|envid| envid.len() <= 100 && xtext_decode(&envid).is_some())
        );
    }
    for utf8 in [false, true] {
        if let Ok(params) = RcptParams::parse(text, utf8) {
            assert!(
                params
                    .orcpt
                    .is_none_or(|orcpt| orcpt.len() <= 500 && orcpt.contains(';'))
            );
        }
    }
    assert_eq!(xtext_decode(&xtext_encode(text)).as_deref(), Some(text));
    if let Some(decoded) = xtext_decode(text) {
        assert_eq!(xtext_decode(&xtext_encode(&decoded)), Some(decoded));
    }
}

/// A body in, and out again. The first byte says how it is cut and read.
pub(crate) fn body(bytes: &[u8]) {
    let Some((&choice, wire)) = bytes.split_first() else {
        return;
    };
    let form = [Form::Dots, Form::Lines, Form::Octets][usize::from(choice) % 3];
    let convert = choice & 8 != 0;
    let whole = decode(wire, wire.len(), form, convert);
    assert_eq!(
        decode(wire, usize::from(choice >> 4) + 1, form, convert),
        whole
    );
    if let (Form::Dots, Some(used)) = (form, whole.2) {
        assert!([b"\r\n", &wire[..used]].concat().ends_with(b"\r\n.\r\n"));
    }
    let mut stuffer = DotStuffer::new();
    let mut sent = Vec::new();
    wire.chunks(usize::from(choice >> 4) + 1)
        .for_each(|piece| stuffer.encode_into(piece, &mut sent));
    sent.extend_from_slice(stuffer.finish());
    let (_, clean, end) = decode(&sent, sent.len(), Form::Dots, false);
    assert!(end == Some(sent.len()) && (clean || wire.contains(&0)));
}

/// The body, whether it was found good, and how many octets were read up to its end.
fn decode(wire: &[u8], step: usize, form: Form, convert: bool) -> (Vec<u8>, bool, Option<usize>) {
    let mut decoder = Decoder::new(form, convert);
    let (mut body, mut clean, mut used) = (Vec::new(), true, 0);
    for mut piece in wire.chunks(step.max(1)) {
        loop {
            let (count, decoded) = decoder.step(piece);
            used += count;
            match decoded {
                Decoded::Piece(range) if clean => body.extend_from_slice(&piece[range]),
                Decoded::Newline(newline) if clean => body.extend_from_slice(newline),
                Decoded::Piece(_) | Decoded::Newline(_) => {}
                Decoded::Error(_) => {
                    assert!(clean);
                    clean = false;
                    decoder.discard();
                }
                Decoded::End => return (body, clean, Some(used)),
                Decoded::More => break,
            }
            piece = &piece[count..];
        }
    }
    (body, clean, None)
}

/// A whole session. The first bytes choose the settings and what the host answers.
pub(crate) fn session(bytes: &[u8]) {
    let Some(([choice, step, answers], input)) = bytes
        .split_first_chunk::<3>()
        .map(|(head, rest)| (*head, rest))
    else {
        return;
    };
    let now = Instant::now();
    let mut session = Session::new(Arc::new(settings(choice)), now);
    session.greet(now);
    let mut host = Host {
        answers,
        received: 0,
        output: Vec::new(),
    };
    host.attend(&mut session);
    for piece in input.chunks(usize::from(step) + 1) {
        session.receive(now, piece);
        host.attend(&mut session);
        assert!(session.buffer().capacity() <= 32_768);
        if session.awaits_handshake() {
            session.secured(
                now,
                Secured {
                    client_certificate: choice & 1 != 0,
                },
            );
        }
    }
    session.expire(now + Duration::from_secs(3600));
    session.expire(now + Duration::from_secs(7200));
    host.attend(&mut session);
    assert!(session.has_ended() && session.deadline().is_none());
    check_output(&host.output);
}

fn settings(choice: u8) -> Settings {
    let mut settings = Settings::new("mx.example.com");
    settings.tls = [
        TlsOffer::None,
        TlsOffer::Offered,
        TlsOffer::Required,
        TlsOffer::Active,
    ][usize::from(choice & 3)];
    settings.bare_newline = if choice & 4 == 0 {
        BareNewline::Refuse
    } else {
        BareNewline::Convert
    };
    settings.mechanisms_tls = vec!["PLAIN", "LOGIN", "EXTERNAL"];
    if choice & 8 == 0 {
        settings.mechanisms_clear = vec!["PLAIN", "LOGIN"];
    }
    if choice & 16 != 0 {
        (
            settings.max_message_size,
            settings.max_session_size,
            settings.max_messages,
        ) = (100, 300, 3);
        (settings.max_recipients, settings.max_errors) = (2, 3);
    }
    settings
}

struct Host {
    answers: u8,
    /// Octets of the message being received.
    received: u64,
    output: Vec<u8>,
}

impl Host {
    /// Answers all that is asked; every so often no, or not at all.
    fn attend(&mut self, session: &mut Session) {
        while let Some(event) = session.poll() {
            self.answers = self.answers.wrapping_mul(5).wrapping_add(1);
            let (no, drops) = (self.answers & 0x70 == 0x70, self.answers & 0xf8 == 0x88);
            let refusal = Reply::new(
                if self.answers & 0x7f == 0x75 {
                    421
                } else {
                    550
                },
                "5.0.0",
                "no",
            );
            match event {
                Event::Hello(ask) if no => drop(ask.refuse(refusal)),
                Event::Mail(ask) if no => drop(ask.refuse(refusal)),
                Event::Rcpt(ask) if no => drop(ask.refuse(refusal)),
                Event::Data(ask) if no => drop(ask.refuse(refusal)),
                Event::Deposit(ask) if no => drop(ask.refuse(refusal)),
                Event::Auth(ask) if no => drop(ask.refuse(refusal)),
                Event::Auth(ask) if self.answers & 1 == 0 => {
                    drop(ask.accept(AuthAnswer::Challenge(vec![self.answers])))
                }
                Event::Auth(ask) => drop(ask.accept(AuthAnswer::Success {
                    identity: "a".into(),
                })),
                Event::Hello(_) | Event::Mail(_) | Event::Rcpt(_) | Event::Data(_) if drops => {}
                Event::Hello(ask) => drop(ask.accept(())),
                Event::Mail(ask) => drop(ask.accept(())),
                Event::Rcpt(ask) => drop(ask.accept(())),
                Event::Data(ask) => {
                    assert!(ask.recipients > 0);
                    self.received = 0;
                    ask.accept(());
                }
                Event::Body(piece) => {
                    assert!(!piece.is_empty());
                    self.received += piece.len() as u64;
                }
                Event::Deposit(ask) => {
                    assert_eq!(ask.size, self.received);
                    ask.accept(Queued { id: "ID".into() });
                }
                Event::Reset => self.received = 0,
                Event::StartTls | Event::AuthAbandoned | Event::Closed => {}
            }
        }
        self.output.extend(session.take_output());
    }
}

/// Every line is a reply.
fn check_output(output: &[u8]) {
    let text = std::str::from_utf8(output).expect("ASCII");
    assert!(text.ends_with("\r\n"));
    for line in text.split_terminator("\r\n") {
        assert!(
            line.len() >= 4
                && line.len() <= 510
                && line.bytes().take(3).all(|byte| byte.is_ascii_digit()),
            "{line}"
        );
        assert!(!line.contains(['\r', '\n']), "{line}");
    }
}

/// A client, its peer mad. The first bytes choose what the client is told to do.
pub(crate) fn client(bytes: &[u8]) {
    let Some(([choice, step], input)) = bytes
        .split_first_chunk::<2>()
        .map(|(head, rest)| (*head, rest))
    else {
        return;
    };
    let settings = ClientSettings {
        fqdn: "mx.example.com".into(),
        lmtp: choice & 1 != 0,
        prefer_chunking: choice & 2 != 0,
    };
    let mut driver = Driver {
        client: Client::new(settings),
        choice,
        begun: 0,
        ended: 0,
        closed: false,
    };
    for piece in input.chunks(usize::from(step) + 1) {
        driver.client.receive(piece);
        driver.attend();
    }
    driver.client.disconnected();
    driver.attend();
    assert!(driver.closed && driver.client.has_ended());
    assert_eq!(driver.begun, driver.ended);
}

struct Driver {
    client: Client,
    choice: u8,
    begun: u32,
    ended: u32,
    closed: bool,
}

impl Driver {
    fn attend(&mut self) {
        while let Some(event) = self.client.poll() {
            assert!(!self.closed, "{event:?} behind Closed");
            self.take(event);
        }
        check_commands(&self.client.take_output());
    }

    fn take(&mut self, event: ClientEvent) {
        match event {
            ClientEvent::Ready if self.choice & 4 != 0 && self.client.extensions().starttls => {
                self.client.start_tls()
            }
            ClientEvent::Ready if self.choice & 8 != 0 => {
                self.client.login("PLAIN", Some(b"\0a\0b"))
            }
            ClientEvent::Ready | ClientEvent::Refused { .. } | ClientEvent::LoggedIn => {
                self.begin()
            }
            ClientEvent::TlsReady => self.client.secured(),
            ClientEvent::Challenge(challenge) => self
                .client
                .respond((challenge.len() < 3).then_some(&challenge)),
            ClientEvent::Recipient { index, .. } => assert!(index < 3),
            ClientEvent::SendBody { .. } => {
                self.client.body(b".a\r\n");
                self.client.end_body();
                self.begin();
            }
            ClientEvent::Failed { .. } => {
                self.ended += 1;
                self.begin();
            }
            ClientEvent::Done { last, .. } => {
                self.ended += u32::from(last);
                self.begin();
            }
            ClientEvent::Closed { .. } => self.closed = true,
        }
    }

    fn begin(&mut self) {
        if self.begun >= 20 {
            return self.client.quit();
        }
        let recipients = ["a@x.org", "b@x.org", "c@x.org"].map(|address| Recipient {
            address,
            ..Recipient::default()
        });
        let transaction = Transaction {
            sender: "s@x.org",
            recipients: &recipients,
            size: 4,
            ..Transaction::default()
        };
        self.begun += u32::from(self.client.begin(&transaction).is_ok());
    }
}

fn check_commands(output: &[u8]) {
    assert!(output.is_empty() || output.ends_with(b"\r\n"));
}

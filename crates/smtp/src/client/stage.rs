//! Where a conversation stands, and what the replies to come will answer.
//!
//! Never: what a reply says.

/// Where a conversation stands: names the command a reply answers, or that was never answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Before the greeting.
    Greeting,
    /// EHLO, HELO or LHLO.
    Hello,
    /// STARTTLS.
    StartTls,
    /// AUTH.
    Auth,
    /// MAIL.
    Mail,
    /// RCPT of this recipient.
    Rcpt(usize),
    /// DATA, before the body.
    Data,
    /// While the body travels.
    Body,
    /// After the whole body: the peer may or may not have taken it.
    EndOfData,
    /// RSET.
    Reset,
    /// QUIT.
    Quit,
    /// Nothing is awaited.
    Idle,
}

/// What a reply answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaited {
    Greeting,
    Ehlo,
    Helo,
    StartTls,
    Auth,
    /// AUTH without an initial response: the peer may greet in words.
    AuthAlone,
    Mail,
    Rcpt(usize),
    Data,
    /// The whole message: of this recipient, or of all; whether it is the transaction's last.
    Message(Option<usize>, bool),
    /// A message nobody wanted: the lone dot after a 354 that should not have come, or BDAT sent in vain.
    Nothing,
    Reset,
    Quit,
}

impl Awaited {
    pub(super) fn stage(self) -> Stage {
        match self {
            Awaited::Greeting => Stage::Greeting,
            Awaited::Ehlo | Awaited::Helo => Stage::Hello,
            Awaited::StartTls => Stage::StartTls,
            Awaited::Auth | Awaited::AuthAlone => Stage::Auth,
            Awaited::Mail => Stage::Mail,
            Awaited::Rcpt(index) => Stage::Rcpt(index),
            Awaited::Data => Stage::Data,
            Awaited::Message(..) | Awaited::Nothing => Stage::EndOfData,
            Awaited::Reset => Stage::Reset,
            Awaited::Quit => Stage::Quit,
        }
    }
}

/// As a log says it: "in reply to RCPT".
impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Stage::Greeting => "the connection",
            Stage::Hello => "EHLO",
            Stage::StartTls => "STARTTLS",
            Stage::Auth => "AUTH",
            Stage::Mail => "MAIL",
            Stage::Rcpt(_) => "RCPT",
            Stage::Data => "DATA",
            Stage::Body => "the message",
            Stage::EndOfData => "the end of the message",
            Stage::Reset => "RSET",
            Stage::Quit => "QUIT",
            Stage::Idle => "nothing",
        })
    }
}

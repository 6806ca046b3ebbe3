//! Why an exchange ended in no: for the log. The other side hears the same words for each of them.
//!
//! Never: an octet of what was refused.

use std::fmt;

/// Why an exchange was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not the shape the mechanism prescribes.
    Malformed,
    /// The name is empty.
    NoName,
    /// The password is empty.
    NoPassword,
    /// A name or password is not text of the mechanism's kind, or holds a NUL.
    NotText,
    /// More than [`LIMIT`](crate::LIMIT), or a name or password beyond what any account has.
    TooLong,
    /// A step after the end, or an answer to a question nobody asked.
    Over,
    /// This half of the mechanism is not here, or the host did not switch it on.
    Unsupported,
    /// The proof does not fit the account's secret: a wrong password, or no such account.
    WrongPassword,
    /// The other side's nonce is not the one of this exchange.
    Nonce,
    /// The client believes that no channel binding was offered, though it was: somebody changed the offer on its way.
    Downgrade,
    /// The client binds to the channel in a way that is not to be had here.
    BindingType,
    /// The client is bound to another channel than this one: its login was passed on.
    ChannelBinding,
    /// The client is not bound to the channel, and must be.
    NoChannelBinding,
    /// LM, LMv2 alone, or NTLMv1: never taken.
    OldNtlm,
    /// An anonymous NTLM login.
    Anonymous,
    /// The NTLM messages carry no integrity code, and must.
    NoIntegrityCode,
    /// An integrity code that does not fit: messages were changed on their way.
    IntegrityCode,
    /// The client's list of mechanisms holds none that is switched on here.
    NoMechanism,
    /// The Kerberos ticket was refused by the library.
    Ticket,
    /// The client insists on a security layer; SMTP has TLS for that.
    SecurityLayer,
    /// Client only: the server asks for fewer or more rounds than a sound server does.
    Iterations,
    /// Client only: the server did not prove that it knows the account.
    Unproven,
    /// Client only: the server told of an error inside the exchange.
    PeerError,
    /// Client only: the server asks for more than the mechanism has.
    UnexpectedChallenge,
}

impl Refusal {
    const fn words(self) -> &'static str {
        match self {
            Refusal::Malformed => "the response does not have the mechanism's form",
            Refusal::NoName => "the name is empty",
            Refusal::NoPassword => "the password is empty",
            Refusal::NotText => "name or password is not text",
            Refusal::TooLong => "the response is too long",
            Refusal::Over => "the exchange is over",
            Refusal::Unsupported => "the mechanism is not switched on",
            Refusal::WrongPassword => "unknown account or wrong password",
            Refusal::Nonce => "the nonce is not the one of this exchange",
            Refusal::Downgrade => "the offer of channel binding was taken away on its way",
            Refusal::BindingType => "the type of channel binding is not to be had here",
            Refusal::ChannelBinding => "the login is bound to another channel",
            Refusal::NoChannelBinding => "the login is not bound to the channel",
            Refusal::OldNtlm => "LM and NTLMv1 are not taken",
            Refusal::Anonymous => "anonymous NTLM is not taken",
            Refusal::NoIntegrityCode => "the integrity code is missing",
            Refusal::IntegrityCode => "the integrity code does not fit: the messages were changed",
            Refusal::NoMechanism => "no mechanism in common",
            Refusal::Ticket => "the Kerberos ticket was refused",
            Refusal::SecurityLayer => "the client insists on a security layer",
            Refusal::Iterations => "the number of rounds is outside 4,096 to 1,000,000",
            Refusal::Unproven => "the server did not prove that it knows the account",
            Refusal::PeerError => "the server told of an error",
            Refusal::UnexpectedChallenge => "the server asks for more than the mechanism has",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

impl std::error::Error for Refusal {}

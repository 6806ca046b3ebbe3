//! [messages]: how much, how many, and what becomes of the odd ones.

use std::time::Duration;

use postern_access::Rate;

use crate::target::SmartHost;

/// The section's settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Messages {
    /// The largest message taken, in bytes.
    pub max_message_size: u64,
    /// All bodies of one session together, in bytes.
    pub max_session_size: u64,
    /// Outgoing: then a new connection is opened.
    pub max_messages_per_connection: u32,
    /// Incoming.
    pub max_messages_per_session: u32,
    /// Recipients of one message.
    pub max_recipients: u32,
    /// Bad commands in one session.
    pub max_errors: u32,
    /// Who gets a copy of each non-delivery report.
    pub ndr_copy_to: Option<String>,
    /// What becomes of a report that cannot be delivered.
    pub badmail: Badmail,
    /// Where recipients of a local domain go that are not found.
    pub unresolved_to: Option<SmartHost>,
    /// What a bare CR or LF in a message means.
    pub bare_newline: BareNewline,
    /// `Received:` lines at most.
    pub max_hops: u32,
    /// How much an anonymous client may send in a time.
    pub anonymous_rate: Option<RatePair>,
    /// How much an account may send in a time.
    pub account_rate: Option<RatePair>,
}

impl Default for Messages {
    fn default() -> Messages {
        Messages {
            max_message_size: 25_000_000,
            max_session_size: 250_000_000,
            max_messages_per_connection: 20,
            max_messages_per_session: 1000,
            max_recipients: 1000,
            max_errors: 20,
            ndr_copy_to: None,
            badmail: Badmail::Kept,
            unresolved_to: None,
            bare_newline: BareNewline::Refuse,
            max_hops: 30,
            anonymous_rate: None,
            account_rate: None,
        }
    }
}

/// What becomes of a report that cannot be delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Badmail {
    /// It is kept under the server's state folder with its reason.
    #[default]
    Kept,
}

/// What a bare CR or LF in a message means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BareNewline {
    /// The message is refused.
    #[default]
    Refuse,
    /// It becomes CRLF on the way in.
    Convert,
}

/// Messages and recipients in a time: `"100/1h"` for messages, or a table with either or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RatePair {
    /// Messages.
    pub messages: Option<Rate>,
    /// Recipients.
    pub recipients: Option<Rate>,
}

impl RatePair {
    /// The longest time a rate may be over.
    pub(crate) const LONGEST: Duration = Duration::from_secs(30 * 86_400);
}

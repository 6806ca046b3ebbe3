//! `[messages]`: how much, how many, and what becomes of the odd ones.

use postern_access::Rate;

use crate::fields::Fields;
use crate::reader::{Node, Reader};
use crate::target::SmartHost;
use crate::values::{Misfit, clip, is_domain, rate};

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

impl Messages {
    pub(crate) fn read(fields: &mut Fields<'_, '_, '_>) -> Messages {
        let mut read = Messages::default();
        fields.set(&mut read.max_message_size, "max_message_size", Reader::size);
        fields.set(&mut read.max_session_size, "max_session_size", Reader::size);
        let counts = [
            (
                &mut read.max_messages_per_connection,
                "max_messages_per_connection",
                1..=u32::MAX,
            ),
            (
                &mut read.max_messages_per_session,
                "max_messages_per_session",
                1..=u32::MAX,
            ),
            // RFC 5321 §4.5.3.1.8: a minimum of 100 recipients must be taken.
            (&mut read.max_recipients, "max_recipients", 100..=1_000_000),
            (&mut read.max_errors, "max_errors", 1..=u32::MAX),
            (&mut read.max_hops, "max_hops", 1..=1000),
        ];
        for (into, name, range) in counts {
            fields.set(into, name, |reader, node| reader.number(node, range));
        }
        fields.set_some(&mut read.ndr_copy_to, "ndr_copy_to", |reader, node| {
            let address = mailbox(reader, node)?;
            reader.not_yet(node.span(), "copies of non-delivery reports", "remove it");
            Some(address)
        });
        fields.set(&mut read.badmail, "badmail", |reader, node| {
            reader.word(node, &[("kept", Badmail::Kept)])
        });
        fields.set_some(&mut read.unresolved_to, "unresolved_to", |reader, node| {
            reader.parsed(node, "\"mail.example.net:25\"", SmartHost::parse)
        });
        let words = [
            ("refuse", BareNewline::Refuse),
            ("convert", BareNewline::Convert),
        ];
        fields.set(&mut read.bare_newline, "bare_newline", |reader, node| {
            reader.word(node, &words)
        });
        fields.set_some(&mut read.anonymous_rate, "anonymous_rate", rates);
        fields.set_some(&mut read.account_rate, "account_rate", rates);
        read
    }
}

/// One whole address.
fn mailbox<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<String> {
    reader.parsed(node, "\"postmaster@example.com\"", |text| {
        match text.rsplit_once('@') {
            Some((local, domain))
                if !local.is_empty()
                    && local.len() <= 64
                    && !local.contains([' ', '<', '>', '@'])
                    && is_domain(domain) =>
            {
                Ok(text.to_owned())
            }
            _ => Err(Misfit::new(
                format!("`{}` is not an address", clip(text)),
                "write \"postmaster@example.com\"",
            )),
        }
    })
}

fn rates<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<RatePair> {
    const EXAMPLE: &str = "\"100/1h\", or { messages = \"100/1h\", recipients = \"500/1h\" }";
    if node.get_ref().as_str().is_some() {
        let messages = reader.parsed(node, EXAMPLE, rate)?;
        return Some(RatePair {
            messages: Some(messages),
            recipients: None,
        });
    }
    let table = reader.table(node, &["messages", "recipients"], EXAMPLE)?;
    let mut one = |name: &str| {
        table
            .get(name)
            .and_then(|node| reader.parsed(node, "\"100/1h\"", rate))
    };
    let pair = RatePair {
        messages: one("messages"),
        recipients: one("recipients"),
    };
    if table.is_empty() {
        reader.error(node.span(), "a rate of nothing", format!("write {EXAMPLE}"));
        return None;
    }
    Some(pair)
}

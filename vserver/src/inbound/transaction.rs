//! One mail transaction as it grows: what MAIL said, the recipients, the body, and the envelope they become.
//!
//! Never: a decision whether any of it is taken.

use std::net::IpAddr;

use postern_policy::decide::Accepted;
use postern_smtp::{self as smtp, Mail, Rcpt};
use postern_spool::{BodyKind, Envelope, Notify, Recipient, Ret};

use super::deposit::Incoming;
use crate::server::unix_ms;

/// One message as it is being sent.
pub(super) struct Transaction {
    /// The sender; "" for the null sender.
    pub sender: String,
    /// The recipients accepted so far.
    pub recipients: Vec<Recipient>,
    /// What MAIL said.
    pub mail: Mail,
    /// Whether its sender is unproven, and the message to say so.
    pub marked: bool,
    /// The body, once it comes.
    pub incoming: Option<Incoming>,
}

/// Whose transaction it is.
pub(super) struct Whose<'a> {
    /// The account, once logged in.
    pub login: Option<&'a str>,
    /// The client.
    pub client: IpAddr,
    /// What it said in EHLO or HELO.
    pub helo: Option<&'a str>,
}

impl Transaction {
    /// A transaction that MAIL has opened.
    pub(super) fn open(mail: Mail, marked: bool) -> Transaction {
        Transaction {
            sender: mail.sender.to_string(),
            recipients: Vec::new(),
            mail,
            marked,
            incoming: None,
        }
    }

    /// Its envelope, as the spool keeps it.
    pub(super) fn envelope(self, deposit: &smtp::Deposit, whose: Whose<'_>) -> Envelope {
        Envelope {
            sender: self.sender,
            recipients: self.recipients,
            received: unix_ms(),
            body: match self.mail.body {
                smtp::BodyKind::Binary => BodyKind::Binary,
                // What the client said counts less than what it sent: a next hop must not be told 7BIT of an 8-bit body.
                _ if deposit.eight_bit => BodyKind::EightBit,
                smtp::BodyKind::EightBit => BodyKind::EightBit,
                smtp::BodyKind::SevenBit => BodyKind::SevenBit,
            },
            smtputf8: self.mail.smtputf8,
            ret: self.mail.ret.map(|ret| match ret {
                smtp::Ret::Full => Ret::Full,
                smtp::Ret::Headers => Ret::Headers,
            }),
            envid: self.mail.envid.map(String::from),
            login: whose.login.map(str::to_owned),
            client: Some(whose.client),
            helo: whose.helo.map(str::to_owned),
        }
    }

    /// One more recipient.
    pub(super) fn add(&mut self, rcpt: Rcpt, accepted: Accepted) {
        let notify = notify(rcpt.notify);
        match accepted {
            Accepted::AsWritten => self.recipients.push(Recipient {
                address: rcpt.recipient.to_string(),
                notify,
                orcpt: rcpt.orcpt.map(String::from),
            }),
            // RFC 3461 §5.2.7.1: an alias passes on what the sender asked for, and whom it asked it of.
            Accepted::Instead(addresses) => {
                let orcpt = rcpt.orcpt.map_or_else(
                    || {
                        format!(
                            "rfc822;{}",
                            smtp::params::xtext_encode(&rcpt.recipient.to_string())
                        )
                    },
                    String::from,
                );
                self.recipients
                    .extend(addresses.into_iter().map(|address| Recipient {
                        address,
                        notify,
                        orcpt: Some(orcpt.clone()),
                    }));
            }
        }
    }
}

fn notify(asked: smtp::Notify) -> Notify {
    let pairs = [
        (smtp::Notify::NEVER, Notify::NEVER),
        (smtp::Notify::SUCCESS, Notify::SUCCESS),
        (smtp::Notify::FAILURE, Notify::FAILURE),
        (smtp::Notify::DELAY, Notify::DELAY),
    ];
    pairs
        .into_iter()
        .filter(|(said, _)| asked.has(*said))
        .fold(Notify::UNSAID, |all, (_, meant)| all | meant)
}

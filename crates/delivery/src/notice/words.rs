//! A report in plain words: what happened, to whom, what the other side said, and what can be done.
//!
//! Never: a term that a sender has to look up, but in what the other side said.

use postern_smtp::EnhancedCode;

use super::{Action, Notice, Report, date, field, line};

pub(super) fn in_words(notice: &Notice<'_>, action: Action) -> String {
    let mut out = String::new();
    let fqdn = notice.fqdn;
    line(&mut out, format_args!("This is the mail server {fqdn}."));
    let what = match action {
        Action::Failed => "Your message could not be delivered to:",
        Action::Delayed => {
            "Your message is late; you need not send it again. It has not yet reached:"
        }
        Action::Delivered => "Your message was delivered, as you wished to be told, to:",
        Action::Relayed => {
            "Your message was passed on to a server that sends no further reports, for:"
        }
    };
    line(&mut out, format_args!("{what}"));
    for report in notice.reports {
        one_in_words(&mut out, report);
    }
    line(&mut out, format_args!(""));
    match action {
        Action::Failed => line(
            &mut out,
            format_args!(
                "It will not be tried again. All other recipients, if any, are not concerned."
            ),
        ),
        Action::Delayed => line(
            &mut out,
            format_args!(
                "It will be tried until {}.\r\nIf it cannot be delivered by then, you will be told.",
                date(notice.expires)
            ),
        ),
        Action::Delivered | Action::Relayed => {
            line(&mut out, format_args!("There is nothing you need to do."))
        }
    }
    line(&mut out, format_args!("\r\nThe message:"));
    line(
        &mut out,
        format_args!("  Sender:    {}", notice.envelope.sender),
    );
    if let Some(subject) = field(notice.header, "Subject") {
        line(
            &mut out,
            format_args!("  Subject:   {}", cut(&subject, 400)),
        );
    }
    line(
        &mut out,
        format_args!("  Accepted:  {}", date(notice.envelope.received)),
    );
    line(
        &mut out,
        format_args!(
            "  Queue id:  {} (quote it when you ask the administrator)",
            notice.about
        ),
    );
    out
}

fn one_in_words(out: &mut String, report: &Report<'_>) {
    line(out, format_args!("\r\n  {}", report.recipient.address));
    if matches!(report.action, Action::Delivered | Action::Relayed) {
        if !report.host.is_empty() {
            line(
                out,
                format_args!("      Taken by {}: {}", report.host, report.reply),
            );
        }
        return;
    }
    let (what, todo) = words(report.status);
    line(out, format_args!("      {what}"));
    if !report.reply.is_empty() {
        let who = if report.host.is_empty() {
            "This server says"
        } else {
            report.host
        };
        line(
            out,
            format_args!("      {who}:\r\n        {}", report.reply),
        );
    }
    if report.action == Action::Failed && !todo.is_empty() {
        line(out, format_args!("      {todo}"));
    }
}

/// What a status code means to somebody who has never heard of one, and what he can do.
fn words(status: EnhancedCode) -> (&'static str, &'static str) {
    match (status.1, status.2) {
        (1, 1 | 3 | 6) => (
            "The receiving server does not know this address.",
            "Please check it for a typing error, or ask the recipient by another way.",
        ),
        (1, 2) => (
            "The domain after the @ does not exist, or receives no mail.",
            "Please check it for a typing error.",
        ),
        (1, 10) => (
            "The domain after the @ says that it receives no mail.",
            "Please check it for a typing error.",
        ),
        (1, 7 | 8) => (
            "The receiving server does not accept your sender address.",
            "Please ask your administrator.",
        ),
        (1, _) => (
            "Something is wrong with the address.",
            "Please check it for a typing error.",
        ),
        (2, 1) => (
            "The mailbox exists but accepts no mail.",
            "Please ask the recipient by another way.",
        ),
        (2, 2) => (
            "The mailbox is full.",
            "Please try again later, or ask the recipient by another way.",
        ),
        (2, 3) | (3, 4) => (
            "The message is larger than the other side accepts.",
            "Please send it in parts, or share the file in another way.",
        ),
        (2, _) => (
            "The receiving server cannot put the message into the mailbox.",
            "Please try again later.",
        ),
        (3, _) => (
            "The receiving server is not able to take mail.",
            "Please try again later.",
        ),
        (4, 6 | 8) => (
            "The message ran in a circle between mail servers.",
            "Please ask your administrator: the route of the recipient's domain is wrong.",
        ),
        (4, 7) => (
            "The time for trying ran out. This is what was last heard:",
            "Please try again later, or ask the recipient by another way.",
        ),
        (4, _) => (
            "The receiving server could not be reached, or the connection was lost.",
            "Please try again later.",
        ),
        (5, _) => (
            "The two servers did not understand each other.",
            "Please ask your administrator.",
        ),
        (6, 7) => (
            "The receiving server does not support addresses of this kind (SMTPUTF8).",
            "Please use an address without special letters, if there is one.",
        ),
        (6, _) => (
            "The receiving server cannot handle the content of the message.",
            "Please send it in another form.",
        ),
        (7, _) => (
            "The message was refused by a rule.",
            "Please ask your administrator, or that of the recipient.",
        ),
        _ => (
            "The message was refused without a clear reason.",
            "Please ask your administrator.",
        ),
    }
}

fn cut(text: &str, limit: usize) -> String {
    text.chars().take(limit).collect()
}

//! A report for machines, field by field (RFC 3464 §2).
//!
//! Never: a control character from what a stranger gave: it could end a line, and begin a field of his own.

use super::{Action, Notice, Report, clean, date, line};

/// RFC 3464 §2.2, §2.3.
pub(super) fn in_fields(notice: &Notice<'_>) -> String {
    let mut out = String::new();
    line(
        &mut out,
        format_args!("Reporting-MTA: dns; {}", notice.fqdn),
    );
    if let Some(envid) = notice.envelope.envid.as_deref().and_then(from_xtext) {
        line(&mut out, format_args!("Original-Envelope-Id: {envid}"));
    }
    if let Some(helo) = notice
        .envelope
        .helo
        .as_deref()
        .filter(|helo| helo.is_ascii() && !helo.is_empty())
    {
        line(
            &mut out,
            format_args!("Received-From-MTA: dns; {}", clean(helo)),
        );
    }
    line(
        &mut out,
        format_args!("Arrival-Date: {}", date(notice.envelope.received)),
    );
    for report in notice.reports {
        one_in_fields(&mut out, notice, report);
    }
    out
}

fn one_in_fields(out: &mut String, notice: &Notice<'_>, report: &Report<'_>) {
    out.push_str("\r\n");
    let original = report
        .recipient
        .orcpt
        .as_deref()
        .and_then(|orcpt| orcpt.split_once(';'));
    if let Some((kind, address)) =
        original.and_then(|(kind, address)| Some((kind, from_xtext(address)?)))
    {
        line(
            out,
            format_args!("Original-Recipient: {}; {address}", clean(kind)),
        );
    }
    let address = &report.recipient.address;
    line(
        out,
        format_args!(
            "Final-Recipient: {}; {address}",
            if address.is_ascii() {
                "rfc822"
            } else {
                "utf-8"
            }
        ),
    );
    let action = match report.action {
        Action::Failed => "failed",
        Action::Delayed => "delayed",
        Action::Delivered => "delivered",
        Action::Relayed => "relayed",
    };
    line(out, format_args!("Action: {action}"));
    line(out, format_args!("Status: {}", report.status));
    let peer =
        report.reply.len() > 3 && report.reply.as_bytes()[..3].iter().all(u8::is_ascii_digit);
    if let Some(name) = report
        .host
        .split([' ', ':'])
        .next()
        .filter(|name| peer && !name.is_empty() && !report.host.starts_with("lmtp:"))
    {
        line(out, format_args!("Remote-MTA: dns; {name}"));
    }
    if !report.reply.is_empty() {
        line(
            out,
            format_args!(
                "Diagnostic-Code: {}; {}",
                if peer { "smtp" } else { "x-postern" },
                clean(report.reply)
            ),
        );
    }
    if let Some(tried) = report.tried {
        line(out, format_args!("Last-Attempt-Date: {}", date(tried)));
    }
    if report.action == Action::Delayed {
        line(
            out,
            format_args!("Will-Retry-Until: {}", date(notice.expires)),
        );
    }
}

/// Decodes xtext (RFC 3461 §4); what would end a line is dropped, for it came from a stranger.
fn from_xtext(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'+' {
            hex(rest.next()?)? << 4 | hex(rest.next()?)?
        } else {
            byte
        });
    }
    String::from_utf8(bytes).ok().map(|text| clean(&text))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

//! Reports to the sender: what happened to a message, in plain words first, then for machines (RFC 3461, 3464, 6522).
//!
//! ```text
//! multipart/report ─ text/plain               what happened, what the other side said, what can be done
//!                  ├ message/delivery-status  the same, field by field (RFC 3464)
//!                  └ text/rfc822-headers or message/rfc822   what was sent (RFC 3461 §6.2)
//! ```
//!
//! A report goes out with the null sender and says `Auto-Submitted` (RFC 3834 §5), so that nothing answers it. Where an
//! address or the returned header is not ASCII the parts are those of RFC 6533.
//!
//! Never: a report about a message with the null sender (RFC 5321 §4.5.5), or where NOTIFY forbids it: [`owed`] decides.

mod fields;
mod words;

use std::fmt::Write as _;
use std::io::{self, Read};

use jiff::Timestamp;
use postern_smtp::EnhancedCode;
use postern_spool::{Body, BodyKind, Envelope, Notify, Recipient, Ret};

/// How much of a message's header is returned; a header beyond this is cut at the end of a line.
pub const HEADER_LIMIT: usize = 64 * 1024;
/// A subject longer than this is not repeated in the report's own.
const SUBJECT_LIMIT: usize = 200;

/// What a report is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It will not be delivered.
    Failed,
    /// It is late, and still being tried.
    Delayed,
    /// It lies in the mailbox.
    Delivered,
    /// It was handed to a host that sends no reports (RFC 3461 §5.2.2).
    Relayed,
}

/// Whether the sender is owed a report of this about a recipient (RFC 3461 §4.1, §5.2).
pub fn owed(sender: &str, notify: Notify, action: Action) -> bool {
    let wanted = match action {
        // Nothing said means: failures, and delays as the server sees fit (RFC 3461 §4.1).
        Action::Failed => notify.is_unsaid() || notify.contains(Notify::FAILURE),
        Action::Delayed => notify.is_unsaid() || notify.contains(Notify::DELAY),
        Action::Delivered | Action::Relayed => notify.contains(Notify::SUCCESS),
    };
    !sender.is_empty() && wanted && !notify.contains(Notify::NEVER)
}

/// What is said of one recipient.
#[derive(Clone, Debug)]
pub struct Report<'a> {
    /// Whom.
    pub recipient: &'a Recipient,
    /// What happened.
    pub action: Action,
    /// As a status code.
    pub status: EnhancedCode,
    /// The host that answered last; empty if none was reached.
    pub host: &'a str,
    /// What it said, or what we say of it.
    pub reply: &'a str,
    /// When it was tried last, in milliseconds since 1970.
    pub tried: Option<u64>,
}

/// All a report is made from.
#[derive(Clone, Debug)]
pub struct Notice<'a> {
    /// The name of the server that reports.
    pub fqdn: &'a str,
    /// The queue id the report itself has.
    pub id: &'a str,
    /// The queue id of the message it is about.
    pub about: &'a str,
    /// That message's envelope.
    pub envelope: &'a Envelope,
    /// The time, in milliseconds since 1970.
    pub now: u64,
    /// Until when the message is tried, in milliseconds since 1970.
    pub expires: u64,
    /// The recipients concerned, all with the same kind of action.
    pub reports: &'a [Report<'a>],
    /// The message's header, see [`header_of`].
    pub header: &'a [u8],
    /// What separates the parts, see [`boundary`].
    pub boundary: &'a str,
}

/// A report, but for the original message, which the caller puts between `head` and `tail` if `whole`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Composed {
    /// What stands before it.
    pub head: Vec<u8>,
    /// Whether the whole message stands between.
    pub whole: bool,
    /// What stands after it.
    pub tail: Vec<u8>,
    /// What the report's envelope must say of its body.
    pub body: BodyKind,
    /// Whether its envelope needs SMTPUTF8.
    pub smtputf8: bool,
}

/// A separator that no message can be made to contain beforehand.
pub fn boundary() -> String {
    use std::hash::{BuildHasher, RandomState};
    format!(
        "=_{:016x}{:016x}",
        RandomState::new().hash_one(1),
        RandomState::new().hash_one(2)
    )
}

/// The message's header section, with the end of its last line, without the empty line; at most [`HEADER_LIMIT`].
pub fn header_of(body: &mut Body) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    let (start, cut): (&[u8], bool) = match body {
        Body::Inline(bytes) => (
            &bytes[..bytes.len().min(HEADER_LIMIT)],
            bytes.len() > HEADER_LIMIT,
        ),
        Body::File(file) => {
            file.rewind();
            file.by_ref()
                .take(HEADER_LIMIT as u64)
                .read_to_end(&mut start)?;
            file.rewind();
            (&start, file.len() > HEADER_LIMIT as u64)
        }
    };
    if start.starts_with(b"\r\n") {
        return Ok(Vec::new());
    }
    let end = match start.windows(4).position(|four| four == b"\r\n\r\n") {
        Some(at) => at + 2,
        None if cut => start
            .windows(2)
            .rposition(|two| two == b"\r\n")
            .map_or(0, |at| at + 2),
        None => start.len(),
    };
    Ok(start[..end].to_vec())
}

/// Writes a report.
pub fn compose(notice: &Notice<'_>) -> Composed {
    let action = notice
        .reports
        .first()
        .map_or(Action::Failed, |report| report.action);
    let text = words::in_words(notice, action);
    let fields = fields::in_fields(notice);
    // RFC 3461 §4.3: RET speaks of failures only. Binary cannot stand inside a report that travels by DATA.
    let whole = action == Action::Failed
        && notice.envelope.ret == Some(Ret::Full)
        && notice.envelope.body != BodyKind::Binary;
    // RFC 6533 §3: the global forms where an address, or the returned header, is not ASCII.
    let global = notice.envelope.smtputf8 && !(fields.is_ascii() && notice.header.is_ascii())
        || !fields.is_ascii();
    let smtputf8 = global || !notice.envelope.sender.is_ascii();
    let eight = global
        || !text.is_ascii()
        || !notice.header.is_ascii()
        || (whole && notice.envelope.body != BodyKind::SevenBit);

    let mut out = String::new();
    let b = notice.boundary;
    header(&mut out, notice, action, eight);
    part(
        &mut out,
        b,
        if text.is_ascii() {
            "text/plain; charset=us-ascii"
        } else {
            "text/plain; charset=utf-8"
        },
        text.is_ascii(),
    );
    out.push_str(&text);
    part(
        &mut out,
        b,
        if global {
            "message/global-delivery-status"
        } else {
            "message/delivery-status"
        },
        fields.is_ascii(),
    );
    out.push_str(&fields);
    let kind = match (whole, global) {
        (true, false) => "message/rfc822",
        (true, true) => "message/global",
        (false, false) => "text/rfc822-headers",
        (false, true) => "message/global-headers",
    };
    part(
        &mut out,
        b,
        kind,
        !eight || (!whole && notice.header.is_ascii()),
    );
    let mut head = out.into_bytes();
    if !whole {
        head.extend_from_slice(notice.header);
    }
    let tail = format!("\r\n--{b}--\r\n").into_bytes();
    Composed {
        head,
        whole,
        tail,
        body: if eight {
            BodyKind::EightBit
        } else {
            BodyKind::SevenBit
        },
        smtputf8,
    }
}

fn header(out: &mut String, notice: &Notice<'_>, action: Action, eight: bool) {
    let what = match action {
        Action::Failed => "Undeliverable",
        Action::Delayed => "Delayed",
        Action::Delivered => "Delivered",
        Action::Relayed => "Passed on",
    };
    let subject = field(notice.header, "Subject")
        .filter(|subject| subject.len() <= SUBJECT_LIMIT && subject.is_ascii());
    line(out, format_args!("Date: {}", date(notice.now)));
    line(
        out,
        format_args!(
            "From: \"Mail Delivery System\" <postmaster@{}>",
            notice.fqdn
        ),
    );
    line(out, format_args!("To: <{}>", notice.envelope.sender));
    line(
        out,
        format_args!(
            "Subject: {what}: {}",
            subject.as_deref().unwrap_or("your message")
        ),
    );
    line(
        out,
        format_args!("Message-ID: <{}@{}>", notice.id, notice.fqdn),
    );
    if let Some(original) =
        field(notice.header, "Message-ID").filter(|id| id.is_ascii() && id.len() <= 900)
    {
        line(out, format_args!("In-Reply-To: {original}"));
    }
    // RFC 3834 §5, RFC 3464 §2: an answer made by a program, about mail.
    line(out, format_args!("Auto-Submitted: auto-replied"));
    line(out, format_args!("MIME-Version: 1.0"));
    line(
        out,
        format_args!(
            "Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"{}\"",
            notice.boundary
        ),
    );
    if eight {
        line(out, format_args!("Content-Transfer-Encoding: 8bit"));
    }
}

fn part(out: &mut String, boundary: &str, kind: &str, seven: bool) {
    let encoding = if seven { "7bit" } else { "8bit" };
    line(
        out,
        format_args!(
            "\r\n--{boundary}\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n"
        ),
    );
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = write!(out, "{text}\r\n");
}

/// `Tue, 24 Nov 2026 06:51:00 +0000`
fn date(ms: u64) -> String {
    let time = i64::try_from(ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .unwrap_or(Timestamp::UNIX_EPOCH);
    time.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

/// The first field of that name, unfolded; what is not UTF-8 is replaced, control characters are dropped.
fn field(header: &[u8], name: &str) -> Option<String> {
    let mut lines = header
        .split(|b| *b == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let first = lines.by_ref().find_map(|line| {
        let (start, rest) = line.split_at_checked(name.len())?;
        start
            .eq_ignore_ascii_case(name.as_bytes())
            .then_some(rest)?
            .strip_prefix(b":")
    })?;
    let mut value = String::from_utf8_lossy(first).into_owned();
    for more in lines.take_while(|line| line.starts_with(b" ") || line.starts_with(b"\t")) {
        value.push_str(&String::from_utf8_lossy(more));
    }
    Some(clean(value.trim())).filter(|value| !value.is_empty())
}

fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
